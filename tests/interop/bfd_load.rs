//! BFD of 3 x 100 ms with BIRD and FRR on a busy machine: no failure where there is none, and a cut is seen all the same.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use routenet::agent::peering::neighbor_lines;
use routenet::api::listing::NeighborLine;
use routenet_core::bgp::speaker::SpeakerConfig;
use routenet_core::model::BfdSettings;

use crate::bfd::{BIRD_BFD, deafen, here};
use crate::bird::Bird;
use crate::frr::Frr;
use crate::rig::{LIMIT, Neighbor, THEIR_AS, Us, add, among, speaker, theirs};
use crate::support::{Process, wait_for};

const OTHER_AS: u32 = 65003;
/// Busy shells for each processor; other tests run meanwhile.
const SHELLS: usize = 2;
const LASTS: Duration = Duration::from_secs(15);

/// Shells that never sleep, of ordinary priority, or of less where nobody may have more.
fn load(nice: &str) -> Vec<Process> {
    let count = std::thread::available_parallelism().map_or(2, usize::from) * SHELLS;
    let shell = || {
        let mut shell = Command::new("nice");
        shell.args(["-n", nice, "sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
        Process(shell.spawn().expect("nice (coreutils)"))
    };
    std::iter::repeat_with(shell).take(count).collect()
}

/// Gives every thread of a process the priority that our own BFD takes; false: not to be had here.
fn raise(pid: u32) -> bool {
    let words = ["--all-tasks", "--rr", "--pid", "1", &pid.to_string()];
    let output = Command::new("chrt").args(words).output().expect("chrt (util-linux)");
    output.status.success()
}

fn line(us: &Us, number: usize) -> NeighborLine {
    let address = theirs(number)[0].clone();
    let mut lines = neighbor_lines(&us.status()).into_iter();
    lines.find(|line| line.address == address).expect("a neighbour")
}

fn is_up(us: &Us, number: usize) -> bool {
    let line = line(us, number);
    line.state == "Established" && line.bfd.is_some_and(|bfd| bfd.state == "Up" && bfd.detection_time_ms == Some(300))
}

fn config() -> SpeakerConfig {
    let mut config = speaker(0, THEIR_AS);
    add(&mut config, "frr", 1, 0, OTHER_AS);
    config.peers.values_mut().for_each(|peer| peer.bfd = Some(BfdSettings::default()));
    config
}

/// Where real-time priority may be had, by both ends, the load is of ordinary priority. Where it may not (a container without
/// CAP_SYS_NICE), the load is niced: what BFD is promised there is less (docs/bfd.md).
#[test]
fn a_busy_machine_is_no_failure_and_a_cut_is_one() {
    among(|[first, second]| {
        let bird = Bird::with(first, 0, THEIR_AS, &["198.51.100.0/24"], "bfd on;");
        bird.reconfigure("protocol device", BIRD_BFD);
        let frr = Frr::with(second, 0, OTHER_AS, &["203.0.113.0/24"], &["bfd", "bfd profile fast"]);
        let us = Us::start(config(), false);
        wait_for("all sessions", LIMIT, || bird.established() && frr.established() && is_up(&us, 0) && is_up(&us, 1));
        let real_time = [bird.pid(), frr.bfd_pid()].map(raise) == [true; 2];
        println!("real-time priority: {real_time}");
        let shells = load(if real_time { "0" } else { "19" });

        let sessions = |number: usize| line(&us, number).bfd.map(|bfd| bfd.sessions);
        let before = [0, 1].map(sessions);
        let end = Instant::now() + LASTS;
        wait_for("a while under load", LASTS * 4, || {
            for number in [0, 1] {
                assert!(is_up(&us, number), "a failure that is none: {:?}", line(&us, number));
            }
            Instant::now() >= end
        });
        assert_eq!([0, 1].map(sessions), before, "it has never been down");

        for number in [0, 1] {
            let what = format!("-i us{number} -j DROP");
            deafen(here, &what, true);
            let start = Instant::now();
            // Far sooner than the hold time, 30 s.
            wait_for("the cut to be seen", Duration::from_secs(15), || !is_up(&us, number));
            println!("neighbour {number}: seen after {:?}", start.elapsed());
            let down = line(&us, number).bfd.and_then(|bfd| bfd.why).expect("a reason");
            assert!(down.contains("Control Detection Time Expired"), "{down}");
            deafen(here, &what, false);
        }
        drop(shells);
        wait_for("all sessions again", LIMIT, || is_up(&us, 0) && is_up(&us, 1));
        us.stop();
    });
}
