//! The addresses of the blocks that this node owns: held, resting, free; and which to give out next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{Block, Cidr, Family, PoolName};
use crate::time::Time;

/// What an address of an own block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressState {
    /// Never given out, as far as is remembered.
    Fresh,
    Held,
    /// Released at that time; `acknowledged` is when the store had forgotten it.
    Resting {
        released: Time,
        acknowledged: Option<Time>,
    },
}

/// The answer to a request for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    Address(IpAddr),
    /// So many rest; when the first is ready, if that is known.
    Cooling {
        resting: usize,
        ready: Option<Time>,
    },
    /// Everything is held, or there is no block.
    Full,
}

/// How full an own block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockFill {
    pub cidr: Cidr,
    pub pool: PoolName,
    pub held: usize,
    pub resting: usize,
    /// Addresses in all; saturating.
    pub size: u128,
}

/// All own blocks. A block may be closed: what it holds stays held, and nothing more is given out of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    blocks: BTreeMap<Cidr, OwnBlock>,
    /// Only for who asks for them by name.
    reserved: Vec<Cidr>,
}

#[derive(Clone, Debug, PartialEq)]
struct OwnBlock {
    block: Block,
    closed: bool,
    held: BTreeSet<u128>,
    resting: BTreeMap<u128, (Time, Option<Time>)>,
    /// The acknowledged ones of `resting`, longest first: since when, which.
    ready: BTreeSet<(Time, u128)>,
    /// No index below is fresh.
    fresh_from: u128,
}

impl OwnBlock {
    fn state(&self, index: u128) -> AddressState {
        if self.held.contains(&index) {
            AddressState::Held
        } else if let Some((released, acknowledged)) = self.resting.get(&index) {
            AddressState::Resting { released: *released, acknowledged: *acknowledged }
        } else {
            AddressState::Fresh
        }
    }

    fn is_reserved(&self, index: u128, reserved: &[Cidr]) -> bool {
        let address = self.block.cidr.nth(index);
        address.is_some_and(|address| reserved.iter().any(|cidr| cidr.contains(address)))
    }

    fn wake(&mut self, index: u128) {
        if let Some((_, Some(since))) = self.resting.remove(&index) {
            self.ready.remove(&(since, index));
        }
    }

    /// The lowest address that was never given out and is not reserved.
    fn fresh(&mut self, reserved: &[Cidr]) -> Option<u128> {
        while self.fresh_from < self.block.cidr.size() {
            if self.state(self.fresh_from) == AddressState::Fresh && !self.is_reserved(self.fresh_from, reserved) {
                return Some(self.fresh_from);
            }
            self.fresh_from += 1;
        }
        None
    }
}

impl Space {
    /// Adds an own block, empty; one that is there stays as it is.
    pub fn add_block(&mut self, block: Block) {
        self.blocks.entry(block.cidr).or_insert_with(|| OwnBlock {
            block,
            closed: false,
            held: BTreeSet::new(),
            resting: BTreeMap::new(),
            ready: BTreeSet::new(),
            fresh_from: 0,
        });
    }

    /// Takes a block away, with all that is known of its addresses.
    pub fn remove_block(&mut self, cidr: &Cidr) {
        self.blocks.remove(cidr);
    }

    /// Whether anything may be given out of the block.
    pub fn set_closed(&mut self, cidr: &Cidr, closed: bool) {
        if let Some(own) = self.blocks.get_mut(cidr) {
            own.closed = closed;
        }
    }

    /// These, and no others, are given out only to who asks for them by name.
    pub fn set_reserved(&mut self, reserved: Vec<Cidr>) {
        self.reserved = reserved;
        // What was passed over may be to be had now.
        self.blocks.values_mut().for_each(|own| own.fresh_from = 0);
    }

    pub fn reserved(&self) -> &[Cidr] {
        &self.reserved
    }

    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.values().map(|own| &own.block)
    }

    pub fn has_block(&self, cidr: &Cidr) -> bool {
        self.blocks.contains_key(cidr)
    }

    /// The own block in which the address lies.
    pub fn block_of(&self, address: IpAddr) -> Option<&Block> {
        // The last block that begins at or before the address is the only one that can hold it: blocks are disjoint.
        let key = Cidr::host(address);
        self.blocks.range(..=key).next_back().map(|(_, own)| &own.block).filter(|block| block.cidr.contains(address))
    }

    fn find(&mut self, address: IpAddr) -> Option<(&mut OwnBlock, u128)> {
        let cidr = self.block_of(address)?.cidr;
        let index = cidr.index_of(address)?;
        self.blocks.get_mut(&cidr).map(|own| (own, index))
    }

    /// `None` if it lies in no own block.
    pub fn state(&self, address: IpAddr) -> Option<AddressState> {
        let cidr = self.block_of(address)?.cidr;
        Some(self.blocks.get(&cidr)?.state(cidr.index_of(address)?))
    }

    /// Marks the address as given out. Answers whether it was not before, and lies in an own block.
    pub fn hold(&mut self, address: IpAddr) -> bool {
        let Some((own, index)) = self.find(address) else { return false };
        own.wake(index);
        own.held.insert(index)
    }

    /// Undoes a [`Space::hold`] of which nobody learned: the address is what it was before, `rest` if it rested.
    pub fn unhold(&mut self, address: IpAddr, before: AddressState) {
        let Some((own, index)) = self.find(address) else { return };
        own.held.remove(&index);
        match before {
            AddressState::Resting { released, acknowledged } => {
                self.rest(address, released);
                if let Some(at) = acknowledged {
                    self.acknowledge(address, at);
                }
            }
            AddressState::Fresh | AddressState::Held => own.fresh_from = own.fresh_from.min(index),
        }
    }

    /// The address was released: it rests until its withdrawal is acknowledged and the cooldown has run from then.
    pub fn rest(&mut self, address: IpAddr, at: Time) {
        let Some((own, index)) = self.find(address) else { return };
        own.held.remove(&index);
        own.wake(index);
        own.resting.insert(index, (at, None));
    }

    /// The store has forgotten the address. Only the first time counts.
    pub fn acknowledge(&mut self, address: IpAddr, at: Time) {
        let Some((own, index)) = self.find(address) else { return };
        if let Some((_, acknowledged @ None)) = own.resting.get_mut(&index) {
            *acknowledged = Some(at);
            own.ready.insert((at, index));
        }
    }

    /// The address of that pool and family to give out next: one that was never given out, else the longest idle one
    /// that has rested. Nothing is marked.
    pub fn pick(&mut self, pool: &PoolName, family: Family, now: Time, cooldown: Duration) -> Pick {
        let mut resting = 0;
        let mut longest: Option<(Time, IpAddr)> = None;
        let own_blocks = self
            .blocks
            .iter_mut()
            .filter(|(cidr, own)| !own.closed && own.block.pool == *pool && cidr.family() == family);
        for (cidr, own) in own_blocks {
            if let Some(address) = own.fresh(&self.reserved).and_then(|index| cidr.nth(index)) {
                return Pick::Address(address);
            }
            resting += own.resting.keys().filter(|index| !own.is_reserved(**index, &self.reserved)).count();
            if let Some((since, index)) = own.ready.iter().find(|(_, index)| !own.is_reserved(*index, &self.reserved))
                && longest.is_none_or(|(best, _)| *since < best)
                && let Some(address) = cidr.nth(*index)
            {
                longest = Some((*since, address));
            }
        }
        match longest {
            Some((since, address)) if rested(since, now, cooldown) => Pick::Address(address),
            Some((since, _)) => Pick::Cooling { resting, ready: Some(since + cooldown) },
            None if resting > 0 => Pick::Cooling { resting, ready: None },
            None => Pick::Full,
        }
    }

    /// Whether this very address could be given out now; in an own block, else [`Pick::Full`].
    pub fn pick_exactly(&self, address: IpAddr, now: Time, cooldown: Duration) -> Pick {
        if self.block_of(address).and_then(|block| self.blocks.get(&block.cidr)).is_none_or(|own| own.closed) {
            return Pick::Full;
        }
        match self.state(address) {
            None | Some(AddressState::Held) => Pick::Full,
            Some(AddressState::Fresh) => Pick::Address(address),
            Some(AddressState::Resting { acknowledged: Some(since), .. }) if rested(since, now, cooldown) => {
                Pick::Address(address)
            }
            Some(AddressState::Resting { acknowledged, .. }) => {
                Pick::Cooling { resting: 1, ready: acknowledged.map(|since| since + cooldown) }
            }
        }
    }

    /// Blocks of which nothing is held and everything has rested, so that another node may have them.
    pub fn empty_blocks(&self, now: Time, cooldown: Duration) -> Vec<Block> {
        let idle = |own: &&OwnBlock| {
            own.held.is_empty()
                && own
                    .resting
                    .values()
                    .all(|(_, acknowledged)| acknowledged.is_some_and(|since| rested(since, now, cooldown)))
        };
        self.blocks.values().filter(idle).map(|own| own.block.clone()).collect()
    }

    /// How an address stands for who asks now: one that has rested is free.
    pub fn state_at(&self, address: IpAddr, now: Time, cooldown: Duration) -> Option<AddressState> {
        self.state(address).map(|state| match state {
            AddressState::Resting { acknowledged: Some(since), .. } if rested(since, now, cooldown) => {
                AddressState::Fresh
            }
            state => state,
        })
    }

    /// How full the blocks are; what has rested is free.
    pub fn fill(&self, now: Time, cooldown: Duration) -> Vec<BlockFill> {
        let rests =
            |(_, acknowledged): &&(Time, Option<Time>)| !acknowledged.is_some_and(|since| rested(since, now, cooldown));
        self.blocks
            .values()
            .map(|own| BlockFill {
                cidr: own.block.cidr,
                pool: own.block.pool.clone(),
                held: own.held.len(),
                resting: own.resting.values().filter(rests).count(),
                size: own.block.cidr.size(),
            })
            .collect()
    }

    /// Whether nothing of the block is held.
    pub fn is_unused(&self, cidr: &Cidr) -> bool {
        self.blocks.get(cidr).is_none_or(|own| own.held.is_empty())
    }
}

/// A clock that was set back must not end the rest early: time that lies ahead has not passed.
fn rested(since: Time, now: Time, cooldown: Duration) -> bool {
    now >= since + cooldown
}

#[cfg(test)]
#[path = "space_tests.rs"]
mod tests;
