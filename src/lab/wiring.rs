//! The links as they are meant, and the management network: every end at a node that can have it, no interface twice.
//! Called by [`super::topology`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::source;
use super::source::link::{Endpoint, LinkType};
use super::topology::{End, Far, Kind, Link, Management, Network, Node};

/// containerlab's MTU of a veth, in bytes.
pub const DEFAULT_MTU: u32 = 9500;

/// containerlab's name of the management network.
const DEFAULT_NETWORK: &str = "clab";

/// A link, by its number in the file, that cannot be.
pub struct Refusal {
    pub link: usize,
    pub what: String,
}

pub fn links(section: &source::Section, nodes: &[Node]) -> Result<Vec<Link>, Refusal> {
    let mut links = Vec::new();
    let mut taken = BTreeMap::new();
    for (number, link) in section.links.iter().enumerate() {
        let refuse = |what| Refusal { link: number, what };
        let link = build(link, nodes).map_err(refuse)?;
        let outside = link.outside().map(|interface| format!("host:{interface}"));
        for end in link.ends().map(ToString::to_string).chain(outside) {
            if let Some(other) = taken.insert(end.clone(), number) {
                return Err(refuse(format!("`{end}` is already an end of links[{other}]")));
            }
        }
        links.push(link);
    }
    Ok(links)
}

fn build(link: &source::Link, nodes: &[Node]) -> Result<Link, String> {
    let mtu = link.mtu.unwrap_or(DEFAULT_MTU);
    if !(68..=65535).contains(&mtu) {
        return Err(format!("mtu {mtu}: expected 68 to 65535 bytes"));
    }
    let (near, far) = match link.kind {
        LinkType::Veth => brief(link, nodes)?,
        LinkType::Host => (single(link, nodes)?, Far::Host(host_interface(link)?)),
        LinkType::Management => (single(link, nodes)?, Far::Management(host_interface(link)?)),
        LinkType::Dummy => {
            if link.host_interface.is_some() {
                return Err("host-interface: a `dummy` has one end; remove it".into());
            }
            (single(link, nodes)?, Far::Nothing)
        }
    };
    Ok(Link { near, far, mtu })
}

/// `endpoints`, of which one may be `host:...` or `mgmt-net:...`.
fn brief(link: &source::Link, nodes: &[Node]) -> Result<(End, Far), String> {
    if link.endpoint.is_some() || link.host_interface.is_some() {
        return Err(
            "`endpoint` and `host-interface` are for the types `host`, `mgmt-net` and `dummy`; write `type`".into()
        );
    }
    let endpoints = link.endpoints.as_deref().unwrap_or_default();
    let [one, two] = endpoints else {
        return Err(format!("a link has two endpoints, here are {}", endpoints.len()));
    };
    let (near, far) = if outside(one) { (two, one) } else { (one, two) };
    if outside(near) {
        return Err(format!("`{}:{}`: one end of a link must be at a node", near.node, near.interface));
    }
    let near = end(near, nodes)?;
    let interface = || check_interface(&far.interface).map(|()| far.interface.clone());
    let far = match far.node.as_str() {
        "host" => Far::Host(interface()?),
        "mgmt-net" => Far::Management(interface()?),
        _ => Far::Node(end(far, nodes)?),
    };
    Ok((near, far))
}

fn outside(end: &Endpoint) -> bool {
    ["host", "mgmt-net"].contains(&end.node.as_str())
}

fn single(link: &source::Link, nodes: &[Node]) -> Result<End, String> {
    match (&link.endpoint, &link.endpoints) {
        (Some(endpoint), None) => end(endpoint, nodes),
        _ => Err(format!("a link of type `{}` has one `endpoint: {{node: ..., interface: ...}}`", link.kind)),
    }
}

fn host_interface(link: &source::Link) -> Result<String, String> {
    let name = link.host_interface.as_ref();
    let name = name.ok_or_else(|| format!("a link of type `{}` needs its `host-interface`", link.kind))?;
    check_interface(name).map(|()| name.clone())
}

fn end(end: &Endpoint, nodes: &[Node]) -> Result<End, String> {
    let shown = format!("`{}:{}`", end.node, end.interface);
    if end.node == "macvlan" {
        return Err(format!(
            "{shown}: `routectl lab` makes no macvlan; take `host:NAME` and join that interface to `{}`",
            end.interface
        ));
    }
    let node = nodes.iter().find(|node| node.name == end.node);
    let node = node.ok_or(format!("{shown}: there is no node `{}`", end.node))?;
    check_interface(&end.interface)?;
    match &node.network {
        Network::Host => {
            return Err(format!(
                "{shown}: `{}` is in the network of whoever deploys; write `host:{}`",
                end.node, end.interface
            ));
        }
        Network::Of(other) => {
            return Err(format!(
                "{shown}: `{}` has the network of `{other}`; write `{other}:{}`",
                end.node, end.interface
            ));
        }
        Network::Own if node.kind == Kind::Linux && end.interface == "eth0" => {
            return Err(format!(
                "{shown}: containerlab keeps eth0 for its management network; say `network-mode: none` or take eth1"
            ));
        }
        Network::Own | Network::Alone => {}
    }
    if node.kind == Kind::Bridge && end.interface == node.name {
        return Err(format!("{shown}: a port cannot have the bridge's own name"));
    }
    Ok(End { node: end.node.clone(), interface: end.interface.clone(), mac: end.mac.clone() })
}

pub fn management(said: &source::Management) -> Result<Management, String> {
    let network = said.network.as_deref().unwrap_or(DEFAULT_NETWORK);
    let bridge = said.bridge.clone().unwrap_or_else(|| format!("br-{network}"));
    check_interface(&bridge).map_err(|what| format!("{what}; write `bridge: NAME`"))?;
    let mut addresses = Vec::new();
    let families =
        [("ipv4", &said.ipv4_subnet, &said.ipv4_gw, false), ("ipv6", &said.ipv6_subnet, &said.ipv6_gw, true)];
    for (family, subnet, gateway, six) in families {
        addresses.extend(bridge_address(family, subnet.as_deref(), gateway.as_deref(), six)?);
    }
    if let Some(mtu) = said.mtu.filter(|mtu| !(68..=65535).contains(mtu)) {
        return Err(format!("mtu {mtu}: expected 68 to 65535 bytes"));
    }
    Ok(Management { bridge, addresses, mtu: said.mtu })
}

/// The gateway in its subnet: what is said, or the subnet's first address.
fn bridge_address(
    family: &str,
    subnet: Option<&str>,
    gateway: Option<&str>,
    six: bool,
) -> Result<Option<String>, String> {
    let Some(subnet) = subnet else {
        return match gateway {
            None => Ok(None),
            Some(gateway) => Err(format!("{family}-gw {gateway}: write its `{family}-subnet` too")),
        };
    };
    let wrong = |what: &str| format!("{family}-subnet `{subnet}`: {what}");
    let parsed: IpNetwork = subnet.parse().map_err(|_| wrong("expected ADDRESS/PREFIX, as 172.20.20.0/24"))?;
    if parsed.is_ipv6() != six || !subnet.contains('/') {
        return Err(wrong(&format!("expected an {family} subnet, with its prefix length")));
    }
    let address = match gateway {
        Some(gateway) => gateway
            .parse()
            .ok()
            .filter(|address| parsed.contains(*address))
            .ok_or_else(|| format!("{family}-gw `{gateway}`: expected an address in {subnet}"))?,
        None => match parsed.network() {
            IpAddr::V4(first) => IpAddr::V4((u32::from(first).wrapping_add(1)).into()),
            IpAddr::V6(first) => IpAddr::V6((u128::from(first).wrapping_add(1)).into()),
        },
    };
    if !parsed.contains(address) {
        return Err(wrong("too small for an address"));
    }
    Ok(Some(format!("{address}/{}", parsed.prefix())))
}

pub fn check_interface(name: &str) -> Result<(), String> {
    let good = !name.is_empty()
        && name.len() <= 15
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    match good {
        true => Ok(()),
        false => Err(format!("interface `{name}`: expected at most 15 characters without `/`, `:` and blanks")),
    }
}

#[cfg(test)]
#[path = "wiring_tests.rs"]
mod tests;
