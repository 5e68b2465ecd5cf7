//! Carries out what `routenet_core::ipam` decides: claims blocks through the cluster store, gives addresses out of
//! own blocks by the journal alone, and knows this node's endpoints. Called by attach and detach, the publisher
//! and the loop.
//!
//! An ADD inside an own block makes no round trip to the store. Memory is changed and the journal's write is queued
//! under one lock, so both see one order; answers wait for the commit, outside of it.

mod blocks;
mod claim;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};

use routenet_core::ipam::{AddressState, BlockFill, IpamError, Pick, Space, check_room, usable_pools};
use routenet_core::model::{
    Block, Cidr, Endpoint, EndpointKey, Family, Labels, Network, NetworkName, NodeName, Pool, PoolName,
};
use routenet_core::time::Time;

use crate::store::{ClusterStore, Journal, JournalState, JournalWrite, StoreError};

/// What an allocator is told once.
#[derive(Clone, Debug)]
pub struct AllocatorConfig {
    pub node: NodeName,
    /// For the node selectors of pools.
    pub labels: Labels,
    /// How long an address rests after the store acknowledged its withdrawal.
    pub cooldown: Duration,
}

/// A request for the addresses of one endpoint: one of each family that the network's pools have.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub key: &'a EndpointKey,
    pub network: &'a Network,
    /// All pools of the cluster, as the facts have them.
    pub pools: &'a BTreeMap<PoolName, Pool>,
    /// Addresses that are asked for by name; at most one of each family.
    pub wanted: &'a [IpAddr],
    /// Whether a wanted address may still rest: who asks answers for it that nobody has a predecessor's rights.
    pub early: bool,
}

/// Why an endpoint got no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    #[error(transparent)]
    Ipam(#[from] IpamError),
    /// A block must be claimed for it, and the cluster store cannot or will not.
    #[error("a block must be claimed: {0}")]
    Claim(StoreError),
    #[error(transparent)]
    Journal(StoreError),
}

impl AllocateError {
    /// Whether the same request may succeed a little later (CNI code 11).
    pub fn try_again(&self) -> bool {
        match self {
            AllocateError::Ipam(error) => error.try_again(),
            AllocateError::Claim(error) | AllocateError::Journal(error) => matches!(error, StoreError::Away(_)),
        }
    }
}

/// This node's addresses and endpoints.
pub struct Allocator {
    store: Arc<dyn ClusterStore>,
    journal: Arc<Journal>,
    config: AllocatorConfig,
    /// Of the blocks that are claimed with this journal: another machine of the same name has another one.
    epoch: u64,
    clock: Clock,
    /// Whether the journal was blank at the start: what is published under this node's name is then its own from
    /// before its state directory was lost.
    blank: AtomicBool,
    state: Mutex<State>,
    /// One claim, give-back or reconciliation at a time: concurrent ADDs that find the blocks full wait for one block.
    claiming: tokio::sync::Mutex<()>,
    own: watch::Sender<BTreeSet<Cidr>>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    space: Space,
    /// What each endpoint holds.
    handles: BTreeMap<EndpointKey, Vec<IpAddr>>,
    endpoints: BTreeMap<EndpointKey, Endpoint>,
    /// Released, and perhaps still published.
    unacknowledged: BTreeMap<IpAddr, EndpointKey>,
    /// Blocks that hold addresses of ours but belong to another by the store's word, and why.
    lost: BTreeMap<Cidr, String>,
    /// Blocks on their way back: whether the store still has them as ours is not certain.
    leaving: BTreeSet<Cidr>,
    /// How often in a row a block was found empty.
    empty_looks: BTreeMap<Cidr, u8>,
    /// Endpoints that changed since the publisher last asked.
    dirty: BTreeSet<EndpointKey>,
}

type Commit = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// One attempt to place an endpoint.
enum Step {
    Placed { addresses: Vec<IpAddr>, before: Vec<(IpAddr, AddressState)>, commit: Commit },
    Need(Need),
}

/// What must be claimed before an endpoint can be placed.
struct Need {
    network: NetworkName,
    family: Family,
    /// Pools of that family that may be drawn from, in the network's order.
    pools: Vec<Pool>,
    wanted: Option<IpAddr>,
    early: bool,
    /// What rests in own blocks meanwhile: how many, ready when.
    cooling: Option<(usize, Option<Time>)>,
}

impl Allocator {
    /// Begins with what the journal says; [`Allocator::reconcile`] compares that with the store. Blocks on the disk.
    pub fn start(
        store: Arc<dyn ClusterStore>,
        journal: Arc<Journal>,
        config: AllocatorConfig,
    ) -> Result<Allocator, StoreError> {
        let loaded = journal.load()?;
        let clock = Clock::start();
        let blank = loaded.is_blank();
        let state = State::from_journal(loaded, clock.now());
        let own = watch::Sender::new(state.own());
        let epoch = claim::epoch_of(journal.incarnation());
        Ok(Allocator {
            store,
            journal,
            config,
            epoch,
            clock,
            blank: AtomicBool::new(blank),
            state: Mutex::new(state),
            claiming: tokio::sync::Mutex::default(),
            own,
            changed: Notify::new(),
        })
    }

    /// The endpoint's addresses: those that it has, else new ones, committed to the journal. All families or none.
    pub async fn allocate(&self, request: &Request<'_>) -> Result<Vec<IpAddr>, AllocateError> {
        self.place(request, |_| None).await
    }

    /// As [`Allocator::allocate`], and in the same commit records the endpoint that `make` builds of the addresses.
    pub async fn attach(
        &self,
        request: &Request<'_>,
        make: impl Fn(&[IpAddr]) -> Endpoint + Send + Sync,
    ) -> Result<Endpoint, AllocateError> {
        let addresses = self.place(request, |addresses| Some(make(addresses))).await?;
        Ok(make(&addresses))
    }

    async fn place(
        &self,
        request: &Request<'_>,
        make: impl Fn(&[IpAddr]) -> Option<Endpoint> + Send + Sync,
    ) -> Result<Vec<IpAddr>, AllocateError> {
        // Each round that ends in another one has seen a block claimed: the pools bound their number.
        loop {
            let (addresses, before, commit) = match self.try_place(request, &make)? {
                Step::Placed { addresses, before, commit } => (addresses, before, commit),
                Step::Need(need) => {
                    self.claim(&need).await?;
                    continue;
                }
            };
            let outcome = commit.await;
            if outcome.is_err() {
                self.unplace(request.key, &before);
            } else {
                self.changed.notify_one();
            }
            return outcome.map(|()| addresses).map_err(AllocateError::Journal);
        }
    }

    fn try_place(
        &self,
        request: &Request<'_>,
        make: &impl Fn(&[IpAddr]) -> Option<Endpoint>,
    ) -> Result<Step, IpamError> {
        let mut state = self.lock();
        let key = request.key;
        let (addresses, fresh) = match state.handles.get(key) {
            Some(addresses) => (addresses.clone(), false),
            None => match self.pick_all(&mut state, request)? {
                Ok(addresses) => (addresses, true),
                Err(need) => return Ok(Step::Need(need)),
            },
        };
        let mut before = Vec::new();
        if fresh {
            for address in &addresses {
                before.push((*address, state.space.state(*address).unwrap_or(AddressState::Fresh)));
                state.space.hold(*address);
                state.unacknowledged.remove(address);
            }
            state.handles.insert(key.clone(), addresses.clone());
        }
        // Also where nothing is new: the answer must not come before the commit of whoever was first.
        let mut writes = vec![JournalWrite::Allocate { key: key.clone(), addresses: addresses.clone() }];
        if let Some(endpoint) = make(&addresses) {
            writes.push(JournalWrite::PutEndpoint(Box::new(endpoint.clone())));
            state.endpoints.insert(key.clone(), endpoint);
            state.dirty.insert(key.clone());
        }
        let commit = Box::pin(self.journal.submit(writes));
        Ok(Step::Placed { addresses, before, commit })
    }

    /// One address of each family, or what must be claimed for it.
    fn pick_all(&self, state: &mut State, request: &Request<'_>) -> Result<Result<Vec<IpAddr>, Need>, IpamError> {
        let usable = usable_pools(request.network, request.pools, &self.config.labels)?;
        if let Some(stranger) =
            request.wanted.iter().find(|wanted| !usable.iter().any(|pool| pool.cidr.contains(**wanted)))
        {
            let why = format!("it lies in none of the pools that network {} may use here", request.network.name);
            return Err(IpamError::Unavailable { address: *stranger, why });
        }
        let mut addresses = Vec::new();
        for family in Family::BOTH {
            let pools: Vec<Pool> =
                usable.iter().filter(|pool| pool.cidr.family() == family).map(|pool| (*pool).clone()).collect();
            if pools.is_empty() {
                continue;
            }
            let wanted = request.wanted.iter().copied().find(|wanted| Family::of(*wanted) == family);
            let early = request.early;
            let mut need = Need { network: request.network.name.clone(), family, pools, wanted, early, cooling: None };
            match self.pick(state, &mut need)? {
                Some(address) => addresses.push(address),
                None => return Ok(Err(need)),
            }
        }
        Ok(Ok(addresses))
    }

    /// An address for the need out of own blocks; `None`: a block must be claimed, and what rests is noted.
    fn pick(&self, state: &mut State, need: &mut Need) -> Result<Option<IpAddr>, IpamError> {
        let (now, cooldown) = (self.clock.now(), self.config.cooldown);
        if let Some(address) = need.wanted {
            return match state.space.pick_exactly(address, now, cooldown) {
                Pick::Address(address) => Ok(Some(address)),
                Pick::Cooling { .. } if need.early => Ok(Some(address)),
                Pick::Cooling { resting, ready } => Err(need.cooling_error(resting, ready, now)),
                Pick::Full => match state.space.block_of(address) {
                    None => Ok(None),
                    Some(_) => Err(IpamError::Unavailable { address, why: state.holder(address) }),
                },
            };
        }
        need.cooling = None;
        for pool in &need.pools {
            match state.space.pick(&pool.name, need.family, now, cooldown) {
                Pick::Address(address) => return Ok(Some(address)),
                Pick::Cooling { resting, ready } => {
                    let (all, first) = need.cooling.unwrap_or((0, None));
                    let earliest = [first, ready].into_iter().flatten().min();
                    need.cooling = Some((all + resting, earliest));
                }
                Pick::Full => {}
            }
        }
        Ok(None)
    }

    /// Undoes a placement that the journal refused.
    fn unplace(&self, key: &EndpointKey, before: &[(IpAddr, AddressState)]) {
        if before.is_empty() {
            return;
        }
        let mut state = self.lock();
        for (address, was) in before {
            state.space.unhold(*address, *was);
        }
        state.handles.remove(key);
        state.endpoints.remove(key);
        state.dirty.insert(key.clone());
    }

    /// Gives back what the endpoint holds; done when the journal has it. Answers whether there was anything.
    pub async fn release(&self, key: &EndpointKey) -> Result<bool, StoreError> {
        let (addresses, endpoint, commit) = {
            let mut state = self.lock();
            let addresses = state.handles.remove(key);
            let endpoint = state.endpoints.remove(key);
            if addresses.is_none() && endpoint.is_none() {
                return Ok(false);
            }
            let addresses = addresses.unwrap_or_default();
            let at = self.clock.now();
            for address in &addresses {
                state.space.rest(*address, at);
                state.unacknowledged.insert(*address, key.clone());
            }
            state.dirty.insert(key.clone());
            (addresses, endpoint, self.journal.submit(vec![JournalWrite::Release { key: key.clone(), at }]))
        };
        let outcome = commit.await;
        if outcome.is_err() {
            let mut state = self.lock();
            for address in &addresses {
                state.space.hold(*address);
                state.unacknowledged.remove(address);
            }
            state.handles.insert(key.clone(), addresses);
            state.endpoints.extend(endpoint.map(|endpoint| (key.clone(), endpoint)));
            state.dirty.insert(key.clone());
        }
        self.changed.notify_one();
        outcome.map(|()| true)
    }

    /// Replaces an endpoint that is there (its labels changed, say); its addresses stay.
    pub async fn update(&self, endpoint: Endpoint) -> Result<(), StoreError> {
        let commit = {
            let mut state = self.lock();
            let key = endpoint.key.clone();
            state.endpoints.insert(key.clone(), endpoint.clone());
            state.dirty.insert(key);
            self.journal.submit(vec![JournalWrite::PutEndpoint(Box::new(endpoint))])
        };
        commit.await?;
        self.changed.notify_one();
        Ok(())
    }

    pub fn node(&self) -> &NodeName {
        &self.config.node
    }

    /// The endpoints of this node.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.lock().endpoints.values().cloned().collect()
    }

    pub fn endpoint(&self, key: &EndpointKey) -> Option<Endpoint> {
        self.lock().endpoints.get(key).cloned()
    }

    /// Which endpoint holds the address.
    pub fn holder(&self, address: IpAddr) -> Option<EndpointKey> {
        let state = self.lock();
        state.handles.iter().find(|(_, held)| held.contains(&address)).map(|(key, _)| key.clone())
    }

    /// What is given out only to who asks for it by name.
    pub fn set_reserved(&self, reserved: Vec<Cidr>) {
        self.lock().space.set_reserved(reserved);
    }

    fn reserved(&self) -> Vec<Cidr> {
        self.lock().space.reserved().to_vec()
    }

    /// How an address of an own block stands.
    pub fn state_of(&self, address: IpAddr) -> Option<AddressState> {
        self.lock().space.state_at(address, self.clock.now(), self.config.cooldown)
    }

    /// What is held under keys of this container id, which belong to no container.
    pub fn held_as(&self, container_id: &str) -> Vec<(EndpointKey, Vec<IpAddr>)> {
        let state = self.lock();
        let held = state.handles.iter().filter(|(key, _)| key.container_id == container_id);
        held.map(|(key, addresses)| (key.clone(), addresses.clone())).collect()
    }

    /// What is held under keys that no endpoint has: reserved, a tunnel device's, or left by a crash.
    pub fn held_without_endpoint(&self) -> Vec<(EndpointKey, Vec<IpAddr>)> {
        let state = self.lock();
        let held = state.handles.iter().filter(|(key, _)| !state.endpoints.contains_key(key));
        held.map(|(key, addresses)| (key.clone(), addresses.clone())).collect()
    }

    /// Whether an address is free of its last holder: its cooldown has run, or nobody had it.
    pub fn has_rested(&self, address: IpAddr) -> bool {
        let picked = self.lock().space.pick_exactly(address, self.clock.now(), self.config.cooldown);
        !matches!(picked, Pick::Cooling { .. })
    }

    /// The blocks that this node owns and may blackhole and announce, as they change.
    pub fn own_blocks(&self) -> watch::Receiver<BTreeSet<Cidr>> {
        self.own.subscribe()
    }

    /// The own blocks and how full they are.
    pub fn fill(&self) -> Vec<BlockFill> {
        self.lock().space.fill(self.clock.now(), self.config.cooldown)
    }

    /// Whether an allocation in the network could succeed, given every block that is claimed in the cluster.
    ///
    /// # Errors
    /// What the allocation would say.
    pub fn check_room(
        &self,
        network: &Network,
        pools: &BTreeMap<PoolName, Pool>,
        claimed: &[Block],
    ) -> Result<(), AllocateError> {
        Ok(check_room(network, pools, &self.config.labels, &self.fill(), claimed, &self.reserved(), &self.config.node)?)
    }

    /// Blocks in which endpoints of this node have addresses although another node owns them, and what to do.
    pub fn lost_blocks(&self) -> BTreeMap<Cidr, String> {
        self.lock().lost.clone()
    }

    /// Ends when something is to be published.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Which endpoints changed since the last call.
    pub(super) fn take_dirty(&self) -> BTreeSet<EndpointKey> {
        std::mem::take(&mut self.lock().dirty)
    }

    /// Released addresses that may still be published, and whose they were.
    pub(super) fn unacknowledged(&self) -> BTreeMap<IpAddr, EndpointKey> {
        self.lock().unacknowledged.clone()
    }

    /// The store has them no more: their cooldown begins.
    pub(super) async fn acknowledge(&self, addresses: Vec<IpAddr>) -> Result<(), StoreError> {
        let commit = {
            let mut state = self.lock();
            let at = self.clock.now();
            for address in &addresses {
                state.space.acknowledge(*address, at);
                state.unacknowledged.remove(address);
            }
            self.journal.submit(vec![JournalWrite::Acknowledge { addresses, at }])
        };
        commit.await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the state is locked")
    }

    /// Tells who follows [`Allocator::own_blocks`], if they changed.
    fn tell_own(&self, state: &State) {
        let own = state.own();
        self.own.send_if_modified(|told| {
            let differs = *told != own;
            *told = own;
            differs
        });
    }
}

impl State {
    fn from_journal(loaded: JournalState, now: Time) -> State {
        let mut state = State::default();
        for block in loaded.blocks {
            state.space.add_block(block);
        }
        for (address, key) in loaded.allocations {
            state.space.hold(address);
            state.handles.entry(key).or_default().push(address);
        }
        for released in loaded.released {
            // A clock that was set back while the agent was down must not make the rest endless.
            state.space.rest(released.address, released.released.min(now));
            match released.acknowledged {
                Some(at) => state.space.acknowledge(released.address, at.min(now)),
                None => {
                    state.unacknowledged.insert(released.address, released.key);
                }
            }
        }
        state.dirty = loaded.endpoints.iter().map(|endpoint| endpoint.key.clone()).collect();
        state.endpoints = loaded.endpoints.into_iter().map(|endpoint| (endpoint.key.clone(), endpoint)).collect();
        state
    }

    fn own(&self) -> BTreeSet<Cidr> {
        self.space.blocks().map(|block| block.cidr).filter(|cidr| !self.lost.contains_key(cidr)).collect()
    }

    fn block(&self, cidr: &Cidr) -> Option<&Block> {
        self.space.blocks().find(|block| block.cidr == *cidr)
    }

    fn holder(&self, address: IpAddr) -> String {
        match self.handles.iter().find(|(_, held)| held.contains(&address)) {
            Some((key, _)) => format!("endpoint {key} has it"),
            None => "its block is not given out from at the moment".into(),
        }
    }
}

impl Need {
    fn cooling_error(&self, resting: usize, ready: Option<Time>, now: Time) -> IpamError {
        let ready_in = ready.map(|ready| ready.since(now));
        IpamError::Cooling { network: self.network.clone(), family: self.family, resting, ready_in }
    }
}

/// Time since the Unix epoch that never goes back while the agent runs.
struct Clock {
    origin: Duration,
    started: Instant,
}

impl Clock {
    fn start() -> Clock {
        let origin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clock { origin, started: Instant::now() }
    }

    fn now(&self) -> Time {
        Time::from(self.origin + self.started.elapsed())
    }
}
