//! Whether a host's routes lead to an address.

use std::fmt;

/// What the host's routes say of an address, those left out that BGP has learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It is reached at this cost: the metric of the route.
    Via { metric: u32 },
    /// `closed`: the length of the prefix of the route that says so, if one does.
    Unreachable { why: NoWay, closed: Option<u8> },
}

/// Why no route leads to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWay {
    NoRoute,
    /// A blackhole, unreachable or prohibit route.
    Closed,
    LinkDown,
    /// Of many: a multicast or broadcast address.
    NoHost,
}

impl fmt::Display for NoWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoWay::NoRoute => "no route of this host leads there",
            NoWay::Closed => "the route there is a blackhole, unreachable or prohibit",
            NoWay::LinkDown => "its link is down",
            NoWay::NoHost => "it is a broadcast or multicast address",
        })
    }
}

impl NoWay {
    /// What mends it, for a next hop.
    pub const fn mend(self) -> &'static str {
        match self {
            NoWay::NoRoute => "add a route, or have the neighbour name itself (`nextHopMode: Self` there)",
            NoWay::Closed => "take that route away (`ip route get` shows it)",
            NoWay::LinkDown => "set it up, or plug the cable in (`ip link` shows it)",
            NoWay::NoHost => "mend what the neighbour says",
        }
    }
}
