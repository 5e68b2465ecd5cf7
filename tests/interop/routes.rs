//! Routes both ways, both families, over both families of TCP: eBGP and iBGP.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::bird::Bird;
use crate::exabgp::ExaBgp;
use crate::frr::Frr;
use crate::gobgp::GoBgp;
use crate::openbgpd::OpenBgpd;
use crate::rig::{
    COMMUNITY, LARGE_COMMUNITY, LIMIT, LOCAL_PREF, MED, Neighbor, OUR_AS, OURS, ROUTE_TARGET, THEIR_AS, THEIRS, Told,
    Us, between, cidr, ip, speaker,
};
use crate::support::wait_for;

const OWN: [&str; 3] = ["10.65.0.0/26", "10.65.0.200/32", "fd65::/122"];
const FOREIGN: [&str; 3] = ["198.51.100.0/24", "203.0.113.128/25", "2001:db8:1::/48"];

fn of_family<'a>(pair: [&'a str; 2], prefix: &str) -> &'a str {
    pair[usize::from(prefix.contains(':'))]
}

fn exchange(neighbor: &dyn Neighbor, transport: usize, their_as: u32) {
    let mut us = Us::start(speaker(transport, their_as), false);
    us.announce(&OWN);
    wait_for("the session", LIMIT, || us.established(THEIRS[transport]) && neighbor.established());
    wait_for("our routes in its table", LIMIT, || neighbor.learned().len() == OWN.len());
    wait_for("its routes in ours", LIMIT, || us.learned().len() == FOREIGN.len());

    let external = their_as != OUR_AS;
    let theirs = neighbor.learned();
    for prefix in OWN {
        let expected = (ip(of_family(OURS, prefix)), if external { vec![OUR_AS] } else { vec![] });
        assert_eq!(theirs.get(&cidr(prefix)), Some(&expected), "{prefix} in its table");
    }
    let ours = us.table();
    for prefix in FOREIGN {
        let set = |word: &str| BTreeSet::from([word.to_string()]);
        let expected = Told {
            next_hop: Some(ip(of_family(THEIRS, prefix))),
            as_path: if external { vec![their_as] } else { vec![] },
            med: Some(MED),
            local_pref: (!external).then_some(LOCAL_PREF),
            communities: set(COMMUNITY),
            large: set(LARGE_COMMUNITY),
            extended: set(&format!("rt:{ROUTE_TARGET}")),
            ..Told::default()
        };
        assert_eq!(ours.get(&cidr(prefix)), Some(&expected), "{prefix} in ours");
    }
    let status = us.peer(THEIRS[transport]);
    // FRR sends our own routes back over eBGP; they are loops, and not accepted.
    assert!(status.received == 3 || (external && status.received == 6), "{} received", status.received);
    assert_eq!((status.accepted, status.advertised), (3, 3));
    // Two connections that come up at one moment: each side may end the one that the other keeps (RFC 4271 6.8), by words that
    // cross on the way.
    assert!((1..=2).contains(&status.sessions), "{} sessions: {:?}", status.sessions, status.last_error);
    for capability in ["ipv4-unicast", "ipv6-unicast", "four-octet-as", "route-refresh", "graceful-restart"] {
        assert!(status.capabilities.iter().any(|has| has == capability), "{capability}: {:?}", status.capabilities);
    }
    assert_eq!(status.hold_time, Some(30), "the lower one");

    us.withdraw(&OWN[1..]);
    wait_for("our withdrawals", LIMIT, || neighbor.learned().into_keys().eq([cidr(OWN[0])]));
    us.listen();
    let kernel: Vec<IpAddr> = FOREIGN.iter().map(|prefix| us.kernel[&cidr(prefix)][0]).collect();
    assert_eq!(kernel, FOREIGN.map(|prefix| ip(of_family(THEIRS, prefix))));
    neighbor.withdraw_all();
    wait_for("its withdrawals", LIMIT, || us.learned().is_empty());
    wait_for("its withdrawals at the kernel's door", LIMIT, || {
        us.listen();
        us.kernel.is_empty()
    });
    assert_eq!(us.peer(THEIRS[transport]).malformed, 0);
    us.stop();
}

#[test]
fn bird_over_ebgp_and_ipv4() {
    between(|namespace| exchange(&Bird::new(namespace, 0, THEIR_AS, &FOREIGN), 0, THEIR_AS));
}

#[test]
fn bird_over_ibgp_and_ipv6() {
    between(|namespace| exchange(&Bird::new(namespace, 1, OUR_AS, &FOREIGN), 1, OUR_AS));
}

#[test]
fn frr_over_ebgp_and_ipv4() {
    between(|namespace| exchange(&Frr::new(namespace, 0, THEIR_AS, &FOREIGN), 0, THEIR_AS));
}

#[test]
fn frr_over_ibgp_and_ipv6() {
    between(|namespace| exchange(&Frr::new(namespace, 1, OUR_AS, &FOREIGN), 1, OUR_AS));
}

#[test]
fn gobgp_over_ebgp_and_ipv4() {
    between(|namespace| exchange(&GoBgp::new(namespace, 0, THEIR_AS, &FOREIGN), 0, THEIR_AS));
}

#[test]
fn gobgp_over_ibgp_and_ipv6() {
    between(|namespace| exchange(&GoBgp::new(namespace, 1, OUR_AS, &FOREIGN), 1, OUR_AS));
}

#[test]
fn openbgpd_over_ebgp_and_ipv4() {
    between(|namespace| exchange(&OpenBgpd::new(namespace, 0, THEIR_AS, &FOREIGN), 0, THEIR_AS));
}

#[test]
fn openbgpd_over_ibgp_and_ipv6() {
    between(|namespace| exchange(&OpenBgpd::new(namespace, 1, OUR_AS, &FOREIGN), 1, OUR_AS));
}

#[test]
fn exabgp_over_ebgp_and_ipv4() {
    between(|namespace| exchange(&ExaBgp::new(namespace, 0, THEIR_AS, &FOREIGN), 0, THEIR_AS));
}

#[test]
fn exabgp_over_ibgp_and_ipv6() {
    between(|namespace| exchange(&ExaBgp::new(namespace, 1, OUR_AS, &FOREIGN), 1, OUR_AS));
}

/// OpenBGPD 7.7 on Linux finds itself no address of the family that the session is not of, and says `::1`: that route is
/// refused and told (RFC 4271 6.3, RFC 7606), the others and the session stay, and a `nexthop` on its side is the mend.
#[test]
fn openbgpd_left_to_itself_says_a_loopback_next_hop() {
    between(|namespace| {
        let openbgpd = OpenBgpd::new(namespace, 0, THEIR_AS, &FOREIGN);
        let next_hop = format!(" nexthop {} ", THEIRS[1]);
        openbgpd.reconfigure(&next_hop, " ");
        let us = Us::start(speaker(0, THEIR_AS), false);
        let told = || us.peer(THEIRS[0]).last_malformed.unwrap_or_default();
        wait_for("the refusal", LIMIT, || told().contains("the next hop ::1 is a loopback address"));
        wait_for("the routes of the session's family", LIMIT, || us.learned().len() == 2);
        assert!(!us.learned().contains_key(&cidr(FOREIGN[2])));
        openbgpd.reconfigure("metric 50 ", &format!("{next_hop} metric 50 "));
        wait_for("all of them", LIMIT, || us.learned().len() == 3);
        assert_eq!(us.peer(THEIRS[0]).sessions, 1);
        us.stop();
    });
}
