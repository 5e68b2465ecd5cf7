//! Policies that are looked at and not enforced: what they would do can be asked for.

use serde::{Deserialize, Serialize};

use super::{Kind, KubernetesPolicy, ObjectKey, Policy};

/// What would become of the policy of that name if the staged one were enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StagedAction {
    /// It is added, or replaced.
    #[default]
    Set,
    /// It is removed.
    Delete,
    /// Nothing: it is there to be learnt from.
    Learn,
    /// Nothing.
    Ignore,
}

/// A StagedGlobalNetworkPolicy or StagedNetworkPolicy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StagedPolicy {
    pub action: StagedAction,
    /// Under the key that it would have.
    pub policy: Policy,
}

/// A StagedKubernetesNetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedKubernetesPolicy {
    pub action: StagedAction,
    pub policy: KubernetesPolicy,
}

impl StagedPolicy {
    pub fn key(&self) -> ObjectKey {
        staged_key(&self.policy.key)
    }
}

impl StagedKubernetesPolicy {
    pub fn key(&self) -> ObjectKey {
        staged_key(&self.policy.key())
    }

    /// The policy of ours that says the same.
    pub fn to_staged(&self) -> StagedPolicy {
        StagedPolicy { action: self.action, policy: self.policy.to_policy() }
    }
}

/// The key of what is staged for a policy.
fn staged_key(policy: &ObjectKey) -> ObjectKey {
    let kind = match policy.kind {
        Kind::GlobalNetworkPolicy => Kind::StagedGlobalNetworkPolicy,
        Kind::KubernetesNetworkPolicy => Kind::StagedKubernetesNetworkPolicy,
        _ => Kind::StagedNetworkPolicy,
    };
    ObjectKey { kind, ..policy.clone() }
}

/// The key of the policy that a staged one is of; `None` for other kinds.
pub fn staged_for(key: &ObjectKey) -> Option<ObjectKey> {
    let kind = match key.kind {
        Kind::StagedGlobalNetworkPolicy => Kind::GlobalNetworkPolicy,
        Kind::StagedNetworkPolicy => Kind::NetworkPolicy,
        Kind::StagedKubernetesNetworkPolicy => Kind::KubernetesNetworkPolicy,
        _ => return None,
    };
    Some(ObjectKey { kind, ..key.clone() })
}
