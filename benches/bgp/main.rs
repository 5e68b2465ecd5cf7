//! The BGP speaker beside BIRD, FRR, GoBGP and OpenBGPD: the same routes, one sender, receivers that check each of them.
//!
//! `make bench-bgp`, or `cargo bench --bench bgp -- [pass100k] [pass400k] [fanout] [routenet] [BIRD] [FRR] [GoBGP] [OpenBGPD]`
//! as root. `ROUNDS=1` for fewer than three.

mod load;
mod place;
mod runs;
mod session;
mod speakers;

use load::Load;
use speakers::{SPEAKERS, Speaker};

const LOADS: [(&str, Load); 3] = [
    ("pass100k", Load { prefixes: 100_000, length: 26, per_set: 100 }),
    ("pass400k", Load { prefixes: 400_000, length: 32, per_set: 5 }),
    ("fanout", Load { prefixes: 20_000, length: 32, per_set: 20 }),
];
/// To so many receivers the fan-out goes.
const FAN: usize = 50;

fn main() {
    // cargo adds an option of its own.
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let names: Vec<&str> = LOADS.iter().map(|(name, _)| *name).collect();
    let speakers: Vec<&str> = SPEAKERS.iter().map(|speaker| speaker.name).collect();
    let known = |argument: &String| names.contains(&argument.as_str()) || speakers.contains(&argument.as_str());
    if let Some(unknown) = asked.iter().find(|argument| !known(argument)) {
        eprintln!(
            "`{unknown}` is no measurement and no speaker; there are: {}, {}",
            names.join(", "),
            speakers.join(", ")
        );
        std::process::exit(2);
    }
    // Nothing asked of a kind: all of it.
    let wants = |name: &str, kind: &[&str]| {
        asked.iter().any(|argument| argument == name) || !asked.iter().any(|argument| kind.contains(&argument.as_str()))
    };
    let rounds = std::env::var("ROUNDS").map_or(3, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let chosen: Vec<&'static Speaker> = SPEAKERS.iter().filter(|speaker| wants(speaker.name, &speakers)).collect();
    for (name, load) in LOADS.into_iter().filter(|(name, _)| wants(name, &names)) {
        match name {
            "fanout" => fan_out(load, &chosen, rounds),
            _ => pass_through(load, &chosen, rounds),
        }
    }
}

/// Runs of every speaker in turn, so that what else the machine does meets them all; answers the medians of each column.
fn medians<const N: usize>(
    speakers: &[&'static Speaker],
    rounds: usize,
    run: impl Fn(&'static Speaker) -> [f64; N] + Copy + Send + 'static,
) -> Vec<[f64; N]> {
    let mut all = vec![Vec::new(); speakers.len()];
    for _ in 0..rounds {
        for (results, &speaker) in all.iter_mut().zip(speakers) {
            // A thread of its own: its namespace ends with it.
            results.push(std::thread::spawn(move || run(speaker)).join().expect("the run went well"));
        }
    }
    let median = |results: &Vec<[f64; N]>| {
        std::array::from_fn(|column| {
            let mut values: Vec<f64> = results.iter().map(|result| result[column]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        })
    };
    all.iter().map(median).collect()
}

fn pass_through(load: Load, speakers: &[&'static Speaker], rounds: usize) {
    println!(
        "\n{} prefixes /{}, {} to an attribute set, medians of {rounds}:\n",
        load.prefixes, load.length, load.per_set
    );
    println!("| speaker | ALL s | LATE s | WD s | resident MB |\n|---|---|---|---|---|");
    let rows = medians(speakers, rounds, move |speaker| runs::pass_through(speaker, load));
    for (speaker, [all, late, withdrawn, resident]) in speakers.iter().zip(&rows) {
        println!("| {} | {all:.3} | {late:.3} | {withdrawn:.3} | {resident:.0} |", speaker.name);
    }
    let of = |name: &str| speakers.iter().position(|speaker| speaker.name == name).map(|index| rows[index]);
    if let (Some(ours), Some(bird)) = (of("routenet"), of("BIRD")) {
        println!(
            "\nratio to BIRD: ALL {:.2}, WD {:.2}, resident {:.2}",
            ours[0] / bird[0],
            ours[2] / bird[2],
            ours[3] / bird[3]
        );
    }
    if let (Some(ours), Some(openbgpd)) = (of("routenet"), of("OpenBGPD")) {
        println!("ratio to OpenBGPD: LATE {:.2}", ours[1] / openbgpd[1]);
    }
}

fn fan_out(load: Load, speakers: &[&'static Speaker], rounds: usize) {
    println!(
        "\n{} prefixes, {} to an attribute set, to {FAN} receivers, medians of {rounds}:\n",
        load.prefixes, load.per_set
    );
    println!("| speaker | last done s | resident MB |\n|---|---|---|");
    let rows = medians(speakers, rounds, move |speaker| runs::fan_out(speaker, load, FAN));
    for (speaker, [last, resident]) in speakers.iter().zip(&rows) {
        println!("| {} | {last:.3} | {resident:.0} |", speaker.name);
    }
    let of = |name: &str| speakers.iter().position(|speaker| speaker.name == name).map(|index| rows[index]);
    if let (Some(ours), Some(frr)) = (of("routenet"), of("FRR")) {
        println!("\nratio to FRR: {:.2}", ours[0] / frr[0]);
    }
}
