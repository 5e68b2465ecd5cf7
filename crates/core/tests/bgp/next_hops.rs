//! Next hops that have to resolve (RFC 4271 9.1.2.1), between speakers: what waits for an answer, and what it brings.

use std::collections::BTreeMap;

use routenet_core::bgp::speaker::*;
use routenet_core::model::{ImportPolicy, NoWay, Resolution};

use crate::world::{World, address};

const NOTHING: [&str; 0] = [];
const VIA: Resolution = Resolution::Via { metric: 0 };
const DOWN: Resolution = Resolution::Unreachable { why: NoWay::LinkDown, closed: None };

/// Two speakers of which the first asks for next hops; the second announces two prefixes.
fn pair() -> World {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.hosts[0].asks = true;
    world.start();
    world.announce(1, &["10.1.0.0/24", "10.2.0.0/24"]);
    world
}

fn answer(world: &mut World, resolution: Resolution) {
    world.handle(0, Input::NextHops(vec![(address(1), resolution)]));
    world.settle();
}

#[test]
fn the_first_table_is_whole_only_with_the_answers() {
    let mut world = pair();
    world.seconds(10);
    assert_eq!((world.status(0, 1).state, world.status(0, 1).accepted), (State::Established, 2));
    assert_eq!(world.questions(0), BTreeMap::from([(address(1), true)]), "asked once, for both");
    assert_eq!(world.kernel(0), NOTHING);
    assert!(!world.hosts[0].converged, "what the kernel has from before stays");
    answer(&mut world, VIA);
    assert_eq!(world.kernel(0).len(), 2);
    assert!(world.hosts[0].converged);
}

#[test]
fn whoever_comes_back_says_end_of_rib_behind_the_answers() {
    let mut world = pair();
    world.announce(0, &["10.9.0.0/24"]);
    world.seconds(10);
    answer(&mut world, VIA);
    world.kill(0);
    world.settle();
    world.boot(0, true);
    world.announce(0, &[]);
    world.seconds(10);
    assert_eq!((world.status(0, 1).accepted, world.status(1, 0).retained), (2, true));
    assert_eq!(world.kernel(1), ["10.9.0.0/24 via 10.0.0.1"], "kept until the selection is done (RFC 4724 4.1)");
    answer(&mut world, VIA);
    assert!(!world.status(1, 0).retained);
    assert_eq!(world.kernel(1), NOTHING);
}

#[test]
fn an_answer_that_never_comes_holds_nobody_for_ever() {
    let mut world = pair();
    world.seconds(119);
    assert!(!world.hosts[0].converged);
    world.seconds(2);
    assert!(world.hosts[0].converged);
    assert_eq!(world.kernel(0), NOTHING);
    answer(&mut world, VIA);
    assert_eq!(world.kernel(0).len(), 2);
}

#[test]
fn what_is_kept_through_a_neighbors_restart_needs_its_next_hop_too() {
    let mut world = pair();
    world.seconds(10);
    answer(&mut world, VIA);
    world.kill(1);
    world.settle();
    assert_eq!(world.kernel(0).len(), 2, "kept");
    answer(&mut world, DOWN);
    assert_eq!(world.kernel(0), NOTHING, "kept, but of no use");
    let words = world.speaker(0).routes()[0].refused.clone().unwrap_or_default();
    assert!(words.starts_with("its next hop 10.0.0.2 does not resolve: its link is down; "), "{words}");
    assert_eq!(world.speaker(0).unresolved().len(), 1);
    world.boot(1, true);
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(10);
    assert_eq!((world.kernel(0), world.status(0, 1).accepted), (vec![], 1), "told again, and of no use yet");
    answer(&mut world, VIA);
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.2"]);
    assert!(world.speaker(0).unresolved().is_empty());
}

#[test]
fn what_does_not_resolve_is_not_told_on() {
    let mut world = World::mesh(&[64512, 64513, 64514], ImportPolicy::All);
    // The third hears of the second by the first alone.
    world.hosts[1].config.peers.remove(&address(2));
    world.hosts[2].config.peers.remove(&address(1));
    world.hosts[0].asks = true;
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(10);
    answer(&mut world, VIA);
    assert_eq!(world.kernel(2), ["10.1.0.0/24 via 10.0.0.1"]);
    answer(&mut world, DOWN);
    assert_eq!(world.kernel(2), NOTHING);
    answer(&mut world, VIA);
    assert_eq!(world.kernel(2), ["10.1.0.0/24 via 10.0.0.1"]);
}
