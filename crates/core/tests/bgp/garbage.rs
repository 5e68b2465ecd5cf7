//! A neighbour that sends garbage costs its own session, and nobody else's.

use proptest::prelude::*;
use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire;
use routenet_core::model::ImportPolicy;

use crate::world::{World, address, neighbor, puppet_open};

fn watched() -> World {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    let peer = PeerConfig { passive: true, ..neighbor(8, 65009, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(8), peer);
    world.start();
    world.announce(0, &["10.1.0.0/24"]);
    world.seconds(1);
    world
}

/// A message of any type with any body, perhaps with a length that lies.
fn message() -> impl Strategy<Value = Vec<u8>> {
    (0u8..8, proptest::collection::vec(any::<u8>(), 0..120), prop_oneof![9 => Just(0i32), 1 => -30i32..300]).prop_map(
        |(kind, body, lie)| {
            let length = (19 + body.len() as i32 + lie).max(0) as u16;
            [&[0xff; 16][..], &length.to_be_bytes(), &[kind], &body].concat()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn garbage_costs_its_own_session_only(
        messages in proptest::collection::vec(message(), 1..20),
        established in any::<bool>(),
    ) {
        let mut world = watched();
        world.puppet_connects(0, address(8));
        if established {
            world.puppet_establishes(&puppet_open(65009, None));
        }
        for message in messages {
            world.puppet_says(&message);
        }
        world.seconds(100);
        prop_assert_eq!(world.status(0, 1).sessions, 1);
        prop_assert_eq!(world.status(1, 0).sessions, 1);
        prop_assert_eq!(world.status(0, 1).state, State::Established);
        let kernel = world.kernel(1);
        prop_assert!(kernel.iter().any(|route| route == "10.1.0.0/24 via 10.0.0.1"), "{:?}", kernel);
    }
}

/// An UPDATE of the puppet's with this prefix by way of this next hop.
fn update(prefix: &str, next_hop: &str) -> Vec<u8> {
    let mut update = Vec::new();
    let attributes = wire::Attributes {
        as_path: vec![wire::AsSegment::Sequence(vec![65009])],
        ..routenet_core::bgp::rib::path::own_attributes()
    };
    let next_hop = wire::NextHop { address: next_hop.parse().expect("an address"), link_local: None };
    let prefix: routenet_core::model::Cidr = prefix.parse().expect("a prefix");
    wire::encode_reach(&attributes, &next_hop, &[prefix], &crate::world::puppet_context(), &mut update)
        .expect("it fits");
    update
}

/// RFC 4271 6.3: the loopback of another host is no way to anywhere.
#[test]
fn next_hops_on_the_loopback_withdraw() {
    let mut world = watched();
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(65009, None));
    world.puppet_says(&update("10.9.0.0/24", &address(8).to_string()));
    assert_eq!(world.kernel(1).len(), 2);
    for (malformed, stray) in [(1, "127.0.0.1"), (2, "127.9.0.1")] {
        world.puppet_says(&update("10.9.0.0/24", stray));
        assert_eq!(world.kernel(1), ["10.1.0.0/24 via 10.0.0.1"], "{stray}");
        let status = world.status(0, 8);
        assert_eq!((status.state, status.malformed), (State::Established, malformed), "{stray}");
    }
}

#[test]
fn its_routes_go_with_its_session() {
    let mut world = watched();
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(65009, None));
    world.puppet_says(&update("10.9.0.0/24", &address(8).to_string()));
    assert_eq!(world.kernel(1).len(), 2);
    world.puppet_says(&[0; 40]);
    assert_eq!(world.kernel(1), ["10.1.0.0/24 via 10.0.0.1"]);
    let (_, why) = world.status(0, 8).last_error.expect("an error");
    assert_eq!(why, "sent Message Header Error: Connection Not Synchronized (1/1)");
}
