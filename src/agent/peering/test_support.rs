//! A neighbour's configuration, for unit tests.

use routenet_core::bgp::speaker::{PeerConfig, PeerSource};
use routenet_core::model::ImportPolicy;

pub fn peer(name: &str) -> PeerConfig {
    PeerConfig::new(PeerSource::Config, name, Some(65000), ImportPolicy::All)
}
