//! Bidirectional Forwarding Detection (RFC 5880, 5881, 5883), as a value: packets and now in; packets, changes of state
//! and the next deadline out. Asynchronous mode, without echo and without authentication.
//!
//! | file | owns |
//! |---|---|
//! | [`packet`] | the control packet as bytes and as a value |
//! | [`session`] | one neighbour: states, timers, Poll sequences |
//! | [`engine`] | all of them: whose a packet is, discriminators, farewells |
//!
//! The agent's `peering::bfd` gives it sockets, a clock and a thread; the speaker in [`crate::bgp`] ends a BGP session whose
//! neighbour's [`engine::Event::Failed`] it is told of.

pub mod chance;
pub mod engine;
pub mod packet;
pub mod session;
#[cfg(test)]
mod test_support;

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
