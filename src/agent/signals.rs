//! What signals ask of a running program.

use tokio::signal::unix::{Signal, SignalKind, signal};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Stop,
    Reload,
}

/// SIGTERM, SIGINT and SIGHUP.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on none of them ends the program by itself. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// In words: the system takes no handler.
    pub fn new() -> Result<Signals, String> {
        let taken = |kind| signal(kind).map_err(|error| format!("signals cannot be taken: {error}"));
        Ok(Signals {
            terminate: taken(SignalKind::terminate())?,
            interrupt: taken(SignalKind::interrupt())?,
            hangup: taken(SignalKind::hangup())?,
        })
    }

    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Until it is told to stop; what it is told else meanwhile has nothing to act on yet.
    pub async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}
