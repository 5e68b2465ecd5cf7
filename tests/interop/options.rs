//! What can be agreed with one neighbour beyond a plain session: roles, bounds, another AS, refresh, communities that say
//! how far a route goes.

use routenet_core::bgp::speaker::{PeerConfig, RouteStatus};
use routenet_core::model::peering::BgpRole;

use crate::bird::Bird;
use crate::exabgp::ExaBgp;
use crate::frr::Frr;
use crate::rig::{LIMIT, Neighbor, OUR_AS, THEIR_AS, THEIRS, Us, add, among, between, cidr, numbers, speaker, theirs};
use crate::support::wait_for;

const OWN: [&str; 2] = ["10.65.0.0/26", "fd65::/122"];
const FOREIGN: [&str; 2] = ["198.51.100.0/24", "2001:db8:1::/48"];

/// Our side with one eBGP neighbour, and what is agreed with it.
pub fn with(set: impl FnOnce(&mut PeerConfig)) -> Us {
    let mut config = speaker(0, THEIR_AS);
    config.peers.values_mut().for_each({
        let mut set = Some(set);
        move |peer| set.take().expect("one neighbour")(peer)
    });
    let us = Us::start(config, false);
    us.announce(&OWN);
    us
}

pub fn up(us: &Us, neighbor: &dyn Neighbor) {
    wait_for("the session", LIMIT, || us.established(THEIRS[0]) && neighbor.established());
    wait_for("its routes", LIMIT, || us.learned().len() == FOREIGN.len());
    wait_for("ours", LIMIT, || neighbor.learned().len() == OWN.len());
}

#[test]
fn roles_that_match_mark_what_goes_down() {
    between(|namespace| {
        let bird = Bird::with(namespace, 0, THEIR_AS, &FOREIGN, "local role customer;");
        let us = with(|peer| peer.options.role = Some(BgpRole::Provider));
        up(&us, &bird);
        assert!(bird.table().values().all(|told| told.otc == Some(OUR_AS)), "{:?}", bird.table());
        assert!(us.table().values().all(|told| told.otc.is_none()), "what comes up has none");
        us.stop();
    });
    between(|namespace| {
        let bird = Bird::with(namespace, 0, THEIR_AS, &FOREIGN, "local role provider; require roles on;");
        let us = with(|peer| (peer.options.role, peer.options.role_strict) = (Some(BgpRole::Customer), true));
        up(&us, &bird);
        assert!(us.table().values().all(|told| told.otc == Some(THEIR_AS)), "{:?}", us.table());
        us.stop();
    });
}

#[test]
fn roles_that_do_not_match_are_no_session() {
    between(|namespace| {
        let bird = Bird::with(namespace, 0, THEIR_AS, &FOREIGN, "local role provider;");
        let us = with(|peer| peer.options.role = Some(BgpRole::Provider));
        wait_for("the reason", LIMIT, || us.last_error(THEIRS[0]).contains("(2/11)"));
        assert!(!us.established(THEIRS[0]) && !bird.established());
        assert_eq!(us.peer(THEIRS[0]).sessions, 0);
        bird.reconfigure("local role provider", "local role customer");
        up(&us, &bird);
        us.stop();
    });
    // Who says no role is good enough, unless we are strict.
    for strict in [false, true] {
        between(move |namespace| {
            let bird = Bird::new(namespace, 0, THEIR_AS, &FOREIGN);
            let us = with(|peer| (peer.options.role, peer.options.role_strict) = (Some(BgpRole::Provider), strict));
            if strict {
                wait_for("the reason", LIMIT, || us.last_error(THEIRS[0]).contains("(2/11)"));
                assert_eq!(us.peer(THEIRS[0]).sessions, 0);
            } else {
                up(&us, &bird);
            }
            us.stop();
        });
    }
}

/// RFC 9234 section 5: a customer that passes on what a provider told it.
#[test]
fn a_leak_is_refused() {
    between(|namespace| {
        let bird = Bird::new(namespace, 0, THEIR_AS, &FOREIGN);
        bird.reconfigure("bgp_med = ", "if net = 198.51.100.0/24 then bgp_otc = 64999;\n  bgp_med = ");
        let us = with(|peer| peer.options.role = Some(BgpRole::Provider));
        wait_for("both of its routes", LIMIT, || us.peer(THEIRS[0]).received == 2);
        assert!(us.learned().into_keys().eq([cidr(FOREIGN[1])]), "{:?}", us.learned());
        let refusal = us.route(FOREIGN[0])[0].route.refused.clone().expect("a refusal");
        assert!(refusal.contains("route leak"), "{refusal}");
        // What came with an OTC goes down only, and our own is no leak.
        assert!(us.established(THEIRS[0]));
        us.stop();
    });
}

#[test]
fn another_as_for_one_neighbour() {
    const OTHER: u32 = 64777;
    between(|namespace| {
        let bird = Bird::new(namespace, 0, THEIR_AS, &FOREIGN);
        let us = with(|peer| peer.options.local_as = Some(OTHER));
        wait_for("a refusal of an AS that is not expected", LIMIT, || us.last_error(THEIRS[0]).contains("(2/2)"));
        assert_eq!(us.peer(THEIRS[0]).sessions, 0);
        bird.reconfigure(&format!("as {OUR_AS};"), &format!("as {OTHER};"));
        up(&us, &bird);
        // It sees no other AS of ours.
        assert!(bird.table().values().all(|told| told.as_path == [OTHER]), "{:?}", bird.table());
        us.stop();
    });
}

#[test]
fn our_own_as_as_often_as_it_is_allowed() {
    for (allowed, learned) in [(0, 0), (1, 1), (2, 2)] {
        between(move |namespace| {
            let exabgp = ExaBgp::new(namespace, 0, THEIR_AS, &[]);
            let us = with(|peer| peer.options.allowed_local_as = allowed);
            wait_for("the session", LIMIT, || us.established(THEIRS[0]) && exabgp.established());
            exabgp.announce("192.0.2.1/32", &format!("as-path [{THEIR_AS} {OUR_AS}]"));
            exabgp.announce("192.0.2.2/32", &format!("as-path [{THEIR_AS} {OUR_AS} {OUR_AS}]"));
            wait_for("both", LIMIT, || us.peer(THEIRS[0]).received == 2);
            assert_eq!(us.learned().len(), learned, "{allowed} allowed");
            us.stop();
        });
    }
}

#[test]
fn a_refresh_tells_all_again() {
    fn told_again(us: &Us, neighbor: &dyn Neighbor, refresh: impl Fn()) {
        up(us, neighbor);
        let before = us.neighbor(THEIRS[0]);
        refresh();
        wait_for("the refresh, and all told again", LIMIT, || {
            let now = us.neighbor(THEIRS[0]);
            now.messages_in.refreshes >= before.messages_in.refreshes + 2
                && now.messages_out.updates >= before.messages_out.updates + 2
        });
        assert_eq!((us.peer(THEIRS[0]).sessions, neighbor.learned().len()), (1, OWN.len()));
    }
    between(|namespace| {
        let frr = Frr::new(namespace, 0, THEIR_AS, &FOREIGN);
        let us = with(|_| {});
        told_again(&us, &frr, || drop(frr.ask("clear bgp * soft in")));
        us.stop();
    });
    between(|namespace| {
        let bird = Bird::new(namespace, 0, THEIR_AS, &FOREIGN);
        // It keeps no copy of what it was told, so it has to ask.
        bird.reconfigure("ipv4 { import all;", "ipv4 { import table off; import all;");
        let us = with(|_| {});
        told_again(&us, &bird, || drop(bird.ask("reload in routenet")));
        us.stop();
    });
}

/// RFC 8326: who is about to go is the last choice, and not gone.
#[test]
fn a_graceful_shutdown_is_the_last_choice() {
    among(|[first, second]| {
        let pair = [Frr::new(first, 0, THEIR_AS, &FOREIGN), Frr::new(second, 0, 65003, &FOREIGN)];
        let mut config = speaker(0, THEIR_AS);
        add(&mut config, "others", 1, 0, 65003);
        let us = Us::start(config, false);
        us.announce(&OWN);
        let best = || us.routes().into_iter().filter(|r| r.best && r.from.is_some()).collect::<Vec<_>>();
        wait_for("both", LIMIT, || best().len() == 4);
        for (going, staying) in [(0, 1), (1, 0)] {
            pair[going]
                .ask(&format!("configure terminal\nrouter bgp {}\nbgp graceful-shutdown", [THEIR_AS, 65003][going]));
            wait_for("the other one to be the best alone", LIMIT, || {
                let best = best();
                best.len() == 2
                    && best
                        .iter()
                        .all(|route| route.from.as_ref().is_some_and(|f| f.0.to_string() == theirs(staying)[0]))
            });
            let mut routes = us.route(FOREIGN[0]).into_iter().map(|detail| detail.route);
            let of_it =
                |route: &RouteStatus| route.from.as_ref().is_some_and(|from| from.0.to_string() == theirs(going)[0]);
            let lost = routes.find(of_it).expect("it is there still");
            assert!(lost.communities.contains(&"65535:0".to_string()) && lost.local_pref == Some(0), "{lost:?}");
            pair[going]
                .ask(&format!("configure terminal\nrouter bgp {}\nno bgp graceful-shutdown", [THEIR_AS, 65003][going]));
            wait_for("both again", LIMIT, || best().len() == 4);
        }
        us.stop();
    });
}

/// RFC 1997; and what we do not know goes on with the Partial bit (RFC 4271 section 9), while what is malformed costs its
/// own route and nothing else (RFC 7606). Judged by what another neighbour sees.
#[test]
fn what_a_neighbour_says_byte_by_byte_is_passed_on_as_far_as_it_may_go() {
    among(|[first, second]| {
        let exabgp = ExaBgp::new(first, 0, THEIR_AS, &[]);
        let far = ExaBgp::new(second, 0, 65003, &[]);
        let mut config = speaker(0, THEIR_AS);
        add(&mut config, "others", 1, 0, 65003);
        let us = Us::start(config, false);
        let there = theirs(1)[0].clone();
        wait_for("both sessions", LIMIT, || us.established(THEIRS[0]) && us.established(&there) && far.established());
        for (number, attributes) in [
            (1, "community [no-export]"),
            (2, "community [no-advertise]"),
            (3, "community [65535:65283]"),
            (4, "community [65002:7]"),
            (5, "attribute [0xdc 0xc0 0x010203]"),
            (6, "attribute [0xdc 0x80 0x010203]"),
            // An AGGREGATOR that is too short is dropped, a COMMUNITIES that is not of fours costs the route.
            (7, "attribute [0x07 0xc0 0x0102]"),
            (8, "attribute [0x08 0xc0 0x010203]"),
            // An ORIGINATOR_ID has no meaning here, whatever it says.
            (9, "attribute [0x09 0x80 0x010203]"),
        ] {
            exabgp.announce(&format!("192.0.2.{number}/32"), attributes);
        }
        exabgp.announce("192.0.2.100/32", "");
        wait_for("the last one at the far end", LIMIT, || far.learned().contains_key(&cidr("192.0.2.100/32")));
        let seen: Vec<u32> = far
            .learned()
            .into_keys()
            .map(|prefix| prefix.to_string().replace("192.0.2.", "").replace("/32", ""))
            .flat_map(|number| numbers(&number))
            .collect();
        assert_eq!(seen, [4, 5, 6, 7, 9, 100]);
        let raw = |number: u8| far.attributes_of(&format!("192.0.2.{number}/32")).expect("attributes").to_string();
        assert!(raw(5).contains("attribute-0xDC-0xE0") && raw(5).contains("0x010203"), "Partial: {}", raw(5));
        assert!(!raw(6).contains("attribute-0xDC"), "not transitive: {}", raw(6));
        assert!(!raw(7).contains("aggregator") && !raw(9).contains("originator"), "{} {}", raw(7), raw(9));
        let status = us.peer(THEIRS[0]);
        assert_eq!((status.sessions, status.malformed), (1, 3), "{:?}", status.last_malformed);
        assert_eq!(us.peer(&there).sessions, 1);
        us.stop();
    });
}
