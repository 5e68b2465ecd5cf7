use super::*;
use crate::model::peering::PeerAs;
use crate::model::{Action, Isolation, Kind, MeshLayout, Object, PortMatch, Protocol, TierAction};

fn good(text: &str) -> Vec<Object> {
    match read_documents("a.yaml", text) {
        Ok(objects) => objects.into_iter().map(|object| object.value).collect(),
        Err(errors) => panic!("{}", render_errors(&errors)),
    }
}

/// The errors, one a line, as people see them.
fn errors(text: &str) -> Vec<String> {
    read_documents("a.yaml", text).expect_err("errors").iter().map(ToString::to_string).collect()
}

/// An IPPool with this spec, written from line 4 on.
fn pool(spec: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: pool-a}}\nspec:\n{spec}")
}

/// A GlobalNetworkPolicy whose one ingress rule has these fields.
fn rule(fields: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: deny-db}}\nspec:\n  ingress:\n  - {}\n",
        fields.replace('\n', "\n    ")
    )
}

#[test]
fn an_unknown_field_is_refused_with_its_neighbour() {
    assert_eq!(
        errors(&pool("  cidr: 10.65.0.0/16\n  blocksize: 26\n")),
        ["a.yaml:6: IPPool pool-a: spec.blocksize: unknown field (did you mean blockSize?)"]
    );
    assert_eq!(
        errors(&pool("  cidr: 10.65.0.0/16\n  colour: red\n")),
        ["a.yaml:6: IPPool pool-a: spec.colour: unknown field (remove it; known here: cidr, blockSize, disabled, \
          nodeSelector, unreachableRoute, natOutgoing, ipipMode, vxlanMode)"]
    );
}

#[test]
fn a_bad_cidr_is_refused_with_its_mend() {
    for (cidr, expected) in [
        ("10.65.0.0/33", "prefix length 33 is more than IPv4 has (32)"),
        ("10.65.0.1/16", "`10.65.0.1/16` has host bits set: write 10.65.0.0/16"),
        (
            "10.65.0.0",
            "`10.65.0.0` is not a CIDR: expected ADDRESS/LENGTH, such as 10.0.0.0/16 or fd00::/64 (write 10.65.0.0/32)",
        ),
        ("ten", "`ten` is not a CIDR: expected ADDRESS/LENGTH, such as 10.0.0.0/16 or fd00::/64"),
        ("[10.65.0.0/16]", "expected a CIDR such as 10.0.0.0/16 or fd00::/64, found a list"),
        (
            "169.254.0.0/24",
            "169.254.0.0/24 overlaps 169.254.0.0/16 (link-local addresses; workloads reach their host at 169.254.1.1)",
        ),
    ] {
        assert_eq!(
            errors(&pool(&format!("  cidr: {cidr}\n"))),
            [format!("a.yaml:5: IPPool pool-a: spec.cidr: {expected}")]
        );
    }
}

#[test]
fn a_selector_with_a_typo_is_refused_at_its_character() {
    let errors = errors(&rule("action: Deny\nsource:\n  selector: app = 'web'"));
    assert_eq!(errors.len(), 1);
    let start = "a.yaml:8: GlobalNetworkPolicy deny-db: spec.ingress[0].source.selector: bad selector at character 5: expected ";
    assert!(errors[0].starts_with(start), "{}", errors[0]);
}

#[test]
fn an_unknown_kind_is_refused_with_its_neighbour() {
    let kinds = "IPPool, Node, Network, GlobalNetworkPolicy, NetworkPolicy, GlobalNetworkSet, BGPPeer, BGPFilter, \
                 BGPConfiguration, IPReservation, Tier, NetworkSet, Namespace, ServiceAccount, HostEndpoint, WorkloadEndpoint, \
                 Profile, \
                 StagedGlobalNetworkPolicy, StagedNetworkPolicy or StagedKubernetesNetworkPolicy";
    assert_eq!(
        errors("apiVersion: projectcalico.org/v3\nkind: IPPol\nmetadata: {name: a}\nspec: {}\n"),
        [format!("a.yaml:2: kind: unknown kind \"IPPol\"; expected {kinds} (did you mean IPPool?)")]
    );
    assert_eq!(
        errors("apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: a}\nspec: {}\n"),
        [format!("a.yaml:2: kind: kind FelixConfiguration is not built yet; expected {kinds}")]
    );
    assert_eq!(
        errors("apiVersion: v1\nkind: Network\nmetadata: {name: a}\nspec: {pools: [p]}\n"),
        ["a.yaml:1: Network: apiVersion: expected routenet/v1 for this kind, found \"v1\""]
    );
}

#[test]
fn a_wrong_type_says_what_was_expected_and_found() {
    for (line, expected) in [
        ("blockSize: \"26\"", "expected a whole number, found the text \"26\" (remove the quotes)"),
        ("blockSize: big", "expected a whole number, found the text \"big\""),
        ("blockSize: 19", "expected a number from 20 to 32, found 19"),
        ("blockSize: -1", "expected a number from 20 to 32, found -1"),
        ("disabled: yes", "expected true or false, found the text \"yes\" (write true)"),
        ("disabled: [true]", "expected true or false, found a list"),
        ("nodeSelector: 7", "expected text, found the number 7 (quote it: \"7\")"),
        ("nodeSelector: {a: b}", "expected text, found a mapping"),
    ] {
        let field = line.split(':').next().expect("a key");
        assert_eq!(
            errors(&pool(&format!("  cidr: 10.65.0.0/16\n  {line}\n"))),
            [format!("a.yaml:6: IPPool pool-a: spec.{field}: {expected}")]
        );
    }
}

#[test]
fn all_errors_of_a_file_are_reported_in_its_order() {
    let text = format!(
        "{}---\n{}",
        pool("  cidr: 10.65.0.0/40\n  assignmentMode: Manual\n"),
        rule("action: Alow\nprotocol: TPC\nports: [80]")
    );
    assert_eq!(
        errors(&text),
        [
            "a.yaml:5: IPPool pool-a: spec.cidr: prefix length 40 is more than IPv4 has (32)",
            "a.yaml:6: IPPool pool-a: spec.assignmentMode: not built yet (remove it, or write Automatic)",
            "a.yaml:13: GlobalNetworkPolicy deny-db: spec.ingress[0].action: unknown action \"Alow\"; expected Allow, \
             Deny, Log or Pass (did you mean Allow?)",
            "a.yaml:14: GlobalNetworkPolicy deny-db: spec.ingress[0].protocol: unknown protocol \"TPC\"; expected TCP, \
             UDP, ICMP, ICMPv6, SCTP, UDPLite or a number 1-255 (did you mean TCP?)",
            "a.yaml:15: GlobalNetworkPolicy deny-db: spec.ingress[0].ports: unknown field (remove it; known here: \
             action, ipVersion, protocol, notProtocol, icmp, notICMP, source, destination)",
        ]
    );
}

#[test]
fn a_key_written_twice_and_an_object_written_twice_are_refused() {
    assert_eq!(
        errors(&pool("  cidr: 10.65.0.0/16\n  cidr: 10.66.0.0/16\n")),
        ["a.yaml:6: IPPool pool-a: spec.cidr: written twice: first on line 5 (remove one of them)"]
    );
    let one = pool("  cidr: 10.65.0.0/16\n");
    assert_eq!(
        errors(&format!("{one}---\n{one}")),
        ["a.yaml:7: IPPool pool-a: defined twice: first on line 1 (remove one of them)"]
    );
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(
        errors("apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  labels: {}\nspec: {disabled: true}\n"),
        [
            "a.yaml:3: IPPool: metadata.name: missing: expected a name",
            "a.yaml:5: IPPool: spec.cidr: missing: expected a CIDR such as 10.65.0.0/16",
        ]
    );
    assert_eq!(
        errors("kind: IPPool\n")[0],
        "a.yaml:1: apiVersion: missing: expected projectcalico.org/v3, networking.k8s.io/v1, v1 or routenet/v1"
    );
    assert_eq!(errors("just text\n"), ["a.yaml:1: expected a mapping, found the text \"just text\""]);
    assert_eq!(good(""), []);
}

#[test]
fn what_is_not_built_is_refused_by_name_unless_it_says_the_default() {
    good(&pool(
        "  cidr: 10.65.0.0/16\n  ipipMode: Never\n  vxlanMode: Never\n  natOutgoing: false\n  allowedUses: [Workload, Tunnel]\n",
    ));
    assert_eq!(
        errors(&pool("  cidr: 10.65.0.0/16\n  assignmentMode: Manual\n")),
        ["a.yaml:6: IPPool pool-a: spec.assignmentMode: not built yet (remove it, or write Automatic)"]
    );
    let error = errors(&rule("action: Deny\nsource:\n  services: {name: a}")).remove(0);
    assert!(error.contains("not built yet (remove it)"), "{error}");
    assert!(errors(&rule("action: Deny\nhttp: {methods: [GET]}"))[0].contains("spec.ingress[0].http: not built yet"));
}

#[test]
fn rules_that_could_never_match_are_refused() {
    for (fields, expected) in [
        (
            "action: Deny\ndestination:\n  ports: [80]",
            "ports need `protocol: TCP`, UDP, SCTP or UDPLite in the same rule",
        ),
        ("action: Deny\nprotocol: ICMP\nsource:\n  notPorts: [80]", "ports need `protocol: TCP`"),
        ("action: Deny\nprotocol: TCP\nicmp: {type: 8}", "only with `protocol: ICMP` or `protocol: ICMPv6`"),
        ("action: Deny\nprotocol: ICMP\nicmp: {code: 0}", "type: missing"),
        ("action: Deny\nprotocol: ICMP\nipVersion: 6", "protocol ICMP does not occur in IPv6"),
        (
            "action: Deny\nipVersion: 4\nsource: {nets: [\"fd00::/8\"]}",
            "fd00::/8 is IPv6, and the rule's ipVersion says IPv4",
        ),
        ("action: Deny\nipVersion: 5", "expected 4 or 6, found 5"),
        ("action: Deny\nsource: {notNets: [0.0.0.0/0]}", "0.0.0.0/0 excludes everything"),
        ("action: Deny\nsource: {nets: [10.0.0.1]}", "(write 10.0.0.1/32)"),
        ("action: Deny\nprotocol: TCP\nsource: {ports: [\"90:80\"]}", "the range 90:80 is empty (write \"80:90\")"),
        ("action: Deny\nprotocol: TCP\nsource: {ports: [65536]}", "\"65536\" is not a port"),
        ("action: Deny\nprotocol: 0", "unknown protocol \"0\""),
    ] {
        let errors = errors(&rule(fields));
        assert_eq!(errors.len(), 1, "{fields}: {errors:?}");
        assert!(errors[0].contains(expected), "{fields}: {}", errors[0]);
    }
}

#[test]
fn a_policy_as_calico_prints_it_goes_in() {
    let objects = good(
        "apiVersion: projectcalico.org/v3
kind: NetworkPolicyList
metadata: {resourceVersion: \"1\"}
items:
- apiVersion: projectcalico.org/v3
  kind: NetworkPolicy
  metadata:
    annotations: {note: text}
    creationTimestamp: null
    generation: 3
    labels: {a: b}
    managedFields: [{manager: x}]
    name: allow-web
    namespace: shop
    resourceVersion: \"123\"
    uid: 6e6f-7465
  spec:
    tier: default
    order: 100.5
    selector: app == 'web'
    types: [Ingress, Egress]
    ingress:
    - action: Allow
      metadata: {annotations: {a: b}}
      protocol: tcp
      source: {selector: has(role), namespaceSelector: all(), nets: [10.0.0.0/8, \"fd00::/8\"]}
      destination: {ports: [80, \"8000:8080\", 8443]}
    - {action: Log, protocol: 47}
    egress:
    - {action: Pass, protocol: ICMPv6, icmp: {type: 128, code: 0}, notProtocol: UDP}
",
    );
    let [Object::NetworkPolicy(policy)] = &objects[..] else { panic!("{objects:?}") };
    assert_eq!(policy.key.to_string(), "NetworkPolicy shop/allow-web");
    assert_eq!((policy.order, policy.applies_ingress, policy.applies_egress), (Some(100.5), true, true));
    let first = &policy.ingress[0];
    assert_eq!((first.action, first.protocol), (Action::Allow, Some(Protocol::TCP)));
    assert_eq!(first.source.nets.len(), 2);
    assert_eq!(
        first.destination.ports,
        [(80, 80), (8000, 8080), (8443, 8443)].map(|(first, last)| PortMatch { first, last })
    );
    assert_eq!(policy.ingress[1].protocol, Some(Protocol(47)));
    assert_eq!(policy.egress[0].icmp.map(|icmp| (icmp.kind, icmp.code)), Some((128, Some(0))));
}

#[test]
fn types_are_inferred_as_in_calico() {
    let applies = |spec: &str| {
        let text = format!(
            "{{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {{name: a}}, spec: {{{spec}}}}}"
        );
        match &good(&text)[..] {
            [Object::GlobalNetworkPolicy(policy)] => (policy.applies_ingress, policy.applies_egress),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(applies(""), (true, false));
    assert_eq!(applies("ingress: []"), (true, false));
    assert_eq!(applies("ingress: [{action: Allow}]"), (true, false));
    assert_eq!(applies("egress: [{action: Allow}]"), (false, true));
    assert_eq!(applies("ingress: [{action: Allow}], egress: [{action: Allow}]"), (true, true));
    assert_eq!(applies("types: [Egress], ingress: [{action: Allow}]"), (false, true));
    assert_eq!(applies("types: []"), (true, false));
}

#[test]
fn defaults_are_those_of_the_reference() {
    let objects = good(
        "apiVersion: v1
kind: List
items:
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: four}, spec: {cidr: 10.65.0.0/16}}
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: six}, spec: {cidr: \"fd00::/64\"}}
- {apiVersion: routenet/v1, kind: Network, metadata: {name: blue}, spec: {pools: [four, six]}}
- {apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: a}, spec: {}}
- {apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n}, spec: {bgp: {ipv4Address: 192.0.2.1/24}}}
- {apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: p}, spec: {peerIP: \"[2001:db8::1]:1179\", asNumber: 1.10}}
- {apiVersion: projectcalico.org/v3, kind: BGPConfiguration, metadata: {name: default}, spec: {}}
",
    );
    let kinds: Vec<Kind> = objects.iter().map(Object::kind).collect();
    assert_eq!(kinds.len(), 7);
    let Object::IPPool(four) = &objects[0] else { panic!() };
    assert_eq!((four.block_size, four.disabled, four.node_selector.as_str()), (26, false, "all()"));
    assert!(four.unreachable_route);
    let Object::IPPool(six) = &objects[1] else { panic!() };
    assert_eq!(six.block_size, 122);
    let Object::Network(blue) = &objects[2] else { panic!() };
    assert_eq!((blue.pools.len(), blue.isolation), (2, Isolation::Network));
    let Object::NetworkPolicy(policy) = &objects[3] else { panic!() };
    assert_eq!(policy.key.namespace.as_deref(), Some("default"));
    let Object::Node(node) = &objects[4] else { panic!() };
    assert_eq!(
        (node.as_number, node.router_id.to_string().as_str(), node.bgp_port, node.mesh),
        (64512, "192.0.2.1", 179, true)
    );
    let Object::BGPPeer(peer) = &objects[5] else { panic!() };
    assert_eq!(
        (peer.address.to_string().as_str(), peer.port, peer.as_number),
        ("2001:db8::1", 1179, PeerAs::Number(65546))
    );
    let Object::BGPConfiguration(settings) = &objects[6] else { panic!() };
    assert_eq!((settings.node_to_node_mesh, settings.mesh), (true, MeshLayout::Full));
}

#[test]
fn the_mesh_is_full_or_lays_itself_out_beyond_a_limit() {
    let settings = |spec: &str| {
        format!(
            "apiVersion: projectcalico.org/v3\nkind: BGPConfiguration\nmetadata: {{name: default}}\nspec:\n  {spec}\n"
        )
    };
    for (spec, expected) in [
        ("mesh: full", MeshLayout::Full),
        ("mesh: auto", MeshLayout::Auto { limit: MeshLayout::LIMIT }),
        ("mesh: auto\n  meshLimit: 3", MeshLayout::Auto { limit: 3 }),
    ] {
        let objects = good(&settings(spec));
        let Object::BGPConfiguration(read) = &objects[0] else { panic!() };
        assert_eq!(read.mesh, expected, "{spec}");
    }
    for (spec, expected) in [
        ("mesh: some", "5: BGPConfiguration default: spec.mesh: unknown mesh \"some\"; expected full or auto"),
        (
            "meshLimit: 3",
            "5: BGPConfiguration default: spec.meshLimit: only `mesh: auto` has a limit (write `mesh: auto` beside it, or \
             remove it)",
        ),
        (
            "mesh: auto\n  nodeToNodeMeshEnabled: false",
            "5: BGPConfiguration default: spec.mesh: there is no mesh to lay out: nodeToNodeMeshEnabled is false (remove \
             `nodeToNodeMeshEnabled: false`, or `mesh`)",
        ),
    ] {
        assert_eq!(errors(&settings(spec)), [format!("a.yaml:{expected}")], "{spec}");
    }
}

#[test]
fn a_pool_smaller_than_a_block_is_told_the_size_to_write() {
    assert_eq!(
        errors(&pool("  cidr: 10.65.0.0/28\n")),
        [
            "a.yaml:4: IPPool pool-a: spec.blockSize: the pool 10.65.0.0/28 is smaller than a block of the usual size, /26 \
          (give it a larger cidr, or write `blockSize: 28`)"
        ]
    );
    assert_eq!(
        errors(&pool("  cidr: 10.65.0.0/28\n  blockSize: 27\n")),
        [
            "a.yaml:6: IPPool pool-a: spec.blockSize: a block of /27 is larger than its pool 10.65.0.0/28 (write a number \
          from 28 to 32)"
        ]
    );
    good(&pool("  cidr: 10.65.0.0/28\n  blockSize: 28\n"));
}

#[test]
fn peers_and_nodes_refuse_what_cannot_be() {
    let peer = |spec: &str| {
        errors(&format!("{{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {{name: p}}, spec: {{{spec}}}}}"))
    };
    for (spec, expected) in [
        ("peerIP: 192.0.2.300, asNumber: 1", "spec.peerIP: \"192.0.2.300\" is not the address of a peer"),
        (
            "peerIP: 'fe80::1', asNumber: 1",
            "spec.peerIP: fe80::1 may be on any link: its interface is missing (write fe80::1%eth0, with the interface's name)",
        ),
        (
            "peerIP: '[fe80::1%eth0]:0', asNumber: 1",
            "is not the address of a peer: expected ADDRESS, IPV4:PORT or [IPV6]:PORT",
        ),
        ("peerIP: 192.0.2.3, interface: eth0, asNumber: 1", "spec.peerIP: peerIP and interface exclude each other"),
        ("interface: 'a b', asNumber: 1", "spec.interface"),
        ("asNumber: 1", "spec.peerIP: missing"),
        ("peerIP: 192.0.2.3, asNumber: 0", "spec.asNumber: \"0\" is not an AS number"),
        ("peerIP: 192.0.2.3", "spec.asNumber: missing"),
        ("peerIP: 192.0.2.3, asNumber: 1, holdTime: 2", "a hold time of 2 s is too short: expected 0 or at least 3"),
        (
            "peerIP: 192.0.2.3, asNumber: 1, import: every",
            "unknown import policy \"every\"; expected none, pools or all",
        ),
        ("peerIP: 192.0.2.3, asNumber: 1, node: n, nodeSelector: all()", "node and nodeSelector exclude each other"),
        (
            "peerIP: 192.0.2.3, asNumber: 1, password: {secretKeyRef: {name: a}}",
            "spec.password: there is no Secret to take a password from (write it into a file on the nodes, and \
             `passwordFile: /PATH` here)",
        ),
        ("peerIP: 192.0.2.3, asNumber: 1, passwordFile: secret", "spec.passwordFile: \"secret\" is no absolute path"),
        ("peerIP: 192.0.2.3, asNumber: 1, ttlSecurity: 255", "spec.ttlSecurity"),
        (
            "peerIP: 192.0.2.3, asNumber: 1, bfd: on",
            "spec.bfd: expected true or false, found the text \"on\" (write true)",
        ),
        (
            "peerIP: 192.0.2.3, asNumber: 1, bfd: {interval: 100}",
            "spec.bfd.interval: \"100\" is no time: expected one such as 100ms or 1s (write 100ms)",
        ),
        (
            "peerIP: 192.0.2.3, asNumber: 1, bfd: {interval: 9ms}",
            "spec.bfd.interval: \"9ms\" is out of range: expected 10ms to 60000ms",
        ),
        (
            "peerIP: 192.0.2.3, asNumber: 1, bfd: {multiplier: 0}",
            "spec.bfd.multiplier: expected a number from 1 to 255, found 0",
        ),
        (
            "peerIP: 192.0.2.3, asNumber: 1, bfd: {minimumTTL: 250}",
            "spec.bfd.minimumTTL: a neighbour on the link is always held to a TTL of 255 (remove it, or write \
             `multihop: true` beside it)",
        ),
    ] {
        let errors = peer(spec);
        assert_eq!(errors.len(), 1, "{spec}: {errors:?}");
        assert!(errors[0].contains(expected), "{spec}: {}", errors[0]);
    }
    let node = |bgp: &str| {
        errors(&format!(
            "{{apiVersion: projectcalico.org/v3, kind: Node, metadata: {{name: n}}, spec: {{bgp: {{{bgp}}}}}}}"
        ))
    };
    assert!(node("ipv6Address: \"2001:db8::1\"")[0].contains("spec.bgp.routerID: missing"));
    assert!(node("ipv4Address: 192.0.2.1, routerID: 0.0.0.0")[0].contains("is not a router id"));
    assert!(node("asNumber: 1")[0].contains("expected ipv4Address or ipv6Address"));
}

#[test]
fn a_pool_has_one_kind_of_tunnel_and_ipip_carries_ipv4() {
    assert_eq!(
        errors(&pool("  cidr: 10.65.0.0/16\n  ipipMode: Always\n  vxlanMode: Auto\n")),
        [
            "a.yaml:7: IPPool pool-a: spec.vxlanMode: a pool has one kind of tunnel, and ipipMode names one already (write Never here or there)"
        ]
    );
    assert_eq!(
        errors(&pool("  cidr: fd65::/64\n  ipipMode: CrossSubnet\n")),
        ["a.yaml:6: IPPool pool-a: spec.ipipMode: IPIP carries IPv4 only (write vxlanMode instead)"]
    );
    assert_eq!(
        errors(&pool("  cidr: 10.65.0.0/16\n  vxlanMode: always\n")),
        [
            "a.yaml:6: IPPool pool-a: spec.vxlanMode: unknown encapsulation mode \"always\"; expected Never, Always, CrossSubnet or Auto (did you mean Always?)"
        ]
    );
}

#[test]
fn tiers_namespaces_and_service_accounts_go_in_as_people_have_them() {
    let read = |text: &str| read_documents("a.yaml", text).expect("good").remove(0).value;
    let tier = |spec: &str| format!("apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {{name: a}}\n{spec}");
    let Object::Tier(bare) = read(&tier("")) else { panic!("a tier") };
    assert_eq!((bare.order, bare.default_action), (None, TierAction::Deny));
    let Object::Tier(given) = read(&tier("spec: {order: 10, defaultAction: Pass}\n")) else { panic!("a tier") };
    assert_eq!((given.order, given.default_action), (Some(10.0), TierAction::Pass));
    let default = |order: u32| {
        format!("apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {{name: default}}\nspec: {{order: {order}}}\n")
    };
    read(&default(1_000_000));
    let bare = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: default}\n";
    assert!(
        errors(bare)[0].contains("tier default is built in, with order 1000000"),
        "without an order it would be last"
    );
    assert_eq!(
        errors(&default(5)),
        [
            "a.yaml:4: Tier default: spec: tier default is built in, with order 1000000 and default action Deny (choose another name)"
        ]
    );
    let Object::Namespace(namespace) = read(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod, labels: {team: red}}\nspec: {finalizers: [kubernetes]}\nstatus: {phase: Active}\n",
    ) else {
        panic!("a namespace")
    };
    assert_eq!((namespace.name.as_str(), namespace.labels["team"].as_str()), ("prod", "red"));
    let Object::ServiceAccount(account) =
        read("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: api, namespace: prod}\nsecrets: [{name: x}]\n")
    else {
        panic!("a service account")
    };
    assert_eq!((account.namespace.as_str(), account.name.as_str()), ("prod", "api"));
    let Object::NetworkSet(set) = read(
        "apiVersion: projectcalico.org/v3\nkind: NetworkSet\nmetadata: {name: s, namespace: prod}\nspec: {nets: [192.0.2.0/24]}\n",
    ) else {
        panic!("a network set")
    };
    assert_eq!(set.namespace.as_deref(), Some("prod"));
    assert!(
        errors("apiVersion: v1\nkind: Namespace\nmetadata: {name: prod, namespace: x}\n")[0]
            .contains("lies in no namespace")
    );
}

#[test]
fn ports_may_be_named_and_a_name_tells_its_protocol() {
    let ports = |fields: &str| {
        let policy = read_documents("a.yaml", &rule(fields)).expect("good").remove(0).value;
        let Object::GlobalNetworkPolicy(policy) = policy else { panic!("a policy") };
        policy.ingress[0].destination.clone()
    };
    let mixed = ports("action: Allow\nprotocol: TCP\ndestination: {ports: [http, 80, \"90:99\"], notPorts: [admin]}");
    assert_eq!((mixed.named_ports, mixed.ports.len()), (vec!["http".to_string()], 2));
    assert_eq!(mixed.not_named_ports, ["admin"]);
    assert_eq!(ports("action: Allow\ndestination: {ports: [http]}").named_ports, ["http"]);
    let refused = errors(&rule("action: Allow\nprotocol: ICMP\ndestination: {ports: [http]}"));
    assert!(refused[0].contains("ports need `protocol: TCP`"), "{refused:?}");
}

#[test]
fn what_is_for_host_endpoints_must_make_sense() {
    let with = |lines: &str| rule("action: Deny").replace("spec:\n", &format!("spec:\n{lines}"));
    for (lines, wanted) in [
        (
            "  doNotTrack: true\n",
            "spec.doNotTrack: such a policy governs what is forwarded, too, and must say so (add `applyOnForward: true`)",
        ),
        (
            "  preDNAT: true\n",
            "spec.preDNAT: such a policy governs what is forwarded, too, and must say so (add `applyOnForward: true`)",
        ),
        (
            "  preDNAT: true\n  doNotTrack: true\n  applyOnForward: true\n",
            "spec.doNotTrack: either this or `preDNAT`, not both (remove one of them)",
        ),
        (
            "  preDNAT: true\n  applyOnForward: true\n  types: [Egress]\n",
            "spec: a policy with `preDNAT` governs what comes in only (remove `egress`, and Egress from `types`)",
        ),
    ] {
        let found = errors(&with(lines));
        assert!(found[0].ends_with(wanted), "{found:?}");
    }
    let namespaced = with("  applyOnForward: true\n").replace("GlobalNetworkPolicy", "NetworkPolicy");
    assert!(errors(&namespaced)[0].contains("spec.applyOnForward: only for host endpoints"), "{namespaced}");
    good(&with("  preDNAT: true\n  applyOnForward: true\n"));

    let host = |spec: &str| {
        format!("apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {{name: h}}\nspec: {spec}\n")
    };
    good(&host("{node: n1, interfaceName: '*', ports: [{name: web, protocol: TCP, port: 80}], profiles: [p]}"));
    for (spec, wanted) in [
        ("{node: n1}", "neither `interfaceName` nor `expectedIPs` says which interface it is"),
        ("{node: n1, interfaceName: far-too-long-a-name}", "spec.interfaceName"),
        ("{node: n1, interfaceName: eth+}", "spec.interfaceName: \"eth+\" is not a name that rules can have"),
        ("{interfaceName: eth0}", "spec.node: missing"),
        ("{node: n1, interfaceName: eth0, expectedIPs: [10.0.0.0/8]}", "spec.expectedIPs[0]"),
        (
            "{node: n1, interfaceName: eth0, ports: [{name: p, protocol: ICMP, port: 1}]}",
            "spec.ports[0].protocol: icmp has no ports",
        ),
    ] {
        let found = errors(&host(spec));
        assert!(found[0].contains(wanted), "{found:?}");
    }
}
