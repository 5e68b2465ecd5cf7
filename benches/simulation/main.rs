//! 500 nodes in memory, by the speaker's own code under a virtual clock: a full mesh beside `mesh: auto`, from the
//! start of all nodes to the loss of a rack and of a reflector.
//!
//! `make bench-mesh`, or `cargo bench -p routenet-core --bench simulation -- [NODES]`. Prints a table, and writes
//! `benches/mesh-start.svg`.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a program, not the pure half")]

#[path = "../../crates/core/tests/bgp/cluster.rs"]
#[expect(dead_code, reason = "the tests' cluster can do more")]
mod cluster;
#[path = "../../tests/support/dice.rs"]
mod dice;
#[expect(dead_code, reason = "the tests' network can do more")]
#[path = "../../crates/core/tests/bgp/net.rs"]
mod net;
mod plot;
mod scenario;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use scenario::{Layout, Row};

/// What a child process answers one layout's run by: rows, then points of its curve.
const CHILD: &str = "--layout";

fn main() {
    // cargo adds an option of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, layout, nodes] = &arguments[..]
        && flag == CHILD
    {
        return scenario::run(Layout::named(layout), nodes.parse().expect("a number"));
    }
    let nodes = arguments.first().map_or(500, |number| number.parse().expect("a number of nodes"));
    println!("{nodes} nodes, one /26 and ten /32 each; {}\n", scenario::describe());
    println!(
        "| layout | what happens | last table changed | last UPDATE | UPDATEs | their bytes | routes taken out of kernels |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut curves = Vec::new();
    let mut memory = Vec::new();
    for layout in Layout::ALL {
        let program = std::env::current_exe().expect("our own path");
        // A process of its own, whose memory is this layout's alone.
        let mut command = Command::new(program);
        command.args([CHILD, layout.name(), &nodes.to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a child of our own");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut curve = Vec::new();
        for line in said.lines().map(|line| line.expect("text")) {
            match line.split_once(' ') {
                Some(("row", row)) => println!("{row}"),
                Some(("memory", line)) => memory.push(line.to_string()),
                Some(("point", point)) => {
                    let (x, y) = point.split_once(' ').expect("two numbers");
                    curve.push((x.parse().expect("a number"), y.parse().expect("a number")));
                }
                _ => {}
            }
        }
        assert!(child.wait().expect("a child of our own").success(), "{}", layout.name());
        curves.push((layout.name().to_string(), curve));
    }
    println!(
        "\n| layout | sessions | of the busiest node | memory a node, MB | processor time, s |\n|---|---|---|---|---|"
    );
    for line in memory {
        println!("{line}");
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/mesh-start.svg");
    let title = format!("{nodes} nodes start within a second: routes in place");
    std::fs::write(file, plot::svg(&title, "seconds", "percent", &curves)).expect("benches/ can be written to");
    println!("\nthe start, plotted: benches/mesh-start.svg");
}

impl Row<'_> {
    fn print(&self) {
        let Row { layout, what, tables, said, messages, bytes, lost } = self;
        let [tables, said] = [tables, said].map(|time| match time.as_secs_f64() {
            0.0 => "never".to_string(),
            seconds if seconds < 10.0 => format!("{:.0} ms", seconds * 1000.0),
            seconds => format!("{seconds:.1} s"),
        });
        println!("row | {layout} | {what} | {tables} | {said} | {messages} | {bytes} | {lost} |");
    }
}
