//! Where routes come from, numbered: one source a session, and one for each path identifier that is received in it.
//!
//! The number is the path identifier (RFC 7911) under which neighbours that are told several paths of a prefix hear of a
//! source's route. It belongs to the neighbour and its identifier, over all of its sessions, so a route that is replaced
//! keeps its identifier, and a route costs nothing for it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use super::path::Source;

/// What our own routes are told under.
const OWN: u32 = 1;
/// Below this many sources it is not worth looking for unused ones.
const SWEEP_AT_LEAST: usize = 1024;

/// A source's number. Nobody else has it as long as anybody holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Number(Arc<u32>);

impl Number {
    pub fn own() -> Number {
        Number(Arc::new(OWN))
    }

    pub fn get(&self) -> u32 {
        *self.0
    }
}

#[derive(Debug)]
pub struct Sources {
    /// By neighbour and its path identifier, of the newest session.
    known: HashMap<(IpAddr, u32), Arc<Source>>,
    free: BTreeSet<u32>,
    last: u32,
    sweep_at: usize,
}

impl Default for Sources {
    fn default() -> Self {
        Sources { known: HashMap::new(), free: BTreeSet::new(), last: OWN, sweep_at: 0 }
    }
}

impl Sources {
    /// The source of the routes that `neighbor`, as it is in this session and held now, sends with this identifier.
    pub fn get(&mut self, neighbor: &Source, peer: IpAddr, path_id: u32) -> Arc<Source> {
        let key = (peer, path_id);
        let number = match self.known.get(&key) {
            Some(known) if (known.session, known.client) == (neighbor.session, neighbor.client) => {
                return known.clone();
            }
            Some(known) => known.number.clone(),
            None => {
                self.sweep();
                self.number()
            }
        };
        let source = Arc::new(Source { peer: Some(peer), path_id, number, ..neighbor.clone() });
        self.known.insert(key, source.clone());
        source
    }

    fn number(&mut self) -> Number {
        let number = self.free.pop_first().unwrap_or_else(|| {
            self.last = self.last.checked_add(1).expect("fewer than four billion sources that are in use");
            self.last
        });
        Number(Arc::new(number))
    }

    /// Forgets those of which there are no routes, here or in what neighbours were told.
    fn sweep(&mut self) {
        if self.known.len() < self.sweep_at.max(SWEEP_AT_LEAST) {
            return;
        }
        let free = &mut self.free;
        self.known.retain(|_, source| {
            let in_use = Arc::strong_count(source) > 1 || Arc::strong_count(&source.number.0) > 1;
            if !in_use {
                free.insert(source.number.get());
            }
            in_use
        });
        self.sweep_at = self.known.len() * 2;
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
