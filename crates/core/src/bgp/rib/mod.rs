//! The routes of all neighbours and our own: Adj-RIB-In and Loc-RIB in one table, and a log of what changed.
//!
//! Each prefix has one [`Destination`] with the candidates of all sources. A change of its best paths gives it a new
//! place at the end of the log (and takes away the old one), so the log never holds more than one entry a prefix, and
//! a newer state replaces an older one for everybody who has not read it yet. Readers (one a neighbour, one for the
//! kernel's table) keep a position in the log: nobody waits for the slowest, and what is told is always the present.

pub mod decision;
pub mod outbound;
pub mod path;
pub mod standing;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use crate::bgp::filter::Refusal;
use crate::model::{Cidr, Family};

pub use path::{Candidate, Interner, Path, Source};

/// A position in the log: everything before it has been read.
pub type Position = u64;

/// One prefix and every route to it.
#[derive(Debug, Default)]
pub struct Destination {
    /// The best first, then those of equal rank (ECMP), then the others.
    candidates: Vec<Candidate>,
    /// How many at the front share the load; 0: unreachable.
    equal: usize,
    /// Its place in the log.
    changed: Position,
}

impl Destination {
    pub fn best(&self) -> Option<&Candidate> {
        self.candidates[..self.equal].first()
    }

    /// How many of the candidates, from the first on, share the load.
    pub fn equal(&self) -> usize {
        self.equal
    }

    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The next hops of the best paths, sorted; empty when it is unreachable or our own.
    pub fn next_hops(&self) -> Vec<IpAddr> {
        let best = &self.candidates[..self.equal];
        let mut hops: Vec<IpAddr> =
            best.iter().filter(|c| c.source.peer.is_some()).map(|c| c.path.next_hop.address).collect();
        hops.sort_unstable();
        hops.dedup();
        hops
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
    table: BTreeMap<Cidr, Destination>,
    log: BTreeMap<Position, Cidr>,
    head: Position,
    counts: BTreeMap<(IpAddr, Family), Counts>,
}

impl Default for Rib {
    fn default() -> Self {
        Rib { table: BTreeMap::new(), log: BTreeMap::new(), head: 1, counts: BTreeMap::new() }
    }
}

impl Rib {
    /// Adds a source's route, in place of its former one to this prefix.
    pub fn learn(&mut self, prefix: Cidr, candidate: Candidate) {
        let destination = self.table.entry(prefix).or_default();
        let known = destination.candidates.iter().position(|known| known.source.peer == candidate.source.peer);
        if let Some(index) = known
            && destination.candidates[index].same_route(&candidate)
        {
            // The same again, perhaps from a newer session: nothing to decide, nothing to tell.
            destination.candidates[index] = candidate;
            return;
        }
        let before = Best::of(destination);
        let old = known.map(|index| destination.candidates.swap_remove(index));
        count(&mut self.counts, prefix.family(), old.as_ref(), Some(&candidate));
        destination.candidates.push(candidate);
        self.settle(prefix, before);
    }

    /// Takes away the source's route to this prefix.
    pub fn forget(&mut self, prefix: Cidr, source: Option<IpAddr>) {
        self.forget_if(prefix, source, |_| true);
    }

    /// Takes away those routes of a neighbour that `which` names.
    pub fn forget_all(&mut self, peer: IpAddr, which: impl Fn(&Cidr, &Source) -> bool) {
        if self.counts(peer).received == 0 {
            return;
        }
        let of_peer: Vec<Cidr> = self.prefixes_of(Some(peer)).collect();
        for prefix in of_peer {
            self.forget_if(prefix, Some(peer), |candidate| which(&prefix, &candidate.source));
        }
    }

    fn forget_if(&mut self, prefix: Cidr, source: Option<IpAddr>, which: impl Fn(&Candidate) -> bool) {
        let Some(destination) = self.table.get_mut(&prefix) else { return };
        let Some(index) = destination.candidates.iter().position(|known| known.source.peer == source) else { return };
        if !which(&destination.candidates[index]) {
            return;
        }
        let before = Best::of(destination);
        let old = destination.candidates.swap_remove(index);
        count(&mut self.counts, prefix.family(), Some(&old), None);
        self.settle(prefix, before);
    }

    /// Judges every route of a neighbour anew, after a change of policy.
    pub fn review(&mut self, peer: IpAddr, judge: impl Fn(&Cidr, &Path) -> Option<Refusal>) {
        let of_peer: Vec<Cidr> = self.prefixes_of(Some(peer)).collect();
        for prefix in of_peer {
            let Some(destination) = self.table.get(&prefix) else { continue };
            let Some(known) = destination.candidates.iter().find(|known| known.source.peer == Some(peer)) else {
                continue;
            };
            let refused = judge(&prefix, &known.path);
            if refused != known.refused {
                let judged = Candidate { refused, ..known.clone() };
                self.learn(prefix, judged);
            }
        }
    }

    /// The prefixes that a source has a route to.
    pub fn prefixes_of(&self, source: Option<IpAddr>) -> impl Iterator<Item = Cidr> {
        let has = move |d: &Destination| d.candidates.iter().any(|known| known.source.peer == source);
        self.table.iter().filter(move |(_, destination)| has(destination)).map(|(prefix, _)| *prefix)
    }

    pub fn counts(&self, peer: IpAddr) -> Counts {
        let [a, b] = Family::BOTH.map(|family| self.counts_of(peer, family));
        Counts { received: a.received + b.received, accepted: a.accepted + b.accepted }
    }

    pub fn counts_of(&self, peer: IpAddr, family: Family) -> Counts {
        self.counts.get(&(peer, family)).copied().unwrap_or_default()
    }

    pub fn get(&self, prefix: &Cidr) -> Option<&Destination> {
        self.table.get(prefix)
    }

    /// Everything that has a route, usable or not.
    pub fn iter(&self) -> impl Iterator<Item = (&Cidr, &Destination)> {
        self.table.iter().filter(|(_, destination)| !destination.candidates.is_empty())
    }

    /// The table behind `last`, in order.
    pub fn after(&self, last: Option<Cidr>) -> impl Iterator<Item = (&Cidr, &Destination)> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.table.range((from, Bound::Unbounded))
    }

    /// The position that has read everything.
    pub fn head(&self) -> Position {
        self.head
    }

    /// What changed since `position`, each with the position behind it.
    pub fn since(&self, position: Position) -> impl Iterator<Item = (Position, Cidr)> {
        self.log.range(position..).map(|(at, prefix)| (at + 1, *prefix))
    }

    /// Whether anything changed since `position`.
    pub fn has_news(&self, position: Position) -> bool {
        self.log.last_key_value().is_some_and(|(last, _)| *last >= position)
    }

    /// Drops the part of the log that every reader has read, and destinations that went with it.
    pub fn trim(&mut self, slowest: Position) {
        while let Some(entry) = self.log.first_entry() {
            if *entry.key() >= slowest {
                return;
            }
            let prefix = entry.remove();
            if self.table.get(&prefix).is_some_and(|destination| destination.candidates.is_empty()) {
                self.table.remove(&prefix);
            }
        }
    }

    /// How many changes some reader has not read yet; bounded by the number of prefixes.
    pub fn unread(&self) -> usize {
        self.log.len()
    }

    /// Decides, and logs the prefix if its best paths are no longer what they were.
    fn settle(&mut self, prefix: Cidr, before: Best) {
        let Some(destination) = self.table.get_mut(&prefix) else { return };
        destination.equal = decision::decide(&mut destination.candidates);
        if before != Best::of(destination) {
            self.log.remove(&destination.changed);
            destination.changed = self.head;
            self.log.insert(self.head, prefix);
            self.head += 1;
        } else if destination.candidates.is_empty() && !self.log.contains_key(&destination.changed) {
            self.table.remove(&prefix);
        }
    }
}

fn count(
    counts: &mut BTreeMap<(IpAddr, Family), Counts>,
    family: Family,
    old: Option<&Candidate>,
    new: Option<&Candidate>,
) {
    for (candidate, step) in [(old, -1i64), (new, 1)] {
        let Some(candidate) = candidate else { continue };
        let Some(peer) = candidate.source.peer else { continue };
        let counts = counts.entry((peer, family)).or_default();
        counts.received = counts.received.saturating_add_signed(step);
        if candidate.refused.is_none() {
            counts.accepted = counts.accepted.saturating_add_signed(step);
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
        match &destination.candidates[..destination.equal] {
            [] => Best::None,
            [one] => Best::One(identity(one)),
            several => Best::Several(several.iter().map(identity).collect()),
        }
    }
}
