//! Whom of two neighbours with one place nobody hears of, and options that the AS does not go with.

use super::*;
use crate::bgp::speaker::speaker_config;
use crate::model::yaml::read_documents;
use crate::model::{BgpPeer, Object, config};

/// A BGPPeer of these further fields.
fn peer(name: &str, spec: &str) -> BgpPeer {
    let text =
        format!("{{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {{name: {name}}}, spec: {{{spec}}}}}");
    match read_documents("t.yaml", &text).expect("an object").remove(0).value {
        Object::BGPPeer(peer) => peer,
        other => panic!("{other:?}"),
    }
}

fn ineffective(file: &str, peers: &[BgpPeer]) -> Vec<Ineffective> {
    let text = format!("{{node: a, address: {{ipv4: 192.0.2.9}}, bgp: {{as: 64512, peers: [{file}]}}}}");
    let config = config::read("t.yaml", &text).expect("a configuration");
    speaker_config(&config, &[], peers, &[], &[], &Default::default()).ineffective()
}

#[test]
fn of_two_peers_for_one_place_the_second_is_known_with_the_first() {
    let twin = |name: &str, by: &str, place: &str| {
        Ineffective::Peer(Twin {
            name: name.to_string(),
            by: by.to_string(),
            source: PeerSource::Peer,
            place: place.to_string(),
        })
    };
    let at = |name: &str, place: &str| peer(name, &format!("{place}, asNumber: 64513"));
    let address = "peerIP: 192.0.2.1";
    assert_eq!(ineffective("", &[at("a", address), at("b", address)]), [twin("b", "a", "192.0.2.1")]);
    assert_eq!(ineffective("", &[at("a", address), at("b", "peerIP: 192.0.2.2")]), []);
    let elsewhere = peer("b", "peerIP: 192.0.2.1, node: b, asNumber: 64513");
    assert_eq!(ineffective("", &[at("a", address), elsewhere]), [], "of another node");
    let file = "{name: f, address: 192.0.2.1, as: 64513}";
    assert_eq!(ineffective(file, &[at("a", address)]), [], "the file goes before the store");

    let link = "interface: eth0";
    assert_eq!(ineffective("", &[at("a", link), at("b", link)]), [twin("b", "a", "eth0")]);
    let named = "peerIP: fe80::1%eth0";
    assert_eq!(ineffective("", &[at("a", named), at("b", named), at("c", link)]), [twin("b", "a", "fe80::1%eth0")]);
}

#[test]
fn an_option_that_does_not_go_with_the_as_is_known() {
    let options = |spec: &str| {
        let found = ineffective("", &[peer("a", &format!("peerIP: 192.0.2.1, {spec}"))]).into_iter();
        found
            .map(|found| match found {
                Ineffective::Option(it) => (it.option, it.as_number, it.local_as),
                Ineffective::Peer(twin) => panic!("{twin:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(options("asNumber: 64512, role: provider"), [("role", Some(64512), 64512)]);
    assert_eq!(options("asNumber: 64513, role: provider"), []);
    assert_eq!(options("asNumber: 64513, reflectorClient: true"), [("reflectorClient", Some(64513), 64512)]);
    assert_eq!(options("asNumber: 64512, reflectorClient: true"), []);
    let other = "asNumber: 64512, localASNumber: 64999";
    assert_eq!(options(&format!("{other}, reflectorClient: true")), [("reflectorClient", Some(64512), 64999)]);
    assert_eq!(options(&format!("{other}, role: provider")), [], "ours is another to it");
}
