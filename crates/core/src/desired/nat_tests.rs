use super::*;
use crate::model::{Attachment, InterfaceName, Labels, NetworkName, NodeName, Protocol};

fn engine() -> NatEngine {
    NatEngine::new(Settings {
        address4: Some("192.0.2.1".parse().unwrap()),
        ..Settings::new(NodeName::new("h1").unwrap())
    })
}

fn endpoint(node: &str, published: Vec<PublishedPort>) -> FactDelta {
    endpoint_at(node, "c", ["10.9.0.5", "fd09::5"], published)
}

fn endpoint_at(node: &str, container: &str, addresses: [&str; 2], published: Vec<PublishedPort>) -> FactDelta {
    let node = NodeName::new(node).unwrap();
    let key = EndpointKey {
        network: NetworkName::new("web").unwrap(),
        container_id: container.into(),
        ifname: InterfaceName::new("eth0").unwrap(),
    };
    let attachment = Attachment { published, ..Attachment::new("/run/netns/x", [2; 6], 1500) };
    let endpoint = Endpoint {
        key: key.clone(),
        node: node.clone(),
        namespace: "default".into(),
        name: "c".into(),
        labels: Labels::new(),
        service_account: None,
        profiles: None,
        ports: Vec::new(),
        addresses: addresses.map(|address| address.parse().unwrap()).to_vec(),
        interface: None,
        attachment: Some(attachment),
    };
    FactDelta::Endpoint { node, key, endpoint: Some(endpoint) }
}

fn port(protocol: Protocol, host_address: Option<&str>) -> PublishedPort {
    PublishedPort {
        protocol,
        host_address: host_address.map(|address| address.parse().unwrap()),
        host_port: 8080,
        port: 80,
    }
}

fn rules(engine: &NatEngine, family: Family, name: &str) -> Vec<String> {
    let key = ChainKey { family, table: Table::Nat, name: name.into() };
    engine.chains()[&key].iter().map(|rule| rule.text.to_string()).collect()
}

#[test]
fn a_published_port_is_a_rule_of_each_family() {
    let mut engine = engine();
    let changed = engine.apply(&[endpoint("h1", vec![port(Protocol::TCP, None)])]);
    assert_eq!(
        changed.chains.len(),
        3,
        "both families translate, and where the host has an address it hides a hairpin"
    );
    assert_eq!(rules(&engine, Family::V4, DNAT), ["-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.9.0.5:80"]);
    assert_eq!(rules(&engine, Family::V6, DNAT), ["-p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd09::5]:80"]);
    assert_eq!(rules(&engine, Family::V4, HAIRPIN), ["-s 10.9.0.5 -d 10.9.0.5 -j SNAT --to-source 192.0.2.1"]);
    assert!(engine.apply(&[endpoint("h1", vec![port(Protocol::TCP, None)])]).is_empty(), "said twice is said once");
}

#[test]
fn a_host_address_limits_the_port_to_it_and_its_family() {
    let mut engine = engine();
    engine.apply(&[endpoint("h1", vec![port(Protocol::UDP, Some("192.0.2.1"))])]);
    assert_eq!(
        rules(&engine, Family::V4, DNAT),
        ["-d 192.0.2.1 -p udp -m udp --dport 8080 -j DNAT --to-destination 10.9.0.5:80"]
    );
    assert!(rules(&engine, Family::V6, DNAT).is_empty());
}

#[test]
fn ports_of_other_hosts_and_of_workloads_that_went_are_not_translated() {
    let mut engine = engine();
    assert!(engine.apply(&[endpoint("h2", vec![port(Protocol::TCP, None)])]).is_empty());
    engine.apply(&[endpoint("h1", vec![port(Protocol::TCP, None)])]);
    engine.apply(&[endpoint("h1", vec![])]);
    assert!(rules(&engine, Family::V4, DNAT).is_empty() && rules(&engine, Family::V4, HAIRPIN).is_empty());
}

#[test]
fn the_loopback_of_ipv6_is_not_translated_and_that_of_ipv4_is() {
    let engine = engine();
    assert_eq!(rules(&engine, Family::V4, "rn-OUTPUT"), ["-m addrtype --dst-type LOCAL -j rn-dnat"]);
    assert_eq!(rules(&engine, Family::V6, "rn-OUTPUT"), ["! -d ::1/128 -m addrtype --dst-type LOCAL -j rn-dnat"]);
}

fn pool(name: &str, cidr: &str, nat_outgoing: bool) -> FactDelta {
    let name = PoolName::new(name).unwrap();
    let pool = Pool {
        name: name.clone(),
        cidr: cidr.parse().unwrap(),
        block_size: 26,
        disabled: false,
        node_selector: "all()".into(),
        unreachable_route: true,
        encapsulation: Default::default(),
        nat_outgoing,
    };
    FactDelta::Pool(name, Some(pool))
}

#[test]
fn pools_and_endpoints_that_come_add_members_of_sets_and_no_rule() {
    let mut engine = engine();
    let count = |engine: &NatEngine| engine.chains().values().map(Vec::len).sum::<usize>();
    let frame = count(&engine);
    let delta = engine.apply(&[pool("one", "10.9.0.0/16", true)]);
    assert!(delta.chains.is_empty(), "{delta:?}");
    let delta = engine.apply(&[pool("two", "10.10.0.0/16", true)]);
    assert!(delta.chains.is_empty(), "{delta:?}");
    let nets = ["10.9.0.0/16", "10.10.0.0/16"].map(|cidr| Member::Net(cidr.parse().unwrap()));
    assert_eq!(engine.sets()[&natted_set(Family::V4)].members, BTreeSet::from(nets));
    assert!(engine.apply(&[endpoint_at("h1", "d", ["10.9.0.6", "fd09::6"], vec![])]).is_empty(), "nothing published");
    assert_eq!(count(&engine), frame);

    // A second endpoint with a published port: its own translation, and the first one's stay as they are.
    engine.apply(&[endpoint("h1", vec![port(Protocol::TCP, None)])]);
    let one = (count(&engine), rules(&engine, Family::V4, DNAT));
    let udp = vec![port(Protocol::UDP, None)];
    let delta = engine.apply(&[endpoint_at("h1", "d", ["10.9.0.6", "fd09::6"], udp)]);
    assert!(delta.chains.keys().all(|key| [DNAT, HAIRPIN].contains(&key.name.as_str())), "{delta:?}");
    assert_eq!(count(&engine) - one.0, 3, "a rule a family, and one that hides a hairpin");
    assert!(rules(&engine, Family::V4, DNAT).contains(&one.1[0]));
}
