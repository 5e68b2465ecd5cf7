//! Sets and chains behind one handle and one worker thread, since their order matters: sets grow, chains change, sets
//! shrink. Called by the agent.
//!
//! The worker keeps the desired state. A change is noted as wanted first and then brought to the kernel; what the kernel
//! refuses stays noted, is reported, and is tried again with back-off while everything else goes on.

mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use routenet_core::desired::{ChainKey, ChainRule, Hook, RulesDelta, SetName, SetSpec};
use routenet_core::model::Family;
use tokio::sync::oneshot;

use super::iptables::Backend;
pub use super::iptables::RuleCounters;
use super::{PlaneError, PlaneStatus};
use worker::{Reply, Request, Worker};

/// How the worker works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesConfig {
    pub backend: Backend,
    /// How often everything of ours is read back, for what the kernel tells nobody of.
    pub full_read_interval: Duration,
    /// Whether members of sets count packets and bytes.
    pub set_counters: bool,
}

impl RulesConfig {
    /// Reads back every 30 seconds; members count nothing.
    pub fn new(backend: Backend) -> RulesConfig {
        RulesConfig { backend, full_read_interval: Duration::from_secs(30), set_counters: false }
    }
}

/// The handle. Requests are served in the order in which they were made, over all clones. The worker ends, and leaves
/// the kernel as it is, when the last clone is dropped.
#[derive(Clone)]
pub struct RulesPlane {
    requests: Sender<Request>,
    wake: Arc<UnixStream>,
    status: Arc<Mutex<Statuses>>,
    backend: Backend,
}

/// Of ipset and of iptables.
type Statuses = (PlaneStatus, PlaneStatus);

impl RulesPlane {
    /// Starts the worker, in the network namespace of the calling thread. Changes nothing in the kernel yet.
    ///
    /// # Errors
    /// The kernel's ipset or nf_tables cannot be reached (no root, no such module).
    pub fn spawn(config: RulesConfig) -> Result<RulesPlane, PlaneError> {
        let failed = |error: std::io::Error| PlaneError { object: "rules plane".into(), what: error.to_string() };
        let (requests, incoming) = std::sync::mpsc::channel();
        let (wake, woken) = UnixStream::pair().map_err(failed)?;
        wake.set_nonblocking(true).map_err(failed)?;
        woken.set_nonblocking(true).map_err(failed)?;
        let status = Arc::new(Mutex::new(Statuses::default()));
        let backend = config.backend;
        let (ready, is_ready) = std::sync::mpsc::channel();
        let shared = Arc::clone(&status);
        std::thread::Builder::new()
            .name("rules".into())
            .spawn(move || match Worker::open(config, incoming, woken, shared) {
                Ok(worker) => {
                    // The other end only goes away with the caller's thread.
                    let _ = ready.send(Ok(()));
                    worker.run();
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })
            .map_err(failed)?;
        match is_ready.recv() {
            Ok(outcome) => outcome.map(|()| RulesPlane { requests, wake: Arc::new(wake), status, backend }),
            Err(_) => Err(gone()),
        }
    }

    /// Takes the whole of what is wanted: adopts what the kernel has of it, mends the difference and sweeps the rest of
    /// ours (`rn-*` chains, `rn4-*` and `rn6-*` sets). Where nothing differs nothing is changed.
    ///
    /// # Errors
    /// The first thing that the kernel refused; the rest stands, and the refused is tried again.
    pub async fn start(
        &self,
        sets: BTreeMap<SetName, SetSpec>,
        chains: BTreeMap<ChainKey, Vec<ChainRule>>,
        hooks: BTreeSet<Hook>,
    ) -> Result<(), PlaneError> {
        self.ask(|reply| Request::Start { sets, chains, hooks, reply }).await
    }

    /// Brings a change to the kernel and answers when it has it.
    ///
    /// # Errors
    /// As [`RulesPlane::start`].
    pub async fn apply(&self, delta: RulesDelta) -> Result<(), PlaneError> {
        self.ask(|reply| Request::Apply { delta, reply }).await
    }

    /// Removes everything of ours: hooks, chains, sets. Afterwards the plane waits for another start.
    ///
    /// # Errors
    /// What could not be removed, and why.
    pub async fn remove_all(&self) -> Result<(), PlaneError> {
        self.ask(|reply| Request::RemoveAll { reply }).await
    }

    /// What each rule of a chain has counted, in the chain's order.
    pub async fn counters(&self, chain: ChainKey) -> Result<Vec<RuleCounters>, PlaneError> {
        self.ask(|reply| Request::Counters { chain, reply }).await
    }

    /// What each of our rules that drops has counted, in all tables of the family.
    pub async fn drops(&self, family: Family) -> Result<Vec<(ChainKey, RuleCounters)>, PlaneError> {
        self.ask(|reply| Request::Drops { family, reply }).await
    }

    /// Reads everything of ours back now; answers what was missing or changed of what concerns these addresses, in words.
    /// It is put back as well.
    ///
    /// # Errors
    /// The kernel could not be read, or took not all that was put back.
    pub async fn verify(&self, addresses: Vec<IpAddr>) -> Result<Vec<String>, PlaneError> {
        self.ask(|reply| Request::Verify { addresses, reply }).await
    }

    /// Which iptables the chains are in.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// How sets and chains are doing: (ipset, iptables).
    pub fn status(&self) -> (PlaneStatus, PlaneStatus) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, PlaneError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).map_err(|_| gone())?;
        // A full buffer wakes just as well.
        let _ = (&*self.wake).write(&[1]);
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> PlaneError {
    PlaneError { object: "rules plane".into(), what: "its worker has ended: restart the agent".into() }
}
