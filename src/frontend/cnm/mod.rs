//! The CNM dialect: Docker's remote network and IPAM driver, `docker network create -d routenet --ipam-driver routenet`.
//!
//! Docker sends an IPAM's calls apart from a network's, an endpoint before its container exists, and a container's name
//! and labels never. So what was said is noted in the journal until the rest comes (`state`), the workload's end of the
//! veth is handed over for Docker to move, and an endpoint stays closed until `identity` has asked Docker's API.
//!
//! | file | does |
//! |---|---|
//! | `server` | HTTP on the plugin's socket |
//! | `messages` | the words of libnetwork's plugin protocol |
//! | `state` | what must be known later, kept over restarts |
//! | `ipam` | pools and addresses |
//! | `networks` | Docker networks onto our networks |
//! | `endpoints` | create, join, leave, delete |
//! | `ports` | published ports |
//! | `docker` | a client of Docker's API |
//! | `identity` | who a container is: until then it is closed |
//! | `collect` | what Docker knows no more |

mod collect;
mod docker;
mod endpoints;
mod identity;
mod ipam;
mod messages;
mod networks;
mod ports;
mod server;
mod state;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use routenet_core::model::{Cidr, EndpointKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing::{debug, info, warn};

use crate::frontend::{AttachError, Networks, Notes, Workloads};
use docker::DockerApi;
use state::{Change, State};

pub use server::{Server, SocketError};

/// What the front-end is told once.
#[derive(Clone, Debug)]
pub struct CnmConfig {
    /// Docker's own socket.
    pub api: PathBuf,
    /// What networks without `--subnet` are cut from: prefix, and length of the cut.
    pub bases: Vec<(Cidr, u8)>,
    /// How long somebody else's former address keeps its new holder closed.
    pub cooldown: Duration,
}

/// The agent, as this dialect needs it.
pub struct Hosts {
    pub workloads: Arc<dyn Workloads>,
    pub networks: Arc<dyn Networks>,
    pub notes: Arc<dyn Notes>,
}

/// A refusal, in Docker's words: a network's error is read from `Err`, an IPAM's from `Error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Of HTTP.
    status: u16,
    message: String,
}

impl Refusal {
    /// The call itself is wrong, or cannot be as it is.
    fn bad(message: impl Into<String>) -> Refusal {
        Refusal { status: 400, message: message.into() }
    }

    fn unknown(what: &str, id: &str, mend: &str) -> Refusal {
        Refusal { status: 404, message: format!("routenet knows no {what} {id}: {mend}") }
    }
}

impl From<AttachError> for Refusal {
    fn from(error: AttachError) -> Refusal {
        Refusal { status: 500, message: error.to_string() }
    }
}

/// The driver; its clones are the same one.
#[derive(Clone)]
pub struct Driver(Arc<Shared>);

struct Shared {
    config: CnmConfig,
    hosts: Hosts,
    docker: DockerApi,
    state: Mutex<State>,
    /// Held from reading an endpoint's note to writing it, so that no change of it is lost, and no two choose one port.
    amending: tokio::sync::Mutex<()>,
    /// Set once the store has nothing of this node's that no note tells of.
    settled: tokio::sync::OnceCell<()>,
    /// Why containers stay closed, while Docker's API cannot be asked.
    unanswered: Mutex<Option<String>>,
}

impl Driver {
    /// With what an earlier run noted. Starts asking Docker about what is not known, and collecting what Docker forgot.
    ///
    /// # Errors
    /// A note that cannot be read, naming it.
    pub async fn start(config: CnmConfig, hosts: Hosts, notes: &[(String, String)]) -> Result<Driver, String> {
        let docker = DockerApi::new(config.api.clone());
        let state = Mutex::new(State::read(notes)?);
        let shared = Shared {
            config,
            hosts,
            docker,
            state,
            amending: tokio::sync::Mutex::default(),
            settled: tokio::sync::OnceCell::new(),
            unanswered: Mutex::default(),
        };
        let driver = Driver(Arc::new(shared));
        driver.release_unknown().await;
        driver.identify_all();
        tokio::spawn(driver.clone().collect());
        Ok(driver)
    }

    /// An earlier run that was killed between reserving an address and noting it: Docker was never told of that address,
    /// and will not give it back. Before the first call, which could be between the two itself.
    async fn release_unknown(&self) {
        let noted = self.noted_keys();
        for key in self.0.hosts.networks.reservations().into_iter().filter(|key| !noted.contains(key)) {
            match self.0.hosts.networks.unreserve(&key).await {
                Ok(()) => info!(%key, "an address was reserved that Docker never heard of: released"),
                Err(error) => warn!(%key, %error, "what was reserved for nobody stays reserved until the next start"),
            }
        }
    }

    /// Under which keys Docker has addresses, or is about to.
    pub fn noted_keys(&self) -> BTreeSet<EndpointKey> {
        let state = self.state();
        let reserved = state.addresses.values().map(|note| note.key.clone());
        let joined = state.endpoints.values().filter_map(|note| note.joined.as_ref()).map(|joined| joined.key.clone());
        reserved.chain(joined).collect()
    }

    /// What is wrong between Docker and us, and what mends it.
    pub fn problem(&self) -> Option<(String, String)> {
        let why = self.0.unanswered.lock().expect("no panic while locked").clone()?;
        let what = format!("Docker's containers cannot be identified, so they stay closed: {why}");
        Some((what, "see whether Docker runs, and `docker.api` names its socket".to_string()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic while locked")
    }

    /// Notes the changes, then knows them.
    async fn save(&self, changes: Vec<Change>) -> Result<(), Refusal> {
        self.0.hosts.notes.write(changes.iter().map(Change::note).collect()).await?;
        let mut state = self.state();
        changes.into_iter().for_each(|change| state.take(change));
        Ok(())
    }

    /// Carries one call out. `path` is the request's, `/NetworkDriver.Join`.
    pub(crate) async fn call(&self, path: &str, body: &[u8]) -> Result<Value, Refusal> {
        let outcome = self.dispatch(path, body).await;
        match &outcome {
            Ok(reply) => debug!(call = path, %reply, "answered"),
            Err(refusal) => info!(call = path, error = %refusal.message, "refused"),
        }
        outcome
    }

    async fn dispatch(&self, path: &str, body: &[u8]) -> Result<Value, Refusal> {
        match path {
            "/Plugin.Activate" => Ok(json!({ "Implements": ["NetworkDriver", "IpamDriver"] })),
            "/NetworkDriver.GetCapabilities" => {
                Ok(json!({ "Scope": "local", "ConnectivityScope": "global", "GwAllocChecker": true }))
            }
            // Nobody needs an address of the pool for a gateway.
            "/NetworkDriver.GwAllocCheck" => Ok(json!({ "SkipIPv4": true, "SkipIPv6": true })),
            "/IpamDriver.GetCapabilities" => Ok(json!({ "RequiresMACAddress": false, "RequiresRequestReplay": false })),
            "/IpamDriver.GetDefaultAddressSpaces" => Ok(json!({
                "LocalDefaultAddressSpace": "routenet-local",
                "GlobalDefaultAddressSpace": "routenet-global",
            })),
            "/IpamDriver.RequestPool" => reply(self.request_pool(read(body)?).await?),
            "/IpamDriver.ReleasePool" => reply(self.release_pool(read(body)?).await?),
            "/IpamDriver.RequestAddress" => reply(self.request_address(read(body)?).await?),
            "/IpamDriver.ReleaseAddress" => reply(self.release_address(read(body)?).await?),
            "/NetworkDriver.CreateNetwork" => reply(self.create_network(read(body)?).await?),
            "/NetworkDriver.DeleteNetwork" => reply(self.delete_network(read(body)?).await?),
            "/NetworkDriver.CreateEndpoint" => reply(self.create_endpoint(read(body)?).await?),
            "/NetworkDriver.EndpointOperInfo" => reply(self.endpoint_info(&read(body)?)?),
            "/NetworkDriver.DeleteEndpoint" => reply(self.delete_endpoint(read(body)?).await?),
            "/NetworkDriver.Join" => reply(self.join(read(body)?).await?),
            "/NetworkDriver.Leave" => reply(self.leave(read(body)?).await?),
            "/NetworkDriver.ProgramExternalConnectivity" => reply(self.publish(read(body)?).await?),
            "/NetworkDriver.RevokeExternalConnectivity" => reply(self.unpublish(read(body)?).await?),
            // Other nodes are known from the cluster store, not from Docker.
            "/NetworkDriver.DiscoverNew" | "/NetworkDriver.DiscoverDelete" => Ok(json!({})),
            _ => {
                let method = path.trim_start_matches('/');
                Err(Refusal { status: 404, message: format!("routenet has no method {method}") })
            }
        }
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        // Docker repeats a call whose connection broke, and one of the repetitions has lost its body.
        return Err(Refusal::bad("the call has no body: repeat the command"));
    }
    serde_json::from_slice(body).map_err(|error| Refusal::bad(format!("the call cannot be read: {error}")))
}

fn reply(value: impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(|error| Refusal { status: 500, message: error.to_string() })
}

#[cfg(test)]
#[path = "cnm_tests.rs"]
mod tests;
