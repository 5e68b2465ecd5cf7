//! One watcher's task: follows etcd from a revision on, over lost connections and compaction.

use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchResponse};
use tokio::sync::mpsc;

use super::client::{Failure, Members, explain};
use super::{end_of_prefix, revision};
use crate::store::{Backoff, Revision, WatchEvent};

/// Events that wait for a watcher.
pub(super) const BACKLOG: usize = 64;

/// Between two attempts to reach etcd again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// How a stretch of watching ended.
enum End {
    /// The receiver is gone.
    Unheard,
    /// History does not reach so far back, or not so far forward.
    Compacted,
    Lost(String),
}

pub(super) struct Watcher {
    members: Members,
    prefix: String,
    /// All up to here was told.
    position: Revision,
    sender: mpsc::Sender<WatchEvent>,
    away: bool,
}

impl Watcher {
    pub fn new(members: Members, prefix: String, from: Revision, sender: mpsc::Sender<WatchEvent>) -> Watcher {
        Watcher { members, prefix, position: from, sender, away: false }
    }

    pub async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
        loop {
            let was_away = self.away;
            match self.follow().await {
                End::Unheard => return,
                End::Compacted => {
                    // Whoever reads it reads all again, and watches anew from there.
                    let _ = self.sender.send(WatchEvent::Resync).await;
                    return;
                }
                End::Lost(why) => {
                    self.members.disconnect().await;
                    if !self.away {
                        self.away = true;
                        if self.sender.send(WatchEvent::Away(why)).await.is_err() {
                            return;
                        }
                    }
                }
            }
            if !was_away {
                backoff.reset();
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                () = self.sender.closed() => return,
            }
        }
    }

    async fn follow(&mut self) -> End {
        let mut client = match self.members.client().await {
            Ok(client) => client,
            Err(failure) => return End::Lost(words(failure)),
        };
        let start = format!("{}/", self.prefix);
        let options = WatchOptions::new()
            .with_range(end_of_prefix(&start))
            .with_start_revision(i64::try_from(self.position).unwrap_or(i64::MAX - 1) + 1)
            .with_progress_notify();
        let mut stream = match self.members.in_time(client.watch(start, Some(options))).await {
            Ok(stream) => stream,
            Err(failure) => return End::Lost(words(failure)),
        };
        loop {
            let message = tokio::select! {
                message = stream.message() => message,
                () = self.sender.closed() => return End::Unheard,
            };
            let response = match message {
                Ok(Some(response)) => response,
                Ok(None) => return End::Lost("etcd ended the watch".to_string()),
                Err(error) => return End::Lost(words(explain(&error))),
            };
            // An etcd that was put back from a copy, or is another one, is behind what we know.
            let is_behind = response.created() && at(&response) < self.position;
            if response.compact_revision() > 0 || is_behind {
                return End::Compacted;
            }
            if response.canceled() {
                return End::Lost(format!("etcd ended the watch: {}", response.cancel_reason()));
            }
            if self.away {
                self.away = false;
                if self.sender.send(WatchEvent::Back).await.is_err() {
                    return End::Unheard;
                }
            }
            if self.tell(&response).await.is_err() {
                return End::Unheard;
            }
        }
    }

    async fn tell(&mut self, response: &WatchResponse) -> Result<(), mpsc::error::SendError<WatchEvent>> {
        let mut changes = Vec::new();
        for event in response.events() {
            let Some(found) = event.kv() else { continue };
            let Some(key) = std::str::from_utf8(found.key()).ok().and_then(|key| key.strip_prefix(&self.prefix)) else {
                continue;
            };
            self.position = self.position.max(revision(found.mod_revision()));
            let value = (event.event_type() == EventType::Put).then(|| found.value().to_vec());
            changes.push((key.to_string(), value));
        }
        if changes.is_empty() {
            // A notification of progress, so that a quiet prefix does not fall behind what is compacted. The first answer
            // to a watch has a revision too, and says nothing of what came before it.
            if !response.created() {
                self.position = self.position.max(at(response));
            }
            return Ok(());
        }
        self.sender.send(WatchEvent::Changes { revision: self.position, changes }).await
    }
}

/// The store's revision when it answered.
fn at(response: &WatchResponse) -> Revision {
    response.header().map_or(0, |header| revision(header.revision()))
}

fn words(failure: Failure) -> String {
    match failure {
        Failure::Passing(why) => why,
        Failure::Final(error) => error.to_string(),
    }
}
