//! The FSM between speakers: hold timer, keepalives, collision, NOTIFICATIONs, configuration.

use std::time::Duration;

use routenet_core::bgp::session::timers::PATIENCE;
use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{self, Capability, GracefulRestart, Message, Notification, Open, cease};
use routenet_core::model::ImportPolicy;

use crate::world::{World, address, config, neighbor, puppet_open};

const PUPPET: u32 = 65009;

fn notification(code: u8, subcode: u8) -> (u8, u8) {
    (code, subcode)
}

/// A speaker whose only neighbour is the test.
fn alone() -> World {
    let mut world = World::mesh(&[64512], ImportPolicy::All);
    let peer = PeerConfig { passive: true, ..neighbor(8, PUPPET, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(8), peer);
    world.start();
    world
}

fn answer(world: &mut World) -> (u8, u8) {
    let said = world.puppet_notified().expect("a NOTIFICATION");
    assert!(world.puppet.as_ref().is_some_and(|puppet| puppet.closed), "and the connection is closed");
    (said.code, said.subcode)
}

#[test]
fn two_that_connect_at_once_keep_one_connection() {
    let mut world = World::mesh(&[64512, 64512], ImportPolicy::All);
    world.start();
    world.seconds(1);
    assert_eq!(world.connects, 2, "both tried");
    for (index, peer) in [(0, 1), (1, 0)] {
        let status = world.status(index, peer);
        assert_eq!(status.state, State::Established, "{:?}", world.hosts[index].reports);
        assert_eq!((status.sessions, status.last_error), (1, None), "and a collision is no error");
    }
    world.seconds(600);
    assert_eq!(world.connects, 2, "and it stays so");
}

#[test]
fn keepalives_hold_an_idle_session_and_silence_ends_it() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.start();
    world.seconds(1000);
    assert_eq!(world.status(0, 1).sessions, 1);
    world.cut(0, 1);
    world.seconds(59);
    assert_eq!(world.status(0, 1).state, State::Established, "the last keepalive is at most 30 s older");
    world.seconds(32);
    assert_ne!(world.status(0, 1).state, State::Established);
    let (_, why) = world.status(0, 1).last_error.expect("an error");
    assert!(why.contains("connection refused") || why.contains("Hold Timer Expired"), "{why}");
    let reported = world.hosts[0].reports.iter().filter_map(|(_, _, why)| why.clone()).collect::<Vec<_>>();
    assert!(reported.iter().any(|why| why == "sent Hold Timer Expired (4/0)"), "{reported:?}");
    world.mend();
    world.seconds(90);
    assert_eq!(world.status(0, 1).state, State::Established, "and it comes back by itself");
}

#[test]
fn a_hold_time_of_zero_sends_no_keepalives_and_never_expires() {
    let mut world = alone();
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&Open { hold_time: 0, ..puppet_open(PUPPET, None) });
    assert_eq!(world.status(0, 8).hold_time, Some(0));
    world.puppet_heard();
    world.seconds(100_000);
    assert_eq!(world.status(0, 8).state, State::Established);
    assert_eq!(world.puppet_heard(), []);
}

#[test]
fn keepalives_come_at_a_third_of_the_lower_hold_time() {
    let mut world = alone();
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&Open { hold_time: 9, ..puppet_open(PUPPET, None) });
    assert_eq!(world.status(0, 8).hold_time, Some(9));
    world.puppet_heard();
    world.seconds(8);
    let heard = world.puppet_heard();
    assert!((2..=3).contains(&heard.len()) && heard.iter().all(|m| *m == Message::Keepalive), "{heard:?}");
}

#[test]
fn a_neighbor_that_never_opens_is_let_go() {
    let mut world = alone();
    world.puppet_connects(0, address(8));
    world.seconds(239);
    assert_eq!(world.status(0, 8).state, State::OpenSent);
    world.seconds(2);
    assert_eq!(answer(&mut world), notification(4, 0));
}

#[test]
fn a_neighbor_that_never_confirms_is_let_go_also_without_a_hold_time() {
    let mut world = alone();
    world.puppet_connects(0, address(8));
    world.puppet_says(&wire::encode_open(&Open { hold_time: 0, ..puppet_open(PUPPET, None) }));
    world.seconds(239);
    assert_eq!(world.status(0, 8).state, State::OpenConfirm);
    world.seconds(2);
    assert_eq!(answer(&mut world), notification(4, 0));
    assert_eq!(world.status(0, 8).state, State::Active);
}

#[test]
fn bad_opens_are_answered_with_their_reason() {
    let wrong_as = puppet_open(65010, None);
    let no_family = Open {
        capabilities: vec![
            Capability::Multiprotocol(wire::AfiSafi { afi: 25, safi: 65 }),
            Capability::FourOctetAs(PUPPET),
        ],
        ..puppet_open(PUPPET, None)
    };
    for (open, expected) in [(wrong_as, (2, 2)), (no_family, (2, 7))] {
        let mut world = alone();
        world.puppet_connects(0, address(8));
        world.puppet_says(&wire::encode_open(&open));
        assert_eq!(answer(&mut world), expected);
    }
    let mut world = alone();
    world.puppet_connects(0, address(8));
    let mut hold_of_two = wire::encode_open(&puppet_open(PUPPET, None));
    hold_of_two[22..24].copy_from_slice(&[0, 2]);
    world.puppet_says(&hold_of_two);
    assert_eq!(answer(&mut world), (2, 6));
}

#[test]
fn an_identifier_of_our_own_is_refused_inside_the_as_only() {
    for (as_number, state) in [(64512, State::Active), (PUPPET, State::Established)] {
        let mut world = alone();
        world.hosts[0].config.peers.get_mut(&address(8)).expect("it").as_number = Some(as_number);
        world.handle(0, Input::Configure(Box::new(world.hosts[0].config.clone())));
        world.puppet_connects(0, address(8));
        let open = Open { router_id: world.hosts[0].config.router_id, ..puppet_open(as_number, None) };
        world.puppet_establishes(&open);
        assert_eq!(world.status(0, 8).state, state);
        let refused = world.puppet_notified().map(|said| (said.code, said.subcode));
        assert_eq!(refused, (as_number == 64512).then_some((2, 3)));
    }
}

#[test]
fn a_message_out_of_turn_is_an_error_of_the_state_machine() {
    let update = |buffer: &mut Vec<u8>| wire::encode_end_of_rib(wire::AfiSafi::IPV4_UNICAST, buffer);
    let mut early = Vec::new();
    update(&mut early);
    let mut world = alone();
    world.puppet_connects(0, address(8));
    world.puppet_says(&early);
    assert_eq!(answer(&mut world), (5, 1));

    let mut world = alone();
    world.puppet_connects(0, address(8));
    world.puppet_says(&wire::encode_open(&puppet_open(PUPPET, None)));
    world.puppet_says(&early);
    assert_eq!(answer(&mut world), (5, 2));

    let mut world = alone();
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(PUPPET, None));
    world.puppet_says(&wire::encode_open(&puppet_open(PUPPET, None)));
    assert_eq!(answer(&mut world), (5, 3));
}

#[test]
fn what_the_neighbor_says_last_is_in_the_status() {
    let mut world = alone();
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(PUPPET, None));
    world.puppet_says(&wire::encode_notification(&Notification::administrative_shutdown("new cables")));
    let (_, why) = world.status(0, 8).last_error.expect("an error");
    assert_eq!(why, "received Cease: Administrative Shutdown (6/2): \"new cables\"");
    assert_eq!(world.puppet_notified(), None, "a NOTIFICATION is not answered");
}

#[test]
fn strangers_are_not_let_in_and_repeated_errors_earn_a_rest() {
    let mut world = alone();
    let now = world.now;
    let speaker = world.hosts[0].speaker.as_mut().expect("it runs");
    assert_eq!(speaker.accept(address(77), address(0), now), None);

    for round in 0..=PATIENCE {
        world.puppet_connects(0, address(8));
        world.puppet_says(&[0; 64]);
        assert_eq!(answer(&mut world), (1, 1), "round {round}: let in again at once");
    }
    assert_eq!(world.status(0, 8).state, State::Idle);
    let now = world.now;
    let speaker = world.hosts[0].speaker.as_mut().expect("it runs");
    assert_eq!(speaker.accept(address(8), address(0), now), None, "not now");
    world.seconds(1);
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(PUPPET, None));
    assert_eq!(world.status(0, 8).state, State::Established);
}

/// RFC 4271 6.8: a neighbour whose first connection died silently in OpenConfirm need not wait for its hold time.
#[test]
fn of_two_connections_from_the_same_side_the_identifiers_decide() {
    // The neighbour's is the higher one: then what it opened last stays.
    let mut world = alone();
    let higher = Open { router_id: [99, 0, 0, 1].into(), ..puppet_open(PUPPET, None) };
    world.puppet_connects(0, address(8));
    world.puppet_says(&wire::encode_open(&higher));
    assert_eq!(world.status(0, 8).state, State::OpenConfirm);
    world.puppet.take();
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&higher);
    assert_eq!(world.status(0, 8).state, State::Established);

    // Else the first one stays, be it dead or not.
    let mut world = alone();
    let lower = Open { router_id: [0, 0, 0, 1].into(), ..puppet_open(PUPPET, None) };
    world.puppet_connects(0, address(8));
    world.puppet_says(&wire::encode_open(&lower));
    let first = world.puppet.take();
    world.puppet_connects(0, address(8));
    world.puppet_says(&wire::encode_open(&lower));
    assert_eq!(answer(&mut world), (6, cease::COLLISION_RESOLUTION));
    world.puppet = first;
    world.puppet_says(&wire::encode_keepalive());
    assert_eq!(world.status(0, 8).state, State::Established);
}

#[test]
fn silent_connections_are_bounded_and_keep_nobody_out() {
    let mut world = alone();
    world.puppet_connects(0, address(8));
    let first = world.puppet.take();
    for _ in 0..3 {
        world.puppet_connects(0, address(8));
        world.puppet.take();
    }
    world.puppet = first;
    assert_eq!(world.puppet_notified(), None, "four may be silent");
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(PUPPET, None));
    assert_eq!(world.status(0, 8).state, State::Established);
}

/// RFC 2918 section 3 reserves the octet that RFC 7313 makes a subtype, between two that agreed on it.
#[test]
fn a_refresh_has_a_subtype_only_for_who_knows_of_them() {
    for enhanced in [false, true] {
        let mut world = alone();
        world.announce(0, &["10.1.0.0/24"]);
        let mut open = puppet_open(PUPPET, None);
        open.capabilities.extend(enhanced.then_some(Capability::EnhancedRouteRefresh));
        world.puppet_connects(0, address(8));
        world.puppet_establishes(&open);
        world.puppet_heard();
        world.puppet_says(&wire::encode_route_refresh(wire::AfiSafi::IPV4_UNICAST, wire::refresh_subtype::END));
        let told = |message: &Message| matches!(message, Message::Update(update) if !update.reachable.is_empty());
        assert_eq!(world.puppet_heard().iter().any(told), !enhanced);
    }
}

/// RFC 6608 comes before what is wrong inside.
#[test]
fn what_comes_out_of_turn_is_not_looked_into() {
    let mut world = alone();
    world.puppet_connects(0, address(8));
    let malformed = [&[0xff; 16][..], &[0, 23, 2, 0xff, 0xff, 0, 0]].concat();
    world.puppet_says(&malformed);
    let said = world.puppet_notified().expect("a NOTIFICATION");
    assert_eq!((said.code, said.subcode, said.data), (5, 1, vec![2]));
}

#[test]
fn a_second_connection_soon_after_the_first_is_a_collision_and_loses() {
    let mut world = alone();
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(PUPPET, None));
    let first = world.puppet.take();
    world.puppet_connects(0, address(8));
    world.puppet_says(&wire::encode_open(&puppet_open(PUPPET, None)));
    assert_eq!(answer(&mut world), (6, cease::COLLISION_RESOLUTION));
    assert!(!first.expect("the first").closed);
    assert_eq!(world.status(0, 8).state, State::Established);
}

/// RFC 4724 4.2, where the neighbour named a family with its restart; nothing of ours is there that could collide.
#[test]
fn a_neighbour_with_graceful_restart_that_connects_anew_has_lost_the_old_connection() {
    let of = |families| GracefulRestart { restarted: false, notification: false, restart_time: 120, families };
    let with_families = puppet_open(PUPPET, Some(of(vec![(wire::AfiSafi::IPV4_UNICAST, true)])));
    let without = puppet_open(PUPPET, Some(of(Vec::new())));
    for (open, new_one_stays) in [(with_families, true), (without, false)] {
        let mut world = alone();
        world.puppet_connects(0, address(8));
        world.puppet_establishes(&open);
        world.puppet_connects(0, address(8));
        world.puppet_says(&wire::encode_open(&open));
        world.puppet_says(&wire::encode_keepalive());
        let status = world.status(0, 8);
        assert_eq!((status.state, status.sessions), (State::Established, 1 + u64::from(new_one_stays)));
        let refused = world.puppet_notified().map(|said| (said.code, said.subcode));
        assert_eq!(refused, (!new_one_stays).then_some((6, cease::COLLISION_RESOLUTION)));
    }
}

#[test]
fn a_connection_that_lost_a_collision_is_no_error_of_the_session() {
    // Before Established: the first connection is closed without a word (or its last words are lost) after its OPEN.
    let mut world = alone();
    world.puppet_connects(0, address(8));
    world.puppet_says(&wire::encode_open(&puppet_open(PUPPET, None)));
    world.puppet_breaks();
    assert_eq!(world.status(0, 8).last_error.map(|(_, why)| why).as_deref(), Some("reset by peer"), "no session yet");
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(PUPPET, None));
    assert_eq!((world.status(0, 8).state, world.status(0, 8).last_error), (State::Established, None));

    // After Established: a second connection comes and goes.
    let first = world.puppet.take();
    world.puppet_connects(0, address(8));
    world.puppet_breaks();
    assert_eq!((world.status(0, 8).state, world.status(0, 8).last_error), (State::Established, None));

    // What ended a session stays in sight through the next one.
    world.puppet = first;
    world.puppet_breaks();
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(PUPPET, None));
    let status = world.status(0, 8);
    assert_eq!((status.state, status.sessions), (State::Established, 2));
    assert_eq!(status.last_error.map(|(_, why)| why).as_deref(), Some("reset by peer"));
}

#[test]
fn a_change_of_configuration_resets_only_whom_it_touches() {
    let mut world = World::mesh(&[64512, 64513, 64514], ImportPolicy::All);
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(10);
    let mut changed = world.hosts[0].config.clone();
    changed.peers.get_mut(&address(1)).expect("it").hold_time = Some(30);
    changed.peers.get_mut(&address(2)).expect("it").import = ImportPolicy::None;
    world.handle(0, Input::Configure(Box::new(changed.clone())));
    world.settle();
    assert_eq!(world.status(0, 1).sessions, 1);
    assert_ne!(world.status(0, 1).state, State::Established, "what was told in OPEN has changed");
    world.seconds(10);
    assert_eq!((world.status(0, 1).state, world.status(0, 1).hold_time), (State::Established, Some(30)));
    assert_eq!((world.status(0, 2).state, world.status(0, 2).sessions), (State::Established, 1));

    changed.peers.remove(&address(1));
    world.handle(0, Input::Configure(Box::new(changed)));
    world.settle();
    assert_eq!(world.speaker(0).status(world.now).len(), 1);
    let (_, why) = world.status(1, 0).last_error.expect("an error");
    assert_eq!(why, "received Cease: Hard Reset (6/9): Cease: Peer De-configured (6/3)");
    assert_eq!(world.status(0, 2).sessions, 1);
}

#[test]
fn a_passive_pair_waits_and_a_reset_comes_back_at_once() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    for index in 0..2 {
        world.hosts[index].config.peers.values_mut().for_each(|peer| peer.passive = true);
    }
    world.start();
    world.seconds(100);
    assert_eq!((world.connects, world.status(0, 1).state), (0, State::Active));
    let active = PeerConfig { local_address: Some(address(0)), ..neighbor(1, 64513, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(1), active);
    world.handle(0, Input::Configure(Box::new(world.hosts[0].config.clone())));
    world.seconds(1);
    assert_eq!(world.status(0, 1).state, State::Established);
    world.handle(0, Input::Reset(address(1)));
    world.advance(Duration::from_millis(1));
    assert_eq!((world.status(0, 1).state, world.status(0, 1).sessions), (State::Established, 2));
}

#[test]
fn a_neighbor_that_is_not_there_is_tried_at_the_retry_interval() {
    let mut world = World::mesh(&[64512], ImportPolicy::All);
    world.hosts[0].config = config(0, 64512);
    world.hosts[0].config.peers.insert(address(5), neighbor(5, 65000, ImportPolicy::All));
    world.start();
    world.seconds(100);
    assert!((20..=28).contains(&world.connects), "{} attempts at 3.75 to 5 s", world.connects);
    assert_eq!(world.status(0, 5).last_error.map(|(_, why)| why).as_deref(), Some("connection refused"));
}

#[test]
fn a_neighbour_that_does_not_read_is_let_go_with_the_words_of_rfc_9687() {
    let mut world = World::mesh(&[64512], ImportPolicy::All);
    let peer = PeerConfig { passive: true, ..neighbor(8, 65009, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(8), peer);
    world.start();
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(65009, None));
    world.puppet_heard();
    let conn = world.puppet.as_ref().expect("it").conn;
    world.handle(0, Input::SendHoldExpired { conn });
    world.settle();
    assert_eq!(world.puppet_notified().map(|said| (said.code, said.subcode)), Some((8, 0)));
    assert_ne!(world.status(0, 8).state, State::Established);
}

/// BIRD waits for a minute after an error, and closes what comes meanwhile: the cause stays known.
#[test]
fn what_a_notification_said_stays_known_behind_closed_connections() {
    let mut world = alone();
    world.puppet_connects(0, address(8));
    world.puppet_says(&wire::encode_open(&puppet_open(PUPPET + 1, None)));
    let said = Said::Sent(Notification::bad_peer_as());
    let refusal = |world: &World| world.status(0, 8).refusal.map(|(_, said)| said);
    assert_eq!(refusal(&world), Some(said.clone()));
    world.puppet_connects(0, address(8));
    world.puppet_breaks();
    assert_eq!(world.status(0, 8).last_error.expect("an error").1, "reset by peer");
    assert_eq!(refusal(&world), Some(said), "though the last thing that happened is another");

    // What comes about has no cause to stay away, nor has what ends it later anything to do with that.
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(PUPPET, None));
    assert_eq!((world.status(0, 8).state, refusal(&world)), (State::Established, None));
    world.puppet_breaks();
    assert_eq!(refusal(&world), None);

    // The neighbour's words count as well, until what it is told changes.
    world.puppet_connects(0, address(8));
    let theirs = Notification::new(2, 2, 64512_u32.to_be_bytes());
    world.puppet_says(&wire::encode_notification(&theirs));
    assert_eq!(refusal(&world), Some(Said::Received(theirs.clone())));
    assert_eq!(Said::Received(theirs).to_string(), "received OPEN Message Error: Bad Peer AS (2/2): AS 64512");
    let mut config = world.hosts[0].config.clone();
    config.peers.get_mut(&address(8)).expect("it is there").as_number = Some(PUPPET + 1);
    world.handle(0, Input::Configure(Box::new(config)));
    assert_eq!(refusal(&world), None, "with other settings it has to be seen anew");
}

/// A neighbour that is not there is told about once, and not at each attempt.
#[test]
fn the_hundredth_refusal_is_no_news() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.start();
    world.seconds(5);
    world.kill(1);
    world.seconds(1000);
    let events = |world: &World| {
        let detail = world.speaker(0).neighbor(address(1), world.now).expect("a neighbour");
        detail.history.into_iter().map(|(_, what)| what).collect::<Vec<_>>()
    };
    let before = events(&world);
    let refusals = before.iter().filter(|what| what.contains("connection refused")).count();
    assert!(world.connects > 100 && refusals == 1, "{} attempts, {before:?}", world.connects);
    world.boot(1, false);
    world.handle(1, Input::Originate(Vec::new()));
    world.seconds(10);
    world.kill(1);
    world.seconds(10);
    assert_eq!(events(&world).len(), before.len() + 3, "up, down and refused: {:?}", events(&world));
}
