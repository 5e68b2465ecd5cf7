//! The topology as it is meant: names checked, inheritance done, commands split. Built from `source` with `resolve` (the
//! nodes) and `wiring` (the links), deployed by `deploy`, drawn by `graph`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::LabError;
use super::source::{self, lines};
use super::stages::{self, Stage, StagePlan};
use super::variables::{self, Environment};
use super::{resolve, wiring};

/// A lab, ready to be deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The file it was read from, absolute.
    pub file: PathBuf,
    pub name: String,
    /// What stands before a node's name in its long name: `clab-LAB-`, unless the file says otherwise.
    pub prefix: String,
    pub management: Management,
    /// In the order of the file.
    pub nodes: Vec<Node>,
    pub links: Vec<Link>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub kind: Kind,
    pub group: Option<String>,
    pub image: Option<String>,
    pub binds: Vec<Bind>,
    /// Files of variables, the nearest last, and their lines; what `env` says outranks them.
    pub env_files: Vec<(String, Option<usize>)>,
    pub env: BTreeMap<String, String>,
    /// Run in this order when all links are there.
    pub exec: Vec<Command>,
    /// The node's main process: `entrypoint` and `cmd`.
    pub cmd: Option<Command>,
    pub sysctls: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub network: Network,
    pub startup_delay: Duration,
    pub stages: BTreeMap<Stage, StagePlan>,
    pub healthcheck: Option<Healthcheck>,
}

impl Node {
    pub fn stage(&self, stage: Stage) -> &StagePlan {
        static NOTHING: StagePlan = StagePlan { waits: Vec::new(), on_enter: Vec::new(), on_exit: Vec::new() };
        self.stages.get(&stage).unwrap_or(&NOTHING)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A host: a namespace with the file system of this machine.
    Linux,
    /// A segment: a namespace with one Linux bridge, whose ports are the ends of its links.
    Bridge,
}

impl Kind {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "linux" => Some(Kind::Linux),
            "bridge" => Some(Kind::Bridge),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Linux => "linux",
            Kind::Bridge => "bridge",
        })
    }
}

/// Whose network namespace a node is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// One of its own, in which containerlab would add a management interface.
    Own,
    /// One of its own, with nothing but its links: `none`.
    Alone,
    /// That of whoever deploys: `host`.
    Host,
    /// That of another node: `container:NODE`.
    Of(String),
}

/// `source:target[:ro|rw]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// As written: relative to the file, `__clab...__` not replaced yet.
    pub source: String,
    pub target: PathBuf,
    pub read_only: bool,
    pub line: Option<usize>,
}

/// A command as written, and split into words as a shell would, without its other meanings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub text: String,
    pub words: Vec<String>,
}

/// How to find out whether a node does what it is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthcheck {
    pub words: Vec<String>,
    pub start_period: Duration,
    pub interval: Duration,
    pub timeout: Duration,
    pub retries: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub near: End,
    pub far: Far,
    /// In bytes.
    pub mtu: u32,
}

/// The other end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Far {
    Node(End),
    /// An interface of the namespace of whoever deploys.
    Host(String),
    /// The same, as a port of the management network's bridge.
    Management(String),
    /// None: the near end is a dummy.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub node: String,
    pub interface: String,
    pub mac: Option<String>,
}

/// The bridge of the management network, made where a link ends at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    pub bridge: String,
    /// With prefix lengths.
    pub addresses: Vec<String>,
    pub mtu: Option<u32>,
}

impl Link {
    /// The ends that are in nodes.
    pub fn ends(&self) -> impl Iterator<Item = &End> {
        let far = match &self.far {
            Far::Node(end) => Some(end),
            _ => None,
        };
        std::iter::once(&self.near).chain(far)
    }

    /// The interface at which it ends outside of nodes.
    pub fn outside(&self) -> Option<&str> {
        match &self.far {
            Far::Host(interface) | Far::Management(interface) => Some(interface),
            Far::Node(_) | Far::Nothing => None,
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -- {}", self.near, self.far)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.interface)
    }
}

impl fmt::Display for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Far::Node(end) => end.fmt(f),
            Far::Host(interface) => write!(f, "host:{interface}"),
            Far::Management(interface) => write!(f, "mgmt-net:{interface}"),
            Far::Nothing => f.write_str("dummy"),
        }
    }
}

impl Topology {
    /// Reads a topology file, with the variables of this process's environment. What is unknown, contradictory or not
    /// done is refused with file and line.
    pub fn read(path: &Path) -> Result<Self, LabError> {
        Self::parse_with(path, &text_of(path)?, &variables::of_process)
    }

    /// Only the lab's name, from a file that may no longer be what was deployed.
    pub fn read_name(path: &Path) -> Result<String, LabError> {
        source::parse_name(path, &text_of(path)?, &variables::of_process)
    }

    /// Parses the text of the topology file `path` where no variable is set.
    pub fn parse(path: &Path, text: &str) -> Result<Self, LabError> {
        Self::parse_with(path, text, &|_| None)
    }

    /// Parses the text of the topology file `path`.
    pub fn parse_with(path: &Path, text: &str, environment: Environment) -> Result<Self, LabError> {
        let text = &source::replace_variables(path, text, environment)?;
        let file = source::parse(path, text)?;
        let refuse = |line: Option<usize>, what: String| LabError::Topology { file: path.into(), line, what };
        resolve::check_name("name", &file.name, 64).map_err(|what| refuse(lines::of(text, "name:"), what))?;
        if file.topology.nodes.is_empty() {
            return Err(refuse(lines::of(text, "nodes:"), "topology.nodes: a lab needs at least one node".into()));
        }
        let prefix = match file.prefix.as_deref() {
            None => format!("clab-{}-", file.name),
            Some("") => String::new(),
            Some("__lab-name") => format!("{}-", file.name),
            Some(prefix) => format!("{prefix}-{}-", file.name),
        };
        let mut nodes = Vec::new();
        for (name, definition) in &file.topology.nodes {
            let node = resolve::node(&file.topology, name, definition, &prefix, text)
                .map_err(|what| refuse(lines::of_node(text, name), format!("topology.nodes.{name}: {what}")))?;
            nodes.push(node);
        }
        stages::check(&nodes).map_err(|stages::Refusal { node, at, what }| {
            refuse(lines::within_node(text, &node, &at), format!("topology.nodes.{node}: {what}"))
        })?;
        let links = wiring::links(&file.topology, &nodes).map_err(|wiring::Refusal { link, what }| {
            refuse(lines::of_link(text, link), format!("topology.links[{link}]: {what}"))
        })?;
        let management =
            wiring::management(&file.mgmt).map_err(|what| refuse(lines::of(text, "mgmt:"), format!("mgmt: {what}")))?;
        let file_path =
            std::path::absolute(path).map_err(|error| LabError::system(path.display().to_string(), error))?;
        Ok(Topology { file: file_path, name: file.name, prefix, management, nodes, links })
    }

    /// The same lab under another name.
    pub fn renamed(mut self, name: &str) -> Result<Self, LabError> {
        resolve::check_name("name", name, 64).map_err(LabError::Lab)?;
        self.prefix = self.prefix.replace(&format!("{}-", self.name), &format!("{name}-"));
        self.name = name.into();
        Ok(self)
    }
}

fn text_of(path: &Path) -> Result<String, LabError> {
    std::fs::read_to_string(path).map_err(|error| LabError::Topology {
        file: path.into(),
        line: None,
        what: format!("cannot be read: {error}"),
    })
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
