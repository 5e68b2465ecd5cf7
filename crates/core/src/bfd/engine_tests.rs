//! Whose a packet is, and what the engine makes of it.

use std::net::Ipv4Addr;

use super::super::test_support;
use super::*;

const SETTINGS: Settings = Settings { interval: Duration::from_millis(100), multiplier: 3 };

fn neighbor(last: u8, multihop: bool) -> Neighbor {
    Neighbor { address: Ipv4Addr::new(192, 0, 2, last).into(), interface: 0, multihop }
}

fn wanted(least_ttl: u8) -> Wanted {
    Wanted { settings: SETTINGS, least_ttl }
}

fn engine(neighbors: &[(Neighbor, Wanted)]) -> Engine {
    let mut engine = Engine::new(1);
    engine.handle(Input::Configure(neighbors.iter().copied().collect()), Time::ZERO);
    engine
}

/// What the engine says to this neighbour now.
fn said(engine: &mut Engine, to: Neighbor, now: Time) -> Packet {
    let all = engine.poll_transmit(now);
    let (_, bytes) = all.iter().rfind(|(neighbor, _)| *neighbor == to).expect("a packet");
    Packet::decode(bytes).expect("a sound packet").0
}

fn packet(state: State, your_discriminator: u32) -> Packet {
    Packet { your_discriminator, desired_min_tx: Duration::from_secs(1), ..test_support::packet(state) }
}

fn hear(engine: &mut Engine, from: Neighbor, ttl: u8, packet: Packet) {
    engine.handle(Input::Received { from, ttl, bytes: &packet.encode() }, Time::ZERO);
}

fn state(engine: &Engine, of: Neighbor) -> State {
    engine.status(Time::ZERO)[&of].state
}

fn discard(engine: &Engine, of: Neighbor) -> Option<Discard> {
    engine.status(Time::ZERO)[&of].last_discard
}

#[test]
fn a_packet_is_found_by_our_discriminator_or_else_by_its_source() {
    let (a, b) = (neighbor(1, false), neighbor(2, false));
    let mut engine = engine(&[(a, wanted(1)), (b, wanted(1))]);
    let of_a = said(&mut engine, a, Time::ZERO).my_discriminator;
    hear(&mut engine, b, 255, packet(State::Down, 0));
    assert_eq!((state(&engine, a), state(&engine, b)), (State::Down, State::Init));
    // RFC 5880 6.3: from another address of the neighbour's it is still a's.
    hear(&mut engine, neighbor(77, false), 255, packet(State::Init, of_a));
    assert_eq!(state(&engine, a), State::Up);
    assert_eq!(engine.poll_event(), Some(Event::Up(a)));
    assert_eq!(engine.poll_event(), None);
}

#[test]
fn what_is_nobodys_changes_nothing_and_is_counted_where_it_seems_to_come_from() {
    let (a, far) = (neighbor(1, false), neighbor(2, true));
    let mut engine = engine(&[(a, wanted(1)), (far, wanted(250))]);
    let of_a = said(&mut engine, a, Time::ZERO).my_discriminator;
    let of_far = engine.sessions[&far].session.discriminator();
    let mut refused = |from: Neighbor, ttl, packet, why| {
        let before: Vec<State> = engine.status(Time::ZERO).values().map(|status| status.state).collect();
        hear(&mut engine, from, ttl, packet);
        let after: Vec<State> = engine.status(Time::ZERO).values().map(|status| status.state).collect();
        assert_eq!(before, after, "{why}");
        assert_eq!(discard(&engine, from), Some(why));
    };
    refused(a, 254, packet(State::Down, 0), Discard::Ttl(254, 255));
    refused(a, 254, packet(State::Init, of_a), Discard::Ttl(254, 255));
    refused(a, 1, packet(State::Down, 0), Discard::Ttl(1, 255));
    refused(a, 255, packet(State::Init, of_a ^ 1), Discard::UnknownDiscriminator);
    refused(a, 255, packet(State::Init, 0), Discard::ZeroYourDiscriminator);
    refused(a, 255, packet(State::Up, 0), Discard::ZeroYourDiscriminator);
    // The port of the one kind is no way around the TTL of the other.
    refused(far, 255, packet(State::Init, of_a), Discard::UnknownDiscriminator);
    refused(a, 255, packet(State::Init, of_far), Discard::UnknownDiscriminator);
    refused(far, 249, packet(State::Down, 0), Discard::Ttl(249, 250));
    let refusals = engine.status(Time::ZERO)[&a].discarded;
    assert_eq!(refusals, 7);

    // A stranger's, and one that would be good but for its authentication.
    hear(&mut engine, neighbor(9, false), 255, packet(State::Down, 0));
    let mut signed = packet(State::Down, 0).encode().to_vec();
    signed.extend([1, 4, 1, b'x']);
    (signed[1], signed[3]) = (signed[1] | 4, 28);
    engine.handle(Input::Received { from: a, ttl: 255, bytes: &signed }, Time::ZERO);
    assert_eq!((state(&engine, a), discard(&engine, a)), (State::Down, Some(Discard::Authenticated)));
    assert_eq!(engine.status(Time::ZERO).len(), 2);

    // And the good ones are taken.
    hear(&mut engine, far, 250, packet(State::Down, 0));
    hear(&mut engine, a, 255, packet(State::Down, 0));
    assert_eq!((state(&engine, a), state(&engine, far)), (State::Init, State::Init));
}

#[test]
fn link_locals_are_told_apart_by_their_interface() {
    let on = |interface| Neighbor { address: "fe80::1".parse().expect("an address"), interface, multihop: false };
    let mut engine = engine(&[(on(2), wanted(1)), (on(3), wanted(1))]);
    hear(&mut engine, on(3), 255, packet(State::Down, 0));
    assert_eq!((state(&engine, on(2)), state(&engine, on(3))), (State::Down, State::Init));
}

#[test]
fn a_failure_is_told_and_an_administrators_end_is_something_else() {
    let a = neighbor(1, false);
    let up = |independent| {
        let mut engine = engine(&[(a, wanted(1))]);
        hear(&mut engine, a, 255, packet(State::Down, 0));
        let ours = said(&mut engine, a, Time::ZERO).my_discriminator;
        hear(&mut engine, a, 255, Packet { control_plane_independent: independent, ..packet(State::Up, ours) });
        assert_eq!(engine.poll_event(), Some(Event::Up(a)));
        (engine, ours)
    };
    let (mut engine, _) = up(true);
    engine.handle(Input::Timeout, Time::from_millis(2999));
    assert_eq!(engine.poll_event(), None);
    engine.handle(Input::Timeout, Time::from_millis(3000));
    let diagnostic = Diagnostic::DETECTION_TIME_EXPIRED;
    assert_eq!(engine.poll_event(), Some(Event::Failed { neighbor: a, diagnostic, independent: true }));

    let (mut engine, ours) = up(false);
    hear(&mut engine, a, 255, packet(State::Down, ours));
    let diagnostic = Diagnostic::NEIGHBOR_SIGNALED_DOWN;
    assert_eq!(engine.poll_event(), Some(Event::Failed { neighbor: a, diagnostic, independent: false }));

    let (mut engine, ours) = up(false);
    hear(&mut engine, a, 255, packet(State::AdminDown, ours));
    assert_eq!(engine.poll_event(), Some(Event::AdminDown(a)));
    // And its silence after that is no failure either.
    engine.handle(Input::Timeout, Time::from_secs(60));
    assert_eq!(engine.poll_event(), None);
    assert_eq!(state(&engine, a), State::Down);
    assert!(engine.status(Time::ZERO)[&a].ended_by_neighbor);
}

#[test]
fn who_is_no_longer_configured_hears_so_and_may_come_back_at_once() {
    let (a, b) = (neighbor(1, false), neighbor(2, false));
    let mut engine = engine(&[(a, wanted(1)), (b, wanted(1))]);
    hear(&mut engine, a, 255, packet(State::Down, 0));
    let first = said(&mut engine, a, Time::ZERO);
    engine.handle(Input::Configure(BTreeMap::from([(b, wanted(1))])), Time::ZERO);
    let farewell = said(&mut engine, a, Time::ZERO);
    assert_eq!((farewell.state, farewell.my_discriminator), (State::AdminDown, first.my_discriminator));
    // What it says now is a stranger's.
    hear(&mut engine, a, 255, packet(State::Init, first.my_discriminator));
    assert!(!engine.status(Time::ZERO).contains_key(&a));

    engine.handle(Input::Configure(BTreeMap::from([(a, wanted(1)), (b, wanted(1))])), Time::ZERO);
    let again = said(&mut engine, a, Time::ZERO);
    assert_eq!(again.state, State::Down);
    assert_ne!(again.my_discriminator, first.my_discriminator);
    let later = engine.poll_transmit(Time::from_secs(5));
    assert!(later.iter().all(|(_, bytes)| Packet::decode(bytes).expect("sound").0.state == State::Down));
    assert_eq!(engine.poll_event(), None);
}

#[test]
fn leaving_is_over_when_everybody_has_heard_it() {
    let a = neighbor(1, false);
    let mut engine = engine(&[(a, wanted(1))]);
    hear(&mut engine, a, 255, packet(State::Down, 0));
    engine.poll_transmit(Time::ZERO);
    engine.handle(Input::Leave, Time::ZERO);
    let mut said = 0;
    let mut now = Time::ZERO;
    while !engine.is_over() {
        now = engine.next_deadline().expect("something to say").max(now);
        said += engine.poll_transmit(now).len();
        engine.handle(Input::Timeout, now);
    }
    assert_eq!(said, 3);
    assert!(now <= Time::from_millis(200));
    // Whatever is configured after that, nobody hears it.
    engine.handle(Input::Configure(BTreeMap::from([(a, wanted(1))])), now);
    assert!(engine.is_over());
}
