//! Selectors of every kind: see `bodies::selector`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bodies::selector::run(data);
});
