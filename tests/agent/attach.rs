//! ADD, CHECK and DEL by the plugin: what they make, what they refuse, and that they leave nothing.

use serde_json::json;

use crate::fixture::{Agent, CLUSTER, Site, Workload, attach, cni, cni_on, one_host, two_hosts};
use crate::support::hosts::{Namespace, segment};
use crate::support::in_fresh_netns;

fn code(output: &crate::fixture::Output) -> i64 {
    assert_eq!(output.exit, 1, "{output:?}");
    output.json()["code"].as_i64().expect("a code")
}

#[test]
fn a_workload_gets_addresses_routes_and_packets_and_del_leaves_nothing() {
    one_host(|_, host, agent| {
        let before = run_ip(host, &["-o", "link"]);
        let a = attach(agent, "a", "blue", json!({}));
        let b = attach(agent, "b", "blue", json!({}));
        let ipv6 = a.ipv6.as_deref().expect("dual stack");
        assert!(a.ipv4.starts_with("10.65."), "{}", a.ipv4);

        let routes = host.run("ip", &["route"]);
        let line = routes.lines().find(|line| line.starts_with(&format!("{} dev rnw", a.ipv4))).expect("its /32");
        assert!(line.contains("proto 82") && line.contains("src 192.0.2.1"), "{line}");
        assert!(routes.lines().any(|line| line.starts_with("blackhole 10.65.") && line.contains("/26")), "{routes}");
        assert!(routes.contains("unreachable 10.65.0.0/16"), "{routes}");

        assert!(host.succeeds("ping", &["-n", "-c", "1", "-W", "1", &a.ipv4]), "host to workload, first packet");
        assert!(host.succeeds("ping", &["-n", "-c", "1", "-W", "1", ipv6]), "the same over IPv6");
        assert!(a.pings(&b.ipv4), "workload to workload, first packet");
        assert!(a.pings(b.ipv6.as_deref().expect("dual stack")));
        assert!(!a.pings("192.0.2.1"), "a workload may not open connections to its host");

        for workload in [&a, &b] {
            for _ in 0..2 {
                let output = cni(agent, "DEL", &workload.id, &workload.namespace, json!({"name": "blue"}));
                assert_eq!((output.exit, output.stdout.as_str()), (0, ""), "{}", output.stderr);
            }
            assert!(!workload.namespace.succeeds("ip", &["link", "show", "eth0"]), "gone from the workload");
        }
        assert_eq!(before, run_ip(host, &["-o", "link"]), "links are as before");
        assert!(!host.run("ip", &["route"]).contains("rnw"));
        assert!(!host.run("ipset", &["save"]).contains(&a.ipv4), "no set names the address");
    });
}

fn run_ip(host: &Namespace, args: &[&str]) -> String {
    host.run("ip", args)
}

#[test]
fn networks_are_apart_and_sources_cannot_be_forged() {
    one_host(|_, _, agent| {
        let blue = attach(agent, "blue1", "blue", json!({}));
        let blue2 = attach(agent, "blue2", "blue", json!({}));
        let green = attach(agent, "green1", "green", json!({}));
        assert!(blue.pings(&blue2.ipv4));
        assert!(!green.pings(&blue.ipv4), "another network");
        assert!(!blue.pings(&green.ipv4), "another network");

        // A forged source from inside the same network: only the sender's own address may leave its interface.
        green.namespace.run("ip", &["addr", "add", &format!("{}/32", blue2.ipv4), "dev", "lo"]);
        let forged = ["-n", "-c", "1", "-W", "1", "-I", blue2.ipv4.as_str(), blue.ipv4.as_str()];
        assert!(!green.namespace.succeeds("ping", &forged));
        assert_eq!(received_echoes(&blue), 0, "no forged packet arrived");
    });
}

/// ICMP echo requests that the workload's kernel has seen.
fn received_echoes(workload: &Workload) -> u64 {
    let text = workload.namespace.run("cat", &["/proc/net/snmp"]);
    let mut lines = text.lines().filter(|line| line.starts_with("Icmp:"));
    let names: Vec<&str> = lines.next().expect("a heading").split_whitespace().collect();
    let values: Vec<&str> = lines.next().expect("values").split_whitespace().collect();
    let at = names.iter().position(|name| *name == "InEchos").expect("InEchos");
    values[at].parse().expect("a number")
}

#[test]
fn a_refused_add_says_why_and_leaves_nothing() {
    one_host(|_, host, agent| {
        let workload = Namespace::new();
        let links = run_ip(host, &["-o", "link"]);
        let unknown = cni(agent, "ADD", "x", &workload, json!({"name": "purple"}));
        assert_eq!(code(&unknown), 7);
        assert!(unknown.stdout.contains("purple"), "{}", unknown.stdout);

        let gone = cni_on(agent, "ADD", "x", "/proc/1/no/such/ns", json!({"name": "blue"}));
        assert_eq!(code(&gone), 8);
        let own = cni_on(agent, "ADD", "x", &host.path(), json!({"name": "blue"}));
        assert_eq!(code(&own), 8, "the host's own namespace: {}", own.stdout);

        workload.run("ip", &["link", "add", "eth0", "type", "bridge"]);
        let exists = cni(agent, "ADD", "x", &workload, json!({"name": "blue"}));
        assert_eq!(code(&exists), 101, "{}", exists.stdout);

        assert_eq!(links, run_ip(host, &["-o", "link"]));
        assert_eq!(agent.routectl(&["endpoints", "-o", "json"]).json(), json!([]));
    });
}

/// A network `tiny` with one pool, which is one block.
fn apply_tiny(agent: &Agent, cidr: &str, block_size: u8) {
    agent.apply(&format!(
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: tiny}}\n\
         spec: {{cidr: {cidr}, blockSize: {block_size}}}\n\
         ---\napiVersion: routenet/v1\nkind: Network\nmetadata: {{name: tiny}}\nspec: {{pools: [tiny]}}\n",
    ));
}

#[test]
fn a_full_pool_is_named_and_says_how_full_it_is() {
    one_host(|_, _, agent| {
        apply_tiny(agent, "10.70.0.0/30", 30);
        let held: Vec<Workload> = (0..4).map(|n| attach(agent, &format!("t{n}"), "tiny", json!({}))).collect();
        let full = cni(agent, "ADD", "t4", &Namespace::new(), json!({"name": "tiny"}));
        assert_eq!(code(&full), 102, "{}", full.stdout);
        assert!(full.stdout.contains("tiny"), "{}", full.stdout);
        assert!(held[0].pings(&held[3].ipv4), "what runs goes on");
    });
}

#[test]
fn an_address_that_is_asked_for_is_given_or_its_owner_is_named() {
    two_hosts(|_, one, two| {
        let conf = |ips: &[&str]| json!({"name": "blue", "runtimeConfig": {"ips": ips}});
        let namespace = Namespace::new();
        let fixed = cni(&one, "ADD", "fixed", &namespace, conf(&["10.65.200.7/16", "fd65::77/64"]));
        assert_eq!(fixed.exit, 0, "{}", fixed.stdout);
        let addresses: Vec<String> = fixed.json()["ips"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|ip| ip["address"].as_str().map(str::to_string))
            .collect();
        assert_eq!(addresses, ["10.65.200.7/32", "fd65::77/128"]);
        let other = attach(&two, "other", "blue", json!({}));
        other.reaches("10.65.200.7");
        other.reaches("fd65::77");

        for (agent, address, why) in
            [(&one, "10.65.200.7", "fixed"), (&two, "10.65.200.8", "h1"), (&one, "10.99.0.1", "none of the pools")]
        {
            let refused = cni(agent, "ADD", "again", &Namespace::new(), conf(&[address]));
            assert_eq!(code(&refused), 104, "{}", refused.stdout);
            assert!(refused.stdout.contains(why), "{}", refused.stdout);
        }
        other.reaches("10.65.200.7");
    });
}

#[test]
fn gc_collects_what_died_without_del_and_status_says_when_no_add_can_succeed() {
    one_host(|_, host, agent| {
        apply_tiny(agent, "10.70.0.0/31", 31);
        let conf = |name: &str| json!({"cniVersion": "1.1.0", "name": name, "network": "tiny"});
        let add = |id: &str, name: &str| {
            let workload = Namespace::new();
            let output = cni(agent, "ADD", id, &workload, conf(name));
            assert_eq!(output.exit, 0, "{}", output.stdout);
            let result = output.json();
            assert_eq!(result["interfaces"][1]["mtu"], 1500, "{result}");
            workload
        };
        let status = || cni_on(agent, "STATUS", "", "", conf("ours"));
        assert_eq!((status().exit, status().stdout.as_str()), (0, ""));
        let died = add("died", "ours");
        let _theirs = add("theirs", "another-runtime");
        assert_eq!(code(&status()), 50, "the pool is full");
        assert!(status().stdout.contains("tiny"), "{}", status().stdout);
        drop(died);

        let gc = |valid: serde_json::Value| {
            let mut config = conf("ours");
            config["cni.dev/valid-attachments"] = valid;
            let output = cni_on(agent, "GC", "", "", config);
            assert_eq!((output.exit, output.stdout.as_str()), (0, ""), "{}", output.stderr);
            let lines = agent.routectl(&["endpoints", "-o", "json"]).json();
            lines.as_array().map(Vec::len)
        };
        assert_eq!(gc(json!([{"containerID": "died", "ifname": "eth0"}])), Some(2), "still known");
        assert_eq!(gc(json!([])), Some(1), "only what its own configuration made");
        let routes = host.run("ip", &["route"]);
        assert_eq!(routes.lines().filter(|line| line.contains("dev rnw")).count(), 1, "{routes}");
        assert_eq!(status().exit, 0, "an address rests, and comes back");
        let unknown = cni_on(agent, "STATUS", "", "", json!({"cniVersion": "1.1.0", "name": "purple"}));
        assert_eq!(code(&unknown), 50);
    });
}

#[test]
fn check_finds_what_is_broken() {
    one_host(|_, host, agent| {
        let workload = Namespace::new();
        let added = cni(agent, "ADD", "c", &workload, json!({"name": "blue"}));
        assert_eq!(added.exit, 0, "{}", added.stdout);
        let config = json!({"name": "blue", "prevResult": added.json()});
        let fine = cni(agent, "CHECK", "c", &workload, config.clone());
        assert_eq!((fine.exit, fine.stdout.as_str()), (0, ""));

        let broken = |words: &str| {
            let said = cni(agent, "CHECK", "c", &workload, config.clone());
            assert!(said.exit == 1 && code(&said) == 103 && said.stdout.contains(words), "{words}: {said:?}");
        };
        let sound = || cni(agent, "CHECK", "c", &workload, config.clone()).exit == 0;
        let address = added.json()["ips"][0]["address"].as_str().expect("an address").to_string();
        let bare = address.trim_end_matches("/32");

        // The last address of an interface takes its routes along: another one comes first.
        workload.run("ip", &["addr", "add", "10.65.255.1/32", "dev", "eth0"]);
        workload.run("ip", &["addr", "del", &address, "dev", "eth0"]);
        broken(&format!("address {bare} is missing on eth0"));
        workload.run("ip", &["addr", "add", &address, "dev", "eth0"]);
        assert!(sound(), "{}", cni(agent, "CHECK", "c", &workload, config.clone()).stdout);

        // A route that is only removed is back before anybody looks; what somebody's policy routing does stays.
        host.run("ip", &["route", "add", bare, "dev", "lo", "table", "100"]);
        host.run("ip", &["rule", "add", "to", bare, "lookup", "100"]);
        broken(&format!("the host's route to {bare} does not lead to rnw"));
        host.run("ip", &["rule", "del", "to", bare, "lookup", "100"]);
        assert!(sound());

        // As many members as before: nothing but a full read finds it.
        let sets = host.run("ipset", &["save"]);
        let entry = sets.lines().find(|line| line.starts_with("add rn4-") && line.contains(bare)).expect("an entry");
        let words: Vec<&str> = entry.split(' ').collect();
        host.run("ipset", &["del", words[1], words[2]]);
        host.run("ipset", &["add", words[1], &words[2].replace(bare, "192.0.2.99")]);
        broken(&format!("of set {} was missing", words[1]));
        assert!(sound(), "it was put back");
        assert!(!host.run("ipset", &["save", words[1]]).contains("192.0.2.99"));

        workload.run("ip", &["route", "del", "default"]);
        broken("default route via 169.254.1.1 dev eth0 is missing");
        workload.run("ip", &["link", "set", "eth0", "down"]);
        broken("eth0 is down");
    });
}

#[test]
fn a_dead_agent_is_said_and_what_runs_goes_on_closed() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(1);
        let mut agent = Agent::start(&site, &hosts[0], 1, "");
        agent.apply(CLUSTER);
        let a = attach(&agent, "a", "blue", json!({}));
        let b = attach(&agent, "b", "blue", json!({}));
        let green = attach(&agent, "g", "green", json!({}));
        agent.kill();
        let dead = cni(&agent, "ADD", "z", &Namespace::new(), json!({"name": "blue"}));
        assert_eq!(code(&dead), 11);
        assert!(dead.stdout.contains("nobody listens on it"), "{}", dead.stdout);
        assert!(a.pings(&b.ipv4));
        assert!(!green.pings(&a.ipv4), "closed with the agent dead");

        // An interface with our name that nobody programmed is closed too.
        let stranger = Namespace::new();
        let pid = stranger.pid().to_string();
        hosts[0].run("ip", &["link", "add", "rnw00000000000", "type", "veth", "peer", "name", "eth0", "netns", &pid]);
        hosts[0].run("ip", &["link", "set", "rnw00000000000", "up"]);
        hosts[0].run("ip", &["addr", "add", "169.254.1.1/32", "dev", "rnw00000000000"]);
        hosts[0].run("ip", &["route", "add", "10.65.250.1/32", "dev", "rnw00000000000"]);
        stranger.run("ip", &["addr", "add", "10.65.250.1/32", "dev", "eth0"]);
        stranger.run("ip", &["link", "set", "eth0", "up"]);
        stranger.run("ip", &["route", "add", "169.254.1.1/32", "dev", "eth0"]);
        stranger.run("ip", &["route", "add", "default", "via", "169.254.1.1"]);
        assert!(!stranger.succeeds("ping", &["-n", "-c", "1", "-W", "1", &a.ipv4]));
    });
}
