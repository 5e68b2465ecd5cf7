//! Clusters with policies of every kind, drawn from a seed, in IPv4, IPv6 or both: what the evaluator, the kernel and the
//! third opinion are asked about.

use serde_json::{Map, Value, json};

use crate::cases::Case;
use crate::differential::packet;
use crate::naive::Naive;
use crate::support::dice::Dice;

/// What is drawn besides numbers.
trait Draws {
    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T;
    fn rarely(&mut self, of: usize) -> bool;
}

impl Draws for Dice {
    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// In one of so many cases.
    fn rarely(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// What a family's addresses are; the lists run side by side.
struct Family {
    number: u8,
    /// Of the workloads, before their number.
    prefix: &'static str,
    /// Of workloads in general, of some of them, of the host, and of those outside.
    nets: [&'static str; 8],
    few_workloads: &'static str,
    everything: &'static str,
    outside: [&'static str; 2],
    icmp: &'static str,
    /// Types and codes that are asked for and answered.
    requests: [(u8, u8); 2],
}

const V4: Family = Family {
    number: 4,
    prefix: "10.88.0.",
    nets: [
        "10.88.0.0/16",
        "10.88.0.0/30",
        "10.88.0.2/32",
        "10.88.0.4/30",
        "0.0.0.0/1",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "10.0.0.0/24",
    ],
    few_workloads: "10.88.0.0/29",
    everything: "0.0.0.0/0",
    outside: ["198.51.100.7", "203.0.113.5"],
    icmp: "ICMP",
    requests: [(8, 0), (13, 0)],
};

const V6: Family = Family {
    number: 6,
    prefix: "fd88::",
    nets: [
        "fd88::/64",
        "fd88::/126",
        "fd88::2/128",
        "fd88::4/126",
        "2000::/3",
        "2001:db8:7::/48",
        "2001:db8:5::/48",
        "2001:db8::/64",
    ],
    few_workloads: "fd88::/125",
    everything: "::/0",
    outside: ["2001:db8:7::7", "2001:db8:5::5"],
    icmp: "ICMPv6",
    requests: [(128, 0), (128, 1)],
};

/// A neighbour solicitation (RFC 4861), which only the evaluator is asked about: neighbours answer no forged one.
pub const SOLICITATION: u8 = 135;
const HOST: &str = "10.0.0.1";
const HOST6: &str = "2001:db8::1";
const SPACES: [&str; 3] = ["red", "blue", "green"];
const PORTS: [&str; 7] = ["80", "81", "53", "\"80:90\"", "\"1:1024\"", "http", "dns"];
const VALUES: [&str; 4] = ["a", "b", "ab", ""];

/// One cluster's dice, and the families of its addresses.
struct Maker {
    dice: Dice,
    families: &'static [Family],
}

impl Maker {
    fn family(&mut self) -> &'static Family {
        &self.families[self.dice.below(self.families.len())]
    }

    /// One of the nets from the one of this index on.
    fn net(&mut self, first: usize) -> &'static str {
        let family = self.family();
        self.dice.one(&family.nets[first..])
    }

    fn selector(&mut self, depth: usize) -> String {
        let (label, value) = (self.dice.one(&["app", "role", "on"]), self.dice.one(&VALUES));
        let simple = match self.dice.below(12) {
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
            _ => format!("projectcalico.org/namespace == '{}'", self.dice.one(&SPACES)),
        };
        match self.dice.below(if depth == 0 { 2 } else { 8 }) {
            0 if depth > 0 => format!("{simple} && {}", self.selector(depth - 1)),
            1 if depth > 0 => format!("{simple} || {}", self.selector(depth - 1)),
            2 => format!("!({})", self.selector(depth - 1)),
            _ => simple,
        }
    }

    fn of_namespaces(&mut self) -> String {
        match self.dice.below(5) {
            0 => "all()".to_string(),
            1 => "global()".to_string(),
            2 => format!("projectcalico.org/name == '{}'", self.dice.one(&SPACES)),
            3 => "team != 'r'".to_string(),
            _ => self.dice.one(&["has(team)", "!has(team)", "team == 'r'"]).to_string(),
        }
    }

    fn side(&mut self, with_ports: bool) -> Map<String, Value> {
        let mut side = Map::new();
        let mut put = |key: &str, value: Value| drop(side.insert(key.to_string(), value));
        if self.dice.rarely(4) {
            let few: Vec<&str> = (0..self.dice.below(3)).map(|_| self.net(0)).collect();
            put("nets", json!([few, vec![self.family().few_workloads]].concat()));
        }
        if self.dice.rarely(6) {
            put("notNets", json!((0..1 + self.dice.below(2)).map(|_| self.net(0)).collect::<Vec<_>>()));
        }
        if self.dice.rarely(3) {
            put("selector", json!(self.selector(2)));
        }
        if self.dice.rarely(7) {
            put("notSelector", json!(self.selector(1)));
        }
        if self.dice.rarely(6) {
            put("namespaceSelector", json!(self.of_namespaces()));
        }
        if self.dice.rarely(9) {
            put("serviceAccounts", json!({ "names": [self.dice.one(&["bot", "ci"])] }));
        }
        if with_ports {
            let number = |text: String| serde_yaml::from_str::<Value>(&text).expect("YAML");
            for (key, often) in [("ports", 2), ("notPorts", 6)] {
                if self.dice.rarely(often) {
                    let ports = (0..1 + self.dice.below(2)).map(|_| number(self.dice.one(&PORTS).to_string()));
                    put(key, ports.collect());
                }
            }
        }
        side
    }

    fn rule(&mut self) -> Value {
        let mut rule = Map::new();
        let action = self.dice.one(&["Allow", "Allow", "Allow", "Deny", "Deny", "Pass", "Log"]);
        rule.insert("action".into(), json!(action));
        let protocol = self.dice.one(&["", "TCP", "TCP", "UDP", "ICMP", "ICMPv6"]);
        if !protocol.is_empty() {
            rule.insert("protocol".into(), json!(protocol));
        } else if self.dice.rarely(3) {
            rule.insert("notProtocol".into(), json!(self.dice.one(&["TCP", "UDP", "ICMP", "ICMPv6"])));
        }
        if self.dice.rarely(8) {
            let version = match protocol {
                "ICMP" => 4,
                "ICMPv6" => 6,
                _ => 4 + 2 * self.dice.below(2),
            };
            rule.insert("ipVersion".into(), json!(version));
        }
        if let Some(family) = [&V4, &V6].into_iter().find(|family| family.icmp == protocol)
            && self.dice.rarely(2)
        {
            let (kind, code) = family.requests[self.dice.below(2)];
            let wanted =
                if self.dice.rarely(2) { json!({ "type": kind }) } else { json!({ "type": kind, "code": code }) };
            rule.insert(self.dice.one(&["icmp", "icmp", "notICMP"]).into(), wanted);
        }
        let version = rule.get("ipVersion").and_then(Value::as_u64);
        for end in ["source", "destination"] {
            let mut side = self.side(protocol == "TCP" || protocol == "UDP");
            // A version and nets of the other one are refused.
            for (key, nets) in side.iter_mut().filter(|(key, _)| *key == "nets" || *key == "notNets") {
                let fits = |net: &Value| {
                    version.is_none_or(|version| net.as_str().is_some_and(|it| it.contains(':') == (version == 6)))
                };
                nets.as_array_mut().unwrap_or_else(|| panic!("{key} is a list")).retain(fits);
            }
            side.retain(|_, value| !value.as_array().is_some_and(Vec::is_empty));
            if !side.is_empty() {
                rule.insert(end.into(), side.into());
            }
        }
        rule.into()
    }

    /// At most so many.
    fn rules(&mut self, most: usize) -> Vec<Value> {
        (0..self.dice.below(most + 1)).map(|_| self.rule()).collect()
    }

    fn policy(&mut self, index: usize) -> Value {
        let mut spec = Map::new();
        spec.insert("selector".into(), json!(self.selector(2)));
        if self.dice.rarely(2) {
            spec.insert("order".into(), json!([1.0, 10.0, 10.5][self.dice.below(3)]));
        }
        if self.dice.rarely(3) {
            spec.insert("tier".into(), json!("early"));
        }
        for (key, rules) in [("ingress", self.rules(3)), ("egress", self.rules(2))] {
            if !rules.is_empty() {
                spec.insert(key.into(), json!(rules));
            }
        }
        if self.dice.rarely(2) {
            spec.insert("types".into(), json!(["Ingress", "Egress"]));
        }
        let name = format!("{}{index}", self.dice.one(&["p", "p-x", "p.x"]));
        let (kind, metadata) = match self.dice.rarely(2) {
            true => ("GlobalNetworkPolicy", json!({ "name": name })),
            false => ("NetworkPolicy", json!({ "name": name, "namespace": self.dice.one(&SPACES) })),
        };
        if kind == "GlobalNetworkPolicy" && self.dice.rarely(5) {
            spec.insert("namespaceSelector".into(), json!(self.of_namespaces()));
        }
        if kind == "GlobalNetworkPolicy" && self.dice.rarely(3) {
            spec.insert("applyOnForward".into(), json!(true));
        }
        calico(kind, metadata, spec.into())
    }

    /// A label selector of Kubernetes.
    fn label_selector(&mut self, labels: &[&str], values: &[&str]) -> Value {
        let mut selector = Map::new();
        if self.dice.rarely(3) {
            selector.insert("matchLabels".into(), json!({ self.dice.one(labels): self.dice.one(values) }));
        }
        if self.dice.rarely(3) {
            let key = self.dice.one(labels);
            let operator = self.dice.one(&["In", "NotIn", "Exists", "DoesNotExist"]);
            let one = match operator {
                "In" | "NotIn" => {
                    let values = [self.dice.one(values), self.dice.one(values)];
                    json!({ "key": key, "operator": operator, "values": values })
                }
                _ => json!({ "key": key, "operator": operator }),
            };
            selector.insert("matchExpressions".into(), json!([one]));
        }
        selector.into()
    }

    fn peer(&mut self) -> Value {
        if self.dice.rarely(4) {
            let family = self.family();
            return match self.dice.below(3) {
                0 => json!({ "ipBlock": { "cidr": self.dice.one(&family.nets) } }),
                1 => json!({ "ipBlock": { "cidr": family.nets[0], "except": [self.dice.one(&family.nets[1..4])] } }),
                _ => {
                    let except = [self.dice.one(&family.nets), self.dice.one(&family.nets)];
                    json!({ "ipBlock": { "cidr": family.everything, "except": except } })
                }
            };
        }
        let kinds = 1 + self.dice.below(3);
        let mut peer = Map::new();
        if kinds & 1 != 0 {
            peer.insert("podSelector".into(), self.label_selector(&["app", "role", "on"], &VALUES));
        }
        if kinds & 2 != 0 {
            let labels = ["team", "kubernetes.io/metadata.name"];
            peer.insert("namespaceSelector".into(), self.label_selector(&labels, &["r", "b", "red", "green"]));
        }
        peer.into()
    }

    fn kubernetes_port(&mut self) -> Value {
        let mut port = Map::new();
        if self.dice.rarely(2) {
            port.insert("protocol".into(), json!(self.dice.one(&["TCP", "UDP"])));
        }
        match self.dice.below(5) {
            0 => {}
            1 => drop(port.insert("port".into(), json!(self.dice.one(&["http", "dns"])))),
            2 => {
                port.insert("port".into(), json!(53));
                port.insert("endPort".into(), json!(80 + self.dice.below(2)));
            }
            _ => drop(port.insert("port".into(), json!([53, 80, 81][self.dice.below(3)]))),
        }
        port.into()
    }

    fn kubernetes_policy(&mut self, index: usize) -> Value {
        let mut spec = Map::new();
        spec.insert("podSelector".into(), self.label_selector(&["app", "role", "on"], &VALUES));
        for (key, peers) in [("ingress", "from"), ("egress", "to")] {
            if self.dice.rarely(3) {
                continue;
            }
            let mut rules = Vec::new();
            for _ in 0..self.dice.below(3) {
                let mut rule = Map::new();
                if !self.dice.rarely(4) {
                    rule.insert(peers.into(), (0..1 + self.dice.below(2)).map(|_| self.peer()).collect());
                }
                if self.dice.rarely(2) {
                    rule.insert("ports".into(), (0..1 + self.dice.below(2)).map(|_| self.kubernetes_port()).collect());
                }
                rules.push(Value::from(rule));
            }
            spec.insert(key.into(), json!(rules));
        }
        if self.dice.rarely(3) {
            let types = [json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])];
            spec.insert("policyTypes".into(), types[self.dice.below(3)].clone());
        }
        json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "name": format!("k{index}"), "namespace": self.dice.one(&SPACES) }, "spec": spec })
    }

    fn documents(&mut self) -> Vec<Value> {
        let order = [json!(5), json!(2_000_000)][self.dice.below(2)].clone();
        let tier = json!({ "order": order, "defaultAction": self.dice.one(&["Deny", "Pass"]) });
        let profile = json!({ "labelsToApply": { "role": "a" }, "ingress": [self.rule(), self.rule()],
            "egress": [self.rule()] });
        let (global, own) = (self.net(4), [self.net(1), self.net(1)]);
        let mut documents = vec![
            calico("Tier", json!({ "name": "early" }), tier),
            calico("GlobalNetworkSet", json!({ "name": "g", "labels": { "app": "a" } }), json!({ "nets": [global] })),
            calico(
                "NetworkSet",
                json!({ "name": "s", "namespace": "blue", "labels": { "role": "b" } }),
                json!({ "nets": own }),
            ),
            calico("Profile", json!({ "name": "own" }), profile),
        ];
        if self.dice.rarely(4) {
            documents.push(self.host_endpoint());
        }
        for index in 0..1 + self.dice.below(5) {
            let is_kubernetes = self.dice.rarely(4);
            documents.push(if is_kubernetes { self.kubernetes_policy(index) } else { self.policy(index) });
        }
        documents
    }

    fn labels(&mut self) -> Map<String, Value> {
        let mut labels = Map::new();
        for label in ["app", "role", "on"] {
            if self.dice.below(3) > 0 {
                labels.insert(label.into(), json!(self.dice.one(&VALUES)));
            }
        }
        labels
    }

    /// Of the interface to those outside: by name, by address, or as all that there are.
    fn host_endpoint(&mut self) -> Value {
        let mut spec = json!({ "node": "n1", "ports": [{ "name": "http", "protocol": "TCP", "port": 81 }] });
        let by_address = self.dice.rarely(3);
        if !by_address {
            spec["interfaceName"] = json!(self.dice.one(&["eth0", "*"]));
        }
        if by_address || self.dice.rarely(2) {
            spec["expectedIPs"] = json!([HOST]);
        }
        if self.dice.rarely(2) {
            spec["profiles"] = json!(["own"]);
        }
        calico("HostEndpoint", json!({ "name": "uplink", "labels": self.labels() }), spec)
    }

    fn workload(&mut self, index: usize) -> Value {
        let labels = self.labels();
        let namespace = self.dice.one(&SPACES);
        let ports = [
            json!({ "name": "http", "protocol": "TCP", "port": 80 + self.dice.below(2) }),
            json!({ "name": "dns", "protocol": self.dice.one(&["UDP", "TCP"]), "port": 53 }),
        ];
        // Of several families most have all.
        let families = match self.dice.rarely(4) {
            true => std::slice::from_ref(self.family()),
            false => self.families,
        };
        let addresses: Vec<String> = families.iter().map(|family| format!("{}{}", family.prefix, index + 1)).collect();
        let mut one = json!({ "name": format!("w{index}"), "namespace": namespace, "labels": labels,
            "serviceAccount": self.dice.one(&["bot", "ci"]), "ips": addresses,
            "ports": ports[self.dice.below(2)..].to_vec() });
        if self.dice.rarely(4) {
            let all = [json!(["own"]), json!(["own", format!("kns.{namespace}")]), json!([])];
            one["profiles"] = all[self.dice.below(3)].clone();
        }
        one
    }

    /// What is asked between two: each in one of the families that both have.
    fn questions(&mut self, case: &Case, from: &str, to: &str) -> Vec<Value> {
        let mut asked = Vec::new();
        for index in 0..8 {
            let family = self.family();
            let mut one = json!({ "from": from, "to": to, "family": family.number, "verdict": "" });
            match [("tcp", 80), ("tcp", 81), ("tcp", 53), ("udp", 53), ("udp", 80), ("tcp", 9)].get(index) {
                Some((protocol, port)) => {
                    one["proto"] = json!(protocol);
                    one["port"] = json!(port);
                }
                None => {
                    let (kind, code) = family.requests[index - 6];
                    one["proto"] = json!(family.icmp);
                    one["type"] = json!(kind);
                    one["code"] = json!(code);
                }
            }
            if case.ends(&serde_json::from_value(one.clone()).expect("a question")).is_some() {
                asked.push(one);
            }
        }
        asked
    }
}

fn calico(kind: &str, metadata: Value, spec: Value) -> Value {
    json!({ "apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec })
}

/// A cluster with policies, and the verdicts that the third opinion has on every pair. Half of the seeds are of IPv4, a
/// quarter of IPv6, a quarter of both.
pub fn random(seed: u64) -> Case {
    let mut dice = Dice(seed);
    let families: &[Family] = match dice.below(4) {
        0 | 1 => &[V4],
        2 => &[V6],
        _ => &[V4, V6],
    };
    let mut maker = Maker { dice, families };
    let documents = maker.documents();
    let yaml: Vec<String> = documents.iter().map(|one| serde_yaml::to_string(one).expect("YAML")).collect();
    let workloads: Vec<Value> = (0..5).map(|index| maker.workload(index)).collect();
    let account = |namespace: &&str| json!({ "name": "bot", "namespace": namespace, "labels": { "kind": "bot" } });
    let outside: Vec<&str> = families.iter().flat_map(|family| family.outside).collect();
    let mut text = json!({
        "name": format!("seed {seed}"),
        "namespaces": [{ "name": "red", "labels": { "team": "r" } }, { "name": "blue", "labels": { "team": "b" } },
            { "name": "green", "labels": {} }],
        "serviceAccounts": SPACES.iter().map(account).collect::<Vec<_>>(),
        "workloads": workloads,
        "outside": outside,
        "policy": yaml.join("---\n"),
        "host": HOST,
        "host6": families.iter().any(|family| family.number == 6).then_some(HOST6),
        "verdicts": [],
    });
    let bare = Case::read(&text.to_string());
    let mut names: Vec<String> = bare.workloads.iter().map(|one| one.display_name()).collect();
    names.extend(outside.iter().map(|address| format!("outside:{address}")));
    names.push("host".to_string());
    let mut verdicts = Vec::new();
    for from in &names {
        for to in names.iter().filter(|to| *to != from) {
            if [from, to].iter().all(|name| name.starts_with("outside:")) {
                continue;
            }
            verdicts.extend(maker.questions(&bare, from, to));
            if to == "host" && !from.starts_with("outside:") {
                let one = json!({ "from": from, "to": to, "family": 6, "proto": "ICMPv6", "type": SOLICITATION,
                    "verdict": "" });
                let both_have = bare.ends(&serde_json::from_value(one.clone()).expect("a question")).is_some();
                verdicts.extend(both_have.then_some(one));
            }
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
