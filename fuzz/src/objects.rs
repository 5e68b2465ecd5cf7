//! Objects of policy as somebody might write them, most of them sound, some with words that are meant to do harm.

use serde_json::{Map, Value, json};

use super::bytes::Bytes;

/// Pieces of words that must not reach iptables as they are.
const WILD: [&str; 28] = [
    "a",
    "B",
    "9",
    "-",
    "_",
    ".",
    "/",
    "+",
    "!",
    " ",
    "\n",
    "\r",
    "\t",
    "\0",
    "\"",
    "'",
    "\\",
    "#",
    "$",
    "%s",
    "{",
    "é",
    ",",
    ":",
    " -j ACCEPT",
    "\nCOMMIT\n",
    "--match-set",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];
const NAMES: [&str; 5] = ["p", "a-b", "a.c", "x0", "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz"];
const SPACES: [&str; 2] = ["red", "blue"];
const LABELS: [&str; 3] = ["app", "role", "k8s.example/name"];
const VALUES: [&str; 3] = ["a", "b", ""];
const NETS: [&str; 9] = [
    "0.0.0.0/0",
    "10.88.0.0/16",
    "10.88.0.1/32",
    "128.0.0.0/1",
    "::/0",
    "fd88::/64",
    "fd88::1/128",
    "10.88.0.1/8",
    "10.0.0.0",
];
const PROTOCOLS: [&str; 12] =
    ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite", "47", "255", "6", "\"tcp\"", "0", "256"];
const PORTS: [&str; 12] = [
    "80",
    "0",
    "65535",
    "65536",
    "\"80:90\"",
    "\"90:80\"",
    "\"0:65535\"",
    "\"http\"",
    "\"dns-tcp\"",
    "-1",
    "\"1:\"",
    "8080",
];

/// A name: mostly a sound one.
fn word(bytes: &mut Bytes, sound: &[&str]) -> String {
    if !bytes.rarely(12) {
        return bytes.one(sound).to_string();
    }
    (0..1 + bytes.below(8)).map(|_| bytes.one(&WILD)).collect()
}

fn selector(bytes: &mut Bytes) -> String {
    let (label, value) = (bytes.one(&LABELS), word(bytes, &VALUES));
    match bytes.below(8) {
        0 => String::new(),
        1 => format!("has({label})"),
        2 => format!("{label} in {{'{value}', 'b'}}"),
        3 => format!("{label} != \"{value}\""),
        4 => format!("!({label} contains '{value}')"),
        5 => "all()".to_string(),
        6 => word(bytes, &["global()", "!has(app) || role == 'a'"]),
        _ => format!("{label} == '{value}' && {} starts with '{value}'", bytes.one(&LABELS)),
    }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

fn port(bytes: &mut Bytes) -> Value {
    match bytes.below(3) {
        0 => json_of(bytes.one(&PORTS)),
        1 => json!(bytes.number()),
        _ => json!(format!("{}:{}", bytes.number(), u16::MAX)),
    }
}

fn side(bytes: &mut Bytes) -> Value {
    let mut side = Map::new();
    let mut put = |key: &str, value: Value| drop(side.insert(key.to_string(), value));
    for key in ["nets", "notNets"] {
        if bytes.rarely(4) {
            put(key, (0..1 + bytes.below(3)).map(|_| json!(bytes.one(&NETS))).collect());
        }
    }
    for (key, of) in [("selector", 3), ("notSelector", 6), ("namespaceSelector", 6)] {
        if bytes.rarely(of) {
            put(key, json!(selector(bytes)));
        }
    }
    if bytes.rarely(8) {
        put("serviceAccounts", json!({ "names": [word(bytes, &["bot"])], "selector": selector(bytes) }));
    }
    for key in ["ports", "notPorts"] {
        if bytes.rarely(3) {
            let count = if bytes.rarely(6) { 40 } else { 1 + bytes.below(3) };
            put(key, (0..count).map(|_| port(bytes)).collect());
        }
    }
    side.into()
}

fn rule(bytes: &mut Bytes) -> Value {
    let mut rule = Map::new();
    rule.insert("action".into(), json!(bytes.one(&["Allow", "Deny", "Pass", "Log", "Log"])));
    let protocol = json_of(bytes.one(&PROTOCOLS));
    if !bytes.rarely(4) {
        rule.insert("protocol".into(), protocol.clone());
    }
    if bytes.rarely(5) {
        rule.insert("notProtocol".into(), json_of(bytes.one(&PROTOCOLS)));
    }
    if bytes.rarely(6) {
        rule.insert("ipVersion".into(), json!([4, 6, 5][bytes.below(3)]));
    }
    for key in ["icmp", "notICMP"] {
        if protocol.as_str().is_some_and(|name| name.starts_with("ICMP")) && bytes.rarely(2) {
            let kind = bytes.number() % 257;
            let code = bytes.number() % 257;
            rule.insert(
                key.into(),
                if bytes.rarely(2) { json!({ "type": kind }) } else { json!({ "type": kind, "code": code }) },
            );
        }
    }
    let names_ports = protocol.as_str().is_some_and(|name| !name.starts_with("ICMP"));
    for end in ["source", "destination"] {
        if bytes.rarely(2) {
            let mut side = side(bytes);
            if let Some(side) = side.as_object_mut().filter(|_| !names_ports && !bytes.rarely(8)) {
                side.remove("ports");
                side.remove("notPorts");
            }
            rule.insert(end.into(), side);
        }
    }
    rule.into()
}

fn rules(bytes: &mut Bytes) -> Value {
    (0..bytes.below(3)).map(|_| rule(bytes)).collect()
}

fn labels(bytes: &mut Bytes) -> Value {
    json!({ word(bytes, &LABELS): word(bytes, &VALUES), bytes.one(&LABELS): word(bytes, &VALUES) })
}

fn policy(bytes: &mut Bytes, kind: &str) -> Value {
    let mut spec = json!({ "selector": selector(bytes), "ingress": rules(bytes), "egress": rules(bytes),
        "tier": word(bytes, &["default", "early", "late"]) });
    if bytes.rarely(2) {
        spec["order"] = json!([0.5, -3.0, 1e300][bytes.below(3)]);
    }
    if bytes.rarely(3) {
        spec["types"] = json!([["Ingress"], ["Egress"]][bytes.below(2)]);
    }
    let mut metadata = json!({ "name": word(bytes, &NAMES) });
    if kind == "NetworkPolicy" {
        metadata["namespace"] = json!(word(bytes, &SPACES));
    } else if bytes.rarely(3) {
        let field = bytes.one(&["applyOnForward", "preDNAT", "doNotTrack"]);
        spec[field] = json!(true);
        spec["applyOnForward"] = json!(true);
        if field == "preDNAT" {
            spec["egress"] = json!([]);
        }
    }
    calico(kind, metadata, spec)
}

fn kubernetes(bytes: &mut Bytes) -> Value {
    let of = |bytes: &mut Bytes| json!({ "matchLabels": { word(bytes, &LABELS): word(bytes, &VALUES) } });
    let peer = json!({ "podSelector": of(bytes), "namespaceSelector": of(bytes) });
    let block = json!({ "ipBlock": { "cidr": bytes.one(&NETS) } });
    let port = json!({ "port": port(bytes), "protocol": bytes.one(&["TCP", "UDP", "SCTP"]) });
    let rule = |peers: &str| json!({ peers: [peer, block], "ports": [port] });
    let spec = json!({ "podSelector": of(bytes), "ingress": [rule("from")], "egress": [rule("to")] });
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": word(bytes, &NAMES), "namespace": word(bytes, &SPACES) }, "spec": spec })
}

fn calico(kind: &str, metadata: Value, spec: Value) -> Value {
    json!({ "apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec })
}

/// One document, of any kind that rules follow from.
pub fn document(bytes: &mut Bytes) -> Value {
    match bytes.below(12) {
        0 => {
            let spec = json!({ "order": bytes.below(3), "defaultAction": bytes.one(&["Deny", "Pass"]) });
            calico("Tier", json!({ "name": word(bytes, &["early", "late"]) }), spec)
        }
        1 => {
            let metadata = json!({ "name": word(bytes, &NAMES), "labels": labels(bytes) });
            calico("GlobalNetworkSet", metadata, json!({ "nets": [bytes.one(&NETS), bytes.one(&NETS)] }))
        }
        2 => {
            let metadata =
                json!({ "name": word(bytes, &NAMES), "namespace": word(bytes, &SPACES), "labels": labels(bytes) });
            calico("NetworkSet", metadata, json!({ "nets": [bytes.one(&NETS)] }))
        }
        3 => {
            let spec = json!({ "labelsToApply": labels(bytes), "ingress": rules(bytes), "egress": rules(bytes) });
            calico("Profile", json!({ "name": word(bytes, &["own"]) }), spec)
        }
        4 | 5 => {
            let port = json!({ "name": word(bytes, &["http"]), "protocol": "TCP", "port": 80 });
            let spec = json!({ "node": "n1", "interfaceName": word(bytes, &["eth0", "*", "eth0.100", "bond-lan_1"]),
                "ports": [port], "profiles": [word(bytes, &["own"])] });
            calico("HostEndpoint", json!({ "name": word(bytes, &NAMES), "labels": labels(bytes) }), spec)
        }
        6 => kubernetes(bytes),
        7 => json!({ "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": word(bytes, &SPACES), "labels": labels(bytes) } }),
        8 | 9 => policy(bytes, "NetworkPolicy"),
        _ => policy(bytes, "GlobalNetworkPolicy"),
    }
}

/// What a runtime says of a workload: labels, names of ports, its namespace; nobody has checked them.
pub struct Said {
    pub namespace: String,
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub port: String,
}

pub fn workload(bytes: &mut Bytes) -> Said {
    Said {
        namespace: word(bytes, &SPACES),
        name: word(bytes, &["w"]),
        labels: LABELS.iter().map(|label| (label.to_string(), word(bytes, &VALUES))).collect(),
        port: word(bytes, &["http", "dns-tcp"]),
    }
}
