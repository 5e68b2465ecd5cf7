//! Which pools a node may draw from, and which block of a pool it claims next.

use std::collections::BTreeMap;
use std::fmt;

use super::{BlockFill, IpamError, PoolRefusal};
use crate::model::{Block, Cidr, Family, Labels, Network, NodeName, Pool, PoolName, stable_hash};
use crate::policy::selector::Selector;

/// How full a pool is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolFill {
    pub pool: PoolName,
    pub cidr: Cidr,
    pub block_size: u8,
    /// Blocks that some node owns, and blocks in all (saturating).
    pub claimed: u128,
    pub blocks: u128,
}

impl fmt::Display for PoolFill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolFill { pool, cidr, block_size, claimed, blocks } = self;
        write!(f, "IPPool {pool} ({cidr}): {claimed} of {blocks} blocks of /{block_size} are claimed")
    }
}

/// The network's pools that may be drawn from by a node with these labels, in the network's order.
///
/// # Errors
/// [`IpamError::NoPool`] if there is none, with the reason for each.
pub fn usable_pools<'a>(
    network: &Network,
    pools: &'a BTreeMap<PoolName, Pool>,
    labels: &Labels,
) -> Result<Vec<&'a Pool>, IpamError> {
    let mut usable = Vec::new();
    let mut refusals = Vec::new();
    for name in &network.pools {
        match pools.get(name).ok_or_else(|| PoolRefusal::Unknown(name.clone())).and_then(|pool| admitted(pool, labels))
        {
            Ok(pool) => usable.push(pool),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if usable.is_empty() {
        return Err(IpamError::NoPool { network: network.name.clone(), refusals });
    }
    Ok(usable)
}

fn admitted<'a>(pool: &'a Pool, labels: &Labels) -> Result<&'a Pool, PoolRefusal> {
    if pool.disabled {
        return Err(PoolRefusal::Disabled(pool.name.clone()));
    }
    let selector = Selector::parse(&pool.node_selector)
        .map_err(|error| PoolRefusal::BadSelector { pool: pool.name.clone(), why: error.to_string() })?;
    if selector.matches(labels) {
        Ok(pool)
    } else {
        Err(PoolRefusal::OtherNodes { pool: pool.name.clone(), selector: pool.node_selector.clone() })
    }
}

/// The block that the node should claim next, given every block that is claimed in the cluster; none that is reserved
/// whole.
///
/// The order is a walk over the whole pool whose start and stride come from the node's name, so nodes that choose at
/// the same time choose apart, and a node comes back to the blocks that it had before.
///
/// # Errors
/// How full the pool is, if all its blocks are claimed.
pub fn choose_block(pool: &Pool, claimed: &[Block], reserved: &[Cidr], node: &NodeName) -> Result<Cidr, PoolFill> {
    let taken: BTreeMap<Cidr, ()> =
        claimed.iter().filter(|block| block.cidr.overlaps(&pool.cidr)).map(|block| (block.cidr, ())).collect();
    let bits = pool.block_size.saturating_sub(pool.cidr.length());
    let blocks = 1u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX);
    let mask = blocks - 1;
    let block_bits = pool.cidr.family().bits() - pool.block_size.min(pool.cidr.family().bits());
    let (start, stride) = seed(node, pool);
    let mut position = start & mask;
    let mut looked = 0u128;
    while looked < blocks {
        let address = position.checked_shl(u32::from(block_bits)).and_then(|offset| pool.cidr.nth(offset));
        let candidate = address.and_then(|address| Cidr::new(address, pool.block_size).ok());
        if let Some(candidate) = candidate
            && !overlaps_any(&candidate, &taken)
            && !reserved.iter().any(|cidr| cidr.covers(&candidate))
        {
            return Ok(candidate);
        }
        // An odd stride visits every one of a power of two.
        position = position.wrapping_add(stride) & mask;
        looked += 1;
    }
    let claimed = taken.keys().fold(0u128, |sum, cidr| {
        let covered = pool.block_size.saturating_sub(cidr.length().max(pool.cidr.length()));
        sum.saturating_add(1u128.checked_shl(u32::from(covered)).unwrap_or(u128::MAX))
    });
    Err(PoolFill {
        pool: pool.name.clone(),
        cidr: pool.cidr,
        block_size: pool.block_size,
        claimed: claimed.min(blocks),
        blocks,
    })
}

/// Whether the node could give an address of each family of the network: from its own blocks, where what rests counts
/// too, or from one that it could still claim.
///
/// # Errors
/// As an allocation's: [`IpamError::NoPool`] or [`IpamError::PoolFull`].
pub fn check_room(
    network: &Network,
    pools: &BTreeMap<PoolName, Pool>,
    labels: &Labels,
    own: &[BlockFill],
    claimed: &[Block],
    reserved: &[Cidr],
    node: &NodeName,
) -> Result<(), IpamError> {
    let usable = usable_pools(network, pools, labels)?;
    for family in Family::BOTH {
        let of_family: Vec<&&Pool> = usable.iter().filter(|pool| pool.cidr.family() == family).collect();
        let has_room =
            |pool: &Pool| own.iter().any(|block| block.pool == pool.name && (block.held as u128) < block.size);
        if of_family.is_empty() || of_family.iter().any(|pool| has_room(pool)) {
            continue;
        }
        let claims: Result<Vec<PoolFill>, ()> =
            of_family.iter().map(|pool| choose_block(pool, claimed, reserved, node).err().ok_or(())).collect();
        if let Ok(pools) = claims {
            return Err(IpamError::PoolFull { network: network.name.clone(), family, pools });
        }
    }
    Ok(())
}

/// Start, and an odd stride.
fn seed(node: &NodeName, pool: &Pool) -> (u128, u128) {
    let number = |what: &str| {
        let digits = stable_hash([node.as_str(), pool.name.as_str(), what], 32);
        u128::from_str_radix(&digits, 16).expect("32 hexadecimal digits")
    };
    (number("start"), number("stride") | 1)
}

/// Whether one of `taken` overlaps the candidate: one that covers it, or one inside of it.
fn overlaps_any(candidate: &Cidr, taken: &BTreeMap<Cidr, ()>) -> bool {
    // Prefixes sort by address, then length: what lies inside follows the candidate, what covers it has one of its
    // shorter prefixes as key.
    let inside = taken.range(*candidate..).next().is_some_and(|(next, ())| candidate.overlaps(next));
    inside
        || (0..candidate.length())
            .any(|length| Cidr::new(candidate.address(), length).is_ok_and(|shorter| taken.contains_key(&shorter)))
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
