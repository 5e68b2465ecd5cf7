//! A shipped lab that runs for one test, its hosts, and the workloads that are attached to them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use routenet::lab::{Deployed, Options, Topology, deploy};
use serde_json::{Value, json};

use crate::support::wait_for;

/// How long a busy machine may take for what takes an idle one a second or two.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The folder of the labs.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/labs")
}

/// A deployed lab; it ends with this value, before the folder that it is kept in.
pub struct Lab {
    deployed: Deployed,
    state: tempfile::TempDir,
    name: &'static str,
}

impl Lab {
    /// Deploys `config/labs/NAME.clab.yml` under another name, in a place of its own.
    pub fn deploy(name: &'static str) -> Lab {
        // The plugin is no binary of this package: without it, an ADD would fail late and unclear.
        let plugin = Path::new(env!("CARGO_BIN_EXE_routectl")).with_file_name("routenet");
        assert!(plugin.exists(), "{}: build the plugin first (cargo build -p routenet-cni)", plugin.display());
        let topology = Topology::read(&folder().join(format!("{name}.clab.yml"))).expect("a topology");
        let topology = topology.renamed(&format!("test-{name}")).expect("a name");
        let state = tempfile::tempdir().expect("a folder");
        let options = Options { base: state.path().join("labs"), ..Options::new(env!("CARGO_BIN_EXE_routectl")) };
        let deployed = deploy(&topology, &options, &mut |_| {}).expect("a lab");
        Lab { deployed, state, name }
    }

    /// What a script of `scripts/` says of this lab, whose name is its first argument.
    pub fn script(&self, name: &str, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
        let mut command = Command::new(&script);
        command
            .arg(&self.deployed.record().name)
            .args(arguments)
            .env("ROUTENET_LAB_DIR", self.state.path().join("labs"));
        let output = command.stdin(Stdio::null()).output().expect("a script");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    pub fn command(&self, node: &str, words: &[&str]) -> Command {
        let mut command = self.deployed.command(node, words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    pub fn output(&self, node: &str, words: &[&str]) -> Output {
        self.command(node, words).output().expect("routectl lab exec")
    }

    /// What a command in a node says, which must succeed.
    #[track_caller]
    pub fn run(&self, node: &str, words: &[&str]) -> String {
        let output = self.output(node, words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{node}: {}: {}\n{said}{complained}", words.join(" "), output.status);
        said
    }

    /// Applies a file of `config/labs` at a host, as soon as its agent has started.
    pub fn apply(&self, host: &str, file: &str) {
        let text = std::fs::read_to_string(folder().join(file)).expect("a file of the lab");
        self.apply_text(host, &text);
    }

    pub fn apply_text(&self, host: &str, text: &str) {
        let mut said = String::new();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let output = self.fed(host, &["routectl", "apply", "-f", "-"], text);
            if output.status.success() {
                return;
            }
            said = String::from_utf8_lossy(&output.stderr).into_owned();
        }
        panic!("{host}: routectl apply: {said}\n{}", self.log(host));
    }

    fn fed(&self, node: &str, words: &[&str], input: &str) -> Output {
        let mut command = self.command(node, words);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("routectl lab exec");
        // What fails early need not read.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        child.wait_with_output().expect("its end")
    }

    /// `routectl status` of a host; `null` while its agent does not answer.
    pub fn status(&self, host: &str) -> Value {
        let output = self.output(host, &["routectl", "status", "-o", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The neighbours of a host that it has a session with.
    pub fn established(&self, host: &str) -> usize {
        let status = self.status(host);
        let peers = status["node"]["bgp"].as_array().map(Vec::as_slice).unwrap_or_default();
        peers.iter().filter(|peer| peer["state"] == "Established").count()
    }

    /// Waits until each of these hosts has so many sessions.
    pub fn wait_for_sessions(&self, hosts: &[&str], sessions: usize) {
        let deadline = Instant::now() + PATIENCE;
        for host in hosts {
            while self.established(host) != sessions {
                assert!(Instant::now() < deadline, "{host} lacks a session: {}\n{}", self.status(host), self.log(host));
            }
        }
    }

    /// The end of what a host's agent has logged.
    fn log(&self, host: &str) -> String {
        String::from_utf8_lossy(&self.output(host, &["tail", "-n", "8", "/var/log/routenetd.log"]).stdout).into_owned()
    }

    /// Attaches a workload by the CNI plugin, as a runtime in the host would.
    pub fn attach(&self, host: &'static str, name: &'static str, network: &str, labels: Value) -> Workload<'_> {
        self.run(host, &["ip", "netns", "add", name]);
        let config = json!({
            "cniVersion": "1.0.0", "type": "routenet", "name": network, "network": network, "labels": labels,
        });
        let (id, netns) = (format!("CNI_CONTAINERID=lab-{name}"), format!("CNI_NETNS=/run/netns/{name}"));
        let words = ["env", "CNI_COMMAND=ADD", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin", &id, &netns, "routenet"];
        let output = self.fed(host, &words, &config.to_string());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "ADD of {name} on {host}: {said}\n{}", self.log(host));
        let result: Value = serde_json::from_str(&said).expect("a result");
        let addresses = result["ips"].as_array().into_iter().flatten().filter_map(|ip| ip["address"].as_str());
        let addresses: Vec<&str> = addresses.filter_map(|address| address.split('/').next()).collect();
        let of = |mark: char| addresses.iter().find(|address| address.contains(mark)).map(|found| found.to_string());
        Workload { lab: self, host, name, ipv4: of('.').unwrap_or_default(), ipv6: of(':').unwrap_or_default() }
    }

    /// Ends a node as a power cut would: its links first, since a kernel says goodbye for processes that are killed, which
    /// neighbours take for the restart of an agent.
    pub fn kill(&self, node: &str) {
        let ends = self.deployed.record().links.iter().flatten().filter_map(|end| end.split_once(':'));
        for (_, interface) in ends.filter(|(owner, _)| *owner == node) {
            self.run(node, &["ip", "link", "set", interface, "down"]);
        }
        let pid = self.deployed.node(node).expect("a node").pid;
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("our own lab's node");
    }

    /// Says a measured time; zero is what streams answer that have lost nothing.
    pub fn says(&self, what: &str, took: Duration) {
        match took.is_zero() {
            true => self.says_text(&format!("{what} at once, no ping was lost")),
            false => self.says_text(&format!("{what} after {} ms", took.as_millis())),
        }
    }

    /// Past the test's own output, which nobody sees while it passes.
    pub fn says_text(&self, what: &str) {
        let _ = writeln!(std::io::stderr(), "{}: {what}", self.name);
    }
}

/// A workload, in a namespace inside its host.
pub struct Workload<'a> {
    pub lab: &'a Lab,
    pub host: &'static str,
    pub name: &'static str,
    pub ipv4: String,
    pub ipv6: String,
}

impl Workload<'_> {
    pub fn command(&self, words: &[&str]) -> Command {
        self.lab.command(self.host, &[&["ip", "netns", "exec", self.name], words].concat())
    }

    /// Whether a ping is answered within a second.
    pub fn pings(&self, address: &str) -> bool {
        let output = self.command(&["ping", "-n", "-c", "1", "-W", "1", address]).output().expect("ping");
        output.status.success()
    }

    /// Waits until a ping is answered.
    pub fn reaches(&self, address: &str) {
        wait_for(&format!("a ping from {} on {} to {address}", self.name, self.host), PATIENCE, || self.pings(address));
    }

    /// Listens on a TCP port, for as long as the lab lives.
    pub fn serves(&self, port: u16) {
        let script =
            format!("setsid socat TCP6-LISTEN:{port},ipv6only=0,fork,reuseaddr SYSTEM:'echo hello' >/dev/null 2>&1 &");
        let done = self.command(&["sh", "-c", &script]).status().expect("sh");
        assert!(done.success(), "{}: {script}", self.name);
    }

    /// Whether a TCP server there says hello.
    pub fn connects(&self, address: &str, port: u16) -> bool {
        let to = match address.contains(':') {
            true => format!("TCP:[{address}]:{port},connect-timeout=1"),
            false => format!("TCP:{address}:{port},connect-timeout=1"),
        };
        let output = self.command(&["socat", "-u", &to, "-"]).output().expect("socat");
        output.stdout == b"hello\n"
    }
}
