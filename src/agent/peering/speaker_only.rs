//! `dataPlane: off`: a speaker that touches no kernel and needs no root. It passes routes between its neighbours and
//! announces what its file says, and answers `routectl status`, `bgp` and `node`.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use routenet_core::bgp::speaker::SpeakerConfig;
use routenet_core::model::config::{NodeConfig, StoreConfig, take_over};
use routenet_core::model::{BgpPeer, Cidr, Pool};
use tokio::task::JoinHandle;

use super::{Peering, PeeringConfig, Stopped, peer_lines, request, speaker_config};
use crate::agent::answers::{ok, reply};
use crate::agent::health::{Health, epoch_seconds, peering_problems};
use crate::agent::local_api::access::AccessRules;
use crate::agent::local_api::{Handler, Server};
use crate::agent::reload::Reload;
use crate::api::status::{ClusterStatus, NodeProblem, OwnStatus, StoreState, StoreStatus};
use crate::api::{ApiError, Reply, Request};

/// A running speaker.
pub struct SpeakerOnly {
    pub peering: Peering,
    /// What its file said last.
    config: NodeConfig,
    answers: Arc<Answers>,
    /// Takes the speaker's events, since nobody else does.
    listening: JoinHandle<()>,
    /// The local API.
    serving: JoinHandle<()>,
}

impl SpeakerOnly {
    /// Closes the sessions without a NOTIFICATION.
    pub async fn stop(self) {
        self.serving.abort();
        self.peering.stop().await;
        // It ends by itself with the last event.
        let _ = self.listening.await;
    }

    /// Takes over what the file says now, or the words of what is wrong with it: then what is in force stays, and the status
    /// says so. Only sessions that a change touches are reset.
    pub fn reload(&mut self, read: Result<NodeConfig, String>) {
        let outcome = read.and_then(|read| take_over(&self.config, &read)).map(|(taken, waits)| {
            self.take_over(taken);
            waits
        });
        self.answers.reload.note(outcome);
    }

    fn take_over(&mut self, taken: NodeConfig) {
        let old = std::mem::replace(&mut self.config, taken);
        let config = &self.config;
        let speaker = speaker_of(config);
        self.answers.own().identify(&speaker);
        self.peering.set_pools(pools_of(config));
        self.peering.configure(speaker);
        self.peering.listen(config.bgp.listen.clone());
        self.peering.originate(difference(&old.bgp.originate, &config.bgp.originate));
    }
}

/// What is to be withdrawn, and what announced.
fn difference(old: &[Cidr], new: &[Cidr]) -> Vec<(Cidr, bool)> {
    let gone = old.iter().filter(|prefix| !new.contains(prefix)).map(|prefix| (*prefix, false));
    gone.chain(new.iter().filter(|prefix| !old.contains(prefix)).map(|prefix| (*prefix, true))).collect()
}

fn speaker_of(config: &NodeConfig) -> SpeakerConfig {
    let peers: &[BgpPeer] = match &config.store {
        StoreConfig::None(cluster) => &cluster.peers,
        StoreConfig::Embedded { .. } | StoreConfig::Etcd(_) => &[],
    };
    speaker_config(config, &[], peers, &[], &[], &Default::default())
}

fn pools_of(config: &NodeConfig) -> Vec<Cidr> {
    let pools: &[Pool] = match &config.store {
        StoreConfig::None(cluster) => &cluster.pools,
        StoreConfig::Embedded { .. } | StoreConfig::Etcd(_) => &[],
    };
    pools.iter().map(|pool| pool.cidr).collect()
}

/// Starts the speaker of this file and announces its `bgp.originate`. Must be called inside a tokio runtime.
///
/// # Errors
/// In words: its socket cannot be served, or the system has no thread for it. That it cannot listen to neighbours is no
/// error: it is tried again.
pub async fn run_speaker_only(config: NodeConfig) -> Result<SpeakerOnly, String> {
    let access = AccessRules::from_config(&config.api)?;
    let server = Server::bind(&config.paths.socket, access).await.map_err(|error| error.to_string())?;
    let speaker = speaker_of(&config);
    let own = Own { as_number: speaker.as_number, router_id: speaker.router_id };
    let (peering, mut events) = Peering::spawn(PeeringConfig {
        listen: config.bgp.listen.clone(),
        restarting: false,
        resolve: false,
        stations: config.bgp.stations.clone(),
        name: config.node.to_string(),
        speaker,
    })
    .map_err(|error| format!("the BGP speaker cannot be started: {error}"))?;
    peering.set_pools(pools_of(&config));
    peering.originate(difference(&[], &config.bgp.originate));
    let listening = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            tracing::trace!(?event, "BGP");
        }
    });
    let answers = Arc::new(Answers {
        peering: peering.clone(),
        state: config.paths.state.clone(),
        name: config.node.to_string(),
        own: Mutex::new(own),
        reload: Reload::default(),
        started: Instant::now(),
        drained: AtomicBool::new(false),
        health: Health::default(),
    });
    let serving = tokio::spawn(server.serve(answers.clone()));
    Ok(SpeakerOnly { peering, config, answers, listening, serving })
}

/// What can be asked of a speaker alone.
struct Answers {
    peering: Peering,
    /// Where dumps go.
    state: PathBuf,
    name: String,
    own: Mutex<Own>,
    reload: Reload,
    started: Instant,
    drained: AtomicBool,
    health: Health,
}

/// What its file says of itself.
struct Own {
    as_number: u32,
    router_id: Ipv4Addr,
}

impl Own {
    fn identify(&mut self, speaker: &SpeakerConfig) {
        (self.as_number, self.router_id) = (speaker.as_number, speaker.router_id);
    }
}

impl Answers {
    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn status(&self) -> Result<ClusterStatus, Stopped> {
        let peering = self.peering.status().await?;
        let drained = self.drained.load(Ordering::Relaxed);
        let (as_number, router_id) = {
            let own = self.own();
            (own.as_number, own.router_id)
        };
        let found = self.reload.problems().into_iter().chain(peering_problems(&peering, drained));
        let problems = self.health.date(found.collect());
        let uptime_secs = self.started.elapsed().as_secs();
        Ok(ClusterStatus {
            at: epoch_seconds(SystemTime::now()),
            node: OwnStatus {
                name: self.name.clone(),
                addresses: Vec::new(),
                as_number,
                router_id,
                version: env!("CARGO_PKG_VERSION").to_string(),
                uptime_secs,
                data_plane: "off".into(),
                drained,
                // Its file says everything.
                store: StoreStatus {
                    description: "none".into(),
                    state: StoreState::InSync,
                    since_secs: uptime_secs,
                    error: None,
                },
                blocks: Vec::new(),
                endpoints: 0,
                planes: Vec::new(),
                bgp: peer_lines(&peering),
                ways: Vec::new(),
                mesh: None,
            },
            nodes: Vec::new(),
            problems: problems.into_iter().map(|problem| NodeProblem { node: self.name.clone(), problem }).collect(),
        })
    }
}

#[async_trait]
impl Handler for Answers {
    async fn handle(&self, asked: Request) -> Reply {
        match asked {
            Request::BgpNeighbors => request::neighbors(&self.peering).await,
            Request::BgpNeighbor { name } => request::neighbor(&self.peering, &name).await,
            Request::BgpRoutes => request::routes(&self.peering).await,
            Request::BgpRoute { prefix } => request::route(&self.peering, &prefix).await,
            Request::BgpDump => request::dump(&self.peering, &self.state).await,
            Request::BgpReset { name } => request::reset(&self.peering, &name).await,
            Request::Status => reply(self.status().await.map_err(unavailable)),
            Request::BgpFilterTest(question) => request::test_filter(&self.peering, *question).await,
            Request::Drain { graceful_seconds } => {
                self.drained.store(true, Ordering::Relaxed);
                self.peering.drain(Duration::from_secs(graceful_seconds.into()));
                ok(&())
            }
            Request::Undrain => {
                self.drained.store(false, Ordering::Relaxed);
                self.peering.undrain();
                ok(&())
            }
            _ => Reply::Error(unavailable(
                "this node is a speaker alone (`dataPlane: off`): it answers `routectl status`, `bgp` and `node`",
            )),
        }
    }
}

fn unavailable(why: impl ToString) -> ApiError {
    ApiError { code: "unavailable".into(), message: why.to_string() }
}
