//! Address translation: ports of this host that lead to its workloads, and what leaves the pools under the host's address.
//! Called by [`super::Desired`].
//!
//! One rule a published port in a chain of its own, reached by packets to an address of this host only, whether they
//! come from outside, from a workload or from the host itself. What may pass is not decided here: the translated packet
//! meets policy like every other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{ChainKey, ChainRule, FactDelta, Hook, Member, RulesDelta, SetKind, SetName, SetSpec, Settings, Table};
use crate::model::{Endpoint, EndpointKey, Family, Pool, PoolName, PublishedPort};

/// From the host's ports to workloads.
const DNAT: &str = "rn-dnat";
/// A workload that reaches itself through the host: without another source it would answer itself.
const HAIRPIN: &str = "rn-hairpin";

const HOOKS: [(&str, &str); 3] =
    [("PREROUTING", "rn-PREROUTING"), ("OUTPUT", "rn-OUTPUT"), ("POSTROUTING", "rn-POSTROUTING")];

/// The translations of one host.
pub struct NatEngine {
    settings: Settings,
    /// The local endpoints with published ports.
    published: BTreeMap<EndpointKey, (Vec<IpAddr>, Vec<PublishedPort>)>,
    pools: BTreeMap<PoolName, Pool>,
    chains: BTreeMap<ChainKey, Vec<ChainRule>>,
    sets: BTreeMap<SetName, SetSpec>,
}

impl NatEngine {
    pub fn new(settings: Settings) -> NatEngine {
        let mut engine = NatEngine {
            settings,
            published: BTreeMap::new(),
            pools: BTreeMap::new(),
            chains: BTreeMap::new(),
            sets: BTreeMap::new(),
        };
        engine.sets = engine.wanted_sets();
        for family in Family::BOTH {
            engine.chains.extend(engine.frame(family));
            engine.chains.extend(engine.changing(family));
        }
        engine
    }

    pub fn chains(&self) -> &BTreeMap<ChainKey, Vec<ChainRule>> {
        &self.chains
    }

    pub fn sets(&self) -> &BTreeMap<SetName, SetSpec> {
        &self.sets
    }

    /// The jumps from the built-in chains; they never change.
    pub fn hooks() -> BTreeSet<Hook> {
        let of_family = |family| {
            HOOKS.map(|(builtin, chain)| Hook { family, table: Table::Nat, builtin, chain: chain.to_string() })
        };
        Family::BOTH.into_iter().flat_map(of_family).collect()
    }

    /// Takes changes of facts; answers what should now differ.
    pub fn apply(&mut self, facts: &[FactDelta]) -> RulesDelta {
        let (mut ports, mut pools) = (false, false);
        for fact in facts {
            match fact {
                FactDelta::Endpoint { node, key, endpoint } if *node == self.settings.node => {
                    ports |= self.take(key, endpoint.as_ref());
                }
                FactDelta::Pool(name, pool) => {
                    match pool {
                        Some(pool) => self.pools.insert(name.clone(), pool.clone()),
                        None => self.pools.remove(name),
                    };
                    pools = true;
                }
                _ => {}
            }
        }
        let mut delta = RulesDelta::default();
        if ports {
            for (key, rules) in Family::BOTH.into_iter().flat_map(|family| self.changing(family)).collect::<Vec<_>>() {
                if self.chains.get(&key) != Some(&rules) {
                    self.chains.insert(key.clone(), rules.clone());
                    delta.chains.insert(key, Some(rules));
                }
            }
        }
        if pools {
            let wanted = self.wanted_sets();
            delta.change_members(&self.sets, &wanted);
            self.sets = wanted;
        }
        delta
    }

    /// The pools, and those whose traffic takes the host's address when it leaves them.
    fn wanted_sets(&self) -> BTreeMap<SetName, SetSpec> {
        let set = |family, name: fn(Family) -> SetName, pools: &mut dyn Iterator<Item = &Pool>| {
            let of_family = pools.filter(|pool| pool.cidr.family() == family);
            let members = of_family.map(|pool| Member::Net(pool.cidr)).collect();
            (name(family), SetSpec { family, kind: SetKind::HashNet, members })
        };
        let both = Family::BOTH.into_iter().flat_map(|family| {
            [
                set(family, pools_set, &mut self.pools.values()),
                set(family, natted_set, &mut self.pools.values().filter(|pool| pool.nat_outgoing)),
            ]
        });
        both.collect()
    }

    /// Whether it changed anything.
    fn take(&mut self, key: &EndpointKey, endpoint: Option<&Endpoint>) -> bool {
        let ports = endpoint.and_then(|endpoint| {
            let published = &endpoint.attachment.as_ref()?.published;
            (!published.is_empty()).then(|| (endpoint.addresses.clone(), published.clone()))
        });
        match ports {
            Some(ports) => self.published.insert(key.clone(), ports.clone()) != Some(ports),
            None => self.published.remove(key).is_some(),
        }
    }

    fn frame(&self, family: Family) -> Vec<(ChainKey, Vec<ChainRule>)> {
        let to_host = format!("-m addrtype --dst-type LOCAL -j {DNAT}");
        // Nothing leaves the host under the source ::1, and IPv6 has no route_localnet: untranslated, a call is refused at
        // once, and its client goes on to 127.0.0.1.
        let from_host = match family {
            Family::V4 => to_host.clone(),
            Family::V6 => format!("! -d ::1/128 {to_host}"),
        };
        let (pools, natted) = (pools_set(family), natted_set(family));
        let mut after = vec![
            format!("-j {HAIRPIN}"),
            format!("-m set --match-set {natted} src -m set ! --match-set {pools} dst -j MASQUERADE"),
        ];
        // A published port answers on 127.0.0.1 too; the workload could not answer there.
        if let (Family::V4, Some(address)) = (family, self.source(family)) {
            after.push(format!("-s 127.0.0.0/8 -o rnw+ -j SNAT --to-source {address}"));
        }
        vec![
            chain(family, "rn-PREROUTING", vec![to_host]),
            chain(family, "rn-OUTPUT", vec![from_host]),
            chain(family, "rn-POSTROUTING", after),
        ]
    }

    fn changing(&self, family: Family) -> Vec<(ChainKey, Vec<ChainRule>)> {
        let mut dnat = BTreeSet::new();
        let mut hairpin = BTreeSet::new();
        for (addresses, ports) in self.published.values() {
            let Some(address) = addresses.iter().copied().find(|address| Family::of(*address) == family) else {
                continue;
            };
            let of_family = |port: &&PublishedPort| port.host_address.is_none_or(|host| Family::of(host) == family);
            for port in ports.iter().filter(of_family) {
                dnat.insert(translation(port, address));
            }
            if let Some(source) = self.source(family) {
                hairpin.insert(format!("-s {address} -d {address} -j SNAT --to-source {source}"));
            }
        }
        vec![chain(family, DNAT, dnat.into_iter().collect()), chain(family, HAIRPIN, hairpin.into_iter().collect())]
    }

    fn source(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.settings.address4.map(IpAddr::V4),
            Family::V6 => self.settings.address6.map(IpAddr::V6),
        }
    }
}

fn pools_set(family: Family) -> SetName {
    format!("rn{}-pools", family.digit())
}

fn natted_set(family: Family) -> SetName {
    format!("rn{}-natted", family.digit())
}

fn translation(port: &PublishedPort, address: IpAddr) -> String {
    let PublishedPort { protocol, host_address, host_port, port } = port;
    // 0.0.0.0 and :: say only which family is meant.
    let only = host_address.filter(|host| !host.is_unspecified()).map(|host| format!("-d {host} ")).unwrap_or_default();
    let target = std::net::SocketAddr::new(address, *port);
    format!("{only}-p {protocol} -m {protocol} --dport {host_port} -j DNAT --to-destination {target}")
}

fn chain(family: Family, name: &str, rules: Vec<String>) -> (ChainKey, Vec<ChainRule>) {
    let key = ChainKey { family, table: Table::Nat, name: name.to_string() };
    (key, rules.into_iter().map(|text| ChainRule { text: text.into(), origin: None }).collect())
}

#[cfg(test)]
#[path = "nat_tests.rs"]
mod tests;
