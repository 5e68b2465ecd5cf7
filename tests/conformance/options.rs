//! What a neighbour's options have the RFCs ask: a bound on prefixes (RFC 4486), reflection (RFC 4456), no import policy
//! (RFC 8212), and IPv6 between the two.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};

use crate::case;
use crate::peer::Peer;
use crate::raw::{self, IPV4, IPV6, OPTIONAL, UNICAST, attribute};
use crate::script::{Scripts, Stage, ends, run};
use crate::speaker::{AT, OUR_ID, Speaker, TESTER_AS, peer, tester};
use crate::support::in_fresh_netns;
use crate::watcher::Watcher;

#[test]
fn a_bound_on_prefixes() {
    let mut scripts = Scripts::default();
    let bound = json!({"maxPrefixes": {"limit": 2}});
    for external in [true, false] {
        scripts.add_with("4486 4", "one prefix too many", external, bound.clone(), |stage| {
            let mut peer = stage.establish()?;
            let mut draft = stage.update();
            draft.nlri.extend([24, 99, 1, 1, 24, 99, 1, 2]);
            peer.say(&draft.bytes())?;
            ends(&mut peer, 6, 1, Some(&[0, 1, 1, 0, 0, 0, 2]))?;
            stage.is_gone()
        });
        scripts.add_with("4486 4", "as many as are allowed", external, bound.clone(), |stage| {
            let mut peer = stage.establish()?;
            stage.still_up(&mut peer)
        });
    }
    run(scripts);
}

fn told(stage: &Stage<'_>, what: &str, wanted: impl Fn(u8) -> Option<Vec<u8>>) -> Result<(), String> {
    let route = stage.prefixes().victim;
    let inside = &stage.speaker.watchers[1];
    inside.must_see(what, route, |table| {
        let route = table.routes.get(&route);
        let value = |code: u8| route.and_then(|route| route.get(&code)).map(|(_, value)| value.clone());
        let codes = [raw::ORIGINATOR_ID, raw::CLUSTER_LIST, raw::LOCAL_PREF, raw::NEXT_HOP];
        route.is_some() && codes.iter().all(|&code| value(code) == wanted(code))
    })
}

/// RFC 4456 sections 8 and 10: the iBGP watcher is no client, the tester is one.
#[test]
fn reflection() {
    let mut scripts = Scripts::default();
    let client = json!({"reflectorClient": true});
    let mut row = |name: &str, originator: Option<[u8; 4]>, clusters: Option<Vec<u8>>, passes: bool| {
        scripts.add_with("4456 8", name, false, client.clone(), move |stage| {
            let mut peer = stage.connect()?;
            let open = stage.open();
            peer.establish(&open)?;
            let mut draft = stage.update();
            draft.attributes.extend(originator.map(|id| attribute(OPTIONAL, raw::ORIGINATOR_ID, &id)));
            draft.attributes.extend(clusters.as_ref().map(|list| attribute(OPTIONAL, raw::CLUSTER_LIST, list)));
            peer.say(&draft.bytes())?;
            if passes {
                return told(stage, "the reflected route", |code| match code {
                    raw::ORIGINATOR_ID => Some(originator.unwrap_or(open.id).to_vec()),
                    raw::CLUSTER_LIST => Some([&OUR_ID[..], &clusters.clone().unwrap_or_default()].concat()),
                    raw::LOCAL_PREF => Some(200u32.to_be_bytes().to_vec()),
                    _ => Some(vec![192, 0, 2, 77]),
                });
            }
            stage.still_up(&mut peer)?;
            stage.is_gone()
        });
    };
    row("a client's own route", None, None, true);
    row("a route of another originator", Some([192, 0, 2, 200]), None, true);
    row("a route that was reflected before", Some([192, 0, 2, 200]), Some(vec![192, 0, 2, 201, 192, 0, 2, 202]), true);
    row("a route that we reflected", Some([192, 0, 2, 200]), Some([&[192, 0, 2, 201], &OUR_ID[..]].concat()), false);
    row("a route of our own", Some(OUR_ID), None, false);
    run(scripts);
}

/// RFC 8212: what nobody allowed is not taken, and not told either.
#[test]
fn no_policy() {
    let mut scripts = Scripts::default();
    let none: Value = json!({"import": "none"});
    scripts.add_with("8212 2", "no import policy", true, none, |stage| {
        let mut peer = stage.connect()?;
        peer.establish(&stage.open())?;
        peer.say(&stage.update().bytes())?;
        // A refresh comes behind it, so that it has been looked at.
        peer.say(&raw::refresh(IPV4, 0, UNICAST))?;
        for _ in 0..2 {
            peer.until(
                "our own prefixes",
                |heard| matches!(heard, crate::heard::Heard::Update(u) if !u.reachable.is_empty()),
            )?;
        }
        stage.is_gone()?;
        peer.is_up()
    });
    run(scripts);
}

/// Both families over an IPv6 connection, from a neighbour on this host whose next hop is its own (RFC 4271 6.3, RFC 2545).
#[test]
fn over_ipv6() {
    in_fresh_netns(|| {
        let here = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let mut speaker = Speaker::start(vec![peer(here, TESTER_AS)]);
        let mut sender = Peer::connect(here, SocketAddr::new(here, AT.port())).expect("a connection");
        sender.establish(&case::open(case::EBGP, 0)).expect("a session");
        let mut failed = Vec::new();
        for (name, from, next_hop) in [
            ("IPv4 by an address of elsewhere", case::EBGP, None),
            ("IPv6 by an address of elsewhere", case::EBGP6, None),
            ("IPv6 by its own address", case::EBGP6, Some(raw::v6("::1"))),
        ] {
            let route = case::prefixes(usize::from(next_hop.is_some()), from.v6).victim;
            let mut draft = case::good(from, case::AFTER, &[route]);
            if let Some(next_hop) = next_hop {
                draft.get(raw::MP_REACH).value = raw::mp_reach(IPV6, UNICAST, &next_hop, &raw::nlri(&[route]));
            }
            sender.say(&draft.bytes()).expect("it is up");
            let seen = |watcher: &Watcher| watcher.must_see(name, route, |table| table.routes.contains_key(&route));
            failed.extend(speaker.watchers.iter().filter_map(|watcher| seen(watcher).err()));
        }
        case::report(failed, 3, speaker.faults());
    });
}

/// A speaker without an IPv6 address passes IPv6 routes on over IPv4 all the same: by an IPv4-mapped one (RFC 4291 2.5.5.2).
#[test]
fn ipv6_of_a_speaker_that_listens_over_ipv4_alone() {
    for listen in ["127.0.0.1:1179", "0.0.0.0:1179"] {
        in_fresh_netns(move || {
            let from = tester(0);
            let mut speaker = Speaker::start_on(vec![peer(from, TESTER_AS)], Some(&[listen]));
            let mut sender = Peer::connect(from, AT).expect("a connection");
            sender.establish(&case::open(case::EBGP6, 0)).expect("a session");
            let route = case::prefixes(0, true).victim;
            sender.say(&case::good(case::EBGP6, case::AFTER, &[route]).bytes()).expect("it is up");
            let seen = |watcher: &Watcher| {
                // RFC 4271 5.1.3: over iBGP it stays.
                let hop = if watcher.external { "::ffff:127.0.0.1" } else { "2001:db8::77" };
                let wanted = raw::mp_reach(IPV6, UNICAST, &raw::v6(hop), &raw::nlri(&[route]));
                watcher.must_see(&format!("the route by {hop}"), route, |table| {
                    let reach = table.routes.get(&route).and_then(|route| route.get(&raw::MP_REACH));
                    reach.is_some_and(|(_, value)| *value == wanted)
                })
            };
            let failed = speaker.watchers.iter().filter_map(|watcher| seen(watcher).err()).collect();
            case::report(failed, 2, speaker.faults());
        });
    }
}
