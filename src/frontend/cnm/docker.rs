//! A client of Docker's API, for the little that its plugin protocol does not say.
//!
//! Only calls that take no container's lock: Docker holds it while it waits for us.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// A Docker that does not answer for so long is as good as none.
const PATIENCE: Duration = Duration::from_secs(10);
/// Since Docker 1.10; understood by all that are alive.
const VERSION: &str = "v1.24";

/// Docker's own socket.
#[derive(Clone, Debug)]
pub(super) struct DockerApi {
    socket: PathBuf,
}

#[derive(Deserialize)]
struct NetworkLine {
    #[serde(rename = "Id")]
    id: String,
}

#[derive(Deserialize)]
struct NetworkInspect {
    #[serde(rename = "Containers", default)]
    containers: Option<BTreeMap<String, NetworkContainer>>,
}

#[derive(Deserialize)]
struct NetworkContainer {
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
}

#[derive(Deserialize)]
struct ContainerLine {
    #[serde(rename = "Names", default)]
    names: Vec<String>,
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
}

/// A container, as policy needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl DockerApi {
    pub fn new(socket: PathBuf) -> DockerApi {
        DockerApi { socket }
    }

    /// The NetworkIDs of this driver's networks.
    pub async fn networks(&self) -> Result<Vec<String>, String> {
        let lines: Option<Vec<NetworkLine>> =
            self.get("/networks?filters=%7B%22driver%22%3A%5B%22routenet%22%5D%7D").await?;
        Ok(lines.unwrap_or_default().into_iter().map(|line| line.id).collect())
    }

    /// EndpointIDs of a network, each with its container's id; none for a network that is gone. What has no container yet
    /// is listed under a name of Docker's making.
    pub async fn endpoints(&self, network_id: &str) -> Result<BTreeMap<String, String>, String> {
        let network: Option<NetworkInspect> = self.get(&format!("/networks/{network_id}")).await?;
        let containers = network.and_then(|network| network.containers).unwrap_or_default();
        Ok(containers.into_iter().map(|(id, container)| (container.endpoint_id, id)).collect())
    }

    /// `None`: there is no such container.
    pub async fn container(&self, id: &str) -> Result<Option<Container>, String> {
        let lines: Option<Vec<ContainerLine>> =
            self.get(&format!("/containers/json?all=1&filters=%7B%22id%22%3A%5B%22{id}%22%5D%7D")).await?;
        let line = lines.unwrap_or_default().into_iter().next();
        Ok(line.map(|line| Container {
            name: line.names.first().map_or_else(|| id.to_string(), |name| name.trim_start_matches('/').to_string()),
            labels: line.labels.unwrap_or_default(),
        }))
    }

    /// `None`: 404.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, String> {
        let failed = |what: String| format!("{}: {what}", self.socket.display());
        let (status, body) = tokio::time::timeout(PATIENCE, self.ask(path))
            .await
            .map_err(|_| failed(format!("no answer within {} s", PATIENCE.as_secs())))?
            .map_err(failed)?;
        match status {
            StatusCode::OK => {
                serde_json::from_slice(&body).map(Some).map_err(|error| failed(format!("{path}: {error}")))
            }
            StatusCode::NOT_FOUND => Ok(None),
            other => Err(failed(format!("{path}: {other}: {}", String::from_utf8_lossy(&body).trim()))),
        }
    }

    async fn ask(&self, path: &str) -> Result<(StatusCode, Bytes), String> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let request = Request::get(format!("/{VERSION}{path}")).header("Host", "docker").body(Empty::<Bytes>::new());
        let request = request.map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }
}
