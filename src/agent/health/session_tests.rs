//! What keeps a session away, in words.

use std::time::Duration;

use routenet_core::bgp::filter::Filters;
use routenet_core::bgp::speaker::{PeerConfig, PeerSource, Said, State};
use routenet_core::model::peering::PeerOptions;
use routenet_core::model::{BgpTransport, ImportPolicy};

use super::*;

pub fn away(last_error: &str, refusal: Option<(u64, Said)>) -> PeerStatus {
    PeerStatus {
        address: "192.0.2.2".parse().unwrap(),
        config: PeerConfig {
            name: "tor".to_string(),
            source: PeerSource::Peer,
            port: 179,
            as_number: Some(65000),
            passive: false,
            import: ImportPolicy::All,
            hold_time: None,
            local_address: None,
            transport: BgpTransport::default(),
            options: PeerOptions::default(),
            bfd: None,
            filters: Filters::default(),
        },
        state: State::Active,
        lasting: Duration::from_secs(60),
        as_number: Some(65000),
        router_id: None,
        hold_time: None,
        capabilities: Vec::new(),
        received: 0,
        accepted: 0,
        received_most: 0,
        advertised: 0,
        sessions: 0,
        retained: false,
        stale: None,
        malformed: 0,
        last_malformed: None,
        last_error: Some((Duration::from_secs(1), last_error.to_string())),
        refusal: refusal.map(|(ago, said)| (Duration::from_secs(ago), said)),
    }
}

#[test]
fn the_cause_is_named_behind_what_happened_last() {
    let wrong_as = Said::Sent(Notification::bad_peer_as());
    let (what, mend) = missing(&away("the neighbour closed the connection", Some((57, wrong_as.clone()))));
    assert_eq!(
        what,
        "no session with tor (192.0.2.2), Active: the neighbour closed the connection; 57 s ago: sent OPEN Message \
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
