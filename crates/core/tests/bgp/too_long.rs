//! Routes that no message can hold (RFC 4271 9.2): not told, withdrawn from who was told them before, and said.

use routenet_core::bgp::filter::Direction;
use routenet_core::bgp::rib::path::own_attributes;
use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{self, AsSegment, Attributes, NextHop};
use routenet_core::model::ImportPolicy;

use crate::world::{World, address, cidr, neighbor, puppet_context, puppet_open};

const PUPPET: u32 = 65009;

/// An UPDATE of the puppet's with an attribute of so many bytes that nobody knows.
fn update(prefix: &str, bytes: usize) -> Vec<u8> {
    let attributes = Attributes {
        as_path: vec![AsSegment::Sequence(vec![PUPPET])],
        unknown: vec![(0xc0, 99, vec![7; bytes])],
        ..own_attributes()
    };
    let mut update = Vec::new();
    let prefixes = [cidr(prefix)];
    wire::encode_reach(&attributes, &NextHop::new(address(8)), &prefixes, &puppet_context(), &mut update)
        .expect("fits");
    update
}

/// The most that the attribute may have, so that the first speaker's own AS still has room before the puppet's.
fn most(prefix: &str) -> usize {
    3000 + wire::MAX_MESSAGE - update(prefix, 3000).len() - 4
}

fn world() -> World {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    let peer = PeerConfig { passive: true, ..neighbor(8, PUPPET, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(8), peer);
    world.start();
    world.seconds(1);
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(PUPPET, None));
    world
}

fn reports(world: &mut World) -> Vec<String> {
    // Nothing else may have moved.
    world.settle();
    let report = |event| match event {
        Event::TooLong { name, what, .. } => Some(format!("{name}: {what}")),
        _ => None,
    };
    std::mem::take(&mut world.hosts[0].warnings).into_iter().filter_map(report).collect()
}

fn not_told(world: &World, peer: usize) -> Option<usize> {
    world.speaker(0).neighbor(address(peer), world.now).expect("a neighbour").too_long.map(|(routes, _)| routes)
}

#[test]
fn a_route_that_just_fits_is_told_and_one_byte_more_is_not() {
    for prefix in ["0.0.0.0/0", "10.0.0.0/8", "10.9.0.0/24", "10.9.0.1/32"] {
        let mut world = world();
        world.puppet_says(&update(prefix, most(prefix)));
        assert_eq!(world.kernel(1), [format!("{prefix} via 10.0.0.1")]);
        assert_eq!((reports(&mut world), not_told(&world, 1)), (Vec::new(), None));

        world.puppet_says(&update(prefix, most(prefix) + 1));
        assert_eq!(world.kernel(1), [""; 0], "{prefix}: nor is the older one kept");
        let why = format!("an UPDATE with {prefix} would take 4097 bytes, and a message has 4096 at most (RFC 4271)");
        assert_eq!(reports(&mut world), [format!("s1: {why}")]);
        assert_eq!((not_told(&world, 1), not_told(&world, 8)), (Some(1), None), "it is the puppet's own");
        let question = FilterQuestion::new("s1", Direction::Export, cidr(prefix));
        let answer = world.speaker(0).test_filter(&question).expect("a neighbour");
        assert_eq!((answer.accepted, answer.why), (false, why));

        // Another such route is no news, and what can be told is told.
        world.puppet_says(&update("10.8.0.0/16", most("10.8.0.0/16") + 1));
        world.puppet_says(&update("10.7.0.0/16", 100));
        assert_eq!((reports(&mut world), not_told(&world, 1)), (Vec::new(), Some(2)));
        assert_eq!(world.kernel(1), ["10.7.0.0/16 via 10.0.0.1"]);

        // They become shorter, or go.
        world.puppet_says(&update(prefix, 100));
        assert_eq!(not_told(&world, 1), Some(1));
        world.puppet_breaks();
        assert_eq!(not_told(&world, 1), None);
    }
}

/// Who sent one is told nothing of it, and hears of another's; once a minute, whatever comes and goes.
#[test]
fn each_neighbour_is_reported_once_in_a_while() {
    let mut world = world();
    let long = |prefix| update(prefix, most(prefix) + 1);
    for _ in 0..20 {
        world.puppet_says(&long("10.0.0.0/8"));
        world.puppet_says(&update("10.0.0.0/8", 100));
    }
    assert_eq!(reports(&mut world).len(), 1);
    world.seconds(60);
    world.puppet_says(&long("10.9.0.0/24"));
    let again = reports(&mut world);
    assert!(again.len() == 1 && again[0].starts_with("s1: an UPDATE with 10.9.0.0/24 "), "{again:?}");
}

/// One path is told with a prefix that it leaves room for, and not with another.
#[test]
fn what_fits_beside_a_path_depends_on_the_prefix() {
    let mut world = world();
    let bytes = most("10.0.0.0/8");
    world.puppet_says(&update("10.9.0.1/32", bytes - 3));
    world.puppet_says(&update("10.9.0.2/32", bytes));
    world.puppet_says(&update("10.0.0.0/8", bytes));
    assert_eq!(world.kernel(1), ["10.0.0.0/8 via 10.0.0.1", "10.9.0.1/32 via 10.0.0.1"]);
    assert_eq!(not_told(&world, 1), Some(1));

    // A session that begins later is told as much, beside a group that has read all.
    world.kill(1);
    world.boot(1, false);
    world.handle(1, Input::Originate(Vec::new()));
    world.seconds(10);
    assert_eq!(world.kernel(1), ["10.0.0.0/8 via 10.0.0.1", "10.9.0.1/32 via 10.0.0.1"]);
    assert_eq!(not_told(&world, 1), Some(1));
}
