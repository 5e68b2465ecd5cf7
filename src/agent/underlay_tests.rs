use super::*;

fn candidate(interface: &str, address: &str, mtu: u32) -> Candidate {
    Candidate { interface: interface.into(), address: address.parse().unwrap(), length: 24, mtu }
}

fn config(address: &str) -> NodeConfig {
    let text = format!("node: h1\naddress: {address}\nstore: {{type: embedded, path: /x/cluster.db}}\n");
    routenet_core::model::config::read("node.yaml", &text).unwrap()
}

fn host() -> Vec<Candidate> {
    vec![
        candidate("eth0", "10.0.0.5", 1500),
        candidate("eth1", "192.0.2.1", 9000),
        candidate("eth1", "192.0.2.129", 9000),
        candidate("eth1", "2001:db8::1", 9000),
    ]
}

#[test]
fn a_given_address_must_be_there() {
    let underlay = choose(&config("{ipv4: 192.0.2.1, ipv6: '2001:db8::1'}"), &host()).unwrap();
    assert_eq!(underlay.ipv4, Some("192.0.2.1".parse().unwrap()));
    assert_eq!((underlay.ipv6, underlay.mtu), (Some("2001:db8::1".parse().unwrap()), 9000));
    let error = choose(&config("{ipv4: 192.0.2.7}"), &host()[..1]).unwrap_err();
    assert_eq!(
        error,
        Unresolved::Missing(
            "address.ipv4: no interface of this host has 192.0.2.7; it has 10.0.0.5 (eth0): add it (ip address add), or correct the file"
                .into()
        )
    );
}

#[test]
fn auto_takes_what_is_unambiguous_and_refuses_the_rest() {
    let by_interface = choose(&config("{auto: [{interface: eth0}]}"), &host()).unwrap();
    assert_eq!(
        by_interface,
        Underlay {
            ipv4: Some("10.0.0.5".parse().unwrap()),
            ipv6: None,
            subnets: vec!["10.0.0.0/24".parse().unwrap()],
            mtu: 1500,
            interface: "eth0".into()
        }
    );
    let by_cidr = choose(&config("{auto: [{cidr: 192.0.2.0/25}, {cidr: '2001:db8::/64'}]}"), &host()).unwrap();
    assert_eq!(by_cidr.ipv4, Some("192.0.2.1".parse().unwrap()));
    assert!(by_cidr.ipv6.is_some());
    let error = choose(&config("{auto: [{interface: eth1}]}"), &host()).unwrap_err();
    assert_eq!(
        error,
        Unresolved::Refused(
            "address.auto: interface eth1 finds 192.0.2.1 and 192.0.2.129: give the right one by address.ipv4".into()
        )
    );
    let error = choose(&config("{auto: [{cidr: 172.16.0.0/12}]}"), &host()[..1]).unwrap_err();
    assert_eq!(
        error,
        Unresolved::Missing(
            "address.auto: no address found by cidr 172.16.0.0/12; this host has 10.0.0.5 (eth0)".into()
        )
    );
}

#[test]
fn an_address_of_loopback_has_the_mtu_of_the_wires() {
    let mut host = host();
    host.push(candidate("lo", "198.51.100.1", 65536));
    host.push(candidate("rnt-vxlan", "10.65.0.1", 1450));
    let underlay = choose(&config("{ipv4: 198.51.100.1}"), &host).unwrap();
    assert_eq!((underlay.mtu, underlay.interface.as_str()), (1500, "eth0"), "which has less than eth1");
    let alone = choose(&config("{ipv4: 198.51.100.1}"), &[candidate("lo", "198.51.100.1", 65536)]).unwrap();
    assert_eq!(alone.mtu, 1500);
    assert_eq!(choose(&config("{ipv4: 192.0.2.1}"), &host).unwrap().mtu, 9000);
}

#[test]
fn an_mtu_that_is_another_than_at_the_start_is_told_with_both_values() {
    let of = |started, now| UnderlayMtu { started, now: watch::channel((now, "eth0".to_string())).1 };
    assert_eq!(of(1500, 1500).problem(), None);
    let (what, mend) = of(1500, 9000).problem().unwrap();
    assert_eq!(what, "the MTU of eth0 is 9000, and was 1500 when the agent started: tunnels and workloads go by that");
    assert!(mend.starts_with("restart the agent"), "{mend}");
}
