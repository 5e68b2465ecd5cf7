//! Long-lived graceful restart (RFC 9494), by its sections: as the one who is away, as the one who helps, and as one who is
//! told of it.

use std::time::Duration;

use routenet_core::bgp::filter::{GRACEFUL_SHUTDOWN, LLGR_STALE, NO_LLGR};
use routenet_core::bgp::rib::path::own_attributes;
use routenet_core::bgp::speaker::detail::{Standing, Step};
use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{
    self, AfiSafi, AsSegment, Attributes, Capability, GracefulRestart, LongLived, Message, NextHop, Notification, cease,
};
use routenet_core::model::ImportPolicy;
use routenet_core::model::peering::MaxPrefixes;

use crate::world::{World, address, cidr, neighbor, puppet_context, puppet_open};

const NOTHING: [&str; 0] = [];
const V4: AfiSafi = AfiSafi::IPV4_UNICAST;
const V6: AfiSafi = AfiSafi::IPV6_UNICAST;

/// Speakers with a restart time of 120 s, and these long-lived stale times; the second announces two prefixes.
fn world(long_lived: &[u32]) -> World {
    let numbers: Vec<u32> = (0..long_lived.len()).map(|index| 64512 + index as u32).collect();
    let mut world = World::mesh(&numbers, ImportPolicy::All);
    for (host, seconds) in world.hosts.iter_mut().zip(long_lived) {
        host.config.long_lived_time = *seconds;
    }
    world.start();
    world.announce(1, &["10.1.0.0/24", "10.2.0.0/24"]);
    world.seconds(10);
    world
}

/// A row of three instead of a mesh: what the last has comes by way of the first.
fn row(long_lived: [u32; 3]) -> World {
    let mut world = World::mesh(&[64512, 64513, 64514], ImportPolicy::All);
    world.hosts[1].config.peers.remove(&address(2));
    world.hosts[2].config.peers.remove(&address(1));
    for (host, seconds) in world.hosts.iter_mut().zip(long_lived) {
        host.config.long_lived_time = seconds;
    }
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(10);
    assert_eq!(world.kernel(2), ["10.1.0.0/24 via 10.0.0.1"]);
    world
}

fn communities(world: &World, index: usize, prefix: &str) -> Vec<String> {
    world.speaker(index).route(&cidr(prefix)).first().map(|it| it.route.communities.clone()).unwrap_or_default()
}

#[test]
fn routes_outlive_the_restart_time_by_the_long_lived_stale_time_and_no_longer() {
    let mut world = world(&[3600, 3600]);
    assert!(world.status(0, 1).capabilities.contains(&"long-lived-graceful-restart".to_string()));
    world.kill(1);
    world.seconds(119);
    let stale = world.status(0, 1).stale.expect("stale");
    assert_eq!((stale.since, stale.left, stale.long_lived), (Duration::from_secs(119), Duration::from_secs(1), false));
    assert_eq!(communities(&world, 0, "10.1.0.0/24"), NOTHING, "in the restart time nothing is different (4.2)");

    world.seconds(2);
    assert_eq!(world.kernel(0).len(), 2, "kept");
    assert_eq!(communities(&world, 0, "10.1.0.0/24"), ["65535:6"]);
    let stale = world.status(0, 1).stale.expect("stale");
    assert_eq!(
        (stale.since, stale.left, stale.long_lived),
        (Duration::from_secs(121), Duration::from_secs(3599), true)
    );

    world.seconds(3598);
    assert_eq!(world.kernel(0).len(), 2);
    world.seconds(2);
    assert_eq!(world.kernel(0), NOTHING);
    assert_eq!(world.status(0, 1).stale, None);
    assert_eq!(world.speaker(0).next_deadline().map(|at| at > world.now), Some(true));
}

#[test]
fn the_shorter_time_holds_and_who_has_it_off_keeps_nothing_beyond() {
    for (ours, theirs, kept) in [(100, 3600, 100), (3600, 100, 100), (0, 3600, 0), (3600, 0, 0)] {
        let mut world = world(&[ours, theirs]);
        let both = ours > 0 && theirs > 0;
        let said = world.status(0, 1).capabilities.contains(&"long-lived-graceful-restart".to_string());
        assert_eq!(said, both, "{ours} and {theirs}");
        world.kill(1);
        world.seconds(119 + kept);
        assert_eq!(world.kernel(0).len(), 2, "{ours} and {theirs}");
        world.seconds(2);
        assert_eq!(world.kernel(0), NOTHING, "{ours} and {theirs}");
    }
}

#[test]
fn a_bound_of_the_neighbour_alone_goes_before_the_nodes() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    for (index, host) in world.hosts.iter_mut().enumerate() {
        host.config.long_lived_time = 3600;
        let peer = host.config.peers.get_mut(&address(1 - index)).expect("a neighbour");
        peer.options.long_lived_time = (index == 0).then_some(60);
    }
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(10);
    world.kill(1);
    world.seconds(179);
    assert_eq!(world.kernel(0).len(), 1);
    world.seconds(2);
    assert_eq!(world.kernel(0), NOTHING);
}

/// 4.3: stale routes are the last choice, whatever else speaks for them.
#[test]
fn a_stale_route_loses_to_any_other_and_wins_where_there_is_none() {
    let mut world = world(&[3600, 3600, 3600]);
    // Two hops instead of one, so it lost as long as the other was fresh.
    world.hosts[2].config.peers.remove(&address(1));
    world.handle(2, Input::Configure(Box::new(world.hosts[2].config.clone())));
    world.announce(2, &["10.1.0.0/24"]);
    world.seconds(10);
    let via = |world: &World| world.kernel(0)[0].clone();
    assert_eq!(via(&world), "10.1.0.0/24 via 10.0.0.2 10.0.0.3", "as good as the other");
    world.kill(1);
    world.seconds(100);
    assert_eq!(via(&world), "10.1.0.0/24 via 10.0.0.2 10.0.0.3", "nothing changes while it may be a restart");
    world.seconds(21);
    assert_eq!(via(&world), "10.1.0.0/24 via 10.0.0.3");
    let routes = world.speaker(0).route(&cidr("10.1.0.0/24"));
    let standings: Vec<&Standing> = routes.iter().map(|route| &route.standing).collect();
    let over = Standing::Best { over: Some(Step::LongLivedStale) };
    assert_eq!(standings, [&over, &Standing::Lost(Step::LongLivedStale)]);
    assert!(routes[1].route.stale && !routes[0].route.stale);
    assert_eq!(world.kernel(0)[1], "10.2.0.0/24 via 10.0.0.2", "nobody else has it");

    world.withdraw(2, &["10.1.0.0/24"]);
    world.settle();
    assert_eq!(via(&world), "10.1.0.0/24 via 10.0.0.2", "better than none");
}

#[test]
fn a_neighbour_that_comes_back_late_sweeps_with_its_end_of_rib() {
    let mut world = world(&[3600, 3600]);
    world.kill(1);
    world.seconds(600);
    world.boot(1, true);
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(10);
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.2"]);
    assert_eq!(world.hosts[0].lost, [cidr("10.2.0.0/24")], "the other was there all the time");
    assert_eq!(communities(&world, 0, "10.1.0.0/24"), NOTHING, "told again, it is as any other");
    assert_eq!(world.status(0, 1).stale, None);
    assert_eq!(world.kernel(1), NOTHING);
}

#[test]
fn a_neighbour_that_comes_back_without_its_forwarding_state_loses_all_at_once() {
    let mut world = world(&[3600, 3600]);
    world.kill(1);
    world.seconds(600);
    world.boot(1, false);
    world.seconds(10);
    assert_eq!(world.status(0, 1).state, State::Established);
    assert_eq!(world.kernel(0), NOTHING, "without a word of End-of-RIB");
    assert_eq!(world.status(0, 1).stale, None);
}

/// 4.2 and 4.3: told on as what it is, to those who know what that means, and withdrawn from the others.
#[test]
fn others_are_told_if_they_speak_it_and_lose_it_if_not() {
    let mut world = row([3600, 3600, 3600]);
    world.kill(1);
    world.seconds(121);
    assert_eq!(world.kernel(2), ["10.1.0.0/24 via 10.0.0.1"]);
    assert_eq!(world.hosts[2].lost, []);
    assert_eq!(communities(&world, 2, "10.1.0.0/24"), ["65535:6"]);
    world.boot(1, true);
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(10);
    assert_eq!(communities(&world, 2, "10.1.0.0/24"), NOTHING, "it is fresh again");
    assert_eq!(world.hosts[2].lost, []);

    let mut world = row([3600, 3600, 0]);
    world.kill(1);
    world.seconds(119);
    assert_eq!(world.kernel(2).len(), 1);
    world.seconds(2);
    assert_eq!((world.kernel(0).len(), world.kernel(2)), (1, vec![]));
    world.boot(1, true);
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(10);
    assert_eq!(world.kernel(2).len(), 1);
}

/// 4.2: "in the case of consecutive restarts, the previously marked stale routes MUST NOT be deleted before the timer expires",
/// and the timer is not wound up again before the neighbour has told all.
#[test]
fn a_timer_that_runs_goes_on_over_a_second_restart() {
    let mut world = world(&[1000, 1000]);
    world.kill(1);
    world.seconds(600);
    world.boot(1, true);
    world.advance(Duration::from_secs(8));
    assert_eq!(world.status(0, 1).state, State::Established);
    assert_eq!(world.kernel(0).len(), 2, "it has told nothing yet");
    world.kill(1);
    world.settle();
    assert_eq!(world.kernel(0).len(), 2, "kept a second time");
    // 120 s, then 1000 s: since the first time it went away.
    world.seconds(1120 - 608 - 1);
    assert_eq!(world.kernel(0).len(), 2);
    world.seconds(2);
    assert_eq!(world.kernel(0), NOTHING);
    assert_eq!(world.status(0, 1).stale, None);
}

/// What stays over and over again stays within the bound on what the neighbour may send.
#[test]
fn consecutive_restarts_keep_no_more_than_the_neighbour_may_send() {
    let mut world = world(&[3600, 3600]);
    let peer = world.hosts[0].config.peers.get_mut(&address(1)).expect("a neighbour");
    peer.options.max_prefixes = Some(MaxPrefixes { limit: 3, warning: 75, restart: None });
    let config = Box::new(world.hosts[0].config.clone());
    world.handle(0, Input::Configure(config));
    for round in 0..6u8 {
        world.kill(1);
        world.seconds(200);
        world.boot(1, true);
        // Its End-of-RIB never comes: it waits for a neighbour that is not there.
        world.hosts[1].config.peers.insert(address(7), neighbor(7, 64599, ImportPolicy::All));
        let prefixes: Vec<String> = (0..2).map(|n| format!("10.{}.{n}.0/24", 100 + round)).collect();
        world.announce(1, &prefixes.iter().map(String::as_str).collect::<Vec<_>>());
        world.seconds(20);
        let status = world.status(0, 1);
        assert_eq!(status.state, State::Established, "round {round}: {status:?}");
        assert!(status.received <= 5, "round {round}: {}", status.received);
    }
}

/// Its stale routes are not what it sends: only those of the present session count, each prefix once.
#[test]
fn a_bound_does_not_count_what_is_stale_against_a_neighbour_that_returns() {
    for long_lived in [0, 3600] {
        let mut world = world(&[long_lived, long_lived]);
        let peer = world.hosts[0].config.peers.get_mut(&address(1)).expect("a neighbour");
        peer.options.max_prefixes = Some(MaxPrefixes { limit: 3, warning: 75, restart: None });
        let config = Box::new(world.hosts[0].config.clone());
        world.handle(0, Input::Configure(config));
        world.kill(1);
        world.boot(1, true);
        // One again, and two new ones; with the other stale one there are four for a while.
        world.announce(1, &["10.1.0.0/24", "10.3.0.0/24", "10.4.0.0/24"]);
        world.seconds(20);
        let status = world.status(0, 1);
        assert_eq!((status.state, status.sessions, status.received), (State::Established, 2, 3));
        world.announce(1, &["10.5.0.0/24"]);
        world.settle();
        let (_, why) = world.status(0, 1).last_error.expect("a reason");
        assert!(why.contains("Maximum Number of Prefixes Reached"), "{why}");
        assert_eq!(world.kernel(0), NOTHING);
    }
}

/// A restart time of zero: the long-lived kind alone.
#[test]
fn without_a_restart_time_the_long_lived_time_begins_at_once() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    for host in &mut world.hosts {
        (host.config.restart_time, host.config.long_lived_time) = (0, 300);
    }
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(10);
    world.kill(1);
    world.settle();
    assert_eq!(communities(&world, 0, "10.1.0.0/24"), ["65535:6"]);
    assert_eq!(world.kernel(0).len(), 1);
    world.seconds(200);
    world.boot(1, true);
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(20);
    assert_eq!((world.kernel(0).len(), world.status(0, 1).stale), (1, None));
    assert_eq!(world.hosts[0].lost, []);
    world.kill(1);
    world.seconds(299);
    assert_eq!(world.kernel(0).len(), 1);
    world.seconds(2);
    assert_eq!(world.kernel(0), NOTHING);
}

#[test]
fn a_cease_and_a_reset_end_it() {
    let mut long_lived = world(&[3600, 3600]);
    long_lived.handle(1, Input::Drain { notice: Duration::ZERO });
    long_lived.settle();
    assert_eq!(long_lived.kernel(0), NOTHING);

    let mut long_lived = world(&[3600, 3600]);
    long_lived.kill(1);
    long_lived.seconds(600);
    assert_eq!(long_lived.kernel(0).len(), 2);
    long_lived.handle(0, Input::Reset(address(1)));
    long_lived.settle();
    assert_eq!(long_lived.kernel(0), NOTHING, "the administrator's way to end it");
    assert_eq!(long_lived.status(0, 1).stale, None);
}

fn attributes(communities: &[u32]) -> Attributes {
    let as_path = vec![AsSegment::Sequence(vec![65009])];
    Attributes { as_path, communities: communities.iter().copied().collect(), ..own_attributes() }
}

fn says(prefix: &str, communities: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let next_hop = NextHop { address: address(8), link_local: None };
    wire::encode_reach(&attributes(communities), &next_hop, &[cidr(prefix)], &puppet_context(), &mut bytes)
        .expect("it fits");
    bytes
}

/// A speaker of ours with a neighbour that the test plays, and that says these capabilities.
fn played(long_lived: u32, capabilities: Vec<Capability>) -> World {
    let mut world = World::mesh(&[64512], ImportPolicy::All);
    world.hosts[0].config.long_lived_time = long_lived;
    let peer = PeerConfig { passive: true, ..neighbor(8, 65009, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(8), peer);
    world.start();
    world.puppet_connects(0, address(8));
    let mut open = puppet_open(65009, None);
    open.capabilities.extend(capabilities);
    world.puppet_establishes(&open);
    world
}

fn restart(seconds: u16, families: &[AfiSafi]) -> Capability {
    let families = families.iter().map(|family| (*family, true)).collect();
    Capability::GracefulRestart(GracefulRestart {
        restarted: false,
        notification: false,
        restart_time: seconds,
        families,
    })
}

fn long_lived(families: &[(AfiSafi, u32)]) -> Capability {
    let of_family =
        |(family, seconds): &(AfiSafi, u32)| LongLived { family: *family, forwarding: true, seconds: *seconds };
    Capability::LongLivedGracefulRestart(families.iter().map(of_family).collect())
}

/// 3.1: what we offer, and with which bits.
#[test]
fn the_capability_is_offered_where_it_is_on_for_every_family_and_together_with_the_other() {
    let offered = |world: &mut World| -> Vec<Capability> {
        let heard = world.puppet_heard();
        let opens = heard.into_iter().filter_map(|message| match message {
            Message::Open(open) => Some(open.capabilities),
            _ => None,
        });
        let kinds =
            |one: &Capability| matches!(one, Capability::GracefulRestart(_) | Capability::LongLivedGracefulRestart(_));
        opens.flatten().filter(kinds).collect()
    };
    let mut world = played(0, vec![]);
    assert_eq!(offered(&mut world).len(), 1, "off");
    let mut world = played(0x0102_0304, vec![restart(60, &[V4]), long_lived(&[(V4, 60)])]);
    let [Capability::GracefulRestart(_), Capability::LongLivedGracefulRestart(said)] = &offered(&mut world)[..] else {
        panic!("two capabilities")
    };
    let of_family = |family| LongLived { family, forwarding: false, seconds: 0x00ff_ffff };
    assert_eq!(said, &[of_family(V4), of_family(V6)], "24 bits, and nothing preserved in a first session");
    world.puppet_breaks();
    world.puppet_connects(0, address(8));
    let said = offered(&mut world);
    let Capability::LongLivedGracefulRestart(said) = &said[1] else { panic!("the capability") };
    assert!(said.iter().all(|one| one.forwarding), "this process went on forwarding");
}

/// 4.1 and 4.5: without the other capability it is as if it were not there.
#[test]
fn the_capability_alone_is_nothing() {
    let mut world = played(3600, vec![long_lived(&[(V4, 3600)])]);
    world.puppet_says(&says("10.1.0.0/24", &[]));
    assert_eq!(world.kernel(0).len(), 1);
    world.puppet_breaks();
    assert_eq!(world.kernel(0), NOTHING);
}

/// RFC 4724 section 3 and RFC 9494 3.1: of several only the last counts.
#[test]
fn of_several_capabilities_the_last_counts() {
    let first = [restart(4000, &[V4]), long_lived(&[(V4, 3600)])];
    let last = [restart(60, &[V4]), long_lived(&[(V4, 30)])];
    let mut world = played(3600, [first, last].concat());
    world.puppet_says(&says("10.1.0.0/24", &[]));
    world.puppet_breaks();
    world.seconds(89);
    assert_eq!(world.kernel(0).len(), 1);
    world.seconds(2);
    assert_eq!(world.kernel(0), NOTHING);
}

/// 4.2: a family that one of the two capabilities does not list has none of that one's time.
#[test]
fn each_family_has_its_own_times() {
    let capabilities = vec![restart(60, &[V4]), long_lived(&[(V6, 300)])];
    let mut world = played(3600, capabilities);
    world.puppet_says(&says("10.1.0.0/24", &[]));
    let mut bytes = Vec::new();
    let next_hop = NextHop { address: "fd00::9".parse().expect("an address"), link_local: None };
    wire::encode_reach(&attributes(&[]), &next_hop, &[cidr("fd01::/64")], &puppet_context(), &mut bytes)
        .expect("it fits");
    world.puppet_says(&bytes);
    assert_eq!(world.kernel(0).len(), 2);
    world.puppet_breaks();
    assert_eq!(world.kernel(0).len(), 2);
    assert_eq!(communities(&world, 0, "10.1.0.0/24"), NOTHING);
    assert_eq!(communities(&world, 0, "fd01::/64"), ["65535:6"], "no restart time: at once");
    world.seconds(61);
    assert_eq!(world.kernel(0), ["fd01::/64 via fd00::9"], "no long-lived stale time: gone");
    world.seconds(240);
    assert_eq!(world.kernel(0), NOTHING);
}

/// 4.2: what is not to be kept so long is not, whether the neighbour or our own policy says so.
#[test]
fn what_forbids_it_goes_when_the_restart_time_is_over() {
    let mut world = played(3600, vec![restart(60, &[V4]), long_lived(&[(V4, 3600)])]);
    world.puppet_says(&says("10.1.0.0/24", &[NO_LLGR]));
    world.puppet_says(&says("10.2.0.0/24", &[]));
    world.puppet_breaks();
    world.seconds(59);
    assert_eq!(world.kernel(0).len(), 2);
    world.seconds(2);
    assert_eq!(world.kernel(0), ["10.2.0.0/24 via 10.0.0.9"]);
}

/// 4.3: what comes with the community is the last choice too, and is not told to who does not know it.
#[test]
fn what_is_received_as_stale_is_the_last_choice() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    let peer = PeerConfig { passive: true, ..neighbor(8, 65009, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(8), peer);
    world.hosts[0].config.long_lived_time = 3600;
    world.start();
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(65009, None));
    world.puppet_says(&says("10.1.0.0/24", &[LLGR_STALE]));
    world.puppet_says(&says("10.2.0.0/24", &[]));
    world.seconds(10);
    assert_eq!(world.kernel(0).len(), 2);
    assert_eq!(world.kernel(1), ["10.2.0.0/24 via 10.0.0.1"], "it does not speak it");
    world.announce(1, &["10.1.0.0/24"]);
    world.settle();
    assert_eq!(world.kernel(0)[0], "10.1.0.0/24 via 10.0.0.2");
    assert!(!communities(&world, 0, "10.1.0.0/24").contains(&format!("{}:0", GRACEFUL_SHUTDOWN >> 16)));
}

/// A change of policy while they are stale makes nothing fresh.
#[test]
fn a_review_leaves_stale_routes_stale() {
    let mut world = world(&[3600, 3600]);
    world.kill(1);
    world.seconds(200);
    for import in [ImportPolicy::None, ImportPolicy::All] {
        let peer = world.hosts[0].config.peers.get_mut(&address(1)).expect("a neighbour");
        peer.import = import;
        let config = Box::new(world.hosts[0].config.clone());
        world.handle(0, Input::Configure(config));
        world.settle();
        assert_eq!(world.kernel(0).len(), if import == ImportPolicy::All { 2 } else { 0 });
        assert_eq!(communities(&world, 0, "10.1.0.0/24"), ["65535:6"]);
    }
}

/// Who is there goes before what is kept of who is not: the one that has been gone longest makes room, with a word. What is
/// kept for a restart time only is kept.
#[test]
fn long_lived_ghosts_of_a_full_range_make_room_the_longest_gone_first() {
    let mut world = World::mesh(&[64512, 64513, 64513, 64513], ImportPolicy::All);
    let template = neighbor(9, 64513, ImportPolicy::All);
    world.hosts[0].config.ranges = vec![ListenRange { prefix: cidr("10.0.0.0/28"), limit: 2, template }];
    world.hosts[0].config.peers.clear();
    for host in &mut world.hosts {
        host.config.peers.retain(|peer, _| *peer == address(0));
        host.config.long_lived_time = 36_000;
    }
    world.cut(3, 0);
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.announce(2, &["10.2.0.0/24"]);
    world.seconds(10);
    assert_eq!(world.kernel(0).len(), 2);
    world.kill(2);
    world.seconds(30);
    world.kill(1);
    world.mend();
    world.seconds(80);
    assert_eq!(world.kernel(0).len(), 2, "within the restart time nobody has to go");
    assert_ne!(world.status(3, 0).state, State::Established);
    world.seconds(90);
    assert_eq!(world.status(3, 0).state, State::Established);
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.2"], "the one that went first is forgotten");
    let told: Vec<String> = world.hosts[0].reports.iter().filter_map(|(_, _, why)| why.clone()).collect();
    let words = "forgotten with its 1 long-lived stale routes: the range 10.0.0.0/28 is full, and 10.0.0.4 is there";
    assert_eq!(told.iter().filter(|why| why.as_str() == words).count(), 1, "{told:?}");
    // It comes back, and the other ghost goes; two that live are enough.
    world.boot(2, true);
    world.seconds(60);
    assert_eq!(world.status(2, 0).state, State::Established);
    world.boot(1, true);
    world.seconds(60);
    assert_ne!(world.status(1, 0).state, State::Established, "the living do not make room");
}

/// Anybody can connect: a ghost is forgotten for a session, and not for a connection. No more than the limit have one.
#[test]
fn a_connection_that_says_nothing_takes_no_ghost_away() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    let template = neighbor(9, 64513, ImportPolicy::All);
    world.hosts[0].config.ranges = vec![ListenRange { prefix: cidr("10.0.0.0/28"), limit: 1, template }];
    world.hosts[0].config.peers.clear();
    for host in &mut world.hosts {
        host.config.long_lived_time = 36_000;
    }
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(10);
    world.kill(1);
    world.seconds(200);
    let route = ["10.1.0.0/24 via 10.0.0.2"];
    assert_eq!(world.kernel(0), route);
    world.puppet_connects(0, address(8));
    assert_eq!(world.kernel(0), route, "nobody has a session in its place");
    let now = world.now;
    let speaker = world.hosts[0].speaker.as_mut().expect("it runs");
    assert!(speaker.accept(address(9), address(0), now).is_none(), "the place is taken");

    // The ghost comes back while it waits.
    world.boot(1, true);
    world.handle(1, Input::Originate(vec![(cidr("10.1.0.0/24"), true)]));
    world.seconds(20);
    assert_eq!((world.status(1, 0).state, world.kernel(0)), (State::Established, vec![route[0].to_string()]));
    world.puppet_establishes(&puppet_open(64513, None));
    let said = world.puppet_notified().expect("a NOTIFICATION");
    assert_eq!((said.code, said.subcode), (Notification::CEASE, cease::CONNECTION_REJECTED));
    assert_eq!(world.status(1, 0).state, State::Established);

    // And goes for good: a session takes its place.
    world.kill(1);
    world.seconds(200);
    assert_eq!(world.kernel(0), route);
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(64513, None));
    assert_eq!((world.status(0, 8).state, world.kernel(0)), (State::Established, vec![]));
}
