//! Attach, detach and check: what every front-end's dialect comes down to. Called by the front-ends.
//!
//! The order of an attach: addresses and endpoint in the journal, then the endpoint as a fact, which the engine brings
//! to the kernel. A failure goes the same way backwards, so a failed ADD leaves nothing.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use routenet_core::desired::encapsulation::workload_mtu;
use routenet_core::desired::{FactDelta, Link};
use routenet_core::ipam::IpamError;
use routenet_core::model::{
    Attachment, Block, Endpoint, EndpointKey, Network, NetworkName, NodeName, Pool, PoolName, Spoken, stable_hash,
};
use tokio::sync::{Mutex, MutexGuard};
use tracing::{info, warn};

use crate::agent::allocator::{AllocateError, Allocator, Request};
use crate::agent::cluster::ClusterView;
use crate::agent::engine::Engine;
use crate::frontend::{AttachError, AttachRequest, Failed, Identity, Plug, Revision, Workloads};
use crate::plane::link::{EXISTS_ALREADY, LinkPlane, check_workload_namespace};
use crate::plane::reach;
use crate::plane::rules::RulesPlane;

/// So many endpoints can be attached or detached at once; those that share a lock wait for each other.
const LOCKS: usize = 64;

/// What somebody applied at another node is known here by then, if the store is well.
const NEWS_TRAVEL: Duration = Duration::from_secs(1);

/// What MTU a workload gets that asks for none, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct WorkloadMtu {
    /// Of the node's configuration.
    pub given: Option<u32>,
    pub underlay: u32,
    /// Whether tunnels go over IPv4.
    pub outer_is_ipv4: bool,
}

impl WorkloadMtu {
    fn of(&self, network: &Network, pools: &BTreeMap<PoolName, Pool>) -> u32 {
        let own = network.pools.iter().filter_map(|name| pools.get(name));
        self.given.unwrap_or_else(|| workload_mtu(self.underlay, self.outer_is_ipv4, own))
    }
}

/// The workloads of this node.
pub struct LocalWorkloads {
    node: NodeName,
    mtu: WorkloadMtu,
    allocator: Arc<Allocator>,
    cluster: Arc<ClusterView>,
    engine: Engine,
    links: LinkPlane,
    rules: RulesPlane,
    locks: [Mutex<()>; LOCKS],
}

impl LocalWorkloads {
    pub fn new(
        node: NodeName,
        mtu: WorkloadMtu,
        allocator: Arc<Allocator>,
        cluster: Arc<ClusterView>,
        engine: Engine,
        links: LinkPlane,
        rules: RulesPlane,
    ) -> Self {
        LocalWorkloads {
            node,
            mtu,
            allocator,
            cluster,
            engine,
            links,
            rules,
            locks: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// One change of an endpoint at a time, so that a DEL never overtakes the ADD it undoes.
    async fn lock(&self, key: &EndpointKey) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.locks[hasher.finish() as usize % LOCKS].lock().await
    }

    async fn network(&self, name: &NetworkName) -> Result<(Network, BTreeMap<PoolName, Pool>), AttachError> {
        self.cluster.network_within(NEWS_TRAVEL, name).await.ok_or_else(|| {
            let mend = "apply a Network object of that name, or name another by `network` in the network configuration";
            AttachError::new(Failed::UnknownNetwork, format!("there is no network `{name}`"), mend)
        })
    }

    fn fact(&self, key: &EndpointKey, endpoint: Option<Endpoint>) -> Vec<FactDelta> {
        vec![FactDelta::Endpoint { node: self.node.clone(), key: key.clone(), endpoint }]
    }

    async fn attach_locked(&self, request: AttachRequest) -> Result<Endpoint, AttachError> {
        let key = request.key.clone();
        if let Some(present) = self.allocator.endpoint(&key) {
            if self.links.check(link(&present)?).await.is_empty() {
                let message = format!("{key} is attached already");
                return Err(AttachError::new(Failed::InterfaceExists, message, "detach it first (DEL)"));
            }
            info!(endpoint = %key, "what an earlier workload left is removed first");
            self.detach_locked(&key).await?;
        }
        let (handed_over, next_hop) = match request.plug {
            Plug::Made => (false, 1),
            Plug::HandedOver { next_hop } => (true, next_hop),
        };
        if !handed_over {
            check_workload_namespace(&request.netns).map_err(|what| {
                AttachError::new(Failed::Namespace, what, "hand over the workload's own namespace (CNI_NETNS)")
            })?;
        }
        let (network, pools) = self.network(&key.network).await?;
        self.refuse_taken_ports(&request)?;
        let mac = request.mac.unwrap_or_else(|| mac_of(&key));
        let mut identity = request.identity.clone();
        let spoken = identity
            .labels
            .as_mut()
            .map(Spoken::take)
            .transpose()
            .map_err(|what| AttachError::new(Failed::Refused, what, "correct the label"))?;
        let spoken = spoken.unwrap_or_default();
        let attachment = Attachment {
            requester: request.requester.clone(),
            handed_over,
            next_hop,
            closed: identity.labels.is_none(),
            published: request.published.clone(),
            ..Attachment::new(request.netns.clone(), mac, request.mtu.unwrap_or_else(|| self.mtu.of(&network, &pools)))
        };
        let node = self.node.clone();
        let make = |addresses: &[IpAddr]| Endpoint {
            key: request.key.clone(),
            node: node.clone(),
            namespace: identity.namespace.clone(),
            name: identity.name.clone(),
            service_account: spoken.service_account.clone(),
            profiles: spoken.profiles.clone(),
            labels: identity.labels.clone().unwrap_or_default(),
            ports: spoken.ports.clone(),
            addresses: addresses.to_vec(),
            interface: None,
            attachment: Some(attachment.clone()),
        };
        let reserved = self.allocator.transfer(&request.reservations, &key).await;
        reserved.map_err(|error| AttachError::new(Failed::TryAgain, error.to_string(), "routectl status says more"))?;
        let early = !request.reservations.is_empty();
        let wanted = Request { key: &key, network: &network, pools: &pools, wanted: &request.addresses, early };
        let endpoint = match self.allocator.attach(&wanted, make).await {
            Ok(endpoint) => endpoint,
            Err(error) => {
                // What was reserved is under this key by now, where nobody else would look for it.
                self.release_stray(&key).await?;
                return Err(allocation_failed(error));
            }
        };
        if let Err(error) = self.engine.apply(self.fact(&key, Some(endpoint.clone()))).await {
            if let Err(left) = self.detach_locked(&key).await {
                warn!(endpoint = %key, error = %left, "what a failed attach made cannot be removed yet");
            }
            return Err(not_programmed(&key, error.to_string()));
        }
        info!(endpoint = %key, addresses = ?endpoint.addresses, "attached");
        Ok(endpoint)
    }

    /// A port of this host leads to one workload.
    fn refuse_taken_ports(&self, request: &AttachRequest) -> Result<(), AttachError> {
        for endpoint in self.allocator.endpoints().iter().filter(|endpoint| endpoint.key != request.key) {
            let theirs = endpoint.attachment.iter().flat_map(|attachment| &attachment.published);
            if let Some(port) = theirs.into_iter().find(|port| request.published.iter().any(|own| own.excludes(port))) {
                let message =
                    format!("port {}/{} leads to {} already", port.host_port, port.protocol, endpoint.display_name());
                return Err(AttachError::new(Failed::Refused, message, "publish another port of the host"));
            }
        }
        Ok(())
    }

    async fn revise_locked(&self, key: &EndpointKey, revision: Revision) -> Result<(), AttachError> {
        let Some(mut endpoint) = self.allocator.endpoint(key) else { return Err(unknown(key)) };
        let Some(attachment) = &mut endpoint.attachment else { return Err(unknown(key)) };
        if let Some(published) = revision.published {
            attachment.published = published;
        }
        if let Some(Identity { namespace, name, labels }) = revision.identity {
            attachment.closed = labels.is_none();
            let mut labels = labels.unwrap_or_default();
            // The workload runs already: what of its labels makes no sense is left out, and told.
            let spoken = Spoken::take(&mut labels).unwrap_or_else(|what| {
                warn!(endpoint = %key, %what, "the ports of this workload have no names");
                Spoken::default()
            });
            (endpoint.namespace, endpoint.name, endpoint.labels) = (namespace, name, labels);
            (endpoint.service_account, endpoint.ports) = (spoken.service_account, spoken.ports);
            endpoint.profiles = spoken.profiles;
        }
        let failed = |what: String| AttachError::new(Failed::TryAgain, what, "routectl status says more");
        self.allocator.update(endpoint.clone()).await.map_err(|error| failed(error.to_string()))?;
        self.engine.apply(self.fact(key, Some(endpoint))).await.map_err(|error| failed(error.to_string()))
    }

    /// What is held under the key without an endpoint: what was reserved had become the key's, and then the agent ended or
    /// the journal refused the rest.
    async fn release_stray(&self, key: &EndpointKey) -> Result<(), AttachError> {
        let released = self.allocator.release(key).await.map_err(|error| {
            let mend = "the call may be repeated; routectl status says more";
            AttachError::new(Failed::TryAgain, format!("the addresses of {key} cannot be released: {error}"), mend)
        })?;
        if released {
            info!(endpoint = %key, "addresses that were held for an endpoint which never came are released");
        }
        Ok(())
    }

    /// In reverse: announcement, route and link while its sets still hold it, then the sets, then the addresses.
    async fn detach_locked(&self, key: &EndpointKey) -> Result<(), AttachError> {
        let Some(endpoint) = self.allocator.endpoint(key) else { return self.release_stray(key).await };
        let unplugged = Endpoint { attachment: None, ..endpoint.clone() };
        let failed = |what: String| {
            let message = format!("{key} cannot be taken out of the kernel: {what}");
            AttachError::new(Failed::TryAgain, message, "the call may be repeated; routectl status says more")
        };
        self.engine.apply(self.fact(key, Some(unplugged))).await.map_err(|error| failed(error.to_string()))?;
        self.engine.apply(self.fact(key, None)).await.map_err(|error| failed(error.to_string()))?;
        self.allocator.release(key).await.map_err(|error| failed(error.to_string()))?;
        info!(endpoint = %key, "detached");
        Ok(())
    }
}

#[async_trait]
impl Workloads for LocalWorkloads {
    async fn attach(&self, request: AttachRequest) -> Result<Endpoint, AttachError> {
        let _turn = self.lock(&request.key).await;
        self.attach_locked(request).await
    }

    async fn detach(&self, key: &EndpointKey) -> Result<(), AttachError> {
        let _turn = self.lock(key).await;
        self.detach_locked(key).await
    }

    async fn revise(&self, key: &EndpointKey, revision: Revision) -> Result<(), AttachError> {
        let _turn = self.lock(key).await;
        self.revise_locked(key, revision).await
    }

    async fn check(&self, key: &EndpointKey, netns: &str) -> Result<Endpoint, AttachError> {
        let Some(endpoint) = self.allocator.endpoint(key) else { return Err(unknown(key)) };
        let mut found = self.links.check(Link { netns: netns.to_string(), ..link(&endpoint)? }).await;
        let interface = key.host_interface();
        match reach::astray(&endpoint.addresses, interface.as_str()) {
            Ok(astray) => found.extend(
                astray.iter().map(|address| format!("the host's route to {address} does not lead to {interface}")),
            ),
            Err(error) => found.push(format!("the host's routes cannot be asked: {error}")),
        }
        match self.rules.verify(endpoint.addresses.clone()).await {
            Ok(words) => found.extend(words),
            Err(error) => found.push(error.to_string()),
        }
        if found.is_empty() {
            return Ok(endpoint);
        }
        let message = format!("{key}: {}", found.join("; "));
        Err(AttachError::new(Failed::Broken, message, "detach the workload and attach it again"))
    }

    async fn attached(&self, requester: &str) -> Vec<EndpointKey> {
        let of_requester = |endpoint: &Endpoint| {
            endpoint.attachment.as_ref().is_some_and(|attachment| attachment.requester.as_deref() == Some(requester))
        };
        self.allocator.endpoints().into_iter().filter(of_requester).map(|endpoint| endpoint.key).collect()
    }

    async fn ready(&self, network: &NetworkName) -> Result<(), AttachError> {
        let (network, pools) = self.network(network).await?;
        let claimed: Vec<Block> = self.cluster.read().blocks.values().cloned().collect();
        self.allocator.check_room(&network, &pools, &claimed).map_err(allocation_failed)
    }
}

/// A locally administered, unicast address that is the same for the same endpoint each time.
fn mac_of(key: &EndpointKey) -> [u8; 6] {
    let hash = stable_hash(["mac", key.network.as_str(), &key.container_id, key.ifname.as_str()], 10);
    let byte = |index: usize| u8::from_str_radix(&hash[2 * index..2 * index + 2], 16).unwrap_or(0);
    [0x02, byte(0), byte(1), byte(2), byte(3), byte(4)]
}

fn unknown(key: &EndpointKey) -> AttachError {
    AttachError::new(Failed::Unknown, format!("{key} is not attached here"), "attach it (ADD)")
}

fn link(endpoint: &Endpoint) -> Result<Link, AttachError> {
    Link::of(endpoint).ok_or_else(|| unknown(&endpoint.key))
}

pub(super) fn allocation_failed(error: AllocateError) -> AttachError {
    let message = error.to_string();
    let kind = match &error {
        error if error.try_again() => Failed::TryAgain,
        AllocateError::Ipam(IpamError::NoPool { .. }) => Failed::UnknownNetwork,
        AllocateError::Ipam(IpamError::Unavailable { .. }) => Failed::AddressUnavailable,
        AllocateError::Ipam(_) => Failed::PoolFull,
        AllocateError::Claim(_) | AllocateError::Journal(_) => Failed::Internal,
    };
    AttachError::new(kind, message, "routectl ipam show lists pools and blocks")
}

fn not_programmed(key: &EndpointKey, what: String) -> AttachError {
    if what.contains(EXISTS_ALREADY) {
        return AttachError::new(
            Failed::InterfaceExists,
            what,
            "remove it, or ask for another interface name (CNI_IFNAME)",
        );
    }
    AttachError::new(Failed::Internal, format!("{key}: {what}"), "routectl status says more")
}
