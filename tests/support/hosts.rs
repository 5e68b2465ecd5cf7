//! Hosts and workloads for tests: network namespaces held by a process each, so that nothing has a name to leak.
//!
//! Call from inside [`super::in_fresh_netns`]: the segment between hosts is a bridge in that namespace.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Process, run, wait_for};

/// A network namespace, for as long as this value lives.
pub struct Namespace(Process);

impl Namespace {
    pub fn new() -> Namespace {
        let child = Command::new("unshare")
            .args(["--net", "--kill-child=SIGKILL", "sleep", "3600"])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare, of util-linux");
        let namespace = Namespace(Process(child));
        let own = std::fs::read_link("/proc/thread-self/ns/net").expect("our namespace");
        wait_for("a namespace of its own", Duration::from_secs(5), || {
            std::fs::read_link(namespace.path()).is_ok_and(|theirs| theirs != own)
        });
        namespace.run("ip", &["link", "set", "lo", "up"]);
        namespace
    }

    /// The one that the calling thread is in.
    pub fn present() -> Namespace {
        let child = Command::new("sleep").arg("3600").stdin(Stdio::null()).spawn().expect("sleep, of coreutils");
        Namespace(Process(child))
    }

    /// `/proc/PID/ns/net`: what a runtime hands to a CNI plugin.
    pub fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.0.id())
    }

    pub fn pid(&self) -> u32 {
        self.0.0.id()
    }

    /// A command to be run inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        command
    }

    /// Runs a command inside to its end; panics, with what it said, when it fails.
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let net = format!("--net={}", self.path());
        run("nsenter", &[&[net.as_str(), "--", program], args].concat())
    }

    /// Whether a command inside succeeds.
    pub fn succeeds(&self, program: &str, args: &[&str]) -> bool {
        let output = self.command(program).args(args).stdin(Stdio::null()).output().expect("nsenter");
        output.status.success()
    }
}

/// Hosts on one segment, host `n` (from 1) at 192.0.2.n/24 and 2001:db8::n/64 on its `eth0`.
pub fn segment(count: usize) -> Vec<Namespace> {
    run("ip", &["link", "add", "segment", "type", "bridge", "forward_delay", "0"]);
    run("ip", &["link", "set", "segment", "up"]);
    (1..=count)
        .map(|number| {
            let host = Namespace::new();
            let port = format!("port{number}");
            let pid = host.pid().to_string();
            run("ip", &["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &pid]);
            run("ip", &["link", "set", &port, "master", "segment", "up"]);
            host.run("ip", &["addr", "add", &format!("192.0.2.{number}/24"), "dev", "eth0"]);
            host.run("ip", &["addr", "add", &format!("2001:db8::{number}/64"), "dev", "eth0", "nodad"]);
            host.run("ip", &["link", "set", "eth0", "up"]);
            host
        })
        .collect()
}
