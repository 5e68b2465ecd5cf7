//! A node that is drained, as others see it: first its word that it is about to go (RFC 8326), then the withdrawal, then Cease.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use routenet_core::bgp::speaker::SpeakerConfig;

use crate::bird::Bird;
use crate::fixture::{Agent, CLUSTER, Site};
use crate::frr::Frr;
use crate::rig::{
    LIMIT, Namespace, Neighbor, OUR_AS, THEIR_AS, THEIRS, Us, among, between, ip, ours, peer, speaker, theirs,
};
use crate::support::hosts::Namespace as Host;
use crate::support::ping::ContinuousPing;
use crate::support::{run, wait_for};

const OWN: [&str; 2] = ["10.65.0.0/26", "fd65::/122"];
/// GRACEFUL_SHUTDOWN, in the words of each.
const LEAVING: [&str; 2] = ["65535:0", "graceful-shutdown"];

/// How many of our routes its table has, and how many of them say that we are about to go, and their preferences.
fn told(neighbor: &dyn Neighbor) -> (usize, usize, Vec<Option<u32>>) {
    let table = neighbor.table();
    let leaving = table.values().filter(|told| LEAVING.iter().any(|word| told.communities.contains(*word))).count();
    (table.len(), leaving, table.values().map(|told| told.local_pref).collect())
}

fn a_drain_is_announced(neighbor: &dyn Neighbor, as_number: u32) {
    let us = Us::start(speaker(0, as_number), false);
    us.announce(&OWN);
    wait_for("the session", LIMIT, || us.established(THEIRS[0]) && neighbor.established());
    wait_for("our routes", LIMIT, || told(neighbor).0 == 2);
    assert_eq!(told(neighbor).1, 0, "in ordinary times");

    // Far longer than the test: the end of it is a second order.
    us.peering.drain(Duration::from_secs(600));
    wait_for("our word that we are about to go", LIMIT, || told(neighbor).1 == 2);
    let (routes, _, preferences) = told(neighbor);
    assert_eq!(routes, 2);
    if as_number == OUR_AS {
        assert_eq!(preferences, [Some(0); 2], "over iBGP it is the last choice by its LOCAL_PREF");
    }
    us.peering.undrain();
    wait_for("it to be taken back", LIMIT, || told(neighbor).1 == 0);
    assert_eq!((told(neighbor).0, neighbor.established(), us.peer(THEIRS[0]).sessions), (2, true, 1));

    us.peering.drain(Duration::from_secs(600));
    wait_for("our word that we are about to go", LIMIT, || told(neighbor).1 == 2);
    assert!(neighbor.established());
    us.peering.drain(Duration::ZERO);
    wait_for("the end of the session", LIMIT, || !neighbor.established());
    wait_for("its table to be empty", LIMIT, || neighbor.learned().is_empty());
    us.stop();
}

#[test]
fn bird_hears_that_we_are_about_to_go() {
    between(|namespace| a_drain_is_announced(&Bird::new(namespace, 0, THEIR_AS, &[]), THEIR_AS));
}

#[test]
fn bird_inside_our_as_hears_that_we_are_about_to_go() {
    between(|namespace| a_drain_is_announced(&Bird::new(namespace, 0, OUR_AS, &[]), OUR_AS));
}

#[test]
fn frr_hears_that_we_are_about_to_go() {
    between(|namespace| a_drain_is_announced(&Frr::new(namespace, 0, THEIR_AS, &[]), THEIR_AS));
}

/// A node behind the link of this number: it announces the address that it has beside its own.
fn node(namespace: &Namespace, number: usize, shared: &str) -> Us {
    namespace.run("ip", &["address", "add", shared, "dev", "lo"]);
    let [own, _] = theirs(number);
    let [hub, _] = ours(number);
    let config = SpeakerConfig {
        as_number: 65100 + number as u32,
        router_id: own.parse::<Ipv4Addr>().expect("an identifier"),
        address4: Some(ip(&own)),
        connect_retry: Duration::from_secs(1),
        peers: [(ip(&hub), peer("hub", OUR_AS, &own))].into(),
        ..SpeakerConfig::default()
    };
    let us = namespace.inside(|| Us::start(config, false));
    us.announce(&[shared]);
    us
}

/// Two nodes announce one address; a whole agent sends to it. One node is drained, and then gone: no packet is lost.
#[test]
fn a_stream_of_packets_moves_to_another_node_before_the_one_that_goes_is_gone() {
    among(|namespaces: [Namespace; 2]| {
        let shared = "10.65.77.1/32";
        let (address, _) = shared.split_once('/').expect("a prefix");
        let site = Site::new();
        let path = site.directory.path().display();
        let peers: String = (0..2)
            .map(|n| {
                let at = &theirs(n)[0];
                format!("  - {{name: n{n}, address: {at}, as: {}, import: all}}\n", 65100 + n)
            })
            .collect();
        let config = format!(
            "node: h1\naddress: {{ipv4: {}, ipv6: '{}'}}\nstore: {{type: embedded, path: {path}/cluster.db}}\n\
             paths: {{state: {path}/h1, socket: {path}/h1.sock}}\nbgp:\n  as: {OUR_AS}\n  connectRetry: 1\n  peers:\n{peers}",
            ours(0)[0],
            ours(0)[1],
        );
        let agent = Agent::start_with(&site, &Host::present(), 1, &config);
        agent.apply(CLUSTER);
        let nodes = [node(&namespaces[0], 0, shared), node(&namespaces[1], 1, shared)];
        let ways = |n: usize| run("ip", &["route", "show", address]).contains(&format!("via {} ", theirs(n)[0]));
        wait_for("both ways in the kernel", LIMIT, || ways(0) && ways(1));
        // One of the two carries this stream; the one that does is drained.
        let lookup = run("ip", &["route", "get", address]);
        let carrier = usize::from(lookup.contains(&theirs(1)[0]));
        let ping = ContinuousPing::start(Command::new("ping"), address);

        nodes[carrier].peering.drain(Duration::from_secs(600));
        wait_for("only the other way in the kernel", LIMIT, || !ways(carrier) && ways(1 - carrier));
        let hub = &ours(carrier)[0];
        assert!(nodes[carrier].established(hub), "before the session ends");
        nodes[carrier].peering.drain(Duration::ZERO);
        wait_for("the end of the session", LIMIT, || !nodes[carrier].established(hub));
        run("ip", &["link", "set", &format!("us{carrier}"), "down"]);
        let more = run("ping", &["-n", "-q", "-i", "0.01", "-c", "100", address]);
        assert!(more.contains(" 0% packet loss"), "{more}");
        let (sent, received) = ping.stop();
        assert!(sent >= 30, "{sent} sent: too few to notice a gap");
        assert_eq!(sent, received, "packets were lost");
        for us in nodes {
            us.stop();
        }
    });
}
