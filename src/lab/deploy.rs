//! The order of a deployment: nodes, links, bridges, what runs in the nodes. Until [`Deployed::keep`] the lab ends with
//! its owner, however that one ends.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::state::{self, LabDir, NodeRecord, Record};
use super::topology::{Bind, Kind, Node, Topology};
use super::wire::{Answer, Line, Order, Spec, SpecBind};
use super::{LabError, daemons, enter, links};

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
    let mut building = Building { dir: &dir, nodes: Vec::new() };
    let built = building.build(topology, options, progress);
    let nodes = std::mem::take(&mut building.nodes);
    match built {
        Ok(record) => Ok(Deployed {
            record,
            routectl: options.routectl.clone(),
            base: options.base.clone(),
            lines: nodes.into_iter().map(|node| node.line).collect(),
            kept: false,
            dir,
        }),
        Err(error) => {
            let killed: Vec<OwnedFd> = nodes.iter().filter_map(|node| state::kill(&node.record)).collect();
            drop(nodes);
            killed.iter().try_for_each(state::wait_for_end)?;
            dir.remove()?;
            Err(error)
        }
    }
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
            order(line, &node.name, &Order::Keep)?;
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

/// A lab on its way: the nodes that are up so far.
struct Building<'a> {
    dir: &'a LabDir,
    nodes: Vec<Up>,
}

/// A node whose init runs.
struct Up {
    record: NodeRecord,
    line: Line,
}

impl Building<'_> {
    fn build(
        &mut self,
        topology: &Topology,
        options: &Options,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Record, LabError> {
        let specs =
            topology.nodes.iter().map(|node| self.spec(topology, node, options)).collect::<Result<Vec<_>, _>>()?;
        let daemons = topology.nodes.iter().map(main_process).collect::<Result<Vec<_>, _>>()?;
        fs::create_dir_all(self.dir.shared()).map_err(|error| LabError::system("the lab's directory", error))?;
        progress(&format!("{} nodes", topology.nodes.len()));
        for (node, spec) in topology.nodes.iter().zip(&specs) {
            let up = start(topology, node, spec, options)?;
            self.nodes.push(up);
        }
        for up in &mut self.nodes {
            answer(&mut up.line, &up.record.name)?;
        }
        progress(&format!("{} links", topology.links.len()));
        let pids: BTreeMap<&str, i32> = self.nodes.iter().map(|up| (up.record.name.as_str(), up.record.pid)).collect();
        for link in &topology.links {
            let ends = [&link.ends[0], &link.ends[1]];
            links::create(&topology.name, link, ends.map(|end| pids[end.node.as_str()]))?;
        }
        progress("what runs in the nodes");
        // A step at a time for all nodes, so that a node's commands find its neighbours' interfaces up.
        let tasks =
            |work: &(dyn Fn(&Node) -> Vec<Order> + Sync)| topology.nodes.iter().map(work).collect::<Vec<Vec<Order>>>();
        self.everywhere(tasks(&|node| raise(topology, node)))?;
        self.wait_for_links(topology)?;
        self.everywhere(daemons)?;
        self.everywhere(tasks(&|node| {
            node.exec
                .iter()
                .map(|exec| Order::Run { words: expand_all(&exec.words, topology, node, self.dir) })
                .collect()
        }))?;
        let record = Record {
            name: topology.name.clone(),
            file: topology.file.clone(),
            nodes: self.nodes.iter().map(|up| up.record.clone()).collect(),
            links: topology.links.iter().map(|link| link.ends.each_ref().map(ToString::to_string)).collect(),
        };
        self.dir.write(&record)?;
        Ok(record)
    }

    fn wait_for_links(&self, topology: &Topology) -> Result<(), LabError> {
        self.nodes.iter().try_for_each(|up| {
            let ends = topology.links.iter().flat_map(|link| &link.ends).filter(|end| end.node == up.record.name);
            let interfaces: Vec<&str> = ends.map(|end| end.interface.as_str()).collect();
            enter::in_network(&up.record, || links::wait_until_up(&interfaces))?
                .map_err(|what| LabError::node(&up.record.name, what))
        })
    }

    fn spec(&self, topology: &Topology, node: &Node, options: &Options) -> Result<Spec, LabError> {
        let binds = node.binds.iter().map(|bind| self.spec_bind(topology, node, bind)).collect::<Result<_, _>>()?;
        Ok(Spec {
            name: node.name.clone(),
            scratch: self.dir.scratch(&node.name),
            programs: programs(&options.routectl)?,
            binds,
            env: node.env.clone(),
            sysctls: node.sysctls.clone(),
            log: self.dir.log(&node.name),
        })
    }

    fn spec_bind(&self, topology: &Topology, node: &Node, bind: &Bind) -> Result<SpecBind, LabError> {
        let source = expand(&bind.source, topology, node, self.dir);
        let near = topology.file.parent().unwrap_or(Path::new("/"));
        let source = near.join(&source);
        if source.starts_with(self.dir.path()) {
            fs::create_dir_all(&source).map_err(|error| LabError::system(source.display().to_string(), error))?;
        }
        let source = source.canonicalize().map_err(|error| LabError::Topology {
            file: topology.file.clone(),
            line: bind.line,
            what: format!("topology.nodes.{}: bind source `{}`: {error}", node.name, source.display()),
        })?;
        Ok(SpecBind { source, target: bind.target.clone(), read_only: bind.read_only })
    }

    /// Gives every node its list of orders; the nodes work side by side, each through its own list.
    fn everywhere(&mut self, tasks: Vec<Vec<Order>>) -> Result<(), LabError> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .nodes
                .iter_mut()
                .zip(tasks)
                .map(|(up, orders)| {
                    scope.spawn(move || orders.iter().try_for_each(|one| order(&mut up.line, &up.record.name, one)))
                })
                .collect();
            let ends: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            ends.into_iter().collect()
        })
    }
}

/// The directory of the executables.
fn programs(routectl: &Path) -> Result<PathBuf, LabError> {
    let fail = |error| LabError::system(routectl.display().to_string(), error);
    let path = routectl.canonicalize().map_err(fail)?;
    Ok(path.parent().unwrap_or(Path::new("/")).into())
}

/// `cmd`, or the daemons that the image stands for.
fn main_process(node: &Node) -> Result<Vec<Order>, LabError> {
    if let Some(cmd) = &node.cmd {
        return Ok(vec![Order::Start { words: cmd.words.clone() }]);
    }
    let daemon = daemons::of(node).map_err(|what| LabError::node(&node.name, what))?;
    Ok(daemon.map(|daemon| Order::Run { words: daemon.words }).into_iter().collect())
}

/// A node's own part in its links: its bridge, if it is one, and its ends up.
fn raise(topology: &Topology, node: &Node) -> Vec<Order> {
    let bridge = (node.kind == Kind::Bridge).then_some(node.name.as_str());
    let first = bridge.into_iter().flat_map(links::bridge);
    let ends = topology.links.iter().flat_map(|link| &link.ends).filter(|end| end.node == node.name);
    first.chain(ends.map(|end| links::raise(end, bridge))).map(|words| Order::Run { words }).collect()
}

/// containerlab's own variables.
fn expand(text: &str, topology: &Topology, node: &Node, dir: &LabDir) -> String {
    let shared = dir.shared();
    text.replace("__clabNodeDir__", &shared.join(&node.name).display().to_string())
        .replace("__clabDir__", &shared.display().to_string())
        .replace("__clabNodeName__", &node.name)
        .replace("__clabLabName__", &topology.name)
}

fn expand_all(words: &[String], topology: &Topology, node: &Node, dir: &LabDir) -> Vec<String> {
    words.iter().map(|word| expand(word, topology, node, dir)).collect()
}

/// Starts a node's init and learns its process id; the node sets itself up meanwhile.
fn start(topology: &Topology, node: &Node, spec: &Spec, options: &Options) -> Result<Up, LabError> {
    let fail = |what: &str, error: std::io::Error| LabError::node(&node.name, format!("{what}: {error}"));
    fs::create_dir_all(&spec.scratch).map_err(|error| fail("its directory", error))?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| fail("socketpair", error))?;
    let mut child = Command::new(&options.routectl)
        .args(["lab", "node-init", &topology.name, &node.name])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| fail(&options.routectl.display().to_string(), error))?;
    let mut line = Line::new(ours);
    let first = line.send(spec).and_then(|()| line.receive::<Answer>());
    // What was spawned only forks the init and ends.
    let _ = child.wait();
    let pid = match first.map_err(|error| fail("its init", error))? {
        Some(Answer::Pid(pid)) => pid,
        Some(Answer::Failed(what)) => return Err(LabError::node(&node.name, what)),
        Some(Answer::Done) | None => return Err(LabError::node(&node.name, "its init ended before it began")),
    };
    let start_time = enter::start_time(pid).map_err(|error| fail("its init", error))?;
    let record = NodeRecord {
        name: node.name.clone(),
        long_name: format!("{}{}", topology.prefix, node.name),
        kind: node.kind.to_string(),
        image: node.image.clone(),
        pid,
        start_time,
        env: node.env.clone(),
        labels: node.labels.clone(),
        programs: spec.programs.clone(),
    };
    Ok(Up { record, line })
}

fn order(line: &mut Line, node: &str, order: &Order) -> Result<(), LabError> {
    line.send(order).map_err(|error| LabError::node(node, format!("its init is gone: {error}")))?;
    answer(line, node)
}

fn answer(line: &mut Line, node: &str) -> Result<(), LabError> {
    match line.receive::<Answer>() {
        Ok(Some(Answer::Done | Answer::Pid(_))) => Ok(()),
        Ok(Some(Answer::Failed(what))) => Err(LabError::node(node, what)),
        Ok(None) => Err(LabError::node(node, "its init ended")),
        Err(error) => Err(LabError::node(node, format!("its init is gone: {error}"))),
    }
}
