//! Graceful restart of a neighbour (RFC 4724 section 4.2), and NOTIFICATIONs that it survives (RFC 8538).

use std::time::Duration;

use serde_json::json;

use crate::case::{Sender, good, prefixes};
use crate::heard::{Prefix, offered};
use crate::peer::Peer;
use crate::raw::{self, Draft, IPV4, IPV6, Open, UNICAST, capability, header, message, offering};
use crate::script::{Scripts, Stage, closes, ends, run};
use crate::watcher::Watcher;

pub const RESTARTED: u16 = 0x8000;
const SURVIVES_NOTIFICATIONS: u16 = 0x4000;
/// Seconds.
pub const RESTART: u16 = 3;
const HOLD: u16 = 3;
/// The F bit.
pub const KEPT: u8 = 0x80;
/// Well within the restart time.
pub const A_MOMENT: Duration = Duration::from_millis(700);
/// The last AS of a path that was told before, and of one that was told later.
const BEFORE: u32 = 65500;
const AFTER: u32 = 65501;

/// The capability of graceful restart: bits with the time, and each family's AFI with its F bit or none.
pub fn graceful(head: u16, families: &[(u16, u8)]) -> Vec<u8> {
    let family = |(afi, flags): &(u16, u8)| [&afi.to_be_bytes()[..], &[UNICAST, *flags]].concat();
    let families: Vec<u8> = families.iter().flat_map(family).collect();
    capability(64, &[&head.to_be_bytes()[..], &families].concat())
}

/// With these bits, and the F bit or none for IPv4.
fn open(stage: &Stage<'_>, bits: u16, forwarding: u8) -> Open {
    open_for(stage, bits | RESTART, &[(IPV4, forwarding)])
}

/// With these bits, and F for both families.
fn open_both(stage: &Stage<'_>, bits: u16) -> Open {
    open_for(stage, bits | RESTART, &[(IPV4, KEPT), (IPV6, KEPT)])
}

fn open_for(stage: &Stage<'_>, head: u16, families: &[(u16, u8)]) -> Open {
    offering(stage.open(), &[graceful(head, families)])
}

/// The watcher that hears of all that testers tell.
fn watcher<'a>(stage: &Stage<'a>) -> &'a Watcher {
    &stage.speaker.watchers[0]
}

/// The stage's route of this family.
fn route(stage: &Stage<'_>, afi: u16) -> Prefix {
    let [.., high, low] = stage.open().id;
    prefixes(u16::from_be_bytes([high, low]).into(), afi == IPV6).victim
}

/// Whether the watcher still has the route after this time.
fn is_kept(stage: &Stage<'_>, route: Prefix, during: Duration) -> Result<(), String> {
    match watcher(stage).sees(during, |table| !table.routes.contains_key(&route)) {
        true => Err(format!("{} is gone, and was to be kept", route.0)),
        false => Ok(()),
    }
}

fn goes(stage: &Stage<'_>, route: Prefix) -> Result<(), String> {
    watcher(stage).must_see("the route withdrawn", route, |table| !table.routes.contains_key(&route))
}

/// Well before the restart time is over.
fn goes_at_once(stage: &Stage<'_>, route: Prefix) -> Result<(), String> {
    let soon = Duration::from_secs(RESTART.into()) - A_MOMENT;
    match watcher(stage).sees(soon, |table| !table.routes.contains_key(&route)) {
        true => Ok(()),
        false => Err(format!("{} is still there, and was to go at once", route.0)),
    }
}

/// Tells the route with a path that ends in this AS, and waits for it to come to the watcher.
fn tells(stage: &Stage<'_>, external: bool, peer: &mut Peer, route: Prefix, last_as: u32) -> Result<(), String> {
    let sender = Sender { external, v6: route.0.is_ipv6(), two_octets: false };
    peer.say(&good(sender, last_as, &[route]).bytes())?;
    watcher(stage).must_see(&format!("a path that ends in {last_as}"), route, |table| {
        let path = table.routes.get(&route).and_then(|attributes| attributes.get(&raw::AS_PATH));
        path.is_some_and(|(_, path)| path.ends_with(&last_as.to_be_bytes()))
    })
}

/// Up, with its route told and both End-of-RIB said.
fn told_all(stage: &Stage<'_>, open: &Open) -> Result<Peer, String> {
    let mut peer = stage.establish_with(open)?;
    end_of_rib(&mut peer, &[IPV4, IPV6])?;
    Ok(peer)
}

/// The same, with a route of IPv6 too.
fn told_both(stage: &Stage<'_>, external: bool, open: &Open) -> Result<Peer, String> {
    let mut peer = told_all(stage, open)?;
    tells(stage, external, &mut peer, route(stage, IPV6), BEFORE)?;
    Ok(peer)
}

pub fn end_of_rib(peer: &mut Peer, families: &[u16]) -> Result<(), String> {
    for afi in families {
        let mut draft = Draft::default();
        if *afi != IPV4 {
            draft.push(raw::attribute(raw::OPTIONAL, raw::MP_UNREACH, &raw::mp_unreach(*afi, UNICAST, &[])));
        }
        peer.say(&draft.bytes())?;
    }
    Ok(())
}

pub fn cease(subcode: u8, data: &[u8]) -> Vec<u8> {
    message(raw::NOTIFICATION, &[&[6, subcode], data].concat())
}

#[test]
fn a_neighbour_that_restarts() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        scripts.add("4724 4.2", "its connection ends: its routes are kept for the restart time", external, |stage| {
            drop(told_all(stage, &open(stage, 0, KEPT))?);
            is_kept(stage, stage.prefixes().victim, A_MOMENT)?;
            stage.is_gone()
        });
        scripts.add("4724 4.2", "it has a restart time of 0: its routes go at once", external, |stage| {
            drop(told_all(stage, &open_for(stage, 0, &[(IPV4, KEPT)]))?);
            goes_at_once(stage, stage.prefixes().victim)
        });
        scripts.add("4724 4.2", "it is back and tells its route again", external, |stage| {
            let route = stage.prefixes().victim;
            drop(told_all(stage, &open(stage, 0, KEPT))?);
            is_kept(stage, route, A_MOMENT)?;
            let mut peer = stage.establish_with(&open(stage, RESTARTED, KEPT))?;
            end_of_rib(&mut peer, &[IPV4, IPV6])?;
            is_kept(stage, route, Duration::from_secs(RESTART.into()) + A_MOMENT)?;
            stage.still_up(&mut peer)
        });
        scripts.add("4724 4.2", "it is back and tells its route with another path", external, move |stage| {
            let route = stage.prefixes().victim;
            drop(told_all(stage, &open(stage, 0, KEPT))?);
            is_kept(stage, route, A_MOMENT)?;
            let mut peer = stage.connect()?;
            peer.establish(&open(stage, RESTARTED, KEPT))?;
            tells(stage, external, &mut peer, route, AFTER)?;
            end_of_rib(&mut peer, &[IPV4, IPV6])?;
            is_kept(stage, route, A_MOMENT)?;
            stage.still_up(&mut peer)
        });
        scripts.add("4724 4.2", "it is back and does not tell its route again", external, |stage| {
            drop(told_all(stage, &open(stage, 0, KEPT))?);
            is_kept(stage, stage.prefixes().victim, A_MOMENT)?;
            let mut peer = stage.connect()?;
            peer.establish(&open(stage, RESTARTED, KEPT))?;
            is_kept(stage, stage.prefixes().victim, A_MOMENT)?;
            end_of_rib(&mut peer, &[IPV4, IPV6])?;
            stage.is_gone()?;
            stage.still_up(&mut peer)
        });
        scripts.add("4724 4.2", "it is back and has not kept its forwarding state", external, |stage| {
            drop(told_all(stage, &open(stage, 0, KEPT))?);
            is_kept(stage, stage.prefixes().victim, A_MOMENT)?;
            let mut peer = stage.connect()?;
            peer.establish(&open(stage, RESTARTED, 0))?;
            stage.is_gone()?;
            stage.still_up(&mut peer)
        });
        scripts.add("4724 4.2", "it is back without the capability", external, |stage| {
            drop(told_all(stage, &open(stage, 0, KEPT))?);
            is_kept(stage, stage.prefixes().victim, A_MOMENT)?;
            let mut peer = stage.connect()?;
            peer.establish(&stage.open())?;
            stage.is_gone()?;
            stage.still_up(&mut peer)
        });
        scripts.add("4724 4.2", "it restarts again before End-of-RIB: what was stale goes", external, move |stage| {
            let (stale, fresh) = (stage.prefixes().victim, stage.prefixes().bystander);
            drop(told_all(stage, &open(stage, 0, KEPT))?);
            is_kept(stage, stale, A_MOMENT)?;
            let mut peer = stage.connect()?;
            peer.establish(&open(stage, RESTARTED, KEPT))?;
            tells(stage, external, &mut peer, fresh, BEFORE)?;
            drop(peer);
            goes_at_once(stage, stale)?;
            is_kept(stage, fresh, A_MOMENT)?;
            goes(stage, fresh)
        });
        scripts.add("4724 4.2", "it says Cease: its routes go at once", external, |stage| {
            let mut peer = told_all(stage, &open(stage, 0, KEPT))?;
            peer.say(&cease(2, &[]))?;
            closes(&mut peer)?;
            goes_at_once(stage, stage.prefixes().victim)
        });
        scripts.add("4724 4.2", "we find a fault: its routes go at once", external, |stage| {
            let mut peer = told_all(stage, &open(stage, 0, KEPT))?;
            peer.say(&header([0; 16], 19, raw::KEEPALIVE, &[]))?;
            ends(&mut peer, 1, 1, None)?;
            goes_at_once(stage, stage.prefixes().victim)
        });
        scripts.add("4724 5", "the hold time is over: its routes go at once", external, |stage| {
            let mut peer = told_all(stage, &open(stage, 0, KEPT).hold(HOLD))?;
            ends(&mut peer, 4, 0, None)?;
            goes_at_once(stage, stage.prefixes().victim)
        });
        scripts.add("4724 4.2", "it has restarted, and we have not: we say no R", external, |stage| {
            drop(told_all(stage, &open(stage, 0, KEPT))?);
            let body = stage.connect()?.open(&open(stage, RESTARTED, KEPT))?;
            match offered(&body, 64) {
                Some([high, _, 0, 1, 1, _, 0, 2, 1, _]) if u16::from_be_bytes([*high, 0]) & RESTARTED == 0 => Ok(()),
                other => Err(format!("its capability of graceful restart is {other:02x?}")),
            }
        });
    }
    run(scripts);
}

/// RFC 4724 section 4.2: what holds for a family holds for no other.
#[test]
fn each_family_by_itself() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        scripts.add("4724 4.2", "graceful restart of IPv4 alone: IPv6 routes go at once", external, move |stage| {
            drop(told_both(stage, external, &open(stage, 0, KEPT))?);
            goes_at_once(stage, route(stage, IPV6))?;
            is_kept(stage, route(stage, IPV4), A_MOMENT)?;
            goes(stage, route(stage, IPV4))
        });
        for (one, other) in [(IPV4, IPV6), (IPV6, IPV4)] {
            scripts.add("4724 4.2", format!("End-of-RIB of AFI {one} alone"), external, move |stage| {
                drop(told_both(stage, external, &open_both(stage, 0))?);
                let mut peer = stage.connect()?;
                peer.establish(&open_both(stage, RESTARTED))?;
                end_of_rib(&mut peer, &[one])?;
                goes(stage, route(stage, one))?;
                is_kept(stage, route(stage, other), A_MOMENT)?;
                end_of_rib(&mut peer, &[other])?;
                goes(stage, route(stage, other))?;
                peer.is_up()
            });
            for (how, back) in [("without F", vec![(one, KEPT), (other, 0)]), ("not named", vec![(one, KEPT)])] {
                let name = format!("it is back with F for AFI {one}, the other one {how}");
                scripts.add("4724 4.2", name, external, move |stage| {
                    drop(told_both(stage, external, &open_both(stage, 0))?);
                    let mut peer = stage.connect()?;
                    peer.establish(&open_for(stage, RESTARTED | RESTART, &back))?;
                    goes(stage, route(stage, other))?;
                    is_kept(stage, route(stage, one), A_MOMENT)?;
                    end_of_rib(&mut peer, &[one, other])?;
                    goes(stage, route(stage, one))?;
                    peer.is_up()
                });
            }
        }
    }
    run(scripts);
}

/// RFC 4724 section 4.2: a neighbour that connects while we take its session for up has restarted, and nothing told us so.
#[test]
fn a_second_connection() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        for bits in [RESTARTED, 0] {
            let name = format!("it connects anew, bits {bits:#06x}: that one is its session");
            scripts.add("4724 4.2", name, external, move |stage| {
                let (told_again, stale) = (stage.prefixes().victim, stage.prefixes().bystander);
                let mut old = told_all(stage, &open(stage, 0, KEPT))?;
                tells(stage, external, &mut old, stale, BEFORE)?;
                let mut new = stage.connect()?;
                new.establish(&open(stage, bits, KEPT))?;
                closes(&mut old)?;
                is_kept(stage, told_again, A_MOMENT)?;
                is_kept(stage, stale, A_MOMENT)?;
                stage.announces(&mut new)?;
                end_of_rib(&mut new, &[IPV4, IPV6])?;
                goes(stage, stale)?;
                stage.still_up(&mut new)?;
                // A route that was withdrawn for however short a time is announced once more.
                match watcher(stage).announced(told_again) {
                    1 => Ok(()),
                    times => Err(format!("its route was announced {times} times")),
                }
            });
        }
        for forwarding in [None, Some(0)] {
            let name = format!("it connects anew, its F bit {forwarding:?}: its routes go at once");
            scripts.add("4724 4.2", name, external, move |stage| {
                let mut old = told_all(stage, &open(stage, 0, KEPT))?;
                let mut new = stage.connect()?;
                new.establish(&forwarding.map_or(stage.open(), |flags| open(stage, RESTARTED, flags)))?;
                closes(&mut old)?;
                goes_at_once(stage, stage.prefixes().victim)?;
                stage.still_up(&mut new)
            });
        }
        scripts.add("4724 5", "it names no family, and connects anew: a collision", external, |stage| {
            let mut first = told_all(stage, &open_for(stage, RESTART, &[]))?;
            let mut second = stage.connect()?;
            second.say(&open_for(stage, RESTARTED | RESTART, &[]).bytes())?;
            ends(&mut second, 6, 7, None)?;
            stage.still_up(&mut first)
        });
    }
    run(scripts);
}

/// RFC 8538: both sides say N, so that a NOTIFICATION ends no more than the connection.
#[test]
fn notifications_that_are_survived() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        scripts.add("8538 4", "it says Cease, and both agreed on N: its routes are kept", external, |stage| {
            let mut peer = told_all(stage, &open(stage, SURVIVES_NOTIFICATIONS, KEPT))?;
            peer.say(&cease(2, &[]))?;
            closes(&mut peer)?;
            is_kept(stage, stage.prefixes().victim, A_MOMENT)?;
            stage.is_gone()
        });
        scripts.add("8538 3.2", "it says Hard Reset: its routes go at once", external, |stage| {
            let mut peer = told_all(stage, &open(stage, SURVIVES_NOTIFICATIONS, KEPT))?;
            peer.say(&cease(9, &[6, 2]))?;
            closes(&mut peer)?;
            goes_at_once(stage, stage.prefixes().victim)
        });
        let bound = json!({"maxPrefixes": {"limit": 1}});
        scripts.add_with("8538 3.1", "we end it for good: a Hard Reset that says why", external, bound, |stage| {
            let mut peer = told_all(stage, &open(stage, SURVIVES_NOTIFICATIONS, KEPT))?;
            let mut draft = stage.update();
            draft.nlri.extend([24, 99, 2, 1]);
            peer.say(&draft.bytes())?;
            ends(&mut peer, 6, 9, Some(&[6, 1, 0, 1, UNICAST, 0, 0, 0, 1]))?;
            goes_at_once(stage, stage.prefixes().victim)
        });
        scripts.add("8538 4", "we find a fault, and both agreed on N: its routes are kept", external, |stage| {
            let mut peer = told_all(stage, &open(stage, SURVIVES_NOTIFICATIONS, KEPT))?;
            peer.say(&header([0; 16], 19, raw::KEEPALIVE, &[]))?;
            ends(&mut peer, 1, 1, None)?;
            is_kept(stage, stage.prefixes().victim, A_MOMENT)?;
            stage.is_gone()
        });
        scripts.add("8538 4", "the hold time is over, and both agreed on N: its routes are kept", external, |stage| {
            let mut peer = told_all(stage, &open(stage, SURVIVES_NOTIFICATIONS, KEPT).hold(HOLD))?;
            ends(&mut peer, 4, 0, None)?;
            is_kept(stage, stage.prefixes().victim, A_MOMENT)?;
            stage.is_gone()
        });
        scripts.add(
            "8538 4.1",
            "it restarts again before End-of-RIB: what was stale is kept",
            external,
            move |stage| {
                let (stale, fresh) = (stage.prefixes().victim, stage.prefixes().bystander);
                drop(told_all(stage, &open(stage, SURVIVES_NOTIFICATIONS, KEPT))?);
                is_kept(stage, stale, A_MOMENT)?;
                let mut peer = stage.connect()?;
                peer.establish(&open(stage, SURVIVES_NOTIFICATIONS | RESTARTED, KEPT))?;
                tells(stage, external, &mut peer, fresh, BEFORE)?;
                drop(peer);
                is_kept(stage, stale, A_MOMENT)?;
                goes(stage, stale)
            },
        );
        scripts.add("8538 4.1", "it is back without N: that removes nothing", external, |stage| {
            let mut peer = told_all(stage, &open(stage, SURVIVES_NOTIFICATIONS, KEPT))?;
            peer.say(&cease(2, &[]))?;
            closes(&mut peer)?;
            let mut peer = stage.connect()?;
            peer.establish(&open(stage, 0, KEPT))?;
            is_kept(stage, stage.prefixes().victim, A_MOMENT)?;
            end_of_rib(&mut peer, &[IPV4])?;
            stage.is_gone()?;
            stage.still_up(&mut peer)
        });
        scripts.add("8538 4", "we say N", external, |stage| {
            let body = stage.connect()?.open(&stage.open())?;
            match offered(&body, 64) {
                Some([high, ..]) if u16::from_be_bytes([*high, 0]) & SURVIVES_NOTIFICATIONS != 0 => Ok(()),
                other => Err(format!("its capability of graceful restart is {other:02x?}")),
            }
        });
    }
    run(scripts);
}
