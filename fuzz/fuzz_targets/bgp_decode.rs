//! Messages of every kind: see `bodies::bgp_decode`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bodies::bgp_decode::run(data);
});
