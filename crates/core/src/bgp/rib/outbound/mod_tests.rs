use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::bgp::rib::path::{Candidate, Judged, Path, Source, own_attributes};
use crate::bgp::wire::{AsSegment, Message, NextHop, decode, message_length};
use crate::model::{Cidr, Family};

const BUDGET: usize = 1 << 20;

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn prefix(number: u16) -> Cidr {
    let [a, b] = number.to_be_bytes();
    Cidr::host([10, 0, a, b].into())
}

/// `tag` makes paths that differ in what even an external neighbour sees.
fn route(from: u8, tag: u32, next_hop: u8) -> Candidate {
    let source = Source { peer: Some(address(from)), external: true, ..Source::own([192, 0, 2, from].into()) };
    let mut attributes = own_attributes();
    attributes.as_path = vec![AsSegment::Sequence(vec![64600 + tag])];
    let next_hop = NextHop { address: address(next_hop), link_local: None };
    Candidate { source: Arc::new(source), path: Arc::new(Path { attributes, next_hop }), judged: Judged::AsReceived }
}

/// What a neighbour makes of what it is told.
struct Neighbor {
    peer: IpAddr,
    as_number: u32,
    knows: BTreeMap<Cidr, (NextHop, Vec<AsSegment>)>,
    /// Prefixes that it heard of, in order; `false`: withdrawn.
    heard: Vec<(Cidr, bool)>,
    ends: usize,
}

struct World {
    rib: Rib,
    paths: Interner<Path>,
    outbound: Outbound,
    neighbors: BTreeMap<u8, Neighbor>,
    keep: bool,
    /// Members leave groups with portions unread.
    parts: bool,
}

impl World {
    fn new() -> World {
        World {
            rib: Rib::default(),
            paths: Interner::default(),
            outbound: Outbound::default(),
            neighbors: BTreeMap::new(),
            keep: false,
            parts: false,
        }
    }

    fn export(&self, peer: IpAddr, as_number: u32) -> Export {
        Export {
            peer,
            external: true,
            transit: true,
            own_only: false,
            nothing: false,
            leaving: false,
            long_lived: false,
            local_as: as_number,
            options: PeerOptions {
                next_hop: if self.keep { crate::model::peering::NextHopMode::Keep } else { Default::default() },
                ..PeerOptions::default()
            },
            cluster_id: [192, 0, 2, 100].into(),
            self4: Some(address(100)),
            self6: None,
            filters: Default::default(),
        }
    }

    fn codec() -> CodecContext {
        CodecContext {
            four_octet_as: true,
            ibgp: false,
            families: vec![AfiSafi::IPV4_UNICAST],
            extended_next_hop: false,
        }
    }

    fn policy(&self, peer: IpAddr, as_number: u32) -> Policy {
        Policy::new(self.export(peer, as_number), World::codec())
    }

    fn join(&mut self, last: u8) {
        let peer = address(last);
        let policy = self.policy(peer, 64512);
        self.outbound.join(peer, policy, &self.rib);
        let neighbor = Neighbor { peer, as_number: 64512, knows: BTreeMap::new(), heard: Vec::new(), ends: 0 };
        self.neighbors.insert(last, neighbor);
    }

    fn leave(&mut self, last: u8) {
        self.outbound.leave(address(last));
        self.neighbors.remove(&last);
    }

    fn be_called(&mut self, last: u8, as_number: u32) {
        let Some(neighbor) = self.neighbors.get_mut(&last) else { return };
        neighbor.as_number = as_number;
        let peer = neighbor.peer;
        let policy = self.policy(peer, as_number);
        self.outbound.set_policy(peer, policy);
    }

    fn review(&mut self) {
        let mut outbound = std::mem::take(&mut self.outbound);
        outbound.review(|peer| {
            let neighbor = self.neighbors.values().find(|neighbor| neighbor.peer == peer)?;
            Some(self.policy(peer, neighbor.as_number))
        });
        self.outbound = Outbound { waiting: outbound.waiting, ..outbound };
    }

    fn learn(&mut self, number: u16, candidate: Candidate) {
        let path = self.paths.intern(Path::clone(&candidate.path));
        self.rib.learn(prefix(number), Candidate { path, ..candidate });
    }

    fn forget(&mut self, number: u16, from: u8) {
        self.rib.forget(prefix(number), Some(address(from)));
    }

    /// The neighbour reads about so much; answers whether that was all.
    fn read(&mut self, last: u8, budget: usize) -> bool {
        let Some(neighbor) = self.neighbors.get_mut(&last) else { return true };
        let mut bytes = Vec::new();
        let all = self.outbound.transmit(neighbor.peer, &self.rib, false, budget, &mut bytes);
        assert!(bytes.len() < budget + wire::types::MAX_MESSAGE, "at most one message more");
        let mut left = &bytes[..];
        while let Some(length) = message_length(left).expect("sound") {
            let (message, rest) = left.split_at(length);
            left = rest;
            let Ok(Message::Update(update)) = decode(message, &World::codec()) else { panic!("an UPDATE") };
            assert!(update.defects.is_empty(), "{:?}", update.defects);
            neighbor.ends += usize::from(update.end_of_rib.is_some());
            for gone in update.withdrawn {
                // Who left a group with portions unread may be told twice that a prefix is gone.
                let knew = neighbor.knows.remove(&gone).is_some();
                assert!(knew || self.parts, "it had been told {gone}");
                neighbor.heard.push((gone, false));
            }
            for (prefix, next_hop) in update.reachable {
                let path = update.attributes.as_ref().expect("reachable").as_path.clone();
                neighbor.knows.insert(prefix, (next_hop, path));
                neighbor.heard.push((prefix, true));
            }
        }
        self.rib.trim(self.outbound.position().unwrap_or(self.rib.head()));
        all
    }

    /// Everybody reads until there is nothing left.
    fn settle(&mut self) {
        let all: Vec<u8> = self.neighbors.keys().copied().collect();
        while !all.iter().fold(true, |done, last| self.read(*last, BUDGET) & done) {}
        self.rib.trim(self.outbound.position().unwrap_or(self.rib.head()));
    }

    /// What a neighbour should know, prefix by prefix, without groups and logs.
    fn expected(&self, neighbor: &Neighbor) -> BTreeMap<Cidr, (NextHop, Vec<AsSegment>)> {
        let export = self.export(neighbor.peer, neighbor.as_number);
        let told = self.rib.iter().filter_map(|(prefix, destination)| {
            let best = destination.best().filter(|best| export.tells(prefix, best).is_ok())?;
            let path = export.rewrite(best, Family::V4, None)?;
            Some((*prefix, (path.next_hop, path.attributes.as_path)))
        });
        told.collect()
    }

    fn check(&self) {
        let told = self.outbound.told();
        for neighbor in self.neighbors.values() {
            assert_eq!(neighbor.knows, self.expected(neighbor), "{}", neighbor.peer);
            assert_eq!(told.get(&neighbor.peer), Some(&(neighbor.knows.len() as u64)), "{}", neighbor.peer);
        }
    }

    fn heard(&mut self, last: u8) -> Vec<(Cidr, bool)> {
        std::mem::take(&mut self.neighbors.get_mut(&last).expect("a neighbour").heard)
    }
}

fn three() -> World {
    let mut world = World::new();
    [1, 2, 3].into_iter().for_each(|last| world.join(last));
    world.settle();
    assert_eq!(world.outbound.groups(), 1, "who is told the same is in one group");
    world
}

#[test]
fn a_route_goes_to_all_but_who_sent_it_and_an_end_of_rib_to_each_once() {
    let mut world = three();
    for number in 0..100 {
        world.learn(number, route(1, 0, 1));
    }
    world.settle();
    world.check();
    assert_eq!((world.heard(1).len(), world.heard(2).len(), world.heard(3).len()), (0, 100, 100));
    assert!(world.neighbors.values().all(|neighbor| neighbor.ends == 1));
}

#[test]
fn a_better_route_of_another_member_is_taken_from_it_and_given_to_the_former() {
    let mut world = three();
    world.learn(7, route(2, 0, 2));
    world.settle();
    // The same AS path, so that for the third nothing changes; and a lower router id, so that it is better.
    world.learn(7, route(1, 0, 1));
    world.settle();
    world.check();
    assert_eq!(world.heard(1), [(prefix(7), true), (prefix(7), false)]);
    assert_eq!(world.heard(2), [(prefix(7), true)]);
    assert_eq!(world.heard(3), [(prefix(7), true)], "once is enough");
}

#[test]
fn a_kept_next_hop_is_not_told_to_itself() {
    let mut world = three();
    world.keep = true;
    world.review();
    world.learn(7, route(1, 0, 2));
    world.settle();
    world.check();
    assert_eq!((world.heard(1).len(), world.heard(2).len(), world.heard(3).len()), (0, 0, 1));
    world.learn(7, route(1, 0, 3));
    world.settle();
    world.check();
    assert_eq!(world.heard(2), [(prefix(7), true)]);
    assert_eq!(world.heard(3), [(prefix(7), false)]);
}

#[test]
fn a_late_one_walks_alone_and_then_joins() {
    let mut world = three();
    for number in 0..5000 {
        world.learn(number, route(1, u32::from(number % 7), 1));
    }
    world.settle();
    world.join(4);
    assert_eq!(world.outbound.groups(), 2);
    world.settle();
    world.check();
    assert_eq!(world.outbound.groups(), 1);
    assert_eq!((world.heard(4).len(), world.neighbors[&4].ends), (5000, 1));
    world.learn(1, route(4, 0, 4));
    world.forget(1, 1);
    world.settle();
    world.check();
}

#[test]
fn a_refresh_is_for_who_asked() {
    let mut world = three();
    world.learn(7, route(1, 0, 1));
    world.settle();
    [2, 3].into_iter().for_each(|last| drop(world.heard(last)));
    world.outbound.refresh(address(2), AfiSafi::IPV4_UNICAST, false);
    assert_eq!(world.outbound.groups(), 2);
    world.settle();
    assert_eq!((world.heard(2), world.heard(3)), (vec![(prefix(7), true)], vec![]));
    assert_eq!(world.outbound.groups(), 1, "and back");
    world.check();
}

#[test]
fn a_change_of_policy_for_all_of_a_group_keeps_it_one() {
    let mut world = three();
    world.learn(7, route(1, 0, 1));
    world.settle();
    for neighbor in world.neighbors.values_mut() {
        neighbor.as_number = 64999;
    }
    world.review();
    assert_eq!(world.outbound.groups(), 1);
    world.settle();
    world.check();
    world.be_called(3, 64998);
    assert_eq!(world.outbound.groups(), 2);
    world.settle();
    world.check();
    assert_eq!(world.outbound.groups(), 2, "they are told differently");
    world.be_called(3, 64999);
    world.settle();
    world.check();
    assert_eq!(world.outbound.groups(), 1);
}

#[test]
fn who_does_not_read_leaves_the_group_and_hears_the_present_when_it_does() {
    let mut world = three();
    world.outbound.waiting = 20_000;
    world.parts = true;
    for round in 0..50u32 {
        for number in 0..200 {
            world.learn(number, route(1, round, 1));
        }
        assert!(world.read(2, BUDGET) & world.read(1, BUDGET));
        let waits: usize = world.outbound.groups.values().map(|group| group.too_slow(20_000).map_or(0, |_| 1)).sum();
        assert_eq!(waits, 0);
    }
    assert_eq!(world.outbound.groups(), 2, "the third is on its own");
    assert!(world.rib.unread() <= 200, "the log holds each prefix once");
    world.settle();
    world.check();
    assert_eq!(world.outbound.groups(), 1, "and back");
    assert!(world.heard(3).len() <= 600, "not what was true meanwhile");
    assert_eq!(world.heard(2).len(), 50 * 200);
}

#[test]
fn who_has_missed_that_a_prefix_is_gone_hears_it_when_another_has_its_slot() {
    let mut world = three();
    world.parts = true;
    world.learn(7, route(1, 0, 1));
    world.settle();
    world.forget(7, 1);
    assert!(world.read(1, BUDGET) & world.read(2, BUDGET), "the third has not read it");
    world.outbound.refresh(address(3), AfiSafi::IPV4_UNICAST, false);
    world.learn(8, route(1, 0, 1));
    assert_eq!(world.rib.slots().len(), 1, "the slot is free for others");
    world.settle();
    world.check();
    assert_eq!(world.heard(3), [(prefix(7), true), (prefix(7), false), (prefix(8), true)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever comes, goes and is read in whichever order: in the end each knows what it should.
    #[test]
    fn they_know_what_they_should(
        slow in any::<bool>(),
        keep in any::<bool>(),
        steps in proptest::collection::vec((0u8..10, 1u8..6, 0u16..8, 0u32..3), 1..120),
    ) {
        let mut world = World::new();
        (world.keep, world.parts) = (keep, true);
        if slow {
            world.outbound.waiting = 300;
        }
        for (step, last, number, tag) in steps {
            match step {
                0 if world.neighbors.contains_key(&last) && number < 2 => world.leave(last),
                0 if !world.neighbors.contains_key(&last) => world.join(last),
                1 => world.forget(number, last),
                2 if number == 0 => world.outbound.refresh(address(last), AfiSafi::IPV4_UNICAST, false),
                3 if number == 0 => world.be_called(last, 64512 + tag),
                4 if number == 0 => world.settle(),
                4 | 5 => drop(world.read(last, BUDGET)),
                6 => drop(world.read(last, 100)),
                // Its next hop may be another neighbour, as with a reflector.
                _ => world.learn(number, route(last, tag, (number % 5) as u8 + 1)),
            }
        }
        world.settle();
        world.settle();
        world.check();
        let policies: std::collections::BTreeSet<u32> = world.neighbors.values().map(|n| n.as_number).collect();
        prop_assert_eq!(world.outbound.groups(), policies.len());
        prop_assert_eq!(world.rib.unread(), 0);
    }
}
