//! One layout of the nodes, and what they go through: each event is measured until no table changes any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use routenet_core::bgp::mesh::{self, Hold, Reflection};
use routenet_core::bgp::speaker::{Input, PeerConfig, PeerSource, SpeakerConfig, State};
use routenet_core::model::peering::PeerOptions;
use routenet_core::model::{Cidr, ImportPolicy};
use routenet_core::time::Time;

use crate::net::{Net, Timing};

const AS: u32 = 64512;
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

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Mesh,
    Reflectors(usize),
}

impl Layout {
    pub const ALL: [Layout; 3] = [Layout::Mesh, Layout::Reflectors(4), Layout::Reflectors(8)];

    pub fn name(self) -> &'static str {
        match self {
            Layout::Mesh => "full mesh",
            Layout::Reflectors(4) => "4 reflectors",
            Layout::Reflectors(_) => "8 reflectors",
        }
    }

    pub fn named(name: &str) -> Layout {
        Layout::ALL.into_iter().find(|layout| layout.name() == name).expect("a layout")
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

fn name(index: usize) -> String {
    format!("node-{index}")
}

fn address(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 100, (index / 250) as u8, (index % 250) as u8 + 1))
}

fn prefixes(index: usize) -> BTreeSet<Cidr> {
    let block = u32::from(Ipv4Addr::new(10, 200, 0, 0)) + 64 * index as u32;
    let hosts = (1..=HOSTS as u32).map(|host| (Ipv4Addr::from(block + host), 32));
    let all = std::iter::once((Ipv4Addr::from(block), 26)).chain(hosts);
    all.map(|(address, length)| format!("{address}/{length}").parse().expect("a CIDR")).collect()
}

fn config(index: usize, peers: BTreeMap<usize, Hold>) -> SpeakerConfig {
    let IpAddr::V4(router_id) = address(index) else { panic!("an IPv4 address") };
    let peer = |(other, hold): (usize, Hold)| {
        let options = PeerOptions { reflector_client: hold == Hold::Client, ..PeerOptions::default() };
        let peer = PeerConfig {
            name: name(other),
            source: PeerSource::Node,
            port: 179,
            as_number: AS,
            passive: false,
            import: ImportPolicy::Pools,
            hold_time: None,
            local_address: Some(address(index)),
            transport: Default::default(),
            bfd: None,
            filters: Default::default(),
            options,
        };
        (address(other), peer)
    };
    SpeakerConfig {
        as_number: AS,
        router_id,
        address4: Some(address(index)),
        peers: peers.into_iter().map(peer).collect(),
        ..SpeakerConfig::default()
    }
}

struct Run {
    layout: Layout,
    net: Net,
    count: usize,
    plan: Reflection,
    /// What it is to be followed by, while it is.
    next: Reflection,
    /// Nodes that are no more.
    gone: BTreeSet<usize>,
}

impl Run {
    fn new(layout: Layout, count: usize) -> Run {
        let timing = Timing { latency: LATENCY, jitter: JITTER, message: MESSAGE, pieces: false, tick: TICK };
        let mut run = Run {
            layout,
            net: Net::new(timing, 1),
            count,
            plan: Reflection::default(),
            next: Reflection::default(),
            gone: BTreeSet::new(),
        };
        run.plan = run.plan();
        run.next = run.plan.clone();
        for index in 0..count {
            run.net.add(config(index, run.peers(index)));
            let node = run.net.nodes.last_mut().expect("just added");
            node.pools = vec!["10.200.0.0/16".parse().expect("a CIDR")];
            node.own = prefixes(index);
        }
        run
    }

    /// The plan for the nodes that are there.
    fn plan(&self) -> Reflection {
        let Layout::Reflectors(reflectors) = self.layout else { return Reflection::default() };
        let names: Vec<String> = (0..self.count).filter(|index| !self.gone.contains(index)).map(name).collect();
        mesh::reflectors(names.iter().map(String::as_str), reflectors)
    }

    fn peers(&self, index: usize) -> BTreeMap<usize, Hold> {
        let others = (0..self.count).filter(|other| *other != index && !self.gone.contains(other));
        if self.layout == Layout::Mesh {
            return others.map(|other| (other, Hold::Plain)).collect();
        }
        let own = name(index);
        let peers = self.plan.peers_until(&self.next, &own);
        others.filter_map(|other| Some((other, *peers.get(name(other).as_str())?))).collect()
    }

    fn reflector(&self) -> usize {
        (0..self.count).find(|index| self.plan.reflectors.contains(&name(*index))).expect("a reflector")
    }

    fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.count).filter(|index| self.net.is_up(*index) && !self.gone.contains(index))
    }

    /// Percent of the routes that are to be there, and are.
    fn complete(&self) -> f64 {
        let there: usize = self.alive().map(|index| self.net.nodes[index].kernel.len()).sum();
        let whole = self.count * (self.count - 1) * (HOSTS + 1);
        there as f64 * 100.0 / whole as f64
    }

    /// Every kernel of a living node has what the others announce, by way of who announces it, and nothing else.
    fn check(&self) {
        let alive: Vec<usize> = self.alive().collect();
        for &index in &alive {
            let others = alive.iter().filter(|other| **other != index);
            let wanted: BTreeMap<Cidr, Vec<IpAddr>> = others
                .flat_map(|other| self.net.nodes[*other].own.iter().map(|prefix| (*prefix, vec![address(*other)])))
                .collect();
            assert!(self.net.nodes[index].kernel == wanted, "node {index} has not what it has to have");
        }
    }

    /// Lets something happen, waits for so long, and says when the last table changed and what was said until then.
    fn measure(&mut self, what: &str, wait: Duration, happens: impl FnOnce(&mut Run)) {
        let (begin, before, lost) = (self.net.now, self.net.traffic, self.lost());
        happens(self);
        let left = wait.saturating_sub(self.net.now.since(begin));
        self.net.run(left);
        let row = Row {
            layout: self.layout.name(),
            what,
            tables: self.changed().since(begin),
            said: self.net.updated.since(begin),
            messages: self.net.traffic.messages - before.messages,
            bytes: self.net.traffic.bytes - before.bytes,
            lost: self.lost() - lost,
        };
        row.print();
        self.check();
    }

    fn changed(&self) -> Time {
        self.alive().map(|index| self.net.nodes[index].changed).max().unwrap_or_default()
    }

    fn lost(&self) -> u64 {
        self.net.nodes.iter().map(|node| node.lost).sum()
    }

    /// Power is lost: nobody hears a word.
    fn lose(&mut self, nodes: &[usize]) {
        for &node in nodes {
            (0..self.count).filter(|other| *other != node).for_each(|other| self.net.cut(node, other));
            self.net.kill(node);
            self.gone.insert(node);
        }
    }

    /// What the nodes do when the store no longer has those that are gone: first the sessions of both plans, then of the
    /// new one.
    fn follow_plan(&mut self) {
        self.next = self.plan();
        self.configure();
        self.net.run(Duration::from_secs(15));
        self.plan = self.next.clone();
        self.configure();
    }

    fn configure(&mut self) {
        for index in self.alive().collect::<Vec<_>>() {
            let config = config(index, self.peers(index));
            self.net.nodes[index].config = config.clone();
            self.net.handle(index, Input::Configure(Box::new(config)));
        }
    }
}

/// All of it for one layout, on the standard output.
pub fn run(layout: Layout, count: usize) {
    let mut run = Run::new(layout, count);
    start(&mut run);
    let host: Cidr = "10.200.0.62/32".parse().expect("a CIDR");
    let here = Duration::from_secs(2);
    run.measure("one more /32 on one node", here, |run| announce(run, host, true));
    run.measure("it is gone", here, |run| announce(run, host, false));
    if let Layout::Reflectors(_) = layout {
        let reflector = run.reflector();
        run.measure("a reflector is killed, its clients hear it, and it comes back", Duration::from_secs(30), |run| {
            run.net.kill(reflector);
            run.net.run(Duration::from_secs(2));
            run.net.boot(reflector, true);
        });
        let away = Duration::from_secs(240);
        run.measure("a reflector loses power: its own routes go (hold and restart time)", away, |run| {
            run.lose(&[reflector]);
        });
        let anew = "the plan is made anew without it: 15 s with both plans, then the new one";
        run.measure(anew, Duration::from_secs(60), Run::follow_plan);
    }
    let rack: Vec<usize> =
        run.alive().filter(|index| !run.plan.reflectors.contains(&name(*index))).take(RACK).collect();
    let drained = rack.clone();
    run.measure("a rack of 20 is drained", Duration::from_secs(20), |run| {
        for node in &drained {
            run.gone.insert(*node);
            run.net.handle(*node, Input::Drain { notice: Duration::ZERO });
        }
    });
    run.measure("it comes back", Duration::from_secs(30), |run| {
        for node in &drained {
            run.gone.remove(node);
            run.net.handle(*node, Input::Undrain);
        }
    });
    run.measure("a rack of 20 loses power (hold and restart time)", Duration::from_secs(240), |run| run.lose(&rack));
}

fn announce(run: &mut Run, prefix: Cidr, whether: bool) {
    let own = &mut run.net.nodes[0].own;
    if whether {
        own.insert(prefix)
    } else {
        own.remove(&prefix)
    };
    run.net.handle(0, Input::Originate(vec![(prefix, whether)]));
}

/// All nodes start; the curve and the memory are of this.
fn start(run: &mut Run) {
    let mut points = vec![(0.0, 0.0)];
    run.measure("all nodes start within a second", Duration::from_secs(20), |run| {
        let mut booted = 0;
        while run.net.now.since_origin() < START || run.complete() < 100.0 {
            let due = (run.count as f64 * run.net.now.since_origin().as_secs_f64() / START.as_secs_f64()) as usize;
            while booted < due.min(run.count) {
                run.net.boot(booted, false);
                booted += 1;
            }
            run.net.run(SLICE);
            points.push((run.net.now.since_origin().as_secs_f64(), run.complete()));
            assert!(run.net.now.since_origin() < Duration::from_secs(300), "they do not converge");
        }
    });
    for (x, y) in points {
        println!("point {x:.2} {y:.2}");
    }
    let sessions = |index: usize| {
        let all = run.net.speaker(index).status(run.net.now);
        all.iter().filter(|status| status.state == State::Established).count()
    };
    let each: Vec<usize> = run.alive().map(sessions).collect();
    let status = std::fs::read_to_string("/proc/self/status").expect("our status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes: f64 = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
    let (all, most) = (each.iter().sum::<usize>() / 2, each.iter().max().expect("a node"));
    let megabytes = kilobytes / 1024.0 / run.count as f64;
    println!("memory | {} | {all} | {most} | {megabytes:.2} |", run.layout.name());
}
