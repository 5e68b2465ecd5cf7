//! What a bad neighbour costs: its own session and nothing else. One opens a thousand connections, one stops reading; another
//! neighbour's routes come through to the watchers meanwhile.

use std::collections::VecDeque;
use std::net::IpAddr;

use socket2::SockRef;

use crate::case::{self, good, prefixes};
use crate::heard::Heard;
use crate::peer::{LIMIT, Peer};
use crate::raw::{self, attribute};
use crate::speaker::{AT, Speaker, TESTER_AS, peer, tester};
use crate::support::{in_fresh_netns, wait_for};

/// kB that the speaker may take beyond what it had before.
const MEMORY_MOST: u64 = 64 * 1024;
const CONNECTIONS: usize = 1000;
/// Those of one attacker that are open at a time.
const HELD: usize = 300;
/// What the deaf one is not reading: more than the sockets of both ends hold.
const ROUNDS: usize = 300;
const ROUTES: usize = 500;
/// As many as a test of a whole protocol makes in a short time.
const ERRORS: usize = 600;

fn up(number: usize) -> Peer {
    let mut peer = Peer::connect(tester(number), AT).expect("a connection");
    peer.establish(&case::open(case::EBGP, number)).expect("a session");
    peer
}

/// Announces the route of this number and waits until both watchers see it.
fn comes_through(speaker: &Speaker, sender: &mut Peer, number: usize) -> Vec<String> {
    let route = prefixes(number, false).victim;
    sender.say(&good(case::EBGP, case::AFTER, &[route]).bytes()).expect("it is up");
    let seen = speaker
        .watchers
        .iter()
        .map(|watcher| watcher.must_see("a route meanwhile", route, |table| table.routes.contains_key(&route)));
    seen.filter_map(Result::err).collect()
}

#[test]
fn a_thousand_connections() {
    in_fresh_netns(|| {
        let [known, stranger]: [IpAddr; 2] = [tester(0), tester(2)];
        let mut speaker = Speaker::start(vec![peer(known, TESTER_AS), peer(tester(1), TESTER_AS)]);
        let mut sender = up(1);
        let (memory, descriptors) = (speaker.resident(), speaker.descriptors());
        let mut failed = Vec::new();
        let mut most = 0;
        for (round, attacker) in [known, stranger].into_iter().enumerate() {
            let mut held = VecDeque::new();
            let mut made = 0;
            for number in 0..CONNECTIONS {
                if let Ok(mut connection) = Peer::connect(attacker, AT) {
                    made += 1;
                    // Some say nothing, some a part, some all, and none goes on.
                    let open = case::open(case::EBGP, number).bytes();
                    let _refused_or_not = connection.say(&open[..open.len() * (number % 3) / 2]);
                    held.push_back(connection);
                }
                if held.len() > HELD {
                    held.pop_front();
                }
                if number % 200 == 199 {
                    most = most.max(speaker.descriptors());
                    failed.extend(comes_through(&speaker, &mut sender, round * CONNECTIONS + number));
                }
            }
            assert!(made > CONNECTIONS / 2, "the attack must have met its target: {made} connections");
        }
        println!(
            "{descriptors} descriptors before, {most} at most, {} kB more",
            speaker.resident().saturating_sub(memory)
        );
        assert!(speaker.resident() < memory + MEMORY_MOST, "{memory} kB before, {} kB now", speaker.resident());
        wait_for("its descriptors to be closed", LIMIT, || speaker.descriptors() <= descriptors + 2);
        sender.is_up().expect("the sender's session");
        case::report(failed, 10, speaker.faults());
    });
}

/// A neighbour that errs again and again, and is let in each time at its first attempt: also one that speaks before it is
/// Established, so that nothing but its errors is known of it.
#[test]
fn who_errs_all_the_time() {
    in_fresh_netns(|| {
        let mut speaker = Speaker::start(vec![peer(tester(0), TESTER_AS), peer(tester(1), TESTER_AS)]);
        let mut sender = up(1);
        let mut failed = Vec::new();
        for number in 0..ERRORS {
            let mut peer = Peer::connect(tester(0), AT).expect("a connection");
            let open = case::open(case::EBGP, 0);
            let said = match number % 3 {
                0 => peer.establish(&open).and_then(|()| peer.say(&raw::message(9, &[]))),
                1 => peer.open(&open).and_then(|_| peer.say(&raw::message(9, &[]))),
                _ => peer.say(&[0; 19]),
            };
            let expected = if number % 3 == 2 { (1, 1, vec![]) } else { (1, 3, vec![9]) };
            let heard = said.and_then(|()| peer.notification());
            if heard != Ok(expected) {
                failed.push(format!("round {number}: {heard:?}"));
            }
        }
        failed.extend(comes_through(&speaker, &mut sender, 1));
        case::report(failed, ERRORS, speaker.faults());
    });
}

#[test]
fn who_stops_reading() {
    in_fresh_netns(|| {
        let mut speaker = Speaker::start(vec![peer(tester(0), TESTER_AS), peer(tester(1), 65011)]);
        let mut deaf = Peer::connect(tester(1), AT).expect("a connection");
        SockRef::from(&deaf.stream()).set_recv_buffer_size(4096).expect("an option");
        deaf.establish(&raw::Open::new(65011, [198, 18, 1, 1])).expect("a session");
        let mut sender = up(0);
        let memory = speaker.resident();
        let mut failed = Vec::new();
        // Each with attributes of its own, so each is an UPDATE.
        let told = |round: usize, number: usize| {
            let mut draft = good(case::EBGP, 65100 + round as u32, &[prefixes(number, false).victim]);
            draft.put(attribute(raw::OPTIONAL, raw::MED, &(number as u32).to_be_bytes()));
            draft.bytes()
        };
        for round in 0..ROUNDS {
            let updates: Vec<u8> = (0..ROUTES).flat_map(|number| told(round, number)).collect();
            sender.say(&updates).expect("it is up");
            if round % 50 == 49 {
                failed.extend(comes_through(&speaker, &mut sender, ROUTES + round));
            }
        }
        let more = speaker.resident().saturating_sub(memory);
        assert!(more < MEMORY_MOST, "{more} kB for one who does not read");
        // It reads again, and has the end of the story without the whole of it. What its kernel and ours hold by now would take
        // minutes through so small a window.
        SockRef::from(&deaf.stream()).set_recv_buffer_size(1 << 20).expect("an option");
        let last = prefixes(ROUTES + ROUNDS - 1, false).victim;
        let heard = std::cell::Cell::new(0);
        let outcome = deaf.until("the last route", |message| match message {
            Heard::Update(update) => {
                heard.set(heard.get() + 1);
                update.reachable.contains(&last)
            }
            _ => false,
        });
        println!("{} of {} UPDATEs, {more} kB more", heard.get(), ROUNDS * ROUTES);
        failed.extend(outcome.err());
        assert!(heard.get() < ROUNDS * ROUTES / 2, "newer state replaces older: {}", heard.get());
        sender.is_up().expect("the sender's session");
        case::report(failed, ROUNDS / 50, speaker.faults());
    });
}
