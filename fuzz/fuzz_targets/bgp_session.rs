//! A session with whatever bytes, and a second one that watches: see `bodies::bgp_session`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bodies::bgp_session::run(data);
});
