//! Links, routes and announcements, from facts. Owns no policy. Called by [`super::Desired`].
//!
//! Each wanted thing is a pure function of the facts about one subject (an endpoint, a block, a pool, a learned
//! prefix); a change of a fact recomputes its subject and answers the difference. Where several facts want the same
//! route, the rank of `Want` decides, so the order in which facts come does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hashbrown::{HashMap, HashSet};

use super::encapsulation::{NextHop, Way, way};
use super::tunnels::inner_hop;
use super::{DesiredDelta, DesiredState, FactDelta, Link, Route, RouteKey, Settings, UNREACHABLE_METRIC};
use crate::model::config::Announce;
use crate::model::{Cidr, Endpoint, EndpointKey, Family, InterfaceName, Node, NodeName, PoolName, TunnelKind, Via};

/// Who wants a route; where two want the same one, the first of this order has it. What is learned comes last, and is not
/// among these: its route is made from the facts when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Want {
    Endpoint(EndpointKey),
    Block,
    Pool(PoolName),
}

/// The facts of links and routes, and what follows from them.
pub struct NetworkEngine {
    settings: Settings,
    local: BTreeMap<EndpointKey, Endpoint>,
    blocks: BTreeSet<Cidr>,
    pools: BTreeMap<PoolName, crate::model::Pool>,
    learned: HashMap<Cidr, Via>,
    /// The prefixes that are learned by a next hop.
    by_hop: HashMap<IpAddr, HashSet<Cidr>>,
    nodes: BTreeMap<NodeName, Node>,
    /// Whose address it is; of other nodes.
    holders: BTreeMap<IpAddr, NodeName>,
    off_link: BTreeSet<IpAddr>,
    /// Of next hops behind routers.
    gateways: BTreeMap<IpAddr, Vec<IpAddr>>,
    tunnel_addresses: BTreeSet<(TunnelKind, IpAddr)>,
    wants: HashMap<RouteKey, BTreeMap<Want, Route>>,
    state: DesiredState,
}

impl NetworkEngine {
    pub fn new(settings: Settings) -> Self {
        NetworkEngine {
            settings,
            local: BTreeMap::new(),
            blocks: BTreeSet::new(),
            pools: BTreeMap::new(),
            learned: HashMap::new(),
            by_hop: HashMap::new(),
            nodes: BTreeMap::new(),
            holders: BTreeMap::new(),
            off_link: BTreeSet::new(),
            gateways: BTreeMap::new(),
            tunnel_addresses: BTreeSet::new(),
            wants: HashMap::new(),
            state: DesiredState::default(),
        }
    }

    /// Links, routes and announcements; the rest of the state is empty.
    pub fn state(&self) -> &DesiredState {
        &self.state
    }

    /// The blocks of this node.
    pub fn own_blocks(&self) -> &BTreeSet<Cidr> {
        &self.blocks
    }

    /// Takes changes of facts; answers what should now differ (no rules).
    pub fn apply(&mut self, facts: &[FactDelta]) -> DesiredDelta {
        let mut touched = Touched::default();
        for fact in facts {
            self.take(fact, &mut touched);
        }
        self.settle(touched)
    }

    fn take(&mut self, fact: &FactDelta, touched: &mut Touched) {
        match fact {
            FactDelta::Endpoint { node, key, endpoint } if *node == self.settings.node => {
                self.set_endpoint(key, endpoint.as_ref(), touched);
            }
            FactDelta::OwnBlock(cidr, owned) => {
                if *owned {
                    self.blocks.insert(*cidr);
                } else {
                    self.blocks.remove(cidr);
                }
                self.want(RouteKey { dst: *cidr, metric: 0 }, Want::Block, owned.then_some(Route::Blackhole), touched);
                // Which host routes lie outside of own blocks depends on the block.
                touched.announcements.insert(*cidr);
                let inside = self.local.values().flat_map(|endpoint| &endpoint.addresses);
                touched.announcements.extend(inside.filter(|a| cidr.contains(**a)).map(|a| Cidr::host(*a)));
            }
            FactDelta::Pool(name, pool) => self.set_pool(name, pool.as_ref(), touched),
            FactDelta::Learned(prefix, next_hops) => self.set_learned(*prefix, next_hops.as_ref(), touched),
            FactDelta::Node(name, node) => self.set_node(name, node.as_ref(), touched),
            FactDelta::OffLink(hop, off_link) => {
                if *off_link {
                    self.off_link.insert(*hop)
                } else {
                    self.off_link.remove(hop)
                };
                touched.learned(self.by_hop.get(hop).into_iter().flatten());
            }
            FactDelta::Gateways(hop, gateways) => {
                let before = if gateways.is_empty() {
                    self.gateways.remove(hop)
                } else {
                    self.gateways.insert(*hop, gateways.clone())
                };
                if before.as_deref().unwrap_or_default() != gateways {
                    touched.learned(self.by_hop.get(hop).into_iter().flatten());
                }
            }
            FactDelta::TunnelAddress(kind, address, held) => {
                let entry = (*kind, *address);
                if *held {
                    self.tunnel_addresses.insert(entry)
                } else {
                    self.tunnel_addresses.remove(&entry)
                };
                touched.announcements.insert(Cidr::host(*address));
                touched.learned(self.learned.keys());
            }
            FactDelta::Endpoint { .. }
            | FactDelta::Policy(..)
            | FactDelta::NetworkSet(..)
            | FactDelta::Tier(..)
            | FactDelta::Namespace(..)
            | FactDelta::ServiceAccount(..)
            | FactDelta::Profile(..)
            | FactDelta::Staged(..)
            | FactDelta::HostEndpoint(..)
            | FactDelta::HostAddresses(..)
            | FactDelta::Network(..) => {}
        }
    }

    fn set_endpoint(&mut self, key: &EndpointKey, endpoint: Option<&Endpoint>, touched: &mut Touched) {
        let leads_there = |endpoint: &&Endpoint| endpoint.attachment.is_some() || endpoint.interface.is_some();
        let attached = endpoint.filter(leads_there);
        let before = match attached {
            Some(endpoint) => self.local.insert(key.clone(), endpoint.clone()),
            None => self.local.remove(key),
        };
        let addresses = |endpoint: Option<&Endpoint>| -> BTreeSet<IpAddr> {
            endpoint.map(|endpoint| endpoint.addresses.iter().copied().collect()).unwrap_or_default()
        };
        let (old, new) = (addresses(before.as_ref()), addresses(attached));
        for address in old.union(&new) {
            let route = attached
                .filter(|_| new.contains(address))
                .map(|to| Route::Local { dev: to.host_interface(), src: self.source(Family::of(*address)) });
            let dst = Cidr::host(*address);
            self.want(RouteKey { dst, metric: 0 }, Want::Endpoint(key.clone()), route, touched);
            touched.announcements.insert(dst);
        }
        touched.links.insert(key.host_interface(), attached.and_then(Link::of));
    }

    fn set_pool(&mut self, name: &PoolName, pool: Option<&crate::model::Pool>, touched: &mut Touched) {
        let before = match pool {
            Some(pool) => self.pools.insert(name.clone(), pool.clone()),
            None => self.pools.remove(name),
        };
        let covers = |prefix: &Cidr| before.iter().chain(pool).any(|pool| pool.cidr.covers(prefix));
        if before.as_ref().map(|pool| (pool.cidr, pool.encapsulation))
            != pool.map(|pool| (pool.cidr, pool.encapsulation))
        {
            touched.learned(self.learned.keys().filter(|prefix| covers(prefix)));
        }
        let wanted = pool.filter(|pool| pool.unreachable_route).map(|pool| pool.cidr);
        for cidr in before.map(|pool| pool.cidr).into_iter().chain(wanted) {
            let key = RouteKey { dst: cidr, metric: UNREACHABLE_METRIC };
            let route = (wanted == Some(cidr)).then_some(Route::Unreachable);
            self.want(key, Want::Pool(name.clone()), route, touched);
        }
    }

    fn set_learned(&mut self, prefix: Cidr, next_hops: Option<&Via>, touched: &mut Touched) {
        let via = next_hops.cloned().unwrap_or_default();
        let before = match via.is_empty() {
            true => self.learned.remove(&prefix),
            false => self.learned.insert(prefix, via.clone()),
        };
        let before = before.unwrap_or_default();
        for hop in before.iter().filter(|hop| !via.contains(hop)) {
            if let Some(prefixes) = self.by_hop.get_mut(hop) {
                prefixes.remove(&prefix);
                if prefixes.is_empty() {
                    self.by_hop.remove(hop);
                }
            }
        }
        for hop in via.iter().filter(|hop| !before.contains(hop)) {
            self.by_hop.entry(*hop).or_default().insert(prefix);
        }
        touched.learned([&prefix]);
    }

    fn set_node(&mut self, name: &NodeName, node: Option<&Node>, touched: &mut Touched) {
        let before = match node {
            Some(node) => self.nodes.insert(name.clone(), node.clone()),
            None => self.nodes.remove(name),
        };
        let addresses = |node: Option<&Node>| -> BTreeSet<IpAddr> {
            node.into_iter().flat_map(|node| Family::BOTH.into_iter().filter_map(|of| node.address(of))).collect()
        };
        for address in addresses(before.as_ref()).symmetric_difference(&addresses(node)) {
            let holder = self.nodes.values().find(|node| {
                node.name != self.settings.node && Family::BOTH.iter().any(|of| node.address(*of) == Some(*address))
            });
            match holder {
                Some(holder) => self.holders.insert(*address, holder.name.clone()),
                None => self.holders.remove(address),
            };
            touched.learned(self.by_hop.get(address).into_iter().flatten());
        }
    }

    /// The route that stands at a key, of all that want one there.
    fn wanted_route(&self, key: &RouteKey) -> Option<Route> {
        match self.wants.get(key).and_then(|wants| wants.values().next()) {
            Some(route) => Some(route.clone()),
            None => (key.metric == 0).then(|| self.learned_route(key.dst)).flatten(),
        }
    }

    fn learned_route(&self, prefix: Cidr) -> Option<Route> {
        let via = self.learned.get(&prefix)?;
        let pool = self.pools.values().find(|pool| pool.cidr.covers(&prefix));
        let by = |tunnel: Option<TunnelKind>| {
            move |hop: &&IpAddr| way(pool, self.hop(**hop), &self.settings.subnets).tunnel == tunnel
        };
        // Of several next hops those count that need no tunnel.
        let direct: Via = via.iter().filter(by(None)).copied().collect();
        if !direct.is_empty() {
            let via = self.by_gateways(direct);
            return Some(Route::Learned { via, src: self.source(prefix.family()) });
        }
        let kind = pool?.encapsulation.device;
        let held =
            self.tunnel_addresses.iter().find(|(of, address)| *of == kind && Family::of(*address) == prefix.family());
        // Replies to the host's underlay address would come natively, and this way may be closed to them.
        let src = held.map(|(_, address)| *address).or_else(|| self.source(prefix.family()));
        let inner = |hop: IpAddr| self.holders.get(&hop).map(|node| inner_hop(node, hop));
        let via = via.iter().filter(by(Some(kind))).filter_map(|hop| inner(*hop)).collect();
        Some(Route::Tunnelled { kind, via, src })
    }

    /// In the place of next hops behind routers come the gateways to them: the kernel takes none that is on no link.
    fn by_gateways(&self, hops: Via) -> Via {
        if self.gateways.is_empty() || !hops.iter().any(|hop| self.gateways.contains_key(hop)) {
            return hops;
        }
        let way = |hop: &IpAddr| self.gateways.get(hop).cloned().unwrap_or_else(|| vec![*hop]);
        hops.iter().flat_map(way).collect()
    }

    fn hop(&self, address: IpAddr) -> NextHop<'_> {
        // Two watchers say so, one after the other: between their words nothing may go to a router without a tunnel, which
        // has no way to workloads.
        let off_link = self.off_link.contains(&address) || self.gateways.contains_key(&address);
        NextHop { address, node: self.holders.get(&address), off_link }
    }

    /// The ways to others, by the next hops that something is learned from and the pools it lies in.
    pub fn ways(&self) -> Vec<NodeWay> {
        let mut ways = BTreeSet::new();
        for (hop, prefixes) in &self.by_hop {
            let node = self.holders.get(hop);
            for prefix in prefixes {
                let Some(pool) = self.pools.values().find(|pool| pool.cidr.covers(prefix)) else { continue };
                ways.insert((node.cloned(), *hop, pool.name.clone()));
            }
        }
        let way = |(node, hop, pool): (Option<NodeName>, IpAddr, PoolName)| {
            let way = way(self.pools.get(&pool), self.hop(hop), &self.settings.subnets);
            NodeWay { node, hop, pool, way }
        };
        ways.into_iter().map(way).collect()
    }

    /// The address the host speaks from to workloads: without it the kernel takes whatever address comes first.
    fn source(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.settings.address4.map(IpAddr::V4),
            Family::V6 => self.settings.address6.map(IpAddr::V6),
        }
    }

    fn want(&mut self, key: RouteKey, who: Want, route: Option<Route>, touched: &mut Touched) {
        touched.routes.push(key);
        let wants = self.wants.entry(key).or_default();
        match route {
            Some(route) => {
                wants.insert(who, route);
            }
            None => {
                wants.remove(&who);
            }
        }
        if wants.is_empty() {
            self.wants.remove(&key);
        }
    }

    /// Compares what was touched with the state, brings the state up to date and answers the difference.
    fn settle(&mut self, touched: Touched) -> DesiredDelta {
        let mut delta = DesiredDelta::default();
        for (name, link) in touched.links {
            if self.state.links.get(&name) != link.as_ref() {
                replace(&mut self.state.links, name.clone(), link.clone());
                delta.links.insert(name, link);
            }
        }
        let mut keys = touched.routes;
        keys.sort_unstable();
        keys.dedup();
        let mut changed = Vec::with_capacity(keys.len());
        for key in keys {
            let wanted = self.wanted_route(&key);
            let before = match &wanted {
                Some(route) => self.state.routes.insert(key, route.clone()),
                None => self.state.routes.remove(&key),
            };
            if before != wanted {
                changed.push((key, wanted));
            }
        }
        delta.routes = changed.into_iter().collect();
        for prefix in touched.announcements {
            let wanted = self.announces(&prefix);
            if wanted != self.state.announcements.contains(&prefix) {
                if wanted {
                    self.state.announcements.insert(prefix);
                } else {
                    self.state.announcements.remove(&prefix);
                }
                delta.announcements.insert(prefix, wanted);
            }
        }
        delta
    }

    fn announces(&self, prefix: &Cidr) -> bool {
        let key = RouteKey { dst: *prefix, metric: 0 };
        let is_tunnel = prefix.is_host() && self.tunnel_addresses.iter().any(|(_, held)| *held == prefix.address());
        let is_endpoint = is_tunnel
            || self.wants.get(&key).is_some_and(|wants| wants.keys().any(|want| matches!(want, Want::Endpoint(_))));
        match self.settings.announce {
            Announce::Hosts => is_endpoint,
            Announce::Blocks => {
                self.blocks.contains(prefix) || is_endpoint && !self.blocks.iter().any(|block| block.covers(prefix))
            }
        }
    }
}

/// How what lies in a pool travels by a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeWay {
    /// `None`: a router of the underlay.
    pub node: Option<NodeName>,
    pub hop: IpAddr,
    pub pool: PoolName,
    pub way: Way,
}

/// What a batch of facts may have changed.
#[derive(Default)]
struct Touched {
    links: BTreeMap<InterfaceName, Option<Link>>,
    routes: Vec<RouteKey>,
    announcements: BTreeSet<Cidr>,
}

impl Touched {
    /// The routes of these learned prefixes are to be made anew.
    fn learned<'a>(&mut self, prefixes: impl IntoIterator<Item = &'a Cidr>) {
        self.routes.extend(prefixes.into_iter().map(|prefix| RouteKey { dst: *prefix, metric: 0 }));
    }
}

fn replace<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => {
            map.insert(key, value);
        }
        None => {
            map.remove(&key);
        }
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
