//! A whole agent, data plane and all, beside BIRD and FRR: what a workload's coming and going does in their tables, what
//! theirs does in our kernel, a drain, and a kill that costs no packet.

use std::process::Command;

use serde_json::json;

use crate::bird::Bird;
use crate::fixture::{Agent, CLUSTER, Site, Workload, attach, cni, established};
use crate::frr::Frr;
use crate::rig::{LIMIT, Neighbor, OUR_AS, OURS, THEIR_AS, THEIRS, between, cidr};
use crate::support::hosts::Namespace;
use crate::support::monitor::RouteMonitor;
use crate::support::ping::ContinuousPing;
use crate::support::{run, wait_for};

/// What the neighbour announces to us, inside our pools.
const FOREIGN: [&str; 2] = ["10.65.255.0/26", "fd65::ff00/122"];
/// An address of each, which the neighbour has.
const BEHIND: [&str; 2] = ["10.65.255.1", "fd65::ff01"];

/// Workloads take what comes from the segment.
const OPEN: &str = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: open}
spec:
  selector: all()
  types: [Ingress]
  ingress: [{action: Allow}]
";

fn configuration(site: &Site, import: &str) -> String {
    let site = site.directory.path().display();
    format!(
        "node: h1\naddress: {{ipv4: {}, ipv6: '{}'}}\nstore: {{type: embedded, path: {site}/cluster.db}}\n\
         paths: {{state: {site}/h1, socket: {site}/h1.sock}}\n\
         bgp:\n  as: {OUR_AS}\n  connectRetry: 1\n  peers:\n  - {{name: them, address: {}, as: {THEIR_AS}, import: {import}}}\n",
        OURS[0], OURS[1], THEIRS[0]
    )
}

/// The prefixes that the kernel has by BGP, of both families.
fn learned() -> String {
    run("ip", &["route", "show", "proto", "83"]) + &run("ip", &["-6", "route", "show", "proto", "83"])
}

fn kernel_has(prefixes: &[&str]) -> bool {
    let learned = learned();
    prefixes.iter().all(|prefix| learned.lines().any(|line| line.starts_with(&format!("{prefix} "))))
}

fn knows(neighbor: &dyn Neighbor, workload: &Workload) -> [bool; 2] {
    let table = neighbor.learned();
    let ipv6 = workload.ipv6.as_ref().expect("dual stack");
    [format!("{}/32", workload.ipv4), format!("{ipv6}/128")].map(|prefix| table.contains_key(&cidr(&prefix)))
}

fn names(workload: &Workload, line: &str) -> bool {
    [Some(&workload.ipv4), workload.ipv6.as_ref()].into_iter().flatten().any(|a| line.contains(&format!("{a} ")))
}

/// A ping that gets through, from the neighbour to the workload.
fn reaches(neighbor: &dyn Neighbor, address: &str) {
    wait_for(&format!("an answer of {address}"), LIMIT, || {
        let output = neighbor.command("ping").args(["-n", "-c", "1", "-W", "1", address]).output();
        output.expect("ping").status.success()
    });
}

fn both_established(agent: &Agent, neighbor: &dyn Neighbor) -> bool {
    established(agent) && neighbor.established()
}

/// The workload goes, and the neighbour hears of it.
fn detach(agent: &Agent, neighbor: &dyn Neighbor, workload: &Workload) {
    let output = cni(agent, "DEL", &workload.id, &workload.namespace, json!({"name": "blue"}));
    assert_eq!(output.exit, 0, "{}", output.stdout);
    wait_for("our withdrawal in its table", LIMIT, || knows(neighbor, workload) == [false; 2]);
}

/// Pings to both of the workload's addresses go on while the agent is killed and comes back.
fn a_kill_costs_no_packet(agent: &mut Agent, host: &Namespace, neighbor: &dyn Neighbor, workload: &Workload) {
    let addresses = [workload.ipv4.clone(), workload.ipv6.clone().expect("dual stack")];
    addresses.iter().for_each(|address| reaches(neighbor, address));
    let pings = addresses.map(|address| ContinuousPing::start(neighbor.command("ping"), &address));
    let monitor = RouteMonitor::start(neighbor.command("ip"), &["route"]);
    agent.kill();
    wait_for("the end of the session", LIMIT, || !neighbor.established());
    assert_eq!(knows(neighbor, workload), [true; 2], "kept while we are away");
    agent.launch(host);
    wait_for("the session after the kill", LIMIT, || both_established(agent, neighbor));
    // News come behind all that we had to tell at the start of the session.
    let news = attach(agent, "news", "blue", json!({}));
    wait_for("news in its table", LIMIT, || knows(neighbor, &news) == [true; 2]);
    detach(agent, neighbor, &news);
    assert_eq!(knows(neighbor, workload), [true; 2], "and told again");
    let heard = monitor.heard();
    assert!(heard.contains(&news.ipv4), "the monitor hears");
    let lost = heard.lines().find(|line| line.starts_with("Deleted") && names(workload, line));
    assert_eq!(lost, None, "its kernel has our workload's routes all the time");
    for ping in pings {
        let (sent, received) = ping.stop();
        assert!(sent >= 5, "{sent} sent: too few to notice a gap");
        assert_eq!(sent, received, "packets were lost");
    }
}

/// Pings go on, from our host to what the neighbour announces and from it to our workload, while it is killed and comes back.
fn its_kill_costs_no_packet(agent: &Agent, neighbor: &mut dyn Neighbor, workload: &Workload) {
    for address in BEHIND {
        let words = ["address", "add", address, "dev", "lo"];
        assert!(neighbor.command("ip").args(words).status().expect("ip").success());
        wait_for(&format!("an answer of {address}"), LIMIT, || {
            let ping = Command::new("ping").args(["-n", "-q", "-c", "1", "-W", "1", address]).output();
            ping.expect("ping").status.success()
        });
    }
    let inward = [workload.ipv4.clone(), workload.ipv6.clone().expect("dual stack")];
    let pings = BEHIND
        .map(|address| ContinuousPing::start(Command::new("ping"), address))
        .into_iter()
        .chain(inward.map(|address| ContinuousPing::start(neighbor.command("ping"), &address)))
        .collect::<Vec<_>>();
    let monitor = RouteMonitor::start(Command::new("ip"), &["route"]);
    neighbor.kill();
    wait_for("the end of the session", LIMIT, || !established(agent));
    assert!(kernel_has(&FOREIGN), "kept while it is away: {}", learned());
    neighbor.start();
    wait_for("the session after the kill", LIMIT, || both_established(agent, neighbor));
    wait_for("our workload in its table", LIMIT, || knows(neighbor, workload) == [true; 2]);
    let told_again = || {
        let routes = agent.routectl(&["bgp", "routes", "-o", "json"]).json();
        let of_it = |prefix: &str| {
            let mut routes = routes.as_array().into_iter().flatten();
            routes.any(|route| route["prefix"] == prefix && route["stale"] == false)
        };
        FOREIGN.iter().all(|prefix| of_it(prefix))
    };
    wait_for("its routes told again", LIMIT, told_again);
    let heard = monitor.stop();
    let lost = heard.lines().find(|line| line.starts_with("Deleted") && FOREIGN.iter().any(|of| line.contains(of)));
    assert_eq!(lost, None, "our kernel has its routes all the time");
    for ping in pings {
        let (sent, received) = ping.stop();
        assert!(sent >= 5, "{sent} sent: too few to notice a gap");
        assert_eq!(sent, received, "packets were lost");
    }
}

/// `import`: `pools` or `all`.
fn side_by_side(neighbor: &mut dyn Neighbor, import: &str) {
    let site = Site::new();
    let host = Namespace::present();
    let mut agent = Agent::start_with(&site, &host, 1, &configuration(&site, import));
    agent.apply(CLUSTER);
    agent.apply(OPEN);
    let workload = attach(&agent, "w", "blue", json!({}));
    wait_for("the session", LIMIT, || both_established(&agent, neighbor));
    wait_for("our workload in its table", LIMIT, || knows(neighbor, &workload) == [true; 2]);
    wait_for("its prefixes in our kernel", LIMIT, || kernel_has(&FOREIGN));

    a_kill_costs_no_packet(&mut agent, &host, neighbor, &workload);
    assert!(kernel_has(&FOREIGN), "{}", learned());
    its_kill_costs_no_packet(&agent, neighbor, &workload);

    neighbor.withdraw_all();
    wait_for("its withdrawal in our kernel", LIMIT, || learned().is_empty());
    // The neighbour that tells nothing keeps our routes through a kill as well.
    a_kill_costs_no_packet(&mut agent, &host, neighbor, &workload);
    detach(&agent, neighbor, &workload);

    let other = attach(&agent, "other", "blue", json!({}));
    wait_for("the other workload in its table", LIMIT, || knows(neighbor, &other) == [true; 2]);
    assert_eq!(agent.routectl(&["node", "drain"]).exit, 0);
    wait_for("the drain", LIMIT, || !neighbor.established());
    // The neighbour cleans up behind its own answer; what it kept as stale would stay for the restart time, 120 s.
    wait_for("a drained node to be in nobody's table", LIMIT, || neighbor.learned().is_empty());
    let why = neighbor.last_error();
    assert!(why.to_lowercase().contains("administrative shutdown"), "the Cease: {why}");
}

#[test]
fn an_agent_beside_bird_that_is_let_in_by_pools() {
    between(|namespace| side_by_side(&mut Bird::new(namespace, 0, THEIR_AS, &FOREIGN), "pools"));
}

#[test]
fn an_agent_beside_frr_that_is_let_in_whole() {
    between(|namespace| side_by_side(&mut Frr::new(namespace, 0, THEIR_AS, &FOREIGN), "all"));
}
