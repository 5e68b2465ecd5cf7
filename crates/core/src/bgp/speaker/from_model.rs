//! The speaker's configuration from what people and nodes write: the node's file, the store's nodes and BGPPeers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::config::{LinkPeer, ListenRange, PeerConfig, PeerSource, SpeakerConfig};
use super::ineffective::Twin;
use crate::bgp::filter::Filters;
use crate::bgp::mesh::{Class, Hold, Plan};
use crate::model::config::{DataPlane, NodeConfig};
use crate::model::peering::{PeerAs, PeerKind, PeerOptions};
use crate::model::{
    BfdSettings, BgpConfiguration, BgpFilter, BgpPeer, Family, ImportPolicy, InterfaceName, MeshLayout, Node,
};

/// The AS where nobody names one.
pub const DEFAULT_AS: u32 = 64512;

/// Builds the configuration of this node's speaker.
///
/// * The AS: the file's, else that of the BGPConfiguration named `default`, else 64512.
/// * Neighbours: those of the file, then `peers` that name this node or none (the caller has applied their selectors), then
///   the nodes of the mesh. One address is one neighbour: the first to name it has it.
/// * The mesh: the nodes that `mesh` names, held as it says ([`mesh_plan`]). Over IPv4 where both ends have it; one session
///   carries both families.
/// * Filters: those of the file, then `filters`; of two by one name the first.
pub fn speaker_config(
    config: &NodeConfig,
    nodes: &[Node],
    peers: &[BgpPeer],
    bgp_configurations: &[BgpConfiguration],
    filters: &[BgpFilter],
    mesh: &BTreeMap<String, Hold>,
) -> SpeakerConfig {
    let (address4, address6) = (own_address(config, nodes, Family::V4), own_address(config, nodes, Family::V6));
    let as_number = own_as(config, bgp_configurations);
    let mut speaker = SpeakerConfig {
        as_number,
        router_id: router_id(config, address4),
        cluster_id: config.bgp.cluster_id,
        address4,
        address6,
        forwards: config.data_plane != DataPlane::Off,
        hold_time: config.bgp.hold_time,
        connect_retry: Duration::from_secs(config.bgp.connect_retry.max(1).into()),
        restart_time: config.bgp.restart_time,
        restart_on_notification: config.bgp.restart_on_notification,
        long_lived_time: config.bgp.long_lived_time,
        peers: BTreeMap::new(),
        ranges: Vec::new(),
        links: Vec::new(),
        twins: Vec::new(),
    };
    for (list, source) in [(config.bgp.peers.as_slice(), PeerSource::Config), (peers, PeerSource::Peer)] {
        for peer in list.iter().filter(|peer| peer.node.as_ref().is_none_or(|node| *node == config.node)) {
            if let Some(interface) = &peer.interface {
                put_link(peer, as_number, source, interface, &mut speaker);
                continue;
            }
            let local_address = if peer.address.is_ipv4() { address4 } else { address6 };
            let explicit = explicit(peer, as_number, source, local_address);
            match speaker.peers.entry(peer.address) {
                Entry::Vacant(place) => drop(place.insert(explicit)),
                Entry::Occupied(place) => {
                    speaker.twins.extend(twin(peer, source, place.get(), peer.address.to_string()));
                }
            }
        }
    }
    for range in &config.bgp.ranges {
        let local_address = if range.peer.address.is_ipv4() { address4 } else { address6 };
        let template = explicit(&range.peer, as_number, PeerSource::Range, local_address);
        speaker.ranges.push(ListenRange { prefix: range.prefix, limit: range.limit, template });
    }
    for (node, hold) in nodes.iter().filter_map(|node| Some((node, *mesh.get(node.name.as_str())?))) {
        if let Some((address, local)) = mesh_addresses(node, address4, address6) {
            speaker.peers.entry(address).or_insert(mesh_peer(node, hold, local, config.bgp.bfd));
        }
    }
    // A neighbour that is this node itself would only collide with itself.
    speaker.peers.retain(|address, peer| {
        let own = Some(*address) == address4 || Some(*address) == address6;
        !own || peer.source != PeerSource::Node
    });
    let addresses: BTreeMap<String, IpAddr> =
        speaker.peers.iter().map(|(address, peer)| (peer.name.clone(), *address)).collect();
    let known = |name: &str| config.bgp.filters.iter().chain(filters).find(|filter| filter.name == name).cloned();
    let templates = speaker.ranges.iter_mut().map(|range| &mut range.template);
    let templates = templates.chain(speaker.links.iter_mut().map(|link| &mut link.peer));
    for peer in speaker.peers.values_mut().chain(templates) {
        peer.filters = Filters::new(&peer.options.filters, known, |name| addresses.get(name).copied());
    }
    speaker
}

/// This node's part of the mesh, by the store's nodes and the `default` BGPConfiguration.
pub fn mesh_plan(config: &NodeConfig, nodes: &[Node], bgp_configurations: &[BgpConfiguration]) -> Plan {
    let cluster = cluster(bgp_configurations);
    if !config.bgp.mesh || cluster.is_some_and(|cluster| !cluster.node_to_node_mesh) {
        return Plan::apart();
    }
    let class =
        Class { as_number: own_as(config, bgp_configurations), ipv4: own_address(config, nodes, Family::V4).is_some() };
    let others = nodes.iter().filter(|node| node.mesh);
    let others =
        others.map(|node| (node.name.as_str(), Class { as_number: node.as_number, ipv4: node.ipv4.is_some() }));
    let layout = cluster.map_or(MeshLayout::default(), |cluster| cluster.mesh);
    Plan::new((config.node.as_str(), class), others, layout)
}

fn cluster(bgp_configurations: &[BgpConfiguration]) -> Option<&BgpConfiguration> {
    bgp_configurations.iter().find(|configuration| configuration.name == "default")
}

fn own_as(config: &NodeConfig, bgp_configurations: &[BgpConfiguration]) -> u32 {
    config.bgp.as_number.or(cluster(bgp_configurations).and_then(|cluster| cluster.as_number)).unwrap_or(DEFAULT_AS)
}

fn own_address(config: &NodeConfig, nodes: &[Node], family: Family) -> Option<IpAddr> {
    let own = nodes.iter().find(|node| node.name == config.node);
    let given = config.given_address(family).or_else(|| own.and_then(|node| node.address(family)));
    given.or_else(|| listening(config, family))
}

/// The address that the node's file listens on, where it names one: what a speaker without a data plane is known by.
fn listening(config: &NodeConfig, family: Family) -> Option<IpAddr> {
    let addresses = config.bgp.listen.iter().map(|listen| listen.ip());
    addresses.filter(|address| !address.is_unspecified()).find(|address| Family::of(*address) == family)
}

/// Of two for one interface and address the first.
fn put_link(peer: &BgpPeer, own_as: u32, source: PeerSource, interface: &InterfaceName, speaker: &mut SpeakerConfig) {
    let address = match peer.address {
        IpAddr::V6(address) if !address.is_unspecified() => Some(address),
        _ => None,
    };
    match speaker.links.iter().find(|link| (&link.interface, link.address) == (interface, address)) {
        Some(link) => {
            let place = address.map_or(interface.to_string(), |address| format!("{address}%{interface}"));
            speaker.twins.extend(twin(peer, source, &link.peer, place));
        }
        None => {
            let peer = explicit(peer, own_as, source, None);
            speaker.links.push(LinkPeer { interface: interface.clone(), address, peer });
        }
    }
}

/// Who has no place beside another of the same list; the file is meant to go before the store.
fn twin(peer: &BgpPeer, source: PeerSource, by: &PeerConfig, place: String) -> Option<Twin> {
    (by.source == source).then(|| Twin { name: peer.name.clone(), by: by.name.clone(), source, place })
}

fn explicit(peer: &BgpPeer, own_as: u32, source: PeerSource, local_address: Option<IpAddr>) -> PeerConfig {
    PeerConfig {
        name: peer.name.clone(),
        source,
        port: peer.port,
        as_number: match peer.as_number {
            PeerAs::Number(number) => Some(number),
            PeerAs::Kind(PeerKind::Internal) => Some(own_as),
            PeerAs::Kind(PeerKind::External) => None,
        },
        passive: peer.passive,
        import: peer.import,
        hold_time: peer.hold_time,
        local_address,
        transport: peer.transport.clone(),
        options: peer.options.clone(),
        bfd: peer.bfd,
        filters: Filters::default(),
    }
}

/// From the mesh only what lies in the pools is accepted.
fn mesh_peer(node: &Node, hold: Hold, local: IpAddr, bfd: Option<BfdSettings>) -> PeerConfig {
    PeerConfig {
        port: node.bgp_port,
        local_address: Some(local),
        options: PeerOptions { reflector_client: hold == Hold::Client, ..PeerOptions::default() },
        bfd,
        ..PeerConfig::new(PeerSource::Node, node.name.to_string(), Some(node.as_number), ImportPolicy::Pools)
    }
}

/// The other node's address and ours, of the first family that both have.
fn mesh_addresses(node: &Node, own4: Option<IpAddr>, own6: Option<IpAddr>) -> Option<(IpAddr, IpAddr)> {
    let of = |family, own: Option<IpAddr>| Some((node.address(family)?, own?));
    of(Family::V4, own4).or_else(|| of(Family::V6, own6))
}

/// The file's, else the IPv4 address, else one made from the node's name: it has to be unique, and to stay.
fn router_id(config: &NodeConfig, address4: Option<IpAddr>) -> Ipv4Addr {
    match (config.bgp.router_id, address4) {
        (Some(id), _) => id,
        (None, Some(IpAddr::V4(address))) => address,
        _ => {
            let digits = crate::model::stable_hash([config.node.as_str()], 8);
            Ipv4Addr::from(u32::from_str_radix(&digits, 16).expect("8 hexadecimal digits").max(1))
        }
    }
}
