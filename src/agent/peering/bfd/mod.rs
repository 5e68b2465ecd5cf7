//! Sockets, a clock and a thread for `routenet_core::bfd`: whether neighbours are there, whatever else this machine does.
//!
//! Called by the driver, which configures it by what its speaker's neighbours want, hears of failures, and tells the
//! speaker. There is no thread before the first neighbour wants BFD.
//!
//! | file | owns |
//! |---|---|
//! | `thread` | the loop around the engine |
//! | `socket` | UDP: TTL 255 out, the TTL of what comes in |
//! | `listing` | answers for `routectl bgp` |
//! | `priority` | the thread's place before others |

mod listing;
mod priority;
mod socket;
mod thread;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{self as orders, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
pub use routenet_core::bfd::engine::Event;
use routenet_core::bfd::engine::{Neighbor, Status, Wanted};
use routenet_core::bfd::session::Settings;
use routenet_core::bgp::speaker::PeerConfig;
use routenet_core::model::scope::{scoped, unscoped};
use tokio::sync::{mpsc, oneshot};

pub use listing::line;

/// Changes of state that may wait for the driver; of those beyond it each neighbour's last, or its failure.
const NEWS: usize = 64;
/// How long it may take to say AdminDown to everybody, when the agent leaves.
const FAREWELL: Duration = Duration::from_millis(500);

/// One neighbour to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Our end; `None`: the kernel chooses, and any of our addresses is taken.
    pub local: Option<IpAddr>,
    pub wanted: Wanted,
}

/// How BFD is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub sessions: BTreeMap<Neighbor, Status>,
    /// What keeps packets from going out to a neighbour, in words.
    pub unsent: BTreeMap<Neighbor, String>,
    /// What keeps packets from coming in at all, in words; tried again every second.
    pub errors: Vec<String>,
}

enum Order {
    Configure(BTreeMap<Neighbor, Link>),
    Report(oneshot::Sender<Report>),
    /// The thread ends, and drops this, when everybody has been told often enough.
    Leave(Sender<()>),
}

/// The handle on the thread. Dropped, the thread says goodbye and ends.
pub struct Bfd {
    running: Option<Running>,
    news: mpsc::Sender<Event>,
}

struct Running {
    orders: Sender<Order>,
    wake: Arc<EventFd>,
    thread: JoinHandle<()>,
}

impl Bfd {
    /// Without a thread yet; what happens is heard from the receiver.
    pub fn new() -> (Bfd, mpsc::Receiver<Event>) {
        let (news, heard) = mpsc::channel(NEWS);
        (Bfd { running: None, news }, heard)
    }

    /// The whole list.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn configure(&mut self, links: BTreeMap<Neighbor, Link>) -> io::Result<()> {
        if self.running.is_none() && links.is_empty() {
            return Ok(());
        }
        let running = match &mut self.running {
            Some(running) => running,
            None => self.running.insert(Running::start(self.news.clone())?),
        };
        running.tell(Order::Configure(links));
        Ok(())
    }

    /// How it is doing, once the thread has answered.
    pub fn report(&self) -> impl Future<Output = Report> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        if let Some(running) = &self.running {
            running.tell(Order::Report(answer));
        }
        async move { answered.await.unwrap_or_default() }
    }

    /// Says AdminDown, so that no neighbour takes our silence for a failure (RFC 5882 3.2), and waits until that is done.
    pub fn leave(&mut self) {
        let Some(running) = self.running.take() else { return };
        let (said, heard) = orders::channel();
        running.tell(Order::Leave(said));
        // It is done when the other end is dropped; nobody ever sends anything.
        let _ = heard.recv_timeout(FAREWELL);
    }
}

impl Drop for Bfd {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Running {
    fn start(news: mpsc::Sender<Event>) -> io::Result<Running> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (orders, taken) = orders::channel();
        let seed = RandomState::new().hash_one(std::process::id());
        let theirs = wake.clone();
        let thread = std::thread::Builder::new().name("bfd".into());
        let thread = thread.spawn(move || thread::run(seed, &taken, &theirs, news))?;
        Ok(Running { orders, wake, thread })
    }

    fn tell(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::error!(ended = self.thread.is_finished(), "BFD has stopped; restart the agent");
        }
        // A counter that is full wakes the thread as well.
        let _ = self.wake.write(1);
    }
}

/// A speaker's neighbour as BFD knows it.
fn neighbor(peer: IpAddr, multihop: bool) -> Neighbor {
    let (address, interface) = unscoped(peer);
    Neighbor { address, interface: interface.unwrap_or(0), multihop }
}

/// The speaker's neighbour that this is.
pub fn peer_of(neighbor: &Neighbor) -> IpAddr {
    match neighbor.interface {
        0 => neighbor.address,
        interface => scoped(neighbor.address, interface),
    }
}

/// What the neighbours of a speaker want, of those that want any.
pub fn links<'a>(peers: impl Iterator<Item = (&'a IpAddr, &'a PeerConfig)>) -> BTreeMap<Neighbor, Link> {
    peers
        .filter_map(|(address, peer)| {
            let bfd = peer.bfd?;
            let settings =
                Settings { interval: Duration::from_millis(bfd.interval_ms.into()), multiplier: bfd.multiplier.max(1) };
            // RFC 5883 5 leaves the TTL of what came over routers to the two sides.
            let wanted = Wanted { settings, least_ttl: bfd.minimum_ttl.unwrap_or(0) };
            let neighbor = neighbor(*address, bfd.multihop);
            Some((neighbor, Link { local: peer.local_address.map(|local| unscoped(local).0), wanted }))
        })
        .collect()
}
