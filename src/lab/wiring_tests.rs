use std::path::Path;

use super::*;
use crate::lab::Topology;

fn lab(mgmt: &str, links: &str) -> Result<Topology, String> {
    let text = format!(
        "name: x\n{mgmt}topology:\n  defaults: {{kind: linux}}\n  nodes:\n    a: {{network-mode: none}}\n    b: {{}}\n    \
         h: {{network-mode: host}}\n    s: {{network-mode: 'container:clab-x-a'}}\n    br: {{kind: bridge}}\n  links:\n{links}"
    );
    Topology::parse(Path::new("/x.clab.yml"), &text).map_err(|error| error.to_string())
}

fn shown(links: &str) -> Vec<String> {
    lab("", links).expect("a topology").links.iter().map(ToString::to_string).collect()
}

#[test]
fn both_ways_of_writing_a_link_mean_the_same() {
    let brief = shown(
        "    - endpoints: [a:eth1, b:eth1]\n    - endpoints: [host:out, a:eth2]\n    - endpoints: [br:p, mgmt-net:m]\n",
    );
    let words = shown(
        "    - {type: veth, endpoints: [{node: a, interface: eth1, vars: {z: 3}}, b:eth1]}\n    \
         - {type: host, endpoint: {node: a, interface: eth2}, host-interface: out}\n    \
         - {type: mgmt-net, endpoint: br:p, host-interface: m, vars: {x: 1}, labels: {y: 2}}\n",
    );
    assert_eq!(brief, ["a:eth1 -- b:eth1", "a:eth2 -- host:out", "br:p -- mgmt-net:m"]);
    assert_eq!(brief, words);
    assert_eq!(shown("    - {type: dummy, endpoint: a:eth0, mtu: 1500}\n"), ["a:eth0 -- dummy"]);
}

#[test]
fn ends_that_cannot_be_are_refused() {
    let cases = [
        ("- endpoints: [h:eth1, b:eth1]", "`h:eth1`: `h` is in the network of whoever deploys; write `host:eth1`"),
        ("- endpoints: [s:eth1, b:eth1]", "`s:eth1`: `s` has the network of `a`; write `a:eth1`"),
        ("- endpoints: [host:x, mgmt-net:y]", "`mgmt-net:y`: one end of a link must be at a node"),
        ("- endpoints: [a:eth1, 'host:a-very-long-name']", "interface `a-very-long-name`: expected at most 15"),
        ("- {type: host, endpoint: a:eth1}", "a link of type `host` needs its `host-interface`"),
        ("- {type: host, endpoints: [a:eth1, b:eth1]}", "a link of type `host` has one `endpoint: {node: ..., inter"),
        ("- {type: dummy, endpoint: a:e, host-interface: x}", "host-interface: a `dummy` has one end; remove it"),
        ("- {endpoints: [a:e, b:e], host-interface: x}", "`endpoint` and `host-interface` are for the types `host`"),
        ("- {endpoints: [a:e, b:e], vni: 1}", "`vni`: it is a field of `vxlan`, which is not made here; take a `host`"),
        ("- {endpoints: [a:e, b:e], ipv4: [x]}", "`ipv4`: links have no addresses; write `exec: [ip address add ...]`"),
        ("- {endpoints: [a:e, b:e], mtu: 10}", "mtu 10: expected 68 to 65535 bytes"),
        ("- endpoints: [a:e, host:x]\n    - endpoints: [b:e, mgmt-net:x]", "`host:x` is already an end of links[0]"),
    ];
    for (link, expected) in cases {
        let said = lab("", &format!("    {link}\n")).expect_err(link);
        let line = if link.contains('\n') { 12 } else { 11 };
        assert!(said.starts_with(&format!("/x.clab.yml:{line}: topology.links[")), "{link}: {said}");
        assert!(said.contains(expected), "{link}:\n  said     {said}\n  expected {expected}");
    }
}

#[test]
fn the_management_bridge_has_the_name_and_the_addresses_that_are_written() {
    let bridge = |mgmt: &str| lab(mgmt, "    []\n").map(|topology| topology.management);
    let plain = bridge("").unwrap();
    assert_eq!((plain.bridge.as_str(), plain.addresses.len(), plain.mtu), ("br-clab", 0, None));
    let said = "mgmt: {network: lab, ipv4-subnet: 172.31.0.0/24, ipv6_subnet: 'fd00:1::/64', mtu: 1500}\n";
    let full = bridge(said).unwrap();
    assert_eq!((full.bridge.as_str(), full.mtu), ("br-lab", Some(1500)));
    assert_eq!(full.addresses, ["172.31.0.1/24", "fd00:1::1/64"]);
    let own = bridge("mgmt: {bridge: mine, ipv4-subnet: 172.31.0.0/24, ipv4-gw: 172.31.0.254}\n").unwrap();
    assert_eq!((own.bridge.as_str(), own.addresses), ("mine", vec!["172.31.0.254/24".into()]));
    for (mgmt, expected) in [
        ("network: a-long-long-name", "2: mgmt: interface `br-a-long-long-name`: expected at most 15"),
        ("ipv4-subnet: auto", "2: mgmt: ipv4-subnet `auto`: expected ADDRESS/PREFIX, as 172.20.20.0/24"),
        ("ipv4-subnet: 'fd00::/64'", "2: mgmt: ipv4-subnet `fd00::/64`: expected an ipv4 subnet"),
        ("ipv4-gw: 10.0.0.1", "2: mgmt: ipv4-gw 10.0.0.1: write its `ipv4-subnet` too"),
        ("{ipv4-subnet: 10.0.0.0/24, ipv4-gw: 10.0.1.1}", "2: mgmt: ipv4-gw `10.0.1.1`: expected an address in 10."),
        ("ipv4-subnet: 10.0.0.1/32", "2: mgmt: ipv4-subnet `10.0.0.1/32`: too small for an address"),
        ("mtu: 1", "2: mgmt: mtu 1: expected 68 to 65535 bytes"),
        ("external-access: false", "2: mgmt: `external-access`: the management network is a plain bridge; add routes"),
    ] {
        let mgmt = if mgmt.starts_with('{') { mgmt.to_string() } else { format!("{{{mgmt}}}") };
        let said = bridge(&format!("mgmt: {mgmt}\n")).expect_err(&mgmt);
        assert!(said.contains(expected), "{mgmt}:\n  said     {said}\n  expected {expected}");
    }
}

#[test]
fn a_network_is_shared_with_a_node_of_the_lab_by_either_name() {
    let topology = lab("", "    []\n").expect("a topology");
    assert_eq!(topology.nodes[3].network, Network::Of("a".into()));
    let modes = [
        ("container:nobody", "network-mode `container:nobody`: `nobody` is no node of the lab; it has a, b"),
        ("container:b", "network-mode `container:b`: that is the node itself; write `none`"),
        (
            "host\n      sysctls: {net.ipv4.ip_forward: 1}",
            "sysctls (net.ipv4.ip_forward): they would be those of another",
        ),
        ("host\n      kind: bridge", "network-mode: a bridge has a namespace of its own; remove it"),
    ];
    for (mode, expected) in modes {
        let text = format!(
            "name: x\ntopology:\n  defaults: {{kind: linux}}\n  nodes:\n    a:\n    b:\n      network-mode: {mode}\n"
        );
        let said = Topology::parse(Path::new("/x.clab.yml"), &text).expect_err(mode).to_string();
        assert!(said.contains(&format!("/x.clab.yml:6: topology.nodes.b: {expected}")), "{mode}: {said}");
    }
}
