//! Connections that policy denies by now: they were let through when they began, and the kernel lets all of their packets
//! pass. Counted for whoever changes objects, and ended on every node where the change asks for it (`apply --cut`).
//!
//! What asks is a key of the store that is written with the objects, so that each agent hears of it behind them, also
//! one that was away meanwhile.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use routenet_core::model::keys::CUT;
use routenet_core::model::{NodeName, Protocol, stable_hash};
use routenet_core::policy::Connection;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::Agent;
use super::engine::Engine;
use crate::plane::conntrack::{self, Tracked};
use crate::plane::namespace::inside;
use crate::plane::sockets;
use crate::store::{Revision, Write};

/// Asked about at once: the loop does something else in between.
const PORTION: usize = 1000;
/// How long the answer to a change waits for what follows from it here.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far this agent has come.
#[derive(Default)]
pub(super) struct Progress {
    /// The last revision of the store that the loop has taken in.
    taken: watch::Sender<Revision>,
    /// The last cut that was done, and how many connections it ended; what kept it from that.
    cut: watch::Sender<Option<(String, Result<usize, String>)>>,
}

impl Progress {
    pub fn taken(&self, revision: Revision) {
        self.taken.send_replace(revision);
    }
}

/// A wish to end connections; a name of its own each.
pub(super) fn request(node: &NodeName) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
    stable_hash([node.as_str(), "cut", nanos.as_str()], 16)
}

/// What is written with the objects.
pub(super) fn write(id: &str) -> Write {
    Write::Put { key: CUT.to_string(), value: id.as_bytes().to_vec() }
}

/// Ends them; to be called when the kernel has what follows from the change.
pub(super) async fn cut(agent: Arc<Agent>, id: String) {
    let done = end_denied(&agent).await;
    match &done {
        Ok(connections) => info!(connections, "ended the connections that policy denies"),
        Err(error) => warn!(%error, "the connections that policy denies cannot all be ended"),
    }
    agent.progress.cut.send_replace(Some((id, done)));
}

async fn end_denied(agent: &Agent) -> Result<usize, String> {
    let denied = denied(&agent.engine).await?;
    let live = denied.iter().filter(|tracked| tracked.live).count();
    let mut places = BTreeMap::new();
    for endpoint in agent.allocator.endpoints() {
        let Some(attachment) = &endpoint.attachment else { continue };
        places.extend(endpoint.addresses.iter().map(|address| (*address, attachment.netns.clone())));
    }
    let ended = tokio::task::spawn_blocking(move || {
        let sockets = end_sockets(&denied, &places);
        conntrack::end(&denied).map_err(|error| error.to_string()).and(sockets)
    });
    ended.await.map_err(|panic| panic.to_string())??;
    Ok(live)
}

/// Of TCP, before the entries: so that the reset reaches the other end, too. `places`: the namespaces of addresses that
/// are not the host's own.
fn end_sockets(connections: &[Tracked], places: &BTreeMap<IpAddr, String>) -> Result<(), String> {
    let mut by_place: BTreeMap<Option<&String>, Vec<(SocketAddr, SocketAddr)>> = BTreeMap::new();
    for tracked in connections.iter().filter(|tracked| tracked.connection.protocol == Protocol::TCP) {
        for socket in tracked.sockets.iter().flatten() {
            by_place.entry(places.get(&socket.0.ip())).or_default().push(*socket);
        }
    }
    for (place, sockets) in by_place {
        let ended = match place {
            None => Ok(sockets::destroy(&sockets)),
            Some(path) => inside(path, || sockets::destroy(&sockets)),
        };
        match ended {
            Ok(ended) => ended.map_err(|error| format!("this kernel cannot end TCP sockets ({error})"))?,
            Err(error) => {
                debug!(error, "a workload that has gone meanwhile has no sockets");
                0
            }
        };
    }
    Ok(())
}

/// Those that the kernel tracks and policy denies by now.
async fn denied(engine: &Engine) -> Result<Vec<Tracked>, String> {
    let listed = tokio::task::spawn_blocking(conntrack::list).await;
    let tracked = listed.map_err(|panic| panic.to_string())?.map_err(|error| error.to_string())?;
    let mut denied = Vec::new();
    for portion in tracked.chunks(PORTION) {
        let asked: Vec<Connection> = portion.iter().map(|tracked| tracked.connection.clone()).collect();
        let answers = engine.query(move |desired| desired.policy().denies(&asked)).await;
        let answers = answers.ok_or_else(|| "the agent is stopping".to_string())?;
        denied.extend(portion.iter().zip(answers).filter(|(_, denied)| *denied).map(|(tracked, _)| tracked.clone()));
    }
    Ok(denied)
}

impl Agent {
    /// How many connections live on here that policy denies, as it is at this revision.
    pub(super) async fn living(&self, revision: Revision) -> Result<usize, String> {
        let mut taken = self.progress.taken.subscribe();
        let is_taken = taken.wait_for(|taken| *taken >= revision);
        if tokio::time::timeout(PATIENCE, is_taken).await.is_err() {
            return Err(format!("the change was not heard of here within {} s", PATIENCE.as_secs()));
        }
        Ok(denied(&self.engine).await?.iter().filter(|tracked| tracked.live).count())
    }

    /// How many were ended here by this wish.
    pub(super) async fn ended(&self, id: &str) -> Result<usize, String> {
        let mut cut = self.progress.cut.subscribe();
        let is_done = cut.wait_for(|done| done.as_ref().is_some_and(|(done, _)| done == id));
        match tokio::time::timeout(PATIENCE, is_done).await {
            Ok(Ok(done)) => done.as_ref().map_or(Ok(0), |(_, outcome)| outcome.clone()),
            Ok(Err(_)) => Err("the agent is stopping".to_string()),
            Err(_) => Err(format!(
                "not done within {} s; it is done as soon as the kernel has the change",
                PATIENCE.as_secs()
            )),
        }
    }
}
