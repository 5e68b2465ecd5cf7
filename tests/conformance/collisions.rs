//! Several connections with one neighbour (RFC 4271 6.8, RFC 6286 2.3).

use std::net::{SocketAddr, TcpListener};

use serde_json::json;

use crate::heard::Heard;
use crate::peer::{LIMIT, Peer};
use crate::raw::{Open, keepalive};
use crate::script::{Scripts, Stage, ends, run};
use crate::speaker::{OUR_AS, OUR_ID, TESTER_AS};
use crate::support::wait_for;

const LOWER: [u8; 4] = [10, 0, 0, 1];
const HIGHER: [u8; 4] = [223, 0, 0, 1];
/// Where testers listen that the speaker connects to.
const PORT: u16 = 1180;
const CONNECTION_REJECTED: u8 = 5;
const COLLISION: u8 = 7;

fn open(external: bool, id: [u8; 4]) -> Open {
    Open::new(if external { TESTER_AS } else { OUR_AS }, id)
}

/// The connection that the speaker opens, with its OPEN heard.
fn called(stage: &Stage<'_>) -> Result<Peer, String> {
    let listener = TcpListener::bind(SocketAddr::new(stage.address, PORT)).map_err(|error| error.to_string())?;
    listener.set_nonblocking(true).expect("a socket");
    let mut stream = None;
    wait_for("the speaker to connect", LIMIT, || {
        stream = listener.accept().ok();
        stream.is_some()
    });
    let (stream, _) = stream.expect("it was waited for");
    stream.set_nonblocking(false).expect("a socket");
    let mut peer = Peer::over(stream);
    peer.until("an OPEN", |heard| matches!(heard, Heard::Open(_)))?;
    Ok(peer)
}

/// The connection that we open, with the speaker's OPEN heard.
fn calling(stage: &Stage<'_>) -> Result<Peer, String> {
    let mut peer = stage.connect()?;
    peer.until("an OPEN", |heard| matches!(heard, Heard::Open(_)))?;
    Ok(peer)
}

fn confirm(peer: &mut Peer, open: &Open) -> Result<(), String> {
    peer.say(&open.bytes())?;
    peer.until("a KEEPALIVE", |heard| *heard == Heard::Keepalive).map(drop)
}

/// Our OPEN over both, in this order; then `stays` must come up, and `goes` must have heard a Cease.
fn resolved(stage: &Stage<'_>, stays: &mut Peer, goes: &mut Peer) -> Result<(), String> {
    ends(goes, 6, COLLISION, None)?;
    stays.say(&keepalive())?;
    stage.announces(stays)?;
    stage.still_up(stays)
}

#[test]
fn of_two_connections_the_right_one_stays() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        for (what, id, ours_stays) in [
            ("lower identifier", LOWER, true),
            ("higher identifier", HIGHER, false),
            // RFC 6286 2.3: then the AS decides; the tester's is the higher one.
            ("our identifier", OUR_ID, false),
        ] {
            if id == OUR_ID && !external {
                continue;
            }
            for incoming_first in [true, false] {
                let order =
                    if incoming_first { "the incoming one's OPEN first" } else { "the outgoing one's OPEN first" };
                let more = json!({"passive": false, "port": PORT});
                scripts.add_with("4271 6.8", format!("{what}, {order}"), external, more, move |stage| {
                    let (mut outgoing, mut incoming) = (called(stage)?, calling(stage)?);
                    let open = open(external, id);
                    let (first, second) = match incoming_first {
                        true => (&mut incoming, &mut outgoing),
                        false => (&mut outgoing, &mut incoming),
                    };
                    confirm(first, &open)?;
                    second.say(&open.bytes())?;
                    match ours_stays {
                        true => resolved(stage, &mut outgoing, &mut incoming),
                        false => resolved(stage, &mut incoming, &mut outgoing),
                    }
                });
            }
        }
        let more = json!({"passive": false, "port": PORT});
        scripts.add_with("4271 6.8", "one is up before the other says its OPEN", external, more, move |stage| {
            let (mut outgoing, mut incoming) = (called(stage)?, calling(stage)?);
            confirm(&mut outgoing, &open(external, HIGHER))?;
            outgoing.say(&keepalive())?;
            stage.announces(&mut outgoing)?;
            // It may have been closed when the other one came up, or may be now.
            let _ = incoming.say(&open(external, HIGHER).bytes());
            ends(&mut incoming, 6, COLLISION, None)?;
            stage.still_up(&mut outgoing)
        });
        let more = json!({"passive": false, "port": PORT});
        scripts.add_with(
            "4271 8.2.2",
            "the speaker connects, and the session comes up",
            external,
            more,
            move |stage| {
                let mut peer = called(stage)?;
                confirm(&mut peer, &open(external, LOWER))?;
                peer.say(&keepalive())?;
                stage.announces(&mut peer)?;
                stage.still_up(&mut peer)
            },
        );
        let more = json!({"passive": false, "port": PORT});
        scripts.add_with(
            "4271 8.2.2",
            "a silent incoming one does not keep it from connecting",
            external,
            more,
            move |stage| {
                let _silent = calling(stage)?;
                let mut peer = called(stage)?;
                confirm(&mut peer, &open(external, LOWER))?;
                peer.say(&keepalive())?;
                stage.announces(&mut peer)
            },
        );
    }
    run(scripts);
}

#[test]
fn a_second_connection_from_the_same_side() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        scripts.add("4271 6.8", "both in OpenSent: the one that says its OPEN comes up", external, move |stage| {
            let (mut first, mut second) = (calling(stage)?, calling(stage)?);
            confirm(&mut first, &open(external, HIGHER))?;
            first.say(&keepalive())?;
            stage.announces(&mut first)?;
            ends(&mut second, 6, COLLISION, None)?;
            stage.still_up(&mut first)
        });
        scripts.add("4271 6.8", "the first one waits in OpenConfirm, higher identifier", external, move |stage| {
            let mut first = calling(stage)?;
            confirm(&mut first, &open(external, HIGHER))?;
            let mut second = calling(stage)?;
            confirm(&mut second, &open(external, HIGHER))?;
            resolved(stage, &mut second, &mut first)
        });
        scripts.add("4271 6.8", "the first one waits in OpenConfirm, lower identifier", external, move |stage| {
            let mut first = calling(stage)?;
            confirm(&mut first, &open(external, LOWER))?;
            let mut second = calling(stage)?;
            second.say(&open(external, LOWER).bytes())?;
            resolved(stage, &mut first, &mut second)
        });
        scripts.add("4271 6.8", "the first one waits in OpenConfirm, and comes up after all", external, move |stage| {
            let mut first = calling(stage)?;
            confirm(&mut first, &open(external, HIGHER))?;
            let mut second = calling(stage)?;
            resolved_by_keepalive(stage, &mut first, &mut second)
        });
        for id in [LOWER, HIGHER] {
            scripts.add("4271 6.8", format!("the first one is up, identifier {id:?}"), external, move |stage| {
                let mut first = stage.establish_with(&open(external, id))?;
                let mut second = calling(stage)?;
                second.say(&open(external, id).bytes())?;
                ends(&mut second, 6, COLLISION, None)?;
                stage.still_up(&mut first)
            });
        }
        scripts.add("4271 6.8", "many that say nothing beside one that is up", external, move |stage| {
            let mut first = stage.establish()?;
            let mut silent: Vec<Peer> = (0..20).map(|_| stage.connect()).collect::<Result<_, _>>()?;
            // There is a bound on how many are kept; the oldest goes.
            ends(&mut silent[0], 6, CONNECTION_REJECTED, None)?;
            stage.still_up(&mut first)
        });
    }
    run(scripts);
}

fn resolved_by_keepalive(stage: &Stage<'_>, stays: &mut Peer, goes: &mut Peer) -> Result<(), String> {
    stays.say(&keepalive())?;
    ends(goes, 6, COLLISION, None)?;
    stage.announces(stays)?;
    stage.still_up(stays)
}
