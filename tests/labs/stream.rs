//! A ping that goes on while something breaks, and for how long it was not answered.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::fixture::{PATIENCE, Workload};
use crate::support::{Process, wait_for};

/// In seconds, between two pings.
const INTERVAL: &str = "0.05";
/// A stream is whole when so many pings in a row were answered.
const RUN: usize = 10;

/// An answer: when it came, and to which ping.
type Answer = (Instant, u32);

pub struct Stream {
    _ping: Process,
    answers: Arc<Mutex<Vec<Answer>>>,
    what: String,
}

impl Stream {
    /// Begins, and waits until answers come.
    pub fn start(from: &Workload<'_>, to: &str) -> Stream {
        let mut command = from.command(&["ping", "-n", "-i", INTERVAL, to]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("ping");
        let mut ping = Process(child);
        let lines = BufReader::new(ping.0.stdout.take().expect("a pipe")).lines();
        let answers = Arc::new(Mutex::new(Vec::new()));
        let heard = answers.clone();
        // Ends with the ping.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(number) = number(&line) {
                    heard.lock().expect("no panic here").push((Instant::now(), number));
                }
            }
        });
        let stream = Stream { _ping: ping, answers, what: format!("{} to {to}", from.name) };
        stream.wait_until_whole(Instant::now());
        stream
    }

    /// The answers after a moment, and the one before them.
    fn since(&self, moment: Instant) -> (Option<Answer>, Vec<Answer>) {
        let answers = self.answers.lock().expect("no panic there");
        let first = answers.partition_point(|(at, _)| *at <= moment);
        (first.checked_sub(1).map(|before| answers[before]), answers[first..].to_vec())
    }

    /// Waits until pings in a row were answered, all of them after this moment.
    pub fn wait_until_whole(&self, moment: Instant) {
        wait_for(&format!("answers to {}", self.what), PATIENCE, || {
            let (_, answers) = self.since(moment);
            let run = answers.windows(2).rev().take_while(|pair| pair[1].1 == pair[0].1 + 1).count();
            run >= RUN && answers.last().is_some_and(|(at, _)| at.elapsed() < Duration::from_millis(500))
        });
    }

    /// Waits until no answer has come for a second.
    pub fn wait_until_broken(&self) {
        wait_for(&format!("silence of {}", self.what), PATIENCE, || {
            let answers = self.answers.lock().expect("no panic there");
            answers.last().is_some_and(|(at, _)| at.elapsed() > Duration::from_secs(1))
        });
    }

    /// How long after the fault the answer came behind which no ping was lost any more; zero where none was lost at all.
    /// To be asked when nothing will change any more.
    pub fn back_after(&self, fault: Instant) -> Duration {
        self.wait_until_whole(fault);
        let (before, answers) = self.since(fault);
        let mut last = before.map(|(_, number)| number);
        let mut back = Duration::ZERO;
        for (at, number) in answers {
            if last.is_some_and(|last| number > last + 1) {
                back = at - fault;
            }
            last = last.max(Some(number));
        }
        back
    }
}

/// The number of the ping that a line of ping's output is the answer to.
fn number(line: &str) -> Option<u32> {
    let rest = line.contains("bytes from").then(|| line.split("icmp_seq=").nth(1))??;
    rest.split(' ').next()?.parse().ok()
}

/// How long after something was mended the first answer came, on streams that were silent before; the worst of them.
pub fn resumed_after(streams: &[Stream], mended: Instant) -> Duration {
    let first = |stream: &Stream| {
        stream.wait_until_whole(mended);
        stream.since(mended).1[0].0 - mended
    };
    streams.iter().map(first).max().unwrap_or_default()
}

/// The worst of several streams, each by [`Stream::back_after`].
pub fn back_after(streams: &[Stream], fault: Instant) -> Duration {
    streams.iter().map(|stream| stream.back_after(fault)).max().unwrap_or_default()
}
