//! Which connections have to be written to: those alone on which there is something to say, and room for it.

use routenet_core::bgp::rib::path::own_attributes;
use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{self, AsSegment, Attributes, NextHop};
use routenet_core::model::ImportPolicy;

use crate::world::{World, address, cidr, neighbor, puppet_context, puppet_open};

/// Three of one AS, and a puppet of this one that has a session with the first.
fn three_and_a_puppet(as_number: u32) -> World {
    let mut world = World::mesh(&[64512; 3], ImportPolicy::All);
    let mut puppet = neighbor(8, as_number, ImportPolicy::All);
    puppet.local_address = None;
    world.hosts[0].config.peers.insert(address(8), puppet);
    world.start();
    world.seconds(5);
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(as_number, None));
    world.settle();
    world
}

/// What the puppet says of a prefix arrives; nothing is written yet.
fn puppet_announces(world: &mut World, as_number: u32, prefix: &str) {
    let as_path = if as_number == 64512 { vec![] } else { vec![AsSegment::Sequence(vec![as_number])] };
    let attributes = Attributes { as_path, ..own_attributes() };
    let next_hop = NextHop { address: address(8), link_local: None };
    let mut update = Vec::new();
    wire::encode_reach(&attributes, &next_hop, &[cidr(prefix)], &puppet_context(), &mut update).expect("it fits");
    let conn = world.puppet.as_ref().expect("a puppet").conn;
    world.handle(0, Input::Received { conn, bytes: &update });
}

fn waiting(world: &mut World, has_room: impl Fn(ConnId) -> bool) -> Vec<ConnId> {
    world.hosts[0].speaker.as_mut().expect("it runs").waiting(has_room, world.now)
}

#[test]
fn a_route_names_those_alone_who_are_told_it() {
    for (as_number, told) in [(64512, 0), (65009, 2)] {
        let mut world = three_and_a_puppet(as_number);
        assert_eq!(waiting(&mut world, |_| true), []);
        puppet_announces(&mut world, as_number, "10.9.0.0/24");
        assert_eq!(world.speaker(0).routes().iter().filter(|route| route.best).count(), 1, "it is there");
        assert_eq!(waiting(&mut world, |_| true).len(), told, "from AS {as_number}");
        world.settle();
        assert_eq!(waiting(&mut world, |_| true), []);
        assert_eq!(world.kernel(1).len(), told / 2);
    }
}

#[test]
fn who_has_no_room_is_not_named_and_hears_the_newest_once_it_has() {
    let mut world = three_and_a_puppet(65009);
    puppet_announces(&mut world, 65009, "10.9.0.0/24");
    assert_eq!(waiting(&mut world, |_| false), []);
    world.handle(0, Input::Originate(vec![(cidr("10.1.0.0/24"), true)]));
    world.handle(0, Input::Originate(vec![(cidr("10.1.0.0/24"), false), (cidr("10.2.0.0/24"), true)]));
    assert_eq!(waiting(&mut world, |_| false), []);
    assert_eq!(world.status(0, 1).advertised, 0, "nothing was made for anybody");
    let all = waiting(&mut world, |_| true);
    // The puppet too: what is our own is for all.
    assert_eq!(all.len(), 3);
    let slow = all[0];
    assert_eq!(waiting(&mut world, |conn| conn != slow), all[1..]);
    let now = world.now;
    let speaker = world.hosts[0].speaker.as_mut().expect("it runs");
    let say = |conn: &ConnId| {
        let mut bytes = Vec::new();
        speaker.poll_transmit(*conn, &mut bytes, 10_000, now);
        bytes.len()
    };
    let said: Vec<usize> = all.iter().map(say).collect();
    assert!(said.iter().all(|length| *length > 0), "{said:?}");
    assert_eq!(world.status(0, 1).advertised, 2, "the flap was over before anybody had room");
    assert_eq!(waiting(&mut world, |_| true), []);
}
