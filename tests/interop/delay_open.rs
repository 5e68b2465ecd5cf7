//! DelayOpen (RFC 4271 8.1.1) with others: who says his OPEN while our timer runs need not wait for it.

use crate::bird::Bird;
use crate::frr::Frr;
use crate::rig::{LIMIT, Namespace, Neighbor, THEIR_AS, THEIRS, Us, between, speaker};
use crate::support::wait_for;

const FOREIGN: [&str; 2] = ["198.51.100.0/24", "2001:db8:1::/48"];

fn waiting(delay: u16, passive: bool) -> Us {
    let mut config = speaker(0, THEIR_AS);
    let peer = config.peers.values_mut().next().expect("a neighbour");
    (peer.options.delay_open, peer.passive) = (delay, passive);
    Us::start(config, false)
}

fn comes_up(us: &Us, neighbor: &dyn Neighbor) {
    wait_for("the session", LIMIT, || us.established(THEIRS[0]) && neighbor.established());
    wait_for("its routes", LIMIT, || us.learned().len() == FOREIGN.len());
}

/// Its OPEN comes while our timer runs, whoever connects: the session does not wait for the timer.
fn it_is_faster(start: impl Fn(Namespace) -> Box<dyn Neighbor> + Send + Copy + 'static) {
    for passive in [false, true] {
        // Far longer than anybody waits here.
        between(move |namespace| {
            let us = waiting(240, passive);
            comes_up(&us, &*start(namespace));
            us.stop();
        });
    }
}

#[test]
fn bird_says_its_open_first() {
    it_is_faster(|namespace| Box::new(Bird::new(namespace, 0, THEIR_AS, &FOREIGN)));
}

#[test]
fn frr_says_its_open_first() {
    it_is_faster(|namespace| Box::new(Frr::new(namespace, 0, THEIR_AS, &FOREIGN)));
}
