use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::model::filter::*;
use crate::model::yaml::{object_to_yaml, read_documents, render_errors};
use crate::model::{BgpFilter, Object};

fn read(spec: &str) -> Result<BgpFilter, String> {
    let text = format!("apiVersion: projectcalico.org/v3\nkind: BGPFilter\nmetadata: {{name: f}}\nspec:\n{spec}\n");
    match read_documents("f.yaml", &text) {
        Ok(mut objects) => match objects.remove(0).value {
            Object::BGPFilter(filter) => Ok(filter),
            other => panic!("{other:?}"),
        },
        Err(errors) => Err(render_errors(&errors)),
    }
}

/// What Calico's documentation has as an example, and every field that we have beside it.
#[test]
fn a_filter_is_written_as_it_was_read() {
    let spec = "
  exportV4:
  - {action: Accept, matchOperator: In, cidr: 77.0.0.0/16, source: RemotePeers}
  - {action: Accept, source: Own, operations: [{addCommunity: {value: '65000:100'}}, {setMED: {value: 50}},
     {removeCommunity: {value: '65000:*'}}, {setNextHop: {value: Keep}}]}
  - {action: Reject}
  importV4:
  - {action: Accept, matchOperator: In, cidr: 55.0.0.0/16, prefixLength: {min: 30}}
  - {action: Accept, peerType: eBGP, communities: {values: ['65000:1:2']}, asPathPrefix: [65001, 65002]}
  - {action: Accept, communities: {matchOperator: AllOf, values: [no-export, 'rt:65000:1']}, asPath: '65001 * 7-9',
     nextHops: [192.0.2.1, 198.51.100.0/24], sourcePeers: [tor-a], operations: [{setLocalPreference: {value: 200}},
     {setCommunities: {values: []}}, {prependASPath: {prefix: [65000, 65000]}}]}
  - {action: Reject, matchOperator: NotIn, cidr: 44.0.0.0/16}
  importV6:
  - {action: Accept, matchOperator: Equal, cidr: '5000::/64'}
  - {action: Reject}
";
    let filter = read(spec).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((filter.export4.len(), filter.import4.len(), filter.export6.len(), filter.import6.len()), (3, 4, 0, 2));
    let text = object_to_yaml(&Object::BGPFilter(filter.clone()));
    let again = read_documents("again.yaml", &text).unwrap_or_else(|errors| panic!("{text}{}", render_errors(&errors)));
    assert_eq!(again[0].value, Object::BGPFilter(filter.clone()));
    let json = serde_json::to_string(&filter).unwrap();
    assert_eq!(serde_json::from_str::<BgpFilter>(&json).unwrap(), filter, "{json}");
}

#[test]
fn what_is_wrong_with_a_rule_is_told_with_its_place() {
    for (rule, expected) in [
        ("{cidr: 10.0.0.0/8, matchOperator: In}", "importV4[0].action: missing: expected Accept or Reject"),
        ("{action: Accept, cidr: 10.0.0.0/8}", "importV4[0].matchOperator: missing: beside cidr expected Equal,"),
        ("{action: Accept, matchOperator: In}", "importV4[0].cidr: missing: matchOperator compares with it"),
        ("{action: Accept, cidr: 'fd00::/8', matchOperator: In}", "importV4[0].cidr: fd00::/8 is IPv6, and the list"),
        ("{action: Accept, prefixLength: {min: 33}}", "expected a number from 0 to 32, found 33"),
        ("{action: Accept, prefixLength: {min: 9, max: 8}}", "no length is from 9 to 8"),
        ("{action: Reject, operations: [{setMED: {value: 1}}]}", "operations: what is rejected is not changed"),
        ("{action: Accept, operations: [{setMED: {value: 1}, setPriority: {value: 1}}]}", "setPriority: not built yet"),
        (
            "{action: Accept, operations: [{setMED: {value: 1}, addCommunity: {value: '1:1'}}]}",
            "operations[0]: expected one of addCommunity, removeCommunity, setCommunities, prependASPath, setMED, \
             setLocalPreference and setNextHop, found 2",
        ),
        ("{action: Accept, operations: [{setNextHop: {value: Keep}}]}", "a next hop is changed on the way out"),
        ("{action: Accept, operations: [{prependASPath: {prefix: []}}]}", "expected 1 to 10 AS numbers, found 0"),
        ("{action: Accept, operations: [{addCommunity: {value: '1:*'}}]}", "\"1:*\" names many communities"),
        ("{action: Accept, communities: {values: []}}", "expected a community at least"),
        ("{action: Accept, communities: {values: [x]}}", "\"x\" is not a community: expected a standard one"),
        ("{action: Accept, asPath: '^65001$'}", "\"^65001$\" in an AS path pattern: expected an AS number"),
        ("{action: Accept, nextHops: [host]}", "`host` is not a CIDR"),
        ("{action: Accept, interface: '*.calico'}", "importV4[0].interface: not built yet (remove it)"),
        ("{action: Accept, priority: 512}", "importV4[0].priority: not built yet (remove it)"),
        ("{action: Accept, source: Everywhere}", "unknown source \"Everywhere\"; expected RemotePeers or Own"),
        ("{action: Allow}", "unknown action \"Allow\"; expected Accept or Reject"),
        ("{action: Accept, cidrs: []}", "cidrs: unknown field (did you mean cidr?)"),
    ] {
        let errors = read(&format!("  importV4:\n  - {rule}")).expect_err(rule);
        assert!(errors.contains(expected), "{rule}: {errors}");
        assert!(errors.contains("f.yaml:6: BGPFilter f"), "{rule}: {errors}");
    }
}

fn community() -> impl Strategy<Value = Community> {
    prop_oneof![
        any::<u32>().prop_map(Community::Standard),
        any::<(u32, u32, u32)>().prop_map(|(a, b, c)| Community::Large(a, b, c)),
        any::<[u8; 8]>().prop_map(Community::Extended),
        any::<(bool, [u8; 6])>().prop_map(|(rt, rest)| {
            let [a, b, c, d, e, f] = rest;
            Community::Extended([a % 3, if rt { 2 } else { 3 }, a, b, c, d, e, f])
        }),
    ]
}

fn pattern() -> impl Strategy<Value = CommunityPattern> {
    prop_oneof![
        community().prop_map(CommunityPattern::from),
        (of(any::<u16>()), of(any::<u16>())).prop_map(|(a, b)| CommunityPattern::Standard([a, b])),
        (of(any::<u32>()), of(any::<u32>()), of(any::<u32>())).prop_map(|(a, b, c)| CommunityPattern::Large([a, b, c])),
    ]
}

fn as_path() -> impl Strategy<Value = AsPathPattern> {
    let number = (1..u32::MAX, any::<u32>()).prop_map(|(a, b)| AsPathToken::Number(a.min(b.max(1)), a.max(b)));
    vec(prop_oneof![Just(AsPathToken::Any), Just(AsPathToken::One), number], 0..4).prop_map(AsPathPattern)
}

fn operation(import: bool) -> impl Strategy<Value = FilterOperation> {
    prop_oneof![
        community().prop_map(FilterOperation::AddCommunity),
        pattern().prop_map(FilterOperation::RemoveCommunity),
        vec(community(), 0..3).prop_map(FilterOperation::SetCommunities),
        vec(1..u32::MAX, 1..=10).prop_map(FilterOperation::PrependAsPath),
        any::<u32>().prop_map(FilterOperation::SetMed),
        any::<u32>().prop_map(move |value| match import {
            true => FilterOperation::SetLocalPreference(value),
            false => FilterOperation::SetNextHop(NextHopChoice::Keep),
        }),
    ]
}

fn rule(import: bool) -> impl Strategy<Value = FilterRule> {
    let operators = vec![MatchOperator::Equal, MatchOperator::NotEqual, MatchOperator::In, MatchOperator::NotIn];
    let counts = vec![CommunityOperator::AnyOf, CommunityOperator::AllOf, CommunityOperator::NoneOf];
    let cidr = of((select(operators), select(vec!["10.0.0.0/8", "0.0.0.0/0", "192.0.2.1/32"])));
    let lengths = of((of(0..16u8), of(16..33u8)));
    let source = of(select(vec![RouteSource::RemotePeers, RouteSource::Own]));
    let kind = of(select(vec![PeerType::External, PeerType::Internal]));
    let communities = of((select(counts), vec(pattern(), 1..3)));
    let paths = (vec(1..u32::MAX, 0..3), of(as_path()), vec(select(vec!["192.0.2.1/32", "fd00::/8"]), 0..2));
    let rest = (any::<bool>(), vec("[a-z]{1,4}", 0..2), vec(operation(import), 0..3));
    (cidr, lengths, source, kind, communities, paths, rest).prop_map(
        |(
            cidr,
            lengths,
            source,
            peer_type,
            communities,
            (as_path_prefix, as_path, hops),
            (accept, peers, operations),
        )| {
            FilterRule {
                action: if accept { FilterAction::Accept } else { FilterAction::Reject },
                cidr: cidr.map(|(operator, cidr)| (operator, cidr.parse().unwrap())),
                prefix_length: lengths.map(|(min, max)| LengthRange { min, max }),
                source,
                source_peers: peers
                    .into_iter()
                    .filter(|name| !["true", "null", "yes", "no", "on", "off"].contains(&name.as_str()))
                    .collect(),
                peer_type,
                communities: communities.map(|(operator, values)| CommunityMatch { operator, values }),
                as_path_prefix,
                as_path,
                next_hops: hops.into_iter().map(|hop| hop.parse().unwrap()).collect(),
                operations: if accept { operations } else { Vec::new() },
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back(export4 in vec(rule(false), 0..3), import4 in vec(rule(true), 0..3)) {
        let filter = Object::BGPFilter(BgpFilter { name: "f".into(), export4, import4, ..BgpFilter::default() });
        let text = object_to_yaml(&filter);
        match read_documents("f.yaml", &text) {
            Ok(objects) => prop_assert_eq!(&objects[0].value, &filter),
            Err(errors) => return Err(TestCaseError::fail(format!("{text}\n{}", render_errors(&errors)))),
        }
        let json = serde_json::to_string(&filter).unwrap();
        prop_assert_eq!(serde_json::from_str::<Object>(&json).unwrap(), filter);
    }
}
