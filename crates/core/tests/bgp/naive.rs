//! What every table must come to, by another way than the speaker's: each neighbour is told anew what each other one has,
//! until nothing changes. It shares no code with the RIB, the decision and the filters.
//!
//! A net of free policies may have several such ends, and none at all: LOCAL_PREF that each gives to the way by another
//! (Griffin and Wilfong), and MED, which the decision compares between routes of one neighbouring AS only, so that a route
//! which is told or not makes another one better or worse (RFC 3345). So [`settles`] looks whether there is an end to
//! come to, and [`heard`] is what must hold at any end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use routenet_core::model::peering::{BgpRole, NextHopMode};
use routenet_core::model::{Cidr, Family, ImportPolicy};

use crate::dice::Dice;
use crate::policy::{self, Filters};

/// RFC 1997 and RFC 8326.
pub const NO_EXPORT: u32 = 0xffff_ff01;
pub const NO_ADVERTISE: u32 = 0xffff_ff02;
pub const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;
pub const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;

/// A net that has not come to an end by then has none, or none that it finds.
const ROUNDS: usize = 60;

/// How a speaker holds one neighbour.
#[derive(Clone, Debug)]
pub struct Neighbor {
    pub import: ImportPolicy,
    pub client: bool,
    pub next_hop: NextHopMode,
    pub allowed_local_as: usize,
    /// What the speaker is for it, and what it is for the speaker.
    pub local_as: u32,
    pub remote_as: u32,
    pub role: Option<BgpRole>,
    pub role_strict: bool,
    pub filters: Filters,
    /// Whether it is told all paths (RFC 7911), and not the best only.
    pub all_paths: bool,
}

impl Neighbor {
    pub fn external(&self) -> bool {
        self.local_as != self.remote_as
    }
}

#[derive(Clone, Debug)]
pub struct Speaker {
    pub as_number: u32,
    pub router_id: Ipv4Addr,
    pub cluster: Ipv4Addr,
    pub address4: IpAddr,
    pub address6: IpAddr,
    pub own: BTreeSet<Cidr>,
    pub pools: Vec<Cidr>,
    /// By index, those with whom a session can stand.
    pub neighbors: BTreeMap<usize, Neighbor>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// `None`: its own.
    pub from: Option<usize>,
    pub as_path: Vec<u32>,
    pub next_hop: Option<IpAddr>,
    pub local_pref: Option<u32>,
    pub med: Option<u32>,
    pub communities: BTreeSet<u32>,
    pub otc: Option<u32>,
    pub refused: bool,
    pub external: bool,
    pub originator: Option<Ipv4Addr>,
    pub clusters: Vec<Ipv4Addr>,
}

/// The routes to one prefix: those that share the load in front, the best of them first, and
/// the others in any order that is always the same: of one neighbour there may be several that do not differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    pub equal: Vec<Route>,
    pub others: Vec<Route>,
}

impl Routes {
    pub fn new(equal: Vec<Route>, mut others: Vec<Route>) -> Routes {
        others.sort();
        Routes { equal, others }
    }
}

pub type Table = BTreeMap<Cidr, Routes>;

/// Whether two tables do not differ. Which of a neighbour's equal paths is the best says its identifier (RFC 7911), which
/// the model does not know: with all paths told the order of those that share the load is none of its business.
pub fn same(speakers: &[Speaker], one: &Table, other: &Table) -> bool {
    let all_paths = speakers.iter().flat_map(|speaker| speaker.neighbors.values()).any(|neighbor| neighbor.all_paths);
    if !all_paths {
        return one == other;
    }
    let sorted = |routes: &[Route]| {
        let mut routes = routes.to_vec();
        routes.sort();
        routes
    };
    let alike = |one: &Routes, other: &Routes| sorted(&one.equal) == sorted(&other.equal) && one.others == other.others;
    one.len() == other.len()
        && one.iter().all(|(prefix, routes)| other.get(prefix).is_some_and(|found| alike(routes, found)))
}

/// RFC 9234 4.2: whether two that are this to each other have a session.
pub fn agree(one: &Neighbor, other: &Neighbor) -> bool {
    use BgpRole::*;
    if !one.external() {
        return true;
    }
    match (one.role, other.role) {
        (None, None) => true,
        (Some(_), None) => !one.role_strict,
        (None, Some(_)) => !other.role_strict,
        (Some(one), Some(other)) => matches!(
            (one, other),
            (Provider, Customer) | (Customer, Provider) | (Rs, RsClient) | (RsClient, Rs) | (Peer, Peer)
        ),
    }
}

/// Before anybody has said anything.
pub fn silent(speakers: &[Speaker]) -> Vec<Table> {
    let nothing = vec![Table::new(); speakers.len()];
    (0..speakers.len()).map(|index| heard(speakers, &nothing, index)).collect()
}

/// Whether these tables come to an end if neighbours are heard in a random order, each as often as any other.
pub fn settles(speakers: &[Speaker], mut tables: Vec<Table>, seed: u64) -> bool {
    let mut dice = Dice(seed);
    let sessions = speakers.iter().enumerate().flat_map(|(to, it)| it.neighbors.keys().map(move |from| (to, *from)));
    let sessions: Vec<(usize, usize)> = sessions.collect();
    for _ in 0..ROUNDS {
        for _ in 0..3 * sessions.len() {
            let (to, from) = sessions[dice.below(sessions.len())];
            tables[to] = hears(speakers, &tables, to, from);
        }
        if (0..speakers.len()).all(|index| same(speakers, &heard(speakers, &tables, index), &tables[index])) {
            return true;
        }
    }
    false
}

/// What a speaker has when each neighbour has told it what it has by `tables`.
pub fn heard(speakers: &[Speaker], tables: &[Table], index: usize) -> Table {
    let mut table = BTreeMap::<Cidr, Vec<Route>>::new();
    for prefix in &speakers[index].own {
        table.entry(*prefix).or_default().push(Route::default());
    }
    for &from in speakers[index].neighbors.keys() {
        for (prefix, routes) in &tables[from] {
            table.entry(*prefix).or_default().extend(arrives(speakers, routes, index, from, prefix));
        }
    }
    let known = table.into_iter().filter(|(_, routes)| !routes.is_empty());
    known.map(|(prefix, routes)| (prefix, decide(speakers, routes))).collect()
}

/// What a speaker has when one neighbour has told it what it has by `tables`.
fn hears(speakers: &[Speaker], tables: &[Table], to: usize, from: usize) -> Table {
    let mut table = Table::new();
    for prefix in tables[to].keys().chain(tables[from].keys()).copied().collect::<BTreeSet<Cidr>>() {
        let had = tables[to].get(&prefix).into_iter().flat_map(|routes| routes.equal.iter().chain(&routes.others));
        let mut all: Vec<Route> = had.filter(|route| route.from != Some(from)).cloned().collect();
        if let Some(routes) = tables[from].get(&prefix) {
            all.extend(arrives(speakers, routes, to, from, &prefix));
        }
        if !all.is_empty() {
            table.insert(prefix, decide(speakers, all));
        }
    }
    table
}

fn arrives(speakers: &[Speaker], routes: &Routes, to: usize, from: usize, prefix: &Cidr) -> Vec<Route> {
    let sender = &speakers[from];
    let usable = routes.equal.iter().chain(routes.others.iter().filter(|route| !route.refused));
    let most = if sender.neighbors[&to].all_paths { usize::MAX } else { routes.equal.len().min(1) };
    let told = usable.take(most).filter_map(|route| tell(sender, speakers, to, prefix, route));
    told.map(|route| take(&speakers[to], from, prefix, route)).collect()
}

/// RFC 4271 9.1.2.2, and RFC 4456 section 9 at its end; all origins are IGP.
pub fn decide(speakers: &[Speaker], routes: impl IntoIterator<Item = Route>) -> Routes {
    let (mut others, mut left): (Vec<Route>, Vec<Route>) = routes.into_iter().partition(|route| route.refused);
    let mut keep = |left: &mut Vec<Route>, stays: &dyn Fn(&Route, &[Route]) -> bool| {
        let all = left.clone();
        others.extend(left.extract_if(.., |route| !stays(route, &all)));
    };
    fn least<K: Ord>(key: impl Fn(&Route) -> K) -> impl Fn(&Route, &[Route]) -> bool {
        move |route, all| all.iter().all(|other| key(route) <= key(other))
    }
    keep(&mut left, &least(|route| route.from.is_some()));
    keep(&mut left, &least(|route| Reverse(route.local_pref.unwrap_or(100))));
    keep(&mut left, &least(|route| route.as_path.len()));
    let med = |route: &Route| route.med.unwrap_or(0);
    keep(&mut left, &|route, all| {
        let mut rivals = all.iter().filter(|other| other.as_path.first() == route.as_path.first());
        rivals.all(|other| med(route) <= med(other))
    });
    keep(&mut left, &least(|route| !route.external));
    // Where these say nothing, of paths of one neighbour, it is an order all the same.
    left.sort();
    left.sort_by_key(|route| {
        let router_id = route.from.map(|from| route.originator.unwrap_or(speakers[from].router_id));
        (router_id, route.clusters.len(), route.from.map(|from| speakers[from].address4))
    });
    Routes::new(left, others)
}

/// What `speaker` tells speaker `to` of its best route, or of another that it has to tell.
fn tell(speaker: &Speaker, speakers: &[Speaker], to: usize, prefix: &Cidr, best: &Route) -> Option<Route> {
    let receiver = &speakers[to];
    let neighbor = &speaker.neighbors[&to];
    let external = neighbor.external();
    if best.from == Some(to) {
        return None;
    }
    // RFC 1997; without confederations the third is as good as the first.
    let forbidding = if external { &[NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED][..] } else { &[NO_ADVERTISE] };
    if forbidding.iter().any(|community| best.communities.contains(community)) {
        return None;
    }
    // RFC 9234 section 5: what has been told to a customer goes to customers only.
    let role = neighbor.role.filter(|_| external);
    if best.otc.is_some() && matches!(role, Some(BgpRole::Customer | BgpRole::Peer | BgpRole::RsClient)) {
        return None;
    }
    let inside = best.from.is_some() && !best.external && !external;
    let client = |index: usize| speaker.neighbors[&index].client;
    if inside && !client(to) && !best.from.is_some_and(client) {
        return None;
    }
    if neighbor.filters.missing {
        return None;
    }
    let rule = policy::first(&neighbor.filters.export, prefix, best, external);
    match rule {
        Some(rule) if !rule.accept => return None,
        None if external && best.from.is_some() && neighbor.import != ImportPolicy::All => return None,
        _ => {}
    }
    let mut route = Route { external, ..best.clone() };
    if external {
        route.med = None;
    }
    let keeps = rule.and_then(|rule| policy::change(rule, &mut route));
    let keep = match neighbor.next_hop {
        _ if keeps.is_some() => keeps == Some(true) && best.from.is_some(),
        NextHopMode::Keep => best.from.is_some(),
        NextHopMode::Auto => inside,
        NextHopMode::Own => false,
    };
    let ourselves = match prefix.family() {
        Family::V4 => speaker.address4,
        Family::V6 => speaker.address6,
    };
    let next_hop = if keep { best.next_hop? } else { ourselves };
    if next_hop == receiver.address4 {
        return None;
    }
    route.next_hop = Some(next_hop);
    if external {
        if matches!(role, Some(BgpRole::Provider | BgpRole::Peer | BgpRole::Rs)) {
            route.otc = route.otc.or(Some(neighbor.local_as));
        }
        route.as_path.insert(0, neighbor.local_as);
        (route.local_pref, route.originator, route.clusters) = (None, None, Vec::new());
    } else {
        route.local_pref = Some(route.local_pref.unwrap_or(100));
        if inside {
            let said_first = best.from.map(|from| speakers[from].router_id);
            route.originator = best.originator.or(said_first);
            route.clusters.insert(0, speaker.cluster);
        }
    }
    Some(route)
}

/// What becomes of it there: as it came where it is refused.
fn take(speaker: &Speaker, from: usize, prefix: &Cidr, route: Route) -> Route {
    let neighbor = &speaker.neighbors[&from];
    let external = neighbor.external();
    let role = neighbor.role.filter(|_| external);
    let mut route = Route { from: Some(from), ..route };
    // RFC 9234 section 5: nothing comes up that has gone down, and sideways only what the neighbour itself marked.
    let leaks = route.otc.is_some_and(|otc| match role {
        Some(BgpRole::Provider | BgpRole::Rs) => true,
        Some(BgpRole::Peer) => otc != neighbor.remote_as,
        Some(BgpRole::Customer | BgpRole::RsClient) | None => false,
    });
    if matches!(role, Some(BgpRole::Customer | BgpRole::Peer | BgpRole::RsClient)) {
        route.otc = route.otc.or(Some(neighbor.remote_as));
    }
    if external && route.communities.contains(&GRACEFUL_SHUTDOWN) {
        route.local_pref = Some(0);
    }
    let ours = [speaker.as_number, neighbor.local_as];
    let passed = route.as_path.iter().filter(|number| ours.contains(number)).count();
    let here = [speaker.address4, speaker.address6].map(Some).contains(&route.next_hop);
    let reflected_back =
        !external && (route.originator == Some(speaker.router_id) || route.clusters.contains(&speaker.cluster));
    let forbidden = leaks || passed > neighbor.allowed_local_as || here || reflected_back || neighbor.filters.missing;
    let rule = policy::first(&neighbor.filters.import, prefix, &route, external).filter(|_| !forbidden);
    match rule {
        _ if forbidden => route.refused = true,
        Some(rule) if rule.accept => _ = policy::change(rule, &mut route),
        Some(_) => route.refused = true,
        None => {
            route.refused = match neighbor.import {
                ImportPolicy::None => true,
                ImportPolicy::All => false,
                ImportPolicy::Pools => !speaker.pools.iter().any(|pool| pool.covers(prefix)),
            }
        }
    }
    route
}
