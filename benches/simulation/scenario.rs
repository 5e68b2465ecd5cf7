//! One layout of the nodes, and what they go through: each event is measured until no table changes any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use routenet_core::bgp::mesh::Role;
use routenet_core::bgp::speaker::{Input, State};
use routenet_core::model::{Cidr, MeshLayout};
use routenet_core::time::Time;

use crate::cluster::{Cluster, LOOK, address};
use crate::net::{Net, Timing};

const HOSTS: usize = 10;
const RACK: usize = 20;
const LATENCY: Duration = Duration::from_millis(1);
const JITTER: Duration = Duration::from_micros(200);
const MESSAGE: Duration = Duration::from_micros(50);
/// Within which all nodes start.
const START: Duration = Duration::from_secs(1);
/// Timers may run so much late; it is what a session's end, of minutes, is measured with.
const TICK: Duration = Duration::from_millis(250);
const SLICE: Duration = Duration::from_millis(20);

pub fn describe() -> String {
    format!(
        "{} ms of latency and up to {} us more, {} us a message at the receiver",
        LATENCY.as_millis(),
        JITTER.as_micros(),
        MESSAGE.as_micros()
    )
}

/// `full`, or `auto` with the limit that it has where nobody says another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Full,
    Auto,
}

impl Layout {
    pub const ALL: [Layout; 2] = [Layout::Auto, Layout::Full];

    pub fn name(self) -> &'static str {
        match self {
            Layout::Full => "full mesh",
            Layout::Auto => "mesh: auto",
        }
    }

    pub fn named(name: &str) -> Layout {
        Layout::ALL.into_iter().find(|layout| layout.name() == name).expect("a layout")
    }

    fn mesh(self) -> MeshLayout {
        match self {
            Layout::Full => MeshLayout::Full,
            Layout::Auto => MeshLayout::Auto { limit: MeshLayout::LIMIT },
        }
    }
}

/// One line of the table.
pub struct Row<'a> {
    pub layout: &'a str,
    pub what: &'a str,
    /// Until the last table changed, and until the last UPDATE arrived.
    pub tables: Duration,
    pub said: Duration,
    pub messages: u64,
    pub bytes: u64,
    pub lost: u64,
}

fn prefixes(index: usize) -> BTreeSet<Cidr> {
    let block = u32::from(Ipv4Addr::new(10, 200, 0, 0)) + 64 * index as u32;
    let hosts = (1..=HOSTS as u32).map(|host| (Ipv4Addr::from(block + host), 32));
    let all = std::iter::once((Ipv4Addr::from(block), 26)).chain(hosts);
    all.map(|(address, length)| format!("{address}/{length}").parse().expect("a CIDR")).collect()
}

struct Run {
    layout: Layout,
    cluster: Cluster,
    count: usize,
    /// Nodes that are no more.
    gone: BTreeSet<usize>,
}

impl Run {
    fn new(layout: Layout, count: usize) -> Run {
        let timing = Timing { latency: LATENCY, jitter: JITTER, message: MESSAGE, pieces: false, tick: TICK };
        let mut cluster = Cluster::new(Net::new(timing, 1), layout.mesh(), 0, 1);
        for index in 0..count {
            cluster.add();
            cluster.net.nodes[index].own = prefixes(index);
        }
        Run { layout, cluster, count, gone: BTreeSet::new() }
    }

    fn is_reflector(&self, index: usize) -> bool {
        matches!(self.cluster.rollout(index).plan().role, Role::Reflector { .. })
    }

    fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.count).filter(|index| self.cluster.net.is_up(*index) && !self.gone.contains(index))
    }

    /// Percent of the routes that are to be there, and are.
    fn complete(&self) -> f64 {
        let there: usize = self.alive().map(|index| self.cluster.net.nodes[index].kernel.len()).sum();
        let whole = self.count * (self.count - 1) * (HOSTS + 1);
        there as f64 * 100.0 / whole as f64
    }

    /// Every kernel of a living node has what the others announce, by way of who announces it, and nothing else.
    fn check(&self) {
        let alive: Vec<usize> = self.alive().collect();
        for &index in &alive {
            let others = alive.iter().filter(|other| **other != index);
            let wanted: BTreeMap<Cidr, Vec<IpAddr>> = others
                .flat_map(|other| {
                    self.cluster.net.nodes[*other].own.iter().map(|prefix| (*prefix, vec![address(*other)]))
                })
                .collect();
            assert!(self.cluster.net.nodes[index].kernel == wanted, "node {index} has not what it has to have");
        }
    }

    /// Lets something happen, waits for so long, and says when the last table changed and what was said until then.
    fn measure(&mut self, what: &str, wait: Duration, happens: impl FnOnce(&mut Run)) {
        let (begin, before, lost) = (self.cluster.net.now, self.cluster.net.traffic, self.lost());
        happens(self);
        let left = wait.saturating_sub(self.cluster.net.now.since(begin));
        self.cluster.run(left);
        let row = Row {
            layout: self.layout.name(),
            what,
            tables: self.changed().since(begin),
            said: self.cluster.net.updated.since(begin),
            messages: self.cluster.net.traffic.messages - before.messages,
            bytes: self.cluster.net.traffic.bytes - before.bytes,
            lost: self.lost() - lost,
        };
        row.print();
        self.check();
    }

    fn changed(&self) -> Time {
        self.alive().map(|index| self.cluster.net.nodes[index].changed).max().unwrap_or_default()
    }

    fn lost(&self) -> u64 {
        self.cluster.net.nodes.iter().map(|node| node.lost).sum()
    }

    /// Power is lost: nobody hears a word.
    fn lose(&mut self, nodes: &[usize]) {
        for &node in nodes {
            (0..self.count).filter(|other| *other != node).for_each(|other| self.cluster.net.cut(node, other));
            self.cluster.kill(node);
            self.gone.insert(node);
        }
    }
}

/// All of it for one layout, on the standard output.
pub fn run(layout: Layout, count: usize) {
    let mut run = Run::new(layout, count);
    let memory = start(&mut run);
    let host: Cidr = "10.200.0.62/32".parse().expect("a CIDR");
    let here = Duration::from_secs(2);
    run.measure("one more /32 on one node", here, |run| announce(run, host, true));
    run.measure("it is gone", here, |run| announce(run, host, false));
    if layout == Layout::Auto {
        let reflector = run.alive().find(|index| run.is_reflector(*index)).expect("a reflector");
        run.measure("a reflector is killed, its clients hear it, and it comes back", Duration::from_secs(30), |run| {
            run.cluster.kill(reflector);
            run.cluster.run(Duration::from_secs(2));
            run.cluster.boot(reflector, true);
        });
        let away = Duration::from_secs(240);
        run.measure("a reflector loses power: its own routes go (hold and restart time)", away, |run| {
            run.lose(&[reflector]);
        });
        run.measure("its Node is deleted: another one reflects", Duration::from_secs(60), |run| {
            run.cluster.remove(reflector);
        });
    }
    let rack: Vec<usize> = run.alive().filter(|index| !run.is_reflector(*index)).take(RACK).collect();
    let drained = rack.clone();
    run.measure("a rack of 20 is drained", Duration::from_secs(20), |run| {
        for node in &drained {
            run.gone.insert(*node);
            run.cluster.net.handle(*node, Input::Drain { notice: Duration::ZERO });
        }
    });
    run.measure("it comes back", Duration::from_secs(30), |run| {
        for node in &drained {
            run.gone.remove(node);
            run.cluster.net.handle(*node, Input::Undrain);
        }
    });
    let other = match layout {
        Layout::Full => Layout::Auto,
        Layout::Auto => Layout::Full,
    };
    let change = match layout {
        Layout::Full => "the setting is changed to `mesh: auto`",
        Layout::Auto => "the setting is changed to a full mesh",
    };
    run.measure(change, Duration::from_secs(60), |run| run.cluster.lay_out(other.mesh()));
    run.measure("and back", Duration::from_secs(60), |run| run.cluster.lay_out(layout.mesh()));
    run.measure("a rack of 20 loses power (hold and restart time)", Duration::from_secs(240), |run| run.lose(&rack));
    println!("memory {memory} {:.0} |", processor_time().as_secs_f64());
}

/// What this process has had of the processor (`proc_pid_stat(5)`: fields 14 and 15, in hundredths of a second).
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("our status");
    let (_, fields) = stat.rsplit_once(')').expect("the name in brackets");
    let hundredths = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a number"));
    Duration::from_millis(10 * hundredths.sum::<u64>())
}

fn announce(run: &mut Run, prefix: Cidr, whether: bool) {
    let own = &mut run.cluster.net.nodes[0].own;
    if whether {
        own.insert(prefix)
    } else {
        own.remove(&prefix)
    };
    run.cluster.net.handle(0, Input::Originate(vec![(prefix, whether)]));
}

/// All nodes start; the curve and the memory, which is the answer, are of this.
fn start(run: &mut Run) -> String {
    let mut points = vec![(0.0, 0.0)];
    run.measure("all nodes start within a second", Duration::from_secs(20), |run| {
        let mut booted = 0;
        while run.cluster.net.now.since_origin() < START || run.complete() < 100.0 {
            let due =
                (run.count as f64 * run.cluster.net.now.since_origin().as_secs_f64() / START.as_secs_f64()) as usize;
            while booted < due.min(run.count) {
                run.cluster.boot(booted, false);
                booted += 1;
            }
            run.cluster.net.run(SLICE);
            if run.cluster.net.now.since_origin().as_millis() % LOOK.as_millis() == 0 {
                run.cluster.look();
            }
            points.push((run.cluster.net.now.since_origin().as_secs_f64(), run.complete()));
            assert!(run.cluster.net.now.since_origin() < Duration::from_secs(300), "they do not converge");
        }
    });
    for (x, y) in points {
        println!("point {x:.2} {y:.2}");
    }
    let sessions = |index: usize| {
        let all = run.cluster.net.speaker(index).status(run.cluster.net.now);
        all.iter().filter(|status| status.state == State::Established).count()
    };
    let each: Vec<usize> = run.alive().map(sessions).collect();
    let status = std::fs::read_to_string("/proc/self/status").expect("our status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes: f64 = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
    let (all, most) = (each.iter().sum::<usize>() / 2, each.iter().max().expect("a node"));
    let megabytes = kilobytes / 1024.0 / run.count as f64;
    format!("| {} | {all} | {most} | {megabytes:.2} |", run.layout.name())
}
