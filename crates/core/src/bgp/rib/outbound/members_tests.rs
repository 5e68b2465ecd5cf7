//! What single members of a group are told and what not.

use super::*;
use crate::model::scope::scoped;
use crate::model::{NoWay, Resolution};

/// A neighbour on a link is known by its link-local address: a route by way of it that has a global address too is not for it.
#[test]
fn a_member_of_a_link_is_not_told_a_route_by_way_of_its_global_address() {
    let on_link = |address: &str| scoped(address.parse().expect("an address"), 7);
    let (first, second) = (on_link("fe80::2"), on_link("fe80::3"));
    let mut world = World::new();
    world.keep = true;
    let codec = CodecContext { extended_next_hop: true, ..World::codec(SentPaths::None) };
    for peer in [first, second] {
        let mut export = world.export(peer, 64512, SentPaths::None);
        (export.extended_next_hop, export.self6) = (true, Some(on_link("fe80::1")));
        world.outbound.join(peer, Policy::new(export, codec.clone()), &world.rib);
    }
    let read = |world: &mut World| {
        for peer in [first, second] {
            world.outbound.transmit(peer, &world.rib, false, BUDGET, &mut Vec::new());
        }
        [first, second].map(|peer| world.outbound.told(peer))
    };
    assert_eq!(read(&mut world), [0, 0]);
    let hop = |local: &str| NextHop {
        address: "2001:db8::2".parse().expect("an address"),
        link_local: Some(local.parse().expect("an address")),
    };
    let by = |local: &str| {
        let mut candidate = route(9, 0, 9);
        Arc::make_mut(&mut candidate.path).next_hop = hop(local).on_link(7);
        candidate
    };
    world.rib.learn(prefix(1), by("fe80::2"));
    assert_eq!((read(&mut world), world.outbound.groups()), ([0, 1], 1));
    world.rib.learn(prefix(1), by("fe80::3"));
    assert_eq!(read(&mut world), [1, 0]);
    world.rib.learn(prefix(1), by("fe80::4"));
    assert_eq!(read(&mut world), [1, 1]);
}

#[test]
fn paths_whose_next_hops_do_not_resolve_are_not_told_to_who_is_told_several() {
    let mut world = World::new();
    world.rib.ask_for_next_hops();
    world.join_for(9, SentPaths::All);
    let known = |world: &World| world.neighbors[&9].knows.len();
    world.learn(1, route(1, 1, 1));
    world.learn(1, route(2, 2, 2));
    world.settle();
    assert_eq!(known(&world), 0, "nobody has answered yet");
    let answer = |world: &mut World, last: u8, answer: Resolution| {
        world.rib.resolve(vec![(address(last), answer)]);
        world.settle();
    };
    let none = Resolution::Unreachable { why: NoWay::NoRoute, closed: None };
    answer(&mut world, 1, Resolution::Via { metric: 0 });
    assert_eq!(known(&world), 1);
    answer(&mut world, 2, Resolution::Via { metric: 0 });
    assert_eq!(known(&world), 2, "behind the best, and told");
    world.check();
    answer(&mut world, 2, none);
    assert_eq!(known(&world), 1, "behind the best, and withdrawn");
    answer(&mut world, 1, none);
    assert_eq!(known(&world), 0);
}

/// Two who began alone do not know, of what concerns both, that others are to be told it.
#[test]
fn who_joins_two_that_are_not_told_a_route_is_told_it() {
    let mut world = World::new();
    world.keep = true;
    let concerns_both = route(1, 0, 2);
    world.join(1);
    world.join(2);
    world.learn(7, concerns_both);
    world.settle();
    world.settle();
    assert_eq!(world.outbound.groups(), 1);
    for last in [3, 4] {
        world.join(last);
        world.settle();
        world.settle();
        world.check();
        assert_eq!(world.neighbors[&last].knows.len(), 1, "{last}");
    }
    // Of three no route can concern each one: who joins them has no more to look at than they were told.
    world.learn(8, route(9, 1, 9));
    world.settle();
    let of = world.outbound.groups.values().next().expect("a group");
    assert!(of.is_whole());
    for last in [4, 3, 2] {
        world.leave(last);
    }
    assert!(!world.outbound.groups.values().any(Group::is_whole), "one that is left goes on with what it is told");
    world.join(2);
    world.settle();
    world.settle();
    assert!(!world.outbound.groups.values().any(Group::is_whole));
    world.check();
}
