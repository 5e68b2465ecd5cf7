//! Route reflection (RFC 4456) beside others: as a reflector between two of them, and as a client of one.

use std::net::Ipv4Addr;

use crate::bird::Bird;
use crate::exabgp::ExaBgp;
use crate::frr::Frr;
use crate::gobgp::GoBgp;
use crate::openbgpd::OpenBgpd;
use crate::rig::{
    COMMUNITY, LIMIT, LOCAL_PREF, MED, Neighbor, OUR_AS, Us, add, among, between, cidr, ip, ours, speaker, theirs,
};
use crate::support::wait_for;

const FIRST: [&str; 2] = ["198.51.100.0/24", "2001:db8:1::/48"];
const SECOND: [&str; 2] = ["203.0.113.0/24", "2001:db8:2::/48"];

fn id(number: usize) -> Ipv4Addr {
    theirs(number)[0].parse().expect("an identifier")
}

/// Two internal neighbours over IPv4, with which of them are clients.
fn reflector(clients: [bool; 2]) -> Us {
    let mut config = speaker(0, OUR_AS);
    add(&mut config, "them", 0, 0, OUR_AS).options.reflector_client = clients[0];
    add(&mut config, "others", 1, 0, OUR_AS).options.reflector_client = clients[1];
    Us::start(config, false)
}

fn both_up(us: &Us, pair: [&dyn Neighbor; 2]) {
    wait_for("both sessions", LIMIT, || {
        pair.iter().enumerate().all(|(i, neighbor)| us.established(&theirs(i)[0]) && neighbor.established())
    });
    wait_for("the routes of both", LIMIT, || us.learned().len() == FIRST.len() + SECOND.len());
}

/// What the second one has of the first one's routes, and the other way round.
fn reflects(pair: [&dyn Neighbor; 2]) {
    let us = reflector([true, false]);
    us.announce(&["10.65.0.0/26"]);
    both_up(&us, pair);
    for (number, told, source) in [(0, SECOND, 1), (1, FIRST, 0)] {
        let neighbor = pair[number];
        wait_for("what the other one said, and ours", LIMIT, || neighbor.learned().len() == told.len() + 1);
        let table = neighbor.table();
        for prefix in told {
            let route = &table[&cidr(prefix)];
            let family = usize::from(prefix.contains(':'));
            assert_eq!(route.next_hop, Some(ip(&theirs(source)[family])), "{prefix}: the next hop is not changed");
            assert_eq!(route.originator, Some(id(source)), "{prefix}: {route:?}");
            assert_eq!(route.clusters, [Ipv4Addr::new(10, 9, 0, 1)], "{prefix}: {route:?}");
            assert_eq!((route.med, route.local_pref), (Some(MED), Some(LOCAL_PREF)), "{prefix}");
            assert!(route.communities.contains(COMMUNITY) && route.as_path.is_empty(), "{prefix}: {route:?}");
        }
        let own = &table[&cidr("10.65.0.0/26")];
        assert_eq!((own.originator, own.clusters.len()), (None, 0), "what is our own is not reflected");
        assert_eq!(own.next_hop, Some(ip(&ours(number)[0])));
    }
    pair[0].withdraw_all();
    wait_for("the withdrawal at the far end", LIMIT, || pair[1].learned().into_keys().eq([cidr("10.65.0.0/26")]));
    us.stop();
}

#[test]
fn between_bird_and_frr() {
    among(|[first, second]| {
        let frr = Frr::new(second, 0, OUR_AS, &SECOND);
        reflects([&Bird::new(first, 0, OUR_AS, &FIRST), &frr]);
    });
}

#[test]
fn between_gobgp_and_bird() {
    among(|[first, second]| {
        let bird = Bird::new(second, 0, OUR_AS, &SECOND);
        reflects([&GoBgp::new(first, 0, OUR_AS, &FIRST), &bird]);
    });
}

#[test]
fn between_frr_and_gobgp() {
    among(|[first, second]| {
        let gobgp = GoBgp::new(second, 0, OUR_AS, &SECOND);
        reflects([&Frr::new(first, 0, OUR_AS, &FIRST), &gobgp]);
    });
}

#[test]
fn nothing_is_reflected_where_nobody_is_a_client() {
    among(|[first, second]| {
        let pair = [Bird::new(first, 0, OUR_AS, &FIRST), Bird::new(second, 0, OUR_AS, &SECOND)];
        let us = reflector([false, false]);
        both_up(&us, [&pair[0], &pair[1]]);
        // Ours come behind all that was there to be told.
        us.announce(&["10.65.0.0/26"]);
        for bird in &pair {
            wait_for("ours", LIMIT, || bird.learned().contains_key(&cidr("10.65.0.0/26")));
            assert_eq!(bird.learned().len(), 1);
        }
        us.stop();
    });
}

/// As one of a reflector's clients: whose route it is and whose cluster it came through is told, and ours gets there.
fn client_of(reflector: &dyn Neighbor, other: &dyn Neighbor) {
    let us = Us::start(speaker(0, OUR_AS), false);
    us.announce(&["10.65.0.0/26", "fd65::/122"]);
    wait_for("the sessions", LIMIT, || us.established(&theirs(0)[0]) && other.established());
    wait_for("the other client's routes", LIMIT, || us.learned().len() == SECOND.len());
    for prefix in SECOND {
        let route = &us.table()[&cidr(prefix)];
        let family = usize::from(prefix.contains(':'));
        assert_eq!(route.originator, Some(id(1)), "{prefix}: {route:?}");
        assert_eq!(route.clusters, [id(0)], "{prefix}: {route:?}");
        assert_eq!(route.next_hop, Some(ip(&theirs(1)[family])), "{prefix}: {route:?}");
    }
    wait_for("ours at the reflector", LIMIT, || reflector.learned().len() == 2);
    us.stop();
}

#[test]
fn client_of_bird() {
    among(|[first, second]| {
        let other = format!(
            "protocol bgp second {{\n  local {} as {OUR_AS};\n  neighbor {} as {OUR_AS};\n  rr client;\n\
             \x20 hold time 30; connect delay time 1; connect retry time 1; error wait time 1, 2;\n\
             \x20 ipv4 {{ import all; export all; }};\n  ipv6 {{ import all; export all; }};\n}}\n",
            first.theirs[0], second.theirs[0],
        );
        let remote = first.theirs[0].clone();
        let bird = Bird::beside(first, 0, OUR_AS, &[], "rr client;", &other);
        let gobgp = GoBgp::beside(second, 0, OUR_AS, &SECOND, &remote);
        client_of(&bird, &gobgp);
    });
}

#[test]
fn client_of_frr() {
    among(|[first, second]| {
        let other = second.theirs[0].clone();
        let us = first.ours[0].clone();
        let more = format!(" neighbor {other} remote-as {OUR_AS}\n neighbor {other} timers connect 1\n");
        let families = format!(
            "  neighbor {us} route-reflector-client\n  neighbor {other} activate\n  neighbor {other} route-reflector-client\n"
        );
        let remote = first.theirs[0].clone();
        // A default route is nothing to it that leads to a next hop.
        first.run("ip", &["route", "add", "10.9.1.0/24", "via", &first.ours[0]]);
        first.run("ip", &["-6", "route", "add", "fd09:0:0:1::/64", "via", &first.ours[1]]);
        let frr = Frr::beside(first, 0, OUR_AS, &[], &more, &families);
        let gobgp = GoBgp::beside(second, 0, OUR_AS, &SECOND, &remote);
        client_of(&frr, &gobgp);
    });
}

#[test]
fn client_of_gobgp() {
    among(|[first, second]| {
        let client = format!(
            "[neighbors.route-reflector.config]\nroute-reflector-client = true\n\
             route-reflector-cluster-id = \"{}\"\n[neighbors.transport.config]",
            first.theirs[0],
        );
        let families = ["ipv4-unicast", "ipv6-unicast"].map(|family| {
            format!("[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}\"\n")
        });
        let other = format!(
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {OUR_AS}\n{client}\n\
             local-address = \"{}\"\n{}",
            second.theirs[0],
            first.theirs[0],
            families.concat(),
        );
        let remote = first.theirs[0].clone();
        let gobgp = GoBgp::with(first, 0, OUR_AS, &[], &[("[neighbors.transport.config]", &client)], &other);
        client_of(&gobgp, &GoBgp::beside(second, 0, OUR_AS, &SECOND, &remote));
    });
}

#[test]
fn client_of_openbgpd() {
    among(|[first, second]| {
        let other = format!(
            "route-reflector\n}}\nneighbor {} {{\n  remote-as {OUR_AS}\n  local-address {}\n  holdtime 30\n\
             \x20 announce IPv4 unicast\n  announce IPv6 unicast\n  route-reflector",
            second.theirs[0], first.theirs[0],
        );
        let remote = first.theirs[0].clone();
        let openbgpd = OpenBgpd::with(first, 0, OUR_AS, &[], &other);
        let gobgp = GoBgp::beside(second, 0, OUR_AS, &SECOND, &remote);
        client_of(&openbgpd, &gobgp);
    });
}

#[test]
fn between_openbgpd_and_bird() {
    among(|[first, second]| {
        let bird = Bird::new(second, 0, OUR_AS, &SECOND);
        reflects([&OpenBgpd::new(first, 0, OUR_AS, &FIRST), &bird]);
    });
}

/// RFC 4456 section 8: what comes back to whom it came from is ignored, by originator and by cluster, and the session stays.
#[test]
fn what_comes_back_is_refused() {
    between(|namespace| {
        let exabgp = ExaBgp::new(namespace, 0, OUR_AS, &[]);
        let us = Us::start(speaker(0, OUR_AS), false);
        wait_for("the session", LIMIT, || us.established(&theirs(0)[0]) && exabgp.established());
        exabgp.announce("192.0.2.1/32", "originator-id 10.9.0.1 cluster-list [10.9.0.7]");
        exabgp.announce("192.0.2.2/32", "originator-id 10.9.0.8 cluster-list [10.9.0.7 10.9.0.1]");
        exabgp.announce("192.0.2.3/32", "originator-id 10.9.0.8 cluster-list [10.9.0.7]");
        wait_for("the one that is good", LIMIT, || us.peer(&theirs(0)[0]).received == 3);
        assert_eq!(us.learned().into_keys().collect::<Vec<_>>(), [cidr("192.0.2.3/32")]);
        for (prefix, why) in [("192.0.2.1/32", "we are its originator"), ("192.0.2.2/32", "our cluster")] {
            let refusal = us.route(prefix)[0].route.refused.clone().expect("a refusal");
            assert!(refusal.contains(why), "{prefix}: {refusal}");
        }
        assert_eq!((us.peer(&theirs(0)[0]).sessions, us.peer(&theirs(0)[0]).malformed), (1, 0));
        us.stop();
    });
}
