use std::sync::Arc;

use super::super::rib::path::{Source, own_attributes};
use super::test_support::{CLUSTER, OTHER, OURS, PEER, candidate, export, import, path};
use super::*;
use crate::model::scope::scoped;

fn from(peer: Option<[u8; 4]>, external: bool, communities: &[u32]) -> Candidate {
    let mut path = path();
    path.attributes.communities = communities.iter().copied().collect();
    candidate(peer, external, path)
}

fn prefix() -> Cidr {
    "10.65.1.7/32".parse().unwrap()
}

#[test]
fn pools_let_in_what_lies_inside_them_and_nothing_wider() {
    let pools: Vec<Cidr> = vec!["10.65.0.0/16".parse().unwrap(), "fd65::/64".parse().unwrap()];
    let options = PeerOptions::default();
    let import = |policy| Import { policy, pools: &pools, ..import(&options) };
    let judge = |policy, prefix: &str| import(policy).judge(&prefix.parse().unwrap(), &path()).err();
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
    let options = PeerOptions::default();
    let mut import = Import { own_addresses: &own, ..import(&options) };
    let prefix: Cidr = "10.65.1.7/32".parse().unwrap();
    assert_eq!(import.judge(&prefix, &path()).err(), Some(Refusal::OwnNextHop));
    import.own_addresses = &[];
    let mut looped = path();
    looped.attributes.as_path = vec![AsSegment::Sequence(vec![65001]), AsSegment::Set(vec![65002, 64512])];
    assert_eq!(import.judge(&prefix, &looped).err(), Some(Refusal::AsLoop));
    let mut reflected = path();
    reflected.attributes.originator_id = Some(import.router_id);
    assert_eq!(import.judge(&prefix, &reflected).err(), Some(Refusal::Originator));
    let mut reflected = path();
    reflected.attributes.cluster_list = vec![[192, 0, 2, 8].into(), CLUSTER.into()];
    assert_eq!(import.judge(&prefix, &reflected).err(), Some(Refusal::ClusterLoop));
}

#[test]
fn our_as_may_be_in_the_path_as_often_as_is_allowed() {
    let mut looped = path();
    looped.attributes.as_path = vec![AsSegment::Sequence(vec![65001, 64512, 64999])];
    let prefix: Cidr = "10.65.1.7/32".parse().unwrap();
    for (allowed, refused) in [(0, true), (1, true), (2, false)] {
        let options = PeerOptions { allowed_local_as: allowed, ..PeerOptions::default() };
        let import = Import { local_as: [64512, 64999], ..import(&options) };
        assert_eq!(import.judge(&prefix, &looped).err(), refused.then_some(Refusal::AsLoop), "{allowed} allowed");
    }
}

#[test]
fn a_route_goes_neither_back_nor_from_ibgp_to_ibgp() {
    let elsewhere = Some(OTHER);
    assert!(
        export(false).tells(&prefix(), &from(None, false, &[])).is_ok()
            && export(true).tells(&prefix(), &from(None, false, &[])).is_ok()
    );
    assert!(export(true).tells(&prefix(), &from(Some(PEER), true, &[])).is_err(), "back to whom it came from");
    assert!(export(false).tells(&prefix(), &from(elsewhere, true, &[])).is_ok(), "eBGP to iBGP");
    assert!(export(false).tells(&prefix(), &from(elsewhere, false, &[])).is_err(), "iBGP to iBGP");
    assert!(export(true).tells(&prefix(), &from(elsewhere, false, &[])).is_ok(), "iBGP to eBGP, with transit");
    let no_transit = Export { transit: false, ..export(true) };
    assert!(no_transit.tells(&prefix(), &from(elsewhere, false, &[])).is_err(), "iBGP to eBGP, without");
    let draining = Export { nothing: true, ..export(false) };
    assert!(draining.tells(&prefix(), &from(None, false, &[])).is_err());
    let deferred = Export { own_only: true, ..export(false) };
    assert!(
        deferred.tells(&prefix(), &from(None, false, &[])).is_ok()
            && deferred.tells(&prefix(), &from(elsewhere, true, &[])).is_err()
    );
}

#[test]
fn well_known_communities_stop_a_route() {
    let elsewhere = Some(OTHER);
    for (community, inside, outside) in
        [(NO_EXPORT, true, false), (NO_EXPORT_SUBCONFED, true, false), (NO_ADVERTISE, false, false), (1, true, true)]
    {
        let candidate = from(elsewhere, true, &[community]);
        assert_eq!(export(false).tells(&prefix(), &candidate).is_ok(), inside, "{community:x} to iBGP");
        assert_eq!(export(true).tells(&prefix(), &candidate).is_ok(), outside, "{community:x} to eBGP");
    }
}

#[test]
fn across_the_border_our_as_leads_and_what_is_internal_stays_inside() {
    let mut learned = path();
    learned.attributes.as_path = vec![AsSegment::Sequence(vec![65001])];
    learned.attributes.local_pref = Some(300);
    learned.attributes.med = Some(5);
    learned.attributes.cluster_list = vec![[192, 0, 2, 9].into()];
    let (transitive, within) = ([0, 2, 0, 0, 0, 0, 0, 1], [0x40, 2, 0, 0, 0, 0, 0, 1]);
    learned.attributes.extended_communities = [transitive, within].into();
    let learned = Candidate { path: Arc::new(learned), ..from(Some(OTHER), true, &[]) };
    let told = export(true).rewrite(&learned, Family::V4, None).unwrap();
    assert_eq!(told.attributes.as_path, [AsSegment::Sequence(vec![64512, 65001])]);
    assert_eq!((told.attributes.local_pref, told.attributes.med), (None, None));
    assert!(told.attributes.cluster_list.is_empty());
    assert_eq!(told.attributes.extended_communities, [transitive].into(), "RFC 4360 section 6");
    assert_eq!(told.next_hop.address, IpAddr::from(OURS));
    let told = export(false).rewrite(&learned, Family::V4, None).unwrap();
    assert_eq!(told.attributes.as_path, [AsSegment::Sequence(vec![65001])]);
    assert_eq!((told.attributes.local_pref, told.attributes.med), (Some(300), Some(5)));
    assert_eq!(told.attributes.extended_communities.len(), 2);
    assert_eq!(export(true).rewrite(&learned, Family::V6, None), None, "no next hop of that family");
}

#[test]
fn a_full_sequence_and_a_set_get_a_new_segment_before_them() {
    for first in [AsSegment::Sequence(vec![65001; SEGMENT]), AsSegment::Set(vec![65001])] {
        let mut as_path = vec![first.clone()];
        prepend(&mut as_path, 64512);
        assert_eq!(as_path, [AsSegment::Sequence(vec![64512]), first]);
    }
}

/// From an internal neighbour other than [`PEER`], a client or not.
fn internal(client: bool) -> Candidate {
    let mut path = path();
    path.next_hop.address = OTHER.into();
    path.attributes.local_pref = Some(200);
    let candidate = candidate(Some(OTHER), false, path);
    let source = Source { client, router_id: OTHER.into(), ..Source::clone(&candidate.source) };
    Candidate { source: Arc::new(source), ..candidate }
}

fn to(external: bool, options: PeerOptions) -> Export {
    Export { options, ..export(external) }
}

/// RFC 4271 5.1.3.
#[test]
fn who_forwards_nothing_leaves_next_hops_as_they_are_over_ibgp() {
    let hop = |export: Export, candidate: &Candidate| {
        export.rewrite(candidate, Family::V4, None).expect("it is told").next_hop.address
    };
    let bystander = |external| Export { forwards: false, ..export(external) };
    let theirs = IpAddr::from(OTHER);
    let mut learned = from(Some(OTHER), true, &[]);
    Arc::make_mut(&mut learned.path).next_hop.address = theirs;
    assert_eq!(hop(bystander(false), &learned), theirs);
    assert_eq!(hop(bystander(true), &learned), IpAddr::from(OURS), "over eBGP it is us");
    assert_eq!(hop(export(false), &learned), IpAddr::from(OURS), "packets go by way of us");
    assert_eq!(hop(bystander(false), &from(None, false, &[])), IpAddr::from(OURS), "our own");
    let own = PeerOptions { next_hop: NextHopMode::Own, ..PeerOptions::default() };
    assert_eq!(hop(Export { options: own, ..bystander(false) }, &learned), IpAddr::from(OURS), "as asked for");
    let mut over_ipv6 = learned.clone();
    Arc::make_mut(&mut over_ipv6.path).next_hop.address = "2001:db8::1".parse().unwrap();
    assert_eq!(hop(bystander(false), &over_ipv6), IpAddr::from(OURS), "not everybody can have it");
}

#[test]
fn a_reflector_passes_clients_routes_to_all_and_others_to_clients_and_signs_them() {
    let client = || PeerOptions { reflector_client: true, ..PeerOptions::default() };
    assert!(
        to(false, client()).tells(&prefix(), &internal(false)).is_ok()
            && to(false, client()).tells(&prefix(), &internal(true)).is_ok()
    );
    assert!(export(false).tells(&prefix(), &internal(true)).is_ok(), "a client's goes to all");
    assert!(export(false).tells(&prefix(), &internal(false)).is_err(), "and of two that are none nothing passes");

    let told = to(false, client()).rewrite(&internal(false), Family::V4, None).unwrap();
    assert_eq!(told.next_hop.address, IpAddr::from(OTHER), "RFC 4456 10: the next hop stays");
    assert_eq!(told.attributes.local_pref, Some(200));
    assert_eq!(told.attributes.originator_id, Some(OTHER.into()));
    assert_eq!(told.attributes.cluster_list, [std::net::Ipv4Addr::from(CLUSTER)]);
    let mut again = internal(true);
    let path = Arc::make_mut(&mut again.path);
    path.attributes.originator_id = Some([10, 0, 0, 9].into());
    path.attributes.cluster_list = vec![[10, 0, 0, 8].into()];
    let told = to(false, client()).rewrite(&again, Family::V4, None).unwrap();
    assert_eq!(told.attributes.originator_id, Some([10, 0, 0, 9].into()), "who was first stays first");
    assert_eq!(told.attributes.cluster_list, [CLUSTER.into(), std::net::Ipv4Addr::from([10, 0, 0, 8])]);
    let own = PeerOptions { next_hop: NextHopMode::Own, ..client() };
    let told = to(false, own).rewrite(&internal(true), Family::V4, None).unwrap();
    assert_eq!(told.next_hop.address, IpAddr::from(OURS));
    let told = to(false, client()).rewrite(&from(None, false, &[]), Family::V4, None).unwrap();
    assert_eq!(
        (told.attributes.originator_id, told.attributes.cluster_list.len()),
        (None, 0),
        "our own is not reflected"
    );
}

#[test]
fn a_next_hop_is_kept_where_that_was_asked_for_but_nobody_is_told_itself() {
    let keep = || PeerOptions { next_hop: NextHopMode::Keep, ..PeerOptions::default() };
    let told = to(true, keep()).rewrite(&internal(false), Family::V4, None).unwrap();
    assert_eq!(told.next_hop.address, IpAddr::from(OTHER));
    let itself = from(Some(OTHER), true, &[]);
    assert_eq!(itself.path.next_hop.address, IpAddr::from(PEER));
    assert_eq!(to(true, keep()).rewrite(&itself, Family::V4, None), None);
    assert!(export(true).rewrite(&itself, Family::V4, None).is_some());
    assert!(to(true, keep()).rewrite(&from(None, false, &[]), Family::V4, None).is_some(), "our own has us");
}

/// RFC 8950 section 4: who has not agreed to it cannot be told IPv4 by way of IPv6. What we reflect goes by way of us then.
#[test]
fn an_ipv6_next_hop_of_ipv4_is_reflected_to_who_takes_it_and_is_our_own_for_others() {
    let client = || to(false, PeerOptions { reflector_client: true, ..PeerOptions::default() });
    let able = || Export { extended_next_hop: true, ..client() };
    let theirs: IpAddr = "2001:db8::1".parse().unwrap();
    let mut learned = internal(false);
    Arc::make_mut(&mut learned.path).next_hop = NextHop::new(theirs);
    let hop = |export: Export| Some(export.rewrite(&learned, Family::V4, None)?.next_hop);
    assert_eq!(hop(able()), Some(NextHop::new(theirs)));
    assert_eq!(hop(client()), Some(NextHop::new(OURS.into())));
    assert_eq!(hop(Export { self4: None, ..client() }), None, "without an address of ours there is nothing to tell");
    let told = client().rewrite(&learned, Family::V4, None).unwrap();
    assert_eq!(told.attributes.cluster_list, [std::net::Ipv4Addr::from(CLUSTER)], "it is reflected all the same");
    assert_eq!(client().rewrite(&internal(false), Family::V4, None).unwrap().next_hop.address, IpAddr::from(OTHER));
    let six = Export { self6: Some("2001:db8::9".parse().unwrap()), ..client() };
    assert_eq!(
        six.rewrite(&learned, Family::V6, None).unwrap().next_hop.address,
        theirs,
        "IPv6 by way of IPv6 needs no word"
    );
}

/// RFC 2545 section 3.
#[test]
fn the_link_local_address_of_a_next_hop_goes_along_on_its_link_and_says_whose_it_is() {
    let (global, local): (IpAddr, std::net::Ipv6Addr) = ("2001:db8::2".parse().unwrap(), "fe80::2".parse().unwrap());
    let mut learned = internal(false);
    Arc::make_mut(&mut learned.path).next_hop = NextHop { address: global, link_local: Some(local) }.on_link(7);
    let on_link = |peer: &str, own: &str, link| Export {
        peer: scoped(peer.parse().unwrap(), link),
        self6: Some(scoped(own.parse().unwrap(), link)),
        ..to(false, PeerOptions { reflector_client: true, ..PeerOptions::default() })
    };
    let hop = |export: Export| Some(export.rewrite(&learned, Family::V6, None)?.next_hop);
    assert_eq!(hop(on_link("fe80::3", "fe80::1", 7)), Some(learned.path.next_hop));
    assert_eq!(hop(on_link("fe80::3", "fe80::1", 8)), Some(NextHop::new(global)), "means nothing on another link");
    assert_eq!(hop(on_link("2001:db8::3", "2001:db8::1", 7)), Some(NextHop::new(global)));
    assert_eq!(hop(on_link("fe80::2", "fe80::1", 7)), None, "RFC 4271 5.1.3: by way of itself");
    assert_eq!(hop(on_link("fe80::2", "fe80::1", 8)), Some(NextHop::new(global)), "somebody else of that name");
}

#[test]
fn a_neighbour_is_external_by_the_as_that_we_are_for_it() {
    let prefix: Cidr = "10.65.1.7/32".parse().unwrap();
    let options = PeerOptions { role: Some(BgpRole::Provider), ..PeerOptions::default() };
    let mut leak = path();
    leak.attributes.otc = Some(1);
    // Our AS is 64512, for this neighbour it is 64999: one of our own AS is of another then.
    for (peer_as, external) in [(65001, true), (64512, true), (64999, false)] {
        let import = Import { local_as: [64512, 64999], peer_as, ..import(&options) };
        assert_eq!(import.route(&prefix, &leak).external, external, "{peer_as}, in a filter");
        let refused = import.judge(&prefix, &leak).err() == Some(Refusal::RouteLeak);
        assert_eq!(refused, external, "{peer_as}, by its role (RFC 9234)");
    }
}

/// RFC 9234 section 5, the five rules, by our role.
#[test]
fn otc_lets_routes_go_down_and_nowhere_else() {
    let prefix: Cidr = "10.65.1.7/32".parse().unwrap();
    let with_otc = |otc| {
        let mut path = path();
        path.attributes.otc = otc;
        path
    };
    for (role, from_peer_as, from_other, marked, told, marks) in [
        (BgpRole::Provider, true, true, false, true, true),
        (BgpRole::Rs, true, true, false, true, true),
        (BgpRole::Peer, false, true, true, false, true),
        (BgpRole::Customer, false, false, true, false, false),
        (BgpRole::RsClient, false, false, true, false, false),
    ] {
        let options = PeerOptions { role: Some(role), ..PeerOptions::default() };
        let leaks = |otc| import(&options).judge(&prefix, &with_otc(Some(otc))).err() == Some(Refusal::RouteLeak);
        assert_eq!((leaks(65001), leaks(65002)), (from_peer_as, from_other), "{role}: taken in");
        assert_eq!(import(&options).judge(&prefix, &with_otc(None)).err(), None);
        let inside = Import { peer_as: 64512, ..import(&options) };
        assert_eq!(inside.judge(&prefix, &with_otc(Some(1))).err(), None, "not over iBGP");

        let mut attributes = own_attributes();
        mark_only_to_customer(&mut attributes, Some(role), 65001);
        assert_eq!(attributes.otc, marked.then_some(65001), "{role}: marked on the way in");

        let mut passed = from(Some(OTHER), true, &[]);
        assert!(to(true, options.clone()).tells(&prefix, &passed).is_ok());
        let rewritten = to(true, options.clone()).rewrite(&passed, Family::V4, None).unwrap();
        assert_eq!(rewritten.attributes.otc, marks.then_some(64512), "{role}: marked on the way out");
        Arc::make_mut(&mut passed.path).attributes.otc = Some(65009);
        assert_eq!(to(true, options.clone()).tells(&prefix, &passed).is_ok(), told, "{role}: told with OTC");
        assert!(to(false, options).tells(&prefix, &passed).is_ok(), "not over iBGP");
    }
}

#[test]
fn a_neighbour_that_is_about_to_go_is_the_last_choice() {
    let mut attributes = own_attributes();
    attributes.local_pref = Some(300);
    strip_internal(&mut attributes);
    assert_eq!(attributes.local_pref, None);
    attributes.communities.insert(GRACEFUL_SHUTDOWN);
    strip_internal(&mut attributes);
    assert_eq!(attributes.local_pref, Some(0));
}
