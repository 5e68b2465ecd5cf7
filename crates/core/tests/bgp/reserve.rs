//! A connection that comes in while one of ours is coming up (RFC 4271 6.8): it is answered, and not begun, by our OPEN, so
//! that the neighbour cannot end for it the connection that we keep.

use std::time::Duration;

use routenet_core::bgp::session::timers::COLLISION_RESERVE;
use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{self, Message, Open, cease};
use routenet_core::model::ImportPolicy;
use routenet_core::time::Time;

use crate::world::{address, config, messages, neighbor, puppet_context, puppet_open};

const THEIR_AS: u32 = 65009;

/// A speaker with one neighbour, and what it says on two connections with it.
struct Two {
    speaker: Speaker,
    now: Time,
    ours: ConnId,
    theirs: ConnId,
    closed: Vec<(ConnId, Vec<u8>)>,
}

impl Two {
    /// It has connected, and has said its OPEN there; then the neighbour connects.
    fn begin() -> Two {
        let mut own = config(0, 64512);
        own.peers.insert(address(8), neighbor(8, THEIR_AS, ImportPolicy::All));
        let mut speaker = Speaker::new(own, Startup { restarting: false, seed: 1 }, Time::ZERO);
        let mut now = Time::ZERO;
        let ours = loop {
            match speaker.poll_event() {
                Some(Event::Connect { conn, .. }) => break conn,
                Some(_) => {}
                None => {
                    now = speaker.next_deadline().expect("it is to connect");
                    speaker.handle(Input::Timeout, now);
                }
            }
        };
        speaker.handle(Input::Connected { conn: ours, local: address(0) }, now);
        let theirs = speaker.accept(address(8), address(0), now).expect("it is let in");
        let mut two = Two { speaker, now, ours, theirs, closed: Vec::new() };
        assert!(matches!(two.said(ours).as_slice(), [Message::Open(_)]));
        two
    }

    fn said(&mut self, conn: ConnId) -> Vec<Message> {
        while let Some(event) = self.speaker.poll_event() {
            if let Event::Close { conn, last_words } = event {
                self.closed.push((conn, last_words));
            }
        }
        let mut bytes = Vec::new();
        self.speaker.poll_transmit(conn, &mut bytes, 4096, self.now);
        bytes.extend(self.closed.iter().filter(|(closed, _)| *closed == conn).flat_map(|(_, words)| words.clone()));
        messages(&bytes, &puppet_context())
    }

    fn hear(&mut self, conn: ConnId, bytes: &[u8]) {
        self.speaker.handle(Input::Received { conn, bytes }, self.now);
    }

    fn state(&self) -> State {
        self.speaker.status(self.now)[0].state
    }
}

/// Theirs, with an identifier above ours (10.0.0.1) or below it.
fn open(above: bool) -> Vec<u8> {
    let router_id = if above { [192, 0, 2, 9] } else { [1, 0, 0, 9] }.into();
    wire::encode_open(&Open { router_id, ..puppet_open(THEIR_AS, None) })
}

fn is_collision(message: &Message) -> bool {
    matches!(message, Message::Notification(said) if (said.code, said.subcode) == (6, cease::COLLISION_RESOLUTION))
}

#[test]
fn where_ours_is_established_first_the_neighbour_never_saw_our_open_on_its_own() {
    for above in [false, true] {
        let mut two = Two::begin();
        let (ours, theirs) = (two.ours, two.theirs);
        assert!(two.said(theirs).is_empty(), "its OPEN is waited for");
        two.hear(ours, &open(above));
        two.hear(ours, &wire::encode_keepalive());
        assert_eq!(two.state(), State::Established);
        let said = two.said(theirs);
        assert!(said.len() == 1 && is_collision(&said[0]), "{said:?}");
    }
}

#[test]
fn an_open_on_theirs_is_answered_and_the_identifiers_decide() {
    for above in [false, true] {
        for theirs_first in [false, true] {
            let mut two = Two::begin();
            let order = if theirs_first { [two.theirs, two.ours] } else { [two.ours, two.theirs] };
            order.iter().for_each(|conn| two.hear(*conn, &open(above)));
            let (stays, goes) = if above { (two.theirs, two.ours) } else { (two.ours, two.theirs) };
            assert!(is_collision(two.said(goes).last().expect("last words")), "{above} {theirs_first}");
            two.hear(stays, &wire::encode_keepalive());
            assert_eq!(two.state(), State::Established, "{above} {theirs_first}");
        }
    }
}

#[test]
fn a_neighbour_that_waits_too_hears_our_open_soon() {
    let mut two = Two::begin();
    let theirs = two.theirs;
    two.now = two.now + (COLLISION_RESERVE - Duration::from_millis(1));
    two.speaker.handle(Input::Timeout, two.now);
    assert!(two.said(theirs).is_empty());
    two.now = two.now + Duration::from_millis(1);
    two.speaker.handle(Input::Timeout, two.now);
    assert!(matches!(two.said(theirs).as_slice(), [Message::Open(_)]));
}
