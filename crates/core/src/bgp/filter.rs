//! What is accepted from, and what is told to, which neighbour (RFC 8212, RFC 1997, RFC 4271 9.1.2 and 9.2).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::rib::path::{Candidate, DEFAULT_LOCAL_PREF, Path};
use super::wire::{AsSegment, Attributes, NextHop};
use crate::model::peering::{BgpRole, NextHopMode, PeerOptions};
use crate::model::{Cidr, Family, ImportPolicy};

/// RFC 1997, well-known communities.
pub const NO_EXPORT: u32 = 0xffff_ff01;
pub const NO_ADVERTISE: u32 = 0xffff_ff02;
pub const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;
/// RFC 8326.
pub const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;

/// A segment of an AS_PATH holds at most so many (RFC 4271 4.3: its count is one octet).
const SEGMENT: usize = 255;

/// RFC 4360 section 2: the bit T of an extended community's type.
const NON_TRANSITIVE: u8 = 0x40;

/// Why a route that came takes no part in the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `import: none` (RFC 8212).
    NoImport,
    /// `import: pools`, or a mesh peer, and the prefix lies in no pool.
    OutsidePools,
    /// Our own AS is in its AS_PATH more often than allowed.
    AsLoop,
    /// We are its originator (RFC 4456).
    Originator,
    /// Our cluster is in its CLUSTER_LIST (RFC 4456 section 8).
    ClusterLoop,
    /// Its OTC says that it was not to come this way (RFC 9234 section 5).
    RouteLeak,
    /// Its next hop is this node.
    OwnNextHop,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::NoImport => "the peer's import policy is `none`",
            Refusal::OutsidePools => "it lies in no pool",
            Refusal::AsLoop => "our own AS is in its AS_PATH",
            Refusal::Originator => "we are its originator",
            Refusal::ClusterLoop => "our cluster is in its CLUSTER_LIST",
            Refusal::RouteLeak => "it is a route leak: its OTC forbids this way (RFC 9234)",
            Refusal::OwnNextHop => "its next hop is this node",
        })
    }
}

/// What is accepted from one neighbour.
#[derive(Clone, Debug)]
pub struct Import<'a> {
    pub policy: ImportPolicy,
    pub pools: &'a [Cidr],
    /// Our AS, and the one that we are for this neighbour.
    pub local_as: [u32; 2],
    pub peer_as: u32,
    pub options: &'a PeerOptions,
    pub router_id: Ipv4Addr,
    pub cluster_id: Ipv4Addr,
    /// Addresses that are this node.
    pub own_addresses: &'a [IpAddr],
}

impl Import<'_> {
    pub fn judge(&self, prefix: &Cidr, path: &Path) -> Option<Refusal> {
        if path.passes(self.local_as) > usize::from(self.options.allowed_local_as) {
            return Some(Refusal::AsLoop);
        }
        if path.attributes.originator_id == Some(self.router_id) {
            return Some(Refusal::Originator);
        }
        if path.attributes.cluster_list.contains(&self.cluster_id) {
            return Some(Refusal::ClusterLoop);
        }
        if self.leaks(path) {
            return Some(Refusal::RouteLeak);
        }
        if self.own_addresses.contains(&path.next_hop.address) {
            return Some(Refusal::OwnNextHop);
        }
        match self.policy {
            ImportPolicy::All => None,
            ImportPolicy::None => Some(Refusal::NoImport),
            ImportPolicy::Pools => {
                let inside = self.pools.iter().any(|pool| pool.covers(prefix));
                (!inside).then_some(Refusal::OutsidePools)
            }
        }
    }
}

impl Import<'_> {
    /// RFC 9234 section 5, on the way in: with an OTC nothing comes up from a customer, and from a peer only its own.
    fn leaks(&self, path: &Path) -> bool {
        let Some(otc) = path.attributes.otc.filter(|_| !self.local_as.contains(&self.peer_as)) else { return false };
        match self.options.role {
            Some(BgpRole::Provider | BgpRole::Rs) => true,
            Some(BgpRole::Peer) => otc != self.peer_as,
            Some(BgpRole::Customer | BgpRole::RsClient) | None => false,
        }
    }
}

/// What one neighbour is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    pub peer: IpAddr,
    pub external: bool,
    /// Whether an eBGP neighbour is told learned routes too; our own it always is.
    pub transit: bool,
    /// Nothing but our own: while the selection is deferred (RFC 4724 4.1).
    pub own_only: bool,
    /// Nothing at all: being drained.
    pub nothing: bool,
    /// The AS that we are for it.
    pub local_as: u32,
    pub options: PeerOptions,
    pub cluster_id: Ipv4Addr,
    /// Next hop self, by the family of the prefix; without one that family is not told.
    pub self4: Option<IpAddr>,
    pub self6: Option<IpAddr>,
}

impl Export {
    /// Whether this route is told to the neighbour.
    pub fn tells(&self, candidate: &Candidate) -> bool {
        if self.nothing || candidate.source.peer == Some(self.peer) {
            return false;
        }
        let communities = &candidate.path.attributes.communities;
        if communities.contains(&NO_ADVERTISE) || self.would_leak(&candidate.path.attributes) {
            return false;
        }
        let stays_inside = communities.contains(&NO_EXPORT) || communities.contains(&NO_EXPORT_SUBCONFED);
        if candidate.source.peer.is_none() {
            return !(self.external && stays_inside);
        }
        match self.external {
            _ if self.own_only => false,
            true => self.transit && !stays_inside,
            // What came over iBGP is not passed on over iBGP (RFC 4271 9.2).
            false => candidate.source.external || self.reflects(candidate),
        }
    }

    /// RFC 4456 section 6: what a client said goes to all, what another internal neighbour said to clients.
    pub fn reflects(&self, candidate: &Candidate) -> bool {
        let internal = !self.external && candidate.source.peer.is_some() && !candidate.source.external;
        internal && (self.options.reflector_client || candidate.source.client)
    }

    /// RFC 9234 section 5, on the way out: with an OTC a route goes down to customers only.
    fn would_leak(&self, attributes: &Attributes) -> bool {
        let upwards = matches!(self.options.role, Some(BgpRole::Customer | BgpRole::Peer | BgpRole::RsClient));
        self.external && upwards && attributes.otc.is_some()
    }

    /// The path as the neighbour is told it; `None` where we have no next hop of this family to offer.
    pub fn rewrite(&self, candidate: &Candidate, family: Family) -> Option<Path> {
        let reflected = self.reflects(candidate);
        let keeps = match self.options.next_hop {
            NextHopMode::Keep => candidate.source.peer.is_some(),
            // RFC 4456 section 10: a reflector is in the way of no packet.
            NextHopMode::Auto => reflected,
            NextHopMode::Own => false,
        };
        let address = match family {
            _ if keeps => candidate.path.next_hop.address,
            Family::V4 => self.self4?,
            Family::V6 => self.self6?,
        };
        // RFC 4271 5.1.3: nobody is told a route by way of itself.
        if keeps && address == self.peer {
            return None;
        }
        let mut attributes = candidate.path.attributes.clone();
        if reflected {
            attributes.originator_id.get_or_insert(candidate.source.router_id);
            attributes.cluster_list.insert(0, self.cluster_id);
        }
        if self.external {
            if matches!(self.options.role, Some(BgpRole::Provider | BgpRole::Peer | BgpRole::Rs)) {
                attributes.otc.get_or_insert(self.local_as);
            }
            prepend(&mut attributes.as_path, self.local_as);
            attributes.local_pref = None;
            attributes.med = None;
            attributes.originator_id = None;
            attributes.cluster_list.clear();
            // RFC 4360 section 6: non-transitive ones are our AS's own.
            attributes.extended_communities.retain(|community| community[0] & NON_TRANSITIVE == 0);
        } else {
            attributes.local_pref = Some(attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF));
        }
        Some(Path { attributes, next_hop: NextHop { address, link_local: None } })
    }
}

/// RFC 4271 5.1.2 b: into the leading sequence, or as a new one where there is none or it is full.
fn prepend(as_path: &mut Vec<AsSegment>, as_number: u32) {
    match as_path.first_mut() {
        Some(AsSegment::Sequence(numbers)) if numbers.len() < SEGMENT => numbers.insert(0, as_number),
        _ => as_path.insert(0, AsSegment::Sequence(vec![as_number])),
    }
}

/// RFC 9234 section 5, on the way in: what comes down or sideways without an OTC gets one.
pub fn mark_only_to_customer(attributes: &mut Attributes, role: Option<BgpRole>, peer_as: u32) {
    if matches!(role, Some(BgpRole::Customer | BgpRole::Peer | BgpRole::RsClient)) {
        attributes.otc.get_or_insert(peer_as);
    }
}

/// What eBGP says about attributes that are the neighbour's own business: LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST
/// have no meaning across the border (RFC 4271 5.1.5, RFC 7606 7.9 and 7.10).
pub fn strip_internal(attributes: &mut Attributes) {
    // RFC 8326 section 4: a neighbour that is about to go is the last choice.
    attributes.local_pref = attributes.communities.contains(&GRACEFUL_SHUTDOWN).then_some(0);
    attributes.originator_id = None;
    attributes.cluster_list.clear();
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
