//! An endpoint: one interface of one workload in one network.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{InterfaceName, NetworkName, NodeName, stable_hash};

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
    /// Its own labels, with `projectcalico.org/namespace` and the like not among them: policy adds those.
    pub labels: Labels,
    /// At most one of each family.
    pub addresses: Vec<IpAddr>,
    /// Whether the workload is built on its node: the journal's, needed to rebuild or adopt it. `None` for remote ones.
    pub attachment: Option<Attachment>,
}

impl Endpoint {
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
}
