//! What unit tests of filters begin from: a neighbour, its route, and what is asked of both ways.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use super::{Export, Filters, Import};
use crate::bgp::rib::path::{Candidate, Judged, Path, Source, own_attributes};
use crate::bgp::wire::NextHop;
use crate::model::ImportPolicy;
use crate::model::peering::PeerOptions;

pub const OURS: [u8; 4] = [192, 0, 2, 1];
/// The neighbour at hand.
pub const PEER: [u8; 4] = [192, 0, 2, 2];
pub const OTHER: [u8; 4] = [192, 0, 2, 3];
pub const CLUSTER: [u8; 4] = [192, 0, 2, 100];

/// Of the neighbour, without anything that need not be there.
pub fn path() -> Path {
    Path { attributes: own_attributes(), next_hop: NextHop { address: IpAddr::from(PEER), link_local: None } }
}

/// `from`: the neighbour that told it; `None`: our own.
pub fn candidate(from: Option<[u8; 4]>, external: bool, path: Path) -> Candidate {
    let source = Source { peer: from.map(IpAddr::from), external, session: 1, ..Source::own(PEER.into()) };
    Candidate { source: Arc::new(source), path: Arc::new(path), judged: Judged::AsReceived }
}

/// Over eBGP, all of it, without filters.
pub fn import(options: &PeerOptions) -> Import<'_> {
    static NO_FILTERS: LazyLock<Filters> = LazyLock::new(Filters::default);
    Import {
        filters: &NO_FILTERS,
        peer: PEER.into(),
        policy: ImportPolicy::All,
        pools: &[],
        local_as: [64512; 2],
        peer_as: 65001,
        options,
        router_id: OURS.into(),
        cluster_id: CLUSTER.into(),
        own_addresses: &[],
    }
}

/// Everything, with transit and without filters.
pub fn export(external: bool) -> Export {
    Export {
        peer: PEER.into(),
        external,
        transit: true,
        own_only: false,
        nothing: false,
        leaving: false,
        forwards: true,
        extended_next_hop: false,
        long_lived: false,
        local_as: 64512,
        options: PeerOptions::default(),
        cluster_id: CLUSTER.into(),
        self4: Some(OURS.into()),
        self6: None,
        filters: Filters::default(),
    }
}
