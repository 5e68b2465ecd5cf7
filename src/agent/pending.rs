//! Changes of objects that hold only if somebody confirms them: what was there before is kept in the store beside them, and
//! put back when the time is over, by whichever agent is there then. Called by the local API and the start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use routenet_core::model::{NodeName, stable_hash};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::health::epoch_seconds;
use super::objects::{GUARD, invalid, unavailable};
use crate::api::ApiError;
use crate::store::{Check, ClusterStore, Entry, Revision, StoreError, TxnOutcome, Write};

/// `/pending/ID`.
const PENDING: &str = "/pending/";
/// How often an agent looks for changes whose time is over: those that another agent took, and died.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often rolling back is tried again when others write at the same time.
const ATTEMPTS: usize = 10;

/// What a change did, so that it can be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    /// Seconds since the Unix epoch.
    deadline: u64,
    restore: Vec<Restore>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Restore {
    key: String,
    /// `None`: it was not there.
    before: Option<String>,
    /// Put back only if it still says so.
    written: String,
}

/// A change that must be confirmed within some time.
#[derive(Clone, Debug)]
pub struct Confirm {
    pub id: String,
    deadline: u64,
}

impl Confirm {
    pub fn within(node: &NodeName, seconds: u32) -> Confirm {
        let now = SystemTime::now();
        let nanos = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
        let id = stable_hash([node.as_str(), nanos.as_str()], 8);
        Confirm { id, deadline: epoch_seconds(now) + u64::from(seconds) }
    }

    /// What must be written with these writes. `before`: the values that are there now, by key.
    pub fn note(&self, writes: &[Write], before: &BTreeMap<String, Vec<u8>>) -> Write {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let restore = writes.iter().filter_map(|write| match write {
            Write::Put { key, value } => Some(Restore {
                key: key.clone(),
                before: before.get(key).map(|value| text(value)),
                written: text(value),
            }),
            Write::Delete { .. } => None,
        });
        let pending = Pending { deadline: self.deadline, restore: restore.collect() };
        let value = serde_json::to_vec(&pending).expect("texts and numbers are JSON");
        Write::Put { key: format!("{PENDING}{}", self.id), value }
    }
}

/// Rolls back what is not confirmed in time, as long as the agent lives.
pub fn watch(store: Arc<dyn ClusterStore>) {
    tokio::spawn(async move {
        loop {
            if store.writable() {
                match look(&*store).await {
                    Ok(()) => {}
                    Err(error) => tracing::debug!(%error, "changes that wait for a confirmation cannot be looked at"),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
}

/// Rolls this one back at its deadline.
pub fn at_deadline(store: Arc<dyn ClusterStore>, confirm: Confirm) {
    tokio::spawn(async move {
        let left = confirm.deadline.saturating_sub(epoch_seconds(SystemTime::now()));
        tokio::time::sleep(Duration::from_secs(left)).await;
        // What fails is tried again by the look.
        if let Err(error) = look(&*store).await {
            warn!(%error, id = confirm.id, "a change that nobody confirmed cannot be rolled back yet");
        }
    });
}

async fn look(store: &dyn ClusterStore) -> Result<(), StoreError> {
    let now = epoch_seconds(SystemTime::now());
    let (entries, _) = store.range(PENDING).await?;
    for entry in entries {
        match serde_json::from_slice::<Pending>(&entry.value) {
            Ok(pending) if pending.deadline <= now => roll_back(store, &entry, &pending).await?,
            Ok(_) => {}
            Err(error) => warn!(key = entry.key, %error, "a change that waits for a confirmation cannot be read"),
        }
    }
    Ok(())
}

async fn roll_back(store: &dyn ClusterStore, entry: &Entry, pending: &Pending) -> Result<(), StoreError> {
    for _ in 0..ATTEMPTS {
        let guard: Revision = store.get(GUARD).await?.map_or(0, |entry| entry.revision);
        let mut writes = vec![
            Write::Delete { key: entry.key.clone() },
            Write::Put { key: GUARD.to_string(), value: b"{}".to_vec() },
        ];
        let mut passed_over = Vec::new();
        for restore in &pending.restore {
            let present = store.get(&restore.key).await?;
            if present.as_ref().map(|entry| entry.value.as_slice()) != Some(restore.written.as_bytes()) {
                passed_over.push(restore.key.as_str());
                continue;
            }
            writes.push(match &restore.before {
                Some(before) => Write::Put { key: restore.key.clone(), value: before.clone().into_bytes() },
                None => Write::Delete { key: restore.key.clone() },
            });
        }
        let checks = vec![
            Check { key: entry.key.clone(), revision: entry.revision },
            Check { key: GUARD.to_string(), revision: guard },
        ];
        match store.transact(checks, writes).await? {
            TxnOutcome::Committed(revision) => {
                let objects = pending.restore.len() - passed_over.len();
                info!(revision, objects, "a change that nobody confirmed is rolled back");
                if !passed_over.is_empty() {
                    warn!(objects = passed_over.join(" "), "changed by others since, and left as they are");
                }
                return Ok(());
            }
            TxnOutcome::Conflict(_) if store.get(&entry.key).await?.is_none() => return Ok(()),
            TxnOutcome::Conflict(_) => {}
        }
    }
    Ok(())
}

/// What was applied under the name holds from now on.
///
/// # Errors
/// There is nothing of that name (any more).
pub async fn confirm(store: &dyn ClusterStore, id: &str) -> Result<(), ApiError> {
    let key = format!("{PENDING}{id}");
    let gone = || {
        let what = "nothing waits for a confirmation under it";
        invalid(format!("{id}: {what}: it was confirmed before, or its time is over and it was rolled back"))
    };
    let entry = store.get(&key).await.map_err(unavailable)?.ok_or_else(gone)?;
    let checks = vec![Check { key: key.clone(), revision: entry.revision }];
    match store.transact(checks, vec![Write::Delete { key }]).await.map_err(unavailable)? {
        TxnOutcome::Committed(_) => Ok(()),
        TxnOutcome::Conflict(_) => Err(gone()),
    }
}
