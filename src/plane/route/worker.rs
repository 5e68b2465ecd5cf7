//! The route plane's thread: takes commands in portions, so that a large one does not hold up a small one; hears the
//! kernel's notifications; puts back what others changed; tries again what failed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use netlink_sys::Socket;
use routenet_core::desired::{PROTO_LEARNED, Route, RouteKey};
use tokio::sync::mpsc;

use crate::plane::netlink::{Connection, Drained, Ignore, Monitor, ignore, open_monitor};
use crate::plane::nexthop;
use crate::plane::tracker::{Tracker, and_more, first_error};
use crate::plane::{PlaneError, PlaneStatus};

use super::mirror::{Consequence, Mirror};
use super::objects::Objects;
use super::order::spread;
use super::sync::State;
use super::writer::Writer;
use super::{Command, Reply};

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV6_IFADDR`, `RTNLGRP_IPV6_ROUTE`, and of
/// nexthop objects.
const GROUPS: [u32; 6] = [1, 5, 7, 9, 11, nexthop::GROUP];
/// Routes that are done in one go, of several jobs: the writer has nothing to do at the end of each.
const ROUND: usize = 4096;
/// Routes that are tried again in one go.
const RETRIES: usize = 1024;
/// Between two repairs, so that somebody who fights for a route does not keep the plane busy.
const REPAIR_PAUSE: Duration = Duration::from_millis(100);
/// How long the kernel's routes are in doubt at most while jobs follow one another.
const DOUBT_LIMIT: Duration = Duration::from_secs(1);
/// How long events are gathered before what failed is tried again.
const HOPE_PAUSE: Duration = Duration::from_millis(30);

/// A command that is being worked on.
struct Job {
    keys: Vec<RouteKey>,
    done: usize,
    failures: Vec<(RouteKey, String)>,
    reply: Reply,
}

struct Worker {
    state: State,
    jobs: VecDeque<Job>,
    /// Before the start nothing is wanted, and nothing is unwanted either.
    started: bool,
    /// Learned routes that nobody wants stay for now.
    keep_learned: bool,
    /// What others did to routes of ours that are not back yet.
    touched: BTreeMap<RouteKey, &'static str>,
    /// Those of them that were not tried yet.
    dirty: BTreeSet<RouteKey>,
    /// The kernel's routes are to be read anew, since then.
    doubt: Option<Instant>,
    /// Notifications of links were lost too.
    overrun: bool,
    quiet_until: Instant,
    hope_at: Option<Instant>,
    /// When each next hop's link is asked for anew.
    recheck_at: Option<Instant>,
    status: Arc<Mutex<PlaneStatus>>,
}

/// Opens everything in the calling thread's namespace and starts the thread, which inherits it.
pub(super) fn spawn(
    inbox: mpsc::UnboundedReceiver<Command>,
    status: Arc<Mutex<PlaneStatus>>,
    objects: bool,
) -> Result<(), PlaneError> {
    let fault = |error: std::io::Error| PlaneError { object: "route plane".to_string(), what: error.to_string() };
    let socket = open_monitor(&GROUPS).map_err(fault)?;
    let connection = Connection::open().map_err(fault)?;
    let writer = Writer::spawn().map_err(fault)?;
    ignore(&socket, &Ignore::Ports(&[connection.port(), writer.port()]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fault)?;
    let mut state = State {
        connection,
        writer,
        tracker: Tracker::new(),
        mirror: Mirror::new(Objects::new(objects)),
        unsure: false,
    };
    state.mirror.read(&mut state.connection).map_err(fault)?;
    let worker = Worker {
        state,
        jobs: VecDeque::new(),
        started: false,
        keep_learned: false,
        touched: BTreeMap::new(),
        dirty: BTreeSet::new(),
        doubt: None,
        overrun: false,
        quiet_until: Instant::now(),
        hope_at: None,
        recheck_at: None,
        status,
    };
    std::thread::Builder::new()
        .name("rn-route".to_string())
        .spawn(move || runtime.block_on(worker.run(inbox, socket)))
        .map_err(fault)?;
    Ok(())
}

impl Worker {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>, socket: Socket) {
        let mut monitor = match Monitor::new(socket) {
            Ok(monitor) => monitor,
            Err(error) => return tracing::error!(%error, "route plane: no monitor"),
        };
        loop {
            // What was told before a command was given is known before it is obeyed.
            let commands: Vec<Command> = std::iter::from_fn(|| inbox.try_recv().ok()).collect();
            self.hear(&mut monitor);
            for command in commands {
                self.obey(command);
            }
            self.mend(Instant::now());
            let busy = self.portion();
            self.publish();
            if busy {
                continue;
            }
            let next = self.next().map(tokio::time::Instant::from_std);
            let timer = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => {
                        self.hear(&mut monitor);
                        self.obey(command);
                    }
                    None => return,
                },
                () = monitor.readable() => {}
                () = timer => {}
            }
        }
    }

    fn publish(&self) {
        let mut status = self.state.tracker.status();
        status.in_sync &= self.started && self.jobs.is_empty() && self.dirty.is_empty() && self.doubt.is_none();
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// Who asked may have gone away: then nobody misses the answer. Who has it finds the status to match.
    fn answer<T>(&self, reply: tokio::sync::oneshot::Sender<T>, answer: T) {
        self.publish();
        drop(reply.send(answer));
    }

    /// When there is something to do of our own accord.
    fn next(&self) -> Option<Instant> {
        let repair = (self.doubt.is_some() || !self.dirty.is_empty()).then_some(self.quiet_until);
        [repair, self.hope_at, self.recheck_at, self.state.tracker.next_due()].into_iter().flatten().min()
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::ReadOurs(reply) => {
                let ours = |(key, installed): (&RouteKey, &super::message::Installed)| {
                    let route = installed.route.clone().filter(|_| installed.is_ours())?;
                    Some((*key, route))
                };
                let mut all: Vec<(RouteKey, Route)> = self.state.mirror.routes.iter().filter_map(ours).collect();
                all.sort_by_key(|(key, _)| *key);
                self.answer(reply, Ok(all));
            }
            Command::Start(wanted, keep_learned, reply) => self.start(wanted, keep_learned, reply),
            Command::SweepLearned(reply) => {
                self.keep_learned = false;
                let keys = self.unwanted();
                self.enqueue(keys, reply);
            }
            Command::Apply(changes, reply) => {
                let keys: Vec<RouteKey> = changes.keys().copied().collect();
                for (key, route) in changes {
                    self.touched.remove(&key);
                    self.state.tracker.want(key, route);
                }
                if self.started {
                    self.state.redirect(&keys);
                }
                self.enqueue(keys, reply);
            }
        }
    }

    fn start(&mut self, wanted: BTreeMap<RouteKey, Route>, keep_learned: bool, reply: Reply) {
        if let Err(error) = self.state.mirror.read(&mut self.state.connection) {
            let what = format!("cannot be read: {error}");
            return self.answer(reply, Err(PlaneError { object: "routes".to_string(), what }));
        }
        self.started = true;
        self.keep_learned = keep_learned;
        self.touched.clear();
        self.dirty.clear();
        let mut keys: Vec<RouteKey> = wanted.keys().copied().collect();
        self.state.tracker.replace(wanted);
        keys.extend(self.unwanted());
        self.enqueue(keys, reply);
    }

    /// Routes of ours that are in the kernel and that nobody wants.
    fn unwanted(&self) -> Vec<RouteKey> {
        let unwanted = |key: &RouteKey| self.state.tracker.wanted(key).is_none();
        let routes = self.state.mirror.routes.iter();
        let mut keys: Vec<RouteKey> = routes
            .filter(|(key, installed)| unwanted(key) && !self.is_kept(installed.protocol))
            .map(|(key, _)| *key)
            .collect();
        keys.sort_unstable();
        keys
    }

    fn is_kept(&self, protocol: u8) -> bool {
        self.keep_learned && protocol == PROTO_LEARNED
    }

    fn enqueue(&mut self, keys: Vec<RouteKey>, reply: Reply) {
        self.jobs.push_back(Job { keys: spread(keys), done: 0, failures: Vec::new(), reply });
    }

    /// Works on all jobs for a while, each with the same share, so that a small one waits for no other; answers whether there
    /// is more to do.
    fn portion(&mut self) -> bool {
        let mut keys = Vec::new();
        let mut turns = Vec::new();
        let share = (ROUND / self.jobs.len().max(1)).max(1);
        while keys.len() < ROUND
            && let Some(mut job) = self.jobs.pop_front()
        {
            let turn = job.done..job.keys.len().min(job.done + share);
            keys.extend_from_slice(&job.keys[turn.clone()]);
            job.done = turn.end;
            turns.push((job, turn));
        }
        if turns.len() > 1 {
            // Several may be about one route.
            keys.sort();
            keys.dedup();
        }
        let failures: HashMap<RouteKey, String> = self.sync(&keys).into_iter().collect();
        let (mut done, mut left) = (Vec::new(), VecDeque::new());
        for (mut job, turn) in turns {
            if !failures.is_empty() {
                let failed = |key: &RouteKey| Some((*key, failures.get(key)?.clone()));
                job.failures.extend(job.keys[turn].iter().filter_map(failed));
            }
            if job.done == job.keys.len() { done.push(job) } else { left.push_back(job) }
        }
        self.jobs.append(&mut left);
        if !done.is_empty() {
            self.sweep_objects();
        }
        for job in done {
            self.answer(job.reply, first_error(&job.failures));
        }
        !self.jobs.is_empty()
    }

    /// Removes the nexthop objects that no route needs, unless somebody may be about to.
    fn sweep_objects(&mut self) {
        if self.started && self.jobs.is_empty() && self.doubt.is_none() && self.dirty.is_empty() {
            let State { mirror, connection, .. } = &mut self.state;
            let routes = &mirror.routes;
            mirror.objects.sweep(connection, |id| routes.users(id) > 0);
        }
    }

    fn sync(&mut self, keys: &[RouteKey]) -> Vec<(RouteKey, String)> {
        let failures = self.state.sync(keys);
        if std::mem::take(&mut self.state.unsure) {
            self.doubt();
        }
        if let Some((key, what)) = failures.first() {
            tracing::warn!(route = %key, %what, failures = failures.len(), "route cannot be had");
        }
        let back: Vec<(RouteKey, &'static str)> = keys
            .iter()
            .filter(|key| self.state.tracker.failure(key).is_none())
            .filter_map(|key| self.touched.remove_entry(key))
            .collect();
        if let Some((key, what)) = back.first() {
            let words = format!("{key} {what}: it was put right{}", and_more(back.len()));
            tracing::warn!(route = %key, what, count = back.len(), "routes put right");
            self.state.tracker.repaired(back.len() as u64, words);
        }
        failures
    }

    fn hear(&mut self, monitor: &mut Monitor) {
        let (mut touched, mut hope, mut doubt) = (Vec::new(), false, false);
        let mirror = &mut self.state.mirror;
        let own = [self.state.connection.port(), self.state.writer.port()];
        let drained = monitor.drain(&own, |event| {
            mirror.hear(&event, &mut |consequence| match consequence {
                Consequence::Touched(key, what) => touched.push((key, what)),
                Consequence::Hope => hope = true,
                Consequence::Doubt => doubt = true,
            });
        });
        match drained {
            Ok(Drained::All) => {}
            Ok(Drained::Overrun) => (doubt, self.overrun) = (true, true),
            Err(error) => tracing::error!(%error, "route plane: notifications cannot be read"),
        }
        if doubt {
            self.doubt();
        }
        if (hope || doubt) && self.recheck_at.is_none() {
            self.recheck_at = Some(Instant::now() + HOPE_PAUSE);
        }
        touched.into_iter().for_each(|(key, what)| self.touch(key, what));
        if hope && self.state.tracker.has_failures() && self.hope_at.is_none() {
            self.hope_at = Some(Instant::now() + HOPE_PAUSE);
        }
    }

    fn doubt(&mut self) {
        self.doubt.get_or_insert_with(Instant::now);
    }

    /// Somebody else did something to a route with our mark: if it is not as wanted now, it is put right.
    fn touch(&mut self, key: RouteKey, what: &'static str) {
        let wanted = self.state.tracker.wanted(&key);
        let there = self.state.mirror.routes.get(&key);
        let right = match (wanted, there) {
            (Some(wanted), Some(there)) => there.is_ours() && there.route.as_ref() == Some(wanted),
            (None, Some(there)) => !there.is_ours() || self.is_kept(there.protocol),
            (Some(_), None) => false,
            (None, None) => true,
        };
        if right {
            self.touched.remove(&key);
            self.dirty.remove(&key);
        } else if self.started {
            self.touched.insert(key, if wanted.is_some() { what } else { "was added, unwanted" });
            self.dirty.insert(key);
        }
    }

    /// What has to be done of our own accord by now: reading anew, repairs, retries.
    fn mend(&mut self, now: Instant) {
        if self.hope_at.is_some_and(|at| at <= now) {
            self.hope_at = None;
            self.state.tracker.hurry(now);
        }
        if self.recheck_at.is_some_and(|at| at <= now) {
            self.recheck_at = None;
            self.recheck();
        }
        if self.quiet_until <= now {
            // Jobs go first, for a while: what they write need not be read twice.
            if self.doubt.is_some_and(|since| self.jobs.is_empty() || since + DOUBT_LIMIT <= now) {
                self.quiet_until = now + REPAIR_PAUSE;
                self.look_again();
            }
            let dirty = std::mem::take(&mut self.dirty);
            if !dirty.is_empty() {
                self.quiet_until = now + REPAIR_PAUSE;
                self.sync(&dirty.into_iter().collect::<Vec<_>>());
                self.sweep_objects();
            }
        }
        let due = self.state.tracker.due(now);
        if !due.is_empty() {
            self.sync(&due[..due.len().min(RETRIES)]);
        }
    }

    /// Next hops may have moved to another link, or be on none any more.
    fn recheck(&mut self) {
        let State { mirror, connection, .. } = &mut self.state;
        let stale = mirror.objects.recheck(connection);
        if !stale.is_empty() {
            let doubted = mirror.routes.doubt(|installed| installed.nexthop.is_some_and(|id| stale.contains(&id)));
            doubted.into_iter().for_each(|key| self.touch(key, "lost the link of its next hop"));
        }
    }

    /// Reads what the kernel may have changed without a word, and finds what is not as wanted.
    fn look_again(&mut self) {
        let State { mirror, connection, .. } = &mut self.state;
        let before: Vec<RouteKey> = mirror.routes.keys().copied().collect();
        let read = if self.overrun { mirror.read(connection) } else { mirror.read_routes(connection) };
        if let Err(error) = read {
            // `doubt` stays, so this is tried again after the pause.
            return tracing::error!(%error, "route plane: routes cannot be read");
        }
        (self.doubt, self.overrun) = (None, false);
        let now: Vec<RouteKey> = self.state.mirror.routes.keys().copied().collect();
        let failing: Vec<RouteKey> =
            self.state.tracker.all().keys().filter(|key| self.state.tracker.failure(key).is_none()).copied().collect();
        let mut all: BTreeSet<RouteKey> = before.into_iter().chain(now).chain(failing).collect();
        // What a job has not come to yet would look as if somebody had taken it away.
        for key in self.jobs.iter().flat_map(|job| &job.keys[job.done..]) {
            all.remove(key);
        }
        for key in all {
            self.touch(key, "was dropped or changed");
        }
        // What was read anew tells nothing of links that next hops left.
        self.recheck();
    }
}
