//! What each request on the socket is answered with: dispatch, nothing else.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde::Serialize;

use super::local_api::Handler;
use super::{Agent, objects};
use crate::api::{ApiError, Reply, Request};
use crate::frontend::cni;

/// Answers for the agent as soon as it stands; before, it says what the start waits for.
#[derive(Clone, Default)]
pub struct Answers {
    agent: Arc<OnceLock<Arc<Agent>>>,
    waiting: Arc<std::sync::Mutex<String>>,
}

impl Answers {
    /// What clients are told until [`Answers::ready`].
    pub fn waiting_for(&self, what: impl Into<String>) {
        *self.waiting.lock().expect("no panic while it is held") = what.into();
    }

    pub fn ready(&self, agent: Arc<Agent>) {
        // Said once, by the start.
        let _ = self.agent.set(agent);
    }
}

#[async_trait]
impl Handler for Answers {
    async fn handle(&self, request: Request) -> Reply {
        match self.agent.get() {
            Some(agent) => agent.answer(request).await,
            None => {
                let waiting = self.waiting.lock().expect("no panic while it is held").clone();
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
                ok(&cni::handle(&self.workloads, call).await)
            }
            Request::Get { kind, name, namespace } => {
                reply(objects::get(&*self.store, &kind, name.as_deref(), namespace.as_deref()).await)
            }
            Request::Apply { documents } => reply(objects::apply(&*self.store, &documents).await),
            Request::Delete { documents, names } => reply(objects::delete(&*self.store, &documents, &names).await),
            Request::Status => ok(&self.status().await),
            Request::Endpoints => ok(&self.endpoint_lines()),
            Request::IpamShow => ok(&self.ipam()),
            Request::Explain { from, to, protocol, port } => reply(self.explain(from, to, protocol, port).await),
            Request::BgpNeighbors => ok(&self.neighbor_lines().await),
            Request::BgpRoutes => ok(&self.route_lines().await),
            Request::Drain => {
                self.drain();
                ok(&())
            }
            Request::Undrain => {
                self.undrain();
                ok(&())
            }
        }
    }
}

fn ok(value: &impl Serialize) -> Reply {
    match serde_json::to_value(value) {
        Ok(value) => Reply::Ok(value),
        Err(error) => Reply::Error(ApiError { code: "internal".into(), message: error.to_string() }),
    }
}

fn reply(outcome: Result<impl Serialize, ApiError>) -> Reply {
    match outcome {
        Ok(value) => ok(&value),
        Err(error) => Reply::Error(error),
    }
}
