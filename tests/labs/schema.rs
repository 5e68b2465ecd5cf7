//! The labs say nothing that containerlab does not know: a schema of the fields that its documentation names, which is ours.

use std::path::PathBuf;

use jsonschema::Validator;
use serde_json::Value;

use crate::fixture::folder;

const SCHEMA: &str = include_str!("containerlab.schema.json");

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
}

fn labs() -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder()).expect("config/labs").flatten().map(|entry| entry.path());
    let mut labs: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with(".clab.yml")).collect();
    labs.sort();
    labs
}

/// What is wrong with a topology's text, each with its place.
fn refusals(validator: &Validator, text: &str) -> Vec<String> {
    let topology: Value = serde_yaml::from_str(text).expect("YAML");
    validator.iter_errors(&topology).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_labs_have_only_fields_that_containerlab_documents() {
    let validator = validator();
    let labs = labs();
    assert_eq!(labs.len(), 6, "{labs:?}");
    for lab in labs {
        let text = std::fs::read_to_string(&lab).expect("a lab");
        assert_eq!(refusals(&validator, &text), Vec::<String>::new(), "{}", lab.display());
        assert!(text.starts_with("# "), "{}: it says at its head what it is for", lab.display());
    }
}

#[test]
fn what_containerlab_does_not_know_is_refused() {
    let validator = validator();
    let text = std::fs::read_to_string(folder().join("two-racks.clab.yml")).expect("a lab");
    for (good, bad) in [
        ("network-mode: none", "network_mode: none"),
        ("network-mode: none", "network-mode: nowhere"),
        ("sysctls:", "sysctl:"),
        ("name: two-racks", "title: two-racks"),
        ("  links:", "  wires:"),
        ("- endpoints: [\"h1:eth1\", \"tor1:eth1\"]", "- endpoints: [\"h1:eth1\"]"),
        ("- endpoints: [\"h1:eth1\", \"tor1:eth1\"]", "- endpoints: [\"h1\", \"tor1:eth1\"]"),
        ("image: bird:2.0", "image: [bird]"),
    ] {
        assert!(text.contains(good), "{good}");
        assert_ne!(refusals(&validator, &text.replacen(good, bad, 1)), Vec::<String>::new(), "{bad}");
    }
}

#[test]
fn links_may_be_written_in_both_ways() {
    let validator = validator();
    let lab =
        |link: &str| format!("name: x\ntopology:\n  nodes:\n    a: {{kind: linux}}\n    b:\n  links:\n    - {link}\n");
    for good in [
        "endpoints: ['a:eth1', 'b:eth1']",
        "{type: veth, mtu: 1500, endpoints: [{node: a, interface: eth1, mac: '02:00:00:00:00:01'}, 'b:eth1']}",
        "{type: host, endpoint: {node: a, interface: eth1}, host-interface: uplink}",
    ] {
        assert_eq!(refusals(&validator, &lab(good)), Vec::<String>::new(), "{good}");
    }
    for bad in ["{type: veth, endpoint: {node: a, interface: eth1}}", "{type: rope, endpoints: ['a:eth1', 'b:eth1']}"] {
        assert_ne!(refusals(&validator, &lab(bad)), Vec::<String>::new(), "{bad}");
    }
}

#[test]
fn no_lab_needs_a_bridge_that_somebody_made_before() {
    // containerlab attaches to bridges of the machine, and makes none.
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/labs");
    let files = std::fs::read_dir(folder).expect("the labs").flatten().map(|entry| entry.path());
    let labs: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(".clab.yml")).collect();
    assert!(labs.len() >= 6, "{labs:?}");
    for lab in labs {
        let text = std::fs::read_to_string(&lab).expect("a lab");
        assert!(!text.contains("kind: bridge") && !text.contains("kind: ovs-bridge"), "{}", lab.display());
    }
}
