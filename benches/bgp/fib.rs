//! Routes into the kernel: a speaker with a real table, its sender, and two neighbours of which one tells the other
//! something all the while.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::load::{Load, SENDER_AS, Table, news};
use super::place::{LIMIT, Place, SENDER, SPEAKER, receiver};
use super::runs::{Told, octets};
use super::session::{Session, step};
use super::speakers::{Speaker, receiver_as};

/// The shortest that there is (RFC 4271 4.2): a speaker that is silent for as long loses its sessions.
const HOLD: u16 = 3;
/// How often the one neighbour has news for the other.
const NEWS: Duration = Duration::from_millis(5);
/// How long it has before the sender comes, and after the last route is in.
const BEFORE: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_millis(500);
/// Prefixes that are asked for one by one, until all are there and it pays to count.
const SAMPLES: usize = 64;

/// Watches the speaker's table of routes from a thread in its namespace.
struct Watch {
    /// When all were in.
    full: Arc<Mutex<Option<Instant>>>,
    over: Arc<AtomicBool>,
    /// Samples that have no route yet, and routes at the last count: for who waits in vain.
    left: Arc<AtomicUsize>,
    there: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn start(place: &Place, load: Load) -> Watch {
        let namespace = std::fs::File::open(place.netns()).expect("the namespace stands");
        let (full, over) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let (left, there) = (Arc::new(AtomicUsize::new(SAMPLES)), Arc::new(AtomicUsize::new(0)));
        let (tell, ended, unfound, counted) = (full.clone(), over.clone(), left.clone(), there.clone());
        // What others have there is counted before the speaker has a session.
        let (began, counting) = std::sync::mpsc::channel();
        let watch = move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("into the namespace");
            let others = routes();
            began.send(()).expect("somebody waits");
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            let sample = |index: usize| Ipv4Addr::from(load.address(index * (load.prefixes - 1) / (SAMPLES - 1)) + 1);
            let mut samples: Vec<Ipv4Addr> = (0..SAMPLES).map(sample).collect();
            // The prefix that there is news of has a route as well.
            let wanted = others + load.prefixes + 1;
            while !ended.load(Ordering::Relaxed) {
                let at = Instant::now();
                // No default route: what can be sent there has a route.
                while samples.last().is_some_and(|address| socket.connect((*address, 9)).is_ok()) {
                    samples.pop();
                }
                unfound.store(samples.len(), Ordering::Relaxed);
                if samples.is_empty() {
                    counted.store(routes(), Ordering::Relaxed);
                }
                if counted.load(Ordering::Relaxed) >= wanted {
                    *tell.lock().expect("no panic") = Some(at);
                    return;
                }
                std::thread::sleep(Duration::from_millis(if samples.is_empty() { 10 } else { 1 }));
            }
        };
        let thread = Some(std::thread::spawn(watch));
        counting.recv().expect("it counts");
        Watch { full, over, left, there, thread }
    }

    fn full(&self) -> Option<Instant> {
        *self.full.lock().expect("no panic")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How many IPv4 routes the main table of the calling thread's namespace has.
fn routes() -> usize {
    let statistics =
        std::fs::read_to_string("/proc/thread-self/net/fib_triestat").expect("a kernel with trie statistics");
    let main = statistics.split("Local:").next().unwrap_or_default();
    let count = main.lines().find_map(|line| line.trim().strip_prefix("Prefixes:")?.trim().parse().ok());
    count.expect("a count of prefixes in /proc/net/fib_triestat")
}

/// The sender's Established to the last route in the kernel, in seconds; how long the one neighbour's news took to the
/// other meanwhile, median and longest, in ms; the longest time for which a neighbour heard nothing, in s; MB resident.
pub fn fill(speaker: &Speaker, load: Load) -> [f64; 5] {
    let mut place = Place::new(2);
    speaker.start_with_routes(&mut place, 2);
    let place = place;
    let _told = Told(&place);
    let updates = load.updates(octets(SENDER));
    let watch = Watch::start(&place, load);
    let session = |local: &str, remote: &str, as_number| {
        Session::establish_for(HOLD, local, remote, as_number, || Table::new(load, octets(remote)))
    };
    let mut from = session(&receiver(0), SPEAKER[1], receiver_as(0));
    let mut to = session(&receiver(1), SPEAKER[1], receiver_as(1));

    let begun = Instant::now();
    // When each piece of news was sent, and how long it took; what comes after it stands for it as well.
    let (mut sent, mut took) = (Vec::<Instant>::new(), Vec::<Duration>::new());
    let mut sender: Option<Session> = None;
    let mut updates = Some(updates);
    let mut quiet = None;
    loop {
        let now = Instant::now();
        let (left, there) = (watch.left.load(Ordering::Relaxed), watch.there.load(Ordering::Relaxed));
        assert!(begun.elapsed() < LIMIT, "{LIMIT:?}: {left} samples have no route, {there} routes were counted");
        if sent.last().is_none_or(|last| now.duration_since(*last) >= NEWS) && from.is_idle() {
            from.send(news(receiver_as(0), octets(&receiver(0)), sent.len() as u32));
            sent.push(now);
        }
        if sender.is_none() && begun.elapsed() >= BEFORE {
            (from.silence, to.silence) = (Duration::ZERO, Duration::ZERO);
            let mut new = session(SENDER, SPEAKER[0], SENDER_AS);
            new.send(updates.take().expect("sent once"));
            sender = Some(new);
        }
        let mut sessions: Vec<&mut Session> = [&mut from, &mut to].into_iter().chain(sender.as_mut()).collect();
        step(&mut sessions, Duration::from_millis(1));
        for (number, at) in to.table.news.drain(..) {
            let told = took.len()..sent.len().min(number as usize + 1);
            took.extend(sent[told].iter().map(|sent| at - *sent));
        }
        if let Some(full) = watch.full() {
            let until = *quiet.get_or_insert(full + AFTER);
            if now >= until {
                break;
            }
        }
    }
    let sender = sender.expect("begun");
    let full = watch.full().expect("all are in");
    let mut took: Vec<Duration> =
        sent.iter().zip(took).filter(|(sent, _)| (sender.since..full).contains(sent)).map(|(_, took)| took).collect();
    took.sort_unstable();
    let milliseconds = |took: Option<&Duration>| took.expect("news").as_secs_f64() * 1000.0;
    let silence = from.silence.max(to.silence).as_secs_f64();
    [
        (full - sender.since).as_secs_f64(),
        milliseconds(took.get(took.len() / 2)),
        milliseconds(took.last()),
        silence,
        place.resident(),
    ]
}
