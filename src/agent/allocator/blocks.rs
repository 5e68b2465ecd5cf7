//! The life of own blocks after their claim: compared with the store, given back when empty, lost to another node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use routenet_core::model::keys::{self, StoreKey};
use routenet_core::model::{Block, Cidr, Endpoint, Fact, Kind, NodeName};

use super::claim::pool_key;
use super::{Allocator, State};
use crate::store::{Check, JournalWrite, StoreError, TxnOutcome, Write};

/// So many looks in a row must find a block empty before it goes back.
const EMPTY_LOOKS: u8 = 2;

/// What the store says of a block that the journal has as ours.
enum Standing {
    Ours,
    Absent,
    Others(NodeName),
}

impl Allocator {
    /// Compares the own blocks with the store's: at the start, and whenever the store was away or is another one.
    /// Blocks that the store has as ours are adopted, those that it has forgotten are claimed again, and those that
    /// belong to another node now are given out of no more ([`Allocator::lost_blocks`] tells).
    pub async fn reconcile(&self) -> Result<(), StoreError> {
        let _turn = self.claiming.lock().await;
        let blocks = self.read_blocks().await?;
        let known: Vec<Block> = self.lock().space.blocks().cloned().collect();
        for block in &known {
            match self.standing(block, &blocks) {
                Standing::Ours => self.regain(&block.cidr),
                Standing::Others(owner) => self.lose(block, &owner).await?,
                Standing::Absent => self.claim_again(block).await?,
            }
        }
        let mine = blocks.into_iter().filter(|block| self.may_take_over(block));
        for block in mine.filter(|block| !known.iter().any(|own| own.cidr == block.cidr)) {
            if let Some(block) = self.take_over(block).await? {
                self.adopt(block).await.map_err(|error| StoreError::Away(error.to_string()))?;
            }
        }
        if self.blank.load(Ordering::Relaxed) {
            self.recover_endpoints().await?;
            self.blank.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn standing(&self, block: &Block, blocks: &[Block]) -> Standing {
        match blocks.iter().find(|other| other.cidr.overlaps(&block.cidr)) {
            None => Standing::Absent,
            Some(other) if self.is_same(other, block) => Standing::Ours,
            Some(other) => Standing::Others(other.owner.clone()),
        }
    }

    /// Whether what the store has is our own claim of the block: a machine of this node's name may have claimed it after
    /// it was given away, and gives out of it now.
    fn is_same(&self, stored: &Block, own: &Block) -> bool {
        stored.cidr == own.cidr && stored.owner == self.config.node && stored.epoch == own.epoch
    }

    fn regain(&self, cidr: &Cidr) {
        let mut state = self.lock();
        if state.lost.remove(cidr).is_some() {
            let leaving = state.leaving.contains(cidr);
            state.space.set_closed(cidr, leaving);
            self.tell_own(&state);
        }
    }

    /// Another node owns it: quarantined while endpoints here have its addresses, else forgotten.
    async fn lose(&self, block: &Block, owner: &NodeName) -> Result<(), StoreError> {
        let in_use = {
            let mut state = self.lock();
            state.space.set_closed(&block.cidr, true);
            let in_use = !state.space.is_unused(&block.cidr);
            if in_use {
                let who = if *owner == self.config.node {
                    format!("another machine with the name {owner} has claimed it")
                } else {
                    format!("node {owner} owns it now")
                };
                let why = format!("{who}: detach the endpoints here that have its addresses");
                if state.lost.insert(block.cidr, why).is_none() {
                    tracing::error!(block = %block.cidr, %owner, "block was given to another node; quarantined");
                }
            }
            self.tell_own(&state);
            in_use
        };
        if in_use { Ok(()) } else { self.forget(&block.cidr).await }
    }

    /// The store does not know it (it is another file, or was put back from a copy).
    async fn claim_again(&self, block: &Block) -> Result<(), StoreError> {
        let (unused, leaving) = {
            let state = self.lock();
            (state.space.is_unused(&block.cidr), state.leaving.contains(&block.cidr))
        };
        if unused || leaving {
            return self.forget(&block.cidr).await;
        }
        let pool = pool_key(&block.pool);
        let revision = self.store.get(&pool).await?.map_or(0, |entry| entry.revision);
        let claimed = match self.write_claim(block, Check { key: pool, revision }).await {
            Ok(claimed) => claimed,
            // A node without a store whose file names the block no more.
            Err(StoreError::Refused { .. }) => false,
            Err(away) => return Err(away),
        };
        let mut state = self.lock();
        if claimed {
            state.lost.remove(&block.cidr);
            state.space.set_closed(&block.cidr, false);
        } else {
            state.space.set_closed(&block.cidr, true);
            state
                .lost
                .insert(block.cidr, "it is this node's no more: detach the endpoints that have its addresses".into());
        }
        self.tell_own(&state);
        Ok(())
    }

    /// A changed block, as the watch tells it.
    pub async fn observe_block(&self, cidr: &Cidr, block: Option<&Block>) -> Result<(), StoreError> {
        let known = {
            let state = self.lock();
            if state.leaving.contains(cidr) { None } else { state.block(cidr).cloned() }
        };
        let Some(known) = known else { return Ok(()) };
        match block {
            Some(block) if self.is_same(block, &known) => {
                self.regain(cidr);
                Ok(())
            }
            Some(block) => {
                let _turn = self.claiming.lock().await;
                self.lose(&known, &block.owner).await
            }
            None => self.reconcile().await,
        }
    }

    /// The state directory was lost: whatever is published under this node's name counts as given out.
    async fn recover_endpoints(&self) -> Result<(), StoreError> {
        let (entries, _) = self.store.range(&keys::endpoints_of(&self.config.node)).await?;
        let mut writes = Vec::new();
        for entry in entries {
            let Ok(Fact::Endpoint(endpoint)) = keys::decode_fact(&entry.key, &entry.value) else { continue };
            writes.extend(recover(&mut self.lock(), endpoint));
        }
        if writes.is_empty() { Ok(()) } else { self.journal.record(writes).await }
    }

    /// One look at which own blocks are empty; those found so twice in a row go back to the cluster, but never the
    /// last one of a pool (unless the pool was deleted, or its blocks are single addresses). Answers which went. To be called every now and then.
    pub async fn give_back_empty_blocks(&self) -> Result<Vec<Cidr>, StoreError> {
        if !self.store.writable() {
            return Ok(Vec::new());
        }
        let _turn = self.claiming.lock().await;
        let (entries, _) = self.store.range(&keys::objects_of(Kind::IPPool)).await?;
        let pools: BTreeSet<String> = entries.into_iter().map(|entry| entry.key).collect();
        let mut given = Vec::new();
        for cidr in self.choose_leaving(&pools) {
            if self.give_back(&cidr).await? {
                given.push(cidr);
            }
        }
        Ok(given)
    }

    /// Closes what is to go back, so that nothing is given out of it while it goes. `pools` are the keys of those that are
    /// there.
    fn choose_leaving(&self, pools: &BTreeSet<String>) -> Vec<Cidr> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let empty = state.space.empty_blocks(self.clock.now(), self.config.cooldown);
        state.empty_looks.retain(|cidr, _| empty.iter().any(|block| block.cidr == *cidr));
        let mut staying: BTreeMap<_, usize> = BTreeMap::new();
        for block in state.space.blocks().filter(|block| !state.leaving.contains(&block.cidr)) {
            *staying.entry(block.pool.clone()).or_default() += 1;
        }
        for block in &empty {
            let looks = state.empty_looks.entry(block.cidr).or_default();
            *looks = looks.saturating_add(1);
            let staying = staying.entry(block.pool.clone()).or_default();
            // One of a single address is no supply for a time without the store: another node may want that very address.
            // And nobody will ask for an address of a pool that was deleted.
            let dispensable = block.cidr.size() == 1
                || state.lost.contains_key(&block.cidr)
                || !pools.contains(&pool_key(&block.pool));
            if *looks >= EMPTY_LOOKS && (*staying > 1 || dispensable) && state.leaving.insert(block.cidr) {
                *staying -= 1;
                state.space.set_closed(&block.cidr, true);
            }
        }
        state.leaving.iter().copied().collect()
    }

    /// Whether it is gone. While that is uncertain (the store's answer got lost) the block stays closed.
    async fn give_back(&self, cidr: &Cidr) -> Result<bool, StoreError> {
        let key = StoreKey::Block(*cidr).path();
        let known = self.lock().block(cidr).cloned();
        if let Some(entry) = self.store.get(&key).await? {
            let ours = matches!((keys::decode_fact(&key, &entry.value), &known),
                (Ok(Fact::Block(block)), Some(known)) if self.is_same(&block, known));
            let check = Check { key: key.clone(), revision: entry.revision };
            if ours {
                let outcome = self.store.transact(vec![check], vec![Write::Delete { key }]).await?;
                if matches!(outcome, TxnOutcome::Conflict(_)) {
                    return Ok(false);
                }
            }
        }
        self.forget(cidr).await?;
        tracing::info!(block = %cidr, "empty block given back");
        Ok(true)
    }

    async fn forget(&self, cidr: &Cidr) -> Result<(), StoreError> {
        self.journal.record(vec![JournalWrite::RemoveBlock(*cidr)]).await?;
        let mut state = self.lock();
        state.space.remove_block(cidr);
        state.leaving.remove(cidr);
        state.lost.remove(cidr);
        state.empty_looks.remove(cidr);
        self.tell_own(&state);
        Ok(())
    }
}

/// Takes over an endpoint that was published under this node's name; what the journal must learn of it.
fn recover(state: &mut State, endpoint: Endpoint) -> Vec<JournalWrite> {
    let key = endpoint.key.clone();
    if state.handles.contains_key(&key) {
        return Vec::new();
    }
    let free = endpoint.addresses.iter().all(|address| !state.handles.values().flatten().any(|held| held == address));
    if !free {
        return Vec::new();
    }
    for address in &endpoint.addresses {
        state.space.hold(*address);
    }
    state.handles.insert(key.clone(), endpoint.addresses.clone());
    state.endpoints.insert(key.clone(), endpoint.clone());
    let addresses = endpoint.addresses.clone();
    vec![JournalWrite::Allocate { key, addresses }, JournalWrite::PutEndpoint(endpoint)]
}
