//! Graceful restart with others: they help us, we help them; and a Cease is the end of it.

use std::time::Duration;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::gobgp::GoBgp;
use crate::openbgpd::OpenBgpd;
use crate::rig::{LIMIT, Neighbor, THEIR_AS, THEIRS, Us, between, cidr, speaker};
use crate::support::wait_for;

const OWN: [&str; 2] = ["10.65.0.0/26", "fd65::/122"];
const FOREIGN: [&str; 2] = ["198.51.100.0/24", "2001:db8:1::/48"];

fn up(neighbor: &dyn Neighbor, restarting: bool, announced: &[&str]) -> Us {
    let us = Us::start(speaker(0, THEIR_AS), restarting);
    us.announce(announced);
    wait_for("the session", LIMIT, || us.established(THEIRS[0]) && neighbor.established());
    us
}

/// We go without a word and come back: nothing is missing in its table at any time. Then we drain, and all is gone.
fn they_help_us(neighbor: &dyn Neighbor) {
    let us = up(neighbor, false, &OWN);
    wait_for("our routes", LIMIT, || neighbor.learned().len() == 2);
    us.stop();
    wait_for("the end of the session", LIMIT, || !neighbor.established());
    assert_eq!(neighbor.learned().len(), 2, "kept while we are away");

    let mut us = up(neighbor, true, &OWN[..1]);
    wait_for("what we no longer announce to go", LIMIT, || neighbor.learned().into_keys().eq([cidr(OWN[0])]));
    wait_for("all that it has to tell", LIMIT, || {
        us.listen();
        us.converged
    });
    assert_eq!(us.kernel.len(), 2);

    us.peering.drain(Duration::ZERO);
    wait_for("the drain", LIMIT, || !neighbor.established());
    // Far sooner than it would keep them for one that restarts.
    wait_for("its table to be empty: a Cease leaves nothing", LIMIT, || neighbor.learned().is_empty());
    us.stop();
}

/// It is killed and comes back: nothing is missing in ours at any time. Then it says Cease, and all is gone.
fn we_help_them(neighbor: &mut dyn Neighbor) {
    let mut us = up(neighbor, false, &OWN);
    wait_for("its routes", LIMIT, || us.learned().len() == 2);
    neighbor.kill();
    wait_for("the end of the session", LIMIT, || !us.established(THEIRS[0]));
    assert!(us.peer(THEIRS[0]).retained);
    assert_eq!(us.learned().len(), 2, "kept while it is away");
    assert!(us.routes().iter().all(|route| route.from.is_none() || route.stale));

    neighbor.start();
    wait_for("the second session", LIMIT, || us.peer(THEIRS[0]).sessions == 2);
    wait_for("End-of-RIB", LIMIT, || !us.peer(THEIRS[0]).retained);
    assert_eq!(us.learned().len(), 2, "told again");
    assert!(us.routes().iter().all(|route| !route.stale));
    us.listen();
    assert_eq!(us.kernel.len(), 2);
    wait_for("our routes", LIMIT, || neighbor.learned().len() == 2);

    // RFC 8538: between two that agreed to keep routes over NOTIFICATIONs it comes as the cause of a Hard Reset.
    let agreed = us.peer(THEIRS[0]).capabilities.iter().any(|has| has == "graceful-notification");
    neighbor.shut();
    wait_for("the Cease", LIMIT, || !us.established(THEIRS[0]));
    // What is no Hard Reset ends nothing between such two (RFC 8538 section 4); FRR says one, GoBGP does not.
    let why = us.last_error(THEIRS[0]);
    let hard = why.starts_with("received Cease: Hard Reset (6/9): ");
    assert!(agreed || !hard, "{why}");
    assert!(why.contains("Cease: Administrative Shutdown (6/2)"), "{why}");
    let kept = agreed && !hard;
    assert_eq!(us.learned().len(), if kept { FOREIGN.len() } else { 0 }, "after {why}");
    assert_eq!(us.peer(THEIRS[0]).retained, kept);
    us.stop();
}

/// It has no graceful restart, or asks for none: what it told is gone with its session, and comes again with the next.
fn nothing_is_kept(neighbor: &mut dyn Neighbor) {
    let us = up(neighbor, false, &OWN);
    wait_for("its routes", LIMIT, || us.learned().len() == 2);
    wait_for("our routes", LIMIT, || neighbor.learned().len() == 2);
    neighbor.kill();
    wait_for("the end of the session", LIMIT, || !us.established(THEIRS[0]));
    assert!(!us.peer(THEIRS[0]).retained);
    assert_eq!(us.learned().len(), 0, "gone with the session");

    neighbor.start();
    wait_for("the second session", LIMIT, || us.established(THEIRS[0]) && neighbor.established());
    wait_for("its routes", LIMIT, || us.learned().len() == 2);
    wait_for("our routes", LIMIT, || neighbor.learned().len() == 2);
    neighbor.shut();
    wait_for("the Cease", LIMIT, || !us.established(THEIRS[0]));
    assert_eq!(us.learned().len(), 0, "a Cease leaves nothing");
    let why = us.last_error(THEIRS[0]);
    assert!(why.starts_with("received Cease: Administrative Shutdown (6/2)"), "{why}");
    us.stop();
}

#[test]
fn bird_helps_us() {
    between(|namespace| they_help_us(&Bird::new(namespace, 0, THEIR_AS, &FOREIGN)));
}

#[test]
fn frr_helps_us() {
    between(|namespace| they_help_us(&Frr::new(namespace, 0, THEIR_AS, &FOREIGN)));
}

#[test]
fn we_help_bird() {
    between(|namespace| we_help_them(&mut Bird::new(namespace, 0, THEIR_AS, &FOREIGN)));
}

#[test]
fn we_help_frr() {
    between(|namespace| we_help_them(&mut Frr::new(namespace, 0, THEIR_AS, &FOREIGN)));
}

#[test]
fn gobgp_helps_us() {
    between(|namespace| they_help_us(&GoBgp::new(namespace, 0, THEIR_AS, &FOREIGN)));
}

#[test]
fn we_help_gobgp() {
    between(|namespace| we_help_them(&mut GoBgp::new(namespace, 0, THEIR_AS, &FOREIGN)));
}

#[test]
fn openbgpd_keeps_nothing_and_nothing_of_it_is_kept() {
    between(|namespace| nothing_is_kept(&mut OpenBgpd::new(namespace, 0, THEIR_AS, &FOREIGN)));
}
