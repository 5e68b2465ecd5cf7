//! The worker thread behind [`super::RulesPlane`]: requests, notices and timers, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use routenet_core::desired::{ChainKey, ChainRule, Hook, Member, RulesDelta, SetName, SetSpec};
use routenet_core::model::Cidr;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{RulesConfig, Statuses};
use crate::plane::ipset::IpsetPlane;
use crate::plane::iptables::{IptablesPlane, RuleCounters};
use crate::plane::{PlaneError, PlaneStatus};

/// Somebody who changes nf_tables seldom commits once: read back when they pause, or at the latest after a while.
const DEBOUNCE: Duration = Duration::from_millis(50);
const LONGEST_DEBOUNCE: Duration = Duration::from_millis(500);
/// Between counts of what tells nobody of changes, members of sets and entries of legacy's tables: what is found is to be
/// mended a second after it was changed.
const COUNT_INTERVAL: Duration = Duration::from_millis(750);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// nf_tables lets go of a deleted rule's sets a little after the commit.
const FIRST_LEFTOVER_RETRY: Duration = Duration::from_millis(10);
/// A set that is still held after so many attempts (2.5 s) is held by somebody else's rule.
const LEFTOVER_ATTEMPTS: u32 = 8;
const REMOVAL_PATIENCE: Duration = Duration::from_secs(3);

pub type Reply<T> = oneshot::Sender<Result<T, PlaneError>>;

/// What the handle asks for.
pub enum Request {
    Start {
        sets: BTreeMap<SetName, SetSpec>,
        chains: BTreeMap<ChainKey, Vec<ChainRule>>,
        hooks: BTreeSet<Hook>,
        reply: Reply<()>,
    },
    Apply {
        delta: RulesDelta,
        reply: Reply<()>,
    },
    RemoveAll {
        reply: Reply<()>,
    },
    Counters {
        chain: ChainKey,
        reply: Reply<Vec<RuleCounters>>,
    },
    Verify {
        addresses: Vec<IpAddr>,
        reply: Reply<Vec<String>>,
    },
}

/// Repairs so far, and the last.
#[derive(Default)]
struct Repairs {
    count: u64,
    last: Option<(SystemTime, String)>,
}

impl Repairs {
    fn note(&mut self, plane: &str, words: String) {
        info!(plane, repaired = %words, "put back what somebody else changed");
        self.count += 1;
        self.last = Some((SystemTime::now(), words));
    }
}

/// When to try again what failed.
#[derive(Default)]
struct Retry {
    at: Option<Instant>,
    attempts: u32,
}

impl Retry {
    fn plan(&mut self, needed: bool, first: Duration, longest: Duration) {
        if !needed {
            *self = Retry::default();
        } else if self.at.is_none() {
            let pause = first.saturating_mul(1 << self.attempts.min(16)).min(longest);
            self.at = Some(Instant::now() + pause);
        }
    }

    /// True once, when the time has come.
    fn due(&mut self, now: Instant) -> bool {
        let due = self.at.is_some_and(|at| at <= now);
        if due {
            self.at = None;
            self.attempts += 1;
        }
        due
    }
}

pub struct Worker {
    config: RulesConfig,
    requests: Receiver<Request>,
    woken: UnixStream,
    status: Arc<Mutex<Statuses>>,
    ipset: IpsetPlane,
    iptables: IptablesPlane,
    /// Nothing is read, repaired or retried before the agent has said what it wants.
    started: bool,
    set_repairs: Repairs,
    chain_repairs: Repairs,
    /// The kernel could not be read.
    unreadable: Option<PlaneError>,
    full_read_at: Instant,
    count_at: Instant,
    read_back_at: Option<Instant>,
    read_back_latest: Option<Instant>,
    failed: Retry,
    leftovers: Retry,
}

impl Worker {
    pub fn open(
        config: RulesConfig,
        requests: Receiver<Request>,
        woken: UnixStream,
        status: Arc<Mutex<Statuses>>,
    ) -> Result<Worker, PlaneError> {
        let now = Instant::now();
        Ok(Worker {
            ipset: IpsetPlane::open(config.set_counters)?,
            iptables: IptablesPlane::open(config.backend)?,
            config,
            requests,
            woken,
            status,
            started: false,
            set_repairs: Repairs::default(),
            chain_repairs: Repairs::default(),
            unreadable: None,
            full_read_at: now,
            count_at: now,
            read_back_at: None,
            read_back_latest: None,
            failed: Retry::default(),
            leftovers: Retry::default(),
        })
    }

    /// Works until the last handle is dropped.
    pub fn run(mut self) {
        loop {
            self.wait();
            loop {
                match self.requests.try_recv() {
                    Ok(request) => self.serve(request),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.notice();
            if self.started {
                self.timers();
            }
        }
    }

    fn wait(&mut self) {
        let now = Instant::now();
        let timers =
            [Some(self.full_read_at), Some(self.count_at), self.read_back_at, self.failed.at, self.leftovers.at];
        let next = if self.started { timers.into_iter().flatten().min() } else { None };
        let timeout = next.map_or(PollTimeout::NONE, |at| {
            // Rounded up: a timer that is not due yet would only spin.
            let left = at.saturating_duration_since(now) + Duration::from_micros(999);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.iptables.notices().map(|notices| PollFd::new(notices, PollFlags::POLLIN)));
        // EINTR and the like: the loop looks at everything anyway.
        let _ = poll(&mut fds, timeout);
        let mut buffer = [0; 256];
        while matches!((&self.woken).read(&mut buffer), Ok(count) if count == buffer.len()) {}
    }

    fn serve(&mut self, request: Request) {
        // An asker that has gone away needs no answer.
        match request {
            Request::Start { sets, chains, hooks, reply } => _ = reply.send(self.start(sets, chains, hooks)),
            Request::Apply { delta, reply } => _ = reply.send(self.apply(delta)),
            Request::RemoveAll { reply } => _ = reply.send(self.remove_all()),
            Request::Counters { chain, reply } => _ = reply.send(self.iptables.counters(&chain)),
            Request::Verify { addresses, reply } => _ = reply.send(self.verify(&addresses)),
        }
    }

    fn start(
        &mut self,
        sets: BTreeMap<SetName, SetSpec>,
        chains: BTreeMap<ChainKey, Vec<ChainRule>>,
        hooks: BTreeSet<Hook>,
    ) -> Result<(), PlaneError> {
        self.ipset.want(sets);
        let mut errors = self.iptables.want(chains, hooks);
        self.started = true;
        errors.extend(self.read_all());
        if self.unreadable.is_none() {
            self.iptables.compare();
            errors.extend(self.reconcile());
            errors.extend(self.iptables.clear_other_backend());
        }
        self.full_read_at = Instant::now() + self.config.full_read_interval;
        self.finish(errors)
    }

    fn apply(&mut self, delta: RulesDelta) -> Result<(), PlaneError> {
        if !self.started {
            return Err(PlaneError { object: "rules plane".into(), what: "a change before the start".into() });
        }
        let mut errors = self.ipset.grow(&delta.grow);
        if !delta.chains.is_empty() {
            errors.extend(self.iptables.change(delta.chains));
            errors.extend(self.sync_chains());
        }
        errors.extend(self.ipset.shrink(&delta.shrink));
        self.finish(errors)
    }

    /// A full read ahead of its time, with its repairs; answers what concerned these addresses, before it was repaired.
    fn verify(&mut self, addresses: &[IpAddr]) -> Result<Vec<String>, PlaneError> {
        let errors = self.read_all();
        if !errors.is_empty() {
            return self.finish(errors).map(|()| Vec::new());
        }
        let concerns = |member: &Member| match member {
            Member::Net(cidr) | Member::NetIface(cidr, _) => addresses.iter().any(|of| Cidr::host(*of) == *cidr),
            Member::IpPort(address, ..) => addresses.contains(address),
        };
        let missing = self.ipset.missing(concerns).into_iter().map(|what| format!("{what} was missing"));
        let said = self.note_differences().into_iter().chain(missing).collect();
        let errors = self.reconcile();
        self.full_read_at = Instant::now() + self.config.full_read_interval;
        self.finish(errors).map(|()| said)
    }

    fn remove_all(&mut self) -> Result<(), PlaneError> {
        self.ipset.want(BTreeMap::new());
        let mut errors = self.iptables.want(BTreeMap::new(), BTreeSet::new());
        errors.extend(self.read_all());
        self.iptables.compare();
        errors.extend(self.sync_chains());
        errors.extend(self.iptables.clear_other_backend());
        let deadline = Instant::now() + REMOVAL_PATIENCE;
        loop {
            let names: Vec<SetName> = self.ipset.all_names().into_iter().collect();
            errors.extend(self.ipset.shrink_all(&names));
            let Some(left) = self.ipset.leftovers().next() else { break };
            if Instant::now() >= deadline || !errors.is_empty() {
                errors.push(held(left));
                break;
            }
            std::thread::sleep(FIRST_LEFTOVER_RETRY);
        }
        self.started = false;
        self.finish(errors)
    }

    /// Reads sets and chains; what cannot be read is remembered for the status.
    fn read_all(&mut self) -> Vec<PlaneError> {
        let errors: Vec<PlaneError> =
            [self.ipset.read(), self.iptables.read()].into_iter().filter_map(Result::err).collect();
        self.unreadable = errors.first().cloned();
        errors
    }

    /// From the mirrors to what is wanted, in the order that never opens and never drops: a set that a packet meets late
    /// grows before one that it meets early, and shrinks after it.
    fn reconcile(&mut self) -> Vec<PlaneError> {
        let met: Vec<SetName> = self.iptables.sets_as_met();
        let mut names: Vec<SetName> = self.ipset.all_names().into_iter().filter(|name| !met.contains(name)).collect();
        names.extend(met.into_iter().rev());
        let mut errors = self.ipset.grow_all(&names);
        errors.extend(self.sync_chains());
        names.reverse();
        errors.extend(self.ipset.shrink_all(&names));
        errors
    }

    fn sync_chains(&mut self) -> Vec<PlaneError> {
        let occupied = self.ipset.occupied();
        self.iptables.sync(&occupied)
    }

    /// Plans a read back when somebody else committed to nf_tables.
    fn notice(&mut self) {
        if self.iptables.foreign_change() && self.started {
            let now = Instant::now();
            let latest = *self.read_back_latest.get_or_insert(now + LONGEST_DEBOUNCE);
            self.read_back_at = Some((now + DEBOUNCE).min(latest));
        }
    }

    fn timers(&mut self) {
        let now = Instant::now();
        let mut errors = Vec::new();
        let mut acted = false;
        if self.read_back_at.is_some_and(|at| at <= now) {
            acted = true;
            (self.read_back_at, self.read_back_latest) = (None, None);
            errors.extend(self.repair_chains());
        }
        if self.full_read_at <= now {
            acted = true;
            errors.extend(self.repair_all());
            self.full_read_at = Instant::now() + self.config.full_read_interval;
        } else if self.count_at <= now {
            acted = true;
            errors.extend(self.repair_miscounted());
        }
        if self.count_at <= now {
            self.count_at = Instant::now() + COUNT_INTERVAL;
        }
        if self.failed.due(now) {
            acted = true;
            errors.extend(self.retry());
        }
        if self.leftovers.due(now) {
            acted = true;
            let names: Vec<SetName> = self.ipset.leftovers().cloned().collect();
            errors.extend(self.ipset.shrink_all(&names));
        }
        if acted {
            // The failures are in the status; nobody waits for an answer.
            let _ = self.finish(errors);
        }
    }

    fn repair_chains(&mut self) -> Vec<PlaneError> {
        match self.iptables.read() {
            Err(error) => {
                self.unreadable = Some(error.clone());
                vec![error]
            }
            Ok(()) => {
                if self.note_chains().is_none() {
                    return Vec::new();
                }
                self.sync_chains()
            }
        }
    }

    fn repair_all(&mut self) -> Vec<PlaneError> {
        let errors = self.read_all();
        if !errors.is_empty() {
            return errors;
        }
        self.note_differences();
        self.reconcile()
    }

    /// Counts as repairs what will be put back; answers, in words, what that is of the chains.
    fn note_differences(&mut self) -> Option<String> {
        if let Some(words) = self.ipset.difference() {
            self.set_repairs.note("ipset", words);
        }
        self.note_chains()
    }

    fn note_chains(&mut self) -> Option<String> {
        let authors = self.iptables.take_authors();
        let words = self.iptables.compare()?;
        let by = if authors.is_empty() { String::new() } else { format!(", changed by {}", join(authors)) };
        self.chain_repairs.note("iptables", format!("{words}{by}"));
        Some(words)
    }

    fn repair_miscounted(&mut self) -> Vec<PlaneError> {
        let found = [self.ipset.read_miscounted(), self.iptables.read_miscounted()];
        let changed = found.contains(&Ok(true));
        let mut errors: Vec<PlaneError> = found.into_iter().filter_map(Result::err).collect();
        if changed {
            self.note_differences();
            errors.extend(self.reconcile());
        }
        errors
    }

    fn retry(&mut self) -> Vec<PlaneError> {
        let mut errors = self.read_all();
        if errors.is_empty() {
            self.iptables.retry();
            errors.extend(self.reconcile());
        }
        errors
    }

    /// Plans what has to come again, publishes the status, and makes one answer of the errors.
    fn finish(&mut self, errors: Vec<PlaneError>) -> Result<(), PlaneError> {
        for error in &errors {
            warn!(object = %error.object, what = %error.what, "the kernel does not have what is wanted");
        }
        let mut chain_failures = self.iptables.failures();
        chain_failures.extend(self.unreadable.clone());
        let mut set_failures: Vec<PlaneError> = self.ipset.failed().values().cloned().collect();
        let left = self.ipset.leftovers().next().cloned();
        let failing = !chain_failures.is_empty() || !set_failures.is_empty() || !self.iptables.in_sync();
        self.failed.plan(failing && self.started, FIRST_RETRY, LONGEST_RETRY);
        self.leftovers.plan(left.is_some() && self.started, FIRST_LEFTOVER_RETRY, LONGEST_RETRY);
        if self.leftovers.attempts >= LEFTOVER_ATTEMPTS {
            set_failures.extend(left.as_ref().map(held));
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let (sets, chains) = &mut *status;
        let sets_in_sync = self.started && set_failures.is_empty() && self.unreadable.is_none();
        publish(sets, sets_in_sync, self.ipset.wanted_members(), &self.set_repairs, set_failures);
        let chains_in_sync = self.started && chain_failures.is_empty() && self.iptables.in_sync();
        publish(chains, chains_in_sync, self.iptables.wanted_rules(), &self.chain_repairs, chain_failures);
        drop(status);
        one_of(errors)
    }
}

fn publish(status: &mut PlaneStatus, in_sync: bool, wanted: u64, repairs: &Repairs, failures: Vec<PlaneError>) {
    let since = status.failure.as_ref().map_or_else(SystemTime::now, |(since, _)| *since);
    *status = PlaneStatus {
        in_sync,
        wanted,
        repairs: repairs.count,
        last_repair: repairs.last.clone(),
        failure: one_of(failures).err().map(|error| (since, error.to_string())),
    };
}

fn join(names: BTreeSet<String>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn held(name: &SetName) -> PlaneError {
    let what = "cannot be destroyed: a rule that is not ours still refers to it".into();
    PlaneError { object: format!("set {name}"), what }
}

/// The first error, with the number of the others.
fn one_of(errors: Vec<PlaneError>) -> Result<(), PlaneError> {
    let count = errors.len();
    match errors.into_iter().next() {
        None => Ok(()),
        Some(first) if count == 1 => Err(first),
        Some(first) => Err(PlaneError { what: format!("{} (and {} more)", first.what, count - 1), ..first }),
    }
}
