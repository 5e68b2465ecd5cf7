//! The routes of all neighbours and our own: Adj-RIB-In and Loc-RIB in one table, and a log of what changed.
//!
//! Each prefix has one [`Destination`] with the candidates of all sources, in a slot that keeps its number as long as the
//! prefix has routes and somebody has not heard of their end: what readers keep about a prefix they keep by that number. A
//! change of its best paths gives it a new place at the end of the log (and makes the old one void), so a newer state
//! replaces an older one for everybody who has not read it yet. Readers (the update groups, and one for the kernel's
//! table) keep a position in the log: nobody waits for the slowest, and what is told is always the present.
//!
//! Who is told several paths of a prefix ([`Scope::All`]) wants to know of changes behind the best, too. These have places in
//! the log while there is such a reader, and others pass over them.

mod candidates;
pub mod decision;
pub mod next_hops;
pub mod outbound;
pub mod path;
pub mod sources;
pub mod standing;
mod walk;

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::bgp::filter::Refusal;
use crate::bgp::wire::Nlri;
use crate::model::{Cidr, Family, Via};
use candidates::Candidates;
use next_hops::NextHops;
use standing::{Standing, standings};

pub use path::{Candidate, Interner, Judged, Path, Source};
pub use sources::Sources;
pub use walk::Walk;

/// A position in the log: everything before it has been read. No change has position 0.
pub type Position = u64;

/// The number of a destination.
pub type Slot = u32;

/// What a reader of the log wants to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Changes of the best paths.
    #[default]
    Best,
    /// Those of all usable ones.
    All,
}

/// Void places of the log that are not worth a sweep.
const VOID_AT_LEAST: usize = 1024;

/// One prefix and every route to it.
#[derive(Debug)]
pub struct Destination {
    prefix: Cidr,
    /// How many at the front share the load; 0: unreachable. At most [`decision::MAX_PATHS`].
    equal: u8,
    /// The best first, then those of equal rank (ECMP), then the others.
    candidates: Candidates,
    /// Its place in the log.
    changed: Position,
    /// That is only about paths behind the best.
    behind: bool,
}

impl Destination {
    pub fn prefix(&self) -> &Cidr {
        &self.prefix
    }

    pub fn best(&self) -> Option<&Candidate> {
        self.candidates[..self.equal()].first()
    }

    /// How many of the candidates, from the first on, share the load.
    pub fn equal(&self) -> usize {
        usize::from(self.equal)
    }

    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The next hops of the best paths, sorted; empty when it is unreachable or our own.
    pub fn next_hops(&self) -> Via {
        let best = &self.candidates[..self.equal()];
        best.iter().filter(|c| c.source.peer.is_some()).map(|c| c.path.next_hop.way()).collect()
    }

    /// The routes that this neighbour has to it, usable or not.
    pub fn from(&self, peer: IpAddr) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(move |known| known.source.peer == Some(peer))
    }

    /// A source has one route, or one for each of its path identifiers.
    fn position_of(&self, source: Option<IpAddr>, path_id: u32) -> Option<usize> {
        self.candidates.iter().position(|known| known.source.peer == source && known.source.path_id == path_id)
    }
}

/// How many routes a neighbour has sent, and how many of these take part in the decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub received: u64,
    pub accepted: u64,
}

#[derive(Debug)]
pub struct Rib {
    slots: Vec<Destination>,
    /// Slots without a prefix.
    free: Vec<Slot>,
    index: HashTable<Slot>,
    /// Its keys differ from run to run; nothing is ever done in the order of the index.
    hasher: DefaultHashBuilder,
    /// By position. A place whose destination has changed since is void.
    log: VecDeque<(Position, Slot)>,
    void: usize,
    head: Position,
    /// By neighbour, family, and the session that they came in.
    counts: BTreeMap<(IpAddr, Family, u64), Counts>,
    next_hops: NextHops,
    /// What somebody reads the log for.
    scope: Scope,
}

impl Default for Rib {
    fn default() -> Self {
        Rib {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            log: VecDeque::new(),
            void: 0,
            head: 1,
            counts: BTreeMap::new(),
            next_hops: NextHops::default(),
            scope: Scope::Best,
        }
    }
}

impl Rib {
    /// What changes are logged from now on. Who wants to hear of more than before has to look at everything once.
    pub fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Whether paths behind the best are told to anybody.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Adds a source's route, in place of its former one to this prefix.
    pub fn learn(&mut self, prefix: Cidr, candidate: Candidate) {
        let slot = self.find(&prefix).unwrap_or_else(|| self.occupy(prefix));
        let destination = &mut self.slots[slot as usize];
        let known = destination.position_of(candidate.source.peer, candidate.source.path_id);
        if let Some(index) = known
            && destination.candidates[index].same_route(&candidate)
        {
            // The same again, perhaps from a newer session: nothing to decide, nothing to tell.
            let old = &destination.candidates[index];
            if old.source.session != candidate.source.session {
                count(&mut self.counts, prefix.family(), Some(old), Some(&candidate));
            }
            destination.candidates.set(index, candidate);
            return;
        }
        let before = Best::of(destination);
        let old = known.map(|index| destination.candidates.swap_remove(index));
        self.next_hops.touch(&prefix);
        self.next_hops.replace(slot, &prefix, old.as_ref(), &candidate);
        count(&mut self.counts, prefix.family(), old.as_ref(), Some(&candidate));
        let usable = candidate.refused().is_none() || old.is_some_and(|old| old.refused().is_none());
        destination.candidates.push(candidate);
        self.settle(slot, before, usable);
    }

    /// Takes away the source's route to this prefix.
    pub fn forget(&mut self, nlri: impl Into<Nlri>, source: Option<IpAddr>) {
        let Nlri { prefix, path_id } = nlri.into();
        if let Some(slot) = self.find(&prefix) {
            self.forget_those(slot, |known| known.source.peer == source && known.source.path_id == path_id);
        }
    }

    /// Takes away those routes of a neighbour that `which` names.
    pub fn forget_all(&mut self, peer: IpAddr, which: impl Fn(&Cidr, &Candidate) -> bool) {
        if self.counts(peer).received == 0 {
            return;
        }
        for slot in self.slots() {
            let prefix = self.slots[slot as usize].prefix;
            self.forget_those(slot, |known| known.source.peer == Some(peer) && which(&prefix, known));
        }
    }

    fn forget_those(&mut self, slot: Slot, which: impl Fn(&Candidate) -> bool) {
        let destination = &mut self.slots[slot as usize];
        let next = |destination: &Destination| destination.candidates.iter().position(&which);
        let Some(mut index) = next(destination) else { return };
        let before = Best::of(destination);
        let mut usable = false;
        self.next_hops.touch(&destination.prefix);
        loop {
            let old = destination.candidates.swap_remove(index);
            usable |= old.refused().is_none();
            self.next_hops.leave(&destination.prefix, &old);
            count(&mut self.counts, destination.prefix.family(), Some(&old), None);
            match next(destination) {
                Some(another) => index = another,
                None => break,
            }
        }
        self.settle(slot, before, usable);
    }

    /// Judges every route of a neighbour anew, after a change of policy.
    pub fn review(&mut self, peer: IpAddr, mut judge: impl FnMut(&Cidr, &Candidate) -> Candidate) {
        for slot in self.slots() {
            let destination = &self.slots[slot as usize];
            let prefix = destination.prefix;
            let judged: Vec<Candidate> = destination.from(peer).map(|known| judge(&prefix, known)).collect();
            for candidate in judged {
                self.learn(prefix, candidate);
            }
        }
    }

    pub fn counts(&self, peer: IpAddr) -> Counts {
        let [a, b] = Family::BOTH.map(|family| self.counts_of(peer, family));
        Counts { received: a.received + b.received, accepted: a.accepted + b.accepted }
    }

    pub fn counts_of(&self, peer: IpAddr, family: Family) -> Counts {
        let of_sessions = self.counts.range((peer, family, 0)..=(peer, family, u64::MAX)).map(|(_, counts)| counts);
        of_sessions.fold(Counts::default(), |sum, one| Counts {
            received: sum.received + one.received,
            accepted: sum.accepted + one.accepted,
        })
    }

    /// Of one session: without what is kept from earlier ones.
    pub fn counts_in(&self, peer: IpAddr, family: Family, session: u64) -> Counts {
        self.counts.get(&(peer, family, session)).copied().unwrap_or_default()
    }

    pub fn get(&self, prefix: &Cidr) -> Option<&Destination> {
        self.find(prefix).map(|slot| &self.slots[slot as usize])
    }

    /// Everything that has a route, usable or not, by prefix.
    pub fn iter(&self) -> impl Iterator<Item = (&Cidr, &Destination)> {
        let mut all: Vec<&Destination> = self.slots.iter().filter(|d| !d.candidates.is_empty()).collect();
        all.sort_unstable_by_key(|destination| destination.prefix);
        all.into_iter().map(|destination| (&destination.prefix, destination))
    }

    /// All slots there are, those without a route too.
    pub fn slots(&self) -> std::ops::Range<Slot> {
        0..Slot::try_from(self.slots.len()).expect("fewer than four billion prefixes")
    }

    /// One of [`Rib::slots`].
    pub fn destination(&self, slot: Slot) -> &Destination {
        &self.slots[slot as usize]
    }

    /// The usable routes to a destination, or so many of the best.
    pub fn best_of(&self, slot: Slot, most: usize) -> Vec<Candidate> {
        let destination = &self.slots[slot as usize];
        let metric = |candidate: &Candidate| self.next_hops.metric(&destination.prefix, candidate).ok();
        decision::best_of(&destination.candidates, destination.equal(), most, metric)
    }

    /// The position that has read everything.
    pub fn head(&self) -> Position {
        self.head
    }

    /// What changed since `position`, at most so many; the position is behind them then.
    pub fn read(&self, position: &mut Position, scope: Scope, most: usize) -> Vec<Slot> {
        let from = self.log.partition_point(|(at, _)| at < position);
        let mut changed = Vec::new();
        for (at, slot) in self.log.range(from..) {
            if changed.len() == most {
                return changed;
            }
            *position = at + 1;
            let destination = &self.slots[*slot as usize];
            if destination.changed == *at && (scope == Scope::All || !destination.behind) {
                changed.push(*slot);
            }
        }
        changed
    }

    /// Whether anything was logged since `position`, perhaps nothing that the reader wants to hear of.
    pub fn has_news(&self, position: Position) -> bool {
        self.log.back().is_some_and(|(last, _)| *last >= position)
    }

    /// Drops the part of the log that every reader has read, and destinations that went with it.
    pub fn trim(&mut self, slowest: Position) {
        while let Some(&(at, slot)) = self.log.front()
            && at < slowest
        {
            self.log.pop_front();
            let destination = &self.slots[slot as usize];
            if destination.changed != at {
                self.void -= 1;
            } else if destination.candidates.is_empty() {
                self.vacate(slot);
            }
        }
        if self.log.is_empty() && self.log.capacity() > VOID_AT_LEAST {
            self.log.shrink_to(0);
        }
    }

    /// How many changes some reader has not read yet; bounded by the number of prefixes.
    pub fn unread(&self) -> usize {
        self.log.len() - self.void
    }

    /// What became of each route to a destination.
    pub fn standings(&self, destination: &Destination) -> Vec<Standing> {
        standings(&destination.candidates, |candidate| self.next_hops.metric(&destination.prefix, candidate))
    }

    /// Why a route to this prefix takes no part in the decision.
    pub fn refused(&self, prefix: &Cidr, candidate: &Candidate) -> Option<Refusal> {
        self.next_hops.metric(prefix, candidate).err()
    }

    /// The costs of its next hops, or what resolves, are others.
    fn decide_anew(&mut self, slot: Slot) {
        let destination = &self.slots[slot as usize];
        // A slot that is free by now has nothing to decide.
        if !destination.candidates.is_empty() {
            let before = Best::of(destination);
            self.settle(slot, before, true);
        }
    }

    /// Decides, and logs the prefix if its best paths are no longer what they were, or if others than these are told and a
    /// usable one has changed.
    fn settle(&mut self, slot: Slot, before: Best, usable: bool) {
        let first = self.log.front().map_or(self.head, |(at, _)| *at);
        let destination = &mut self.slots[slot as usize];
        let (next_hops, prefix) = (&self.next_hops, destination.prefix);
        let metric = |candidate: &Candidate| next_hops.metric(&prefix, candidate).ok();
        let equal = decision::decide(&mut destination.candidates, metric);
        destination.equal = u8::try_from(equal).expect("at most MAX_PATHS");
        let logged = destination.changed >= first;
        let behind = before == Best::of(destination);
        if !behind || (usable && self.scope == Scope::All) {
            // A change of the best paths that is still in the log moves along.
            destination.behind = behind && (!logged || destination.behind);
            destination.changed = self.head;
            self.log.push_back((self.head, slot));
            self.head += 1;
            if logged {
                self.void += 1;
                self.sweep();
            }
        } else if destination.candidates.is_empty() && !logged {
            self.vacate(slot);
        }
    }

    /// Takes void places out of the log when they are most of it.
    fn sweep(&mut self) {
        if self.void > VOID_AT_LEAST.max(self.log.len() / 2) {
            let slots = &self.slots;
            self.log.retain(|(at, slot)| slots[*slot as usize].changed == *at);
            self.void = 0;
        }
    }

    /// The slot of a prefix; it keeps it until every reader of the log has read that it is gone.
    pub fn find(&self, prefix: &Cidr) -> Option<Slot> {
        let is_it = |slot: &Slot| self.slots[*slot as usize].prefix == *prefix;
        self.index.find(self.hasher.hash_one(prefix), is_it).copied()
    }

    fn occupy(&mut self, prefix: Cidr) -> Slot {
        let destination =
            Destination { prefix, equal: 0, candidates: Candidates::default(), changed: 0, behind: false };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = destination;
                slot
            }
            None => {
                self.slots.push(destination);
                Slot::try_from(self.slots.len() - 1).expect("fewer than four billion prefixes")
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash_of = |slot: &Slot| hasher.hash_one(slots[*slot as usize].prefix);
        self.index.insert_unique(hasher.hash_one(prefix), slot, hash_of);
        slot
    }

    fn vacate(&mut self, slot: Slot) {
        let hash = self.hasher.hash_one(self.slots[slot as usize].prefix);
        if let Ok(found) = self.index.find_entry(hash, |known| *known == slot) {
            found.remove();
        }
        self.free.push(slot);
    }
}

fn count(
    counts: &mut BTreeMap<(IpAddr, Family, u64), Counts>,
    family: Family,
    old: Option<&Candidate>,
    new: Option<&Candidate>,
) {
    for (candidate, step) in [(old, -1i64), (new, 1)] {
        let Some(candidate) = candidate else { continue };
        let Some(peer) = candidate.source.peer else { continue };
        let key = (peer, family, candidate.source.session);
        let of_session = counts.entry(key).or_default();
        of_session.received = of_session.received.saturating_add_signed(step);
        if candidate.refused().is_none() {
            of_session.accepted = of_session.accepted.saturating_add_signed(step);
        }
        if of_session.received == 0 {
            counts.remove(&key);
        }
    }
}

/// The best paths of a destination, to be compared after a change.
#[derive(PartialEq)]
enum Best {
    None,
    /// The common case, without a heap allocation.
    One(Identity),
    Several(Vec<Identity>),
}

/// Who it came from, and its interned path (which lives as long as this value, so its address is its name).
struct Identity(Arc<Source>, Arc<Path>);

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let same_source = self.0.peer == other.0.peer && self.0.standing() == other.0.standing();
        same_source && Arc::ptr_eq(&self.1, &other.1)
    }
}

impl Best {
    fn of(destination: &Destination) -> Best {
        let identity = |candidate: &Candidate| Identity(candidate.source.clone(), candidate.path.clone());
        match &destination.candidates[..destination.equal()] {
            [] => Best::None,
            [one] => Best::One(identity(one)),
            several => Best::Several(several.iter().map(identity).collect()),
        }
    }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
