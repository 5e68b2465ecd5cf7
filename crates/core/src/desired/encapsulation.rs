//! Which way a packet takes to another node: as it is, or in a tunnel. Pure decisions; called by [`super::network`].

use std::fmt;
use std::net::IpAddr;

use crate::model::{Cidr, EncapsulationMode, NodeName, Pool, TunnelKind};

/// The way to a next hop, and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// `None`: the packet goes as it is.
    pub tunnel: Option<TunnelKind>,
    pub why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The prefix lies in no pool, or in one that never encapsulates.
    Never,
    Always,
    /// Not the address of a node: a router of the underlay has announced the prefix.
    Announced,
    SameSubnet,
    OtherSubnet,
    OnLink,
    OffLink,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Never => "the pool encapsulates nothing",
            Why::Always => "the pool encapsulates everything",
            Why::Announced => "the underlay has announced the way",
            Why::SameSubnet => "it is in this host's subnet",
            Why::OtherSubnet => "it is in another subnet",
            Why::OnLink => "it is on a link of this host",
            Why::OffLink => "it is behind a router",
        })
    }
}

/// What is known of a next hop.
#[derive(Clone, Copy, Debug)]
pub struct NextHop<'a> {
    pub address: IpAddr,
    /// The node whose address it is.
    pub node: Option<&'a NodeName>,
    /// Whether the kernel reaches it through a router.
    pub off_link: bool,
}

/// The way to a prefix in this pool, by a next hop. `subnets`: the prefixes that this host's own addresses lie in.
pub fn way(pool: Option<&Pool>, hop: NextHop<'_>, subnets: &[Cidr]) -> Way {
    let Some(pool) = pool.filter(|pool| pool.encapsulation.mode != EncapsulationMode::Never) else {
        return Way { tunnel: None, why: Why::Never };
    };
    if hop.node.is_none() {
        return Way { tunnel: None, why: Why::Announced };
    }
    let tunnel = Some(pool.encapsulation.device);
    let (encapsulated, why) = match pool.encapsulation.mode {
        EncapsulationMode::Never => (false, Why::Never),
        EncapsulationMode::Always => (true, Why::Always),
        EncapsulationMode::CrossSubnet if subnets.iter().any(|subnet| subnet.contains(hop.address)) => {
            (false, Why::SameSubnet)
        }
        EncapsulationMode::CrossSubnet => (true, Why::OtherSubnet),
        EncapsulationMode::Auto if hop.off_link => (true, Why::OffLink),
        EncapsulationMode::Auto => (false, Why::OnLink),
    };
    Way { tunnel: tunnel.filter(|_| encapsulated), why }
}

/// What a tunnel takes of each packet, in bytes: an IPv4 header; or an outer header, UDP, VXLAN and an inner Ethernet header.
pub const fn overhead(kind: TunnelKind, outer_is_ipv4: bool) -> u32 {
    match (kind, outer_is_ipv4) {
        (TunnelKind::Ipip, _) => 20,
        (TunnelKind::Vxlan, true) => 50,
        (TunnelKind::Vxlan, false) => 70,
    }
}

/// The MTU of a workload that draws from these pools: what fits the underlay also where it must be encapsulated.
pub fn workload_mtu<'a>(underlay: u32, outer_is_ipv4: bool, pools: impl IntoIterator<Item = &'a Pool>) -> u32 {
    let taken = pools.into_iter().filter(|pool| pool.encapsulation.mode != EncapsulationMode::Never);
    underlay - taken.map(|pool| overhead(pool.encapsulation.device, outer_is_ipv4)).max().unwrap_or(0).min(underlay)
}

#[cfg(test)]
#[path = "encapsulation_tests.rs"]
mod tests;
