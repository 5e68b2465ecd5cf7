//! The agent's local API: a unix socket on which the CNI plugin and `routectl` ask.
//!
//! One JSON request a line, one JSON reply a line, in the words of [`crate::api`]. Who may ask is decided by the
//! kernel's word about the peer, reading and writing apart: see [`access`].

pub mod access;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tracing::{debug, warn};

use crate::api::{ApiError, Reply, Request};
use access::{Access, AccessRules};

/// The longest request line: a directory of policies applied at once fits many times over.
const LONGEST_REQUEST: u64 = 64 << 20;

/// What answers requests that were allowed.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    async fn handle(&self, request: Request) -> Reply;
}

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{path}: another agent answers on this socket; stop it, or set another `paths.socket`", path = .0.display())]
    InUse(PathBuf),
    #[error("{path}: {error}; see whether `paths.socket` names a directory that this user may write", path = .path.display())]
    Io { path: PathBuf, error: std::io::Error },
}

/// The listening socket; its file is removed when this is dropped.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    access: AccessRules,
}

impl Server {
    /// Binds `path`, taking the place of a socket on which nobody listens any more.
    pub async fn bind(path: &Path, access: AccessRules) -> Result<Server, SocketError> {
        let io = |error| SocketError::Io { path: path.to_path_buf(), error };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(io)?;
        }
        match UnixStream::connect(path).await {
            Ok(_) => return Err(SocketError::InUse(path.to_path_buf())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => std::fs::remove_file(path).map_err(io)?,
        }
        let listener = UnixListener::bind(path).map_err(io)?;
        // Whom the kernel lets connect is the coarse sieve, `access` the fine one.
        let mode = if access.has_groups() { 0o666 } else { 0o600 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(io)?;
        Ok(Server { listener, path: path.to_path_buf(), access })
    }

    /// Answers until the task is dropped; a connection's trouble is its own.
    pub async fn serve(self, handler: Arc<dyn Handler>) {
        let access = Arc::new(self.access.clone());
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(converse(stream, access.clone(), handler.clone()));
                }
                Err(error) => {
                    warn!(%error, "cannot accept on the agent's socket");
                    // Out of descriptors: others must end before this can work again.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse(stream: UnixStream, rules: Arc<AccessRules>, handler: Arc<dyn Handler>) {
    let access = rules.of_peer(&stream);
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(LONGEST_REQUEST).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let reply = answer(&line, access, handler.as_ref()).await;
        let mut text = serde_json::to_vec(&reply).unwrap_or_else(|error| {
            format!(r#"{{"error":{{"code":"internal","message":"the reply cannot be written: {error}"}}}}"#)
                .into_bytes()
        });
        text.push(b'\n');
        if let Err(error) = writer.write_all(&text).await {
            debug!(%error, "a client went away before its answer");
            return;
        }
    }
}

async fn answer(line: &[u8], access: Access, handler: &dyn Handler) -> Reply {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return refuse("invalid", format!("this is no request: {error}")),
    };
    if !access.allows(&request) {
        let right = if request.writes() { "write" } else { "read" };
        let mend = format!("run as root, or join the group that `api.{right}Group` in the node's configuration names");
        return refuse("denied", format!("this user may not {right} through the agent's socket; {mend}"));
    }
    handler.handle(request).await
}

fn refuse(code: &str, message: String) -> Reply {
    Reply::Error(ApiError { code: code.to_string(), message })
}

#[cfg(test)]
#[path = "local_api_tests.rs"]
mod tests;
