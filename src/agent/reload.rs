//! What SIGHUP came to: the node's file read again, and what the status says of what was not taken over.

use std::sync::{Mutex, MutexGuard, PoisonError};

use routenet_core::model::config::{NodeConfig, StoreConfig, take_over};
use tracing::{error, info, warn};

use super::Agent;
use super::health::{Found, found};
use crate::store::NoneStore;

/// The last reading of the node's file.
#[derive(Default)]
pub struct Reload(Mutex<Outcome>);

#[derive(Default)]
struct Outcome {
    refused: Option<String>,
    /// Fields of which the present start keeps what it had.
    waits: Vec<&'static str>,
}

impl Reload {
    /// With the fields that wait for the next start, or why nothing was taken over, in words.
    pub fn note(&self, outcome: Result<Vec<&'static str>, String>) {
        let (refused, waits) = match outcome {
            Ok(waits) => (None, waits),
            Err(why) => (Some(why), Vec::new()),
        };
        match &refused {
            Some(why) => error!(%why, "SIGHUP: the configuration cannot be taken over; the one that is in force stays"),
            None => info!("SIGHUP: the configuration was read again"),
        }
        for field in &waits {
            warn!(field, "SIGHUP: this change takes effect when routenetd is restarted");
        }
        let mut last = self.lock();
        if refused.is_none() {
            last.waits = waits;
        }
        last.refused = refused;
    }

    pub(super) fn problems(&self) -> Vec<Found> {
        let last = self.lock();
        let refused = last.refused.as_ref().map(|why| {
            let what = format!("the configuration was read again and not taken over, what was in force stays: {why}");
            found("configuration", what, "mend the file, and send routenetd SIGHUP again")
        });
        let waits = (!last.waits.is_empty()).then(|| {
            let what = format!("the file says something else than what is in force of {}", last.waits.join(", "));
            found("configuration", what, "restart routenetd, or take it back and send SIGHUP")
        });
        refused.into_iter().chain(waits).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Agent {
    /// The node's file anew and, where it says all, its policies: both or neither. Blocks on the disk.
    pub fn reload(&self, none: Option<&NoneStore>, read: Result<NodeConfig, String>) {
        let outcome = read.and_then(|read| {
            let (taken, waits) = take_over(&self.config(), &read)?;
            let reading = match (none, &read.store) {
                (Some(store), StoreConfig::None(cluster)) => {
                    Some((store, store.read_again(cluster).map_err(|error| error.to_string())?))
                }
                _ => None,
            };
            self.take_over(taken, || {
                if let Some((store, reading)) = reading {
                    store.commit(reading);
                }
            });
            Ok(waits)
        });
        self.reload.note(outcome);
    }
}
