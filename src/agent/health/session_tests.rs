//! What keeps a session away, in words.

use routenet_core::model::BgpTransport;

use super::*;
use crate::agent::peering::test_support::away;

#[test]
fn the_cause_is_named_behind_what_happened_last() {
    let wrong_as = Said::Sent(Notification::bad_peer_as());
    let (what, mend) = missing(&away("the neighbour closed the connection", Some((57, wrong_as.clone()))));
    assert_eq!(
        what,
        "no session with tor (192.0.2.2), Active: the neighbour closed the connection; before that: sent OPEN Message \
         Error: Bad Peer AS (2/2)"
    );
    assert_eq!(mend, "it says another AS than 65000: mend the AS that it is given here, or its own");

    let (what, _) = missing(&away("sent OPEN Message Error: Bad Peer AS (2/2)", Some((1, wrong_as.clone()))));
    assert!(what.ends_with("Active: sent OPEN Message Error: Bad Peer AS (2/2)"), "once is enough: {what}");

    let (what, mend) = missing(&away("no answer", Some((601, wrong_as))));
    assert!(what.ends_with("Active: no answer") && mend.contains("ping 192.0.2.2"), "too long ago: {what} {mend}");
}

#[test]
fn a_hard_reset_is_answered_by_what_it_holds() {
    let bound = Notification::new(Notification::CEASE, cease::MAXIMUM_PREFIXES, []);
    let (_, mend) = missing(&away("x", Some((1, Said::Sent(Notification::hard_reset(&bound))))));
    assert!(mend.contains("`routectl bgp reset tor`"), "{mend}");
    let (_, mend) = missing(&away("x", Some((1, Said::Received(Notification::hard_reset(&bound))))));
    assert!(mend.contains("raise its bound there"), "{mend}");
}

#[test]
fn what_protects_a_session_is_named_only_where_it_is_asked_for() {
    let mut peer = away("connect to 192.0.2.2:179: no answer within 5s", None);
    let (_, mend) = missing(&peer);
    assert!(!mend.contains("password") && !mend.contains("TTL") && !mend.contains("passive"), "{mend}");
    peer.config.passive = true;
    peer.config.transport = BgpTransport { password_file: Some("/etc/pw".into()), ttl_security: Some(1) };
    let (_, mend) = missing(&peer);
    for part in ["`passive`", "in /etc/pw", "`ttlSecurity: 1` takes"] {
        assert!(mend.contains(part), "{part}: {mend}");
    }
}
