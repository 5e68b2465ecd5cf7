//! One update group: what its members were told, how far they have read the log, and the portions that not all have yet.
//!
//! Nobody is told a route that came from it, or by way of it (RFC 4271 5.1.3). A group tells such a route to the others:
//! each portion has an audience.
//!
//! In families with path identifiers (RFC 7911) they are told several paths of a prefix, each of which comes and goes, and
//! has its audience, as the only one does in the others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use super::batch::{Batch, Said};
use super::portion::{Audience, CONCERNED, Portion, whole_messages};
use super::too_long::{TooLong, Unsaid};
use super::{Member, Policy};
use crate::bgp::rib::path::{Candidate, Interner, Source};
use crate::bgp::rib::{Position, Rib, Slot, Walk};
use crate::bgp::wire::{self, AfiSafi, EncodedPath, Nlri, refresh_subtype};

/// Prefixes that are looked at, and grouped by their attributes, at one time.
const LOOK: usize = 4096;

/// What the members know of one prefix, or of one path to it: as it is told, and from whom it came.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub path: Arc<EncodedPath>,
    source: Arc<Source>,
}

impl Told {
    fn same(&self, other: &Told) -> bool {
        Arc::ptr_eq(&self.path, &other.path) && self.source.peer == other.source.peer
    }

    /// The path identifier that it is told under.
    fn path_id(&self) -> u32 {
        self.source.number.get()
    }
}

/// A walk over the table: at the start, at a route refresh, at a change of policy.
#[derive(Clone, Debug, Default)]
struct Review {
    /// The slots, where nothing is to be told of any other but by the log; else all there are.
    among: Option<Vec<Slot>>,
    walk: Walk,
    /// Said again although it was told (RFC 2918), of these families.
    again: BTreeSet<AfiSafi>,
    /// Those whose beginning was said (RFC 7313), so that the end is owed.
    marked: BTreeSet<AfiSafi>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub policy: Policy,
    pub position: Position,
    members: BTreeMap<IpAddr, Member>,
    /// Those whom a portion waits for, and those who are owed End-of-RIB.
    behind: BTreeSet<IpAddr>,
    owed: BTreeSet<IpAddr>,
    /// Of how many groups of one it has come since it was one itself.
    united: usize,
    /// It may be that there is another of its policy to unite with.
    pub is_new: bool,
    review: Option<Review>,
    /// What the only member of this group has missed, or not: it is said again.
    missed: Vec<Nlri>,
    /// By slot.
    told: Vec<Option<Told>>,
    /// By slot, in families with path identifiers: each path, by its identifier.
    paths: HashMap<Slot, Vec<Told>>,
    /// How many prefixes and paths these are.
    count: u64,
    unsaid: Unsaid,
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
            behind: BTreeSet::new(),
            owed: BTreeSet::new(),
            united: 1,
            is_new: true,
            review: Some(Review::default()),
            missed: Vec::new(),
            told: Vec::new(),
            paths: HashMap::new(),
            count: 0,
            unsaid: Unsaid::default(),
            portions: VecDeque::new(),
            bytes: 0,
            first: 0,
            walked: None,
        }
    }

    pub fn members(&self) -> &BTreeMap<IpAddr, Member> {
        &self.members
    }

    /// A member that has read all there is, and is owed what it brings along.
    pub fn admit(&mut self, peer: IpAddr, member: Member) {
        if !member.end_of_rib.is_empty() {
            self.owed.insert(peer);
        }
        self.members.insert(peer, Member { portion: self.end(), offset: 0, ..member });
    }

    /// It is no member any more, and nothing is kept for it.
    pub fn dismiss(&mut self, peer: IpAddr) -> Option<Member> {
        let member = self.members.remove(&peer)?;
        self.behind.remove(&peer);
        self.owed.remove(&peer);
        if self.members.len() == 1 {
            self.united = 1;
        }
        let unread = (member.portion - self.first) as usize;
        self.portions.range_mut(unread..).for_each(|portion| portion.unread -= 1);
        self.release();
        Some(member)
    }

    /// The members that have read all portions.
    pub fn up_to_date(&self) -> impl Iterator<Item = IpAddr> {
        let any = self.behind.len() < self.members.len();
        let all = self.members.keys().take_while(move |_| any);
        all.filter(|peer| !self.behind.contains(*peer)).copied()
    }

    /// Those for whom something waits.
    pub fn due(&self, hold_end_of_rib: bool) -> impl Iterator<Item = IpAddr> {
        self.behind.iter().chain(self.owed.iter().take_while(move |_| !hold_end_of_rib)).copied()
    }

    /// Walks over what another group of this policy was told, and what it has not read yet: there is nothing else to say.
    /// Where few routes are told, as in a full mesh, a table of many others is no work for each new session.
    pub fn begin_beside(&mut self, other: &Group, rib: &Rib) {
        let told = (0..).zip(&other.told).filter(|(_, told)| told.is_some()).map(|(slot, _)| slot);
        let mut from = other.position;
        let unread = rib.read(&mut from, self.policy.scope(), usize::MAX);
        let mut among: Vec<Slot> =
            told.chain(other.paths.keys().copied()).chain(other.unsaid.slots()).chain(unread).collect();
        among.sort_unstable();
        among.dedup();
        self.review = Some(Review { among: Some(among), ..Review::default() });
    }

    /// Whether what it was told is all that anybody would be at its position. One whose only member is not told a route does
    /// not know it; and neither do two, of a route that came from one of them by way of the other.
    pub fn is_whole(&self) -> bool {
        self.members.len() > 1 && self.united > CONCERNED && self.review.is_none() && self.missed.is_empty()
    }

    pub fn set_policy(&mut self, policy: Policy) {
        let another = policy != self.policy;
        self.is_new |= another;
        self.policy = policy;
        if another {
            self.recount();
        }
        self.walk_again(None);
    }

    /// `enhanced`: with its beginning and its end (RFC 7313 section 4).
    pub fn refresh(&mut self, family: AfiSafi, enhanced: bool) {
        self.walk_again(Some(family));
        if enhanced {
            self.say(wire::encode_route_refresh(family, refresh_subtype::BEGIN));
            self.review.get_or_insert_default().marked.insert(family);
        }
    }

    fn walk_again(&mut self, family: Option<AfiSafi>) {
        let review = self.review.get_or_insert_default();
        (review.among, review.walk) = (None, Walk::default());
        review.again.extend(family);
        self.walked = None;
    }

    /// A message for all members that is about no prefix.
    fn say(&mut self, bytes: Vec<u8>) {
        self.portions.push_back(Portion { audience: Audience::ALL, bytes, nlri: Vec::new(), unread: 0 });
        self.queued(self.portions.len() - 1);
    }

    /// The portions from this one on are new, and wait for everybody.
    fn queued(&mut self, from: usize) {
        if from == self.portions.len() {
            return;
        }
        for portion in self.portions.range_mut(from..) {
            portion.unread = self.members.len();
            self.bytes += portion.size();
        }
        self.behind = self.members.keys().copied().collect();
    }

    /// What the member is not told since no message can hold it.
    pub fn too_long(&self, peer: IpAddr) -> impl Iterator<Item = &TooLong> {
        self.unsaid.of(peer)
    }

    /// Where there is one more since the last call: one for each member.
    pub fn news_of_too_long(&mut self) -> Vec<(IpAddr, TooLong)> {
        if !self.unsaid.take_news() {
            return Vec::new();
        }
        self.members.keys().filter_map(|peer| Some((*peer, *self.unsaid.of(*peer).next()?))).collect()
    }

    /// How many prefixes the member was told, each with as many paths as it was told.
    pub fn told(&self, peer: IpAddr) -> u64 {
        self.members.get(&peer).map_or(0, |member| self.count - member.untold)
    }

    /// One more, or one less, that all but those concerned were told.
    fn count(&mut self, concerned: [Option<IpAddr>; CONCERNED], step: i64) {
        self.count = self.count.saturating_add_signed(step);
        for peer in concerned.into_iter().flatten() {
            if let Some(member) = self.members.get_mut(&peer) {
                member.untold = member.untold.saturating_add_signed(step);
            }
        }
    }

    /// After a change of who is a member, or of whom a path concerns.
    fn recount(&mut self) {
        self.count = 0;
        self.members.values_mut().for_each(|member| member.untold = 0);
        let all = self.told.iter().flatten().chain(self.paths.values().flatten());
        let concerned: Vec<[Option<IpAddr>; CONCERNED]> = all.map(|told| self.concerned(Some(told))).collect();
        concerned.into_iter().for_each(|concerned| self.count(concerned, 1));
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
        self.review.is_none() && self.missed.is_empty() && !rib.has_news(self.position)
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
        let family = member.end_of_rib.pop_first();
        if member.end_of_rib.is_empty() {
            self.owed.remove(&peer);
        }
        family
    }

    /// Gives the member of what waits for it; `false` if nothing did.
    pub fn deliver(&mut self, peer: IpAddr, full: usize, buffer: &mut Vec<u8>) -> bool {
        let Some(member) = self.members.get_mut(&peer) else { return false };
        let at = (member.portion - self.first) as usize;
        let Some(portion) = self.portions.get_mut(at) else { return false };
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
            portion.unread -= 1;
            if at + 1 == self.portions.len() {
                self.behind.remove(&peer);
            }
            self.release();
        }
        true
    }

    /// Drops portions that all have read.
    fn release(&mut self) {
        while self.portions.front().is_some_and(|portion| portion.unread == 0)
            && let Some(portion) = self.portions.pop_front()
        {
            self.bytes -= portion.size();
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
        let member = self.members.get(&peer)?;
        let unread = self.portions.range((member.portion - self.first) as usize..);
        let unread = unread.filter(|portion| portion.audience.includes(peer));
        let mut missed: Vec<Nlri> = unread.flat_map(|portion| &portion.nlri).copied().collect();
        missed.sort_unstable();
        missed.dedup();
        let mut alone = Group::new(self.policy.clone(), self.position);
        alone.review = self.review.clone();
        alone.walked = self.walked.map(|_| 0);
        alone.missed = missed;
        alone.told = self.told.clone();
        alone.paths = self.paths.clone();
        alone.unsaid = self.unsaid.clone();
        alone.admit(peer, self.dismiss(peer)?);
        alone.recount();
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
        for (slot, others) in other.paths {
            let own = self.paths.entry(slot).or_default();
            for told in others {
                if let Err(place) = own.binary_search_by_key(&told.path_id(), Told::path_id) {
                    own.insert(place, told);
                }
            }
        }
        self.unsaid.take_over(other.unsaid);
        other.members.into_iter().for_each(|(peer, member)| self.admit(peer, member));
        self.is_new |= other.is_new;
        self.united = self.united.saturating_add(other.united);
        self.recount();
    }

    /// Looks at the next prefixes; `false` when there were none left.
    pub fn stage(&mut self, rib: &Rib, encodings: &mut Interner<EncodedPath>) -> bool {
        let mut batch = Batch::new(encodings);
        self.told.resize_with(rib.slots().len().max(self.told.len()), || None);
        let missing = !self.missed.is_empty();
        let mut ended = BTreeSet::new();
        let looked = if missing {
            let rest = self.missed.split_off(self.missed.len().min(LOOK));
            for nlri in std::mem::replace(&mut self.missed, rest) {
                self.say_again(rib, nlri, &mut batch);
            }
            true
        } else if let Some(mut review) = self.review.take() {
            let all = review.among.as_ref().map_or(rib.slots(), |among| 0..among.len() as Slot);
            for at in review.walk.portion(&all, LOOK as Slot) {
                let slot = review.among.as_ref().map_or(at, |among| among[at as usize]);
                let family = AfiSafi::of(rib.destination(slot).prefix());
                self.look(rib, slot, review.again.contains(&family), &mut batch);
            }
            if review.walk.is_over(&all) {
                ended = review.marked;
            } else {
                self.review = Some(review);
            }
            true
        } else {
            let before = self.position;
            for slot in rib.read(&mut self.position, self.policy.scope(), LOOK) {
                self.look(rib, slot, false, &mut batch);
            }
            self.position != before
        };
        let before = self.portions.len();
        batch.encode(&self.policy.codec, &mut self.portions);
        self.queued(before);
        for family in ended {
            self.say(wire::encode_route_refresh(family, refresh_subtype::END));
        }
        if self.review.is_none() && self.walked.is_none_or(|_| missing) {
            self.walked = Some(self.end());
        }
        looked
    }

    /// The member of a group of one.
    fn only(&self) -> Option<IpAddr> {
        self.members.first_key_value().filter(|_| self.members.len() == 1).map(|(peer, _)| *peer)
    }

    /// Those members that must not hear of it.
    fn concerned(&self, told: Option<&Told>) -> [Option<IpAddr>; CONCERNED] {
        let Some(told) = told else { return [None; CONCERNED] };
        let member = |peer: IpAddr| self.members.contains_key(&peer).then_some(peer);
        let source = told.source.peer.and_then(member);
        // On a link a neighbour is known by its link-local address, whatever other one goes before it.
        let hop = |hop: IpAddr| self.policy.foreign_hop(hop).and_then(member);
        let next_hop = told.path.next_hop;
        let hop = hop(next_hop.address).or_else(|| hop(next_hop.way()));
        [source, hop.filter(|hop| Some(*hop) != source)]
    }

    /// What is to be told of a prefix now; nothing where the only member is not told it.
    fn present(&self, rib: &Rib, slot: Slot, batch: &mut Batch<'_>) -> Option<Told> {
        let destination = rib.destination(slot);
        if !self.policy.codec.families.contains(&AfiSafi::of(destination.prefix())) {
            return None;
        }
        self.as_told(rib, slot, destination.best()?, batch)
    }

    /// The same where there are path identifiers, by these. Which paths these are does not depend on who reads: of the best
    /// few a member lacks what came from it.
    fn present_paths(&self, rib: &Rib, slot: Slot, most: usize, batch: &mut Batch<'_>) -> Vec<Told> {
        let paths = rib.best_of(slot, most);
        let mut told: Vec<Told> = paths.iter().filter_map(|path| self.as_told(rib, slot, path, batch)).collect();
        told.sort_unstable_by_key(Told::path_id);
        told
    }

    fn as_told(&self, rib: &Rib, slot: Slot, candidate: &Candidate, batch: &mut Batch<'_>) -> Option<Told> {
        if candidate.source.peer.is_some() && candidate.source.peer == self.only() {
            return None;
        }
        let path = batch.path_for(&self.policy, rib.destination(slot).prefix(), candidate)?;
        let told = Told { path, source: candidate.source.clone() };
        (self.members.len() > 1 || self.concerned(Some(&told)) == [None; CONCERNED]).then_some(told)
    }

    /// Stages one prefix, for those members whose knowledge of it is not the present.
    fn look(&mut self, rib: &Rib, slot: Slot, again: bool, batch: &mut Batch<'_>) {
        let prefix = *rib.destination(slot).prefix();
        let Some(most) = self.policy.paths(&prefix) else {
            let new = self.present(rib, slot, batch);
            self.unsaid.note(slot, batch.too_long.take());
            let old = self.told[slot as usize].take();
            // Of a table of which nobody is told anything, as in a full mesh, a walk is no more than this.
            if old.is_some() || new.is_some() {
                self.compare(prefix.into(), old.as_ref(), new.as_ref(), again, batch);
                self.told[slot as usize] = new;
            }
            return;
        };
        let new = self.present_paths(rib, slot, most, batch);
        self.unsaid.note(slot, batch.too_long.take());
        let old = self.paths.remove(&slot).unwrap_or_default();
        let both: BTreeSet<u32> = old.iter().chain(&new).map(Told::path_id).collect();
        for path_id in both {
            let of = |all: &[Told]| all.binary_search_by_key(&path_id, Told::path_id).ok();
            let (old, new) = (of(&old).map(|at| &old[at]), of(&new).map(|at| &new[at]));
            self.compare(Nlri { prefix, path_id }, old, new, again, batch);
        }
        if !new.is_empty() {
            self.paths.insert(slot, new);
        }
    }

    /// Stages what makes of what was told of a prefix, or of a path to it, what holds now.
    fn compare(&mut self, nlri: Nlri, old: Option<&Told>, new: Option<&Told>, again: bool, batch: &mut Batch<'_>) {
        let (knew_not, know_not) = (self.concerned(old), self.concerned(new));
        match (old, new) {
            (None, None) => {}
            (Some(_), None) => batch.add(nlri, Audience::But(knew_not), Said::of(None, &nlri)),
            (old, Some(new)) => {
                let known = old.is_some_and(|old| Arc::ptr_eq(&old.path, &new.path));
                if !known || again {
                    batch.add(nlri, Audience::But(know_not), Said::of(Some(new), &nlri));
                } else if old.is_some_and(|old| !old.same(new)) {
                    for peer in knew_not.into_iter().flatten().filter(|peer| !know_not.contains(&Some(*peer))) {
                        batch.add(nlri, Audience::Only(peer), Said::of(Some(new), &nlri));
                    }
                }
                let had = know_not.into_iter().flatten().filter(|peer| !knew_not.contains(&Some(*peer)));
                for peer in had.filter(|_| old.is_some()) {
                    batch.add(nlri, Audience::Only(peer), Said::of(None, &nlri));
                }
            }
        }
        self.recorded(knew_not, old.is_some(), know_not, new.is_some());
    }

    fn recorded(
        &mut self,
        knew_not: [Option<IpAddr>; CONCERNED],
        was: bool,
        know_not: [Option<IpAddr>; CONCERNED],
        is: bool,
    ) {
        if was {
            self.count(knew_not, -1);
        }
        if is {
            self.count(know_not, 1);
        }
    }

    /// Tells the only member what holds for the prefix, or the path, whatever it was told before.
    fn say_again(&mut self, rib: &Rib, nlri: Nlri, batch: &mut Batch<'_>) {
        let most = self.policy.paths(&nlri.prefix);
        let slot = rib.find(&nlri.prefix);
        let new = slot.and_then(|slot| match most {
            None => self.present(rib, slot, batch),
            Some(most) => {
                let paths = self.present_paths(rib, slot, most, batch);
                paths.into_iter().find(|told| told.path_id() == nlri.path_id)
            }
        });
        batch.add(nlri, Audience::ALL, Said::of(new.as_ref(), &nlri));
        let Some(slot) = slot else { return };
        self.unsaid.note(slot, batch.too_long.take());
        let (know_not, is) = (self.concerned(new.as_ref()), new.is_some());
        let old = match most {
            None => std::mem::replace(&mut self.told[slot as usize], new),
            Some(_) => {
                let paths = self.paths.entry(slot).or_default();
                match (paths.binary_search_by_key(&nlri.path_id, Told::path_id), new) {
                    (Ok(at), Some(new)) => Some(std::mem::replace(&mut paths[at], new)),
                    (Ok(at), None) => Some(paths.remove(at)),
                    (Err(at), Some(new)) => {
                        paths.insert(at, new);
                        None
                    }
                    (Err(_), None) => None,
                }
            }
        };
        let knew_not = self.concerned(old.as_ref());
        self.recorded(knew_not, old.is_some(), know_not, is);
    }
}
