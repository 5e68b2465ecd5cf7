//! Threads that serve the driver: an end that nobody asked for, or a start that failed, is said in words, and mended by
//! another start, at a pace.

use std::any::Any;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Broken;
use crate::store::Backoff;

/// Between two starts of one that does not last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// One that has run for so long since is well again.
const STEADY: Duration = Duration::from_secs(60);

/// A thread with something to tell.
pub trait Worker {
    type News;

    /// What it tells next; `None`: it has ended. Dropped before, it has missed nothing.
    async fn news(&mut self) -> Option<Self::News>;

    /// The thread, when it has ended.
    fn into_thread(self) -> JoinHandle<()>;
}

#[derive(Debug, PartialEq, Eq)]
pub enum Happened<N> {
    News(N),
    /// It runs (again), and knows nothing of what an earlier one was told.
    Started,
    Ended,
}

pub struct Kept<W> {
    start: Box<dyn FnMut() -> Result<W, String> + Send>,
    worker: Option<W>,
    /// When it was started, or is to be.
    turned: Instant,
    backoff: Backoff,
    steady: Duration,
    /// Why it ended last or could not be started, and since when that goes on.
    failure: Option<(String, Instant)>,
    what: &'static str,
    /// What it means that it does not run.
    meaning: &'static str,
}

impl<W: Worker> Kept<W> {
    pub fn new(
        what: &'static str,
        meaning: &'static str,
        start: impl FnMut() -> Result<W, String> + Send + 'static,
    ) -> Kept<W> {
        Kept {
            start: Box::new(start),
            worker: None,
            turned: Instant::now(),
            backoff: Backoff::new(FIRST_PAUSE, LAST_PAUSE),
            steady: STEADY,
            failure: None,
            what,
            meaning,
        }
    }

    pub fn worker(&self) -> Option<&W> {
        self.worker.as_ref()
    }

    /// Starts it, where that is due.
    pub fn start(&mut self) -> bool {
        if self.worker.is_some() || Instant::now() < self.turned {
            return false;
        }
        match (self.start)() {
            Ok(worker) => {
                self.worker = Some(worker);
                self.turned = Instant::now();
                true
            }
            Err(why) => {
                self.failed(why);
                false
            }
        }
    }

    /// Waits for what it tells, or for its end, or until it is started. Dropped before, it has missed nothing.
    pub async fn next(&mut self) -> Happened<W::News> {
        loop {
            match &mut self.worker {
                Some(worker) => {
                    if let Some(news) = worker.news().await {
                        return Happened::News(news);
                    }
                    self.ended();
                    return Happened::Ended;
                }
                None => {
                    sleep_until(self.turned).await;
                    if self.start() {
                        return Happened::Started;
                    }
                }
            }
        }
    }

    fn ended(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        if self.is_steady() {
            self.failure = None;
            self.backoff.reset();
        }
        // It has let go of its end of the channel already: what is left takes no time.
        let why = match worker.into_thread().join() {
            Ok(()) => "its thread ended".to_string(),
            Err(panic) => format!("its thread panicked: {}", words(panic.as_ref())),
        };
        self.failed(why);
    }

    fn failed(&mut self, why: String) {
        let pause = self.backoff.pause();
        tracing::error!(why, again_in = ?pause, "{}: {}", self.what, self.meaning);
        let since = self.failure.take().map_or_else(Instant::now, |(_, since)| since);
        self.failure = Some((why, since));
        self.turned = Instant::now() + pause;
    }

    fn is_steady(&self) -> bool {
        self.turned.elapsed() >= self.steady
    }

    /// For the status, until it has run for a while.
    pub fn broken(&self) -> Option<Broken> {
        let (why, since) = self.failure.as_ref().filter(|_| self.worker.is_none() || !self.is_steady())?;
        let now = match self.worker {
            Some(_) => "it was started again".to_string(),
            None => format!("{}; it is started again", self.meaning),
        };
        Some(Broken { what: self.what, why: format!("{why}: {now}"), since: since.elapsed() })
    }
}

/// What a thread panicked with.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
