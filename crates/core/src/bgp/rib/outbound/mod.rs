//! What neighbours are told: update groups, and who is in which.
//!
//! Neighbours that are to be told the same in the same encoding ([`Policy`]) share one Adj-RIB-Out and one encoding of
//! each portion. A neighbour begins in a group of its own, which walks over what others of its policy were told, or else
//! over the whole table; so does one that wants everything again, one whose policy has changed, and one that reads too
//! slowly for the others. As soon as such a group has nothing more to say it is joined with one of the same policy, whose
//! table is then the same as its own.
//!
//! What waits for slow members of a group is bounded (`WAITING`): who is further behind leaves it, and is told, in its
//! own time, the present state of what it has missed.

mod batch;
mod group;
mod portion;
mod too_long;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use super::path::Interner;
use super::{Position, Rib, Scope};
use crate::bgp::filter::Export;
use crate::bgp::wire::{self, AfiSafi, CodecContext, EncodedPath, PathIds};
use crate::model::Cidr;
use crate::model::peering::{AddPaths, PeerOptions, SentPaths};
use group::Group;
pub use too_long::TooLong;

/// Bytes that are kept for members of a group that are behind the others.
const WAITING: usize = 4 << 20;

/// What decides what a neighbour is told, and how that is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    export: Export,
    codec: CodecContext,
}

impl Policy {
    /// The neighbour itself does not count: that it is not told its own routes is seen to by its group. Nor do its options
    /// for what it tells us.
    pub fn new(export: Export, codec: CodecContext) -> Policy {
        let PathIds { sent, .. } = codec.path_ids;
        // One that does not want them is told the same as any other.
        let send = if sent.is_empty() { SentPaths::None } else { export.options.add_paths.send };
        let options = PeerOptions {
            max_prefixes: None,
            allowed_local_as: 0,
            long_lived_time: None,
            delay_open: 0,
            add_paths: AddPaths { receive: false, send },
            ..export.options
        };
        let codec = CodecContext { path_ids: PathIds { received: Vec::new(), sent }, ..codec };
        Policy { export: Export { peer: IpAddr::V4(Ipv4Addr::UNSPECIFIED), options, ..export }, codec }
    }

    /// What of the RIB's log there is to be told.
    fn scope(&self) -> Scope {
        if self.codec.path_ids.sent.is_empty() { Scope::Best } else { Scope::All }
    }

    /// How many paths of a prefix, each with its identifier, are told at most; `None`: the best, without one.
    fn paths(&self, prefix: &Cidr) -> Option<usize> {
        let with_ids = self.codec.path_ids.sent.contains(&AfiSafi::of(prefix));
        with_ids.then_some(match self.export.options.add_paths.send {
            SentPaths::None => 1,
            SentPaths::All => usize::MAX,
            SentPaths::Best(number) => number.into(),
        })
    }

    /// The next hop, unless it is ourselves: a neighbour on this host may have our own address, and is told all the same.
    fn foreign_hop(&self, hop: IpAddr) -> Option<IpAddr> {
        (![self.export.self4, self.export.self6].contains(&Some(hop))).then_some(hop)
    }
}

/// One neighbour in its group.
#[derive(Clone, Debug)]
struct Member {
    /// The portion that it is to read next, and how much of that it has.
    portion: u64,
    offset: usize,
    /// End-of-RIB still owed.
    end_of_rib: BTreeSet<AfiSafi>,
    /// How many prefixes and paths that its group was told concern it, so that it was not.
    untold: u64,
}

/// The groups of all neighbours whose sessions are Established.
#[derive(Debug)]
pub struct Outbound {
    groups: BTreeMap<u32, Group>,
    /// The group of each neighbour.
    places: BTreeMap<IpAddr, u32>,
    encodings: Interner<EncodedPath>,
    /// Neighbours with a route that is too long for a message, where there is one more, for whoever reports it.
    reports: Vec<(IpAddr, TooLong)>,
    last: u32,
    /// `WAITING`, unless a test says otherwise.
    waiting: usize,
}

impl Default for Outbound {
    fn default() -> Self {
        Outbound {
            groups: BTreeMap::new(),
            places: BTreeMap::new(),
            encodings: Interner::default(),
            reports: Vec::new(),
            last: 0,
            waiting: WAITING,
        }
    }
}

impl Outbound {
    /// For a new session: everything is to be told, then End-of-RIB.
    pub fn join(&mut self, peer: IpAddr, policy: Policy, rib: &Rib) {
        self.leave(peer);
        let end_of_rib = policy.codec.families.iter().copied().collect();
        let mut group = Group::new(policy, rib.head());
        if let Some(other) = self.groups.values().find(|other| other.is_whole() && other.policy == group.policy) {
            group.begin_beside(other, rib);
        }
        group.admit(peer, Member { portion: 0, offset: 0, end_of_rib, untold: 0 });
        self.add(group);
    }

    /// The session is over.
    pub fn leave(&mut self, peer: IpAddr) {
        let Some(at) = self.places.remove(&peer) else { return };
        if let Some(group) = self.groups.get_mut(&at) {
            group.dismiss(peer);
            if group.members().is_empty() {
                self.groups.remove(&at);
            }
        }
    }

    /// Puts each neighbour under its policy, if there is one for it, and compares everything with what it was told.
    pub fn review(&mut self, policy: impl Fn(IpAddr) -> Option<Policy>) {
        for at in self.groups.keys().copied().collect::<Vec<_>>() {
            let Some(group) = self.groups.get_mut(&at) else { continue };
            let mut wanted: Vec<(IpAddr, Policy)> = Vec::new();
            wanted.extend(group.members().keys().filter_map(|peer| Some((*peer, policy(*peer)?))));
            let Some((_, first)) = wanted.first().cloned() else { continue };
            for (peer, policy) in wanted.iter().filter(|(_, policy)| *policy != first) {
                self.set_policy(*peer, policy.clone());
            }
            if let Some(group) = self.groups.get_mut(&at) {
                group.set_policy(first);
            }
        }
    }

    /// Compares everything with what this neighbour was told, under this policy.
    pub fn set_policy(&mut self, peer: IpAddr, policy: Policy) {
        if let Some(group) = self.alone(peer) {
            group.set_policy(policy);
        }
    }

    /// The neighbour's present policy.
    pub fn policy(&self, peer: IpAddr) -> Option<&Policy> {
        self.group(peer).map(|group| &group.policy)
    }

    /// Tells everything of the family again (RFC 2918), with its beginning and its end where the neighbour knows them, unless
    /// it is still being told for the first time (RFC 7313 section 4).
    pub fn refresh(&mut self, peer: IpAddr, family: AfiSafi, enhanced: bool) {
        if let Some(group) = self.alone(peer) {
            let first = group.members().values().any(|member| member.end_of_rib.contains(&family));
            group.refresh(family, enhanced && !first);
        }
    }

    /// How many prefixes the neighbour has been told, each with as many paths as it was told.
    pub fn told(&self, peer: IpAddr) -> u64 {
        self.group(peer).map_or(0, |group| group.told(peer))
    }

    /// The routes that the neighbour is not told since no message can hold them (RFC 4271 9.2).
    pub fn too_long(&self, peer: IpAddr) -> impl Iterator<Item = &TooLong> {
        self.group(peer).into_iter().flat_map(move |group| group.too_long(peer))
    }

    /// Neighbours that are without one more since the last call, each with one of these.
    pub fn take_reports(&mut self) -> Vec<(IpAddr, TooLong)> {
        std::mem::take(&mut self.reports)
    }

    /// What of the RIB's log anybody has to be told.
    pub fn scope(&self) -> Scope {
        self.groups.values().map(|group| group.policy.scope()).max().unwrap_or_default()
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The log before this is of no more use to any neighbour.
    pub fn position(&self) -> Option<Position> {
        self.groups.values().map(|group| group.position).min()
    }

    /// Whether there is something to send. `hold_end_of_rib`: our own selection is not done (RFC 4724 4.1).
    pub fn has_news(&self, peer: IpAddr, rib: &Rib, hold_end_of_rib: bool) -> bool {
        let Some(group) = self.group(peer) else { return false };
        let Some(member) = group.members().get(&peer) else { return false };
        member.portion < group.end() || group.has_news(rib) || (!hold_end_of_rib && !member.end_of_rib.is_empty())
    }

    /// Looks at news for every group of which a member has read all there is and is `ready` for more: what comes of it
    /// waits then, and what nothing comes of is passed over. Answers whether there was any.
    pub fn prepare(&mut self, rib: &Rib, ready: impl Fn(IpAddr) -> bool) -> bool {
        let mut any = false;
        for at in self.groups.keys().copied().collect::<Vec<_>>() {
            // It may have been joined with another one by now.
            let Some(group) = self.groups.get_mut(&at) else { continue };
            let mut looked = false;
            while group.has_news(rib) && group.up_to_date().any(&ready) {
                group.stage(rib, &mut self.encodings);
                looked = true;
            }
            self.reports.extend(group.news_of_too_long());
            any |= looked;
            self.unite(at, rib);
        }
        any
    }

    /// Those for whom something waits that [`Outbound::prepare`] need not look at first.
    pub fn due(&self, hold_end_of_rib: bool) -> impl Iterator<Item = IpAddr> {
        self.groups.values().flat_map(move |group| group.due(hold_end_of_rib))
    }

    /// Appends whole messages for the neighbour, until the buffer is `full` bytes long (and at most one message longer), or
    /// there is nothing more to say: then the answer is `true`.
    pub fn transmit(
        &mut self,
        peer: IpAddr,
        rib: &Rib,
        hold_end_of_rib: bool,
        full: usize,
        buffer: &mut Vec<u8>,
    ) -> bool {
        let Some(&at) = self.places.get(&peer) else { return true };
        let Some(group) = self.groups.get_mut(&at) else { return true };
        let mut all = false;
        while buffer.len() < full && !all {
            if !hold_end_of_rib && let Some(family) = group.end_of_rib(peer) {
                wire::encode_end_of_rib(family, buffer);
            } else if !group.deliver(peer, full, buffer) {
                all = !group.stage(rib, &mut self.encodings);
            }
        }
        self.reports.extend(group.news_of_too_long());
        self.part_from_slow(at);
        if all {
            self.unite(at, rib);
        }
        all
    }

    fn group(&self, peer: IpAddr) -> Option<&Group> {
        self.groups.get(self.places.get(&peer)?)
    }

    fn add(&mut self, group: Group) -> u32 {
        self.last += 1;
        self.places.extend(group.members().keys().map(|peer| (*peer, self.last)));
        self.groups.insert(self.last, group);
        self.last
    }

    /// The neighbour's group, which nobody else is in from now on.
    fn alone(&mut self, peer: IpAddr) -> Option<&mut Group> {
        let mut at = *self.places.get(&peer)?;
        let group = self.groups.get_mut(&at)?;
        if group.members().len() > 1
            && let Some(alone) = group.part_from(peer)
        {
            at = self.add(alone);
        }
        self.groups.get_mut(&at)
    }

    /// Who is so far behind that the others' portions cannot be kept for it any longer goes on alone.
    fn part_from_slow(&mut self, at: u32) {
        while let Some(slowest) = self.groups.get(&at).and_then(|group| group.too_slow(self.waiting)) {
            self.alone(slowest);
        }
    }

    /// Joins a group that has nothing more to say with another of its policy that has read as much.
    fn unite(&mut self, at: u32, rib: &Rib) {
        let Some(group) = self.groups.get(&at).filter(|group| group.is_new && group.is_quiet(rib)) else { return };
        let mut others = self.groups.iter().filter(|(other, group_)| **other != at && group_.policy == group.policy);
        let mut any = false;
        let ready = others.find(|(_, other)| {
            any = true;
            other.has_read_all(rib)
        });
        let into = ready.map(|(into, _)| *into);
        if let Some(into) = into {
            if let Some(group) = self.groups.remove(&at) {
                self.places.extend(group.members().keys().map(|peer| (*peer, into)));
                if let Some(other) = self.groups.get_mut(&into) {
                    other.take_over(group);
                }
            }
        } else if !any && let Some(group) = self.groups.get_mut(&at) {
            // One of its policy that comes later will look for this one.
            group.is_new = false;
        }
    }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
