//! Three judges of one packet: the evaluator, the kernel with the compiled chains, and a third opinion written from the
//! specification alone. Random clusters and policies of a printed seed; `SEED=N` repeats one, `COUNT=N` asks more.

use std::time::{SystemTime, UNIX_EPOCH};

use routenet::plane::iptables::Backend;

use crate::cases::{Asked, Case, cases};
use crate::cases_kernel::differences;
use crate::naive::{Naive, Packet};
use crate::random_cluster::{SOLICITATION, random};
use crate::support::in_fresh_netns;

/// How many are asked of the evaluator, and of these how many of the kernel, on each back end; of more, as large a part.
const EVALUATED: u64 = 300;
const SENT: u64 = 24;

/// What the third opinion does not know.
const NOT_NAIVE: [&str; 2] = ["preDNAT: true", "doNotTrack: true"];

/// The packet of a verdict, for the third opinion.
pub fn packet<'a>(case: &'a Case, asked: &'a Asked) -> Packet<'a> {
    let probe = case.probe(asked);
    Packet {
        from: &asked.from,
        to: &asked.to,
        source: probe.source,
        destination: probe.destination,
        protocol: asked.proto.to_lowercase(),
        source_port: asked.sport,
        port: asked.port,
        icmp: probe.icmp,
    }
}

#[test]
fn the_third_opinion_is_calicos_wherever_it_has_one() {
    let (mut asked, mut left_out, mut wrong) = (0, Vec::new(), Vec::new());
    for (case, text) in cases() {
        if NOT_NAIVE.iter().any(|words| case.policy.contains(words)) {
            left_out.push(case.name.clone());
            continue;
        }
        let naive = Naive::new(&serde_json::from_str(&text).expect("a case"));
        for one in &case.verdicts {
            asked += 1;
            if naive.allows(&packet(&case, one)) != (one.verdict == "allow") {
                wrong.push(format!(
                    "{}: {} -> {} {} {:?}: {} is right",
                    case.name, one.from, one.to, one.proto, one.port, one.verdict
                ));
            }
        }
    }
    println!("{asked} verdicts; not asked: {left_out:?}");
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 10_000 && left_out.len() <= 8, "{asked} {left_out:?}");
}

fn first_seed() -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    match number("SEED") {
        Some(seed) => (seed, number("COUNT").unwrap_or(1)),
        None => (now * 1000, number("COUNT").unwrap_or(EVALUATED)),
    }
}

#[test]
fn the_evaluator_and_the_third_opinion_agree_on_random_clusters() {
    let (first, count) = first_seed();
    let (mut asked, mut allowed) = (0, 0);
    for seed in first..first + count {
        let case = random(seed);
        asked += case.verdicts.len();
        allowed += case.verdicts.iter().filter(|one| one.verdict == "allow").count();
        let disputed = case.disputed();
        assert!(disputed.is_empty(), "SEED={seed}: {}\n{}", disputed[..disputed.len().min(3)].join("\n"), case.policy);
    }
    println!("SEED={first}: {count} clusters, {asked} verdicts, {allowed} of them allow");
    assert!(asked > 0 && allowed > asked / 10 && allowed < asked * 9 / 10 || count < 50, "{allowed} of {asked} allow");
}

#[test]
fn the_kernel_and_the_third_opinion_agree_on_random_clusters() {
    let (first, count) = first_seed();
    let next = std::sync::atomic::AtomicU64::new(first);
    let end = first + count.min(SENT.max(count * SENT / EVALUATED));
    let work = || {
        let mut sent = 0;
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed >= end {
                return sent;
            }
            for backend in [Backend::Nft, Backend::Legacy] {
                let mut case = random(seed);
                case.verdicts.retain(|asked| asked.kind != Some(SOLICITATION));
                let policy = case.policy.clone();
                let (count, wrong) = in_fresh_netns(move || differences(&case, backend, || ()));
                assert!(wrong.is_empty(), "SEED={seed}: {}\n{policy}", wrong[..wrong.len().min(5)].join("\n"));
                sent += count;
            }
        }
    };
    let sent: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("no case panics")).sum()
    });
    println!("SEED={first}: {sent} packets");
    assert!(sent > 0);
}
