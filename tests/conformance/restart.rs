//! Graceful restart of a neighbour (RFC 4724 section 4.2), and NOTIFICATIONs that it survives (RFC 8538).

use std::time::Duration;

use crate::heard::Prefix;
use crate::peer::Peer;
use crate::raw::{self, Draft, IPV4, IPV6, Open, UNICAST, capability, header, message, multiprotocol, parameter};
use crate::script::{Scripts, Stage, closes, ends, run};
use crate::speaker::{OUR_AS, TESTER_AS};

const RESTARTED: u16 = 0x8000;
const SURVIVES_NOTIFICATIONS: u16 = 0x4000;
/// Seconds.
const RESTART: u16 = 3;
const KEPT: u8 = 0x80;

/// With the capability of graceful restart: these bits with the time, and the F bit or none for IPv4.
fn open(external: bool, stage: &Stage<'_>, bits: u16, forwarding: u8) -> Open {
    let as_number = if external { TESTER_AS } else { OUR_AS };
    let [high, low] = (bits | RESTART).to_be_bytes();
    let list = [
        multiprotocol(IPV4, UNICAST),
        multiprotocol(IPV6, UNICAST),
        capability(64, &[high, low, 0, 1, UNICAST, forwarding]),
        capability(65, &as_number.to_be_bytes()),
    ];
    Open::with(as_number, stage.open().id, &[parameter(2, &list.concat())])
}

/// Whether the watchers still have the route after this time.
fn is_kept(stage: &Stage<'_>, during: Duration) -> Result<(), String> {
    let route: Prefix = stage.prefixes().victim;
    let watcher = &stage.speaker.watchers[0];
    match watcher.sees(during, |table| !table.routes.contains_key(&route)) {
        true => Err("the route is gone, and was to be kept".to_string()),
        false => Ok(()),
    }
}

/// Up, with its route told and both End-of-RIB said.
fn told_all(stage: &Stage<'_>, open: &Open) -> Result<Peer, String> {
    let mut peer = stage.establish_with(open)?;
    end_of_rib(&mut peer)?;
    Ok(peer)
}

fn end_of_rib(peer: &mut Peer) -> Result<(), String> {
    let mut of_v6 = Draft::default();
    of_v6.push(raw::attribute(raw::OPTIONAL, raw::MP_UNREACH, &raw::mp_unreach(IPV6, UNICAST, &[])));
    peer.say(&[Draft::default().bytes(), of_v6.bytes()].concat())
}

fn cease(subcode: u8, data: &[u8]) -> Vec<u8> {
    message(raw::NOTIFICATION, &[&[6, subcode], data].concat())
}

const A_MOMENT: Duration = Duration::from_millis(700);

#[test]
fn a_neighbour_that_restarts() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        scripts.add(
            "4724 4.2",
            "its connection ends: its routes are kept for the restart time",
            external,
            move |stage| {
                drop(told_all(stage, &open(external, stage, 0, KEPT))?);
                is_kept(stage, A_MOMENT)?;
                stage.is_gone()
            },
        );
        scripts.add("4724 4.2", "it is back and tells its route again", external, move |stage| {
            drop(told_all(stage, &open(external, stage, 0, KEPT))?);
            is_kept(stage, A_MOMENT)?;
            let mut peer = stage.establish_with(&open(external, stage, RESTARTED, KEPT))?;
            end_of_rib(&mut peer)?;
            is_kept(stage, Duration::from_secs(RESTART.into()) + A_MOMENT)?;
            stage.still_up(&mut peer)
        });
        scripts.add("4724 4.2", "it is back and does not tell its route again", external, move |stage| {
            drop(told_all(stage, &open(external, stage, 0, KEPT))?);
            is_kept(stage, A_MOMENT)?;
            let mut peer = stage.connect()?;
            peer.establish(&open(external, stage, RESTARTED, KEPT))?;
            is_kept(stage, A_MOMENT)?;
            end_of_rib(&mut peer)?;
            stage.is_gone()?;
            stage.still_up(&mut peer)
        });
        scripts.add("4724 4.2", "it is back and has not kept its forwarding state", external, move |stage| {
            drop(told_all(stage, &open(external, stage, 0, KEPT))?);
            is_kept(stage, A_MOMENT)?;
            let mut peer = stage.connect()?;
            peer.establish(&open(external, stage, RESTARTED, 0))?;
            stage.is_gone()?;
            stage.still_up(&mut peer)
        });
        scripts.add("4724 4.2", "it is back without the capability", external, move |stage| {
            drop(told_all(stage, &open(external, stage, 0, KEPT))?);
            is_kept(stage, A_MOMENT)?;
            let mut peer = stage.connect()?;
            peer.establish(&stage.open())?;
            stage.is_gone()?;
            stage.still_up(&mut peer)
        });
        scripts.add("4724 4.2", "it says Cease: its routes go at once", external, move |stage| {
            let mut peer = told_all(stage, &open(external, stage, 0, KEPT))?;
            peer.say(&cease(2, &[]))?;
            closes(&mut peer)?;
            goes_at_once(stage)
        });
        scripts.add("4724 4.2", "we find a fault: its routes go at once", external, move |stage| {
            let mut peer = told_all(stage, &open(external, stage, 0, KEPT))?;
            peer.say(&header([0; 16], 19, raw::KEEPALIVE, &[]))?;
            ends(&mut peer, 1, 1, None)?;
            goes_at_once(stage)
        });
        scripts.add("8538 4", "it says Cease, and both agreed on N: its routes are kept", external, move |stage| {
            let mut peer = told_all(stage, &open(external, stage, SURVIVES_NOTIFICATIONS, KEPT))?;
            peer.say(&cease(2, &[]))?;
            closes(&mut peer)?;
            is_kept(stage, A_MOMENT)?;
            stage.is_gone()
        });
        scripts.add("8538 3.1", "it says Hard Reset: its routes go at once", external, move |stage| {
            let mut peer = told_all(stage, &open(external, stage, SURVIVES_NOTIFICATIONS, KEPT))?;
            peer.say(&cease(9, &[6, 2]))?;
            closes(&mut peer)?;
            goes_at_once(stage)
        });
        scripts.add("8538 4", "we find a fault, and both agreed on N: its routes are kept", external, move |stage| {
            let mut peer = told_all(stage, &open(external, stage, SURVIVES_NOTIFICATIONS, KEPT))?;
            peer.say(&header([0; 16], 19, raw::KEEPALIVE, &[]))?;
            ends(&mut peer, 1, 1, None)?;
            is_kept(stage, A_MOMENT)?;
            stage.is_gone()
        });
    }
    run(scripts);
}

/// Well before the restart time is over.
fn goes_at_once(stage: &Stage<'_>) -> Result<(), String> {
    let route = stage.prefixes().victim;
    let soon = Duration::from_secs(RESTART.into()) - A_MOMENT;
    match stage.speaker.watchers[0].sees(soon, |table| !table.routes.contains_key(&route)) {
        true => Ok(()),
        false => Err("the route is still there, and was to go at once".to_string()),
    }
}
