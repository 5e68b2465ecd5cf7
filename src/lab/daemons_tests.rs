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
    for image in ["routenet", "registry.example.org/x/routenet:0.1.0"] {
        assert_eq!(of(&node(image)).unwrap(), None, "{image} without a configuration");
        let bound = format!("{image}\n      binds: [h1.yaml:/etc/routenet/node.yaml:ro]");
        assert!(of(&node(&bound)).unwrap().unwrap().words[2].starts_with("routenetd --config"), "{image}");
    }
    for image in ["alpine", "frr.example.org/alpine:3", "alpine:bird", "routenetd:1"] {
        assert_eq!(of(&node(image)).unwrap(), None, "{image}");
    }
}
