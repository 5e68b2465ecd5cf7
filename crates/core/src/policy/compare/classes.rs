//! Who there is to ask about: endpoints that no policy could tell apart are one class, and one of it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{PartyName, rules};
use crate::model::{Cidr, Endpoint, Family, NodeName, Object};
use crate::policy::Side;

/// The most strangers: one of each prefix that rules and network sets name.
const STRANGERS: usize = 64;
/// Nobody's, but for who names everybody's (RFC 5737, RFC 3849).
const ELSEWHERE: [&str; 2] = ["192.0.2.254", "2001:db8:ffff::1"];

/// One of a class, or a host, or a stranger.
#[derive(Clone, Debug)]
pub struct Party {
    pub name: String,
    pub others: usize,
    pub side: Side,
    pub endpoint: Option<Endpoint>,
}

impl Party {
    pub fn named(&self) -> PartyName {
        PartyName { name: self.name.clone(), others: self.others }
    }
}

/// Everybody to ask about. Hosts only where some host endpoint says something of them.
pub fn parties(endpoints: &[Endpoint], nodes: &[NodeName], before: &[Object], after: &[Object]) -> Vec<Party> {
    let objects = || before.iter().chain(after);
    let nets: BTreeSet<Cidr> = objects().flat_map(nets).collect();
    let mut classes: BTreeMap<String, Party> = BTreeMap::new();
    for endpoint in endpoints {
        let signature = signature(endpoint, &nets);
        classes.entry(signature).and_modify(|party| party.others += 1).or_insert_with(|| Party {
            name: endpoint.display_name(),
            others: 0,
            side: Side::Workload(endpoint.node.clone(), endpoint.key.clone()),
            endpoint: Some(endpoint.clone()),
        });
    }
    let mut parties: Vec<Party> = classes.into_values().collect();
    parties.sort_by(|a, b| a.name.cmp(&b.name));
    if objects().any(|object| matches!(object, Object::HostEndpoint(_))) {
        parties.extend(nodes.iter().map(|node| Party {
            name: format!("host:{node}"),
            others: 0,
            side: Side::Host(node.clone()),
            endpoint: None,
        }));
    }
    let is_ours = |address: &IpAddr| endpoints.iter().any(|endpoint| endpoint.addresses.contains(address));
    let inside = nets.iter().take(STRANGERS).filter_map(|net| if net.is_host() { net.nth(0) } else { net.nth(1) });
    let elsewhere = ELSEWHERE.iter().map(|text| text.parse::<IpAddr>().expect("an address"));
    parties.extend(elsewhere.chain(inside).filter(|address| !is_ours(address)).map(|address| Party {
        name: address.to_string(),
        others: 0,
        side: Side::Address(address),
        endpoint: None,
    }));
    parties
}

/// Equal for those whom no policy tells apart: all that selectors look at, and which prefixes their addresses lie in.
fn signature(endpoint: &Endpoint, nets: &BTreeSet<Cidr>) -> String {
    let within = |address: &IpAddr| {
        let family = Family::of(*address);
        nets.iter()
            .filter(|net| net.family() == family && net.contains(*address))
            .map(Cidr::to_string)
            .collect::<Vec<_>>()
    };
    let places: Vec<_> = endpoint.addresses.iter().map(|address| (Family::of(*address), within(address))).collect();
    let published = endpoint.attachment.as_ref().map(|attachment| (&attachment.published, attachment.closed));
    format!(
        "{:?}",
        (
            &endpoint.key.network,
            &endpoint.node,
            &endpoint.namespace,
            &endpoint.service_account,
            &endpoint.profiles,
            &endpoint.labels,
            &endpoint.ports,
            published,
            places
        )
    )
}

/// The prefixes that an object names.
fn nets(object: &Object) -> Vec<Cidr> {
    if let Object::GlobalNetworkSet(set) | Object::NetworkSet(set) = object {
        return set.nets.clone();
    }
    let rules = rules(object);
    let sides = rules.iter().flat_map(|rule| [&rule.source, &rule.destination]);
    sides.flat_map(|side| side.nets.iter().chain(&side.not_nets)).copied().collect()
}
