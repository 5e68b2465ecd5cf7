//! A thousand endpoint updates a second, from the facts to the kernel, and how far the kernel lags behind.

use std::time::{Duration, Instant};

use routenet::plane::iptables::Backend;
use routenet_core::desired::{Desired, FactDelta, SetOp};
use tokio::sync::mpsc::unbounded_channel;

use crate::place::{Place, feed};
use crate::{cluster, groups, percentile};

const REMOTE: usize = 10_000;
const GROUPS: usize = 100;
const RULES: usize = 10;
const PACE: Duration = Duration::from_millis(1);
const SECONDS: usize = 20;
/// The naive way is tried for less long.
const NAIVE_SECONDS: usize = 5;

/// An endpoint has another role after each update of it, and its address moves from one set to another.
fn update(number: usize) -> FactDelta {
    remote(number % REMOTE, number / REMOTE + 1)
}

fn remote(number: usize, updates: usize) -> FactDelta {
    let role = (number + updates) % GROUPS;
    cluster::of_endpoint(&groups::endpoint(&cluster::node("there"), GROUPS + number, role))
}

/// The node before the first update.
fn before() -> Desired {
    let mut desired = groups::desired(GROUPS, RULES);
    let facts: Vec<FactDelta> = (0..REMOTE).map(|number| remote(number, 0)).collect();
    desired.apply(&facts);
    desired
}

pub fn updates() {
    println!(
        "\n## 1000 updates a second of {REMOTE} remote endpoints, {GROUPS} policies of {RULES} rules in use: lag of the kernel, milliseconds\n"
    );
    println!("| way | seconds | p50 | p99 | max |\n|---|---|---|---|---|");
    row("engine and planes", SECONDS, Place::new().run(|| sustained(SECONDS)));
    row("the same, an ipset process for each", NAIVE_SECONDS, Place::new().run(|| by_processes(NAIVE_SECONDS)));
}

fn row(way: &str, seconds: usize, mut lags: Vec<f64>) {
    assert_eq!(lags.len(), seconds * 1_000, "every update arrived");
    let [p50, p99, max] = [50, 99, 100].map(|percent| percentile(&mut lags, percent));
    println!("| {way} | {seconds} | {p50:.2} | {p99:.2} | {max:.1} |");
}

/// The facts, each at the moment at which it is due.
fn sender(count: usize) -> tokio::sync::mpsc::UnboundedReceiver<(Instant, FactDelta)> {
    let (send, inbox) = unbounded_channel();
    std::thread::spawn(move || {
        let begin = Instant::now();
        for number in 0..count {
            let due = begin + PACE * u32::try_from(number).expect("few updates");
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if send.send((due, update(number))).is_err() {
                return;
            }
        }
    });
    inbox
}

/// As the agent's loop does it: what the engine says is handed to the plane in order, and nobody waits for the kernel
/// before the next fact.
fn sustained(seconds: usize) -> Vec<f64> {
    let mut desired = before();
    let plane = groups::plane(Backend::Nft, &desired);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut inbox = sender(seconds * 1_000);
        let mut waiting = Vec::new();
        while let Some((due, fact)) = inbox.recv().await {
            let delta = desired.apply(&[fact]);
            let plane = plane.clone();
            waiting.push(tokio::task::spawn_local(async move {
                plane.apply(delta.rules).await.expect("the kernel takes it");
                due.elapsed().as_secs_f64() * 1e3
            }));
        }
        let mut lags = Vec::new();
        for lag in waiting {
            lags.push(lag.await.expect("an answer"));
        }
        lags
    })
}

/// The same engine, and `ipset restore` for what it says.
fn by_processes(seconds: usize) -> Vec<f64> {
    let mut desired = before();
    drop(groups::plane(Backend::Nft, &desired));
    let mut inbox = sender(seconds * 1_000);
    let mut lags = Vec::new();
    while let Some((due, fact)) = inbox.blocking_recv() {
        let delta = desired.apply(&[fact]);
        let lines = delta.rules.grow.iter().chain(&delta.rules.shrink).map(|op| match op {
            SetOp::Add { name, member } => format!("add {name} {member}\n"),
            SetOp::Delete { name, member } => format!("del {name} {member}\n"),
            other => panic!("only members change: {other:?}"),
        });
        feed("ipset", &["-exist", "restore"], &lines.collect::<String>());
        lags.push(due.elapsed().as_secs_f64() * 1e3);
    }
    lags
}
