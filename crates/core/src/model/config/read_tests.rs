use std::collections::BTreeSet;

use super::super::{FieldDoc, REFERENCE, to_yaml};
use super::*;
use crate::model::ImportPolicy;
use crate::model::peering::PeerAs;
use crate::model::yaml::render_errors;

const SPEAKER: &str = include_str!("../../../../../config/nodes/speaker-only.yaml");

fn good(text: &str) -> NodeConfig {
    read("node.yaml", text).unwrap_or_else(|errors| panic!("{}", render_errors(&errors)))
}

/// The errors, as people see them.
fn errors(text: &str) -> Vec<String> {
    read("node.yaml", text).expect_err("errors").iter().map(ToString::to_string).collect()
}

/// A configuration that would be good but for `more`, which starts on line 3.
fn with(more: &str) -> String {
    format!("node: host-a\naddress: {{ipv4: 192.0.2.1}}\n{more}\n")
}

#[test]
fn the_least_that_must_be_said_is_name_and_address() {
    let config = good(&with(""));
    assert_eq!(config.store, StoreConfig::Embedded { path: "/var/lib/routenet/cluster.db".into() });
    assert_eq!(config.bgp.listen, ["[::]:179".parse::<SocketAddr>().expect("an address")]);
    assert_eq!((config.bgp.as_number, config.bgp.router_id, config.bgp.mesh), (None, None, true));
    assert_eq!((config.bgp.hold_time, config.bgp.connect_retry, config.bgp.restart_time), (90, 5, 120));
    assert_eq!((config.data_plane, config.bgp.announce), (DataPlane::Kernel, Announce::Hosts));
    assert_eq!((config.iptables.backend, config.iptables.mark_mask), (BackendChoice::Auto, 0xffff_0000));
    assert_eq!((config.workloads.mtu, config.workloads.to_host, config.workloads.address_cooldown), (None, false, 30));
    assert_eq!(config.paths.socket, PathBuf::from("/run/routenet/agent.sock"));
    assert_eq!((config.api, config.log.level.as_str()), (ApiConfig::default(), "info"));
    assert_eq!(
        errors("labels: {rack: a}\n"),
        [
            "node.yaml:1: node: missing: expected the name of this node",
            "node.yaml:1: address: missing: hosts reach each other's workloads by it (write `address: {ipv4: ADDRESS}`, \
             or `address: {auto: [{interface: NAME}]}`)",
        ]
    );
    assert_eq!(errors(""), ["node.yaml:1: the file is empty: expected a node's configuration"]);
}

#[test]
fn wrong_values_are_told_what_was_expected() {
    for (line, expected) in [
        ("bpg: {as: 1}", "bpg: unknown field (did you mean bgp?)"),
        (
            "bgp: {asNumber: 1}",
            "bgp.asNumber: unknown field (remove it; known here: as, routerId, clusterId, listen, monitoringStations, mesh, announce, \
                                holdTime, connectRetry, gracefulRestart, bfd, peers, listenRanges, filters, originate)",
        ),
        ("bgp: {as: 0}", "bgp.as: \"0\" is not an AS number: expected an AS number from 1 to 4294967294"),
        (
            "bgp: {routerId: 0.0.0.0}",
            "bgp.routerId: \"0.0.0.0\" is not a router id: expected four numbers such as \
                                      192.0.2.1, not 0.0.0.0",
        ),
        (
            "bgp: {listen: [127.0.0.1]}",
            "bgp.listen[0]: \"127.0.0.1\" is not ADDRESS:PORT, such as 192.0.2.1:179 or \
                                        [::]:179 (write \"127.0.0.1:179\")",
        ),
        (
            "bgp: {mesh: auto}",
            "bgp.mesh: expected true or false: whether this node takes part (write true, and `mesh: auto` in the \
             BGPConfiguration `default`, which holds for all nodes)",
        ),
        ("bgp: {mesh: some}", "bgp.mesh: expected true or false, found the text \"some\""),
        ("bgp: {announce: all}", "bgp.announce: unknown value \"all\"; expected hosts or blocks"),
        ("bgp: {holdTime: 2}", "bgp.holdTime: a hold time of 2 s is too short: expected 0 or at least 3"),
        (
            "bgp: {gracefulRestart: {restartTime: 4096}}",
            "bgp.gracefulRestart.restartTime: expected a number from 0 to 4095, found 4096",
        ),
        ("bgp: {bfd: {interval: soon}}", "bgp.bfd.interval: \"soon\" is no time: expected one such as 100ms or 1s"),
        (
            "bgp: {peers: [{address: 192.0.2.2, as: 1, bfd: {multihop: true, minimumTTL: 0}}]}",
            "bgp.peers[0].bfd.minimumTTL: expected a number from 1 to 255, found 0",
        ),
        (
            "bgp: {originate: [10.0.0.0/8]}",
            "bgp.originate: only with `dataPlane: off`: a host announces the routes of \
                                            its workloads (remove it)",
        ),
        (
            "bgp: {peers: [{address: 192.0.2.2, as: 1, addPaths: {send: 65}}]}",
            "bgp.peers[0].addPaths.send: expected a number from 2 to 64, found 65",
        ),
        (
            "bgp: {peers: [{address: 192.0.2.2, as: 1, addPaths: {send: most}}]}",
            "bgp.peers[0].addPaths.send: \"most\" is not a number of paths (write `none`, `all`, or 2 to 64 for so many of \
             the best)",
        ),
        ("bgp: {peers: [{address: 192.0.2.2}]}", "bgp.peers[0].as: missing: expected the AS number of the peer"),
        (
            "bgp: {peers: [{address: \"192.0.2.2:1179\", as: 1}]}",
            "bgp.peers[0].address: \"192.0.2.2:1179\" is not the \
            address of a peer (write `address: 192.0.2.2` and `port: 1179`)",
        ),
        (
            "bgp: {listen: [], peers: [{address: 192.0.2.2, as: 1, passive: true}]}",
            "bgp.peers: peer 192.0.2.2 is passive, and this node listens nowhere (give bgp.listen an address)",
        ),
        (
            "bgp: {peers: [{address: 192.0.2.2, as: 1}, {address: 192.0.2.2, as: 2}]}",
            "bgp.peers[1]: 192.0.2.2 is the address of peer 192.0.2.2 already (remove one of them, or give each an address of its \
             own)",
        ),
        (
            "bgp: {peers: [{address: 127.0.0.1, port: 2001, as: 1}, {address: 127.0.0.1, port: 2002, as: 2}]}",
            "bgp.peers[1]: 127.0.0.1 is the address of peer 127.0.0.1:2001 already (remove one of them, or give each an \
             address of its own)",
        ),
        (
            "bgp: {peers: [{address: \"fe80::1\", as: 1}]}",
            "bgp.peers[0].address: fe80::1 may be on any link: its interface is missing (write fe80::1%eth0, with the \
             interface's name)",
        ),
        (
            "bgp: {peers: [{address: \"2001:db8::1%eth0\", as: 1}]}",
            "bgp.peers[0].address: \"2001:db8::1%eth0\" is no link-local address, and only those are on an interface \
             (write 2001:db8::1)",
        ),
        (
            "bgp: {peers: [{address: \"fe80::1%eth0\", interface: eth0, as: 1}]}",
            "bgp.peers[0].address: address and interface exclude each other (write address: fe80::1%eth0 for a neighbour \
             whose address is known, and no interface)",
        ),
        (
            "bgp: {peers: [{interface: eth0, as: 1}, {interface: eth0, as: 2, name: b}]}",
            "bgp.peers[1]: eth0 is the address of peer eth0 already (remove one of them, or give each an address of its own)",
        ),
        ("dataPlane: on", "dataPlane: unknown data plane \"on\"; expected kernel or off"),
        ("store: {type: consul}", "store.type: unknown store type \"consul\"; expected embedded, etcd or none"),
        (
            "store: {type: embedded, pools: [{name: a}]}",
            "store.pools: only with `type: none` (apply it with routectl instead)",
        ),
        ("store: {type: none, path: /x}", "store.path: only with `type: embedded` (remove it)"),
        (
            "iptables: {backend: nftables}",
            "iptables.backend: unknown back end \"nftables\"; expected auto, nft or legacy",
        ),
        (
            "iptables: {markMask: 0x10000}",
            "iptables.markMask: 0x10000 has fewer than the 3 bits that are needed (write \
                                           a mask such as 0xffff0000)",
        ),
        ("workloads: {mtu: 1279}", "workloads.mtu: expected a number from 1280 to 65535, found 1279"),
        (
            "workloads: {toHost: \"yes\"}",
            "workloads.toHost: expected true or false, found the text \"yes\" (write true)",
        ),
        (
            "log: {level: verbose}",
            "log.level: unknown log level \"verbose\"; expected error, warn, info, debug, trace or off",
        ),
        ("log: loud", "log: expected a mapping, found the text \"loud\""),
        ("api: {readGroup: [a]}", "api.readGroup: expected the name or number of a group, found a list"),
        ("paths: {state: 7}", "paths.state: expected text, found the number 7 (quote it: \"7\")"),
        ("kind: Node", "kind: unknown kind \"Node\"; expected NodeConfig"),
        ("labels: {a: true}", "labels.a: expected text, found the truth value true (quote it: \"true\")"),
    ] {
        assert_eq!(errors(&with(line)), [format!("node.yaml:3: {expected}")], "{line}");
    }
    let long = format!("paths: {{socket: /{}}}", "x".repeat(107));
    assert_eq!(
        errors(&with(&long)),
        ["node.yaml:3: paths.socket: 108 bytes are too long for a socket's path: at most 107 (choose a shorter path)"]
    );
}

#[test]
fn addresses_are_given_or_found_but_never_by_luck() {
    let config = good("node: a\naddress:\n  ipv6: 2001:db8::1\n  auto:\n  - interface: eth1\n  - cidr: 192.0.2.0/24\n");
    assert_eq!(config.address.ipv6, Some("2001:db8::1".parse().expect("an address")));
    assert_eq!(
        config.address.auto,
        [
            AutoAddress::Interface(InterfaceName::new("eth1").expect("a name")),
            AutoAddress::Cidr("192.0.2.0/24".parse().expect("a CIDR")),
        ]
    );
    assert_eq!(good("node: a\naddress: {auto: {interface: eth1}}\n").address.auto.len(), 1);
    for (address, expected) in [
        (
            "{ipv4: 192.0.2.1/24}",
            "address.ipv4: \"192.0.2.1/24\" is not an IPv4 address (write the address without its length)",
        ),
        ("{ipv6: 192.0.2.1}", "address.ipv6: \"192.0.2.1\" is not an IPv6 address"),
        ("{ipv4: 127.0.0.1}", "address.ipv4: 127.0.0.1 is no address by which other hosts can reach this one"),
        ("{auto: [{}]}", "address.auto[0]: expected `interface: NAME` or `cidr: CIDR`"),
        ("{auto: true}", "address.auto: expected a mapping, found the truth value true"),
    ] {
        assert_eq!(errors(&format!("node: a\naddress: {address}\n")), [format!("node.yaml:2: {expected}")]);
    }
}

#[test]
fn a_node_without_a_store_says_the_whole_cluster() {
    let store = |more: &str| {
        with(&format!(
            "store:\n  type: none\n  pools:\n  - {{name: a, cidr: 10.65.0.0/16}}\n  - {{name: b, cidr: \"fd00::/64\"}}\n{more}"
        ))
    };
    let config = good(&store(
        "  networks:\n  - {name: blue, pools: [a, b]}\n  blocks: [10.65.1.0/26, \"fd00::/122\"]\n  policies: /etc/p\n",
    ));
    let StoreConfig::None(cluster) = config.store else { panic!("a store") };
    assert_eq!((cluster.pools.len(), cluster.networks.len(), cluster.blocks.len()), (2, 1, 2));
    assert_eq!(cluster.policies, Some("/etc/p".into()));
    for (more, expected) in [
        (
            "  blocks: [10.66.0.0/26]",
            "8: store.blocks[0]: 10.66.0.0/26 lies in none of the pools (add the pool to \
                                      store.pools, or correct the block)",
        ),
        (
            "  blocks: [10.65.0.0/26, 10.65.0.0/28]",
            "8: store.blocks[1]: 10.65.0.0/28 overlaps the block 10.65.0.0/26 \
                                                     (remove one of them)",
        ),
        (
            "  - {name: c, cidr: 10.65.4.0/24}",
            "8: store.pools[2].cidr: 10.65.4.0/24 overlaps 10.65.0.0/16 of IPPool a \
                                               (choose a cidr that lies apart)",
        ),
        (
            "  networks: [{name: red, pools: [c]}]",
            "8: store.networks[0].pools[0]: there is no IPPool c (pools are: a, b)",
        ),
        (
            "  networks: [{name: red, pools: [a]}, {name: blue, pools: [a]}]",
            "8: store.networks[1].pools: network red has pool a already: without a store a network is its pools (give \
          each network pools of its own)",
        ),
    ] {
        assert_eq!(errors(&store(more)), [format!("node.yaml:{expected}")], "{more}");
    }
}

#[test]
fn a_speaker_without_data_plane_is_told_what_it_must_be() {
    let config = good(SPEAKER);
    assert_eq!((config.data_plane, config.bgp.mesh), (DataPlane::Off, false));
    assert_eq!(good(&SPEAKER.replace("dataPlane: off", "dataPlane: false")), config, "as YAML 1.1 writes it");
    assert_eq!((config.bgp.listen.len(), config.bgp.peers.len(), config.bgp.originate.len()), (2, 2, 2));
    assert!(config.bgp.peers.iter().all(|peer| peer.import == ImportPolicy::All));
    assert_eq!(config.store, StoreConfig::None(Box::default()));
    assert_eq!(
        errors("node: a\ndataPlane: off\n"),
        [
            "node.yaml:1: bgp.as: missing: with `dataPlane: off` expected an AS number",
            "node.yaml:1: bgp.routerId: missing: with `dataPlane: off` expected a router id such as 192.0.2.1",
            "node.yaml:1: bgp.listen: missing: with `dataPlane: off` expected a list such as [\"127.0.0.1:1179\"], or []",
        ]
    );
}

/// Every setting away from its default.
const FULL: &str = "
apiVersion: routenet/v1
kind: NodeConfig
node: host-a
labels: {rack: 'true', zone: ''}
address: {ipv4: 192.0.2.1, ipv6: '2001:db8::1', auto: [{interface: eth1}, {cidr: 198.51.100.0/24}]}
store:
  type: none
  pools:
  - {name: a, cidr: 10.65.0.0/16, blockSize: 24, disabled: true, nodeSelector: rack == 'true', unreachableRoute: false}
  networks: [{name: blue, pools: [a], isolation: open}]
  blocks: [10.65.0.0/24]
  peers: [{address: 192.0.2.9, as: 64513}]
  policies: policies
bgp:
  as: 4200000001
  routerId: 198.51.100.1
  listen: ['192.0.2.1:1179', '[2001:db8::1]:1179']
  mesh: false
  announce: blocks
  holdTime: 0
  connectRetry: 60
  gracefulRestart: {enabled: false}
  bfd: {multiplier: 5}
  peers:
  - name: tor
    address: 'fe80::1%eth0'
    as: 1.10
    port: 1179
    passive: true
    import: pools
    holdTime: 9
    bfd: {interval: 1s, multiplier: 1, multihop: true, minimumTTL: 250}
iptables: {backend: legacy, markMask: 0x0ff00000}
workloads: {mtu: 9000, toHost: true, addressCooldown: 0}
paths: {state: /srv/routenet, socket: /srv/routenet/sock}
api: {readGroup: adm, writeGroup: 0}
log: {level: 'info,routenet::plane=debug'}
";

#[test]
fn what_is_in_force_is_read_again_as_the_same_configuration() {
    for text in [FULL, SPEAKER, &with("")] {
        let config = good(text);
        let written = to_yaml(&config);
        assert_eq!(good(&written), config, "{written}");
        assert_eq!(to_yaml(&good(&written)), written);
    }
    let start = "apiVersion: routenet/v1\nkind: NodeConfig\nnode: host-a\nlabels: {}\ndataPlane: kernel\naddress:\n  \
                 ipv4: 192.0.2.1\n  auto: []\nstore:\n  type: embedded\n  path: /var/lib/routenet/cluster.db\nbgp:\n";
    assert!(to_yaml(&good(&with(""))).starts_with(start));
}

/// A configuration that has one unknown key in the mapping at `path`.
fn with_unknown_key(path: &str) -> String {
    let mut text = "zzzzzzzzzzzzzzzz: 1".to_string();
    for part in path.rsplit('.').filter(|part| !part.is_empty()) {
        text = match part.strip_suffix("[]") {
            Some(list) => format!("{list}: [{{{text}}}]"),
            None if part == "store" => format!("store: {{type: none, {text}}}"),
            None => format!("{part}: {{{text}}}"),
        };
    }
    text
}

/// The keys that the reader says it knows there.
fn known_keys(path: &str) -> Vec<String> {
    let errors = errors(&with_unknown_key(path));
    let list = errors.iter().find_map(|error| error.split_once("known here: ").map(|(_, list)| list));
    list.unwrap_or_else(|| panic!("{path}: {errors:?}")).trim_end_matches(')').split(", ").map(str::to_string).collect()
}

#[test]
fn the_reference_has_every_key_that_the_reader_takes_and_no_other() {
    let documented: BTreeSet<&str> = REFERENCE.iter().map(|field| field.key).collect();
    assert_eq!(documented.len(), REFERENCE.len(), "a key is documented twice");
    let mut mappings: BTreeSet<&str> =
        documented.iter().filter_map(|key| key.rsplit_once('.').map(|(mapping, _)| mapping)).collect();
    mappings.insert("");
    let mut taken = BTreeSet::new();
    for mapping in mappings {
        for key in known_keys(mapping) {
            taken.insert(if mapping.is_empty() { key } else { format!("{mapping}.{key}") });
        }
    }
    assert_eq!(taken.iter().map(String::as_str).collect::<BTreeSet<_>>(), documented);
    assert_eq!(known_keys("store.peers[]"), known_keys("bgp.peers[]"));
    for FieldDoc { key, type_, default, doc } in REFERENCE {
        assert!(!type_.is_empty() && !default.is_empty() && doc.ends_with('.'), "{key}");
    }
}

#[test]
fn etcd_is_told_what_it_lacks_and_others_what_is_not_theirs() {
    let cases = [
        ("store: {type: etcd}", "store.endpoints: missing: where etcd is (write `endpoints: [http://HOST:2379]`)"),
        (
            "store: {type: etcd, endpoints: ['192.0.2.1:2379']}",
            "store.endpoints[0]: \"192.0.2.1:2379\" is no etcd endpoint (write http://HOST:PORT or https://HOST:PORT)",
        ),
        (
            "store: {type: etcd, endpoints: ['http://h:2379'], prefix: routenet}",
            "store.prefix: \"routenet\" is no prefix of keys (write a path such as /routenet)",
        ),
        (
            "store: {type: etcd, endpoints: ['http://h:2379'], username: x}",
            "store.username: needs `passwordFile` beside it",
        ),
        (
            "store: {type: etcd, endpoints: ['http://h:2379'], path: /x}",
            "store.path: only with `type: embedded` (remove it)",
        ),
        (
            "store: {type: embedded, endpoints: ['http://h:2379']}",
            "store.endpoints: only with `type: etcd` (remove it)",
        ),
    ];
    for (store, expected) in cases {
        let errors = errors(&format!("node: h1\naddress: {{ipv4: 192.0.2.1}}\n{store}\n"));
        assert_eq!(errors, [format!("node.yaml:3: {expected}")], "{store}");
    }
}

#[test]
fn a_peer_may_be_of_our_as_or_of_any_other() {
    let text = |peer: &str| format!("node: h1\naddress: {{ipv4: 192.0.2.1}}\nbgp:\n  peers: [{peer}]\n");
    for (word, of) in [("internal", PeerAs::INTERNAL), ("external", PeerAs::EXTERNAL), ("1.10", PeerAs::Number(65546))]
    {
        let config = read("node.yaml", &text(&format!("{{interface: eth0, as: {word}}}"))).expect("it is sound");
        assert_eq!(config.bgp.peers[0].as_number, of);
        let in_force = super::super::write::to_yaml(&config);
        assert_eq!(read("again", &in_force).expect("its own words").bgp, config.bgp, "{in_force}");
    }
    let ranges = "node: h1\naddress: {ipv4: 192.0.2.1}\nbgp: {listenRanges: [{prefix: 192.0.2.0/24, as: external}]}\n";
    assert_eq!(read("node.yaml", ranges).expect("it is sound").bgp.ranges[0].peer.as_number, PeerAs::EXTERNAL);
    for (options, what) in [
        ("as: externl", "as: \"externl\" is no AS: expected an AS number, `internal` (ours) or `external` (any other)"),
        ("as: 0", "as: \"0\" is not an AS number"),
        ("as: external, reflectorClient: true", "reflectorClient: routes are reflected to neighbours of our own AS"),
        ("as: internal, role: peer", "role: roles are those of two ASes (RFC 9234), and this neighbour is internal"),
        ("as: internal, localASNumber: 65000", "localASNumber: an internal neighbour has the AS of this node"),
    ] {
        let errors = errors(&text(&format!("{{interface: eth0, {options}}}")));
        assert!(errors[0].starts_with(&format!("node.yaml:4: bgp.peers[0].{what}")), "{errors:?}");
    }
    // The other way round each is sound.
    for options in ["as: internal, reflectorClient: true", "as: external, role: peer, localASNumber: 65000"] {
        read("node.yaml", &text(&format!("{{interface: eth0, {options}}}"))).expect(options);
    }
}

#[test]
fn ranges_have_what_peers_have_but_who_they_are() {
    let text = |range: &str| format!("node: h1\naddress: {{ipv4: 192.0.2.1}}\nbgp: {{listenRanges: [{range}]}}\n");
    let read = |range: &str| super::read("node.yaml", &text(range));
    let config = read("{prefix: 192.0.2.0/24, as: 64513, import: all, role: provider}").expect("it is sound");
    let range = &config.bgp.ranges[0];
    assert_eq!((range.limit, range.peer.as_number, range.peer.passive), (100, PeerAs::Number(64513), true));
    let in_force = super::super::write::to_yaml(&config);
    assert!(in_force.contains("role: provider"), "{in_force}");
    assert_eq!(super::read("again", &in_force).expect("its own words").bgp, config.bgp);
    for (range, what) in [
        ("{as: 64513}", "bgp.listenRanges[0].prefix: missing"),
        ("{prefix: 192.0.2.0/24}", "bgp.listenRanges[0].as: missing"),
        ("{prefix: 192.0.2.0/24, as: 1, port: 179}", "bgp.listenRanges[0].port: unknown field"),
        (
            "{prefix: 192.0.2.0/24, as: 1, passwordFile: /x}",
            "bgp.listenRanges[0].passwordFile: a range has no password",
        ),
        ("{prefix: 192.0.2.0/24, as: 1, limit: 0}", "bgp.listenRanges[0].limit: "),
    ] {
        let errors = read(range).expect_err(range).iter().map(|error| error.to_string()).collect::<Vec<_>>();
        assert!(errors.iter().any(|error| error.contains(what)), "{what}: {errors:?}");
    }
}

#[test]
fn peers_on_links_are_named_by_their_interface() {
    let text = "
node: n
address: {ipv4: 192.0.2.1}
bgp:
  peers:
    - {interface: eth0, as: 64513}
    - {address: 'fe80::1%eth1', as: 64513, port: 1179}
    - {address: 'fe80::1%eth2', as: 64513}
";
    let config = good(text);
    let places: Vec<_> = config.bgp.peers.iter().map(|peer| (peer.name.as_str(), peer.place())).collect();
    assert_eq!(
        places,
        [
            ("eth0", "eth0".to_string()),
            ("[fe80::1%eth1]:1179", "fe80::1%eth1".into()),
            ("fe80::1%eth2", "fe80::1%eth2".into())
        ]
    );
}
