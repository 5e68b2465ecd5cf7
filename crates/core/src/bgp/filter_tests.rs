use std::sync::Arc;

use super::super::rib::path::{Source, own_attributes};
use super::*;

const PEER: [u8; 4] = [192, 0, 2, 2];

fn path() -> Path {
    Path { attributes: own_attributes(), next_hop: NextHop { address: IpAddr::from(PEER), link_local: None } }
}

fn from(peer: Option<[u8; 4]>, external: bool, communities: &[u32]) -> Candidate {
    let mut path = path();
    path.attributes.communities = communities.iter().copied().collect();
    let source = Source { peer: peer.map(IpAddr::from), external, router_id: PEER.into(), session: 1 };
    Candidate { source: Arc::new(source), path: Arc::new(path), refused: None }
}

fn export(external: bool) -> Export {
    Export {
        peer: IpAddr::from(PEER),
        external,
        transit: true,
        own_only: false,
        nothing: false,
        local_as: 64512,
        self4: Some(IpAddr::from([192, 0, 2, 1])),
        self6: None,
    }
}

#[test]
fn pools_let_in_what_lies_inside_them_and_nothing_wider() {
    let pools: Vec<Cidr> = vec!["10.65.0.0/16".parse().unwrap(), "fd65::/64".parse().unwrap()];
    let import = |policy| Import {
        policy,
        pools: &pools,
        local_as: 64512,
        router_id: [192, 0, 2, 1].into(),
        own_addresses: &[],
    };
    let judge = |policy, prefix: &str| import(policy).judge(&prefix.parse().unwrap(), &path());
    for inside in ["10.65.1.7/32", "10.65.0.0/16", "fd65::1/128"] {
        assert_eq!(judge(ImportPolicy::Pools, inside), None, "{inside}");
    }
    for outside in ["10.64.0.0/15", "0.0.0.0/0", "10.66.0.1/32", "fd65:0:0:1::/64", "::/0"] {
        assert_eq!(judge(ImportPolicy::Pools, outside), Some(Refusal::OutsidePools), "{outside}");
        assert_eq!(judge(ImportPolicy::All, outside), None, "{outside}");
    }
    assert_eq!(judge(ImportPolicy::None, "10.65.1.7/32"), Some(Refusal::NoImport));
}

#[test]
fn what_came_from_here_is_refused_whatever_the_policy() {
    let own = [IpAddr::from(PEER)];
    let mut import = Import {
        policy: ImportPolicy::All,
        pools: &[],
        local_as: 64512,
        router_id: [192, 0, 2, 1].into(),
        own_addresses: &own,
    };
    let prefix: Cidr = "10.65.1.7/32".parse().unwrap();
    assert_eq!(import.judge(&prefix, &path()), Some(Refusal::OwnNextHop));
    import.own_addresses = &[];
    let mut looped = path();
    looped.attributes.as_path = vec![AsSegment::Sequence(vec![65001]), AsSegment::Set(vec![65002, 64512])];
    assert_eq!(import.judge(&prefix, &looped), Some(Refusal::AsLoop));
    let mut reflected = path();
    reflected.attributes.originator_id = Some(import.router_id);
    assert_eq!(import.judge(&prefix, &reflected), Some(Refusal::Originator));
}

#[test]
fn a_route_goes_neither_back_nor_from_ibgp_to_ibgp() {
    let elsewhere = Some([192, 0, 2, 3]);
    assert!(export(false).tells(&from(None, false, &[])) && export(true).tells(&from(None, false, &[])));
    assert!(!export(true).tells(&from(Some(PEER), true, &[])), "back to whom it came from");
    assert!(export(false).tells(&from(elsewhere, true, &[])), "eBGP to iBGP");
    assert!(!export(false).tells(&from(elsewhere, false, &[])), "iBGP to iBGP");
    assert!(export(true).tells(&from(elsewhere, false, &[])), "iBGP to eBGP, with transit");
    let no_transit = Export { transit: false, ..export(true) };
    assert!(!no_transit.tells(&from(elsewhere, false, &[])), "iBGP to eBGP, without");
    let draining = Export { nothing: true, ..export(false) };
    assert!(!draining.tells(&from(None, false, &[])));
    let deferred = Export { own_only: true, ..export(false) };
    assert!(deferred.tells(&from(None, false, &[])) && !deferred.tells(&from(elsewhere, true, &[])));
}

#[test]
fn well_known_communities_stop_a_route() {
    let elsewhere = Some([192, 0, 2, 3]);
    for (community, inside, outside) in
        [(NO_EXPORT, true, false), (NO_EXPORT_SUBCONFED, true, false), (NO_ADVERTISE, false, false), (1, true, true)]
    {
        let candidate = from(elsewhere, true, &[community]);
        assert_eq!(export(false).tells(&candidate), inside, "{community:x} to iBGP");
        assert_eq!(export(true).tells(&candidate), outside, "{community:x} to eBGP");
    }
}

#[test]
fn across_the_border_our_as_leads_and_what_is_internal_stays_inside() {
    let mut learned = path();
    learned.attributes.as_path = vec![AsSegment::Sequence(vec![65001])];
    learned.attributes.local_pref = Some(300);
    learned.attributes.med = Some(5);
    learned.attributes.cluster_list = vec![[192, 0, 2, 9].into()];
    let told = export(true).rewrite(&learned, Family::V4).unwrap();
    assert_eq!(told.attributes.as_path, [AsSegment::Sequence(vec![64512, 65001])]);
    assert_eq!((told.attributes.local_pref, told.attributes.med), (None, None));
    assert!(told.attributes.cluster_list.is_empty());
    assert_eq!(told.next_hop.address, IpAddr::from([192, 0, 2, 1]));
    let told = export(false).rewrite(&learned, Family::V4).unwrap();
    assert_eq!(told.attributes.as_path, [AsSegment::Sequence(vec![65001])]);
    assert_eq!((told.attributes.local_pref, told.attributes.med), (Some(300), Some(5)));
    assert_eq!(export(true).rewrite(&learned, Family::V6), None, "no next hop of that family");
}

#[test]
fn a_full_sequence_and_a_set_get_a_new_segment_before_them() {
    for first in [AsSegment::Sequence(vec![65001; SEGMENT]), AsSegment::Set(vec![65001])] {
        let mut as_path = vec![first.clone()];
        prepend(&mut as_path, 64512);
        assert_eq!(as_path, [AsSegment::Sequence(vec![64512]), first]);
    }
}
