//! Labs: containerlab topologies as namespaces of this machine, without Docker. Called by `routectl lab` and by the
//! project's own multi-node tests.
//!
//! A node is one process, [`init`], that is PID 1 of its own PID, network, mount, UTS and IPC namespaces; when it ends,
//! the kernel ends everything in the node, and the links with it. Nothing is made in the caller's namespaces but what a
//! file asks for there: bridges live in nodes of their own, veths are created with both ends already inside.
//!
//! | file | owns |
//! |---|---|
//! | [`topology`] | the topology as it is meant: inheritance done, everything checked |
//! | `source` | the topology as it is written: YAML, with file and line in every refusal |
//! | `variables` | variables of the environment, and containerlab's own |
//! | `resolve` | what a node inherits |
//! | `wiring` | the links, and the management network, as they are meant |
//! | [`stages`] | the stages of a node's start, and who waits for whom |
//! | `deploy` | a deployment as a whole, and the guard that ends the lab with its owner |
//! | `specs` | what the nodes' inits are told |
//! | `course` | each node's way through its stages |
//! | `board` | how far each node is |
//! | `links` | veths, dummies and bridges |
//! | `host` | what a lab has outside of its nodes |
//! | `daemons` | what an image stands for: a daemon of Debian's, or our agent |
//! | [`health`] | health checks |
//! | [`init`] | PID 1 of a node: what it sets up, what it runs, when it ends |
//! | `rootfs` | the node's file system: an overlay of the machine's, with binds on top |
//! | `wire` | the words between the runner and a node's init |
//! | [`state`] | the lab's directory: which processes are the nodes, and whether they still are |
//! | [`enter`] | running a command in a node |
//! | [`graph`] | pictures of a topology |

mod board;
mod course;
mod daemons;
mod deploy;
pub mod enter;
pub mod graph;
pub mod health;
mod host;
pub mod init;
mod links;
mod resolve;
mod rootfs;
mod source;
mod specs;
pub mod stages;
pub mod state;
pub mod topology;
mod variables;
mod wire;
mod wiring;

use std::path::PathBuf;

pub use deploy::{Deployed, Options, deploy};
pub use state::{LabDir, NodeRecord, Record};
pub use topology::Topology;

/// Why a lab could not be read, deployed, found or entered.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The topology file is refused; nothing was done.
    #[error("{}{}: {what}", file.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Topology { file: PathBuf, line: Option<usize>, what: String },
    /// Something about one node failed.
    #[error("node `{node}`: {what}")]
    Node { node: String, what: String },
    /// The lab is there, or is not, against expectation.
    #[error("{0}")]
    Lab(String),
    /// A call to the system failed.
    #[error("{what}: {error}")]
    System { what: String, error: std::io::Error },
}

impl LabError {
    fn node(node: &str, what: impl Into<String>) -> Self {
        LabError::Node { node: node.into(), what: what.into() }
    }

    fn system(what: impl Into<String>, error: impl Into<std::io::Error>) -> Self {
        LabError::System { what: what.into(), error: error.into() }
    }
}
