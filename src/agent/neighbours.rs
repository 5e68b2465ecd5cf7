//! Looks at what others keep in the kernel, now and then and when somebody asks for the status. Called by health and by the
//! followers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use routenet_core::policy::mark_bits;
use tracing::warn;

use super::Agent;
use crate::plane::neighbours::{self, Neighbours};

/// Between two looks that nobody asked for; each runs some listings of a few milliseconds.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// What the last look found.
#[derive(Default)]
pub struct LastLook {
    found: Mutex<Arc<Neighbours>>,
    /// Held by who looks, so that many who ask do not look at once.
    looking: tokio::sync::Mutex<()>,
}

impl LastLook {
    pub fn found(&self) -> Arc<Neighbours> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Agent {
    /// Looks now.
    pub async fn look_at_neighbours(&self) {
        let _looking = self.neighbours.looking.lock().await;
        let (backend, marks) = (self.hands.rules.backend(), mark_bits(self.config.iptables.mark_mask));
        match tokio::task::spawn_blocking(move || neighbours::look(backend, marks)).await {
            Ok(found) => *self.neighbours.found.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(found),
            Err(error) => warn!(%error, "what others keep in the kernel was not looked at"),
        }
    }
}

/// As long as the agent lives.
pub async fn watch(agent: Arc<Agent>) {
    loop {
        agent.look_at_neighbours().await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
