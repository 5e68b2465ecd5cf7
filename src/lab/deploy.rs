//! A deployment as a whole: what must hold before, what is written down, and that nothing is left when it fails. Called
//! by `routectl lab` and by tests of whole clusters. Until [`Deployed::keep`] the lab ends with its owner, however that
//! one ends.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::course::{self, Course};
use super::host::Outside;
use super::state::{self, LabDir, NodeRecord, Record};
use super::topology::Topology;
use super::variables::Magic;
use super::wire::{Line, Order};
use super::{LabError, enter, links, specs};

/// How to deploy.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `routectl` that becomes the nodes' init; its directory comes first in the nodes' `PATH`.
    pub routectl: PathBuf,
    /// Where labs are kept.
    pub base: PathBuf,
    /// Replace a lab of the same name instead of refusing.
    pub reconfigure: bool,
}

impl Options {
    pub fn new(routectl: impl Into<PathBuf>) -> Self {
        Options { routectl: routectl.into(), base: state::DEFAULT_BASE.into(), reconfigure: false }
    }
}

/// A lab that runs and ends when this is dropped.
pub struct Deployed {
    dir: LabDir,
    record: Record,
    routectl: PathBuf,
    base: PathBuf,
    lines: Vec<Line>,
    kept: bool,
}

/// Deploys a lab. Whatever fails, nothing of it is left; `progress` hears of each step.
pub fn deploy(topology: &Topology, options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Deployed, LabError> {
    let outside = Outside::of(topology);
    outside.check(&topology.name)?;
    links::probe_dummies(&topology.links)?;
    let dir = LabDir::new(&options.base, &topology.name);
    let _held = dir.lock()?;
    if dir.record()?.is_some_and(|record| record.running()) && !options.reconfigure {
        return Err(LabError::Lab(format!(
            "lab `{}` is already deployed; `--reconfigure` replaces it, `routectl lab destroy --name {}` ends it",
            topology.name, topology.name
        )));
    }
    if dir.clear()? {
        progress("the lab of this name that was there is gone");
    }
    match build(topology, options, &dir, &outside, progress) {
        Ok((record, lines)) => Ok(Deployed {
            record,
            routectl: options.routectl.clone(),
            base: options.base.clone(),
            lines,
            kept: false,
            dir,
        }),
        Err(error) => {
            dir.clear().and_then(|_| dir.remove())?;
            Err(error)
        }
    }
}

fn build(
    topology: &Topology,
    options: &Options,
    dir: &LabDir,
    outside: &Outside,
    progress: &mut dyn FnMut(&str),
) -> Result<(Record, Vec<Line>), LabError> {
    let shared = dir.shared();
    let specs = specs::of(topology, dir, &options.routectl)?;
    let magic = |node| Magic { lab: &topology.name, node, shared: &shared };
    let mains: Vec<Option<Order>> =
        topology.nodes.iter().map(|node| specs::main_process(node, &magic(&node.name))).collect::<Result<_, _>>()?;
    fs::create_dir_all(&shared).map_err(|error| LabError::system("the lab's directory", error))?;
    dir.write_outside(outside)?;
    outside.make_bridge(&topology.management)?;
    let course =
        Course { topology, specs: &specs, mains: &mains, outside, shared: &shared, routectl: &options.routectl };
    let ups = course.run(progress)?;
    let record = Record {
        name: topology.name.clone(),
        file: topology.file.clone(),
        nodes: ups.iter().map(|up| up.record.clone()).collect(),
        links: topology.links.iter().map(|link| [link.near.to_string(), link.far.to_string()]).collect(),
        owner: state::caller(),
    };
    if let Err(error) = dir.write(&record) {
        let killed: Vec<_> = record.nodes.iter().filter_map(state::kill).collect();
        killed.iter().try_for_each(state::wait_for_end)?;
        return Err(error);
    }
    Ok((record, ups.into_iter().map(|up| up.line).collect()))
}

impl Deployed {
    pub fn record(&self) -> &Record {
        &self.record
    }

    pub fn node(&self, name: &str) -> Result<&NodeRecord, LabError> {
        self.record.node(name)
    }

    /// What the nodes may share (`__clabDir__` in a bind).
    pub fn shared(&self) -> PathBuf {
        self.dir.shared()
    }

    /// A command that will run in a node; killing it kills what runs there. Its environment is the node's:
    /// set variables with `env NAME=VALUE`.
    pub fn command(&self, node: &str, program: &str) -> Command {
        let mut command = Command::new(&self.routectl);
        command.args(["lab", "exec", "--name", &self.record.name, "--node", node, "--state-dir"]);
        command.arg(&self.base).arg("--").arg(program);
        command
    }

    /// Runs `work` on a thread of its own in a node's network namespace.
    pub fn in_network<T: Send>(&self, node: &str, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        enter::in_network(self.record.node(node)?, work)
    }

    /// Lets the lab outlive its owner, until it is destroyed.
    pub fn keep(mut self) -> Result<Record, LabError> {
        for (line, node) in self.lines.iter_mut().zip(&self.record.nodes) {
            course::order(line, &node.name, &Order::Keep)?;
        }
        self.kept = true;
        Ok(self.record.clone())
    }

    /// Ends the lab, and says so when that fails.
    pub fn destroy(mut self) -> Result<(), LabError> {
        self.kept = true;
        self.dir.destroy().map(drop)
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.dir.destroy()
        {
            eprintln!("lab `{}`: {error}", self.record.name);
        }
    }
}
