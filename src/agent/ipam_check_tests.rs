use routenet_core::model::{Block, InterfaceName, NetworkName, Node, NodeName, Pool, PoolName};
use serde_json::json;

use super::*;

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn endpoint(node: &str, id: &str, address: &str) -> Endpoint {
    serde_json::from_value(json!({
        "key": key(id), "node": node, "namespace": "default", "name": id, "labels": {}, "addresses": [address],
        "attachment": null,
    }))
    .unwrap()
}

fn key(id: &str) -> EndpointKey {
    EndpointKey {
        network: NetworkName::new("web").unwrap(),
        container_id: id.into(),
        ifname: InterfaceName::new("eth0").unwrap(),
    }
}

/// A cluster in which all fits: nodes h1 and h2, pool p, a block of each node.
fn sound() -> Known {
    let mut known = Known::default();
    for number in [1, 2] {
        let name = NodeName::new(format!("h{number}")).unwrap();
        let node = Node {
            name: name.clone(),
            labels: Default::default(),
            ipv4: Some([192, 0, 2, number].into()),
            ipv6: None,
            as_number: 64512,
            router_id: [192, 0, 2, number].into(),
            bgp_port: 179,
            mesh: true,
            incarnation: String::new(),
        };
        known.nodes.insert(name, node);
    }
    let pool = Pool {
        name: PoolName::new("p").unwrap(),
        cidr: cidr("10.0.0.0/16"),
        block_size: 26,
        disabled: false,
        node_selector: "all()".into(),
        unreachable_route: true,
        encapsulation: Default::default(),
        nat_outgoing: false,
    };
    known.pools.insert(pool.name.clone(), pool);
    claim(&mut known, "10.0.0.0/26", "p", "h1");
    claim(&mut known, "10.0.0.64/26", "p", "h2");
    publish(&mut known, endpoint("h2", "there", "10.0.0.65"));
    known
}

fn claim(known: &mut Known, block: &str, pool: &str, owner: &str) {
    let (pool, owner) = (PoolName::new(pool).unwrap(), NodeName::new(owner).unwrap());
    known.blocks.insert(cidr(block), Block { cidr: cidr(block), pool, owner, epoch: 1 });
}

fn publish(known: &mut Known, endpoint: Endpoint) {
    known.endpoints.insert((endpoint.node.clone(), endpoint.key.clone()), endpoint);
}

fn problems(known: &Known) -> Vec<String> {
    check(known, &[endpoint("h1", "here", "10.0.0.1")], &BTreeMap::new(), &[]).problems
}

#[test]
fn what_fits_together_is_no_problem() {
    let reply = check(&sound(), &[endpoint("h1", "here", "10.0.0.1")], &BTreeMap::new(), &[]);
    assert_eq!((reply.blocks, reply.addresses, reply.problems), (2, 2, Vec::new()));
}

/// A change, and the one problem that it makes.
type Case = (fn(&mut Known), &'static str);

#[test]
fn each_thing_that_does_not_fit_is_named() {
    let cases: [Case; 7] = [
        (|known| claim(known, "10.0.0.64/27", "p", "h1"), "blocks 10.0.0.64/26 of h2 and 10.0.0.64/27 of h1 overlap"),
        (
            |known| claim(known, "10.0.0.128/26", "gone", "h1"),
            "block 10.0.0.128/26 of h1 is of IPPool gone, which is not there",
        ),
        (
            |known| claim(known, "10.9.0.0/26", "p", "h1"),
            "block 10.9.0.0/26 of h1 lies outside of its IPPool p (10.0.0.0/16)",
        ),
        (
            |known| claim(known, "10.0.0.128/26", "p", "h9"),
            "block 10.0.0.128/26 belongs to node h9, which is not there: routectl ipam release-node h9",
        ),
        (
            |known| publish(known, endpoint("h2", "again", "10.0.0.65")),
            "10.0.0.65 belongs to default/again (web/again/eth0) on h2 and to default/there (web/there/eth0) on h2",
        ),
        (
            |known| publish(known, endpoint("h2", "astray", "10.0.0.200")),
            "10.0.0.200 of default/astray (web/astray/eth0) on h2 lies in no block",
        ),
        (
            |known| publish(known, endpoint("h2", "guest", "10.0.0.2")),
            "10.0.0.2 of default/guest (web/guest/eth0) on h2 lies in block 10.0.0.0/26 of node h1",
        ),
    ];
    for (change, expected) in cases {
        let mut known = sound();
        change(&mut known);
        assert_eq!(problems(&known), [expected]);
    }
}

#[test]
fn an_address_of_this_node_counts_as_much_as_a_published_one() {
    let mut known = sound();
    publish(&mut known, endpoint("h2", "thief", "10.0.0.1"));
    assert_eq!(
        problems(&known),
        ["10.0.0.1 belongs to default/here (web/here/eth0) on h1 and to default/thief (web/thief/eth0) on h2"]
    );
}

#[test]
fn quarantined_blocks_and_what_is_held_for_nobody_are_told() {
    let lost = BTreeMap::from([(cidr("10.0.0.128/26"), "node h2 owns it now".to_string())]);
    let stray = [(key("left"), vec!["10.0.0.9".parse().unwrap()])];
    let reply = check(&sound(), &[], &lost, &stray);
    let [quarantined, held] = reply.problems.as_slice() else { panic!("{:?}", reply.problems) };
    assert_eq!(quarantined, "block 10.0.0.128/26: node h2 owns it now");
    assert!(held.starts_with("10.0.0.9 is held for web/left/eth0, which is neither an endpoint"), "{held}");
    assert!(held.ends_with("routectl ipam release 10.0.0.9"), "{held}");
}
