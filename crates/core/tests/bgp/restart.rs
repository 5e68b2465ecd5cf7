//! Graceful restart (RFC 4724): as the one who restarts, and as the one who helps.

use std::time::Duration;

use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{self, AfiSafi, GracefulRestart, Message};
use routenet_core::model::ImportPolicy;

use crate::world::{World, address, cidr, neighbor, puppet_open};

const NOTHING: [&str; 0] = [];

/// Two speakers; the second announces two prefixes.
fn pair() -> World {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.start();
    world.announce(1, &["10.1.0.0/24", "10.2.0.0/24"]);
    world.seconds(10);
    assert_eq!(world.kernel(0).len(), 2);
    world
}

#[test]
fn a_killed_neighbor_keeps_its_routes_until_it_is_back() {
    let mut world = pair();
    world.kill(1);
    world.settle();
    assert_eq!(world.kernel(0).len(), 2, "kept");
    assert!(world.status(0, 1).retained);
    assert!(world.speaker(0).routes().iter().all(|route| route.stale));

    world.seconds(60);
    world.boot(1, true);
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(5);
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.2"], "what it did not tell again is gone with End-of-RIB");
    assert!(!world.status(0, 1).retained);
    assert!(world.speaker(0).routes().iter().all(|route| !route.stale));
}

#[test]
fn a_neighbor_that_does_not_come_back_loses_them_when_its_time_is_up() {
    let mut world = pair();
    world.kill(1);
    world.seconds(119);
    assert_eq!(world.kernel(0).len(), 2);
    world.seconds(2);
    assert_eq!(world.kernel(0), NOTHING);
}

#[test]
fn a_neighbor_that_kept_nothing_loses_them_at_once() {
    let mut world = pair();
    world.kill(1);
    world.boot(1, false);
    world.hosts[0].reports.clear();
    // Not a word of End-of-RIB: it has not been told what to announce.
    world.seconds(5);
    assert_eq!(world.status(0, 1).state, State::Established);
    assert_eq!(world.kernel(0), NOTHING, "without the F bit there is nothing to keep");
}

#[test]
fn a_break_of_tcp_alone_loses_nothing_and_leaves_nothing_stale() {
    let mut world = pair();
    world.announce(0, &["10.9.0.0/24"]);
    world.settle();
    world.break_tcp(0, 1);
    world.withdraw(1, &["10.2.0.0/24"]);
    world.settle();
    assert_eq!((world.kernel(0).len(), world.kernel(1).len()), (2, 1), "both help");
    assert!(world.speaker(0).routes().iter().all(|route| route.from.is_none() || route.stale));
    world.seconds(20);
    assert_eq!((world.status(0, 1).state, world.status(0, 1).sessions), (State::Established, 2));
    assert_eq!(world.hosts[0].lost, [cidr("10.2.0.0/24")], "at End-of-RIB; the other was there all the time");
    assert_eq!(world.hosts[1].lost, []);
    for (index, other) in [(0, 1), (1, 0)] {
        assert!(!world.status(index, other).retained);
        assert!(world.speaker(index).routes().iter().all(|route| !route.stale));
    }
}

#[test]
fn leaving_quietly_keeps_them_and_draining_takes_them() {
    let mut world = pair();
    world.handle(1, Input::Leave);
    world.settle();
    assert_eq!(world.kernel(0).len(), 2);

    let mut world = pair();
    world.handle(1, Input::Drain { notice: Duration::ZERO });
    world.settle();
    assert_eq!(world.kernel(0), NOTHING);
    let (_, why) = world.status(0, 1).last_error.expect("an error");
    assert_eq!(
        why,
        "received Cease: Hard Reset (6/9): Cease: Administrative Shutdown (6/2): \"the node is being drained\""
    );
    world.seconds(100);
    assert_eq!(world.status(1, 0).state, State::Idle, "and it stays down");
    world.handle(1, Input::Undrain);
    world.seconds(100);
    assert_eq!(world.kernel(0).len(), 2, "until it is told otherwise");
}

#[test]
fn without_graceful_restart_a_kill_takes_them() {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    world.hosts[0].config.restart_time = 0;
    world.start();
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(10);
    assert!(!world.status(0, 1).capabilities.contains(&"graceful-restart".to_string()));
    world.kill(1);
    world.settle();
    assert_eq!(world.kernel(0), NOTHING);
}

/// RFC 4724 4.2, and RFC 8538 4.1 where both said the N bit.
#[test]
fn what_was_stale_is_kept_a_second_time_only_where_notifications_are_survived() {
    for survives in [false, true] {
        let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
        world.hosts.iter_mut().for_each(|host| host.config.restart_on_notification = survives);
        world.start();
        world.announce(1, &["10.1.0.0/24", "10.2.0.0/24"]);
        world.seconds(10);
        let again = |world: &mut World| {
            world.kill(1);
            world.boot(1, true);
            world.settle();
            world.seconds(2);
            assert_eq!(world.status(0, 1).state, State::Established);
        };
        again(&mut world);
        assert_eq!(world.kernel(0).len(), 2, "it has not told yet");
        world.kill(1);
        world.settle();
        assert_eq!(world.kernel(0).len(), if survives { 2 } else { 0 }, "{survives}");
        // Not for ever, whatever it does.
        for _ in 0..10 {
            world.boot(1, true);
            again(&mut world);
            world.seconds(60);
        }
        world.kill(1);
        world.settle();
        assert_eq!(world.kernel(0), NOTHING);
    }
}

#[test]
fn the_one_who_restarts_says_so_and_waits_for_the_others_before_it_passes_routes_on() {
    // A row: the middle one restarts; the third hears of the first's routes only when the first has told all.
    let mut world = World::mesh(&[64512, 64513, 64514], ImportPolicy::All);
    world.hosts[0].config.peers.remove(&address(2));
    world.hosts[2].config.peers.remove(&address(0));
    world.start();
    world.announce(0, &["10.1.0.0/24"]);
    world.announce(1, &["10.2.0.0/24"]);
    world.seconds(10);
    assert_eq!(world.kernel(2), ["10.1.0.0/24 via 10.0.0.2", "10.2.0.0/24 via 10.0.0.2"]);
    world.cut(0, 1);
    world.kill(1);
    world.boot(1, true);
    world.announce(1, &["10.3.0.0/24"]);
    world.seconds(20);
    assert!(!world.hosts[1].converged, "one neighbour is not back yet");
    assert!(world.status(2, 1).retained);
    assert_eq!(
        world.kernel(2),
        ["10.1.0.0/24 via 10.0.0.2", "10.2.0.0/24 via 10.0.0.2", "10.3.0.0/24 via 10.0.0.2"],
        "nothing is lost meanwhile, and own news do not wait"
    );
    world.mend();
    world.seconds(60);
    assert!(world.hosts[1].converged);
    assert_eq!(world.kernel(2), ["10.1.0.0/24 via 10.0.0.2", "10.3.0.0/24 via 10.0.0.2"]);
    assert!(!world.status(2, 1).retained);
}

#[test]
fn a_neighbor_that_stays_away_is_not_waited_for_for_ever() {
    let mut world = pair();
    world.kill(0);
    world.kill(1);
    world.boot(1, true);
    world.handle(1, Input::Originate(vec![]));
    world.seconds(119);
    assert!(!world.hosts[1].converged);
    world.seconds(2);
    assert!(world.hosts[1].converged);
}

#[test]
fn two_that_restart_together_do_not_wait_for_each_other() {
    let mut world = pair();
    world.announce(0, &["10.9.0.0/24"]);
    world.settle();
    for index in 0..2 {
        world.kill(index);
    }
    for index in 0..2 {
        world.boot(index, true);
        world.handle(index, Input::Originate(vec![(cidr(&format!("10.{index}.0.0/24")), true)]));
    }
    world.seconds(10);
    for index in 0..2 {
        assert!(world.hosts[index].converged);
        let expected = format!("10.{}.0.0/24 via {}", 1 - index, address(1 - index));
        assert_eq!(world.kernel(index), [expected], "and only then what the kernel had from before is swept");
    }
}

fn restart(restarted: bool, kept: bool) -> GracefulRestart {
    GracefulRestart { restarted, notification: false, restart_time: 60, families: vec![(AfiSafi::IPV4_UNICAST, kept)] }
}

/// A speaker that waits for the test to play its neighbour.
fn alone(restarting: bool) -> World {
    let mut world = World::mesh(&[64512], ImportPolicy::All);
    let peer = PeerConfig { passive: true, ..neighbor(8, 65009, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(8), peer);
    world.boot(0, restarting);
    world
}

/// The restart capability of the OPEN that the puppet was greeted with.
fn offered(world: &mut World) -> GracefulRestart {
    let Some(Message::Open(open)) = world.puppet_heard().into_iter().next() else { panic!("no OPEN") };
    let said = open.capabilities.into_iter().find_map(|capability| match capability {
        wire::Capability::GracefulRestart(said) => Some(said),
        _ => None,
    });
    said.expect("the capability")
}

fn our_restart(restarted: bool, kept: bool) -> GracefulRestart {
    let families = vec![(AfiSafi::IPV4_UNICAST, kept), (AfiSafi::IPV6_UNICAST, kept)];
    GracefulRestart { restarted, notification: true, restart_time: 120, families }
}

#[test]
fn the_f_bit_says_that_there_was_forwarding_since_the_session_before() {
    let mut world = alone(false);
    world.handle(0, Input::Originate(vec![]));
    world.puppet_connects(0, address(8));
    assert_eq!(offered(&mut world), our_restart(false, false), "nothing can have been preserved");
    world.puppet_establishes(&puppet_open(65009, Some(restart(false, true))));
    world.puppet_breaks();
    world.puppet_connects(0, address(8));
    assert_eq!(offered(&mut world), our_restart(false, true), "this process has not restarted, and went on forwarding");

    let mut world = alone(true);
    world.seconds(200);
    world.puppet_connects(0, address(8));
    assert_eq!(offered(&mut world), our_restart(false, true), "the selection is long done, and the kernel kept all");
}

fn end_of_rib(family: AfiSafi) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode_end_of_rib(family, &mut bytes);
    bytes
}

#[test]
fn the_bits_of_the_open_and_the_order_of_end_of_rib() {
    let mut world = alone(true);
    world.puppet_connects(0, address(8));
    assert_eq!(offered(&mut world), our_restart(true, true));

    world.puppet_establishes(&puppet_open(65009, Some(restart(false, false))));
    world.announce(0, &["10.1.0.0/24"]);
    world.settle();
    let ends = |messages: Vec<Message>| {
        let end = |message: &Message| matches!(message, Message::Update(update) if update.end_of_rib.is_some());
        messages.iter().filter(|message| end(message)).count()
    };
    assert_eq!(ends(world.puppet_heard()), 0, "its table is still awaited");
    world.puppet_says(&end_of_rib(AfiSafi::IPV4_UNICAST));
    assert_eq!(ends(world.puppet_heard()), 2, "one a family, now");
}

#[test]
fn end_of_rib_waits_for_what_is_to_be_announced() {
    let mut world = alone(false);
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(65009, None));
    let updates = |messages: Vec<Message>| -> Vec<bool> {
        let updates = messages.into_iter().filter_map(|message| match message {
            Message::Update(update) => Some(update.end_of_rib.is_some()),
            _ => None,
        });
        updates.collect()
    };
    assert_eq!(updates(world.puppet_heard()), [] as [bool; 0]);
    world.announce(0, &["10.1.0.0/24"]);
    world.settle();
    assert_eq!(updates(world.puppet_heard()), [false, true, true], "the routes, then the end of both families");
}

#[test]
fn a_neighbor_with_graceful_restart_that_connects_anew_has_lost_the_old_connection() {
    let mut world = alone(false);
    world.handle(0, Input::Originate(vec![]));
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(65009, Some(restart(false, true))));
    world.seconds(20);
    world.puppet_connects(0, address(8));
    world.puppet_establishes(&puppet_open(65009, Some(restart(true, true))));
    let status = world.status(0, 8);
    assert_eq!((status.state, status.sessions, status.retained), (State::Established, 2, true));
    world.puppet_says(&end_of_rib(AfiSafi::IPV4_UNICAST));
    world.puppet_says(&end_of_rib(AfiSafi::IPV6_UNICAST));
    assert!(!world.status(0, 8).retained);
}
