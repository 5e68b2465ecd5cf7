//! `dataPlane: off`: a speaker that touches no kernel and needs no root. It passes routes between its neighbours and
//! announces what its file says.

use routenet_core::model::Pool;
use routenet_core::model::config::{NodeConfig, StaticCluster, StoreConfig};
use tokio::task::JoinHandle;

use super::{Peering, PeeringConfig, speaker_config};

/// A running speaker.
pub struct SpeakerOnly {
    pub peering: Peering,
    /// Takes the speaker's events, since nobody else does.
    listening: JoinHandle<()>,
}

impl SpeakerOnly {
    /// Closes the sessions without a NOTIFICATION.
    pub async fn stop(self) {
        self.peering.stop().await;
        // It ends by itself with the last event.
        let _ = self.listening.await;
    }
}

/// Starts the speaker of this file and announces its `bgp.originate`. Must be called inside a tokio runtime.
///
/// # Errors
/// The system has no thread for it. That it cannot listen is no error: it is tried again, and shown in the status.
pub fn run_speaker_only(config: &NodeConfig) -> std::io::Result<SpeakerOnly> {
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
    })?;
    peering.set_pools(pools.iter().map(|pool| pool.cidr).collect());
    peering.originate(config.bgp.originate.iter().map(|prefix| (*prefix, true)).collect());
    let listening = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            tracing::trace!(?event, "BGP");
        }
    });
    Ok(SpeakerOnly { peering, listening })
}
