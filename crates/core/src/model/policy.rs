//! Policies and network sets, in the meaning of `projectcalico.org/v3`.
//!
//! Selectors are kept as text here, checked by the reader of YAML; [`crate::policy::selector`] parses them.

use serde::{Deserialize, Serialize};

use super::{Cidr, Labels, ObjectKey};

/// A GlobalNetworkPolicy or NetworkPolicy, by the kind in its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub key: ObjectKey,
    /// `default` unless given.
    pub tier: String,
    /// Absent means last.
    pub order: Option<f64>,
    /// Which endpoints it applies to, within its namespace if it has one. Empty means all.
    pub selector: String,
    /// Of these, only those whose namespace has such labels; a GlobalNetworkPolicy's.
    #[serde(default)]
    pub namespace_selector: Option<String>,
    /// And only those whose service account has such labels.
    #[serde(default)]
    pub service_account_selector: Option<String>,
    /// Where on a packet's way it is asked.
    #[serde(default)]
    pub stage: PolicyStage,
    /// Whether host endpoints ask it for what they forward, too.
    #[serde(default)]
    pub apply_on_forward: bool,
    /// Whether it governs what arrives at the endpoints.
    pub applies_ingress: bool,
    /// Whether it governs what the endpoints send.
    pub applies_egress: bool,
    pub ingress: Vec<PolicyRule>,
    pub egress: Vec<PolicyRule>,
}

impl Policy {
    /// In place of one of which nothing but its name can be read: it governs all that it could and lets nothing through.
    pub fn sealed(key: ObjectKey) -> Policy {
        Policy {
            key,
            tier: DEFAULT_TIER.to_string(),
            order: None,
            selector: String::new(),
            namespace_selector: None,
            service_account_selector: None,
            stage: PolicyStage::Filter,
            apply_on_forward: false,
            applies_ingress: true,
            applies_egress: true,
            ingress: Vec::new(),
            egress: Vec::new(),
        }
    }
}

/// Where on a packet's way a policy is asked. All but the first are for host endpoints only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PolicyStage {
    /// Behind the translation of addresses and the tracking of connections.
    #[default]
    Filter,
    /// `preDNAT`: as the packet came, with the address and port that its sender knows.
    PreDnat,
    /// `doNotTrack`: each packet by itself, before connections are tracked; what it allows is not tracked.
    Untracked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    Allow,
    Deny,
    /// To the next tier, and behind the last one to the profiles.
    Pass,
    /// Write a line to the kernel log and go on.
    Log,
}

/// One rule: every given field must match.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyRule {
    pub action: Action,
    /// 4 or 6; absent means both.
    pub ip_version: Option<u8>,
    pub protocol: Option<Protocol>,
    pub not_protocol: Option<Protocol>,
    pub icmp: Option<IcmpMatch>,
    pub not_icmp: Option<IcmpMatch>,
    pub source: EntityRule,
    pub destination: EntityRule,
}

impl PolicyRule {
    /// One that matches everything.
    pub fn any(action: Action) -> PolicyRule {
        PolicyRule {
            action,
            ip_version: None,
            protocol: None,
            not_protocol: None,
            icmp: None,
            not_icmp: None,
            source: EntityRule::default(),
            destination: EntityRule::default(),
        }
    }
}

/// One side of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntityRule {
    pub nets: Vec<Cidr>,
    pub not_nets: Vec<Cidr>,
    pub selector: Option<String>,
    pub not_selector: Option<String>,
    pub namespace_selector: Option<String>,
    #[serde(default)]
    pub service_accounts: Option<ServiceAccountMatch>,
    pub ports: Vec<PortMatch>,
    pub not_ports: Vec<PortMatch>,
    /// Ports by name: those that endpoints on this side call so. One of these or one of `ports` matches.
    #[serde(default)]
    pub named_ports: Vec<String>,
    #[serde(default)]
    pub not_named_ports: Vec<String>,
}

/// Workloads by their service account: of one of these names (if any are given), and with such labels (if a selector is).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServiceAccountMatch {
    pub names: Vec<String>,
    pub selector: Option<String>,
}

impl EntityRule {
    /// Whether the side is left open.
    pub fn is_any(&self) -> bool {
        *self == EntityRule::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IcmpMatch {
    pub kind: u8,
    pub code: Option<u8>,
}

/// An inclusive range of ports; one port is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortMatch {
    pub first: u16,
    pub last: u16,
}

/// An IP protocol, by its number (IANA); the common ones print by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Protocol(pub u8);

impl Protocol {
    pub const ICMP: Protocol = Protocol(1);
    pub const TCP: Protocol = Protocol(6);
    pub const UDP: Protocol = Protocol(17);
    pub const ICMPV6: Protocol = Protocol(58);
    pub const SCTP: Protocol = Protocol(132);
    pub const UDPLITE: Protocol = Protocol(136);

    /// Calico's names, any case; `None` if there is no such name.
    pub fn from_name(name: &str) -> Option<Protocol> {
        Some(match name.to_ascii_lowercase().as_str() {
            "icmp" => Protocol::ICMP,
            "tcp" => Protocol::TCP,
            "udp" => Protocol::UDP,
            "icmpv6" => Protocol::ICMPV6,
            "sctp" => Protocol::SCTP,
            "udplite" => Protocol::UDPLITE,
            _ => return None,
        })
    }

    /// A name, or a number from 1 to 255.
    pub fn from_word(word: &str) -> Option<Protocol> {
        let number = || word.parse::<u8>().ok().filter(|number| *number != 0).map(Protocol);
        Protocol::from_name(word).or_else(number)
    }

    /// Whether packets of this protocol carry ports.
    pub fn has_ports(self) -> bool {
        matches!(self, Protocol::TCP | Protocol::UDP | Protocol::SCTP | Protocol::UDPLITE)
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Protocol::ICMP => f.write_str("icmp"),
            Protocol::TCP => f.write_str("tcp"),
            Protocol::UDP => f.write_str("udp"),
            Protocol::ICMPV6 => f.write_str("icmpv6"),
            Protocol::SCTP => f.write_str("sctp"),
            Protocol::UDPLITE => f.write_str("udplite"),
            Protocol(number) => write!(f, "{number}"),
        }
    }
}

/// The tier of policies that name none.
pub const DEFAULT_TIER: &str = "default";

/// A Tier: policies that are asked together, before those of later tiers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tier {
    pub name: String,
    /// Absent means last.
    pub order: Option<f64>,
    /// What becomes of a packet that policies of the tier govern and none of them decides on.
    pub default_action: TierAction,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TierAction {
    #[default]
    Deny,
    Pass,
}

impl Tier {
    /// The tiers that are there without being applied, as in Calico.
    pub fn built_in(name: &str) -> Option<Tier> {
        let (order, default_action) = match name {
            "kube-admin" => (1_000.0, TierAction::Pass),
            DEFAULT_TIER => (1_000_000.0, TierAction::Deny),
            "kube-baseline" => (10_000_000.0, TierAction::Pass),
            _ => return None,
        };
        Some(Tier { name: name.to_string(), order: Some(order), default_action })
    }
}

/// A Profile: labels and rules of the endpoints that name it. Its rules are asked where no policy decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    /// An endpoint's own labels outrank them.
    pub labels_to_apply: Labels,
    pub ingress: Vec<PolicyRule>,
    pub egress: Vec<PolicyRule>,
}

/// What identifies a network set: `namespace` is `None` for a GlobalNetworkSet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetworkSetKey {
    pub namespace: Option<String>,
    pub name: String,
}

/// A GlobalNetworkSet (namespace `None`) or NetworkSet: CIDRs with labels, so that selectors can name strangers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSet {
    #[serde(default)]
    pub namespace: Option<String>,
    pub name: String,
    pub labels: Labels,
    pub nets: Vec<Cidr>,
}

impl NetworkSet {
    pub fn key(&self) -> NetworkSetKey {
        NetworkSetKey { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// A Namespace, as Kubernetes has it: its labels are those of a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    pub name: String,
    pub labels: Labels,
}

/// A ServiceAccount, as Kubernetes has it: who a workload is to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccount {
    pub namespace: String,
    pub name: String,
    pub labels: Labels,
}
