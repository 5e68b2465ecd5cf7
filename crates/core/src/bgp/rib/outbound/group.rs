//! One update group: what its members were told, how far they have read the log, and the portions that not all have yet.
//!
//! Nobody is told a route that came from it, or by way of it (RFC 4271 5.1.3). A group tells such a route to the others:
//! each portion has an audience.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use super::{Member, Policy};
use crate::bgp::filter::Place;
use crate::bgp::rib::path::{Candidate, Interner, Path, Source};
use crate::bgp::rib::{Position, Rib, Slot};
use crate::bgp::wire::{self, AfiSafi, EncodedPath, refresh_subtype};
use crate::model::{Cidr, Family};

/// Prefixes that are looked at, and grouped by their attributes, at one time.
const LOOK: usize = 4096;
/// A portion is closed when it has grown by this, in bytes.
const PORTION: usize = 64 * 1024;

/// What the members know of one prefix: as it is told, and from whom it came.
#[derive(Clone, Debug)]
struct Told {
    path: Arc<EncodedPath>,
    source: Arc<Source>,
}

impl Told {
    fn same(&self, other: &Told) -> bool {
        Arc::ptr_eq(&self.path, &other.path) && self.source.peer == other.source.peer
    }
}

/// Who reads a portion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Audience {
    /// All but these.
    But([Option<IpAddr>; 2]),
    Only(IpAddr),
}

impl Audience {
    const ALL: Audience = Audience::But([None; 2]);

    fn includes(&self, peer: IpAddr) -> bool {
        match self {
            Audience::But(others) => !others.contains(&Some(peer)),
            Audience::Only(one) => *one == peer,
        }
    }
}

/// Encoded messages for the same readers.
#[derive(Debug)]
struct Portion {
    audience: Audience,
    bytes: Vec<u8>,
    /// What it is about; not by slot, since it may be read when a slot is another prefix's.
    prefixes: Vec<Cidr>,
}

impl Portion {
    /// What it takes, about.
    fn size(&self) -> usize {
        size_of::<Portion>() + self.bytes.len() + self.prefixes.len() * size_of::<Cidr>()
    }
}

#[derive(Clone, Debug, Default)]
struct Walk {
    next: Slot,
    /// Said again although it was told (RFC 2918), of these families.
    again: BTreeSet<AfiSafi>,
    /// Those whose beginning was said (RFC 7313), so that the end is owed.
    marked: BTreeSet<AfiSafi>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub policy: Policy,
    pub position: Position,
    pub members: BTreeMap<IpAddr, Member>,
    /// It may be that there is another of its policy to unite with.
    pub is_new: bool,
    /// A walk over the whole table: at the start, at a route refresh, at a change of policy.
    walk: Option<Walk>,
    /// What the only member of this group has missed, or not: it is said again.
    missed: Vec<Cidr>,
    /// By slot.
    told: Vec<Option<Told>>,
    portions: VecDeque<Portion>,
    /// What they take.
    bytes: usize,
    /// The number of the first of them.
    first: u64,
    /// Behind which portion the walk ended, if it did.
    walked: Option<u64>,
}

impl Group {
    pub fn new(policy: Policy, position: Position) -> Group {
        Group {
            policy,
            position,
            members: BTreeMap::new(),
            is_new: true,
            walk: Some(Walk::default()),
            missed: Vec::new(),
            told: Vec::new(),
            portions: VecDeque::new(),
            bytes: 0,
            first: 0,
            walked: None,
        }
    }

    pub fn set_policy(&mut self, policy: Policy) {
        self.is_new |= policy != self.policy;
        self.policy = policy;
        self.walk_again(None);
    }

    /// `enhanced`: with its beginning and its end (RFC 7313 section 4).
    pub fn refresh(&mut self, family: AfiSafi, enhanced: bool) {
        self.walk_again(Some(family));
        if enhanced {
            self.say(wire::encode_route_refresh(family, refresh_subtype::BEGIN));
            self.walk.get_or_insert_default().marked.insert(family);
        }
    }

    fn walk_again(&mut self, family: Option<AfiSafi>) {
        let walk = self.walk.get_or_insert_default();
        walk.next = 0;
        walk.again.extend(family);
        self.walked = None;
    }

    /// A message for all members that is about no prefix.
    fn say(&mut self, bytes: Vec<u8>) {
        let portion = Portion { audience: Audience::ALL, bytes, prefixes: Vec::new() };
        self.bytes += portion.size();
        self.portions.push_back(portion);
    }

    /// How many prefixes each member was told.
    pub fn told(&self) -> BTreeMap<IpAddr, u64> {
        let mut all = 0;
        let mut not: BTreeMap<IpAddr, u64> = BTreeMap::new();
        for told in self.told.iter().flatten() {
            all += 1;
            for peer in self.concerned(Some(told)).into_iter().flatten() {
                *not.entry(peer).or_default() += 1;
            }
        }
        self.members.keys().map(|peer| (*peer, all - not.get(peer).copied().unwrap_or(0))).collect()
    }

    /// The number of the portion that is to come.
    pub fn end(&self) -> u64 {
        self.first + self.portions.len() as u64
    }

    /// Whether there is anything to look at.
    pub fn has_news(&self, rib: &Rib) -> bool {
        !self.has_read_all(rib)
    }

    /// Whether what the members were told, or are about to be, is the present.
    pub fn has_read_all(&self, rib: &Rib) -> bool {
        self.walk.is_none() && self.missed.is_empty() && !rib.has_news(self.position)
    }

    /// Whether, beyond that, all of them have read it.
    pub fn is_quiet(&self, rib: &Rib) -> bool {
        self.has_read_all(rib) && self.portions.is_empty()
    }

    /// An End-of-RIB that is owed to the member, and true; it counts as said. Owed after the walk over the table, not after
    /// the last of changes that may never end.
    pub fn end_of_rib(&mut self, peer: IpAddr) -> Option<AfiSafi> {
        let walked = self.walked.filter(|_| self.missed.is_empty())?;
        let member = self.members.get_mut(&peer)?;
        if member.portion < walked {
            return None;
        }
        member.end_of_rib.pop_first()
    }

    /// Gives the member of what waits for it; `false` if nothing did.
    pub fn deliver(&mut self, peer: IpAddr, full: usize, buffer: &mut Vec<u8>) -> bool {
        let Some(member) = self.members.get_mut(&peer) else { return false };
        let Some(portion) = self.portions.get((member.portion - self.first) as usize) else { return false };
        if portion.audience.includes(peer) {
            let left = &portion.bytes[member.offset..];
            let taken = whole_messages(left, full.saturating_sub(buffer.len()));
            buffer.extend_from_slice(&left[..taken]);
            member.offset += taken;
        } else {
            member.offset = portion.bytes.len();
        }
        if member.offset == portion.bytes.len() {
            (member.portion, member.offset) = (member.portion + 1, 0);
        }
        true
    }

    /// Drops portions that all have read.
    pub fn release(&mut self) {
        let slowest = self.members.values().map(|member| member.portion).min().unwrap_or(self.end());
        while self.first < slowest {
            self.bytes -= self.portions.pop_front().map_or(0, |portion| portion.size());
            self.first += 1;
        }
    }

    /// The member that is furthest behind, if others are further and more than so many bytes wait.
    pub fn too_slow(&self, most: usize) -> Option<IpAddr> {
        if self.bytes <= most {
            return None;
        }
        let (slowest, member) = self.members.iter().min_by_key(|(_, member)| member.portion)?;
        self.members.values().any(|other| other.portion > member.portion).then_some(*slowest)
    }

    /// A member goes on in a group of its own, with what it was told.
    pub fn part_from(&mut self, peer: IpAddr) -> Option<Group> {
        let member = self.members.remove(&peer)?;
        let unread = self.portions.range((member.portion - self.first) as usize..);
        let unread = unread.filter(|portion| portion.audience.includes(peer));
        let mut missed: Vec<Cidr> = unread.flat_map(|portion| &portion.prefixes).copied().collect();
        missed.sort_unstable();
        missed.dedup();
        let mut alone = Group::new(self.policy.clone(), self.position);
        alone.walk = self.walk.clone();
        alone.walked = self.walked.map(|_| 0);
        alone.missed = missed;
        alone.told = self.told.clone();
        alone.members.insert(peer, Member { portion: 0, offset: 0, ..member });
        Some(alone)
    }

    /// The other group's members are in this one from now on. Both have read all, and the other's members all of that; a
    /// group of one need not know what its member is not told, so each may know what the other does not.
    pub fn take_over(&mut self, other: Group) {
        self.told.resize(self.told.len().max(other.told.len()), None);
        for (own, other) in self.told.iter_mut().zip(other.told) {
            if own.is_none() {
                *own = other;
            }
        }
        let end = self.end();
        let members = other.members.into_iter();
        self.members.extend(members.map(|(peer, member)| (peer, Member { portion: end, offset: 0, ..member })));
        self.is_new |= other.is_new;
    }

    /// Looks at the next prefixes; `false` when there were none left.
    pub fn stage(&mut self, rib: &Rib, encodings: &mut Interner<EncodedPath>) -> bool {
        let mut batch =
            Batch { encodings, paths: HashMap::new(), runs: Vec::new(), of_key: HashMap::new(), staged: Vec::new() };
        self.told.resize_with(rib.slots().len().max(self.told.len()), || None);
        let missing = !self.missed.is_empty();
        let mut ended = BTreeSet::new();
        let looked = if missing {
            let rest = self.missed.split_off(self.missed.len().min(LOOK));
            for prefix in std::mem::replace(&mut self.missed, rest) {
                self.say_again(rib, prefix, &mut batch);
            }
            true
        } else if let Some(Walk { next, again, marked }) = self.walk.take() {
            let end = rib.slots().end.min(next.saturating_add(LOOK as Slot));
            for slot in next..end {
                let family = AfiSafi::of(rib.destination(slot).prefix());
                self.look(rib, slot, again.contains(&family), &mut batch);
            }
            if end < rib.slots().end {
                self.walk = Some(Walk { next: end, again, marked });
            } else {
                ended = marked;
            }
            true
        } else {
            let before = self.position;
            let changed: Vec<(Position, Slot)> = rib.since(before).take(LOOK).collect();
            for (position, slot) in changed {
                self.position = position;
                self.look(rib, slot, false, &mut batch);
            }
            self.position != before
        };
        let before = self.portions.len();
        batch.encode(&mut self.portions);
        self.bytes += self.portions.range(before..).map(Portion::size).sum::<usize>();
        for family in ended {
            self.say(wire::encode_route_refresh(family, refresh_subtype::END));
        }
        if self.walk.is_none() && self.walked.is_none_or(|_| missing) {
            self.walked = Some(self.end());
        }
        looked
    }

    /// Those members that must not hear of it.
    fn concerned(&self, told: Option<&Told>) -> [Option<IpAddr>; 2] {
        let Some(told) = told else { return [None; 2] };
        let member = |peer: IpAddr| self.members.contains_key(&peer).then_some(peer);
        let source = told.source.peer.and_then(member);
        let hop = self.policy.foreign_hop(told.path.next_hop.address).and_then(member);
        [source, hop.filter(|hop| Some(*hop) != source)]
    }

    /// What is to be told of a prefix now; nothing where the only member is not told it.
    fn present(&self, rib: &Rib, slot: Slot, batch: &mut Batch<'_>) -> Option<Told> {
        let destination = rib.destination(slot);
        if !self.policy.codec.families.contains(&AfiSafi::of(destination.prefix())) {
            return None;
        }
        let candidate = destination.best()?;
        if self.members.len() == 1 && candidate.source.peer.is_some_and(|peer| self.members.contains_key(&peer)) {
            return None;
        }
        let path = batch.path_for(&self.policy, destination.prefix(), candidate)?;
        let told = Told { path, source: candidate.source.clone() };
        (self.members.len() > 1 || self.concerned(Some(&told)) == [None; 2]).then_some(told)
    }

    /// Stages one prefix, for those members whose knowledge of it is not the present.
    fn look(&mut self, rib: &Rib, slot: Slot, again: bool, batch: &mut Batch<'_>) {
        let prefix = *rib.destination(slot).prefix();
        let new = self.present(rib, slot, batch);
        let old = self.told[slot as usize].take();
        let (knew_not, know_not) = (self.concerned(old.as_ref()), self.concerned(new.as_ref()));
        match (&old, &new) {
            (None, None) => {}
            (Some(_), None) => batch.add(prefix, Audience::But(knew_not), Said::of(None, &prefix)),
            (old, Some(new)) => {
                let known = old.as_ref().is_some_and(|old| Arc::ptr_eq(&old.path, &new.path));
                if !known || again {
                    batch.add(prefix, Audience::But(know_not), Said::of(Some(new), &prefix));
                } else if old.as_ref().is_some_and(|old| !old.same(new)) {
                    for peer in knew_not.into_iter().flatten().filter(|peer| !know_not.contains(&Some(*peer))) {
                        batch.add(prefix, Audience::Only(peer), Said::of(Some(new), &prefix));
                    }
                }
                let had = know_not.into_iter().flatten().filter(|peer| !knew_not.contains(&Some(*peer)));
                for peer in had.filter(|_| old.is_some()) {
                    batch.add(prefix, Audience::Only(peer), Said::of(None, &prefix));
                }
            }
        }
        self.told[slot as usize] = new;
    }

    /// Tells the only member what holds for the prefix, whatever it was told before.
    fn say_again(&mut self, rib: &Rib, prefix: Cidr, batch: &mut Batch<'_>) {
        let slot = rib.find(&prefix);
        let new = slot.and_then(|slot| self.present(rib, slot, batch));
        batch.add(prefix, Audience::ALL, Said::of(new.as_ref(), &prefix));
        if let Some(slot) = slot {
            self.told[slot as usize] = new;
        }
    }
}

/// How much of these bytes is whole messages, and as few of them as reach `budget`.
fn whole_messages(bytes: &[u8], budget: usize) -> usize {
    if bytes.len() <= budget {
        return bytes.len();
    }
    let mut taken = 0;
    while taken < budget
        && let Ok(Some(length)) = wire::message_length(&bytes[taken..])
    {
        taken += length;
    }
    taken
}

/// One thing to say of a prefix.
struct Said {
    /// `None`: withdrawn.
    path: Option<Arc<EncodedPath>>,
    family: Family,
}

impl Said {
    fn of(told: Option<&Told>, prefix: &Cidr) -> Said {
        Said { path: told.map(|told| told.path.clone()), family: prefix.family() }
    }
}

/// The address of a path, whose it is where that matters (0: anybody's), the family of the prefix, and the rule of a
/// filter that changes it.
type PathKey = (*const Path, u32, Family, Option<Place>);
/// The address of a path as told (null: withdrawn), the family, and to whom.
type RunKey = (*const EncodedPath, Family, Audience);

/// The work on some prefixes: each path is rewritten and encoded once, and prefixes that are told alike travel together.
struct Batch<'a> {
    encodings: &'a mut Interner<EncodedPath>,
    /// The RIB is borrowed meanwhile, so an address is a name.
    paths: HashMap<PathKey, Option<Arc<EncodedPath>>>,
    runs: Vec<(Audience, Said)>,
    of_key: HashMap<RunKey, usize>,
    /// Each prefix with its run.
    staged: Vec<(usize, Cidr)>,
}

impl Batch<'_> {
    fn path_for(&mut self, policy: &Policy, prefix: &Cidr, candidate: &Candidate) -> Option<Arc<EncodedPath>> {
        let export = &policy.export;
        let place = export.tells(prefix, candidate).ok()?;
        let family = prefix.family();
        // What is reflected says who was first to say it.
        let originator = if export.reflects(candidate) { u32::from(candidate.source.router_id) } else { 0 };
        let key = (Arc::as_ptr(&candidate.path), originator, family, place);
        if let Some(known) = self.paths.get(&key) {
            return known.clone();
        }
        let encoded = export.rewrite(candidate, family, place).and_then(|path| {
            // Attributes beyond what a message holds: nobody must keep an older path either.
            let encoded = EncodedPath::new(&path.attributes, &path.next_hop, family, &policy.codec).ok()?;
            encoded.fits(family).then(|| self.encodings.intern(encoded))
        });
        self.paths.insert(key, encoded.clone());
        encoded
    }

    fn add(&mut self, prefix: Cidr, audience: Audience, said: Said) {
        let key = (said.path.as_ref().map_or(std::ptr::null(), Arc::as_ptr), said.family, audience);
        let run = *self.of_key.entry(key).or_insert_with(|| {
            self.runs.push((audience, said));
            self.runs.len() - 1
        });
        self.staged.push((run, prefix));
    }

    fn encode(mut self, portions: &mut VecDeque<Portion>) {
        self.staged.sort_by_key(|(run, _)| *run);
        let mut open = false;
        for of_run in self.staged.chunk_by(|a, b| a.0 == b.0) {
            let (audience, said) = &self.runs[of_run[0].0];
            let fits = |last: &&mut Portion| open && last.audience == *audience && last.bytes.len() < PORTION;
            let portion = match portions.back_mut().filter(fits) {
                Some(last) => last,
                None => {
                    portions.push_back(Portion { audience: *audience, bytes: Vec::new(), prefixes: Vec::new() });
                    portions.back_mut().expect("pushed a line ago")
                }
            };
            open = true;
            let before = portion.prefixes.len();
            portion.prefixes.extend(of_run.iter().map(|(_, prefix)| prefix));
            let mut left = &portion.prefixes[before..];
            while !left.is_empty() {
                let taken = match &said.path {
                    Some(path) => path.announce(left, &mut portion.bytes),
                    None => wire::encode_withdraw(left, &mut portion.bytes),
                };
                assert!(taken > 0, "a path that fits");
                left = &left[taken..];
            }
        }
        // They wait as long as their slowest reader: not longer than they must.
        if open && let Some(last) = portions.back_mut() {
            last.bytes.shrink_to_fit();
        }
    }
}
