//! Keys, revisions and watches in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{mpsc, watch};

use crate::store::{Check, Entry, Revision, TxnOutcome, WatchEvent, Write};

/// Revisions that watchers may fall behind.
const HISTORY: usize = 10_000;
/// Events that wait for a watcher.
const BACKLOG: usize = 64;

type Changes = Vec<(String, Option<Vec<u8>>)>;

#[derive(Default)]
struct State {
    entries: BTreeMap<String, (Vec<u8>, Revision)>,
    revision: Revision,
    history: VecDeque<(Revision, Changes)>,
}

pub(super) struct Memory {
    state: Arc<Mutex<State>>,
    revision: watch::Sender<Revision>,
}

impl Memory {
    pub(super) fn new() -> Memory {
        Memory { state: Arc::default(), revision: watch::Sender::new(0) }
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        let state = lock(&self.state);
        let (value, revision) = state.entries.get(key)?;
        Some(Entry { key: key.to_string(), value: value.clone(), revision: *revision })
    }

    pub(super) fn range(&self, prefix: &str) -> (Vec<Entry>, Revision) {
        let state = lock(&self.state);
        let entries = state
            .entries
            .range(prefix.to_string()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, (value, revision))| Entry { key: key.clone(), value: value.clone(), revision: *revision })
            .collect();
        (entries, state.revision)
    }

    pub(super) fn transact(&self, checks: &[Check], writes: Vec<Write>) -> TxnOutcome {
        let mut state = lock(&self.state);
        let failed: Vec<String> = checks
            .iter()
            .filter(|check| state.entries.get(&check.key).map_or(0, |(_, revision)| *revision) != check.revision)
            .map(|check| check.key.clone())
            .collect();
        if !failed.is_empty() {
            return TxnOutcome::Conflict(failed);
        }
        let revision = state.revision + 1;
        let mut changes = Changes::new();
        for write in writes {
            match write {
                Write::Put { key, value } => {
                    state.entries.insert(key.clone(), (value.clone(), revision));
                    changes.push((key, Some(value)));
                }
                Write::Delete { key } => {
                    if state.entries.remove(&key).is_some() {
                        changes.push((key, None));
                    }
                }
            }
        }
        if changes.is_empty() {
            return TxnOutcome::Committed(state.revision);
        }
        state.revision = revision;
        state.history.push_back((revision, changes));
        if state.history.len() > HISTORY {
            state.history.pop_front();
        }
        self.revision.send_replace(revision);
        TxnOutcome::Committed(revision)
    }

    pub(super) fn watch(&self, from: Revision) -> mpsc::Receiver<WatchEvent> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(follow(self.state.clone(), self.revision.subscribe(), from, sender));
        receiver
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic while the state is locked")
}

async fn follow(
    state: Arc<Mutex<State>>,
    mut news: watch::Receiver<Revision>,
    mut position: Revision,
    sender: mpsc::Sender<WatchEvent>,
) {
    loop {
        news.mark_unchanged();
        let event = since(&lock(&state), &mut position);
        if let Some(event) = event
            && sender.send(event).await.is_err()
        {
            return;
        }
        tokio::select! {
            changed = news.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

fn since(state: &State, position: &mut Revision) -> Option<WatchEvent> {
    let from = std::mem::replace(position, state.revision);
    if from == state.revision {
        return None;
    }
    let oldest = state.history.front().map_or(state.revision, |(revision, _)| revision - 1);
    if from < oldest || from > state.revision {
        return Some(WatchEvent::Resync);
    }
    let later = state.history.iter().skip_while(|(revision, _)| *revision <= from);
    let changes = later.flat_map(|(_, changes)| changes.iter().cloned()).collect();
    Some(WatchEvent::Changes { revision: state.revision, changes })
}
