//! A ping that goes on while something breaks, and for how long it was not answered.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::fixture::{PATIENCE, Workload};
use crate::support::{Process, wait_for};

/// In seconds, between two pings.
const INTERVAL: &str = "0.05";
/// Answers further apart than this have lost pings between them.
const GAP: Duration = Duration::from_millis(150);
/// A stream is whole when so many answers in a row came without a gap.
const RUN: usize = 10;

pub struct Stream {
    _ping: Process,
    /// When answers came.
    answers: Arc<Mutex<Vec<Instant>>>,
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
                if line.contains("bytes from") {
                    heard.lock().expect("no panic here").push(Instant::now());
                }
            }
        });
        let stream = Stream { _ping: ping, answers, what: format!("{} to {to}", from.name) };
        stream.wait_until_whole(Instant::now());
        stream
    }

    fn since(&self, moment: Instant) -> Vec<Instant> {
        let answers = self.answers.lock().expect("no panic there");
        answers.iter().copied().filter(|answer| *answer > moment).collect()
    }

    /// Waits until answers have come without a gap for a while, all of them after this moment.
    pub fn wait_until_whole(&self, moment: Instant) {
        wait_for(&format!("answers to {}", self.what), PATIENCE, || {
            let answers = self.since(moment);
            let run = answers.windows(2).rev().take_while(|pair| pair[1] - pair[0] < GAP).count();
            let fresh = answers.last().is_some_and(|last| last.elapsed() < GAP);
            run >= RUN && fresh
        });
    }

    /// Waits until no answer has come for a second.
    pub fn wait_until_broken(&self) {
        wait_for(&format!("silence of {}", self.what), PATIENCE, || {
            let answers = self.answers.lock().expect("no panic there");
            answers.last().is_some_and(|last| last.elapsed() > Duration::from_secs(1))
        });
    }

    /// How long after the fault the last gap ended; zero where there was none. To be asked when nothing will change any
    /// more.
    pub fn back_after(&self, fault: Instant) -> Duration {
        self.wait_until_whole(fault);
        let answers = self.since(fault);
        let mut before = fault;
        let mut back = Duration::ZERO;
        for answer in answers {
            if answer - before >= GAP {
                back = answer - fault;
            }
            before = answer;
        }
        back
    }
}

/// How long after something was mended the first answer came, on streams that were silent before; the worst of them.
pub fn resumed_after(streams: &[Stream], mended: Instant) -> Duration {
    let first = |stream: &Stream| {
        stream.wait_until_whole(mended);
        stream.since(mended)[0] - mended
    };
    streams.iter().map(first).max().unwrap_or_default()
}

/// The worst of several streams, each by [`Stream::back_after`].
pub fn back_after(streams: &[Stream], fault: Instant) -> Duration {
    streams.iter().map(|stream| stream.back_after(fault)).max().unwrap_or_default()
}
