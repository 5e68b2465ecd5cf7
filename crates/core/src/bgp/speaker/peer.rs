//! One neighbour as the speaker holds it: its session, what it was told, and how it comes through a restart.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::config::PeerConfig;
use super::faults::Faults;
use super::ration::Ration;
use super::refresh::Refreshing;
use super::restart::Retention;
use crate::bgp::rib::Source;
use crate::bgp::session::{Negotiated, Session, Settings, State};
use crate::bgp::wire::AfiSafi;
use crate::model::Cidr;
use crate::time::Time;

/// How long routes from before a restart are kept while the restarted neighbour tells us its own, at most.
pub const STALE_MOST: Duration = Duration::from_secs(360);
/// A neighbour without graceful restart says no reliable End-of-RIB: this long without an UPDATE counts as one.
pub const QUIET: Duration = Duration::from_secs(3);

/// How many changes of a session are remembered.
const HISTORY: usize = 16;

#[derive(Debug)]
pub(super) struct Peer {
    pub config: PeerConfig,
    pub session: Session,
    /// Of the present session, or of the last one.
    pub source: Arc<Source>,
    /// Established: it is among those whom we tell our routes.
    pub told: bool,
    /// Of the present session, or of the last one.
    pub negotiated: Option<Negotiated>,
    /// What is kept of the sessions before.
    pub stale: Retention,
    /// Families whose End-of-RIB came in this session.
    pub end_of_rib: BTreeSet<AfiSafi>,
    pub last_update: Time,
    pub faults: Faults,
    /// Reports of routes that no message holds for it.
    pub too_long: Ration,
    /// What became of the session, the newest last.
    pub history: VecDeque<(Time, String)>,
    /// The state that was last reported, and why it fell back the last time.
    pub reported: State,
    pub fell: Option<String>,
    /// Families that it is telling again (RFC 7313).
    pub refreshing: BTreeMap<AfiSafi, Refreshing>,
    /// The range that it connected from, where nobody named it, and since when it has no connection.
    pub range: Option<Cidr>,
    pub left: Option<Time>,
    /// What [`super::peers::Peers`] has noted of [`Peer::next_deadline`].
    pub noted_deadline: Option<Time>,
}

impl Peer {
    pub fn new(address: IpAddr, config: PeerConfig, settings: Settings, now: Time) -> Peer {
        let external = settings.external();
        let session = Session::new(settings, now);
        Peer {
            config,
            reported: session.state(),
            fell: None,
            session,
            source: Arc::new(Source { peer: Some(address), external, ..Source::own(Ipv4Addr::UNSPECIFIED) }),
            told: false,
            negotiated: None,
            stale: Retention::default(),
            end_of_rib: BTreeSet::new(),
            last_update: now,
            refreshing: BTreeMap::new(),
            range: None,
            left: None,
            noted_deadline: None,
            faults: Faults::default(),
            too_long: Ration::default(),
            history: VecDeque::new(),
        }
    }

    /// RFC 4456 asks nothing of an OPEN: whether we reflect for a neighbour may change while its session stands.
    pub fn hold_as_configured(&mut self) {
        let client = !self.source.external && self.config.options.reflector_client;
        if self.source.client != client {
            self.source = Arc::new(Source { client, ..(*self.source).clone() });
        }
    }

    /// What its configuration says; else what its OPEN said, in this session or the last.
    pub fn as_number(&self) -> Option<u32> {
        self.config.as_number.or(self.negotiated.as_ref().map(|negotiated| negotiated.as_number))
    }

    pub fn remember(&mut self, now: Time, what: String) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((now, what));
    }

    /// Whether its routes, if there are any, are from before a restart that is not over.
    pub fn is_away(&self) -> bool {
        !self.told
    }

    /// Whether everything that it had to tell at the start of the session is here.
    pub fn told_all(&self, now: Time) -> bool {
        let Some(negotiated) = self.negotiated.as_ref().filter(|_| self.told) else { return false };
        let all = negotiated.codec.families.iter().all(|family| self.end_of_rib.contains(family));
        all || self.quiet_at().is_some_and(|at| at <= now)
    }

    /// When its silence will say that everything is here, unless it goes on.
    pub fn quiet_at(&self) -> Option<Time> {
        let negotiated = self.negotiated.as_ref().filter(|_| self.told)?;
        negotiated.graceful_restart.is_none().then(|| self.last_update + QUIET)
    }

    /// The first of whatever is to be done for it at some time.
    pub fn next_deadline(&self) -> Option<Time> {
        let refreshes = self.refreshing.values().map(|refreshing| refreshing.until);
        let single = [self.session.next_deadline(), self.forget_at()].into_iter().flatten();
        single.chain(self.stale.deadlines()).chain(refreshes).min()
    }

    /// Whether our own selection waits for it (RFC 4724 4.1): not for one that is restarting itself, nor for one without
    /// graceful restart.
    pub fn selection_may_go_on(&self) -> bool {
        let Some(negotiated) = self.negotiated.as_ref().filter(|_| self.told) else { return false };
        match &negotiated.graceful_restart {
            Some(theirs) if !theirs.restarted => {
                theirs.families.iter().all(|(family, _)| self.end_of_rib.contains(family))
            }
            _ => true,
        }
    }
}
