//! Whose routes outlive a session, and for how long: as the helper of one who restarts (RFC 4724 4.2), and beyond its
//! restart time, as the last choice (RFC 9494 4.2).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::Speaker;
use super::peer::{Peer, STALE_MOST};
use super::update::{Changed, import};
use crate::bgp::filter::LLGR_STALE;
use crate::bgp::rib::Path;
use crate::bgp::wire::AfiSafi;
use crate::model::Family;
use crate::time::Time;

/// What of one neighbour is kept of a session that is over.
#[derive(Debug, Default)]
pub(super) struct Retention {
    /// Since when there have been stale routes.
    since: Option<Time>,
    /// While it is away: the end of its restart time. Once it is back: how long it may take to tell all.
    until: Option<Time>,
    /// The long-lived stale timers that run.
    long_lived: BTreeMap<AfiSafi, LongLivedTimer>,
    /// Families whose timer has expired in the present session, or else the last one, before it had told all of them. Of
    /// these nothing outlives that session, what was told again neither (RFC 9494 4.2).
    expired: BTreeSet<AfiSafi>,
}

#[derive(Clone, Copy, Debug)]
struct LongLivedTimer {
    until: Time,
    /// The last of the sessions whose routes it is about.
    session: u64,
}

impl Retention {
    pub fn is_active(&self) -> bool {
        self.until.is_some() || !self.long_lived.is_empty()
    }

    /// Whether the restart time is over, and it is still kept.
    pub fn is_long_lived(&self) -> bool {
        self.until.is_none() && !self.long_lived.is_empty()
    }

    pub fn deadlines(&self) -> impl Iterator<Item = Time> {
        self.until.into_iter().chain(self.long_lived.values().map(|timer| timer.until))
    }

    /// For how long there have been stale routes, until when they are kept at most, and whether as the last choice.
    pub fn status(&self, now: Time) -> Option<StaleStatus> {
        let until = self.deadlines().max()?;
        let since = self.since.map_or(Duration::ZERO, |since| now.since(since));
        Some(StaleStatus { since, left: until.since(now), long_lived: !self.long_lived.is_empty() })
    }
}

/// Routes of a session that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleStatus {
    pub since: Duration,
    /// How much longer some of them are kept. Beyond the restart time there may be more, where it was agreed on.
    pub left: Duration,
    /// Whether the restart time is over for some of them: these are the last choice (RFC 9494).
    pub long_lived: bool,
}

/// How long the routes of a family outlive a session: first as they are, then as the last choice.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    restart: Duration,
    long_lived: Duration,
}

impl Peer {
    /// The families whose routes are kept when the connection breaks without a NOTIFICATION, and for how long. What one of
    /// the two capabilities does not list has none of that one's time (RFC 9494 4.2).
    fn retains(&self) -> BTreeMap<AfiSafi, Kept> {
        let mut kept: BTreeMap<AfiSafi, Kept> = BTreeMap::new();
        let Some(negotiated) = &self.negotiated else { return kept };
        if let Some(theirs) = negotiated.graceful_restart.as_ref().filter(|theirs| theirs.restart_time > 0) {
            for (family, _) in &theirs.families {
                kept.entry(*family).or_default().restart = Duration::from_secs(theirs.restart_time.into());
            }
        }
        for one in &negotiated.long_lived {
            kept.entry(one.family).or_default().long_lived = Duration::from_secs(one.seconds.into());
        }
        kept.retain(|family, _| !self.stale.expired.contains(family));
        kept
    }

    /// Whether a neighbour that came back has kept this family in its forwarding table: the F bit of that capability by which
    /// we kept its routes.
    fn preserved(&self, family: AfiSafi) -> bool {
        let Some(negotiated) = &self.negotiated else { return false };
        if self.stale.long_lived.contains_key(&family) {
            return negotiated.long_lived.iter().any(|one| one.family == family && one.forwarding);
        }
        let theirs = negotiated.graceful_restart.as_ref();
        theirs.is_some_and(|theirs| theirs.families.contains(&(family, true)))
    }
}

impl Speaker {
    /// The session is over, and what was agreed on outlives it.
    pub(super) fn retain(&mut self, address: IpAddr, now: Time) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let kept = peer.retains();
        let restart = kept.values().map(|kept| kept.restart).max().unwrap_or_default();
        let session = peer.source.session;
        peer.stale.long_lived.retain(|family, _| kept.contains_key(family));
        let bound = peer.config.options.max_prefixes.map_or(u64::MAX, |bound| bound.limit.into());
        let too_many = |family| self.rib.counts_of(address, family).received > bound;
        let over = Family::BOTH.map(|family| too_many(family).then_some(AfiSafi::unicast(family)));
        // RFC 4724 4.2: what was stale already is not kept a second time; but for what is long-lived (RFC 9494 4.2), and
        // between those that agreed on the N bit (RFC 8538 4.1), though not for ever. It must not add up beyond what the
        // neighbour may send.
        let agreed = peer.negotiated.as_ref().and_then(|negotiated| negotiated.graceful_restart.as_ref());
        let in_time = peer.stale.since.is_some_and(|since| now + restart <= since + STALE_MOST);
        let notifies = in_time && agreed.is_some_and(|theirs| theirs.notification);
        let again = |family: AfiSafi| {
            let more = kept.get(&family).is_some_and(|kept| notifies || !kept.long_lived.is_zero());
            more && !over.contains(&Some(family))
        };
        self.rib.forget_all(address, |prefix, candidate| {
            let family = AfiSafi::of(prefix);
            !kept.contains_key(&family) || (candidate.source.session != session && !again(family))
        });
        peer.stale.until = (!restart.is_zero()).then(|| now + restart);
        let some_again = kept.keys().any(|family| again(*family));
        peer.stale.since = peer.stale.since.filter(|_| some_again).or(Some(now));
        self.begin_long_lived(address, now, |kept| kept.restart.is_zero());
    }

    /// Nothing of the neighbour is kept, or waited for, any longer.
    pub(super) fn retain_nothing(&mut self, address: IpAddr) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.stale = Retention::default();
        }
        self.rib.forget_all(address, |_, _| true);
    }

    /// RFC 9494 4.2, for those families that are `due`: their routes are the last choice from now on, and told to others as
    /// such, but for those that forbid it.
    fn begin_long_lived(&mut self, address: IpAddr, now: Time, due: impl Fn(&Kept) -> bool) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let session = peer.source.session;
        let mut kept = peer.retains();
        kept.retain(|_, kept| due(kept));
        for (family, kept) in kept.iter().filter(|(_, kept)| !kept.long_lived.is_zero()) {
            // One that runs is not wound up again before the neighbour has told all.
            let timer = LongLivedTimer { until: now + kept.long_lived, session };
            peer.stale.long_lived.entry(*family).or_insert(timer).session = session;
        }
        if !peer.stale.is_active() {
            peer.stale.since = None;
        }
        let Some(peer) = self.peers.get(&address) else { return };
        let of_family = |family| kept.contains_key(&family);
        self.rib.forget_all(address, |prefix, candidate| {
            let family = AfiSafi::of(prefix);
            let long_lived = peer.stale.long_lived.contains_key(&family);
            let forbidden = candidate.path.forbids_long_lived() || candidate.received().forbids_long_lived();
            of_family(family) && (!long_lived || forbidden)
        });
        let own = self.own_addresses(address);
        let import = import(&self.config, &self.pools, address, peer, &own);
        let interner = &mut self.interner;
        let mut changed = Changed::default();
        self.rib.review(address, |prefix, known| {
            if !of_family(AfiSafi::of(prefix)) || known.received().is_long_lived_stale() {
                return known.clone();
            }
            let mut path = Path::clone(known.received());
            path.attributes.communities.insert(LLGR_STALE);
            let path = interner.intern(path);
            changed.judged(&import, prefix, known.source.clone(), path, interner)
        });
    }

    /// RFC 4724 4.2 and RFC 9494 4.2: what a neighbour that is back did not keep in its own forwarding table goes at once, the
    /// rest at End-of-RIB.
    pub(super) fn welcome_back(&mut self, address: IpAddr, now: Time) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.stale.expired.clear();
        if !peer.stale.is_active() {
            return;
        }
        let session = peer.source.session;
        let families = peer.negotiated.iter().flat_map(|negotiated| negotiated.codec.families.iter().copied());
        let preserved: Vec<AfiSafi> = families.filter(|family| peer.preserved(*family)).collect();
        peer.stale.long_lived.retain(|family, _| preserved.contains(family));
        if preserved.is_empty() {
            peer.stale = Retention::default();
        } else {
            peer.stale.until = Some(now + STALE_MOST);
        }
        self.rib.forget_all(address, |prefix, candidate| {
            candidate.source.session != session && !preserved.contains(&AfiSafi::of(prefix))
        });
    }

    /// The end of a restart: what the neighbour did not tell again (of a family, or of all) is no longer true.
    pub(super) fn drop_stale(&mut self, address: IpAddr, family: Option<AfiSafi>) {
        let Some(peer) = self.peers.get_mut(&address).filter(|peer| peer.stale.is_active()) else { return };
        let away = peer.is_away();
        let session = peer.source.session;
        let told = peer.negotiated.as_ref().is_some_and(|negotiated| {
            !away && negotiated.codec.families.iter().all(|family| peer.end_of_rib.contains(family))
        });
        match family {
            Some(family) if !told => {
                peer.stale.long_lived.remove(&family);
                peer.stale.expired.remove(&family);
            }
            _ => peer.stale = Retention::default(),
        }
        self.rib.forget_all(address, |prefix, candidate| {
            let stale = away || candidate.source.session != session;
            stale && family.is_none_or(|family| AfiSafi::of(prefix) == family)
        });
    }

    /// What of a neighbour's restart is due.
    pub(super) fn end_overdue_restart(&mut self, address: IpAddr, now: Time) {
        self.end_long_lived(address, now);
        let Some(peer) = self.peers.get_mut(&address) else { return };
        if peer.stale.until.is_none_or(|at| at > now) {
            return;
        }
        if peer.is_away() {
            peer.stale.until = None;
            self.begin_long_lived(address, now, |kept| !kept.restart.is_zero());
        } else {
            self.drop_stale(address, None);
        }
    }

    /// RFC 9494 4.2: what a long-lived stale timer that has expired was about goes.
    fn end_long_lived(&mut self, address: IpAddr, now: Time) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let mut over: BTreeMap<AfiSafi, u64> = BTreeMap::new();
        peer.stale.long_lived.retain(|family, timer| {
            let stays = timer.until > now;
            if !stays {
                over.insert(*family, timer.session);
            }
            stays
        });
        if over.is_empty() {
            return;
        }
        if !peer.is_away() {
            peer.stale.expired.extend(over.keys());
        }
        if !peer.stale.is_active() {
            peer.stale.since = None;
        }
        self.rib.forget_all(address, |prefix, candidate| {
            over.get(&AfiSafi::of(prefix)).is_some_and(|last| candidate.source.session <= *last)
        });
    }
}
