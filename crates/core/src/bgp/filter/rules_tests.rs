use std::sync::Arc;

use super::super::{Export, Import, Refusal, Silence};
use super::*;
use crate::bgp::rib::path::{Candidate, Judged, Source, own_attributes};
use crate::bgp::wire::{AsSegment, NextHop};
use crate::model::filter::{FilterOperation, MatchOperator, RouteSource};
use crate::model::peering::PeerOptions;
use crate::model::{Cidr, ImportPolicy};

const PEER: [u8; 4] = [192, 0, 2, 2];
const OTHER: [u8; 4] = [192, 0, 2, 3];

/// `f`: accepts 10.1.0.0/16 with local preference 200 and refuses 10.2.0.0/16; tells 10.1.0.0/16, with a MED and two more
/// AS, and not what is our own in 10.2.0.0/16. Of the rest it says nothing.
fn filters(names: &[&str]) -> Filters {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let on = |cidr: &str, action, operations: Vec<FilterOperation>| FilterRule {
        action,
        cidr: Some((MatchOperator::In, cidr.parse().unwrap())),
        operations,
        ..FilterRule::default()
    };
    let more = vec![FilterOperation::SetMed(50), FilterOperation::PrependAsPath(vec![65000, 65000])];
    let own = FilterRule { source: Some(RouteSource::Own), ..on("10.2.0.0/16", FilterAction::Reject, vec![]) };
    let known = BgpFilter {
        name: "f".into(),
        import4: vec![
            on("10.1.0.0/16", FilterAction::Accept, vec![FilterOperation::SetLocalPreference(200)]),
            on("10.2.0.0/16", FilterAction::Reject, vec![]),
        ],
        export4: vec![on("10.1.0.0/16", FilterAction::Accept, more), own],
        ..BgpFilter::default()
    };
    Filters::new(&names, |name| (name == "f").then(|| known.clone()), |_| None)
}

fn prefix(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn candidate(from: Option<[u8; 4]>, external: bool) -> Candidate {
    let mut attributes = own_attributes();
    attributes.as_path = from.map(|_| AsSegment::Sequence(vec![65009])).into_iter().collect();
    attributes.med = Some(9);
    let path = Path { attributes, next_hop: NextHop { address: from.unwrap_or(PEER).into(), link_local: None } };
    let source = Source { peer: from.map(IpAddr::from), external, ..Source::own(OTHER.into()) };
    Candidate { source: Arc::new(source), path: Arc::new(path), judged: Judged::AsReceived }
}

#[test]
fn what_no_rule_decides_the_import_policy_decides() {
    let options = PeerOptions::default();
    let judge = |filters: &Filters, policy, text: &str| {
        let import = Import {
            policy,
            pools: &[prefix("10.3.0.0/16")],
            local_as: [64512; 2],
            peer_as: 65009,
            options: &options,
            router_id: [192, 0, 2, 1].into(),
            cluster_id: [192, 0, 2, 1].into(),
            own_addresses: &[],
            filters,
            peer: PEER.into(),
        };
        import.judge(&prefix(text), &candidate(Some(PEER), true).path)
    };
    let place = |rule| Place { filter: 0, rule };
    use ImportPolicy::{All, None as Nothing, Pools};
    for policy in [All, Nothing, Pools] {
        let judge = |text| judge(&filters(&["f"]), policy, text);
        assert_eq!(judge("10.1.5.0/24"), Ok(Some(place(0))), "accepted in so many words, whatever `import` is");
        assert_eq!(judge("10.2.0.0/16"), Err(Refusal::Filtered(place(1))));
    }
    assert_eq!(judge(&filters(&["f"]), All, "10.3.1.0/24"), Ok(None), "as in Calico");
    assert_eq!(judge(&filters(&["f"]), Nothing, "10.3.1.0/24"), Err(Refusal::NoImport));
    assert_eq!(judge(&filters(&["f"]), Pools, "10.3.1.0/24"), Ok(None));
    assert_eq!(judge(&filters(&["f"]), Pools, "10.4.1.0/24"), Err(Refusal::OutsidePools));
    assert_eq!(judge(&filters(&[]), All, "10.2.0.0/16"), Ok(None));
    for names in [&["gone"][..], &["f", "gone"]] {
        assert_eq!(judge(&filters(names), All, "10.1.5.0/24"), Err(Refusal::NoFilter), "closed: {names:?}");
    }
    assert_eq!(filters(&["f", "gone"]).missing(), ["gone"]);
}

#[test]
fn an_export_rule_opens_and_closes_but_not_against_the_protocol() {
    let export = |names: &[&str], external, transit| Export {
        peer: PEER.into(),
        external,
        transit,
        own_only: false,
        nothing: false,
        local_as: 64512,
        options: PeerOptions::default(),
        cluster_id: [192, 0, 2, 1].into(),
        self4: Some([192, 0, 2, 1].into()),
        self6: None,
        filters: filters(names),
    };
    let (own, learned) = (candidate(None, false), candidate(Some(OTHER), true));
    let place = |rule| Place { filter: 0, rule };
    let closed = export(&["f"], true, false);
    assert_eq!(closed.tells(&prefix("10.1.0.0/24"), &learned), Ok(Some(place(0))), "told although `import` is not all");
    assert_eq!(closed.tells(&prefix("10.3.0.0/24"), &learned), Err(Silence::NoTransit));
    assert_eq!(closed.tells(&prefix("10.3.0.0/24"), &own), Ok(None));
    assert_eq!(closed.tells(&prefix("10.2.0.0/24"), &own), Err(Silence::Filtered(place(1))));
    let open = export(&["f"], true, true);
    assert_eq!(open.tells(&prefix("10.2.0.0/24"), &learned), Ok(None), "the rule is for our own");
    assert_eq!(open.tells(&prefix("10.1.0.0/24"), &candidate(Some(PEER), true)), Err(Silence::SplitHorizon));
    let internal = export(&["f"], false, true);
    assert_eq!(internal.tells(&prefix("10.1.0.0/24"), &candidate(Some(OTHER), false)), Err(Silence::Internal));
    assert_eq!(export(&["gone"], true, true).tells(&prefix("10.3.0.0/24"), &own), Err(Silence::NoFilter));

    let told = open.rewrite(&learned, Family::V4, Some(place(0))).unwrap().attributes;
    assert_eq!(told.as_path, [AsSegment::Sequence(vec![64512, 65000, 65000, 65009])], "our AS comes first");
    assert_eq!(told.med, Some(50));
    assert_eq!(open.rewrite(&learned, Family::V4, None).unwrap().attributes.med, None);
}

#[test]
fn a_rule_is_called_by_its_object_and_place() {
    let words = filters(&["f"]).words(Direction::Import, Family::V4, Place { filter: 0, rule: 1 });
    assert_eq!(words, "BGPFilter f, importV4[1]");
}
