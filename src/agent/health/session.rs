//! A neighbour without a session, in words: what keeps it away, and what mends that.

use std::time::Duration;

use routenet_core::bgp::speaker::{PeerStatus, Said};
use routenet_core::bgp::wire::{Notification, cease};

use crate::plane::interfaces::words;

/// What was said longer ago explains nothing: no speaker waits for longer after an error.
const MEMORY: Duration = Duration::from_secs(600);

/// What there is to be told, and the mend.
pub(super) fn missing(peer: &PeerStatus) -> (String, String) {
    let said = peer.refusal.as_ref().filter(|(ago, _)| *ago <= MEMORY);
    let mut what = format!("no session with {} ({}), {}", peer.config.name, words(peer.address), peer.state);
    if let Some((_, why)) = &peer.last_error {
        what += &format!(": {why}");
    }
    // Without its age: a text that changes every second would be published every second.
    if let Some((_, said)) = said {
        let said = said.to_string();
        if peer.last_error.as_ref().is_none_or(|(_, why)| !why.starts_with(&said)) {
            what += &format!("; before that: {said}");
        }
    }
    let mend = said.and_then(|(_, said)| answer(peer, said)).unwrap_or_else(|| reach(peer));
    (what, mend)
}

/// What mends that which a NOTIFICATION names (RFC 4271 section 6, RFC 4486, RFC 9234).
fn answer(peer: &PeerStatus, said: &Said) -> Option<String> {
    let (ours, notification) = match said {
        Said::Sent(notification) => (true, notification),
        Said::Received(notification) => (false, notification),
    };
    // A Hard Reset (RFC 8538) has the reason within.
    let inner = notification.hard_reset_reason();
    let reason = inner.as_ref().unwrap_or(notification);
    let config = &peer.config;
    Some(match (reason.code, reason.subcode, ours) {
        (Notification::OPEN_ERROR, 2, true) => {
            let number = config.as_number.map_or("one that is not ours".to_string(), |number| number.to_string());
            format!("it says another AS than {number}: mend the AS that it is given here, or its own")
        }
        (Notification::OPEN_ERROR, 2, false) => {
            "it expects another AS of this node: mend that there, or say its `localASNumber` here".to_string()
        }
        (Notification::OPEN_ERROR, 3, _) => "give one of the two another router id (`bgp.routerId`)".to_string(),
        (Notification::OPEN_ERROR, 6, _) => "have the two agree on a hold time (`holdTime`)".to_string(),
        (Notification::OPEN_ERROR, 11, _) => "give both sides roles that fit each other (`role` here)".to_string(),
        (Notification::CEASE, cease::MAXIMUM_PREFIXES, true) => format!(
            "have it announce less or raise its `maxPrefixes.limit`, then `routectl bgp reset {}`, unless \
             `maxPrefixes.restart` tries again",
            config.name
        ),
        (Notification::CEASE, cease::MAXIMUM_PREFIXES, false) => {
            "it takes no more prefixes of this node: raise its bound there, or tell it less (`filters`)".to_string()
        }
        (
            Notification::CEASE,
            cease::ADMINISTRATIVE_SHUTDOWN | cease::PEER_DECONFIGURED | cease::CONNECTION_REJECTED,
            false,
        ) => "it is shut down there, or does not have this node as a neighbour: see its configuration".to_string(),
        _ => return None,
    })
}

/// Nobody has said what is wrong: what may be.
fn reach(peer: &PeerStatus) -> String {
    let config = &peer.config;
    let mut mend = format!(
        "see whether it runs and can be reached (ping {}), and has this node, with its address and AS, as a neighbour",
        words(peer.address)
    );
    if config.passive {
        mend += "; it has to connect, since it is `passive` here";
    }
    if let Some(file) = &config.transport.password_file {
        mend += &format!("; both need the same password, here in {file}: what is signed with another is not answered");
    }
    if let Some(hops) = config.transport.ttl_security {
        mend += &format!("; `ttlSecurity: {hops}` takes what was sent with TTL 255 and came over {hops} hops at most");
    }
    mend
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
