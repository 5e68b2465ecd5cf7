//! ROUTE-REFRESH (RFC 2918, RFC 7313), asked for the prefixes that the speaker originates.

use crate::heard::{Heard, Prefix};
use crate::peer::Peer;
use crate::raw::{self, IPV4, IPV6, Open, UNICAST, capability, message, multiprotocol, parameter, refresh};
use crate::script::{Scripts, Stage, ends, run};
use crate::speaker::{OUR_AS, TESTER_AS};

/// What `config/nodes/speaker-only.yaml` originates.
fn own(v6: bool) -> Prefix {
    match v6 {
        false => ("10.65.0.0".parse().expect("an address"), 26),
        true => ("fd00:65::".parse().expect("an address"), 122),
    }
}

fn told(peer: &mut Peer, v6: bool) -> Result<(), String> {
    let wanted = own(v6);
    peer.until(
        "the route that was asked for",
        |heard| matches!(heard, Heard::Update(u) if u.reachable.contains(&wanted)),
    )
    .map(drop)
}

/// Up, with everything told once: both End-of-RIB are here.
fn after_all_was_told(stage: &Stage<'_>, open: &Open) -> Result<Peer, String> {
    let mut peer = stage.establish_with(open)?;
    for afi in [1, 2] {
        peer.until("End-of-RIB", |heard| matches!(heard, Heard::Update(u) if u.end_of_rib == Some(afi)))?;
    }
    Ok(peer)
}

/// With the enhanced capability (RFC 7313) as well.
fn enhanced(external: bool, stage: &Stage<'_>) -> Open {
    let as_number = if external { TESTER_AS } else { OUR_AS };
    let list = [
        multiprotocol(IPV4, UNICAST),
        multiprotocol(IPV6, UNICAST),
        capability(2, &[]),
        capability(70, &[]),
        capability(65, &as_number.to_be_bytes()),
    ];
    Open::with(as_number, stage.open().id, &[parameter(2, &list.concat())])
}

#[test]
fn refreshes() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        for v6 in [false, true] {
            let afi = if v6 { IPV6 } else { IPV4 };
            scripts.add("2918 4", format!("AFI {afi}"), external, move |stage| {
                let mut peer = after_all_was_told(stage, &stage.open())?;
                for _ in 0..2 {
                    peer.say(&refresh(afi, 0, UNICAST))?;
                    told(&mut peer, v6)?;
                }
                stage.still_up(&mut peer)
            });
            scripts.add("2918 3", format!("AFI {afi}, the reserved octet is no matter"), external, move |stage| {
                let mut peer = after_all_was_told(stage, &stage.open())?;
                for reserved in [1, 2, 3, 255] {
                    peer.say(&refresh(afi, reserved, UNICAST))?;
                    told(&mut peer, v6)?;
                }
                stage.still_up(&mut peer)
            });
            scripts.add("7313 4", format!("AFI {afi}, asked by a peer that knows RFC 7313"), external, move |stage| {
                let mut peer = after_all_was_told(stage, &enhanced(external, stage))?;
                peer.say(&refresh(afi, 0, UNICAST))?;
                told(&mut peer, v6)?;
                stage.still_up(&mut peer)
            });
        }
        scripts.add("2918 4", "families that nobody negotiated", external, |stage| {
            let mut peer = after_all_was_told(stage, &stage.open())?;
            for (afi, safi) in [(25, 70), (IPV4, 2), (0, 0), (65535, 255)] {
                peer.say(&refresh(afi, 0, safi))?;
            }
            stage.still_up(&mut peer)
        });
        scripts.add("7313 5", "subtypes that nobody defined are ignored", external, move |stage| {
            let mut peer = after_all_was_told(stage, &enhanced(external, stage))?;
            for subtype in [3, 100, 255] {
                peer.say(&refresh(IPV4, subtype, UNICAST))?;
            }
            stage.still_up(&mut peer)
        });
        scripts.add("7313 4", "beginning and end of a refresh", external, move |stage| {
            let mut peer = after_all_was_told(stage, &enhanced(external, stage))?;
            peer.say(&refresh(IPV4, 1, UNICAST))?;
            peer.say(&stage.update().bytes())?;
            peer.say(&refresh(IPV4, 2, UNICAST))?;
            stage.still_up(&mut peer)?;
            stage.is_told()
        });
        // What RFC 7313 says of subtypes 1 and 2 is the only word on bad lengths.
        for subtype in [0, 1, 2] {
            for body in [vec![0, 1, subtype], vec![0, 1, subtype, 1, 0], vec![0, 1, subtype, 1, 2, 3, 4, 5, 6, 7]] {
                let name = format!("subtype {subtype}, {} bytes", body.len());
                scripts.add("7313 5", name, external, move |stage| {
                    let open = if subtype == 0 { stage.open() } else { enhanced(external, stage) };
                    let mut peer = after_all_was_told(stage, &open)?;
                    let whole = message(raw::ROUTE_REFRESH, &body);
                    peer.say(&whole)?;
                    ends(&mut peer, 7, 1, Some(&whole))?;
                    stage.is_gone()
                });
            }
        }
    }
    run(scripts);
}
