//! Ceases in both directions: shutdown with a text (RFC 9003) and more prefixes than are allowed (RFC 4486), as both sides
//! tell them.

use std::collections::BTreeMap;

use routenet_core::bgp::speaker::SpeakerConfig;
use routenet_core::model::peering::MaxPrefixes;

use crate::bird::Bird;
use crate::exabgp::ExaBgp;
use crate::frr::Frr;
use crate::gobgp::GoBgp;
use crate::openbgpd::OpenBgpd;
use crate::options::{up, with};
use crate::rig::{LIMIT, Namespace, Neighbor, THEIR_AS, THEIRS, Us, between, cidr, speaker};
use crate::support::wait_for;

const FOREIGN: [&str; 2] = ["198.51.100.0/24", "203.0.113.0/24"];
/// What we say when a node is drained.
const TEXT: &str = "the node is being drained";

/// Our shutdown in its words, with our text where it has it.
fn hears_our_shutdown(neighbor: impl FnOnce(Namespace) -> Box<dyn Neighbor> + Send + 'static, words: &'static [&str]) {
    let sent = between(move |namespace| {
        let neighbor = neighbor(namespace);
        let us = with(|_| {});
        wait_for("the session", LIMIT, || us.established(THEIRS[0]) && neighbor.established());
        wait_for("our routes", LIMIT, || neighbor.learned().len() == 2);
        us.peering.drain(std::time::Duration::ZERO);
        // Read at once: when it tries again it finds another reason.
        let mut said = String::new();
        wait_for(&format!("{words:?} in its words"), LIMIT, || {
            said = neighbor.last_error().to_lowercase();
            words.iter().all(|word| said.contains(word))
        });
        println!("{said}");
        wait_for("the end of the session", LIMIT, || !neighbor.established());
        wait_for("its table to be empty", LIMIT, || neighbor.learned().is_empty());
        us.stop();
    });
    let ceases = sent.iter().filter(|frame| frame.notification == Some((6, 2)) && frame.text == TEXT);
    assert!(ceases.count() > 0, "tshark reads the text: {sent:#?}");
}

#[test]
fn bird_hears_our_shutdown() {
    hears_our_shutdown(
        |namespace| Box::new(Bird::new(namespace, 0, THEIR_AS, &FOREIGN)),
        &["received: administrative shutdown", TEXT],
    );
}

#[test]
fn frr_hears_our_shutdown() {
    hears_our_shutdown(
        |namespace| Box::new(Frr::new(namespace, 0, THEIR_AS, &FOREIGN)),
        &["cease/administrative shutdown", TEXT],
    );
}

#[test]
fn gobgp_hears_our_shutdown() {
    hears_our_shutdown(|namespace| Box::new(GoBgp::new(namespace, 0, THEIR_AS, &FOREIGN)), &["subcode=2", TEXT]);
}

#[test]
fn openbgpd_hears_our_shutdown() {
    hears_our_shutdown(
        |namespace| Box::new(OpenBgpd::new(namespace, 0, THEIR_AS, &FOREIGN)),
        &["administratively down", TEXT],
    );
}

/// ExaBGP 4.2.21 fails over any text (it formats bytes with a string), so tshark alone reads it; what has none it tells.
#[test]
fn exabgp_hears_our_cease() {
    hears_our_shutdown(
        |namespace| Box::new(ExaBgp::new(namespace, 0, THEIR_AS, &FOREIGN)),
        &["can not decode update message"],
    );
    between(|namespace| {
        let exabgp = ExaBgp::new(namespace, 0, THEIR_AS, &FOREIGN);
        let us = with(|_| {});
        up(&us, &exabgp);
        us.peering.configure(SpeakerConfig { peers: BTreeMap::new(), ..speaker(0, THEIR_AS) });
        wait_for("our Cease in its words", LIMIT, || exabgp.last_error().contains("Cease / Peer De-configured"));
        us.stop();
    });
}

#[test]
fn who_sends_more_than_it_may_hears_a_cease() {
    let bound = |limit, restart| Some(MaxPrefixes { limit, warning: 80, restart });
    between(move |namespace| {
        let bird = Bird::new(namespace, 0, THEIR_AS, &["198.51.100.0/24", "203.0.113.0/24"]);
        let us = with(|peer| peer.options.max_prefixes = bound(1, None));
        wait_for("our Cease", LIMIT, || us.last_error(THEIRS[0]).contains("(6/1)"));
        wait_for("our Cease in its words", LIMIT, || {
            bird.last_error().contains("Received: Maximum number of prefixes")
        });
        assert_eq!(us.learned().len(), 0);
        assert!(us.last_error(THEIRS[0]).contains("Maximum Number of Prefixes"), "{}", us.last_error(THEIRS[0]));
        // It is not tried again before somebody resets it, whatever the neighbour does.
        assert_eq!(us.peer(THEIRS[0]).sessions, 1);
        us.stop();
    });
    between(move |namespace| {
        let frr = Frr::new(namespace, 0, THEIR_AS, &["198.51.100.0/24", "203.0.113.0/24"]);
        let us = with(|peer| peer.options.max_prefixes = bound(1, Some(1)));
        // Tried again after its time, and ended again.
        wait_for("a second session", LIMIT, || us.peer(THEIRS[0]).sessions > 1);
        assert!(us.last_error(THEIRS[0]).contains("(6/1)"), "{}", us.last_error(THEIRS[0]));
        let mut config = speaker(0, THEIR_AS);
        // A bound that is not passed is none that is felt; FRR tells us our own route as well.
        config.peers.values_mut().for_each(|peer| peer.options.max_prefixes = bound(3, Some(1)));
        us.peering.configure(config);
        wait_for("its routes", LIMIT, || us.established(THEIRS[0]) && us.learned().len() == 2);
        assert!(frr.established());
        us.stop();
    });
}

fn hears_our_bound(neighbor: &dyn Neighbor, words: &str) {
    let us = with(|peer| peer.options.max_prefixes = Some(MaxPrefixes { limit: 1, warning: 80, restart: None }));
    wait_for("our Cease", LIMIT, || us.last_error(THEIRS[0]).contains("(6/1)"));
    wait_for("our Cease in its words", LIMIT, || neighbor.last_error().to_lowercase().contains(words));
    assert_eq!((us.learned().len(), us.peer(THEIRS[0]).sessions), (0, 1));
    us.stop();
}

#[test]
fn gobgp_and_openbgpd_hear_that_they_send_too_much() {
    between(|namespace| hears_our_bound(&GoBgp::new(namespace, 0, THEIR_AS, &FOREIGN), "code=6"));
    between(|namespace| hears_our_bound(&OpenBgpd::new(namespace, 0, THEIR_AS, &FOREIGN), "max-prefix"));
}

fn its_cease(us: &Us) {
    // Its last error is soon that it takes no connection for a while.
    let said = || us.neighbor(THEIRS[0]).last_received.map(|(_, words)| words).unwrap_or_default();
    wait_for("its Cease", LIMIT, || said().contains("Cease: Maximum Number of Prefixes Reached (6/1)"));
}

#[test]
fn a_bound_of_bird_is_told_in_words() {
    between(|namespace| {
        let bird = Bird::new(namespace, 0, THEIR_AS, &FOREIGN);
        bird.reconfigure("ipv4 { import all;", "ipv4 { receive limit 1 action disable; import all;");
        let us = with(|_| {});
        up(&us, &bird);
        us.announce(&["10.65.1.0/26"]);
        its_cease(&us);
        us.stop();
    });
}

/// FRR looks at its bound when it is told a prefix, and counts one once zebra has resolved its next hop: one that is told
/// with another passes the bound unseen, and the next one ends the session.
#[test]
fn a_bound_of_frr_is_told_in_words() {
    between(|namespace| {
        let bound = format!("  neighbor {} maximum-prefix 1\n", namespace.ours[0]);
        let frr = Frr::beside(namespace, 0, THEIR_AS, &FOREIGN, "", &bound);
        let us = with(|_| {});
        up(&us, &frr);
        for more in ["10.65.1.0/26", "10.65.2.0/26"] {
            if us.established(THEIRS[0]) {
                us.announce(&[more]);
                wait_for("it to count or to complain", LIMIT, || {
                    !us.established(THEIRS[0]) || frr.learned().contains_key(&cidr(more))
                });
            }
        }
        its_cease(&us);
        us.stop();
    });
}

#[test]
fn a_bound_of_gobgp_is_told_in_words() {
    between(|namespace| {
        let families = "[neighbors.afi-safis.mp-graceful-restart.config]";
        let bound = format!("[neighbors.afi-safis.prefix-limit.config]\nmax-prefixes = 1\n{families}");
        let _gobgp = GoBgp::with(namespace, 0, THEIR_AS, &FOREIGN, &[(families, &bound)], "");
        let us = with(|_| {});
        us.announce(&["10.65.1.0/26"]);
        its_cease(&us);
        us.stop();
    });
}

#[test]
fn a_bound_of_openbgpd_is_told_in_words() {
    between(|namespace| {
        let _openbgpd = OpenBgpd::with(namespace, 0, THEIR_AS, &FOREIGN, "max-prefix 1");
        let us = with(|_| {});
        us.announce(&["10.65.1.0/26"]);
        its_cease(&us);
        us.stop();
    });
}
