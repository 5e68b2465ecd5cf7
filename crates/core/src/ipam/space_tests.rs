use proptest::prelude::*;

use super::*;
use crate::model::NodeName;

const COOLDOWN: Duration = Duration::from_secs(30);

fn pool() -> PoolName {
    PoolName::new("p").unwrap()
}

fn block(cidr: &str) -> Block {
    Block { cidr: cidr.parse().unwrap(), pool: pool(), owner: NodeName::new("h1").unwrap(), epoch: 1 }
}

fn space(cidrs: &[&str]) -> Space {
    let mut space = Space::default();
    cidrs.iter().for_each(|cidr| space.add_block(block(cidr)));
    space
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Time {
    Time::from_secs(seconds)
}

fn pick(space: &mut Space, now: Time) -> Pick {
    space.pick(&pool(), Family::V4, now, COOLDOWN)
}

#[test]
fn all_addresses_of_a_block_are_given_out_once() {
    let mut space = space(&["10.0.0.0/30"]);
    for expected in ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"] {
        assert_eq!(pick(&mut space, at(0)), Pick::Address(ip(expected)));
        assert!(space.hold(ip(expected)));
        assert!(!space.hold(ip(expected)), "held twice");
    }
    assert_eq!(pick(&mut space, at(0)), Pick::Full);
}

#[test]
fn a_released_address_rests_until_acknowledged_and_cooled_down() {
    let mut space = space(&["10.0.0.0/31"]);
    space.hold(ip("10.0.0.0"));
    space.hold(ip("10.0.0.1"));
    space.rest(ip("10.0.0.0"), at(100));
    assert_eq!(pick(&mut space, at(1_000_000)), Pick::Cooling { resting: 1, ready: None }, "never acknowledged");
    space.acknowledge(ip("10.0.0.0"), at(200));
    assert_eq!(pick(&mut space, at(229)), Pick::Cooling { resting: 1, ready: Some(at(230)) });
    space.acknowledge(ip("10.0.0.0"), at(220));
    assert_eq!(pick(&mut space, at(230)), Pick::Address(ip("10.0.0.0")), "only the first acknowledgement counts");
    assert!(space.hold(ip("10.0.0.0")));
    assert_eq!(pick(&mut space, at(300)), Pick::Full);
}

#[test]
fn fresh_addresses_come_before_the_longest_idle_ones() {
    let mut space = space(&["10.0.0.0/31", "10.0.1.0/31"]);
    for address in ["10.0.0.0", "10.0.0.1", "10.0.1.0"] {
        space.hold(ip(address));
    }
    for (address, time) in [("10.0.0.1", 10), ("10.0.1.0", 5), ("10.0.0.0", 20)] {
        space.rest(ip(address), at(time));
        space.acknowledge(ip(address), at(time));
    }
    for expected in ["10.0.1.1", "10.0.1.0", "10.0.0.1", "10.0.0.0"] {
        assert_eq!(pick(&mut space, at(100)), Pick::Address(ip(expected)));
        space.hold(ip(expected));
    }
}

#[test]
fn nothing_is_given_out_of_a_closed_block_or_another_pool() {
    let mut space = space(&["10.0.0.0/31"]);
    space.set_closed(&block("10.0.0.0/31").cidr, true);
    assert_eq!(pick(&mut space, at(0)), Pick::Full);
    assert_eq!(space.pick_exactly(ip("10.0.0.0"), at(0), COOLDOWN), Pick::Full);
    space.set_closed(&block("10.0.0.0/31").cidr, false);
    assert_eq!(pick(&mut space, at(0)), Pick::Address(ip("10.0.0.0")));
    let other = PoolName::new("q").unwrap();
    assert_eq!(space.pick(&other, Family::V4, at(0), COOLDOWN), Pick::Full);
    assert_eq!(space.pick(&pool(), Family::V6, at(0), COOLDOWN), Pick::Full);
}

#[test]
fn one_address_can_be_asked_for() {
    let mut space = space(&["10.0.0.0/30"]);
    assert_eq!(space.pick_exactly(ip("10.0.0.2"), at(0), COOLDOWN), Pick::Address(ip("10.0.0.2")));
    space.hold(ip("10.0.0.2"));
    assert_eq!(space.pick_exactly(ip("10.0.0.2"), at(0), COOLDOWN), Pick::Full);
    space.rest(ip("10.0.0.2"), at(1));
    assert_eq!(space.pick_exactly(ip("10.0.0.2"), at(99), COOLDOWN), Pick::Cooling { resting: 1, ready: None });
    assert_eq!(space.pick_exactly(ip("10.0.9.9"), at(0), COOLDOWN), Pick::Full);
}

#[test]
fn what_is_reserved_is_given_out_only_by_name() {
    let mut space = space(&["10.0.0.0/30"]);
    space.set_reserved(vec!["10.0.0.0/31".parse().unwrap(), "10.0.0.3/32".parse().unwrap()]);
    assert_eq!(pick(&mut space, at(0)), Pick::Address(ip("10.0.0.2")));
    space.hold(ip("10.0.0.2"));
    assert_eq!(pick(&mut space, at(0)), Pick::Full);
    assert_eq!(space.pick_exactly(ip("10.0.0.1"), at(0), COOLDOWN), Pick::Address(ip("10.0.0.1")));
    space.hold(ip("10.0.0.1"));
    space.rest(ip("10.0.0.1"), at(1));
    space.acknowledge(ip("10.0.0.1"), at(1));
    assert_eq!(pick(&mut space, at(100)), Pick::Full, "also when it was used and has rested");
    space.set_reserved(Vec::new());
    assert_eq!(pick(&mut space, at(100)), Pick::Address(ip("10.0.0.0")), "until the reservation ends");
}

#[test]
fn an_undone_hold_leaves_the_address_as_it_was() {
    let mut space = space(&["10.0.0.0/31"]);
    let before = space.clone();
    let state = space.state(ip("10.0.0.0")).unwrap();
    space.hold(ip("10.0.0.0"));
    space.unhold(ip("10.0.0.0"), state);
    assert_eq!(space, before);
    space.rest(ip("10.0.0.0"), at(5));
    space.acknowledge(ip("10.0.0.0"), at(7));
    let before = space.clone();
    let state = space.state(ip("10.0.0.0")).unwrap();
    space.hold(ip("10.0.0.0"));
    space.unhold(ip("10.0.0.0"), state);
    assert_eq!(space, before);
}

#[test]
fn a_block_is_empty_only_when_all_of_it_has_rested() {
    let mut space = space(&["10.0.0.0/30", "10.0.1.0/30"]);
    space.hold(ip("10.0.0.0"));
    assert_eq!(space.empty_blocks(at(0), COOLDOWN), [block("10.0.1.0/30")]);
    space.rest(ip("10.0.0.0"), at(10));
    assert_eq!(space.empty_blocks(at(1000), COOLDOWN), [block("10.0.1.0/30")], "not acknowledged");
    space.acknowledge(ip("10.0.0.0"), at(20));
    assert_eq!(space.empty_blocks(at(49), COOLDOWN).len(), 1);
    assert_eq!(space.empty_blocks(at(50), COOLDOWN).len(), 2);
}

#[test]
fn a_vast_block_is_no_burden() {
    let mut space = space(&["fd00::/64"]);
    space.hold(ip("fd00::"));
    assert_eq!(space.pick(&pool(), Family::V6, at(0), COOLDOWN), Pick::Address(ip("fd00::1")));
    assert_eq!(space.fill(at(0), COOLDOWN)[0].size, 1 << 64);
}

#[test]
fn what_has_rested_is_told_as_free() {
    let mut space = space(&["10.0.0.0/31"]);
    space.hold(ip("10.0.0.0"));
    let told = |space: &Space, now| {
        let fill = &space.fill(at(now), COOLDOWN)[0];
        (fill.held, fill.resting, space.state_at(ip("10.0.0.0"), at(now), COOLDOWN) == Some(AddressState::Fresh))
    };
    assert_eq!(told(&space, 0), (1, 0, false));
    space.rest(ip("10.0.0.0"), at(10));
    assert_eq!(told(&space, 1_000_000), (0, 1, false), "the store has not forgotten it");
    space.acknowledge(ip("10.0.0.0"), at(20));
    assert_eq!(told(&space, 49), (0, 1, false));
    assert_eq!(told(&space, 50), (0, 0, true));
}

#[derive(Clone, Debug)]
enum Step {
    Take,
    Release(usize),
    Acknowledge(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Take),
        3 => (0usize..16).prop_map(Step::Release),
        3 => (0usize..16).prop_map(Step::Acknowledge),
        2 => (1u64..40).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    /// No address is held twice, and none comes back before its acknowledgement and cooldown.
    #[test]
    fn an_address_is_never_given_to_two_and_never_too_soon(steps in steps()) {
        let mut space = space(&["10.0.0.0/29", "10.0.1.0/30"]);
        let mut now = at(1000);
        let mut held: Vec<IpAddr> = Vec::new();
        let mut resting: Vec<(IpAddr, Option<Time>)> = Vec::new();
        for step in steps {
            match step {
                Step::Take => match pick(&mut space, now) {
                    Pick::Address(address) => {
                        prop_assert!(!held.contains(&address));
                        if let Some(at) = resting.iter().position(|(rests, _)| *rests == address) {
                            let (_, acknowledged) = resting.remove(at);
                            prop_assert!(acknowledged.is_some_and(|since| now >= since + COOLDOWN));
                        }
                        prop_assert!(space.hold(address));
                        held.push(address);
                    }
                    Pick::Cooling { resting: count, .. } => {
                        prop_assert_eq!(held.len() + resting.len(), 12);
                        prop_assert_eq!(count, resting.len());
                        let ready = |(_, since): &(IpAddr, Option<Time>)| since.is_some_and(|it| now >= it + COOLDOWN);
                        prop_assert!(!resting.iter().any(ready));
                    }
                    Pick::Full => prop_assert_eq!(held.len(), 12),
                },
                Step::Release(which) if !held.is_empty() => {
                    let address = held.remove(which % held.len());
                    space.rest(address, now);
                    resting.push((address, None));
                }
                Step::Acknowledge(which) if !resting.is_empty() => {
                    let which = which % resting.len();
                    let (address, since) = &mut resting[which];
                    space.acknowledge(*address, now);
                    since.get_or_insert(now);
                }
                Step::Wait(seconds) => now = now + Duration::from_secs(seconds),
                Step::Release(_) | Step::Acknowledge(_) => {}
            }
        }
    }
}
