//! Verdicts that Calico gave, packet by packet (`cases/`), asked of our evaluator. `CASES=DIR` asks those of another folder
//! (`make test-cases`).

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use routenet_core::desired::FactDelta;
use routenet_core::model::yaml::{read_documents, render_errors};
use routenet_core::model::{
    Endpoint, EndpointKey, Family, IcmpMatch, InterfaceName, Isolation, Labels, NamedPort, NetworkName, Protocol,
};
use routenet_core::policy::{Flow, PolicyEngine, Side, Verdict};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::probe::Probe;
use crate::world::{endpoint_fact, engine, network, node, policy_fact, this_node};

/// The network of all workloads.
const NETWORK: &str = "open";

#[derive(Clone, Deserialize)]
pub struct Case {
    pub name: String,
    namespaces: Vec<Place>,
    #[serde(rename = "serviceAccounts")]
    service_accounts: Vec<Account>,
    pub workloads: Vec<Workload>,
    /// Addresses behind the host's own interface.
    pub outside: Vec<IpAddr>,
    pub policy: String,
    pub host: IpAddr,
    /// Where it has one of IPv6 too. Calico's cases are of IPv4.
    #[serde(default)]
    pub host6: Option<Ipv6Addr>,
    pub verdicts: Vec<Asked>,
}

#[derive(Clone, Deserialize)]
struct Place {
    name: String,
    #[serde(default)]
    labels: Labels,
}

#[derive(Clone, Deserialize)]
struct Account {
    name: String,
    namespace: String,
    #[serde(default)]
    labels: Labels,
}

#[derive(Clone, Deserialize)]
pub struct Workload {
    name: String,
    namespace: String,
    #[serde(rename = "serviceAccount")]
    service_account: Option<String>,
    #[serde(default)]
    labels: Labels,
    pub ips: Vec<IpAddr>,
    #[serde(default)]
    ports: Vec<Port>,
    profiles: Option<Vec<String>>,
}

#[derive(Clone, Deserialize)]
struct Port {
    name: String,
    protocol: String,
    port: u16,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Asked {
    pub from: String,
    pub to: String,
    pub proto: String,
    pub port: Option<u16>,
    pub sport: Option<u16>,
    #[serde(rename = "type")]
    pub kind: Option<u8>,
    pub code: Option<u8>,
    /// 4 or 6, where both ends have both.
    #[serde(default)]
    pub family: Option<u8>,
    pub verdict: String,
}

fn folder() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy/cases");
    std::env::var_os("CASES").map_or_else(own, PathBuf::from)
}

/// Each with its text.
pub fn cases() -> Vec<(Case, String)> {
    let files = std::fs::read_dir(folder()).unwrap_or_else(|error| panic!("{}: {error}", folder().display()));
    let mut paths: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a file");
        let case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (case, text)
    };
    paths.iter().map(read).collect()
}

impl Case {
    pub fn read(text: &str) -> Case {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// One that a test writes down: `parts` are namespaces, workloads and outside, and each verdict is from, to, protocol,
    /// port and what is right.
    pub fn written(name: &str, mut parts: Value, policy: &str, verdicts: &[(&str, &str, &str, u16, &str)]) -> Case {
        let verdict = |(from, to, proto, port, verdict): &(&str, &str, &str, u16, &str)| -> Value {
            json!({ "from": from, "to": to, "proto": proto, "port": port, "verdict": verdict })
        };
        parts["name"] = json!(name);
        parts["serviceAccounts"] = json!([]);
        parts["policy"] = json!(policy);
        parts["host"] = json!("10.0.0.1");
        parts["verdicts"] = verdicts.iter().map(verdict).collect();
        Case::read(&parts.to_string())
    }
}

impl Workload {
    fn key(&self) -> EndpointKey {
        EndpointKey {
            network: NetworkName::new(NETWORK).expect("a name"),
            container_id: format!("{}-{}", self.namespace, self.name),
            ifname: InterfaceName::new("eth0").expect("a name"),
        }
    }

    /// How verdicts call it.
    pub fn display_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub fn endpoint(&self) -> Endpoint {
        let protocol = |port: &Port| Protocol::from_name(&port.protocol).expect("a protocol");
        let port = |port: &Port| NamedPort { name: port.name.clone(), protocol: protocol(port), port: port.port };
        Endpoint {
            key: self.key(),
            node: node("n1"),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            service_account: self.service_account.clone(),
            profiles: self.profiles.clone(),
            labels: self.labels.clone(),
            ports: self.ports.iter().map(port).collect(),
            addresses: self.ips.clone(),
            interface: None,
            attachment: None,
        }
    }
}

impl Case {
    /// The engine with all facts of the case.
    pub fn engine(&self) -> PolicyEngine {
        let IpAddr::V4(host) = self.host else { panic!("{}: the host has an IPv4 address", self.name) };
        let mut engine = engine(host, self.host6, true);
        let mut facts = vec![network(NETWORK, Isolation::Open), this_node(host, self.host6)];
        for place in &self.namespaces {
            facts.push(FactDelta::Namespace(place.name.clone(), Some(place.labels.clone())));
        }
        for account in &self.service_accounts {
            let (namespace, name) = (account.namespace.clone(), account.name.clone());
            facts.push(FactDelta::ServiceAccount(namespace, name, Some(account.labels.clone())));
        }
        let objects = read_documents(&self.name, &self.policy);
        let objects = objects.unwrap_or_else(|errors| panic!("{}", render_errors(&errors)));
        facts.extend(objects.into_iter().map(|object| policy_fact(object.value, true)));
        let uplink = InterfaceName::new("eth0").expect("a name");
        facts.push(FactDelta::HostAddresses(uplink, Some(self.addresses("host").into_iter().collect())));
        facts.extend(self.workloads.iter().map(|workload| endpoint_fact(&workload.endpoint())));
        engine.apply(&facts);
        assert!(engine.problems().is_empty(), "{}: {:?}", self.name, engine.problems());
        engine
    }

    fn side(&self, name: &str) -> Side {
        if name == "host" {
            return Side::Host(node("n1"));
        }
        if let Some(address) = name.strip_prefix("outside:") {
            return Side::Address(address.parse().expect("an address"));
        }
        Side::Workload(node("n1"), self.workload(name).key())
    }

    pub fn workload(&self, name: &str) -> &Workload {
        let found = self.workloads.iter().find(|one| one.display_name() == name);
        found.unwrap_or_else(|| panic!("{}: who is {name}?", self.name))
    }

    /// All that somebody has, as verdicts call him.
    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        match name.strip_prefix("outside:") {
            Some(text) => vec![text.parse().expect("an address")],
            None if name == "host" => std::iter::once(self.host).chain(self.host6.map(IpAddr::V6)).collect(),
            None => self.workload(name).ips.clone(),
        }
    }

    /// From which address to which: of the family that is asked for, or the first that both ends have.
    pub fn ends(&self, asked: &Asked) -> Option<(IpAddr, IpAddr)> {
        let (from, to) = (self.addresses(&asked.from), self.addresses(&asked.to));
        let wanted = |address: &&IpAddr| asked.family.is_none_or(|family| address.is_ipv6() == (family == 6));
        let mut pairs = from.iter().filter(wanted).filter_map(|from| {
            let to = to.iter().find(|to| to.is_ipv6() == from.is_ipv6())?;
            Some((*from, *to))
        });
        pairs.next()
    }

    /// The packet of a verdict; ICMP without a type is an echo request.
    pub fn probe(&self, asked: &Asked) -> Probe {
        let found = self.ends(asked);
        let (source, destination) = found.unwrap_or_else(|| panic!("{}: no family of both ends: {asked:?}", self.name));
        let protocol = Protocol::from_name(&asked.proto).expect("a protocol");
        let echo = match protocol {
            Protocol::ICMP => Some(8),
            Protocol::ICMPV6 => Some(128),
            _ => None,
        };
        Probe {
            source,
            destination,
            protocol,
            port: asked.port,
            source_port: asked.sport,
            icmp: echo.map(|echo| (asked.kind.unwrap_or(echo), asked.code.unwrap_or(0))),
        }
    }

    fn flow(&self, asked: &Asked) -> Flow {
        let probe = self.probe(asked);
        Flow {
            source: self.side(&asked.from),
            destination: self.side(&asked.to),
            family: Some(Family::of(probe.source)),
            protocol: probe.protocol,
            source_port: asked.sport,
            port: asked.port,
            icmp: probe.icmp.map(|(kind, code)| IcmpMatch { kind, code: Some(code) }),
        }
    }
}

impl Case {
    /// Where the evaluator says otherwise than the case.
    pub fn disputed(&self) -> Vec<String> {
        let engine = self.engine();
        let dispute = |one: &Asked| {
            let explanation = engine.explain(&self.flow(one)).expect("a verdict");
            let said = if explanation.verdict == Verdict::Allow { "allow" } else { "deny" };
            (said != one.verdict).then(|| {
                format!(
                    "{}: {} -> {}, {}: {} is right, we say {said}\n{explanation}",
                    self.name,
                    one.from,
                    one.to,
                    self.probe(one),
                    one.verdict,
                )
            })
        };
        self.verdicts.iter().filter_map(dispute).collect()
    }
}

#[test]
fn the_evaluator_says_what_calico_did() {
    let cases: Vec<Case> = cases().into_iter().map(|(case, _)| case).collect();
    let asked: usize = cases.iter().map(|case| case.verdicts.len()).sum();
    let disputed: Vec<String> = cases.iter().flat_map(Case::disputed).collect();
    println!("{asked} verdicts asked");
    assert!(disputed.is_empty(), "{} of {asked} differ:\n{}", disputed.len(), disputed.join("\n"));
    assert!(asked > 0, "no case was asked");
}
