//! What objects ask of each other: rules that no single object can break alone.
//!
//! Pure, over the whole as it would be after a change. The agent asks before it writes anything, so that a change is
//! taken whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::yaml::{Located, YamlError};
use super::{Cidr, DEFAULT_TIER, Kind, Network, Object, ObjectKey, Pool, Tier, WORKLOAD_INTERFACES, WorkloadEndpoint};

/// One thing that the objects would not hold together by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The object to change.
    pub object: ObjectKey,
    /// `spec.cidr`; empty for the object as a whole.
    pub field: String,
    pub what: String,
    pub mend: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.object)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{} ({})", self.what, self.mend)
    }
}

impl Invalid {
    /// The same with file and line, where the object came from a file.
    pub fn locate(&self, objects: &[Located<Object>]) -> Option<YamlError> {
        let found = objects.iter().find(|object| object.value.key() == self.object)?;
        Some(YamlError {
            file: found.file.clone(),
            line: found.line,
            column: 1,
            object: Some(self.object.to_string()),
            field: self.field.clone(),
            what: self.what.clone(),
            mend: Some(self.mend.clone()),
        })
    }
}

/// Whether `existing`, with `changed` written over it and `deleted` taken away, holds together. `deleted` may name what
/// does not exist.
pub fn check_objects(existing: &[Object], changed: &[Object], deleted: &[ObjectKey]) -> Result<(), Vec<Invalid>> {
    let before: BTreeMap<ObjectKey, &Object> = existing.iter().map(|object| (object.key(), object)).collect();
    let mut after = before.clone();
    let mut problems = Vec::new();
    for key in deleted {
        after.remove(key);
    }
    let mut written = BTreeSet::new();
    for object in changed {
        let key = object.key();
        if !written.insert(key.clone()) {
            problems.push(invalid(&key, "", "given twice in one change".into(), "give it once".into()));
        }
        if let (Object::IPPool(new), Some(Object::IPPool(old))) = (object, before.get(&key)) {
            problems.extend(pool_changes(old, new));
        }
        after.insert(key, object);
    }
    let touched = |key: &ObjectKey| written.contains(key);
    problems.extend(overlaps(&after, &touched));
    problems.extend(unknown_pools(&after, deleted));
    problems.extend(peer_twins(&after, &touched));
    problems.extend(unknown_tiers(&after, deleted));
    problems.extend(workload_addresses(&after, &touched));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Whom an address of a pool is given to, nodes decide by themselves: one that is reserved they leave alone.
fn workload_addresses(after: &BTreeMap<ObjectKey, &Object>, touched: &impl Fn(&ObjectKey) -> bool) -> Vec<Invalid> {
    let pools =
        || after.values().filter_map(|object| if let Object::IPPool(pool) = object { Some(pool) } else { None });
    let reserved = |address| {
        let covers = |object: &&Object| match object {
            Object::IPReservation(it) => it.cidrs.iter().any(|cidr| cidr.contains(address)),
            _ => false,
        };
        after.values().any(covers)
    };
    let mut holders: BTreeMap<IpAddr, &ObjectKey> = BTreeMap::new();
    let mut problems = Vec::new();
    for (key, object) in after {
        let Object::WorkloadEndpoint(WorkloadEndpoint { endpoint, .. }) = object else { continue };
        if let Some(name) = endpoint.interface.as_ref().filter(|name| !WorkloadEndpoint::is_interface(name)) {
            let what = format!("{name} is an interface that the agent itself could make");
            let mend =
                format!("call it {WORKLOAD_INTERFACES}-NAME: ip link set dev {name} name {WORKLOAD_INTERFACES}-NAME");
            problems.push(invalid(key, "spec.interfaceName", what, mend));
        }
        for address in &endpoint.addresses {
            if let Some(other) = holders.insert(*address, key).filter(|other| touched(other) || touched(key)) {
                let mend = "give each its own".to_string();
                problems.push(invalid(key, "spec.ipNetworks", format!("{address} is that of {other}, too"), mend));
            }
            let mut wrong = |what: String, mend: String| problems.push(invalid(key, "spec.ipNetworks", what, mend));
            match pools().find(|pool| pool.cidr.contains(*address)) {
                None => wrong(
                    format!("{address} lies in no pool, so no other node takes a route to it"),
                    "choose one of a pool, or add an IPPool for it, with `disabled: true` so that runtimes leave it alone".into(),
                ),
                Some(pool) if !pool.disabled && !reserved(*address) => wrong(
                    format!("{address} lies in pool {}, whose addresses runtimes are given", pool.name),
                    format!("reserve it: an IPReservation with reservedCIDRs: [{}]", Cidr::host(*address)),
                ),
                Some(_) => {}
            }
        }
    }
    problems
}

fn invalid(object: &ObjectKey, field: &str, what: String, mend: String) -> Invalid {
    Invalid { object: object.clone(), field: field.to_string(), what, mend }
}

/// Blocks are cut from a pool once, so what they are cut by never changes.
fn pool_changes(old: &Pool, new: &Pool) -> Vec<Invalid> {
    let key = ObjectKey::global(Kind::IPPool, new.name.as_str());
    let mend = "make a pool of another name, move the networks to it, then delete this one".to_string();
    let mut problems = Vec::new();
    if old.cidr != new.cidr {
        let what = format!("cannot change from {} to {}: blocks are cut from it", old.cidr, new.cidr);
        problems.push(invalid(&key, "spec.cidr", what, mend.clone()));
    }
    if old.cidr == new.cidr && old.block_size != new.block_size {
        let what = format!("cannot change from {} to {}: blocks are cut by it", old.block_size, new.block_size);
        problems.push(invalid(&key, "spec.blockSize", what, mend));
    }
    problems
}

fn pools<'a>(objects: &BTreeMap<ObjectKey, &'a Object>) -> Vec<&'a Pool> {
    let mut pools: Vec<&Pool> = objects
        .values()
        .filter_map(|object| match object {
            Object::IPPool(pool) => Some(pool),
            _ => None,
        })
        .collect();
    pools.sort_by_key(|pool| (pool.cidr.address(), pool.cidr.length()));
    pools
}

/// Overlapping pools. Sorted by address, a pool that covers a later one comes before it.
fn overlaps(objects: &BTreeMap<ObjectKey, &Object>, touched: &dyn Fn(&ObjectKey) -> bool) -> Vec<Invalid> {
    let mut problems = Vec::new();
    let mut around: Vec<(Cidr, &Pool)> = Vec::new();
    for pool in pools(objects) {
        around.retain(|(cidr, _)| cidr.covers(&pool.cidr));
        for (_, other) in &around {
            // Blame the pool that is being written, the later one if both are.
            let (new, old) = match touched(&ObjectKey::global(Kind::IPPool, pool.name.as_str())) {
                true => (pool, *other),
                false => (*other, pool),
            };
            problems.push(invalid(
                &ObjectKey::global(Kind::IPPool, new.name.as_str()),
                "spec.cidr",
                format!("{} overlaps {} of IPPool {}", new.cidr, old.cidr, old.name),
                "choose a cidr that lies apart".to_string(),
            ));
        }
        around.push((pool.cidr, pool));
    }
    problems
}

/// Networks that name a pool which does not exist, or would not any more.
fn unknown_pools(objects: &BTreeMap<ObjectKey, &Object>, deleted: &[ObjectKey]) -> Vec<Invalid> {
    let known: BTreeSet<&str> = pools(objects).iter().map(|pool| pool.name.as_str()).collect();
    let networks = objects.values().filter_map(|object| match object {
        Object::Network(network) => Some(network),
        _ => None,
    });
    let mut problems = Vec::new();
    for network in networks {
        for (index, pool) in network.pools.iter().enumerate().filter(|(_, pool)| !known.contains(pool.as_str())) {
            let key = ObjectKey::global(Kind::IPPool, pool.as_str());
            problems.push(if deleted.contains(&key) {
                let what = format!("cannot be deleted: Network {} draws from it", network.name);
                invalid(&key, "", what, "delete the network first, or take the pool out of its spec.pools".to_string())
            } else {
                unknown_pool(network, index, &known)
            });
        }
    }
    problems
}

fn unknown_pool(network: &Network, index: usize, known: &BTreeSet<&str>) -> Invalid {
    let pool = network.pools[index].as_str();
    let mend = match super::yaml::suggest::nearest(pool, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None if known.is_empty() => "apply an IPPool of this name first, or together with it".to_string(),
        None => format!("pools are: {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
    };
    let key = ObjectKey::global(Kind::Network, network.name.as_str());
    invalid(&key, &format!("spec.pools[{index}]"), format!("there is no IPPool {pool}"), mend)
}

/// Policies of a tier that does not exist, or would not any more.
fn unknown_tiers(objects: &BTreeMap<ObjectKey, &Object>, deleted: &[ObjectKey]) -> Vec<Invalid> {
    let known =
        |name: &str| Tier::built_in(name).is_some() || objects.contains_key(&ObjectKey::global(Kind::Tier, name));
    let mut problems = Vec::new();
    for (key, object) in objects {
        let policy = match object {
            Object::GlobalNetworkPolicy(policy) | Object::NetworkPolicy(policy) => policy,
            Object::StagedGlobalNetworkPolicy(staged) | Object::StagedNetworkPolicy(staged) => &staged.policy,
            _ => continue,
        };
        if known(&policy.tier) {
            continue;
        }
        let tier = ObjectKey::global(Kind::Tier, &policy.tier);
        problems.push(if deleted.contains(&tier) {
            let what = format!("cannot be deleted: {key} lies in it");
            invalid(&tier, "", what, "delete the policy first, or move it to another tier".to_string())
        } else {
            let tiers = objects.keys().filter(|key| key.kind == Kind::Tier).map(|key| key.name.as_str());
            let mend = match super::yaml::suggest::nearest(&policy.tier, tiers.chain([DEFAULT_TIER])) {
                Some(near) => format!("did you mean {near}?"),
                None => "apply a Tier of this name first, or together with it".to_string(),
            };
            invalid(key, "spec.tier", format!("there is no Tier {}", policy.tier), mend)
        });
    }
    problems
}

/// Two BGPPeers that would make the same node open two sessions to one neighbour.
fn peer_twins(objects: &BTreeMap<ObjectKey, &Object>, touched: &dyn Fn(&ObjectKey) -> bool) -> Vec<Invalid> {
    let mut seen: BTreeMap<_, &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for object in objects.values() {
        let Object::BGPPeer(peer) = object else { continue };
        let scope = (peer.address, peer.interface.clone(), peer.port, peer.node.clone(), peer.node_selector.clone());
        if let Some(first) = seen.insert(scope, &peer.name) {
            let first_key = ObjectKey::global(Kind::BGPPeer, first);
            let key = ObjectKey::global(Kind::BGPPeer, &peer.name);
            let (blamed, other) = if touched(&key) { (key, first_key) } else { (first_key, key) };
            let field = if peer.unnumbered().is_some() { "interface" } else { "peerIP" };
            let what = format!("{other} has the same {field} for the same nodes");
            problems.push(invalid(&blamed, &format!("spec.{field}"), what, "delete one of them".to_string()));
        }
    }
    problems
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
