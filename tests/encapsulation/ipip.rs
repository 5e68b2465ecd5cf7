//! IPIP. The kernels that tests run on may have it or not: a user-mode Linux has it as a module, and runs the tests below
//! marked `ignore`, before and after it has loaded that, with the same binaries.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::{Agent, CLUSTER, Site, Workload, attach};
use crate::mtu::{complaint, fits, narrow};
use crate::racks::{Kind, Racks, count, encapsulated, interface, iptables, racks, received, way};
use crate::support::hosts::{Namespace, segment};
use crate::support::{GUEST, Process, in_fresh_netns, wait_for};

fn workloads(racks: &Racks) -> Vec<Workload> {
    racks.hosts.iter().for_each(|host| count(Kind::Ipip, host));
    let agents = racks.agents.iter().enumerate();
    agents
        .map(|(at, agent)| attach(agent, &format!("w{}", at + 1), "blue", json!({"on": format!("h{}", at + 1)})))
        .collect()
}

const PATIENCE: Duration = Duration::from_secs(10);

const ONLY_FROM_H2: &str = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: only-h2}
spec:
  selector: on == 'h3'
  ingress:
  - {action: Allow, source: {selector: on == 'h2'}}
";

/// All modes on one set of hosts: starting agents is what takes the guest's time.
#[test]
#[ignore = "needs IPIP: the guest runs it"]
fn guest_every_mode_where_the_underlay_refuses_workloads() {
    racks(Kind::Ipip, "CrossSubnet", |racks| {
        let all = workloads(&racks);
        let (one, two, three) = (&all[0], &all[1], &all[2]);
        let agent = &racks.agents[0];
        assert_eq!(interface(&one.namespace, "eth0")["mtu"], 1480);
        one.reaches(&two.ipv4);
        assert_eq!(encapsulated(&racks.hosts[1]), 0, "no protocol 4 inside one subnet");
        one.reaches(&three.ipv4);
        three.reaches(&two.ipv4);
        assert!(encapsulated(&racks.hosts[2]) > 0, "protocol 4 between subnets");
        assert!(fits(&one.namespace, &three.ipv4, 1452) && fits(&three.namespace, &one.ipv4, 1452));
        assert!(!fits(&one.namespace, &three.ipv4, 1453));
        wait_for("the host itself, by its tunnel address", PATIENCE, || {
            racks.hosts[0].succeeds("ping", &["-n", "-c", "1", "-W", "1", &three.ipv4])
        });

        // Host 3's pings have come to host 2 encapsulated: only what comes from now on counts.
        let inside = || encapsulated(&racks.hosts[0]) + encapsulated(&racks.hosts[1]);
        let before = inside();
        one.reaches(&two.ipv4);
        assert_eq!(inside(), before, "no protocol 4 inside one subnet");
        agent.apply(&Kind::Ipip.cluster("Always"));
        wait_for("protocol 4 inside a subnet too, both ways", PATIENCE, || {
            let before = [0, 1].map(|host| encapsulated(&racks.hosts[host]));
            one.pings(&two.ipv4) && [0, 1].iter().all(|host| encapsulated(&racks.hosts[*host]) > before[*host])
        });
        forged_packets_are_dropped(&racks, one, three);

        agent.apply(ONLY_FROM_H2);
        wait_for("a denial after decapsulation", PATIENCE, || !one.pings(&three.ipv4));
        two.reaches(&three.ipv4);
        assert_eq!(agent.routectl(&["delete", "gnp", "only-h2"]).exit, 0);
        one.reaches(&three.ipv4);

        agent.apply(&Kind::Ipip.cluster("Auto"));
        let router = (json!("ipip"), "it is behind a router".to_string());
        wait_for("the way by the tunnel", PATIENCE, || way(agent, "h3", "blue4") == router);
        assert_eq!(way(agent, "h2", "blue4").0, Value::Null);
        let before = encapsulated(&racks.hosts[2]);
        one.reaches(&three.ipv4);
        assert!(encapsulated(&racks.hosts[2]) > before, "protocol 4 between subnets");
        wait_for("no protocol 4 inside a subnet any more", PATIENCE, || {
            let before = inside();
            one.pings(&two.ipv4) && inside() == before
        });

        narrow(&racks.router, "1400");
        let told = || complaint(&one.namespace, &three.ipv4, 1452).contains("mtu = 1380");
        wait_for("the workload to be told of a narrower router", PATIENCE, told);
        assert!(fits(&one.namespace, &three.ipv4, 1352));

        agent.apply(&Kind::Ipip.cluster("Never"));
        wait_for("the router to stop it", PATIENCE, || !one.pings(&three.ipv4));
        one.reaches(&two.ipv4);
        let gone = || !racks.hosts[0].succeeds("ip", &["link", "show", "rnt-ipip"]);
        wait_for("the device to go", PATIENCE, gone);
    });
}

/// Protocol 4 from who is no node, and from a workload.
fn forged_packets_are_dropped(racks: &Racks, one: &Workload, three: &Workload) {
    let forge = |at: &Namespace, local: &str, to: &str| {
        at.run("ip", &["link", "add", "forged", "type", "ipip", "local", local, "remote", "198.51.100.3"]);
        at.run("ip", &["link", "set", "forged", "up"]);
        at.run("ip", &["addr", "add", "10.99.0.1/32", "dev", "forged"]);
        at.run("ip", &["route", "add", to, "dev", "forged"]);
        at.command("ping").args(["-c", "2", "-i", "0.2", "-W", "1", to]).output().expect("ping");
    };
    let far = &racks.hosts[2];
    let (out, seen) = (received(far, "rnt-ipip"), encapsulated(far));
    forge(&racks.router, "198.51.100.254", &three.ipv4);
    assert!(encapsulated(far) >= seen + 2, "the router's packets arrived");
    assert_eq!(received(far, "rnt-ipip"), out, "and nothing came out of the tunnel");

    let seen = encapsulated(far);
    forge(&one.namespace, &one.ipv4, "10.98.0.1");
    let dropped = racks.hosts[0].run(&iptables("iptables"), &["-t", "raw", "-nvxL", "rn-tunnel-out"]);
    let line = dropped.lines().find(|line| line.contains("rnw+")).expect("the rule");
    let count = line.split_whitespace().next().and_then(|count| count.parse::<u64>().ok());
    assert!(count.is_some_and(|count| count >= 2), "a workload's: {dropped}");
    assert_eq!(encapsulated(far), seen, "and they left the host never");
    one.namespace.run("ip", &["link", "del", "forged"]);
    one.reaches(&three.ipv4);
}

const MODULES: [&str; 26] = [
    "veth",
    "bridge",
    "ipv6",
    "ip_set",
    "ip_set_hash_net",
    "ip_set_hash_netiface",
    "ip_set_hash_ipport",
    "xt_set",
    "ip_tables",
    "iptable_raw",
    "iptable_mangle",
    "iptable_nat",
    "iptable_filter",
    "ip6table_raw",
    "ip6table_mangle",
    "ip6table_nat",
    "ip6table_filter",
    "xt_conntrack",
    "xt_mark",
    "xt_comment",
    "xt_addrtype",
    "xt_nat",
    "xt_MASQUERADE",
    "xt_tcpudp",
    "nf_conntrack_netlink",
    "nfnetlink",
];

/// The modules of the guest's kernel, with an index of them: the directory for `modprobe -d`, and their version.
fn modules() -> PathBuf {
    let packaged = Path::new("/usr/lib/uml/modules");
    let version = std::fs::read_dir(packaged).ok().and_then(|mut entries| entries.next()?.ok());
    let version = version.expect("the modules of user-mode-linux (make deps)").file_name();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("uml");
    let linked = folder.join("lib/modules").join(&version);
    if !linked.join("modules.dep").exists() {
        std::fs::create_dir_all(&linked).expect("a folder");
        for entry in std::fs::read_dir(packaged.join(&version)).expect("modules").flatten() {
            let to = linked.join(entry.file_name());
            if !to.exists() {
                std::os::unix::fs::symlink(entry.path(), to).expect("a link");
            }
        }
        let indexed = Command::new("depmod").arg("-b").arg(&folder).arg(&version).status().expect("depmod (make deps)");
        assert!(indexed.success(), "depmod");
    }
    folder
}

#[test]
fn ipip_in_a_user_mode_linux_guest() {
    assert!(std::env::var_os(GUEST).is_none(), "this is the guest");
    let folder = modules();
    let directory = tempfile::Builder::new().prefix("guest").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let tests = std::env::current_exe().expect("this program");
    let script = format!(
        "#!/bin/sh\n\
         export PATH=/usr/sbin:/usr/bin:/sbin:/bin {GUEST}=1 TMPDIR=/run RUST_BACKTRACE=0\n\
         mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmpfs /run\n\
         modprobe -d {folder} -a {modules} || echo GUEST: a module is missing\n\
         ip link set lo up\n\
         cd {home}\n\
         echo /bin/false >/proc/sys/kernel/modprobe\n\
         if {tests} --ignored --test-threads 1 ::bare_guest_; then echo GUEST: passed bare; else echo GUEST: failed; fi\n\
         modprobe -d {folder} ipip || echo GUEST: ipip is missing\n\
         if {tests} --ignored --test-threads 1 ::guest_; then echo GUEST: passed; else echo GUEST: failed; fi\n\
         halt -f\n",
        folder = folder.display(),
        modules = MODULES.join(" "),
        home = env!("CARGO_MANIFEST_DIR"),
        tests = tests.display(),
    );
    let init = directory.path().join("init");
    std::fs::write(&init, script).expect("a script");
    std::fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let said = boot(&init, directory.path());
    let (bare, whole) = said.split_once("GUEST: passed bare").unwrap_or_else(|| panic!("the guest said:\n{said}"));
    // Each of its two calls ran one test: none, misnamed, would pass as well.
    let ran = bare.contains("1 passed") && whole.contains("1 passed");
    assert!(ran && whole.contains("GUEST: passed"), "the guest said:\n{said}");
}

/// Runs a kernel whose first process is `init`, to its end; answers what came from its console.
fn boot(init: &Path, scratch: &Path) -> String {
    let child = Command::new("linux.uml")
        .args(["mem=768M", "rootfstype=hostfs", "rootflags=/", "ro", "con=null", "con0=fd:0,fd:1", "quiet", "panic=1"])
        .arg(format!("init={}", init.display()))
        .arg(format!("uml_dir={}", scratch.display()))
        .env("TMPDIR", scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("linux.uml (make deps)");
    let mut guest = Process(child);
    let mut console = guest.0.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // The console ends with the guest.
        let _ = console.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let deadline = Instant::now() + Duration::from_secs(240);
    while guest.0.try_wait().expect("our own process").is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(guest);
    reader.join().expect("its console")
}

/// The guest runs it before it loads the module: whether other kernels have IPIP is not for a test to say.
#[test]
#[ignore = "needs a kernel without IPIP: the guest runs it"]
fn bare_guest_a_kernel_without_ipip_says_so_at_once_and_all_else_goes_on() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(1);
        let host = &hosts[0];
        let agent = Agent::start(&site, host, 1, "iptables: {backend: legacy}");
        agent.apply(CLUSTER);
        let there =
            host.succeeds("ip", &["link", "add", "try", "type", "ipip", "local", "192.0.2.1", "remote", "192.0.2.2"]);
        assert!(!there, "nothing has loaded IPIP yet");
        let pool = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: green4}, spec: {cidr: 10.66.0.0/16, ipipMode: Auto}}";
        let applied = agent.try_apply(pool);
        assert_eq!(applied.exit, 0, "{}", applied.stderr);
        assert!(
            applied.stdout.contains("node h1: this kernel has no ipip") && applied.stdout.contains("vxlanMode"),
            "{}",
            applied.stdout
        );
        wait_for("the status to say so", PATIENCE, || {
            let status = agent.routectl(&["status"]);
            status.exit == 1 && status.stdout.contains("this kernel has no ipip") && status.stdout.contains("vxlanMode")
        });
        let one = attach(&agent, "w1", "green", json!({}));
        attach(&agent, "w2", "green", json!({})).reaches(&one.ipv4);
        assert_eq!(interface(&one.namespace, "eth0")["mtu"], 1480);
    });
}
