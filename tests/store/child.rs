//! Work that must be done by another process: this test binary again, told by an environment variable what to do.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use routenet::agent::publisher::Publisher;
use routenet::store::Write;

use super::fixture::{Host, Place, Plan, StoreSpec, key, let_go, no_connections, pool};
use super::support::Process;

const VARIABLE: &str = "ROUTENET_TEST_CHILD";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Job {
    /// Puts `1` under the key.
    Write { store: StoreSpec, key: String },
    /// Attaches and detaches as this node, so many steps, saying on standard output what it begins and what is done.
    Churn { store: StoreSpec, state: PathBuf, node: String, seed: u64, steps: u32 },
}

pub fn spawn(job: &Job) -> Process {
    let program = std::env::current_exe().unwrap();
    // This module's path in the program, less the program's own name.
    let module = module_path!().split_once("::").map_or("", |(_, module)| module);
    let name = format!("{module}::the_work_of_a_child_process");
    let child = Command::new(program)
        .args([&name, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, serde_json::to_string(job).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    Process(child)
}

/// As a test of its own it does a little of everything in this process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_of_a_child_process() {
    if let Ok(job) = std::env::var(VARIABLE) {
        return work(serde_json::from_str(&job).unwrap()).await;
    }
    let place = Place::new();
    Plan::new(&pools()).write_to(&*place.store()).await;
    let (store, state) = (place.spec(), place.state("h1"));
    work(Job::Churn { store, state: state.clone(), node: "h1".into(), seed: 1, steps: 20 }).await;
    let_go(&state).await;
    let host = Host::start(place.store(), "h1", &state, Duration::ZERO).await;
    let fill = host.allocator.fill();
    let held = |family: &str| fill.iter().filter(|it| it.pool.as_str() == family).map(|it| it.held).sum::<usize>();
    assert!(held("four") > 0 && held("four") == held("six"), "{fill:?}");
    assert_eq!(held("four"), host.allocator.endpoints().len());
    work(Job::Write { store: place.spec(), key: "/x".into() }).await;
    assert!(place.store().get("/x").await.unwrap().is_some());
}

/// Small blocks, so that many are claimed.
pub fn pools() -> [routenet_core::model::Pool; 2] {
    [pool("four", "10.0.0.0/23", 29), pool("six", "fd00::/118", 125)]
}

async fn work(job: Job) {
    match job {
        Job::Write { store, key } => {
            let writes = vec![Write::Put { key, value: b"1".to_vec() }];
            store.open().transact(vec![], writes).await.unwrap();
        }
        Job::Churn { store, state, node, seed, steps } => {
            let store = store.open();
            let host = Host::start(store.clone(), &node, &state, Duration::ZERO).await;
            let _publisher = Publisher::spawn(store, host.allocator.clone(), no_connections());
            churn(&host, seed, steps).await;
        }
    }
}

/// To the parent, if there is one: a line, whole even if the process is killed in the next moment.
fn say(word: &str) {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    let line = format!("\n@ {word}\n");
    std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush()).unwrap();
}

async fn churn(host: &Host, seed: u64, steps: u32) {
    let plan = Plan::new(&pools());
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut attached: Vec<String> = host.allocator.endpoints().into_iter().map(|it| it.key.container_id).collect();
    for step in 0..steps {
        // Xorshift: any sequence will do, as long as the seed gives it back.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if attached.len() > 30 || (random.is_multiple_of(3) && !attached.is_empty()) {
            let id = attached.swap_remove((random >> 8) as usize % attached.len());
            say(&format!("detaching {id}"));
            host.allocator.release(&key(&id)).await.unwrap();
            say(&format!("detached {id}"));
        } else if random.is_multiple_of(11) {
            host.allocator.give_back_empty_blocks().await.unwrap();
        } else {
            attach_some(host, &plan, &format!("{seed}-{step}"), 1 + (random >> 16) as usize % 4, &mut attached).await;
        }
    }
}

/// Several at once, so that they share commits and wait for one claim.
async fn attach_some(host: &Host, plan: &Plan, prefix: &str, count: usize, attached: &mut Vec<String>) {
    let one = async |id: String| {
        let make =
            |addresses: &[std::net::IpAddr]| super::fixture::endpoint(host.allocator.node(), &key(&id), addresses);
        match host.allocator.attach(&plan.request(&key(&id)), make).await {
            Ok(endpoint) => {
                let addresses: Vec<String> = endpoint.addresses.iter().map(ToString::to_string).collect();
                say(&format!("attached {id} {}", addresses.join(" ")));
                Some(id)
            }
            Err(error) if error.try_again() => None,
            Err(error) => panic!("{error}"),
        }
    };
    let ids = (0..count).map(|number| format!("{prefix}-{number}"));
    let done = futures::future::join_all(ids.map(one)).await;
    attached.extend(done.into_iter().flatten());
}
