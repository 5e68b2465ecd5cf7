//! How routes pass between this node and one BGP neighbour, beyond who it is and what is accepted: the options that a
//! BGPPeer and a peer of the node's file have in common.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which AS a neighbour is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PeerAs {
    Number(u32),
    Kind(PeerKind),
}

/// Of a neighbour whose AS nobody wrote down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerKind {
    /// It has our AS.
    Internal,
    /// It has another than ours, and says which.
    External,
}

impl PeerAs {
    pub const INTERNAL: PeerAs = PeerAs::Kind(PeerKind::Internal);
    pub const EXTERNAL: PeerAs = PeerAs::Kind(PeerKind::External);
}

/// As it is written in YAML.
impl fmt::Display for PeerAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAs::Number(number) => number.fmt(f),
            PeerAs::Kind(PeerKind::Internal) => f.write_str("internal"),
            PeerAs::Kind(PeerKind::External) => f.write_str("external"),
        }
    }
}

/// The options of one neighbour. The default is a plain session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerOptions {
    /// An internal neighbour that we reflect routes to and from (RFC 4456).
    pub reflector_client: bool,
    pub next_hop: NextHopMode,
    /// The AS that we are for this neighbour alone; it sees no other of ours.
    pub local_as: Option<u32>,
    /// How often our AS may be in the AS_PATH of what it sends.
    pub allowed_local_as: u8,
    pub max_prefixes: Option<MaxPrefixes>,
    /// Seconds that its routes are kept beyond its restart time, and ours there (RFC 9494); `None`: the node's.
    pub long_lived_time: Option<u32>,
    /// Seconds for which we wait with our OPEN for its own (the DelayOpenTimer of RFC 4271 8.1.1); 0: not at all.
    pub delay_open: u16,
    /// What we are to it (RFC 9234).
    pub role: Option<BgpRole>,
    /// Whether it has to say its own role too.
    pub role_strict: bool,
    /// Whether IPv4 routes keep to IPv4 next hops: RFC 8950 is not offered.
    pub classic_next_hop: bool,
    /// Several paths of a prefix (RFC 7911).
    pub add_paths: AddPaths,
    /// BGPFilters by name, asked in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
}

impl PeerOptions {
    /// Whether a session under `other` has to begin anew: what the two sides said in their OPENs would no longer be true.
    pub fn needs_new_session(&self, other: &PeerOptions) -> bool {
        let identity = |options: &PeerOptions| {
            let PeerOptions { local_as, role, role_strict, classic_next_hop, add_paths, .. } = *options;
            let paths = (add_paths.receive, add_paths.sends());
            (local_as, role, role_strict, classic_next_hop, paths)
        };
        identity(self) != identity(other)
    }
}

/// Which direction has several paths of a prefix (RFC 7911), where the neighbour agrees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddPaths {
    pub receive: bool,
    pub send: SentPaths,
}

impl AddPaths {
    /// Whether more than the best path may be told.
    pub fn sends(&self) -> bool {
        self.send != SentPaths::None
    }
}

/// The paths of a prefix that a neighbour is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SentPaths {
    /// The best, without an identifier.
    #[default]
    None,
    All,
    /// So many of them, the best first.
    Best(u8),
}

impl SentPaths {
    /// The least and the most that can be asked for by number.
    pub const BEST: std::ops::RangeInclusive<u8> = 2..=64;
}

/// The next hop that the neighbour is told, in Calico's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NextHopMode {
    /// Ourselves, except for what is reflected, and for internal neighbours of a speaker that forwards nothing.
    #[default]
    Auto,
    #[serde(rename = "Self")]
    Own,
    Keep,
}

/// A bound on the prefixes of each address family that a neighbour sends, refused ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPrefixes {
    /// The most that the session survives.
    pub limit: u32,
    /// Percent of the limit from which on it is a problem in the status.
    pub warning: u8,
    /// Seconds after which the session is tried again; `None`: when somebody resets it.
    pub restart: Option<u32>,
}

/// RFC 9234 section 4.1, with its values on the wire: what this speaker is to the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BgpRole {
    Provider = 0,
    Rs = 1,
    RsClient = 2,
    Customer = 3,
    Peer = 4,
}

impl BgpRole {
    pub const ALL: [BgpRole; 5] = [BgpRole::Provider, BgpRole::Rs, BgpRole::RsClient, BgpRole::Customer, BgpRole::Peer];

    pub fn word(self) -> &'static str {
        match self {
            BgpRole::Provider => "provider",
            BgpRole::Rs => "rs",
            BgpRole::RsClient => "rs-client",
            BgpRole::Customer => "customer",
            BgpRole::Peer => "peer",
        }
    }

    pub fn of(value: u8) -> Option<BgpRole> {
        BgpRole::ALL.into_iter().find(|role| *role as u8 == value)
    }

    /// RFC 9234 section 4.2: the one role that the other side may have.
    pub fn counterpart(self) -> BgpRole {
        match self {
            BgpRole::Provider => BgpRole::Customer,
            BgpRole::Customer => BgpRole::Provider,
            BgpRole::Rs => BgpRole::RsClient,
            BgpRole::RsClient => BgpRole::Rs,
            BgpRole::Peer => BgpRole::Peer,
        }
    }
}

impl fmt::Display for BgpRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
