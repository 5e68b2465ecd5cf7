//! What the nodes' inits are told, made of the topology and the files that it names: all of it is read before anything
//! is made. Called by `deploy`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::state::LabDir;
use super::topology::{Bind, Kind, Node, Topology};
use super::variables::Magic;
use super::wire::{Order, Spec, SpecBind, SpecNetwork};
use super::{LabError, daemons};

/// The inits' specifications, in the order of the nodes; whose network a node shares is known when that runs.
pub fn of(topology: &Topology, dir: &LabDir, routectl: &Path) -> Result<Vec<Spec>, LabError> {
    let programs = programs(routectl)?;
    topology.nodes.iter().map(|node| Places { topology, dir, node }.spec(&programs)).collect()
}

/// `cmd`, or the daemons that the image stands for.
pub fn main_process(node: &Node, magic: &Magic) -> Result<Option<Order>, LabError> {
    if let Some(cmd) = &node.cmd {
        return Ok(Some(Order::Start { words: magic.expand_all(&cmd.words) }));
    }
    let daemon = daemons::of(node).map_err(|what| LabError::node(&node.name, what))?;
    Ok(daemon.map(|daemon| Order::Run { words: daemon.words }))
}

/// containerlab's own variables in a map's values.
pub fn expanded(map: &BTreeMap<String, String>, magic: &Magic) -> BTreeMap<String, String> {
    map.iter().map(|(key, value)| (key.clone(), magic.expand(value))).collect()
}

/// The directory of the executables.
fn programs(routectl: &Path) -> Result<PathBuf, LabError> {
    let fail = |error| LabError::system(routectl.display().to_string(), error);
    let path = routectl.canonicalize().map_err(fail)?;
    Ok(path.parent().unwrap_or(Path::new("/")).into())
}

struct Places<'a> {
    topology: &'a Topology,
    dir: &'a LabDir,
    node: &'a Node,
}

impl Places<'_> {
    fn spec(&self, programs: &Path) -> Result<Spec, LabError> {
        let Places { topology, dir, node } = self;
        let shared = dir.shared();
        let magic = Magic { lab: &topology.name, node: &node.name, shared: &shared };
        let mut env = BTreeMap::new();
        for (file, line) in &node.env_files {
            env.extend(self.env_file(&magic.expand(file), *line)?);
        }
        env.extend(expanded(&node.env, &magic));
        Ok(Spec {
            name: node.name.clone(),
            scratch: dir.scratch(&node.name),
            programs: programs.into(),
            network: SpecNetwork::New,
            binds: node.binds.iter().map(|bind| self.bind(bind, &magic)).collect::<Result<_, _>>()?,
            env,
            sysctls: expanded(&node.sysctls, &magic),
            log: dir.log(&node.name),
        })
    }

    fn refuse(&self, line: Option<usize>, what: String) -> LabError {
        let what = format!("topology.nodes.{}: {what}", self.node.name);
        LabError::Topology { file: self.topology.file.clone(), line, what }
    }

    /// A path of the topology file: relative to its directory, `~` is the caller's home.
    fn path(&self, text: &str) -> PathBuf {
        let near = self.topology.file.parent().unwrap_or(Path::new("/"));
        match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(rest), Some(home)) => Path::new(&home).join(rest),
            _ => near.join(text),
        }
    }

    fn bind(&self, bind: &Bind, magic: &Magic) -> Result<SpecBind, LabError> {
        let source = self.path(&magic.expand(&bind.source));
        if source.starts_with(self.dir.path()) {
            fs::create_dir_all(&source).map_err(|error| LabError::system(source.display().to_string(), error))?;
        }
        let source = source
            .canonicalize()
            .map_err(|error| self.refuse(bind.line, format!("bind source `{}`: {error}", source.display())))?;
        Ok(SpecBind { source, target: bind.target.clone(), read_only: bind.read_only })
    }

    fn env_file(&self, file: &str, line: Option<usize>) -> Result<BTreeMap<String, String>, LabError> {
        let path = self.path(file);
        let refuse = |what: String| self.refuse(line, format!("env-files: {}{what}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| refuse(format!(": {error}")))?;
        variables(&text).map_err(|(line, said)| refuse(format!(":{line}: `{said}`: expected NAME=VALUE")))
    }
}

/// `NAME=VALUE`, one a line, perhaps in quotes, perhaps after `export`; empty lines and comments are skipped. An error is
/// a line and its number.
fn variables(text: &str) -> Result<BTreeMap<String, String>, (usize, String)> {
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(index, line)| {
            let said = line.strip_prefix("export ").unwrap_or(line).trim_start();
            let (name, value) = said
                .split_once('=')
                .map(|(name, value)| (name.trim_end(), value.trim_start()))
                .filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace))
                .ok_or((index + 1, line.to_string()))?;
            let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
            Ok((name.into(), bare.unwrap_or(value).into()))
        })
        .collect()
}

/// A node's own part in its links: its bridge, if it is one.
pub fn bridge_of(node: &Node) -> Option<&str> {
    (node.kind == Kind::Bridge).then_some(node.name.as_str())
}

#[cfg(test)]
#[path = "specs_tests.rs"]
mod tests;
