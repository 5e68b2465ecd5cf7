//! For the tests of this room: small clusters, a replay of deltas that checks their order, and a naive simulator of
//! the kernel that executes compiled chains on a packet.

mod replay;
mod sample;
mod simulate;

pub(super) use replay::Replay;
pub(super) use sample::*;
pub(super) use simulate::{Fate, Packet, Simulator};
