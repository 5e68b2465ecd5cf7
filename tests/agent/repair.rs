//! What others remove or change behind the agent's back comes back within a second; what is theirs is left alone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::fixture::{Agent, CLUSTER, Site, attach};
use crate::support::hosts::{Namespace, segment};
use crate::support::{in_fresh_netns, wait_for};

/// The promise is a second; a machine that is busy with other tests gets more, and the time is printed.
const LIMIT: Duration = Duration::from_secs(3);

fn comes_back(what: &str, holds: impl FnMut() -> bool) {
    let start = Instant::now();
    wait_for(&format!("{what} to come back"), LIMIT, holds);
    println!("{what}: back after {} ms", start.elapsed().as_millis());
}

fn route(host: &Namespace, words: &str) -> String {
    host.run("ip", &["route", "show", words])
}

#[test]
fn routes_links_and_rules_come_back_and_what_is_others_stays() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(2);
        let one = Agent::start(&site, &hosts[0], 1, "iptables: {backend: nft}");
        let two = Agent::start(&site, &hosts[1], 2, "iptables: {backend: nft}");
        one.apply(CLUSTER);
        let here = attach(&one, "here", "blue", json!({}));
        let there = attach(&two, "there", "blue", json!({}));
        let green = attach(&one, "green", "green", json!({}));
        here.reaches(&there.ipv4);
        let host = &hosts[0];
        for words in ["route add 203.0.113.0/24 via 192.0.2.2", "link add foreign0 type bridge"] {
            host.run("ip", &words.split(' ').collect::<Vec<_>>());
        }
        for words in ["-N foreign", "-A foreign -j ACCEPT", "-A FORWARD -s 203.0.113.9 -j foreign"] {
            host.run("iptables-nft", &words.split(' ').collect::<Vec<_>>());
        }
        host.run("ipset", &["create", "foreign", "hash:ip"]);

        host.run("ip", &["route", "del", &format!("{}/32", here.ipv4)]);
        comes_back("an own route", || route(host, &here.ipv4).contains("proto 82"));
        let own = host.run("ip", &["route", "show", "type", "blackhole"]);
        let block = own.split_whitespace().find(|word| word.contains("/26")).expect("a block").to_string();
        host.run("ip", &["route", "del", "blackhole", &block]);
        comes_back("a blackhole", || host.run("ip", &["route", "show", "type", "blackhole"]).contains(&block));
        host.run("ip", &["route", "del", &format!("{}/32", there.ipv4)]);
        comes_back("a learned route", || route(host, &there.ipv4).contains("via 192.0.2.2"));

        let own = route(host, &here.ipv4);
        let link = own.split_whitespace().find(|word| word.starts_with("rnw")).expect("its link").to_string();
        host.run("ip", &["link", "set", &link, "down"]);
        comes_back("a link that was set down, and its route", || route(host, &here.ipv4).contains("proto 82"));
        host.run("ip", &["link", "del", &link]);
        comes_back("a deleted link, and its route", || route(host, &here.ipv4).contains(&link));
        here.reaches(&there.ipv4);

        let rules = || host.run("iptables-nft", &["-S"]);
        let before = rules();
        host.run("iptables-nft", &["-F", "FORWARD"]);
        host.run("iptables-nft", &["-A", "FORWARD", "-s", "203.0.113.9", "-j", "foreign"]);
        comes_back("the hooks in FORWARD", || {
            rules().lines().filter(|line| line.contains("rn-")).count()
                == before.lines().filter(|line| line.contains("rn-")).count()
        });
        let chain = before.lines().find_map(|line| line.strip_prefix("-N rn-")).expect("a chain of ours").to_string();
        host.run("iptables-nft", &["-F", &format!("rn-{chain}")]);
        comes_back("the rules of a chain", || {
            rules().matches(&format!("-A rn-{chain} ")).count() == before.matches(&format!("-A rn-{chain} ")).count()
        });
        assert!(here.pings(&there.ipv4), "what may pass passes");
        assert!(!green.pings(&here.ipv4), "what may not does not");

        assert!(route(host, "203.0.113.0/24").contains("192.0.2.2"), "a route of others");
        assert!(host.succeeds("ip", &["link", "show", "foreign0"]), "a link of others");
        assert!(rules().contains("-A FORWARD -s 203.0.113.9/32 -j foreign"), "{}", rules());
        assert!(host.succeeds("ipset", &["list", "foreign"]), "a set of others");
        let status = one.routectl(&["status", "-o", "json"]).json();
        let repairs = status["node"]["planes"].as_array().into_iter().flatten();
        let repairs: u64 = repairs.filter_map(|plane| plane["repairs"].as_u64()).sum();
        assert!(repairs >= 6, "repairs are counted: {status}");
    });
}

/// The kernel tells nobody of changes to sets, nor legacy iptables of changes to rules: the full read finds them.
#[test]
fn sets_and_legacy_rules_come_back_at_the_full_read() {
    const FULL_READ: Duration = Duration::from_secs(45);
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(1);
        let host = &hosts[0];
        let agent = Agent::start(&site, host, 1, "iptables: {backend: legacy}");
        agent.apply(CLUSTER);
        let a = attach(&agent, "a", "blue", json!({}));
        let b = attach(&agent, "b", "blue", json!({}));
        let rules = || host.run("iptables-legacy", &["-S"]);
        let sets = || {
            let saved = host.run("ipset", &["save"]);
            saved.lines().filter(|line| line.starts_with("add ")).map(str::to_string).collect::<BTreeSet<_>>()
        };
        let (rules_before, sets_before) = (rules(), sets());
        let entry = sets_before.iter().find(|line| line.starts_with("add rn4-local ")).expect("an own address").clone();
        let words: Vec<&str> = entry.split_whitespace().collect();
        host.run("ipset", &["del", words[1], words[2]]);
        host.run("iptables-legacy", &["-I", "rn-FORWARD", "-j", "ACCEPT"]);
        assert!(rules() != rules_before && sets() != sets_before, "both are broken");
        wait_for("both to be as before", FULL_READ, || rules() == rules_before && sets() == sets_before);
        a.reaches(&b.ipv4);
    });
}
