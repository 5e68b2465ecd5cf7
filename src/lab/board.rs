//! How far each node of a deployment is, for the threads that wait for each other; the first failure ends all waiting,
//! and the nodes. Used by `course`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::stages::Stage;
use super::{LabError, NodeRecord, state};

/// What a node has behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    Created,
    Linked,
    /// Its main process runs.
    Started,
    Configured,
    Healthy,
    Exited,
}

impl Moment {
    /// The one that ends a stage.
    pub fn after(stage: Stage) -> Self {
        match stage {
            Stage::Create => Moment::Created,
            Stage::CreateLinks => Moment::Linked,
            Stage::Configure => Moment::Configured,
            Stage::Healthy => Moment::Healthy,
            Stage::Exit => Moment::Exited,
        }
    }
}

/// Why a node goes no further.
#[derive(Debug)]
pub enum Stop {
    /// Another one has failed.
    Cancelled,
    Failed(LabError),
}

impl From<LabError> for Stop {
    fn from(error: LabError) -> Self {
        Stop::Failed(error)
    }
}

#[derive(Default)]
pub struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    reached: BTreeSet<(String, Moment)>,
    records: BTreeMap<String, NodeRecord>,
    /// The first failure.
    failed: Option<LabError>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node runs. One that comes after a failure is ended.
    pub fn register(&self, record: &NodeRecord) -> Result<(), Stop> {
        let mut state = self.lock();
        state.records.insert(record.name.clone(), record.clone());
        if state.failed.is_some() {
            drop(state::kill(record));
            return Err(Stop::Cancelled);
        }
        Ok(())
    }

    pub fn pid(&self, name: &str) -> Result<i32, Stop> {
        self.lock().records.get(name).map(|record| record.pid).ok_or(Stop::Cancelled)
    }

    /// Answers whether all of `others` are that far as well.
    pub fn reach(&self, name: &str, moment: Moment, others: &BTreeSet<&str>) -> bool {
        let mut state = self.lock();
        state.reached.insert((name.into(), moment));
        self.changed.notify_all();
        others.iter().all(|other| state.reached.contains(&(other.to_string(), moment)))
    }

    pub fn has(&self, name: &str, moment: Moment) -> bool {
        self.lock().reached.contains(&(name.into(), moment))
    }

    pub fn until(&self, name: &str, moment: Moment) -> Result<(), Stop> {
        let wanted = (name.to_string(), moment);
        let mut state = self.lock();
        loop {
            if state.failed.is_some() {
                return Err(Stop::Cancelled);
            }
            if state.reached.contains(&wanted) {
                return Ok(());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn sleep(&self, time: Duration) -> Result<(), Stop> {
        let end = Instant::now() + time;
        let mut state = self.lock();
        loop {
            if state.failed.is_some() {
                return Err(Stop::Cancelled);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends all nodes, so that nobody waits for one of them, at the first failure.
    pub fn fail(&self, stop: Stop) {
        let Stop::Failed(error) = stop else { return };
        let mut state = self.lock();
        if state.failed.is_none() {
            state.failed = Some(error);
            state.records.values().for_each(|record| drop(state::kill(record)));
        }
        self.changed.notify_all();
    }

    /// A thread that panics while it holds this fails for all: nobody waits for what it would have reached.
    pub fn guard(&self) -> Guard<'_> {
        Guard(self)
    }

    /// The first failure, once all nodes have ended.
    pub fn end(self) -> Result<(), LabError> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(error) = state.failed else { return Ok(()) };
        let killed: Vec<_> = state.records.values().filter_map(state::kill).collect();
        killed.iter().try_for_each(state::wait_for_end)?;
        Err(error)
    }
}

pub struct Guard<'a>(&'a Board);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Stop::Failed(LabError::Lab("a node's part of the deployment panicked".into())));
        }
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
