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
