//! What each request on the socket is answered with: dispatch, nothing else.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use routenet_core::model::config::DataPlane;
use routenet_core::model::{Object, WorkloadEndpoint};
use routenet_core::policy::compare::compare;
use serde::Serialize;
use tokio::sync::watch;

use super::local_api::Handler;
use super::objects::{self, Changed};
use super::peering::request as bgp;
use super::pending::{self, Confirm};
use super::{Agent, cut};
use crate::api::listing::{ChangeReply, Connections, DiffReply, Outcome};
use crate::api::{ApiError, Document, ObjectName, Reply, Request};
use crate::frontend::cni;
use crate::plane::tunnel;

/// How long a request waits for the start to be done: an ordinary start takes a fraction of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers for the agent as soon as it stands; where that takes long, it says what the start waits for.
#[derive(Clone)]
pub struct Answers(Arc<watch::Sender<Stage>>);

enum Stage {
    WaitingFor(String),
    Ready(Arc<Agent>),
}

impl Answers {
    /// `what` is what clients are told until [`Answers::ready`] or another such call.
    pub fn waiting_for(what: impl Into<String>) -> Answers {
        Answers(Arc::new(watch::Sender::new(Stage::WaitingFor(what.into()))))
    }

    pub fn now_waiting_for(&self, what: impl Into<String>) {
        self.0.send_replace(Stage::WaitingFor(what.into()));
    }

    pub fn ready(&self, agent: Arc<Agent>) {
        self.0.send_replace(Stage::Ready(agent));
    }

    async fn agent(&self) -> Result<Arc<Agent>, String> {
        let mut stage = self.0.subscribe();
        let is_ready = stage.wait_for(|stage| matches!(stage, Stage::Ready(_)));
        // Late or not: what it is waiting for stands there.
        let _ = tokio::time::timeout(PATIENCE, is_ready).await;
        match &*self.0.borrow() {
            Stage::Ready(agent) => Ok(agent.clone()),
            Stage::WaitingFor(what) => Err(what.clone()),
        }
    }
}

#[async_trait]
impl Handler for Answers {
    async fn handle(&self, request: Request) -> Reply {
        match self.agent().await {
            Ok(agent) => agent.answer(request).await,
            Err(waiting) => {
                let message = format!("the agent is starting: {waiting}");
                Reply::Error(ApiError { code: "unavailable".into(), message })
            }
        }
    }
}

impl Agent {
    async fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Cni { command, container_id, netns, ifname, args, path: _, config } => {
                let call = cni::Call {
                    command: &command,
                    container_id: &container_id,
                    netns: &netns,
                    ifname: &ifname,
                    args: &args,
                    config: &config,
                };
                ok(&cni::handle(self.workloads.as_ref(), call).await)
            }
            Request::Get { kind, name, namespace } => {
                let runtimes = self.runtimes_endpoints();
                reply(objects::get(&*self.store, &kind, name.as_deref(), namespace.as_deref(), runtimes).await)
            }
            Request::Apply { documents, confirm, cut } => reply(self.apply(&documents, confirm, cut).await),
            Request::Confirm { id } => reply(pending::confirm(&*self.store, &id).await),
            Request::Diff { documents } => reply(self.diff(&documents).await),
            Request::Delete { documents, names, cut } => reply(self.delete(&documents, &names, cut).await),
            Request::Status => ok(&self.status().await),
            Request::Endpoints => ok(&self.endpoint_lines()),
            Request::IpamShow => ok(&self.ipam()),
            Request::IpamWhy { address } => ok(&self.ipam_why(address).await),
            Request::IpamCheck => ok(&self.ipam_check()),
            Request::IpamRelease { address, force } => reply(self.ipam_release(address, force).await),
            Request::IpamReleaseNode { node, force } => reply(self.ipam_release_node(&node, force).await),
            Request::Explain { from, to, protocol, port, trace } => {
                reply(self.explain(from, to, protocol, port, trace).await)
            }
            Request::BgpNeighbors => bgp::neighbors(&self.hands.peering).await,
            Request::BgpMesh => ok(&self.mesh_reply()),
            Request::BgpNeighbor { name } => bgp::neighbor(&self.hands.peering, &name).await,
            Request::BgpRoutes => bgp::routes(&self.hands.peering).await,
            Request::BgpRoute { prefix } => bgp::route(&self.hands.peering, &prefix).await,
            Request::BgpDump => bgp::dump(&self.hands.peering, &self.config.paths.state).await,
            Request::BgpReset { name } => bgp::reset(&self.hands.peering, &name).await,
            Request::BgpFilterTest(question) => bgp::test_filter(&self.hands.peering, *question).await,
            Request::Drain { graceful_seconds } => {
                self.drain(Duration::from_secs(graceful_seconds.into()));
                ok(&())
            }
            Request::Undrain => {
                self.undrain();
                ok(&())
            }
        }
    }
}

impl Agent {
    /// `confirm`: within how many seconds it must be, or is rolled back. `cut`: end the connections that it denies.
    async fn apply(&self, documents: &[Document], confirm: Option<u32>, cut: bool) -> Result<ChangeReply, ApiError> {
        let node = &self.config.node;
        let confirm = confirm.map(|seconds| Confirm::within(node, seconds));
        let cut = cut.then(|| cut::request(node));
        self.refuse_taken_addresses(documents)?;
        let changed = objects::apply(&*self.store, documents, confirm.as_ref(), cut.as_deref()).await?;
        let mut reply = self.changed(changed, cut.as_deref()).await;
        if let Some(confirm) = confirm
            && reply.changes.iter().any(|change| change.outcome != Outcome::Unchanged)
        {
            reply.confirm = Some(confirm.id.clone());
            pending::at_deadline(self.store.clone(), confirm);
        }
        for kind in objects::tunnels_of(documents) {
            let missing = tokio::task::spawn_blocking(move || tunnel::is_missing(kind)).await.unwrap_or_default();
            reply.warnings.extend(missing.map(|what| format!("node {node}: {what}")));
        }
        Ok(reply)
    }
}

impl Agent {
    /// What runtimes made, of all nodes; read, never written.
    fn runtimes_endpoints(&self) -> Vec<Object> {
        let own = self.allocator.endpoints();
        let known = self.cluster.read();
        let all = own.iter().chain(known.endpoints.values()).filter(|endpoint| !endpoint.key.is_by_hand());
        all.map(|endpoint| Object::WorkloadEndpoint(WorkloadEndpoint::of_runtime(endpoint))).collect()
    }

    /// An address has one holder.
    fn refuse_taken_addresses(&self, documents: &[Document]) -> Result<(), ApiError> {
        let made = self.runtimes_endpoints();
        for address in objects::workload_addresses(documents) {
            for object in &made {
                let Object::WorkloadEndpoint(WorkloadEndpoint { endpoint, .. }) = object else { continue };
                if endpoint.addresses.contains(&address) {
                    let holder = format!("{} on {}", endpoint.display_name(), endpoint.node);
                    return Err(objects::invalid(format!(
                        "WorkloadEndpoint: {address} is held by {holder}, which a runtime made; choose another one"
                    )));
                }
            }
        }
        Ok(())
    }

    async fn delete(&self, documents: &[Document], names: &[ObjectName], cut: bool) -> Result<ChangeReply, ApiError> {
        let cut = cut.then(|| cut::request(&self.config.node));
        let changed = objects::delete(&*self.store, documents, names, cut.as_deref()).await?;
        Ok(self.changed(changed, cut.as_deref()).await)
    }

    /// With what has become of the connections that policy denies by now.
    async fn changed(&self, changed: Changed, cut: Option<&str>) -> ChangeReply {
        let mut reply = ChangeReply { changes: changed.changes, ..ChangeReply::default() };
        let (Some(revision), DataPlane::Kernel) = (changed.revision, self.config.data_plane) else { return reply };
        let counted = match cut {
            Some(id) => self.ended(id).await,
            None => self.living(revision).await,
        };
        match counted {
            Ok(0) if cut.is_none() => {}
            Ok(count) => {
                let node = self.config.node.to_string();
                reply.connections = Some(Connections { node, count, cut: cut.is_some() });
            }
            Err(why) => {
                let what = "the connections that policy denies cannot be looked at";
                reply.warnings.push(format!("node {}: {what}: {why}", self.config.node));
            }
        }
        reply
    }
}

impl Agent {
    /// Off the loop: many questions may be asked.
    async fn diff(&self, documents: &[Document]) -> Result<DiffReply, ApiError> {
        let objects::Preview { before, after, changes } = objects::preview(&*self.store, documents).await?;
        let facts = self.engine.query(|desired| {
            let policy = desired.policy();
            (policy.settings().clone(), policy.endpoints())
        });
        let unavailable = |message: String| ApiError { code: "unavailable".into(), message };
        let (settings, endpoints) = facts.await.ok_or_else(|| unavailable("the agent is stopping".to_string()))?;
        let nodes: Vec<_> = self.cluster.read().nodes.keys().cloned().collect();
        let asked = tokio::task::spawn_blocking(move || compare(&settings, &endpoints, &nodes, &before, &after)).await;
        Ok(DiffReply { changes, verdicts: asked.map_err(|error| unavailable(error.to_string()))? })
    }
}

pub(super) fn ok(value: &impl Serialize) -> Reply {
    match serde_json::to_value(value) {
        Ok(value) => Reply::Ok(value),
        Err(error) => Reply::Error(ApiError { code: "internal".into(), message: error.to_string() }),
    }
}

pub(super) fn reply(outcome: Result<impl Serialize, ApiError>) -> Reply {
    match outcome {
        Ok(value) => ok(&value),
        Err(error) => Reply::Error(error),
    }
}
