//! containerd: `ctr run --cni` on two hosts, each with a containerd of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::busybox::busybox_root;
use crate::cgroup::remove_group;
use crate::fixture::{Agent, CLUSTER, Site, attach, plugin};
use crate::support::hosts::{Namespace, segment};
use crate::support::{Process, in_fresh_netns, wait_for};

/// A containerd in a mount namespace of its own: its directories for CNI are built in, so others lie over them. Its process
/// ids are everybody's, since it hands out namespaces as `/proc/PID/ns/net`.
struct Containerd {
    daemon: Process,
    net: String,
    folder: PathBuf,
    cgroup: String,
}

impl Containerd {
    fn start(site: &Site, host: &Namespace, number: usize, list: &Value) -> Containerd {
        let folder = site.path(&format!("containerd-h{number}"));
        let (plugins, confs) = (folder.join("bin"), folder.join("net.d"));
        for directory in [&plugins, &confs] {
            std::fs::create_dir_all(directory).expect("a folder");
        }
        std::fs::copy(plugin(), plugins.join("routenet")).expect("a copy");
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{}\"\n",
            at("root"),
            at("state"),
            at("sock")
        );
        std::fs::write(folder.join("config.toml"), config).expect("a file");
        let script = format!(
            "mount --make-rprivate / && mkdir -p /etc/cni/net.d /opt/cni/bin /run/containerd && \
             mount -t tmpfs tmpfs /run/containerd && mount --bind {} /etc/cni/net.d && \
             mount --bind {} /opt/cni/bin && exec containerd --config {}",
            confs.display(),
            plugins.display(),
            at("config.toml")
        );
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let mut command = host.command("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let daemon = Process(child.expect("unshare, of util-linux"));
        let containerd =
            Containerd { cgroup: format!("/routenet-ctr-{}", daemon.0.id()), daemon, net: host.path(), folder };
        containerd.configure(list);
        wait_for("containerd to answer", Duration::from_secs(20), || containerd.ctr(&["version"]).status.success());
        busybox_root(&containerd.folder.join("rootfs"));
        containerd
    }

    /// The list that containers get from now on: `ctr` reads it at each call.
    fn configure(&self, list: &Value) {
        std::fs::write(self.folder.join("net.d/10-routenet.conflist"), list.to_string()).expect("a file");
    }

    /// `ctr` inside its namespaces, since it calls the plugins itself.
    fn ctr(&self, args: &[&str]) -> Output {
        // nsenter, unshare and sh exec: the pid is containerd's.
        let pid = self.daemon.0.id().to_string();
        let socket = self.folder.join("sock").display().to_string();
        Command::new("nsenter")
            .args(["--mount", "--target", &pid, &format!("--net={}", self.net), "--", "ctr", "--address", &socket])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("ctr (make deps)")
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.ctr(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ctr {}: {said}", args.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A container that sleeps.
    fn start_container(&self, id: &str) {
        let rootfs = self.folder.join("rootfs").display().to_string();
        let group = format!("{}/{id}", self.cgroup);
        self.run(&["run", "-d", "--cni", "--rootfs", "--cgroup", &group, &rootfs, id, "/bin/sleep", "600"]);
    }

    /// A container in the foreground that pings and ends; whether it was answered.
    fn visits(&self, id: &str, address: &str) -> bool {
        let rootfs = self.folder.join("rootfs").display().to_string();
        let group = format!("{}/{id}", self.cgroup);
        let fixed = ["run", "--rm", "--cni", "--rootfs", "--cgroup", &group, &rootfs, id];
        let output = self.ctr(&[fixed.as_slice(), &["/bin/ping", "-c", "3", "-W", "1", address]].concat());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("packets transmitted"), "ctr run {id}: {output:?}");
        output.status.success()
    }

    fn pings(&self, id: &str, address: &str) -> bool {
        self.ctr(&["task", "exec", "--exec-id", "ping", id, "/bin/ping", "-c", "1", "-W", "1", address])
            .status
            .success()
    }

    fn remove(&self, id: &str) {
        self.ctr(&["task", "kill", "-s", "SIGKILL", id]);
        wait_for("its task to end", Duration::from_secs(10), || self.ctr(&["task", "rm", id]).status.success());
        self.run(&["container", "rm", id]);
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Each container has a shim, which ends with it and not with containerd.
        let listed = self.ctr(&["container", "ls", "-q"]).stdout;
        for id in String::from_utf8_lossy(&listed).split_whitespace() {
            self.ctr(&["task", "rm", "-f", id]);
            self.ctr(&["container", "rm", id]);
        }
        let _ = self.daemon.0.kill();
        let _ = self.daemon.0.wait();
        remove_group(&self.cgroup);
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for at in
            table.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| Path::new(at).starts_with(&self.folder))
        {
            let _ = Command::new("umount").args(["-l", at]).stderr(Stdio::null()).status();
        }
    }
}

fn address(agent: &Agent, node: &str, labels: &str) -> String {
    let lines = agent.routectl(&["endpoints", "-o", "json"]).json();
    let found =
        lines.as_array().into_iter().flatten().find(|line| line["node"] == node && line["labels"]["app"] == labels);
    found.and_then(|line| line["addresses"][0].as_str()).unwrap_or_else(|| panic!("{lines}")).to_string()
}

#[test]
fn containers_of_two_containerds_meet_as_policy_allows() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(2);
        let agents = [1, 2].map(|number| Agent::start(&site, &hosts[number - 1], number, ""));
        agents[0].apply(CLUSTER);
        let list = |number: usize, app: &str| {
            json!({"cniVersion": "0.4.0", "name": app, "plugins": [
                {"type": "routenet", "network": "blue", "socket": agents[number - 1].socket, "labels": {"app": app}},
            ]})
        };
        let here = Containerd::start(&site, &hosts[0], 1, &list(1, "web"));
        let there = Containerd::start(&site, &hosts[1], 2, &list(2, "db"));
        here.start_container("web1");
        there.start_container("db1");
        let (web, db) = (address(&agents[0], "h1", "web"), address(&agents[1], "h2", "db"));
        wait_for("web1 to reach db1", Duration::from_secs(15), || here.pings("web1", &db));
        wait_for("db1 to reach web1", Duration::from_secs(15), || there.pings("db1", &web));
        agents[0].apply(
            "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: nobody-to-db}
spec: {selector: app == 'db', types: [Ingress]}
",
        );
        wait_for("the policy to hold", Duration::from_secs(10), || !here.pings("web1", &db));
        assert!(there.pings("db1", &web), "the other way");
        here.remove("web1");
        there.remove("db1");
    });
}

#[test]
fn what_ctr_runs_in_the_foreground_passes_by_its_label_and_leaves_nothing() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(2);
        let agents = [1, 2].map(|number| Agent::start(&site, &hosts[number - 1], number, ""));
        agents[0].apply(CLUSTER);
        agents[0].apply(
            "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: db-from-web}
spec:
  selector: app == 'db'
  ingress:
  - {action: Allow, source: {selector: app == 'web'}}
",
        );
        let list = |app: &str| {
            json!({"cniVersion": "0.4.0", "name": "blue", "plugins": [
                {"type": "routenet", "socket": agents[0].socket, "labels": {"app": app}},
            ]})
        };
        let here = Containerd::start(&site, &hosts[0], 1, &list("web"));
        let db = attach(&agents[1], "db", "blue", json!({"app": "db"}));
        let links = || hosts[0].run("ip", &["-o", "link"]).lines().filter(|line| line.contains("rnw")).count();
        let left = || {
            let lines = agents[0].routectl(&["endpoints", "-o", "json"]).json();
            lines.as_array().into_iter().flatten().filter(|line| line["node"] == "h1").count()
        };

        let mut number = 0;
        wait_for("a visitor with app=web to reach db", Duration::from_secs(30), || {
            number += 1;
            here.visits(&format!("web{number}"), &db.ipv4)
        });
        assert_eq!((left(), links()), (0, 0), "its end called DEL");
        here.configure(&list("batch"));
        assert!(!here.visits("batch1", &db.ipv4), "another label");
        here.configure(&list("web"));
        assert!(here.visits("again", &db.ipv4));
        assert_eq!((left(), links()), (0, 0));

        // The detached form calls no DEL, neither then nor when the container is removed.
        here.start_container("web0");
        here.remove("web0");
        assert_eq!(left(), 1, "docs/cni.md says what becomes of it");
        let kept = address(&agents[0], "h1", "web");
        assert_eq!(agents[0].routectl(&["ipam", "release", "--force", &kept]).exit, 0);
        assert_eq!((left(), links()), (0, 0));
    });
}
