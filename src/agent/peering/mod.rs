//! Sockets and a clock for the BGP speaker of `routenet-core`.
//!
//! The speaker runs on a thread and a runtime of its own, so nothing else in the agent delays a keepalive. The agent
//! speaks to it by [`Peering`] and hears from it by [`PeeringEvent`]s: what it does not take in time is not queued but
//! told in its newest form later.
//!
//! | file | owns |
//! |---|---|
//! | `driver` | the loop around the speaker |
//! | `connection` | one TCP connection: connect, read, write, farewell |
//! | `kept` | threads that serve the driver: started again when they end |
//! | `resolver` | who looks up next hops, and what is said while nobody does |
//! | `links` | neighbours that are known by an interface, where they are now |
//! | `gateways` | by which gateways next hops behind routers are reached, as the agent is told it |
//! | `discovery` | who is at the other end of a link: router advertisements, on a thread of its own |
//! | `listener` | listening sockets: bound, and bound again when that failed |
//! | `passwords` | the keys of TCP MD5, as their files have them |
//! | `protection` | TCP MD5 and GTSM on a socket |
//! | `listing` | answers for `routectl bgp` |
//! | `request` | `routectl bgp`, whoever answers it |
//! | `stations` | monitoring stations (BMP) |
//! | `bfd` | whether neighbours are there, on a thread of its own |
//! | `speaker_only` | `dataPlane: off`: the speaker and nothing else |

pub mod bfd;
mod connection;
mod discovery;
mod driver;
mod gateways;
mod kept;
mod links;
mod listener;
mod listing;
mod passwords;
mod protection;
pub mod request;
mod resolver;
mod speaker_only;
mod stations;
#[cfg(test)]
pub(super) mod test_support;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use routenet_core::bgp::monitor::mrt::MrtDump;
use routenet_core::bgp::speaker::{
    FilterAnswer, FilterQuestion, Ineffective, MeshSessions, PeerDetail, PeerStatus, RouteDetail, RouteStatus,
    SpeakerConfig, State, Unresolved,
};
use routenet_core::model::{Cidr, Via};
use tokio::sync::{mpsc, oneshot};

pub use links::{Crowd, Waiting};
pub use listing::{neighbor_lines, neighbor_reply, peer_lines, route_line, route_reply};
pub use passwords::Overruled;
pub use routenet_core::bgp::speaker::speaker_config;
pub use speaker_only::{SpeakerOnly, run_speaker_only};

/// Portions of route changes that may wait for the agent; each has at most [`driver::BEST_PORTION`] prefixes.
const EVENTS: usize = 64;

/// What the peering starts with.
#[derive(Clone, Debug)]
pub struct PeeringConfig {
    /// Where to listen; `[::]` without an IPv4 address of the same port takes both families.
    pub listen: Vec<SocketAddr>,
    /// Whether the kernel holds routes of an earlier incarnation, own or learned: neighbours are then told that this is a
    /// restart (RFC 4724).
    pub restarting: bool,
    /// Whether next hops have to resolve by the kernel's routes; else all do.
    pub resolve: bool,
    /// Monitoring stations (BMP), and what they know this node by.
    pub stations: Vec<SocketAddr>,
    pub name: String,
    pub speaker: SpeakerConfig,
}

/// What the agent hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeeringEvent {
    /// The next hops of each prefix's best paths; none: it has no learned route (any more).
    Routes(Vec<(Cidr, Via)>),
    /// The gateways by which next hops are reached that lie behind routers, before the routes by these, and whenever they
    /// change; none: such a next hop is on a link now, or no route has it any more.
    Gateways(Vec<(IpAddr, Vec<IpAddr>)>),
    /// Once, after the routes that led to it: every neighbour has told what it had to tell, or had its time. Learned routes
    /// in the kernel that were not among [`PeeringEvent::Routes`] are stale.
    Converged,
    /// A neighbour's session is in another state; of several changes the last.
    Peer { address: IpAddr, name: String, state: State, why: Option<String> },
}

/// A listening socket, wanted or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStatus {
    pub wanted: SocketAddr,
    /// What it is bound to.
    pub bound: Option<SocketAddr>,
    /// Why it is not; tried again every second.
    pub error: Option<String>,
}

/// A monitoring station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationStatus {
    pub address: SocketAddr,
    pub connected: bool,
    /// Why it is not, or was not; tried again every few seconds.
    pub error: Option<String>,
}

/// A thread that serves the peering, and that ended or could not be started; it is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub what: &'static str,
    /// In words, with what it means.
    pub why: String,
    pub since: Duration,
}

/// How the peering is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeeringStatus {
    pub peers: Vec<PeerStatus>,
    /// Neighbours that are known by an interface, and are nowhere now.
    pub waiting: Vec<Waiting>,
    /// Links with more routers than the one that is to be the neighbour.
    pub crowds: Vec<Crowd>,
    /// Neighbours whose connections another one's password keeps out.
    pub overruled: Vec<Overruled>,
    /// Why a neighbour's password cannot be had, by its address.
    pub unreadable: BTreeMap<IpAddr, String>,
    /// What was written of neighbours and does nothing.
    pub ineffective: Vec<Ineffective>,
    pub broken: Vec<Broken>,
    pub listeners: Vec<ListenerStatus>,
    pub stations: Vec<StationStatus>,
    /// Next hops of accepted routes that do not resolve.
    pub unresolved: Vec<Unresolved>,
    /// Whether [`PeeringEvent::Converged`] is due or was sent.
    pub converged: bool,
    pub bfd: bfd::Report,
}

/// The speaker's thread has ended: it was stopped, or it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the BGP speaker has stopped (restart the agent)")]
pub struct Stopped;

enum Command {
    Configure(Box<SpeakerConfig>),
    Listen(Vec<SocketAddr>),
    Originate(Vec<(Cidr, bool)>),
    Pools(Vec<Cidr>),
    Drain(Duration),
    Undrain,
    Reset(IpAddr),
    /// Answered with whom it ended: `all`, or by name or address.
    ResetNamed(String, oneshot::Sender<Vec<String>>),
    Neighbor(String, oneshot::Sender<Option<PeerDetail>>),
    Route(Cidr, oneshot::Sender<Vec<RouteDetail>>),
    /// The next portion of a dump, behind the one that it is given or from the beginning; `None`: that was all.
    Dump(Option<MrtDump>, u32, oneshot::Sender<Option<(MrtDump, Vec<u8>)>>),
    Status(oneshot::Sender<PeeringStatus>),
    Routes(oneshot::Sender<Vec<RouteStatus>>),
    Mesh(BTreeSet<String>, oneshot::Sender<MeshSessions>),
    TestFilter(Box<FilterQuestion>, oneshot::Sender<Result<FilterAnswer, String>>),
    /// Answered when every connection is closed.
    Stop(oneshot::Sender<()>),
}

/// The handle on the speaker's thread; its clones are the same speaker. What it is told it does in that order. When the
/// last one is dropped the speaker stops as by [`Peering::stop`].
#[derive(Clone)]
pub struct Peering {
    commands: mpsc::UnboundedSender<Command>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Peering {
    /// Starts the speaker; it listens and connects at once.
    ///
    /// # Errors
    /// The system has no thread or no runtime for it.
    pub fn spawn(config: PeeringConfig) -> std::io::Result<(Peering, mpsc::Receiver<PeeringEvent>)> {
        let (commands, orders) = mpsc::unbounded_channel();
        let (events, heard) = mpsc::channel(EVENTS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("bgp".into()).spawn(move || {
            runtime.block_on(driver::run(config, orders, events));
        })?;
        Ok((Peering { commands, thread: Arc::new(Mutex::new(Some(thread))) }, heard))
    }

    /// The whole configuration; only sessions that it touches are reset.
    pub fn configure(&self, config: SpeakerConfig) {
        self.tell(Command::Configure(Box::new(config)));
    }

    /// The whole list of listening addresses; those that stay are left alone.
    pub fn listen(&self, addresses: Vec<SocketAddr>) {
        self.tell(Command::Listen(addresses));
    }

    /// Own prefixes: `true` announces, `false` withdraws. It must be called once after the start, be it with nothing:
    /// before that neighbours do not hear that we have told all that we had (End-of-RIB).
    pub fn originate(&self, changes: Vec<(Cidr, bool)>) {
        self.tell(Command::Originate(changes));
    }

    /// The whole list of pools: what mesh neighbours, and those with `import: pools`, may announce.
    pub fn set_pools(&self, pools: Vec<Cidr>) {
        self.tell(Command::Pools(pools));
    }

    /// Tells everything as the last choice for so long, withdraws it, then says Cease, and stays down.
    pub fn drain(&self, notice: Duration) {
        self.tell(Command::Drain(notice));
    }

    /// Comes up again after a drain.
    pub fn undrain(&self) {
        self.tell(Command::Undrain);
    }

    /// Ends this neighbour's session and begins anew.
    pub fn reset(&self, peer: IpAddr) {
        self.tell(Command::Reset(peer));
    }

    /// Ends the session of this neighbour, by name or address, or all of them (`all`), and begins anew; answers whose.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn reset_named(&self, name: String) -> Result<Vec<String>, Stopped> {
        self.ask(|answer| Command::ResetNamed(name, answer)).await
    }

    /// All that is known of the neighbour of this name or address.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn neighbor(&self, name: String) -> Result<Option<PeerDetail>, Stopped> {
        self.ask(|answer| Command::Neighbor(name, answer)).await
    }

    /// Every route to the longest known prefix that covers this one, the best first.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn route(&self, prefix: Cidr) -> Result<Vec<RouteDetail>, Stopped> {
        self.ask(|answer| Command::Route(prefix, answer)).await
    }

    /// A portion of the table as MRT (RFC 6396): the first, or what follows `dump`; `None` behind the last. `at`: seconds
    /// since 1970.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn dump(&self, dump: Option<MrtDump>, at: u32) -> Result<Option<(MrtDump, Vec<u8>)>, Stopped> {
        self.ask(|answer| Command::Dump(dump, at, answer)).await
    }

    /// # Errors
    /// The speaker has stopped.
    pub async fn status(&self) -> Result<PeeringStatus, Stopped> {
        self.ask(Command::Status).await
    }

    /// How the sessions with nodes stand; `leaving`: those that are to go.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn mesh_sessions(&self, leaving: BTreeSet<String>) -> Result<MeshSessions, Stopped> {
        self.ask(|answer| Command::Mesh(leaving, answer)).await
    }

    /// Every route of every source, the best of a prefix first.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn routes(&self) -> Result<Vec<RouteStatus>, Stopped> {
        self.ask(Command::Routes).await
    }

    /// What a route would meet at a neighbour's filters, or that there is no such neighbour.
    ///
    /// # Errors
    /// The speaker has stopped.
    pub async fn test_filter(&self, question: FilterQuestion) -> Result<Result<FilterAnswer, String>, Stopped> {
        self.ask(|answer| Command::TestFilter(Box::new(question), answer)).await
    }

    /// Closes every connection without a NOTIFICATION, so that neighbours with graceful restart keep our routes, and
    /// ends the thread. (After [`Peering::drain`] the neighbours have heard their Cease, and keep nothing.)
    pub async fn stop(&self) {
        // An error means that it has stopped already.
        let _ = self.ask(Command::Stop).await;
        let thread = self.thread.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    fn tell(&self, command: Command) {
        // A stopped speaker has nobody to tell anything; `status` says so.
        let _ = self.commands.send(command);
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.tell(command(answer));
        answered.await.map_err(|_| Stopped)
    }
}
