//! Routes between speakers: who learns what, from whom, with which next hop.

use std::collections::BTreeSet;

use proptest::prelude::*;
use routenet_core::bgp::filter::{NO_ADVERTISE, NO_EXPORT};
use routenet_core::bgp::rib::path::own_attributes;
use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{self, AsSegment, Attributes, Message, NextHop};
use routenet_core::model::ImportPolicy;

use crate::world::{World, address, address6, cidr, neighbor, puppet_context, puppet_open};

#[test]
fn a_mesh_of_one_as_learns_everything_once_and_forgets_it() {
    let mut world = World::mesh(&[64512; 4], ImportPolicy::Pools);
    world.start();
    for index in 0..4 {
        world.handle(index, Input::Pools(vec![cidr("10.64.0.0/16"), cidr("fd64::/64")]));
        world.announce(index, &[&format!("10.64.{index}.0/26"), &format!("fd64::{index}00/120")]);
    }
    world.seconds(5);
    assert_eq!(
        world.kernel(2),
        [
            "10.64.0.0/26 via 10.0.0.1",
            "10.64.1.0/26 via 10.0.0.2",
            "10.64.3.0/26 via 10.0.0.4",
            "fd64::/120 via fd00::1",
            "fd64::100/120 via fd00::2",
            "fd64::300/120 via fd00::4",
        ]
    );
    let route = world.speaker(2).routes().into_iter().find(|r| r.prefix == cidr("10.64.1.0/26")).expect("it");
    assert_eq!((route.local_pref, route.as_path.as_str(), route.best), (Some(100), "", true));
    assert_eq!(route.from, Some((address(1), "s1".to_string())));

    world.withdraw(1, &["10.64.1.0/26"]);
    world.settle();
    assert_eq!(world.kernel(2).len(), 5);
    let status = world.status(2, 1);
    assert_eq!((status.received, status.accepted, status.advertised), (1, 1, 2));
}

#[test]
fn the_mesh_may_announce_only_what_lies_in_the_pools() {
    let mut world = World::mesh(&[64512; 2], ImportPolicy::Pools);
    world.start();
    world.announce(1, &["10.64.1.0/26", "192.0.2.0/24", "0.0.0.0/0"]);
    world.seconds(1);
    assert_eq!(world.kernel(0), [] as [&str; 0], "no pool is known yet");
    world.handle(0, Input::Pools(vec![cidr("10.64.0.0/16")]));
    world.settle();
    assert_eq!(world.kernel(0), ["10.64.1.0/26 via 10.0.0.2"], "a new pool needs no new session");
    assert_eq!((world.status(0, 1).received, world.status(0, 1).accepted), (3, 1));
    let refused = world.speaker(0).routes().into_iter().find(|r| r.prefix == cidr("192.0.2.0/24")).expect("it");
    assert_eq!(refused.refused.map(|why| why.to_string()).as_deref(), Some("it lies in no pool"));
    world.handle(0, Input::Pools(vec![]));
    world.settle();
    assert_eq!(world.kernel(0), [] as [&str; 0]);
}

#[test]
fn nothing_is_taken_from_a_neighbor_without_an_import_policy() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::None);
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(1);
    assert_eq!(world.kernel(0), [] as [&str; 0]);
    assert_eq!((world.status(0, 1).received, world.status(0, 1).accepted), (1, 0));
}

/// 0 - 1 - 2 in a row, of three ASes.
fn row(import: ImportPolicy) -> World {
    let mut world = World::mesh(&[64512, 64513, 64514], import);
    world.hosts[0].config.peers.remove(&address(2));
    world.hosts[2].config.peers.remove(&address(0));
    world.start();
    world
}

#[test]
fn a_route_passes_through_an_as_with_its_path_and_back_out_of_the_table() {
    let mut world = row(ImportPolicy::All);
    world.announce(0, &["10.1.0.0/24", "fd01::/64"]);
    world.seconds(1);
    assert_eq!(world.kernel(2), ["10.1.0.0/24 via 10.0.0.2", "fd01::/64 via fd00::2"]);
    let route = world.speaker(2).routes().into_iter().next().expect("it");
    assert_eq!((route.as_path.as_str(), route.local_pref, route.med), ("64513 64512", None, None));
    world.kill(0);
    world.seconds(121);
    assert_eq!(world.kernel(2), [] as [&str; 0]);
}

#[test]
fn without_import_all_only_own_routes_cross_an_as() {
    let mut world = row(ImportPolicy::Pools);
    world.handle(1, Input::Pools(vec![cidr("10.0.0.0/8")]));
    world.handle(2, Input::Pools(vec![cidr("10.0.0.0/8")]));
    world.announce(0, &["10.1.0.0/24"]);
    world.announce(1, &["10.2.0.0/24"]);
    world.seconds(1);
    assert_eq!(world.kernel(1), ["10.1.0.0/24 via 10.0.0.1"]);
    assert_eq!(world.kernel(2), ["10.2.0.0/24 via 10.0.0.2"], "no transit by accident (RFC 8212)");
}

#[test]
fn what_came_over_ibgp_is_not_passed_on_over_ibgp() {
    let mut world = World::mesh(&[64512; 3], ImportPolicy::All);
    world.hosts[0].config.peers.remove(&address(2));
    world.hosts[2].config.peers.remove(&address(0));
    world.start();
    world.announce(0, &["10.1.0.0/24"]);
    world.seconds(1);
    assert_eq!(world.kernel(1), ["10.1.0.0/24 via 10.0.0.1"]);
    assert_eq!(world.kernel(2), [] as [&str; 0]);
}

#[test]
fn an_own_as_in_the_path_is_a_loop() {
    let mut world = World::mesh(&[64512, 64513, 64512], ImportPolicy::All);
    for (a, b) in [(0, 2), (2, 0)] {
        world.hosts[a].config.peers.remove(&address(b));
    }
    world.start();
    world.announce(0, &["10.1.0.0/24"]);
    world.seconds(1);
    assert_eq!(world.kernel(1).len(), 1);
    assert_eq!(world.kernel(2), [] as [&str; 0]);
    assert_eq!((world.status(2, 1).received, world.status(2, 1).accepted), (1, 0));
}

#[test]
fn equal_paths_share_the_load_and_a_longer_one_waits() {
    let mut world = World::mesh(&[64512, 64513, 64514], ImportPolicy::All);
    for (a, b) in [(1, 2), (2, 1)] {
        world.hosts[a].config.peers.remove(&address(b));
    }
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.announce(2, &["10.1.0.0/24"]);
    world.seconds(1);
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.2 10.0.0.3"]);
    world.withdraw(2, &["10.1.0.0/24"]);
    world.settle();
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.2"]);
}

/// A speaker between a puppet of AS 65009 and a speaker of AS 64513.
fn between() -> World {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    let peer = PeerConfig { passive: true, ..neighbor(8, 65009, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(8), peer);
    world.start();
    world.seconds(1);
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(65009, None));
    world
}

fn reach(attributes: &Attributes, prefixes: &[&str]) -> Vec<u8> {
    let mut update = Vec::new();
    let prefixes: Vec<_> = prefixes.iter().map(|prefix| cidr(prefix)).collect();
    let next_hop = NextHop { address: address(8), link_local: None };
    wire::encode_reach(attributes, &next_hop, &prefixes, &puppet_context(), &mut update).expect("it fits");
    update
}

fn from_puppet(as_path: &[u32]) -> Attributes {
    Attributes { as_path: vec![AsSegment::Sequence(as_path.to_vec())], ..own_attributes() }
}

#[test]
fn well_known_communities_are_honoured() {
    for (community, crosses) in [(NO_EXPORT, false), (NO_ADVERTISE, false), (0x00010002, true)] {
        let mut world = between();
        let attributes = Attributes { communities: BTreeSet::from([community]), ..from_puppet(&[65009]) };
        world.puppet_says(&reach(&attributes, &["10.9.0.0/24"]));
        assert_eq!(world.kernel(0), ["10.9.0.0/24 via 10.0.0.9"]);
        assert_eq!(world.kernel(1).len(), usize::from(crosses), "{community:x}");
    }
}

#[test]
fn a_path_that_does_not_begin_with_the_neighbor_counts_as_withdrawn() {
    let mut world = between();
    world.puppet_says(&reach(&from_puppet(&[65009, 65011]), &["10.9.0.0/24"]));
    assert_eq!(world.kernel(1).len(), 1);
    world.puppet_says(&reach(&from_puppet(&[65010, 65009]), &["10.9.0.0/24", "10.10.0.0/24", "10.11.0.0/24"]));
    assert_eq!(world.kernel(1).len(), 0);
    let status = world.status(0, 8);
    assert_eq!((status.state, status.malformed), (State::Established, 1), "one UPDATE, whatever it holds");
    assert_eq!(status.last_malformed.as_deref(), Some("the AS_PATH does not begin with the neighbour's AS 65009"));
}

#[test]
fn a_next_hop_that_is_this_node_leads_nowhere() {
    let mut world = between();
    let mut update = Vec::new();
    let next_hop = NextHop { address: address6(0), link_local: None };
    wire::encode_reach(&from_puppet(&[65009]), &next_hop, &[cidr("fd09::/64")], &puppet_context(), &mut update)
        .expect("it fits");
    world.puppet_says(&update);
    assert_eq!(world.kernel(0), [] as [&str; 0]);
    assert_eq!((world.status(0, 8).received, world.status(0, 8).accepted), (1, 0));
}

#[test]
fn a_flap_before_it_was_told_is_not_told_and_a_refresh_tells_all_again() {
    let mut world = between();
    world.announce(1, &["10.1.0.0/24", "10.2.0.0/24"]);
    world.settle();
    world.puppet_heard();
    world.handle(0, Input::Originate(vec![(cidr("10.3.0.0/24"), true)]));
    world.handle(0, Input::Originate(vec![(cidr("10.3.0.0/24"), false)]));
    world.settle();
    assert_eq!(world.puppet_heard(), []);
    world.puppet_says(&wire::encode_route_refresh(wire::AfiSafi::IPV4_UNICAST, wire::refresh_subtype::REQUEST));
    let reachable = |message: &Message| match message {
        Message::Update(update) => update.reachable.len(),
        _ => 0,
    };
    assert_eq!(world.puppet_heard().iter().map(reachable).sum::<usize>(), 2);
}

#[test]
fn many_prefixes_travel_together_and_in_portions() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.start();
    world.seconds(1);
    let prefixes: Vec<String> = (0..9000u32).map(|i| format!("10.{}.{}.0/24", i >> 8, i & 255)).collect();
    world.announce(0, &prefixes.iter().map(String::as_str).collect::<Vec<_>>());
    let conn = (0..9).map(ConnId).find(|conn| world.speaker(0).wants_transmit(*conn)).expect("a connection");
    let mut bytes = Vec::new();
    let now = world.now;
    let speaker = world.hosts[0].speaker.as_mut().expect("it runs");
    speaker.poll_transmit(conn, &mut bytes, 10_000, now);
    assert!((10_000..14_100).contains(&bytes.len()), "{}", bytes.len());
    assert!(world.speaker(0).wants_transmit(conn), "the rest waits");
    assert_eq!(world.status(0, 1).advertised, 4096, "and is not even looked at");
    let messages = std::iter::successors(Some(0), |at| {
        let length = wire::message_length(&bytes[*at..]).ok()??;
        Some(at + length)
    });
    assert_eq!(messages.count() - 1, 3, "a thousand prefixes a message");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is announced, withdrawn, killed and restarted: in the end every kernel has what its neighbours announce.
    #[test]
    fn they_converge(steps in proptest::collection::vec((0usize..3, 0u8..6, any::<bool>(), 0u64..40), 1..40)) {
        let mut world = World::mesh(&[64512, 64512, 64512], ImportPolicy::All);
        world.start();
        let mut own = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
        for (index, number, announce, wait) in steps {
            let prefix = cidr(&format!("10.{number}.0.0/24"));
            if number == 5 {
                world.kill(index);
                world.boot(index, announce);
                world.handle(index, Input::Originate(own[index].iter().map(|prefix| (*prefix, true)).collect()));
            } else if announce {
                own[index].insert(prefix);
                world.handle(index, Input::Originate(vec![(prefix, true)]));
            } else {
                own[index].remove(&prefix);
                world.handle(index, Input::Originate(vec![(prefix, false)]));
            }
            if wait % 3 == 0 { world.settle(); } else { world.seconds(wait / 3); }
        }
        world.seconds(600);
        for index in 0..3 {
            let mut expected = std::collections::BTreeMap::new();
            for other in (0..3).filter(|other| *other != index) {
                for prefix in own[other].iter().filter(|prefix| !own[index].contains(prefix)) {
                    expected.entry(*prefix).or_insert_with(Vec::new).push(address(other));
                }
            }
            prop_assert!(world.hosts[index].converged);
            prop_assert_eq!(&world.hosts[index].kernel, &expected, "speaker {}", index);
        }
    }
}

/// Where there is no data plane, IPv6 routes go over IPv4 though we have no IPv6 address; else nobody is told a way that is none.
#[test]
fn ipv6_without_an_ipv6_address_goes_by_a_mapped_one_if_no_packet_is_to_follow() {
    for (mapped, expected) in [(true, vec!["fd01::/64 via ::ffff:10.0.0.1"]), (false, vec![])] {
        let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
        (world.hosts[0].config.address6, world.hosts[0].config.forwards) = (None, !mapped);
        world.start();
        world.announce(0, &["fd01::/64"]);
        world.seconds(10);
        assert_eq!(world.kernel(1), expected);
    }
}
