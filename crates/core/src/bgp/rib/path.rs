//! What a route is made of: where it came from, its interned attributes, and whether it may be used.

use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::sources::Number;
use crate::bgp::filter::{LLGR_STALE, NO_LLGR, Refusal};
use crate::bgp::wire::{AsSegment, Attributes, NextHop, Origin};

/// LOCAL_PREF of a route that came without one (as RFC 4271 5.1.5 leaves it to us, and everybody does).
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// Attributes and next hop: what routes that travel in one UPDATE share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    pub attributes: Attributes,
    pub next_hop: NextHop,
}

impl Path {
    /// The length of the AS_PATH as the decision counts it: a set is one (RFC 4271 9.1.2.2 a).
    pub fn as_path_length(&self) -> usize {
        self.attributes
            .as_path
            .iter()
            .map(|segment| match segment {
                AsSegment::Sequence(numbers) => numbers.len(),
                AsSegment::Set(_) => 1,
            })
            .sum()
    }

    /// RFC 9494 4.3: the last choice.
    pub fn is_long_lived_stale(&self) -> bool {
        self.attributes.communities.contains(&LLGR_STALE)
    }

    /// RFC 9494 3.3: it does not outlive the restart time of who told it.
    pub fn forbids_long_lived(&self) -> bool {
        self.attributes.communities.contains(&NO_LLGR)
    }

    /// How often one of these ASes is in the AS_PATH.
    pub fn passes(&self, as_numbers: [u32; 2]) -> usize {
        let numbers = self.attributes.as_path.iter().flat_map(|segment| match segment {
            AsSegment::Sequence(numbers) | AsSegment::Set(numbers) => numbers,
        });
        numbers.filter(|number| as_numbers.contains(number)).count()
    }
}

/// The attributes of a route of our own (RFC 4271 5.1: ORIGIN IGP, an empty AS_PATH).
pub fn own_attributes() -> Attributes {
    Attributes {
        origin: Origin::Igp,
        as_path: Vec::new(),
        med: None,
        local_pref: None,
        atomic_aggregate: false,
        aggregator: None,
        communities: Default::default(),
        extended_communities: Default::default(),
        large_communities: Default::default(),
        originator_id: None,
        cluster_list: Vec::new(),
        otc: None,
        unknown: Vec::new(),
        partial: 0,
    }
}

/// Whom a route came from. One value a session, shared by all routes of it; where they have path identifiers, one for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `None`: originated here.
    pub peer: Option<IpAddr>,
    /// Whether it came over eBGP.
    pub external: bool,
    /// Under which of its path identifiers (RFC 7911); 0 in a session without.
    pub path_id: u32,
    pub number: Number,
    /// An internal neighbour that we reflect for (RFC 4456).
    pub client: bool,
    pub router_id: Ipv4Addr,
    /// Counts the sessions of the speaker: a route of an older session than the peer's present one is stale.
    pub session: u64,
}

impl Source {
    /// What of it decides how the route is ranked and to whom it is told; the session does not.
    pub fn standing(&self) -> (bool, bool, Ipv4Addr) {
        (self.external, self.client, self.router_id)
    }

    pub fn own(router_id: Ipv4Addr) -> Source {
        let number = Number::own();
        Source { peer: None, external: false, path_id: 0, number, client: false, router_id, session: 0 }
    }
}

/// One source's route to a prefix: an entry of its Adj-RIB-In.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub source: Arc<Source>,
    /// What takes part in the decision, and is passed on.
    pub path: Arc<Path>,
    pub judged: Judged,
}

/// What import made of a route; whatever it was, what was received is kept, so that a change of policy needs no new session.
#[derive(Clone, Debug)]
pub enum Judged {
    AsReceived,
    /// A filter has changed it; what was received.
    Changed(Arc<Path>),
    /// It takes no part in the decision.
    Refused(Refusal),
}

impl Candidate {
    /// The path before any filter.
    pub fn received(&self) -> &Arc<Path> {
        match &self.judged {
            Judged::Changed(received) => received,
            Judged::AsReceived | Judged::Refused(_) => &self.path,
        }
    }

    /// Why it takes no part in the decision, if import refused it.
    pub fn refused(&self) -> Option<Refusal> {
        match self.judged {
            Judged::Refused(refusal) => Some(refusal),
            Judged::AsReceived | Judged::Changed(_) => None,
        }
    }

    pub fn same_route(&self, other: &Candidate) -> bool {
        self.source.peer == other.source.peer
            && self.source.standing() == other.source.standing()
            && Arc::ptr_eq(&self.path, &other.path)
            && self.refused() == other.refused()
    }
}

/// Keeps one copy of equal values, as long as anybody holds it.
#[derive(Debug)]
pub struct Interner<T> {
    values: HashTable<Arc<T>>,
    /// Its keys differ from run to run; nothing is ever done in the order of the table.
    hasher: DefaultHashBuilder,
    sweep_at: usize,
}

/// Below this many values it is not worth looking for unused ones.
const SWEEP_AT_LEAST: usize = 1024;

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Interner { values: HashTable::new(), hasher: DefaultHashBuilder::default(), sweep_at: 0 }
    }
}

impl<T: Hash + Eq> Interner<T> {
    pub fn intern(&mut self, value: T) -> Arc<T> {
        let hash = self.hasher.hash_one(&value);
        if let Some(known) = self.values.find(hash, |known| **known == value) {
            return known.clone();
        }
        let hasher = &self.hasher;
        if self.values.len() >= self.sweep_at.max(SWEEP_AT_LEAST) {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = self.values.len() * 2;
            self.values.shrink_to(self.sweep_at, |value| hasher.hash_one(value));
        }
        let value = Arc::new(value);
        self.values.insert_unique(hash, value.clone(), |value| hasher.hash_one(value));
        value
    }

    /// How many distinct values are held.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}
