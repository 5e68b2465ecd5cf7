//! BGPFilters as objects: a BGPPeer of the store that names them, the command that says what they do, and changes by
//! `apply` that cost no session.

use std::time::Duration;

use crate::fixture::{Agent, Site, established};
use crate::support::hosts::segment;
use crate::support::{in_fresh_netns, wait_for};

const LIMIT: Duration = Duration::from_secs(20);

const PEER: &str = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: uplink}\n\
                    spec: {peerIP: '192.0.2.2:1179', asNumber: 64602, filters: [from-uplink]}\n";

fn filter(rules: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: BGPFilter\nmetadata: {{name: from-uplink}}\nspec: {{{rules}}}\n")
}

/// The other end: a speaker alone, with a filter in its own file.
fn uplink(site: &Site) -> String {
    let at = site.directory.path().display();
    format!(
        "node: uplink\ndataPlane: off\n\
         bgp:\n  as: 64602\n  routerId: 192.0.2.2\n  listen: ['192.0.2.2:1179']\n  connectRetry: 1\n\
         \x20 peers: [{{name: host, address: 192.0.2.1, as: 64512, passive: true, import: all, filters: [tag]}}]\n\
         \x20 filters:\n  - name: tag\n    exportV4:\n    - {{action: Accept, matchOperator: In, cidr: 10.2.0.0/16, \
         operations: [{{addCommunity: {{value: '64602:2'}}}}]}}\n\
         \x20 originate: [10.2.1.0/24, 10.2.2.0/24, 10.3.1.0/24]\n\
         paths: {{state: {at}/h2, socket: {at}/h2.sock}}\n"
    )
}

/// What of the uplink's the host takes.
fn taken(host: &Agent) -> Vec<String> {
    let routes = host.routectl(&["bgp", "routes", "-o", "json"]).json();
    let best =
        routes.as_array().into_iter().flatten().filter(|route| route["best"] == true && route["from"] == "uplink");
    best.map(|route| route["prefix"].as_str().expect("a prefix").to_string()).collect()
}

fn test(agent: &Agent, args: &[&str]) -> (i32, String) {
    let output = agent.routectl(&[&["bgp", "filter", "test"], args].concat());
    (output.exit, output.stdout + &output.stderr)
}

#[test]
fn filters_of_the_store_and_of_a_file_do_what_they_say() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(2);
        let other = Agent::start_with(&site, &hosts[1], 2, &uplink(&site));
        let host = Agent::start(&site, &hosts[0], 1, "");
        host.apply(PEER);
        wait_for("the session", LIMIT, || established(&other));
        let closed = "BGPFilter from-uplink, which peer uplink (192.0.2.2) names, is not there";
        wait_for("the status to say so", LIMIT, || host.routectl(&["status"]).stdout.contains(closed));
        let import = |prefix| ["--peer", "uplink", "--direction", "import", prefix];
        wait_for("the routes to come", LIMIT, || {
            host.routectl(&["bgp", "routes", "-o", "json"])
                .json()
                .as_array()
                .is_some_and(|routes| routes.iter().filter(|route| route["from"] == "uplink").count() == 3)
        });
        assert!(taken(&host).is_empty());
        let (exit, said) = test(&host, &import("10.2.1.0/24"));
        assert!(exit == 1 && said.contains("BGPFilter from-uplink, which the peer names, is not there"), "{said}");

        host.apply(&filter("importV4: [{action: Accept, communities: {values: ['64602:*']}}]"));
        wait_for("what is tagged", LIMIT, || taken(&host) == ["10.2.1.0/24", "10.2.2.0/24"]);
        assert!(!host.routectl(&["status"]).stdout.contains(closed));
        let (exit, said) = test(&host, &import("10.2.1.0/24"));
        assert!(exit == 0 && said.contains("BGPFilter from-uplink, importV4[0] accepts it"), "{said}");
        assert!(said.contains("the node's route from uplink") && said.contains("64602:2"), "{said}");
        let (exit, said) = test(&host, &import("10.3.1.0/24"));
        assert!(exit == 1 && said.contains("importV4[0]: `communities` does not match"), "{said}");
        let (exit, said) = test(&host, &["--peer", "nobody", "--direction", "import", "10.3.1.0/24"]);
        assert!(exit == 2 && said.contains("no neighbour \"nobody\": this node has uplink"), "{said}");
        let (exit, said) = test(&other, &["--peer", "host", "--direction", "export", "10.2.1.0/24"]);
        assert!(exit == 0 && said.contains("BGPFilter tag, exportV4[0] accepts it"), "a speaker alone: {said}");
        let (exit, said) = test(&other, &["--peer", "host", "--direction", "export", "10.9.0.0/24", "--from", "host"]);
        assert!(exit == 1 && said.contains("it came from this neighbour"), "{said}");

        let sessions =
            |agent: &Agent| agent.routectl(&["bgp", "neighbors", "-o", "json"]).json()[0]["sessions"].clone();
        let before = (sessions(&host), sessions(&other));
        host.apply(&filter(
            "importV4: [{action: Reject, communities: {values: ['64602:2']}, prefixLength: {min: 24}}, {action: Accept}]",
        ));
        wait_for("what is not tagged", LIMIT, || taken(&host) == ["10.3.1.0/24"]);
        let listed = host.routectl(&["get", "bgpfilter"]).stdout;
        assert!(listed.contains("IMPORT V4") && listed.contains("from-uplink"), "{listed}");
        let written = host.routectl(&["get", "filter", "from-uplink", "-o", "yaml"]).stdout;
        assert!(written.contains("64602:2") && written.contains("action: Reject"), "{written}");
        let gone = host.routectl(&["delete", "bgpfilter", "from-uplink"]);
        assert_eq!(gone.exit, 0, "{}", gone.stderr);
        wait_for("the peer to be closed", LIMIT, || taken(&host).is_empty());
        assert_eq!((sessions(&host), sessions(&other)), before, "no session was reset");
    });
}
