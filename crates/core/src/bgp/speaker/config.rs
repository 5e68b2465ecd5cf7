//! What the speaker is told: itself and its neighbours.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::ineffective::Twin;
use crate::bgp::filter::Filters;
use crate::bgp::session::Settings;
use crate::model::peering::PeerOptions;
use crate::model::{BfdSettings, BgpTransport, Cidr, ImportPolicy, InterfaceName};

/// The speaker's whole configuration; a change of it resets only the sessions that it touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerConfig {
    pub as_number: u32,
    pub router_id: Ipv4Addr,
    /// What a route reflector signs with (RFC 4456); `None`: the router id.
    pub cluster_id: Option<Ipv4Addr>,
    /// This node's addresses: next hop self where a session's own address is of the other family.
    pub address4: Option<IpAddr>,
    pub address6: Option<IpAddr>,
    /// Whether this machine forwards what it announces. A speaker without a data plane tells internal neighbours the next hops
    /// of others as they are, and IPv6 routes over IPv4 by way of an IPv4-mapped address where there is no other of ours: no
    /// packet could go that way.
    pub forwards: bool,
    /// Seconds; 0 or at least 3. What we offer where a neighbour's configuration names none.
    pub hold_time: u16,
    pub connect_retry: Duration,
    /// Seconds, at most 4095 (RFC 4724); 0 turns graceful restart off, in both roles.
    pub restart_time: u16,
    /// Whether graceful restart holds over NOTIFICATIONs (RFC 8538).
    pub restart_on_notification: bool,
    /// Seconds that routes are kept beyond the restart time (RFC 9494); 0: not at all.
    pub long_lived_time: u32,
    /// By address: it is what tells neighbours apart when they connect.
    pub peers: BTreeMap<IpAddr, PeerConfig>,
    /// Whoever connects from one of these is a neighbour, too.
    pub ranges: Vec<ListenRange>,
    /// Those that are known by an interface: [`SpeakerConfig::placed`] makes them `peers` while they have an address.
    pub links: Vec<LinkPeer>,
    /// Neighbours that are none, since others of the same list have their places: nothing runs by them.
    pub twins: Vec<Twin>,
}

/// A neighbour that is known by an interface of this machine, which knows where it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPeer {
    pub interface: InterfaceName,
    /// Its link-local address; `None`: whoever announces itself there.
    pub address: Option<Ipv6Addr>,
    /// But for our end.
    pub peer: PeerConfig,
}

/// Neighbours that are known by where they connect from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenRange {
    pub prefix: Cidr,
    /// How many there may be at a time.
    pub limit: u32,
    /// What each one is, but for its name.
    pub template: PeerConfig,
}

impl Default for SpeakerConfig {
    /// No neighbours, the private AS that Calico's users know, and the timers of a node's configuration file.
    fn default() -> Self {
        SpeakerConfig {
            as_number: 64512,
            router_id: Ipv4Addr::UNSPECIFIED,
            cluster_id: None,
            address4: None,
            address6: None,
            forwards: true,
            hold_time: 90,
            connect_retry: Duration::from_secs(5),
            restart_time: 120,
            restart_on_notification: false,
            long_lived_time: 0,
            peers: BTreeMap::new(),
            ranges: Vec::new(),
            links: Vec::new(),
            twins: Vec::new(),
        }
    }
}

/// Where a neighbour's configuration came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerSource {
    /// The node-to-node mesh.
    Node,
    /// A BGPPeer of the store.
    Peer,
    /// The node's own file.
    Config,
    /// A range of the node's own file.
    Range,
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The BGPPeer's or the node's name.
    pub name: String,
    pub source: PeerSource,
    /// Where it listens.
    pub port: u16,
    /// `None`: any other than ours, by its OPEN.
    pub as_number: Option<u32>,
    /// We do not connect to it, it connects to us.
    pub passive: bool,
    pub import: ImportPolicy,
    /// Seconds; `None`: the speaker's.
    pub hold_time: Option<u16>,
    /// Our end of connections that we open; `None`: the kernel chooses.
    pub local_address: Option<IpAddr>,
    /// The driver's business; a change begins the session anew.
    pub transport: BgpTransport,
    pub options: PeerOptions,
    /// The driver's business, who tells of a failure by [`super::Input::BfdDown`].
    pub bfd: Option<BfdSettings>,
    /// Those that `options.filters` names.
    pub filters: Filters,
}

impl SpeakerConfig {
    /// Whether a neighbour may keep our routes while we are away.
    pub(super) fn restarts(&self) -> bool {
        let of_peers = self.peers.values().any(|peer| peer.options.long_lived_time.is_some_and(|seconds| seconds > 0));
        self.restart_time > 0 || self.long_lived_time > 0 || of_peers
    }

    pub(super) fn cluster_id(&self) -> Ipv4Addr {
        self.cluster_id.unwrap_or(self.router_id)
    }

    /// The configuration with the neighbours on links where they are: `place` answers the address of one and ours on its
    /// link, both with the link ([`crate::model::scope`]), while there are any; those that are nowhere stay in `links`. An
    /// address that is written down goes before one that was found.
    pub fn placed(&self, place: impl Fn(&LinkPeer) -> Option<(IpAddr, IpAddr)>) -> SpeakerConfig {
        let mut placed = SpeakerConfig { links: Vec::new(), ..self.clone() };
        let (written, found): (Vec<_>, Vec<_>) = self.links.iter().partition(|link| link.address.is_some());
        for link in written.into_iter().chain(found) {
            match place(link) {
                Some((address, local)) => {
                    let peer = || PeerConfig { local_address: Some(local), ..link.peer.clone() };
                    placed.peers.entry(address).or_insert_with(peer);
                }
                None => placed.links.push(link.clone()),
            }
        }
        let addresses: BTreeMap<String, IpAddr> =
            placed.peers.iter().map(|(address, peer)| (peer.name.clone(), *address)).collect();
        for peer in placed.peers.values_mut().chain(placed.ranges.iter_mut().map(|range| &mut range.template)) {
            peer.filters = peer.filters.with_sources(|name| addresses.get(name).copied());
        }
        placed
    }

    /// What the session with this neighbour runs by.
    pub(super) fn settings(&self, peer: &PeerConfig) -> Settings {
        Settings {
            local_as: peer.options.local_as.unwrap_or(self.as_number),
            router_id: self.router_id,
            own_as: self.as_number,
            peer_as: peer.as_number,
            hold_time: peer.hold_time.unwrap_or(self.hold_time),
            connect_retry: self.connect_retry,
            passive: peer.passive,
            delay_open: Duration::from_secs(peer.options.delay_open.into()),
            restart_time: self.restart_time,
            restart_on_notification: self.restart_on_notification,
            long_lived_time: peer.options.long_lived_time.unwrap_or(self.long_lived_time),
            role: peer.options.role,
            role_strict: peer.options.role_strict,
            extended_next_hop: !peer.options.classic_next_hop,
            add_paths: peer.options.add_paths,
        }
    }
}

impl PeerConfig {
    /// One with everything else as it is where nobody says anything: on port 179, by the speaker's hold time, from an
    /// address that the kernel chooses.
    pub fn new(
        source: PeerSource,
        name: impl Into<String>,
        as_number: Option<u32>,
        import: ImportPolicy,
    ) -> PeerConfig {
        PeerConfig {
            name: name.into(),
            source,
            port: 179,
            as_number,
            passive: false,
            import,
            hold_time: None,
            local_address: None,
            transport: BgpTransport::default(),
            options: PeerOptions::default(),
            bfd: None,
            filters: Filters::default(),
        }
    }

    /// RFC 8212 the other way round: `import: all` opens an eBGP neighbour in both directions.
    pub(super) fn transit(&self) -> bool {
        self.import == ImportPolicy::All
    }
}
