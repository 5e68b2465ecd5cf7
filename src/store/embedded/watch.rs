//! The watcher thread: sees commits of every process by `PRAGMA data_version`, and tells the subscribers.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::file::StoreFile;
use super::schema::{self, Since};
use crate::store::{Backoff, Revision, StoreError, WatchEvent};

/// How often another process's commits are looked for. One look costs a few microseconds.
const INTERVAL: Duration = Duration::from_millis(25);
/// Between two attempts while the store is away.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);
/// Changes in one event, unless one transaction alone has more.
const BATCH: usize = 1000;
/// Events that wait for a subscriber; a slower one is caught up from history later.
pub(super) const BACKLOG: usize = 64;

pub(super) enum Command {
    Subscribe(Subscriber),
    /// This process committed something: look at once.
    Look,
}

pub(super) struct Subscriber {
    sender: mpsc::Sender<WatchEvent>,
    /// The last revision that it was told.
    position: Revision,
    told_away: bool,
    must_resync: bool,
}

impl Subscriber {
    pub(super) fn new(sender: mpsc::Sender<WatchEvent>, position: Revision) -> Subscriber {
        Subscriber { sender, position, told_away: false, must_resync: false }
    }

    /// Whether there was room for it.
    fn send(&self, event: WatchEvent) -> bool {
        self.sender.try_send(event).is_ok()
    }
}

pub(super) struct Watcher {
    file: StoreFile,
    subscribers: Vec<Subscriber>,
    /// What `data_version` said, at which opening of the file.
    seen: Option<(u64, i64)>,
    /// Somebody is new, or had no room: look even if no file changed.
    unfinished: bool,
    backoff: Backoff,
    next_attempt: Option<Instant>,
}

impl Watcher {
    pub(super) fn new(file: StoreFile) -> Watcher {
        Watcher {
            file,
            subscribers: Vec::new(),
            seen: None,
            unfinished: false,
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
            next_attempt: None,
        }
    }

    /// Until the store is dropped.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let command = if self.subscribers.is_empty() {
                commands.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                commands.recv_timeout(INTERVAL)
            };
            match command {
                Ok(Command::Subscribe(subscriber)) => {
                    self.subscribers.push(subscriber);
                    self.unfinished = true;
                }
                Ok(Command::Look) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.subscribers.retain(|subscriber| !subscriber.sender.is_closed());
            if self.next_attempt.is_none_or(|at| Instant::now() >= at) {
                self.look();
            }
        }
    }

    fn look(&mut self) {
        match self.changed().and_then(|changed| if changed { self.tell() } else { Ok(()) }) {
            Ok(()) => {
                self.backoff.reset();
                self.next_attempt = None;
            }
            Err(error) => self.away(&error),
        }
    }

    fn changed(&mut self) -> Result<bool, StoreError> {
        let version = self.file.with(|conn| conn.pragma_query_value(None, "data_version", |row| row.get(0)))?;
        let now = (self.file.openings(), version);
        if self.seen.is_some_and(|(openings, _)| openings != now.0) {
            // Another file, or the same one after a failure: what happened meanwhile is unknown.
            self.subscribers.iter_mut().for_each(|subscriber| subscriber.must_resync = true);
        }
        let changed = self.seen != Some(now) || self.unfinished;
        self.seen = Some(now);
        Ok(changed)
    }

    fn tell(&mut self) -> Result<(), StoreError> {
        self.unfinished = false;
        for subscriber in &mut self.subscribers {
            if subscriber.told_away {
                if !subscriber.send(WatchEvent::Back) {
                    self.unfinished = true;
                    continue;
                }
                subscriber.told_away = false;
            }
            loop {
                let position = subscriber.position;
                let lost = subscriber.must_resync;
                let news = self.file.with(|conn| {
                    if lost {
                        return Ok(Some(Since::Lost(schema::meta(conn)?.0)));
                    }
                    schema::since(conn, position, BATCH)
                })?;
                let (reached, event) = match news {
                    None => break,
                    Some(Since::Lost(revision)) => (revision, WatchEvent::Resync),
                    Some(Since::Changes(revision, changes)) => (revision, WatchEvent::Changes { revision, changes }),
                };
                if !subscriber.send(event) {
                    self.unfinished = true;
                    break;
                }
                subscriber.position = reached;
                subscriber.must_resync = false;
            }
        }
        Ok(())
    }

    fn away(&mut self, error: &StoreError) {
        for subscriber in self.subscribers.iter_mut().filter(|subscriber| !subscriber.told_away) {
            subscriber.told_away = subscriber.send(WatchEvent::Away(error.to_string()));
        }
        self.unfinished = true;
        self.next_attempt = Some(Instant::now() + self.backoff.pause());
    }
}
