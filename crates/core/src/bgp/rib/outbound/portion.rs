//! What waits for the members of a group: encoded messages, and who of them reads these.

use std::net::IpAddr;

use crate::bgp::wire::{self, Nlri};

/// A route concerns so many members at most: the one that it came from, and the one by way of whom it leads.
pub(super) const CONCERNED: usize = 2;

/// Who reads a portion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Audience {
    /// All but these.
    But([Option<IpAddr>; CONCERNED]),
    Only(IpAddr),
}

impl Audience {
    pub const ALL: Audience = Audience::But([None; CONCERNED]);

    pub fn includes(&self, peer: IpAddr) -> bool {
        match self {
            Audience::But(others) => !others.contains(&Some(peer)),
            Audience::Only(one) => *one == peer,
        }
    }
}

/// Encoded messages for the same readers.
#[derive(Debug)]
pub(super) struct Portion {
    pub audience: Audience,
    pub bytes: Vec<u8>,
    /// What it is about; not by slot, since it may be read when a slot is another prefix's.
    pub nlri: Vec<Nlri>,
    /// How many members have not read it yet.
    pub unread: usize,
}

impl Portion {
    /// What it takes, about.
    pub fn size(&self) -> usize {
        size_of::<Portion>() + self.bytes.len() + self.nlri.len() * size_of::<Nlri>()
    }
}

/// How much of these bytes is whole messages, and as few of them as reach `budget`.
pub(super) fn whole_messages(bytes: &[u8], budget: usize) -> usize {
    if bytes.len() <= budget {
        return bytes.len();
    }
    let mut taken = 0;
    while taken < budget
        && let Ok(Some(length)) = wire::message_length(&bytes[taken..])
    {
        taken += length;
    }
    taken
}
