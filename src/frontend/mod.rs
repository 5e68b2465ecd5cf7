//! Front-ends: dialects of attach and detach. Each translates what its runtime sends into [`AttachRequest`] and what
//! the agent answers into the runtime's words; [`Workloads`], [`Networks`] and [`Notes`] are all they know of the agent.

use std::collections::BTreeSet;
use std::net::IpAddr;

use async_trait::async_trait;
use routenet_core::model::{
    Cidr, Endpoint, EndpointKey, Family, Isolation, Labels, Network, NetworkName, Pool, PoolName, PublishedPort,
};

pub mod cni;
pub mod cnm;

/// A workload's interface that a runtime wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    pub key: EndpointKey,
    pub identity: Identity,
    /// The path of the workload's network namespace, as the agent can open it.
    pub netns: String,
    pub plug: Plug,
    /// Addresses that it must get, at most one of each family; the agent chooses the rest.
    pub addresses: Vec<IpAddr>,
    /// Under which those were reserved.
    pub reservations: Vec<EndpointKey>,
    /// `None`: the agent makes one from the key.
    pub mac: Option<[u8; 6]>,
    /// Bytes; `None`: the node's.
    pub mtu: Option<u32>,
    /// Ports of the host that are to lead to it.
    pub published: Vec<PublishedPort>,
    /// Whose it is to collect: [`routenet_core::model::Attachment::requester`].
    pub requester: Option<String>,
}

/// Who a workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub namespace: String,
    pub name: String,
    /// `None`: not known yet; nothing passes until it is.
    pub labels: Option<Labels>,
}

/// How the workload's end of the veth comes into the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plug {
    /// The agent makes and configures it there.
    Made,
    /// It waits on the host under [`EndpointKey::waiting_interface`] for the runtime, which moves and configures it; the
    /// workload routes through the next hop of this number ([`routenet_core::desired::next_hops`]).
    HandedOver { next_hop: u8 },
}

/// What a runtime tells later of an endpoint that is attached. `None`: as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    pub identity: Option<Identity>,
    pub published: Option<Vec<PublishedPort>>,
}

/// Why the agent could not do what a front-end asked. Every front-end has its own code for each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// No Network object of that name.
    UnknownNetwork,
    /// The namespace's path cannot be used.
    Namespace,
    /// The interface exists already in the workload.
    InterfaceExists,
    /// No address to give.
    PoolFull,
    /// The address that was asked for belongs to somebody else, or to no pool of the network.
    AddressUnavailable,
    /// Passing: the same call may succeed later.
    TryAgain,
    /// CHECK found something missing or changed.
    Broken,
    /// No such endpoint.
    Unknown,
    /// Pool or network cannot be as it was asked for.
    Refused,
    Internal,
}

/// `message` says what, to which object; `mend` what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({mend})")]
pub struct AttachError {
    pub kind: Failed,
    pub message: String,
    pub mend: String,
}

impl AttachError {
    pub fn new(kind: Failed, message: impl Into<String>, mend: impl Into<String>) -> Self {
        AttachError { kind, message: message.into(), mend: mend.into() }
    }
}

/// The agent's workloads, as front-ends see them.
#[async_trait]
pub trait Workloads: Send + Sync {
    /// Gives the workload its interface, with policy in place before the first packet. A failure leaves nothing.
    async fn attach(&self, request: AttachRequest) -> Result<Endpoint, AttachError>;
    /// Takes what is told later of an attached endpoint.
    async fn revise(&self, key: &EndpointKey, revision: Revision) -> Result<(), AttachError>;
    /// Takes the interface away and releases its addresses; nothing to take away is success.
    async fn detach(&self, key: &EndpointKey) -> Result<(), AttachError>;
    /// Whether everything of the endpoint is still as it was made, in the namespace that is its workload's now.
    async fn check(&self, key: &EndpointKey, netns: &str) -> Result<Endpoint, AttachError>;
    /// Everything attached here that is this requester's to collect.
    async fn attached(&self, requester: &str) -> Vec<EndpointKey>;
    /// Whether the network is known here and has an address left for a workload.
    async fn ready(&self, network: &NetworkName) -> Result<(), AttachError>;
}

/// A pool that a runtime wants to draw from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRequest {
    pub family: Family,
    /// `None`, and no network: one that is free, out of `bases`.
    pub cidr: Option<Cidr>,
    /// The pool of this family of a network that is there.
    pub network: Option<NetworkName>,
    /// What pools are cut from, and their prefix length.
    pub bases: Vec<(Cidr, u8)>,
}

/// A network that a runtime wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRequest {
    /// `None`: the network that draws from the first pool.
    pub name: Option<NetworkName>,
    pub pools: Vec<PoolName>,
    /// `None`: as it is, or the default.
    pub isolation: Option<Isolation>,
}

/// An address that waits for its endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    pub key: EndpointKey,
    pub address: IpAddr,
    /// Whether nobody can have a predecessor's rights by it any more; always, but for one that was asked for by name.
    pub rested: bool,
}

/// Pools and networks, for runtimes that make them. What was made for them goes with its last user.
#[async_trait]
pub trait Networks: Send + Sync {
    async fn join_pool(&self, request: &PoolRequest) -> Result<Pool, AttachError>;
    async fn leave_pool(&self, name: &PoolName) -> Result<(), AttachError>;
    /// The network, and its pools.
    async fn join_network(&self, request: &NetworkRequest) -> Result<(Network, Vec<Pool>), AttachError>;
    async fn leave_network(&self, name: &NetworkName) -> Result<(), AttachError>;
    /// Leaves all that this node has joined but these: what an earlier run joined and was killed before it knew.
    async fn leave_others(
        &self,
        networks: &BTreeSet<NetworkName>,
        pools: &BTreeSet<PoolName>,
    ) -> Result<(), AttachError>;
    /// An address of the pool under a key of its own, until an attach takes it over.
    async fn reserve(&self, pool: &PoolName, address: Option<IpAddr>) -> Result<Reserved, AttachError>;
    /// Nothing reserved is success.
    async fn unreserve(&self, key: &EndpointKey) -> Result<(), AttachError>;
    /// All reservations that no attach has taken over, whether or not whoever asked for one has ever heard of it.
    fn reservations(&self) -> Vec<EndpointKey>;
}

/// What a front-end must find again after a restart of the agent: texts under names of its own.
#[async_trait]
pub trait Notes: Send + Sync {
    /// On the disk when it answers; all or none. `None` removes.
    async fn write(&self, notes: Vec<(String, Option<String>)>) -> Result<(), AttachError>;
}
