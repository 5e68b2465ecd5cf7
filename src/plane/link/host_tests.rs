use super::*;
use routenet_core::desired::{GATEWAY4, GATEWAY6};
use routenet_core::model::{EndpointKey, NetworkName};

fn link(container_id: &str) -> Link {
    Link {
        endpoint: EndpointKey {
            network: NetworkName::new("blue").expect("a name"),
            container_id: container_id.to_string(),
            ifname: InterfaceName::new("eth0").expect("a name"),
        },
        netns: "/run/netns/x".to_string(),
        ifname: InterfaceName::new("eth0").expect("a name"),
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        addresses: vec!["10.0.0.1".parse().expect("an address")],
        gateway4: GATEWAY4,
        gateway6: GATEWAY6,
        handed_over: false,
        loopback: false,
    }
}

#[test]
fn only_the_names_that_endpoints_give_are_ours() {
    assert!(is_ours(link("c").endpoint.host_interface().as_str()));
    for foreign in ["rnw", "rnwork0", "rnw0123456789", "rnw0123456789AB", "rnt-vxlan", "eth0", "rnw0123456789g"] {
        assert!(!is_ours(foreign), "{foreign}");
    }
}

#[test]
fn the_alias_names_the_endpoint_and_fits_the_kernel() {
    assert_eq!(alias(&link("c1")), "blue/c1/eth0");
    let long = alias(&link(&"é".repeat(300)));
    assert!(long.len() <= 255 && long.len() >= 254);
}

#[test]
fn what_is_not_as_built_is_said() {
    let wanted = link("c1");
    let name = wanted.endpoint.host_interface();
    let right = HostLink {
        index: 3,
        name: name.to_string(),
        veth: true,
        up: true,
        mac: HOST_MAC.to_vec(),
        mtu: 1500,
        alias: Some("blue/c1/eth0".to_string()),
        peer: Some(2),
        group: 0,
    };
    assert!(right.differences(&wanted, &name).is_empty());
    let wrong = HostLink { up: false, mtu: 9000, mac: vec![0; 6], alias: None, name: "x".to_string(), ..right };
    assert_eq!(wrong.differences(&wanted, &name).len(), 5);
    assert!(!wrong.is_complete(&wanted));
}
