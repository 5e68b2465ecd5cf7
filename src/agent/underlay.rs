//! This host's own addresses and MTU: given, or found by interface or CIDR, never by luck. Called at the start, and looked at
//! again as long as the agent lives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures::TryStreamExt;
use routenet_core::model::config::{AutoAddress, NodeConfig};
use routenet_core::model::{Cidr, Family};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::LinkAttribute;
use tokio::sync::watch;

/// The interface whose MTU says nothing about any wire.
const LOOPBACK: &str = "lo";
/// How the names of our tunnel devices begin.
const TUNNELS: &str = "rnt-";
/// Where there is no other interface to ask yet, in bytes.
const ETHERNET: u32 = 1500;
/// How often the MTU is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the other nodes reach this one by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underlay {
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    /// The prefixes that these addresses lie in.
    pub subnets: Vec<Cidr>,
    /// The smallest of the interfaces that packets of these addresses leave by, in bytes.
    pub mtu: u32,
    /// The name of that interface.
    pub interface: String,
}

/// An address of this host that could serve: global, lasting, and not a second one of the same prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    interface: String,
    address: IpAddr,
    /// The length of its prefix.
    length: u8,
    mtu: u32,
}

/// Why there are no addresses, in words with field and mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Time may mend it: links and addresses come after the agent where something else (a lab, DHCP) sets the host up.
    #[error("{0}")]
    Missing(String),
    /// Only people can.
    #[error("{0}")]
    Refused(String),
}

/// The MTU that the agent started with, beside what it is now. What it is decides about tunnel devices and workloads, which
/// keep theirs as long as they run: so a change is told, and taken when the agent starts again.
pub struct UnderlayMtu {
    started: u32,
    now: watch::Receiver<(u32, String)>,
}

impl UnderlayMtu {
    /// Looks again and again.
    pub fn follow(config: NodeConfig, underlay: &Underlay) -> UnderlayMtu {
        let (tell, now) = watch::channel((underlay.mtu, underlay.interface.clone()));
        tokio::spawn(async move {
            while !tell.is_closed() {
                // An address that is gone for a moment says nothing about the wire; neither does the want of one.
                if let Some(found) = resolve(&config).await.ok().filter(|found| found.interface != LOOPBACK) {
                    tell.send_replace((found.mtu, found.interface));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        UnderlayMtu { started: underlay.mtu, now }
    }

    /// What is wrong, and what mends it.
    pub fn problem(&self) -> Option<(String, &'static str)> {
        let (now, interface) = &*self.now.borrow();
        (*now != self.started).then(|| {
            let what = format!(
                "the MTU of {interface} is {now}, and was {} when the agent started: tunnels and workloads go by that",
                self.started
            );
            (what, "restart the agent, then the workloads that were attached before; or set the MTU back")
        })
    }
}

/// Finds the addresses of `address:` on this host.
///
/// # Errors
/// An address that no interface has, an `auto` that finds none or several of a family.
pub async fn resolve(config: &NodeConfig) -> Result<Underlay, Unresolved> {
    let candidates = candidates()
        .await
        .map_err(|error| Unresolved::Refused(format!("the host's addresses cannot be read: {error}")))?;
    choose(config, &candidates)
}

fn choose(config: &NodeConfig, candidates: &[Candidate]) -> Result<Underlay, Unresolved> {
    let mut underlay =
        Underlay { ipv4: None, ipv6: None, subnets: Vec::new(), mtu: u32::MAX, interface: String::new() };
    for family in Family::BOTH {
        let chosen = match config.given_address(family) {
            Some(address) => Some(given(address, candidates)?),
            None => found(&config.address.auto, family, candidates)?,
        };
        let Some(chosen) = chosen else { continue };
        let (mtu, interface) = mtu_behind(chosen, candidates);
        if mtu < underlay.mtu {
            (underlay.mtu, underlay.interface) = (mtu, interface);
        }
        underlay.subnets.extend(Cidr::new(chosen.address, chosen.length));
        match chosen.address {
            IpAddr::V4(address) => underlay.ipv4 = Some(address),
            IpAddr::V6(address) => underlay.ipv6 = Some(address),
        }
    }
    if underlay.ipv4.is_none() && underlay.ipv6.is_none() {
        let rules: Vec<String> = config.address.auto.iter().map(describe).collect();
        return Err(Unresolved::Missing(format!(
            "address.auto: no address found by {}; this host has {}",
            rules.join(" or "),
            listed(candidates)
        )));
    }
    Ok(underlay)
}

/// What leaves by an address of loopback leaves by any other interface; our own tunnels have room for less, and are none.
fn mtu_behind(chosen: &Candidate, candidates: &[Candidate]) -> (u32, String) {
    if chosen.interface != LOOPBACK {
        return (chosen.mtu, chosen.interface.clone());
    }
    let others = candidates.iter().filter(|one| one.interface != LOOPBACK && !one.interface.starts_with(TUNNELS));
    let smallest = others.min_by_key(|one| one.mtu).map(|one| (one.mtu, one.interface.clone()));
    smallest.unwrap_or((ETHERNET, chosen.interface.clone()))
}

fn given(address: IpAddr, candidates: &[Candidate]) -> Result<&Candidate, Unresolved> {
    candidates.iter().find(|candidate| candidate.address == address).ok_or_else(|| {
        let field = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        Unresolved::Missing(format!(
            "address.{field}: no interface of this host has {address}; it has {}: add it (ip address add), or correct the file",
            listed(candidates)
        ))
    })
}

/// The first rule that finds an address of the family decides; one that finds several is refused.
fn found<'a>(
    rules: &[AutoAddress],
    family: Family,
    candidates: &'a [Candidate],
) -> Result<Option<&'a Candidate>, Unresolved> {
    for rule in rules {
        let fits = |candidate: &&Candidate| {
            Family::of(candidate.address) == family
                && match rule {
                    AutoAddress::Interface(name) => candidate.interface == name.as_str(),
                    AutoAddress::Cidr(cidr) => cidr.contains(candidate.address),
                }
        };
        let all: Vec<&Candidate> = candidates.iter().filter(fits).collect();
        match all.as_slice() {
            [] => {}
            [one] => return Ok(Some(one)),
            several => {
                let field = if family == Family::V4 { "ipv4" } else { "ipv6" };
                let several: Vec<String> = several.iter().map(|one| one.address.to_string()).collect();
                return Err(Unresolved::Refused(format!(
                    "address.auto: {} finds {}: give the right one by address.{field}",
                    describe(rule),
                    several.join(" and ")
                )));
            }
        }
    }
    Ok(None)
}

fn describe(rule: &AutoAddress) -> String {
    match rule {
        AutoAddress::Interface(name) => format!("interface {name}"),
        AutoAddress::Cidr(cidr) => format!("cidr {cidr}"),
    }
}

fn listed(candidates: &[Candidate]) -> String {
    if candidates.is_empty() {
        return "no address".to_string();
    }
    let each = candidates.iter().map(|candidate| format!("{} ({})", candidate.address, candidate.interface));
    each.collect::<Vec<_>>().join(", ")
}

async fn candidates() -> Result<Vec<Candidate>, rtnetlink::Error> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|error| rtnetlink::Error::NamespaceError(error.to_string()))?;
    let driver = tokio::spawn(connection);
    let mut candidates = Vec::new();
    let mut links = handle.link().get().execute();
    let mut interfaces = std::collections::BTreeMap::new();
    while let Some(link) = links.try_next().await? {
        let mut name = String::new();
        let mut mtu = 1500;
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = text,
                LinkAttribute::Mtu(bytes) => mtu = bytes,
                _ => {}
            }
        }
        interfaces.insert(link.header.index, (name, mtu));
    }
    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses.try_next().await? {
        let Some((interface, mtu)) = interfaces.get(&message.header.index) else { continue };
        let mut address = None;
        let mut flags = AddressFlags::empty();
        for attribute in message.attributes {
            match attribute {
                // On a point-to-point link ADDRESS is the other end's.
                AddressAttribute::Local(local) => address = Some(local),
                AddressAttribute::Address(given) if address.is_none() => address = Some(given),
                AddressAttribute::Flags(given) => flags = given,
                _ => {}
            }
        }
        let Some(address) = address else { continue };
        // For IPv6 this bit means temporary, for IPv4 secondary: neither is what others should rely on.
        let passing = flags.intersects(AddressFlags::Secondary | AddressFlags::Deprecated);
        let link_local = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        if !passing && !link_local && !address.is_loopback() {
            candidates.push(Candidate {
                interface: interface.clone(),
                address,
                length: message.header.prefix_len,
                mtu: *mtu,
            });
        }
    }
    driver.abort();
    Ok(candidates)
}

#[cfg(test)]
#[path = "underlay_tests.rs"]
mod tests;
