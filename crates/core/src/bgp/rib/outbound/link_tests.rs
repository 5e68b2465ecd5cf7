//! Members that are known by their link-local addresses.

use super::*;
use crate::model::scope::scoped;

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
