//! The words on the agent's socket: one JSON request a line, one JSON reply a line.
//!
//! | request | reply |
//! |---|---|
//! | `get` | [`listing::GetReply`] |
//! | `apply`, `delete` | [`listing::ChangeReply`] |
//! | `status` | [`status::ClusterStatus`] |
//! | `endpoints` | a list of [`listing::EndpointLine`] |
//! | `ipam-show` | [`listing::IpamReply`] |
//! | `ipam-why` | [`listing::IpamWhyReply`] |
//! | `ipam-check` | [`listing::IpamCheckReply`] |
//! | `ipam-release`, `ipam-release-node` | [`listing::IpamReleaseReply`] |
//! | `explain` | [`listing::ExplainReply`] |
//! | `bgp-neighbors` | a list of [`listing::NeighborLine`] |
//! | `bgp-mesh` | [`listing::MeshReply`] |
//! | `bgp-routes` | a list of [`listing::RouteLine`] |
//! | `bgp-filter-test` | `routenet_core::bgp::speaker::FilterAnswer` |
//! | `drain`, `undrain` | `null` |
//! | `cni` | [`CniReply`] |
//!
//! The CNI plugin speaks it without this module (it has only std and serde_json): `tests/cni` holds the two equal.

pub mod client;
pub mod listing;
pub mod status;

use std::net::IpAddr;

use routenet_core::bgp::speaker::FilterQuestion;
use serde::{Deserialize, Serialize};

/// What a client asks for. Reading needs the read group, the rest the write group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// A call of the CNI plugin: its environment and its standard input.
    Cni {
        command: String,
        container_id: String,
        netns: String,
        ifname: String,
        args: String,
        path: String,
        config: String,
    },
    /// Objects of a kind (`ippool`, `policy`, ... or `all`), by name if given.
    Get {
        kind: String,
        name: Option<String>,
        namespace: Option<String>,
    },
    /// YAML documents, each with the name of the file it came from: all or nothing.
    Apply {
        documents: Vec<Document>,
        /// Within how many seconds it must be confirmed, or is rolled back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm: Option<u32>,
        /// End the connections that policy then denies, on every node.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cut: bool,
    },
    /// What was applied under the name holds.
    Confirm {
        id: String,
    },
    /// What `Apply` would do, to objects and to verdicts; nothing is written.
    Diff {
        documents: Vec<Document>,
    },
    Delete {
        documents: Vec<Document>,
        names: Vec<ObjectName>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cut: bool,
    },
    Status,
    Endpoints,
    IpamShow,
    IpamWhy {
        address: IpAddr,
    },
    IpamCheck,
    IpamRelease {
        address: IpAddr,
        force: bool,
    },
    IpamReleaseNode {
        node: String,
        force: bool,
    },
    Explain {
        from: String,
        to: String,
        protocol: String,
        port: Option<u16>,
        /// Send a real packet, and say where it was seen.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        trace: bool,
    },
    BgpNeighbors,
    /// What this node and the others are in the mesh.
    BgpMesh,
    /// By name or address.
    BgpNeighbor {
        name: String,
    },
    BgpRoutes,
    /// The longest prefix with a route that covers this prefix or address.
    BgpRoute {
        prefix: String,
    },
    /// End this neighbour's session, by name or address, or everyone's (`all`), and begin anew.
    BgpReset {
        name: String,
    },
    /// Write the table into an MRT file of the node.
    BgpDump,
    /// What a route would meet at a neighbour's filters.
    BgpFilterTest(Box<FilterQuestion>),
    /// Tell everything as the last choice (RFC 8326) for so long, then withdraw it and say Cease.
    Drain {
        #[serde(default)]
        graceful_seconds: u16,
    },
    Undrain,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The file's name as the user gave it, or `-`.
    pub file: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectName {
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
}

/// The reply: a value whose shape belongs to the request, or an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    Ok(serde_json::Value),
    Error(ApiError),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// `denied`, `invalid`, `not-found`, `conflict`, `unavailable`, `internal`.
    pub code: String,
    /// What, to which object, and what mends it.
    pub message: String,
}

/// The answer to [`Request::Cni`]: what the plugin prints, and how it exits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CniReply {
    pub exit: i32,
    /// A CNI result or error; `None` prints nothing.
    pub stdout: Option<serde_json::Value>,
}

/// An address, for listings.
pub type Address = IpAddr;

impl Request {
    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        match self {
            // A packet sent in a workload's name is more than a look.
            Request::Explain { trace, .. } => *trace,
            Request::Cni { .. }
            | Request::Apply { .. }
            | Request::Confirm { .. }
            | Request::Delete { .. }
            | Request::IpamRelease { .. }
            | Request::IpamReleaseNode { .. }
            | Request::BgpReset { .. }
            | Request::BgpDump
            | Request::Drain { .. }
            | Request::Undrain => true,
            Request::Get { .. }
            | Request::Status
            | Request::Endpoints
            | Request::IpamShow
            | Request::IpamWhy { .. }
            | Request::IpamCheck
            | Request::Diff { .. }
            | Request::BgpNeighbors
            | Request::BgpMesh
            | Request::BgpNeighbor { .. }
            | Request::BgpRoute { .. }
            | Request::BgpRoutes
            | Request::BgpFilterTest(_) => false,
        }
    }
}
