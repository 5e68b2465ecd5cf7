//! Node, BGPPeer and BGPConfiguration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use super::bfd::read_bfd;
use super::fields::{At, Fields, optional};
use super::object::Meta;
use super::peering::read_options;
use super::pool::read_selector;
use super::suggest::did_you_mean;
use crate::model::peering::PeerAs;
use crate::model::scope::unscoped;
use crate::model::{BgpConfiguration, BgpPeer, BgpTransport, ImportPolicy, InterfaceName, MeshLayout, Node, NodeName};

/// The AS of a node where nobody names one (RFC 6996, as in Calico).
pub const AS_NUMBER: u32 = 64512;

/// The port of BGP (RFC 4271).
pub const BGP_PORT: u16 = 179;

const IMPORT: [(&str, ImportPolicy); 3] =
    [("none", ImportPolicy::None), ("pools", ImportPolicy::Pools), ("all", ImportPolicy::All)];

pub fn import_policy(at: &At<'_>) -> Option<ImportPolicy> {
    at.one_of("import policy", &IMPORT)
}

pub fn import_word(import: ImportPolicy) -> &'static str {
    match import {
        ImportPolicy::None => "none",
        ImportPolicy::Pools => "pools",
        ImportPolicy::All => "all",
    }
}

/// The AS of a neighbour: a number, or what it is to ours.
pub fn read_peer_as(at: &At<'_>) -> Option<PeerAs> {
    match at.word("an AS number, `internal` or `external`")? {
        "internal" => Some(PeerAs::INTERNAL),
        "external" => Some(PeerAs::EXTERNAL),
        text if text.starts_with(|first: char| first.is_ascii_digit()) => read_as_number(at).map(PeerAs::Number),
        text => at.fail(
            format!("\"{text}\" is no AS: expected an AS number, `internal` (ours) or `external` (any other)"),
            did_you_mean(text, ["internal", "external"]),
        ),
    }
}

/// For YAML.
pub fn peer_as_value(of: PeerAs) -> serde_json::Value {
    match of {
        PeerAs::Number(number) => number.into(),
        PeerAs::Kind(_) => of.to_string().into(),
    }
}

/// An AS number: plain, or dotted (RFC 5396). 0 is reserved (RFC 7607), as is the last one (RFC 7300).
pub fn read_as_number(at: &At<'_>) -> Option<u32> {
    let expectation = "an AS number from 1 to 4294967294";
    let text = at.word(expectation)?;
    let number = match text.split_once('.') {
        Some((high, low)) => match (high.parse::<u16>(), low.parse::<u16>()) {
            (Ok(high), Ok(low)) => Some(u32::from(high) << 16 | u32::from(low)),
            _ => None,
        },
        None => text.parse::<u32>().ok(),
    };
    match number {
        Some(number) if number != 0 && number != u32::MAX => Some(number),
        _ => at.fail(format!("\"{text}\" is not an AS number: expected {expectation}"), None),
    }
}

/// A hold time: 0 (none runs) or at least 3 seconds (RFC 4271, section 4.2).
pub fn read_hold_time(at: &At<'_>) -> Option<u16> {
    match at.integer(0, 65535)? as u16 {
        seconds @ (1 | 2) => {
            at.fail(format!("a hold time of {seconds} s is too short: expected 0 or at least 3"), None)
        }
        seconds => Some(seconds),
    }
}

/// An address, or an address in its subnet as Calico writes it; the length says nothing to us.
fn read_node_address<A: std::str::FromStr>(at: &At<'_>, family: &str) -> Option<A> {
    let text = at.word(&format!("an {family} address"))?;
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, length.parse::<u8>().is_ok_and(|length| length <= 128)),
        None => (text, true),
    };
    match address.parse::<A>() {
        Ok(address) if length => Some(address),
        _ => at.fail(format!("\"{text}\" is not an {family} address"), None),
    }
}

pub fn read_node(meta: Meta, mut spec: Fields<'_>) -> Option<Node> {
    spec.ignore(&["addresses", "orchRefs"]);
    spec.not_built("wireguard", &[]);
    spec.not_built("ipv4VXLANTunnelAddr", &[]);
    spec.not_built("ipv6VXLANTunnelAddr", &[]);
    spec.not_built("vxlanTunnelMACAddr", &[]);
    spec.not_built("vxlanTunnelMACAddrV6", &[]);
    let incarnation = spec.take("incarnation").map(|at| at.text().map(str::to_string));
    let bgp = spec.required("bgp", "the node's addresses").and_then(|at| at.fields());
    spec.finish();
    let mut bgp = bgp?;
    bgp.not_built("ipv4IPIPTunnelAddr", &[]);
    bgp.not_built("routeReflectorClusterID", &[]);
    bgp.not_built("interfaceAddress", &[]);
    let ipv4 = bgp.take("ipv4Address").map(|at| read_node_address::<Ipv4Addr>(&at, "IPv4"));
    let ipv6 = bgp.take("ipv6Address").map(|at| read_node_address::<Ipv6Addr>(&at, "IPv6"));
    let as_number = bgp.take("asNumber").map(|at| read_as_number(&at));
    let router_id = bgp.take("routerID").map(|at| read_router_id(&at));
    let port = bgp.take("listenPort").map(|at| at.integer(1, 65535));
    let mesh = bgp.take("nodeToNodeMesh").map(|at| at.boolean());
    let place = bgp.at().clone();
    bgp.finish();
    let (ipv4, ipv6) = (optional(ipv4)?, optional(ipv6)?);
    if ipv4.is_none() && ipv6.is_none() {
        return place.fail("expected ipv4Address or ipv6Address", None);
    }
    let Some(router_id) = optional(router_id)?.or(ipv4) else {
        return place.fail_in("routerID", "missing: a node without an IPv4 address must be given one", None);
    };
    Some(Node {
        name: NodeName::new(meta.name).ok()?,
        labels: meta.labels,
        ipv4,
        ipv6,
        as_number: as_number.unwrap_or(Some(AS_NUMBER))?,
        router_id,
        bgp_port: port.unwrap_or(Some(u64::from(BGP_PORT)))? as u16,
        mesh: mesh.unwrap_or(Some(true))?,
        incarnation: incarnation.unwrap_or_else(|| Some(String::new()))?,
    })
}

/// A BGP identifier: not 0 (RFC 6286).
pub fn read_router_id(at: &At<'_>) -> Option<Ipv4Addr> {
    let text = at.word("a router id such as 192.0.2.1")?;
    match text.parse::<Ipv4Addr>() {
        Ok(id) if !id.is_unspecified() => Some(id),
        _ => at
            .fail(format!("\"{text}\" is not a router id: expected four numbers such as 192.0.2.1, not 0.0.0.0"), None),
    }
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:1179`, `2001:db8::1`, `[2001:db8::1]:1179`; a link-local one
/// with its interface: `fe80::1%eth0`, `[fe80::1%eth0]:1179`.
fn read_peer_address(at: &At<'_>) -> Option<(PeerPlace, u16)> {
    let text = at.word("an address")?;
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    let with_port = in_brackets.or_else(|| text.rsplit_once(':').filter(|_| text.parse::<SocketAddrV4>().is_ok()));
    let (address, port) = match with_port {
        Some((address, port)) => (address, port.parse().unwrap_or(0)),
        None => (text, BGP_PORT),
    };
    match port {
        0 => at
            .fail(format!("\"{text}\" is not the address of a peer: expected ADDRESS, IPV4:PORT or [IPV6]:PORT"), None),
        port => Some((read_place(at, address)?, port)),
    }
}

/// The address of a peer, with the interface of a link-local one.
pub type PeerPlace = (IpAddr, Option<InterfaceName>);

/// `192.0.2.1`, `2001:db8::1`, `fe80::1%eth0`.
pub fn read_place(at: &At<'_>, text: &str) -> Option<PeerPlace> {
    let (address, interface) = match text.split_once('%') {
        Some((address, interface)) => (address, Some(interface)),
        None => (text, None),
    };
    let address = match address.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() && !address.is_multicast() => unscoped(address).0,
        _ => {
            let such = "192.0.2.1, 2001:db8::1 or fe80::1%eth0";
            return at.fail(format!("\"{text}\" is not the address of a peer: expected one such as {such}"), None);
        }
    };
    let link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    match interface {
        Some(name) if link_local => match InterfaceName::new(name) {
            Ok(name) => Some((address, Some(name))),
            Err(error) => at.fail(format!("\"{text}\": {error}"), None),
        },
        Some(_) => at.fail(
            format!("\"{text}\" is no link-local address, and only those are on an interface"),
            Some(format!("write {address}")),
        ),
        None if link_local => at.fail(
            format!("{address} may be on any link: its interface is missing"),
            Some(format!("write {address}%eth0, with the interface's name")),
        ),
        None => Some((address, None)),
    }
}

/// `interface`: whoever announces itself on that link. It stands in the place of the address.
pub fn read_unnumbered(fields: &mut Fields<'_>, address: &'static str) -> Option<Option<PeerPlace>> {
    let Some(at) = fields.take("interface") else { return Some(None) };
    if let Some(address_at) = fields.take(address) {
        let mend = format!("write {address}: fe80::1%eth0 for a neighbour whose address is known, and no interface");
        return address_at.fail(format!("{address} and interface exclude each other"), Some(mend));
    }
    let name = at.parse("the name of an interface", InterfaceName::new)?;
    Some(Some((IpAddr::V6(Ipv6Addr::UNSPECIFIED), Some(name))))
}

pub fn read_peer(name: &str, mut spec: Fields<'_>) -> Option<BgpPeer> {
    for field in ["peerSelector", "localWorkloadSelector", "reachableBy"] {
        spec.not_built(field, &[]);
    }
    if let Some(at) = spec.take("password") {
        let mend = "write it into a file on the nodes, and `passwordFile: /PATH` here";
        at.fail::<()>("there is no Secret to take a password from", Some(mend.to_string()));
    }
    spec.not_built("sourceAddress", &["UseNodeIP"]);
    spec.not_built("keepOriginalNextHop", &["false"]);
    spec.not_built("maxRestartTime", &[]);
    spec.not_built("failureDetectionMode", &["None"]);
    spec.not_built("restartMode", &["GracefulRestart"]);
    spec.not_built("reversePeering", &["Auto"]);
    let node = spec.take("node").map(|at| at.parse("the name of a node", NodeName::new));
    let node_selector = spec.take("nodeSelector").map(|at| {
        if matches!(node, Some(Some(_))) {
            return at.fail("node and nodeSelector exclude each other", Some("remove one of them".to_string()));
        }
        read_selector(&at)
    });
    let place = match read_unnumbered(&mut spec, "peerIP") {
        Some(Some(place)) => Some((place, BGP_PORT)),
        Some(None) => spec.required("peerIP", "the address of the peer").and_then(|at| read_peer_address(&at)),
        None => None,
    };
    let as_number = spec.required("asNumber", "the AS number of the peer").and_then(|at| read_peer_as(&at));
    let passive = spec.take("passive").map(|at| at.boolean());
    let import = spec.take("import").map(|at| import_policy(&at));
    let hold_time = spec.take("holdTime").map(|at| read_hold_time(&at));
    let transport = read_transport(&mut spec);
    let options = read_options(&mut spec, as_number);
    let bfd = spec.take("bfd").map(|at| read_bfd(&at));
    spec.finish();
    let ((address, interface), port) = place?;
    Some(BgpPeer {
        name: name.to_string(),
        node: optional(node)?,
        node_selector: optional(node_selector)?,
        address,
        interface,
        port,
        as_number: as_number?,
        passive: passive.unwrap_or(Some(false))?,
        import: import.unwrap_or(Some(ImportPolicy::None))?,
        hold_time: optional(hold_time)?,
        transport: transport?,
        options: options?,
        bfd: bfd.unwrap_or(Some(None))?,
    })
}

/// `ttlSecurity` and `passwordFile`.
pub fn read_transport(fields: &mut Fields<'_>) -> Option<BgpTransport> {
    // 254 hops leave a TTL of 2; more would let everything through.
    let ttl_security = fields.take("ttlSecurity").map(|at| at.integer(1, 254).map(|hops| hops as u8));
    let password_file = fields.take("passwordFile").map(|at| match at.text()? {
        path if path.starts_with('/') => Some(path.to_string()),
        path => at.fail(format!("\"{path}\" is no absolute path"), Some("write it from / on".to_string())),
    });
    Some(BgpTransport { ttl_security: optional(ttl_security)?, password_file: optional(password_file)? })
}

pub fn read_configuration(name: &str, mut spec: Fields<'_>) -> Option<BgpConfiguration> {
    for field in [
        "serviceClusterIPs",
        "serviceExternalIPs",
        "serviceLoadBalancerIPs",
        "communities",
        "prefixAdvertisements",
        "nodeMeshPassword",
        "nodeMeshMaxRestartTime",
        "ignoredInterfaces",
        "localWorkloadPeeringIPV4",
        "localWorkloadPeeringIPV6",
    ] {
        spec.not_built(field, &[]);
    }
    spec.not_built("logSeverityScreen", &["Info"]);
    spec.not_built("bindMode", &["None"]);
    spec.not_built("serviceLoadBalancerAggregation", &["Enabled"]);
    spec.not_built("programClusterRoutes", &["Enabled"]);
    spec.not_built("ipv4NormalRoutePriority", &[]);
    spec.not_built("ipv6NormalRoutePriority", &[]);
    let enabled = spec.take("nodeToNodeMeshEnabled").map(|at| at.boolean()).unwrap_or(Some(true));
    let layout = read_mesh(&mut spec, enabled);
    let as_number = spec.take("asNumber").map(|at| read_as_number(&at));
    let listen_port = spec.take("listenPort").map(|at| at.integer(1, 65535));
    spec.finish();
    Some(BgpConfiguration {
        name: name.to_string(),
        node_to_node_mesh: enabled?,
        mesh: layout?,
        as_number: optional(as_number)?,
        listen_port: optional(listen_port)?.map(|port| port as u16),
    })
}

/// `mesh` and `meshLimit`.
fn read_mesh(spec: &mut Fields<'_>, enabled: Option<bool>) -> Option<MeshLayout> {
    let mesh_at = spec.take("mesh");
    let auto = mesh_at.as_ref().map_or(Some(false), |at| at.one_of("mesh", &[("full", false), ("auto", true)]));
    let limit_at = spec.take("meshLimit");
    let limit = limit_at.as_ref().map(|at| at.integer(1, 100_000).map(|limit| limit as u32));
    let auto = auto?;
    if let Some(at) = mesh_at.filter(|_| auto && enabled == Some(false)) {
        let mend = "remove `nodeToNodeMeshEnabled: false`, or `mesh`";
        return at.fail("there is no mesh to lay out: nodeToNodeMeshEnabled is false", Some(mend.to_string()));
    }
    if let Some(at) = limit_at.filter(|_| !auto) {
        return at
            .fail("only `mesh: auto` has a limit", Some("write `mesh: auto` beside it, or remove it".to_string()));
    }
    Some(if auto { MeshLayout::Auto { limit: limit.unwrap_or(Some(MeshLayout::LIMIT))? } } else { MeshLayout::Full })
}
