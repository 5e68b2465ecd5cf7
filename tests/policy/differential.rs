//! Three judges of one packet: the evaluator, the kernel with the compiled chains, and a third opinion written from the
//! specification alone. Random clusters and policies of a printed seed; `SEED=N` repeats one, `COUNT=N` asks more.

use std::time::{SystemTime, UNIX_EPOCH};

use routenet::plane::iptables::Backend;
use serde_json::{Value, json};

use crate::cases::{Asked, Case, cases};
use crate::cases_kernel::differences;
use crate::naive::{Naive, Packet};
use crate::support::dice::Dice;
use crate::support::in_fresh_netns;

/// How many are asked of the evaluator, and of these how many of the kernel, on each back end.
const EVALUATED: u64 = 300;
const SENT: u64 = 24;

/// What the third opinion does not know.
const NOT_NAIVE: &str = "kind: HostEndpoint";

fn packet<'a>(case: &'a Case, asked: &'a Asked) -> Packet<'a> {
    let address = |name: &str| match name.strip_prefix("outside:") {
        Some(text) => text.parse().expect("an address"),
        None if name == "host" => case.host,
        None => case.workload(name).ips[0],
    };
    let icmp = asked.proto.eq_ignore_ascii_case("icmp");
    Packet {
        from: &asked.from,
        to: &asked.to,
        source: address(&asked.from),
        destination: address(&asked.to),
        protocol: asked.proto.to_lowercase(),
        source_port: asked.sport,
        port: asked.port,
        icmp: icmp.then(|| (asked.kind.unwrap_or(8), asked.code.unwrap_or(0))),
    }
}

#[test]
fn the_third_opinion_is_calicos_wherever_it_has_one() {
    let (mut asked, mut left_out, mut wrong) = (0, Vec::new(), Vec::new());
    for (case, text) in cases() {
        if case.policy.contains(NOT_NAIVE) {
            left_out.push(case.name.clone());
            continue;
        }
        let naive = Naive::new(&serde_json::from_str(&text).expect("a case"));
        for one in &case.verdicts {
            asked += 1;
            if naive.allows(&packet(&case, one)) != (one.verdict == "allow") {
                wrong.push(format!(
                    "{}: {} -> {} {} {:?}: {} is right",
                    case.name, one.from, one.to, one.proto, one.port, one.verdict
                ));
            }
        }
    }
    println!("{asked} verdicts; with host endpoints, and not asked: {left_out:?}");
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 10_000 && left_out.len() <= 8, "{asked} {left_out:?}");
}

/// What is drawn besides numbers.
trait Draws {
    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T;
    fn rarely(&mut self, of: usize) -> bool;
    fn some(&mut self, of: &[&str], most: usize) -> Vec<String>;
}

impl Draws for Dice {
    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// In one of so many cases.
    fn rarely(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn some(&mut self, of: &[&str], most: usize) -> Vec<String> {
        (0..self.below(most + 1)).map(|_| self.one(of).to_string()).collect()
    }
}

const SPACES: [&str; 3] = ["red", "blue", "green"];
const NETS: [&str; 8] = [
    "10.88.0.0/16",
    "10.88.0.0/30",
    "10.88.0.2/32",
    "10.88.0.4/30",
    "0.0.0.0/1",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "10.0.0.0/24",
];
const PORTS: [&str; 7] = ["80", "81", "53", "\"80:90\"", "\"1:1024\"", "http", "dns"];

fn selector(dice: &mut Dice, depth: usize) -> String {
    let (label, value) = (dice.one(&["app", "role", "on"]), dice.one(&["a", "b", "ab", ""]));
    let simple = match dice.below(12) {
        0 | 1 => format!("{label} == '{value}'"),
        2 => format!("{label} != '{value}'"),
        3 => format!("has({label})"),
        4 => format!("!has({label})"),
        5 => format!("{label} in {{'{value}', 'b'}}"),
        6 => format!("{label} not in {{'{value}', 'b'}}"),
        7 => format!("{label} contains '{value}'"),
        8 => format!("{label} starts with '{value}'"),
        9 => format!("{label} ends with '{value}'"),
        10 => "all()".to_string(),
        _ => format!("projectcalico.org/namespace == '{}'", dice.one(&SPACES)),
    };
    match dice.below(if depth == 0 { 2 } else { 8 }) {
        0 if depth > 0 => format!("{simple} && {}", selector(dice, depth - 1)),
        1 if depth > 0 => format!("{simple} || {}", selector(dice, depth - 1)),
        2 => format!("!({})", selector(dice, depth - 1)),
        _ => simple,
    }
}

fn of_namespaces(dice: &mut Dice) -> String {
    match dice.below(5) {
        0 => "all()".to_string(),
        1 => "global()".to_string(),
        2 => format!("projectcalico.org/name == '{}'", dice.one(&SPACES)),
        3 => "team != 'r'".to_string(),
        _ => dice.one(&["has(team)", "!has(team)", "team == 'r'"]).to_string(),
    }
}

fn side(dice: &mut Dice, with_ports: bool) -> Value {
    let mut side = serde_json::Map::new();
    let mut put = |key: &str, value: Value| drop(side.insert(key.to_string(), value));
    if dice.rarely(4) {
        put("nets", json!(dice.some(&NETS, 2).into_iter().chain(["10.88.0.0/29".to_string()]).collect::<Vec<_>>()));
    }
    if dice.rarely(6) {
        put("notNets", json!([dice.one(&NETS)]));
    }
    if dice.rarely(3) {
        put("selector", json!(selector(dice, 2)));
    }
    if dice.rarely(7) {
        put("notSelector", json!(selector(dice, 1)));
    }
    if dice.rarely(6) {
        put("namespaceSelector", json!(of_namespaces(dice)));
    }
    if dice.rarely(9) {
        put("serviceAccounts", json!({ "names": [dice.one(&["bot", "ci"])] }));
    }
    if with_ports {
        let number = |text: String| serde_yaml::from_str::<Value>(&text).expect("YAML");
        for (key, often) in [("ports", 2), ("notPorts", 6)] {
            if dice.rarely(often) {
                put(key, (0..1 + dice.below(2)).map(|_| number(dice.one(&PORTS).to_string())).collect());
            }
        }
    }
    side.into()
}

fn rule(dice: &mut Dice) -> Value {
    let mut rule = serde_json::Map::new();
    rule.insert("action".into(), json!(dice.one(&["Allow", "Allow", "Allow", "Deny", "Deny", "Pass", "Log"])));
    let protocol = dice.one(&["", "TCP", "TCP", "UDP", "ICMP", "ICMPv6"]);
    if !protocol.is_empty() {
        rule.insert("protocol".into(), json!(protocol));
    } else if dice.rarely(3) {
        rule.insert("notProtocol".into(), json!(dice.one(&["TCP", "UDP", "ICMP"])));
    }
    if dice.rarely(8) && protocol != "ICMPv6" {
        rule.insert("ipVersion".into(), json!(4));
    }
    if protocol == "ICMP" && dice.rarely(2) {
        let key = dice.one(&["icmp", "icmp", "notICMP"]);
        rule.insert(key.into(), json!({ "type": if dice.rarely(2) { 8 } else { 13 } }));
    }
    for end in ["source", "destination"] {
        let side = side(dice, protocol == "TCP" || protocol == "UDP");
        if side.as_object().is_some_and(|side| !side.is_empty()) {
            rule.insert(end.into(), side);
        }
    }
    rule.into()
}

fn documents(dice: &mut Dice) -> Vec<Value> {
    const API: &str = "projectcalico.org/v3";
    let tier =
        json!({ "order": ([json!(5), json!(2_000_000)][dice.below(2)]), "defaultAction": dice.one(&["Deny", "Pass"]) });
    let mut documents = vec![
        json!({ "apiVersion": API, "kind": "Tier", "metadata": { "name": "early" }, "spec": tier }),
        json!({ "apiVersion": API, "kind": "GlobalNetworkSet", "metadata": { "name": "g", "labels": { "app": "a" } },
            "spec": { "nets": [dice.one(&NETS[4..])] } }),
        json!({ "apiVersion": API, "kind": "NetworkSet",
            "metadata": { "name": "s", "namespace": "blue", "labels": { "role": "b" } },
            "spec": { "nets": [dice.one(&NETS[1..])] } }),
        json!({ "apiVersion": API, "kind": "Profile", "metadata": { "name": "own" },
            "spec": { "labelsToApply": { "role": "a" }, "ingress": [rule(dice), rule(dice)], "egress": [rule(dice)] } }),
    ];
    for index in 0..1 + dice.below(5) {
        let mut spec = serde_json::Map::new();
        spec.insert("selector".into(), json!(selector(dice, 2)));
        if dice.rarely(2) {
            spec.insert("order".into(), json!([1.0, 10.0, 10.5][dice.below(3)]));
        }
        if dice.rarely(3) {
            spec.insert("tier".into(), json!("early"));
        }
        let mut rules = |most: usize| (0..dice.below(most + 1)).map(|_| rule(dice)).collect::<Vec<_>>();
        let (ingress, egress) = (rules(3), rules(2));
        for (key, rules) in [("ingress", ingress), ("egress", egress)] {
            if !rules.is_empty() {
                spec.insert(key.into(), json!(rules));
            }
        }
        if dice.rarely(2) {
            spec.insert("types".into(), json!(["Ingress", "Egress"]));
        }
        let name = format!("{}{index}", dice.one(&["p", "p-x", "p.x"]));
        let (kind, metadata) = match dice.rarely(2) {
            true => ("GlobalNetworkPolicy", json!({ "name": name })),
            false => ("NetworkPolicy", json!({ "name": name, "namespace": dice.one(&SPACES) })),
        };
        if kind == "GlobalNetworkPolicy" && dice.rarely(5) {
            spec.insert("namespaceSelector".into(), json!(of_namespaces(dice)));
        }
        documents.push(json!({ "apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec }));
    }
    documents
}

/// A cluster with policies, and the verdicts that the third opinion has on every pair.
fn random(seed: u64) -> Case {
    let mut dice = Dice(seed);
    let documents = documents(&mut dice);
    let yaml: Vec<String> = documents.iter().map(|one| serde_yaml::to_string(one).expect("YAML")).collect();
    let workloads: Vec<Value> = (0..5)
        .map(|index| {
            let mut labels = serde_json::Map::new();
            for label in ["app", "role", "on"] {
                if dice.below(3) > 0 {
                    labels.insert(label.into(), json!(dice.one(&["a", "b", "ab", ""])));
                }
            }
            let namespace = dice.one(&SPACES);
            let ports = [
                json!({ "name": "http", "protocol": "TCP", "port": 80 + dice.below(2) }),
                json!({ "name": "dns", "protocol": dice.one(&["UDP", "TCP"]), "port": 53 }),
            ];
            let mut one = json!({ "name": format!("w{index}"), "namespace": namespace, "labels": labels,
                "serviceAccount": dice.one(&["bot", "ci"]), "ips": [format!("10.88.0.{}", index + 1)],
                "ports": ports[dice.below(2)..].to_vec() });
            if dice.rarely(4) {
                one["profiles"] =
                    [json!(["own"]), json!(["own", format!("kns.{namespace}")]), json!([])][dice.below(3)].clone();
            }
            one
        })
        .collect();
    let account = |namespace: &&str| json!({ "name": "bot", "namespace": namespace, "labels": { "kind": "bot" } });
    let mut text = json!({
        "name": format!("seed {seed}"),
        "namespaces": [{ "name": "red", "labels": { "team": "r" } }, { "name": "blue", "labels": { "team": "b" } },
            { "name": "green", "labels": {} }],
        "serviceAccounts": SPACES.iter().map(account).collect::<Vec<_>>(),
        "workloads": workloads,
        "outside": ["198.51.100.7", "203.0.113.5"],
        "policy": yaml.join("---\n"),
        "host": "10.0.0.1",
        "verdicts": [],
    });
    let mut names: Vec<String> = workloads
        .iter()
        .map(|one| format!("{}/{}", one["namespace"].as_str().unwrap(), one["name"].as_str().unwrap()))
        .collect();
    names.extend(["outside:198.51.100.7", "outside:203.0.113.5", "host"].map(String::from));
    let mut verdicts = Vec::new();
    let probes = [("tcp", 80), ("tcp", 81), ("tcp", 53), ("udp", 53), ("udp", 80), ("icmp", 8), ("icmp", 13)];
    for from in &names {
        for to in names.iter().filter(|to| *to != from) {
            if [from, to].iter().all(|name| name.starts_with("outside:") || *name == "host") {
                continue;
            }
            verdicts.extend(probes.iter().map(|(proto, number)| match *proto {
                "icmp" => json!({ "from": from, "to": to, "proto": proto, "type": number, "code": 0, "verdict": "" }),
                _ => json!({ "from": from, "to": to, "proto": proto, "port": number, "verdict": "" }),
            }));
        }
    }
    text["verdicts"] = json!(verdicts);
    let naive = Naive::new(&text);
    let mut case = Case::read(&text.to_string());
    let judged: Vec<bool> = case.verdicts.iter().map(|asked| naive.allows(&packet(&case, asked))).collect();
    for (asked, allowed) in case.verdicts.iter_mut().zip(judged) {
        asked.verdict = if allowed { "allow" } else { "deny" }.to_string();
    }
    case
}

fn first_seed() -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    match number("SEED") {
        Some(seed) => (seed, number("COUNT").unwrap_or(1)),
        None => (now * 1000, number("COUNT").unwrap_or(EVALUATED)),
    }
}

#[test]
fn the_evaluator_and_the_third_opinion_agree_on_random_clusters() {
    let (first, count) = first_seed();
    let (mut asked, mut allowed) = (0, 0);
    for seed in first..first + count {
        let case = random(seed);
        asked += case.verdicts.len();
        allowed += case.verdicts.iter().filter(|one| one.verdict == "allow").count();
        let disputed = case.disputed();
        assert!(disputed.is_empty(), "SEED={seed}: {}\n{}", disputed[..disputed.len().min(3)].join("\n"), case.policy);
    }
    println!("SEED={first}: {count} clusters, {asked} verdicts, {allowed} of them allow");
    assert!(asked > 0 && allowed > asked / 10 && allowed < asked * 9 / 10 || count < 50, "{allowed} of {asked} allow");
}

#[test]
fn the_kernel_and_the_third_opinion_agree_on_random_clusters() {
    let (first, count) = first_seed();
    let next = std::sync::atomic::AtomicU64::new(first);
    let end = first + count.min(SENT);
    let work = || {
        let mut sent = 0;
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed >= end {
                return sent;
            }
            for backend in [Backend::Nft, Backend::Legacy] {
                let case = random(seed);
                let policy = case.policy.clone();
                let (count, wrong) = in_fresh_netns(move || differences(&case, backend, || ()));
                assert!(wrong.is_empty(), "SEED={seed}: {}\n{policy}", wrong[..wrong.len().min(5)].join("\n"));
                sent += count;
            }
        }
    };
    let sent: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("no case panics")).sum()
    });
    println!("SEED={first}: {sent} packets");
    assert!(sent > 0);
}
