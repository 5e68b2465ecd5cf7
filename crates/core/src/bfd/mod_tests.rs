//! Two engines over a link in memory that loses, delays, doubles and cuts, with a virtual clock.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::chance::Chance;
use super::engine::{Engine, Event, Input, Neighbor, Status, Wanted};
use super::packet::{LENGTH, State};
use super::session::Settings;
use crate::time::Time;

/// Long enough for two slow packets each way, and for the Poll sequences after them.
const SETTLED: u64 = 6000;
/// The longest that a packet of a sound link is on its way.
const DELAY: u64 = 5;

/// One direction.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    lost_permille: u64,
    doubled_permille: u64,
    /// A packet may overtake another; on a sound link none does, or an old Down would end a session that is Up.
    disordered: bool,
    cut: bool,
}

struct World {
    now: u64,
    engines: [Engine; 2],
    settings: [Settings; 2],
    /// What goes out of each side.
    links: [Link; 2],
    /// Arrival, to whom, bytes.
    under_way: Vec<(u64, usize, [u8; LENGTH])>,
    /// What each side was told, and when.
    heard: [Vec<(u64, Event)>; 2],
    sent: [u64; 2],
    chance: Chance,
}

fn settings(interval: u64, multiplier: u8) -> Settings {
    Settings { interval: Duration::from_millis(interval), multiplier }
}

fn at(side: usize) -> Neighbor {
    Neighbor { address: Ipv4Addr::new(192, 0, 2, 1 + side as u8).into(), interface: 0, multihop: false }
}

impl World {
    fn new(seed: u64, settings: [Settings; 2]) -> World {
        let mut chance = Chance::new(seed);
        let engines = [Engine::new(chance.draw()), Engine::new(chance.draw())];
        let mut world = World {
            now: 0,
            engines,
            settings,
            links: [Link::default(); 2],
            under_way: Vec::new(),
            heard: [Vec::new(), Vec::new()],
            sent: [0; 2],
            chance,
        };
        (0..2).for_each(|side| world.configure(side, settings[side]));
        world
    }

    fn configure(&mut self, side: usize, settings: Settings) {
        self.settings[side] = settings;
        let wanted = BTreeMap::from([(at(1 - side), Wanted { settings, least_ttl: 1 })]);
        self.engines[side].handle(Input::Configure(wanted), Time::from_millis(self.now));
    }

    fn restart(&mut self, side: usize) {
        self.engines[side] = Engine::new(self.chance.draw());
        self.configure(side, self.settings[side]);
    }

    fn pass(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += 1;
            self.step();
        }
    }

    fn step(&mut self) {
        let now = Time::from_millis(self.now);
        let (arrived, under_way) = std::mem::take(&mut self.under_way).into_iter().partition(|it| it.0 <= self.now);
        self.under_way = under_way;
        for (_, side, bytes) in arrived {
            let input = Input::Received { from: at(1 - side), ttl: 255, bytes: &bytes };
            self.engines[side].handle(input, now);
        }
        for side in 0..2 {
            if self.engines[side].next_deadline().is_some_and(|at| at <= now) {
                self.engines[side].handle(Input::Timeout, now);
            }
            while let Some(event) = self.engines[side].poll_event() {
                self.heard[side].push((self.now, event));
            }
            for (to, bytes) in self.engines[side].poll_transmit(now) {
                assert_eq!(to, at(1 - side));
                self.sent[side] += 1;
                self.post(side, bytes);
            }
            assert!(self.engines[side].next_deadline().is_none_or(|at| at > now), "all that was due is done");
        }
    }

    fn post(&mut self, side: usize, bytes: [u8; LENGTH]) {
        let link = self.links[side];
        let mut draw = |permille: u64| self.chance.draw() % 1000 < permille;
        let (lost, doubled) = (draw(link.lost_permille), draw(link.doubled_permille));
        if link.cut || lost {
            return;
        }
        for _ in 0..=u64::from(doubled) {
            let mut arrival = self.now + 1 + self.chance.draw() % DELAY;
            if !link.disordered {
                let ahead = self.under_way.iter().filter(|(_, to, _)| *to == 1 - side).map(|(at, ..)| *at);
                arrival = ahead.max().unwrap_or(0).max(arrival);
            }
            self.under_way.push((arrival, 1 - side, bytes));
        }
    }

    fn status(&self, side: usize) -> Status {
        self.engines[side].status(Time::from_millis(self.now))[&at(1 - side)].clone()
    }

    fn states(&self) -> [State; 2] {
        [self.status(0).state, self.status(1).state]
    }

    fn failures(&self, side: usize) -> usize {
        self.heard[side].iter().filter(|(_, event)| matches!(event, Event::Failed { .. })).count()
    }
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Lossy { side: usize, lost_permille: u64, doubled_permille: u64 },
    Cut { side: usize },
    Mend { side: usize },
    Settings { side: usize, settings: Settings },
    Restart { side: usize },
}

fn any_settings() -> impl Strategy<Value = Settings> {
    (20u64..1500, 2u8..6).prop_map(|(interval, multiplier)| settings(interval, multiplier))
}

fn any_trouble() -> impl Strategy<Value = Trouble> {
    let side = 0usize..2;
    prop_oneof![
        (side.clone(), 0u64..600, 0u64..300).prop_map(|(side, lost_permille, doubled_permille)| Trouble::Lossy {
            side,
            lost_permille,
            doubled_permille
        }),
        side.clone().prop_map(|side| Trouble::Cut { side }),
        side.clone().prop_map(|side| Trouble::Mend { side }),
        (side.clone(), any_settings()).prop_map(|(side, settings)| Trouble::Settings { side, settings }),
        side.prop_map(|side| Trouble::Restart { side }),
    ]
}

/// Whatever came before: on a sound link both sides are Up, with the timers that both agree on.
fn settles(world: &mut World) -> Result<(), TestCaseError> {
    world.links = [Link::default(); 2];
    world.pass(DELAY);
    let slowest = world.settings.iter().map(|it| it.interval * it.multiplier.into()).max().unwrap_or_default();
    world.pass(SETTLED + slowest.as_millis() as u64);
    prop_assert_eq!(world.states(), [State::Up; 2]);
    let interval = world.settings[0].interval.max(world.settings[1].interval);
    for side in 0..2 {
        prop_assert_eq!(world.status(side).transmit_interval, interval);
        let detection = interval * world.settings[1 - side].multiplier.into();
        prop_assert_eq!(world.status(side).detection_time, Some(detection));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn after_any_trouble_a_sound_link_comes_up_and_a_cut_one_goes_down_in_time(
        seed: u64,
        first in any_settings(),
        second in any_settings(),
        troubles in prop::collection::vec((any_trouble(), 1u64..3000), 0..10),
        cut in 0usize..2,
    ) {
        let mut world = World::new(seed, [first, second]);
        for (trouble, millis) in troubles {
            match trouble {
                Trouble::Lossy { side, lost_permille, doubled_permille } => {
                    world.links[side] = Link { lost_permille, doubled_permille, disordered: true, cut: false };
                }
                Trouble::Cut { side } => world.links[side].cut = true,
                Trouble::Mend { side } => world.links[side] = Link::default(),
                Trouble::Settings { side, settings } => world.configure(side, settings),
                Trouble::Restart { side } => world.restart(side),
            }
            world.pass(millis);
        }
        settles(&mut world)?;

        // One direction is cut: who no longer hears anything fails within the detection time, and says so to the other.
        let before = [world.failures(0), world.failures(1)];
        let deaf = 1 - cut;
        let detection = world.status(deaf).detection_time.expect("one").as_millis() as u64;
        world.links[cut].cut = true;
        world.pass(detection / 2);
        prop_assert_eq!(world.states(), [State::Up; 2], "patient");
        world.pass(detection - detection / 2 + 2 * DELAY);
        prop_assert_ne!(world.status(deaf).state, State::Up);
        prop_assert_ne!(world.status(cut).state, State::Up);
        for (side, before) in before.into_iter().enumerate() {
            prop_assert_eq!(world.failures(side), before + 1, "told once");
        }
        settles(&mut world)?;

        // The administrator's end is none of that.
        let before = world.failures(1);
        world.engines[0].handle(Input::Leave, Time::from_millis(world.now));
        world.pass(5000);
        prop_assert!(world.engines[0].is_over());
        prop_assert_eq!(world.failures(1), before);
        prop_assert_eq!(world.heard[1].last().map(|(_, event)| *event), Some(Event::AdminDown(at(0))));
    }

    /// New timers while it is Up, on both sides at any moment: nobody is ever taken for gone.
    #[test]
    fn changes_of_timers_cost_no_session(
        seed: u64,
        first in any_settings(),
        second in any_settings(),
        changes in prop::collection::vec((0usize..2, any_settings(), 0u64..1500), 1..12),
    ) {
        let mut world = World::new(seed, [first, second]);
        settles(&mut world)?;
        for (side, settings, millis) in changes {
            world.configure(side, settings);
            world.pass(millis);
        }
        settles(&mut world)?;
        prop_assert_eq!([world.failures(0), world.failures(1)], [0, 0]);
        prop_assert_eq!([world.status(0).ups, world.status(1).ups], [1, 1]);
    }

    /// Bytes from anybody neither break it nor bring a session up.
    #[test]
    fn garbage_is_nothing(seed: u64, bytes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..40)) {
        let mut world = World::new(seed, [settings(100, 3); 2]);
        world.links[1].cut = true;
        for bytes in &bytes {
            world.pass(7);
            let input = Input::Received { from: at(1), ttl: 254, bytes };
            world.engines[0].handle(input, Time::from_millis(world.now));
        }
        prop_assert_eq!(world.status(0).state, State::Down);
        prop_assert_eq!(world.status(0).discarded, bytes.len() as u64);
    }
}

/// The negative of the first: a link that loses less than the multiplier in a row, and is only slow, is no failure.
#[test]
fn a_steady_session_sends_at_the_agreed_pace_and_lasts() {
    let mut world = World::new(3, [settings(100, 3); 2]);
    world.pass(SETTLED);
    let before = world.sent;
    world.pass(60_000);
    for (side, before) in before.into_iter().enumerate() {
        let sent = world.sent[side] - before;
        assert!((600..=800).contains(&sent), "{sent} packets in a minute");
        assert_eq!(world.failures(side), 0);
    }
    assert_eq!(world.states(), [State::Up; 2]);
}

#[test]
fn no_two_runs_with_one_seed_differ() {
    let run = || {
        let mut world = World::new(11, [settings(70, 3), settings(130, 2)]);
        world.links[0].lost_permille = 300;
        world.pass(20_000);
        (world.heard, world.sent)
    };
    assert_eq!(run(), run());
}
