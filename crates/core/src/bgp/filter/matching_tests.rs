use std::net::IpAddr;

use proptest::prelude::*;

use super::super::rules::{Direction, Filters, Place, Verdict};
use super::super::test_support::{self, OTHER, PEER as TOR};
use super::*;
use crate::model::BgpFilter;

fn path(as_path: &[u32], communities: &[u32]) -> Path {
    let mut path = test_support::path();
    if !as_path.is_empty() {
        path.attributes.as_path = vec![AsSegment::Sequence(as_path.to_vec())];
    }
    path.attributes.communities = communities.iter().copied().collect();
    path
}

/// What a rule makes of a route from the neighbour `tor`.
fn asked(rule: FilterRule, prefix: &str, path: &Path) -> Option<Mismatch> {
    let prefix: Cidr = prefix.parse().unwrap();
    let sources = rule.source_peers.iter().map(|_| TOR.into()).collect();
    let route = Route { prefix: &prefix, path, source: Some(TOR.into()), external: true };
    mismatch(&Rule { rule, sources }, &route)
}

fn on(operator: MatchOperator, cidr: &str, lengths: Option<(u8, u8)>) -> FilterRule {
    let prefix_length = lengths.map(|(min, max)| LengthRange { min: Some(min), max: Some(max) });
    FilterRule { cidr: Some((operator, cidr.parse().unwrap())), prefix_length, ..FilterRule::default() }
}

#[test]
fn prefixes_are_compared_as_calico_has_bird_compare_them() {
    use MatchOperator::{Equal, In, NotEqual, NotIn};
    for (operator, lengths, prefix, matches) in [
        (In, None, "10.0.0.0/8", true),
        (In, None, "10.1.2.3/32", true),
        (In, None, "8.0.0.0/5", false),
        (In, None, "11.0.0.0/16", false),
        (NotIn, None, "11.0.0.0/16", true),
        (NotIn, None, "10.1.0.0/16", false),
        (Equal, None, "10.0.0.0/8", true),
        (Equal, None, "10.0.0.0/9", false),
        (NotEqual, None, "10.0.0.0/9", true),
        (NotEqual, None, "10.0.0.0/8", false),
        (In, Some((16, 24)), "10.1.0.0/16", true),
        (In, Some((16, 24)), "10.1.1.0/24", true),
        (In, Some((16, 24)), "10.0.0.0/8", false),
        (In, Some((16, 24)), "10.1.1.0/25", false),
        // The bound is part of what is negated.
        (NotIn, Some((16, 24)), "10.1.1.0/25", true),
        (NotIn, Some((16, 24)), "10.1.1.0/24", false),
    ] {
        let found = asked(on(operator, "10.0.0.0/8", lengths), prefix, &path(&[], &[]));
        assert_eq!(found, (!matches).then_some(Mismatch::Cidr), "{prefix} {operator:?} {lengths:?}");
    }
    let only_length =
        || FilterRule { prefix_length: Some(LengthRange { min: None, max: Some(24) }), ..FilterRule::default() };
    assert_eq!(asked(only_length(), "172.16.0.0/24", &path(&[], &[])), None);
    assert_eq!(asked(only_length(), "172.16.0.0/25", &path(&[], &[])), Some(Mismatch::PrefixLength));
}

#[test]
fn communities_of_every_kind_are_asked_for() {
    let mut carried = path(&[], &[65000 << 16 | 100]);
    carried.attributes.large_communities.insert((65000, 1, 2));
    carried.attributes.extended_communities.insert([0, 2, 0xfd, 0xe8, 0, 0, 0, 7]);
    use CommunityOperator::{AllOf, AnyOf, NoneOf};
    for (operator, values, matches) in [
        (AnyOf, &["65000:100"][..], true),
        (AnyOf, &["65000:101"], false),
        (AnyOf, &["65000:101", "65000:1:2"], true),
        (AnyOf, &["rt:65000:7"], true),
        (AnyOf, &["soo:65000:7"], false),
        (AnyOf, &["65000:*"], true),
        (AnyOf, &["65001:*"], false),
        (AllOf, &["65000:100", "65000:1:*", "rt:65000:7"], true),
        (AllOf, &["65000:100", "no-export"], false),
        (NoneOf, &["no-export", "65000:1:3"], true),
        (NoneOf, &["no-export", "65000:100"], false),
    ] {
        let values_read = values.iter().map(|value| value.parse().unwrap()).collect();
        let communities = Some(CommunityMatch { operator, values: values_read });
        let found = asked(FilterRule { communities, ..FilterRule::default() }, "10.0.0.0/8", &carried);
        assert_eq!(found, (!matches).then_some(Mismatch::Communities), "{operator:?} {values:?}");
    }
}

#[test]
fn as_paths_are_matched_whole() {
    for (pattern, as_path, matches) in [
        ("", &[][..], true),
        ("", &[65001], false),
        ("65001", &[65001], true),
        ("65001", &[65001, 65002], false),
        ("65001 *", &[65001, 65002, 65003], true),
        ("65001 *", &[65001], true),
        ("* 65003", &[65001, 65002, 65003], true),
        ("* 65003", &[65003, 65002], false),
        ("* 65002 *", &[65001, 65002, 65003], true),
        ("* 65002 *", &[65001, 65003], false),
        ("? ?", &[65001, 65002], true),
        ("? ?", &[65001], false),
        ("* 1 * 2", &[1, 2, 1, 3, 2], true),
        ("* 1 2 *", &[1, 1, 3, 1, 2], true),
        ("* 1 2", &[1, 2, 3], false),
        ("64512-65534", &[65000], true),
        ("64512-65534", &[64511], false),
        ("*", &[], true),
    ] {
        let rule = FilterRule { as_path: Some(pattern.parse().unwrap()), ..FilterRule::default() };
        let found = asked(rule, "10.0.0.0/8", &path(as_path, &[]));
        assert_eq!(found, (!matches).then_some(Mismatch::AsPath), "\"{pattern}\" over {as_path:?}");
    }
    let mut set = path(&[65001], &[]);
    set.attributes.as_path.push(AsSegment::Set(vec![7, 8]));
    let pattern = |text: &str| FilterRule { as_path: Some(text.parse().unwrap()), ..FilterRule::default() };
    assert_eq!(asked(pattern("65001 8"), "10.0.0.0/8", &set), None, "a set is one place, and each of its members");
    assert_eq!(asked(pattern("65001 7 8"), "10.0.0.0/8", &set), Some(Mismatch::AsPath));
    let prefix = |numbers: &[u32]| FilterRule { as_path_prefix: numbers.to_vec(), ..FilterRule::default() };
    assert_eq!(asked(prefix(&[65001, 7]), "10.0.0.0/8", &set), None);
    assert_eq!(asked(prefix(&[65001, 7, 8]), "10.0.0.0/8", &set), Some(Mismatch::AsPathPrefix));
    assert_eq!(asked(prefix(&[7]), "10.0.0.0/8", &set), Some(Mismatch::AsPathPrefix));
}

#[test]
fn sources_sessions_and_next_hops_are_asked_for() {
    let prefix: Cidr = "10.0.0.0/8".parse().unwrap();
    let path = path(&[], &[]);
    let own = Route { prefix: &prefix, path: &path, source: None, external: false };
    let learned = Route { source: Some(TOR.into()), external: true, ..own };
    let rule = |rule: FilterRule, sources: &[[u8; 4]]| Rule {
        rule,
        sources: sources.iter().map(|a| IpAddr::from(*a)).collect(),
    };
    let source = |source| rule(FilterRule { source: Some(source), ..FilterRule::default() }, &[]);
    assert_eq!(mismatch(&source(RouteSource::Own), &own), None);
    assert_eq!(mismatch(&source(RouteSource::Own), &learned), Some(Mismatch::Source));
    assert_eq!(mismatch(&source(RouteSource::RemotePeers), &learned), None);
    assert_eq!(mismatch(&source(RouteSource::RemotePeers), &own), Some(Mismatch::Source));
    let named =
        |sources: &[[u8; 4]]| rule(FilterRule { source_peers: vec!["tor".into()], ..FilterRule::default() }, sources);
    assert_eq!(mismatch(&named(&[OTHER, TOR]), &learned), None);
    assert_eq!(mismatch(&named(&[OTHER]), &learned), Some(Mismatch::SourcePeers));
    assert_eq!(mismatch(&named(&[]), &learned), Some(Mismatch::SourcePeers), "a neighbour that is not there");
    assert_eq!(mismatch(&named(&[TOR]), &own), Some(Mismatch::SourcePeers));
    let kind = |kind| rule(FilterRule { peer_type: Some(kind), ..FilterRule::default() }, &[]);
    assert_eq!(mismatch(&kind(PeerType::External), &learned), None);
    assert_eq!(mismatch(&kind(PeerType::Internal), &learned), Some(Mismatch::PeerType));
    let hops = |net: &str| rule(FilterRule { next_hops: vec![net.parse().unwrap()], ..FilterRule::default() }, &[]);
    assert_eq!(mismatch(&hops("192.0.2.0/24"), &learned), None);
    assert_eq!(mismatch(&hops("192.0.2.3/32"), &learned), Some(Mismatch::NextHops));
}

/// The pattern by the book: every way to cut the path is tried.
fn naive(tokens: &[AsPathToken], numbers: &[u32]) -> bool {
    match tokens.split_first() {
        None => numbers.is_empty(),
        Some((AsPathToken::Any, rest)) => (0..=numbers.len()).any(|taken| naive(rest, &numbers[taken..])),
        Some((AsPathToken::One, rest)) => !numbers.is_empty() && naive(rest, &numbers[1..]),
        Some((AsPathToken::Number(first, last), rest)) => {
            numbers.first().is_some_and(|n| first <= n && n <= last) && naive(rest, &numbers[1..])
        }
    }
}

fn token() -> impl Strategy<Value = AsPathToken> {
    prop_oneof![
        Just(AsPathToken::Any),
        Just(AsPathToken::One),
        (1..4u32, 0..2u32).prop_map(|(first, more)| AsPathToken::Number(first, first + more)),
    ]
}

/// A rule of a few conditions over few values, so that rules do match.
fn rule() -> impl Strategy<Value = FilterRule> {
    let operator = prop::sample::select(vec![
        MatchOperator::Equal,
        MatchOperator::NotEqual,
        MatchOperator::In,
        MatchOperator::NotIn,
    ]);
    let cidr = prop::option::of((operator, prop::sample::select(vec!["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"])));
    let community = prop::option::of(prop::sample::select(vec!["1:1", "1:*", "1:2"]));
    let accept = prop::bool::ANY;
    (cidr, community, prop::option::of(prop::collection::vec(token(), 0..4)), prop::option::of(8..24u8), accept)
        .prop_map(|(cidr, community, as_path, min, accept)| FilterRule {
            action: if accept { FilterAction::Accept } else { FilterAction::Reject },
            cidr: cidr.map(|(operator, cidr)| (operator, cidr.parse().unwrap())),
            prefix_length: min.map(|min| LengthRange { min: Some(min), max: None }),
            communities: community.map(|value| CommunityMatch {
                operator: CommunityOperator::AnyOf,
                values: vec![value.parse().unwrap()],
            }),
            as_path: as_path.map(AsPathPattern),
            ..FilterRule::default()
        })
}

proptest! {
    #[test]
    fn patterns_match_as_by_the_book(
        tokens in prop::collection::vec(token(), 0..6),
        numbers in prop::collection::vec(1..5u32, 0..7),
    ) {
        let wanted = naive(&tokens, &numbers);
        let path = path(&numbers, &[]);
        prop_assert_eq!(path_matches(&AsPathPattern(tokens), &path.attributes.as_path), wanted);
    }

    /// Two filters of any rules say what a plain reading of the rules says, one after the other.
    #[test]
    fn the_first_rule_that_matches_decides(
        first in prop::collection::vec(rule(), 0..4),
        second in prop::collection::vec(rule(), 0..4),
        prefix in prop::sample::select(vec!["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "172.16.0.0/12"]),
        numbers in prop::collection::vec(1..4u32, 0..3),
        communities in prop::collection::vec(prop::sample::select(vec![1 << 16 | 1, 1 << 16 | 2, 2 << 16]), 0..2),
    ) {
        let prefix: Cidr = prefix.parse().unwrap();
        let path = path(&numbers, &communities);
        let holds = |rule: &FilterRule| {
            let in_length = rule.prefix_length.is_none_or(|range| prefix.length() >= range.min.unwrap());
            let by_prefix = match rule.cidr {
                None => in_length,
                Some((MatchOperator::Equal, cidr)) => cidr == prefix && in_length,
                Some((MatchOperator::NotEqual, cidr)) => cidr != prefix || !in_length,
                Some((MatchOperator::In, cidr)) => cidr.covers(&prefix) && in_length,
                Some((MatchOperator::NotIn, cidr)) => !cidr.covers(&prefix) || !in_length,
            };
            let by_community = rule.communities.as_ref().is_none_or(|wanted| {
                communities.iter().any(|community| wanted.values[0].standard(*community))
            });
            by_prefix && by_community && rule.as_path.as_ref().is_none_or(|pattern| naive(&pattern.0, &numbers))
        };
        let mut wanted = Verdict::NoMatch;
        'filters: for (filter, rules) in [&first, &second].into_iter().enumerate() {
            for (index, rule) in rules.iter().enumerate() {
                if holds(rule) {
                    let place = Place { filter: filter as u16, rule: index as u16 };
                    wanted = match rule.action {
                        FilterAction::Accept => Verdict::Accept(place),
                        FilterAction::Reject => Verdict::Reject(place),
                    };
                    break 'filters;
                }
            }
        }
        let filters = Filters::new(
            &["first".to_string(), "second".to_string()],
            |name| {
                let import4 = if name == "first" { first.clone() } else { second.clone() };
                Some(BgpFilter { name: name.to_string(), import4, ..BgpFilter::default() })
            },
            |_| None,
        );
        let route = Route { prefix: &prefix, path: &path, source: Some(TOR.into()), external: true };
        prop_assert_eq!(filters.judge(Direction::Import, &route), wanted);
        prop_assert_eq!(filters.judge(Direction::Export, &route), Verdict::NoMatch);
        let asked = filters.explain(Direction::Import, &route);
        let decided = asked.last().filter(|last| last.mismatch.is_none()).map(|last| last.place);
        prop_assert_eq!(decided, match wanted {
            Verdict::Accept(place) | Verdict::Reject(place) => Some(place),
            Verdict::NoMatch => None,
        });
    }
}
