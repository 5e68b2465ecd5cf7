//! States and timers of one session, against a neighbour that the tests write by hand.

use super::super::test_support::packet;
use super::*;

const INTERVAL: Duration = Duration::from_millis(100);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What the neighbour says: Up-side timers of 100 ms, multiplier 3.
fn theirs(state: State) -> Packet {
    let your_discriminator = if state > State::Down { 7 } else { 0 };
    Packet { my_discriminator: 99, your_discriminator, ..packet(state) }
}

/// A session of ours and a clock.
struct Ours {
    session: Session,
    now: Time,
}

impl Ours {
    fn new(multiplier: u8) -> Ours {
        let settings = Settings { interval: INTERVAL, multiplier };
        Ours { session: Session::new(settings, 7, 1, Time::ZERO), now: Time::ZERO }
    }

    /// Up, its Poll answered.
    fn up() -> Ours {
        let mut ours = Ours::new(3);
        ours.hear(theirs(State::Init));
        assert_eq!(ours.session.state(), State::Up);
        ours.hear(Packet { final_: true, ..theirs(State::Up) });
        ours.sent();
        assert!(!ours.session.polling);
        ours
    }

    fn hear(&mut self, packet: Packet) -> Option<Change> {
        self.session.received(packet, self.now)
    }

    /// All that is due now.
    fn sent(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.session.poll_transmit(self.now)).collect()
    }

    /// Lets the time pass until then; what it sent meanwhile, with the time of each. `keep`: what the neighbour says again
    /// and again, every 90 ms.
    fn pass(&mut self, time: Duration, keep: Option<Packet>) -> Vec<(Time, Packet)> {
        let (end, mut said) = (self.now + time, self.now);
        let mut all = Vec::new();
        while self.now < end {
            self.now = self.now + ms(1);
            if let Some(packet) = keep.filter(|_| self.now.since(said) >= ms(90)) {
                said = self.now;
                self.hear(packet);
            }
            self.session.timeout(self.now);
            let now = self.now;
            all.extend(self.sent().into_iter().map(|packet| (now, packet)));
        }
        all
    }
}

fn gaps(sent: &[(Time, Packet)]) -> Vec<Duration> {
    sent.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect()
}

/// RFC 5880 6.2: what each state becomes by what is heard, and why.
#[test]
fn the_state_machine_is_the_one_of_6_2() {
    use State::{AdminDown, Down, Init, Up};
    let table = [
        (Down, AdminDown, Down, 0),
        (Down, Down, Init, 0),
        (Down, Init, Up, 0),
        (Down, Up, Down, 0),
        (Init, AdminDown, Down, 3),
        (Init, Down, Init, 0),
        (Init, Init, Up, 0),
        (Init, Up, Up, 0),
        (Up, AdminDown, Down, 3),
        (Up, Down, Down, 3),
        (Up, Init, Up, 0),
        (Up, Up, Up, 0),
        (AdminDown, Down, AdminDown, 7),
        (AdminDown, Up, AdminDown, 7),
    ];
    for (from, heard, to, diagnostic) in table {
        let mut ours = Ours::new(3);
        match from {
            Init => _ = ours.hear(theirs(Down)),
            Up => _ = ours.hear(theirs(Init)),
            AdminDown => ours.session.shut(ours.now),
            Down => {}
        }
        assert_eq!(ours.session.state(), from);
        let change = ours.hear(theirs(heard));
        assert_eq!((ours.session.state(), ours.session.diagnostic().0), (to, diagnostic), "{from} hears {heard}");
        assert_eq!(change.is_some(), from != to, "{from} hears {heard}");
        let admin = change.is_some_and(|change| change.remote_admin_down);
        assert_eq!(admin, change.is_some() && heard == AdminDown);
    }
}

/// RFC 5880 6.8.4: the neighbour's multiplier and interval, or our own where that is longer.
#[test]
fn silence_is_a_failure_after_the_detection_time_and_not_before() {
    for (theirs_every, multiplier, detection) in [(100, 3, 300), (50, 3, 300), (200, 4, 800)] {
        let mut ours = Ours::up();
        let packet = Packet { desired_min_tx: ms(theirs_every), multiplier, ..theirs(State::Up) };
        ours.hear(packet);
        assert_eq!(ours.session.detection_time(), Some(ms(detection)));
        ours.pass(ms(detection - 1), None);
        assert_eq!(ours.session.state(), State::Up);
        let sent = ours.pass(ms(1), None);
        assert_eq!((ours.session.state(), ours.session.diagnostic()), (State::Down, Diagnostic(1)));
        let (_, last) = sent.last().expect("it says so at once");
        assert_eq!((last.state, last.diagnostic, last.your_discriminator), (State::Down, Diagnostic(1), 0));
        assert_eq!(last.desired_min_tx, SLOW, "and slow again");
        assert!(!last.poll, "there is nobody to ask");
    }
}

/// RFC 5880 6.8.3: a second, but for jitter, until it is Up; then what was agreed on.
#[test]
fn it_is_slow_until_it_is_up() {
    let mut ours = Ours::new(3);
    ours.sent();
    let sent = ours.pass(Duration::from_secs(20), None);
    for gap in gaps(&sent) {
        assert!(gap >= ms(749) && gap <= ms(1001), "{gap:?}");
    }
    assert!(sent.iter().all(|(_, packet)| packet.desired_min_tx == SLOW && packet.state == State::Down));

    ours.hear(theirs(State::Down));
    ours.hear(theirs(State::Init));
    let sent = ours.pass(Duration::from_secs(5), Some(theirs(State::Up)));
    for gap in gaps(&sent) {
        assert!(gap >= ms(74) && gap <= ms(101), "{gap:?}");
    }
    assert!(sent.len() > 48);
    // The neighbour takes less than we would send.
    ours.hear(Packet { required_min_rx: ms(400), ..theirs(State::Up) });
    ours.pass(ms(400), Some(Packet { required_min_rx: ms(400), ..theirs(State::Up) }));
    let sent = ours.pass(Duration::from_secs(4), Some(Packet { required_min_rx: ms(400), ..theirs(State::Up) }));
    for gap in gaps(&sent) {
        assert!(gap >= ms(299) && gap <= ms(401), "{gap:?}");
    }
}

/// RFC 5880 6.8.7.
#[test]
fn a_multiplier_of_one_leaves_room_for_the_packet_to_travel() {
    let mut ours = Ours::new(1);
    ours.hear(theirs(State::Init));
    ours.pass(ms(200), Some(theirs(State::Up)));
    for gap in gaps(&ours.pass(Duration::from_secs(10), Some(theirs(State::Up)))) {
        assert!(gap >= ms(74) && gap <= ms(91), "{gap:?}");
    }
}

/// RFC 5880 6.5: the news of coming Up, and of new timers, are asked after until they are answered.
#[test]
fn new_timers_are_polled_until_the_final_comes() {
    let mut ours = Ours::new(3);
    ours.hear(theirs(State::Init));
    let sent = ours.pass(ms(500), Some(theirs(State::Up)));
    assert!(sent.len() >= 5 && sent.iter().all(|(_, packet)| packet.poll && !packet.final_), "{sent:?}");
    ours.hear(Packet { final_: true, ..theirs(State::Up) });
    let sent = ours.pass(ms(500), Some(theirs(State::Up)));
    assert!(sent.len() >= 4 && sent.iter().all(|(_, packet)| !packet.poll));
    // A Final that nobody asked for says nothing.
    ours.hear(Packet { final_: true, ..theirs(State::Up) });

    // Slower: told at once, done when the neighbour has heard it.
    ours.session.configure(Settings { interval: ms(300), multiplier: 3 }, ours.now);
    assert_eq!(ours.session.transmit_interval(), INTERVAL);
    assert_eq!(ours.session.detection_time(), Some(ms(900)), "more patient at once");
    let sent = ours.pass(ms(300), Some(theirs(State::Up)));
    assert!(sent.len() >= 3 && sent.iter().all(|(_, packet)| packet.poll && packet.desired_min_tx == ms(300)));
    // A further change waits for the first one's answer, and is then asked after by itself.
    ours.session.configure(Settings { interval: ms(50), multiplier: 3 }, ours.now);
    let sent = ours.pass(ms(200), Some(theirs(State::Up)));
    assert!(sent.iter().all(|(_, packet)| packet.poll && packet.desired_min_tx == ms(300)));
    ours.hear(Packet { final_: true, ..theirs(State::Up) });
    assert_eq!(ours.session.transmit_interval(), INTERVAL, "faster at once, as far as the neighbour takes it");
    assert_eq!(ours.session.detection_time(), Some(ms(900)), "less patient when it was heard");
    let sent = ours.pass(ms(200), Some(theirs(State::Up)));
    assert!(sent.iter().all(|(_, packet)| packet.poll && packet.desired_min_tx == ms(50)));
    ours.hear(Packet { final_: true, ..theirs(State::Up) });
    assert_eq!(ours.session.detection_time(), Some(ms(300)));
    let sent = ours.pass(ms(200), Some(theirs(State::Up)));
    assert!(sent.iter().all(|(_, packet)| !packet.poll));
}

/// RFC 5880 6.5 and 6.8.7: at once, whatever the state and the timer, and never with a Poll of our own in it.
#[test]
fn a_poll_is_answered_at_once() {
    for state in [State::Down, State::Init, State::Up] {
        let mut ours = Ours::new(3);
        ours.sent();
        let heard = if state == State::Up { State::Init } else { State::Down };
        ours.hear(Packet { poll: true, ..theirs(heard) });
        let sent = ours.sent();
        assert!(sent[0].final_ && !sent[0].poll, "{sent:?}");
        assert!(sent[1..].iter().all(|packet| !packet.final_), "one answer: {sent:?}");
    }
    let mut ours = Ours::up();
    ours.hear(Packet { poll: true, required_min_rx: Duration::ZERO, ..theirs(State::Up) });
    assert_eq!(ours.sent().len(), 1, "also to one that takes nothing else");
}

/// RFC 5880 6.6, 6.8.7.
#[test]
fn a_neighbour_in_demand_mode_hears_nothing_but_polls_and_news() {
    let mut ours = Ours::up();
    let demand = Packet { demand: true, ..theirs(State::Up) };
    ours.hear(demand);
    assert_eq!(ours.pass(Duration::from_secs(2), Some(demand)), []);
    ours.session.configure(Settings { interval: ms(200), multiplier: 3 }, ours.now);
    assert!(ours.pass(ms(300), Some(demand)).iter().any(|(_, packet)| packet.poll));
    ours.hear(Packet { final_: true, ..demand });
    assert_eq!(ours.pass(Duration::from_secs(1), Some(demand)), []);
    // It goes on to speak itself, and its silence is a failure, which it is told.
    let sent = ours.pass(Duration::from_secs(1), None);
    assert_eq!(ours.session.state(), State::Down);
    assert!(!sent.is_empty());
}

#[test]
fn a_neighbour_that_takes_no_packets_gets_none() {
    let mut ours = Ours::up();
    let deaf = Packet { required_min_rx: Duration::ZERO, ..theirs(State::Up) };
    ours.hear(deaf);
    assert_eq!(ours.pass(Duration::from_secs(2), Some(deaf)), []);
    // Once it has fallen silent it is a stranger again, who has to be called.
    assert!(!ours.pass(Duration::from_secs(3), None).is_empty());
}

/// RFC 5880 6.8.16.
#[test]
fn the_end_is_said_several_times_and_is_the_end() {
    let mut ours = Ours::up();
    ours.session.shut(ours.now);
    let mut sent = ours.sent();
    sent.extend(ours.pass(Duration::from_secs(2), None).into_iter().map(|(_, packet)| packet));
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|packet| packet.state == State::AdminDown && packet.diagnostic.0 == 7 && !packet.poll));
    assert!(ours.session.is_over());

    let mut stranger = Ours::new(3);
    stranger.session.shut(stranger.now);
    assert_eq!(stranger.sent().len(), 1);
    assert!(stranger.session.is_over());
}

/// News go out before their turn, and the turn is counted from there.
#[test]
fn a_change_of_state_does_not_wait() {
    let mut ours = Ours::new(3);
    assert_eq!(ours.sent().len(), 1);
    ours.now = ours.now + ms(5);
    ours.hear(theirs(State::Down));
    let sent = ours.sent();
    assert_eq!((sent.len(), sent[0].state, sent[0].your_discriminator), (1, State::Init, 99));
    assert!(ours.sent().is_empty());
    assert!(ours.session.transmit_at > ours.now + ms(700));
    assert_eq!(ours.session.next_deadline(), Some(ours.now + ms(300)), "the neighbour's silence");
}
