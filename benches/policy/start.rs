//! The engine alone: from nothing to the wanted state of a node, and what one change of a label costs after that.

use std::process::Command;
use std::time::{Duration, Instant};

use routenet_core::desired::{Desired, FactDelta};
use routenet_core::policy::selector::Selector;

use crate::cluster::{self, Size};
use crate::{megabytes_at_most, percentile};

/// The first argument of the process that measures one start.
pub const CHILD: &str = "--one-start";

const LARGE: Size = Size { endpoints: 250_000, policies: 10_000, locals: 200 };
/// Facts come in such batches; making them up is not counted.
const BATCH: usize = 1_000;
/// How many of the endpoints the naive way is tried with.
const FRACTION: usize = 250;
const RUNS: usize = 5;

/// The large cluster, in processes of their own, beside each selector asked of each endpoint.
pub fn start() {
    println!(
        "\n## Start: {} endpoints, {} policies of {} rules, {} local endpoints\n",
        LARGE.endpoints,
        LARGE.policies,
        cluster::RULES,
        LARGE.locals
    );
    let mut runs: Vec<(f64, f64)> = (0..RUNS).map(|_| start_in_a_child()).collect();
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (seconds, _) = runs[RUNS / 2];
    let memory = runs.iter().map(|(_, megabytes)| *megabytes).fold(0.0, f64::max);
    let naive = naive();
    println!("| way | seconds | peak memory, MB |\n|---|---|---|");
    println!(
        "| the engine (median of {RUNS}, {:.2} to {:.2}) | {seconds:.2} | {memory:.0} |",
        runs[0].0,
        runs[RUNS - 1].0
    );
    println!(
        "| every selector asked of every endpoint (tried with {FRACTION}, times {}) | {naive:.0} | - |",
        LARGE.endpoints / FRACTION
    );
}

fn start_in_a_child() -> (f64, f64) {
    let this = std::env::current_exe().expect("the path of this program");
    let output = Command::new(this).arg(CHILD).output().expect("this program again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    let mut numbers = text.split_whitespace().map(|word| word.parse().expect("a number"));
    (numbers.next().expect("seconds"), numbers.next().expect("megabytes"))
}

/// In the child: prints seconds and megabytes.
pub fn one_start() {
    let mut facts = LARGE.facts();
    let (desired, took) = start_with(&mut facts);
    println!("{} {}", took.as_secs_f64(), megabytes_at_most());
    assert!(desired.policy().chains().len() > LARGE.policies, "every policy is in use");
}

/// From nothing to the wanted state, and how long the engine took.
fn start_with(facts: &mut impl Iterator<Item = FactDelta>) -> (Desired, Duration) {
    let mut desired = Desired::new(&cluster::settings());
    let mut took = Duration::ZERO;
    loop {
        let batch: Vec<FactDelta> = facts.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return (desired, took);
        }
        let begin = Instant::now();
        drop(desired.apply(&batch));
        took += begin.elapsed();
    }
}

/// Seconds, extrapolated.
fn naive() -> f64 {
    let parse = |text: &String| Selector::parse(text).expect("a selector");
    let selectors: Vec<Selector> = (0..LARGE.policies)
        .map(cluster::policy)
        .flat_map(|policy| {
            let of_rules = policy.ingress.iter().filter_map(|rule| rule.source.selector.as_ref());
            std::iter::once(&policy.selector).chain(of_rules).map(parse).collect::<Vec<_>>()
        })
        .collect();
    let there = cluster::node("there");
    let endpoints: Vec<_> = (0..FRACTION).map(|number| cluster::endpoint(&there, number)).collect();
    let begin = Instant::now();
    let matched = endpoints
        .iter()
        .map(|endpoint| selectors.iter().filter(|selector| selector.matches(&endpoint.labels)).count())
        .sum::<usize>();
    let took = begin.elapsed().as_secs_f64();
    assert!(matched > 0, "somebody is matched");
    took * (LARGE.endpoints / FRACTION) as f64
}

/// One label of one remote endpoint, over and over, in clusters that grow.
pub fn label() {
    const CHANGES: usize = 1_000;
    println!("\n## One label of a remote endpoint changes: 1000 policies, 200 local endpoints, microseconds\n");
    println!("| endpoints | p50 | p99 | all of it from scratch |\n|---|---|---|---|");
    for endpoints in [1_000, 10_000, 100_000] {
        let size = Size { endpoints, policies: 1_000, locals: 200 };
        let (mut desired, scratch) = start_with(&mut size.facts());
        let there = cluster::node("there");
        let mut times: Vec<f64> = (0..CHANGES)
            .map(|round| {
                let number = round * 997 % endpoints;
                let before = cluster::endpoint(&there, number);
                let fact = cluster::of_endpoint(&cluster::remarked(&before, number + 1 + round / 31));
                let begin = Instant::now();
                drop(desired.apply(std::slice::from_ref(&fact)));
                begin.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
        println!("| {endpoints} | {p50:.1} | {p99:.1} | {:.0} |", scratch.as_secs_f64() * 1e6);
    }
}
