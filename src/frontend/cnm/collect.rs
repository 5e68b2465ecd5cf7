//! What Docker knows no more: endpoints and networks that it dropped while nobody answered on our socket, addresses that it
//! asked for and never used.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{debug, info, warn};

use super::messages::DeleteNetwork;
use super::{Driver, Refusal, now};

const EVERY: Duration = Duration::from_secs(15);
/// What Docker is about to use is not known to its API yet: so many looks in a row must miss it.
const LOOKS: u8 = 2;
/// An address or pool that is not put to use within so many seconds never is.
const UNUSED: u64 = 60;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lost {
    Endpoint(String),
    Network(String),
}

impl Driver {
    pub(super) async fn collect(self) {
        let mut missed: BTreeMap<Lost, u8> = BTreeMap::new();
        loop {
            match self.missing().await {
                Ok(missing) => {
                    missed.retain(|lost, _| missing.contains(lost));
                    for lost in missing {
                        *missed.entry(lost).or_default() += 1;
                    }
                    let gone: Vec<Lost> =
                        missed.iter().filter(|(_, looks)| **looks >= LOOKS).map(|(lost, _)| lost.clone()).collect();
                    for lost in gone {
                        if let Err(refusal) = self.drop_lost(&lost).await {
                            warn!(?lost, error = %refusal.message, "what Docker forgot cannot be removed yet");
                        }
                    }
                    if let Err(refusal) = self.drop_unused().await {
                        warn!(error = %refusal.message, "what Docker never used cannot be released yet");
                    }
                }
                // Docker may be down, or starting: what it knows is not to be guessed.
                Err(why) => debug!(%why, "Docker cannot be asked what it knows"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What we know and Docker does not.
    async fn missing(&self) -> Result<BTreeSet<Lost>, String> {
        let (known_networks, known_endpoints) = {
            let state = self.state();
            let networks: Vec<String> = state.networks.keys().cloned().collect();
            let endpoints: Vec<String> = state.endpoints.keys().cloned().collect();
            (networks, endpoints)
        };
        if known_networks.is_empty() && known_endpoints.is_empty() {
            return Ok(BTreeSet::new());
        }
        let networks = self.0.docker.networks().await?;
        let mut endpoints = BTreeSet::new();
        for network in &networks {
            endpoints.extend(self.0.docker.endpoints(network).await?.into_keys());
        }
        let lost_networks = known_networks.into_iter().filter(|id| !networks.contains(id)).map(Lost::Network);
        let lost_endpoints = known_endpoints.into_iter().filter(|id| !endpoints.contains(id)).map(Lost::Endpoint);
        Ok(lost_endpoints.chain(lost_networks).collect())
    }

    async fn drop_lost(&self, lost: &Lost) -> Result<(), Refusal> {
        match lost {
            Lost::Endpoint(id) => {
                info!(endpoint = %id, "Docker knows it no more: removed");
                self.forget_endpoint(id).await
            }
            Lost::Network(id) => {
                info!(network = %id, "Docker knows it no more: removed");
                self.delete_network(DeleteNetwork { network_id: id.clone() }).await.map(drop)
            }
        }
    }

    async fn drop_unused(&self) -> Result<(), Refusal> {
        let old = |since: u64| now().saturating_sub(since) >= UNUSED;
        let (addresses, pools) = {
            let state = self.state();
            let waiting: BTreeSet<_> = state.endpoints.values().flat_map(|endpoint| &endpoint.addresses).collect();
            let unused = |(address, note): &(&std::net::IpAddr, &super::state::AddressNote)| {
                !note.fixed && old(note.since) && !waiting.contains(address)
            };
            let addresses: Vec<_> = state.addresses.iter().filter(unused).map(|(address, _)| *address).collect();
            let unused = |id: &&String| state.network_of_pool(id).is_none() && old(state.pools[*id].since);
            let pools: Vec<String> = state.pools.keys().filter(unused).cloned().collect();
            (addresses, pools)
        };
        for address in addresses {
            info!(%address, "Docker asked for it and never used it: released");
            self.release_address(super::messages::ReleaseAddress { address: address.to_string() }).await?;
        }
        for pool in pools {
            info!(%pool, "Docker asked for it and never used it: released");
            self.give_pool_back(&pool).await?;
        }
        let over: Vec<_> = {
            let state = self.state();
            // For longer than it matters: without a note the next holder would be taken for a stranger.
            let kept = 2 * self.0.config.cooldown.as_secs() + UNUSED;
            state.last.iter().filter(|(_, rest)| rest.at + kept < now()).map(|(address, _)| *address).collect()
        };
        if over.is_empty() {
            return Ok(());
        }
        self.save(over.into_iter().map(|address| super::state::Change::Last(address, None)).collect()).await
    }
}
