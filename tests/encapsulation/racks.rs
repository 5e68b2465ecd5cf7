//! Two subnets with a router between them that refuses workload addresses.

use serde_json::Value;

use crate::fixture::{Agent, Site, established};
use crate::support::hosts::Namespace;
use crate::support::{GUEST, in_fresh_netns, run, wait_for};
use std::time::Duration;

/// Hosts 1 and 2 in one subnet (192.0.2.0/24, 2001:db8::/64), host 3 in another (198.51.100.0/24, 2001:db8:1::/64).
pub struct Racks {
    _site: Site,
    pub hosts: Vec<Namespace>,
    pub agents: Vec<Agent>,
    pub router: Namespace,
}

const ADDRESSES: [(&str, &str); 3] =
    [("192.0.2.1", "2001:db8::1"), ("192.0.2.2", "2001:db8::2"), ("198.51.100.3", "2001:db8:1::3")];

/// The kind of tunnel that a test is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Both families.
    Vxlan,
    /// IPv6, over an underlay that has no IPv4.
    Vxlan6,
    /// IPv4.
    Ipip,
}

impl Kind {
    /// How its packets look to iptables.
    fn carrier(self) -> &'static [&'static str] {
        match self {
            Kind::Vxlan | Kind::Vxlan6 => &["-p", "udp", "--dport", "4789"],
            Kind::Ipip => &["-p", "4"],
        }
    }

    /// Pools of the kind's families in the mode, and a network `blue` that draws from them.
    pub fn cluster(self, mode: &str) -> String {
        let field = if self == Kind::Ipip { "ipipMode" } else { "vxlanMode" };
        let pool = |name: &str, cidr: &str| {
            format!(
                "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: {name}}}\n\
                 spec: {{cidr: '{cidr}', {field}: {mode}}}\n---\n"
            )
        };
        let (four, six) = (pool("blue4", "10.65.0.0/16"), pool("blue6", "fd65::/64"));
        let (pools, names) = match self {
            Kind::Vxlan => (four + &six, "blue4, blue6"),
            Kind::Vxlan6 => (six, "blue6"),
            Kind::Ipip => (four, "blue4"),
        };
        let network = format!(
            "apiVersion: routenet/v1\nkind: Network\nmetadata: {{name: blue}}\nspec: {{pools: [{names}], isolation: open}}\n"
        );
        pools + &network
    }

    /// The program that knows its outer packets.
    fn table(self) -> String {
        iptables(if self == Kind::Vxlan6 { "ip6tables" } else { "iptables" })
    }
}

/// The iptables that work here: the guest's kernel lacks what the nft ones need.
pub fn iptables(program: &str) -> String {
    if std::env::var_os(GUEST).is_some() { format!("{program}-legacy") } else { program.to_string() }
}

/// Runs the test with agents on the three hosts, all sessions up, and the cluster applied.
pub fn racks(kind: Kind, mode: &'static str, test: impl FnOnce(Racks) + Send + 'static) {
    in_fresh_netns(move || {
        let router = Namespace::new();
        for (bridge, port) in [("rack1", "eth0"), ("rack2", "eth1")] {
            run("ip", &["link", "add", bridge, "type", "bridge", "forward_delay", "0"]);
            run("ip", &["link", "set", bridge, "up"]);
            plug(&router, bridge, port);
        }
        for (address, port) in [
            ("192.0.2.254/24", "eth0"),
            ("2001:db8::fe/64", "eth0"),
            ("198.51.100.254/24", "eth1"),
            ("2001:db8:1::fe/64", "eth1"),
        ] {
            router.run(
                "ip",
                &["addr", "add", address, "dev", port, "nodad"][..if address.contains(':') { 6 } else { 5 }],
            );
        }
        for setting in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
            router.run("sysctl", &["-q", "-w", setting]);
        }
        for (table, prefix) in [("iptables", "10.65.0.0/16"), ("ip6tables", "fd65::/64")] {
            for side in ["-s", "-d"] {
                router.run(&iptables(table), &["-A", "FORWARD", side, prefix, "-j", "DROP"]);
            }
        }
        let hosts: Vec<Namespace> = (0..3).map(|index| host(kind, index)).collect();
        let site = Site::new();
        let agents: Vec<Agent> = hosts
            .iter()
            .enumerate()
            .map(|(index, host)| Agent::start_with(&site, host, index + 1, &config(kind, &site, index)))
            .collect();
        agents[0].apply(&kind.cluster(mode));
        for agent in &agents {
            wait_for("BGP sessions to both others", Duration::from_secs(20), || {
                established(agent) && neighbours(agent) == 2
            });
        }
        test(Racks { _site: site, hosts, agents, router });
    });
}

fn neighbours(agent: &Agent) -> usize {
    let status = agent.routectl(&["status", "-o", "json"]).json();
    status["node"]["bgp"].as_array().map_or(0, Vec::len)
}

/// A veth from the namespace to a bridge.
fn plug(namespace: &Namespace, bridge: &str, name: &str) {
    let port = format!("p{}-{name}", namespace.pid());
    let pid = namespace.pid().to_string();
    run("ip", &["link", "add", &port, "type", "veth", "peer", "name", name, "netns", &pid]);
    run("ip", &["link", "set", &port, "master", bridge, "up"]);
    namespace.run("ip", &["link", "set", name, "up"]);
}

fn host(kind: Kind, index: usize) -> Namespace {
    let host = Namespace::new();
    let (bridge, gateway4, gateway6) = match index {
        2 => ("rack2", "198.51.100.254", "2001:db8:1::fe"),
        _ => ("rack1", "192.0.2.254", "2001:db8::fe"),
    };
    plug(&host, bridge, "eth0");
    let (ipv4, ipv6) = ADDRESSES[index];
    host.run("ip", &["addr", "add", &format!("{ipv6}/64"), "dev", "eth0", "nodad"]);
    if kind != Kind::Vxlan6 {
        host.run("ip", &["addr", "add", &format!("{ipv4}/24"), "dev", "eth0"]);
        host.run("ip", &["route", "add", "default", "via", gateway4]);
    }
    host.run("ip", &["-6", "route", "add", "default", "via", gateway6]);
    host
}

fn config(kind: Kind, site: &Site, index: usize) -> String {
    let (number, at) = (index + 1, site.directory.path().display());
    let (ipv4, ipv6) = ADDRESSES[index];
    let backend = if std::env::var_os(GUEST).is_some() { "legacy" } else { "auto" };
    let (four, bgp) = match kind {
        Kind::Vxlan6 => (String::new(), format!("bgp: {{routerId: 203.0.113.{number}}}\n")),
        _ => (format!("ipv4: {ipv4}, "), String::new()),
    };
    format!(
        "node: h{number}\naddress: {{{four}ipv6: '{ipv6}'}}\n{bgp}\
         store: {{type: embedded, path: {at}/cluster.db}}\n\
         paths: {{state: {at}/h{number}, socket: {at}/h{number}.sock}}\n\
         iptables: {{backend: {backend}}}\n"
    )
}

/// How the host says that it sends to a node: `vxlan`, or `null` for as it is; and why.
pub fn way(agent: &Agent, node: &str, pool: &str) -> (Value, String) {
    let status = agent.routectl(&["status", "-o", "json"]).json();
    let ways = status["node"]["ways"].as_array().cloned().unwrap_or_default();
    let found = ways.into_iter().find(|way| way["node"] == node && way["pool"] == pool);
    let found = found.unwrap_or_else(|| panic!("no way to {node} in {pool}: {status}"));
    (found["tunnel"].clone(), found["why"].as_str().unwrap_or_default().to_string())
}

/// What the kernel says of an interface there.
pub fn interface(namespace: &Namespace, name: &str) -> Value {
    let all: Value = serde_json::from_str(&namespace.run("ip", &["-s", "-j", "link", "show", name])).expect("JSON");
    all[0].clone()
}

/// How many packets have come in by an interface.
pub fn received(namespace: &Namespace, name: &str) -> u64 {
    interface(namespace, name)["stats64"]["rx"]["packets"].as_u64().expect("a count")
}

/// The comment that marks a test's counter.
const COUNTER: &str = "test-counter";

/// How many encapsulated packets have come into the host since [`count`], over IPv4.
pub fn encapsulated(host: &Namespace) -> u64 {
    counted(host, &iptables("iptables"))
}

/// The same over IPv6.
pub fn encapsulated6(host: &Namespace) -> u64 {
    counted(host, &iptables("ip6tables"))
}

fn counted(host: &Namespace, table: &str) -> u64 {
    let listed = host.run(table, &["-t", "raw", "-nvxL", "PREROUTING"]);
    let line = listed.lines().find(|line| line.contains(COUNTER));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no counter:\n{listed}"))
}

/// Begins counting for [`encapsulated`].
pub fn count(kind: Kind, host: &Namespace) {
    let rule = [&["-t", "raw", "-A", "PREROUTING"], kind.carrier(), &["-m", "comment", "--comment", COUNTER]].concat();
    host.run(&kind.table(), &rule);
}
