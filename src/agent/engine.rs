//! The loop: it alone holds [`Desired`], takes changes of facts in the order in which they come, and hands the
//! difference to the planes and the speaker. Called by attach, sync and peering.
//!
//! Order holds for each endpoint: sets grow, chains, link, route, announcement; withdrawn in reverse. What is taken
//! away, and what was learned, never waits for rules.

use std::collections::BTreeMap;
use std::future::Future;

use futures::future::maybe_done;
use routenet_core::desired::{Desired, DesiredDelta, FactDelta, Link, Route, RouteKey};
use routenet_core::model::{Cidr, InterfaceName};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use crate::agent::peering::Peering;
use crate::plane::PlaneError;
use crate::plane::link::LinkPlane;
use crate::plane::route::RoutePlane;
use crate::plane::rules::RulesPlane;
use crate::plane::tunnel::TunnelPlane;

/// The planes and the speaker: what a difference is handed to.
#[derive(Clone)]
pub struct Hands {
    pub rules: RulesPlane,
    pub links: LinkPlane,
    pub tunnels: TunnelPlane,
    pub routes: RoutePlane,
    pub peering: Peering,
}

enum Command {
    Facts { facts: Vec<FactDelta>, done: oneshot::Sender<Result<(), PlaneError>> },
    Query(Box<dyn FnOnce(&Desired) + Send>),
}

/// Hands changes of facts to the loop.
#[derive(Clone)]
pub struct Engine {
    commands: mpsc::UnboundedSender<Command>,
}

impl Engine {
    /// Starts the loop. `desired` is what the planes were started with.
    pub fn spawn(desired: Desired, hands: Hands) -> Engine {
        let (commands, inbox) = mpsc::unbounded_channel();
        tokio::spawn(run(desired, hands, inbox));
        Engine { commands }
    }

    /// Takes the facts in; the future answers when kernel and speaker have what follows from them, or with what keeps
    /// it out. The facts are taken in the order of the calls, also when the future is dropped.
    pub fn apply(&self, facts: Vec<FactDelta>) -> impl Future<Output = Result<(), PlaneError>> + Send + use<> {
        let (done, answer) = oneshot::channel();
        // The loop ends with the agent only; then nobody waits for the answer either.
        let _ = self.commands.send(Command::Facts { facts, done });
        async move { answer.await.unwrap_or_else(|_| Err(stopping())) }
    }

    /// Asks about the desired state as it is after everything that was handed in before.
    pub async fn query<T: Send + 'static>(&self, ask: impl FnOnce(&Desired) -> T + Send + 'static) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let question = Command::Query(Box::new(move |desired| {
            let _ = reply.send(ask(desired));
        }));
        self.commands.send(question).ok()?;
        answer.await.ok()
    }
}

fn stopping() -> PlaneError {
    PlaneError { object: "agent".into(), what: "it is stopping".into() }
}

async fn run(mut desired: Desired, hands: Hands, mut inbox: mpsc::UnboundedReceiver<Command>) {
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Facts { facts, done } => {
                let delta = desired.apply(&facts);
                let programmed = program(&hands, delta).await;
                tokio::spawn(async move {
                    let outcome = programmed.await;
                    if let Err(error) = &outcome {
                        warn!(object = %error.object, error = %error.what, "not in the kernel yet");
                    }
                    let _ = done.send(outcome);
                });
            }
            Command::Query(ask) => ask(&desired),
        }
    }
    debug!("the loop ends");
}

/// A change of links and routes, parted by what it waits for.
#[derive(Default)]
struct Parted {
    now: BTreeMap<RouteKey, Option<Route>>,
    after_links: BTreeMap<RouteKey, Option<Route>>,
    create: Vec<Link>,
    delete: Vec<InterfaceName>,
    announce: Vec<(Cidr, bool)>,
    withdraw: Vec<(Cidr, bool)>,
}

fn part(delta: &mut DesiredDelta) -> Parted {
    let mut parted = Parted::default();
    let local = |route: &Option<Route>| matches!(route, Some(Route::Local { .. }));
    // Of many routes, which are learned ones, none is moved one by one.
    parted.now = std::mem::take(&mut delta.routes);
    if parted.now.values().any(local) {
        (parted.after_links, parted.now) = parted.now.into_iter().partition(|(_, route)| local(route));
    }
    for (name, link) in std::mem::take(&mut delta.links) {
        match link {
            Some(link) => parted.create.push(link),
            None => parted.delete.push(name),
        }
    }
    for (prefix, announced) in std::mem::take(&mut delta.announcements) {
        if announced {
            parted.announce.push((prefix, true));
        } else {
            parted.withdraw.push((prefix, false));
        }
    }
    parted
}

/// Hands the difference over: what does not wait is queued at the planes before this returns, in the loop's order; the
/// answer is the rest of the way.
async fn program(
    hands: &Hands,
    mut delta: DesiredDelta,
) -> impl Future<Output = Result<(), PlaneError>> + Send + use<> {
    let parted = part(&mut delta);
    // Before any route that leads there: a route without its device would be taken away meanwhile.
    if !delta.tunnels.is_empty()
        && let Err(error) = hands.tunnels.apply(std::mem::take(&mut delta.tunnels)).await
    {
        warn!(object = %error.object, error = %error.what, "no tunnel yet");
    }
    if !parted.withdraw.is_empty() {
        hands.peering.originate(parted.withdraw);
    }
    let hands = hands.clone();
    let (routes, rules) = (hands.routes.clone(), hands.rules.clone());
    let routes =
        queued(async move { if parted.now.is_empty() { Ok(()) } else { routes.apply(parted.now).await } }).await;
    let rules =
        queued(async move { if delta.rules.is_empty() { Ok(()) } else { rules.apply(delta.rules).await } }).await;
    async move {
        // What is taken away is taken away whatever else fails.
        let routes = routes.await;
        let mut deleted = Ok(());
        for name in parted.delete {
            deleted = deleted.and(hands.links.delete(name).await);
        }
        rules.await.and(routes).and(deleted)?;
        for link in parted.create {
            hands.links.create(link).await?;
        }
        if !parted.after_links.is_empty() {
            hands.routes.apply(parted.after_links).await?;
        }
        if !parted.announce.is_empty() {
            hands.peering.originate(parted.announce);
        }
        Ok(())
    }
}

/// Polls a request once, so that it stands in its plane's queue, and answers the rest of it.
async fn queued<F: Future>(request: F) -> impl Future<Output = F::Output> {
    let mut request = Box::pin(maybe_done(request));
    let _ = futures::poll!(&mut request);
    async move {
        (&mut request).await;
        request.as_mut().take_output().expect("it is done, and nobody else takes it")
    }
}
