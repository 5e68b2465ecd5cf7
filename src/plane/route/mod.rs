//! The route plane: routes of the main table that carry one of our protocol ids, and no other. Called by the agent.
//!
//! | file | does |
//! |---|---|
//! | `worker` | the thread: requests, the kernel's notifications, retries, repairs |
//! | `sync` | makes the kernel have what is wanted, many routes to a send |
//! | `writer` | the thread that sends, while `sync` makes the next requests ready |
//! | `mirror` | what the kernel has: our routes, and the links they may lead to |
//! | `table` | our routes by key, and how many lead by which nexthop object |
//! | `objects` | nexthop objects: one a next hop or a set of them, however many routes lead there |
//! | `order` | in which order many routes are written |
//! | `message` | a route as a netlink message, and back |
//! | `encode` | a route by a nexthop object in the bytes of such a message, without the message |

mod encode;
mod message;
mod mirror;
mod objects;
mod order;
mod sync;
mod table;
mod worker;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use routenet_core::desired::{Route, RouteKey};
use routenet_core::model::Family;
use tokio::sync::{mpsc, oneshot};

use super::netlink::Connection;
use super::{PlaneError, PlaneStatus};

type Reply = oneshot::Sender<Result<(), PlaneError>>;

/// A request to the worker, with where its answer goes.
enum Command {
    ReadOurs(oneshot::Sender<Result<Vec<(RouteKey, Route)>, PlaneError>>),
    Start(BTreeMap<RouteKey, Route>, bool, Reply),
    SweepLearned(Reply),
    Apply(BTreeMap<RouteKey, Option<Route>>, Reply),
}

/// The handle; its clones are the same plane, which ends with the last of them. Routes stay in the kernel.
#[derive(Clone)]
pub struct RoutePlane {
    commands: mpsc::UnboundedSender<Command>,
    status: Arc<Mutex<PlaneStatus>>,
}

/// How many routes of somebody else's protocol the main table has, of both families.
///
/// # Errors
/// What the kernel says.
pub(super) fn count(protocol: u8) -> io::Result<usize> {
    let mut connection = Connection::open()?;
    let mut count = 0;
    for family in Family::BOTH {
        let routes = connection.dump(message::dump(family, protocol))?;
        // Kernels that do not filter answer all.
        count += routes.iter().filter(|route| message::is_of(route, protocol)).count();
    }
    Ok(count)
}

impl RoutePlane {
    /// Starts the plane in the calling thread's network namespace.
    ///
    /// # Errors
    /// When sockets or threads are not to be had.
    pub fn spawn() -> Result<RoutePlane, PlaneError> {
        RoutePlane::spawn_with(true)
    }

    /// As [`RoutePlane::spawn`]; without `objects`, every route carries its next hops, as on kernels that have no nexthop
    /// objects.
    ///
    /// # Errors
    /// When sockets or threads are not to be had.
    pub fn spawn_with(objects: bool) -> Result<RoutePlane, PlaneError> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let status = Arc::new(Mutex::new(PlaneStatus::default()));
        worker::spawn(inbox, status.clone(), objects)?;
        Ok(RoutePlane { commands, status })
    }

    /// What the kernel has of our routes, own and learned: it went on forwarding by them (RFC 4724).
    ///
    /// # Errors
    /// When the kernel's routes cannot be read.
    pub async fn read_ours(&self) -> Result<Vec<(RouteKey, Route)>, PlaneError> {
        self.ask(Command::ReadOurs).await?
    }

    /// Takes over what is there: what is as wanted is not touched, the rest of ours is changed or removed. With
    /// `keep_learned`, learned routes that are not wanted stay until [`RoutePlane::sweep_learned`].
    ///
    /// # Errors
    /// The first route that could not be had, and how many more; the others are done, and these are retried.
    pub async fn start(&self, wanted: BTreeMap<RouteKey, Route>, keep_learned: bool) -> Result<(), PlaneError> {
        self.ask(|reply| Command::Start(wanted, keep_learned, reply)).await?
    }

    /// Removes the learned routes that [`RoutePlane::start`] kept and that are not wanted to this day.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn sweep_learned(&self) -> Result<(), PlaneError> {
        self.ask(Command::SweepLearned).await?
    }

    /// Makes these routes so; `None` removes. Answers when the kernel has them.
    ///
    /// # Errors
    /// The first route of these that could not be had, and how many more; the others are done, and these are retried
    /// with back-off and whenever links, addresses or others' routes change, until they are had or no longer wanted.
    pub async fn apply(&self, changes: BTreeMap<RouteKey, Option<Route>>) -> Result<(), PlaneError> {
        self.ask(|reply| Command::Apply(changes, reply)).await?
    }

    pub fn status(&self) -> PlaneStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, PlaneError> {
        let ended = || PlaneError {
            object: "route plane".to_string(),
            what: "its thread has ended; restart the agent".to_string(),
        };
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}
