use super::*;
use crate::model::{Encapsulation, PoolName};

fn pool(mode: EncapsulationMode, device: TunnelKind) -> Pool {
    Pool {
        name: PoolName::new("p").unwrap(),
        cidr: "10.65.0.0/16".parse().unwrap(),
        block_size: 26,
        disabled: false,
        node_selector: "all()".into(),
        unreachable_route: true,
        encapsulation: Encapsulation { mode, device },
        nat_outgoing: false,
    }
}

#[test]
fn the_mode_and_the_place_of_the_next_hop_decide() {
    use EncapsulationMode::*;
    let node = NodeName::new("h2").unwrap();
    let subnets = ["192.0.2.0/24".parse().unwrap()];
    let near = "192.0.2.2";
    let far = "198.51.100.2";
    // Mode, next hop, whether the kernel reaches it through a router, whether it is a node; what comes of it.
    let cases = [
        (Never, far, true, true, false, Why::Never),
        (Always, near, false, true, true, Why::Always),
        (Always, near, false, false, false, Why::Announced),
        (CrossSubnet, near, false, true, false, Why::SameSubnet),
        (CrossSubnet, far, false, true, true, Why::OtherSubnet),
        (CrossSubnet, far, false, false, false, Why::Announced),
        (Auto, near, true, true, true, Why::OffLink),
        (Auto, far, false, true, false, Why::OnLink),
        (Auto, far, true, false, false, Why::Announced),
    ];
    for (mode, address, off_link, is_node, encapsulated, why) in cases {
        let hop = NextHop { address: address.parse().unwrap(), node: is_node.then_some(&node), off_link };
        let found = way(Some(&pool(mode, TunnelKind::Vxlan)), hop, &subnets);
        let tunnel = encapsulated.then_some(TunnelKind::Vxlan);
        assert_eq!(found, Way { tunnel, why: why.clone() }, "{mode:?} {address} off link: {off_link} node: {is_node}");
    }
    let hop = NextHop { address: far.parse().unwrap(), node: Some(&node), off_link: true };
    assert_eq!(way(None, hop, &subnets).tunnel, None, "what lies in no pool goes as it is");
}

#[test]
fn workloads_get_what_is_left_of_the_underlay() {
    let never = pool(EncapsulationMode::Never, TunnelKind::Vxlan);
    let ipip = pool(EncapsulationMode::Auto, TunnelKind::Ipip);
    let vxlan = pool(EncapsulationMode::CrossSubnet, TunnelKind::Vxlan);
    assert_eq!(workload_mtu(1500, true, [&never]), 1500);
    assert_eq!(workload_mtu(1500, true, [&never, &ipip]), 1480);
    assert_eq!(workload_mtu(1500, true, [&ipip, &vxlan]), 1450);
    assert_eq!(workload_mtu(1500, false, [&vxlan]), 1430);
}
