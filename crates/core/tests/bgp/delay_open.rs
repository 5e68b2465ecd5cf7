//! The DelayOpen of RFC 4271 8.1.1: who connects is waited for with our own OPEN for a while.

use std::time::Duration;

use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{self, Message, Notification, Open};
use routenet_core::model::ImportPolicy;

use crate::world::{World, address, neighbor, puppet_open};

const DELAY: u16 = 20;

/// A speaker that waits for the test to play its neighbour.
fn waiting(delay: u16) -> World {
    let mut world = World::mesh(&[64512], ImportPolicy::All);
    let mut peer = PeerConfig { passive: true, ..neighbor(8, 65009, ImportPolicy::All) };
    peer.options.delay_open = delay;
    world.hosts[0].config.peers.insert(address(8), peer);
    world.start();
    world.puppet_connects(0, address(8));
    world
}

/// What the puppet heard, by kind.
fn heard(world: &mut World) -> Vec<&'static str> {
    let kinds = world.puppet_heard().into_iter().map(|message| match message {
        Message::Open(_) => "OPEN",
        Message::Keepalive => "KEEPALIVE",
        Message::Update(_) => "UPDATE",
        Message::Notification(_) => "NOTIFICATION",
        Message::RouteRefresh { .. } => "ROUTE-REFRESH",
    });
    kinds.collect()
}

fn state(world: &World) -> State {
    world.status(0, 8).state
}

#[test]
fn our_open_goes_out_when_the_timer_expires_and_not_before() {
    let mut world = waiting(DELAY);
    assert_eq!((heard(&mut world), state(&world)), (vec![], State::Active));
    world.seconds(19);
    assert_eq!((heard(&mut world), state(&world)), (vec![], State::Active));
    world.seconds(2);
    assert_eq!((heard(&mut world), state(&world)), (vec!["OPEN"], State::OpenSent), "event 12");
    world.puppet_establishes(&puppet_open(65009, None));
    assert_eq!(state(&world), State::Established);

    let mut world = waiting(0);
    assert_eq!((heard(&mut world), state(&world)), (vec!["OPEN"], State::OpenSent), "off");
}

#[test]
fn an_open_that_comes_meanwhile_is_answered_at_once() {
    let mut world = waiting(DELAY);
    world.seconds(5);
    world.puppet_says(&wire::encode_open(&puppet_open(65009, None)));
    assert_eq!((heard(&mut world), state(&world)), (vec!["OPEN", "KEEPALIVE"], State::OpenConfirm), "event 20");
    world.puppet_says(&wire::encode_keepalive());
    assert_eq!(state(&world), State::Established);
    // The timer is stopped: no second OPEN.
    world.seconds(20);
    assert!(!heard(&mut world).contains(&"OPEN"));
    assert_eq!(state(&world), State::Established);
}

/// Events 21 and 22, with SendNOTIFICATIONwithoutOPEN.
#[test]
fn what_is_wrong_with_its_opening_is_said_without_an_open_of_ours() {
    let mut bad_marker = wire::encode_keepalive().to_vec();
    bad_marker[0] = 0;
    let stranger = Open { as_number: 65010, ..puppet_open(65010, None) };
    for (bytes, code, subcode) in
        [(bad_marker, Notification::HEADER_ERROR, 1), (wire::encode_open(&stranger), Notification::OPEN_ERROR, 2)]
    {
        let mut world = waiting(DELAY);
        world.puppet_says(&bytes);
        let said: Vec<Message> = world.puppet_heard();
        let [Message::Notification(said)] = &said[..] else { panic!("one NOTIFICATION: {said:?}") };
        assert_eq!((said.code, said.subcode), (code, subcode));
        assert!(world.puppet.as_ref().expect("a puppet").closed);
    }
}

/// Any other event in Connect or Active drops the connection without a word.
#[test]
fn what_is_out_of_turn_and_what_the_administrator_does_ends_it_quietly() {
    let mut world = waiting(DELAY);
    world.puppet_says(&wire::encode_keepalive());
    assert_eq!(heard(&mut world), [] as [&str; 0]);
    assert!(world.puppet.as_ref().expect("a puppet").closed);
    let detail = world.speaker(0).neighbor(address(8), world.now).expect("a neighbour");
    assert_eq!(detail.last_sent, None, "nothing was said");
    assert!(detail.status.last_error.is_some_and(|(_, why)| !why.starts_with("sent")));

    let mut world = waiting(DELAY);
    world.handle(0, Input::Drain { notice: Duration::ZERO });
    world.settle();
    assert_eq!((heard(&mut world), state(&world)), (vec![], State::Idle));
    assert!(world.puppet.as_ref().expect("a puppet").closed);
}

#[test]
fn a_notification_and_a_break_meanwhile_leave_it_ready_for_the_next() {
    for breaks in [false, true] {
        let mut world = waiting(DELAY);
        if breaks {
            world.puppet_breaks();
        } else {
            world.puppet_says(&wire::encode_notification(&Notification::new(Notification::OPEN_ERROR, 1, [0, 4])));
            assert!(world.puppet.as_ref().expect("a puppet").closed, "events 24 and 25");
        }
        assert_eq!(state(&world), State::Active);
        world.puppet_connects(0, address(8));
        world.puppet_establishes(&puppet_open(65009, None));
        assert_eq!(state(&world), State::Established);
    }
}

/// Who opens the connection himself is in Connect meanwhile, and no second one is tried.
#[test]
fn the_one_who_connects_waits_as_well() {
    for delays in [[DELAY, 0], [0, DELAY], [DELAY, DELAY]] {
        let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
        for (index, delay) in delays.into_iter().enumerate() {
            let peer = world.hosts[index].config.peers.get_mut(&address(1 - index)).expect("a neighbour");
            peer.options.delay_open = delay;
            peer.passive = index == 1;
        }
        world.start();
        world.seconds(1);
        if delays == [DELAY, DELAY] {
            let states = [world.status(0, 1).state, world.status(1, 0).state];
            assert_eq!(states, [State::Connect, State::Active]);
            world.seconds(18);
            assert_eq!(world.status(0, 1).state, State::Connect);
            assert_eq!(world.connects, 1);
            world.seconds(2);
        }
        assert_eq!([world.status(0, 1).state, world.status(1, 0).state], [State::Established; 2], "{delays:?}");
        assert_eq!(world.status(0, 1).sessions, 1);
    }
}

/// A collision (6.8) while both wait comes to one session.
#[test]
fn two_that_connect_to_each_other_and_wait_come_to_one_session() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    for index in 0..2 {
        let peer = world.hosts[index].config.peers.get_mut(&address(1 - index)).expect("a neighbour");
        peer.options.delay_open = DELAY;
    }
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(60);
    assert_eq!([world.status(0, 1).state, world.status(1, 0).state], [State::Established; 2]);
    assert_eq!(world.kernel(0).len(), 1);
}
