//! Which block and which address: decisions as values. No store, no journal; those carry them out.
//!
//! * `choose`: which pools a network may draw from on this node, and which block of a pool to claim next.
//! * `space`: the addresses of the blocks that this node owns; which one to give out next.
//!
//! Called by the agent's allocator.

mod choose;
mod space;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{Cidr, Family, NetworkName, NodeName, PoolName};

pub use choose::{PoolFill, check_room, choose_block, usable_pools};
pub use space::{AddressState, BlockFill, Pick, Space};

/// Why a pool cannot be drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolRefusal {
    Unknown(PoolName),
    Disabled(PoolName),
    /// The pool's node selector does not match this node's labels.
    OtherNodes {
        pool: PoolName,
        selector: String,
    },
    /// The selector cannot be read, and why.
    BadSelector {
        pool: PoolName,
        why: String,
    },
}

impl fmt::Display for PoolRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolRefusal::Unknown(pool) => write!(f, "IPPool {pool} does not exist"),
            PoolRefusal::Disabled(pool) => write!(f, "IPPool {pool} is disabled"),
            PoolRefusal::OtherNodes { pool, selector } => {
                write!(f, "IPPool {pool} is for other nodes (nodeSelector: {selector})")
            }
            PoolRefusal::BadSelector { pool, why } => write!(f, "IPPool {pool}: nodeSelector: {why}"),
        }
    }
}

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpamError {
    /// None of the network's pools may be drawn from on this node.
    NoPool { network: NetworkName, refusals: Vec<PoolRefusal> },
    /// Every block of the pools is claimed, and this node's are full.
    PoolFull { network: NetworkName, family: Family, pools: Vec<PoolFill> },
    /// Addresses are free but for the rest that they need before another endpoint may have them: try again.
    Cooling {
        network: NetworkName,
        family: Family,
        resting: usize,
        /// When the first of them is ready; `None` while the store has not acknowledged their withdrawal.
        ready_in: Option<Duration>,
    },
    /// A block that would be claimed overlaps another one.
    Overlap { block: Cidr, other: Cidr, owner: NodeName },
    /// The address that was asked for is not to be had, and why.
    Unavailable { address: IpAddr, why: String },
}

impl IpamError {
    /// Whether the same request may succeed a little later (CNI code 11).
    pub fn try_again(&self) -> bool {
        matches!(self, IpamError::Cooling { .. })
    }
}

impl std::error::Error for IpamError {}

impl fmt::Display for IpamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IpamError::NoPool { network, refusals } if refusals.is_empty() => {
                write!(f, "network {network} names no pools (add one to its `spec.pools`)")
            }
            IpamError::NoPool { network, refusals } => {
                write!(f, "network {network} has no pool that this node may use: {}", join(refusals))
            }
            IpamError::PoolFull { network, family, pools } => write!(
                f,
                "network {network} has no free {family} address for this node: {} (add a pool to the network, or free \
                 addresses; `routectl ipam show` lists them)",
                join(pools)
            ),
            IpamError::Cooling { network, family, resting, ready_in } => {
                write!(f, "network {network} has no {family} address that is ready to be reused: {resting} released ")?;
                match ready_in {
                    Some(wait) => write!(f, "still rest, the first for another {} s (try again)", wait.as_secs() + 1),
                    None => f.write_str("wait for the cluster store to acknowledge their withdrawal (try again)"),
                }
            }
            IpamError::Overlap { block, other, owner } => {
                write!(f, "block {block} overlaps {other}, which node {owner} owns (give one of them back)")
            }
            IpamError::Unavailable { address, why } => write!(f, "address {address} cannot be given out: {why}"),
        }
    }
}

fn join<T: fmt::Display>(parts: &[T]) -> String {
    parts.iter().map(T::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
#[path = "ipam_tests.rs"]
mod tests;
