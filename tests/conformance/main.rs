//! What the RFCs have a speaker do with every malformed message, asked of a real `routenetd` over TCP, by peers that share
//! no code with it: one row of a table a case, each with its section, judged by what another neighbour then sees.

#[path = "../support/mod.rs"]
mod support;

mod add_path;
mod attributes;
mod case;
mod collisions;
mod costs;
mod decision;
mod extended_next_hop;
mod fsm;
mod headers;
mod heard;
mod long_lived;
mod mixes;
mod opens;
mod options;
mod peer;
mod raw;
mod refresh;
mod restart;
mod roles;
mod script;
mod sizes;
mod speaker;
mod two_octets;
mod updates;
mod watcher;
