//! Messages as values. What zettabgp cannot represent soundly is ours; no type of its crosses this module.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::scope::{scoped, unscoped};
use crate::model::{Cidr, Family};

/// The longest message without the extended-message capability (RFC 4271 4.1).
pub const MAX_MESSAGE: usize = 4096;
/// Marker, length and type.
pub const HEADER: usize = 19;

#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a message is handled where it is decoded, and most are UPDATEs")]
pub enum Message {
    Open(Open),
    Update(Update),
    Notification(Notification),
    Keepalive,
    /// RFC 2918; the subtype is RFC 7313's.
    RouteRefresh {
        family: AfiSafi,
        subtype: u8,
    },
}

/// (AFI, SAFI) as numbers, since a peer may offer what we do not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AfiSafi {
    pub afi: u16,
    pub safi: u8,
}

impl AfiSafi {
    pub const IPV4_UNICAST: AfiSafi = AfiSafi { afi: 1, safi: 1 };
    pub const IPV6_UNICAST: AfiSafi = AfiSafi { afi: 2, safi: 1 };

    pub fn of(prefix: &Cidr) -> AfiSafi {
        AfiSafi::unicast(prefix.family())
    }

    pub fn unicast(family: Family) -> AfiSafi {
        match family {
            Family::V4 => AfiSafi::IPV4_UNICAST,
            Family::V6 => AfiSafi::IPV6_UNICAST,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The real AS: from the four-octet capability where the peer sent one, else the field's.
    pub as_number: u32,
    /// Seconds; 0 means no keepalives.
    pub hold_time: u16,
    pub router_id: Ipv4Addr,
    pub capabilities: Vec<Capability>,
}

/// RFC 5492 capabilities. Unknown ones are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// RFC 4760.
    Multiprotocol(AfiSafi),
    /// RFC 2918.
    RouteRefresh,
    /// RFC 7313.
    EnhancedRouteRefresh,
    /// RFC 6793.
    FourOctetAs(u32),
    /// RFC 4724.
    GracefulRestart(GracefulRestart),
    /// RFC 9494 3.1: how long routes may be kept beyond the restart time, by family.
    LongLivedGracefulRestart(Vec<LongLived>),
    /// RFC 8950 section 4: families whose next hops may be of another one, each with that one's AFI.
    ExtendedNextHop(Vec<(AfiSafi, u16)>),
    /// RFC 9234 4.1; the value may be one that nobody defined.
    Role(u8),
    /// RFC 7911 section 4.
    AddPaths(Vec<AddPath>),
    Unknown {
        code: u8,
        value: Vec<u8>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// R bit: the sender has restarted.
    pub restarted: bool,
    /// N bit (RFC 8538).
    pub notification: bool,
    /// Seconds, at most 4095.
    pub restart_time: u16,
    /// Families, with the F bit: forwarding state was kept.
    pub families: Vec<(AfiSafi, bool)>,
}

/// One family of the long-lived graceful restart capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongLived {
    pub family: AfiSafi,
    /// F bit: forwarding state was kept.
    pub forwarding: bool,
    /// The long-lived stale time, at most [`LongLived::MOST`].
    pub seconds: u32,
}

impl LongLived {
    /// Its width is 24 bits.
    pub const MOST: u32 = 0x00ff_ffff;
}

/// What the sender of the capability does with several paths of a prefix of this family (RFC 7911 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddPath {
    pub family: AfiSafi,
    pub receives: bool,
    pub sends: bool,
}

/// A prefix as an UPDATE names it: in a family with path identifiers (RFC 7911 section 3), one path to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nlri {
    pub prefix: Cidr,
    /// 0 in a family without. It tells apart what one speaker sends another, and means nothing beyond.
    pub path_id: u32,
}

impl From<Cidr> for Nlri {
    fn from(prefix: Cidr) -> Nlri {
        Nlri { prefix, path_id: 0 }
    }
}

/// An UPDATE after validation. Malformed attributes have been dealt with: see [`Update::defects`]. `withdrawn` applies
/// before `reachable`: a prefix in both is reachable (RFC 4271 4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Withdrawn, of both families, and those that RFC 7606 treats as withdrawn.
    pub withdrawn: Vec<Nlri>,
    /// Reachable with `attributes`, of both families.
    pub reachable: Vec<(Nlri, NextHop)>,
    /// `None` if nothing is reachable.
    pub attributes: Option<Attributes>,
    /// End-of-RIB of this family (RFC 4724 section 2).
    pub end_of_rib: Option<AfiSafi>,
    /// What RFC 7606 made us do, in words, each with the offending bytes.
    pub defects: Vec<Defect>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    pub address: IpAddr,
    /// The second half of a 32-byte IPv6 next hop (RFC 2545 section 3), if it is a link-local address.
    pub link_local: Option<Ipv6Addr>,
}

impl NextHop {
    pub fn new(address: IpAddr) -> NextHop {
        NextHop { address, link_local: None }
    }

    /// As it came over a session on this link: its link-local addresses are there.
    pub fn on_link(self, interface: u32) -> NextHop {
        let link_local = self.link_local.map(|address| match scoped(address.into(), interface) {
            IpAddr::V6(address) => address,
            IpAddr::V4(_) => address,
        });
        NextHop { address: scoped(self.address, interface), link_local }
    }

    /// Where packets go: to the link-local address, where it is known on which link that is (RFC 2545 section 2).
    pub fn way(&self) -> IpAddr {
        let local = self.link_local.map(IpAddr::V6);
        local.filter(|address| unscoped(*address).1.is_some()).unwrap_or(self.address)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    Igp,
    Egp,
    Incomplete,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AsSegment {
    Sequence(Vec<u32>),
    Set(Vec<u32>),
}

/// The path attributes of a route, without its next hop. `Hash` and `Eq`: equal ones are interned and sent together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attributes {
    pub origin: Origin,
    pub as_path: Vec<AsSegment>,
    pub med: Option<u32>,
    pub local_pref: Option<u32>,
    pub atomic_aggregate: bool,
    pub aggregator: Option<(u32, Ipv4Addr)>,
    pub communities: BTreeSet<u32>,
    pub extended_communities: BTreeSet<[u8; 8]>,
    pub large_communities: BTreeSet<(u32, u32, u32)>,
    pub originator_id: Option<Ipv4Addr>,
    pub cluster_list: Vec<Ipv4Addr>,
    /// Only to Customer (RFC 9234 section 5): the AS that let the route go down or sideways.
    pub otc: Option<u32>,
    /// Optional transitive ones that we only pass on: (flags, type, value), by ascending type; with Partial set where we do
    /// not know them.
    pub unknown: Vec<(u8, u8, Vec<u8>)>,
    /// Bit n: the attribute of type n, which we know, came with Partial set and keeps it (RFC 4271 section 5).
    pub partial: u64,
}

impl Attributes {
    /// The AS that handed the route over: the first of the path, if that is a sequence.
    pub fn neighbor_as(&self) -> Option<u32> {
        match self.as_path.first() {
            Some(AsSegment::Sequence(numbers)) => numbers.first().copied(),
            _ => None,
        }
    }
}

/// One thing wrong with an UPDATE and what RFC 7606 has us do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    pub action: DefectAction,
    pub what: String,
    /// The attribute's bytes as received, cut at 64.
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DefectAction {
    /// RFC 4271 6.3: prefixes that are no unicast prefixes, or of a family that was not negotiated.
    PrefixIgnored,
    AttributeDiscard,
    TreatAsWithdraw,
}

/// RFC 4271 4.5. What we answer a fatal error with, and what peers say to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub code: u8,
    pub subcode: u8,
    pub data: Vec<u8>,
}

/// What both sides agreed on, as far as the codec needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodecContext {
    /// Both sent the four-octet AS capability.
    pub four_octet_as: bool,
    /// The neighbour's AS is ours.
    pub ibgp: bool,
    /// Families both sent (IPv4 unicast where none was sent).
    pub families: Vec<AfiSafi>,
    /// Both said that IPv4 routes may have IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    pub path_ids: PathIds,
}

/// The families whose prefixes have path identifiers (RFC 7911), by direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathIds {
    pub received: Vec<AfiSafi>,
    pub sent: Vec<AfiSafi>,
}
