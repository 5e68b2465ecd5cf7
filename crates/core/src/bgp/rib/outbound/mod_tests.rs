use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::bgp::rib::Sources;
use crate::bgp::rib::path::{Candidate, Judged, Path, Source, own_attributes};
use crate::bgp::wire::{AsSegment, Message, NextHop, Nlri, decode, message_length};
use crate::model::Family;

const BUDGET: usize = 1 << 20;

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn prefix(number: u16) -> Cidr {
    let [a, b] = number.to_be_bytes();
    Cidr::host([10, 0, a, b].into())
}

/// `tag` makes paths that differ in what even an external neighbour sees; each third one is longer, and behind the others.
fn route(from: u8, tag: u32, next_hop: u8) -> Candidate {
    let source = Source { peer: Some(address(from)), external: true, ..Source::own([192, 0, 2, from].into()) };
    let mut attributes = own_attributes();
    let numbers = if tag % 3 == 2 { vec![64600 + tag, 64700] } else { vec![64600 + tag] };
    attributes.as_path = vec![AsSegment::Sequence(numbers)];
    let next_hop = NextHop { address: address(next_hop), link_local: None };
    Candidate { source: Arc::new(source), path: Arc::new(Path { attributes, next_hop }), judged: Judged::AsReceived }
}

/// What a neighbour makes of what it is told.
struct Neighbor {
    peer: IpAddr,
    as_number: u32,
    send: SentPaths,
    knows: BTreeMap<Nlri, (NextHop, Vec<AsSegment>)>,
    /// Prefixes that it heard of, in order; `false`: withdrawn.
    heard: Vec<(Cidr, bool)>,
    ends: usize,
}

struct World {
    rib: Rib,
    paths: Interner<Path>,
    sources: Sources,
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
            sources: Sources::default(),
            outbound: Outbound::default(),
            neighbors: BTreeMap::new(),
            keep: false,
            parts: false,
        }
    }

    fn export(&self, peer: IpAddr, as_number: u32, send: SentPaths) -> Export {
        Export {
            peer,
            external: true,
            transit: true,
            own_only: false,
            nothing: false,
            leaving: false,
            forwards: true,
            extended_next_hop: false,
            long_lived: false,
            local_as: as_number,
            options: PeerOptions {
                next_hop: if self.keep { crate::model::peering::NextHopMode::Keep } else { Default::default() },
                add_paths: AddPaths { receive: false, send },
                ..PeerOptions::default()
            },
            cluster_id: [192, 0, 2, 100].into(),
            self4: Some(address(100)),
            self6: None,
            filters: Default::default(),
        }
    }

    /// Of our end, and of the other one as well.
    fn codec(send: SentPaths) -> CodecContext {
        let families = vec![AfiSafi::IPV4_UNICAST];
        let sent = if send == SentPaths::None { Vec::new() } else { families.clone() };
        let path_ids = PathIds { received: sent.clone(), sent };
        CodecContext { four_octet_as: true, ibgp: false, families, path_ids, extended_next_hop: false }
    }

    fn policy(&self, peer: IpAddr, as_number: u32, send: SentPaths) -> Policy {
        Policy::new(self.export(peer, as_number, send), World::codec(send))
    }

    fn join(&mut self, last: u8) {
        self.join_for(last, SentPaths::None);
    }

    fn join_for(&mut self, last: u8, send: SentPaths) {
        let peer = address(last);
        let policy = self.policy(peer, 64512, send);
        self.outbound.join(peer, policy, &self.rib);
        self.rib.set_scope(self.outbound.scope());
        let neighbor = Neighbor { peer, as_number: 64512, send, knows: BTreeMap::new(), heard: Vec::new(), ends: 0 };
        self.neighbors.insert(last, neighbor);
    }

    fn leave(&mut self, last: u8) {
        self.outbound.leave(address(last));
        self.rib.set_scope(self.outbound.scope());
        self.neighbors.remove(&last);
    }

    fn be_called(&mut self, last: u8, as_number: u32) {
        let Some(neighbor) = self.neighbors.get_mut(&last) else { return };
        neighbor.as_number = as_number;
        let (peer, send) = (neighbor.peer, neighbor.send);
        let policy = self.policy(peer, as_number, send);
        self.outbound.set_policy(peer, policy);
    }

    /// Another number of paths for one that is told several.
    fn be_sent(&mut self, last: u8, send: SentPaths) {
        let Some(neighbor) = self.neighbors.get_mut(&last).filter(|neighbor| neighbor.send != SentPaths::None) else {
            return;
        };
        neighbor.send = send;
        let (peer, as_number) = (neighbor.peer, neighbor.as_number);
        let policy = self.policy(peer, as_number, send);
        self.outbound.set_policy(peer, policy);
    }

    fn review(&mut self) {
        let mut outbound = std::mem::take(&mut self.outbound);
        outbound.review(|peer| {
            let neighbor = self.neighbors.values().find(|neighbor| neighbor.peer == peer)?;
            Some(self.policy(peer, neighbor.as_number, neighbor.send))
        });
        self.outbound = Outbound { waiting: outbound.waiting, ..outbound };
    }

    fn learn(&mut self, number: u16, candidate: Candidate) {
        self.learn_as(number, 0, candidate);
    }

    /// The same under an identifier of the source's.
    fn learn_as(&mut self, number: u16, path_id: u32, candidate: Candidate) {
        let path = self.paths.intern(Path::clone(&candidate.path));
        let peer = candidate.source.peer.expect("a neighbour's");
        let source = self.sources.get(&candidate.source, peer, path_id);
        self.rib.learn(prefix(number), Candidate { path, source, ..candidate });
    }

    fn forget(&mut self, number: u16, from: u8) {
        self.forget_as(number, 0, from);
    }

    fn forget_as(&mut self, number: u16, path_id: u32, from: u8) {
        self.rib.forget(Nlri { prefix: prefix(number), path_id }, Some(address(from)));
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
            let Ok(Message::Update(update)) = decode(message, &World::codec(neighbor.send)) else {
                panic!("an UPDATE")
            };
            assert!(update.defects.is_empty(), "{:?}", update.defects);
            neighbor.ends += usize::from(update.end_of_rib.is_some());
            for gone in update.withdrawn {
                // Who left a group with portions unread may be told twice that a prefix is gone.
                let knew = neighbor.knows.remove(&gone).is_some();
                assert!(knew || self.parts, "it had been told {gone:?}");
                neighbor.heard.push((gone.prefix, false));
            }
            for (nlri, next_hop) in update.reachable {
                let path = update.attributes.as_ref().expect("reachable").as_path.clone();
                neighbor.knows.insert(nlri, (next_hop, path));
                neighbor.heard.push((nlri.prefix, true));
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

    /// The same as a speaker has it done: those alone read for whom something waits.
    fn serve(&mut self) {
        loop {
            self.prepare(|_| true);
            let due = self.due();
            if due.is_empty() {
                break;
            }
            let mut all: Vec<u8> = self.neighbors.keys().copied().collect();
            all.retain(|last| due.contains(&self.neighbors[last].peer));
            all.into_iter().for_each(|last| _ = self.read(last, BUDGET));
        }
        let forgotten = self.neighbors.values().find(|it| self.outbound.has_news(it.peer, &self.rib, false));
        assert!(forgotten.is_none());
    }

    fn prepare(&mut self, ready: impl Fn(u8) -> bool) -> bool {
        let by_peer = |peer| self.neighbors.iter().any(|(last, neighbor)| neighbor.peer == peer && ready(*last));
        let any = self.outbound.prepare(&self.rib, by_peer);
        self.rib.trim(self.outbound.position().unwrap_or(self.rib.head()));
        any
    }

    fn due(&self) -> BTreeSet<IpAddr> {
        self.outbound.due(false).collect()
    }

    /// What a neighbour should know, prefix by prefix, without groups and logs.
    fn expected(&self, neighbor: &Neighbor) -> BTreeMap<Nlri, (NextHop, Vec<AsSegment>)> {
        let export = self.export(neighbor.peer, neighbor.as_number, neighbor.send);
        let most = match neighbor.send {
            SentPaths::None => 1,
            SentPaths::All => usize::MAX,
            SentPaths::Best(number) => number.into(),
        };
        let told = self.rib.iter().flat_map(|(prefix, destination)| {
            // These routes differ in nothing else that goes before the router id.
            let mut candidates = destination.candidates().to_vec();
            let key = |it: &Candidate| (it.path.as_path_length(), it.source.router_id, it.source.path_id);
            candidates.sort_by_key(key);
            candidates.truncate(most);
            candidates.retain(|candidate| export.tells(prefix, candidate).is_ok());
            candidates.into_iter().map(|candidate| (*prefix, candidate)).collect::<Vec<_>>()
        });
        let told = told.filter_map(|(prefix, candidate)| {
            let path = export.rewrite(&candidate, Family::V4, None)?;
            let path_id = if neighbor.send == SentPaths::None { 0 } else { candidate.source.number.get() };
            Some((Nlri { prefix, path_id }, (path.next_hop, path.attributes.as_path)))
        });
        told.collect()
    }

    fn check(&self) {
        for neighbor in self.neighbors.values() {
            assert_eq!(neighbor.knows, self.expected(neighbor), "{}", neighbor.peer);
            assert_eq!(self.outbound.told(neighbor.peer), neighbor.knows.len() as u64, "{}", neighbor.peer);
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
fn news_for_nobody_are_passed_over_at_once_and_others_wait_for_whom_they_concern() {
    let mut world = World::new();
    world.join(1);
    world.serve();
    world.learn(7, route(1, 0, 1));
    assert_eq!(world.rib.unread(), 1);
    assert!(world.prepare(|_| true));
    assert_eq!((world.due(), world.rib.unread()), (BTreeSet::new(), 0));
    let mut world = three();
    assert!(!world.prepare(|_| true), "there is no news");
    world.learn(7, route(9, 0, 9));
    assert!(!world.prepare(|_| false), "and nobody to hear it");
    assert_eq!((world.due(), world.rib.unread()), (BTreeSet::new(), 1));
    assert!(world.prepare(|last| last == 2));
    assert_eq!(world.due(), [1, 2, 3].map(address).into());
    world.read(2, BUDGET);
    assert_eq!(world.due(), [1, 3].map(address).into());
    world.learn(8, route(9, 0, 9));
    assert!(!world.prepare(|last| last != 2), "who has not read what there is gets nothing more");
    assert!(world.prepare(|last| last == 2));
    world.serve();
    world.check();
    assert_eq!(world.heard(3).len(), 2);
}

/// Two who are told all paths, and one who is told the best.
fn with_several_paths() -> World {
    let mut world = World::new();
    [1, 2].into_iter().for_each(|last| world.join_for(last, SentPaths::All));
    world.join(3);
    world.settle();
    assert_eq!(world.outbound.groups(), 2);
    world
}

#[test]
fn who_wants_all_paths_hears_of_those_behind_the_best_and_others_do_not() {
    let mut world = with_several_paths();
    world.learn(7, route(4, 0, 4));
    world.settle();
    [1, 2, 3].into_iter().for_each(|last| drop(world.heard(last)));
    // Longer.
    world.learn(7, route(5, 2, 5));
    world.settle();
    world.check();
    let heard = [1, 2, 3].map(|last| world.heard(last).len());
    assert_eq!((heard, world.neighbors[&1].knows.len(), world.neighbors[&3].knows.len()), ([1, 1, 0], 2, 1));
    world.learn(7, route(5, 5, 5));
    world.settle();
    world.check();
    assert_eq!([1, 2, 3].map(|last| world.heard(last)), [vec![(prefix(7), true)], vec![(prefix(7), true)], vec![]]);
    // The best goes: who is told one path hears the next one, others that it is gone.
    world.forget(7, 4);
    world.settle();
    world.check();
    assert_eq!([1, 3].map(|last| world.heard(last)), [vec![(prefix(7), false)], vec![(prefix(7), true)]]);
    assert_eq!(world.rib.unread(), 0);
}

#[test]
fn a_path_is_told_under_one_identifier_as_long_as_it_stands() {
    let mut world = with_several_paths();
    for (from, path_id) in [(4, 1), (4, 2), (5, 0)] {
        world.learn_as(7, path_id, route(from, 0, from));
    }
    world.settle();
    let ids = |world: &World| world.neighbors[&1].knows.keys().map(|nlri| nlri.path_id).collect::<Vec<_>>();
    let before = ids(&world);
    assert_eq!(before.len(), 3);
    world.forget_as(7, 1, 4);
    world.learn_as(7, 2, route(4, 1, 4));
    world.settle();
    world.check();
    assert_eq!(ids(&world), before[1..]);
    world.learn_as(7, 1, route(4, 2, 4));
    world.settle();
    world.check();
    assert_eq!(ids(&world), before);
}

#[test]
fn nobody_is_told_its_own_paths_but_the_others() {
    let mut world = with_several_paths();
    for from in 1..=3 {
        world.learn(7, route(from, 0, from));
    }
    world.settle();
    world.check();
    assert_eq!([1, 2, 3].map(|last| world.neighbors[&last].knows.len()), [2, 2, 1]);
    world.outbound.refresh(address(2), AfiSafi::IPV4_UNICAST, false);
    drop(world.heard(2));
    world.settle();
    assert_eq!(world.heard(2).len(), 2, "all paths again, and no other's");
    world.check();
    assert_eq!(world.outbound.groups(), 2, "and back");
}

#[test]
fn of_the_best_few_the_next_moves_up() {
    let mut world = World::new();
    world.join_for(1, SentPaths::Best(2));
    for from in 4..=6 {
        world.learn(7, route(from, 0, from));
    }
    world.settle();
    world.check();
    let before = world.neighbors[&1].knows.clone();
    assert_eq!(before.len(), 2);
    world.forget(7, 4);
    world.settle();
    world.check();
    assert_eq!((world.neighbors[&1].knows.len(), world.neighbors[&1].knows != before), (2, true));
    world.be_sent(1, SentPaths::All);
    world.learn(7, route(4, 0, 4));
    world.settle();
    world.check();
    assert_eq!(world.neighbors[&1].knows.len(), 3);
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
fn what_others_have_not_read_yet_comes_before_the_end_too() {
    let mut world = three();
    world.learn(7, route(1, 0, 1));
    world.join(4);
    world.read(4, 1);
    assert_eq!((world.heard(4).len(), world.neighbors[&4].ends), (1, 0));
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

fn sent_paths() -> impl Strategy<Value = SentPaths> {
    prop_oneof![3 => Just(SentPaths::None), 3 => Just(SentPaths::All), 1 => Just(SentPaths::Best(2))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever comes, goes and is read in whichever order: in the end each knows what it should.
    #[test]
    fn they_know_what_they_should(
        slow in any::<bool>(),
        served in any::<bool>(),
        keep in any::<bool>(),
        sends in proptest::collection::vec(sent_paths(), 5),
        steps in proptest::collection::vec((0u8..11, 1u8..6, 0u16..8, 0u32..3, 0u32..3), 1..120),
    ) {
        let mut world = World::new();
        (world.keep, world.parts) = (keep, true);
        if slow {
            world.outbound.waiting = 300;
        }
        for (step, last, number, tag, path_id) in steps {
            match step {
                0 if world.neighbors.contains_key(&last) && number < 2 => world.leave(last),
                0 if !world.neighbors.contains_key(&last) => world.join_for(last, sends[usize::from(last) - 1]),
                1 => world.forget_as(number, path_id, last),
                2 if number == 0 => world.outbound.refresh(address(last), AfiSafi::IPV4_UNICAST, false),
                3 if number == 0 => world.be_called(last, 64512 + tag),
                4 if number == 0 => world.settle(),
                7 if number == 0 => world.be_sent(last, [SentPaths::All, SentPaths::Best(2)][tag as usize % 2]),
                8 if number < 3 => _ = world.prepare(|ready| ready != last),
                4 | 5 => drop(world.read(last, BUDGET)),
                6 => drop(world.read(last, 100)),
                // Its next hop may be another neighbour, as with a reflector.
                _ => world.learn_as(number, path_id, route(last, tag, (number % 5) as u8 + 1)),
            }
        }
        if served {
            world.serve();
        } else {
            world.settle();
            world.settle();
        }
        world.check();
        let policies = world.neighbors.values().map(|n| (n.as_number, format!("{:?}", n.send)));
        prop_assert_eq!(world.outbound.groups(), policies.collect::<BTreeSet<_>>().len());
        prop_assert_eq!(world.rib.unread(), 0);
    }
}

#[path = "members_tests.rs"]
mod members;
