use netlink_packet_core::Emitable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteFlags};
use routenet_core::model::TunnelKind;

use super::*;

fn learned(via: &str, src: Option<&str>) -> Route {
    let src = src.map(|src| src.parse().expect("an address"));
    Route::Learned { via: via.parse::<IpAddr>().expect("an address").into(), src }
}

#[test]
fn the_bytes_are_those_of_the_message() {
    let tunnelled = Route::Tunnelled {
        kind: TunnelKind::Vxlan,
        via: "fd00::2".parse::<IpAddr>().expect("an address").into(),
        src: Some("fd02::1".parse().expect("an address")),
    };
    let cases = [
        ("10.1.0.0/26", 0, learned("192.0.2.2", None)),
        ("10.1.0.0/26", 7, learned("192.0.2.2", Some("192.0.2.1"))),
        ("0.0.0.0/0", 0, learned("2001:db8::2", Some("192.0.2.1"))),
        ("fd01::/64", 0, learned("2001:db8::2", Some("2001:db8::1"))),
        ("fd01::1/128", 0, tunnelled),
    ];
    for (dst, metric, route) in cases {
        let key = RouteKey { dst: dst.parse().expect("a CIDR"), metric };
        let RouteNetlinkMessage::NewRoute(mut message) = message::install(&key, &route, None) else {
            panic!("an installation")
        };
        message.header.flags = RouteFlags::empty();
        message
            .attributes
            .retain(|attribute| !matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_)));
        message.attributes.push(RouteAttribute::NhId(0x726e_0005));
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        assert_eq!(by_object(&key, &route, 0x726e_0005).body(), bytes, "{key} {route:?}");
    }
}
