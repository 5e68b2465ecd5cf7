use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::model::{Attachment, Encapsulation, EncapsulationMode, Labels, NetworkName, NodeName, Pool};

fn settings(announce: Announce) -> Settings {
    Settings { address4: Some(Ipv4Addr::new(192, 0, 2, 1)), announce, ..Settings::new(NodeName::new("h1").unwrap()) }
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn key(id: &str) -> EndpointKey {
    EndpointKey {
        network: NetworkName::new("blue").unwrap(),
        container_id: id.into(),
        ifname: InterfaceName::new("eth0").unwrap(),
    }
}

fn endpoint(node: &str, id: &str, address: Option<&str>) -> FactDelta {
    let node = NodeName::new(node).unwrap();
    let endpoint = address.map(|address| Endpoint {
        key: key(id),
        node: node.clone(),
        namespace: "default".into(),
        name: id.into(),
        labels: Labels::new(),
        service_account: None,
        profiles: None,
        ports: Vec::new(),
        addresses: vec![address.parse().unwrap()],
        interface: None,
        attachment: Some(Attachment::new("/run/netns/x", [2, 0, 0, 0, 0, 1], 1500)),
    });
    FactDelta::Endpoint { node, key: key(id), endpoint }
}

fn pool(text: Option<&str>) -> FactDelta {
    let name = PoolName::new("p").unwrap();
    let pool = text.map(|text| Pool {
        name: name.clone(),
        cidr: cidr(text),
        block_size: 26,
        disabled: false,
        node_selector: "all()".into(),
        unreachable_route: true,
        encapsulation: Default::default(),
        nat_outgoing: false,
    });
    FactDelta::Pool(name, pool)
}

fn route(text: &str) -> RouteKey {
    RouteKey { dst: cidr(text), metric: 0 }
}

#[test]
fn an_endpoint_gets_a_link_a_route_with_source_and_an_announcement() {
    let mut engine = NetworkEngine::new(settings(Announce::Hosts));
    let delta = engine.apply(&[endpoint("h1", "a", Some("10.0.0.1"))]);
    let dev = key("a").host_interface();
    assert!(delta.links[&dev].is_some());
    let src = Some("192.0.2.1".parse().unwrap());
    assert_eq!(delta.routes[&route("10.0.0.1/32")], Some(Route::Local { dev: dev.clone(), src }));
    assert_eq!(delta.announcements, BTreeMap::from([(cidr("10.0.0.1/32"), true)]));

    assert_eq!(engine.apply(&[endpoint("h1", "a", Some("10.0.0.1"))]), DesiredDelta::default(), "nothing new");

    let delta = engine.apply(&[endpoint("h1", "a", None)]);
    assert_eq!(delta.links, BTreeMap::from([(dev, None)]));
    assert_eq!(delta.announcements, BTreeMap::from([(cidr("10.0.0.1/32"), false)]));
    assert_eq!(*engine.state(), DesiredState::default());
}

#[test]
fn another_nodes_endpoint_makes_nothing_here() {
    let mut engine = NetworkEngine::new(settings(Announce::Hosts));
    assert_eq!(engine.apply(&[endpoint("h2", "a", Some("10.0.0.1"))]), DesiredDelta::default());
}

#[test]
fn blocks_are_black_holed_and_announced_only_when_asked() {
    let mut engine = NetworkEngine::new(settings(Announce::Hosts));
    let delta = engine.apply(&[FactDelta::OwnBlock(cidr("10.0.0.0/26"), true)]);
    assert_eq!(delta.routes[&route("10.0.0.0/26")], Some(Route::Blackhole));
    assert!(delta.announcements.is_empty());

    let mut engine = NetworkEngine::new(settings(Announce::Blocks));
    engine.apply(&[endpoint("h1", "in", Some("10.0.0.1")), endpoint("h1", "out", Some("10.0.9.1"))]);
    let delta = engine.apply(&[FactDelta::OwnBlock(cidr("10.0.0.0/26"), true)]);
    let expected = BTreeMap::from([(cidr("10.0.0.0/26"), true), (cidr("10.0.0.1/32"), false)]);
    assert_eq!(delta.announcements, expected, "the block covers one host route, the other stays");
    assert!(engine.state().announcements.contains(&cidr("10.0.9.1/32")));
}

#[test]
fn a_local_endpoint_outranks_what_is_learned_whichever_comes_first() {
    let learned = FactDelta::Learned(cidr("10.0.0.1/32"), Some(Via::from("192.0.2.2".parse::<IpAddr>().unwrap())));
    for facts in [
        vec![learned.clone(), endpoint("h1", "a", Some("10.0.0.1"))],
        vec![endpoint("h1", "a", Some("10.0.0.1")), learned.clone()],
    ] {
        let mut engine = NetworkEngine::new(settings(Announce::Hosts));
        engine.apply(&facts);
        assert!(matches!(engine.state().routes[&route("10.0.0.1/32")], Route::Local { .. }));
        engine.apply(&[endpoint("h1", "a", None)]);
        assert!(matches!(engine.state().routes[&route("10.0.0.1/32")], Route::Learned { .. }));
    }
}

#[test]
fn a_pool_is_unreachable_at_the_highest_metric_and_moves_with_its_cidr() {
    let mut engine = NetworkEngine::new(settings(Announce::Hosts));
    engine.apply(&[pool(Some("10.0.0.0/16"))]);
    engine.apply(&[pool(Some("10.1.0.0/16"))]);
    let key = RouteKey { dst: cidr("10.1.0.0/16"), metric: UNREACHABLE_METRIC };
    assert_eq!(engine.state().routes, BTreeMap::from([(key, Route::Unreachable)]));
    engine.apply(&[pool(None)]);
    assert!(engine.state().routes.is_empty());
}

fn node(name: &str, address: &str, there: bool) -> FactDelta {
    let name = NodeName::new(name).unwrap();
    let node = there.then(|| crate::model::Node {
        name: name.clone(),
        labels: Labels::new(),
        ipv4: Some(address.parse().unwrap()),
        ipv6: None,
        as_number: 64512,
        router_id: address.parse().unwrap(),
        bgp_port: 179,
        mesh: true,
        incarnation: String::new(),
    });
    FactDelta::Node(name, node)
}

fn tunnelled_pool(mode: EncapsulationMode) -> FactDelta {
    let FactDelta::Pool(name, Some(pool)) = pool(Some("10.0.0.0/16")) else { unreachable!("a pool") };
    let encapsulation = Encapsulation { mode, device: TunnelKind::Ipip };
    FactDelta::Pool(name, Some(Pool { encapsulation, ..pool }))
}

#[test]
fn what_is_behind_a_router_is_tunnelled_and_changes_over_with_the_facts() {
    let mut engine = NetworkEngine::new(settings(Announce::Hosts));
    let hop: IpAddr = "192.0.2.2".parse().unwrap();
    let dst = route("10.0.0.1/32");
    let own = Some("192.0.2.1".parse().unwrap());
    engine.apply(&[
        tunnelled_pool(EncapsulationMode::Auto),
        node("h2", "192.0.2.2", true),
        FactDelta::Learned(cidr("10.0.0.1/32"), Some(hop.into())),
    ]);
    let direct = Route::Learned { via: hop.into(), src: own };
    assert_eq!(engine.state().routes[&dst], direct);

    let delta = engine.apply(&[FactDelta::OffLink(hop, true)]);
    let tunnelled = |src| Route::Tunnelled { kind: TunnelKind::Ipip, via: hop.into(), src };
    assert_eq!(delta.routes, BTreeMap::from([(dst, Some(tunnelled(own)))]));
    let held: IpAddr = "10.0.5.0".parse().unwrap();
    let delta = engine.apply(&[FactDelta::TunnelAddress(TunnelKind::Ipip, held, true)]);
    assert_eq!(delta.routes[&dst], Some(tunnelled(Some(held))), "the host speaks from an address that is routed back");
    assert_eq!(delta.announcements, BTreeMap::from([(Cidr::host(held), true)]));
    assert_eq!(engine.ways()[0].way.why.to_string(), "it is behind a router");

    engine.apply(&[FactDelta::OffLink(hop, false)]);
    assert_eq!(engine.state().routes[&dst], direct, "and back");
    engine.apply(&[FactDelta::OffLink(hop, true), node("h2", "192.0.2.2", false)]);
    assert_eq!(engine.state().routes[&dst], direct, "who is no node ends no tunnel");
}

#[test]
fn what_needs_no_tunnel_is_led_by_the_gateways_to_its_next_hop() {
    let mut engine = NetworkEngine::new(settings(Announce::Hosts));
    let [hop, near, gateway, other] = ["10.8.0.5", "192.0.2.4", "192.0.2.8", "192.0.2.9"].map(|ip| ip.parse().unwrap());
    let dst = route("10.0.0.1/32");
    let learned = |via: &[IpAddr]| Route::Learned { via: via.to_vec().into(), src: Some("192.0.2.1".parse().unwrap()) };
    engine.apply(&[
        tunnelled_pool(EncapsulationMode::Auto),
        FactDelta::Gateways(hop, vec![gateway]),
        FactDelta::Learned(cidr("10.0.0.1/32"), Some(vec![hop, near].into())),
    ]);
    assert_eq!(engine.state().routes[&dst], learned(&[near, gateway]), "only what is behind a router");
    let delta = engine.apply(&[FactDelta::Gateways(hop, vec![near, other])]);
    assert_eq!(delta.routes, BTreeMap::from([(dst, Some(learned(&[near, other])))]), "each way once");
    assert_eq!(engine.apply(&[FactDelta::Gateways(hop, vec![near, other])]), DesiredDelta::default());
    engine.apply(&[FactDelta::Gateways(hop, Vec::new())]);
    assert_eq!(engine.state().routes[&dst], learned(&[hop, near]), "it is on a link now");

    // A node's address, which a tunnel leads to: the pool's word goes first.
    engine.apply(&[
        node("h2", "10.8.0.5", true),
        FactDelta::OffLink(hop, true),
        FactDelta::Gateways(hop, vec![gateway]),
        FactDelta::Learned(cidr("10.0.0.1/32"), Some(hop.into())),
    ]);
    let tunnelled = |route: &Route| matches!(route, Route::Tunnelled { via, .. } if **via == [hop]);
    assert!(tunnelled(&engine.state().routes[&dst]), "{:?}", engine.state().routes);
    for said in [FactDelta::OffLink(hop, false), FactDelta::OffLink(hop, true), FactDelta::Gateways(hop, Vec::new())] {
        engine.apply(&[said]);
        assert!(tunnelled(&engine.state().routes[&dst]), "either word is enough: {:?}", engine.state().routes);
    }
    engine.apply(&[FactDelta::OffLink(hop, false)]);
    assert_eq!(engine.state().routes[&dst], learned(&[hop]), "it is on a link");
    engine.apply(&[FactDelta::Gateways(hop, vec![gateway])]);
    engine.apply(&[tunnelled_pool(EncapsulationMode::Never)]);
    assert_eq!(engine.state().routes[&dst], learned(&[gateway]));
}

fn any_fact() -> impl Strategy<Value = FactDelta> {
    let addresses = prop::sample::select(vec!["10.0.0.1", "10.0.0.2", "10.0.1.1", "fd00::1"]);
    prop_oneof![
        (prop::sample::select(vec!["h1", "h2"]), prop::sample::select(vec!["a", "b"]), prop::option::of(addresses))
            .prop_map(|(node, id, address)| endpoint(node, id, address)),
        (prop::sample::select(vec!["10.0.0.0/26", "10.0.1.0/26"]), any::<bool>())
            .prop_map(|(block, owned)| FactDelta::OwnBlock(cidr(block), owned)),
        prop::option::of(prop::sample::select(vec!["10.0.0.0/16", "10.1.0.0/16"])).prop_map(pool),
        prop::sample::select(vec![EncapsulationMode::Never, EncapsulationMode::Always, EncapsulationMode::Auto])
            .prop_map(tunnelled_pool),
        (prop::sample::select(vec![("h2", "192.0.2.2"), ("h3", "192.0.2.3"), ("h4", "192.0.2.3")]), any::<bool>())
            .prop_map(|((name, address), there)| node(name, address, there)),
        (prop::sample::select(vec!["192.0.2.2", "192.0.2.3"]), any::<bool>())
            .prop_map(|(hop, off)| FactDelta::OffLink(hop.parse().unwrap(), off)),
        (
            prop::sample::select(vec!["192.0.2.2", "192.0.2.3"]),
            prop::sample::select(vec![&[][..], &["192.0.2.3"], &["192.0.2.8", "192.0.2.9"]])
        )
            .prop_map(|(hop, gateways)| {
                let gateways = gateways.iter().map(|gateway| gateway.parse().unwrap());
                FactDelta::Gateways(hop.parse().unwrap(), gateways.collect())
            }),
        any::<bool>().prop_map(|held| FactDelta::TunnelAddress(TunnelKind::Ipip, "10.0.5.0".parse().unwrap(), held)),
        (
            prop::sample::select(vec!["10.0.0.1/32", "10.0.1.0/26"]),
            prop::option::of(prop::collection::vec(prop::sample::select(vec!["192.0.2.2", "192.0.2.3"]), 0..3))
        )
            .prop_map(|(prefix, via)| FactDelta::Learned(
                cidr(prefix),
                via.map(|via| via.iter().map(|hop| hop.parse::<IpAddr>().unwrap()).collect())
            )),
    ]
}

/// The last word on each subject, in an order that has nothing to do with how they came.
fn final_facts(facts: &[FactDelta]) -> Vec<FactDelta> {
    let subject = |fact: &FactDelta| match fact {
        FactDelta::Endpoint { node, key, .. } => format!("endpoint {node} {key}"),
        FactDelta::OwnBlock(cidr, _) => format!("block {cidr}"),
        FactDelta::Pool(name, _) => format!("pool {name}"),
        FactDelta::Learned(prefix, _) => format!("learned {prefix}"),
        FactDelta::Node(name, _) => format!("node {name}"),
        FactDelta::OffLink(hop, _) => format!("off link {hop}"),
        FactDelta::Gateways(hop, _) => format!("gateways of {hop}"),
        FactDelta::TunnelAddress(..) => "tunnel address".to_string(),
        other => format!("{other:?}"),
    };
    facts.iter().map(|fact| (subject(fact), fact.clone())).collect::<BTreeMap<_, _>>().into_values().collect()
}

proptest! {
    #[test]
    fn by_delta_equals_from_scratch(
        facts in prop::collection::vec(any_fact(), 0..40),
        blocks in any::<bool>(),
    ) {
        let announce = if blocks { Announce::Blocks } else { Announce::Hosts };
        let mut by_delta = NetworkEngine::new(settings(announce));
        let mut replayed = DesiredState::default();
        for fact in &facts {
            let delta = by_delta.apply(std::slice::from_ref(fact));
            for (name, link) in delta.links {
                replace(&mut replayed.links, name, link);
            }
            for (key, route) in delta.routes {
                replace(&mut replayed.routes, key, route);
            }
            for (prefix, announced) in delta.announcements {
                if announced { replayed.announcements.insert(prefix); } else { replayed.announcements.remove(&prefix); }
            }
        }
        let mut from_scratch = NetworkEngine::new(settings(announce));
        from_scratch.apply(&final_facts(&facts));
        prop_assert_eq!(by_delta.state(), from_scratch.state());
        prop_assert_eq!(&replayed, from_scratch.state(), "the deltas, replayed, give the state");
    }
}
