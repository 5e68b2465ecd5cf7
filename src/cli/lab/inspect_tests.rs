use std::collections::BTreeMap;

use super::*;

fn record() -> Record {
    let node = NodeRecord {
        name: "a".into(),
        long_name: "clab-x-a".into(),
        kind: "linux".into(),
        group: None,
        image: Some("alpine:3".into()),
        pid: 0,
        start_time: 7,
        env: BTreeMap::new(),
        labels: BTreeMap::from([("role".into(), "leaf".into())]),
        programs: "/usr/bin".into(),
        health: None,
    };
    Record {
        name: "x".into(),
        file: "/labs/here/x.clab.yml".into(),
        nodes: vec![node],
        links: vec![["a:eth1".into(), "b:eth2".into()], ["a:eth2".into(), "host:out".into()]],
        owner: "alice".into(),
    }
}

fn interface(name: &str, addresses: &[&str]) -> Interface {
    Interface {
        name: name.into(),
        state: "up".into(),
        addresses: addresses.iter().map(|address| address.to_string()).collect(),
    }
}

#[test]
fn a_node_has_containerlabs_fields_and_ours() {
    let record = record();
    let now = Now {
        running: true,
        age: Some(Duration::from_secs(61)),
        healthy: Some(true),
        interfaces: vec![interface("eth1", &[]), interface("eth2", &["fd00::1/64", "10.0.0.1/24", "10.0.0.2/24"])],
    };
    let said = entry(&record, &record.nodes[0], &now, Path::new("/labs"));
    let id = said["container_id"].as_str().expect("an id").to_string();
    assert!(id.len() == 12 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
    assert_eq!(
        said,
        json!({
            "lab_name": "x", "labPath": "here/x.clab.yml", "absLabPath": "/labs/here/x.clab.yml", "name": "clab-x-a",
            "container_id": id, "image": "alpine:3", "kind": "linux", "group": "", "state": "running",
            "status": "Up 1 minute (healthy)", "ipv4_address": "10.0.0.1/24", "ipv6_address": "fd00::1/64",
            "owner": "alice", "node": "a", "pid": 0, "netns": "/proc/0/ns/net", "labels": {"role": "leaf"},
            "interfaces": [
                {"name": "eth1", "state": "up", "addresses": [], "peer": "b:eth2"},
                {"name": "eth2", "state": "up", "addresses": ["fd00::1/64", "10.0.0.1/24", "10.0.0.2/24"],
                 "peer": "host:out"},
            ],
        })
    );
}

#[test]
fn a_node_that_has_ended_says_so() {
    let said = json(&[record()], Path::new("/elsewhere"));
    let node = &said["x"][0];
    assert_eq!((&node["state"], &node["status"]), (&json!("exited"), &json!("Exited")));
    assert_eq!((&node["ipv4_address"], &node["labPath"]), (&json!("N/A"), &json!("/labs/here/x.clab.yml")));
    assert_eq!(json(&[], Path::new("/")), json!({}));
}

#[test]
fn a_start_of_a_node_has_an_id_of_its_own() {
    let record = record();
    let mut later = record.nodes[0].clone();
    later.start_time += 1;
    assert_eq!(record.nodes[0].id(), record.nodes[0].clone().id());
    assert_ne!(record.nodes[0].id(), later.id());
}

#[test]
fn ages_are_told_in_the_largest_unit_that_fits() {
    let words = |seconds| in_words(Duration::from_secs(seconds));
    assert_eq!([0, 1, 59, 60, 7199].map(words), ["0 seconds", "1 second", "59 seconds", "1 minute", "1 hour"]);
    assert_eq!([7200, 172_799, 172_800].map(words), ["2 hours", "47 hours", "2 days"]);
}
