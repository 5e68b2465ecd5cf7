//! A neighbour's configuration and status, for unit tests.

use std::time::Duration;

use routenet_core::bgp::speaker::{PeerConfig, PeerSource, PeerStatus, Said, State};
use routenet_core::model::ImportPolicy;

pub fn peer(name: &str) -> PeerConfig {
    PeerConfig::new(PeerSource::Config, name, Some(65000), ImportPolicy::All)
}

/// A neighbour at 192.0.2.2 without a session; how long ago, in seconds, somebody said why.
pub fn away(last_error: &str, refusal: Option<(u64, Said)>) -> PeerStatus {
    PeerStatus {
        address: "192.0.2.2".parse().unwrap(),
        config: peer("tor"),
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
