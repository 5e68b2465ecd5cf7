//! What a failure that BFD saw does to a session, and to what a restart had kept (RFC 5882 4.2 and 4.3, RFC 9384).

use routenet_core::bgp::rib::path::own_attributes;
use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{self, AfiSafi, AsSegment, Attributes, GracefulRestart, NextHop, cease};
use routenet_core::model::ImportPolicy;

use crate::world::{World, address, cidr, neighbor, puppet_context, puppet_open};

const PUPPET: u32 = 65009;

/// A speaker whose only neighbour is the test, which has graceful restart and has told one route.
fn told(notification: bool) -> World {
    let mut world = World::mesh(&[64512], ImportPolicy::All);
    let peer = PeerConfig { passive: true, ..neighbor(8, PUPPET, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(8), peer);
    world.start();
    connect(&mut world, notification);
    let attributes = Attributes { as_path: vec![AsSegment::Sequence(vec![PUPPET])], ..own_attributes() };
    let via = NextHop { address: address(8), link_local: None };
    let mut update = Vec::new();
    wire::encode_reach(&attributes, &via, &[cidr("10.8.0.0/24")], &puppet_context(), &mut update).expect("an UPDATE");
    world.puppet_says(&update);
    assert!(has_route(&mut world));
    world
}

/// `notification`: RFC 8538.
fn connect(world: &mut World, notification: bool) {
    let families = vec![(AfiSafi::IPV4_UNICAST, true)];
    let restart = GracefulRestart { restarted: false, notification, restart_time: 60, families };
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(PUPPET, Some(restart)));
    assert_eq!(world.status(0, 8).state, State::Established);
}

fn has_route(world: &mut World) -> bool {
    world.settle();
    !world.kernel(0).is_empty()
}

fn down(world: &mut World, independent: bool) {
    world.handle(0, Input::BfdDown { peer: address(8), independent });
    world.settle();
}

#[test]
fn a_session_ends_at_once_with_the_right_words_and_keeps_nothing() {
    for (independent, notification) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = told(notification);
        down(&mut world, independent);
        let mut said = world.puppet_notified().expect("a NOTIFICATION");
        if notification {
            // Without it the neighbour would keep our routes, and we its (RFC 8538).
            said = said.hard_reset_reason().expect("a Hard Reset");
        }
        assert_eq!((said.code, said.subcode), (6, cease::BFD_DOWN));
        assert!(!has_route(&mut world), "graceful restart keeps nothing of it");
        let status = world.status(0, 8);
        assert!(!status.retained);
        let why = status.last_error.expect("an error").1;
        assert!(why.starts_with("sent Cease: ") && why.contains("BFD Down (6/10)"), "{why}");
        // BGP comes back whether BFD does or not (RFC 5882 4.1).
        world.seconds(5);
        connect(&mut world, notification);
    }
}

/// RFC 5882 4.3.
#[test]
fn a_restart_goes_on_unless_the_neighbours_bfd_is_independent_of_it() {
    for independent in [false, true] {
        let mut world = told(false);
        world.puppet_breaks();
        assert!(world.status(0, 8).retained && has_route(&mut world));
        down(&mut world, independent);
        assert_eq!(has_route(&mut world), !independent);
        assert_eq!(world.status(0, 8).retained, !independent);
    }
}

#[test]
fn a_strangers_failure_and_one_without_a_session_are_nothing() {
    let mut world = told(false);
    world.handle(0, Input::BfdDown { peer: address(5), independent: true });
    assert!(has_route(&mut world));
    assert_eq!(world.status(0, 8).state, State::Established);

    let mut world = World::mesh(&[64512], ImportPolicy::All);
    let peer = PeerConfig { passive: true, ..neighbor(8, PUPPET, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(8), peer);
    world.start();
    down(&mut world, true);
    assert_eq!(world.status(0, 8).last_error, None);
    connect(&mut world, false);
}
