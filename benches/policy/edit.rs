//! One rule of one policy changes while ten thousand stand in the kernel.

use std::time::Instant;

use routenet::plane::iptables::Backend;

use crate::place::{Place, feed, run};
use crate::{groups, percentile};

const POLICIES: usize = 1_000;
const RULES: usize = 10;
const EDITS: usize = 100;
/// Of the whole table at once.
const WHOLE: usize = 10;

pub fn edit() {
    println!("\n## One rule changes with {} rules of policies in the kernel, milliseconds\n", POLICIES * RULES);
    println!("| back end | p50 | p99 | the whole table by iptables-restore, p50 |\n|---|---|---|---|");
    for backend in [Backend::Nft, Backend::Legacy] {
        let [p50, p99, whole] = Place::new().run(move || measure(backend));
        println!("| {} | {p50:.1} | {p99:.1} | {whole:.0} |", backend.name());
    }
}

fn measure(backend: Backend) -> [f64; 3] {
    let mut desired = groups::desired(POLICIES, RULES);
    let plane = groups::plane(backend, &desired);
    let mut times: Vec<f64> = (0..EDITS)
        .map(|round| {
            let port = 6_000 + u16::try_from(round).expect("few rounds");
            let fact = groups::policy(round * 7 % POLICIES, RULES, POLICIES, port);
            let begin = Instant::now();
            let delta = desired.apply(&[fact]);
            assert_eq!(delta.rules.chains.len(), 1, "a rule is one chain");
            groups::program(&plane, delta);
            begin.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    drop(plane);
    let saved = run(&format!("iptables-{}-save", backend.name()), &["-t", "filter"]);
    assert!(saved.matches("--dports 5000").count() >= POLICIES * (RULES - 1), "the rules stand in the kernel");
    let mut whole: Vec<f64> = (0..WHOLE)
        .map(|round| {
            let text = saved.replacen("--dports 5000", &format!("--dports {}", 7_000 + round), 1);
            let begin = Instant::now();
            feed(&format!("iptables-{}-restore", backend.name()), &["-w"], &text);
            begin.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    [percentile(&mut times, 50), percentile(&mut times, 99), percentile(&mut whole, 50)]
}
