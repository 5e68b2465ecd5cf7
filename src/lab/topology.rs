//! The topology as it is meant: names checked, inheritance done, commands split. Built from `source`, deployed by
//! `deploy`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::LabError;
use super::source::{self, Definition, Scalar};

/// containerlab's MTU of a veth, in bytes.
pub const DEFAULT_MTU: u32 = 9500;

/// A lab, ready to be deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The file it was read from, absolute.
    pub file: PathBuf,
    pub name: String,
    /// What stands before a node's name in its long name: `clab-LAB-`, unless the file says otherwise.
    pub prefix: String,
    /// In the order of the file.
    pub nodes: Vec<Node>,
    pub links: Vec<Link>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub kind: Kind,
    pub image: Option<String>,
    pub binds: Vec<Bind>,
    pub env: BTreeMap<String, String>,
    /// Run in this order when all links are there.
    pub exec: Vec<Command>,
    /// The node's main process.
    pub cmd: Option<Command>,
    pub sysctls: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub ends: [End; 2],
    /// In bytes.
    pub mtu: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub node: String,
    pub interface: String,
    pub mac: Option<String>,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.interface)
    }
}

impl Topology {
    /// Reads a topology file. What is unknown, contradictory or not done is refused with file and line.
    pub fn read(path: &Path) -> Result<Self, LabError> {
        Self::parse(path, &text_of(path)?)
    }

    /// Only the lab's name, from a file that may no longer be what was deployed.
    pub fn read_name(path: &Path) -> Result<String, LabError> {
        source::parse_name(path, &text_of(path)?)
    }

    /// Parses the text of the topology file `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, LabError> {
        let file = source::parse(path, text)?;
        let refuse = |line: Option<usize>, what: String| LabError::Topology { file: path.into(), line, what };
        check_name("name", &file.name, 64).map_err(|what| refuse(source::line_of(text, "name:"), what))?;
        if file.topology.nodes.is_empty() {
            return Err(refuse(
                source::line_of(text, "nodes:"),
                "topology.nodes: a lab needs at least one node".into(),
            ));
        }
        let mut nodes = Vec::new();
        for (name, definition) in &file.topology.nodes {
            let node = resolve(&file.topology, name, definition, text)
                .map_err(|what| refuse(source::line_of_node(text, name), format!("topology.nodes.{name}: {what}")))?;
            nodes.push(node);
        }
        let mut links = Vec::new();
        let mut taken = BTreeMap::new();
        for (number, link) in file.topology.links.iter().enumerate() {
            let refuse = |what| refuse(source::line_of_link(text, number), format!("topology.links[{number}]: {what}"));
            let link = build_link(link, &nodes, &file.topology).map_err(refuse)?;
            for end in &link.ends {
                if let Some(other) = taken.insert(end.to_string(), number) {
                    return Err(refuse(format!("`{end}` is already an end of links[{other}]")));
                }
            }
            links.push(link);
        }
        let prefix = match file.prefix.as_deref() {
            None => format!("clab-{}-", file.name),
            Some("") => String::new(),
            Some("__lab-name") => format!("{}-", file.name),
            Some(prefix) => format!("{prefix}-{}-", file.name),
        };
        let file_path =
            std::path::absolute(path).map_err(|error| LabError::system(path.display().to_string(), error))?;
        Ok(Topology { file: file_path, name: file.name, prefix, nodes, links })
    }

    /// The same lab under another name.
    pub fn renamed(mut self, name: &str) -> Result<Self, LabError> {
        check_name("name", name, 64).map_err(LabError::Lab)?;
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

/// A node with what it inherits: node, group, kind, defaults; the nearest wins, maps merge by key, binds by target,
/// and commands add up, the general ones first.
fn resolve(section: &source::Section, name: &str, own: &Definition, text: &str) -> Result<Node, String> {
    check_name("the node's name", name, 63)?;
    let group_name = own.group.as_ref().or(section.defaults.group.as_ref());
    let group = group_name.and_then(|group| section.groups.iter().find(|(name, _)| name == group)).map(|(_, g)| g);
    let kind = own.kind.or(group.and_then(|group| group.kind)).or(section.defaults.kind);
    let kind = kind.ok_or("no `kind`, here or in what it inherits; write `kind: linux` or `kind: bridge`")?;
    let of_kind = section.kinds.iter().find(|(name, _)| *name == kind).map(|(_, definition)| definition);
    let near_to_far: Vec<&Definition> =
        [Some(own), group, of_kind, Some(&section.defaults)].into_iter().flatten().collect();
    let first = |field: fn(&Definition) -> Option<&String>| near_to_far.iter().find_map(|one| field(one)).cloned();

    match first(|one| one.network_mode.as_ref()).as_deref() {
        None | Some("none") => {}
        Some(other) => return Err(format!("network-mode `{other}`: `routectl lab` knows `none`")),
    }
    if kind == Kind::Bridge {
        check_interface(name)?;
    }
    let mut binds: Vec<Bind> = Vec::new();
    for bind in near_to_far.iter().flat_map(|one| &one.binds) {
        let bind = parse_bind(bind, text)?;
        if !binds.iter().any(|have| have.target == bind.target) {
            binds.push(bind);
        }
    }
    let far_to_near = || near_to_far.iter().rev();
    let exec = far_to_near().flat_map(|one| &one.exec).map(|text| split("exec", text)).collect::<Result<_, _>>()?;
    let cmd = first(|one| one.cmd.as_ref()).map(|text| split("cmd", &text)).transpose()?;
    let merged = |field: fn(&Definition) -> &BTreeMap<String, Scalar>| -> BTreeMap<String, String> {
        far_to_near().flat_map(|one| field(one)).map(|(key, value)| (key.clone(), value.0.clone())).collect()
    };
    Ok(Node {
        name: name.into(),
        kind,
        image: first(|one| one.image.as_ref()),
        binds,
        env: merged(|one| &one.env),
        exec,
        cmd,
        sysctls: merged(|one| &one.sysctls),
        labels: merged(|one| &one.labels),
    })
}

fn parse_bind(text: &str, file: &str) -> Result<Bind, String> {
    let mut parts = text.split(':');
    let (source, target) = match (parts.next(), parts.next()) {
        (Some(source), Some(target)) if !source.is_empty() && target.starts_with('/') => (source, target),
        _ => return Err(format!("bind `{text}`: expected `source:/target` or `source:/target:ro`")),
    };
    let mut read_only = false;
    for option in parts.flat_map(|part| part.split(',')) {
        match option {
            "ro" => read_only = true,
            "rw" => {}
            other => return Err(format!("bind `{text}`: unknown option `{other}`; `ro` and `rw` are known")),
        }
    }
    if Path::new(target).components().any(|part| part == std::path::Component::ParentDir) || target == "/" {
        return Err(format!("bind `{text}`: the target must be a path below /, without `..`"));
    }
    Ok(Bind { source: source.into(), target: target.into(), read_only, line: source::line_of(file, text) })
}

fn split(field: &str, text: &str) -> Result<Command, String> {
    match shlex::split(text) {
        Some(words) if !words.is_empty() => Ok(Command { text: text.into(), words }),
        Some(_) => Err(format!("{field}: an empty command")),
        None => Err(format!("{field}: `{text}`: a quote is not closed")),
    }
}

fn build_link(link: &source::Link, nodes: &[Node], section: &source::Section) -> Result<Link, String> {
    let [one, two] = link.endpoints.as_slice() else {
        return Err(format!("a link has two endpoints, here are {}", link.endpoints.len()));
    };
    let end = |end: &source::Endpoint| -> Result<End, String> {
        if ["host", "mgmt-net", "macvlan"].contains(&end.node.as_str()) {
            return Err(format!("`{}:{}`: `routectl lab` links nodes to nodes only", end.node, end.interface));
        }
        let node = nodes.iter().find(|node| node.name == end.node);
        let node = node.ok_or(format!("`{}:{}`: there is no node `{}`", end.node, end.interface, end.node))?;
        check_interface(&end.interface)?;
        if node.kind == Kind::Linux && end.interface == "eth0" && !without_management(section, &end.node) {
            return Err(format!(
                "`{}:eth0`: containerlab keeps eth0 for its management network; say `network-mode: none` or take eth1",
                end.node
            ));
        }
        if node.kind == Kind::Bridge && end.interface == node.name {
            return Err(format!("`{}:{}`: a port cannot have the bridge's own name", end.node, end.interface));
        }
        Ok(End { node: end.node.clone(), interface: end.interface.clone(), mac: end.mac.clone() })
    };
    let mtu = link.mtu.unwrap_or(DEFAULT_MTU);
    if !(68..=65535).contains(&mtu) {
        return Err(format!("mtu {mtu}: expected 68 to 65535 bytes"));
    }
    Ok(Link { ends: [end(one)?, end(two)?], mtu })
}

fn without_management(section: &source::Section, name: &str) -> bool {
    let own = section.nodes.iter().find(|(node, _)| node == name).map(|(_, definition)| definition);
    let group =
        own.and_then(|own| own.group.as_ref()).and_then(|group| section.groups.iter().find(|(g, _)| g == group));
    let kinds = section.kinds.iter().filter(|(kind, _)| *kind == Kind::Linux).map(|(_, definition)| definition);
    own.into_iter()
        .chain(group.map(|(_, definition)| definition))
        .chain(kinds)
        .chain([&section.defaults])
        .any(|definition| definition.network_mode.is_some())
}

fn check_name(what: &str, name: &str, longest: usize) -> Result<(), String> {
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && name.len() <= longest;
    match good {
        true => Ok(()),
        false => Err(format!("{what}: `{name}`: expected letters, digits, `-`, `_` and `.`, at most {longest}")),
    }
}

fn check_interface(name: &str) -> Result<(), String> {
    let good = !name.is_empty()
        && name.len() <= 15
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    match good {
        true => Ok(()),
        false => Err(format!("interface `{name}`: expected at most 15 characters without `/`, `:` and blanks")),
    }
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
