//! A whole agent between two BIRDs that announce the same prefixes: what the kernel says of their next hops decides, and
//! the kernel's own table shows it.

use serde_json::Value;

use crate::bird::Bird;
use crate::fixture::{Agent, CLUSTER, Site, established};
use crate::rig::{LIMIT, Namespace, Neighbor, OUR_AS, THEIR_AS, among, between, ours, theirs};
use crate::support::hosts::Namespace as Host;
use crate::support::monitor::RouteMonitor;
use crate::support::{run, wait_for};

/// What both announce, in a pool of either family.
const FOREIGN: [&str; 2] = ["10.65.255.0/26", "fd65::ff00/122"];

fn agent(site: &Site, neighbors: usize, import: &str) -> Agent {
    agent_of(site, neighbors, THEIR_AS, import)
}

fn agent_of(site: &Site, neighbors: usize, their_as: u32, import: &str) -> Agent {
    let path = site.directory.path().display();
    let [ipv4, ipv6] = ours(0);
    let peer = |number: usize| {
        let [address, _] = theirs(number);
        format!("  - {{name: them{number}, address: {address}, as: {their_as}, import: {import}}}\n")
    };
    let configuration = format!(
        "node: h1\naddress: {{ipv4: {ipv4}, ipv6: '{ipv6}'}}\nstore: {{type: embedded, path: {path}/cluster.db}}\n\
         paths: {{state: {path}/h1, socket: {path}/h1.sock}}\n\
         bgp:\n  as: {OUR_AS}\n  connectRetry: 1\n  peers:\n{}",
        (0..neighbors).map(peer).collect::<String>()
    );
    let agent = Agent::start_with(site, &Host::present(), 1, &configuration);
    agent.apply(CLUSTER);
    agent
}

fn ip(family: usize, words: &str) -> String {
    let family = ["-4", "-6"][family];
    run("ip", &[&[family], words.split_whitespace().collect::<Vec<_>>().as_slice()].concat())
}

/// Which of the neighbours the kernel sends to, for the prefix of each family.
fn ways() -> [Vec<usize>; 2] {
    [0, 1].map(|family| {
        let route = ip(family, &format!("route show {} proto 83", FOREIGN[family]));
        let leads = |number: &usize| route.contains(&format!("via {} ", theirs(*number)[family]));
        (0..2).filter(leads).collect()
    })
}

fn wait_for_ways(what: &str, wanted: &[usize]) {
    wait_for(&format!("{what}: the ways to be those of {wanted:?}"), LIMIT, || ways() == [wanted, wanted]);
}

/// What `routectl bgp route` says of the route of one neighbour.
fn why(agent: &Agent, family: usize, neighbor: usize) -> String {
    let reply = agent.routectl(&["bgp", "route", FOREIGN[family], "-o", "json"]).json();
    let from = format!("them{neighbor}");
    let routes = reply.as_array().cloned().unwrap_or_default();
    let route = routes.iter().find(|route| route["from"] == from.as_str()).cloned().unwrap_or_default();
    let word = |key: &str| route[key].as_str().unwrap_or_default().to_string();
    format!("{}: {}", word("standing"), word("why"))
}

fn wait_for_why(agent: &Agent, neighbor: usize, wanted: &str) {
    for family in [0, 1] {
        wait_for(&format!("{wanted:?} of neighbour {neighbor}, not {:?}", why(agent, family, neighbor)), LIMIT, || {
            why(agent, family, neighbor).contains(wanted)
        });
    }
}

/// The subnet of a neighbour's link gets another metric, without a moment between.
fn set_metric(number: usize, old: [u32; 2], new: [u32; 2]) {
    for family in [0, 1] {
        let subnet = subnet(number, family);
        ip(family, &format!("route add {subnet} dev us{number} metric {}", new[family]));
        ip(family, &format!("route del {subnet} dev us{number} metric {}", old[family]));
    }
}

fn subnet(number: usize, family: usize) -> String {
    let address = &ours(number)[family];
    let net = address.strip_suffix('1').expect("the first of its subnet");
    if family == 0 { format!("{net}0/24") } else { format!("{net}/64") }
}

/// What the kernel's monitor has heard of our prefixes.
struct Heard(RouteMonitor);

impl Heard {
    fn start() -> Heard {
        let heard = Heard(RouteMonitor::start(std::process::Command::new("ip"), &["route"]));
        heard.catch_up();
        heard
    }

    fn text(&self) -> String {
        self.0.heard()
    }

    /// Waits until everything up to now was heard, by a route of the test's own.
    fn catch_up(&self) {
        let before = self.text().matches("203.0.113.1").count();
        wait_for("the kernel's monitor to listen", LIMIT, || {
            ip(0, "route add 203.0.113.1/32 dev lo");
            ip(0, "route del 203.0.113.1/32 dev lo");
            self.text().matches("203.0.113.1").count() > before
        });
    }

    fn of(&self, prefix: &str) -> Vec<String> {
        self.catch_up();
        self.text().lines().filter(|line| line.contains(prefix)).map(str::to_string).collect()
    }
}

fn both(namespaces: [Namespace; 2]) -> [Bird; 2] {
    namespaces.map(|namespace| Bird::new(namespace, 0, THEIR_AS, &FOREIGN))
}

#[test]
fn the_kernels_metric_to_the_next_hop_decides() {
    among(|namespaces: [Namespace; 2]| {
        let site = Site::new();
        let birds = both(namespaces);
        let agent = agent(&site, 2, "pools");
        wait_for("the sessions", LIMIT, || established(&agent) && birds.iter().all(|bird| bird.established()));
        wait_for_ways("equal costs share the load", &[0, 1]);
        set_metric(1, [0, 256], [2000, 2000]);
        wait_for_ways("the second is dearer", &[0]);
        wait_for_why(&agent, 1, "against 2000");
        assert!(why(&agent, 0, 1).starts_with("lost: lost to IGP metric 0 against 2000"), "{}", why(&agent, 0, 1));
        assert!(why(&agent, 0, 0).starts_with("best: won by IGP metric 0 against 2000"), "{}", why(&agent, 0, 0));
        set_metric(0, [0, 256], [3000, 3000]);
        wait_for_ways("the first is dearer still", &[1]);
        // What is no way to a next hop moves nothing.
        let heard = Heard::start();
        ip(0, "route add 198.51.100.0/24 dev us0 metric 1");
        ip(0, "link add other type bridge");
        ip(0, "link set other up");
        set_metric(0, [3000, 3000], [2000, 2000]);
        wait_for_ways("equal again", &[0, 1]);
        let heard = heard.of(FOREIGN[0]);
        assert!(!heard.is_empty() && !heard.iter().any(|line| line.starts_with("Deleted")), "{heard:?}");
    });
}

#[test]
fn a_next_hop_that_does_not_resolve_is_not_used() {
    among(|namespaces: [Namespace; 2]| {
        let site = Site::new();
        let birds = both(namespaces);
        let agent = agent(&site, 2, "pools");
        wait_for("the sessions", LIMIT, || established(&agent) && birds.iter().all(|bird| bird.established()));
        wait_for_ways("both", &[0, 1]);
        let next_hops = |problem: &Value| problem.to_string().contains("does not resolve");
        assert!(!agent.problems().iter().any(next_hops), "{:?}", agent.problems());

        // A route that drops, before the subnet's.
        for (family, length) in [(0, 32), (1, 128)] {
            ip(family, &format!("route add blackhole {}/{length}", theirs(0)[family]));
        }
        wait_for_ways("a blackhole", &[1]);
        wait_for_why(&agent, 0, "refused: its next hop");
        wait_for_why(&agent, 0, "blackhole");
        wait_for("a problem of the node", LIMIT, || agent.problems().iter().any(next_hops));
        for (family, length) in [(0, 32), (1, 128)] {
            ip(family, &format!("route del blackhole {}/{length}", theirs(0)[family]));
        }
        wait_for_ways("without it", &[0, 1]);
        wait_for("no problem any more", LIMIT, || !agent.problems().iter().any(next_hops));

        // No route.
        for family in [0, 1] {
            ip(family, &format!("route del {} dev us0", subnet(0, family)));
        }
        wait_for_ways("no route", &[1]);
        wait_for_why(&agent, 0, "no route of this host leads there");
        for family in [0, 1] {
            ip(family, &format!("route add {} dev us0 metric {}", subnet(0, family), [0, 256][family]));
        }
        wait_for_ways("the route is back", &[0, 1]);

        // No carrier: the far end of the cable is taken down; our own interface stays up.
        birds[1].down(true);
        wait_for_ways("no carrier", &[0]);
        wait_for_why(&agent, 1, "its link is down");
        birds[1].down(false);
        wait_for_ways("the carrier is back", &[0, 1]);
    });
}

#[test]
fn a_route_to_its_own_next_hop_stays() {
    between(|namespace| {
        let site = Site::new();
        let own: [String; 2] = [format!("{}/32", theirs(0)[0]), format!("{}/128", theirs(0)[1])];
        let around = ["10.9.0.0/16", "fd09::/48"];
        let announced: Vec<&str> = own.iter().map(String::as_str).chain(around).collect();
        let bird = Bird::new(namespace, 0, THEIR_AS, &announced);
        let agent = agent(&site, 1, "all");
        let there = || -> bool {
            let has = |family: usize, prefix: &str| !ip(family, &format!("route show {prefix} proto 83")).is_empty();
            // `ip` writes a whole address without its length.
            (0..2).all(|family| has(family, &own[family]) && has(family, around[family]))
        };
        wait_for("the routes", LIMIT, || established(&agent) && bird.established() && there());
        // All is looked at again, the learned routes being there now; nothing of it moves.
        let heard = Heard::start();
        for name in ["other0", "other1", "other2"] {
            ip(0, &format!("link add {name} type bridge"));
            ip(0, &format!("address add 198.51.100.1/24 dev {name}"));
            ip(0, &format!("link set {name} up"));
            ip(0, &format!("link del {name}"));
        }
        // A next hop whose answer the agent awaits behind these.
        bird.withdraw_all();
        wait_for("the withdrawal", LIMIT, || !there());
        let of_hop = heard.of(&format!("{} ", theirs(0)[0]));
        // One end, that of the withdrawal.
        let ends = |prefix: &str| of_hop.iter().filter(|line| line.starts_with(&format!("Deleted {prefix} "))).count();
        assert_eq!((ends(&theirs(0)[0]), ends(around[0])), (1, 1), "{of_hop:?}");
    });
}

/// Where an iBGP neighbour says its routes lead, by family: to a host that is on no link of ours.
const BEHIND: [(&str, &str); 2] = [("10.88.0.0/24", "10.88.0.5"), ("fd88::/64", "fd88::5")];

/// The host's own route there, by the routers with these numbers.
fn lead_by(verb: &str, routers: &[usize]) {
    for (family, (net, _)) in BEHIND.iter().enumerate() {
        let by = |number: &usize| format!(" nexthop via {} dev us{number}", theirs(*number)[family]);
        let by: String = routers.iter().map(by).collect();
        ip(family, &format!("route {verb} {net}{by}"));
    }
}

fn packets_pass() {
    for address in ["10.65.255.1", "fd65::ff01"] {
        let ping = || std::process::Command::new("ping").args(["-c", "1", "-W", "2", address]).output().expect("ping");
        wait_for(&format!("an answer of {address}"), LIMIT, || ping().status.success());
    }
}

#[test]
fn a_next_hop_behind_a_router_is_led_by_the_gateway_of_the_hosts_own_route() {
    among(|namespaces: [Namespace; 2]| {
        let site = Site::new();
        for namespace in &namespaces {
            namespace.run("ip", &["address", "add", "10.65.255.1/32", "dev", "lo"]);
            namespace.run("ip", &["-6", "address", "add", "fd65::ff01/128", "dev", "lo", "nodad"]);
        }
        let [first, _second] = namespaces;
        let hop = BEHIND.map(|(_, hop)| format!("next hop address {hop};"));
        let bird = Bird::with_channels(first, OUR_AS, &FOREIGN, "rr client;", [&hop[0], &hop[1]]);
        lead_by("add", &[0]);
        let agent = agent_of(&site, 1, OUR_AS, "pools");
        wait_for("the session", LIMIT, || established(&agent) && bird.established());
        let calm = |what: &str| {
            let about = |problem: &Value| {
                let text = problem.to_string();
                text.contains("next hop") || FOREIGN.iter().any(|prefix| text.contains(prefix))
            };
            wait_for(&format!("{what}: no problem"), LIMIT, || !agent.problems().iter().any(about));
        };
        wait_for_ways("the router", &[0]);
        for (family, (_, hop)) in BEHIND.iter().enumerate() {
            let told = agent.routectl(&["bgp", "route", FOREIGN[family], "-o", "json"]).json().to_string();
            assert!(told.contains(hop), "its next hop is what the neighbour said: {told}");
        }
        packets_pass();
        calm("the router");

        let heard = Heard::start();
        lead_by("replace", &[1]);
        wait_for_ways("the other router", &[1]);
        packets_pass();
        lead_by("replace", &[0, 1]);
        wait_for_ways("both routers", &[0, 1]);
        packets_pass();
        lead_by("replace", &[1]);
        wait_for_ways("one of both", &[1]);
        let heard = heard.of(FOREIGN[0]);
        assert!(!heard.is_empty() && !heard.iter().any(|line| line.starts_with("Deleted")), "{heard:?}");
        calm("the other router");

        // A route there that BGP has learned would be what it has decided itself: it leads nobody anywhere.
        for (family, (_, hop)) in BEHIND.iter().enumerate() {
            ip(family, &format!("route add {hop} via {} proto 83 metric 5", theirs(0)[family]));
        }
        lead_by("delete", &[1]);
        wait_for_ways("no route", &[]);
        wait_for_why(&agent, 0, "no route of this host leads there");
        let unresolved = |problem: &Value| problem.to_string().contains("does not resolve");
        wait_for("a problem of the node", LIMIT, || agent.problems().iter().any(unresolved));
        lead_by("add", &[0]);
        wait_for_ways("the first router again", &[0]);
        packets_pass();
        calm("the first router again");
    });
}
