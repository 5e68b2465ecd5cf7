//! The verdict on a flow, straight from the facts, with its reason.
//!
//! Called by `routectl explain` by way of the agent, on any node, since policies and endpoints are known to all; and by
//! the tests that hold the compiled chains to the same meaning. It never looks at chains or sets.

mod connections;
mod crossing;
mod evaluate;
mod judge;
mod traffic;
mod view;
mod words;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Endpoint, EndpointKey, Family, IcmpMatch, NodeName, ObjectKey, Protocol};

use super::PolicyEngine;
use super::cluster::Cluster;
pub use connections::Connection;
pub use traffic::Traffic;
use view::View;

/// A new connection, or a packet that starts one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    pub source: Side,
    pub destination: Side,
    /// Absent: the first that both sides have.
    pub family: Option<Family>,
    /// ICMP and ICMPv6 are taken for each other where the family demands it.
    pub protocol: Protocol,
    /// Absent: rules about source ports do not match.
    pub source_port: Option<u16>,
    /// The destination port; required by protocols that have ports.
    pub port: Option<u16>,
    /// Absent: an echo request.
    pub icmp: Option<IcmpMatch>,
}

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// A workload of any node.
    Workload(NodeName, EndpointKey),
    /// A node itself.
    Host(NodeName),
    /// Somebody else.
    Address(IpAddr),
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    #[error(
        "nobody is called `{0}`: write NAMESPACE/NAME of a workload, NETWORK/CONTAINER/INTERFACE of an endpoint, \
         `host`, `host:NODE` or an address"
    )]
    Unknown(String),
    #[error("`{name}` is the name of several endpoints: choose one of {}", choices.join(", "))]
    Ambiguous { name: String, choices: Vec<String> },
    #[error("node {0} is not known, or has no address")]
    UnknownNode(NodeName),
    #[error("there is no endpoint {0} on node {1}")]
    UnknownEndpoint(EndpointKey, NodeName),
    #[error("{source_name} and {destination_name} have no addresses of {}", family.map_or("one family".into(), |f| f.to_string()))]
    NoCommonFamily { source_name: String, destination_name: String, family: Option<Family> },
    #[error("{0} needs a port: write {0}/80")]
    PortMissing(Protocol),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Allow,
    Deny,
}

/// The verdict on a flow, and what each end says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What stands at each end, in words.
    pub source: String,
    pub source_address: IpAddr,
    pub destination: String,
    pub destination_address: IpAddr,
    /// `tcp/80`, `icmp type 8`.
    pub traffic: String,
    /// Allow only if both ends and the host endpoints on the way allow.
    pub verdict: Verdict,
    /// What the source may send.
    pub egress: End,
    /// What the destination accepts. It is judged also where the source already denies.
    pub ingress: End,
    /// What host endpoints on the way say, of the packet and of its answer.
    pub hosts: Vec<HostEnd>,
}

/// What a host endpoint says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEnd {
    pub host_endpoint: String,
    /// `in`, `forward out`, `untracked in of the answer`: where it was asked.
    pub place: String,
    pub end: End,
}

/// What one end says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub verdict: Verdict,
    /// The rule that decided; absent where a default, a profile or a setting did.
    pub rule: Option<RuleReference>,
    /// The policies that apply here, in their order.
    pub policies: Vec<ObjectKey>,
    /// What decided, in words.
    pub why: String,
    /// What each policy said that was asked, in their order.
    pub steps: Vec<String>,
}

impl End {
    /// Before anything is known.
    fn new() -> End {
        End { verdict: Verdict::Deny, rule: None, policies: Vec::new(), why: String::new(), steps: Vec::new() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReference {
    pub policy: ObjectKey,
    pub tier: String,
    /// Counted from 1 in its direction.
    pub number: usize,
    /// The rule in words.
    pub text: String,
}

impl Verdict {
    fn of(allowed: bool) -> Verdict {
        if allowed { Verdict::Allow } else { Verdict::Deny }
    }
}

impl PolicyEngine {
    /// The verdict on a flow, wherever in the cluster its ends are, with its reason.
    ///
    /// # Errors
    /// An end that is not known, ends without a common family, or a missing port.
    pub fn explain(&self, flow: &Flow) -> Result<Explanation, FlowError> {
        evaluate::explain(&View::enforced(&self.cluster), flow)
    }

    /// The verdict on a flow if what is staged were enforced; `None` where nothing is.
    ///
    /// # Errors
    /// As [`explain`](Self::explain).
    pub fn explain_staged(&self, flow: &Flow) -> Result<Option<Explanation>, FlowError> {
        if self.cluster.staged.is_empty() {
            return Ok(None);
        }
        evaluate::explain(&View::with(&self.cluster, &self.cluster.staged), flow).map(Some)
    }

    /// Who is meant by a word of the user: `NAMESPACE/NAME` or `NAME` of a workload, `NETWORK/CONTAINER/INTERFACE` of
    /// an endpoint, `host` (this node), `host:NODE`, or an address.
    ///
    /// # Errors
    /// Nobody, or several.
    pub fn resolve(&self, text: &str) -> Result<Side, FlowError> {
        resolve(&self.cluster, text)
    }
}

fn resolve(cluster: &Cluster, text: &str) -> Result<Side, FlowError> {
    let unknown = || FlowError::Unknown(text.to_string());
    if text == "host" {
        return Ok(Side::Host(cluster.settings.node.clone()));
    }
    if let Some(node) = text.strip_prefix("host:") {
        let node = NodeName::new(node).map_err(|_| unknown())?;
        let known = node == cluster.settings.node || cluster.nodes.contains_key(&node);
        return if known { Ok(Side::Host(node)) } else { Err(FlowError::UnknownNode(node)) };
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(side_of_address(&View::enforced(cluster), address));
    }
    let is_meant = |endpoint: &Endpoint| {
        endpoint.display_name() == text || endpoint.name == text || endpoint.key.to_string() == text
    };
    let found = cluster.subjects.endpoints().filter(|(_, endpoint)| is_meant(endpoint));
    let mut found: Vec<_> = found.map(|(node, endpoint)| (node, endpoint.key.clone())).collect();
    found.sort();
    match found.as_slice() {
        [] => Err(unknown()),
        [(node, key)] => Ok(Side::Workload(node.clone(), key.clone())),
        several => {
            let choices = several.iter().map(|(_, key)| key.to_string()).collect();
            Err(FlowError::Ambiguous { name: text.to_string(), choices })
        }
    }
}

fn side_of_address(cluster: &View, address: IpAddr) -> Side {
    let family = Family::of(address);
    let holders = cluster.holders(address);
    let first = holders.iter().filter_map(|holder| holder.as_endpoint()).min_by_key(|it| (&it.node, &it.key));
    if let Some(endpoint) = first {
        return Side::Workload(endpoint.node.clone(), endpoint.key.clone());
    }
    let own = cluster.host_address(&cluster.settings.node, family) == Some(address);
    let node = own.then_some(&cluster.settings.node);
    let node = node
        .or_else(|| cluster.nodes.values().find(|node| node.address(family) == Some(address)).map(|node| &node.name));
    node.map_or(Side::Address(address), |node| Side::Host(node.clone()))
}

impl Explanation {
    /// Whether something else decides, or decides otherwise.
    pub fn differs_from(&self, other: &Explanation) -> bool {
        (self.verdict, self.decided_by()) != (other.verdict, other.decided_by())
    }

    /// What decides, in words: the first end that denies, else what each end says.
    pub fn decided_by(&self) -> String {
        let ends = || [&self.egress, &self.ingress].into_iter().chain(self.hosts.iter().map(|host| &host.end));
        match ends().find(|end| end.verdict == Verdict::Deny) {
            Some(end) => end.why.clone(),
            None => ends().map(|end| end.why.as_str()).collect::<Vec<_>>().join("; "),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Allow => "allowed",
            Verdict::Deny => "denied",
        })
    }
}

impl fmt::Display for RuleReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, rule {}: {}", self.policy, self.number, self.text)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.verdict, self.why)?;
        for step in &self.steps {
            write!(f, "\n    {step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", words::sentence(self))?;
        writeln!(f, "  leaving {}: {}", self.source, self.egress)?;
        write!(f, "  arriving at {}: {}", self.destination, self.ingress)?;
        for host in &self.hosts {
            write!(f, "\n  at host endpoint {}, {}: {}", host.host_endpoint, host.place, host.end)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
