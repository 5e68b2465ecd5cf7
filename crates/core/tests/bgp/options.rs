//! Options of a neighbour: reflection, an AS of our own for one neighbour, roles, and a bound on what it may send.

use std::time::Duration;

use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{self, AfiSafi, Message, Notification, cease};
use routenet_core::model::ImportPolicy;
use routenet_core::model::peering::{BgpRole, MaxPrefixes, PeerOptions, SentPaths};

use crate::world::{World, address, cidr};

const NOTHING: [&str; 0] = [];

/// How `index` holds its neighbour `peer`.
fn set(world: &mut World, index: usize, peer: usize, change: impl FnOnce(&mut PeerOptions)) {
    let host = &mut world.hosts[index];
    change(&mut host.config.peers.get_mut(&address(peer)).expect("a neighbour").options);
    let config = Box::new(host.config.clone());
    world.handle(index, Input::Configure(config));
}

fn route(world: &World, index: usize, prefix: &str) -> Option<RouteStatus> {
    world.speaker(index).routes().into_iter().find(|route| route.prefix == cidr(prefix))
}

/// Speakers of one AS that have sessions with the first only.
fn star(count: usize) -> World {
    let mut world = World::mesh(&vec![64512; count], ImportPolicy::All);
    for (index, host) in world.hosts.iter_mut().enumerate().skip(1) {
        host.config.peers.retain(|peer, _| *peer == address(0) || index == 0);
    }
    world
}

#[test]
fn a_reflector_joins_its_clients_and_nobody_else() {
    let mut world = star(4);
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.announce(3, &["10.3.0.0/24"]);
    world.seconds(5);
    assert_eq!(world.kernel(2), NOTHING, "iBGP passes nothing on");

    for client in [1, 2] {
        set(&mut world, 0, client, |options| options.reflector_client = true);
    }
    world.seconds(10);
    assert_eq!(world.kernel(2), ["10.1.0.0/24 via 10.0.0.2", "10.3.0.0/24 via 10.0.0.4"], "by way of who said it");
    assert_eq!(world.kernel(1), ["10.3.0.0/24 via 10.0.0.4"]);
    assert_eq!(world.kernel(3), ["10.1.0.0/24 via 10.0.0.2"], "a client's goes to all");

    set(&mut world, 0, 1, |options| options.reflector_client = false);
    world.seconds(10);
    assert_eq!(world.kernel(3), NOTHING, "of two that are no clients nothing passes");
    assert_eq!(world.kernel(2).len(), 2);
    world.kill(1);
    world.seconds(200);
    assert_eq!(world.kernel(2), ["10.3.0.0/24 via 10.0.0.4"], "no route outlives its source");
}

/// Two reflectors of one cluster and of two: what one reflects the other takes only where the clusters differ.
/// RFC 4456 says nothing of it in an OPEN. With path identifiers too (RFC 7911), where each has a source of its own.
#[test]
fn who_becomes_a_client_and_ceases_to_be_one_keeps_its_session() {
    for identified in [false, true] {
        let mut world = star(3);
        if identified {
            let options = |world: &mut World, index: usize, peer: usize, change: fn(&mut PeerOptions)| {
                change(&mut world.hosts[index].config.peers.get_mut(&address(peer)).expect("a neighbour").options);
            };
            options(&mut world, 0, 1, |options| options.add_paths.receive = true);
            options(&mut world, 1, 0, |options| options.add_paths.send = SentPaths::All);
        }
        world.start();
        world.announce(1, &["10.1.0.0/24"]);
        world.announce(2, &["10.2.0.0/24"]);
        world.seconds(5);
        let path_id = world.speaker(0).route(&cidr("10.1.0.0/24")).first().expect("a route").path_id;
        assert_eq!(path_id.is_some(), identified);
        for round in 0..2 {
            assert_eq!((world.kernel(1), world.kernel(2)), (Vec::new(), Vec::new()), "no client, round {round}");
            set(&mut world, 0, 1, |options| options.reflector_client = true);
            world.seconds(2);
            assert_eq!(world.kernel(2), ["10.1.0.0/24 via 10.0.0.2"], "a client's goes to all");
            assert_eq!(world.kernel(1), ["10.2.0.0/24 via 10.0.0.3"], "all goes to a client");
            let details = world.speaker(0).route(&cidr("10.1.0.0/24"));
            assert_eq!(details.iter().map(|it| it.path_id).collect::<Vec<_>>(), [path_id], "one route, and the same");
            set(&mut world, 0, 1, |options| options.reflector_client = false);
            world.seconds(2);
        }
        for peer in [1, 2] {
            let status = world.status(0, peer);
            assert_eq!(status.state, State::Established);
            assert!(status.lasting >= Duration::from_secs(8), "one session all the time: {:?}", status.lasting);
        }
        set(&mut world, 0, 1, |options| options.reflector_client = true);
        world.seconds(2);
        world.withdraw(1, &["10.1.0.0/24"]);
        world.seconds(2);
        assert_eq!((world.kernel(0), world.kernel(2)), (vec!["10.2.0.0/24 via 10.0.0.3".to_string()], Vec::new()));
    }
}

#[test]
fn a_cluster_does_not_take_back_what_it_reflected() {
    for (same, taken) in [(true, false), (false, true)] {
        let mut world = World::mesh(&[64512; 3], ImportPolicy::All);
        // 2 is a client of 0 alone; 1 hears of it from 0, which is its client too.
        world.hosts[2].config.peers.remove(&address(1));
        world.hosts[1].config.peers.remove(&address(2));
        for index in [0, 1] {
            world.hosts[index].config.cluster_id = same.then_some([9, 9, 9, 9].into());
            for peer in world.hosts[index].config.peers.values_mut() {
                peer.options.reflector_client = true;
            }
        }
        world.start();
        world.announce(2, &["10.2.0.0/24"]);
        world.seconds(5);
        assert_eq!(!world.kernel(1).is_empty(), taken, "one cluster: {same}");
        let refused = route(&world, 1, "10.2.0.0/24").expect("it was told").refused.map(|why| why.to_string());
        assert_eq!(refused.is_some_and(|why| why.contains("CLUSTER_LIST")), same);
    }
}

#[test]
fn a_neighbor_with_a_local_as_sees_that_one_alone() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.hosts[1].config.peers.get_mut(&address(0)).expect("it").as_number = Some(65100);
    world.start();
    world.announce(0, &["10.1.0.0/24"]);
    world.seconds(5);
    assert_eq!(world.kernel(1), NOTHING, "it waits for another AS");
    set(&mut world, 0, 1, |options| options.local_as = Some(65100));
    world.seconds(120);
    assert_eq!(world.kernel(1), ["10.1.0.0/24 via 10.0.0.1"]);
    assert_eq!(route(&world, 1, "10.1.0.0/24").map(|route| route.as_path).as_deref(), Some("65100"));
}

#[test]
fn roles_have_to_belong_together_and_routes_do_not_leak() {
    let with = |ours: Option<BgpRole>, strict, theirs: Option<BgpRole>| {
        let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
        let us = &mut world.hosts[0].config.peers.get_mut(&address(1)).expect("it").options;
        (us.role, us.role_strict) = (ours, strict);
        world.hosts[1].config.peers.get_mut(&address(0)).expect("it").options.role = theirs;
        world.start();
        world.seconds(5);
        world.status(0, 1)
    };
    for role in BgpRole::ALL {
        for other in BgpRole::ALL {
            let status = with(Some(role), false, Some(other));
            assert_eq!(status.state == State::Established, other == role.counterpart(), "{role} with {other}");
            if status.state != State::Established {
                let (_, why) = status.last_error.expect("a reason");
                assert!(why.contains("Role Mismatch (2/11)"), "{why}");
            }
        }
    }
    assert_eq!(with(Some(BgpRole::Peer), false, None).state, State::Established);
    assert_ne!(with(Some(BgpRole::Peer), true, None).state, State::Established, "strict");
    assert_eq!(with(None, false, Some(BgpRole::Peer)).state, State::Established);

    // Two providers, and us below both: what one told us we do not tell the other.
    let mut world = World::mesh(&[64513, 64512, 64514], ImportPolicy::All);
    world.hosts[0].config.peers.remove(&address(2));
    world.hosts[2].config.peers.remove(&address(0));
    for provider in [0, 2] {
        world.hosts[1].config.peers.get_mut(&address(provider)).expect("it").options.role = Some(BgpRole::Customer);
    }
    world.start();
    world.announce(0, &["10.1.0.0/24"]);
    world.announce(1, &["10.2.0.0/24"]);
    world.seconds(5);
    assert_eq!(world.kernel(1), ["10.1.0.0/24 via 10.0.0.1"]);
    assert_eq!(world.kernel(2), ["10.2.0.0/24 via 10.0.0.2"], "our own goes up, another provider's does not");
}

#[test]
fn more_prefixes_than_are_allowed_end_the_session_and_leave_none() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.start();
    let bound = MaxPrefixes { limit: 2, warning: 75, restart: Some(60) };
    set(&mut world, 0, 1, |options| options.max_prefixes = Some(bound));
    world.announce(1, &["10.1.0.0/24", "10.2.0.0/24", "fd01::/64", "fd02::/64"]);
    world.seconds(5);
    assert_eq!(world.kernel(0).len(), 4, "two of each family");
    assert_eq!(world.status(0, 1).received_most, 2);

    world.announce(1, &["10.3.0.0/24"]);
    world.settle();
    assert_eq!(world.kernel(0), NOTHING, "graceful restart keeps nothing of it");
    let (_, why) = world.status(0, 1).last_error.expect("a reason");
    assert!(why.contains("Maximum Number of Prefixes Reached (6/1): AFI 1 SAFI 1, at most 2"), "{why}");
    world.withdraw(1, &["10.3.0.0/24"]);
    world.seconds(55);
    assert_eq!(world.status(0, 1).state, State::Idle, "it rests");
    world.seconds(70);
    assert_eq!((world.status(0, 1).state, world.kernel(0).len()), (State::Established, 4));

    let before = world.status(0, 1).sessions;
    set(&mut world, 0, 1, |options| options.max_prefixes = Some(MaxPrefixes { limit: 1, restart: None, ..bound }));
    world.settle();
    assert_eq!(world.kernel(0), NOTHING, "a bound that is set later counts too");
    world.seconds(3600);
    assert_eq!((world.status(0, 1).state, world.status(0, 1).sessions), (State::Idle, before), "nor is it tried again");
    world.handle(0, Input::Drain { notice: Duration::ZERO });
    world.seconds(30);
    world.handle(0, Input::Undrain);
    world.seconds(3600);
    assert_eq!(world.status(0, 1).sessions, before, "nor by a drain that is over");
    set(&mut world, 0, 1, |options| options.max_prefixes = Some(bound));
    world.seconds(70);
    assert_eq!(world.kernel(0).len(), 4, "another bound begins it anew");

    set(&mut world, 0, 1, |options| options.max_prefixes = Some(MaxPrefixes { limit: 1, restart: None, ..bound }));
    world.seconds(70);
    set(&mut world, 0, 1, |options| options.max_prefixes = Some(MaxPrefixes { limit: 1, restart: None, ..bound }));
    let before = world.status(0, 1).sessions;
    world.handle(0, Input::Reset(address(1)));
    world.seconds(70);
    assert_eq!(world.status(0, 1).sessions, before + 1, "a reset tries it once more, with the same end");
    assert_eq!(world.status(0, 1).state, State::Idle);
}

#[test]
fn a_rest_goes_on_where_the_neighbour_is_to_be_called_from_now_on() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    let passive = |world: &mut World, passive: bool| {
        world.hosts[0].config.peers.get_mut(&address(1)).expect("a neighbour").passive = passive;
        let config = Box::new(world.hosts[0].config.clone());
        world.handle(0, Input::Configure(config));
    };
    world.start();
    world.seconds(5);
    passive(&mut world, true);
    set(&mut world, 0, 1, |options| {
        options.max_prefixes = Some(MaxPrefixes { limit: 1, warning: 75, restart: Some(60) });
    });
    world.announce(1, &["10.1.0.0/24", "10.2.0.0/24"]);
    world.settle();
    world.withdraw(1, &["10.2.0.0/24"]);
    assert_eq!(world.status(0, 1).state, State::Idle);
    passive(&mut world, false);
    let deadline = world.speaker(0).next_deadline().expect("the end of the rest");
    assert!(deadline > world.now, "nothing is due for a minute");
    world.seconds(130);
    assert_eq!((world.status(0, 1).state, world.kernel(0).len()), (State::Established, 1));
}

/// What is read at one time with the UPDATE that ends the session is not learned.
#[test]
fn nothing_behind_one_prefix_too_many_is_learned() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.start();
    world.seconds(5);
    let bound = MaxPrefixes { limit: 2, warning: 75, restart: None };
    set(&mut world, 0, 1, |options| options.max_prefixes = Some(bound));
    world.announce(1, &["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", "fd01::/64"]);
    world.settle();
    assert_eq!((world.status(0, 1).state, world.status(0, 1).received), (State::Idle, 0));
    assert_eq!(world.kernel(0), NOTHING, "the IPv6 prefix came in an UPDATE of its own");

    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.start();
    world.seconds(5);
    set(&mut world, 0, 1, |options| options.max_prefixes = Some(bound));
    world.announce(1, &["10.1.0.0/24", "10.2.0.0/24"]);
    world.settle();
    assert_eq!((world.status(0, 1).state, world.kernel(0).len()), (State::Established, 2), "as many as it may");
    world.announce(1, &["10.3.0.0/24"]);
    world.settle();
    assert_eq!((world.status(0, 1).received, world.status(0, 1).retained), (0, false));
    assert_eq!(world.kernel(0), NOTHING);
}

/// A bound that is set while the neighbour is away counts what is kept of it.
#[test]
fn a_bound_counts_what_is_kept_over_a_restart() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.start();
    world.announce(1, &["10.1.0.0/24", "10.2.0.0/24"]);
    world.seconds(5);
    world.kill(1);
    world.settle();
    assert_eq!(world.kernel(0).len(), 2);
    set(&mut world, 0, 1, |o| o.max_prefixes = Some(MaxPrefixes { limit: 1, warning: 75, restart: None }));
    world.settle();
    assert_eq!(world.kernel(0), NOTHING);
    assert!(!world.status(0, 1).retained);
}

/// RFC 8538: an error of the session keeps the routes, what is meant for good does not.
#[test]
fn a_notification_between_two_that_agreed_is_a_graceful_restart_unless_it_is_hard() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(5);
    assert!(world.status(0, 1).capabilities.iter().any(|word| word == "graceful-notification"));
    world.handle(1, Input::Reset(address(0)));
    world.settle();
    assert_eq!(world.kernel(0).len(), 1, "reset, and kept");
    assert_eq!(world.hosts[0].lost, []);
    world.seconds(10);
    assert_eq!((world.status(0, 1).state, world.status(0, 1).retained), (State::Established, false));

    world.handle(1, Input::Drain { notice: Duration::ZERO });
    world.seconds(1);
    assert_eq!(world.kernel(0), NOTHING);
    let (_, why) = world.status(0, 1).last_error.expect("a reason");
    assert!(why.contains("Hard Reset (6/9): Cease: Administrative Shutdown (6/2)"), "{why}");
}

#[test]
fn a_neighbor_without_notification_support_hears_plain_words() {
    let mut world = World::mesh(&[64512], ImportPolicy::All);
    let peer = crate::world::neighbor(8, 65009, ImportPolicy::All);
    world.hosts[0].config.peers.insert(address(8), PeerConfig { passive: true, ..peer });
    world.start();
    world.puppet_connects(0, address(8));
    let restart = routenet_core::bgp::wire::GracefulRestart {
        restarted: false,
        notification: false,
        restart_time: 120,
        families: vec![(AfiSafi::IPV4_UNICAST, true)],
    };
    world.puppet_establishes(&crate::world::puppet_open(65009, Some(restart)));
    assert!(world.puppet_heard().iter().any(|message| matches!(message, Message::Open(_))));
    world.handle(0, Input::Drain { notice: Duration::ZERO });
    world.seconds(1);
    let said = world.puppet_notified().expect("last words");
    assert_eq!((said.code, said.subcode), (Notification::CEASE, cease::ADMINISTRATIVE_SHUTDOWN));
}

#[test]
fn who_connects_from_a_range_is_a_neighbour_as_long_as_there_is_room() {
    let mut world = World::mesh(&[64512, 64513, 64513, 64513], ImportPolicy::All);
    let template = crate::world::neighbor(9, 64513, ImportPolicy::All);
    let range = ListenRange { prefix: cidr("10.0.0.0/28"), limit: 2, template };
    world.hosts[0].config.peers.clear();
    world.hosts[0].config.ranges = vec![range.clone()];
    for (index, host) in world.hosts.iter_mut().enumerate().skip(1) {
        host.config.peers.retain(|peer, _| *peer == address(0) || index == 0);
    }
    world.start();
    world.announce(0, &["10.1.0.0/24"]);
    world.announce(1, &["10.2.0.0/24"]);
    world.seconds(10);
    let has = |world: &World| (1..4).map(|index| !world.kernel(index).is_empty()).collect::<Vec<_>>();
    assert_eq!(has(&world), [true, true, false], "two, and there is room for two");
    assert_eq!(world.kernel(0), ["10.2.0.0/24 via 10.0.0.2"]);
    let status = world.status(0, 1);
    assert_eq!((status.config.name.as_str(), status.config.passive), ("10.0.0.2", true));

    world.handle(2, Input::Drain { notice: Duration::ZERO });
    world.seconds(30);
    assert_eq!(has(&world), [true, false, true], "who is gone makes room");
    let known = |world: &World| world.speaker(0).status(world.now).len();
    assert_eq!(known(&world), 2);

    world.handle(1, Input::Drain { notice: Duration::ZERO });
    world.seconds(30);
    assert_eq!(known(&world), 2, "remembered for a while");
    world.seconds(40);
    assert_eq!((known(&world), world.kernel(0)), (1, vec![]));

    // The range takes another AS: its neighbour is held to it. Without the range it goes.
    world.hosts[0].config.ranges[0].template.as_number = Some(64999);
    let config = Box::new(world.hosts[0].config.clone());
    world.handle(0, Input::Configure(config));
    world.seconds(20);
    assert_ne!(world.status(0, 3).state, State::Established);
    world.hosts[0].config.ranges[0] = range;
    let config = Box::new(world.hosts[0].config.clone());
    world.handle(0, Input::Configure(config));
    world.seconds(120);
    assert_eq!(world.status(0, 3).state, State::Established);
    world.hosts[0].config.ranges.clear();
    let config = Box::new(world.hosts[0].config.clone());
    world.handle(0, Input::Configure(config));
    world.seconds(20);
    assert_eq!(known(&world), 0);
}

#[test]
fn who_connects_from_elsewhere_or_with_another_as_is_none() {
    let mut world = World::mesh(&[64512, 64513, 64514], ImportPolicy::All);
    let template = crate::world::neighbor(9, 64513, ImportPolicy::All);
    world.hosts[0].config.peers.clear();
    world.hosts[0].config.ranges =
        vec![ListenRange { prefix: cidr("10.0.0.2/32"), limit: 9, template: template.clone() }];
    world.start();
    world.seconds(10);
    assert_eq!(world.status(0, 1).state, State::Established);
    assert_eq!(world.speaker(0).status(world.now).len(), 1, "10.0.0.3 is outside");
    world.hosts[0].config.ranges.push(ListenRange { prefix: cidr("10.0.0.0/24"), limit: 9, template });
    let config = Box::new(world.hosts[0].config.clone());
    world.handle(0, Input::Configure(config));
    world.seconds(30);
    assert_eq!(world.status(0, 1).sessions, 1, "a wider range changes nothing for it");
    let other = world.status(0, 2);
    assert!(other.state != State::Established && other.last_error.is_some_and(|(_, why)| why.contains("Bad Peer AS")));
}

/// A neighbour that knows enhanced route refresh, as the test plays it.
fn refreshing() -> World {
    let mut world = World::mesh(&[64512], ImportPolicy::All);
    let peer = crate::world::neighbor(8, 65009, ImportPolicy::All);
    world.hosts[0].config.peers.insert(address(8), PeerConfig { passive: true, ..peer });
    world.start();
    world.announce(0, &["10.1.0.0/24", "10.2.0.0/24", "fd01::/64"]);
    world.puppet_connects(0, address(8));
    let mut open = crate::world::puppet_open(65009, None);
    open.capabilities.push(wire::Capability::EnhancedRouteRefresh);
    world.puppet_establishes(&open);
    world.puppet_heard();
    world
}

#[test]
fn what_is_told_again_has_its_beginning_and_its_end() {
    let mut world = refreshing();
    let ask = |subtype| wire::encode_route_refresh(AfiSafi::IPV4_UNICAST, subtype);
    world.puppet_says(&ask(wire::refresh_subtype::REQUEST));
    let heard: Vec<String> = world
        .puppet_heard()
        .into_iter()
        .map(|message| match message {
            Message::RouteRefresh { family, subtype } => format!("{} {subtype}", family.afi),
            Message::Update(update) => update.reachable.iter().map(|(nlri, _)| nlri.prefix.to_string()).collect(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(heard, ["1 1", "10.1.0.0/2410.2.0.0/24", "1 2"]);
    // Of a family that was not agreed on there is nothing to tell.
    world.puppet_says(&wire::encode_route_refresh(AfiSafi { afi: 1, safi: 128 }, wire::refresh_subtype::REQUEST));
    assert_eq!(world.puppet_heard(), []);
}

#[test]
fn what_is_not_told_again_goes_at_the_end_of_the_refresh() {
    let mut world = refreshing();
    let update = |prefixes: &[&str]| {
        let mut attributes = routenet_core::bgp::rib::path::own_attributes();
        attributes.as_path = vec![wire::AsSegment::Sequence(vec![65009])];
        let next_hop = wire::NextHop { address: address(8), link_local: None };
        let mut bytes = Vec::new();
        let prefixes: Vec<_> = prefixes.iter().map(|prefix| cidr(prefix)).collect();
        wire::encode_reach(&attributes, &next_hop, &prefixes, &crate::world::puppet_context(), &mut bytes)
            .expect("it fits");
        bytes
    };
    let mark = |subtype| wire::encode_route_refresh(AfiSafi::IPV4_UNICAST, subtype);
    let [begin, end] = [wire::refresh_subtype::BEGIN, wire::refresh_subtype::END];
    world.puppet_says(&update(&["10.3.0.0/24", "10.4.0.0/24"]));
    world.puppet_says(&mark(end));
    assert_eq!(world.kernel(0).len(), 2, "an end without a beginning is nothing");
    world.puppet_says(&mark(begin));
    world.puppet_says(&update(&["10.4.0.0/24"]));
    assert_eq!(world.kernel(0).len(), 2, "not before the end");
    world.puppet_says(&mark(end));
    assert_eq!(world.kernel(0), ["10.4.0.0/24 via 10.0.0.9"]);
    assert_eq!(world.hosts[0].lost, [cidr("10.3.0.0/24")]);

    world.puppet_says(&mark(begin));
    for _ in 0..14 {
        world.seconds(25);
        world.puppet_says(&wire::encode_keepalive());
    }
    assert_eq!(world.kernel(0).len(), 1);
    world.seconds(20);
    assert_eq!(world.kernel(0), NOTHING, "an end that never comes is not waited for for ever");
    assert_eq!(world.status(0, 8).state, State::Established);
}

#[test]
fn an_external_neighbour_is_of_any_as_but_ours() {
    let external = |as_numbers: [u32; 2], local_as: Option<u32>| {
        let mut world = World::mesh(&as_numbers, ImportPolicy::All);
        let them = world.hosts[0].config.peers.get_mut(&address(1)).expect("it");
        (them.as_number, them.options.local_as) = (None, local_as);
        let us = world.hosts[1].config.peers.get_mut(&address(0)).expect("it");
        us.as_number = local_as.or(us.as_number);
        world.start();
        world.announce(1, &["10.2.0.0/24"]);
        world.seconds(10);
        world
    };
    let mut world = external([64512, 64513], None);
    let status = world.status(0, 1);
    assert_eq!((status.state, status.as_number), (State::Established, Some(64513)));
    assert_eq!(world.kernel(0).len(), 1, "its AS is the first of the path, as it has to be");
    assert_eq!(route(&world, 0, "10.2.0.0/24").expect("it was told").as_path, "64513");
    // It is another AS from now on.
    set(&mut world, 1, 0, |options| options.local_as = Some(65100));
    world.seconds(120);
    assert_eq!((world.status(0, 1).as_number, world.kernel(0).len()), (Some(65100), 1));
    assert_eq!(route(&world, 0, "10.2.0.0/24").expect("it was told").as_path, "65100");

    for local_as in [None, Some(65100)] {
        let world = external([64512, 64512], local_as);
        let status = world.status(0, 1);
        assert_ne!(status.state, State::Established);
        assert_eq!((status.as_number, world.kernel(0).len()), (None, 0));
        let (_, why) = status.last_error.expect("a reason");
        let said = why.contains("Bad Peer AS") && why.contains("its AS is 64512, as ours, and it is to be external");
        assert!(said, "{why}");
    }
}

#[test]
fn a_range_of_external_neighbours_learns_the_as_of_each() {
    let mut world = World::mesh(&[64512, 64513, 64514, 64512], ImportPolicy::All);
    let hosts = &mut world.hosts;
    let template = PeerConfig { as_number: None, ..hosts[0].config.peers[&address(1)].clone() };
    hosts[0].config.peers.clear();
    hosts[0].config.ranges = vec![ListenRange { prefix: cidr("10.0.0.0/28"), limit: 9, template }];
    for host in hosts.iter_mut().skip(1) {
        host.config.peers.retain(|peer, _| *peer == address(0));
    }
    world.start();
    world.seconds(30);
    let found = |peer| world.speaker(0).status(world.now).into_iter().find(|status| status.address == address(peer));
    for (peer, as_number) in [(1, Some(64513)), (2, Some(64514)), (3, None)] {
        let status = found(peer).expect("it has connected");
        assert_eq!(status.as_number, as_number);
        assert_eq!(status.state == State::Established, as_number.is_some());
    }
}
