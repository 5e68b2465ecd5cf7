//! The BGP speaker beside BIRD, FRR, GoBGP and OpenBGPD: the same routes, one sender, receivers that check each of them.
//!
//! `make bench-bgp`, or `cargo bench --bench bgp -- [pass100k] [pass400k] [fanout] [fib] [routenet] [BIRD] [FRR] [GoBGP] [OpenBGPD]`
//! as root. `ROUNDS=1` for fewer than three, `SCALE=100` for a hundredth of the prefixes.

mod fib;
mod load;
mod place;
mod runs;
mod session;
mod speakers;

use load::Load;
use speakers::{SPEAKERS, Speaker};

const LOADS: [(&str, Load); 4] = [
    ("pass100k", Load { prefixes: 100_000, length: 26, per_set: 100 }),
    ("pass400k", Load { prefixes: 400_000, length: 32, per_set: 5 }),
    ("fanout", Load { prefixes: 20_000, length: 32, per_set: 20 }),
    ("fib", Load { prefixes: 100_000, length: 26, per_set: 100 }),
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
    let number = |name: &str, otherwise| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let (rounds, scale) = (number("ROUNDS", 3), number("SCALE", 1));
    let begun = std::time::Instant::now();
    let chosen: Vec<&'static Speaker> = SPEAKERS.iter().filter(|speaker| wants(speaker.name, &speakers)).collect();
    for (name, load) in LOADS.into_iter().filter(|(name, _)| wants(name, &names)) {
        let load = Load { prefixes: (load.prefixes / scale).max(load.per_set), ..load };
        match name {
            "fanout" => fan_out(load, &chosen, rounds),
            "fib" => fill(load, &chosen, rounds),
            _ => pass_through(load, &chosen, rounds),
        }
    }
    println!("\nAll of it took {} s.", begun.elapsed().as_secs());
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
    let title = format!("{} prefixes /{}, {} to an attribute set", load.prefixes, load.length, load.per_set);
    let rows = medians(speakers, rounds, move |speaker| runs::pass_through(speaker, load));
    report(&title, rounds, ["ALL s", "LATE s", "WD s", "resident MB"], speakers, &rows);
}

fn fan_out(load: Load, speakers: &[&'static Speaker], rounds: usize) {
    let title = format!("{} prefixes, {} to an attribute set, to {FAN} receivers", load.prefixes, load.per_set);
    let rows = medians(speakers, rounds, move |speaker| runs::fan_out(speaker, load, FAN));
    report(&title, rounds, ["last done s", "resident MB"], speakers, &rows);
}

fn fill(load: Load, speakers: &[&'static Speaker], rounds: usize) {
    let speakers: Vec<&'static Speaker> = speakers.iter().copied().filter(|speaker| speaker.has_data_plane()).collect();
    let title = format!("{} prefixes /{} into the kernel", load.prefixes, load.length);
    let rows = medians(&speakers, rounds, move |speaker| fib::fill(speaker, load));
    let columns = ["last route s", "news p50 ms", "news max ms", "silence s", "resident MB"];
    report(&title, rounds, columns, &speakers, &rows);
}

/// Prints the medians, and below them ours by those of each other.
fn report<const N: usize>(
    title: &str,
    rounds: usize,
    columns: [&str; N],
    speakers: &[&'static Speaker],
    rows: &[[f64; N]],
) {
    let line = |name: &str, row: &[f64; N]| {
        let values: Vec<String> = row.iter().map(|value| format!("{value:.3}")).collect();
        println!("| {name} | {} |", values.join(" | "));
    };
    println!("\n{title}, medians of {rounds}:\n\n| | {} |\n|---|{}", columns.join(" | "), "---|".repeat(N));
    for (speaker, row) in speakers.iter().zip(rows) {
        line(speaker.name, row);
    }
    let ours = speakers.iter().zip(rows).find(|(speaker, _)| speaker.name == "routenet").map(|(_, row)| row);
    for (speaker, row) in speakers.iter().zip(rows).filter(|(speaker, _)| speaker.name != "routenet") {
        if let Some(ours) = ours {
            line(&format!("routenet by {}", speaker.name), &std::array::from_fn(|column| ours[column] / row[column]));
        }
    }
}
