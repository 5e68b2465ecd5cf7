//! FRR (zebra and bgpd) as a neighbour.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use routenet_core::model::Cidr;
use serde_json::Value;

use crate::rig::{LIMIT, Namespace, Neighbor, OUR_AS, OURS, THEIRS};
use crate::support::{Process, run, wait_for};

pub struct Frr {
    namespace: Namespace,
    folder: tempfile::TempDir,
    /// bgpd before zebra: that is the order in which they end.
    daemons: Vec<Process>,
    as_number: u32,
    transport: usize,
    /// Without it there is no bfdd.
    bfd: bool,
}

impl Frr {
    /// Announces these prefixes to us, over IPv4 (0) or IPv6 (1), as a speaker of this AS.
    pub fn new(namespace: Namespace, transport: usize, as_number: u32, announced: &[&str]) -> Frr {
        Frr::with(namespace, transport, as_number, announced, &[])
    }

    /// The same, with more statements about its neighbour, without its name. One of `bfd` brings bfdd with a profile `fast`.
    pub fn with(namespace: Namespace, transport: usize, as_number: u32, announced: &[&str], more: &[&str]) -> Frr {
        let folder = tempfile::tempdir().expect("a folder");
        let networks = |six: bool| -> String {
            let of_family = announced.iter().filter(|prefix| prefix.contains(':') == six);
            of_family.map(|prefix| format!("  network {prefix}\n")).collect()
        };
        let us = OURS[transport];
        let more: String = more.iter().map(|line| format!(" neighbor {us} {line}\n")).collect();
        let config = format!(
            "log file {folder}/log\nrouter bgp {as_number}\n bgp router-id {router_id}\n no bgp ebgp-requires-policy\n\
             \x20no bgp default ipv4-unicast\n no bgp network import-check\n bgp graceful-restart\n\
             \x20bgp graceful-restart preserve-fw-state\n\
             \x20neighbor {us} remote-as {OUR_AS}\n neighbor {us} timers 10 30\n neighbor {us} timers connect 1\n\
             \x20neighbor {us} advertisement-interval 0\n{more}\
             \x20address-family ipv4 unicast\n  neighbor {us} activate\n{networks4} exit-address-family\n\
             \x20address-family ipv6 unicast\n  neighbor {us} activate\n{networks6} exit-address-family\nexit\n",
            folder = folder.path().display(),
            router_id = THEIRS[0],
            networks4 = networks(false),
            networks6 = networks(true),
        );
        std::fs::write(folder.path().join("bgpd.conf"), config).expect("a file");
        std::fs::write(folder.path().join("zebra.conf"), "").expect("a file");
        let timers = "  detect-multiplier 3\n  receive-interval 100\n  transmit-interval 100\n";
        let bfd = format!("bfd\n profile fast\n{timers} exit\nexit\n");
        std::fs::write(folder.path().join("bfdd.conf"), bfd).expect("a file");
        run("chown", &["-R", "frr:frr", &folder.path().display().to_string()]);
        let mut frr = Frr { namespace, folder, daemons: Vec::new(), as_number, transport, bfd: more.contains(" bfd") };
        frr.start();
        frr
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn daemon(&self, name: &str, more: &[&str]) -> Process {
        let mut command = self.namespace.command(&format!("/usr/lib/frr/{name}"));
        command.arg("--vty_socket").arg(self.folder.path()).arg("-f").arg(self.file(&format!("{name}.conf")));
        command.arg("-i").arg(self.file(&format!("{name}.pid"))).arg("-z").arg(self.file("zserv.api"));
        command.args(["-u", "frr", "-g", "frr", "-P", "0"]).args(more);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Process(command.spawn().expect("frr (make deps)"))
    }

    fn try_ask(&self, question: &str) -> Option<String> {
        self.try_ask_of("bgpd", question)
    }

    fn try_ask_of(&self, daemon: &str, question: &str) -> Option<String> {
        let mut command = Command::new("vtysh");
        command.arg("--vty_socket").arg(self.folder.path()).arg("-d").arg(daemon);
        for line in question.split('\n') {
            command.args(["-c", line]);
        }
        let output = command.output().expect("vtysh (make deps)");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What vtysh answers; lines are commands one after the other.
    pub fn ask(&self, question: &str) -> String {
        self.try_ask(question).unwrap_or_else(|| {
            let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
            panic!("FRR does not answer `{question}`; its log:\n{log}")
        })
    }

    fn ask_json(&self, question: &str) -> Value {
        let answer = self.ask(question);
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{question}: {error}\n{answer}"))
    }

    /// What its bfdd answers.
    pub fn ask_bfd(&self, question: &str) -> String {
        self.try_ask_of("bfdd", question).unwrap_or_else(|| panic!("FRR's bfdd does not answer `{question}`"))
    }

    /// The states of its BFD sessions.
    pub fn bfd_states(&self) -> Vec<String> {
        let answer = self.try_ask_of("bfdd", "show bfd peers json").unwrap_or_default();
        let peers: Value = serde_json::from_str(&answer).unwrap_or_default();
        let peers = peers.as_array().into_iter().flatten();
        peers.filter_map(|peer| peer["status"].as_str().map(str::to_string)).collect()
    }

    /// In the configuration of its BGP.
    fn configure(&self, lines: &str) {
        self.ask(&format!("configure terminal\nrouter bgp {}\n{lines}", self.as_number));
    }
}

impl Neighbor for Frr {
    fn established(&self) -> bool {
        let us = OURS[self.transport];
        self.ask_json(&format!("show bgp neighbors {us} json"))[us]["bgpState"] == "Established"
    }

    fn learned(&self) -> BTreeMap<Cidr, (IpAddr, Vec<u32>)> {
        let mut learned = BTreeMap::new();
        for family in ["ipv4", "ipv6"] {
            let table = self.ask_json(&format!("show bgp {family} unicast json"));
            let Some(routes) = table["routes"].as_object() else { continue };
            for (prefix, paths) in routes {
                for path in
                    paths.as_array().expect("paths").iter().filter(|path| path["peerId"] == OURS[self.transport])
                {
                    let hops = path["nexthops"].as_array().expect("next hops");
                    let hop = hops.iter().find(|hop| hop["scope"] != "link-local").expect("a next hop");
                    let hop = hop["ip"].as_str().expect("an address").parse().expect("an address");
                    let numbers = path["path"].as_str().expect("a path");
                    let numbers = numbers.split_whitespace().map(|number| number.parse().expect("an AS number"));
                    learned.insert(prefix.parse().expect("a prefix"), (hop, numbers.collect()));
                }
            }
        }
        learned
    }

    fn withdraw_all(&self) {
        let config = self.ask("show running-config");
        for family in ["ipv4", "ipv6"] {
            let six = family == "ipv6";
            let networks = config.lines().filter_map(|line| line.trim().strip_prefix("network "));
            for prefix in networks.filter(|prefix| prefix.contains(':') == six) {
                self.configure(&format!("address-family {family} unicast\nno network {prefix}"));
            }
        }
    }

    fn kill(&mut self) {
        self.daemons.remove(0);
    }

    fn start(&mut self) {
        if self.daemons.is_empty() {
            self.daemons.push(self.daemon("zebra", &[]));
            wait_for("zebra's socket", LIMIT, || self.file("zserv.api").exists());
            if self.bfd {
                let control = self.file("bfdd.sock");
                let control = control.to_str().expect("a path in UTF-8");
                self.daemons.insert(0, self.daemon("bfdd", &["--bfdctl", control]));
            }
        }
        self.daemons.insert(0, self.daemon("bgpd", &[]));
        wait_for("bgpd's socket", LIMIT, || self.try_ask("show version").is_some());
        wait_for("bgpd's configuration", LIMIT, || self.ask("show running-config").contains("router bgp"));
    }

    fn shut(&self) {
        self.configure(&format!("neighbor {} shutdown", OURS[self.transport]));
    }

    fn last_error(&self) -> String {
        let us = OURS[self.transport];
        let answer = self.ask_json(&format!("show bgp neighbors {us} json"));
        answer[us]["lastNotificationReason"].as_str().unwrap_or_default().to_string()
    }

    fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }
}
