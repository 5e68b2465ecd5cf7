//! The Adj-RIB-Out of one neighbour: what it was told, and how far it has read the log.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::path::{Candidate, Interner, Path};
use super::{Position, Rib};
use crate::bgp::filter::Export;
use crate::bgp::wire::AfiSafi;
use crate::model::{Cidr, Family};

/// Prefixes that are looked at, and grouped by their attributes, at one time.
const PORTION: usize = 4096;

/// Prefixes of one family that travel together.
#[derive(Debug)]
pub struct Group {
    pub family: Family,
    /// `None`: withdrawn.
    pub path: Option<Arc<Path>>,
    pub prefixes: Vec<Cidr>,
    /// How many of them have been encoded.
    pub sent: usize,
}

/// What comes next on the wire.
#[derive(Debug)]
pub enum Next<'a> {
    Group(&'a mut Group),
    EndOfRib(AfiSafi),
    Nothing,
}

#[derive(Debug)]
pub struct Outbound {
    families: Vec<AfiSafi>,
    position: Position,
    /// A walk over the whole table: what was visited last. At the start, at a route refresh, at a change of policy.
    walk: Option<Walk>,
    told: BTreeMap<Cidr, Arc<Path>>,
    staged: VecDeque<Group>,
    /// End-of-RIB still owed.
    end_of_rib: BTreeSet<AfiSafi>,
}

#[derive(Debug, Default)]
struct Walk {
    last: Option<Cidr>,
    /// Said again although it was told (RFC 2918), of these families.
    again: BTreeSet<AfiSafi>,
}

impl Outbound {
    /// For a new session: everything is to be told, then End-of-RIB.
    pub fn new(rib: &Rib, families: Vec<AfiSafi>) -> Outbound {
        Outbound {
            end_of_rib: families.iter().copied().collect(),
            families,
            position: rib.head(),
            walk: Some(Walk::default()),
            told: BTreeMap::new(),
            staged: VecDeque::new(),
        }
    }

    /// Compares everything with what was told: the export policy has changed.
    pub fn review(&mut self) {
        let again = self.walk.take().map(|walk| walk.again).unwrap_or_default();
        self.walk = Some(Walk { last: None, again });
    }

    /// Tells everything of the family again (RFC 2918).
    pub fn refresh(&mut self, family: AfiSafi) {
        let mut again = self.walk.take().map(|walk| walk.again).unwrap_or_default();
        again.insert(family);
        self.walk = Some(Walk { last: None, again });
    }

    /// How many prefixes the neighbour has been told.
    pub fn told(&self) -> usize {
        self.told.len()
    }

    /// The log before this is of no more use to the neighbour.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether there is something to send. `hold_end_of_rib`: our own selection is not done (RFC 4724 4.1).
    pub fn has_news(&self, rib: &Rib, hold_end_of_rib: bool) -> bool {
        !self.staged.is_empty()
            || self.walk.is_some()
            || rib.has_news(self.position)
            || (!hold_end_of_rib && !self.end_of_rib.is_empty())
    }

    /// The next thing to send. A group stays until [`Outbound::sent`] has counted all of it.
    pub fn next(&mut self, rib: &Rib, export: &Export, interner: &mut Interner, hold_end_of_rib: bool) -> Next<'_> {
        while self.staged.is_empty() {
            // Owed after the walk over the table, not after the last of changes that may never end.
            if self.walk.is_none()
                && !hold_end_of_rib
                && let Some(family) = self.end_of_rib.pop_first()
            {
                return Next::EndOfRib(family);
            }
            if !self.stage(rib, export, interner) {
                return Next::Nothing;
            }
        }
        Next::Group(self.staged.front_mut().expect("not empty: the loop has ended"))
    }

    /// Counts prefixes of the front group as sent.
    pub fn sent(&mut self, prefixes: usize) {
        if let Some(group) = self.staged.front_mut() {
            group.sent += prefixes;
            if group.sent >= group.prefixes.len() {
                self.staged.pop_front();
            }
        }
    }

    /// What is left of the front group has no encoding: it is withdrawn instead.
    pub fn unsayable(&mut self) {
        if let Some(group) = self.staged.front_mut() {
            group.path = None;
            for prefix in &group.prefixes[group.sent..] {
                self.told.remove(prefix);
            }
        }
    }

    /// Looks at the next portion of prefixes; `false` when there was none left.
    fn stage(&mut self, rib: &Rib, export: &Export, interner: &mut Interner) -> bool {
        let mut batch = Batch { export, interner, rewritten: HashMap::default(), groups: HashMap::default() };
        if let Some(walk) = &mut self.walk {
            let last = walk.last;
            let portion: Vec<(Cidr, Option<Candidate>)> =
                rib.after(last).take(PORTION).map(|(prefix, d)| (*prefix, d.best().cloned())).collect();
            match portion.last() {
                Some((prefix, _)) => walk.last = Some(*prefix),
                None => self.walk = None,
            }
            let again = self.walk.as_ref().map(|walk| walk.again.clone()).unwrap_or_default();
            for (prefix, best) in portion {
                let again = again.contains(&AfiSafi::of(&prefix));
                self.put(&mut batch, prefix, best.as_ref(), again);
            }
            return true;
        }
        let mut any = false;
        for (position, prefix) in rib.since(self.position).take(PORTION) {
            any = true;
            self.position = position;
            let best = rib.get(&prefix).and_then(|destination| destination.best());
            self.put(&mut batch, prefix, best, false);
        }
        any
    }

    /// Stages one prefix, if what the neighbour should know differs from what it was told.
    fn put(&mut self, batch: &mut Batch<'_>, prefix: Cidr, best: Option<&Candidate>, again: bool) {
        if !self.families.contains(&AfiSafi::of(&prefix)) {
            return;
        }
        match best.and_then(|candidate| batch.path_for(candidate, prefix.family())) {
            Some(path) => {
                let known = self.told.get(&prefix).is_some_and(|told| Arc::ptr_eq(told, &path));
                if !known || again {
                    self.told.insert(prefix, path.clone());
                    batch.add(&mut self.staged, prefix, Some(path));
                }
            }
            None => {
                if self.told.remove(&prefix).is_some() {
                    batch.add(&mut self.staged, prefix, None);
                }
            }
        }
    }
}

/// A path as we hold it, and as it is told, if it is.
type Rewritten = (Arc<Path>, Option<Arc<Path>>);
type ByAddress<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// The work on one portion: each path is rewritten once, and prefixes of equal paths end in one group.
struct Batch<'a> {
    export: &'a Export,
    interner: &'a mut Interner,
    /// By the address of the path as we hold it, whose it is where that matters (0: anybody's), and the family; the value
    /// keeps that path alive.
    rewritten: ByAddress<(usize, u32, Family), Rewritten>,
    /// The place in `staged`, by the address of the path as told (0: withdrawn), and the family.
    groups: ByAddress<(usize, Family), usize>,
}

impl Batch<'_> {
    fn path_for(&mut self, candidate: &Candidate, family: Family) -> Option<Arc<Path>> {
        if !self.export.tells(candidate) {
            return None;
        }
        // What is reflected says who was first to say it.
        let originator = if self.export.reflects(candidate) { u32::from(candidate.source.router_id) } else { 0 };
        let key = (Arc::as_ptr(&candidate.path) as usize, originator, family);
        if let Some((_, known)) = self.rewritten.get(&key) {
            return known.clone();
        }
        let told = self.export.rewrite(candidate, family).map(|path| self.interner.intern(path));
        self.rewritten.insert(key, (candidate.path.clone(), told.clone()));
        told
    }

    fn add(&mut self, staged: &mut VecDeque<Group>, prefix: Cidr, path: Option<Arc<Path>>) {
        let family = prefix.family();
        let key = (path.as_ref().map_or(0, |path| Arc::as_ptr(path) as usize), family);
        let index = *self.groups.entry(key).or_insert_with(|| {
            staged.push_back(Group { family, path, prefixes: Vec::new(), sent: 0 });
            staged.len() - 1
        });
        staged[index].prefixes.push(prefix);
    }
}
