use super::*;

fn key(dst: &str, metric: u32) -> RouteKey {
    RouteKey { dst: dst.parse().expect("a CIDR"), metric }
}

fn dev() -> InterfaceName {
    InterfaceName::new("rnw0123456789a").expect("a name")
}

fn round_trip(key: &RouteKey, route: &Route) -> (RouteKey, Installed) {
    let RouteNetlinkMessage::NewRoute(message) = install(key, route, Some(7)) else { panic!("an installation") };
    read(&message, |index| (index == 7).then(dev), |_| None).expect("a route of the main table")
}

fn addresses(all: &[&str]) -> Via {
    all.iter().map(|text| text.parse::<IpAddr>().expect("an address")).collect()
}

#[test]
fn each_kind_of_route_reads_back_as_it_was_written() {
    let cases = [
        (key("10.0.0.1/32", 0), Route::Local { dev: dev(), src: Some("192.0.2.1".parse().expect("an address")) }),
        (key("fd00::1/128", 0), Route::Local { dev: dev(), src: None }),
        (key("10.0.0.0/26", 0), Route::Blackhole),
        (key("fd00::/48", 1_000_000), Route::Unreachable),
        (key("10.1.0.0/26", 0), Route::Learned { via: addresses(&["192.0.2.2"]), src: None }),
        (key("fd01::/64", 0), Route::Learned { via: addresses(&["2001:db8::2", "2001:db8::3"]), src: None }),
    ];
    for (key, route) in cases {
        let (read_key, installed) = round_trip(&key, &route);
        assert_eq!((read_key, installed.route.as_ref()), (key, Some(&route)));
        assert!(installed.is_ours());
    }
}

#[test]
fn a_route_of_another_shape_is_not_taken_for_ours() {
    let key = key("10.1.0.0/26", 0);
    let route = Route::Learned { via: addresses(&["192.0.2.2"]), src: None };
    let RouteNetlinkMessage::NewRoute(mut message) = install(&key, &route, None) else { panic!("an installation") };
    message.header.protocol = RouteProtocol::Static;
    let (_, foreign) = read(&message, |_| None, |_| None).expect("a route");
    assert!(!foreign.is_ours() && foreign.route.is_none());
    message.header.protocol = RouteProtocol::Other(PROTO_LOCAL);
    assert_eq!(
        read(&message, |_| None, |_| None).expect("a route").1.route,
        None,
        "learned, with the id of local routes"
    );
    message.header.table = 100;
    assert!(read(&message, |_| None, |_| None).is_none(), "another table");
}

#[test]
fn link_local_next_hops_name_their_link_and_the_other_ends_of_tunnels_do_not() {
    let link_local = |link| scoped("fe80::2".parse().expect("an address"), link);
    let key = key("fd01::/64", 0);
    let learned = Route::Learned { via: link_local(7).into(), src: None };
    let RouteNetlinkMessage::NewRoute(message) = install(&key, &learned, None) else { panic!("an installation") };
    assert!(message.attributes.contains(&RouteAttribute::Oif(7)));
    assert_eq!(read(&message, |_| Some(dev()), |_| None).expect("a route").1.route, Some(learned));
    let kind = TunnelKind::Vxlan;
    let tunnelled = Route::Tunnelled { kind, via: link_local(0).into(), src: None };
    let RouteNetlinkMessage::NewRoute(message) = install(&key, &tunnelled, Some(9)) else { panic!("an installation") };
    assert_eq!(read(&message, |_| Some(kind.device()), |_| None).expect("a route").1.route, Some(tunnelled));
}

#[test]
fn a_route_by_an_object_is_what_the_object_stands_for() {
    let (key, route) = (key("10.1.0.0/26", 0), Route::Learned { via: addresses(&["192.0.2.2"]), src: None });
    let RouteNetlinkMessage::NewRoute(mut message) = install(&key, &route, None) else { panic!("an installation") };
    message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Gateway(_)));
    message.attributes.push(RouteAttribute::NhId(5));
    let hop = Hop { gateway: "192.0.2.2".parse().expect("an address"), device: 7, onlink: false };
    let (_, installed) = read(&message, |_| Some(dev()), |id| (id == 5).then(|| vec![hop])).expect("a route");
    assert_eq!((installed.route, installed.nexthop), (Some(route), Some(5)));
    let (_, unknown) = read(&message, |_| Some(dev()), |_| None).expect("a route");
    assert_eq!((unknown.route, unknown.nexthop), (None, Some(5)), "an object that is not ours");
}
