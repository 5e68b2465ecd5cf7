//! What the agent knows, as changes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::{
    Cidr, Endpoint, EndpointKey, HostEndpoint, InterfaceName, Labels, Network, NetworkName, NetworkSet, NetworkSetKey,
    Node, NodeName, Object, ObjectKey, Policy, Pool, PoolName, Profile, StagedPolicy, Tier, TunnelKind, Via,
};

/// A change of one fact. `None` and `false` take it away. The same change twice is the same as once.
#[derive(Clone, Debug, PartialEq)]
pub enum FactDelta {
    /// An endpoint of any node. Local ones (of [`Settings::node`]) come from the journal, the others from the store.
    Endpoint {
        node: NodeName,
        key: EndpointKey,
        endpoint: Option<Endpoint>,
    },
    Policy(ObjectKey, Option<Policy>),
    /// What is staged for the policy of the key.
    Staged(ObjectKey, Option<StagedPolicy>),
    Tier(String, Option<Tier>),
    NetworkSet(NetworkSetKey, Option<NetworkSet>),
    /// The labels of a namespace.
    Namespace(String, Option<Labels>),
    Profile(String, Option<Profile>),
    HostEndpoint(String, Option<HostEndpoint>),
    /// The addresses of an interface of this host, as far as host endpoints may expect them.
    HostAddresses(InterfaceName, Option<BTreeSet<IpAddr>>),
    /// The labels of a service account: its namespace, its name.
    ServiceAccount(String, String, Option<Labels>),
    Network(NetworkName, Option<Network>),
    Pool(PoolName, Option<Pool>),
    /// Whether this node owns the block.
    OwnBlock(Cidr, bool),
    Node(NodeName, Option<Node>),
    /// The next hops of a prefix's best paths; empty is a withdrawal too.
    Learned(Cidr, Option<Via>),
    /// Whether the kernel reaches a next hop through a router only.
    OffLink(IpAddr, bool),
    /// The gateways by which the host's own routes lead to a next hop that is behind routers; none: it is on a link.
    Gateways(IpAddr, Vec<IpAddr>),
    /// Whether this host has the address on its tunnel device.
    TunnelAddress(TunnelKind, IpAddr, bool),
}

impl Settings {
    /// Those of a node whose file says nothing but its name.
    pub fn new(node: NodeName) -> Settings {
        Settings {
            node,
            address4: None,
            address6: None,
            subnets: Vec::new(),
            underlay_mtu: 1500,
            vxlan_port: 4789,
            announce: Default::default(),
            mark_mask: 0xffff_0000,
            workload_to_host: false,
            networks_by_pool: false,
            log_rules: Default::default(),
            failsafe: Default::default(),
        }
    }
}

impl FactDelta {
    /// What an object of the cluster is as a fact.
    ///
    /// # Errors
    /// The object, where it is none: what is about BGP and reservations goes another way.
    pub fn of_object(object: Object) -> Result<FactDelta, Box<Object>> {
        Ok(match object {
            Object::IPPool(it) => FactDelta::Pool(it.name.clone(), Some(it)),
            Object::Node(it) => FactDelta::Node(it.name.clone(), Some(it)),
            Object::Network(it) => FactDelta::Network(it.name.clone(), Some(it)),
            Object::GlobalNetworkPolicy(it) | Object::NetworkPolicy(it) => FactDelta::Policy(it.key.clone(), Some(it)),
            Object::KubernetesNetworkPolicy(it) => FactDelta::Policy(it.key(), Some(it.to_policy())),
            Object::StagedGlobalNetworkPolicy(it) | Object::StagedNetworkPolicy(it) => {
                FactDelta::Staged(it.policy.key.clone(), Some(it))
            }
            Object::StagedKubernetesNetworkPolicy(it) => FactDelta::Staged(it.policy.key(), Some(it.to_staged())),
            Object::GlobalNetworkSet(it) | Object::NetworkSet(it) => FactDelta::NetworkSet(it.key(), Some(it)),
            Object::Namespace(it) => FactDelta::Namespace(it.name, Some(it.labels)),
            Object::ServiceAccount(it) => FactDelta::ServiceAccount(it.namespace, it.name, Some(it.labels)),
            Object::HostEndpoint(it) => FactDelta::HostEndpoint(it.name.clone(), Some(it)),
            Object::WorkloadEndpoint(it) => FactDelta::Endpoint {
                node: it.endpoint.node.clone(),
                key: it.endpoint.key.clone(),
                endpoint: Some(it.endpoint),
            },
            Object::Profile(it) => FactDelta::Profile(it.name.clone(), Some(it)),
            Object::Tier(it) => FactDelta::Tier(it.name.clone(), Some(it)),
            other @ (Object::BGPPeer(_)
            | Object::BGPFilter(_)
            | Object::BGPConfiguration(_)
            | Object::IPReservation(_)) => {
                return Err(Box::new(other));
            }
        })
    }
}

/// What does not change while the agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub node: NodeName,
    pub address4: Option<std::net::Ipv4Addr>,
    pub address6: Option<std::net::Ipv6Addr>,
    /// The prefixes that these addresses lie in.
    pub subnets: Vec<Cidr>,
    /// Bytes.
    pub underlay_mtu: u32,
    /// UDP port of VXLAN.
    pub vxlan_port: u16,
    pub announce: crate::model::config::Announce,
    /// The mark bits that are ours; at least two.
    pub mark_mask: u32,
    /// Whether workloads may open connections to their host (after their own egress policy).
    pub workload_to_host: bool,
    /// Without a store, a network's members are its pools' CIDRs, since remote endpoints are not known.
    pub networks_by_pool: bool,
    /// What rules with `action: Log` write.
    pub log_rules: crate::model::config::LogRules,
    /// What host endpoints always let in and out.
    pub failsafe: crate::model::config::Failsafe,
}
