//! Verdicts that Calico gave, packet by packet (`cases/`), asked of our evaluator. `CASES=DIR` asks those of another folder
//! (`make test-cases`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use routenet_core::desired::FactDelta;
use routenet_core::model::yaml::read_documents;
use routenet_core::model::{
    Endpoint, EndpointKey, Family, IcmpMatch, InterfaceName, Isolation, Labels, NamedPort, NetworkName, Protocol,
};
use routenet_core::policy::{Flow, PolicyEngine, Side, Verdict};
use serde::Deserialize;

use crate::world::{endpoint_fact, engine, network, node, policy_fact, this_node};

/// What no case may need that counts as answered: kinds that are not built yet, as the reader says it.
const NOT_BUILT: [&str; 2] = ["kind HostEndpoint is not built yet", "kind Profile is not built yet"];

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
    policy: String,
    pub host: IpAddr,
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

#[derive(Clone, Deserialize)]
pub struct Asked {
    pub from: String,
    pub to: String,
    pub proto: String,
    pub port: Option<u16>,
    pub sport: Option<u16>,
    #[serde(rename = "type")]
    pub kind: Option<u8>,
    pub code: Option<u8>,
    pub verdict: String,
}

fn folder() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy/cases");
    std::env::var_os("CASES").map_or_else(own, PathBuf::from)
}

pub fn cases() -> Vec<Case> {
    let files = std::fs::read_dir(folder()).unwrap_or_else(|error| panic!("{}: {error}", folder().display()));
    let mut paths: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a file");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    paths.iter().map(read).collect()
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
            labels: self.labels.clone(),
            ports: self.ports.iter().map(port).collect(),
            addresses: self.ips.clone(),
            attachment: None,
        }
    }
}

impl Case {
    /// The engine with all facts of the case, or what is not built yet of what it needs.
    pub fn engine(&self) -> Result<PolicyEngine, Vec<String>> {
        let IpAddr::V4(host) = self.host else { panic!("{}: the host has an IPv4 address", self.name) };
        let mut engine = engine(host, None, true);
        let mut facts = vec![network(NETWORK, Isolation::Open), this_node(host, None)];
        for place in &self.namespaces {
            facts.push(FactDelta::Namespace(place.name.clone(), Some(place.labels.clone())));
        }
        for account in &self.service_accounts {
            let (namespace, name) = (account.namespace.clone(), account.name.clone());
            facts.push(FactDelta::ServiceAccount(namespace, name, Some(account.labels.clone())));
        }
        let objects = read_documents(&self.name, &self.policy);
        let objects = objects.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        facts.extend(objects.into_iter().map(|object| policy_fact(object.value, true)));
        if self.workloads.iter().any(|workload| workload.profiles.is_some()) {
            return Err(vec!["kind Profile is not built yet".to_string()]);
        }
        facts.extend(self.workloads.iter().map(|workload| endpoint_fact(&workload.endpoint())));
        engine.apply(&facts);
        assert!(engine.problems().is_empty(), "{}: {:?}", self.name, engine.problems());
        Ok(engine)
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

    fn flow(&self, asked: &Asked) -> Flow {
        let protocol = Protocol::from_name(&asked.proto).expect("a protocol");
        Flow {
            source: self.side(&asked.from),
            destination: self.side(&asked.to),
            family: Some(Family::V4),
            protocol,
            source_port: asked.sport,
            port: asked.port,
            icmp: (protocol == Protocol::ICMP)
                .then(|| IcmpMatch { kind: asked.kind.unwrap_or(8), code: Some(asked.code.unwrap_or(0)) }),
        }
    }
}

#[test]
fn the_evaluator_says_what_calico_did() {
    let (mut asked, mut left_out) = (0, BTreeMap::new());
    let mut differences = Vec::new();
    for case in cases() {
        let engine = match case.engine() {
            Ok(engine) => engine,
            Err(errors) => {
                let known = |error: &String| NOT_BUILT.iter().any(|known| error.contains(known));
                assert!(errors.iter().any(known), "{} cannot be read: {errors:?}", case.name);
                left_out.insert(case.name.clone(), errors);
                continue;
            }
        };
        for one in &case.verdicts {
            asked += 1;
            let explanation = engine.explain(&case.flow(one)).expect("a verdict");
            let said = if explanation.verdict == Verdict::Allow { "allow" } else { "deny" };
            if said != one.verdict {
                differences.push(format!(
                    "{}: {} -> {} {} port {:?} from {:?}: Calico {}, we {said}\n    egress  {}\n    ingress {}",
                    case.name,
                    one.from,
                    one.to,
                    one.proto,
                    one.port,
                    one.sport,
                    one.verdict,
                    explanation.egress.why,
                    explanation.ingress.why
                ));
            }
        }
    }
    println!("{asked} verdicts asked; left out for kinds that are not built yet: {:?}", left_out.keys());
    assert!(differences.is_empty(), "{} of {asked} differ:\n{}", differences.len(), differences.join("\n"));
    assert!(asked > 0, "no case was asked");
}
