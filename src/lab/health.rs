//! The health check of a node: at a deployment until it succeeds, for who waits for that (`course`), and once for who
//! looks (`inspect`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::topology::Healthcheck;
use super::{LabError, NodeRecord, enter};

/// What is written down of a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    pub words: Vec<String>,
    /// In seconds.
    pub timeout: u64,
}

/// Checks until the node is healthy. `pause` waits, and answers false when there is no more use in it. Answers whether
/// the node has become healthy; an error, when it has failed too often.
pub fn until_healthy(
    node: &NodeRecord,
    check: &Healthcheck,
    words: &[String],
    pause: impl Fn(Duration) -> bool,
) -> Result<bool, LabError> {
    if !pause(check.start_period) {
        return Ok(false);
    }
    let mut failures = 0;
    loop {
        let Err(what) = enter::run(node, words, Some(check.timeout))? else { return Ok(true) };
        failures += 1;
        if failures >= check.retries {
            let times = if failures == 1 { "once".into() } else { format!("{failures} times") };
            return Err(LabError::node(&node.name, format!("is unhealthy: its health check failed {times}: {what}")));
        }
        if !pause(check.interval) {
            return Ok(false);
        }
    }
}

/// Whether the node is healthy now; `None` for one without a health check.
pub fn now(node: &NodeRecord) -> Option<bool> {
    let check = node.health.as_ref()?;
    Some(matches!(enter::run(node, &check.words, Some(Duration::from_secs(check.timeout))), Ok(Ok(()))))
}
