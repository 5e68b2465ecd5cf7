//! Claiming a block: one transaction, which holds only while the pool is as it was read and nobody has the block.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use routenet_core::ipam::{IpamError, PoolFill, choose_block};
use routenet_core::model::keys::{self, StoreKey};
use routenet_core::model::{Block, Cidr, Fact, Kind, Object, ObjectKey, Pool, PoolName, stable_hash};

use super::{AllocateError, Allocator, Need};
use crate::store::{Check, JournalWrite, Revision, StoreError, TxnOutcome, Write};

/// The epoch of a block that a node's file gives it, and of those from before epochs were told apart.
const UNCOUNTED: u64 = 1;

/// How often a claim is tried again after another node was faster.
const ATTEMPTS: usize = 32;

/// What came of a claim in one pool.
enum Claim {
    Done,
    Full(PoolFill),
    /// The pool is not there any more.
    Gone,
}

impl Allocator {
    /// Makes room for the need, or says why there is none. When it is done, look again.
    pub(super) async fn claim(&self, need: &Need) -> Result<(), AllocateError> {
        if self.blank.load(Ordering::Relaxed) {
            // The store was away at the start: what was published before the state directory was lost comes first.
            self.reconcile().await.map_err(AllocateError::Claim)?;
        }
        let _turn = self.claiming.lock().await;
        if self.has_room(need)? {
            return Ok(());
        }
        match self.claim_in_turn(need).await {
            // What rests is nearer than what must be mended elsewhere.
            Err(AllocateError::Claim(StoreError::Away(why))) => match need.cooling {
                Some((resting, ready)) => Err(need.cooling_error(resting, ready, self.clock.now()).into()),
                None => Err(AllocateError::Claim(StoreError::Away(why))),
            },
            other => other,
        }
    }

    /// Whether somebody else's claim has made room meanwhile.
    fn has_room(&self, need: &Need) -> Result<bool, IpamError> {
        let mut again = Need { network: need.network.clone(), pools: need.pools.clone(), ..*need };
        self.pick(&mut self.lock(), &mut again).map(|address| address.is_some())
    }

    async fn claim_in_turn(&self, need: &Need) -> Result<(), AllocateError> {
        let mut full = Vec::new();
        for pool in need.pools.iter().filter(|pool| need.wanted.is_none_or(|wanted| pool.cidr.contains(wanted))) {
            match self.claim_from(pool, need.wanted).await? {
                Claim::Done => return Ok(()),
                Claim::Full(fill) => full.push(fill),
                Claim::Gone => {}
            }
        }
        if let Some((resting, ready)) = need.cooling {
            return Err(need.cooling_error(resting, ready, self.clock.now()).into());
        }
        Err(IpamError::PoolFull { network: need.network.clone(), family: need.family, pools: full }.into())
    }

    async fn claim_from(&self, pool: &Pool, wanted: Option<IpAddr>) -> Result<Claim, AllocateError> {
        for _ in 0..ATTEMPTS {
            let Some((pool, pool_check)) = self.read_pool(pool).await? else { return Ok(Claim::Gone) };
            let blocks = self.read_blocks().await.map_err(AllocateError::Claim)?;
            if let Some(mine) = self.unknown_own_block(&blocks, &pool, wanted) {
                match self.take_over(mine).await.map_err(AllocateError::Claim)? {
                    Some(mine) => self.adopt(mine).await?,
                    None => continue,
                }
                return Ok(Claim::Done);
            }
            let cidr = match wanted {
                Some(address) => self.block_around(address, &pool, &blocks)?,
                None => match choose_block(&pool, &blocks, &self.reserved(), &self.config.node) {
                    Ok(cidr) => cidr,
                    Err(fill) => return Ok(Claim::Full(fill)),
                },
            };
            if !self.store.writable() {
                return Ok(Claim::Full(static_fill(&pool, &blocks)));
            }
            let block = Block { cidr, pool: pool.name.clone(), owner: self.config.node.clone(), epoch: self.epoch };
            if self.write_claim(&block, pool_check).await.map_err(AllocateError::Claim)? {
                self.adopt(block).await?;
                return Ok(Claim::Done);
            }
        }
        Err(AllocateError::Claim(StoreError::Away(format!(
            "{ATTEMPTS} claims in IPPool {} lost against other nodes",
            pool.name
        ))))
    }

    /// The pool as the store has it now, and the check that it is still so. A block of a pool begins at a multiple of
    /// its size, so while the pool is unchanged a block overlaps no other but itself.
    async fn read_pool(&self, pool: &Pool) -> Result<Option<(Pool, Check)>, AllocateError> {
        let key = pool_key(&pool.name);
        let Some(entry) = self.store.get(&key).await.map_err(AllocateError::Claim)? else { return Ok(None) };
        let Ok(Fact::Object(Object::IPPool(pool))) = keys::decode_fact(&entry.key, &entry.value) else {
            return Ok(None);
        };
        Ok(Some((pool, Check { key: entry.key, revision: entry.revision })))
    }

    /// Whether the block is ours now; `false`: somebody was faster, or the pool changed.
    pub(super) async fn write_claim(&self, block: &Block, pool: Check) -> Result<bool, StoreError> {
        let key = StoreKey::Block(block.cidr).path();
        let value = keys::encode_fact(&Fact::Block(block.clone()));
        let checks = vec![pool, Check { key: key.clone(), revision: 0 as Revision }];
        let outcome = self.store.transact(checks, vec![Write::Put { key, value }]).await?;
        Ok(matches!(outcome, TxnOutcome::Committed(_)))
    }

    /// Every block of the cluster. One that cannot be read is an error: what it covers must not be claimed.
    pub(super) async fn read_blocks(&self) -> Result<Vec<Block>, StoreError> {
        let (entries, _) = self.store.range(keys::BLOCKS).await?;
        let blocks = entries.iter().map(|entry| match keys::decode_fact(&entry.key, &entry.value) {
            Ok(Fact::Block(block)) => Ok(block),
            Ok(_) => Err(format!("{} is no block", entry.key)),
            Err(error) => Err(error.to_string()),
        });
        blocks.collect::<Result<Vec<_>, _>>().map_err(|what| StoreError::Refused {
            what: format!("the cluster store's blocks cannot be read: {what}"),
            mend: "run the newest routenet of the cluster on this node".into(),
        })
    }

    /// Whether a block that the store has under this node's name and the journal does not know may be taken over: a claim
    /// of this journal that ended half-way, or whatever is there for one that has lost its predecessor. Under any other
    /// epoch another machine of the same name gives addresses out of it.
    pub(super) fn may_take_over(&self, block: &Block) -> bool {
        let epoch_fits = [self.epoch, UNCOUNTED].contains(&block.epoch) || self.blank.load(Ordering::Relaxed);
        block.owner == self.config.node && epoch_fits
    }

    /// Makes the block's epoch this journal's, so that whoever had the block before finds it given away. `None`: somebody
    /// has changed the block meanwhile.
    pub(super) async fn take_over(&self, block: Block) -> Result<Option<Block>, StoreError> {
        if block.epoch == self.epoch || !self.store.writable() {
            return Ok(Some(block));
        }
        let key = StoreKey::Block(block.cidr).path();
        let Some(entry) = self.store.get(&key).await? else { return Ok(None) };
        if !matches!(keys::decode_fact(&key, &entry.value), Ok(Fact::Block(found)) if found == block) {
            return Ok(None);
        }
        let block = Block { epoch: self.epoch, ..block };
        let check = Check { key: key.clone(), revision: entry.revision };
        let value = keys::encode_fact(&Fact::Block(block.clone()));
        let outcome = self.store.transact(vec![check], vec![Write::Put { key, value }]).await?;
        Ok(matches!(outcome, TxnOutcome::Committed(_)).then_some(block))
    }

    /// A block that the store has as ours and we don't know.
    fn unknown_own_block(&self, blocks: &[Block], pool: &Pool, wanted: Option<IpAddr>) -> Option<Block> {
        let state = self.lock();
        let fits = |block: &&Block| {
            self.may_take_over(block)
                && block.pool == pool.name
                && !state.space.has_block(&block.cidr)
                && wanted.is_none_or(|wanted| block.cidr.contains(wanted))
        };
        blocks.iter().find(fits).cloned()
    }

    /// The unclaimed block in which the address lies.
    fn block_around(&self, address: IpAddr, pool: &Pool, blocks: &[Block]) -> Result<Cidr, IpamError> {
        let unavailable = |why: String| IpamError::Unavailable { address, why };
        let cidr = Cidr::new(address, pool.block_size).map_err(|error| unavailable(error.to_string()))?;
        match blocks.iter().find(|block| block.cidr.overlaps(&cidr)) {
            None => Ok(cidr),
            Some(block) => Err(unavailable(format!(
                "node {} owns its block {} (ask for one on that node, or, for an address that moves between nodes, \
                 give it an IPPool of its own with blockSize: {})",
                block.owner,
                block.cidr,
                pool.cidr.family().bits()
            ))),
        }
    }

    /// The journal knows the block before anything is given out of it.
    pub(super) async fn adopt(&self, block: Block) -> Result<(), AllocateError> {
        tracing::info!(block = %block.cidr, pool = %block.pool, "block claimed");
        self.journal.record(vec![JournalWrite::PutBlock(block.clone())]).await.map_err(AllocateError::Journal)?;
        let mut state = self.lock();
        state.space.add_block(block);
        self.tell_own(&state);
        Ok(())
    }
}

/// The epoch of blocks that are claimed with the journal of this incarnation: so short that a reader of JSON who has
/// nothing but floating point gets all of it.
pub(super) fn epoch_of(incarnation: &str) -> u64 {
    u64::from_str_radix(&stable_hash(["epoch", incarnation], 13), 16).expect("13 hexadecimal digits") | 2
}

/// The store's key of a pool.
pub(super) fn pool_key(pool: &PoolName) -> String {
    StoreKey::Object(ObjectKey { kind: Kind::IPPool, namespace: None, name: pool.to_string() }).path()
}

/// Without a store the node's own file gives the blocks: none is to be had beyond them.
fn static_fill(pool: &Pool, blocks: &[Block]) -> PoolFill {
    let given = blocks.iter().filter(|block| block.pool == pool.name).count() as u128;
    PoolFill { pool: pool.name.clone(), cidr: pool.cidr, block_size: pool.block_size, claimed: given, blocks: given }
}
