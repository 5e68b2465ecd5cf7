//! podman with its CNI back end: real containers on two hosts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::busybox::busybox_tar;
use crate::cgroup::remove_group;
use crate::fixture::{Agent, CLUSTER, Site, cni_on, plugin};
use crate::support::hosts::{Namespace, segment};
use crate::support::{in_fresh_netns, run, wait_for};

const IMAGE: &str = "localhost/tiny:1";

/// A mount namespace for the calling thread and all that it starts, with a `/run` and a podman of its own.
pub fn in_private_mounts() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("a mount namespace (run as root)");
    run("mount", &["--make-rprivate", "/"]);
    std::fs::create_dir_all("/var/lib/cni").expect("podman's directory");
    for directory in ["/run", "/var/lib/cni"] {
        run("mount", &["-t", "tmpfs", "tmpfs", directory]);
    }
}

/// A podman on one host, with storage and networks of its own; its containers end with it.
struct Podman<'a> {
    host: &'a Namespace,
    folder: PathBuf,
    cgroup: String,
}

impl<'a> Podman<'a> {
    /// With one CNI network for each of `networks`: its name, and the labels that it gives.
    fn new(site: &Site, host: &'a Namespace, agent: &Agent, networks: &[(&str, Value)]) -> Podman<'a> {
        let folder = site.path(&format!("podman-{}", agent.pid()));
        let networks_folder = folder.join("net.d");
        std::fs::create_dir_all(&networks_folder).expect("a folder");
        for (name, labels) in networks {
            let list = json!({"cniVersion": "1.0.0", "name": name, "plugins": chain(agent, labels)});
            std::fs::write(networks_folder.join(format!("{name}.conflist")), list.to_string()).expect("a file");
        }
        let plugins = plugin();
        let text = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\nlog_driver = \"k8s-file\"\n\
             [network]\nnetwork_backend = \"cni\"\ncni_plugin_dirs = [\"{}\", \"/usr/lib/cni\"]\nnetwork_config_dir = \"{}\"\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nlock_type = \"file\"\nruntime = \"runc\"\n",
            plugins.parent().expect("a folder").display(),
            networks_folder.display(),
        );
        std::fs::write(folder.join("containers.conf"), text).expect("a file");
        let podman = Podman { host, cgroup: format!("/routenet-test-{}", agent.pid()), folder };
        podman.import();
        podman
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.host.command("podman");
        let storage = |name: &str| self.folder.join(name);
        command.env("CONTAINERS_CONF", storage("containers.conf"));
        command.arg("--root").arg(storage("root")).arg("--runroot").arg(storage("run"));
        command.args(["--storage-driver", "vfs"]).args(args);
        command
    }

    fn try_run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("podman (make deps)")
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.try_run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {}: {said}", args.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// An image of busybox and nothing else.
    fn import(&self) {
        self.run(&["import", &busybox_tar(&self.folder), IMAGE]);
    }

    /// Starts a container; answers its address.
    fn start(&self, name: &str, network: &str, more: &[&str]) -> String {
        let fixed = ["run", "-d", "--name", name, "--network", network, "--cgroup-parent", &self.cgroup];
        self.run(&[&fixed, more, &[IMAGE, "/bin/sleep", "600"]].concat());
        let inspected: Value = serde_json::from_str(&self.run(&["inspect", name])).expect("JSON");
        inspected[0]["NetworkSettings"]["Networks"][network]["IPAddress"].as_str().expect("an address").to_string()
    }

    fn pings(&self, name: &str, address: &str) -> bool {
        self.try_run(&["exec", name, "/bin/ping", "-c", "1", "-W", "1", address]).status.success()
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        self.try_run(&["rm", "-f", "-a", "-t", "0"]);
        remove_group(&self.cgroup);
    }
}

fn conf(agent: &Agent, labels: &Value) -> Value {
    json!({"type": "routenet", "network": "blue", "socket": agent.socket, "labels": labels})
}

/// Ours, and what Debian chains after it.
fn chain(agent: &Agent, labels: &Value) -> Vec<Value> {
    let mut ours = conf(agent, labels);
    ours["capabilities"] = json!({"portMappings": true});
    let bandwidth = json!({"type": "bandwidth", "ingressRate": 80_000_000, "ingressBurst": 80_000_000});
    vec![ours, json!({"type": "portmap", "capabilities": {"portMappings": true}}), bandwidth]
}

const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: db-from-web}
spec:
  selector: app == 'db'
  ingress:
  - {action: Allow, source: {selector: app == 'web'}}
";

#[test]
fn containers_on_two_hosts_meet_as_policy_allows_and_one_that_died_unseen_is_collected() {
    in_fresh_netns(|| {
        in_private_mounts();
        let site = Site::new();
        let hosts = segment(2);
        let one = Agent::start(&site, &hosts[0], 1, "");
        let mut two = Agent::start(&site, &hosts[1], 2, "");
        one.apply(CLUSTER);
        one.apply(POLICY);
        let links = || hosts[1].run("ip", &["-o", "link"]);
        let before = links();
        let networks = [("web", json!({"app": "web"})), ("plain", json!({})), ("db", json!({"app": "db"}))];
        let here = Podman::new(&site, &hosts[0], &one, &networks);
        let there = Podman::new(&site, &hosts[1], &two, &networks);

        let db = there.start("db2", "db", &["--ip", "10.65.9.9"]);
        assert_eq!(db, "10.65.9.9", "the address that was asked for");
        let web = here.start("web1", "web", &[]);
        let plain = here.start("plain1", "plain", &[]);
        wait_for("web1 to reach db2", Duration::from_secs(15), || here.pings("web1", &db));
        assert!(!here.pings("plain1", &db), "the policy lets only app=web in");
        wait_for("the other way, which no policy closes", Duration::from_secs(15), || there.pings("db2", &plain));
        assert!(there.pings("db2", &web));

        let full = there.try_run(&["run", "--rm", "--network", "db", "--ip", "10.65.9.9", IMAGE, "/bin/sleep", "1"]);
        let said = String::from_utf8_lossy(&full.stderr).into_owned();
        assert!(!full.status.success() && said.contains("10.65.9.9"), "podman shows who has the address: {said}");

        two.kill();
        assert!(here.pings("web1", &db), "what runs goes on");
        there.try_run(&["rm", "-f", "-t", "0", "db2"]);
        two.launch(&hosts[1]);
        let held = || two.routectl(&["endpoints", "-o", "json"]).json().as_array().map(Vec::len).expect("a list");
        let all = held();
        let mut collect = conf(&two, &json!({}));
        collect["cniVersion"] = "1.1.0".into();
        collect["name"] = "db".into();
        collect["cni.dev/valid-attachments"] = json!([]);
        let collected = cni_on(&two, "GC", "", "", collect);
        assert_eq!(collected.exit, 0, "{}", collected.stdout);
        wait_for("the endpoint that died to be collected", Duration::from_secs(15), || held() < all);
        wait_for("its link to be gone", Duration::from_secs(15), || links() == before);
        assert!(!here.pings("web1", &db));

        here.run(&["rm", "-f", "-t", "0", "web1", "plain1"]);
        let left = one.routectl(&["endpoints", "-o", "json"]).json();
        let own = left.as_array().into_iter().flatten().filter(|line| line["node"] == "h1").count();
        assert_eq!(own, 0, "{left}");
    });
}

const CROWD: usize = 300;
const AT_ONCE: usize = 8;

/// Hands the numbers of the crowd to so many workers at once.
fn by_eight(work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CROWD {
                        return;
                    }
                    work(number);
                }
            });
        }
    });
}

#[test]
fn three_hundred_containers_by_eight_at_once_leave_nothing_and_double_nothing() {
    in_fresh_netns(|| {
        in_private_mounts();
        let site = Site::new();
        let hosts = segment(2);
        let one = Agent::start(&site, &hosts[0], 1, "");
        let two = Agent::start(&site, &hosts[1], 2, "");
        one.apply(CLUSTER);
        let podman = Podman::new(&site, &hosts[0], &one, &[("crowd", json!({"app": "crowd"}))]);
        podman.start("first", "crowd", &[]);
        podman.run(&["rm", "-f", "-t", "0", "first"]);
        let links = || hosts[0].run("ip", &["-o", "link"]).lines().filter(|line| line.contains("rnw")).count();
        let routes = |host: &Namespace, family: &str| {
            let all = host.run("ip", &[family, "route", "show"]);
            all.lines().filter(|line| line.starts_with("10.65.") || line.starts_with("fd65:")).count()
        };
        let far = || routes(&hosts[1], "-4") + routes(&hosts[1], "-6");
        let far_before = far();

        let begun = Instant::now();
        let addresses = Mutex::new(BTreeSet::new());
        by_eight(|number| {
            let address = podman.start(&format!("c{number}"), "crowd", &[]);
            assert!(addresses.lock().expect("no panic").insert(address.clone()), "{address} was given twice");
        });
        println!("{CROWD} containers by {AT_ONCE}: up in {:.1} s", begun.elapsed().as_secs_f32());
        assert_eq!(links(), CROWD);
        wait_for("all of them at the other host", Duration::from_secs(30), || far() >= far_before + 2 * CROWD);
        assert!(two.routectl(&["status"]).exit == 0 && one.routectl(&["status"]).exit == 0);
        let addresses = addresses.into_inner().expect("no panic");
        assert_eq!(in_sets(&hosts[0], &addresses), CROWD);
        let some: Vec<&String> = addresses.iter().skip(1).step_by(50).collect();
        wait_for("one to reach some", Duration::from_secs(15), || some.iter().all(|to| podman.pings("c0", to)));

        let begun = Instant::now();
        by_eight(|number| drop(podman.run(&["rm", "-f", "-t", "0", &format!("c{number}")])));
        println!("{CROWD} containers by {AT_ONCE}: down in {:.1} s", begun.elapsed().as_secs_f32());
        wait_for("their links to be gone", Duration::from_secs(15), || links() == 0);
        wait_for("their routes to be gone there", Duration::from_secs(30), || far() == far_before);
        wait_for("their entries to be gone", Duration::from_secs(15), || in_sets(&hosts[0], &addresses) == 0);
        let left = one.routectl(&["endpoints", "-o", "json"]).json();
        assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
        let check = one.routectl(&["ipam", "check"]);
        assert_eq!(check.exit, 0, "{}", check.stdout);
    });
}

/// How many of these addresses are in sets of ours.
fn in_sets(host: &Namespace, addresses: &BTreeSet<String>) -> usize {
    let saved = host.run("ipset", &["save"]);
    let members =
        saved.lines().filter(|line| line.starts_with("add rn")).filter_map(|line| line.split([' ', ',']).nth(2));
    members.filter(|member| addresses.contains(*member)).collect::<BTreeSet<_>>().len()
}

/// Starts `web1` in the network, with its port 80 published as 8080.
fn publish_web(podman: &Podman, network: &str) {
    let fixed = ["run", "-d", "--name", "web1", "--network", network, "--cgroup-parent", &podman.cgroup];
    podman.run(&[&fixed, ["-p", "8080:80"].as_slice(), &[IMAGE, "/bin/httpd", "-f", "-p", "80"]].concat());
}

/// Whether the HTTP server there answers.
fn fetched(from: &Namespace, at: &str) -> bool {
    let get = format!("printf 'GET /sh HTTP/1.0\\r\\n\\r\\n' | socat -T 1 - TCP:{at},connect-timeout=1");
    let output = from.command("sh").args(["-c", &get]).output().expect("socat");
    String::from_utf8_lossy(&output.stdout).starts_with("HTTP/1.")
}

#[test]
fn published_ports_and_bandwidth_work_with_debians_plugins_chained_after_ours() {
    in_fresh_netns(|| {
        in_private_mounts();
        let site = Site::new();
        let hosts = segment(2);
        let one = Agent::start(&site, &hosts[0], 1, "");
        one.apply(CLUSTER);
        let podman = Podman::new(&site, &hosts[0], &one, &[("web", json!({"app": "web"}))]);
        publish_web(&podman, "web");
        wait_for("an answer outside", Duration::from_secs(15), || fetched(&hosts[1], "192.0.2.1:8080"));
        wait_for("an answer on the host", Duration::from_secs(5), || fetched(&hosts[0], "127.0.0.1:8080"));
        assert!(!fetched(&hosts[1], "192.0.2.1:8081"), "what is not published");
        let shaped = hosts[0].run("tc", &["qdisc", "show"]);
        assert!(shaped.contains("tbf"), "bandwidth found the host's side of the veth: {shaped}");
        let listed = one.routectl(&["endpoints", "-o", "wide"]).stdout;
        assert!(listed.contains("8080->80/tcp"), "{listed}");
        podman.run(&["rm", "-f", "-t", "0", "web1"]);
        assert!(!fetched(&hosts[1], "192.0.2.1:8080"));
        assert!(!hosts[0].run("iptables-save", &["-t", "nat"]).contains("8080"), "nothing is left");
    });
}

const LET_WEB_BE_SEEN: &str = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: web-for-all}
spec:
  selector: app == 'web'
  ingress:
  - {action: Allow, protocol: TCP, destination: {ports: [80]}}
";

#[test]
fn a_port_that_only_portmap_publishes_is_closed_until_a_policy_opens_it() {
    in_fresh_netns(|| {
        in_private_mounts();
        let site = Site::new();
        let hosts = segment(2);
        let one = Agent::start(&site, &hosts[0], 1, "");
        one.apply(CLUSTER);
        let podman = Podman::new(&site, &hosts[0], &one, &[]);
        // Without our capability the runtime tells the mappings to portmap alone.
        let chained =
            [conf(&one, &json!({"app": "web"})), json!({"type": "portmap", "capabilities": {"portMappings": true}})];
        let list = json!({"cniVersion": "1.0.0", "name": "mapped", "plugins": chained});
        std::fs::write(podman.folder.join("net.d/mapped.conflist"), list.to_string()).expect("a file");
        publish_web(&podman, "mapped");
        let listed = one.routectl(&["endpoints", "-o", "wide"]).stdout;
        assert!(!listed.contains("8080"), "not published by us: {listed}");
        wait_for("the server to listen", Duration::from_secs(15), || fetched(&hosts[0], "127.0.0.1:8080"));

        let before = mapped_packets(&hosts[0]);
        assert!(!fetched(&hosts[1], "192.0.2.1:8080"), "nothing opens it to the outside");
        let translated = mapped_packets(&hosts[0]);
        assert!(translated > before, "it was closed behind portmap, not before it");

        one.apply(LET_WEB_BE_SEEN);
        wait_for("an answer outside", Duration::from_secs(15), || fetched(&hosts[1], "192.0.2.1:8080"));
        assert!(mapped_packets(&hosts[0]) > translated, "portmap translated it");
        podman.run(&["rm", "-f", "-t", "0", "web1"]);
        assert!(!fetched(&hosts[1], "192.0.2.1:8080"));
    });
}

/// Packets that the DNAT rules of portmap's own chains have translated.
fn mapped_packets(host: &Namespace) -> u64 {
    let saved = host.run("iptables-save", &["-c", "-t", "nat"]);
    let rules = saved.lines().filter(|line| line.contains("-A CNI-DN-") && line.contains("-j DNAT"));
    rules.filter_map(|line| line.strip_prefix('[')?.split(':').next()?.parse::<u64>().ok()).sum()
}
