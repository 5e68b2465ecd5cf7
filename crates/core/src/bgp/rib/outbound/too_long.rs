//! Routes that no message can hold (RFC 4271 9.2): they are not told, and that is not passed over in silence.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::bgp::rib::{Candidate, Slot};
use crate::bgp::wire::{CodecContext, EncodedPath, MAX_MESSAGE};
use crate::model::Cidr;

/// One such route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    pub prefix: Cidr,
    /// Bytes that its UPDATE would take.
    pub length: usize,
    /// Whose it is: that neighbour would not be told it anyway.
    source: Option<IpAddr>,
}

impl TooLong {
    /// `None`: a message holds it.
    pub fn of(path: &EncodedPath, prefix: &Cidr, candidate: &Candidate, codec: &CodecContext) -> Option<TooLong> {
        let length = path.length_with(prefix, codec);
        (length > MAX_MESSAGE).then_some(TooLong { prefix: *prefix, length, source: candidate.source.peer })
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLong { prefix, length, .. } = self;
        write!(
            f,
            "an UPDATE with {prefix} would take {length} bytes, and a message has {MAX_MESSAGE} at most (RFC 4271)"
        )
    }
}

/// Those that the members of a group are not told.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsaid {
    routes: BTreeMap<Slot, TooLong>,
    /// One has come since somebody asked.
    news: bool,
}

impl Unsaid {
    /// What a look at a slot came to.
    pub fn note(&mut self, slot: Slot, found: Option<TooLong>) {
        match found {
            Some(route) => {
                self.news |= self.routes.insert(slot, route).is_none();
            }
            None if self.routes.is_empty() => {}
            None => _ = self.routes.remove(&slot),
        }
    }

    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.routes.keys().copied()
    }

    /// What this member is not told for that reason.
    pub fn of(&self, peer: IpAddr) -> impl Iterator<Item = &TooLong> {
        self.routes.values().filter(move |route| route.source != Some(peer))
    }

    /// Whether there is one more since the last call.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Those of another group whose members join this one.
    pub fn take_over(&mut self, other: Unsaid) {
        self.routes.extend(other.routes);
    }
}
