//! CNI ADD and DEL of routenet beside Debian's `ptp` with `host-local`, in one run, in a namespace of its own.
//!
//! A measured call is what a runtime pays: from the spawn of the plugin to its exit, with policy in place and the
//! address durable. "hit": the endpoint falls into a policy group that exists; "miss": a group of its own is made.
//!
//! `make bench-attach`, or `cargo bench --bench attach -- COUNT` (default 200) as root.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PTP: &str = "/usr/lib/cni/ptp";

fn main() {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(200);
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace: run as root");
    run("ip", &["link", "set", "lo", "up"]);
    run("ip", &["link", "add", "under", "type", "veth", "peer", "name", "lay"]);
    run("ip", &["addr", "add", "192.0.2.1/24", "dev", "under"]);
    run("ip", &["link", "set", "under", "up"]);
    run("ip", &["link", "set", "lay", "up"]);

    let agent = Agent::start(count);
    let workloads: Vec<Workload> = (0..count).map(|_| Workload::start()).collect();
    println!("{count} workloads, one after the other; milliseconds, from the plugin's spawn to its exit\n");
    println!("| plugin | ADD p50 | ADD p99 | DEL p50 | DEL p99 |");
    println!("|---|---|---|---|---|");
    let hit =
        measure(&workloads, |command, index, workload| agent.call(command, &format!("hit{index}"), workload, "hit"));
    row("routenet, known group (hit)", &hit);
    let miss = measure(&workloads, |command, index, workload| {
        agent.call(command, &format!("miss{index}"), workload, &format!("w{index}"))
    });
    row("routenet, new group (miss)", &miss);
    let ptp_state = tempfile::tempdir().expect("a directory");
    let ptp = measure(&workloads, |command, index, workload| {
        let config = format!(
            r#"{{"cniVersion":"1.0.0","name":"ptp","type":"ptp","ipam":{{"type":"host-local","subnet":"10.99.0.0/16","dataDir":"{}"}}}}"#,
            ptp_state.path().display()
        );
        call(Path::new(PTP), command, &format!("ptp{index}"), workload, &config)
    });
    row("ptp + host-local (no policy)", &ptp);
    let mut spawn: Vec<f64> = workloads
        .iter()
        .map(|workload| call(&agent.plugin, "VERSION", "floor", workload, r#"{"cniVersion":"1.0.0"}"#))
        .map(|took| took.as_secs_f64() * 1000.0)
        .collect();
    spawn.sort_by(f64::total_cmp);
    println!("\nthe plugin alone (VERSION: spawn to exit, no agent), p50: {:.2}", spawn[(spawn.len() - 1) / 2]);
    println!("ratio to ptp, ADD p50: hit {:.2}, miss {:.2}", hit.add(50) / ptp.add(50), miss.add(50) / ptp.add(50));
    println!("routenetd, resident memory after the run: {:.1} MB", agent.resident_megabytes());
}

struct Timings {
    add: Vec<f64>,
    del: Vec<f64>,
}

impl Timings {
    fn add(&self, percentile: usize) -> f64 {
        self.add[(self.add.len() - 1) * percentile / 100]
    }

    fn del(&self, percentile: usize) -> f64 {
        self.del[(self.del.len() - 1) * percentile / 100]
    }
}

fn measure(workloads: &[Workload], call: impl Fn(&str, usize, &Workload) -> Duration) -> Timings {
    let phase = |command: &str| {
        let mut times: Vec<f64> = workloads
            .iter()
            .enumerate()
            .map(|(index, workload)| call(command, index, workload).as_secs_f64() * 1000.0)
            .collect();
        times.sort_by(f64::total_cmp);
        times
    };
    Timings { add: phase("ADD"), del: phase("DEL") }
}

fn row(name: &str, timings: &Timings) {
    let (add50, add99, del50, del99) = (timings.add(50), timings.add(99), timings.del(50), timings.del(99));
    println!("| {name} | {add50:.2} | {add99:.2} | {del50:.2} | {del99:.2} |");
}

/// A process that does nothing in a network namespace of its own.
struct Workload(Child);

impl Workload {
    fn start() -> Workload {
        let child = Command::new("unshare").args(["--net", "sleep", "3600"]).spawn().expect("unshare");
        let own = std::fs::read_link("/proc/self/ns/net").expect("our namespace");
        let path = format!("/proc/{}/ns/net", child.id());
        let start = Instant::now();
        while std::fs::read_link(&path).map_or(true, |theirs| theirs == own) {
            assert!(start.elapsed() < Duration::from_secs(5), "unshare did not make a namespace");
            std::thread::sleep(Duration::from_millis(1));
        }
        Workload(child)
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn call(plugin: &Path, command: &str, id: &str, workload: &Workload, config: &str) -> Duration {
    let start = Instant::now();
    let mut child = Command::new(plugin)
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", id)
        .env("CNI_NETNS", format!("/proc/{}/ns/net", workload.0.id()))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/usr/lib/cni")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error} (make deps installs it)", plugin.display()));
    child.stdin.take().expect("piped").write_all(config.as_bytes()).expect("the plugin reads its configuration");
    let output = child.wait_with_output().expect("the plugin ends");
    let elapsed = start.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command} {id} by {}: {said}", plugin.display());
    elapsed
}

/// routenetd on an embedded store, with one pool, one network and a policy that every workload meets.
struct Agent {
    process: Child,
    directory: tempfile::TempDir,
    plugin: PathBuf,
}

impl Agent {
    fn start(count: usize) -> Agent {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("node.yaml"), node_config(directory.path())).expect("the node's configuration");
        std::fs::write(at("cluster.yaml"), cluster(count)).expect("the objects");
        let process = Command::new(env!("CARGO_BIN_EXE_routenetd"))
            .arg("--config")
            .arg(at("node.yaml"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(at("agent.log")).expect("a log"))
            .spawn()
            .expect("routenetd");
        let plugin = PathBuf::from(
            std::env::var_os("ROUTENET_CNI_PLUGIN").expect("ROUTENET_CNI_PLUGIN: the path of the built plugin"),
        );
        let agent = Agent { process, directory, plugin };
        let start = Instant::now();
        while !agent.path("agent.sock").exists() {
            let log = std::fs::read_to_string(agent.path("agent.log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(10), "routenetd does not come up:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let socket = agent.path("agent.sock");
        let file = agent.path("cluster.yaml");
        run(
            env!("CARGO_BIN_EXE_routectl"),
            &["--socket", &socket.display().to_string(), "apply", "-f", &file.display().to_string()],
        );
        agent
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn call(&self, command: &str, id: &str, workload: &Workload, role: &str) -> Duration {
        let config = format!(
            r#"{{"cniVersion":"1.0.0","name":"blue","type":"routenet","socket":"{}","labels":{{"role":"{role}"}}}}"#,
            self.path("agent.sock").display()
        );
        call(&self.plugin, command, id, workload, &config)
    }

    fn resident_megabytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("its status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        let kilobytes: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
        kilobytes / 1024.0
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn node_config(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "node: bench\naddress: {{ipv4: 192.0.2.1}}\nstore: {{type: embedded, path: {directory}/cluster.db}}\n\
         bgp: {{routerId: 192.0.2.1, mesh: false}}\niptables: {{backend: nft}}\nworkloads: {{addressCooldown: 0}}\n\
         paths: {{state: {directory}, socket: {directory}/agent.sock}}\nlog: {{level: warn}}\n"
    )
}

/// One policy for the group that all "hit" workloads share, and one for each "miss" workload.
fn cluster(count: usize) -> String {
    let mut text = String::from(
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: blue}\nspec: {cidr: 10.65.0.0/16}\n---\n\
         apiVersion: routenet/v1\nkind: Network\nmetadata: {name: blue}\nspec: {pools: [blue]}\n",
    );
    let mut policy = |name: &str| {
        text.push_str(&format!(
            "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}\n\
             spec:\n  selector: role == '{name}'\n  types: [Ingress, Egress]\n  egress: [{{action: Allow}}]\n  ingress:\n\
             \x20 - {{action: Allow, protocol: TCP, source: {{selector: has(role)}}, destination: {{ports: [80, 443]}}}}\n"
        ));
    };
    policy("hit");
    (0..count).for_each(|index| policy(&format!("w{index}")));
    text
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", args.join(" "));
}
