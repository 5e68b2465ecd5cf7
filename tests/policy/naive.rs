//! A third opinion: policy as the specification has it, in the plainest way, sharing nothing with the engine. It reads the
//! documents themselves, keeps nothing, and asks everybody every time.
//!
//! Not in it: policies before translation and for untracked packets (`preDNAT`, `doNotTrack`).

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use crate::naive_selector::{Labels, holds};

/// Somebody whom rules can name: a workload, or a network set.
struct Somebody {
    labels: Labels,
    nets: Vec<String>,
    /// Name, protocol, port.
    ports: Vec<(String, String, u16)>,
    is_workload: bool,
}

struct Workload {
    name: String,
    who: usize,
    profiles: Vec<String>,
}

pub struct Naive {
    everybody: Vec<Somebody>,
    workloads: Vec<Workload>,
    /// The HostEndpoint, if there is one: it has profiles as a workload has.
    host: Option<Workload>,
    documents: Vec<Value>,
    namespaces: Vec<String>,
    accounts: Vec<String>,
}

/// The TCP port that no policy of a host endpoint closes, in the worlds of these tests.
const FAILSAFE: u16 = 9;

/// One packet, and who stands at its ends.
pub struct Packet<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: String,
    pub source_port: Option<u16>,
    pub port: Option<u16>,
    pub icmp: Option<(u8, u8)>,
}

fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(path).and_then(Value::as_str)
}

fn list<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten().collect()
}

fn labels(value: Option<&Value>) -> Labels {
    let pairs = value.and_then(Value::as_object).into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_string())).collect()
}

fn ports(value: &Value, path: &str) -> Vec<(String, String, u16)> {
    let read = |port: &Value| {
        let protocol = text(port, "/protocol").unwrap_or("TCP").to_lowercase();
        (text(port, "/name").unwrap().to_string(), protocol, port["port"].as_u64().unwrap() as u16)
    };
    list(value, path).into_iter().map(read).collect()
}

fn texts(value: &Value, path: &str) -> Vec<String> {
    list(value, path).into_iter().filter_map(Value::as_str).map(String::from).collect()
}

impl Naive {
    /// `case`: a case's JSON.
    pub fn new(case: &Value) -> Naive {
        let yaml = text(case, "/policy").unwrap_or_default();
        let documents: Vec<Value> = serde_yaml::Deserializer::from_str(yaml)
            .map(|document| {
                serde_json::to_value(serde_yaml::Value::deserialize(document).expect("YAML")).expect("text keys")
            })
            .filter(|document| !document.is_null())
            .collect();
        let mut naive = Naive {
            everybody: Vec::new(),
            workloads: Vec::new(),
            host: None,
            documents,
            namespaces: list(case, "/namespaces")
                .iter()
                .filter_map(|one| text(one, "/name"))
                .map(String::from)
                .collect(),
            accounts: Vec::new(),
        };
        let place =
            |name: &str| list(case, "/namespaces").into_iter().find(|one| text(one, "/name") == Some(name)).cloned();
        let of_namespace = |name: &str| {
            let mut found = Labels::new();
            for (key, value) in labels(place(name).as_ref().and_then(|place| place.get("labels"))) {
                found.insert(format!("pcns.{key}"), value);
            }
            found.insert("pcns.projectcalico.org/name".into(), name.into());
            found.insert("pcns.kubernetes.io/metadata.name".into(), name.into());
            found
        };
        for account in list(case, "/serviceAccounts") {
            naive.accounts.push(format!(
                "{}.{}",
                text(account, "/namespace").unwrap(),
                text(account, "/name").unwrap()
            ));
        }
        for one in list(case, "/workloads") {
            let (namespace, name) = (text(one, "/namespace").unwrap(), text(one, "/name").unwrap());
            let account = text(one, "/serviceAccount").filter(|account| !account.is_empty());
            let profiles: Vec<String> = match one.get("profiles").and_then(Value::as_array) {
                Some(names) => names.iter().filter_map(Value::as_str).map(String::from).collect(),
                None => std::iter::once(format!("kns.{namespace}"))
                    .chain(account.map(|account| format!("ksa.{namespace}.{account}")))
                    .collect(),
            };
            let mut all = labels(one.get("labels"));
            naive.inherit(&mut all, &profiles);
            if profiles.contains(&format!("kns.{namespace}")) {
                all.extend(of_namespace(namespace));
            }
            all.insert("projectcalico.org/namespace".into(), namespace.into());
            if let Some(account) = account {
                all.insert("projectcalico.org/serviceaccount".into(), account.into());
                let known = list(case, "/serviceAccounts")
                    .into_iter()
                    .find(|it| text(it, "/namespace") == Some(namespace) && text(it, "/name") == Some(account));
                if profiles.contains(&format!("ksa.{namespace}.{account}")) {
                    for (key, value) in labels(known.and_then(|known| known.get("labels"))) {
                        all.insert(format!("pcsa.{key}"), value);
                    }
                }
            }
            let somebody =
                Somebody { labels: all, nets: texts(one, "/ips"), ports: ports(one, "/ports"), is_workload: true };
            naive.everybody.push(somebody);
            let who = naive.everybody.len() - 1;
            naive.workloads.push(Workload { name: format!("{namespace}/{name}"), who, profiles });
        }
        for set in naive.documents.iter().filter(|it| it["kind"] == "GlobalNetworkSet" || it["kind"] == "NetworkSet") {
            let mut all = labels(set.pointer("/metadata/labels"));
            if set["kind"] == "NetworkSet" {
                let namespace = text(set, "/metadata/namespace").unwrap_or("default");
                all.extend(of_namespace(namespace));
                all.insert("projectcalico.org/namespace".into(), namespace.into());
            }
            let nets = texts(set, "/spec/nets");
            naive.everybody.push(Somebody { labels: all, nets, ports: Vec::new(), is_workload: false });
        }
        if let Some(host) = naive.documents.iter().find(|it| it["kind"] == "HostEndpoint") {
            let (name, profiles) = (text(host, "/metadata/name").unwrap().to_string(), texts(host, "/spec/profiles"));
            let mut all = labels(host.pointer("/metadata/labels"));
            naive.inherit(&mut all, &profiles);
            let (nets, ports) = (texts(host, "/spec/expectedIPs"), ports(host, "/spec/ports"));
            naive.host = Some(Workload { name, who: naive.everybody.len(), profiles });
            naive.everybody.push(Somebody { labels: all, nets, ports, is_workload: false });
        }
        naive
    }

    /// "An endpoint's own label wins over a profile's labelsToApply", the first profile's over a later one's.
    fn inherit(&self, all: &mut Labels, profiles: &[String]) {
        for profile in profiles {
            let named = |it: &&Value| it["kind"] == "Profile" && text(it, "/metadata/name") == Some(profile);
            let found = self.documents.iter().find(named);
            for (key, value) in labels(found.and_then(|it| it.pointer("/spec/labelsToApply"))) {
                all.entry(key).or_insert(value);
            }
        }
    }

    pub fn allows(&self, packet: &Packet) -> bool {
        let workload = |name: &str| self.workloads.iter().find(|one| one.name == name);
        // A workload always finds its host by neighbour discovery: RS, NS and NA (felix, and RFC 4861).
        let discovery = packet.protocol == "icmpv6" && packet.icmp.is_some_and(|it| [133, 135, 136].contains(&it.0));
        if packet.to == "host" && discovery {
            return true;
        }
        // "Host to workload always passes." "Workload to host passes the workload's egress policy, then the setting."
        let leaves = workload(packet.from).is_none_or(|from| self.judge(from, "egress", packet));
        let arrives = packet.from == "host" || workload(packet.to).is_none_or(|to| self.judge(to, "ingress", packet));
        leaves && arrives && self.crosses(packet)
    }

    /// The host endpoint of the host's interface to those outside.
    fn crosses(&self, packet: &Packet) -> bool {
        let (inside, direction) = match (packet.from.starts_with("outside:"), packet.to.starts_with("outside:")) {
            (true, false) => (packet.to, "ingress"),
            (false, true) => (packet.from, "egress"),
            _ => return true,
        };
        let Some(host) = &self.host else { return true };
        let who = &self.everybody[host.who];
        let is_failsafe = packet.protocol == "tcp" && packet.port == Some(FAILSAFE);
        match inside {
            // "Default deny once present", its failsafe ports apart.
            "host" => is_failsafe || self.judge(host, direction, packet),
            // "An ordinary policy leaves forwarded traffic alone; with applyOnForward it meets its default deny too."
            _ => self.policies(who, direction, packet, |it| it["spec"]["applyOnForward"] == true).unwrap_or(true),
        }
    }

    fn judge(&self, workload: &Workload, direction: &str, packet: &Packet) -> bool {
        let who = &self.everybody[workload.who];
        let decided = self.policies(who, direction, packet, |_| true);
        decided.unwrap_or_else(|| self.ask_profiles(&workload.profiles, direction, packet))
    }

    /// Tier after tier, of those that are asked; `None`: nobody has decided.
    fn policies(&self, who: &Somebody, direction: &str, packet: &Packet, asked: fn(&Value) -> bool) -> Option<bool> {
        let mut governing: Vec<&Value> =
            self.documents.iter().filter(|it| governs(it, who, direction) && asked(it)).collect();
        // "Tiers by order (absent = last), then by name"; "policies in a tier likewise", ties by NAME/NAMESPACE/KIND.
        let rank = |order: Option<f64>| order.unwrap_or(f64::INFINITY);
        // "Kubernetes policies have order 1000."
        let order = |it: &Value| match is_kubernetes(it) {
            true => Some(1000.0),
            false => it.pointer("/spec/order").and_then(Value::as_f64),
        };
        let tie = |it: &Value| {
            let is_global = it["kind"] == "GlobalNetworkPolicy";
            let namespace = if is_global { "" } else { text(it, "/metadata/namespace").unwrap_or("default") };
            format!("{}/{namespace}/{}", text(it, "/metadata/name").unwrap(), it["kind"].as_str().unwrap())
        };
        governing.sort_by(|a, b| {
            let (first, second) = (self.tier(a), self.tier(b));
            let tiers = rank(first.1).total_cmp(&rank(second.1)).then_with(|| first.0.cmp(&second.0));
            let orders = rank(order(a)).total_cmp(&rank(order(b)));
            tiers.then(orders).then_with(|| tie(a).cmp(&tie(b)))
        });
        let mut passed = None;
        for (index, policy) in governing.iter().enumerate() {
            let tier = self.tier(policy);
            if passed.as_ref() == Some(&tier.0) {
                continue;
            }
            match self.decide(policy, direction, packet) {
                Some("Pass") => passed = Some(tier.0),
                Some(action) => return Some(action == "Allow"),
                None => {
                    // "End of tier: ... none decided, the tier's default action."
                    let is_last = governing.get(index + 1).is_none_or(|next| self.tier(next).0 != tier.0);
                    if is_last && tier.2 == "Deny" {
                        return Some(false);
                    }
                }
            }
        }
        None
    }

    /// "No policy applies: profiles, in order; none accepts: drop." "Pass in a profile to the next profile."
    fn ask_profiles(&self, profiles: &[String], direction: &str, packet: &Packet) -> bool {
        for profile in profiles {
            let applied =
                self.documents.iter().find(|it| it["kind"] == "Profile" && text(it, "/metadata/name") == Some(profile));
            let decision = match applied {
                Some(applied) => self.decide(applied, direction, packet),
                None if profile
                    .strip_prefix("kns.")
                    .is_some_and(|name| self.namespaces.iter().any(|it| it == name)) =>
                {
                    Some("Allow")
                }
                None if profile.strip_prefix("ksa.").is_some_and(|name| self.accounts.iter().any(|it| it == name)) => {
                    None
                }
                None => Some("Deny"),
            };
            match decision {
                None | Some("Pass") => {}
                Some(action) => return action == "Allow",
            }
        }
        false
    }

    /// Name, order, default action.
    fn tier(&self, policy: &Value) -> (String, Option<f64>, String) {
        let name = text(policy, "/spec/tier").unwrap_or("default");
        let applied = self.documents.iter().find(|it| it["kind"] == "Tier" && text(it, "/metadata/name") == Some(name));
        let (order, action) = match (applied, name) {
            (_, "kube-admin") => (Some(1_000.0), "Pass"),
            (_, "default") => (Some(1_000_000.0), "Deny"),
            (_, "kube-baseline") => (Some(10_000_000.0), "Pass"),
            (Some(tier), _) => (
                tier.pointer("/spec/order").and_then(Value::as_f64),
                text(tier, "/spec/defaultAction").unwrap_or("Deny"),
            ),
            (None, _) => (None, "Deny"),
        };
        (name.to_string(), order, action.to_string())
    }

    fn decide<'a>(&self, policy: &'a Value, direction: &str, packet: &Packet) -> Option<&'a str> {
        if is_kubernetes(policy) {
            return self.lets_through(policy, direction, packet).then_some("Allow");
        }
        let namespace =
            (policy["kind"] == "NetworkPolicy").then(|| text(policy, "/metadata/namespace").unwrap_or("default"));
        list(policy, &format!("/spec/{direction}"))
            .into_iter()
            .filter(|rule| self.matches(rule, namespace, packet))
            .filter_map(|rule| text(rule, "/action"))
            // "Log is never final."
            .find(|action| *action != "Log")
    }

    /// Kubernetes: a rule lets through what comes from (or goes to) one of its peers by one of its ports; none of either
    /// are all.
    fn lets_through(&self, policy: &Value, direction: &str, packet: &Packet) -> bool {
        let (peers, address) = match direction {
            "ingress" => ("/from", packet.source),
            _ => ("/to", packet.destination),
        };
        let own = text(policy, "/metadata/namespace").unwrap_or("default");
        let holders = |address| {
            let holds = move |one: &&Somebody| one.nets.iter().any(|net| contains(net, address));
            self.everybody.iter().filter(holds)
        };
        let is_peer = |peer: &&Value| match peer.get("ipBlock") {
            Some(block) => {
                let except = list(block, "/except").into_iter().filter_map(Value::as_str);
                contains(text(block, "/cidr").unwrap(), address)
                    && !except.into_iter().any(|net| contains(net, address))
            }
            None => holders(address).filter(|one| one.is_workload).any(|pod| {
                let of_namespace = match peer.get("namespaceSelector") {
                    Some(selector) => selected(selector, &pod.labels, "pcns."),
                    None => pod.labels["projectcalico.org/namespace"] == own,
                };
                of_namespace && peer.get("podSelector").is_none_or(|selector| selected(selector, &pod.labels, ""))
            }),
        };
        let is_port = |wanted: &&Value| {
            let number = |field: &str| wanted.get(field).and_then(Value::as_u64);
            let inside = match (number("port"), number("endPort"), text(wanted, "/port")) {
                (Some(first), last, _) => {
                    packet.port.is_some_and(|port| first <= port.into() && u64::from(port) <= last.unwrap_or(first))
                }
                // "A named port is a set over the endpoints": those of hosts are among them.
                (None, _, Some(name)) => {
                    holders(packet.destination).flat_map(|one| &one.ports).any(|(called, of, number)| {
                        called == name && *of == packet.protocol && Some(*number) == packet.port
                    })
                }
                (None, _, None) => true,
            };
            inside && text(wanted, "/protocol").unwrap_or("TCP").to_lowercase() == packet.protocol
        };
        list(policy, &format!("/spec/{direction}")).into_iter().any(|rule| {
            let (peers, ports) = (list(rule, peers), list(rule, "/ports"));
            (peers.is_empty() || peers.iter().any(is_peer)) && (ports.is_empty() || ports.iter().any(is_port))
        })
    }

    /// "All fields of a rule are ANDed."
    fn matches(&self, rule: &Value, namespace: Option<&str>, packet: &Packet) -> bool {
        let version = if packet.source.is_ipv4() { 4 } else { 6 };
        let is_protocol = |wanted: &Value| protocol(wanted) == packet.protocol;
        let is_icmp = |wanted: &Value| {
            packet.icmp.is_some_and(|(kind, code)| {
                wanted["type"].as_u64() == Some(kind.into())
                    && wanted.get("code").is_none_or(|it| it.as_u64() == Some(code.into()))
            })
        };
        rule.get("ipVersion").is_none_or(|wanted| wanted.as_u64() == Some(version))
            && rule.get("protocol").is_none_or(is_protocol)
            && !rule.get("notProtocol").is_some_and(is_protocol)
            && rule.get("icmp").is_none_or(is_icmp)
            && !rule.get("notICMP").is_some_and(is_icmp)
            && self.side(rule.get("source"), namespace, packet, packet.source, packet.source_port)
            && self.side(rule.get("destination"), namespace, packet, packet.destination, packet.port)
    }

    fn side(
        &self,
        side: Option<&Value>,
        policy: Option<&str>,
        packet: &Packet,
        address: IpAddr,
        port: Option<u16>,
    ) -> bool {
        let Some(side) = side else { return true };
        let within =
            |path: &str| list(side, path).iter().filter_map(|net| net.as_str()).any(|net| contains(net, address));
        if side.get("nets").is_some() && !within("/nets") || within("/notNets") {
            return false;
        }
        let given = |field: &str| side.get(field).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        let (selector, not, space) = (given("selector"), given("notSelector"), given("namespaceSelector"));
        let accounts = side.get("serviceAccounts");
        // "In a NetworkPolicy any selector field of a rule limits that side to the policy's own namespace."
        let own = policy.filter(|_| space.is_none() && (selector.is_some() || not.is_some() || accounts.is_some()));
        let positive = selector.is_some() || space.is_some() || accounts.is_some() || own.is_some();
        let meant = |one: &Somebody| {
            selector.is_none_or(|text| holds(text, &one.labels, ""))
                && space.is_none_or(|text| holds(text, &one.labels, "pcns."))
                && own.is_none_or(|name| one.labels.get("projectcalico.org/namespace").is_some_and(|it| it == name))
                && accounts.is_none_or(|accounts| {
                    let names = list(accounts, "/names");
                    let account = one.labels.get("projectcalico.org/serviceaccount");
                    (names.is_empty() || names.iter().any(|name| account.map(String::as_str) == name.as_str()))
                        && text(accounts, "/selector").is_none_or(|text| holds(text, &one.labels, "pcsa."))
                })
        };
        // "sel && !not", one expression per member; a lone notSelector must hold for no member.
        let excluded = |one: &Somebody| not.is_some_and(|text| holds(text, &one.labels, ""));
        let holders: Vec<&Somebody> =
            self.everybody.iter().filter(|one| one.nets.iter().any(|net| contains(net, address))).collect();
        let wanted: Vec<&&Somebody> = match positive {
            true => holders.iter().filter(|one| meant(one) && !excluded(one)).collect(),
            false => holders.iter().collect(),
        };
        if positive && wanted.is_empty() || !positive && holders.iter().any(|one| excluded(one)) {
            return false;
        }
        let is_port = |given: &Value| match (given.as_u64(), given.as_str().unwrap_or_default().split_once(':')) {
            (Some(number), _) => port == Some(number as u16),
            (None, Some((first, last))) => {
                port.is_some_and(|port| first.parse::<u16>().unwrap() <= port && port <= last.parse::<u16>().unwrap())
            }
            (None, None) => {
                let name = given.as_str().unwrap_or_default();
                match name.parse::<u16>() {
                    Ok(number) => port == Some(number),
                    Err(_) => wanted.iter().flat_map(|one| &one.ports).any(|(called, protocol, number)| {
                        called == name && *protocol == packet.protocol && port == Some(*number)
                    }),
                }
            }
        };
        (list(side, "/ports").is_empty() || list(side, "/ports").into_iter().any(is_port))
            && !list(side, "/notPorts").into_iter().any(is_port)
    }
}

fn is_kubernetes(document: &Value) -> bool {
    document["apiVersion"] == "networking.k8s.io/v1"
}

/// A label selector of Kubernetes: all that it says must hold.
fn selected(selector: &Value, labels: &Labels, prefix: &str) -> bool {
    let given = |key: &str| labels.get(&format!("{prefix}{key}")).map(String::as_str);
    let pairs = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    pairs.into_iter().all(|(key, value)| given(key) == value.as_str())
        && list(selector, "/matchExpressions").into_iter().all(|one| {
            let value = given(text(one, "/key").unwrap());
            let found = list(one, "/values").iter().any(|wanted| value.is_some() && wanted.as_str() == value);
            match text(one, "/operator").unwrap() {
                "In" => found,
                "NotIn" => !found,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

fn governs(document: &Value, who: &Somebody, direction: &str) -> bool {
    let is_global = document["kind"] == "GlobalNetworkPolicy";
    if !is_global && document["kind"] != "NetworkPolicy" {
        return false;
    }
    let has = |field: &str| {
        document.pointer(&format!("/spec/{field}")).is_some_and(|it| !it.as_array().is_some_and(Vec::is_empty))
    };
    let field = if is_kubernetes(document) { "/spec/policyTypes" } else { "/spec/types" };
    // "Default types: Ingress, unless only egress rules exist"; of Kubernetes always Ingress.
    let types = match list(document, field).as_slice() {
        [] if is_kubernetes(document) && has("egress") => vec!["ingress".to_string(), "egress".to_string()],
        [] if has("egress") && !has("ingress") => vec!["egress".to_string()],
        [] if has("egress") => vec!["ingress".to_string(), "egress".to_string()],
        [] => vec!["ingress".to_string()],
        given => given.iter().filter_map(|it| it.as_str()).map(str::to_lowercase).collect(),
    };
    let selects = |field: &str, prefix: &str| {
        let selector = text(document, &format!("/spec/{field}")).filter(|text| !text.trim().is_empty());
        selector.is_none_or(|text| holds(text, &who.labels, prefix))
    };
    let own = text(document, "/metadata/namespace").unwrap_or("default");
    types.iter().any(|it| it == direction)
        && (!is_kubernetes(document)
            || document.pointer("/spec/podSelector").is_none_or(|selector| selected(selector, &who.labels, "")))
        && selects("selector", "")
        && (!is_global || selects("namespaceSelector", "pcns."))
        && selects("serviceAccountSelector", "pcsa.")
        && (is_global || who.labels.get("projectcalico.org/namespace").is_some_and(|it| it == own))
}

fn protocol(value: &Value) -> String {
    let name =
        value.as_u64().map_or_else(|| value.as_str().unwrap_or_default().to_lowercase(), |number| number.to_string());
    match name.as_str() {
        "1" => "icmp".into(),
        "6" => "tcp".into(),
        "17" => "udp".into(),
        "58" => "icmpv6".into(),
        "132" => "sctp".into(),
        "136" => "udplite".into(),
        _ => name,
    }
}

fn contains(net: &str, address: IpAddr) -> bool {
    let (base, length) = net.split_once('/').map_or((net, None), |(base, length)| (base, length.parse::<u32>().ok()));
    match (base.parse::<IpAddr>().expect("an address"), address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let shift = 32 - length.unwrap_or(32);
            u64::from(u32::from(base)) >> shift == u64::from(u32::from(address)) >> shift
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let shift = 128 - length.unwrap_or(128);
            shift == 128 || u128::from(base) >> shift == u128::from(address) >> shift
        }
        _ => false,
    }
}
