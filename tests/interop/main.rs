//! What others understand of what we say: independent decoders and other BGP speakers, from Debian's packages.

#[path = "../support/mod.rs"]
mod support;

mod wire_tshark;
