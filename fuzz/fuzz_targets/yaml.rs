//! Whatever somebody gives to `routectl apply`: see `bodies::yaml`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bodies::yaml::run(data);
});
