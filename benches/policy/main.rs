//! What policy costs: start, one label, one rule, a stream of updates, a packet; each beside another way in the same run.
//!
//! `make bench-policy`, or `cargo bench --bench policy -- [start] [label] [edit] [updates] [packets]` as root.

mod cluster;
mod edit;
mod groups;
mod packets;
mod place;
mod start;
mod updates;

const MEASUREMENTS: [(&str, fn()); 5] = [
    ("start", start::start),
    ("label", start::label),
    ("edit", edit::edit),
    ("updates", updates::updates),
    ("packets", packets::packets),
];

fn main() {
    // cargo adds an option of its own.
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if asked.iter().any(|argument| argument == start::CHILD) {
        return start::one_start();
    }
    let names = MEASUREMENTS.map(|(name, _)| name);
    if let Some(unknown) = asked.iter().find(|argument| !names.contains(&argument.as_str())) {
        eprintln!("`{unknown}` is no measurement; there are: {}", names.join(", "));
        std::process::exit(2);
    }
    for (name, measure) in MEASUREMENTS {
        if asked.is_empty() || asked.iter().any(|argument| argument == name) {
            measure();
        }
    }
}

/// Sorts the values; the one below which so many percent lie.
fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * percent / 100]
}

/// The most memory that this process had resident.
fn megabytes_at_most() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("our status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let kilobytes: f64 = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
    kilobytes / 1024.0
}
