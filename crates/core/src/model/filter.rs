//! BGP filters: Calico's BGPFilter, with what it does not have (any community, AS path patterns, next hops, sources,
//! and operations on every attribute that a filter may change).

use serde::{Deserialize, Serialize};

use super::Cidr;
pub use super::filter_words::{AsPathPattern, AsPathToken, Community, CommunityPattern, WordError};

/// A BGPFilter: for each direction and address family rules in order, of which the first that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpFilter {
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export4: Vec<FilterRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub import4: Vec<FilterRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export6: Vec<FilterRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub import6: Vec<FilterRule>,
}

/// One rule: it matches where all of its conditions do, and always where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilterRule {
    pub action: FilterAction,
    pub cidr: Option<(MatchOperator, Cidr)>,
    /// Bounds of the prefix's length. Part of the `cidr` condition where there is one, so `NotIn` negates both.
    pub prefix_length: Option<LengthRange>,
    pub source: Option<RouteSource>,
    /// Neighbours, by name or address, that the route was learned from.
    pub source_peers: Vec<String>,
    /// Which sessions the rule is for.
    pub peer_type: Option<PeerType>,
    pub communities: Option<CommunityMatch>,
    /// What the AS path begins with.
    pub as_path_prefix: Vec<u32>,
    pub as_path: Option<AsPathPattern>,
    /// Any of them holds the next hop.
    pub next_hops: Vec<Cidr>,
    /// In order; with `Accept` only.
    pub operations: Vec<FilterOperation>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterAction {
    Accept,
    #[default]
    Reject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchOperator {
    Equal,
    NotEqual,
    In,
    NotIn,
}

/// Both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LengthRange {
    pub min: Option<u8>,
    pub max: Option<u8>,
}

impl LengthRange {
    pub fn holds(&self, length: u8) -> bool {
        self.min.is_none_or(|min| min <= length) && self.max.is_none_or(|max| length <= max)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteSource {
    /// Learned over BGP.
    RemotePeers,
    /// Of this node.
    Own,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerType {
    #[serde(rename = "eBGP")]
    External,
    #[serde(rename = "iBGP")]
    Internal,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommunityMatch {
    pub operator: CommunityOperator,
    pub values: Vec<CommunityPattern>,
}

/// How many of the values the route has to carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommunityOperator {
    #[default]
    AnyOf,
    AllOf,
    NoneOf,
}

/// A change of the route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterOperation {
    AddCommunity(Community),
    RemoveCommunity(CommunityPattern),
    /// In place of all that it carries, of every kind.
    SetCommunities(Vec<Community>),
    PrependAsPath(Vec<u32>),
    SetMed(u32),
    SetLocalPreference(u32),
    SetNextHop(NextHopChoice),
}

/// What a neighbour is told as the next hop, in place of what its `nextHopMode` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NextHopChoice {
    #[serde(rename = "Self")]
    Own,
    Keep,
}
