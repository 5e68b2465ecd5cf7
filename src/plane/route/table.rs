//! Our routes as the kernel has them, by key, with how many lead by each nexthop object.

use std::net::IpAddr;

use hashbrown::HashMap;
use routenet_core::desired::{Route, RouteKey};

use super::message::Installed;

#[derive(Default)]
pub(super) struct Table {
    routes: HashMap<RouteKey, Installed>,
    users: HashMap<u32, usize>,
}

impl Table {
    pub(super) fn get(&self, key: &RouteKey) -> Option<&Installed> {
        self.routes.get(key)
    }

    /// In no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&RouteKey, &Installed)> {
        self.routes.iter()
    }

    /// In no order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &RouteKey> {
        self.routes.keys()
    }

    pub(super) fn insert(&mut self, key: RouteKey, installed: Installed) {
        if let Some(id) = installed.nexthop {
            *self.users.entry(id).or_default() += 1;
        }
        let before = self.routes.insert(key, installed);
        self.release(before);
    }

    pub(super) fn remove(&mut self, key: &RouteKey) {
        let before = self.routes.remove(key);
        self.release(before);
    }

    fn release(&mut self, before: Option<Installed>) {
        let Some(id) = before.and_then(|before| before.nexthop) else { return };
        if let Some(count) = self.users.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&id);
            }
        }
    }

    /// How many routes lead by a nexthop object.
    pub(super) fn users(&self, id: u32) -> usize {
        self.users.get(&id).copied().unwrap_or_default()
    }

    /// These lead another way now, by the objects that they had. Their source addresses stay.
    pub(super) fn redirect(&mut self, keys: &[RouteKey], to: &Route) {
        for key in keys {
            if let Some(Installed { route: Some(route), .. }) = self.routes.get_mut(key) {
                let had = source(route);
                *route = to.clone();
                if let Route::Learned { src, .. } | Route::Tunnelled { src, .. } = route {
                    *src = had;
                }
            }
        }
    }

    /// What these stand for is not known any more: they are to be written anew. Answers which they are.
    pub(super) fn doubt(&mut self, which: impl Fn(&Installed) -> bool) -> Vec<RouteKey> {
        let doubted = self.routes.iter_mut().filter(|(_, installed)| which(installed));
        let forget = |(key, installed): (&RouteKey, &mut Installed)| {
            installed.route = None;
            *key
        };
        let mut keys: Vec<RouteKey> = doubted.map(forget).collect();
        keys.sort_unstable();
        keys
    }
}

fn source(route: &Route) -> Option<IpAddr> {
    match route {
        Route::Local { src, .. } | Route::Learned { src, .. } | Route::Tunnelled { src, .. } => *src,
        Route::Blackhole | Route::Unreachable => None,
    }
}

impl FromIterator<(RouteKey, Installed)> for Table {
    fn from_iter<I: IntoIterator<Item = (RouteKey, Installed)>>(all: I) -> Table {
        let mut table = Table::default();
        all.into_iter().for_each(|(key, installed)| table.insert(key, installed));
        table
    }
}
