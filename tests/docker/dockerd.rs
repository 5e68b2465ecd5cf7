//! A real dockerd on one host: private socket, data and plugins, in mount and PID namespaces of its own, so that nothing of
//! it outlives the test.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::busybox::busybox_tar;
use crate::cgroup::remove_group;
use crate::fixture::{Agent, Site};
use crate::support::hosts::Namespace;
use crate::support::{Process, run, wait_for};

pub const IMAGE: &str = "tiny";

/// The configuration of an agent that serves the dockerd of its host.
pub fn docker_config(site: &Site, number: usize) -> String {
    let site = site.directory.path().display();
    format!("docker: {{socket: {site}/plugins-h{number}/routenet.sock, api: {site}/docker-h{number}.sock}}")
}

pub struct Dockerd {
    /// The init of its PID namespace: all that runs inside ends with it.
    keeper: Process,
    daemon: Option<Process>,
    net: String,
    number: usize,
    folder: PathBuf,
    socket: PathBuf,
    cgroup: String,
    /// Further flags of the daemon's.
    pub flags: Vec<String>,
}

impl Dockerd {
    /// Starts it on host `number` of the site, where its agent serves the socket that [`docker_config`] names.
    pub fn start(site: &Site, host: &Namespace, number: usize) -> Dockerd {
        let mut dockerd = Dockerd::prepare(site, host, number);
        dockerd.launch();
        dockerd.import();
        dockerd
    }

    /// Everything but the daemon.
    pub fn prepare(site: &Site, host: &Namespace, number: usize) -> Dockerd {
        let (plugins, folder) = (site.path(&format!("plugins-h{number}")), site.path(&format!("docker-h{number}")));
        std::fs::create_dir_all(&plugins).expect("a folder");
        std::fs::create_dir_all(&folder).expect("a folder");
        let script = format!(
            "mount --make-rprivate / && mkdir -p /run/docker && mount -t tmpfs tmpfs /run/docker && \
             mkdir /run/docker/plugins && mount --bind {} /run/docker/plugins && touch {}/ready && exec sleep 3600",
            plugins.display(),
            folder.display()
        );
        let mut command = host.command("unshare");
        command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL", "sh", "-c", &script]);
        let keeper = Process(command.stdin(Stdio::null()).spawn().expect("unshare, of util-linux"));
        wait_for("dockerd's namespaces", Duration::from_secs(5), || folder.join("ready").exists());
        Dockerd {
            cgroup: format!("/routenet-docker-{}", keeper.0.id()),
            keeper,
            daemon: None,
            net: host.path(),
            number,
            socket: site.path(&format!("docker-h{number}.sock")),
            folder,
            flags: Vec::new(),
        }
    }

    /// The first process inside: a child of unshare's.
    fn init(&self) -> String {
        let unshare = self.keeper.0.id();
        let children =
            std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).expect("its children");
        children.split_whitespace().next().expect("the keeper runs").to_string()
    }

    /// Starts the daemon (again), on the same data; containers of an earlier one live on.
    pub fn launch(&mut self) {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(at("log")).expect("a log");
        let init = self.init();
        let child = Command::new("nsenter")
            .args(["--mount", "--pid", "--target", &init, &format!("--net={}", self.net), "--", "dockerd"])
            .arg(format!("--host=unix://{}", self.socket.display()))
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--bridge=none", "--live-restore", "--exec-opt", "native.cgroupdriver=cgroupfs"])
            .args(["--cgroup-parent", &self.cgroup])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log again"))
            .stderr(log)
            .spawn()
            .expect("dockerd (make deps)");
        self.daemon = Some(Process(child));
        wait_for("dockerd to answer", Duration::from_secs(60), || {
            UnixStream::connect(&self.socket).is_ok() && self.try_docker(&["version"]).status.success()
        });
    }

    /// Ends the daemon, and not its containers.
    pub fn stop(&mut self) {
        let pid = std::fs::read_to_string(self.folder.join("pid")).expect("its pid file");
        // Its number inside its own PID namespace.
        let init = self.init();
        run("nsenter", &["--pid", "--mount", "--target", &init, "--", "sh", "-c", &format!("kill {}", pid.trim())]);
        let mut daemon = self.daemon.take().expect("a running dockerd");
        daemon.0.wait().expect("its end");
    }

    /// `docker`, or another client of the daemon's.
    pub fn client(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket.display())).args(args);
        command.env("DOCKER_CONFIG", &self.folder).stdin(Stdio::null());
        command
    }

    pub fn try_docker(&self, args: &[&str]) -> Output {
        self.client("docker", args).output().expect("docker (make deps)")
    }

    /// A command that must succeed; answers what it said.
    pub fn docker(&self, args: &[&str]) -> String {
        let output = self.try_docker(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {}: {said}", args.join(" "));
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    }

    /// A command that must fail; answers its error.
    pub fn refuses(&self, args: &[&str]) -> String {
        let output = self.try_docker(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "docker {} succeeded", args.join(" "));
        said
    }

    pub fn inspect(&self, name: &str) -> Value {
        let all: Value = serde_json::from_str(&self.docker(&["inspect", name])).expect("JSON");
        all[0].clone()
    }

    /// An image of busybox and nothing else.
    fn import(&self) {
        self.import_busybox(IMAGE);
    }

    pub fn import_busybox(&self, name: &str) {
        self.docker(&["import", &busybox_tar(&self.folder), name]);
    }

    /// A container that sleeps; `more` are flags of `docker run`.
    pub fn run(&self, name: &str, network: &str, more: &[&str]) -> Container<'_> {
        let fixed = ["run", "-d", "--name", name, "--network", network];
        self.docker(&[&fixed, more, &[IMAGE, "/bin/sleep", "3600"]].concat());
        Container { dockerd: self, name: name.to_string() }
    }

    pub fn container(&self, name: &str) -> Container<'_> {
        Container { dockerd: self, name: name.to_string() }
    }

    /// A program of this machine that runs in the network of a container, and as long as the value lives.
    pub fn beside(&self, container: &str, program: &str, args: &[&str]) -> Process {
        let pid = self.inspect(container)["State"]["Pid"].to_string();
        let init = self.init();
        let inside = ["--mount", "--pid", "--target", &init, "--", "nsenter", "--net", "--target", &pid, "--", program];
        let child = Command::new("nsenter").args(inside).args(args).stdin(Stdio::null()).spawn();
        Process(child.expect("nsenter, of util-linux"))
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log_text();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            eprintln!("--- dockerd of h{}\n{}", self.number, tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        // With the keeper all that runs inside: daemon, containerd, shims, containers.
        let _ = self.keeper.0.kill();
        let _ = self.keeper.0.wait();
        self.daemon = None;
        remove_group(&self.cgroup);
        for mount in mounts_below(&self.folder) {
            let _ = Command::new("umount").args(["-l", &mount]).stderr(Stdio::null()).status();
        }
    }
}

/// Mounts in the test's own namespace; those of dockerd's went with it.
fn mounts_below(folder: &Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let targets =
        table.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| Path::new(at).starts_with(folder));
    targets.map(str::to_string).collect()
}

/// A running container.
pub struct Container<'a> {
    dockerd: &'a Dockerd,
    pub name: String,
}

impl Container<'_> {
    /// What `docker inspect` says of its place in a network: `IPAddress`, `GlobalIPv6Address` and so on.
    pub fn place(&self, network: &str, field: &str) -> String {
        let inspected = self.dockerd.inspect(&self.name);
        inspected["NetworkSettings"]["Networks"][network][field].as_str().unwrap_or_default().to_string()
    }

    pub fn address(&self, network: &str) -> String {
        self.place(network, "IPAddress")
    }

    pub fn runs(&self, args: &[&str]) -> bool {
        self.dockerd.try_docker(&[&["exec", &self.name], args].concat()).status.success()
    }

    pub fn says(&self, args: &[&str]) -> String {
        self.dockerd.docker(&[&["exec", &self.name], args].concat())
    }

    pub fn pings(&self, address: &str) -> bool {
        self.runs(&["/bin/ping", "-c", "1", "-W", "1", address])
    }

    /// Waits until a ping is answered.
    pub fn reaches(&self, address: &str) {
        wait_for(&format!("a ping from {} to {address}", self.name), Duration::from_secs(15), || self.pings(address));
    }
}

/// The endpoints that a host's agent has itself.
pub fn endpoints(agent: &Agent, number: usize) -> Vec<Value> {
    let node = format!("h{number}");
    let all = agent.routectl(&["endpoints", "-o", "json"]).json();
    all.as_array().into_iter().flatten().filter(|line| line["node"] == node.as_str()).cloned().collect()
}
