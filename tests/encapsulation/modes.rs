//! What each mode lets through where the underlay refuses workload addresses, and by which way.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{Agent, Workload, attach, cni};
use crate::racks::{Kind, Racks, count, encapsulated, encapsulated6, interface, racks, received, way};
use crate::support::hosts::Namespace;
use crate::support::wait_for;

/// A workload on each host, and counters of what comes in encapsulated.
fn workloads(racks: &Racks) -> Vec<Workload> {
    racks.hosts.iter().for_each(|host| count(Kind::Vxlan, host));
    let workload =
        |(index, agent)| attach(agent, &format!("w{}", index + 1), "blue", json!({"on": format!("h{}", index + 1)}));
    racks.agents.iter().enumerate().map(workload).collect()
}

fn ipv6(workload: &Workload) -> &str {
    workload.ipv6.as_deref().expect("both families")
}

#[test]
fn cross_subnet_encapsulates_between_subnets_and_not_inside_one() {
    racks(Kind::Vxlan, "CrossSubnet", |racks| {
        let all = workloads(&racks);
        all[0].reaches(&all[1].ipv4);
        assert_eq!(encapsulated(&racks.hosts[1]), 0, "inside one subnet");
        all[0].reaches(&all[2].ipv4);
        all[2].reaches(&all[1].ipv4);
        all[0].reaches(ipv6(&all[2]));
        assert!(encapsulated(&racks.hosts[2]) > 0, "between subnets");
        assert_eq!(way(&racks.agents[0], "h2", "blue4"), (Value::Null, "it is in this host's subnet".to_string()));
        assert_eq!(way(&racks.agents[0], "h3", "blue6"), (json!("vxlan"), "it is in another subnet".to_string()));

        // The host itself speaks from an address that comes back by the tunnel.
        wait_for("an address on the tunnel", Duration::from_secs(10), || {
            let route = racks.hosts[0].run("ip", &["route", "get", &all[2].ipv4]);
            route.contains("dev rnt-vxlan") && route.contains("src 10.65.")
        });
        // The far host has to learn by BGP where that address is.
        for address in [&all[2].ipv4, ipv6(&all[2])] {
            wait_for("the host to reach the far workload", Duration::from_secs(10), || {
                racks.hosts[0].succeeds("ping", &["-n", "-c", "1", "-W", "1", address])
            });
        }
    });
}

#[test]
fn never_encapsulates_nothing_so_the_router_stops_it() {
    racks(Kind::Vxlan, "Never", |racks| {
        let all = workloads(&racks);
        all[0].reaches(&all[1].ipv4);
        assert!(!all[0].pings(&all[2].ipv4) && !all[2].pings(ipv6(&all[1])));
        assert!(!racks.hosts[0].succeeds("ip", &["link", "show", "rnt-vxlan"]), "nobody needs it");
    });
}

#[test]
fn always_encapsulates_everything_and_policy_holds_on_what_comes_out() {
    racks(Kind::Vxlan, "Always", |racks| {
        let all = workloads(&racks);
        all[0].reaches(&all[1].ipv4);
        all[0].reaches(&all[2].ipv4);
        assert!(encapsulated(&racks.hosts[1]) > 0);
        racks.agents[0].apply(
            "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: only-h2}
spec:
  selector: on == 'h3'
  ingress:
  - {action: Allow, source: {selector: on == 'h2'}}
",
        );
        wait_for("a denial after decapsulation", Duration::from_secs(10), || !all[0].pings(&all[2].ipv4));
        all[1].reaches(&all[2].ipv4);
    });
}

#[test]
fn packets_of_tunnels_are_taken_from_nodes_only_and_from_workloads_never() {
    racks(Kind::Vxlan, "Always", |racks| {
        let all = workloads(&racks);
        all[0].reaches(&all[2].ipv4);
        let into = |host: usize| received(&racks.hosts[host], "rnt-vxlan");
        let before = into(2);
        // The router is no node: it has a tunnel of its own to host 3, with the right number and address inside.
        let mac = interface(&racks.hosts[2], "rnt-vxlan")["address"].as_str().expect("a MAC").to_string();
        let router = &racks.router;
        router.run(
            "ip",
            &[
                "link",
                "add",
                "forged",
                "type",
                "vxlan",
                "id",
                "4096",
                "dstport",
                "4789",
                "remote",
                "198.51.100.3",
                "dev",
                "eth1",
            ],
        );
        router.run("ip", &["link", "set", "forged", "up"]);
        router.run("ip", &["addr", "add", "10.99.0.1/24", "dev", "forged"]);
        router.run("ip", &["neigh", "replace", "10.99.0.2", "lladdr", &mac, "dev", "forged"]);
        router.command("ping").args(["-c", "3", "-i", "0.2", "-W", "1", "10.99.0.2"]).output().expect("ping");
        assert_eq!(into(2), before, "nothing came out of the tunnel");
        assert!(encapsulated(&racks.hosts[2]) > 0, "though it arrived");

        // A workload wraps packets itself.
        let sent = "echo forged | socat - UDP4-SENDTO:198.51.100.3:4789";
        assert!(all[0].namespace.succeeds("sh", &["-c", sent]));
        let dropped = racks.hosts[0].run("iptables", &["-t", "raw", "-nvxL", "rn-tunnel-out"]);
        let line = dropped.lines().find(|line| line.contains("dpt:4789")).expect("the rule");
        assert!(!line.trim_start().starts_with("0 "), "{dropped}");
        all[0].reaches(&all[2].ipv4);
    });
}

/// A workload that has an IPv6 address only.
pub fn attach6(agent: &Agent, id: &str) -> (Namespace, String) {
    let namespace = Namespace::new();
    let output = cni(agent, "ADD", id, &namespace, json!({"name": "blue"}));
    assert_eq!(output.exit, 0, "{}", output.stdout);
    let addresses = output.json()["ips"].clone();
    assert_eq!(addresses.as_array().map(Vec::len), Some(1), "{addresses}");
    let address = addresses[0]["address"].as_str().and_then(|text| text.strip_suffix("/128"));
    (namespace, address.expect("an IPv6 address").to_string())
}

#[test]
fn an_underlay_without_ipv4_carries_vxlan_from_nodes_only() {
    racks(Kind::Vxlan6, "CrossSubnet", |racks| {
        racks.hosts.iter().for_each(|host| count(Kind::Vxlan6, host));
        let all: Vec<(Namespace, String)> =
            racks.agents.iter().zip(["w1", "w2", "w3"]).map(|(agent, id)| attach6(agent, id)).collect();
        let reaches = |from: usize, to: usize| {
            wait_for(&format!("a ping from w{} to w{}", from + 1, to + 1), Duration::from_secs(10), || {
                all[from].0.succeeds("ping", &["-n", "-c", "1", "-W", "1", &all[to].1])
            });
        };
        assert_eq!(interface(&all[0].0, "eth0")["mtu"], 1430);
        reaches(0, 1);
        assert_eq!(encapsulated6(&racks.hosts[1]), 0, "inside one subnet");
        reaches(0, 2);
        reaches(2, 1);
        assert!(encapsulated6(&racks.hosts[2]) > 0, "between subnets");
        assert_eq!(way(&racks.agents[0], "h3", "blue6"), (json!("vxlan"), "it is in another subnet".to_string()));
        let fits = |payload: &str| {
            all[0].0.succeeds("ping", &["-n", "-c", "1", "-W", "2", "-M", "do", "-s", payload, &all[2].1])
        };
        assert!(fits("1382") && !fits("1383"), "1430 bytes less the headers of IPv6 and ICMP");

        let far = &racks.hosts[2];
        let (out, seen) = (received(far, "rnt-vxlan"), encapsulated6(far));
        let sent = "echo forged | socat - UDP6-SENDTO:[2001:db8:1::3]:4789";
        assert!(racks.router.succeeds("sh", &["-c", sent]));
        wait_for("the router's packet to arrive", Duration::from_secs(5), || encapsulated6(far) == seen + 1);
        assert_eq!(received(far, "rnt-vxlan"), out, "nothing came out of the tunnel");
        let dropped = far.run("ip6tables", &["-nvxL", "rn-ENCAP-IN"]);
        let line = dropped.lines().find(|line| line.contains("DROP")).expect("the rule");
        assert!(line.trim_start().starts_with("1 "), "{dropped}");
        assert!(all[0].0.succeeds("sh", &["-c", sent]));
        let dropped = racks.hosts[0].run("ip6tables", &["-t", "raw", "-nvxL", "rn-tunnel-out"]);
        let line = dropped.lines().find(|line| line.contains("dpt:4789")).expect("the rule");
        assert!(line.trim_start().starts_with("1 "), "{dropped}");
        assert_eq!(encapsulated6(far), seen + 1, "a workload's packet leaves its host never");
    });
}

#[test]
fn what_others_do_to_the_tunnel_is_put_right() {
    racks(Kind::Vxlan, "Always", |racks| {
        let all = workloads(&racks);
        all[0].reaches(&all[2].ipv4);
        racks.hosts[0].run("ip", &["neigh", "flush", "dev", "rnt-vxlan", "nud", "all"]);
        all[0].reaches(&all[2].ipv4);
        racks.hosts[0].run("bridge", &["fdb", "flush", "dev", "rnt-vxlan"]);
        all[0].reaches(&all[2].ipv4);
        racks.hosts[0].run("ip", &["link", "del", "rnt-vxlan"]);
        all[0].reaches(&all[2].ipv4);
        let flooded = racks.hosts[0].run("bridge", &["fdb", "show", "dev", "rnt-vxlan"]);
        assert!(!flooded.contains("00:00:00:00:00:00"), "nothing is flooded: {flooded}");
    });
}

/// The IPv4 address on the host's tunnel device.
fn tunnel_address(host: &Namespace) -> Option<String> {
    let listed = host.command("ip").args(["-4", "-j", "addr", "show", "rnt-vxlan"]).output().expect("ip");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
    listed[0]["addr_info"][0]["local"].as_str().map(str::to_string)
}

fn why(agent: &Agent, address: &str) -> (String, String) {
    let reply = agent.routectl(&["ipam", "why", address, "-o", "json"]).json();
    let text = |field: &str| reply[field].as_str().unwrap_or_default().to_string();
    (text("state"), text("holder"))
}

#[test]
fn the_address_of_a_tunnel_is_nobody_elses_and_leaves_a_block_that_was_given_away() {
    racks(Kind::Vxlan, "Always", |mut racks| {
        // One without an address of its own might take the very one that is given up.
        wait_for("an address on each tunnel", Duration::from_secs(20), || {
            racks.hosts.iter().all(|host| tunnel_address(host).is_some())
        });
        let before = tunnel_address(&racks.hosts[2]).expect("an address");
        assert_eq!(why(&racks.agents[2], &before), ("held".into(), "tunnel device rnt-vxlan on h3".into()));
        wait_for("h1 to hear of it", Duration::from_secs(10), || {
            let (state, holder) = why(&racks.agents[0], &before);
            state == "held" && holder.starts_with("node h3, ")
        });
        let refused = racks.agents[2].routectl(&["ipam", "release", "--force", &before]);
        assert_eq!(refused.exit, 1, "{}", refused.stdout);
        assert!(refused.stderr.contains("tunnel device rnt-vxlan") && refused.stderr.contains("blue4"), "{refused:?}");
        assert_eq!(tunnel_address(&racks.hosts[2]).as_ref(), Some(&before));

        // The node is given up, another one takes the block, and the node comes back.
        racks.agents[2].kill();
        let released = racks.agents[0].routectl(&["ipam", "release-node", "--force", "h3"]);
        assert_eq!(released.exit, 0, "{}", released.stderr);
        let (net, last) = before.rsplit_once('.').expect("an IPv4 address");
        let neighbour = format!("{net}.{}", last.parse::<u8>().expect("a number") ^ 1);
        let taker = Namespace::new();
        let config = json!({"name": "blue", "args": {"cni": {"ips": [neighbour]}}});
        let taken = cni(&racks.agents[0], "ADD", "taker", &taker, config);
        assert_eq!(taken.exit, 0, "{}", taken.stdout);
        racks.agents[2].launch(&racks.hosts[2]);
        wait_for("another address on the tunnel", Duration::from_secs(20), || {
            tunnel_address(&racks.hosts[2]).is_some_and(|now| now != before)
        });
        assert!(!racks.hosts[2].run("ip", &["addr"]).contains(&format!("{before}/")), "it is on no device");
        wait_for("it to be announced no more", Duration::from_secs(20), || why(&racks.agents[0], &before).0 == "free");
        let workload = attach(&racks.agents[2], "w3", "blue", json!({}));
        workload.reaches(&neighbour);
    });
}
