//! HTTP on the plugin's socket: POST, JSON in and out, as Docker's plugin client speaks it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};

use super::{Driver, Refusal};

const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{path}: another driver answers on this socket; stop it, or set another `docker.socket`", path = .0.display())]
    InUse(PathBuf),
    #[error("{path}: {error}; see whether `docker.socket` names a directory that this user may write", path = .path.display())]
    Io { path: PathBuf, error: std::io::Error },
}

/// The listening socket; its file is removed when this is dropped.
pub struct Server {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Server {
    /// Binds `path`, taking the place of a socket on which nobody listens any more.
    pub async fn bind(path: &Path) -> Result<Server, SocketError> {
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
        // Whoever may write to it decides over networks: Docker runs as root.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
        Ok(Server { listener: Some(listener), path: path.to_path_buf() })
    }

    /// Answers until the task is dropped.
    pub async fn serve(mut self, driver: Driver) -> std::io::Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let router = Router::new().fallback(answer).with_state(driver);
        axum::serve(listener, router).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(State(driver): State<Driver>, uri: Uri, body: Bytes) -> Response {
    // To its end also where Docker hangs up: half a call would be worse than one that nobody hears.
    let call = tokio::spawn(async move { driver.call(uri.path(), &body).await });
    let outcome = call.await.unwrap_or_else(|error| Err(Refusal { status: 500, message: error.to_string() }));
    let (status, body) = match outcome {
        Ok(reply) => (StatusCode::OK, reply),
        Err(Refusal { status, message }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, json!({ "Err": message, "Error": message }))
        }
    };
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body.to_string()).into_response()
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
