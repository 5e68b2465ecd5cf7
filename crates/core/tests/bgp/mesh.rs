//! The mesh that lays itself out: no kernel loses a route of a living node while nodes come and go, reflectors are lost, the
//! limit is crossed or the setting is changed, whatever the order in which the nodes hear of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use routenet_core::bgp::mesh::Role;
use routenet_core::bgp::speaker::{PeerSource, State};
use routenet_core::model::{Cidr, ImportPolicy, MeshLayout};

use crate::cluster::{Cluster, address, name};
use crate::net::{Net, Timing};
use crate::world::World;

const TIMING: Timing = Timing {
    latency: Duration::from_millis(1),
    jitter: Duration::from_millis(40),
    message: Duration::ZERO,
    pieces: false,
    tick: Duration::from_millis(10),
};
/// Some nodes read what the store says so many seconds later than others.
const DELAY: usize = 12;
const AUTO: MeshLayout = MeshLayout::Auto { limit: 6 };

fn own(index: usize) -> Cidr {
    format!("10.200.{index}.0/26").parse().expect("a CIDR")
}

struct Mesh {
    cluster: Cluster,
    /// Nodes whose kernel routes may go, and those to whom nobody may lose one.
    gone: Vec<usize>,
}

impl Mesh {
    fn new(count: usize, layout: MeshLayout, seed: u64) -> Mesh {
        let mut mesh = Mesh { cluster: Cluster::new(Net::new(TIMING, seed), layout, DELAY, seed), gone: Vec::new() };
        for _ in 0..count {
            mesh.cluster.add();
        }
        for index in 0..count {
            mesh.cluster.net.nodes[index].own = [own(index)].into();
            mesh.cluster.boot(index, false);
        }
        mesh.cluster.run(Duration::from_secs(5));
        mesh.rest();
        mesh
    }

    fn add(&mut self) -> usize {
        let index = self.cluster.add();
        self.cluster.net.nodes[index].own = [own(index)].into();
        self.cluster.boot(index, false);
        index
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.cluster.net.nodes.len()).filter(|index| !self.gone.contains(index)).collect()
    }

    /// Every two nodes that were there before have each other's route, at this moment.
    fn check(&self, among: &[usize]) {
        for &index in among.iter().filter(|index| self.cluster.net.is_up(**index)) {
            for &other in among.iter().filter(|other| **other != index) {
                let hops = self.cluster.net.nodes[index].kernel.get(&own(other));
                assert_eq!(hops, Some(&vec![address(other)]), "{} to {}", name(index), name(other));
            }
        }
    }

    /// Runs, and looks all the while.
    fn run(&mut self, duration: Duration, among: &[usize]) {
        let end = self.cluster.net.now + duration;
        while self.cluster.net.now < end {
            for _ in 0..20 {
                self.cluster.net.run(Duration::from_millis(50));
                self.check(among);
            }
            self.cluster.look();
            self.check(among);
        }
    }

    /// Until nothing changes any more, and then all is as planned.
    fn rest(&mut self) {
        let among: Vec<usize> = Vec::new();
        self.rest_among(&among);
        let alive = self.alive();
        self.check(&alive);
        for &index in &alive {
            let wanted: BTreeMap<Cidr, Vec<IpAddr>> = alive
                .iter()
                .filter(|other| **other != index)
                .map(|other| (own(*other), vec![address(*other)]))
                .collect();
            assert_eq!(self.cluster.net.nodes[index].kernel, wanted, "{}", name(index));
            let plan = self.cluster.plan(index);
            assert_eq!(self.cluster.rollout(index).peers(), plan.peers, "{}", name(index));
            let status = self.cluster.net.speaker(index).status(self.cluster.net.now);
            let sessions = status.iter().filter(|peer| peer.state == State::Established).count();
            assert_eq!(sessions, plan.peers.len(), "{}: as planned", name(index));
        }
    }

    fn rest_among(&mut self, among: &[usize]) {
        for _ in 0..500 {
            self.run(Duration::from_secs(1), among);
            if self.cluster.is_quiet() {
                // What was said last arrives.
                return self.run(Duration::from_secs(5), among);
            }
        }
        panic!("it never comes to rest");
    }

    fn reflectors(&self) -> Vec<usize> {
        let is = |index: &usize| matches!(self.cluster.rollout(*index).plan().role, Role::Reflector { .. });
        self.alive().into_iter().filter(is).collect()
    }

    /// It is killed, the store forgets it, and nobody misses anything of the others.
    fn lose(&mut self, index: usize, deleted_after: Duration) {
        self.cluster.kill(index);
        self.gone.push(index);
        let alive = self.alive();
        self.run(deleted_after, &alive);
        self.cluster.remove(index);
        self.rest_among(&alive);
    }
}

#[test]
fn the_setting_changes_from_full_to_reflectors_and_back() {
    let mut mesh = Mesh::new(9, MeshLayout::Full, 1);
    let all = mesh.alive();
    assert!(mesh.reflectors().is_empty());
    mesh.cluster.lay_out(AUTO);
    mesh.rest_among(&all);
    mesh.rest();
    let reflectors = mesh.reflectors();
    assert_eq!(reflectors.len(), 4);
    for index in all.iter().filter(|index| !reflectors.contains(index)) {
        let peers = mesh.cluster.rollout(*index).peers();
        assert!(peers.len() == 2 && reflectors.iter().filter(|it| peers.contains_key(&name(**it))).count() == 2);
    }
    mesh.cluster.lay_out(MeshLayout::Full);
    mesh.rest_among(&all);
    mesh.rest();
    assert!(mesh.reflectors().is_empty());
}

#[test]
fn nodes_come_and_go_across_the_limit() {
    let mut mesh = Mesh::new(5, AUTO, 2);
    for count in 6..10 {
        let before = mesh.alive();
        mesh.add();
        mesh.rest_among(&before);
        mesh.rest();
        assert_eq!(mesh.reflectors().is_empty(), count <= 6);
    }
    for _ in 0..4 {
        let last = *mesh.alive().last().expect("a node");
        mesh.lose(last, Duration::from_secs(5));
        mesh.rest();
    }
    assert!(mesh.reflectors().is_empty());
}

#[test]
fn a_reflector_is_killed_and_comes_back_and_another_is_lost_for_good() {
    let mut mesh = Mesh::new(10, AUTO, 3);
    let reflector = mesh.reflectors()[0];
    let all = mesh.alive();
    mesh.cluster.kill(reflector);
    mesh.run(Duration::from_secs(10), &all);
    mesh.cluster.boot(reflector, true);
    mesh.rest_among(&all);
    mesh.rest();
    mesh.lose(reflector, Duration::from_secs(40));
    mesh.rest();
    assert!(mesh.reflectors().len() == 4 && !mesh.reflectors().contains(&reflector), "another one took its place");
}

#[derive(Clone, Debug)]
enum Step {
    Add,
    /// It is lost, and deleted after so many seconds.
    Lose(usize, u64),
    /// It is killed, and comes back after so many seconds.
    Restart(usize, u64),
    Layout(MeshLayout),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Add),
        1 => (0..20usize, 0..40u64).prop_map(|(index, after)| Step::Lose(index, after)),
        1 => (0..20usize, 0..20u64).prop_map(|(index, after)| Step::Restart(index, after)),
        2 => (2..9u32).prop_map(|limit| Step::Layout(MeshLayout::Auto { limit })),
        1 => Just(Step::Layout(MeshLayout::Full)),
        4 => (0..15u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// One node is lost or restarted at a time, as two reflectors a node are meant for; all else follows in any order.
    #[test]
    fn no_series_of_changes_loses_a_route(seed in 1..u64::MAX, steps in prop::collection::vec(step(), 1..7)) {
        let mut mesh = Mesh::new(7, AUTO, seed);
        let mut there = mesh.alive();
        for step in steps {
            match step {
                Step::Add if mesh.cluster.net.nodes.len() < 14 => {
                    mesh.add();
                }
                Step::Lose(index, after) if there.len() > 3 => {
                    mesh.rest_among(&there);
                    there = mesh.alive();
                    let lost = there.remove(index % there.len());
                    mesh.lose(lost, Duration::from_secs(after));
                }
                Step::Restart(index, after) => {
                    mesh.rest_among(&there);
                    there = mesh.alive();
                    let index = there[index % there.len()];
                    mesh.cluster.kill(index);
                    mesh.run(Duration::from_secs(after), &there);
                    mesh.cluster.boot(index, true);
                    mesh.rest_among(&there);
                }
                Step::Layout(layout) => mesh.cluster.lay_out(layout),
                Step::Wait(seconds) => mesh.run(Duration::from_secs(seconds), &there),
                Step::Add | Step::Lose(..) => {}
            }
        }
        mesh.rest_among(&there);
        mesh.rest();
    }
}

/// Found by the test above: of two reflectors one had our KEEPALIVE while our OPEN was on its way to it on the connection that
/// wins. Each ended the other's, and what was kept from before the restart went with the session that never was.
#[test]
fn a_restarted_reflector_loses_no_route_by_a_collision() {
    let mut mesh = Mesh::new(7, AUTO, 15_038_292_971_998_954_122);
    let all = mesh.alive();
    mesh.rest_among(&all);
    mesh.cluster.kill(6);
    mesh.run(Duration::from_secs(1), &all);
    mesh.cluster.boot(6, true);
    mesh.rest_among(&all);
    mesh.rest();
}

/// What is kept of a session that is over is no cover for one that is to go; what another one tells is.
#[test]
fn stale_routes_do_not_cover_what_is_to_go() {
    let mut world = World::mesh(&[64512; 3], ImportPolicy::All);
    for (index, peer) in world.hosts[0].config.peers.values_mut().enumerate() {
        (peer.source, peer.name) = (PeerSource::Node, format!("n{}", index + 1));
    }
    world.start();
    for index in [1, 2] {
        world.announce(index, &["10.1.0.0/24"]);
    }
    world.seconds(10);
    let covered = |world: &World, going: &str| {
        world.speaker(0).mesh_sessions(&BTreeSet::from([going.to_string()]), world.now).covered
    };
    assert!(covered(&world, "n1") && covered(&world, "n2"));
    world.kill(2);
    world.settle();
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.2 10.0.0.3"], "kept for its restart");
    assert!(!covered(&world, "n1"), "the other way is a ghost's");
    assert!(covered(&world, "n2"), "the ghost may go");
    world.boot(2, true);
    world.announce(2, &["10.1.0.0/24"]);
    world.seconds(20);
    assert!(covered(&world, "n1"), "told again");
    world.withdraw(1, &["10.1.0.0/24"]);
    world.kill(2);
    world.settle();
    assert!(covered(&world, "n1"), "what does not come over it needs no cover");
    assert!(!covered(&world, "n2"), "what is kept is still a way");
}
