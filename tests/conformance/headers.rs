//! Message header errors (RFC 4271 6.1) in every state, and how messages may be cut into segments.

use std::time::Duration;

use crate::heard::Heard;
use crate::peer::Peer;
use crate::raw::{self, header, keepalive, message};
use crate::script::{Scripts, Stage, ends, run};

#[derive(Clone, Copy, Debug)]
enum State {
    OpenSent,
    OpenConfirm,
    Established,
}

const STATES: [State; 3] = [State::OpenSent, State::OpenConfirm, State::Established];

impl State {
    fn reach(self, stage: &Stage<'_>) -> Result<Peer, String> {
        let mut peer = stage.connect()?;
        match self {
            State::OpenSent => {}
            State::OpenConfirm => {
                peer.open(&stage.open())?;
                peer.until("a KEEPALIVE", |heard| *heard == Heard::Keepalive)?;
            }
            State::Established => return stage.establish(),
        }
        Ok(peer)
    }
}

struct Bad {
    what: String,
    bytes: Vec<u8>,
    /// What it is answered with.
    subcode: u8,
    data: Option<Vec<u8>>,
}

fn errors() -> Vec<Bad> {
    const MARKER: [u8; 16] = [0xff; 16];
    let mut errors = Vec::new();
    let mut one_bit = MARKER;
    one_bit[15] = 0xfe;
    for (what, marker) in [("of zeros", [0; 16]), ("with a bit wrong", one_bit)] {
        let bytes = header(marker, 19, raw::KEEPALIVE, &[]);
        errors.push(Bad { what: format!("marker {what}"), bytes, subcode: 1, data: None });
    }
    let mut length = |kind: u8, length: usize, body: &[u8]| {
        let data = Some((length as u16).to_be_bytes().to_vec());
        let (what, bytes) = (format!("type {kind} of length {length}"), header(MARKER, length, kind, body));
        errors.push(Bad { what, bytes, subcode: 2, data });
    };
    for kind in [raw::OPEN, raw::UPDATE, raw::NOTIFICATION, raw::KEEPALIVE] {
        for bad in [0, 1, 18, 4097, 65535] {
            length(kind, bad, &[]);
        }
    }
    length(raw::OPEN, 28, &[4, 0xfd, 0xf2, 0, 90, 1, 2, 3, 4]);
    length(raw::OPEN, 19, &[]);
    length(raw::UPDATE, 22, &[0, 0, 0]);
    length(raw::UPDATE, 19, &[]);
    length(raw::NOTIFICATION, 20, &[6]);
    length(raw::NOTIFICATION, 19, &[]);
    length(raw::KEEPALIVE, 20, &[0]);
    length(raw::KEEPALIVE, 4096, &[0; 4077]);
    for kind in [0, 6, 7, 128, 255] {
        let bytes = message(kind, &[0, 0, 0, 0]);
        errors.push(Bad { what: format!("type {kind}"), bytes, subcode: 3, data: Some(vec![kind]) });
    }
    errors
}

#[test]
fn header_errors_in_every_state() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        for state in STATES {
            for Bad { what, bytes, subcode, data } in errors() {
                scripts.add("4271 6.1", format!("{what} in {state:?}"), external, move |stage| {
                    let mut peer = state.reach(stage)?;
                    peer.say(&bytes)?;
                    ends(&mut peer, 1, subcode, data.as_deref())?;
                    stage.is_gone()
                });
            }
        }
    }
    run(scripts);
}

#[test]
fn messages_come_in_any_segments() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        scripts.add("4271 3", "one byte a segment", external, |stage| {
            let mut peer = stage.connect()?;
            let all = [stage.open().bytes(), keepalive(), keepalive(), stage.update().bytes()].concat();
            for byte in all {
                peer.say(&[byte])?;
                std::thread::sleep(Duration::from_micros(200));
            }
            stage.is_told()?;
            peer.is_up()
        });
        scripts.add("4271 3", "all in one segment", external, |stage| {
            let mut peer = stage.connect()?;
            let updates: Vec<u8> = (0..50).flat_map(|_| stage.update().bytes()).collect();
            peer.say(&[stage.open().bytes(), keepalive(), updates, keepalive()].concat())?;
            stage.is_told()?;
            peer.is_up()
        });
        scripts.add("4271 3", "cut in the middle of headers", external, |stage| {
            let mut peer = stage.connect()?;
            let all = [stage.open().bytes(), keepalive(), stage.update().bytes(), keepalive()].concat();
            for part in all.chunks(23) {
                peer.say(part)?;
                std::thread::sleep(Duration::from_millis(2));
            }
            stage.is_told()?;
            peer.is_up()
        });
        scripts.add("4271 6.1", "good messages before the bad one count", external, |stage| {
            let mut peer = stage.establish()?;
            stage.withdraws(&mut peer)?;
            let before = stage.speaker.watchers[0].announced(stage.prefixes().victim);
            peer.say(&[stage.update().bytes(), header([0; 16], 19, raw::KEEPALIVE, &[])].concat())?;
            ends(&mut peer, 1, 1, None)?;
            stage.is_gone()?;
            // It may have come and gone before anybody was told: never more than once.
            let announced = stage.speaker.watchers[0].announced(stage.prefixes().victim) - before;
            if announced > 1 { Err(format!("told {announced} times")) } else { Ok(()) }
        });
    }
    run(scripts);
}
