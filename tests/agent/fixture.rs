//! Agents, workloads and the CNI plugin as a runtime calls it.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde_json::{Value, json};

use crate::support::hosts::{Namespace, segment};
use crate::support::{Process, in_fresh_netns, wait_for};

/// Pools and networks `blue` and `green`, both families, and nothing else.
pub const CLUSTER: &str = "
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: blue4}
spec: {cidr: 10.65.0.0/16}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: blue6}
spec: {cidr: fd65::/64}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: green4}
spec: {cidr: 10.66.0.0/16}
---
apiVersion: routenet/v1
kind: Network
metadata: {name: blue}
spec: {pools: [blue4, blue6]}
---
apiVersion: routenet/v1
kind: Network
metadata: {name: green}
spec: {pools: [green4]}
";

/// A directory that a cluster's agents share: the store and everything else of theirs.
pub struct Site {
    pub directory: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Site {
        Site { directory: tempfile::tempdir().expect("a directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file of the test");
        path
    }

    /// The configuration of host `number` (from 1) on the test's segment; `more` is appended.
    pub fn node_config(&self, number: usize, more: &str) -> String {
        let site = self.directory.path().display();
        format!(
            "node: h{number}\naddress: {{ipv4: 192.0.2.{number}, ipv6: '2001:db8::{number}'}}\n\
             store: {{type: embedded, path: {site}/cluster.db}}\n\
             paths: {{state: {site}/h{number}, socket: {site}/h{number}.sock}}\n{more}\n"
        )
    }
}

/// A running routenetd; killed with the test.
pub struct Agent {
    process: Option<Process>,
    config: PathBuf,
    /// Whether it runs as nobody, without any capability.
    unprivileged: bool,
    /// A folder in which it finds programs before those of the machine.
    programs: Option<PathBuf>,
    pub socket: PathBuf,
    pub log: PathBuf,
}

impl Agent {
    /// Starts host `number`'s agent in `host` and waits until it answers.
    pub fn start(site: &Site, host: &Namespace, number: usize, more: &str) -> Agent {
        Agent::start_with(site, host, number, &site.node_config(number, more))
    }

    /// The same, with the text of its whole configuration; its socket is `hNUMBER.sock` of the site.
    pub fn start_with(site: &Site, host: &Namespace, number: usize, config: &str) -> Agent {
        Agent::start_as(site, host, number, config, false, None)
    }

    /// The same as nobody, who must be able to write in the site.
    pub fn start_unprivileged(site: &Site, host: &Namespace, number: usize, config: &str) -> Agent {
        Agent::start_as(site, host, number, config, true, None)
    }

    /// As [`Agent::start`], with programs of the test's own in place of the machine's.
    pub fn start_among(site: &Site, host: &Namespace, number: usize, more: &str, programs: &Path) -> Agent {
        Agent::start_as(site, host, number, &site.node_config(number, more), false, Some(programs.to_path_buf()))
    }

    fn start_as(
        site: &Site,
        host: &Namespace,
        number: usize,
        config: &str,
        unprivileged: bool,
        programs: Option<PathBuf>,
    ) -> Agent {
        let config = site.write(&format!("h{number}.yaml"), config);
        let mut agent = Agent {
            process: None,
            config,
            unprivileged,
            programs,
            socket: site.path(&format!("h{number}.sock")),
            log: site.path(&format!("h{number}.log")),
        };
        agent.launch(host);
        agent
    }

    /// Starts it (again), on the same state.
    pub fn launch(&mut self, host: &Namespace) {
        assert!(self.process.is_none(), "it runs already");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        let routenetd = env!("CARGO_BIN_EXE_routenetd");
        let mut command = if self.unprivileged {
            let mut setpriv = host.command("setpriv");
            setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", routenetd]);
            setpriv
        } else {
            host.command(routenetd)
        };
        if let Some(programs) = &self.programs {
            let rest = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{rest}", programs.display()));
        }
        let child = command
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log again"))
            .stderr(log)
            .spawn()
            .expect("routenetd");
        self.process = Some(Process(child));
        let pid = self.pid();
        wait_for(&format!("an answer of {}", self.config.display()), Duration::from_secs(20), || {
            assert!(
                Path::new(&format!("/proc/{pid}")).exists(),
                "routenetd ended:\n{}",
                std::fs::read_to_string(&self.log).unwrap_or_default()
            );
            // A program that a killed agent was just starting has its listening socket until it begins to run.
            let listener = |stream: UnixStream| getsockopt(&stream, PeerCredentials).expect("who listens").pid();
            UnixStream::connect(&self.socket).is_ok_and(|stream| listener(stream).cast_unsigned() == pid)
        });
    }

    pub fn pid(&self) -> u32 {
        // nsenter execs: its pid is routenetd's.
        self.process.as_ref().expect("a running agent").0.id()
    }

    /// SIGKILL, and the process is gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM; answers the exit status.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        let mut process = self.process.take().expect("a running agent");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.0.id() as i32), nix::sys::signal::Signal::SIGTERM)
            .expect("our own process");
        process.0.wait().expect("its status")
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid() as i32), signal).expect("our own process");
    }

    pub fn routectl(&self, args: &[&str]) -> Output {
        let child = Command::new(env!("CARGO_BIN_EXE_routectl"))
            .env("ROUTENET_SOCKET", &self.socket)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("routectl");
        Output::of(child, "")
    }

    /// `routectl apply` of a text.
    pub fn try_apply(&self, yaml: &str) -> Output {
        self.apply_with(&[], yaml)
    }

    /// The same with options.
    pub fn apply_with(&self, options: &[&str], yaml: &str) -> Output {
        let child = Command::new(env!("CARGO_BIN_EXE_routectl"))
            .env("ROUTENET_SOCKET", &self.socket)
            .args(["apply", "-f", "-"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("routectl");
        Output::of(child, yaml)
    }

    /// `routectl apply` of a text, which must succeed, as soon as the agent has started.
    pub fn apply(&self, yaml: &str) {
        let mut output = self.try_apply(yaml);
        wait_for("the agent to have started", Duration::from_secs(20), || {
            let starting = output.stderr.contains("the agent is starting");
            if starting {
                output = self.try_apply(yaml);
            }
            !starting
        });
        assert_eq!(output.exit, 0, "{}{}\n{}", output.stdout, output.stderr, self.last_words());
    }

    /// What is wrong anywhere, as `routectl status` says it.
    pub fn problems(&self) -> Vec<Value> {
        let status = self.routectl(&["status", "-o", "json"]).json();
        status["problems"].as_array().cloned().unwrap_or_default()
    }

    /// A plane's line of `routectl status`.
    pub fn plane(&self, name: &str) -> Value {
        let status = self.routectl(&["status", "-o", "json"]).json();
        let planes = status["node"]["planes"].as_array().cloned().unwrap_or_default();
        planes.into_iter().find(|plane| plane["name"] == name).unwrap_or_default()
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let log = self.log_text();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// One host with an agent, and the cluster's pools and networks.
pub fn one_host(test: impl FnOnce(&Site, &Namespace, &Agent) + Send + 'static) {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(1);
        let agent = Agent::start(&site, &hosts[0], 1, "");
        agent.apply(CLUSTER);
        test(&site, &hosts[0], &agent);
    });
}

/// Two hosts on one segment with an agent each, and the cluster's pools and networks.
pub fn two_hosts(test: impl FnOnce(&[Namespace], Agent, Agent) + Send + 'static) {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(2);
        let one = Agent::start(&site, &hosts[0], 1, "");
        let two = Agent::start(&site, &hosts[1], 2, "");
        one.apply(CLUSTER);
        test(&hosts, one, two);
    });
}

/// Whether it has neighbours, and a session with each.
pub fn established(agent: &Agent) -> bool {
    let status = agent.routectl(&["status", "-o", "json"]).json();
    let peers = status["node"]["bgp"].as_array().cloned().unwrap_or_default();
    !peers.is_empty() && peers.iter().all(|peer| peer["state"] == "Established")
}

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Output {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    fn of(mut child: Child, stdin: &str) -> Output {
        // A program that refuses its arguments need not read.
        let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
        let output = child.wait_with_output().expect("its end");
        Output {
            exit: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or(Value::Null)
    }
}

/// The path of the plugin: cargo builds another package's binary for nobody, so it is found beside ours.
pub fn plugin() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_routectl")).with_file_name("routenet");
    assert!(path.exists(), "{}: build the plugin first (cargo build -p routenet-cni)", path.display());
    path
}

/// One call of the plugin.
pub fn cni(agent: &Agent, command: &str, id: &str, workload: &Namespace, config: Value) -> Output {
    cni_on(agent, command, id, &workload.path(), config)
}

pub fn cni_on(agent: &Agent, command: &str, id: &str, netns: &str, config: Value) -> Output {
    cni_with(agent, "", command, id, netns, config)
}

/// The same with `CNI_ARGS`.
pub fn cni_with(agent: &Agent, args: &str, command: &str, id: &str, netns: &str, mut config: Value) -> Output {
    let defaults = json!({"cniVersion": "1.0.0", "type": "routenet", "socket": agent.socket});
    for (key, value) in defaults.as_object().expect("an object") {
        if config.get(key).is_none() {
            config[key] = value.clone();
        }
    }
    let child = Command::new(plugin())
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", id)
        .env("CNI_NETNS", netns)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/opt/cni/bin")
        .env("CNI_ARGS", args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the plugin");
    Output::of(child, &config.to_string())
}

/// A workload that is attached, with its addresses.
pub struct Workload {
    pub namespace: Namespace,
    pub id: String,
    pub ipv4: String,
    pub ipv6: Option<String>,
}

/// A new workload in `network`, which must come up.
pub fn attach(agent: &Agent, id: &str, network: &str, labels: Value) -> Workload {
    let namespace = Namespace::new();
    let output = cni(agent, "ADD", id, &namespace, json!({"name": network, "labels": labels}));
    assert_eq!(output.exit, 0, "{}{}", output.stdout, agent.log_text());
    let result = output.json();
    let address = |family: fn(&str) -> bool| {
        result["ips"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|ip| ip["address"].as_str())
            .find(|a| family(a))
            .map(|address| address.split('/').next().expect("an address before the slash").to_string())
    };
    Workload {
        namespace,
        id: id.to_string(),
        ipv4: address(|a| a.contains('.')).expect("an IPv4 address"),
        ipv6: address(|a| a.contains(':')),
    }
}

impl Workload {
    /// Runs in its namespace, on a thread of its own.
    pub fn within<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let file = std::fs::File::open(self.namespace.path()).expect("its namespace");
        std::thread::spawn(move || {
            setns(file.as_fd(), CloneFlags::CLONE_NEWNET).expect("root");
            job()
        })
    }

    /// Whether one ping to `address` is answered within a second.
    pub fn pings(&self, address: &str) -> bool {
        self.namespace.succeeds("ping", &["-n", "-c", "1", "-W", "1", address])
    }

    /// Waits until a ping is answered.
    pub fn reaches(&self, address: &str) {
        wait_for(&format!("a ping from {} ({}) to {address}", self.id, self.ipv4), Duration::from_secs(10), || {
            self.pings(address)
        });
    }
}
