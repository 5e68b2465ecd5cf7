//! What every table must come to, by another way than the speaker's: all routes of all neighbours are told anew in rounds,
//! until a round changes nothing. It shares no code with the RIB, the decision and the filters.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use routenet_core::model::peering::NextHopMode;
use routenet_core::model::{Cidr, Family, ImportPolicy};

/// How a speaker holds one neighbour.
#[derive(Clone, Debug)]
pub struct Neighbor {
    pub import: ImportPolicy,
    pub client: bool,
    pub next_hop: NextHopMode,
    pub allowed_local_as: usize,
    /// Whether it is told all paths (RFC 7911), and not the best only.
    pub all_paths: bool,
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

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// `None`: its own.
    pub from: Option<usize>,
    pub as_path: Vec<u32>,
    pub next_hop: Option<IpAddr>,
    pub local_pref: Option<u32>,
    pub refused: bool,
    external: bool,
    originator: Option<Ipv4Addr>,
    clusters: Vec<Ipv4Addr>,
}

/// The routes to each prefix, the best first where there is one that is not refused.
pub type Table = BTreeMap<Cidr, Vec<Route>>;

/// The table of each speaker.
pub fn tables(speakers: &[Speaker]) -> Vec<Table> {
    let mut tables: Vec<Table> = speakers.iter().map(own).collect();
    for _ in 0..1000 {
        let next: Vec<Table> = (0..speakers.len()).map(|index| told(speakers, &tables, index)).collect();
        if next == tables {
            return tables;
        }
        tables = next;
    }
    panic!("there is no fix-point: {speakers:?}");
}

/// Of the routes to one prefix, how many at the front share the load.
pub fn equal(routes: &[Route]) -> usize {
    let rank = |route: &Route| (route.refused, route.from.is_some(), preference(route), !route.external);
    routes.iter().take_while(|route| !route.refused && rank(route) == rank(&routes[0])).count()
}

fn own(speaker: &Speaker) -> Table {
    let route = Route {
        from: None,
        as_path: Vec::new(),
        next_hop: None,
        local_pref: None,
        refused: false,
        external: false,
        originator: None,
        clusters: Vec::new(),
    };
    speaker.own.iter().map(|prefix| (*prefix, vec![route.clone()])).collect()
}

/// What a speaker has when each neighbour tells it what it has by `tables`.
fn told(speakers: &[Speaker], tables: &[Table], index: usize) -> Table {
    let speaker = &speakers[index];
    let mut table = own(speaker);
    for &from in speaker.neighbors.keys() {
        for (prefix, routes) in &tables[from] {
            let most = if speakers[from].neighbors[&index].all_paths { routes.len() } else { 1 };
            for path in routes.iter().take(most).filter(|route| !route.refused) {
                if let Some(route) = tell(&speakers[from], speakers, index, prefix, path) {
                    let route = take(speaker, from, prefix, route);
                    table.entry(*prefix).or_default().push(route);
                }
            }
        }
    }
    for routes in table.values_mut() {
        routes.sort_by_key(|route| {
            let router_id = route.from.map(|from| route.originator.unwrap_or(speakers[from].router_id));
            let last = (router_id, route.clusters.len(), route.from.map(|from| speakers[from].address4));
            (route.refused, route.from.is_some(), preference(route), !route.external, last)
        });
    }
    table
}

/// RFC 4271 9.1.2.2 as far as it goes without MED: all origins are IGP.
fn preference(route: &Route) -> (u32, usize) {
    (u32::MAX - route.local_pref.unwrap_or(100), route.as_path.len())
}

/// What `speaker` tells speaker `to` of its best route, or of another that it has to tell.
fn tell(speaker: &Speaker, speakers: &[Speaker], to: usize, prefix: &Cidr, best: &Route) -> Option<Route> {
    let receiver = &speakers[to];
    let neighbor = &speaker.neighbors[&to];
    if best.from == Some(to) {
        return None;
    }
    let external = speaker.as_number != receiver.as_number;
    let inside = best.from.is_some() && !best.external && !external;
    let client = |index: usize| speaker.neighbors[&index].client;
    if inside && !client(to) && !best.from.is_some_and(client) {
        return None;
    }
    if external && best.from.is_some() && neighbor.import != ImportPolicy::All {
        return None;
    }
    let keep = match neighbor.next_hop {
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
    let mut route = Route { next_hop: Some(next_hop), external, ..best.clone() };
    if external {
        route.as_path.insert(0, speaker.as_number);
        (route.local_pref, route.originator, route.clusters) = (None, None, Vec::new());
    } else {
        route.local_pref = Some(best.local_pref.unwrap_or(100));
        if inside {
            let said_first = best.from.map(|from| speakers[from].router_id);
            route.originator = best.originator.or(said_first);
            route.clusters.insert(0, speaker.cluster);
        }
    }
    Some(route)
}

/// What becomes of it there.
fn take(speaker: &Speaker, from: usize, prefix: &Cidr, route: Route) -> Route {
    let neighbor = &speaker.neighbors[&from];
    let passed = route.as_path.iter().filter(|number| **number == speaker.as_number).count();
    let outside = match neighbor.import {
        ImportPolicy::None => true,
        ImportPolicy::All => false,
        ImportPolicy::Pools => !speaker.pools.iter().any(|pool| pool.covers(prefix)),
    };
    let here = [speaker.address4, speaker.address6].map(Some).contains(&route.next_hop);
    let reflected_back =
        !route.external && (route.originator == Some(speaker.router_id) || route.clusters.contains(&speaker.cluster));
    let refused = outside || passed > neighbor.allowed_local_as || here || reflected_back;
    Route { from: Some(from), refused, ..route }
}
