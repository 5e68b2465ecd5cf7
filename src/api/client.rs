//! The blocking client of the agent's socket: one request, one reply. Used by `routectl`.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{ApiError, Reply, Request};

/// Where an agent listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/routenet/agent.sock";

/// How long the agent may take for a reply. Applying a large directory of policies takes seconds; a minute means that
/// it hangs.
const REPLY_LIMIT: Duration = Duration::from_secs(60);

/// Why there is no answer. Each says what, and what mends it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "no agent socket at {}: is routenetd running on this machine? Start it, or name its socket with --socket PATH or ROUTENET_SOCKET",
        .0.display()
    )]
    Missing(PathBuf),
    #[error(
        "not allowed to use {}: run as root (sudo), or as a member of the group that the agent's configuration names under `api:`",
        .0.display()
    )]
    Forbidden(PathBuf),
    #[error(
        "{} is there, but no agent listens on it: routenetd has stopped or was killed. Start it again; running workloads keep their network meanwhile",
        .0.display()
    )]
    Dead(PathBuf),
    #[error("{}: {error}", socket.display())]
    Io { socket: PathBuf, error: io::Error },
    #[error(
        "the agent at {} closed the connection without a reply: see its log (journalctl -u routenetd)",
        .0.display()
    )]
    NoReply(PathBuf),
    #[error(
        "the agent at {} did not reply within {} s: see its log (journalctl -u routenetd)",
        .0.display(), REPLY_LIMIT.as_secs()
    )]
    Late(PathBuf),
    #[error("the agent at {} replied with something else than expected: {what}. Are routectl and routenetd of one version?", socket.display())]
    Strange { socket: PathBuf, what: String },
    /// The agent understood, and said no.
    #[error(transparent)]
    Refused(#[from] ApiError),
}

/// A client of one agent. Each call is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    pub fn new(socket: impl Into<PathBuf>) -> Client {
        Client { socket: socket.into() }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends the request, waits for the reply and reads it as `T`.
    pub fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<T, ClientError> {
        let value = self.exchange(request)?;
        serde_json::from_value(value).map_err(|error| self.strange(error))
    }

    fn exchange(&self, request: &Request) -> Result<serde_json::Value, ClientError> {
        let mut stream = UnixStream::connect(&self.socket).map_err(|error| self.io(error))?;
        stream.set_read_timeout(Some(REPLY_LIMIT)).map_err(|error| self.io(error))?;
        let mut line = serde_json::to_string(request).expect("a request is plain data with text keys");
        line.push('\n');
        // An agent that refuses the caller replies and closes without reading: its reply says more than the broken pipe.
        let sent = stream.write_all(line.as_bytes());
        let mut reply = String::new();
        match (BufReader::new(stream).read_line(&mut reply), sent) {
            (Ok(0), Err(error)) => return Err(self.io(error)),
            (Ok(0), Ok(())) => return Err(ClientError::NoReply(self.socket.clone())),
            (Ok(_), _) => {}
            (Err(error), _) => return Err(self.io(error)),
        }
        match serde_json::from_str(&reply).map_err(|error| self.strange(error))? {
            Reply::Ok(value) => Ok(value),
            Reply::Error(error) => Err(ClientError::Refused(error)),
        }
    }

    fn io(&self, error: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            io::ErrorKind::NotFound => ClientError::Missing(socket),
            io::ErrorKind::PermissionDenied => ClientError::Forbidden(socket),
            io::ErrorKind::ConnectionRefused => ClientError::Dead(socket),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ClientError::NoReply(socket),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Late(socket),
            _ => ClientError::Io { socket, error },
        }
    }

    fn strange(&self, error: serde_json::Error) -> ClientError {
        ClientError::Strange { socket: self.socket.clone(), what: error.to_string() }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
