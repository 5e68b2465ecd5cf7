//! A node that is drained tells its neighbours first that it is about to go (RFC 8326).

use std::time::Duration;

use routenet_core::bgp::speaker::*;
use routenet_core::model::ImportPolicy;
use routenet_core::model::peering::MaxPrefixes;

use crate::world::{World, address, cidr};

const NOTHING: [&str; 0] = [];
const TAG: &str = "65535:0";

fn pair(as_numbers: [u32; 2]) -> World {
    let mut world = World::mesh(&as_numbers, ImportPolicy::All);
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(10);
    assert_eq!(communities(&world), NOTHING, "in ordinary times");
    world
}

fn communities(world: &World) -> Vec<String> {
    world.speaker(0).route(&cidr("10.1.0.0/24")).first().map(|it| it.route.communities.clone()).unwrap_or_default()
}

fn local_pref(world: &World) -> Option<u32> {
    world.speaker(0).route(&cidr("10.1.0.0/24"))[0].route.local_pref
}

fn notice(seconds: u64) -> Input<'static> {
    Input::Drain { notice: Duration::from_secs(seconds) }
}

#[test]
fn neighbours_are_told_first_then_lose_the_routes_then_hear_cease() {
    for as_numbers in [[64512, 64513], [64512, 64512]] {
        let mut world = pair(as_numbers);
        world.handle(1, notice(20));
        world.settle();
        assert_eq!(world.kernel(0).len(), 1, "not withdrawn yet");
        assert_eq!(communities(&world), [TAG]);
        assert_eq!(local_pref(&world), Some(0), "the last choice, over eBGP by our own import, over iBGP by its word");
        world.seconds(19);
        assert_eq!((world.kernel(0).len(), world.status(0, 1).state), (1, State::Established));
        world.seconds(2);
        assert_eq!(world.kernel(0), NOTHING);
        let detail = world.speaker(0).neighbor(address(1), world.now).expect("a neighbour");
        let (_, said) = detail.last_received.expect("last words");
        assert!(said.contains("Administrative Shutdown") && said.contains("the node is being drained"), "{said}");
        world.seconds(60);
        assert_eq!(world.status(1, 0).state, State::Idle, "and it stays down");
    }
}

#[test]
fn to_take_the_node_back_in_the_middle_takes_back_the_word() {
    let mut world = pair([64512, 64512]);
    world.handle(1, notice(20));
    world.seconds(5);
    assert_eq!(communities(&world), [TAG]);
    world.handle(1, Input::Undrain);
    world.settle();
    assert_eq!((communities(&world), local_pref(&world)), (vec![], Some(100)));
    world.seconds(60);
    assert_eq!((world.status(0, 1).state, world.status(0, 1).sessions), (State::Established, 1));
    assert_eq!(world.hosts[0].lost, []);
}

#[test]
fn a_second_drain_may_be_quicker_and_not_slower() {
    let mut world = pair([64512, 64513]);
    world.handle(1, notice(20));
    world.seconds(5);
    world.handle(1, notice(600));
    world.seconds(16);
    assert_eq!(world.kernel(0), NOTHING);

    let mut world = pair([64512, 64513]);
    world.handle(1, notice(600));
    world.seconds(5);
    assert_eq!(world.kernel(0).len(), 1);
    world.handle(1, notice(0));
    world.settle();
    assert_eq!(world.kernel(0), NOTHING);
}

/// A session that breaks meanwhile comes back, and hears it as well.
#[test]
fn a_session_that_breaks_in_the_middle_hears_it_too() {
    let mut world = pair([64512, 64513]);
    world.handle(1, notice(60));
    world.settle();
    world.break_tcp(0, 1);
    world.seconds(20);
    assert_eq!((world.status(0, 1).state, world.status(0, 1).sessions), (State::Established, 2));
    assert_eq!(communities(&world), [TAG]);
    world.seconds(41);
    assert_eq!(world.kernel(0), NOTHING);
}

/// Two announce the same; one is drained: the third moves before there is anything to lose.
#[test]
fn a_neighbour_with_another_way_moves_before_the_withdrawal() {
    let mut world = World::mesh(&[64512, 64513, 64514], ImportPolicy::All);
    world.start();
    for index in [1, 2] {
        world.announce(index, &["10.1.0.0/24"]);
    }
    world.seconds(10);
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.2 10.0.0.3"]);
    world.handle(1, notice(20));
    world.settle();
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.3"]);
    assert_eq!(world.status(0, 1).state, State::Established, "and the session still stands");
    world.seconds(30);
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.3"]);
    assert_eq!(world.hosts[0].lost, []);
    assert_ne!(world.status(0, 1).state, State::Established);
}

/// A neighbour over its bound waits for its reset (RFC 4486 section 4), and a reset during a drain for the end of the drain.
#[test]
fn a_suspended_neighbour_comes_back_in_no_drain_and_after_it_only_if_released() {
    let set_bound = |world: &mut World, limit: u32, restart: Option<u32>| {
        let peer = world.hosts[0].config.peers.get_mut(&address(1)).expect("a neighbour");
        peer.options.max_prefixes = Some(MaxPrefixes { limit, warning: 75, restart });
        let config = Box::new(world.hosts[0].config.clone());
        world.handle(0, Input::Configure(config));
        world.settle();
    };
    let suspended = |restart: Option<u32>| {
        let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
        world.start();
        world.announce(1, &["10.1.0.0/24", "10.2.0.0/24"]);
        world.seconds(10);
        set_bound(&mut world, 1, restart);
        world.seconds(5);
        assert_eq!((world.status(0, 1).state, world.status(0, 1).sessions), (State::Idle, 1));
        world
    };
    for released_by in ["a reset", "another bound", "nothing"] {
        let mut world = suspended(None);
        world.handle(0, notice(60));
        match released_by {
            "a reset" => world.handle(0, Input::Reset(address(1))),
            "another bound" => set_bound(&mut world, 5, None),
            _ => {}
        }
        world.seconds(300);
        assert_eq!(world.status(0, 1).sessions, 1, "{released_by}: not while it is drained");
        if released_by == "a reset" {
            set_bound(&mut world, 5, None);
        }
        world.handle(0, Input::Undrain);
        world.seconds(300);
        let back = world.status(0, 1).state == State::Established;
        assert_eq!(back, released_by != "nothing", "{released_by}");
    }
    // A rest is not cut short by a drain.
    let mut world = suspended(Some(600));
    world.handle(0, notice(0));
    world.seconds(5);
    set_bound(&mut world, 5, Some(600));
    world.handle(0, Input::Undrain);
    world.seconds(400);
    assert_eq!(world.status(0, 1).sessions, 1, "it rests");
    world.seconds(300);
    assert_eq!(world.status(0, 1).state, State::Established);
}
