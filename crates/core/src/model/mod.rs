//! What a cluster is: the vocabulary that every other room speaks.
//!
//! Newtypes that cannot hold a wrong value, and the objects of the cluster. YAML and the node's configuration file
//! are read here too, into these types, with errors that name file, line, object, field and mend.

pub mod config;
pub mod endpoint;
pub mod filter;
mod filter_words;
pub mod keys;
pub mod kind;
pub mod kubernetes;
pub mod name;
pub mod net;
pub mod object;
pub mod peering;
pub mod policy;
pub mod resolution;
pub mod scope;
pub mod staged;
pub mod table;
pub mod validate;
pub mod via;
pub mod yaml;

pub use endpoint::{
    Attachment, Endpoint, EndpointKey, HostEndpoint, HostInterface, Labels, NamedPort, PublishedPort, Spoken,
    WORKLOAD_INTERFACES, WorkloadEndpoint,
};
pub use filter::BgpFilter;
pub use kubernetes::{
    KubernetesPeer, KubernetesPolicy, KubernetesPort, KubernetesPorts, KubernetesRule, LabelOperator, LabelRequirement,
    LabelSelector,
};
pub use name::{InterfaceName, NetworkName, NodeName, PoolName, stable_hash};
pub use net::{Cidr, CidrError, Family};
pub use object::*;
pub use policy::*;
pub use resolution::{NoWay, Resolution};
pub use staged::{StagedAction, StagedKubernetesPolicy, StagedPolicy, staged_for};
pub use via::Via;
