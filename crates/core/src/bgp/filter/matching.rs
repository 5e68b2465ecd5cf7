//! Whether a route meets the conditions of a rule.

use std::fmt;
use std::net::IpAddr;

use super::rules::Rule;
use crate::bgp::rib::Path;
use crate::bgp::wire::{AsSegment, Attributes};
use crate::model::Cidr;
use crate::model::filter::*;
use crate::model::scope::unscoped;

/// A route, as a rule sees it.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    pub prefix: &'a Cidr,
    pub path: &'a Path,
    /// The neighbour that it was learned from; `None`: our own.
    pub source: Option<IpAddr>,
    /// Whether the session at hand is eBGP.
    pub external: bool,
}

/// The first condition that does not hold, by its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    Cidr,
    PrefixLength,
    Source,
    SourcePeers,
    PeerType,
    Communities,
    AsPathPrefix,
    AsPath,
    NextHops,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mismatch::Cidr => "cidr",
            Mismatch::PrefixLength => "prefixLength",
            Mismatch::Source => "source",
            Mismatch::SourcePeers => "sourcePeers",
            Mismatch::PeerType => "peerType",
            Mismatch::Communities => "communities",
            Mismatch::AsPathPrefix => "asPathPrefix",
            Mismatch::AsPath => "asPath",
            Mismatch::NextHops => "nextHops",
        })
    }
}

/// `None`: the rule matches.
pub(super) fn mismatch(Rule { rule, sources }: &Rule, route: &Route<'_>) -> Option<Mismatch> {
    let attributes = &route.path.attributes;
    let in_length = rule.prefix_length.is_none_or(|range| range.holds(route.prefix.length()));
    let learned = route.source.is_some();
    let conditions = [
        (rule.cidr.is_none_or(|(operator, cidr)| meets(operator, &cidr, route.prefix, in_length)), Mismatch::Cidr),
        (rule.cidr.is_some() || in_length, Mismatch::PrefixLength),
        (rule.source.is_none_or(|source| (source == RouteSource::RemotePeers) == learned), Mismatch::Source),
        (
            rule.source_peers.is_empty() || route.source.is_some_and(|source| sources.contains(&source)),
            Mismatch::SourcePeers,
        ),
        (rule.peer_type.is_none_or(|kind| (kind == PeerType::External) == route.external), Mismatch::PeerType),
    ];
    let failed = conditions.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what);
    // The dearer ones are asked last.
    failed.or_else(|| {
        if !rule.communities.as_ref().is_none_or(|wanted| carries(wanted, attributes)) {
            return Some(Mismatch::Communities);
        }
        if !begins_with(&attributes.as_path, &rule.as_path_prefix) {
            return Some(Mismatch::AsPathPrefix);
        }
        if !rule.as_path.as_ref().is_none_or(|pattern| path_matches(pattern, &attributes.as_path)) {
            return Some(Mismatch::AsPath);
        }
        let next_hop = unscoped(route.path.next_hop.address).0;
        let reached = rule.next_hops.is_empty() || rule.next_hops.iter().any(|net| net.contains(next_hop));
        (!reached).then_some(Mismatch::NextHops)
    })
}

/// As Calico has BIRD ask: the length bounds what is inside, and the negations negate the two together.
fn meets(operator: MatchOperator, cidr: &Cidr, prefix: &Cidr, in_length: bool) -> bool {
    match operator {
        MatchOperator::Equal => prefix == cidr && in_length,
        MatchOperator::NotEqual => !(prefix == cidr && in_length),
        MatchOperator::In => cidr.covers(prefix) && in_length,
        MatchOperator::NotIn => !(cidr.covers(prefix) && in_length),
    }
}

fn carries(wanted: &CommunityMatch, attributes: &Attributes) -> bool {
    let mut values = wanted.values.iter();
    match wanted.operator {
        CommunityOperator::AnyOf => values.any(|value| has(value, attributes)),
        CommunityOperator::AllOf => values.all(|value| has(value, attributes)),
        CommunityOperator::NoneOf => !values.any(|value| has(value, attributes)),
    }
}

fn has(pattern: &CommunityPattern, attributes: &Attributes) -> bool {
    match pattern {
        CommunityPattern::Standard(_) => attributes.communities.iter().any(|value| pattern.standard(*value)),
        CommunityPattern::Large(_) => attributes.large_communities.iter().any(|value| pattern.large(*value)),
        CommunityPattern::Extended(_) => attributes.extended_communities.iter().any(|value| pattern.extended(value)),
    }
}

/// A place of the path: an AS, or a set, which counts as one (RFC 4271 9.1.2.2 a) and is each of its members.
fn places(path: &[AsSegment]) -> Vec<&[u32]> {
    let mut places = Vec::new();
    for segment in path {
        match segment {
            AsSegment::Sequence(numbers) => places.extend(numbers.chunks(1)),
            AsSegment::Set(numbers) => places.push(numbers.as_slice()),
        }
    }
    places
}

fn begins_with(path: &[AsSegment], prefix: &[u32]) -> bool {
    if prefix.is_empty() {
        return true;
    }
    let places = places(path);
    places.len() >= prefix.len() && places.iter().zip(prefix).all(|(place, number)| place.contains(number))
}

/// From left to right, with the last `*` taking one more whenever what follows it fails: no more than places x tokens.
fn path_matches(AsPathPattern(tokens): &AsPathPattern, path: &[AsSegment]) -> bool {
    let places = places(path);
    let (mut at, mut token) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at < places.len() {
        let fits = match tokens.get(token) {
            Some(AsPathToken::Any) => {
                retry = Some((at, token));
                token += 1;
                continue;
            }
            Some(AsPathToken::One) => true,
            Some(AsPathToken::Number(first, last)) => places[at].iter().any(|n| (first..=last).contains(&n)),
            None => false,
        };
        if fits {
            (at, token) = (at + 1, token + 1);
        } else if let Some((from, star)) = retry {
            retry = Some((from + 1, star));
            (at, token) = (from + 1, star + 1);
        } else {
            return false;
        }
    }
    tokens[token..].iter().all(|token| *token == AsPathToken::Any)
}

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
