//! The tunnel plane: the devices `rnt-ipip` and `rnt-vxlan`, their addresses, and the static neighbours and forwarding entries
//! of VXLAN. Called by the agent; owns everything on a device of these names, and no other device.
//!
//! | file | does |
//! |---|---|
//! | `worker` | the thread: requests, the kernel's notifications, retries |
//! | `sync` | one device: what of it is not so, and the messages that make it so |
//! | `message` | messages, and what they say back |

mod message;
mod sync;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use routenet_core::desired::Tunnel;
use routenet_core::model::TunnelKind;
use tokio::sync::{mpsc, oneshot};

use super::netlink::{Connection, Request};
use super::{PlaneError, PlaneStatus};

/// A request to the worker, with where its answer goes.
enum Command {
    Start(BTreeMap<TunnelKind, Tunnel>, oneshot::Sender<Result<(), PlaneError>>),
    Apply(BTreeMap<TunnelKind, Option<Tunnel>>, oneshot::Sender<Result<(), PlaneError>>),
}

/// The handle; its clones are the same plane, which ends with the last of them. Devices stay in the kernel.
#[derive(Clone)]
pub struct TunnelPlane {
    commands: mpsc::UnboundedSender<Command>,
    status: Arc<Mutex<PlaneStatus>>,
}

impl TunnelPlane {
    /// Starts the plane in the calling thread's network namespace.
    ///
    /// # Errors
    /// When sockets or threads are not to be had.
    pub fn spawn() -> Result<TunnelPlane, PlaneError> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let status = Arc::new(Mutex::new(PlaneStatus::default()));
        worker::spawn(inbox, status.clone())?;
        Ok(TunnelPlane { commands, status })
    }

    /// Takes over what is there: what is as wanted is not touched, a device that nobody wants is removed.
    ///
    /// # Errors
    /// The first device that could not be had; it is retried.
    pub async fn start(&self, wanted: BTreeMap<TunnelKind, Tunnel>) -> Result<(), PlaneError> {
        self.ask(|reply| Command::Start(wanted, reply)).await
    }

    /// Takes a change; `None` removes.
    ///
    /// # Errors
    /// The first device that could not be had; it is retried.
    pub async fn apply(&self, delta: BTreeMap<TunnelKind, Option<Tunnel>>) -> Result<(), PlaneError> {
        self.ask(|reply| Command::Apply(delta, reply)).await
    }

    pub fn status(&self) -> PlaneStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), PlaneError>>) -> Command,
    ) -> Result<(), PlaneError> {
        let ended = || PlaneError {
            object: "tunnel plane".to_string(),
            what: "its thread has ended; restart the agent".to_string(),
        };
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// Why this kernel cannot have such a device, with what mends it; `None`: it can. Tries, and leaves nothing. Blocks.
pub fn is_missing(kind: TunnelKind) -> Option<String> {
    let mut connection = Connection::open().ok()?;
    let probe = message::probe(kind);
    let outcome = connection.request(probe.message, probe.flags).ok()?;
    let missing = match outcome {
        Err(refusal) if message::is_unknown_kind(&refusal) => Some(message::mend_unknown(kind)),
        _ => None,
    };
    let Request { message, flags } = message::delete_probe();
    // Where it could not be made there is nothing to delete.
    let _ = connection.request(message, flags);
    missing
}
