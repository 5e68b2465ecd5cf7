//! What a plane wants, what of it does not work and when it is tried again: the part that is the same for links and
//! routes. Pure but for the wall clock of `since`; the monotonic time is an argument.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::time::{Duration, Instant, SystemTime};

use hashbrown::HashMap;

use super::{PlaneError, PlaneStatus};

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Why a wanted thing is not there.
#[derive(Clone, Debug)]
struct Failure {
    since: SystemTime,
    what: String,
    pause: Duration,
    next: Instant,
}

/// Wanted things by key, and their failures.
#[derive(Debug)]
pub(crate) struct Tracker<K, V> {
    wanted: HashMap<K, V>,
    failures: BTreeMap<K, Failure>,
    repairs: u64,
    last_repair: Option<(SystemTime, String)>,
}

impl<K: Ord + Hash + Clone + std::fmt::Display, V> Tracker<K, V> {
    pub(crate) fn new() -> Self {
        Tracker { wanted: HashMap::new(), failures: BTreeMap::new(), repairs: 0, last_repair: None }
    }

    pub(crate) fn wanted(&self, key: &K) -> Option<&V> {
        self.wanted.get(key)
    }

    /// In no order.
    pub(crate) fn all(&self) -> &HashMap<K, V> {
        &self.wanted
    }

    pub(crate) fn replace(&mut self, wanted: BTreeMap<K, V>) {
        self.wanted = wanted.into_iter().collect();
        self.failures.retain(|key, _| self.wanted.contains_key(key));
    }

    pub(crate) fn want(&mut self, key: K, value: Option<V>) {
        match value {
            Some(value) => {
                self.wanted.insert(key, value);
            }
            None => {
                self.wanted.remove(&key);
                self.failures.remove(&key);
            }
        }
    }

    /// It is not in the kernel, for this reason; it is due again after a pause that doubles each time.
    pub(crate) fn failed(&mut self, key: K, what: String, now: Instant) {
        match self.failures.get_mut(&key) {
            Some(failure) => {
                failure.pause = (failure.pause * 2).min(LONGEST_RETRY);
                failure.next = now + failure.pause;
                failure.what = what;
            }
            None => {
                let failure = Failure { since: SystemTime::now(), what, pause: FIRST_RETRY, next: now + FIRST_RETRY };
                self.failures.insert(key, failure);
            }
        }
    }

    pub(crate) fn succeeded(&mut self, key: &K) {
        self.failures.remove(key);
    }

    pub(crate) fn failure(&self, key: &K) -> Option<&str> {
        self.failures.get(key).map(|failure| failure.what.as_str())
    }

    pub(crate) fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Something changed that may mend what failed: all of it is due.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for failure in self.failures.values_mut() {
            failure.next = failure.next.min(now);
            failure.pause = FIRST_RETRY;
        }
    }

    /// What is to be tried again.
    pub(crate) fn due(&self, now: Instant) -> Vec<K> {
        self.failures.iter().filter(|(_, failure)| failure.next <= now).map(|(key, _)| key.clone()).collect()
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.failures.values().map(|failure| failure.next).min()
    }

    /// `count` things that others removed or changed were put back.
    pub(crate) fn repaired(&mut self, count: u64, words: String) {
        self.repairs += count;
        self.last_repair = Some((SystemTime::now(), words));
    }

    pub(crate) fn status(&self) -> PlaneStatus {
        let first = self.failures.iter().min_by_key(|(_, failure)| failure.since);
        PlaneStatus {
            in_sync: self.failures.is_empty(),
            wanted: self.wanted.len() as u64,
            repairs: self.repairs,
            last_repair: self.last_repair.clone(),
            failure: first.map(|(key, failure)| {
                let words = format!("{key}: {}{}", failure.what, and_more(self.failures.len()));
                (failure.since, words)
            }),
        }
    }
}

/// One error out of several: the first, and how many more there are.
pub(crate) fn first_error<K: std::fmt::Display>(failures: &[(K, String)]) -> Result<(), PlaneError> {
    match failures.first() {
        None => Ok(()),
        Some((key, what)) => {
            Err(PlaneError { object: key.to_string(), what: format!("{what}{}", and_more(failures.len())) })
        }
    }
}

/// ` (and 3 more)`, for lists of which one is shown.
pub(crate) fn and_more(total: usize) -> String {
    if total > 1 { format!(" (and {} more)", total - 1) } else { String::new() }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
