//! FRR (zebra and bgpd) as a neighbour.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use routenet_core::model::Cidr;
use serde_json::Value;

use crate::rig::{
    COMMUNITY, LARGE_COMMUNITY, LIMIT, LOCAL_PREF, MED, Namespace, Neighbor, OUR_AS, ROUTE_TARGET, Told, numbers,
};
use crate::support::{Process, run, wait_for};

pub struct Frr {
    namespace: Namespace,
    folder: tempfile::TempDir,
    /// bgpd before zebra: that is the order in which they end.
    daemons: Vec<Process>,
    as_number: u32,
    /// What we are to it: an address, or the interface that we are on.
    us: String,
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
        let us = &namespace.ours[transport];
        let more: String = more.iter().map(|line| format!(" neighbor {us} {line}\n")).collect();
        Frr::beside(namespace, transport, as_number, announced, &more, "")
    }

    /// The same, with more lines in its `router bgp`, and in both of its address families.
    pub fn beside(
        namespace: Namespace,
        transport: usize,
        as_number: u32,
        announced: &[&str],
        more: &str,
        families: &str,
    ) -> Frr {
        let us = namespace.ours[transport].clone();
        Frr::knowing(namespace, &us, &format!("remote-as {OUR_AS}"), as_number, announced, [more, families])
    }

    /// It finds us on its end of the link (unnumbered).
    pub fn unnumbered(namespace: Namespace, as_number: u32, announced: &[&str], more: &str) -> Frr {
        Frr::knowing(namespace, "them0", "interface remote-as external", as_number, announced, [more, ""])
    }

    fn knowing(
        namespace: Namespace,
        us: &str,
        whom: &str,
        as_number: u32,
        announced: &[&str],
        [more, families]: [&str; 2],
    ) -> Frr {
        let folder = tempfile::tempdir().expect("a folder");
        let networks = |six: bool| -> String {
            let of_family = announced.iter().filter(|prefix| prefix.contains(':') == six);
            of_family.map(|prefix| format!("  network {prefix} route-map announced\n")).collect()
        };
        let config = format!(
            "log file {folder}/log\nroute-map announced permit 10\n set metric {MED}\n set local-preference {LOCAL_PREF}\n\
             \x20set community {COMMUNITY}\n set large-community {LARGE_COMMUNITY}\n set extcommunity rt {ROUTE_TARGET}\nexit\n\
             router bgp {as_number}\n bgp router-id {router_id}\n no bgp ebgp-requires-policy\n\
             \x20no bgp default ipv4-unicast\n no bgp network import-check\n bgp graceful-restart\n\
             \x20bgp graceful-restart preserve-fw-state\n\
             \x20neighbor {us} {whom}\n neighbor {us} timers 10 30\n neighbor {us} timers connect 1\n\
             \x20neighbor {us} advertisement-interval 0\n{more}\
             \x20address-family ipv4 unicast\n  neighbor {us} activate\n{families}{networks4} exit-address-family\n\
             \x20address-family ipv6 unicast\n  neighbor {us} activate\n{families}{networks6} exit-address-family\nexit\n",
            folder = folder.path().display(),
            router_id = namespace.theirs[0],
            networks4 = networks(false),
            networks6 = networks(true),
        );
        std::fs::write(folder.path().join("bgpd.conf"), config).expect("a file");
        std::fs::write(folder.path().join("zebra.conf"), "").expect("a file");
        let timers = "  detect-multiplier 3\n  receive-interval 100\n  transmit-interval 100\n";
        let bfd = format!("bfd\n profile fast\n{timers} exit\nexit\n");
        std::fs::write(folder.path().join("bfdd.conf"), bfd).expect("a file");
        run("chown", &["-R", "frr:frr", &folder.path().display().to_string()]);
        let bfd = more.contains(" bfd");
        let mut frr = Frr { namespace, folder, daemons: Vec::new(), as_number, us: us.to_string(), bfd };
        frr.start();
        frr
    }

    /// Gives it a new link to us in the place of one that is gone.
    pub fn rejoin(&self) {
        self.namespace.rejoin();
    }

    /// What we are to it.
    fn us(&self) -> &str {
        &self.us
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

    /// An answer for each line that has one.
    fn ask_json(&self, questions: &str) -> Vec<Value> {
        let answer = self.ask(questions);
        let values = serde_json::Deserializer::from_str(&answer).into_iter();
        values.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{questions}: {error}\n{answer}"))
    }

    /// The process of its bfdd, which runs behind bgpd.
    pub fn bfd_pid(&self) -> u32 {
        assert!(self.bfd, "it was not asked for");
        self.daemons[1].0.id()
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

    /// Each route that it learned from us.
    pub fn paths(&self) -> Vec<(Cidr, Told)> {
        let tables = self.ask_json("show bgp ipv4 unicast json\nshow bgp ipv6 unicast json");
        let prefixes =
            tables.iter().filter_map(|table| table["routes"].as_object()).flatten().map(|(prefix, _)| prefix);
        let questions = prefixes.map(|prefix| {
            let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
            format!("show bgp {family} unicast {prefix} json")
        });
        let mut all = Vec::new();
        let questions = questions.collect::<Vec<_>>().join("\n");
        for routes in if questions.is_empty() { Vec::new() } else { self.ask_json(&questions) } {
            let paths = routes["paths"].as_array().into_iter().flatten();
            let ours = |path: &&Value| {
                [&path["peer"]["peerId"], &path["peer"]["interface"]].contains(&&Value::from(self.us()))
            };
            for path in paths.filter(ours) {
                all.push((routes["prefix"].as_str().expect("a prefix").parse().expect("a prefix"), told(path)));
            }
        }
        all
    }

    /// In the configuration of its BGP.
    pub fn configure(&self, lines: &str) {
        self.ask(&format!("configure terminal\nrouter bgp {}\n{lines}", self.as_number));
    }
}

/// A path of its JSON.
fn told(path: &Value) -> Told {
    let number = |value: &Value| value.as_u64().map(|number| u32::try_from(number).expect("32 bits"));
    let words = |key: &str| {
        let text = path[key]["string"].as_str().unwrap_or_default();
        text.split_whitespace().map(|word| word.replace("RT:", "rt:")).collect()
    };
    let address = |value: &Value| value.as_str().map(|text| text.parse().expect("an identifier"));
    let hops = path["nexthops"].as_array().expect("next hops");
    let hop = hops.iter().find(|hop| hop["scope"] != "link-local").or(hops.first()).expect("a next hop");
    Told {
        next_hop: hop["ip"].as_str().map(|hop| hop.parse().expect("an address")),
        as_path: numbers(path["aspath"]["string"].as_str().unwrap_or_default().trim_start_matches("Local")),
        med: number(&path["metric"]),
        local_pref: number(&path["locPrf"]),
        communities: words("community"),
        large: words("largeCommunity"),
        extended: words("extendedCommunity"),
        originator: address(&path["originatorId"]),
        clusters: path["clusterList"]["list"].as_array().into_iter().flatten().filter_map(address).collect(),
        otc: None,
    }
}

impl Neighbor for Frr {
    fn established(&self) -> bool {
        let us = self.us();
        self.ask_json(&format!("show bgp neighbors {us} json"))[0][us]["bgpState"] == "Established"
    }

    fn table(&self) -> BTreeMap<Cidr, Told> {
        self.paths().into_iter().collect()
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
            // The file is there before anybody listens.
            wait_for("zebra's socket", LIMIT, || UnixStream::connect(self.file("zserv.api")).is_ok());
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
        self.configure(&format!("neighbor {} shutdown", self.us()));
    }

    fn last_error(&self) -> String {
        let us = self.us();
        let answer = self.ask_json(&format!("show bgp neighbors {us} json"));
        let reason = |key: &str| answer[0][us][key].as_str().unwrap_or_default();
        format!("{} {}", reason("lastNotificationReason"), reason("lastShutdownDescription")).trim().to_string()
    }

    fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }
}
