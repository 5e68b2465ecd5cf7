use super::*;

const FILE: &str = "\
name: two
topology:
  defaults:
    kind: linux
    env: {WHERE: defaults, ONLY: 1}
    exec: [echo defaults]
  kinds:
    linux:
      image: alpine
      sysctls:
        net.ipv4.ip_forward: 1
  groups:
    edge:
      env: {WHERE: group}
      binds: [/etc/hosts:/x]
  nodes:
    a:
      group: edge
      network-mode: none
      binds: [b.txt:/x:ro, c.txt:/y]
      exec:
        - ip addr add 'a b'
    b:
      env: {WHERE: node}
      cmd: sleep infinity
    br:
      kind: bridge
  links:
    - endpoints: [a:eth1, br:p1]
    - type: veth
      mtu: 1500
      endpoints:
        - node: b
          interface: eth1
          mac: 02:00:00:00:00:01
        - br:p2
";

fn parse(text: &str) -> Result<Topology, String> {
    Topology::parse(Path::new("/labs/x.clab.yml"), text).map_err(|error| error.to_string())
}

#[test]
fn the_nearest_definition_wins_and_maps_merge() {
    let topology = parse(FILE).unwrap();
    assert_eq!(topology.prefix, "clab-two-");
    let [a, b, br] = topology.nodes.as_slice() else { panic!("three nodes") };
    assert_eq!((a.kind, b.kind, br.kind), (Kind::Linux, Kind::Linux, Kind::Bridge));
    assert_eq!((a.image.as_deref(), br.image.as_deref()), (Some("alpine"), None));
    assert_eq!((a.env["WHERE"].as_str(), a.env["ONLY"].as_str()), ("group", "1"));
    assert_eq!(b.env["WHERE"], "node");
    assert_eq!(a.sysctls["net.ipv4.ip_forward"], "1");
    assert_eq!(a.exec[0].words, ["echo", "defaults"]);
    assert_eq!(a.exec[1].words, ["ip", "addr", "add", "a b"]);
    assert_eq!(b.cmd.as_ref().unwrap().words, ["sleep", "infinity"]);
    let binds: Vec<_> = a.binds.iter().map(|bind| (bind.source.as_str(), bind.read_only)).collect();
    assert_eq!(binds, [("b.txt", true), ("c.txt", false)]);
    assert_eq!(a.binds[0].line, Some(20));
}

#[test]
fn links_have_containerlabs_mtu_unless_they_say() {
    let topology = parse(FILE).unwrap();
    assert_eq!((topology.links[0].mtu, topology.links[1].mtu), (9500, 1500));
    assert_eq!(topology.links[0].to_string(), "a:eth1 -- br:p1");
    assert_eq!(topology.links[1].near.mac.as_deref(), Some("02:00:00:00:00:01"));
}

#[test]
fn prefixes_are_containerlabs() {
    let with =
        |prefix: &str| parse(&FILE.replace("name: two", &format!("name: two\nprefix: {prefix}"))).unwrap().prefix;
    assert_eq!(with("\"\""), "");
    assert_eq!(with("__lab-name"), "two-");
    assert_eq!(with("mine"), "mine-two-");
    assert_eq!(parse(FILE).unwrap().renamed("other").unwrap().prefix, "clab-other-");
}

/// What is refused, with file, line, what and, where one cannot guess it, the mend.
#[test]
fn refusals_name_file_and_line() {
    let cases = [
        (
            "kind: bridge",
            "kind: ceos",
            "27: topology.nodes.br: unknown kind `ceos`: `routectl lab` deploys `linux` and `bridge`",
        ),
        (
            "      cmd: sleep infinity",
            "      ports: [80:80]",
            "25: topology.nodes.b: `ports`: a namespace publishes no ports; reach the node by a `host` link",
        ),
        (
            "      cmd: sleep infinity",
            "      comand: sleep",
            "25: topology.nodes.b: unknown field `comand`, expected one of",
        ),
        (
            "name: two",
            "name: two\nsettings: {}",
            "2: the file: `settings`: no certificate authority comes with the lab; bring certificates and keys along by `binds`",
        ),
        (
            "cmd: sleep infinity",
            "cmd: sleep $LONG",
            "25: the variable `LONG` is not set; set it, or write `${LONG:=default}`, or `$$LONG` for that very text",
        ),
        ("cmd: sleep infinity", "cmd: sleep 'x", "23: topology.nodes.b: cmd: `sleep 'x`: a quote is not closed"),
        (
            "network-mode: none",
            "network-mode: bridge",
            "17: topology.nodes.a: network-mode `bridge`: expected `none`, `host` or `container:NODE`",
        ),
        (
            "c.txt:/y",
            "c.txt:y",
            "17: topology.nodes.a: bind `c.txt:y`: expected `source:/target` or `source:/target:ro`",
        ),
        (
            "c.txt:/y",
            "c.txt:/y:z",
            "17: topology.nodes.a: bind `c.txt:/y:z`: unknown option `z`; `ro` and `rw` are known",
        ),
        (
            "type: veth",
            "type: vxlan",
            "30: topology.links[1]: type `vxlan`: `routectl lab` makes `veth`, `host`, `mgmt-net`, `dummy`; take a `host`",
        ),
        ("br:p2", "nobody:p2", "30: topology.links[1]: `nobody:p2`: there is no node `nobody`"),
        ("br:p2", "br:p1", "30: topology.links[1]: `br:p1` is already an end of links[0]"),
        (
            "br:p2",
            "macvlan:eno1",
            "30: topology.links[1]: `macvlan:eno1`: `routectl lab` makes no macvlan; take `host:NAME`",
        ),
        ("br:p2", "br:a-very-long-name", "30: topology.links[1]: interface `a-very-long-name`: expected at most 15"),
        ("br:p2", "b:eth0", "30: topology.links[1]: `b:eth0`: containerlab keeps eth0 for its management network"),
        ("[a:eth1, br:p1]", "[a:eth1]", "29: topology.links[0]: a link has two endpoints, here are 1"),
        (
            "[a:eth1, br:p1]",
            "[a, br:p1]",
            "29: topology.links[0].endpoints[0]: endpoint `a`: expected `node:interface`",
        ),
        ("    br:\n", "    b:\n", "`b` is there twice"),
        ("    br:\n", "    host:\n", "26: topology.nodes.host: `host` means something else at the end of a link"),
        ("name: two", "name: ../two", "1: name: `../two`: expected letters"),
    ];
    for (good, bad, expected) in cases {
        assert!(FILE.contains(good), "{good}");
        let said = parse(&FILE.replacen(good, bad, 1)).expect_err(bad);
        assert!(said.starts_with("/labs/x.clab.yml:"), "{bad}: {said}");
        assert!(said.contains(expected), "{bad}:\n  said     {said}\n  expected {expected}");
    }
}

#[test]
fn a_lab_needs_a_node_and_a_node_a_kind() {
    let said = parse("name: x\ntopology:\n  nodes: {}\n").unwrap_err();
    assert_eq!(said, "/labs/x.clab.yml:3: topology.nodes: a lab needs at least one node");
    let said = parse("name: x\ntopology:\n  nodes:\n    a:\n").unwrap_err();
    assert!(said.starts_with("/labs/x.clab.yml:4: topology.nodes.a: no `kind`"), "{said}");
}

#[test]
fn everything_is_inherited_from_group_kind_and_defaults() {
    let text = "\
name: x
topology:
  defaults:
    group: edge
    startup-delay: 3
    network-mode: none
    entrypoint: tini
    env-files: [all.env]
    labels: {a: defaults, b: defaults, c: defaults, d: defaults}
    healthcheck: {test: [CMD, far], retries: 9}
  kinds:
    linux:
      startup-delay: 2
      env-files: [linux.env]
      labels: {b: kind, c: kind, d: kind}
      sysctls: {net.a: kind, net.b: kind}
  groups:
    edge:
      kind: linux
      cmd: [run, it]
      labels: {c: group, d: group}
      sysctls: {net.b: group}
      healthcheck: {test: [CMD-SHELL, near | far], interval: 2}
  nodes:
    a: {labels: {d: node}, env-files: [a.env]}
    b: {group: unknown, kind: bridge, startup-delay: 0}
";
    let topology = parse(text).unwrap();
    let [a, b] = topology.nodes.as_slice() else { panic!("two nodes") };
    let values = |map: &std::collections::BTreeMap<String, String>| map.values().cloned().collect::<Vec<_>>();
    assert_eq!((a.kind, a.group.as_deref()), (Kind::Linux, Some("edge")), "a group may give the kind");
    assert_eq!(values(&a.labels), ["defaults", "kind", "group", "node"]);
    assert_eq!(values(&a.sysctls), ["kind", "group"]);
    assert_eq!(a.startup_delay, Duration::from_secs(2));
    assert_eq!(a.cmd.as_ref().unwrap().words, ["tini", "run", "it"]);
    let files: Vec<_> = a.env_files.iter().map(|(file, line)| (file.as_str(), *line)).collect();
    assert_eq!(files, [("all.env", Some(8)), ("linux.env", Some(14)), ("a.env", Some(25))]);
    let check = a.healthcheck.as_ref().unwrap();
    assert_eq!(check.words, ["sh", "-c", "near | far"]);
    assert_eq!(
        (check.interval.as_secs(), check.timeout.as_secs(), check.retries),
        (2, 30, 3),
        "whole, from the nearest"
    );
    assert_eq!((a.network.clone(), b.network.clone()), (Network::Alone, Network::Alone));
    assert_eq!((b.kind, b.group.as_deref()), (Kind::Bridge, Some("unknown")), "an unknown group is none");
    assert_eq!((b.startup_delay, values(&b.labels)), (Duration::ZERO, vec!["defaults".to_string(); 4]));
}
