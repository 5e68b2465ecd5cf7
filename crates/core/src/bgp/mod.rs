//! Our BGP speaker, as a value: bytes, connections and now in; bytes, routes and the next deadline out.
//!
//! [`wire`] is the only importer of zettabgp. Above it stand the session FSM of one neighbour, the RIB and its
//! decision, and the speaker that holds them together; the agent's `peering` gives it sockets and a clock.
//!
//! | room | owns | called by |
//! |---|---|---|
//! | [`wire`] | messages as bytes and as values | session, speaker |
//! | [`session`] | one neighbour's FSM: connections, timers, collision, OPEN and its negotiation | speaker |
//! | [`rib`] | routes of all neighbours, the decision, what each neighbour has still to be told | speaker |
//! | [`filter`] | what is accepted from, and what is told to, which neighbour | speaker, rib |
//! | [`monitor`] | what the speaker knows, in the formats of other tools | the agent's peering |
//! | [`mesh`] | which nodes reflect, and who speaks with whom | whoever lays out a large mesh |
//! | [`speaker`] | all of it behind `handle`, `poll_*` and `next_deadline` | the agent's peering |

pub mod filter;
pub mod mesh;
pub mod monitor;
pub mod rib;
pub mod session;
pub mod speaker;
pub mod wire;
