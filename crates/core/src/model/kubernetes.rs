//! NetworkPolicy as Kubernetes has it (`networking.k8s.io/v1`), and the policy of ours that says the same.
//!
//! Source: the API reference of `networking.k8s.io/v1`. Kept as people wrote it, so that they get back what they gave.

use serde::{Deserialize, Serialize};

use super::{
    Action, Cidr, DEFAULT_TIER, EntityRule, Kind, Labels, ObjectKey, Policy, PolicyRule, PolicyStage, PortMatch,
    Protocol,
};

/// Where Kubernetes' policies stand among those of the tier, as in Calico.
const ORDER: f64 = 1000.0;

/// A NetworkPolicy of Kubernetes: the workloads that it selects accept (or send) what some rule lets through, and else
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesPolicy {
    pub namespace: String,
    pub name: String,
    pub pod_selector: LabelSelector,
    /// `policyTypes`, with what is inferred where it is absent.
    pub applies_ingress: bool,
    pub applies_egress: bool,
    pub ingress: Vec<KubernetesRule>,
    pub egress: Vec<KubernetesRule>,
}

/// `matchLabels` and `matchExpressions`, all of which must hold; the empty one matches everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSelector {
    pub match_labels: Labels,
    pub match_expressions: Vec<LabelRequirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelRequirement {
    pub key: String,
    pub operator: LabelOperator,
    /// For `In` and `NotIn`: at least one.
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelOperator {
    In,
    /// Also where the label is absent.
    NotIn,
    Exists,
    DoesNotExist,
}

/// One of the peers by one of the ports; no peers are all, no ports are all of every protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesRule {
    pub peers: Vec<KubernetesPeer>,
    pub ports: Vec<KubernetesPort>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KubernetesPeer {
    /// `ipBlock`.
    Block { cidr: Cidr, except: Vec<Cidr> },
    /// Workloads with such labels, of namespaces with such labels; absent: of the policy's own namespace.
    Pods { pods: Option<LabelSelector>, namespaces: Option<LabelSelector> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesPort {
    pub protocol: Protocol,
    pub port: KubernetesPorts,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KubernetesPorts {
    /// All of the protocol.
    Every,
    /// `port`, up to `endPort`.
    Range(PortMatch),
    Named(String),
}

impl LabelSelector {
    /// In the language of our selectors.
    pub fn to_selector(&self) -> String {
        let mut terms: Vec<String> =
            self.match_labels.iter().map(|(key, value)| format!("{key} == '{value}'")).collect();
        for requirement in &self.match_expressions {
            let LabelRequirement { key, operator, values } = requirement;
            let values = || values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ");
            terms.push(match operator {
                LabelOperator::In => format!("{key} in {{{}}}", values()),
                LabelOperator::NotIn => format!("{key} not in {{{}}}", values()),
                LabelOperator::Exists => format!("has({key})"),
                LabelOperator::DoesNotExist => format!("!has({key})"),
            });
        }
        match terms.is_empty() {
            true => "all()".to_string(),
            false => terms.join(" && "),
        }
    }
}

impl KubernetesPolicy {
    pub fn key(&self) -> ObjectKey {
        ObjectKey::namespaced(Kind::KubernetesNetworkPolicy, &self.namespace, &self.name)
    }

    /// The policy of ours that says the same.
    pub fn to_policy(&self) -> Policy {
        let rules = |rules: &[KubernetesRule], side: fn(&mut PolicyRule) -> &mut EntityRule| {
            rules.iter().flat_map(|rule| rule.to_rules(side)).collect()
        };
        Policy {
            key: self.key(),
            tier: DEFAULT_TIER.to_string(),
            order: Some(ORDER),
            selector: self.pod_selector.to_selector(),
            namespace_selector: None,
            service_account_selector: None,
            stage: PolicyStage::Filter,
            apply_on_forward: false,
            applies_ingress: self.applies_ingress,
            applies_egress: self.applies_egress,
            ingress: rules(&self.ingress, |rule| &mut rule.source),
            egress: rules(&self.egress, |rule| &mut rule.destination),
        }
    }
}

impl KubernetesRule {
    /// One for each peer and protocol. `side`: where the peers stand.
    fn to_rules(&self, side: fn(&mut PolicyRule) -> &mut EntityRule) -> Vec<PolicyRule> {
        let peers = match self.peers.as_slice() {
            [] => vec![EntityRule::default()],
            peers => peers.iter().map(KubernetesPeer::to_side).collect(),
        };
        let ports = by_protocol(&self.ports);
        let mut rules = Vec::new();
        for peer in &peers {
            for (protocol, numbers, names) in &ports {
                let mut rule = PolicyRule { protocol: *protocol, ..PolicyRule::any(Action::Allow) };
                *side(&mut rule) = peer.clone();
                rule.destination.ports = numbers.clone();
                rule.destination.named_ports = names.clone();
                rules.push(rule);
            }
        }
        rules
    }
}

/// What a rule's ports come to: protocols, each with its ranges and names; none are all.
fn by_protocol(ports: &[KubernetesPort]) -> Vec<(Option<Protocol>, Vec<PortMatch>, Vec<String>)> {
    if ports.is_empty() {
        return vec![(None, Vec::new(), Vec::new())];
    }
    let mut protocols: Vec<Protocol> = ports.iter().map(|port| port.protocol).collect();
    protocols.sort();
    protocols.dedup();
    let of = |protocol: Protocol| {
        let mine: Vec<&KubernetesPorts> =
            ports.iter().filter(|port| port.protocol == protocol).map(|port| &port.port).collect();
        // One that says all of the protocol says it for the others.
        if mine.iter().any(|port| **port == KubernetesPorts::Every) {
            return (Some(protocol), Vec::new(), Vec::new());
        }
        let (mut numbers, mut names) = (Vec::new(), Vec::new());
        for port in mine {
            match port {
                KubernetesPorts::Every => {}
                KubernetesPorts::Range(range) => numbers.push(*range),
                KubernetesPorts::Named(name) => names.push(name.clone()),
            }
        }
        (Some(protocol), numbers, names)
    };
    protocols.into_iter().map(of).collect()
}

impl KubernetesPeer {
    fn to_side(&self) -> EntityRule {
        match self {
            KubernetesPeer::Block { cidr, except } => {
                EntityRule { nets: vec![*cidr], not_nets: except.clone(), ..EntityRule::default() }
            }
            KubernetesPeer::Pods { pods, namespaces } => {
                // A selector of ours that says nothing of namespaces means the policy's own.
                let pods = pods.clone().or_else(|| namespaces.is_none().then(LabelSelector::default));
                EntityRule {
                    selector: pods.map(|pods| pods.to_selector()),
                    namespace_selector: namespaces.as_ref().map(LabelSelector::to_selector),
                    ..EntityRule::default()
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "kubernetes_tests.rs"]
mod tests;
