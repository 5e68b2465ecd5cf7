//! Kinds and keys of objects: their names, the words people use for them, and which object has which key.

use std::fmt;

use super::{Kind, Object, ObjectKey};

/// `apiVersion` of the kinds that Calico has.
pub const CALICO_VERSION: &str = "projectcalico.org/v3";
/// `apiVersion` of the kinds that are the core of Kubernetes.
pub const CORE_VERSION: &str = "v1";
/// `apiVersion` of what Kubernetes has for the network.
pub const KUBERNETES_VERSION: &str = "networking.k8s.io/v1";
/// `apiVersion` of our own kinds.
pub const OWN_VERSION: &str = "routenet/v1";

impl Kind {
    pub const ALL: [Kind; 21] = [
        Kind::IPPool,
        Kind::Node,
        Kind::Network,
        Kind::GlobalNetworkPolicy,
        Kind::NetworkPolicy,
        Kind::GlobalNetworkSet,
        Kind::BGPPeer,
        Kind::BGPFilter,
        Kind::BGPConfiguration,
        Kind::IPReservation,
        Kind::Tier,
        Kind::NetworkSet,
        Kind::Namespace,
        Kind::ServiceAccount,
        Kind::HostEndpoint,
        Kind::WorkloadEndpoint,
        Kind::Profile,
        Kind::KubernetesNetworkPolicy,
        Kind::StagedGlobalNetworkPolicy,
        Kind::StagedNetworkPolicy,
        Kind::StagedKubernetesNetworkPolicy,
    ];

    /// What people call it; behind `kind:` it stands as [`written`](Self::written).
    pub const fn name(self) -> &'static str {
        match self {
            Kind::IPPool => "IPPool",
            Kind::Node => "Node",
            Kind::Network => "Network",
            Kind::GlobalNetworkPolicy => "GlobalNetworkPolicy",
            Kind::NetworkPolicy => "NetworkPolicy",
            Kind::GlobalNetworkSet => "GlobalNetworkSet",
            Kind::BGPPeer => "BGPPeer",
            Kind::BGPFilter => "BGPFilter",
            Kind::BGPConfiguration => "BGPConfiguration",
            Kind::IPReservation => "IPReservation",
            Kind::Tier => "Tier",
            Kind::NetworkSet => "NetworkSet",
            Kind::Namespace => "Namespace",
            Kind::ServiceAccount => "ServiceAccount",
            Kind::HostEndpoint => "HostEndpoint",
            Kind::WorkloadEndpoint => "WorkloadEndpoint",
            Kind::Profile => "Profile",
            Kind::KubernetesNetworkPolicy => "KubernetesNetworkPolicy",
            Kind::StagedGlobalNetworkPolicy => "StagedGlobalNetworkPolicy",
            Kind::StagedNetworkPolicy => "StagedNetworkPolicy",
            Kind::StagedKubernetesNetworkPolicy => "StagedKubernetesNetworkPolicy",
        }
    }

    /// As it stands behind `kind:`.
    pub const fn written(self) -> &'static str {
        match self {
            Kind::KubernetesNetworkPolicy => "NetworkPolicy",
            _ => self.name(),
        }
    }

    /// The singular, in small letters: in store keys and listings.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::IPPool => "ippool",
            Kind::Node => "node",
            Kind::Network => "network",
            Kind::GlobalNetworkPolicy => "globalnetworkpolicy",
            Kind::NetworkPolicy => "networkpolicy",
            Kind::GlobalNetworkSet => "globalnetworkset",
            Kind::BGPPeer => "bgppeer",
            Kind::BGPFilter => "bgpfilter",
            Kind::BGPConfiguration => "bgpconfiguration",
            Kind::IPReservation => "ipreservation",
            Kind::Tier => "tier",
            Kind::NetworkSet => "networkset",
            Kind::Namespace => "namespace",
            Kind::ServiceAccount => "serviceaccount",
            Kind::HostEndpoint => "hostendpoint",
            Kind::WorkloadEndpoint => "workloadendpoint",
            Kind::Profile => "profile",
            Kind::KubernetesNetworkPolicy => "kubernetesnetworkpolicy",
            Kind::StagedGlobalNetworkPolicy => "stagedglobalnetworkpolicy",
            Kind::StagedNetworkPolicy => "stagednetworkpolicy",
            Kind::StagedKubernetesNetworkPolicy => "stagedkubernetesnetworkpolicy",
        }
    }

    /// The other words that name it on a command line.
    pub const fn aliases(self) -> &'static [&'static str] {
        match self {
            Kind::IPPool => &["ippools", "pool", "pools"],
            Kind::Node => &["nodes", "no"],
            Kind::Network => &["networks", "net"],
            Kind::GlobalNetworkPolicy => &["globalnetworkpolicies", "gnp", "gnps"],
            Kind::NetworkPolicy => &["networkpolicies", "np", "nps"],
            Kind::GlobalNetworkSet => &["globalnetworksets", "gns"],
            Kind::BGPPeer => &["bgppeers", "peer", "peers"],
            Kind::BGPFilter => &["bgpfilters", "filter", "filters"],
            Kind::BGPConfiguration => &["bgpconfigurations", "bgpconfig", "bgpconfigs"],
            Kind::IPReservation => &["ipreservations", "reservation", "reservations"],
            Kind::Tier => &["tiers"],
            Kind::NetworkSet => &["networksets"],
            Kind::Namespace => &["namespaces", "ns"],
            Kind::ServiceAccount => &["serviceaccounts", "sa"],
            Kind::HostEndpoint => &["hostendpoints", "hep", "heps"],
            Kind::WorkloadEndpoint => &["workloadendpoints", "wep", "weps"],
            Kind::Profile => &["profiles"],
            Kind::KubernetesNetworkPolicy => &["kubernetesnetworkpolicies", "knp", "knps"],
            Kind::StagedGlobalNetworkPolicy => &["stagedglobalnetworkpolicies", "sgnp", "sgnps"],
            Kind::StagedNetworkPolicy => &["stagednetworkpolicies", "snp", "snps"],
            Kind::StagedKubernetesNetworkPolicy => &["stagedkubernetesnetworkpolicies", "sknp", "sknps"],
        }
    }

    pub const fn api_version(self) -> &'static str {
        match self {
            Kind::Network => OWN_VERSION,
            Kind::Namespace | Kind::ServiceAccount => CORE_VERSION,
            Kind::KubernetesNetworkPolicy => KUBERNETES_VERSION,
            _ => CALICO_VERSION,
        }
    }

    pub const fn is_namespaced(self) -> bool {
        matches!(
            self,
            Kind::NetworkPolicy
                | Kind::NetworkSet
                | Kind::ServiceAccount
                | Kind::WorkloadEndpoint
                | Kind::KubernetesNetworkPolicy
                | Kind::StagedNetworkPolicy
                | Kind::StagedKubernetesNetworkPolicy
        )
    }

    /// The kind of such an `apiVersion:` whose `kind:` this is; by `kind:` alone where no other version has it.
    pub fn from_written(version: &str, name: &str) -> Option<Kind> {
        let mut all = Kind::ALL.into_iter().filter(|kind| kind.written() == name);
        let first = all.next();
        all.find(|kind| kind.api_version() == version).or(first)
    }

    /// The kind that a word on a command line means; case does not count.
    pub fn from_word(word: &str) -> Result<Kind, UnknownKind> {
        let small = word.to_ascii_lowercase();
        Kind::ALL
            .into_iter()
            .find(|kind| kind.word() == small || kind.aliases().contains(&small.as_str()))
            .ok_or_else(|| UnknownKind { given: word.to_string() })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKind {
    pub given: String,
}

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words =
            Kind::ALL.into_iter().flat_map(|kind| [kind.word()].into_iter().chain(kind.aliases().iter().copied()));
        write!(f, "unknown kind \"{}\"", self.given)?;
        match super::yaml::suggest::nearest(&self.given, words) {
            Some(near) => write!(f, " (did you mean {near}?)"),
            None => {
                write!(f, "; expected {}", super::yaml::fields::listed(Kind::ALL.into_iter().map(Kind::word), "or"))
            }
        }
    }
}

impl std::error::Error for UnknownKind {}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl ObjectKey {
    /// The key of an object that lies in no namespace.
    pub fn global(kind: Kind, name: impl Into<String>) -> ObjectKey {
        ObjectKey { kind, namespace: None, name: name.into() }
    }

    pub fn namespaced(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> ObjectKey {
        ObjectKey { kind, namespace: Some(namespace.into()), name: name.into() }
    }
}

impl Object {
    pub fn kind(&self) -> Kind {
        match self {
            Object::IPPool(_) => Kind::IPPool,
            Object::Node(_) => Kind::Node,
            Object::Network(_) => Kind::Network,
            Object::GlobalNetworkPolicy(_) => Kind::GlobalNetworkPolicy,
            Object::NetworkPolicy(_) => Kind::NetworkPolicy,
            Object::GlobalNetworkSet(_) => Kind::GlobalNetworkSet,
            Object::BGPPeer(_) => Kind::BGPPeer,
            Object::BGPFilter(_) => Kind::BGPFilter,
            Object::BGPConfiguration(_) => Kind::BGPConfiguration,
            Object::IPReservation(_) => Kind::IPReservation,
            Object::Tier(_) => Kind::Tier,
            Object::NetworkSet(_) => Kind::NetworkSet,
            Object::Namespace(_) => Kind::Namespace,
            Object::ServiceAccount(_) => Kind::ServiceAccount,
            Object::HostEndpoint(_) => Kind::HostEndpoint,
            Object::WorkloadEndpoint(_) => Kind::WorkloadEndpoint,
            Object::Profile(_) => Kind::Profile,
            Object::KubernetesNetworkPolicy(_) => Kind::KubernetesNetworkPolicy,
            Object::StagedGlobalNetworkPolicy(_) => Kind::StagedGlobalNetworkPolicy,
            Object::StagedNetworkPolicy(_) => Kind::StagedNetworkPolicy,
            Object::StagedKubernetesNetworkPolicy(_) => Kind::StagedKubernetesNetworkPolicy,
        }
    }

    pub fn key(&self) -> ObjectKey {
        match self {
            Object::IPPool(pool) => ObjectKey::global(Kind::IPPool, pool.name.as_str()),
            Object::Node(node) => ObjectKey::global(Kind::Node, node.name.as_str()),
            Object::Network(network) => ObjectKey::global(Kind::Network, network.name.as_str()),
            Object::GlobalNetworkPolicy(policy) | Object::NetworkPolicy(policy) => policy.key.clone(),
            Object::GlobalNetworkSet(set) => ObjectKey::global(Kind::GlobalNetworkSet, &set.name),
            Object::BGPPeer(peer) => ObjectKey::global(Kind::BGPPeer, &peer.name),
            Object::BGPFilter(filter) => ObjectKey::global(Kind::BGPFilter, &filter.name),
            Object::BGPConfiguration(settings) => ObjectKey::global(Kind::BGPConfiguration, &settings.name),
            Object::IPReservation(it) => ObjectKey::global(Kind::IPReservation, &it.name),
            Object::Tier(tier) => ObjectKey::global(Kind::Tier, &tier.name),
            Object::NetworkSet(set) => {
                ObjectKey { kind: Kind::NetworkSet, namespace: set.namespace.clone(), name: set.name.clone() }
            }
            Object::Namespace(namespace) => ObjectKey::global(Kind::Namespace, &namespace.name),
            Object::ServiceAccount(account) => {
                ObjectKey::namespaced(Kind::ServiceAccount, &account.namespace, &account.name)
            }
            Object::HostEndpoint(host) => ObjectKey::global(Kind::HostEndpoint, &host.name),
            Object::WorkloadEndpoint(it) => {
                ObjectKey::namespaced(Kind::WorkloadEndpoint, &it.endpoint.namespace, &it.name)
            }
            Object::Profile(profile) => ObjectKey::global(Kind::Profile, &profile.name),
            Object::KubernetesNetworkPolicy(policy) => policy.key(),
            Object::StagedGlobalNetworkPolicy(staged) | Object::StagedNetworkPolicy(staged) => staged.key(),
            Object::StagedKubernetesNetworkPolicy(staged) => staged.key(),
        }
    }
}

#[cfg(test)]
#[path = "kind_tests.rs"]
mod tests;
