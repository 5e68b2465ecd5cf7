//! Roles of neighbours, and routes that are only for customers (RFC 9234): what is agreed on in the OPEN, what is taken, and
//! what is told.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::case::{self, EBGP, EBGP6, IBGP, IBGP6, Sender, good, prefixes, report, side_by_side};
use crate::heard::{Prefix, offered};
use crate::peer::Peer;
use crate::raw::{self, OPTIONAL_TRANSITIVE, Open, attribute, capability, offering};
use crate::script::{Scripts, Stage, ends, run};
use crate::speaker::{AT, OUR_AS, Speaker, TESTER_AS, peer, tester};
use crate::support::in_fresh_netns;
use crate::watcher::{Table, Watcher};

const ROLES: [&str; 5] = ["provider", "rs", "rs-client", "customer", "peer"];
/// By our role, that of the neighbour which belongs to it (RFC 9234 4.2), as on the wire.
const COUNTERPARTS: [u8; 5] = [3, 2, 1, 0, 4];
/// An AS that is nobody's here.
const OTHER: u32 = 65400;
const LISTENER_AS: u32 = 65030;

/// With these values of the role capability.
fn with_roles(open: Open, roles: &[&[u8]]) -> Open {
    let capabilities: Vec<Vec<u8>> = roles.iter().map(|role| capability(9, role)).collect();
    offering(open, &capabilities)
}

#[test]
fn roles() {
    let mut scripts = Scripts::default();
    for ours in 0..ROLES.len() {
        for theirs in [0, 1, 2, 3, 4, 5, 255] {
            let name = format!("we are the {}, it is {theirs}", ROLES[ours]);
            scripts.add_with("9234 4.2", name, true, json!({"role": ROLES[ours]}), move |stage| {
                let open = with_roles(stage.open(), &[&[theirs]]);
                let mut peer = stage.connect()?;
                if theirs == COUNTERPARTS[ours] {
                    peer.establish(&open)?;
                    return stage.announces(&mut peer);
                }
                peer.say(&open.bytes())?;
                ends(&mut peer, 2, 11, None)
            });
        }
        let name = format!("we say that we are the {}", ROLES[ours]);
        scripts.add_with("9234 4.1", name, true, json!({"role": ROLES[ours]}), move |stage| {
            says(stage, Some(&[u8::try_from(ours).expect("one of five")]))
        });
    }
    scripts.add("9234 4.1", "we have no role, and say none", true, |stage| says(stage, None));
    scripts.add_with("9234 4.2", "it says no role", true, json!({"role": "provider"}), |stage| {
        stage.establish().map(drop)
    });
    let strict = json!({"role": "provider", "roleStrict": true});
    scripts.add_with("9234 4.2", "it says no role, and must", true, strict, |stage| {
        let mut peer = stage.connect()?;
        peer.say(&stage.open().bytes())?;
        ends(&mut peer, 2, 11, None)
    });
    scripts.add_with("9234 4.2", "the same role twice", true, json!({"role": "provider"}), |stage| {
        stage.establish_with(&with_roles(stage.open(), &[&[3], &[3]])).map(drop)
    });
    scripts.add_with("9234 4.2", "two roles that differ", true, json!({"role": "provider"}), |stage| {
        let mut peer = stage.connect()?;
        peer.say(&with_roles(stage.open(), &[&[3], &[4]]).bytes())?;
        ends(&mut peer, 2, 11, None)
    });
    scripts.add("9234 4.2", "a role, and we have none", true, |stage| {
        stage.establish_with(&with_roles(stage.open(), &[&[3]])).map(drop)
    });
    run(scripts);
}

/// The role capability of our OPEN.
fn says(stage: &Stage<'_>, wanted: Option<&[u8]>) -> Result<(), String> {
    let body = stage.connect()?.open(&stage.open())?;
    match offered(&body, 9) {
        role if role == wanted => Ok(()),
        role => Err(format!("its role is {role:?}")),
    }
}

/// The OPEN of a neighbour to whom we are that; whether it says so or not, our role is what counts (RFC 9234 4.2).
fn from(open: Open, ours: Option<usize>, says: bool) -> Open {
    match ours.filter(|_| says) {
        Some(ours) => with_roles(open, &[&[COUNTERPARTS[ours]]]),
        None => open,
    }
}

fn only_to_customers(otc: u32) -> raw::Attribute {
    attribute(OPTIONAL_TRANSITIVE, raw::OTC, &otc.to_be_bytes())
}

/// RFC 9234 section 5, on the way in; the watchers have no role, so that they see what was made of it.
#[test]
fn what_is_taken() {
    let mut scripts = Scripts::default();
    let mut row = |ours: usize, says: bool, otc: Option<u32>, expected: Option<Option<u32>>| {
        let name = format!("we are the {}, and it agrees: {says}; OTC {otc:?}", ROLES[ours]);
        scripts.add_with("9234 5", name, true, json!({"role": ROLES[ours]}), move |stage| {
            let mut peer = stage.connect()?;
            peer.establish(&from(stage.open(), Some(ours), says))?;
            let mut draft = stage.update();
            draft.attributes.extend(otc.map(only_to_customers));
            peer.say(&draft.bytes())?;
            // Behind it, so that what came before has been looked at.
            stage.still_up(&mut peer)?;
            let route = stage.prefixes().victim;
            stage.speaker.watchers.iter().try_for_each(|watcher| {
                watcher.must_see(&format!("expected OTC {expected:?}"), route, |table| otc_of(table, route) == expected)
            })
        });
    };
    for says in [true, false] {
        for (ours, leaks) in [(0, true), (1, true), (2, false), (3, false)] {
            row(ours, says, Some(OTHER), if leaks { None } else { Some(Some(OTHER)) });
            row(ours, says, Some(TESTER_AS), if leaks { None } else { Some(Some(TESTER_AS)) });
        }
        row(4, says, Some(OTHER), None);
        row(4, says, Some(TESTER_AS), Some(Some(TESTER_AS)));
        for (ours, marked) in [(0, false), (1, false), (2, true), (3, true), (4, true)] {
            row(ours, says, None, Some(marked.then_some(TESTER_AS)));
        }
    }
    run(scripts);
}

/// The OTC of a route, if there is one, if there is a route.
fn otc_of(table: &Table, route: Prefix) -> Option<Option<u32>> {
    let attributes = table.routes.get(&route)?;
    Some(attributes.get(&raw::OTC).and_then(|(_, value)| value.as_slice().try_into().ok()).map(u32::from_be_bytes))
}

/// A neighbour that announces one route again and again.
struct Teller {
    sender: Sender,
    /// Our role to it, by its place in [`ROLES`].
    ours: Option<usize>,
    /// The OTC of each announcement.
    otcs: &'static [Option<u32>],
}

fn tellers() -> Vec<Teller> {
    let mut tellers = Vec::new();
    let any: &[Option<u32>] = &[None, Some(OTHER), None, Some(OUR_AS)];
    for sender in [EBGP, EBGP6, IBGP, IBGP6] {
        tellers.push(Teller { sender, ours: None, otcs: any });
    }
    for sender in [EBGP, EBGP6] {
        // From our customers and RS-clients no OTC is taken, from a peer its own alone.
        let of_roles: [&[Option<u32>]; 5] =
            [&[None], &[None], &[None, Some(OTHER)], &[None, Some(OTHER)], &[None, Some(TESTER_AS)]];
        tellers.extend((0..ROLES.len()).map(|ours| Teller { sender, ours: Some(ours), otcs: of_roles[ours] }));
    }
    tellers
}

/// What becomes of a route with this OTC that one is told to whom we are that; `None`: it is not told.
fn told(ours: usize, otc: Option<u32>) -> Option<Option<u32>> {
    // To a provider, a peer or an RS; to a customer, a peer or an RS-client.
    let upwards = matches!(ROLES[ours], "customer" | "peer" | "rs-client");
    let marks = matches!(ROLES[ours], "provider" | "peer" | "rs");
    match otc {
        Some(_) if upwards => None,
        _ => Some(otc.or(marks.then_some(OUR_AS))),
    }
}

fn with_role(mut peer: Value, ours: Option<usize>) -> Value {
    if let Some(ours) = ours {
        peer["role"] = json!(ROLES[ours]);
    }
    peer
}

/// Who listens: for each role one that says it, and then one that does not.
fn listeners() -> impl Iterator<Item = (IpAddr, usize, Open)> {
    let roles = [true, false].into_iter().flat_map(|says| (0..ROLES.len()).map(move |ours| (ours, says)));
    (30..).zip(roles).map(|(number, (ours, says))| {
        let open = from(Open::new(LISTENER_AS, [192, 0, 2, number]), Some(ours), says);
        (Ipv4Addr::new(127, 0, 0, number).into(), ours, open)
    })
}

/// RFC 9234 section 5, on the way out.
#[test]
fn what_is_told() {
    in_fresh_netns(|| {
        let tellers = tellers();
        let as_of = |sender: Sender| if sender.external { TESTER_AS } else { OUR_AS };
        let known = tellers.iter().enumerate();
        let mut peers: Vec<Value> =
            known.map(|(number, teller)| with_role(peer(tester(number), as_of(teller.sender)), teller.ours)).collect();
        let marker = tester(peers.len());
        peers.push(peer(marker, TESTER_AS));
        peers.extend(listeners().map(|(address, ours, _)| with_role(peer(address, LISTENER_AS), Some(ours))));
        let mut speaker = Speaker::start(peers);
        let listeners: Vec<(usize, Watcher)> =
            listeners().map(|(address, ours, open)| (ours, Watcher::start(address, AT, &open, true))).collect();
        let mut marking = Peer::connect(marker, AT).expect("a connection");
        marking.establish(&case::open(EBGP, tellers.len())).expect("a session");
        let all = Listening { speaker: &speaker, listeners: &listeners, marking: Mutex::new(marking) };
        let mut failed = all.own_prefixes();
        failed.extend(side_by_side(&tellers, |number, teller| {
            let ours = teller.ours.map(|ours| ROLES[ours]);
            all.play(number, teller)
                .map_err(|why| format!("RFC 9234 5: {}, our role to it {ours:?}: {why}", teller.sender))
        }));
        let mut faults = speaker.faults();
        faults.extend(listeners.iter().flat_map(|(_, listener)| listener.faults()));
        let announcements: usize = tellers.iter().map(|teller| teller.otcs.len()).sum();
        report(failed, (announcements + 2) * listeners.len(), faults);
    });
}

struct Listening<'a> {
    speaker: &'a Speaker,
    /// With our role to them.
    listeners: &'a [(usize, Watcher)],
    /// Tells routes that are for everybody.
    marking: Mutex<Peer>,
}

impl Listening<'_> {
    fn play(&self, number: usize, teller: &Teller) -> Result<(), String> {
        let sender = teller.sender;
        let route = prefixes(number, sender.v6).victim;
        let mut peer = Peer::connect(tester(number), AT)?;
        peer.establish(&from(case::open(sender, number), teller.ours, true))?;
        for (last_as, otc) in (65600..).zip(teller.otcs) {
            let mut draft = good(sender, last_as, &[route]);
            draft.attributes.extend(otc.map(only_to_customers));
            peer.say(&draft.bytes())?;
            let comes_down = matches!(teller.ours.map(|ours| ROLES[ours]), Some("customer" | "peer" | "rs-client"));
            let otc = otc.or(comes_down.then_some(TESTER_AS));
            let comes = |watcher: &Watcher, what: &str, wanted: Option<u32>| {
                watcher.must_see(&format!("{what}: expected OTC {wanted:?}"), route, |table| {
                    ends_in(table, route, last_as) && otc_of(table, route) == Some(wanted)
                })
            };
            self.speaker.audience(sender.external).try_for_each(|watcher| comes(watcher, "without a role", otc))?;
            self.all_was_told(number, sender, last_as)?;
            for (ours, listener) in self.listeners {
                let what = format!("we are its {}", ROLES[*ours]);
                match told(*ours, otc) {
                    Some(wanted) => comes(listener, &what, wanted)?,
                    None if listener.sees(Duration::ZERO, |table| !table.routes.contains_key(&route)) => {}
                    None => return Err(format!("{what}, and it is told {}", listener.words(route))),
                }
            }
        }
        peer.is_up()
    }

    /// What was to be told of earlier UPDATEs has come: it is written with the first marker at the latest, and so before the
    /// second one.
    fn all_was_told(&self, number: usize, sender: Sender, round: u32) -> Result<(), String> {
        let route = prefixes(number, sender.v6).marker;
        for last_as in [round, round + 100] {
            let draft = good(Sender { external: true, ..sender }, last_as, &[route]);
            self.marking.lock().expect("a peer").say(&draft.bytes())?;
            for (_, listener) in self.listeners {
                listener.must_see("a route for everybody", route, |table| ends_in(table, route, last_as))?;
            }
        }
        Ok(())
    }

    /// What we announce ourselves had no OTC.
    fn own_prefixes(&self) -> Vec<String> {
        let own = [(Ipv4Addr::new(10, 65, 0, 0).into(), 26), (IpAddr::from(raw::v6("fd00:65::")), 122)];
        let all = self.listeners.iter().flat_map(|of| own.map(|route| (of, route)));
        all.filter_map(|((ours, listener), route)| {
            let what = format!("RFC 9234 5: our own route, we are its {}", ROLES[*ours]);
            listener.must_see(&what, route, |table| otc_of(table, route) == told(*ours, None)).err()
        })
        .collect()
    }
}

fn ends_in(table: &Table, route: Prefix, last_as: u32) -> bool {
    let path = table.routes.get(&route).and_then(|attributes| attributes.get(&raw::AS_PATH));
    path.is_some_and(|(_, path)| path.ends_with(&last_as.to_be_bytes()))
}
