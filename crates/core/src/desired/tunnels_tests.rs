use super::*;
use crate::model::Encapsulation;

fn engine() -> TunnelEngine {
    TunnelEngine::new(Settings {
        address4: Some("192.0.2.1".parse().unwrap()),
        address6: Some("2001:db8::1".parse().unwrap()),
        ..Settings::new(NodeName::new("h1").unwrap())
    })
}

fn pool(name: &str, encapsulation: Option<Encapsulation>) -> FactDelta {
    let name = PoolName::new(name).unwrap();
    let pool = encapsulation.map(|encapsulation| Pool {
        name: name.clone(),
        cidr: "10.65.0.0/16".parse().unwrap(),
        block_size: 26,
        disabled: false,
        node_selector: "all()".into(),
        unreachable_route: true,
        encapsulation,
        nat_outgoing: false,
    });
    FactDelta::Pool(name, pool)
}

fn node(name: &str, number: u8) -> FactDelta {
    let name = NodeName::new(name).unwrap();
    let node = Node {
        name: name.clone(),
        labels: Default::default(),
        ipv4: Some(std::net::Ipv4Addr::new(192, 0, 2, number)),
        ipv6: None,
        as_number: 64512,
        router_id: std::net::Ipv4Addr::new(192, 0, 2, number),
        bgp_port: 179,
        mesh: true,
        incarnation: String::new(),
    };
    FactDelta::Node(name, Some(node))
}

const AUTO: EncapsulationMode = EncapsulationMode::Auto;

fn rules(engine: &TunnelEngine, name: &str) -> Vec<String> {
    let (_, rules) = engine.chains().iter().find(|(key, _)| key.name == name && key.family == Family::V4).unwrap();
    rules.iter().map(|rule| rule.text.to_string()).collect()
}

#[test]
fn a_device_stands_while_a_pool_may_need_it() {
    let mut engine = engine();
    assert!(engine.apply(&[node("h1", 1), node("h2", 2)]).tunnels.is_empty());
    assert!(rules(&engine, IN).is_empty() && rules(&engine, OUT).is_empty());

    let vxlan = Encapsulation { mode: AUTO, device: TunnelKind::Vxlan };
    let delta = engine.apply(&[pool("p", Some(vxlan))]);
    let tunnel = delta.tunnels[&TunnelKind::Vxlan].clone().unwrap();
    assert_eq!((tunnel.mtu, tunnel.local), (1450, "192.0.2.1".parse().unwrap()));
    let names: Vec<&str> = tunnel.peers.keys().map(NodeName::as_str).collect();
    assert_eq!(names, ["h2"], "the other nodes");
    assert_eq!(rules(&engine, OUT), ["-i rnw+ -p udp -m udp --dport 4789 -j DROP"]);
    assert_eq!(rules(&engine, IN).len(), 2);

    let never = Encapsulation::default();
    let delta = engine.apply(&[pool("p", Some(never))]);
    assert_eq!(delta.tunnels, BTreeMap::from([(TunnelKind::Vxlan, None)]));
    assert!(rules(&engine, IN).is_empty());
}

#[test]
fn ipip_needs_no_peers_and_takes_packets_of_nodes_only() {
    let mut engine = engine();
    engine.apply(&[
        node("h1", 1),
        node("h2", 2),
        pool("p", Some(Encapsulation { mode: AUTO, device: TunnelKind::Ipip })),
    ]);
    let tunnel = &engine.tunnels()[&TunnelKind::Ipip];
    assert!(tunnel.peers.is_empty() && tunnel.mtu == 1480);
    assert_eq!(rules(&engine, IN), ["-p 4 -m set --match-set rn4-nodes src -j ACCEPT", "-p 4 -j DROP"]);
    assert_eq!(engine.sets()["rn4-nodes"].members.len(), 2);
    let delta = engine.apply(&[FactDelta::Node(NodeName::new("h2").unwrap(), None)]);
    assert_eq!(delta.rules.shrink.len(), 1, "a node that left may send no more");
}

#[test]
fn the_same_whatever_the_order() {
    let vxlan = Encapsulation { mode: AUTO, device: TunnelKind::Vxlan };
    let address = FactDelta::TunnelAddress(TunnelKind::Vxlan, "10.65.0.1".parse().unwrap(), true);
    let facts = [pool("p", Some(vxlan)), node("h2", 2), address, node("h3", 3)];
    let (mut one, mut two) = (engine(), engine());
    one.apply(&facts);
    facts.iter().rev().for_each(|fact| drop(two.apply(std::slice::from_ref(fact))));
    assert_eq!((one.tunnels(), one.chains(), one.sets()), (two.tunnels(), two.chains(), two.sets()));
}
