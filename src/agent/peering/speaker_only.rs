//! `dataPlane: off`: a speaker that touches no kernel and needs no root. It passes routes between its neighbours and
//! announces what its file says, and answers `routectl bgp`.

use std::sync::Arc;

use async_trait::async_trait;
use routenet_core::model::Pool;
use routenet_core::model::config::{NodeConfig, StaticCluster, StoreConfig};
use tokio::task::JoinHandle;

use super::{Peering, PeeringConfig, neighbor_line, route_line, speaker_config};
use crate::agent::answers::{ok, reply};
use crate::agent::local_api::access::AccessRules;
use crate::agent::local_api::{Handler, Server};
use crate::api::{ApiError, Reply, Request};

/// A running speaker.
pub struct SpeakerOnly {
    pub peering: Peering,
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
}

/// Starts the speaker of this file and announces its `bgp.originate`. Must be called inside a tokio runtime.
///
/// # Errors
/// In words: its socket cannot be served, or the system has no thread for it. That it cannot listen to neighbours is no
/// error: it is tried again.
pub async fn run_speaker_only(config: &NodeConfig) -> Result<SpeakerOnly, String> {
    let access = AccessRules::from_config(&config.api)?;
    let server = Server::bind(&config.paths.socket, access).await.map_err(|error| error.to_string())?;
    let (pools, peers) = match &config.store {
        StoreConfig::None(cluster) => {
            let StaticCluster { pools, peers, .. } = cluster.as_ref();
            (pools.as_slice(), peers.as_slice())
        }
        StoreConfig::Embedded { .. } => (&[] as &[Pool], &[] as &[_]),
    };
    let (peering, mut events) = Peering::spawn(PeeringConfig {
        listen: config.bgp.listen.clone(),
        restarting: false,
        speaker: speaker_config(config, &[], peers, &[]),
    })
    .map_err(|error| format!("the BGP speaker cannot be started: {error}"))?;
    peering.set_pools(pools.iter().map(|pool| pool.cidr).collect());
    peering.originate(config.bgp.originate.iter().map(|prefix| (*prefix, true)).collect());
    let listening = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            tracing::trace!(?event, "BGP");
        }
    });
    let serving = tokio::spawn(server.serve(Arc::new(Answers(peering.clone()))));
    Ok(SpeakerOnly { peering, listening, serving })
}

/// What can be asked of a speaker alone.
struct Answers(Peering);

#[async_trait]
impl Handler for Answers {
    async fn handle(&self, request: Request) -> Reply {
        let Answers(peering) = self;
        match request {
            Request::BgpNeighbors => {
                let status = peering.status().await;
                reply(status.map(|s| s.peers.iter().map(neighbor_line).collect::<Vec<_>>()).map_err(unavailable))
            }
            Request::BgpRoutes => {
                let routes = peering.routes().await;
                reply(routes.map(|routes| routes.iter().map(route_line).collect::<Vec<_>>()).map_err(unavailable))
            }
            Request::Drain => {
                peering.drain();
                ok(&())
            }
            Request::Undrain => {
                peering.undrain();
                ok(&())
            }
            _ => Reply::Error(unavailable(
                "this node is a speaker alone (`dataPlane: off`): it answers `routectl bgp` and `routectl node`",
            )),
        }
    }
}

fn unavailable(why: impl ToString) -> ApiError {
    ApiError { code: "unavailable".into(), message: why.to_string() }
}
