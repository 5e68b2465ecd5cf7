//! Links, routes and announcements, from facts. Owns no policy. Called by [`super::Desired`].
//!
//! Each wanted thing is a pure function of the facts about one subject (an endpoint, a block, a pool, a learned
//! prefix); a change of a fact recomputes its subject and answers the difference. Where several facts want the same
//! route, the rank of `Want` decides, so the order in which facts come does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{DesiredDelta, DesiredState, FactDelta, Link, Route, RouteKey, Settings, UNREACHABLE_METRIC};
use crate::model::config::Announce;
use crate::model::{Cidr, Endpoint, EndpointKey, Family, InterfaceName, PoolName};

/// Who wants a route; where two want the same one, the first of this order has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Want {
    Endpoint(EndpointKey),
    Block,
    Pool(PoolName),
    Learned,
}

/// The facts of links and routes, and what follows from them.
pub struct NetworkEngine {
    settings: Settings,
    local: BTreeMap<EndpointKey, Endpoint>,
    blocks: BTreeSet<Cidr>,
    pools: BTreeMap<PoolName, crate::model::Pool>,
    learned: BTreeMap<Cidr, Vec<IpAddr>>,
    wants: BTreeMap<RouteKey, BTreeMap<Want, Route>>,
    state: DesiredState,
}

impl NetworkEngine {
    pub fn new(settings: Settings) -> Self {
        NetworkEngine {
            settings,
            local: BTreeMap::new(),
            blocks: BTreeSet::new(),
            pools: BTreeMap::new(),
            learned: BTreeMap::new(),
            wants: BTreeMap::new(),
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
            FactDelta::Learned(prefix, next_hops) => self.set_learned(*prefix, next_hops.as_deref(), touched),
            FactDelta::Endpoint { .. }
            | FactDelta::Policy(..)
            | FactDelta::NetworkSet(..)
            | FactDelta::Network(..)
            | FactDelta::Node(..) => {}
        }
    }

    fn set_endpoint(&mut self, key: &EndpointKey, endpoint: Option<&Endpoint>, touched: &mut Touched) {
        let attached = endpoint.filter(|endpoint| endpoint.attachment.is_some());
        let before = match attached {
            Some(endpoint) => self.local.insert(key.clone(), endpoint.clone()),
            None => self.local.remove(key),
        };
        let addresses = |endpoint: Option<&Endpoint>| -> BTreeSet<IpAddr> {
            endpoint.map(|endpoint| endpoint.addresses.iter().copied().collect()).unwrap_or_default()
        };
        let (old, new) = (addresses(before.as_ref()), addresses(attached));
        for address in old.union(&new) {
            let route = new
                .contains(address)
                .then(|| Route::Local { dev: key.host_interface(), src: self.source(Family::of(*address)) });
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
        let wanted = pool.filter(|pool| pool.unreachable_route).map(|pool| pool.cidr);
        for cidr in before.map(|pool| pool.cidr).into_iter().chain(wanted) {
            let key = RouteKey { dst: cidr, metric: UNREACHABLE_METRIC };
            let route = (wanted == Some(cidr)).then_some(Route::Unreachable);
            self.want(key, Want::Pool(name.clone()), route, touched);
        }
    }

    fn set_learned(&mut self, prefix: Cidr, next_hops: Option<&[IpAddr]>, touched: &mut Touched) {
        let mut via = next_hops.unwrap_or_default().to_vec();
        via.sort();
        via.dedup();
        let route = if via.is_empty() {
            self.learned.remove(&prefix);
            None
        } else {
            self.learned.insert(prefix, via.clone());
            Some(Route::Learned { via, src: self.source(prefix.family()) })
        };
        self.want(RouteKey { dst: prefix, metric: 0 }, Want::Learned, route, touched);
    }

    /// The address the host speaks from to workloads: without it the kernel takes whatever address comes first.
    fn source(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.settings.address4.map(IpAddr::V4),
            Family::V6 => self.settings.address6.map(IpAddr::V6),
        }
    }

    fn want(&mut self, key: RouteKey, who: Want, route: Option<Route>, touched: &mut Touched) {
        touched.routes.insert(key);
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
        for key in touched.routes {
            let wanted = self.wants.get(&key).and_then(|wants| wants.values().next()).cloned();
            if self.state.routes.get(&key) != wanted.as_ref() {
                replace(&mut self.state.routes, key, wanted.clone());
                delta.routes.insert(key, wanted);
            }
        }
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
        let is_endpoint =
            self.wants.get(&key).is_some_and(|wants| wants.keys().any(|want| matches!(want, Want::Endpoint(_))));
        match self.settings.announce {
            Announce::Hosts => is_endpoint,
            Announce::Blocks => {
                self.blocks.contains(prefix) || is_endpoint && !self.blocks.iter().any(|block| block.covers(prefix))
            }
        }
    }
}

/// What a batch of facts may have changed.
#[derive(Default)]
struct Touched {
    links: BTreeMap<InterfaceName, Option<Link>>,
    routes: BTreeSet<RouteKey>,
    announcements: BTreeSet<Cidr>,
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
