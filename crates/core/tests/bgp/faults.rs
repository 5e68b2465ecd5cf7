//! What is known of a neighbour's malformed UPDATEs (RFC 7606): the counters, the last one, and what the log has.

use routenet_core::bgp::speaker::detail::Fault;
use routenet_core::bgp::speaker::*;
use routenet_core::model::ImportPolicy;

use crate::world::{World, address, neighbor, puppet_open};

const PUPPET: u32 = 65009;

fn established() -> World {
    let mut world = World::mesh(&[64512], ImportPolicy::All);
    let peer = PeerConfig { passive: true, ..neighbor(8, PUPPET, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(8), peer);
    world.start();
    establish(&mut world);
    world
}

fn establish(world: &mut World) {
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(PUPPET, None));
}

/// An UPDATE with these attributes, of 10.9.0.0/24.
fn update(attributes: &[u8]) -> Vec<u8> {
    let length = 19 + 2 + 2 + attributes.len() + 4;
    let head = [&[0xff; 16][..], &(length as u16).to_be_bytes(), &[2, 0, 0], &(attributes.len() as u16).to_be_bytes()];
    [&head.concat()[..], attributes, &[24, 10, 9, 0]].concat()
}

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xf1];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 10, 0, 0, 9];
/// One byte short.
const COMMUNITIES: &[u8] = &[0xc0, 8, 3, 1, 2, 3];

fn detail(world: &World) -> PeerDetail {
    world.speaker(0).neighbor(address(8), world.now).expect("a neighbour")
}

fn reports(world: &mut World) -> Vec<(Fault, u64)> {
    let report = |event| match event {
        Event::Malformed { fault, unreported, .. } => Some((fault, unreported)),
        _ => None,
    };
    std::mem::take(&mut world.hosts[0].warnings).into_iter().filter_map(report).collect()
}

#[test]
fn what_was_mended_is_reported_with_its_prefixes_and_all_of_its_bytes() {
    let mut world = established();
    let good = update(&[ORIGIN, AS_PATH, NEXT_HOP].concat());
    world.puppet_says(&good);
    assert_eq!((reports(&mut world), detail(&world).faults.last), (Vec::new(), None));

    let bad = update(&[ORIGIN, AS_PATH, NEXT_HOP, COMMUNITIES].concat());
    world.puppet_says(&bad);
    let [(fault, unreported)] = reports(&mut world).try_into().expect("one report");
    assert_eq!((&fault.message, &fault.bytes[..], fault.fatal, unreported), (&bad, COMMUNITIES, false, 0));
    let prefixes: Vec<String> = fault.prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.9.0.0/24"]);
    let faults = detail(&world).faults;
    assert_eq!((faults.updates, faults.withdrawn, faults.resets), (1, 1, 0));
    assert_eq!(faults.last.map(|(_, last)| last), Some(fault));

    // What only the speaker sees: the first AS is not the neighbour's.
    let foreign = update(&[ORIGIN, &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xf2], NEXT_HOP].concat());
    world.puppet_says(&foreign);
    let [(fault, _)] = reports(&mut world).try_into().expect("one report");
    assert_eq!((&fault.message, fault.prefixes.len()), (&foreign, 1));
}

#[test]
fn what_ended_the_session_is_kept_and_counted_through_the_next() {
    let mut world = established();
    // A flood is counted, and reported in part.
    let bad = update(&[ORIGIN, AS_PATH, NEXT_HOP, COMMUNITIES].concat());
    (0..30).for_each(|_| world.puppet_says(&bad));
    assert_eq!(reports(&mut world).len(), 10);
    world.seconds(60);

    // The prefix has 33 bits.
    let mut fatal = update(&[ORIGIN, AS_PATH, NEXT_HOP].concat());
    let at = fatal.len() - 4;
    fatal[at] = 33;
    // What came behind it is of no session.
    world.puppet_says(&[&fatal[..], &bad].concat());
    let said = world.puppet_notified().expect("a NOTIFICATION");
    assert_eq!((said.code, said.subcode), (3, 10));
    let [(fault, unreported)] = reports(&mut world).try_into().expect("one report");
    assert_eq!((&fault.message, fault.fatal, unreported), (&fatal, true, 20));
    assert!(fault.prefixes.is_empty(), "they cannot be read");

    establish(&mut world);
    let detail = detail(&world);
    assert_eq!((detail.status.state, detail.status.sessions), (State::Established, 2));
    assert_eq!((detail.faults.updates, detail.faults.withdrawn, detail.faults.resets), (31, 30, 1));
    assert_eq!(detail.faults.last.map(|(_, last)| last.message), Some(fatal));
    assert_eq!((detail.status.malformed, detail.status.last_malformed), (0, None), "none in this session");
}

/// Only an UPDATE can be a malformed one.
#[test]
fn other_messages_that_end_a_session_are_none() {
    let mut world = established();
    world.puppet_says(&[&[0xff; 16][..], &[0, 19, 9]].concat());
    let said = world.puppet_notified().expect("a NOTIFICATION");
    assert_eq!((said.code, said.subcode), (1, 3));
    assert_eq!((reports(&mut world), detail(&world).faults.updates), (Vec::new(), 0));
}
