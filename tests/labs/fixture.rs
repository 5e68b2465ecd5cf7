//! A lab of `config/labs` that runs for one test, and what a test does with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use routenet::lab::{Deployed, Options, Topology, deploy};
use serde_json::Value;

use crate::support::ping::ContinuousPing;
use crate::support::wait_for;

/// What is a matter of seconds, on a machine that is busy with other tests.
pub const LIMIT: Duration = Duration::from_secs(40);
/// Between the pings of a stream.
const PERIOD_MS: u64 = 10;

pub struct Lab {
    lab: Deployed,
    name: &'static str,
    /// Of labs, for this test only; goes after the lab.
    _state: tempfile::TempDir,
}

/// A workload that was plugged in by `workload add`.
#[derive(Clone)]
pub struct Workload {
    pub host: &'static str,
    pub name: &'static str,
    pub ipv4: String,
    pub ipv6: Option<String>,
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/labs")
}

impl Lab {
    /// Deploys `config/labs/NAME.clab.yml` under another name, and waits until all its agents answer.
    pub fn deploy(name: &'static str) -> Lab {
        let topology = Topology::read(&folder().join(format!("{name}.clab.yml"))).expect("a topology");
        let agents: Vec<String> = topology
            .nodes
            .iter()
            .filter(|node| node.binds.iter().any(|bind| bind.target == Path::new("/etc/routenet/node.yaml")))
            .map(|node| node.name.clone())
            .collect();
        let topology = topology.renamed(&format!("{name}-test")).expect("a name");
        let state = tempfile::tempdir().expect("a folder");
        let options = Options { base: state.path().join("labs"), ..Options::new(env!("CARGO_BIN_EXE_routectl")) };
        let begun = Instant::now();
        let lab = Lab { lab: deploy(&topology, &options, &mut |_| {}).expect("a lab"), name, _state: state };
        for agent in &agents {
            wait_for(&format!("the agent on {agent} to answer"), LIMIT, || {
                lab.succeeds(agent, &["routectl", "get", "nodes"])
            });
        }
        println!("{name}: deployed, agents answer after {:.1} s", begun.elapsed().as_secs_f32());
        lab
    }

    fn command(&self, node: &str, words: &[&str]) -> Command {
        let mut command = self.lab.command(node, words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    /// Runs a command in a node to its end, which must be a good one.
    pub fn run(&self, node: &str, words: &[&str]) -> String {
        let output = self.command(node, words).output().expect("routectl lab exec");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{node}: {}: {out}{err}", words.join(" "));
        out.into_owned()
    }

    pub fn succeeds(&self, node: &str, words: &[&str]) -> bool {
        self.command(node, words).output().expect("routectl lab exec").status.success()
    }

    /// Applies a file of the lab's own folder, which the hosts have at /etc/lab.
    pub fn apply(&self, host: &str, file: &str) {
        self.run(host, &["routectl", "apply", "-f", &format!("/etc/lab/{file}")]);
    }

    /// Applies a text.
    pub fn apply_text(&self, host: &str, yaml: &str) {
        self.run(
            host,
            &["sh", "-c", &format!("cat >/tmp/given.yaml <<'END'\n{yaml}\nEND\nroutectl apply -f /tmp/given.yaml")],
        );
    }

    pub fn json(&self, host: &str, words: &[&str]) -> Value {
        let text = self.run(host, &[&["routectl"], words, &["-o", "json"]].concat());
        serde_json::from_str(&text).expect("JSON")
    }

    /// Waits until `routectl status` on all these hosts says that all is well.
    pub fn well(&self, hosts: &[&str]) {
        for host in hosts {
            wait_for(&format!("{host} to be well"), LIMIT, || self.succeeds(host, &["routectl", "status"]));
        }
    }

    /// Plugs a workload in.
    pub fn workload(&self, host: &'static str, name: &'static str, network: &str, labels: &[&str]) -> Workload {
        let said = self.run(host, &[&["workload", "add", name, network], labels].concat());
        let address = |mark: char| said.lines().find(|line| line.contains(mark)).map(str::to_string);
        Workload { host, name, ipv4: address('.').expect("an IPv4 address"), ipv6: address(':') }
    }

    /// Whether one ping from a workload is answered within a second.
    pub fn pings(&self, from: &Workload, to: &str) -> bool {
        self.succeeds(from.host, &["workload", "exec", from.name, "ping", "-n", "-c", "1", "-W", "1", to])
    }

    pub fn reaches(&self, from: &Workload, to: &str) {
        wait_for(&format!("{}: {} to reach {to}", self.name, from.name), LIMIT, || self.pings(from, to));
    }

    /// The next hops of a node's route to an address: a line each, `via ... dev ...`.
    pub fn next_hops(&self, node: &str, to: &str) -> Vec<String> {
        let shown = self.run(node, &["ip", "route", "show", to]);
        let hops = shown.lines().filter_map(|line| line.find("via ").map(|at| line[at..].to_string()));
        hops.collect()
    }

    /// The process that is a node's first.
    pub fn pid(&self, node: &str) -> i32 {
        self.lab.node(node).expect("a node").pid
    }

    /// Takes a whole node away.
    pub fn kill(&self, node: &str) {
        let pid = nix::unistd::Pid::from_raw(self.pid(node));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("our own process");
    }

    pub fn set_link(&self, node: &str, interface: &str, state: &str) {
        self.run(node, &["ip", "link", "set", interface, state]);
    }

    /// How long a stream of pings was without answers while something was done, up to the moment when `restored` holds and
    /// pings are answered again.
    pub fn outage(
        &self,
        what: &str,
        from: &Workload,
        to: &str,
        act: impl FnOnce(),
        mut restored: impl FnMut() -> bool,
    ) {
        self.reaches(from, to);
        // Straight into the namespaces, so that the stream is a child of ours and ends by a signal.
        let mut stream = Command::new("nsenter");
        stream.args(["--mount", "--net", "--target", &self.pid(from.host).to_string(), "--"]);
        stream.args(["ip", "netns", "exec", from.name, "ping"]);
        let stream = ContinuousPing::start(stream, to);
        act();
        wait_for(what, LIMIT, || restored() && self.pings(from, to));
        let (sent, received) = stream.stop();
        assert!(received > 0, "{what}: the stream was never answered");
        println!("{}: {what}: traffic back after {} ms", self.name, (sent - received) * PERIOD_MS);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in &self.lab.record().nodes {
            let log = self.command(&node.name, &["tail", "-n", "5", "/var/log/routenetd.log"]).output();
            let log = log.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            if !log.is_empty() {
                eprintln!("--- {}\n{log}", node.name);
            }
        }
    }
}
