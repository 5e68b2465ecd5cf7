//! The link plane: the veths of workloads. Called by the agent; owns every link called `rnw` and 11 hexadecimal digits
//! in the network namespace in which it was started, and no other.
//!
//! | file | does |
//! |---|---|
//! | `worker` | the thread: requests, the kernel's notifications, retries |
//! | `build` | one link: create, adopt, mend, check |
//! | `host` | the host side: messages, and how it should look |
//! | `workload` | the workload's side: messages, and how it should look |
//! | `namespace` | network namespaces by path |
//! | `reaper` | deletes links in the background |

mod build;
mod host;
mod reaper;
mod worker;
mod workload;

use crate::plane::namespace::Namespace;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use routenet_core::desired::Link;
use routenet_core::model::InterfaceName;
use tokio::sync::{mpsc, oneshot};

use super::{PlaneError, PlaneStatus};

/// Whether a path leads to a network namespace that a workload can have: not this host's own. Changes nothing.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check_workload_namespace(path: &str) -> Result<(), String> {
    let host = Namespace::open("/proc/thread-self/ns/net")?;
    Namespace::of_workload(path, &host).map(|_| ())
}

/// How the error of [`LinkPlane::create`] reads where the workload has such an interface already.
pub const EXISTS_ALREADY: &str = "exists already in";

/// A request to the worker, with where its answer goes.
enum Command {
    Start(BTreeMap<InterfaceName, Link>, oneshot::Sender<Result<(), PlaneError>>),
    Create(Box<Link>, oneshot::Sender<Result<(), PlaneError>>),
    Delete(InterfaceName, oneshot::Sender<Result<(), PlaneError>>),
    Check(Box<Link>, oneshot::Sender<Vec<String>>),
}

/// The handle; its clones are the same plane, which ends with the last of them. Links stay in the kernel.
#[derive(Clone)]
pub struct LinkPlane {
    commands: mpsc::UnboundedSender<Command>,
    status: Arc<Mutex<PlaneStatus>>,
}

impl LinkPlane {
    /// Starts the plane in the calling thread's network namespace.
    ///
    /// # Errors
    /// When sockets or threads are not to be had.
    pub fn spawn() -> Result<LinkPlane, PlaneError> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let status = Arc::new(Mutex::new(PlaneStatus::default()));
        worker::spawn(inbox, status.clone())?;
        Ok(LinkPlane { commands, status })
    }

    /// Takes over what is there: a link that is as wanted is not touched, one that differs is mended, one that is missing
    /// is created if its workload still exists, links of ours that nobody wants are deleted.
    ///
    /// # Errors
    /// The first link that could not be had, and how many more; the others are done, and these are retried.
    pub async fn start(&self, wanted: BTreeMap<InterfaceName, Link>) -> Result<(), PlaneError> {
        self.ask(|reply| Command::Start(wanted, reply)).await?
    }

    /// Makes a link, under the name of [`routenet_core::model::EndpointKey::host_interface`]; when it answers, packets
    /// pass in both directions as far as routes and rules let them.
    ///
    /// # Errors
    /// Why there is no link: nothing of it is left then, and it is not retried.
    pub async fn create(&self, link: Link) -> Result<(), PlaneError> {
        self.ask(|reply| Command::Create(Box::new(link), reply)).await?
    }

    /// Takes a link away, if it is there; when it answers, it is gone from both namespaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn delete(&self, name: InterfaceName) -> Result<(), PlaneError> {
        self.ask(|reply| Command::Delete(name, reply)).await?
    }

    /// What of a link, on the host and inside the workload, is missing or changed, in words; empty: nothing.
    pub async fn check(&self, link: Link) -> Vec<String> {
        match self.ask(|reply| Command::Check(Box::new(link), reply)).await {
            Ok(said) => said,
            Err(error) => vec![error.to_string()],
        }
    }

    pub fn status(&self) -> PlaneStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, PlaneError> {
        let ended = || PlaneError {
            object: "link plane".to_string(),
            what: "its thread has ended; restart the agent".to_string(),
        };
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}
