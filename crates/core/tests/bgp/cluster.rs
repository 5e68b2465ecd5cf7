//! Nodes that lay out their mesh by themselves: a store that each of them reads a little later than the others, and what
//! each says in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use routenet_core::bgp::mesh::{Class, Facts, Hold, Plan, Rollout, Said};
use routenet_core::bgp::speaker::*;
use routenet_core::model::peering::PeerOptions;
use routenet_core::model::{ImportPolicy, MeshLayout};

use crate::dice::Dice;
use crate::net::Net;

pub const AS: u32 = 64512;
/// How often a node looks at its sessions and at what others say.
pub const LOOK: Duration = Duration::from_secs(1);

/// What the store says: the nodes, and how the mesh is laid out.
type View = (BTreeSet<usize>, MeshLayout);

pub struct Cluster {
    pub net: Net,
    store: Rc<View>,
    /// What each node has read of it, what it will have read after so many looks, and what it follows.
    seen: Vec<Rc<View>>,
    delayed: Vec<Option<(usize, Rc<View>)>>,
    rollouts: Vec<Option<Rollout>>,
    said: BTreeMap<String, Said>,
    /// How many looks later a change is read, at most.
    delay: usize,
    dice: Dice,
    looks: u64,
}

pub fn name(index: usize) -> String {
    format!("node-{index}")
}

pub fn address(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 100, (index / 250) as u8, (index % 250) as u8 + 1))
}

impl Cluster {
    pub fn new(net: Net, layout: MeshLayout, delay: usize, seed: u64) -> Cluster {
        Cluster {
            net,
            store: Rc::new((BTreeSet::new(), layout)),
            seen: Vec::new(),
            delayed: Vec::new(),
            rollouts: Vec::new(),
            said: BTreeMap::new(),
            delay,
            dice: Dice(seed),
            looks: 0,
        }
    }

    /// A node that the store knows, and that is off.
    pub fn add(&mut self) -> usize {
        let index = self.net.add(config(self.net.nodes.len(), BTreeMap::new()));
        self.net.nodes[index].pools = vec!["10.200.0.0/16".parse().expect("a CIDR")];
        Rc::make_mut(&mut self.store).0.insert(index);
        self.seen.push(self.store.clone());
        self.delayed.push(None);
        self.rollouts.push(None);
        self.tell();
        index
    }

    pub fn remove(&mut self, index: usize) {
        Rc::make_mut(&mut self.store).0.remove(&index);
        self.tell();
    }

    pub fn lay_out(&mut self, layout: MeshLayout) {
        Rc::make_mut(&mut self.store).1 = layout;
        self.tell();
    }

    fn tell(&mut self) {
        for index in 0..self.delayed.len() {
            let after = self.dice.below(self.delay + 1);
            self.delayed[index] = Some((after, self.store.clone()));
        }
    }

    /// Its agent starts, and reads the store.
    pub fn boot(&mut self, index: usize, restarting: bool) {
        (self.seen[index], self.delayed[index]) = (self.store.clone(), None);
        self.rollouts[index] = Some(Rollout::new(self.plan(index)));
        self.net.nodes[index].config = self.config(index);
        self.net.boot(index, restarting);
    }

    pub fn kill(&mut self, index: usize) {
        self.net.kill(index);
        self.rollouts[index] = None;
    }

    pub fn rollout(&self, index: usize) -> &Rollout {
        self.rollouts[index].as_ref().expect("it runs")
    }

    pub fn plan(&self, index: usize) -> Plan {
        let class = Class { as_number: AS, ipv4: true };
        let (nodes, layout) = &*self.seen[index];
        let names: Vec<String> = nodes.iter().map(|other| name(*other)).collect();
        Plan::new((&name(index), class), names.iter().map(|other| (other.as_str(), class)), *layout)
    }

    fn config(&self, index: usize) -> SpeakerConfig {
        let peers = self.rollout(index).peers();
        // One that the store no longer has is no neighbour, whatever the plan.
        let peers = self.seen[index].0.iter().filter_map(|other| Some((*other, *peers.get(&name(*other))?)));
        config(index, peers.collect())
    }

    pub fn run(&mut self, duration: Duration) {
        let end = self.net.now + duration;
        while self.net.now < end {
            let slice = LOOK.min(end.since(self.net.now));
            self.net.run(slice);
            self.look();
        }
    }

    /// What every agent does every second, and when it reads the store.
    pub fn look(&mut self) {
        self.looks += 1;
        for index in 0..self.rollouts.len() {
            let news = self.read(index);
            let Some(mut rollout) = self.rollouts[index].take() else { continue };
            let idle = !news && !rollout.is_restless();
            let now = self.net.now;
            if news {
                rollout.propose(self.plan(index), now);
            }
            if rollout.is_restless() {
                let leaving = rollout.leaving().into_iter().map(str::to_string).collect();
                let MeshSessions { sessions, covered } = self.net.speaker(index).mesh_sessions(&leaving, now);
                let facts = Facts { current: true, sessions, covered, said: self.said.clone() };
                rollout.look(&facts, now);
            }
            let in_place = rollout.in_place().map(str::to_string);
            self.rollouts[index] = Some(rollout);
            self.said.insert(name(index), Said { at: self.looks, in_place });
            if idle {
                continue;
            }
            let config = self.config(index);
            if config != self.net.nodes[index].config {
                self.net.nodes[index].config = config.clone();
                self.net.handle(index, Input::Configure(Box::new(config)));
            }
        }
    }

    /// Whether there was anything new.
    fn read(&mut self, index: usize) -> bool {
        match self.delayed[index].take() {
            Some((0, view)) => self.seen[index] = view,
            Some((after, view)) => {
                self.delayed[index] = Some((after - 1, view));
                return false;
            }
            None => return false,
        }
        true
    }

    /// Whether no node has anything to change or to wait for.
    pub fn is_quiet(&self) -> bool {
        self.rollouts.iter().flatten().all(|rollout| !rollout.is_restless()) && self.delayed.iter().all(Option::is_none)
    }
}

fn config(index: usize, peers: BTreeMap<usize, Hold>) -> SpeakerConfig {
    let IpAddr::V4(router_id) = address(index) else { panic!("an IPv4 address") };
    let peer = |(other, hold): (usize, Hold)| {
        let options = PeerOptions { reflector_client: hold == Hold::Client, ..PeerOptions::default() };
        let peer = PeerConfig {
            local_address: Some(address(index)),
            options,
            ..PeerConfig::new(PeerSource::Node, name(other), Some(AS), ImportPolicy::Pools)
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
