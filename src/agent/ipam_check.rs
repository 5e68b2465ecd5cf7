//! What of blocks, endpoints and pools does not fit together: `routectl ipam check`. Called by [`super::ipam`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use routenet_core::model::{Cidr, Endpoint, EndpointKey};

use super::cluster::Known;
use super::ipam::described;
use crate::api::listing::IpamCheckReply;

/// `own` are this node's endpoints, `lost` its quarantined blocks and why, `stray` what its journal holds for nobody.
pub(super) fn check(
    known: &Known,
    own: &[Endpoint],
    lost: &BTreeMap<Cidr, String>,
    stray: &[(EndpointKey, Vec<IpAddr>)],
) -> IpamCheckReply {
    let mut problems = block_problems(known);
    let mut holders: BTreeMap<IpAddr, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in own.iter().chain(known.endpoints.values()) {
        for address in &endpoint.addresses {
            holders.entry(*address).or_default().push(endpoint);
        }
    }
    for (address, endpoints) in &holders {
        problems.extend(address_problems(known, *address, endpoints));
    }
    problems.extend(lost.iter().map(|(block, why)| format!("block {block}: {why}")));
    for (key, addresses) in stray {
        for address in addresses {
            problems.push(format!(
                "{address} is held for {key}, which is neither an endpoint nor a tunnel device, and which no runtime has \
                 asked for: routectl ipam release {address}"
            ));
        }
    }
    IpamCheckReply { blocks: known.blocks.len() as u64, addresses: holders.len() as u64, problems }
}

fn block_problems(known: &Known) -> Vec<String> {
    let mut problems = Vec::new();
    let blocks: Vec<_> = known.blocks.values().collect();
    for (index, block) in blocks.iter().enumerate() {
        if let Some(other) = blocks[index + 1..].iter().find(|other| other.cidr.overlaps(&block.cidr)) {
            problems.push(format!(
                "blocks {} of {} and {} of {} overlap",
                block.cidr, block.owner, other.cidr, other.owner
            ));
        }
        match known.pools.get(&block.pool) {
            None => problems.push(format!(
                "block {} of {} is of IPPool {}, which is not there",
                block.cidr, block.owner, block.pool
            )),
            Some(pool) if !pool.cidr.covers(&block.cidr) => problems.push(format!(
                "block {} of {} lies outside of its IPPool {} ({})",
                block.cidr, block.owner, pool.name, pool.cidr
            )),
            Some(_) => {}
        }
        if !known.nodes.contains_key(&block.owner) {
            problems.push(format!(
                "block {} belongs to node {}, which is not there: routectl ipam release-node {}",
                block.cidr, block.owner, block.owner
            ));
        }
    }
    problems
}

fn address_problems(known: &Known, address: IpAddr, endpoints: &[&Endpoint]) -> Vec<String> {
    let mut problems = Vec::new();
    if let [one, other, ..] = endpoints {
        problems.push(format!("{address} belongs to {} and to {}", described(one), described(other)));
    }
    let endpoint = endpoints[0];
    if endpoint.key.is_by_hand() {
        // Reserved, or of a pool that nobody is given from: no block has to say whose it is.
        return problems;
    }
    match known.blocks.values().find(|block| block.cidr.contains(address)) {
        None => problems.push(format!("{address} of {} lies in no block", described(endpoint))),
        Some(block) if block.owner != endpoint.node => problems.push(format!(
            "{address} of {} lies in block {} of node {}",
            described(endpoint),
            block.cidr,
            block.owner
        )),
        Some(_) => {}
    }
    problems
}

#[cfg(test)]
#[path = "ipam_check_tests.rs"]
mod tests;
