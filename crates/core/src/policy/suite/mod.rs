//! Tests of policies that need no host: who may reach whom, asked of the evaluator. Called by `routectl policy test`.
//!
//! A suite names the policy files, a few workloads, and the verdicts; [`read`] takes it from YAML, [`Suite::run`] asks.

mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::desired::{FactDelta, Settings};
use crate::model::yaml::{Located, YamlError, read_documents};
use crate::model::{
    Endpoint, EndpointKey, Family, InterfaceName, Isolation, Labels, NamedPort, Network, NetworkName, Node, NodeName,
    Object,
};

use super::explain::{Traffic, Verdict};
use super::{Flow, PolicyEngine, Side};

pub use read::read;

/// A `kind: PolicyTest`.
#[derive(Clone, Debug, PartialEq)]
pub struct Suite {
    pub name: String,
    /// Files of policies, relative to the suite's own.
    pub policies: Vec<String>,
    /// What holds where no policy applies.
    pub isolation: Isolation,
    pub workloads: Vec<Workload>,
    /// The first is where workloads are that name none.
    pub hosts: Vec<Host>,
    pub tests: Vec<Test>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    pub namespace: String,
    pub name: String,
    pub labels: Labels,
    pub service_account: Option<String>,
    pub profiles: Option<Vec<String>>,
    pub ports: Vec<NamedPort>,
    /// One of each family where none is given.
    pub addresses: Vec<IpAddr>,
    pub host: Option<NodeName>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    pub name: NodeName,
    pub addresses: Vec<IpAddr>,
}

/// Everybody of `from` to everybody of `to` by everything of `traffic`.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Counted from 1.
    pub line: usize,
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub traffic: Vec<Traffic>,
    pub expect: Verdict,
    /// What must be said among the reasons.
    pub because: Option<String>,
}

/// One question of a test, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub line: usize,
    /// `shop/web to shop/db, tcp/5432: deny`.
    pub question: String,
    /// Why it is not as expected.
    pub failure: Option<String>,
}

/// The network of all workloads.
const NETWORK: &str = "net";

/// Reads the policies of a suite. `load` gives the text of a file.
///
/// # Errors
/// All that is wrong in the files.
pub fn policies(files: &[(String, String)]) -> Result<Vec<Located<Object>>, Vec<YamlError>> {
    let mut objects = Vec::new();
    let mut errors = Vec::new();
    for (file, text) in files {
        match read_documents(file, text) {
            Ok(found) => objects.extend(found),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(objects) } else { Err(errors) }
}

impl Suite {
    /// Asks everything, of these policies.
    pub fn run(&self, policies: &[Located<Object>]) -> Vec<Outcome> {
        let engine = self.engine(policies);
        let mut outcomes = Vec::new();
        for test in &self.tests {
            for from in &test.from {
                for to in &test.to {
                    outcomes.extend(test.traffic.iter().map(|traffic| ask(&engine, test, from, to, *traffic)));
                }
            }
        }
        outcomes
    }

    fn engine(&self, policies: &[Located<Object>]) -> PolicyEngine {
        let here = &self.hosts[0];
        let of = |host: &Host, family| host.addresses.iter().copied().find(|address| Family::of(*address) == family);
        let v4 = |host: &Host| of(host, Family::V4).and_then(|a| if let IpAddr::V4(a) = a { Some(a) } else { None });
        let v6 = |host: &Host| of(host, Family::V6).and_then(|a| if let IpAddr::V6(a) = a { Some(a) } else { None });
        let mut engine =
            PolicyEngine::new(&Settings { address4: v4(here), address6: v6(here), ..Settings::new(here.name.clone()) });
        let network = Network { name: network(), pools: Vec::new(), isolation: self.isolation };
        let mut facts = vec![FactDelta::Network(network.name.clone(), Some(network))];
        facts.extend(policies.iter().filter_map(|object| FactDelta::of_object(object.value.clone()).ok()));
        for host in &self.hosts {
            let node = Node {
                name: host.name.clone(),
                labels: Labels::new(),
                ipv4: v4(host),
                ipv6: v6(host),
                as_number: 64512,
                router_id: v4(host).unwrap_or(Ipv4Addr::new(192, 0, 2, 1)),
                bgp_port: 179,
                mesh: true,
                incarnation: String::new(),
            };
            facts.push(FactDelta::Node(host.name.clone(), Some(node)));
        }
        facts.extend(self.workloads.iter().enumerate().map(|(index, workload)| self.endpoint(index, workload)));
        engine.apply(&facts);
        engine
    }

    fn endpoint(&self, index: usize, workload: &Workload) -> FactDelta {
        let node = workload.host.clone().unwrap_or_else(|| self.hosts[0].name.clone());
        let given: Vec<IpAddr> = workload.addresses.clone();
        let addresses = if given.is_empty() { own_addresses(index) } else { given };
        let endpoint = Endpoint {
            key: EndpointKey {
                network: network(),
                container_id: format!("{}-{}", workload.namespace, workload.name),
                ifname: InterfaceName::new("eth0").expect("a valid name"),
            },
            node: node.clone(),
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
            service_account: workload.service_account.clone(),
            labels: workload.labels.clone(),
            ports: workload.ports.clone(),
            profiles: workload.profiles.clone(),
            addresses,
            interface: None,
            attachment: None,
        };
        FactDelta::Endpoint { node, key: endpoint.key.clone(), endpoint: Some(endpoint) }
    }
}

fn network() -> NetworkName {
    NetworkName::new(NETWORK).expect("a valid name")
}

/// Out of ranges that nobody routes (RFC 2544, RFC 4193), by place in the list.
fn own_addresses(index: usize) -> Vec<IpAddr> {
    let number = index as u32 + 1;
    let v4 = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number);
    let v6 = Ipv6Addr::from(u128::from("fd00:beef::".parse::<Ipv6Addr>().expect("an address")) + u128::from(number));
    vec![v4.into(), v6.into()]
}

/// In every family that both ends have.
fn ask(engine: &PolicyEngine, test: &Test, from: &str, to: &str, traffic: Traffic) -> Outcome {
    let expect = if test.expect == Verdict::Allow { "allow" } else { "deny" };
    let question = format!("{from} to {to}, {traffic}: {expect}");
    let mut failure = None;
    let mut asked = BTreeSet::new();
    match (engine.resolve(from), engine.resolve(to)) {
        (Ok(source), Ok(destination)) => {
            for family in Family::BOTH {
                if let Err(why) = judge(engine, test, (&source, &destination), traffic, family, &mut asked) {
                    failure.get_or_insert(why);
                }
            }
            if asked.is_empty() {
                failure.get_or_insert("the two have no addresses of one family".to_string());
            }
        }
        (Err(error), _) | (_, Err(error)) => failure = Some(error.to_string()),
    }
    Outcome { line: test.line, question, failure }
}

fn judge(
    engine: &PolicyEngine,
    test: &Test,
    (source, destination): (&Side, &Side),
    traffic: Traffic,
    family: Family,
    asked: &mut BTreeSet<Family>,
) -> Result<(), String> {
    let flow = Flow {
        source: source.clone(),
        destination: destination.clone(),
        family: Some(family),
        protocol: traffic.protocol,
        source_port: None,
        port: traffic.port,
        icmp: None,
    };
    let Ok(found) = engine.explain(&flow) else { return Ok(()) };
    asked.insert(family);
    if found.verdict != test.expect {
        return Err(format!("{family}: {}: {}", found.verdict, found.decided_by()));
    }
    match &test.because {
        Some(reason) if !found.to_string().contains(reason.as_str()) => {
            Err(format!("{family}: {}, but not because of `{reason}`: {}", found.verdict, found.decided_by()))
        }
        _ => Ok(()),
    }
}

/// Names of the workloads and what the tests call, for errors.
fn names(workloads: &[Workload]) -> BTreeMap<String, usize> {
    workloads.iter().enumerate().map(|(index, one)| (format!("{}/{}", one.namespace, one.name), index)).collect()
}

#[cfg(test)]
#[path = "suite_tests.rs"]
mod tests;
