//! The course of a deployment: every node goes through its stages on a thread of its own. Called by `deploy`.
//!
//! The nodes that wait for nobody keep step: all of them exist before the first link is made, all their interfaces are
//! up before the first main process starts, and all of these run before the first `exec`. Who comes later finds all that
//! done. A link one of whose nodes is not there yet gets the other's end at once, and its own is parked.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Scope;
use std::time::Duration;

use super::board::{Board, Moment, Stop};
use super::host::Outside;
use super::links::{self, Parking};
use super::stages::{self, Stage, Wait};
use super::topology::{Command as Words, End, Far, Link, Network, Node, Topology};
use super::variables::Magic;
use super::wire::{Answer, Line, Order, Spec, SpecNetwork};
use super::{LabError, NodeRecord, enter, health, specs};

/// A node whose init runs.
pub struct Up {
    pub record: NodeRecord,
    pub line: Line,
}

/// What a deployment is made of.
pub struct Course<'a> {
    pub topology: &'a Topology,
    pub specs: &'a [Spec],
    /// The main process of each node.
    pub mains: &'a [Option<Order>],
    pub outside: &'a Outside,
    pub shared: &'a Path,
    pub routectl: &'a Path,
}

/// What is said when a node's thread ends.
const END: &str = "";

/// How far a link is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Missing,
    /// One end is in its node.
    Half,
    Whole,
}

struct Run<'a> {
    course: &'a Course<'a>,
    /// The nodes that wait for nobody.
    early: BTreeSet<&'a str>,
    wires: Vec<Mutex<Wire>>,
    parking: OnceLock<Parking>,
    board: Board,
    said: Mutex<Sender<String>>,
}

impl Course<'_> {
    /// Starts everything; `progress` hears of each step. When something fails, no node is left.
    pub fn run(&self, progress: &mut dyn FnMut(&str)) -> Result<Vec<Up>, LabError> {
        let (said, heard) = std::sync::mpsc::channel();
        let nodes = &self.topology.nodes;
        let run = Run {
            course: self,
            early: stages::early(nodes),
            wires: self.topology.links.iter().map(|_| Mutex::new(Wire::Missing)).collect(),
            parking: OnceLock::new(),
            board: Board::default(),
            said: Mutex::new(said),
        };
        progress(&format!("{} nodes", nodes.len()));
        let ups: Vec<Option<Up>> = std::thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> = (0..nodes.len())
                .map(|index| {
                    scope.spawn(move || {
                        let _guard = run.board.guard();
                        let up = run.node(scope, index).map_err(|stop| run.board.fail(stop)).ok();
                        run.say(END.into());
                        up
                    })
                })
                .collect();
            let mut left = threads.len();
            // The time limit is for a thread that panicked, and so has said nothing.
            while left > 0 && threads.iter().any(|thread| !thread.is_finished()) {
                match heard.recv_timeout(Duration::from_millis(200)) {
                    Ok(step) if step == END => left -= 1,
                    Ok(step) => progress(&step),
                    Err(_) => {}
                }
            }
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        run.board.end()?;
        Ok(ups.into_iter().flatten().collect())
    }
}

impl<'a> Run<'a> {
    fn node<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, index: usize) -> Result<Up, Stop> {
        let node = &self.course.topology.nodes[index];
        let name = node.name.as_str();
        let mut up = self.create(index)?;
        if self.early.contains(name) {
            self.together(Moment::Created)?;
        }
        self.enter(node, Stage::CreateLinks, &mut up.line)?;
        self.attach(node, &mut up)?;
        self.leave(node, Stage::CreateLinks, &mut up.line)?;
        self.reach(name, Moment::Linked);
        self.together(Moment::Linked)?;
        self.wait_for_links(node, &up.record)?;

        let main = self.course.mains[index].as_ref().map(|main| order(&mut up.line, name, main)).transpose()?;
        self.reach(name, Moment::Started);
        if self.wanted(node, Stage::Healthy) {
            let record = up.record.clone();
            scope.spawn(move || {
                let _guard = self.board.guard();
                self.healthy(node, &record).map_err(|stop| self.board.fail(stop))
            });
        }
        if let Some(pid) = main.flatten().filter(|_| self.wanted(node, Stage::Exit)) {
            let proc = PathBuf::from(format!("/proc/{}/root/proc", up.record.pid));
            scope.spawn(move || {
                let _guard = self.board.guard();
                self.exited(name, &proc, pid).map_err(|stop| self.board.fail(stop))
            });
        }

        self.together(Moment::Started)?;
        self.enter(node, Stage::Configure, &mut up.line)?;
        self.commands(node, &node.exec, &mut up.line)?;
        self.leave(node, Stage::Configure, &mut up.line)?;
        self.reach(name, Moment::Configured);
        Ok(up)
    }

    fn create(&self, index: usize) -> Result<Up, Stop> {
        let node = &self.course.topology.nodes[index];
        let spec = &self.course.specs[index];
        self.wait(node, Stage::Create)?;
        let network = match &node.network {
            Network::Own | Network::Alone => SpecNetwork::New,
            Network::Host => SpecNetwork::Kept,
            Network::Of(other) => {
                self.board.until(other, Moment::Created)?;
                SpecNetwork::Of(self.board.pid(other)?)
            }
        };
        if !node.startup_delay.is_zero() {
            self.say(format!("{}: starts in {} s", node.name, node.startup_delay.as_secs()));
            self.board.sleep(node.startup_delay)?;
        }
        let mut up = self.start(node, &Spec { network, ..spec.clone() })?;
        self.board.register(&up.record)?;
        answer(&mut up.line, &node.name)?;
        self.leave(node, Stage::Create, &mut up.line)?;
        self.reach(&node.name, Moment::Created);
        Ok(up)
    }

    /// Starts a node's init and learns its process id; the node sets itself up meanwhile.
    fn start(&self, node: &Node, spec: &Spec) -> Result<Up, LabError> {
        let (topology, routectl) = (self.course.topology, self.course.routectl);
        let fail = |what: &str, error: std::io::Error| LabError::node(&node.name, format!("{what}: {error}"));
        fs::create_dir_all(&spec.scratch).map_err(|error| fail("its directory", error))?;
        let (ours, theirs) = UnixStream::pair().map_err(|error| fail("socketpair", error))?;
        let mut child = Command::new(routectl)
            .args(["lab", "node-init", &topology.name, &node.name])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| fail(&routectl.display().to_string(), error))?;
        let mut line = Line::new(ours);
        let first = line.send(spec).and_then(|()| line.receive::<Answer>());
        // What was spawned only forks the init and ends.
        let _ = child.wait();
        let pid = match first.map_err(|error| fail("its init", error))? {
            Some(Answer::Pid(pid)) => pid,
            Some(Answer::Failed(what)) => return Err(LabError::node(&node.name, what)),
            Some(Answer::Done | Answer::Started(_)) | None => {
                return Err(LabError::node(&node.name, "its init ended before it began"));
            }
        };
        let start_time = match enter::start_time(pid) {
            Ok(time) => time,
            // It may have failed and ended already: then it has said why.
            Err(error) => {
                return Err(match line.receive::<Answer>() {
                    Ok(Some(Answer::Failed(what))) => LabError::node(&node.name, what),
                    _ => fail("its init", error),
                });
            }
        };
        let magic = self.magic(node);
        let record = NodeRecord {
            name: node.name.clone(),
            long_name: format!("{}{}", topology.prefix, node.name),
            kind: node.kind.to_string(),
            group: node.group.clone(),
            image: node.image.clone(),
            pid,
            start_time,
            env: spec.env.clone(),
            labels: specs::expanded(&node.labels, &magic),
            programs: spec.programs.clone(),
            health: node
                .healthcheck
                .as_ref()
                .map(|check| health::Check { words: magic.expand_all(&check.words), timeout: check.timeout.as_secs() }),
        };
        Ok(Up { record, line })
    }

    /// A node's own part in its links: its bridge, if it is one, and its ends, up.
    fn attach(&self, node: &Node, up: &mut Up) -> Result<(), Stop> {
        let bridge = specs::bridge_of(node);
        for words in bridge.into_iter().flat_map(links::bridge) {
            order(&mut up.line, &node.name, &Order::Run { words })?;
        }
        let topology = self.course.topology;
        for (number, link) in topology.links.iter().enumerate() {
            if !link.ends().any(|end| end.node == node.name) {
                continue;
            }
            match &link.far {
                Far::Nothing => {
                    let words = links::dummy(&topology.name, link);
                    order(&mut up.line, &node.name, &Order::Run { words })?;
                }
                Far::Host(interface) | Far::Management(interface) => {
                    links::create_outwards(&topology.name, link, interface, up.record.pid)?;
                    self.course.outside.raise(&topology.name, interface, &link.far)?;
                }
                Far::Node(far) => self.join(number, link, far, node, up.record.pid)?,
            }
            for end in link.ends().filter(|end| end.node == node.name) {
                order(&mut up.line, &node.name, &Order::Run { words: links::raise(end, bridge) })?;
            }
        }
        Ok(())
    }

    /// Brings a node's end of a link to another node, or to itself, into it.
    fn join(&self, number: usize, link: &Link, far: &End, node: &Node, pid: i32) -> Result<(), Stop> {
        let mut wire = self.wire(number);
        let lab = &self.course.topology.name;
        let (own, other) = if link.near.node == node.name { (&link.near, far) } else { (far, &link.near) };
        match *wire {
            Wire::Whole => return Ok(()),
            Wire::Half => self.parking()?.fetch(link, number, own, pid)?,
            Wire::Missing if own.node == other.node => links::create(lab, link, (own, pid), (other, pid))?,
            Wire::Missing if self.open(&other.node) => {
                links::create(lab, link, (own, pid), (other, self.board.pid(&other.node)?))?;
            }
            Wire::Missing => {
                self.parking()?.park(lab, link, number, (own, pid))?;
                *wire = Wire::Half;
                return Ok(());
            }
        }
        *wire = Wire::Whole;
        Ok(())
    }

    /// Whether a node would not see that an interface comes before its turn.
    fn open(&self, name: &str) -> bool {
        let nodes = &self.course.topology.nodes;
        let sees = |node: &Node| !node.stage(Stage::CreateLinks).on_enter.is_empty();
        self.early.contains(name)
            && self.board.has(name, Moment::Created)
            && !nodes.iter().any(|node| node.name == name && sees(node))
    }

    fn wait_for_links(&self, node: &Node, record: &NodeRecord) -> Result<(), Stop> {
        let own = |end: &&End| end.node == node.name;
        let up = |(number, link): &(usize, &Link)| match &link.far {
            Far::Nothing => false,
            Far::Host(_) | Far::Management(_) => true,
            Far::Node(_) => {
                *self.wire(*number) == Wire::Whole && link.ends().all(|end| self.board.has(&end.node, Moment::Linked))
            }
        };
        let links = self.course.topology.links.iter().enumerate().filter(up);
        let interfaces: Vec<&str> =
            links.flat_map(|(_, link)| link.ends().filter(own)).map(|end| end.interface.as_str()).collect();
        if interfaces.is_empty() {
            return Ok(());
        }
        enter::in_network(record, || links::wait_until_up(&interfaces))?
            .map_err(|what| LabError::node(&node.name, what).into())
    }

    /// Whether anybody waits for a node's stage, or it has something to run then.
    fn wanted(&self, node: &Node, stage: Stage) -> bool {
        let waits = |other: &Node| {
            other.stages.values().flat_map(|plan| &plan.waits).any(|wait| wait.node == node.name && wait.stage == stage)
        };
        !node.stage(stage).is_empty() || self.course.topology.nodes.iter().any(waits)
    }

    fn healthy(&self, node: &Node, record: &NodeRecord) -> Result<(), Stop> {
        let (Some(check), Some(written)) = (&node.healthcheck, &record.health) else { return Ok(()) };
        self.wait(node, Stage::Healthy)?;
        if !health::until_healthy(record, check, &written.words, |pause| self.board.sleep(pause).is_ok())? {
            return Err(Stop::Cancelled);
        }
        let plan = node.stage(Stage::Healthy);
        for command in plan.on_enter.iter().chain(&plan.on_exit) {
            let words = self.magic(node).expand_all(&command.words);
            enter::run(record, &words, None)?.map_err(|what| LabError::node(&node.name, what))?;
        }
        self.reach(&node.name, Moment::Healthy);
        Ok(())
    }

    fn exited(&self, name: &str, proc: &Path, pid: i32) -> Result<(), Stop> {
        while enter::start_time_in(proc, pid).is_ok() {
            self.board.sleep(Duration::from_millis(20))?;
        }
        self.reach(name, Moment::Exited);
        Ok(())
    }

    fn enter(&self, node: &Node, stage: Stage, line: &mut Line) -> Result<(), Stop> {
        self.wait(node, stage)?;
        self.commands(node, &node.stage(stage).on_enter, line)
    }

    fn leave(&self, node: &Node, stage: Stage, line: &mut Line) -> Result<(), Stop> {
        self.commands(node, &node.stage(stage).on_exit, line)
    }

    fn wait(&self, node: &Node, stage: Stage) -> Result<(), Stop> {
        for Wait { node: other, stage: its } in &node.stage(stage).waits {
            let moment = Moment::after(*its);
            if !self.board.has(other, moment) {
                self.say(format!("{}: {stage} waits for {other}: {its}", node.name));
            }
            self.board.until(other, moment)?;
        }
        Ok(())
    }

    fn commands(&self, node: &Node, commands: &[Words], line: &mut Line) -> Result<(), Stop> {
        for command in commands {
            let words = self.magic(node).expand_all(&command.words);
            order(line, &node.name, &Order::Run { words })?;
        }
        Ok(())
    }

    /// Until all nodes that wait for nobody are that far.
    fn together(&self, moment: Moment) -> Result<(), Stop> {
        self.early.iter().try_for_each(|name| self.board.until(name, moment))
    }

    fn reach(&self, name: &str, moment: Moment) {
        let before = self.early.iter().all(|one| self.board.has(one, moment));
        let now = self.board.reach(name, moment, &self.early);
        match moment {
            Moment::Created if now && !before => self.say(format!("{} links", self.wires.len())),
            Moment::Linked if now && !before => self.say("what runs in the nodes".into()),
            _ => {}
        }
    }

    fn say(&self, step: String) {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = said.send(step);
    }

    fn magic<'n>(&'n self, node: &'n Node) -> Magic<'n> {
        Magic { lab: &self.course.topology.name, node: &node.name, shared: self.course.shared }
    }

    fn wire(&self, number: usize) -> MutexGuard<'_, Wire> {
        self.wires[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parking(&self) -> Result<&Parking, LabError> {
        if let Some(parking) = self.parking.get() {
            return Ok(parking);
        }
        let made = Parking::new()?;
        Ok(self.parking.get_or_init(|| made))
    }
}

/// Gives a node's init an order and answers the process id of what it started.
pub fn order(line: &mut Line, node: &str, order: &Order) -> Result<Option<i32>, LabError> {
    line.send(order).map_err(|error| LabError::node(node, format!("its init is gone: {error}")))?;
    answer(line, node)
}

fn answer(line: &mut Line, node: &str) -> Result<Option<i32>, LabError> {
    match line.receive::<Answer>() {
        Ok(Some(Answer::Done | Answer::Pid(_))) => Ok(None),
        Ok(Some(Answer::Started(pid))) => Ok(Some(pid)),
        Ok(Some(Answer::Failed(what))) => Err(LabError::node(node, what)),
        Ok(None) => Err(LabError::node(node, "its init ended")),
        Err(error) => Err(LabError::node(node, format!("its init is gone: {error}"))),
    }
}
