//! Several processes on one store, killed at any point: no block has two owners, no address two holders, what was
//! answered is in the journal, and nothing leaks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use routenet_core::model::EndpointKey;

use super::child::{self, Job, pools};
use super::fixture::{Host, Place, Plan, blocks, key, no_connections, until};
use super::support::Process;

const NODES: [&str; 3] = ["h1", "h2", "h3"];

fn churn(place: &Place, node: &str, seed: u64, steps: u32) -> Process {
    let (store, state) = (place.spec(), place.state(node));
    child::spawn(&Job::Churn { store, state, node: node.into(), seed, steps })
}

/// When a process is killed at the latest, in microseconds of its life.
const LATEST_KILL: u64 = 400_000;

/// Gives the same moments for the same seed; how far the processes have come by then is the machine's business.
struct Random(u64);

impl Random {
    /// Of `ROUTENET_TEST_SEED`, else of the clock; says which, for whoever looks at a failure.
    fn seeded() -> Random {
        let given = std::env::var("ROUTENET_TEST_SEED").ok().map(|seed| seed.parse().expect("a number as seed"));
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
        let seed = given.unwrap_or_else(clock);
        println!("ROUTENET_TEST_SEED={seed}");
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What a node's processes said, over all its lives.
#[derive(Default)]
struct Told {
    attached: BTreeMap<String, Vec<IpAddr>>,
    /// Begun, and perhaps done.
    detaching: BTreeSet<String>,
    detached: BTreeSet<String>,
}

impl Told {
    fn hear(&mut self, output: &str) {
        for line in output.lines().filter_map(|line| line.strip_prefix("@ ")) {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["attached", id, addresses @ ..] => {
                    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
                    self.attached.insert(id.to_string(), addresses);
                }
                ["detaching", id] => drop(self.detaching.insert(id.to_string())),
                ["detached", id] => drop(self.detached.insert(id.to_string())),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn rest_of_output(process: &mut Process) -> String {
    let mut output = Vec::new();
    process.0.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    String::from_utf8(output).unwrap()
}

/// The journal agrees with the store, and with what was answered.
async fn check_host(host: &Host, told: &Told) -> Vec<IpAddr> {
    let name = host.allocator.node();
    let state = host.journal.load().unwrap();
    let in_store: BTreeSet<_> =
        blocks(&*host.store).await.into_iter().filter(|block| block.owner == *name).map(|block| block.cidr).collect();
    let in_journal: BTreeSet<_> = state.blocks.iter().map(|block| block.cidr).collect();
    assert_eq!(in_journal, in_store, "{name}: every block of the store is known, and no other");
    assert_eq!(host.allocator.lost_blocks(), BTreeMap::new());

    let mut held: BTreeMap<EndpointKey, BTreeSet<IpAddr>> = BTreeMap::new();
    for (address, key) in &state.allocations {
        assert!(in_journal.iter().any(|block| block.contains(*address)), "{name}: {address} lies in an own block");
        held.entry(key.clone()).or_default().insert(*address);
    }
    let endpoints: BTreeMap<EndpointKey, BTreeSet<IpAddr>> =
        state.endpoints.iter().map(|it| (it.key.clone(), it.addresses.iter().copied().collect())).collect();
    assert_eq!(held, endpoints, "{name}: an address is held by an endpoint, and the other way round");
    assert!(held.values().all(|addresses| addresses.len() == 2), "{name}: both families or none");

    for (id, addresses) in &told.attached {
        if !told.detaching.contains(id) {
            let kept = endpoints.get(&key(id)).unwrap_or_else(|| panic!("{name}: {id} was answered and is lost"));
            assert_eq!(*kept, addresses.iter().copied().collect(), "{name}: {id}");
        }
    }
    for id in &told.detached {
        assert!(!endpoints.contains_key(&key(id)), "{name}: {id} was released and is back");
    }
    state.allocations.into_iter().map(|(address, _)| address).collect()
}

async fn check_cluster(place: &Place, told: &BTreeMap<&str, Told>) {
    let store = place.store();
    let all = blocks(&*store).await;
    for (at, block) in all.iter().enumerate() {
        assert!(!all[at + 1..].iter().any(|other| other.cidr.overlaps(&block.cidr)), "{} overlaps", block.cidr);
    }
    let mut seen = BTreeSet::new();
    for name in NODES {
        let host = Host::start(store.clone(), name, &place.state(name), Duration::ZERO).await;
        for address in check_host(&host, &told[name]).await {
            assert!(seen.insert(address), "{address} was given out twice");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_race_for_blocks_never_share_one() {
    let place = Place::new();
    Plan::new(&pools()).write_to(&*place.store()).await;
    let mut told: BTreeMap<&str, Told> = BTreeMap::new();
    let mut running: Vec<_> =
        NODES.iter().zip(1..).map(|(name, seed)| (*name, churn(&place, name, seed, 150))).collect();
    for (name, process) in &mut running {
        told.entry(name).or_default().hear(&rest_of_output(process));
        assert!(process.0.wait().unwrap().success(), "{name}");
    }
    assert!(told.values().all(|told| told.attached.len() > 50 && told.detached.len() > 20), "they had work to do");
    check_cluster(&place, &told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_point_loses_and_leaks_nothing() {
    let place = Place::new();
    Plan::new(&pools()).write_to(&*place.store()).await;
    let mut told: BTreeMap<&str, Told> = NODES.iter().map(|name| (*name, Told::default())).collect();
    let mut random = Random::seeded();
    for _ in 0..12 {
        let mut running: Vec<_> =
            NODES.iter().map(|name| (*name, churn(&place, name, random.below(u64::MAX), 100_000))).collect();
        // Each at a moment of its own: some in their start, most in their work.
        let begun = Instant::now();
        let mut moments: Vec<(Duration, usize)> =
            (0..running.len()).map(|index| (Duration::from_micros(random.below(LATEST_KILL)), index)).collect();
        moments.sort();
        for (moment, index) in moments {
            tokio::time::sleep(moment.saturating_sub(begun.elapsed())).await;
            running[index].1.0.kill().unwrap();
        }
        for (name, process) in &mut running {
            told.get_mut(name).unwrap().hear(&rest_of_output(process));
            assert!(!process.0.wait().unwrap().success(), "{name} was killed, and did not end by itself");
        }
        check_cluster(&place, &told).await;
    }
    assert!(told.values().map(|told| told.attached.len()).sum::<usize>() > 100, "they had work to do");
    everything_can_be_given_back(&place).await;
}

/// Nothing leaked: released endpoints leave no address behind, and empty blocks go back, but for one of each pool.
async fn everything_can_be_given_back(place: &Place) {
    let store = place.store();
    for name in NODES {
        let host = Host::start(store.clone(), name, &place.state(name), Duration::ZERO).await;
        let _publisher =
            routenet::agent::publisher::Publisher::spawn(store.clone(), host.allocator.clone(), no_connections());
        for endpoint in host.allocator.endpoints() {
            assert!(host.allocator.release(&endpoint.key).await.unwrap());
        }
        until("all blocks but two are given back", async || {
            host.allocator.give_back_empty_blocks().await.unwrap();
            host.own_blocks().len() == 2
        })
        .await;
        let fill = host.allocator.fill();
        assert!(fill.iter().all(|block| block.held == 0), "{fill:?}");
        assert_eq!(store.range(&format!("/endpoints/{name}/")).await.unwrap().0, [], "{name}");
        assert_eq!(host.journal.load().unwrap().allocations, []);
    }
    assert_eq!(blocks(&*store).await.len(), 2 * NODES.len());
}
