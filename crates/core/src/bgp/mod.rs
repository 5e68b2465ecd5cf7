//! Our BGP speaker, as a value: bytes, connections and now in; bytes, routes and the next deadline out.
//!
//! [`wire`] is the only importer of zettabgp. Above it stand the session FSM of one neighbour, the RIB and its
//! decision, and the speaker that holds them together; the agent's `peering` gives it sockets and a clock.

pub mod wire;
