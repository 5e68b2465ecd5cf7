//! The last stop of a released address before its cooldown: its connections are forgotten, then the journal says that
//! nothing of it is left. Called by the publisher, once the store has the address no more.
//!
//! Behind DEL's answer rather than in it, since the kernel's connection table has no index by address: a walk takes
//! milliseconds however few the connections are. Nobody has the address meanwhile, and one walk serves all that wait.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::allocator::Allocator;
use crate::plane::PlaneError;

const RETRY: Duration = Duration::from_secs(1);

/// Forgets the connections of these addresses; may block. `plane::conntrack::flush` where there is a kernel.
pub type Forget = Arc<dyn Fn(&BTreeSet<IpAddr>) -> Result<(), PlaneError> + Send + Sync>;

/// Takes withdrawn addresses and acknowledges them in the journal. Its task ends with it.
pub(super) struct Forgetter {
    queue: mpsc::UnboundedSender<Vec<IpAddr>>,
    /// Handed over, and not yet acknowledged.
    under_way: Arc<Mutex<BTreeSet<IpAddr>>>,
}

impl Forgetter {
    /// `done` is told when what was handed over has been acknowledged.
    pub(super) fn spawn(allocator: Arc<Allocator>, forget: Forget, done: Arc<Notify>) -> Forgetter {
        let (queue, waiting) = mpsc::unbounded_channel();
        let under_way = Arc::new(Mutex::new(BTreeSet::new()));
        let worker = Worker { allocator, forget, under_way: under_way.clone(), done };
        tokio::spawn(worker.run(waiting));
        Forgetter { queue, under_way }
    }

    /// What need not, and must not, be handed over again. To be read before the allocator's unacknowledged addresses: one
    /// that is not in here, and is unacknowledged after that, rests because of its latest release.
    pub(super) fn under_way(&self) -> BTreeSet<IpAddr> {
        self.under_way.lock().expect("no panic while locked").clone()
    }

    pub(super) fn take(&self, withdrawn: Vec<IpAddr>) {
        self.under_way.lock().expect("no panic while locked").extend(&withdrawn);
        // The task ends only with the runtime.
        drop(self.queue.send(withdrawn));
    }
}

struct Worker {
    allocator: Arc<Allocator>,
    forget: Forget,
    under_way: Arc<Mutex<BTreeSet<IpAddr>>>,
    done: Arc<Notify>,
}

impl Worker {
    async fn run(self, mut waiting: mpsc::UnboundedReceiver<Vec<IpAddr>>) {
        while let Some(first) = waiting.recv().await {
            let mut batch: BTreeSet<IpAddr> = first.into_iter().collect();
            loop {
                while let Ok(more) = waiting.try_recv() {
                    batch.extend(more);
                }
                match self.finish(&batch).await {
                    Ok(()) => break,
                    Err(why) => {
                        tracing::warn!(%why, addresses = batch.len(), "released addresses cannot be given out again yet; retrying");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
            self.under_way.lock().expect("no panic while locked").retain(|address| !batch.contains(address));
            self.done.notify_one();
        }
    }

    async fn finish(&self, batch: &BTreeSet<IpAddr>) -> Result<(), String> {
        let (forget, addresses) = (self.forget.clone(), batch.clone());
        let forgotten = tokio::task::spawn_blocking(move || forget(&addresses)).await;
        forgotten.map_err(|panic| panic.to_string())?.map_err(|error| error.to_string())?;
        self.allocator.acknowledge(batch.iter().copied().collect()).await.map_err(|error| error.to_string())
    }
}
