//! What others remove or change behind the agent's back comes back, is counted and named; what is theirs is left alone.

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
    println!("nft: {what}: back after {} ms", start.elapsed().as_millis());
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

/// A change that somebody else makes, and what is to become of it.
struct Attack {
    what: &'static str,
    /// A line for a shell, `IPT` for `iptables` of the back end.
    line: &'static str,
    plane: &'static str,
    /// What the status says was repaired.
    named: &'static str,
    /// Whether it changes no count: legacy and ipset then find it at the full read.
    hidden: bool,
}

const fn chain(what: &'static str, line: &'static str, named: &'static str) -> Attack {
    Attack { what, line, plane: "iptables", named, hidden: false }
}

const fn set(what: &'static str, line: &'static str, named: &'static str) -> Attack {
    Attack { what, line, plane: "ipset", named, hidden: false }
}

/// A rule of somebody else's, as it is saved.
const THEIRS: &str = "-A FORWARD -j ACCEPT\n";

const ATTACKS: [Attack; 12] = [
    chain("a rule deleted", "IPT -D rn-FORWARD 1", "chain IPv4 filter rn-FORWARD"),
    chain("a rule of IPv6 deleted", "IP6T -D rn-FORWARD 2", "chain IPv6 filter rn-FORWARD"),
    chain("a rule added to a chain of ours", "IPT -I rn-FORWARD -j ACCEPT", "chain IPv4 filter rn-FORWARD"),
    chain("a chain flushed", "IPT -F rn-from-wl", "chain IPv4 filter rn-from-wl"),
    chain("our hook removed", "IPT -D FORWARD 1", "jump from IPv4 filter FORWARD"),
    chain("a table flushed", "IPT -F", "jump from IPv4 filter FORWARD"),
    chain("a foreign ACCEPT before our hook", "IPT -I FORWARD -j ACCEPT", "jump from IPv4 filter FORWARD"),
    Attack {
        hidden: true,
        ..chain("a rule replaced", "IPT -R rn-FORWARD 2 -j ACCEPT", "chain IPv4 filter rn-FORWARD")
    },
    set("an entry deleted", "ipset del rn4-local MEMBER", "set rn4-local: without MEMBER"),
    set("an entry added", "ipset add rn4-local 10.99.0.1,rnw0", "set rn4-local: with 10.99.0.1,rnw0"),
    set("a set flushed", "ipset flush rn4-local", "set rn4-local: without"),
    Attack {
        hidden: true,
        ..set(
            "an entry replaced",
            "ipset del rn4-local MEMBER; ipset add rn4-local 10.99.0.1,rnw0",
            "set rn4-local: with",
        )
    },
];

/// How long it took is printed.
#[test]
fn every_foreign_change_is_put_back_counted_and_named_on_both_back_ends() {
    std::thread::scope(|scope| {
        for backend in ["nft", "legacy"] {
            scope.spawn(move || in_fresh_netns(move || attacked(backend)));
        }
    });
}

fn attacked(backend: &str) {
    // The promise is 30 s.
    const FULL_READ: Duration = Duration::from_secs(45);
    let site = Site::new();
    let hosts = segment(1);
    let host = &hosts[0];
    let agent = Agent::start(&site, host, 1, &format!("iptables: {{backend: {backend}}}"));
    agent.apply(CLUSTER);
    let a = attach(&agent, "a", "blue", json!({}));
    let b = attach(&agent, "b", "blue", json!({}));
    let green = attach(&agent, "green", "green", json!({}));
    let tools = [format!("iptables-{backend}"), format!("ip6tables-{backend}")];
    let rules = || tools.each_ref().map(|tool| without_counters(&host.run(&format!("{tool}-save"), &[]))).concat();
    let sets = || {
        let saved = host.run("ipset", &["save"]);
        saved.lines().filter(|line| line.starts_with("add ")).map(str::to_string).collect::<BTreeSet<_>>()
    };
    let (rules_before, sets_before) = (rules(), sets());
    // What is theirs may stand behind ours.
    let is_whole = || {
        let mut now = rules();
        if let Some(at) = now.find(THEIRS) {
            let hooked = now.find("-j rn-FORWARD").is_some_and(|hook| hook < at);
            now.replace_range(at..at + THEIRS.len(), "");
            return hooked && now == rules_before && sets() == sets_before;
        }
        now == rules_before && sets() == sets_before
    };
    let local = sets_before.iter().find(|line| line.starts_with("add rn4-local ")).expect("an own address");
    let member = local.split(' ').nth(2).expect("address,interface").to_string();
    // A set that rules use cannot be taken away.
    assert!(!host.succeeds("ipset", &["destroy", "rn4-local"]), "the kernel refuses that");

    let repairs = |plane: &str| agent.plane(plane)["repairs"].as_u64().expect("a number");
    let attack = |attack: &Attack| {
        let line = attack.line.replace("IPT", &format!("{} -w", tools[0]));
        let line = line.replace("IP6T", &format!("{} -w", tools[1])).replace("MEMBER", &member);
        let before = repairs(attack.plane);
        host.run("sh", &["-ec", &line]);
        (before, Instant::now())
    };
    let mended = |attack: &Attack, (before, start): (u64, Instant), limit| {
        let Attack { what, plane, named, .. } = *attack;
        wait_for(what, limit, is_whole);
        println!("{backend}: {what}: back after {} ms", start.elapsed().as_millis());
        wait_for("the repair to be counted", LIMIT, || repairs(plane) > before);
        let said = agent.plane(plane)["last_repair"]["what"].as_str().unwrap_or_default().to_string();
        assert!(said.contains(&named.replace("MEMBER", &member)), "{what}: {said}");
        let by_name = plane == "iptables" && backend == "nft";
        assert_eq!(said.contains("changed by ip"), by_name, "{what}: {said}");
    };
    let (hidden, shown): (Vec<Attack>, Vec<Attack>) =
        ATTACKS.into_iter().partition(|attack| attack.hidden && (attack.plane == "ipset" || backend == "legacy"));
    for one in &shown {
        let begun = attack(one);
        mended(one, begun, LIMIT);
    }
    assert!(rules().contains(THEIRS), "what is theirs stays theirs");
    let begun: Vec<_> = hidden.iter().map(attack).collect();
    for (one, begun) in hidden.iter().zip(begun) {
        mended(one, begun, FULL_READ);
    }
    assert!(a.pings(&b.ipv4) && b.pings(a.ipv6.as_ref().expect("both families")), "what may pass passes");
    assert!(!green.pings(&a.ipv4), "what may not does not, also before a foreign ACCEPT");
}

/// `nft flush ruleset`, as `/etc/nftables.conf` begins: the tables themselves are gone.
#[test]
fn a_flushed_ruleset_comes_back() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(1);
        let host = &hosts[0];
        let agent = Agent::start(&site, host, 1, "iptables: {backend: nft}");
        agent.apply(CLUSTER);
        let a = attach(&agent, "a", "blue", json!({}));
        let b = attach(&agent, "b", "blue", json!({}));
        let green = attach(&agent, "green", "green", json!({}));
        let ours = || {
            let saved = host.run("iptables-nft-save", &[]) + &host.run("ip6tables-nft-save", &[]);
            saved.lines().filter(|line| line.contains("rn-")).map(str::to_string).collect::<BTreeSet<_>>()
        };
        let ours = || {
            ours()
                .into_iter()
                .map(|line| line.split(" [").next().unwrap_or_default().to_string())
                .collect::<BTreeSet<_>>()
        };
        let before = ours();
        host.run("nft", &["flush", "ruleset"]);
        comes_back("a flushed ruleset", || ours() == before);
        a.reaches(&b.ipv4);
        assert!(!green.pings(&a.ipv4));
        let said = agent.plane("iptables")["last_repair"]["what"].as_str().unwrap_or_default().to_string();
        assert!(said.contains("changed by nft"), "{said}");
    });
}

/// Chains and rules, without comments of the tool's own and without what they have counted.
fn without_counters(saved: &str) -> String {
    let lines = saved.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{}\n", line.split(" [").next().unwrap_or_default())).collect()
}
