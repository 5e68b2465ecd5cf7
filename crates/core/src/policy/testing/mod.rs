//! For the tests of this room, and for fuzz targets: small clusters, a replay of deltas that checks their order, a naive
//! simulator of the kernel that executes compiled chains on a packet, and its comparison with the evaluator.

mod journey;
mod replay;
mod sample;
mod simulate;

pub use journey::*;
pub use replay::Replay;
pub use sample::*;
pub use simulate::{Fate, Packet, Simulator};
