//! Messages that a state has no use for, timers, the ends of sessions, and who is let in (RFC 4271 4.4, 6.4 to 6.7 and 8,
//! RFC 6608).

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::heard::Heard;
use crate::peer::{LIMIT, Peer};
use crate::raw::{self, Draft, IPV4, WELL_KNOWN, attribute, keepalive, message, refresh};
use crate::script::{Scripts, closes, ends, run};
use crate::speaker::AT;

fn notification(code: u8, subcode: u8, data: &[u8]) -> Vec<u8> {
    message(raw::NOTIFICATION, &[&[code, subcode], data].concat())
}

#[test]
fn messages_that_a_state_has_no_use_for() {
    let mut scripts = Scripts::default();
    // What would end a session that is up as an UPDATE error.
    let mut malformed = Draft { nlri: vec![33, 1, 1, 1, 1, 1], ..Draft::default() };
    malformed.push(attribute(WELL_KNOWN, 203, &[1]));
    let malformed = malformed.bytes();
    for external in [true, false] {
        let early: [(&str, Vec<u8>, u8); 5] = [
            ("KEEPALIVE", keepalive(), raw::KEEPALIVE),
            ("UPDATE", Draft::default().bytes(), raw::UPDATE),
            ("malformed UPDATE", malformed.clone(), raw::UPDATE),
            ("ROUTE-REFRESH", refresh(IPV4, 0, 1), raw::ROUTE_REFRESH),
            ("ROUTE-REFRESH of a wrong length", message(raw::ROUTE_REFRESH, &[0, 1, 1, 1, 1]), raw::ROUTE_REFRESH),
        ];
        for (what, bytes, kind) in early.clone() {
            scripts.add("6608 3", format!("{what} in OpenSent"), external, move |stage| {
                let mut peer = stage.connect()?;
                peer.say(&bytes)?;
                ends(&mut peer, 5, 1, Some(&[kind]))
            });
        }
        for (what, bytes, kind) in early.into_iter().filter(|(_, _, kind)| *kind != raw::KEEPALIVE) {
            scripts.add("6608 3", format!("{what} in OpenConfirm"), external, move |stage| {
                let mut peer = stage.connect()?;
                peer.open(&stage.open())?;
                peer.say(&bytes)?;
                ends(&mut peer, 5, 2, Some(&[kind]))
            });
        }
        scripts.add("6608 3", "OPEN in OpenConfirm", external, |stage| {
            let mut peer = stage.connect()?;
            peer.open(&stage.open())?;
            peer.say(&stage.open().bytes())?;
            ends(&mut peer, 5, 2, Some(&[raw::OPEN]))
        });
        scripts.add("6608 3", "OPEN in Established", external, |stage| {
            let mut peer = stage.establish()?;
            peer.say(&stage.open().bytes())?;
            ends(&mut peer, 5, 3, Some(&[raw::OPEN]))?;
            stage.is_gone()
        });
        scripts.add("6608 3", "malformed OPEN in Established", external, |stage| {
            let mut peer = stage.establish()?;
            peer.say(&raw::Open { version: 3, ..stage.open() }.bytes())?;
            ends(&mut peer, 5, 3, Some(&[raw::OPEN]))?;
            stage.is_gone()
        });
    }
    run(scripts);
}

#[test]
fn notifications_end_the_session_without_an_answer() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        for (what, bytes) in [
            ("Cease", notification(6, 0, &[])),
            ("Administrative Shutdown with a text", notification(6, 2, b"\x06mended")),
            ("Administrative Reset with a text that is no UTF-8", notification(6, 4, &[3, 0xff, 0xfe, 0xc0])),
            ("Administrative Shutdown with a length that is not true", notification(6, 2, b"\xffshort")),
            ("Maximum Number of Prefixes", notification(6, 1, &[0, 1, 1, 0, 0, 0, 9])),
            ("an UPDATE error", notification(3, 1, &[])),
            ("a code that nobody defined", notification(99, 99, &[1, 2, 3])),
            ("Hold Timer Expired", notification(4, 0, &[])),
            ("one of 4096 bytes", notification(6, 2, &[b'x'; 4096 - 21])),
        ] {
            let early = bytes.clone();
            scripts.add("4271 6.4", format!("{what} in Established"), external, move |stage| {
                let mut peer = stage.establish()?;
                peer.say(&bytes)?;
                closes(&mut peer)?;
                stage.is_gone()
            });
            scripts.add("4271 8.2.2", format!("{what} in OpenSent and OpenConfirm"), external, move |stage| {
                let mut peer = stage.connect()?;
                peer.say(&early)?;
                closes(&mut peer)?;
                let mut peer = stage.connect()?;
                peer.open(&stage.open())?;
                peer.say(&early)?;
                closes(&mut peer)
            });
        }
        scripts.add("4271 8.2.2", "the connection is closed", external, |stage| {
            drop(stage.establish()?);
            stage.is_gone()?;
            stage.establish().map(drop)
        });
    }
    run(scripts);
}

/// Nothing but KEEPALIVEs, for that long; how many.
fn keepalives(peer: &mut Peer, during: Duration) -> Result<usize, String> {
    let end = Instant::now() + during;
    let mut count = 0;
    loop {
        match peer.hear(end.saturating_duration_since(Instant::now()))? {
            Some(Heard::Keepalive) => count += 1,
            Some(Heard::Update(_)) => {}
            Some(other) => return Err(format!("heard {other:?}")),
            None => return Ok(count),
        }
    }
}

#[test]
fn timers() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        scripts.add("4271 6.5", "the hold time of 3 s is over in Established", external, |stage| {
            let start = Instant::now();
            let mut peer = stage.establish_with(&stage.open().hold(3))?;
            ends(&mut peer, 4, 0, Some(&[]))?;
            if start.elapsed() < Duration::from_millis(2900) {
                return Err(format!("after {:?} already", start.elapsed()));
            }
            stage.is_gone()
        });
        scripts.add("4271 8.2.2", "the hold time of 3 s is over in OpenConfirm", external, |stage| {
            let mut peer = stage.connect()?;
            peer.open(&stage.open().hold(3))?;
            ends(&mut peer, 4, 0, Some(&[]))
        });
        scripts.add("4271 4.4", "KEEPALIVEs are sent, and ours keep the session up", external, |stage| {
            let mut peer = stage.establish_with(&stage.open().hold(6))?;
            let (start, mut count) = (Instant::now(), 0);
            for _ in 0..14 {
                count += keepalives(&mut peer, Duration::from_millis(500))?;
                peer.say(&keepalive())?;
            }
            // One in two seconds, or up to a quarter more often (RFC 4271 section 10).
            let during = start.elapsed().as_secs_f64();
            if (count as f64) < during / 2.0 - 1.0 || (count as f64) > during / 1.5 + 1.0 {
                return Err(format!("{count} KEEPALIVEs in {during:.1} s with a hold time of 6 s"));
            }
            stage.still_up(&mut peer)
        });
        scripts.add("4271 4.4", "UPDATEs keep the session up as well", external, |stage| {
            let mut peer = stage.establish_with(&stage.open().hold(6))?;
            for _ in 0..14 {
                keepalives(&mut peer, Duration::from_millis(500))?;
                peer.say(&stage.update().bytes())?;
            }
            stage.still_up(&mut peer)
        });
        scripts.add("4271 4.2", "a hold time of 0: nobody has to say anything", external, |stage| {
            let mut peer = stage.establish_with(&stage.open().hold(0))?;
            let count = keepalives(&mut peer, Duration::from_secs(5))?;
            if count > 0 {
                return Err(format!("{count} KEEPALIVEs (RFC 4271 4.4: they must not be sent)"));
            }
            stage.still_up(&mut peer)
        });
    }
    run(scripts);
}

#[test]
fn who_is_let_in() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        scripts.add("4271 8.2.2", "an address that is no neighbour's", external, move |stage| {
            let IpAddr::V4(own) = stage.address else { unreachable!("testers have IPv4 addresses") };
            let [_, _, high, low] = own.octets();
            let stranger = Ipv4Addr::new(127, 77, high, low).into();
            let mut peer = Peer::connect(stranger, AT)?;
            // Whether it is heard or not: what it says changes nothing.
            let _ = peer.say(&[stage.open().bytes(), keepalive(), stage.update().bytes()].concat());
            match peer.hear(LIMIT)? {
                Some(Heard::Closed) => {}
                other => return Err(format!("expected the connection to be closed, heard {other:?}")),
            }
            stage.is_gone()
        });
        scripts.add("4271 8.2.2", "a neighbour that says nothing, then one that does", external, |stage| {
            let mut silent = stage.connect()?;
            silent.until("an OPEN", |heard| matches!(heard, Heard::Open(_)))?;
            let mut peer = stage.establish()?;
            stage.still_up(&mut peer)
        });
        scripts.add("4271 8.2.2", "twenty connections that say nothing", external, |stage| {
            let silent: Vec<Peer> = (0..20).map(|_| stage.connect()).collect::<Result<_, _>>()?;
            let mut peer = stage.establish()?;
            stage.still_up(&mut peer)?;
            drop(silent);
            stage.still_up(&mut peer)
        });
        scripts.add("4271 8.1.1", "a neighbour that errs again and again is let in again", external, |stage| {
            for _ in 0..10 {
                let mut peer = stage.connect()?;
                peer.say(&raw::Open { version: 3, ..stage.open() }.bytes())?;
                ends(&mut peer, 2, 1, None)?;
                let mut peer = stage.establish()?;
                peer.say(&message(9, &[]))?;
                ends(&mut peer, 1, 3, None)?;
                stage.is_gone()?;
            }
            let mut peer = stage.establish()?;
            stage.still_up(&mut peer)
        });
        scripts.add("4724 2", "End-of-RIB of both families comes", external, |stage| {
            let mut peer = stage.establish()?;
            let ends_with =
                |afi: u16| move |heard: &Heard| matches!(heard, Heard::Update(u) if u.end_of_rib == Some(afi));
            peer.until("End-of-RIB of IPv4", ends_with(1))?;
            peer.until("End-of-RIB of IPv6", ends_with(2)).map(drop)
        });
    }
    run(scripts);
}

/// A neighbour whose OPEN is waited for: its timer runs for longer than any row.
#[test]
fn while_the_delay_open_timer_runs() {
    let mut scripts = Scripts::default();
    let delayed = || serde_json::json!({"delayOpen": 240});
    let silence = |peer: &mut Peer| match peer.hear(Duration::from_millis(500))? {
        None => Ok(()),
        Some(heard) => Err(format!("expected nothing yet, heard {heard:?}")),
    };
    for external in [true, false] {
        scripts.add_with("4271 8.2.2", "event 20: an OPEN in time", external, delayed(), move |stage| {
            let mut peer = stage.connect()?;
            silence(&mut peer)?;
            peer.establish(&stage.open())?;
            stage.announces(&mut peer)?;
            stage.still_up(&mut peer)
        });
        scripts.add_with("4271 8.2.2", "event 21: a header error", external, delayed(), move |stage| {
            let mut peer = stage.connect()?;
            silence(&mut peer)?;
            peer.say(&message(9, &[]))?;
            ends(&mut peer, 1, 3, Some(&[9]))
        });
        scripts.add_with("4271 8.2.2", "event 22: an OPEN error", external, delayed(), move |stage| {
            let mut peer = stage.connect()?;
            peer.say(&raw::Open { version: 3, ..stage.open() }.bytes())?;
            ends(&mut peer, 2, 1, Some(&[0, 4]))
        });
        for (what, bytes) in [("KEEPALIVE", keepalive()), ("UPDATE", Draft::default().bytes())] {
            scripts.add_with("4271 8.2.2", format!("{what} before any OPEN"), external, delayed(), move |stage| {
                let mut peer = stage.connect()?;
                peer.say(&bytes)?;
                closes(&mut peer)
            });
        }
        scripts.add_with("4271 8.2.2", "event 24: a NOTIFICATION", external, delayed(), move |stage| {
            let mut peer = stage.connect()?;
            peer.say(&notification(2, 1, &[0, 4]))?;
            closes(&mut peer)?;
            let mut peer = stage.establish()?;
            stage.still_up(&mut peer)
        });
        scripts.add_with("4271 8.2.2", "event 18: the connection breaks", external, delayed(), move |stage| {
            for _ in 0..5 {
                drop(stage.connect()?);
            }
            let mut peer = stage.establish()?;
            stage.still_up(&mut peer)
        });
    }
    run(scripts);
}
