use proptest::prelude::*;

use super::*;
use crate::model::{Block, NodeCondition, Object, PoolName, yaml::read_documents};

fn node(name: &str) -> NodeName {
    NodeName::new(name).expect("a name")
}

#[test]
fn keys_are_paths_that_people_can_read() {
    let policy = ObjectKey { kind: Kind::NetworkPolicy, namespace: Some("shop".into()), name: "allow-web".into() };
    let endpoint = EndpointKey {
        network: NetworkName::new("blue").expect("a name"),
        container_id: "c/1 %".into(),
        ifname: InterfaceName::new("eth0").expect("a name"),
    };
    for (key, path) in [
        (StoreKey::Object(ObjectKey::global(Kind::IPPool, "pool-a")), "/objects/ippool/pool-a"),
        (StoreKey::Object(policy), "/objects/networkpolicy/shop/allow-web"),
        (StoreKey::Block("10.65.0.0/26".parse().expect("a CIDR")), "/blocks/10.65.0.0-26"),
        (StoreKey::Block("fd00::/122".parse().expect("a CIDR")), "/blocks/fd00::-122"),
        (StoreKey::Endpoint(node("host-a"), endpoint), "/endpoints/host-a/blue/c%2F1%20%25/eth0"),
        (StoreKey::Condition(node("host-a")), "/conditions/host-a"),
    ] {
        assert_eq!(key.path(), path);
        assert_eq!(StoreKey::parse(path), Ok(key));
    }
    assert!("/endpoints/host-a/blue".starts_with(&endpoints_of(&node("host-a"))));
    assert!("/objects/ippool/a".starts_with(&objects_of(Kind::IPPool)));
}

#[test]
fn foreign_keys_are_named_and_refused() {
    for path in [
        "",
        "/",
        "/objects/pod/a",
        "/objects/ippool",
        "/objects/ippool/a/b",
        "/objects/networkpolicy/a",
        "/blocks/10.0.0.1-26",
        "/endpoints/n/a/b",
        "/endpoints/n/a/%zz/c",
        "/conditions/",
        "/other/x",
    ] {
        let error = StoreKey::parse(path).expect_err(path);
        assert_eq!(error.to_string(), format!("store key {path}: not a key of ours"));
    }
}

#[test]
fn facts_go_in_and_out_and_stay_under_their_key() {
    let text = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: a}, spec: {cidr: 10.65.0.0/16}}";
    let object: Object = read_documents("t.yaml", text).expect("a pool").remove(0).value;
    let block = Block {
        cidr: "10.65.0.0/26".parse().expect("a CIDR"),
        pool: PoolName::new("a").expect("a name"),
        owner: node("host-a"),
        epoch: 3,
    };
    let condition = NodeCondition {
        node: node("host-a"),
        at: 1,
        version: "0.1.0".into(),
        problems: Vec::new(),
        endpoints: 0,
        blocks: vec![block.cidr],
        peers_established: 0,
        peers_configured: 0,
        mesh_in_place: None,
    };
    for fact in [Fact::Object(object), Fact::Block(block), Fact::Condition(condition)] {
        let key = StoreKey::of(&fact).path();
        assert_eq!(decode_fact(&key, &encode_fact(&fact)), Ok(fact.clone()));
        let error = decode_fact("/conditions/host-b", &encode_fact(&fact)).expect_err("under a foreign key");
        assert_eq!(error.to_string(), format!("store key /conditions/host-b: holds what belongs to {key}"));
    }
    assert!(decode_fact("/conditions/host-b", b"{\"type\":\"New\"}").is_err());
    assert!(decode_fact("/conditions/host-b", b"\xff").is_err());
}

proptest! {
    #[test]
    fn any_container_id_makes_a_key_that_is_read_again(container_id in "\\PC{0,20}", ifname in "[!-.0-9;-~]{3,15}") {
        let key = StoreKey::Endpoint(node("n"), EndpointKey {
            network: NetworkName::new("blue").expect("a name"),
            container_id,
            ifname: InterfaceName::new(ifname).expect("a name"),
        });
        prop_assert_eq!(StoreKey::parse(&key.path()), Ok(key));
    }
}
