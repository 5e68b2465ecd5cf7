//! Random topologies under random misfortune: in the end every table is what a naive fix-point says, no route outlives its
//! source, and what happened once happens again with the same seed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use routenet_core::bgp::speaker::*;
use routenet_core::model::peering::{AddPaths, MaxPrefixes, NextHopMode, PeerOptions, SentPaths};
use routenet_core::model::{Cidr, ImportPolicy};

use crate::naive::{self, Neighbor, Route};
use crate::net::{Net, Timing};
use crate::world::{address, address6, cidr, config, neighbor};

const PREFIXES: [&str; 7] =
    ["10.1.0.0/24", "10.1.0.7/32", "10.2.0.0/24", "10.3.0.0/16", "fd01::/64", "fd01::7/128", "fd02::/64"];
const POOLS: [&str; 4] = ["10.1.0.0/16", "10.2.0.0/15", "fd01::/32", "0.0.0.0/0"];

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

/// The most that anybody wants his routes kept beyond the restart time, in seconds.
const LONG_LIVED: u32 = 40;

/// How one speaker holds another.
#[derive(Clone, Debug)]
struct Side {
    import: ImportPolicy,
    client: bool,
    next_hop: NextHopMode,
    allowed_local_as: u8,
    passive: bool,
}

#[derive(Clone, Debug)]
struct Scenario {
    seed: u64,
    /// Whether everybody tells everybody all paths (RFC 7911). Then every table follows from what is announced alone; which
    /// of a neighbour's equal paths is the best says its identifier, which the naive fix-point does not know.
    all_paths: bool,
    /// One a speaker: its AS, whether it is of the one cluster that several may be of, and its long-lived stale time.
    speakers: Vec<(u32, bool, u32)>,
    /// Whether the two have a session, and how each side holds the other: one for each pair.
    pairs: Vec<(bool, [Side; 2])>,
    steps: Vec<Step>,
}

/// What happens, to which speaker, and to which neighbour of it; numbers beyond what there is begin anew.
#[derive(Clone, Debug)]
enum Step {
    Announce(usize, usize),
    Withdraw(usize, usize),
    Break(usize, usize),
    Cut(usize, usize),
    Mend,
    Kill(usize),
    /// The process leaves as an agent does that is to be started again.
    Leave(usize),
    /// Starts it, if it is not running; whether it says that it has restarted.
    Boot(usize, bool),
    Import(usize, usize, ImportPolicy),
    Pools(usize, usize),
    MaxPrefixes(usize, usize, u32, Option<u32>),
    Client(usize, usize, bool),
    NextHop(usize, usize, NextHopMode),
    Reset(usize, usize),
    /// With so many seconds for the neighbours to move away.
    Drain(usize, u64),
    Undrain(usize),
    Wait(u64),
}

fn import() -> impl Strategy<Value = ImportPolicy> {
    prop_oneof![4 => Just(ImportPolicy::All), 2 => Just(ImportPolicy::Pools), 1 => Just(ImportPolicy::None)]
}

fn next_hop() -> impl Strategy<Value = NextHopMode> {
    prop_oneof![6 => Just(NextHopMode::Auto), 1 => Just(NextHopMode::Own), 1 => Just(NextHopMode::Keep)]
}

fn side() -> impl Strategy<Value = Side> {
    let passive = prop_oneof![5 => Just(false), 1 => Just(true)];
    let allowed = prop_oneof![5 => Just(0u8), 1 => Just(1u8)];
    (import(), any::<bool>(), next_hop(), allowed, passive).prop_map(
        |(import, client, next_hop, allowed_local_as, passive)| Side {
            import,
            client,
            next_hop,
            allowed_local_as,
            passive,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let one = || 0usize..5;
    let two = || (0usize..5, 0usize..4);
    prop_oneof![
        6 => (one(), 0..PREFIXES.len()).prop_map(|(s, p)| Step::Announce(s, p)),
        3 => (one(), 0..PREFIXES.len()).prop_map(|(s, p)| Step::Withdraw(s, p)),
        2 => two().prop_map(|(s, n)| Step::Break(s, n)),
        2 => two().prop_map(|(s, n)| Step::Cut(s, n)),
        2 => Just(Step::Mend),
        2 => one().prop_map(Step::Kill),
        1 => one().prop_map(Step::Leave),
        4 => (one(), any::<bool>()).prop_map(|(s, restarting)| Step::Boot(s, restarting)),
        2 => (two(), import()).prop_map(|((s, n), import)| Step::Import(s, n, import)),
        2 => (one(), 0usize..16).prop_map(|(s, mask)| Step::Pools(s, mask)),
        2 => (two(), 0u32..6, prop_oneof![Just(None), Just(Some(20))])
            .prop_map(|((s, n), limit, restart)| Step::MaxPrefixes(s, n, limit, restart)),
        1 => (two(), any::<bool>()).prop_map(|((s, n), client)| Step::Client(s, n, client)),
        1 => (two(), next_hop()).prop_map(|((s, n), mode)| Step::NextHop(s, n, mode)),
        2 => two().prop_map(|(s, n)| Step::Reset(s, n)),
        1 => (one(), prop_oneof![Just(0u64), 1u64..60]).prop_map(|(s, notice)| Step::Drain(s, notice)),
        1 => one().prop_map(Step::Undrain),
        6 => prop_oneof![0u64..200, 200u64..20_000, 20_000u64..200_000].prop_map(Step::Wait),
    ]
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let long_lived = prop_oneof![Just(0u32), Just(LONG_LIVED), 1..LONG_LIVED];
    let speakers = proptest::collection::vec((64512u32..64515, any::<bool>(), long_lived), 2..=5);
    speakers.prop_flat_map(|speakers| {
        let pairs = speakers.len() * (speakers.len() - 1) / 2;
        let connected = prop_oneof![4 => Just(true), 1 => Just(false)];
        let pair = (connected, [side(), side()]);
        let pairs = proptest::collection::vec(pair, pairs);
        let all_paths = prop_oneof![2 => Just(false), 1 => Just(true)];
        (any::<u64>(), all_paths, Just(speakers), pairs, proptest::collection::vec(step(), 1..60))
            .prop_map(|(seed, all_paths, speakers, pairs, steps)| Scenario { seed, all_paths, speakers, pairs, steps })
    })
}

/// A network that goes through a scenario.
struct Run {
    all_paths: bool,
    net: Net,
    drained: Vec<bool>,
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
        let all = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        for ((a, b), (_, sides)) in all.zip(&scenario.pairs).filter(|(_, (connected, _))| *connected) {
            for (here, there, side) in [(a, b, &sides[0]), (b, a, &sides[1])] {
                let options = PeerOptions {
                    reflector_client: side.client,
                    next_hop: side.next_hop,
                    // With all paths, and loops allowed, there would be more of them than anybody could look at.
                    allowed_local_as: if scenario.all_paths { 0 } else { side.allowed_local_as },
                    add_paths: if scenario.all_paths { ALL_PATHS } else { AddPaths::default() },
                    ..PeerOptions::default()
                };
                let peer = PeerConfig {
                    local_address: Some(address(here)),
                    options,
                    // Of two that wait for each other nothing would come.
                    passive: side.passive && here == a,
                    ..neighbor(there, scenario.speakers[there].0, side.import)
                };
                configs[here].peers.insert(address(there), peer);
            }
        }
        let mut net = Net::new(TIMING, scenario.seed);
        for config in configs {
            let index = net.add(config);
            net.boot(index, false);
        }
        Run { all_paths: scenario.all_paths, net, drained: vec![false; count] }
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
        let Some(peer) = self.neighbor(speaker, number) else { return };
        change(self.net.nodes[speaker].config.peers.get_mut(&address(peer)).expect("a neighbour"));
        let config = Box::new(self.net.nodes[speaker].config.clone());
        self.net.handle(speaker, Input::Configure(config));
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

    /// What the naive fix-point is to be computed of.
    fn naive(&self) -> Vec<naive::Speaker> {
        let speaks = |index: usize| self.net.is_up(index) && !self.drained[index];
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
                neighbors: (0..self.count())
                    .filter(|other| speaks(index) && speaks(*other))
                    .filter_map(|other| Some((other, node.config.peers.get(&address(other))?)))
                    .map(|(other, peer)| {
                        let neighbor = Neighbor {
                            import: peer.import,
                            client: peer.options.reflector_client,
                            next_hop: peer.options.next_hop,
                            allowed_local_as: peer.options.allowed_local_as.into(),
                            all_paths: self.all_paths,
                        };
                        (other, neighbor)
                    })
                    .collect(),
            })
            .collect()
    }

    /// Compares every table with what it has to be.
    fn check(&self) -> Result<(), TestCaseError> {
        let naive = self.naive();
        let tables = naive::tables(&naive);
        for (index, expected) in tables.iter().enumerate().filter(|(index, _)| self.net.is_up(*index)) {
            for status in self.net.speaker(index).status(self.net.now) {
                let other = (0..self.count()).find(|i| address(*i) == status.address).expect("one of us");
                let stands = naive[index].neighbors.contains_key(&other);
                let what = format!("session of {index} with {other}: {:?}", status.last_error);
                prop_assert_eq!(status.state == State::Established, stands, "{}", what);
                prop_assert!(!status.retained, "{}", what);
            }
            let mut found = table_of(self.net.speaker(index));
            if self.all_paths {
                found.values_mut().for_each(|(best, _)| *best = None);
            }
            let wanted = expected.iter().filter(|(_, routes)| !routes.is_empty()).map(|(prefix, routes)| {
                let mut all: Vec<Line> = routes.iter().map(line).collect();
                all.sort();
                let best = routes.first().filter(|best| !best.refused && !self.all_paths).map(line);
                (*prefix, (best, all))
            });
            let wanted: BTreeMap<_, _> = wanted.collect();
            prop_assert_eq!(&found, &wanted, "the table of speaker {}", index);
            let kernel = expected.iter().filter_map(|(prefix, routes)| {
                let best = routes[..naive::equal(routes)].iter();
                let mut hops: Vec<_> = best.filter(|r| r.from.is_some()).filter_map(|r| r.next_hop).collect();
                hops.sort();
                hops.dedup();
                (!hops.is_empty()).then_some((*prefix, hops))
            });
            let kernel: BTreeMap<_, _> = kernel.collect();
            prop_assert_eq!(&self.net.nodes[index].kernel, &kernel, "the kernel's table of speaker {}", index);
        }
        Ok(())
    }
}

/// A route, as far as both sides know it: from whom, by way of what, its AS_PATH and LOCAL_PREF, whether it is refused.
type Line = (Option<usize>, Option<std::net::IpAddr>, String, Option<u32>, bool);

fn line(route: &Route) -> Line {
    let as_path: Vec<String> = route.as_path.iter().map(u32::to_string).collect();
    (route.from, route.next_hop, as_path.join(" "), route.local_pref, route.refused)
}

/// Of each prefix, the best route and all of them.
fn table_of(speaker: &Speaker) -> BTreeMap<Cidr, (Option<Line>, Vec<Line>)> {
    let mut table = BTreeMap::<Cidr, (Option<Line>, Vec<Line>)>::new();
    for route in speaker.routes() {
        let from = route.from.map(|(peer, _)| (0..5).find(|i| address(*i) == peer).expect("one of us"));
        let line = (from, route.next_hop, route.as_path, route.local_pref, route.refused.is_some());
        let (best, all) = table.entry(route.prefix).or_default();
        if route.best && all.is_empty() {
            *best = Some(line.clone());
        }
        all.push(line);
    }
    for (_, all) in table.values_mut() {
        all.sort();
    }
    table
}

fn through(scenario: &Scenario) -> Run {
    let mut run = Run::new(scenario);
    for step in &scenario.steps {
        run.step(step);
    }
    run
}

/// How many cases: as many as the environment asks for, else what takes a few seconds.
fn cases() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    if asked { ProptestConfig::default() } else { ProptestConfig::with_cases(96) }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn tables_come_to_what_a_naive_fix_point_says(scenario in scenario()) {
        let mut run = through(&scenario);
        run.come_to_rest();
        run.check()?;
    }

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

    #[test]
    fn two_runs_with_one_seed_do_not_differ(scenario in scenario()) {
        let [one, other] = [(), ()].map(|()| {
            let run = through(&scenario);
            (run.net.trace(), run.net.steps, run.net.traffic)
        });
        prop_assert_eq!(one, other);
    }
}
