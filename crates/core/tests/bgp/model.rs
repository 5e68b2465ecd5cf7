//! Random topologies under random misfortune: in the end every table is what a naive fix-point says, no route outlives its
//! source, and what happened once happens again with the same seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use routenet_core::bgp::rib::Candidate;
use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::AsSegment;
use routenet_core::model::peering::{AddPaths, MaxPrefixes, PeerOptions, SentPaths};
use routenet_core::model::{Cidr, Family};

use crate::naive::{self, Neighbor, Route, Routes, Table};
use crate::net::{Net, Timing};
use crate::policy::{Filters, Operation, Rule};
use crate::scenario::{LONG_LIVED, POOLS, PREFIXES, Roles, Scenario, Side, Step, ready, scenario};
use crate::world::{address, address6, cidr, config, neighbor};

const TIMING: Timing = Timing {
    latency: Duration::from_millis(1),
    jitter: Duration::from_millis(40),
    message: Duration::ZERO,
    pieces: true,
    tick: Duration::ZERO,
};

const ALL_PATHS: AddPaths = AddPaths { receive: true, send: SentPaths::All };

/// The time after which nothing of before is left: a session that is tried again at last, the neighbour that has six
/// minutes to tell its routes anew, and what follows from it.
const SETTLED: Duration = Duration::from_secs(600);

/// A network that goes through a scenario.
struct Run {
    all_paths: bool,
    net: Net,
    drained: Vec<bool>,
    /// How each one filters what it hears from, and tells, each other one.
    filters: BTreeMap<(usize, usize), Filters>,
    /// Two whose session is not to stand, although it could.
    parted: Option<[usize; 2]>,
}

impl Run {
    fn new(scenario: &Scenario) -> Run {
        let count = scenario.speakers.len();
        let mut configs: Vec<SpeakerConfig> =
            scenario.speakers.iter().enumerate().map(|(i, s)| config(i, s.0)).collect();
        for (config, (_, shared, long_lived)) in configs.iter_mut().zip(&scenario.speakers) {
            config.long_lived_time = *long_lived;
            config.cluster_id = shared.then_some(Ipv4Addr::new(9, 9, 9, 9));
        }
        let mut filters = BTreeMap::new();
        let all = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        for ((a, b), (_, roles, sides)) in all.zip(&scenario.pairs).filter(|(_, (connected, ..))| *connected) {
            for (here, there, own) in [(a, b, 0), (b, a, 1)] {
                let (side, other) = (&sides[own], &sides[1 - own]);
                let options = PeerOptions {
                    reflector_client: side.client,
                    next_hop: side.next_hop,
                    allowed_local_as: if scenario.all_paths { 0 } else { side.allowed_local_as },
                    local_as: side.local_as.filter(|_| !scenario.all_paths),
                    add_paths: if scenario.all_paths { ALL_PATHS } else { AddPaths::default() },
                    role: roles[own],
                    role_strict: side.role_strict,
                    ..PeerOptions::default()
                };
                let remote_as = other.local_as.filter(|_| !scenario.all_paths).unwrap_or(scenario.speakers[there].0);
                let own_as = options.local_as.unwrap_or(scenario.speakers[here].0);
                let peer = PeerConfig {
                    local_address: Some(address(here)),
                    options,
                    filters: ready(&side.filters),
                    // Of two that wait for each other nothing would come.
                    passive: side.passive && here == a,
                    as_number: Some(remote_as).filter(|theirs| !side.any_other || *theirs == own_as),
                    ..neighbor(there, remote_as, side.import)
                };
                configs[here].peers.insert(address(there), peer);
                filters.insert((here, there), side.filters.clone());
            }
        }
        let mut net = Net::new(TIMING, scenario.seed);
        for config in configs {
            let index = net.add(config);
            net.boot(index, false);
        }
        Run { all_paths: scenario.all_paths, net, drained: vec![false; count], filters, parted: None }
    }

    fn count(&self) -> usize {
        self.drained.len()
    }

    /// The neighbour of this number, if the speaker has any.
    fn neighbor(&self, speaker: usize, number: usize) -> Option<usize> {
        let peers: Vec<usize> =
            (0..self.count()).filter(|i| self.net.nodes[speaker].config.peers.contains_key(&address(*i))).collect();
        (!peers.is_empty()).then(|| peers[number % peers.len()])
    }

    fn change(&mut self, speaker: usize, number: usize, change: impl FnOnce(&mut PeerConfig)) {
        if let Some(peer) = self.neighbor(speaker, number) {
            self.change_of(speaker, peer, change);
        }
    }

    fn change_of(&mut self, speaker: usize, peer: usize, change: impl FnOnce(&mut PeerConfig)) {
        change(self.net.nodes[speaker].config.peers.get_mut(&address(peer)).expect("a neighbour"));
        let config = Box::new(self.net.nodes[speaker].config.clone());
        self.net.handle(speaker, Input::Configure(config));
    }

    fn filter(&mut self, speaker: usize, number: usize, filters: &Filters) {
        let Some(peer) = self.neighbor(speaker, number) else { return };
        self.filters.insert((speaker, peer), filters.clone());
        self.change_of(speaker, peer, |peer| peer.filters = ready(filters));
    }

    fn local_as(&mut self, speaker: usize, number: usize, local_as: Option<u32>) {
        let Some(peer) = self.neighbor(speaker, number) else { return };
        let now = local_as.unwrap_or(self.net.nodes[speaker].config.as_number);
        self.change_of(speaker, peer, |peer| peer.options.local_as = local_as);
        // Who takes any other AS goes on without being told.
        self.change_of(peer, speaker, |peer| peer.as_number = peer.as_number.map(|_| now));
    }

    fn roles(&mut self, speaker: usize, number: usize, roles: Roles) {
        let Some(peer) = self.neighbor(speaker, number) else { return };
        self.change_of(speaker, peer, |peer| peer.options.role = roles[0]);
        self.change_of(peer, speaker, |peer| peer.options.role = roles[1]);
    }

    fn kill(&mut self, speaker: usize) {
        self.drained[speaker] = false;
        self.net.kill(speaker);
    }

    fn step(&mut self, step: &Step) {
        let count = self.count();
        match *step {
            Step::Announce(s, p) => {
                let prefix = cidr(PREFIXES[p]);
                self.net.nodes[s % count].own.insert(prefix);
                self.net.handle(s % count, Input::Originate(vec![(prefix, true)]));
            }
            Step::Withdraw(s, p) => {
                let prefix = cidr(PREFIXES[p]);
                self.net.nodes[s % count].own.remove(&prefix);
                self.net.handle(s % count, Input::Originate(vec![(prefix, false)]));
            }
            Step::Break(s, n) => {
                if let Some(other) = self.neighbor(s % count, n) {
                    self.net.break_tcp(s % count, other);
                }
            }
            Step::Cut(s, n) => {
                if let Some(other) = self.neighbor(s % count, n) {
                    self.net.cut(s % count, other);
                }
            }
            Step::Mend => self.net.mend(),
            Step::Kill(s) => self.kill(s % count),
            Step::Leave(s) => {
                self.net.handle(s % count, Input::Leave);
                self.kill(s % count);
            }
            Step::Boot(s, restarting) => {
                if !self.net.is_up(s % count) {
                    self.net.boot(s % count, restarting);
                }
            }
            Step::Import(s, n, import) => self.change(s % count, n, |peer| peer.import = import),
            Step::Pools(s, mask) => {
                let pools = POOLS.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, pool)| cidr(pool));
                let pools: Vec<Cidr> = pools.collect();
                self.net.nodes[s % count].pools = pools.clone();
                self.net.handle(s % count, Input::Pools(pools));
            }
            Step::MaxPrefixes(s, n, limit, restart) => {
                let bound = MaxPrefixes { limit, warning: 75, restart };
                self.change(s % count, n, |peer| peer.options.max_prefixes = Some(bound));
            }
            Step::Client(s, n, client) => self.change(s % count, n, |peer| peer.options.reflector_client = client),
            Step::NextHop(s, n, mode) => self.change(s % count, n, |peer| peer.options.next_hop = mode),
            Step::AllowedLocalAs(..) | Step::LocalAs(..) if self.all_paths => {}
            Step::AllowedLocalAs(s, n, most) => {
                self.change(s % count, n, |peer| peer.options.allowed_local_as = most);
            }
            Step::Filters(s, n, ref filters) => self.filter(s % count, n, filters),
            Step::LocalAs(s, n, local_as) => self.local_as(s % count, n, local_as),
            Step::Roles(s, n, roles) => self.roles(s % count, n, roles),
            Step::Reset(s, n) => {
                if let Some(peer) = self.neighbor(s % count, n) {
                    self.net.handle(s % count, Input::Reset(address(peer)));
                }
            }
            Step::Drain(s, notice) => {
                if self.net.is_up(s % count) {
                    self.drained[s % count] = true;
                    self.net.handle(s % count, Input::Drain { notice: Duration::from_secs(notice) });
                }
            }
            Step::Undrain(s) => {
                self.drained[s % count] = false;
                self.net.handle(s % count, Input::Undrain);
            }
            Step::Wait(millis) => self.net.run(Duration::from_millis(millis)),
        }
    }

    /// The misfortune ends; those that are down or drained stay so.
    fn come_to_rest(&mut self) {
        self.net.mend();
        for speaker in 0..self.count() {
            let config = &mut self.net.nodes[speaker].config;
            for peer in config.peers.values_mut() {
                peer.options.max_prefixes = None;
            }
            let config = Box::new(config.clone());
            self.net.handle(speaker, Input::Configure(config));
        }
        self.net.run(SETTLED);
    }

    /// What the naive model is to be computed of.
    fn naive(&self) -> Vec<naive::Speaker> {
        let held = |index: usize, other: usize| {
            let config = &self.net.nodes[index].config;
            let peer = config.peers.get(&address(other))?;
            let local_as = peer.options.local_as.unwrap_or(config.as_number);
            let theirs = &self.net.nodes[other].config;
            let theirs = theirs.peers.get(&address(index))?.options.local_as.unwrap_or(theirs.as_number);
            if peer.as_number.is_none() && [local_as, config.as_number].contains(&theirs) {
                return None;
            }
            Some(Neighbor {
                import: peer.import,
                client: peer.options.reflector_client,
                next_hop: peer.options.next_hop,
                allowed_local_as: peer.options.allowed_local_as.into(),
                local_as,
                remote_as: peer.as_number.unwrap_or(theirs),
                role: peer.options.role,
                role_strict: peer.options.role_strict,
                filters: self.filters[&(index, other)].clone(),
                all_paths: self.all_paths,
            })
        };
        let speaks = |index: usize| self.net.is_up(index) && !self.drained[index];
        let parted =
            |one: usize, other: usize| self.parted.is_some_and(|two| two == [one, other] || two == [other, one]);
        let stands = |index: usize, other: usize| {
            let both = held(index, other).zip(held(other, index));
            let both = both.filter(|_| speaks(index) && speaks(other) && !parted(index, other));
            both.filter(|(one, other)| naive::agree(one, other)).map(|(one, _)| (other, one))
        };
        let nodes = self.net.nodes.iter().enumerate();
        nodes
            .map(|(index, node)| naive::Speaker {
                as_number: node.config.as_number,
                router_id: node.config.router_id,
                cluster: node.config.cluster_id.unwrap_or(node.config.router_id),
                address4: address(index),
                address6: address6(index),
                own: if self.net.is_up(index) { node.own.clone() } else { Default::default() },
                pools: node.pools.clone(),
                neighbors: (0..self.count()).filter_map(|other| stands(index, other)).collect(),
            })
            .collect()
    }

    /// Whether everybody has what the others have.
    fn is_at_an_end(&self) -> bool {
        let (speakers, tables) = (self.naive(), self.tables());
        let up = (0..self.count()).filter(|index| self.net.is_up(*index));
        up.into_iter().all(|index| naive::same(&speakers, &naive::heard(&speakers, &tables, index), &tables[index]))
    }

    /// How many prefixes the speaker has from the neighbour, of the family of which it has most.
    fn received(&self, speaker: usize, peer: usize) -> u32 {
        let counts =
            Family::BOTH.map(|family| self.net.speaker(speaker).rib().counts_of(address(peer), family).received);
        counts.into_iter().max().expect("two families") as u32
    }

    fn status(&self, speaker: usize, peer: usize) -> PeerStatus {
        let all = self.net.speaker(speaker).status(self.net.now);
        all.into_iter().find(|status| status.address == address(peer)).expect("a neighbour")
    }

    /// The table that each speaker has.
    fn tables(&self) -> Vec<Table> {
        let table = |index: usize| {
            let rib = self.net.nodes[index].speaker.as_ref()?.rib();
            let routes = rib.iter().map(|(prefix, destination)| {
                let (equal, others) = destination.candidates().split_at(destination.equal());
                (*prefix, Routes::new(equal.iter().map(route).collect(), others.iter().map(route).collect()))
            });
            Some(routes.collect())
        };
        (0..self.count()).map(|index| table(index).unwrap_or_default()).collect()
    }

    /// Looks at sessions, and compares every table with what it has to be where everybody has what the others have. A net
    /// that finds no end, be it from the beginning or from where it is, is seen to decide rightly on what it has, no more.
    fn check(&self) -> Result<(), TestCaseError> {
        let speakers = self.naive();
        let tables = self.tables();
        let up: Vec<usize> = (0..self.count()).filter(|index| self.net.is_up(*index)).collect();
        for &index in &up {
            for status in self.net.speaker(index).status(self.net.now) {
                let other = (0..self.count()).find(|i| address(*i) == status.address).expect("one of us");
                let stands = speakers[index].neighbors.contains_key(&other);
                let what = format!("session of {index} with {other}: {:?}", status.last_error);
                prop_assert_eq!(status.state == State::Established, stands, "{}", what);
                prop_assert!(!status.retained, "{}", what);
            }
            let decided = tables[index].iter().map(|(prefix, found)| {
                let all = found.equal.iter().chain(&found.others).cloned();
                (*prefix, naive::decide(&speakers, all))
            });
            let (found, decided) = (&tables[index], decided.collect::<Table>());
            let same = naive::same(&speakers, found, &decided);
            prop_assert!(same, "speaker {index} has\n{found:#?}\ndecided as\n{decided:#?}");
        }
        let wanted: Vec<Table> = up.iter().map(|&index| naive::heard(&speakers, &tables, index)).collect();
        let differs = up.iter().zip(&wanted).find(|(index, wanted)| !naive::same(&speakers, &tables[**index], wanted));
        if let Some((&index, wanted)) = differs {
            let starts = [naive::silent(&speakers), tables.clone()];
            let settles = |seed: u64| naive::settles(&speakers, starts[seed as usize % 2].clone(), seed);
            prop_assert!(!(0..20).all(settles), "speaker {index} has\n{:#?}\nnot\n{wanted:#?}", tables[index]);
            return Ok(());
        }
        for (&index, wanted) in up.iter().zip(&wanted) {
            let kernel = wanted.iter().filter_map(|(prefix, routes)| {
                let learned = routes.equal.iter().filter(|route| route.from.is_some());
                let hops: BTreeSet<_> = learned.filter_map(|route| route.next_hop).collect();
                (!hops.is_empty()).then_some((*prefix, hops.into_iter().collect()))
            });
            let kernel: BTreeMap<_, _> = kernel.collect();
            prop_assert_eq!(&self.net.nodes[index].kernel, &kernel, "the kernel's table of speaker {}", index);
        }
        Ok(())
    }
}

/// A route as the model knows it.
fn route(candidate: &Candidate) -> Route {
    let attributes = &candidate.path.attributes;
    let numbers = attributes.as_path.iter().flat_map(|segment| match segment {
        AsSegment::Sequence(numbers) => numbers,
        AsSegment::Set(_) => panic!("nobody aggregates"),
    });
    let from = candidate.source.peer.map(|peer| (0..5).find(|i| address(*i) == peer).expect("one of us"));
    Route {
        from,
        as_path: numbers.copied().collect(),
        next_hop: from.map(|_| candidate.path.next_hop.address),
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: attributes.communities.iter().copied().collect(),
        otc: attributes.otc,
        refused: candidate.refused().is_some(),
        external: candidate.source.external,
        originator: attributes.originator_id,
        clusters: attributes.cluster_list.clone(),
    }
}

/// Two reflectors of one AS (3 and 4), and three clients that tell one prefix each their way: 0 and 2 by way of one AS
/// with MED 1 and `med`, 1 by way of another. This is RFC 3345 2.1, with the BGP identifier in place of the IGP's metric:
/// at 3 the way of 0 goes before that of 1, unless 2's is there to beat it by MED; and 1's, told to 4, beats 2's.
fn as_in_rfc_3345(med: u32) -> Scenario {
    let says = |number: u32, med: u32| {
        let operations = vec![Operation::Prepend(vec![number]), Operation::Med(med)];
        let rule = Rule { operations, ..Rule::accepting(Family::V4) };
        let filters = Filters { export: vec![vec![rule]], ..Filters::default() };
        Side { filters, ..Side::open() }
    };
    let client = Side { client: true, ..Side::open() };
    let mut pairs = Vec::new();
    for (a, b) in (0..5).flat_map(|a| (a + 1..5).map(move |b| (a, b))) {
        let sides = match (a, b) {
            (0, 3) => Some([says(6, 1), client.clone()]),
            (1, 3) => Some([says(10, 0), client.clone()]),
            (2, 4) => Some([says(6, med), client.clone()]),
            (3, 4) => Some([Side::open(), Side::open()]),
            _ => None,
        };
        pairs.push((sides.is_some(), [None, None], sides.unwrap_or_else(|| [Side::open(), Side::open()])));
    }
    let steps = (0..3).map(|client| Step::Announce(client, 0)).collect();
    Scenario { seed: 1, all_paths: false, speakers: vec![(64512, false, 0); 5], pairs, steps }
}

#[test]
fn a_net_that_med_keeps_from_any_end_is_known_as_such() {
    for (med, ends) in [(0, false), (1, true)] {
        let mut run = through(&as_in_rfc_3345(med));
        run.net.run(Duration::from_secs(60));
        let before = run.net.traffic;
        run.net.run(Duration::from_secs(60));
        assert_eq!(run.net.traffic == before, ends, "with MED {med}");
        assert_eq!(run.is_at_an_end(), ends, "with MED {med}");
        let speakers = run.naive();
        let settles = (0..8).all(|seed| naive::settles(&speakers, naive::silent(&speakers), seed));
        assert_eq!(settles, ends, "with MED {med}");
        run.check().expect("what it has it decides rightly");
    }
}

fn through(scenario: &Scenario) -> Run {
    let mut run = Run::new(scenario);
    for step in &scenario.steps {
        run.step(step);
    }
    run
}

/// How many cases: as many as the environment asks for, else what takes some seconds.
fn cases(most: u32) -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    if asked { ProptestConfig::default() } else { ProptestConfig::with_cases(most) }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn tables_come_to_what_a_naive_fix_point_says(scenario in scenario()) {
        let mut run = through(&scenario);
        run.come_to_rest();
        run.check()?;
    }
}

proptest! {
    #![proptest_config(cases(96))]

    /// After one second more than the restart time and the long-lived stale time nobody anywhere has a route of a speaker that
    /// was killed, by however many others it came.
    #[test]
    fn no_route_outlives_its_source(scenario in scenario(), victim in 0usize..5, drain in any::<bool>()) {
        let mut run = through(&scenario);
        run.come_to_rest();
        let victim = victim % run.count();
        if drain {
            run.step(&Step::Drain(victim, 0));
            run.net.run(Duration::from_secs(2));
            run.check()?;
        }
        run.kill(victim);
        run.net.run(Duration::from_secs(121 + u64::from(LONG_LIVED)));
        run.check()?;
    }

    /// RFC 4486 section 4: nobody else loses anything but the routes of it, and it is over when the bound is.
    #[test]
    fn a_bound_on_prefixes_ends_the_session_that_goes_beyond_it(
        scenario in scenario(),
        (speaker, number) in (0usize..5, 0usize..4),
        limit in 0u32..4,
        restart in prop_oneof![Just(None), Just(Some(20))],
    ) {
        let mut run = through(&scenario);
        run.come_to_rest();
        let speaker = speaker % run.count();
        let Some(peer) = run.neighbor(speaker, number).filter(|_| run.net.is_up(speaker) && run.is_at_an_end()) else {
            return Ok(());
        };
        let before = run.status(speaker, peer);
        if before.state != State::Established {
            return Ok(());
        }
        let beyond = run.received(speaker, peer) > limit;
        let bound = MaxPrefixes { limit, warning: 75, restart };
        run.change_of(speaker, peer, |peer| peer.options.max_prefixes = Some(bound));
        if beyond {
            run.parted = Some([speaker, peer]);
            let why = run.status(speaker, peer).last_error.expect("an error").1;
            prop_assert!(why.contains("Maximum Number of Prefixes Reached"), "{}", why);
        }
        run.net.run(Duration::from_secs(10));
        run.check()?;
        run.net.run(Duration::from_secs(60));
        let again = run.status(speaker, peer).sessions > before.sessions;
        prop_assert_eq!(again, beyond && restart.is_some(), "it is tried again when that was asked for");
        run.parted = None;
        run.change_of(speaker, peer, |peer| peer.options.max_prefixes = None);
        run.net.run(SETTLED);
        run.check()?;
    }

    #[test]
    fn two_runs_with_one_seed_do_not_differ(scenario in scenario()) {
        let [one, other] = [(), ()].map(|()| {
            let run = through(&scenario);
            (run.net.trace(), run.net.steps, run.net.traffic)
        });
        prop_assert_eq!(one, other);
    }
}
