//! A neighbour's configuration, for unit tests.

use routenet_core::bgp::speaker::{PeerConfig, PeerSource};
use routenet_core::model::ImportPolicy;

pub fn peer(name: &str) -> PeerConfig {
    PeerConfig {
        name: name.to_string(),
        source: PeerSource::Config,
        port: 179,
        as_number: Some(65000),
        passive: false,
        import: ImportPolicy::All,
        hold_time: None,
        local_address: None,
        transport: Default::default(),
        options: Default::default(),
        bfd: None,
        filters: Default::default(),
    }
}
