//! Objects of policy to rules, by a strict grammar: see `bodies::restore`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bodies::restore::run(data);
});
