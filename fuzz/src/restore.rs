//! From objects, as somebody might write them, to the text that iptables-restore is given: whatever is taken at the door
//! comes to rules that iptables takes.

use routenet_core::desired::{FactDelta, Settings};
use routenet_core::model::config::LogRules;
use routenet_core::model::yaml::read_documents;
use routenet_core::model::{
    Endpoint, EndpointKey, InterfaceName, Isolation, Labels, NamedPort, Network, NetworkName, NodeName, Protocol,
};
use routenet_core::policy::PolicyEngine;

use super::bytes::Bytes;
use super::grammar;
use super::objects::{Said, document, workload};

const NETWORK: &str = "open";

fn endpoint(index: usize, said: Said) -> FactDelta {
    let endpoint = Endpoint {
        key: EndpointKey {
            network: NetworkName::new(NETWORK).expect("a name"),
            container_id: format!("c{index}"),
            ifname: InterfaceName::new("eth0").expect("a name"),
        },
        node: NodeName::new("n1").expect("a name"),
        namespace: said.namespace,
        name: said.name,
        service_account: Some("bot".to_string()),
        profiles: None,
        labels: said.labels.into_iter().collect::<Labels>(),
        ports: vec![NamedPort { name: said.port, protocol: Protocol::TCP, port: 80 }],
        addresses: [format!("10.88.0.{index}"), format!("fd88::{index}")]
            .map(|text| text.parse().expect("an address"))
            .to_vec(),
        interface: None,
        attachment: None,
    };
    FactDelta::Endpoint { node: endpoint.node.clone(), key: endpoint.key.clone(), endpoint: Some(endpoint) }
}

/// The engine with all that was taken, and how many objects that were.
pub fn engine(data: &[u8]) -> (PolicyEngine, usize) {
    let mut bytes = Bytes::new(data);
    let log_rules =
        LogRules { prefix: bytes.one(&["", "routenet", "0123456789abcdef"]).into(), per_second: bytes.one(&[0, 10]) };
    let settings = Settings {
        mark_mask: bytes.one(&[0xffff_0000, 0x7, 0x8001_0100]),
        address4: Some([10, 0, 0, 1].into()),
        address6: Some("2001:db8::1".parse().expect("an address")),
        log_rules,
        ..Settings::new(NodeName::new("n1").expect("a name"))
    };
    let mut engine = PolicyEngine::new(&settings);
    let name = NetworkName::new(NETWORK).expect("a name");
    let network = Network { name: name.clone(), pools: Vec::new(), isolation: Isolation::Open };
    let mut facts = vec![FactDelta::Network(name, Some(network))];
    facts.extend((1..4).map(|index| endpoint(index, workload(&mut bytes))));
    let mut taken = 0;
    while !bytes.is_empty() {
        // JSON is YAML.
        let text = document(&mut bytes).to_string();
        for object in read_documents("fuzz.yaml", &text).unwrap_or_default() {
            taken += 1;
            facts.extend(FactDelta::of_object(object.value));
        }
    }
    engine.apply(&facts);
    (engine, taken)
}

/// How many objects were taken.
pub fn run(data: &[u8]) -> usize {
    let (engine, taken) = engine(data);
    grammar::check(engine.chains(), &engine.sets());
    taken
}
