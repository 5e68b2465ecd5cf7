//! Front-ends: dialects of attach and detach. Each translates what its runtime sends into [`AttachRequest`] and what
//! the agent answers into the runtime's words; [`Workloads`] is all they know of the agent.

use std::net::IpAddr;

use async_trait::async_trait;
use routenet_core::model::{Endpoint, EndpointKey, Labels, NetworkName};

pub mod cni;

/// A workload's interface that a runtime wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    pub key: EndpointKey,
    pub namespace: String,
    pub name: String,
    pub labels: Labels,
    /// The path of the workload's network namespace, as the agent can open it.
    pub netns: String,
    /// Addresses that it must get, at most one of each family; the agent chooses the rest.
    pub addresses: Vec<IpAddr>,
    /// `None`: the agent makes one from the key.
    pub mac: Option<[u8; 6]>,
    /// Bytes; `None`: the node's.
    pub mtu: Option<u32>,
    /// Whose it is to collect: [`routenet_core::model::Attachment::requester`].
    pub requester: Option<String>,
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

/// The agent, as front-ends see it.
#[async_trait]
pub trait Workloads: Send + Sync {
    /// Gives the workload its interface, with policy in place before the first packet. A failure leaves nothing.
    async fn attach(&self, request: AttachRequest) -> Result<Endpoint, AttachError>;
    /// Takes the interface away and releases its addresses; nothing to take away is success.
    async fn detach(&self, key: &EndpointKey) -> Result<(), AttachError>;
    /// Whether everything of the endpoint is still as it was made.
    async fn check(&self, key: &EndpointKey) -> Result<Endpoint, AttachError>;
    /// Everything attached here that is this requester's to collect.
    async fn attached(&self, requester: &str) -> Vec<EndpointKey>;
    /// Whether the network is known here and has an address left for a workload.
    async fn ready(&self, network: &NetworkName) -> Result<(), AttachError>;
}
