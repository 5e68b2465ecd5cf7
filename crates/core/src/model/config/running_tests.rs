use super::*;
use crate::model::config::read;

fn config(text: &str) -> NodeConfig {
    read("node.yaml", text).unwrap_or_else(|errors| panic!("{text}\n{errors:?}"))
}

const NODE: &str = "node: h1\naddress: {ipv4: 192.0.2.1}\nstore:\n  type: none\n  pools: [{name: p, cidr: 10.0.0.0/16}]\n  \
                    peers: [{name: a, address: 192.0.2.2, as: 64512}]\nbgp:\n  as: 64512\n  holdTime: 90\n";
const SPEAKER: &str =
    "node: s\ndataPlane: off\nbgp:\n  as: 64512\n  routerId: 192.0.2.1\n  listen: ['192.0.2.1:1179']\n";

#[test]
fn a_file_that_says_the_same_changes_nothing() {
    for text in [NODE, SPEAKER] {
        let config = config(text);
        assert_eq!(take_over(&config, &config), Ok((config.clone(), vec![])));
    }
}

#[test]
fn a_node_takes_over_its_sessions_and_says_what_waits() {
    let running = config(NODE);
    let sessions = NODE.replace("192.0.2.2, as: 64512", "192.0.2.3, as: 64513").replace("holdTime: 90", "holdTime: 30");
    let sessions = config(&format!("{sessions}  peers: [{{name: tor, address: 192.0.2.9, as: 65000, import: all}}]\n"));
    assert_eq!(take_over(&running, &sessions), Ok((sessions.clone(), vec![])), "all of it");

    let other = NODE
        .replace("as: 64512\n", "as: 64599\n")
        .replace("10.0.0.0/16", "10.0.0.0/15")
        .replace("ipv4: 192.0.2.1", "ipv4: 192.0.2.7")
        .replace("holdTime: 90", "holdTime: 30");
    let (taken, waits) = take_over(&running, &config(&other)).expect("of one kind");
    assert_eq!(waits, ["address", "bgp.as", "store.pools"]);
    assert_eq!(taken.bgp.hold_time, 30, "the rest is taken");
    assert_eq!((taken.bgp.as_number, &taken.store, &taken.address), (Some(64512), &running.store, &running.address));

    let embedded =
        config("node: h1\naddress: {ipv4: 192.0.2.1}\nstore: {type: embedded, path: /s.db}\nbgp: {as: 64512}\n");
    assert_eq!(take_over(&running, &embedded).expect("of one kind").1, ["store"]);
}

#[test]
fn a_speaker_alone_takes_over_who_it_is() {
    let running = config(SPEAKER);
    let other = config(&SPEAKER.replace("64512", "64599").replace("node: s\n", "node: t\n"));
    let (taken, waits) = take_over(&running, &other).expect("of one kind");
    assert_eq!((taken.bgp, taken.node, waits), (other.bgp, running.node.clone(), vec!["node"]));
    assert!(take_over(&running, &config(NODE)).unwrap_err().contains("dataPlane"));
}
