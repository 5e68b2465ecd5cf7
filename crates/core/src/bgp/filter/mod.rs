//! What is accepted from, and what is told to, which neighbour (RFC 8212, RFC 1997, RFC 4271 9.1.2 and 9.2).
//!
//! The protocol's own rules (loops, split horizon, well-known communities, leaks) come first, and no filter overrides
//! them. Then the neighbour's BGPFilters are asked; what none of their rules decides its `import` decides.
//!
//! | file | owns |
//! |---|---|
//! | `rules` | the filters of one neighbour, and what the first rule that matches says |
//! | `matching` | whether a route meets the conditions of a rule |
//! | `operations` | what a rule changes |
//! | `explain` | every rule that was asked, for `routectl bgp filter test` |

mod explain;
mod matching;
mod operations;
mod rules;
#[cfg(test)]
mod test_support;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::rib::path::{Candidate, DEFAULT_LOCAL_PREF, Path};
use super::wire::{AsSegment, Attributes, NextHop};
use crate::model::filter::NextHopChoice;
use crate::model::peering::{BgpRole, NextHopMode, PeerOptions};
use crate::model::scope::unscoped;
use crate::model::{Cidr, Family, ImportPolicy, NoWay};

pub use explain::Asked;
pub use matching::{Mismatch, Route};
pub use rules::{Direction, Filters, Place, Verdict};

/// RFC 1997, well-known communities.
pub const NO_EXPORT: u32 = 0xffff_ff01;
pub const NO_ADVERTISE: u32 = 0xffff_ff02;
pub const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;
/// RFC 8326.
pub const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;
/// RFC 9494 3.2 and 3.3: kept beyond the restart time of who told it; not to be kept so long.
pub const LLGR_STALE: u32 = 0xffff_0006;
pub const NO_LLGR: u32 = 0xffff_0007;

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
    /// A rule of the neighbour's filters.
    Filtered(Place),
    /// The neighbour names a filter that is not there.
    NoFilter,
    /// Its next hop does not resolve.
    NextHop(NoWay),
    /// Whether its next hop resolves is just being asked.
    Unanswered,
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
            Refusal::Filtered(_) => "a BGPFilter rejects it",
            Refusal::NoFilter => "a BGPFilter that the peer names is not there",
            Refusal::NextHop(_) => "its next hop does not resolve",
            Refusal::Unanswered => "whether its next hop resolves is just being asked",
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
    pub filters: &'a Filters,
    /// Who tells it.
    pub peer: IpAddr,
}

impl Import<'_> {
    /// Whether a route that came takes part in the decision, and which rule changes it first.
    ///
    /// # Errors
    /// Why it does not.
    pub fn judge(&self, prefix: &Cidr, path: &Path) -> Result<Option<Place>, Refusal> {
        if let Some(refusal) = self.forbids(path) {
            return Err(refusal);
        }
        if !self.filters.missing().is_empty() {
            return Err(Refusal::NoFilter);
        }
        if !self.filters.is_empty() {
            match self.filters.judge(Direction::Import, &self.route(prefix, path)) {
                Verdict::Accept(place) => {
                    let changes = self.filters.changes(Direction::Import, prefix.family(), place);
                    return Ok(changes.then_some(place));
                }
                Verdict::Reject(place) => return Err(Refusal::Filtered(place)),
                Verdict::NoMatch => {}
            }
        }
        match self.policy {
            ImportPolicy::All => Ok(None),
            ImportPolicy::None => Err(Refusal::NoImport),
            ImportPolicy::Pools => {
                let inside = self.pools.iter().any(|pool| pool.covers(prefix));
                if inside { Ok(None) } else { Err(Refusal::OutsidePools) }
            }
        }
    }

    /// The route as the filters see it.
    pub fn route<'r>(&self, prefix: &'r Cidr, path: &'r Path) -> Route<'r> {
        Route { prefix, path, source: Some(self.peer), external: self.external() }
    }

    /// Whether the neighbour is of another AS than the one that we are for it.
    fn external(&self) -> bool {
        self.peer_as != self.local_as[1]
    }

    /// The path as the rule changes it.
    pub fn rewrite(&self, path: &Path, family: Family, place: Place) -> Path {
        let mut changed = path.clone();
        self.filters.apply(Direction::Import, family, place, &mut changed);
        stays_stale(path, &mut changed.attributes);
        changed
    }

    /// What the protocol has us refuse, whatever the policy.
    fn forbids(&self, path: &Path) -> Option<Refusal> {
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
        let hop = path.next_hop;
        if self.own_addresses.contains(&hop.address) || self.own_addresses.contains(&hop.way()) {
            return Some(Refusal::OwnNextHop);
        }
        None
    }
}

impl Import<'_> {
    /// RFC 9234 section 5, on the way in: with an OTC nothing comes up from a customer, and from a peer only its own.
    fn leaks(&self, path: &Path) -> bool {
        let Some(otc) = path.attributes.otc.filter(|_| self.external()) else { return false };
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
    /// About to be drained: everything with GRACEFUL_SHUTDOWN (RFC 8326).
    pub leaving: bool,
    /// Whether packets can go by way of us.
    pub forwards: bool,
    /// Whether the neighbour takes IPv6 next hops of IPv4 routes (RFC 8950).
    pub extended_next_hop: bool,
    /// Whether the neighbour knows what LLGR_STALE means (RFC 9494).
    pub long_lived: bool,
    /// The AS that we are for it.
    pub local_as: u32,
    pub options: PeerOptions,
    pub cluster_id: Ipv4Addr,
    /// Next hop self, by the family of the prefix; without one that family is not told.
    pub self4: Option<IpAddr>,
    pub self6: Option<IpAddr>,
    pub filters: Filters,
}

/// Why a route is not told to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The node is being drained.
    Drained,
    /// It is the neighbour's own.
    SplitHorizon,
    /// NO_ADVERTISE, or NO_EXPORT over eBGP (RFC 1997).
    Community,
    /// LLGR_STALE, and the neighbour does not speak long-lived graceful restart (RFC 9494 4.3).
    LongLivedStale,
    /// RFC 9234 section 5.
    RouteLeak,
    /// Own routes only, until the neighbours have told theirs (RFC 4724 4.1).
    Deferred,
    /// What came over iBGP is not passed on over iBGP (RFC 4271 9.2).
    Internal,
    /// The neighbour is not open for what others told.
    NoTransit,
    /// A rule of the neighbour's filters.
    Filtered(Place),
    /// The neighbour names a filter that is not there.
    NoFilter,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Silence::Drained => "the node is being drained",
            Silence::SplitHorizon => "it came from this neighbour",
            Silence::Community => "its communities forbid it (RFC 1997)",
            Silence::LongLivedStale => "it is long-lived stale, which this neighbour would not know (RFC 9494)",
            Silence::RouteLeak => "it would be a route leak (RFC 9234)",
            Silence::Deferred => "the neighbours have not told all of theirs since the restart (RFC 4724)",
            Silence::Internal => "what came over iBGP is not passed on over iBGP (RFC 4271 9.2)",
            Silence::NoTransit => "it was learned, and `import` of this eBGP neighbour is not `all` (RFC 8212)",
            Silence::Filtered(_) => "a BGPFilter rejects it",
            Silence::NoFilter => "a BGPFilter that the peer names is not there",
        })
    }
}

impl Export {
    /// Whether this route is told to the neighbour, and which rule changes it first.
    ///
    /// # Errors
    /// Why it is not.
    pub fn tells(&self, prefix: &Cidr, candidate: &Candidate) -> Result<Option<Place>, Silence> {
        if let Some(silence) = self.forbids(candidate) {
            return Err(silence);
        }
        if !self.filters.missing().is_empty() {
            return Err(Silence::NoFilter);
        }
        if !self.filters.is_empty() {
            match self.filters.judge(Direction::Export, &self.route(prefix, candidate)) {
                Verdict::Accept(place) => {
                    let changes = self.filters.changes(Direction::Export, prefix.family(), place);
                    return Ok(changes.then_some(place));
                }
                Verdict::Reject(place) => return Err(Silence::Filtered(place)),
                Verdict::NoMatch => {}
            }
        }
        let learned = candidate.source.peer.is_some();
        if self.external && learned && !self.transit { Err(Silence::NoTransit) } else { Ok(None) }
    }

    /// The route as the filters see it: as we hold it, without what the session adds.
    pub fn route<'r>(&self, prefix: &'r Cidr, candidate: &'r Candidate) -> Route<'r> {
        Route { prefix, path: &candidate.path, source: candidate.source.peer, external: self.external }
    }

    /// RFC 2545 section 3: a link-local address is told on its own link only.
    fn shares_link(&self, hop: IpAddr) -> bool {
        let link_local = matches!(hop, IpAddr::V6(address) if address.is_unicast_link_local());
        !link_local || self.self6.is_some_and(|own| unscoped(own).1.is_some() && unscoped(own).1 == unscoped(hop).1)
    }

    /// Whether the neighbour can be told this next hop of another. Where not, it is our own: packets that come by way of us
    /// go on as they would have, while a route that is not told leads nowhere.
    fn can_hear(&self, hop: IpAddr, family: Family) -> bool {
        let agreed = family == Family::V6 || hop.is_ipv4() || self.extended_next_hop;
        agreed && self.shares_link(hop)
    }

    /// What the protocol has us keep to ourselves, whatever the policy.
    fn forbids(&self, candidate: &Candidate) -> Option<Silence> {
        if self.nothing {
            return Some(Silence::Drained);
        }
        if candidate.source.peer == Some(self.peer) {
            return Some(Silence::SplitHorizon);
        }
        let communities = &candidate.path.attributes.communities;
        let stays_inside = communities.contains(&NO_EXPORT) || communities.contains(&NO_EXPORT_SUBCONFED);
        if communities.contains(&NO_ADVERTISE) || (self.external && stays_inside) {
            return Some(Silence::Community);
        }
        // 4.6 would allow iBGP neighbours to be told with LOCAL_PREF 0, at the price of loops where not everybody does that.
        if candidate.path.is_long_lived_stale() && !self.long_lived {
            return Some(Silence::LongLivedStale);
        }
        if self.would_leak(&candidate.path.attributes) {
            return Some(Silence::RouteLeak);
        }
        let learned = candidate.source.peer.is_some();
        if self.own_only && learned {
            return Some(Silence::Deferred);
        }
        // What came over iBGP is not passed on over iBGP (RFC 4271 9.2).
        let passed = self.external || candidate.source.external || self.reflects(candidate);
        (learned && !passed).then_some(Silence::Internal)
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

    /// RFC 4271 5.1.3: internal neighbours are told the next hop as it came, unless we are asked to be it; and we are wherever
    /// we forward. IPv4 by way of IPv6 is not for each of them (RFC 8950).
    fn leaves_next_hop(&self, candidate: &Candidate, family: Family) -> bool {
        let hop = candidate.path.next_hop.address;
        let learned = candidate.source.peer.is_some();
        !self.external && !self.forwards && learned && hop.is_ipv4() == (family == Family::V4)
    }

    /// The path as the neighbour is told it, after the changes of the rule; `None` where we have no next hop of this
    /// family to offer.
    pub fn rewrite(&self, candidate: &Candidate, family: Family, place: Option<Place>) -> Option<Path> {
        let reflected = self.reflects(candidate);
        let mut path = (*candidate.path).clone();
        if self.external {
            // RFC 4271 5.1.4: what another AS said of its links is not passed on; a filter may say something of ours.
            path.attributes.med = None;
        }
        let change = place.and_then(|place| self.filters.apply(Direction::Export, family, place, &mut path));
        let keeps = match (change, self.options.next_hop) {
            (Some(NextHopChoice::Keep), _) | (None, NextHopMode::Keep) => candidate.source.peer.is_some(),
            // RFC 4456 section 10: a reflector is in the way of no packet.
            (None, NextHopMode::Auto) => reflected || self.leaves_next_hop(candidate, family),
            (Some(NextHopChoice::Own), _) | (None, NextHopMode::Own) => false,
        };
        let theirs = candidate.path.next_hop;
        let kept = keeps && self.can_hear(theirs.address, family);
        let next_hop = match family {
            // RFC 2545 section 3: its link-local address goes with it on the link that we and the neighbour share with it.
            _ if kept => {
                let shared = |local: &Ipv6Addr| self.shares_link(IpAddr::V6(*local));
                let link_local = theirs.link_local.filter(shared).filter(|_| unscoped(theirs.address).1.is_none());
                NextHop { link_local, ..theirs }
            }
            Family::V4 => NextHop::new(self.self4?),
            Family::V6 => NextHop::new(self.self6?),
        };
        // RFC 4271 5.1.3: nobody is told a route by way of itself.
        if kept && [next_hop.address, next_hop.way()].contains(&self.peer) {
            return None;
        }
        let mut attributes = path.attributes;
        stays_stale(&candidate.path, &mut attributes);
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
            attributes.originator_id = None;
            attributes.cluster_list.clear();
            // RFC 4360 section 6: non-transitive ones are our AS's own.
            attributes.extended_communities.retain(|community| community[0] & NON_TRANSITIVE == 0);
        } else {
            attributes.local_pref = Some(attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF));
        }
        if self.leaving {
            attributes.communities.insert(GRACEFUL_SHUTDOWN);
            attributes.local_pref = attributes.local_pref.map(|_| 0);
        }
        Some(Path { attributes, next_hop })
    }
}

/// RFC 9494 4.3: whatever a filter does with communities, this one is not removed.
fn stays_stale(before: &Path, attributes: &mut Attributes) {
    if before.is_long_lived_stale() {
        attributes.communities.insert(LLGR_STALE);
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
#[path = "mod_tests.rs"]
mod tests;
