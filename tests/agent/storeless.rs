//! Two machines without a cluster store: two files, BGP between them, nothing else.

use serde_json::json;

use std::time::Duration;

use crate::fixture::{Agent, Site, attach};
use crate::support::hosts::segment;
use crate::support::{in_fresh_netns, wait_for};

fn config(site: &Site, number: usize) -> String {
    let other = 3 - number;
    let at = site.directory.path().display();
    format!(
        "node: h{number}\naddress: {{ipv4: 192.0.2.{number}, ipv6: '2001:db8::{number}'}}\n\
         store:\n  type: none\n  pools:\n  - {{name: blue, cidr: 10.65.0.0/16}}\n  - {{name: green, cidr: 10.66.0.0/16}}\n\
         \x20 networks:\n  - {{name: blue, pools: [blue]}}\n  - {{name: green, pools: [green]}}\n\
         \x20 blocks: [10.65.{number}.0/26, 10.66.{number}.0/26]\n  policies: {at}/policies\n\
         \x20 peers:\n  - {{address: 192.0.2.{other}, as: 64512, import: pools}}\n\
         paths: {{state: {at}/h{number}, socket: {at}/h{number}.sock}}\n"
    )
}

#[test]
fn two_files_make_a_network_with_policies_from_a_directory() {
    in_fresh_netns(|| {
        let site = Site::new();
        std::fs::create_dir(site.path("policies")).expect("a directory");
        let hosts = segment(2);
        let one = Agent::start_with(&site, &hosts[0], 1, &config(&site, 1));
        let two = Agent::start_with(&site, &hosts[1], 2, &config(&site, 2));
        let web = attach(&one, "web", "blue", json!({"app": "web"}));
        let db = attach(&two, "db", "blue", json!({"app": "db"}));
        let green = attach(&two, "green", "green", json!({}));
        assert!(web.ipv4.starts_with("10.65.1.") && db.ipv4.starts_with("10.65.2."), "{} {}", web.ipv4, db.ipv4);
        web.reaches(&db.ipv4);
        db.reaches(&web.ipv4);
        assert!(!green.pings(&web.ipv4), "another network");
        assert!(!web.pings(&green.ipv4), "another network");

        site.write(
            "policies/closed.yaml",
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: closed}\n\
             spec: {selector: app == 'db', types: [Ingress]}\n",
        );
        two.signal(nix::sys::signal::Signal::SIGHUP);
        wait_for("the policy to deny", Duration::from_secs(10), || !web.pings(&db.ipv4));
        assert!(db.pings(&web.ipv4), "the other way is open");

        site.write("policies/closed.yaml", "kind: Nonsense\n");
        two.signal(nix::sys::signal::Signal::SIGHUP);
        wait_for("the file to be named", Duration::from_secs(10), || two.log_text().contains("closed.yaml"));
        assert!(!web.pings(&db.ipv4), "the last good policies stay");
    });
}

#[test]
fn on_sighup_a_node_takes_over_its_sessions_and_says_what_waits_for_a_restart() {
    in_fresh_netns(|| {
        let site = Site::new();
        std::fs::create_dir(site.path("policies")).expect("a directory");
        let hosts = segment(2);
        let whole = config(&site, 1);
        let peers = "  peers:\n  - {address: 192.0.2.2, as: 64512, import: pools}\n";
        let alone = whole.replace(peers, "");
        assert!(!alone.contains("peers:"), "{alone}");
        let one = Agent::start_with(&site, &hosts[0], 1, &alone);
        let two = Agent::start_with(&site, &hosts[1], 2, &config(&site, 2));
        let read_again = |text: &str| {
            site.write("h1.yaml", text);
            one.signal(nix::sys::signal::Signal::SIGHUP);
        };
        let says = |what: &str| {
            wait_for(what, Duration::from_secs(20), || one.routectl(&["status"]).stdout.contains(what));
        };
        let web = attach(&one, "web", "blue", json!({}));
        let db = attach(&two, "db", "blue", json!({}));
        assert!(!web.pings(&db.ipv4), "nobody has told the way");

        // A neighbour, a filter and a timer.
        read_again(&whole);
        wait_for("the way there", Duration::from_secs(20), || web.pings(&db.ipv4));
        let neighbor = || two.routectl(&["bgp", "neighbors", "-o", "json"]).json()[0].clone();
        let filter = "bgp: {connectRetry: 3, filters: [{name: nothing, exportV4: [{action: Reject}]}]}\npaths:";
        let filtered = whole.replace("import: pools}", "import: pools, filters: [nothing]}").replace("paths:", filter);
        read_again(&filtered);
        wait_for("the way back to be withdrawn", Duration::from_secs(20), || !db.pings(&web.ipv4));
        assert_eq!(neighbor()["sessions"], 1, "a filter is soft: {}", neighbor());

        // What is wrong changes nothing, nor does what waits; the rest of that file holds.
        read_again(&whole.replace("import: pools}", "import: sometimes}"));
        says("was read again and not taken over");
        assert!(!db.pings(&web.ipv4), "the filter holds");
        read_again(&whole.replace("10.66.0.0/16", "10.66.0.0/15"));
        says("the file says something else than what is in force of store.pools");
        wait_for("the way back", Duration::from_secs(20), || db.pings(&web.ipv4));
        read_again(&whole);
        wait_for("a status without problems", Duration::from_secs(20), || one.routectl(&["status"]).exit == 0);
        assert_eq!(neighbor()["sessions"], 1, "{}", neighbor());

        // A neighbour whose place in the file is another one, with its filter, is the same neighbour.
        let moved = alone.replace(
            "paths:",
            "bgp:\n  peers: [{address: 192.0.2.2, as: 64512, import: pools, filters: [all]}]\n\
             \x20 filters: [{name: all, exportV4: [{action: Accept}]}]\npaths:",
        );
        read_again(&moved);
        wait_for("the change", Duration::from_secs(20), || {
            one.routectl(&["bgp", "neighbors", "-o", "json"]).json()[0]["source"] == "config"
        });
        read_again(&whole);
        wait_for("the change back", Duration::from_secs(20), || {
            one.routectl(&["bgp", "neighbors", "-o", "json"]).json()[0]["source"] == "peer"
        });
        assert!(web.pings(&db.ipv4) && db.pings(&web.ipv4));
        assert_eq!(neighbor()["sessions"], 1, "{}", neighbor());

        // A neighbour that the file names no more.
        read_again(&alone);
        wait_for("the end of the session", Duration::from_secs(20), || !web.pings(&db.ipv4));
        assert_eq!(one.routectl(&["bgp", "neighbors", "-o", "json"]).json(), json!([]));
    });
}
