//! What is wrong on this node, since when, in words: gathered from the parts, published as the node's condition, and
//! shown by `routectl status`.

mod ineffective;
mod session;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use routenet_core::bgp::speaker::{PeerSource, PeerStatus, State};
use routenet_core::model::scope::unscoped;
use routenet_core::model::{NodeCondition, Problem};

use super::Agent;
use super::peering::{Broken, Crowd, Overruled, PeeringStatus, Waiting, neighbor_lines};
use super::sync::SyncState;
use crate::plane::PlaneStatus;
use crate::plane::interfaces::words;

/// A node that is silent for so long is degraded.
pub const SILENCE: Duration = Duration::from_secs(30);

/// A neighbour gets so long to come up, or back, before it is called a problem.
const PEER_GRACE: Duration = Duration::from_secs(10);

/// Remembers since when each problem has been there.
#[derive(Default)]
pub struct Health(Mutex<BTreeMap<(String, String), u64>>);

/// Seconds since the Unix epoch.
pub fn epoch_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What has lasted so long began then, in seconds since the Unix epoch.
pub(super) fn ago(lasting: Duration) -> u64 {
    epoch_seconds(SystemTime::now()).saturating_sub(lasting.as_secs())
}

impl Health {
    /// Gives each problem the time at which it was first seen; those that are over are forgotten.
    pub(super) fn date(&self, found: Vec<Found>) -> Vec<Problem> {
        let now = epoch_seconds(SystemTime::now());
        let mut known = self.0.lock().expect("no panic while it is held");
        let mut dated = BTreeMap::new();
        let problems = found
            .into_iter()
            .map(|found| {
                let subject = (found.part.to_string(), found.subject);
                let since = found.since.unwrap_or_else(|| known.get(&subject).copied().unwrap_or(now));
                dated.insert(subject, since);
                Problem { part: found.part.to_string(), what: found.what, mend: found.mend, since }
            })
            .collect();
        *known = dated;
        problems
    }
}

/// A problem before it is dated. `subject` stays the same while `what` may count up.
pub(super) struct Found {
    part: &'static str,
    subject: String,
    what: String,
    mend: Option<String>,
    since: Option<u64>,
}

pub(super) fn found(part: &'static str, what: impl Into<String>, mend: &str) -> Found {
    let what = what.into();
    Found { part, subject: what.clone(), what, mend: Some(mend.to_string()), since: None }
}

impl Agent {
    /// Everything that is wrong here now.
    pub async fn problems(&self) -> Vec<Problem> {
        let mut all = Vec::new();
        all.extend(self.store_problems());
        for (name, status) in self.planes() {
            all.extend(plane_problem(name, &status));
        }
        match self.hands.peering.status().await {
            Ok(peering) => all
                .extend(peering_problems(&peering, self.is_drained()).into_iter().map(|it| self.behind_a_firewall(it))),
            Err(stopped) => all.push(found("bgp", stopped.to_string(), "restart the agent; the routes stay meanwhile")),
        }
        for (block, why) in self.allocator.lost_blocks() {
            all.push(found("ipam", format!("block {block}: {why}"), "detach its workloads and attach them again"));
        }
        if let Some((what, mend)) = self.underlay_mtu.problem() {
            all.push(found("underlay", what, mend));
        }
        if let Some((what, mend)) = self.docker.as_ref().and_then(|driver| driver.problem()) {
            all.push(found("docker", what, &mend));
        }
        let policies = self.engine.query(|desired| desired.policy().problems()).await.unwrap_or_default();
        for problem in policies {
            all.push(found(
                "policy",
                format!("{}: {}", problem.policy, problem.what),
                "correct and apply it again; what it governs stays closed",
            ));
        }
        let neighbours = self.neighbours.found();
        all.extend(neighbours.found.iter().map(|it| found("neighbours", it.what.clone(), &it.mend)));
        all.extend(self.name_problem());
        all.extend(self.reload.problems());
        self.health.date(all)
    }

    /// A session that is missing may be one that the host's own firewall lets nobody open.
    fn behind_a_firewall(&self, mut found: Found) -> Found {
        if self.neighbours.found().input_drops {
            let hint = "INPUT drops here what no rule takes: is there one for BGP (tcp 179)?";
            found.mend = Some(found.mend.map_or(hint.to_string(), |mend| format!("{mend}; {hint}")));
        }
        found
    }

    /// What the node says of itself to the others.
    pub async fn condition(&self) -> NodeCondition {
        let peering = self.hands.peering.status().await.unwrap_or_default();
        NodeCondition {
            node: self.config.node.clone(),
            at: epoch_seconds(SystemTime::now()),
            version: env!("CARGO_PKG_VERSION").to_string(),
            problems: self.problems().await,
            endpoints: u32::try_from(self.allocator.endpoints().len()).unwrap_or(u32::MAX),
            blocks: self.allocator.own_blocks().borrow().iter().copied().collect(),
            peers_established: count(peering.peers.iter().filter(|peer| peer.state == State::Established).count()),
            peers_configured: count(peering.peers.len() + peering.waiting.len()),
            mesh_in_place: self.mesh.in_place(),
        }
    }

    fn store_problems(&self) -> Vec<Found> {
        let mut all = Vec::new();
        let status = self.sync_status.borrow().clone();
        let away = "workloads, policies and routes go on; repair the store, the agent returns to it by itself";
        match status.state {
            SyncState::InSync(_) => {}
            SyncState::Waiting(why) | SyncState::Stale(_, why) | SyncState::Away(_, why) => {
                let what = format!("{}: {why}", self.store.describe());
                let subject = "away".to_string();
                all.push(Found { part: "store", subject, what, mend: Some(away.to_string()), since: None });
            }
        }
        for (key, why) in status.malformed {
            let mend = "apply the object again; what it said before goes on to hold, and a policy that said nothing before denies";
            all.push(found("store", format!("{key} cannot be read: {why}"), mend));
        }
        if let Some(why) = self.publisher.status().borrow().failing.clone() {
            let what = format!("what this node says of itself cannot be published: {why}");
            let mend = Some(away.to_string());
            all.push(Found { part: "store", subject: "publish".into(), what, mend, since: None });
        }
        all
    }

    fn name_problem(&self) -> Option<Found> {
        let known = self.cluster.read();
        let other = known.nodes.get(&self.config.node).filter(|node| node.incarnation != self.incarnation)?;
        let address = other.ipv4.map(|a| a.to_string()).or(other.ipv6.map(|a| a.to_string())).unwrap_or_default();
        let what = format!("another agent, at {address}, calls itself {} too", self.config.node);
        Some(found("config", what, "give one of the two another `node:` name, and restart it"))
    }
}

fn count(peers: usize) -> u32 {
    u32::try_from(peers).unwrap_or(u32::MAX)
}

fn plane_problem(name: &'static str, status: &PlaneStatus) -> Option<Found> {
    let (since, what) = status.failure.clone()?;
    let mend = "it is retried; what depends on it stays closed";
    Some(Found {
        part: name,
        subject: "failure".into(),
        what,
        mend: Some(mend.into()),
        since: Some(epoch_seconds(since)),
    })
}

/// A drained node's neighbours may go.
pub(super) fn peering_problems(peering: &PeeringStatus, drained: bool) -> Vec<Found> {
    let mut all = Vec::new();
    for listener in &peering.listeners {
        if let Some(error) = &listener.error {
            let what = format!("cannot listen on {}: {error}", listener.wanted);
            all.push(found("bgp", what, "free the address, or set another `bgp.listen`; it is tried again"));
        }
    }
    for station in peering.stations.iter().filter(|station| !station.connected) {
        if let Some(error) = &station.error {
            let what = format!("no BMP station at {}: {error}", station.address);
            all.push(found("bgp", what, "start it, or mend `bgp.monitoringStations`; it is tried again"));
        }
    }
    all.extend(peering.peers.iter().flat_map(|peer| {
        peer.config.filters.missing().iter().map(|name| {
            let whom = format!("{} ({})", peer.config.name, words(peer.address));
            let what =
                format!("BGPFilter {name}, which peer {whom} names, is not there: nothing passes to it or from it");
            found("bgp", what, "apply a BGPFilter of that name, or take the name out of the peer's `filters`")
        })
    }));
    all.extend(unresolved(peering));
    all.extend(peering.broken.iter().map(broken_problem));
    all.extend(peering.crowds.iter().map(crowd_problem));
    all.extend(peering.overruled.iter().map(overruled_problem));
    all.extend(peering.ineffective.iter().map(ineffective::problem));
    if !drained {
        // Nobody says that one of a range has to be there.
        let wanted = |peer: &PeerStatus| peer.config.source != PeerSource::Range;
        let down = |peer: &PeerStatus| peer.state != State::Established && peer.lasting >= PEER_GRACE && wanted(peer);
        let mut passwords = Vec::new();
        for peer in &peering.peers {
            match peering.unreadable.get(&peer.address) {
                Some(why) => passwords.push(password_problem(peer, why)),
                None => all.extend(down(peer).then(|| peer_problem(peer))),
            }
        }
        all.extend(peering.waiting.iter().filter(|waiting| waiting.since >= PEER_GRACE).map(waiting_problem));
        all.extend(peering.peers.iter().filter_map(near_its_bound));
        all.append(&mut passwords);
        all.extend(bfd_problems(peering));
    }
    all
}

/// The first of the next hops that do not resolve; of many the mend is mostly the same.
fn unresolved(peering: &PeeringStatus) -> Option<Found> {
    let hop = peering.unresolved.first()?;
    let more = match peering.unresolved.len() - 1 {
        0 => String::new(),
        others => format!(", nor do {others} others"),
    };
    let (address, _) = unscoped(hop.address);
    let what = format!("the next hop {address} of {} learned routes does not resolve{more}: {}", hop.routes, hop.why);
    Some(Found { subject: "next hops".into(), ..found("bgp", what, hop.why.mend()) })
}

/// A neighbour that sends more than the warning's share of what it may (RFC 4486 section 4 ends its session beyond that).
fn near_its_bound(peer: &PeerStatus) -> Option<Found> {
    let bound = peer.config.options.max_prefixes?;
    let near = peer.received_most * 100 >= u64::from(bound.limit) * u64::from(bound.warning);
    (near && peer.state == State::Established).then(|| Found {
        part: "bgp",
        subject: format!("{} prefixes", words(peer.address)),
        what: format!(
            "{} ({}) sends {} prefixes of at most {}",
            peer.config.name,
            words(peer.address),
            peer.received_most,
            bound.limit
        ),
        mend: Some("see what it announces (`routectl bgp routes`), or raise its `maxPrefixes.limit`".to_string()),
        since: None,
    })
}

/// BFD that is configured, and not up with a neighbour whose session stands: without a session that is what is told.
fn bfd_problems(peering: &PeeringStatus) -> Vec<Found> {
    let errors = peering.bfd.errors.iter().map(|error| {
        let mend = "end the program that has the port, or take `bfd` away from the neighbours; it is tried again";
        found("bgp", error.clone(), mend)
    });
    let lines = neighbor_lines(peering).into_iter().zip(&peering.peers);
    let down = lines.filter_map(|(line, peer)| {
        let bfd = line.bfd.filter(|bfd| bfd.state != "Up" && bfd.since_secs >= PEER_GRACE.as_secs())?;
        let multihop = peer.config.bfd.is_some_and(|bfd| bfd.multihop);
        (peer.state == State::Established).then(|| {
            let why = bfd.why.unwrap_or_default();
            let port = if multihop { 4784 } else { 3784 };
            Found {
                part: "bgp",
                subject: format!("bfd {}", line.address),
                what: format!("BFD with {} ({}) is {}: {why}", line.name, line.address, bfd.state),
                mend: Some(format!(
                    "give that neighbour BFD with this node, and let UDP {port} pass both ways; until then a failure is \
                     seen when the hold time is over"
                )),
                since: Some(ago(Duration::from_secs(bfd.since_secs))),
            }
        })
    });
    errors.chain(down).collect()
}

fn broken_problem(broken: &Broken) -> Found {
    Found {
        part: "bgp",
        subject: broken.what.to_string(),
        what: format!("{}: {}", broken.what, broken.why),
        mend: Some("where that goes on, restart the agent, and report what its log says".to_string()),
        since: Some(ago(broken.since)),
    }
}

/// How many routers of a crowd are named.
const NAMED: usize = 3;

fn crowd_problem(crowd: &Crowd) -> Found {
    let name = &crowd.interface;
    let count = crowd.routers.len();
    let mut named: Vec<String> = crowd.routers.iter().take(NAMED).map(ToString::to_string).collect();
    if count > NAMED {
        named.push("...".to_string());
    }
    let neighbor = crowd.neighbor.map_or("nobody yet".to_string(), |address| address.to_string());
    Found {
        part: "bgp",
        subject: format!("routers on {name}"),
        what: format!(
            "{count} routers announce themselves on {name} ({}), where one neighbour is meant: now {neighbor}",
            named.join(", ")
        ),
        mend: Some(format!(
            "name the one that is meant (`address: {}%{name}` in the place of `interface`) or give it a password, and find \
             out who else sends router advertisements there",
            crowd.neighbor.map_or("fe80::1".to_string(), |address| address.to_string())
        )),
        since: None,
    }
}

fn overruled_problem(overruled: &Overruled) -> Found {
    let [own, other] = [overruled.neighbor, overruled.by.0].map(words);
    Found {
        part: "bgp",
        subject: format!("password of {own}"),
        what: format!(
            "connections from {} ({own}) are dropped unless they are signed with the password of {} ({other}): the kernel has \
             one password for an address, whatever the link",
            overruled.name, overruled.by.1
        ),
        mend: Some(
            "give both the same password, or one of the two neighbours another link-local address; until then only our own \
             connections reach it"
                .to_string(),
        ),
        since: None,
    }
}

fn peer_problem(peer: &PeerStatus) -> Found {
    let (what, mend) = session::missing(peer);
    Found { part: "bgp", subject: words(peer.address), what, mend: Some(mend), since: Some(ago(peer.lasting)) }
}

/// A password that cannot be had, also where nobody connects who would say so: no session begins without it.
fn password_problem(peer: &PeerStatus, why: &str) -> Found {
    let what = format!("no password for {} ({}): {why}", peer.config.name, words(peer.address));
    found("bgp", what, "write it into the first line of that file, which the agent has to be able to read")
}

fn waiting_problem(waiting: &Waiting) -> Found {
    let place = waiting.place();
    let what = format!("no session with {} ({place}), {}", waiting.link.peer.name, waiting.why);
    Found { part: "bgp", subject: place, what, mend: Some(waiting.mend.clone()), since: Some(ago(waiting.since)) }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
