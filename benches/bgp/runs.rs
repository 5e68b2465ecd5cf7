//! The runs: a speaker between a sender and its receivers, from nothing.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::load::{Load, SENDER_AS, Table};
use super::place::{Place, SENDER, SPEAKER, receiver};
use super::session::{Session, serve};
use super::speakers::{Speaker, receiver_as};

/// Between the receivers' sessions and the sender's: some speakers hold what they have to say back while sessions are new
/// (FRR's coalesce-time, which is 3.5 s with 50 neighbours), and it is not their start that is measured.
const SETTLE: Duration = Duration::from_secs(5);

pub fn octets(address: &str) -> [u8; 4] {
    address.parse::<Ipv4Addr>().expect("an address").octets()
}

fn sender(load: Load) -> Session {
    Session::establish(SENDER, SPEAKER[0], SENDER_AS, || Table::new(load, octets(SPEAKER[0])))
}

fn receiver_session(load: Load, index: usize) -> Session {
    Session::establish(&receiver(index), SPEAKER[1], receiver_as(index), || Table::new(load, octets(SPEAKER[1])))
}

/// A run in which something panics shows what the speaker said.
pub struct Told<'a>(pub &'a Place);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the speaker's log:\n{}", self.0.log());
        }
    }
}

fn begin(speaker: &Speaker, receivers: usize) -> Place {
    let mut place = Place::new(receivers);
    speaker.start(&mut place, receivers);
    place
}

fn settle(sessions: &mut [&mut Session]) {
    let until = Instant::now() + SETTLE;
    serve("nothing", sessions, |_| Instant::now() >= until);
}

/// ALL: the sender's Established to the last prefix at the receiver. LATE: a late receiver's Established to its full
/// table. WD: the sender's Cease to the last withdrawal at both. Seconds; and MB resident with both receivers full.
pub fn pass_through(speaker: &Speaker, load: Load) -> [f64; 4] {
    let place = begin(speaker, 2);
    let _told = Told(&place);
    let updates = load.updates(octets(SENDER));
    let mut first = receiver_session(load, 0);
    settle(&mut [&mut first]);
    let mut sender = sender(load);
    sender.send(updates);
    let began = sender.since;
    serve("all prefixes", &mut [&mut sender, &mut first], |sessions| sessions[1].table.is_full());
    let all = first.changed - began;

    let mut late = receiver_session(load, 1);
    serve("the late receiver", &mut [&mut sender, &mut first, &mut late], |sessions| sessions[2].table.is_full());
    let late_took = late.changed - late.since;
    let resident = place.resident();

    let began = Instant::now();
    sender.cease();
    serve("the withdrawals", &mut [&mut first, &mut late], |sessions| sessions.iter().all(|s| s.table.count == 0));
    let withdrawn = first.changed.max(late.changed) - began;
    [all.as_secs_f64(), late_took.as_secs_f64(), withdrawn.as_secs_f64(), resident]
}

/// The sender's Established to the last prefix at the last receiver, in seconds; and MB resident then.
pub fn fan_out(speaker: &Speaker, load: Load, receivers: usize) -> [f64; 2] {
    let place = begin(speaker, receivers);
    let _told = Told(&place);
    let updates = load.updates(octets(SENDER));
    let mut fan: Vec<Session> = (0..receivers).map(|index| receiver_session(load, index)).collect();
    settle(&mut fan.iter_mut().collect::<Vec<_>>());
    let mut sender = sender(load);
    sender.send(updates);
    let began = sender.since;
    let mut sessions: Vec<&mut Session> = fan.iter_mut().chain([&mut sender]).collect();
    serve("all receivers", &mut sessions, |sessions| sessions[..receivers].iter().all(|s| s.table.is_full()));
    let last = fan.iter().map(|session| session.changed).max().expect("receivers");
    [(last - began).as_secs_f64(), place.resident()]
}
