//! NetworkDriver: Docker networks onto networks of ours.
//!
//! A Docker network is known to one host only; what makes those of several hosts one is the network of ours that they
//! name (`-o routenet.network=NAME`), or the subnet that they share.

use std::collections::BTreeMap;

use routenet_core::model::{Cidr, Isolation, NetworkName};
use serde_json::Value;

use super::messages::{CreateNetwork, DeleteNetwork, IpamData, Nothing, Options};
use super::state::{Change, NetworkNote};
use super::{Driver, Refusal};
use crate::frontend::NetworkRequest;

const GENERIC: &str = "com.docker.network.generic";
const INTERNAL: &str = "com.docker.network.internal";
const MTU: &str = "com.docker.network.driver.mtu";
const NETWORK: &str = "routenet.network";
const ISOLATION: &str = "routenet.isolation";

/// What `-o` and flags of `docker network create` say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NetworkOptions {
    pub network: Option<NetworkName>,
    pub isolation: Option<Isolation>,
    pub mtu: Option<u32>,
    pub internal: bool,
}

impl NetworkOptions {
    pub fn read(options: &Options) -> Result<NetworkOptions, Refusal> {
        let mut read = NetworkOptions { internal: is_set(options.get(INTERNAL)), ..NetworkOptions::default() };
        let given: BTreeMap<String, String> = match options.get(GENERIC) {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(generic) => serde_json::from_value(generic.clone())
                .map_err(|error| Refusal::bad(format!("the options of the network cannot be read: {error}")))?,
        };
        for (option, value) in given {
            match option.as_str() {
                NETWORK => {
                    let name = NetworkName::new(&value);
                    read.network = Some(name.map_err(|error| Refusal::bad(format!("-o {NETWORK}: {error}")))?);
                }
                ISOLATION => {
                    read.isolation = Some(match value.as_str() {
                        "network" => Isolation::Network,
                        "open" => Isolation::Open,
                        other => {
                            let message = format!("-o {ISOLATION}={other}: expected `network` or `open`");
                            return Err(Refusal::bad(message));
                        }
                    });
                }
                MTU => {
                    let mtu = value.parse().ok().filter(|mtu| (1280..=65535).contains(mtu));
                    let bad = || Refusal::bad(format!("-o {MTU}={value}: expected 1280 to 65535 bytes"));
                    read.mtu = Some(mtu.ok_or_else(bad)?);
                }
                other => {
                    let message = format!("unknown option -o {other}: routenet knows {NETWORK}, {ISOLATION} and {MTU}");
                    return Err(Refusal::bad(message));
                }
            }
        }
        Ok(read)
    }
}

fn is_set(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Bool(true))) || value.and_then(Value::as_str) == Some("true")
}

impl Driver {
    /// An earlier run that was killed between joining a pool or network and noting it: Docker will not give it back. Before
    /// the first call that joins or leaves, which could be between the two itself.
    pub(super) async fn settle(&self) -> Result<(), Refusal> {
        let settled = self.0.settled.get_or_try_init(|| async {
            let (networks, pools) = {
                let state = self.state();
                let networks = state.networks.values().map(|note| note.network.clone()).collect();
                (networks, state.pools.values().map(|note| note.pool.clone()).collect())
            };
            self.0.hosts.networks.leave_others(&networks, &pools).await
        });
        settled.await?;
        Ok(())
    }

    pub(super) async fn create_network(&self, request: CreateNetwork) -> Result<Nothing, Refusal> {
        if self.state().networks.contains_key(&request.network_id) {
            return Ok(Nothing {});
        }
        self.settle().await?;
        let options = NetworkOptions::read(&request.options)?;
        let pools = request.ipv4.iter().chain(&request.ipv6).filter(|data| !data.pool.is_empty());
        let pool_ids = pools.map(|data| self.pool_id(data)).collect::<Result<Vec<String>, Refusal>>()?;
        if pool_ids.is_empty() {
            return Err(Refusal::bad(WRONG_IPAM));
        }
        let names = {
            let state = self.state();
            pool_ids.iter().filter_map(|id| state.pools.get(id)).map(|note| note.pool.clone()).collect()
        };
        let wanted = NetworkRequest { name: options.network, pools: names, isolation: options.isolation };
        let (network, pools) = self.0.hosts.networks.join_network(&wanted).await?;
        let note = NetworkNote {
            network: network.name,
            pools: pool_ids,
            prefixes: pools.iter().map(|pool| pool.cidr).collect(),
            mtu: options.mtu,
            internal: options.internal,
        };
        self.save(vec![Change::Network(request.network_id, Some(note))]).await?;
        Ok(Nothing {})
    }

    /// The pool that our IPAM gave for this.
    fn pool_id(&self, data: &IpamData) -> Result<String, Refusal> {
        let cidr: Cidr = data.pool.parse().map_err(|error| Refusal::bad(format!("subnet {}: {error}", data.pool)))?;
        let state = self.state();
        let found = state.pools.iter().find(|(_, note)| note.cidr == cidr).map(|(id, _)| id.clone());
        let found = found.ok_or_else(|| Refusal::bad(WRONG_IPAM))?;
        match state.network_of_pool(&found) {
            Some((other, _)) => {
                let other = other.get(..12).unwrap_or(other);
                Err(Refusal::bad(format!("subnet {cidr} belongs to the Docker network {other} of this host already")))
            }
            None => Ok(found),
        }
    }

    /// Before or after ReleasePool; once more is no error.
    pub(super) async fn delete_network(&self, request: DeleteNetwork) -> Result<Nothing, Refusal> {
        let Some(note) = self.state().networks.get(&request.network_id).cloned() else { return Ok(Nothing {}) };
        self.settle().await?;
        let left: Vec<String> = {
            let state = self.state();
            let of_network = |(id, endpoint): (&String, &super::state::EndpointNote)| {
                (endpoint.network_id == request.network_id).then(|| id.clone())
            };
            state.endpoints.iter().filter_map(of_network).collect()
        };
        for endpoint in left {
            self.forget_endpoint(&endpoint).await?;
        }
        self.0.hosts.networks.leave_network(&note.network).await?;
        self.save(vec![Change::Network(request.network_id, None)]).await?;
        for pool_id in note.pools {
            let released = self.state().pools.get(&pool_id).is_some_and(|pool| pool.released);
            if released {
                self.give_pool_back(&pool_id).await?;
            }
        }
        Ok(Nothing {})
    }
}

const WRONG_IPAM: &str =
    "this network's subnet was not given by routenet: create the network with --ipam-driver routenet as well";
