//! Agents on etcd: what goes on while it is away, and what is made up for afterwards.

use std::time::Duration;

use serde_json::json;

use crate::etcd_server::EtcdServer;
use crate::fixture::{Agent, CLUSTER, Site, attach, cni, established};
use crate::support::hosts::{Namespace, segment};
use crate::support::{in_fresh_netns, wait_for};

/// etcd runs beside the hosts, in the namespace of the segment, at 192.0.2.100.
fn config(site: &Site, number: usize, server: &EtcdServer) -> String {
    let at = site.directory.path().display();
    format!(
        "node: h{number}\naddress: {{ipv4: 192.0.2.{number}, ipv6: '2001:db8::{number}'}}\n\
         store: {{type: etcd, endpoints: ['http://192.0.2.100:{}']}}\n\
         paths: {{state: {at}/h{number}, socket: {at}/h{number}.sock}}\n\
         workloads: {{addressCooldown: 0}}\n",
        server.port
    )
}

fn published(agent: &Agent, node: &str) -> Vec<String> {
    let lines = agent.routectl(&["endpoints", "-o", "json"]).json();
    let of_node = lines.as_array().into_iter().flatten().filter(|line| line["node"] == node);
    let mut ids: Vec<String> = of_node.filter_map(|line| line["container_id"].as_str().map(str::to_string)).collect();
    ids.sort();
    ids
}

#[test]
fn with_etcd_away_nodes_work_inside_their_blocks_and_all_is_made_up_for_afterwards() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(2);
        crate::support::run("ip", &["addr", "add", "192.0.2.100/24", "dev", "segment"]);
        let mut server = EtcdServer::start_at(site.directory.path(), "192.0.2.100");
        let start =
            |number: usize, host: &Namespace| Agent::start_with(&site, host, number, &config(&site, number, &server));
        let (one, mut two) = (start(1, &hosts[0]), start(2, &hosts[1]));
        one.apply(CLUSTER);
        one.apply(
            "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: db-from-web}
spec:
  selector: app == 'db'
  ingress:
  - {action: Allow, source: {selector: app == 'web'}}
",
        );
        let web = attach(&one, "web", "blue", json!({"app": "web"}));
        let plain = attach(&one, "plain", "blue", json!({}));
        let db = attach(&two, "db", "blue", json!({"app": "db"}));
        let gone = attach(&two, "gone", "blue", json!({}));
        web.reaches(&db.ipv4);
        assert!(!plain.pings(&db.ipv4));

        server.kill();
        wait_for("the status to say so", Duration::from_secs(30), || {
            two.routectl(&["status", "-o", "json"]).json()["node"]["store"]["state"] == "away"
        });
        assert!(web.pings(&db.ipv4) && !plain.pings(&db.ipv4), "routes and policy stay");
        let meanwhile = attach(&two, "meanwhile", "blue", json!({"app": "web"}));
        meanwhile.reaches(&db.ipv4);
        web.reaches(&meanwhile.ipv4);
        assert_eq!(cni(&two, "DEL", "gone", &gone.namespace, json!({"name": "blue"})).exit, 0);
        two.kill();
        two.launch(&hosts[1]);
        meanwhile.reaches(&db.ipv4);
        assert!(!plain.pings(&db.ipv4), "also after a restart from the journal");
        let later = attach(&two, "later", "blue", json!({}));
        later.reaches(&meanwhile.ipv4);
        assert!(!later.pings(&web.ipv4), "h1 cannot know yet that it is of the same network");
        assert_eq!(published(&one, "h2"), ["db", "gone"], "h1 has heard of none of this");

        server.launch();
        wait_for("everything to be published", Duration::from_secs(30), || {
            published(&one, "h2") == ["db", "later", "meanwhile"]
        });
        wait_for("all to be well", Duration::from_secs(30), || {
            established(&one) && one.routectl(&["status"]).exit == 0 && two.routectl(&["status"]).exit == 0
        });
        later.reaches(&web.ipv4);
        let third = attach(&one, "third", "blue", json!({"app": "web"}));
        third.reaches(&db.ipv4);
        assert!(!plain.pings(&db.ipv4));
    });
}
