//! Facts and flows of all kinds: the evaluator says what the compiled chains of both nodes do, executed by the simulator.
#![no_main]

use libfuzzer_sys::fuzz_target;
use routenet_core::policy::testing::disagreement_on;

fuzz_target!(|data: &[u8]| {
    if let Some(found) = disagreement_on(data) {
        panic!("{found}");
    }
});
