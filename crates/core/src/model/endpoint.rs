//! An endpoint: one interface of one workload in one network.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{InterfaceName, NetworkName, NodeName, Protocol, stable_hash};
use crate::policy::selector::SERVICE_ACCOUNT_LABEL;

pub type Labels = BTreeMap<String, String>;

/// What identifies an endpoint for its whole life, and what its addresses are released by (the IPAM "handle").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointKey {
    pub network: NetworkName,
    pub container_id: String,
    /// The interface inside the workload.
    pub ifname: InterfaceName,
}

impl EndpointKey {
    /// The host side of the workload's veth: `rnw` and 11 hexadecimal digits.
    pub fn host_interface(&self) -> InterfaceName {
        let hash = stable_hash([self.network.as_str(), &self.container_id, self.ifname.as_str()], 11);
        InterfaceName::new(format!("rnw{hash}")).expect("3 + 11 characters")
    }

    /// The workload's end of the veth while it waits on the host for its runtime: `rnj` and the same digits.
    pub fn waiting_interface(&self) -> InterfaceName {
        InterfaceName::new(self.host_interface().as_str().replacen('w', "j", 1)).expect("as long as the other one")
    }
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container_id, self.ifname)
    }
}

/// An endpoint as the whole cluster sees it; the owner keeps it in its journal and publishes it in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub key: EndpointKey,
    pub node: NodeName,
    /// The namespace of the workload (`K8S_POD_NAMESPACE`; `default` where the runtime knows none).
    pub namespace: String,
    /// The name of the workload (`K8S_POD_NAME`, else the container id).
    pub name: String,
    /// The service account of the workload in its namespace, where it has one.
    #[serde(default)]
    pub service_account: Option<String>,
    /// Its own labels, with `projectcalico.org/namespace` and the like not among them: policy adds those.
    pub labels: Labels,
    /// Its ports that have names, for policies that speak of them.
    #[serde(default)]
    pub ports: Vec<NamedPort>,
    /// The Profiles that are asked where no policy decides, in their order; `None`: what its network says.
    #[serde(default)]
    pub profiles: Option<Vec<String>>,
    /// At most one of each family.
    pub addresses: Vec<IpAddr>,
    /// The host's interface that leads to it, where no runtime had it made (a virtual machine's tap, for one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfaceName>,
    /// Whether the workload is built on its node: the journal's, needed to rebuild or adopt it. `None` for remote ones.
    pub attachment: Option<Attachment>,
}

/// How the names of workloads' interfaces on the host begin.
pub const WORKLOAD_INTERFACES: &str = "rnw";

/// How the ids begin of workloads that no runtime makes.
const BY_HAND: &str = "workloadendpoint/";

/// A WorkloadEndpoint: an endpoint that people write, for a workload that no runtime makes; or one that a runtime made, to
/// be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadEndpoint {
    /// The object's.
    pub name: String,
    pub endpoint: Endpoint,
}

impl WorkloadEndpoint {
    /// What stands for a container's id.
    pub fn id(namespace: &str, name: &str) -> String {
        format!("{BY_HAND}{namespace}/{name}")
    }

    /// Whether an interface may lead to one: the rules match its name, and it is none that an attachment could have.
    pub fn is_interface(name: &InterfaceName) -> bool {
        name.as_str().strip_prefix(WORKLOAD_INTERFACES).is_some_and(|rest| rest.len() > 1 && rest.starts_with('-'))
    }

    /// The endpoint of a runtime, as one reads it.
    pub fn of_runtime(endpoint: &Endpoint) -> WorkloadEndpoint {
        let parts = [endpoint.node.as_str(), &endpoint.key.container_id, endpoint.key.ifname.as_str()];
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        WorkloadEndpoint { name: parts.join("-").chars().map(plain).collect(), endpoint: endpoint.clone() }
    }
}

impl EndpointKey {
    /// Whether it is of a WorkloadEndpoint that people wrote.
    pub fn is_by_hand(&self) -> bool {
        self.container_id.starts_with(BY_HAND)
    }
}

impl Endpoint {
    /// The host's interface that leads to it.
    pub fn host_interface(&self) -> InterfaceName {
        self.interface.clone().unwrap_or_else(|| self.key.host_interface())
    }

    /// `NAMESPACE/NAME`: how people call it.
    pub fn display_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// How an endpoint is plugged into its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The path of the workload's network namespace.
    pub netns: String,
    /// The workload's own MAC address.
    pub mac: [u8; 6],
    /// MTU of the veth, in bytes.
    pub mtu: u32,
    /// Whose it is to collect: `cni/NAME` for what a CNI network configuration of that name asked for.
    #[serde(default)]
    pub requester: Option<String>,
    /// Whether the runtime itself moves the workload's end of the veth into the workload and configures it there.
    #[serde(default)]
    pub handed_over: bool,
    /// Which of the fixed next hops it routes through, from 1: a workload that its runtime configures needs another one
    /// for each of its interfaces.
    #[serde(default = "first_next_hop")]
    pub next_hop: u8,
    /// Nothing passes yet, whatever policy says: who the workload is, is not known.
    #[serde(default)]
    pub closed: bool,
    /// Ports of the host that lead to the workload.
    #[serde(default)]
    pub published: Vec<PublishedPort>,
}

fn first_next_hop() -> u8 {
    1
}

impl Attachment {
    /// One whose workload is configured by us, is known, and has no published ports.
    pub fn new(netns: impl Into<String>, mac: [u8; 6], mtu: u32) -> Attachment {
        Attachment {
            netns: netns.into(),
            mac,
            mtu,
            requester: None,
            handed_over: false,
            next_hop: first_next_hop(),
            closed: false,
            published: Vec::new(),
        }
    }
}

/// A HostEndpoint: interfaces of a node, for policies to govern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEndpoint {
    pub name: String,
    pub labels: Labels,
    pub node: NodeName,
    pub interface: HostInterface,
    /// What selectors take for its addresses.
    pub expected_ips: Vec<IpAddr>,
    /// The Profiles that are asked where no policy decides, in their order.
    pub profiles: Vec<String>,
    pub ports: Vec<NamedPort>,
}

/// Which interfaces of a node a host endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HostInterface {
    Named(InterfaceName),
    /// `*`: each that no other host endpoint is, but neither loopback nor those of workloads.
    Every,
    /// Whichever has one of the expected addresses.
    ByAddress,
}

/// A port of a workload that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamedPort {
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
}

/// Before the name of a port, in labels.
const PORT_LABEL: &str = "routenet.port/";

const PROFILES_LABEL: &str = "routenet.profiles";

/// Who a workload is beside its labels, where the runtime can only tell it by labels: these are taken out of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// `projectcalico.org/serviceaccount`.
    pub service_account: Option<String>,
    /// `routenet.port/NAME`: `80/tcp`.
    pub ports: Vec<NamedPort>,
    /// `routenet.profiles`: names with commas between them, or nothing for none.
    pub profiles: Option<Vec<String>>,
}

impl Spoken {
    /// # Errors
    /// A port that is none, named with its label.
    pub fn take(labels: &mut Labels) -> Result<Spoken, String> {
        let mut ports = Vec::new();
        for (label, text) in labels.iter() {
            let Some(name) = label.strip_prefix(PORT_LABEL) else { continue };
            let read = text.split_once('/').and_then(|(port, protocol)| {
                let protocol = Protocol::from_name(protocol).filter(|protocol| protocol.has_ports())?;
                Some(NamedPort { name: name.to_string(), protocol, port: port.parse().ok()? })
            });
            ports.push(read.ok_or_else(|| format!("label {label}: `{text}` is not a port: write it like `80/tcp`"))?);
        }
        labels.retain(|label, _| !label.starts_with(PORT_LABEL));
        let service_account = labels.remove(SERVICE_ACCOUNT_LABEL);
        let profiles = labels.remove(PROFILES_LABEL).map(|text| {
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(String::from).collect()
        });
        Ok(Spoken { service_account, ports, profiles })
    }
}

/// A port of the host that leads to a port of a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    pub protocol: Protocol,
    /// `None`: every address of the host.
    pub host_address: Option<IpAddr>,
    pub host_port: u16,
    /// The port inside the workload.
    pub port: u16,
}

impl PublishedPort {
    /// Whether a host cannot have both.
    pub fn excludes(&self, other: &PublishedPort) -> bool {
        let together = match (self.host_address, other.host_address) {
            (Some(one), Some(two)) => {
                one == two || one.is_ipv4() == two.is_ipv4() && (one.is_unspecified() || two.is_unspecified())
            }
            _ => true,
        };
        together && self.protocol == other.protocol && self.host_port == other.host_port
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        write!(f, "{}->{}/{}", self.host_port, self.port, self.protocol)
    }
}
