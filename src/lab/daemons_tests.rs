use std::path::Path;

use super::*;
use crate::lab::Topology;

fn node(image: &str) -> Node {
    let text = format!("name: x\ntopology:\n  nodes:\n    r:\n      kind: linux\n      image: {image}\n");
    Topology::parse(Path::new("x.clab.yml"), &text).expect("a topology").nodes.remove(0)
}

#[test]
fn the_images_name_decides_not_its_registry_or_tag() {
    for image in ["frr", "quay.io/frrouting/frr:8.4.1", "frrouting/frr@sha256:00"] {
        assert!(of(&node(image)).unwrap().unwrap().words[0].ends_with("frrinit.sh"), "{image}");
    }
    for image in ["bird", "pierky/bird:2.0.12", "docker.io/x/bird2"] {
        assert_eq!(of(&node(image)).unwrap().unwrap().words[0], "/usr/sbin/bird", "{image}");
    }
    for image in ["alpine", "frr.example.org/alpine:3", "alpine:bird", "routenet:latest"] {
        assert_eq!(of(&node(image)).unwrap(), None, "{image}");
    }
}

#[test]
fn the_agent_runs_where_its_configuration_is_bound() {
    let text = "name: x\ntopology:\n  nodes:\n    h:\n      kind: linux\n      image: registry.example.org:5000/routenet:1.2\n";
    let parse = |more: &str| {
        let text = format!("{text}{more}");
        Topology::parse(Path::new("x.clab.yml"), &text).expect("a topology").nodes.remove(0)
    };
    let daemon = of(&parse("      binds: ['h.yaml:/etc/routenet/node.yaml:ro']\n")).unwrap().expect("an agent");
    assert_eq!(daemon.words[3..], ["routenetd", "--config", "/etc/routenet/node.yaml"]);
    assert_eq!(of(&parse("")).unwrap(), None, "no configuration");
    assert_eq!(of(&parse("      binds: ['h.yaml:/etc/routenet/other.yaml']\n")).unwrap(), None);
}

#[test]
fn etcd_is_debians() {
    assert_eq!(of(&node("quay.io/coreos/etcd:v3.4.23")).unwrap().unwrap().words[3], "etcd");
    assert_eq!(of(&node("etcd-browser:1")).unwrap(), None);
}
