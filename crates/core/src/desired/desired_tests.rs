use std::net::Ipv4Addr;

use super::*;
use crate::model::{
    Attachment, Endpoint, EndpointKey, InterfaceName, Isolation, Labels, Network, NetworkName, NodeName,
};

fn desired() -> Desired {
    Desired::new(&Settings {
        address4: Some(Ipv4Addr::new(192, 0, 2, 1)),
        ..Settings::new(NodeName::new("h1").unwrap())
    })
}

fn network() -> FactDelta {
    let name = NetworkName::new("blue").unwrap();
    FactDelta::Network(name.clone(), Some(Network { name, pools: vec![], isolation: Isolation::Network }))
}

fn endpoint(id: &str, address: &str, plugged: bool) -> FactDelta {
    let node = NodeName::new("h1").unwrap();
    let key = EndpointKey {
        network: NetworkName::new("blue").unwrap(),
        container_id: id.into(),
        ifname: InterfaceName::new("eth0").unwrap(),
    };
    let attachment = plugged.then(|| Attachment::new("/run/netns/x", [2, 0, 0, 0, 0, 1], 1500));
    let endpoint = Endpoint {
        key: key.clone(),
        node: node.clone(),
        namespace: "default".into(),
        name: id.into(),
        labels: Labels::new(),
        service_account: None,
        profiles: None,
        ports: Vec::new(),
        addresses: vec![address.parse().unwrap()],
        interface: None,
        attachment,
    };
    FactDelta::Endpoint { node, key, endpoint: Some(endpoint) }
}

#[test]
fn without_facts_a_host_is_closed() {
    let state = desired().state();
    assert!(!state.hooks.is_empty() && !state.chains.is_empty());
    assert!(state.links.is_empty() && state.routes.is_empty() && state.announcements.is_empty());
}

#[test]
fn a_second_endpoint_of_a_group_needs_set_entries_only() {
    let mut desired = desired();
    desired.apply(&[network(), endpoint("a", "10.0.0.1", true)]);
    let delta = desired.apply(&[endpoint("b", "10.0.0.2", true)]);
    assert!(delta.rules.chains.is_empty() && delta.rules.shrink.is_empty());
    assert!(!delta.rules.grow.is_empty());
    assert_eq!((delta.links.len(), delta.routes.len(), delta.announcements.len()), (1, 1, 1));
}

#[test]
fn unplugging_keeps_the_sets_until_the_endpoint_goes() {
    let mut desired = desired();
    desired.apply(&[network(), endpoint("a", "10.0.0.1", true)]);
    let delta = desired.apply(&[endpoint("a", "10.0.0.1", false)]);
    assert!(delta.rules.is_empty(), "the sets still hold it: {:?}", delta.rules);
    assert!(delta.links.values().all(Option::is_none) && delta.routes.values().all(Option::is_none));
    assert!(delta.announcements.values().all(|announced| !announced));
}
