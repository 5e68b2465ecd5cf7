//! This node's part of the mesh: follows the plan that the store's nodes come to, and tells the speaker who its neighbours
//! are. Called by the followers; the decisions are `bgp::mesh`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use routenet_core::bgp::mesh::{Facts, Plan, Role, Rollout, Said, Standing};
use routenet_core::bgp::speaker::{MeshSessions, SpeakerConfig, mesh_plan};
use routenet_core::model::config::{NodeConfig, StoreConfig};
use routenet_core::model::{Node, NodeCondition, NodeName};
use routenet_core::time::Time;
use tracing::info;

use super::Agent;
use super::cluster::ClusterView;
use super::followers::speaker_settings;
use super::sync::{ClusterChange, SyncState};
use super::underlay::Underlay;
use crate::api::listing::{MeshLine, MeshReply};
use crate::api::status::MeshStatus;

/// How often a plan that is not in place is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A condition is published every ten seconds, so in this time our own comes back from a store that takes any.
const ECHO: Duration = Duration::from_secs(20);

/// What the node follows, and what the speaker was told.
pub struct Mesh(Mutex<State>);

struct State {
    /// The node's file, with what was read again of it.
    config: NodeConfig,
    rollout: Rollout,
    speaker: SpeakerConfig,
    underlay: Underlay,
    origin: Instant,
}

impl Mesh {
    /// With the speaker's first configuration.
    pub fn start(config: &NodeConfig, underlay: &Underlay, cluster: &ClusterView) -> (Mesh, SpeakerConfig) {
        let rollout = Rollout::new(plan(config, underlay, cluster));
        let speaker = speaker_settings(config, underlay, cluster, &rollout.peers());
        let state = State {
            config: config.clone(),
            rollout,
            speaker: speaker.clone(),
            underlay: underlay.clone(),
            origin: Instant::now(),
        };
        (Mesh(Mutex::new(state)), speaker)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plan that stands, as it is said to the other nodes.
    pub fn in_place(&self) -> Option<String> {
        self.lock().rollout.in_place().map(str::to_string)
    }
}

impl State {
    fn now(&self) -> Time {
        self.origin.elapsed().into()
    }
}

fn plan(config: &NodeConfig, underlay: &Underlay, cluster: &ClusterView) -> Plan {
    let known = cluster.read();
    let nodes: Vec<Node> = known.nodes.values().cloned().collect();
    let configurations: Vec<_> = known.bgp_configurations.values().cloned().collect();
    mesh_plan(&super::followers::resolved(config, underlay), &nodes, &configurations)
}

/// `in_sync`: whether the store is followed. That alone does not do: an etcd without a quorum takes no condition of anybody,
/// and goes on to be followed. So our own has to have come back of late.
fn facts(
    in_sync: bool,
    own: &NodeName,
    conditions: &BTreeMap<NodeName, (Instant, NodeCondition)>,
    sessions: BTreeMap<String, Standing>,
    covered: bool,
    now: Instant,
) -> Facts {
    let echoes = conditions.get(own).is_some_and(|(heard, _)| now.saturating_duration_since(*heard) < ECHO);
    let said = |condition: &NodeCondition| {
        let said = Said { at: condition.at, in_place: condition.mesh_in_place.clone() };
        (condition.node.to_string(), said)
    };
    let said = conditions.values().map(|(_, condition)| said(condition)).collect();
    Facts { current: in_sync && echoes, sessions, covered, said }
}

impl Agent {
    /// The store's nodes, peers, filters or settings have changed.
    pub fn follow_mesh(&self) {
        let mut state = self.mesh.lock();
        let plan = plan(&state.config, &state.underlay, &self.cluster);
        let now = state.now();
        state.rollout.propose(plan, now);
        self.configure_speaker(&mut state);
    }

    /// What the node's file said last, as far as it is in force.
    pub fn config(&self) -> NodeConfig {
        self.mesh.lock().config.clone()
    }

    /// From now on the file says this of sessions. `store` enters what it says of neighbours there; the speaker hears of both
    /// at once, and not of a neighbour that moved that it is gone.
    pub fn take_over(&self, taken: NodeConfig, store: impl FnOnce()) {
        let mut state = self.mesh.lock();
        if let (StoreConfig::None(before), StoreConfig::None(now)) = (&state.config.store, &taken.store) {
            let gone = before.peers.iter().map(|peer| ClusterChange::Peer(peer.name.clone(), None));
            let present = now.peers.iter().map(|peer| ClusterChange::Peer(peer.name.clone(), Some(peer.clone())));
            gone.chain(present).for_each(|change| self.cluster.take(&change));
        }
        store();
        state.config = taken;
        self.configure_speaker(&mut state);
    }

    /// Every second, while a plan is not in place.
    async fn look_after_mesh(&self) {
        let leaving: BTreeSet<String> = {
            let state = self.mesh.lock();
            if !state.rollout.is_restless() {
                return;
            }
            state.rollout.leaving().into_iter().map(str::to_string).collect()
        };
        let Ok(MeshSessions { sessions, covered }) = self.hands.peering.mesh_sessions(leaving).await else { return };
        let in_sync = matches!(self.sync_status.borrow().state, SyncState::InSync(_));
        let facts =
            facts(in_sync, &self.config.node, &self.cluster.read().conditions, sessions, covered, Instant::now());
        let mut state = self.mesh.lock();
        let (now, before) = (state.now(), state.rollout.plan().name.clone());
        let changed = state.rollout.look(&facts, now);
        if changed && state.rollout.plan().name != before {
            info!(plan = %role(&state.rollout), why = state.rollout.plan().why(), "the mesh has another plan; its sessions come up first");
        } else if changed {
            info!(plan = %role(&state.rollout), "every node has the mesh's plan in place; what it does not need goes");
        }
        self.configure_speaker(&mut state);
    }

    fn configure_speaker(&self, state: &mut State) {
        let wanted = speaker_settings(&state.config, &state.underlay, &self.cluster, &state.rollout.peers());
        if wanted != state.speaker {
            state.speaker = wanted;
            self.hands.peering.configure(state.speaker.clone());
        }
    }

    /// For `routectl status`; `None`: there is no mesh.
    pub fn mesh_status(&self) -> Option<MeshStatus> {
        let state = self.mesh.lock();
        let rollout = &state.rollout;
        let plan = rollout.plan();
        if plan.role == Role::Apart {
            return None;
        }
        Some(MeshStatus {
            role: role(rollout),
            why: plan.why(),
            strangers: plan.strangers as u64,
            limit: plan.limit,
            in_place: rollout.in_place().is_some(),
            leaving: rollout.leaving().into_iter().map(str::to_string).collect(),
            waiting: rollout.waiting().map(str::to_string),
        })
    }

    /// For `routectl bgp mesh`.
    pub fn mesh_reply(&self) -> MeshReply {
        let status = self.mesh_status();
        let state = self.mesh.lock();
        let plan = state.rollout.plan();
        let known = self.cluster.read();
        let own = self.config.node.as_str();
        let line = |name: &str| {
            let reflectors: Vec<String> = match &plan.reflection {
                Some(reflection) => reflection.of.get(name).into_iter().flatten().cloned().collect(),
                None => Vec::new(),
            };
            let clients = plan.reflection.as_ref().filter(|reflection| reflection.reflectors.contains(name));
            let clients = clients.map(|it| it.of.values().filter(|of| of.contains(name)).count() as u64);
            let said = known.conditions.iter().find(|(node, _)| node.as_str() == name);
            let in_place = match name == own {
                true => state.rollout.in_place(),
                false => said.and_then(|(_, (_, condition))| condition.mesh_in_place.as_deref()),
            };
            MeshLine {
                name: name.to_string(),
                role: match (&plan.reflection, clients) {
                    (None, _) => "full",
                    (Some(_), Some(_)) => "reflector",
                    (Some(_), None) => "client",
                }
                .to_string(),
                reflectors,
                clients,
                in_place: in_place == Some(&plan.name),
            }
        };
        let apart = plan.role == Role::Apart;
        let mut nodes: Vec<MeshLine> =
            plan.members.iter().map(String::as_str).chain((!apart).then_some(own)).map(line).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        MeshReply { status, nodes }
    }
}

/// What this node is, in words.
fn role(rollout: &Rollout) -> String {
    let plan = rollout.plan();
    match &plan.role {
        Role::Apart => "none".to_string(),
        Role::Full => format!("full, with {} other nodes", plan.members.len()),
        Role::Reflector { clients } => format!("reflector for {clients} clients"),
        Role::Client { of } => format!("client of {}", of.iter().cloned().collect::<Vec<_>>().join(" and ")),
    }
}

/// As long as the agent lives.
pub async fn watch(agent: Arc<Agent>) {
    loop {
        agent.look_after_mesh().await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
#[path = "mesh_tests.rs"]
mod tests;
