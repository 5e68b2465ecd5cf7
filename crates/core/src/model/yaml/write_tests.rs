use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::model::peering::{AddPaths, BgpRole, MaxPrefixes, NextHopMode, PeerAs, PeerKind, PeerOptions, SentPaths};
use crate::model::{
    Action, BfdSettings, BgpConfiguration, BgpPeer, BgpTransport, Cidr, EntityRule, IcmpMatch, ImportPolicy,
    InterfaceName, Isolation, Kind, Labels, Namespace, Network, NetworkName, NetworkSet, Node, NodeName, Object,
    ObjectKey, Policy, PolicyRule, PolicyStage, Pool, PoolName, PortMatch, Protocol, Reservation, ServiceAccount,
    ServiceAccountMatch, Tier, TierAction,
};
use crate::model::{Encapsulation, EncapsulationMode, MeshLayout, TunnelKind};

fn name() -> impl Strategy<Value = String> {
    // Names that YAML could take for something else are among them.
    prop_oneof![
        "[a-z]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z0-9]{1,3})?",
        Just("null".to_string()),
        Just("1".to_string()),
        Just("true".to_string())
    ]
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map("[a-zA-Z0-9][a-zA-Z0-9_./-]{0,6}", "[ -~äß]{0,8}", 0..4)
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1u32..0xe000_0000).prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits))),
        (1u128 << 120..0xfc_u128 << 120).prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits))),
    ]
}

fn net() -> impl Strategy<Value = Cidr> {
    (address(), 1u8..=128).prop_map(|(address, length)| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Cidr::new(address, 1 + length % bits).expect("a valid length")
    })
}

fn selector() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("all()".to_string()),
        Just("global()".to_string()),
        "[a-z]{1,5}".prop_map(|label| format!("has({label})")),
        ("[a-z]{1,5}", "[a-z #:]{0,5}").prop_map(|(label, value)| format!("{label} == \"{value}\" && !has(x)")),
        "[a-z]{1,5}".prop_map(|label| format!("{label} in {{'a', 'b'}}")),
    ]
}

fn namespace_selector() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("global()".to_string()),
        "[a-z]{1,5}".prop_map(|name| format!("projectcalico.org/name != '{name}'")),
    ]
}

fn ports() -> impl Strategy<Value = Vec<PortMatch>> {
    vec((any::<u16>(), any::<u16>()).prop_map(|(a, b)| PortMatch { first: a.min(b), last: a.max(b) }), 0..3)
}

fn entity() -> impl Strategy<Value = EntityRule> {
    let accounts = of((vec(name(), 0..3), of(selector())))
        .prop_map(|given| given.map(|(names, selector)| ServiceAccountMatch { names, selector }));
    let port_names = || vec("[a-z][a-z0-9-]{0,6}", 0..2);
    let ports = (ports(), ports(), port_names(), port_names());
    let selectors = (of(selector()), of(selector()), of(namespace_selector()), accounts);
    (vec(net(), 0..3), vec(net(), 0..2), selectors, ports).prop_map(|(nets, not_nets, selectors, ports)| {
        let (selector, not_selector, namespace_selector, service_accounts) = selectors;
        let (ports, not_ports, named_ports, not_named_ports) = ports;
        EntityRule {
            nets,
            not_nets,
            selector,
            not_selector,
            namespace_selector,
            service_accounts,
            ports,
            not_ports,
            named_ports,
            not_named_ports,
        }
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Allow), Just(Action::Deny), Just(Action::Pass), Just(Action::Log)]
}

/// Rules that hold together: ports only with protocols that have them, ICMP types only with ICMP.
fn rule() -> impl Strategy<Value = PolicyRule> {
    let icmp = (0u8..255, of(any::<u8>())).prop_map(|(kind, code)| IcmpMatch { kind, code });
    (action(), of(1u8..=255), of(1u8..=255), of(icmp), entity(), entity()).prop_map(
        |(action, protocol, not_protocol, icmp, mut source, mut destination)| {
            let protocol = protocol.map(Protocol);
            if !protocol.is_some_and(Protocol::has_ports) {
                for side in [&mut source, &mut destination] {
                    side.ports.clear();
                    side.not_ports.clear();
                    if protocol.is_some() {
                        side.named_ports.clear();
                        side.not_named_ports.clear();
                    }
                }
            }
            let icmp = icmp.filter(|_| matches!(protocol, Some(Protocol::ICMP | Protocol::ICMPV6)));
            PolicyRule {
                action,
                ip_version: None,
                protocol,
                not_protocol: not_protocol.map(Protocol),
                icmp,
                not_icmp: icmp,
                source,
                destination,
            }
        },
    )
}

fn policy(namespace: Option<String>) -> impl Strategy<Value = Policy> {
    let order = of(prop_oneof![any::<i32>().prop_map(f64::from), -1e9..1e9f64, Just(-0.0), Just(1e300)]);
    let types = prop_oneof![Just((true, true)), Just((true, false)), Just((false, true))];
    let place = (name(), prop_oneof![Just("default".to_string()), name()], order);
    let selectors = (prop_oneof![Just(String::new()), selector()], of(selector()), of(selector()));
    (place, selectors, types, vec(rule(), 0..3), vec(rule(), 0..3)).prop_map(
        move |((name, tier, order), selectors, (applies_ingress, applies_egress), ingress, egress)| Policy {
            key: match &namespace {
                Some(namespace) => ObjectKey::namespaced(Kind::NetworkPolicy, namespace, name),
                None => ObjectKey::global(Kind::GlobalNetworkPolicy, name),
            },

            tier,
            order,
            selector: selectors.0,
            namespace_selector: selectors.1.filter(|_| namespace.is_none()),
            service_account_selector: selectors.2,
            stage: PolicyStage::Filter,
            apply_on_forward: false,
            applies_ingress,
            applies_egress,
            ingress,
            egress,
        },
    )
}

fn pool() -> impl Strategy<Value = Object> {
    let v4 = (0u32..256, 8u8..=32, 20u8..=32).prop_map(|(second, length, block)| {
        (Cidr::new(Ipv4Addr::new(10, second as u8, 0, 0).into(), length).expect("valid"), block.max(length))
    });
    let v6 = (0u16..9999, 16u8..=128, 116u8..=128).prop_map(|(second, length, block)| {
        (Cidr::new(Ipv6Addr::new(0xfd00, second, 0, 0, 0, 0, 0, 0).into(), length).expect("valid"), block.max(length))
    });
    let modes =
        [EncapsulationMode::Never, EncapsulationMode::Always, EncapsulationMode::CrossSubnet, EncapsulationMode::Auto];
    let encapsulation = (proptest::sample::select(modes.to_vec()), any::<bool>());
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (name(), prop_oneof![v4, v6], flags, selector(), encapsulation).prop_map(
        |(name, (cidr, block_size), (disabled, unreachable_route, nat_outgoing), node_selector, (mode, ipip))| {
            let name = PoolName::new(name).expect("a name");
            let ipip = ipip && cidr.family() == crate::model::Family::V4 || mode == EncapsulationMode::Never;
            let device = if ipip { TunnelKind::Ipip } else { TunnelKind::Vxlan };
            let encapsulation = Encapsulation { mode, device };
            Object::IPPool(Pool {
                name,
                cidr,
                block_size,
                disabled,
                node_selector,
                unreachable_route,
                encapsulation,
                nat_outgoing,
            })
        },
    )
}

fn node() -> impl Strategy<Value = Object> {
    let families = (of(1u32..0xe000_0000), of(1u128 << 120..0xfc_u128 << 120))
        .prop_filter("one", |(a, b)| a.is_some() || b.is_some());
    (name(), labels(), families, 1..u32::MAX, 1u32.., 1u16.., any::<bool>(), "[0-9a-f]{0,8}").prop_map(
        |(name, labels, (ipv4, ipv6), as_number, router_id, bgp_port, mesh, incarnation)| {
            Object::Node(Node {
                name: NodeName::new(name).expect("a name"),
                labels,
                ipv4: ipv4.map(Ipv4Addr::from),
                ipv6: ipv6.map(Ipv6Addr::from),
                as_number,
                router_id: Ipv4Addr::from(router_id),
                bgp_port,
                mesh,
                incarnation,
            })
        },
    )
}

fn options() -> impl Strategy<Value = PeerOptions> {
    let next_hop = prop_oneof![Just(NextHopMode::Auto), Just(NextHopMode::Own), Just(NextHopMode::Keep)];
    let bound = (1u32.., 1u8..=100, of(5u32..=604_800)).prop_map(|(limit, warning, restart)| MaxPrefixes {
        limit,
        warning,
        restart,
    });
    let times = (of(0u32..0x0100_0000), 0u16..=240);
    let role = (of(proptest::sample::select(BgpRole::ALL.to_vec())), any::<bool>());
    let send = prop_oneof![Just(SentPaths::None), Just(SentPaths::All), SentPaths::BEST.prop_map(SentPaths::Best)];
    let add_paths = (any::<bool>(), send).prop_map(|(receive, send)| AddPaths { receive, send });
    let filters = proptest::collection::vec(name(), 0..3);
    let flags = (any::<bool>(), any::<bool>());
    (flags, next_hop, of(1..u32::MAX), 0u8..=10, of(bound), times, role, (add_paths, filters)).prop_map(
        |(flags, next_hop, local_as, allowed_local_as, max_prefixes, times, (role, strict), (add_paths, filters))| {
            PeerOptions {
                reflector_client: flags.0,
                classic_next_hop: flags.1,
                next_hop,
                local_as,
                allowed_local_as,
                max_prefixes,
                long_lived_time: times.0,
                delay_open: times.1,
                role,
                role_strict: strict && role.is_some(),
                add_paths,
                filters,
            }
        },
    )
}

fn peer_as() -> impl Strategy<Value = PeerAs> {
    prop_oneof![(1..u32::MAX).prop_map(PeerAs::Number), Just(PeerAs::INTERNAL), Just(PeerAs::EXTERNAL)]
}

fn peer() -> impl Strategy<Value = Object> {
    let import = prop_oneof![Just(ImportPolicy::None), Just(ImportPolicy::Pools), Just(ImportPolicy::All)];
    let nodes = prop_oneof![
        Just((None, None)),
        name().prop_map(|name| (Some(NodeName::new(name).expect("a name")), None)),
        selector().prop_map(|selector| (None, Some(selector))),
    ];
    let hold_time = of(prop_oneof![Just(0u16), 3u16..]);
    let transport = (of(1u8..255), of("/[ -~]{1,9}"))
        .prop_map(|(ttl_security, password_file)| BgpTransport { ttl_security, password_file });
    let bfd = of((10u32..=60_000, 1u8.., of(of(1u8..))).prop_map(|(interval_ms, multiplier, far)| BfdSettings {
        interval_ms,
        multiplier,
        multihop: far.is_some(),
        minimum_ttl: far.flatten(),
    }));
    let session = (hold_time, transport, options(), bfd);
    let interface = || name().prop_map(|name| InterfaceName::new(name).expect("a name"));
    let place = prop_oneof![
        (address(), 1u16..).prop_map(|(address, port)| (address, None, port)),
        (1u64.., interface(), 1u16..).prop_map(|(host, name, port)| (
            Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(host)).into(),
            Some(name),
            port
        )),
        interface().prop_map(|name| (Ipv6Addr::UNSPECIFIED.into(), Some(name), 179)),
    ];
    (name(), nodes, place, peer_as(), any::<bool>(), import, session).prop_filter_map(
        "options that the AS allows",
        |(name, (node, node_selector), (address, interface, port), as_number, passive, import, session)| {
            let (hold_time, transport, options, bfd) = session;
            let allowed = match as_number {
                PeerAs::Kind(PeerKind::Internal) => options.role.is_none() && options.local_as.is_none(),
                PeerAs::Kind(PeerKind::External) => !options.reflector_client,
                PeerAs::Number(_) => true,
            };
            allowed.then_some(Object::BGPPeer(BgpPeer {
                name,
                node,
                node_selector,
                address,
                interface,
                port,
                as_number,
                passive,
                import,
                hold_time,
                transport,
                options,
                bfd,
            }))
        },
    )
}

fn object() -> impl Strategy<Value = Object> {
    let isolation = prop_oneof![Just(Isolation::Network), Just(Isolation::Open)];
    let network = (name(), btree_map(name(), Just(()), 1..4), isolation).prop_map(|(name, pools, isolation)| {
        let pools = pools.into_keys().map(|name| PoolName::new(name).expect("a name")).collect();
        Object::Network(Network { name: NetworkName::new(name).expect("a name"), pools, isolation })
    });
    let set = (name(), labels(), vec(net(), 0..4))
        .prop_map(|(name, labels, nets)| Object::GlobalNetworkSet(NetworkSet { namespace: None, name, labels, nets }));
    let mesh = prop_oneof![
        Just((true, MeshLayout::Full)),
        Just((false, MeshLayout::Full)),
        (1..=100_000u32).prop_map(|limit| (true, MeshLayout::Auto { limit }))
    ];
    let settings = (name(), mesh, of(1..u32::MAX), of(1u16..)).prop_map(
        |(name, (node_to_node_mesh, mesh), as_number, listen_port)| {
            Object::BGPConfiguration(BgpConfiguration { name, node_to_node_mesh, mesh, as_number, listen_port })
        },
    );
    let reservation =
        (name(), vec(net(), 0..4)).prop_map(|(name, cidrs)| Object::IPReservation(Reservation { name, cidrs }));
    let actions = prop_oneof![Just(TierAction::Deny), Just(TierAction::Pass)];
    let tier = ("t[a-z]{0,4}", of((0..9000i32).prop_map(f64::from)), actions)
        .prop_map(|(name, order, default_action)| Object::Tier(Tier { name, order, default_action }));
    prop_oneof![
        pool(),
        reservation,
        tier,
        (name(), name(), labels(), vec(net(), 0..3)).prop_map(|(namespace, name, labels, nets)| {
            Object::NetworkSet(NetworkSet { namespace: Some(namespace), name, labels, nets })
        }),
        (name(), labels()).prop_map(|(name, labels)| Object::Namespace(Namespace { name, labels })),
        (name(), name(), labels()).prop_map(|(namespace, name, labels)| {
            Object::ServiceAccount(ServiceAccount { namespace, name, labels })
        }),
        node(),
        network,
        policy(None).prop_map(Object::GlobalNetworkPolicy),
        name().prop_flat_map(|namespace| policy(Some(namespace))).prop_map(Object::NetworkPolicy),
        set,
        peer(),
        settings,
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_as_the_same_object(object in object()) {
        let text = object_to_yaml(&object);
        match read_documents("a.yaml", &text) {
            Ok(read) => prop_assert_eq!(&read[0].value, &object, "{}", text),
            Err(errors) => prop_assert!(false, "{}\n{}", render_errors(&errors), text),
        }
    }

    #[test]
    fn several_documents_are_read_again_in_order(objects in vec(object(), 0..5)) {
        let mut seen = std::collections::BTreeSet::new();
        let objects: Vec<Object> = objects.into_iter().filter(|object| seen.insert(object.key())).collect();
        let text = objects_to_yaml(&objects.iter().map(object_to_value).collect::<Vec<_>>());
        let read = read_documents("a.yaml", &text).map_err(|errors| TestCaseError::fail(render_errors(&errors)))?;
        prop_assert_eq!(read.into_iter().map(|object| object.value).collect::<Vec<_>>(), objects);
    }
}

#[test]
fn a_written_policy_reads_well() {
    let text = "apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: allow-web
  namespace: shop
spec:
  ingress:
  - action: Allow
    destination:
      ports:
      - 80
      - 8000:8080
    protocol: TCP
    source:
      selector: app == 'web'
  order: 100
  types:
  - Ingress
";
    let object = read_documents("a.yaml", text).expect("a good policy").remove(0).value;
    assert_eq!(object_to_yaml(&object), text);
}
