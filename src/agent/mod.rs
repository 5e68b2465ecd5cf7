//! The agent: one per host. It holds the facts, asks what should be, and has planes and peers make it so.
//!
//! | room | owns |
//! |---|---|
//! | [`start`] | from a configuration to a running agent, and its end |
//! | [`signals`], `reload` | what signals ask of it, and what reading its file again came to |
//! | [`engine`] | the loop: facts in, differences to planes and speaker |
//! | [`attach`] | attach, detach and check of workloads |
//! | [`allocator`] | blocks and addresses of this node, and its endpoints |
//! | [`publisher`] | what this node says of itself, in the cluster store |
//! | [`forget`] | released addresses, until nothing of them is left |
//! | [`sync`] | the cluster store as facts |
//! | [`cluster`] | what was read last of the cluster, for lookups |
//! | [`peering`] | sockets and a clock for the BGP speaker |
//! | [`underlay`] | this host's own addresses and MTU |
//! | `tunnels` | addresses of tunnel devices, and which nodes are behind a router |
//! | `cut`, `pending` | what a change asks for besides: ended connections, a confirmation |
//! | `mesh` | this node's part of the mesh, and how one plan follows another |
//! | [`networks`] | pools and networks that runtimes make |
//! | [`local_api`] | the socket on which the CNI plugin and `routectl` ask |
//! | [`objects`], [`status`], [`ipam`], [`explain`], `trace`, [`health`] | the answers |

pub mod allocator;
mod answers;
pub mod attach;
pub mod cluster;
mod cut;
pub mod engine;
pub mod explain;
mod followers;
pub mod forget;
pub mod health;
pub mod ipam;
mod ipam_check;
pub mod local_api;
mod mesh;
mod neighbours;
pub mod networks;
mod notes;
pub mod objects;
pub mod peering;
mod pending;
pub mod publisher;
mod reload;
pub mod signals;
pub mod start;
pub mod status;
pub mod sync;
mod trace;
mod tunnels;
pub mod underlay;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use routenet_core::model::Node;
use routenet_core::model::config::NodeConfig;
use tokio::sync::watch;

use crate::api::status::StoreState;
use crate::frontend::cnm;
use crate::plane::PlaneStatus;
use crate::store::ClusterStore;
use allocator::Allocator;
use attach::LocalWorkloads;
use cluster::ClusterView;
use engine::{Engine, Hands};
use health::Health;
use mesh::Mesh;
use neighbours::LastLook;
use publisher::Publisher;
use reload::Reload;
use sync::SyncStatus;
use underlay::UnderlayMtu;

/// A running agent, as its answers see it.
pub struct Agent {
    config: NodeConfig,
    /// What this node says of itself in the store.
    node: Node,
    incarnation: String,
    /// Of workloads, in bytes.
    mtu: u32,
    underlay_mtu: UnderlayMtu,
    started: Instant,
    store: Arc<dyn ClusterStore>,
    cluster: Arc<ClusterView>,
    allocator: Arc<Allocator>,
    engine: Engine,
    hands: Hands,
    workloads: Arc<LocalWorkloads>,
    /// The driver for Docker's networks, where it is served.
    docker: Option<cnm::Driver>,
    publisher: Publisher,
    sync_status: watch::Receiver<SyncStatus>,
    health: Health,
    progress: cut::Progress,
    mesh: Mesh,
    /// Of what others keep in the kernel.
    neighbours: LastLook,
    drained: AtomicBool,
    reload: Reload,
    /// The store's state as it was told last, and since when it has been that.
    store_state: Mutex<Option<(StoreState, Instant)>>,
}

impl Agent {
    /// The planes in the order in which an endpoint passes them.
    fn planes(&self) -> [(&'static str, PlaneStatus); 5] {
        let (ipset, iptables) = self.hands.rules.status();
        let (link, tunnel, route) =
            (self.hands.links.status(), self.hands.tunnels.status(), self.hands.routes.status());
        [("ipset", ipset), ("iptables", iptables), ("link", link), ("tunnel", tunnel), ("route", route)]
    }

    fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    fn drain(&self, notice: Duration) {
        self.drained.store(true, Ordering::Relaxed);
        self.hands.peering.drain(notice);
    }

    fn undrain(&self) {
        self.drained.store(false, Ordering::Relaxed);
        self.hands.peering.undrain();
    }

    /// Since when the store has been in this state.
    fn store_since(&self, state: StoreState) -> Instant {
        let mut told = self.store_state.lock().expect("no panic while it is held");
        match *told {
            Some((before, since)) if before == state => since,
            _ => {
                let now = Instant::now();
                *told = Some((state, now));
                now
            }
        }
    }
}
