//! A thread that hands requests to the kernel while the worker makes the next ones ready and enters what became of those
//! before: the kernel works on a request within `sendmsg`, and that is most of the time that a route takes.

use std::io;
use std::sync::mpsc;

use crate::plane::netlink::{Connection, Outcome, Request};

/// Ends with this handle.
pub(super) struct Writer {
    requests: mpsc::Sender<Vec<Request>>,
    outcomes: mpsc::Receiver<io::Result<Vec<Outcome>>>,
    port: u32,
}

impl Writer {
    /// Starts the thread in the calling thread's network namespace.
    pub(super) fn spawn() -> io::Result<Writer> {
        let mut connection = Connection::open()?;
        let port = connection.port();
        let (requests, inbox) = mpsc::channel::<Vec<Request>>();
        let (answers, outcomes) = mpsc::channel();
        let write = move || {
            for batch in inbox {
                // Nobody waits for it any more when the plane ends.
                let _ = answers.send(connection.batch(&batch));
            }
        };
        std::thread::Builder::new().name("rn-route-write".to_string()).spawn(write)?;
        Ok(Writer { requests, outcomes, port })
    }

    /// The sender that the kernel names in notifications of what was submitted here.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Queues a batch; each has to be collected.
    pub(super) fn submit(&self, requests: Vec<Request>) {
        // That the thread has gone is said by `collect`.
        let _ = self.requests.send(requests);
    }

    /// Waits for the oldest batch that was not collected yet.
    pub(super) fn collect(&self) -> io::Result<Vec<Outcome>> {
        self.outcomes.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that writes routes has ended")))
    }
}
