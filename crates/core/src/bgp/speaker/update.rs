//! From an UPDATE to the RIB: what RFC 4271 6.3 and 9.1.2 have us look at beyond its form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::Speaker;
use super::config::SpeakerConfig;
use super::peer::Peer;
use crate::bgp::filter::{self, Import, Place};
use crate::bgp::rib::{Candidate, Interner, Judged, Path, Source};
use crate::bgp::wire::{AfiSafi, Attributes, DefectAction, NextHop, Nlri, Notification, Update};
use crate::model::scope::unscoped;
use crate::model::{Cidr, Family};
use crate::time::Time;

/// Paths of one prefix that a neighbour may have (RFC 7911): what comes beyond it is ignored, since a decision takes time for
/// each of them.
const PATHS: usize = 256;

impl Speaker {
    /// `message`: the UPDATE as it came.
    pub(super) fn update(&mut self, address: IpAddr, mut update: Update, message: Vec<u8>, now: Time) {
        // What was read at one time with an UPDATE that ended the session came too late.
        if self.peers.get(&address).is_none_or(Peer::is_away) {
            return;
        }
        if let Some(interface) = unscoped(address).1 {
            update.reachable.iter_mut().for_each(|(_, next_hop)| *next_hop = next_hop.on_link(interface));
        }
        self.monitor_update(address, &update, now);
        self.refresh_goes_on(address, &update);
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.last_update = now;
        let mut fault = None;
        for defect in update.defects {
            peer.faults.count(defect.action);
            fault.get_or_insert((defect.what, defect.bytes));
        }
        for nlri in update.withdrawn {
            self.rib.forget(nlri, Some(address));
        }
        if let Some(attributes) = update.attributes {
            let unusable = self.foreign_path(address, &attributes);
            match unusable.or_else(|| loopback_elsewhere(address, &update.reachable)) {
                Some(what) => {
                    for (nlri, _) in update.reachable {
                        self.rib.forget(nlri, Some(address));
                    }
                    if let Some(peer) = self.peers.get_mut(&address) {
                        peer.faults.count(DefectAction::TreatAsWithdraw);
                    }
                    fault.get_or_insert((what, Vec::new()));
                }
                None => {
                    if let Some(what) = self.reachable(address, attributes, update.reachable) {
                        fault.get_or_insert((what, Vec::new()));
                    }
                }
            }
        }
        // An UPDATE counts once, whatever is wrong with it and however many prefixes it holds.
        if let Some((what, bytes)) = fault {
            self.mended(address, what, bytes, message, now);
        }
        if let Some(family) = update.end_of_rib {
            if let Some(peer) = self.peers.get_mut(&address) {
                peer.end_of_rib.insert(family);
            }
            self.drop_stale(address, Some(family));
        }
        self.check_bound(address, now);
    }

    /// RFC 4486 section 4: a neighbour that sends more than it may loses its session, and all of its routes.
    pub(super) fn check_bound(&mut self, address: IpAddr, now: Time) {
        let Some(bound) = self.peers.get(&address).and_then(|peer| peer.config.options.max_prefixes) else { return };
        // What is kept from earlier sessions is not what it sends: it would end the return of a neighbour that renumbers.
        let session = self.peers.get(&address).map_or(0, |peer| peer.source.session);
        let received = |family: &Family| self.rib.counts_in(address, *family, session).received;
        let Some(over) = Family::BOTH.into_iter().find(|family| received(family) > bound.limit.into()) else { return };
        let wait = bound.restart.map(|seconds| Duration::from_secs(seconds.into()));
        let words = Notification::maximum_prefixes(AfiSafi::unicast(over), bound.limit);
        self.session(address, now, |session, env| session.suspend(env, words, wait));
        // What is still to follow of what was read at one time with these prefixes, be it more of them or an end that lets
        // routes be kept, finds no session; and what was kept from before a restart goes too.
        self.down(address, false, now);
        self.retain_nothing(address);
        self.trim();
    }

    /// RFC 4271 6.3: over eBGP the neighbour's AS comes first; else (RFC 7606 7.2) the routes count as withdrawn. Answers
    /// what is wrong, in words.
    fn foreign_path(&self, address: IpAddr, attributes: &Attributes) -> Option<String> {
        let peer = self.peers.get(&address).filter(|peer| peer.source.external)?;
        let expected = peer.as_number()?;
        let foreign = attributes.neighbor_as() != Some(expected);
        foreign.then(|| format!("the AS_PATH does not begin with the neighbour's AS {expected}"))
    }

    /// Answers what was ignored, in words.
    fn reachable(
        &mut self,
        address: IpAddr,
        mut attributes: Attributes,
        reachable: Vec<(Nlri, NextHop)>,
    ) -> Option<String> {
        let peer = self.peers.get(&address)?;
        let source = peer.source.clone();
        if source.external {
            filter::strip_internal(&mut attributes);
            filter::mark_only_to_customer(&mut attributes, peer.config.options.role, peer.as_number()?);
        }
        let own = self.own_addresses(address);
        // The prefixes of an UPDATE have one next hop, or one for each family.
        let mut changed = Changed::default();
        let mut left = Some(attributes);
        let mut ignored = None;
        for of_hop in reachable.chunk_by(|(_, a), (_, b)| a == b) {
            let next_hop = of_hop[0].1;
            let is_last = of_hop.as_ptr_range().end == reachable.as_ptr_range().end;
            let attributes = if is_last { left.take() } else { left.clone() };
            let path = self.interner.intern(Path { attributes: attributes?, next_hop });
            let peer = self.peers.get(&address)?;
            let import = import(&self.config, &self.pools, address, peer, &own);
            for (Nlri { prefix, path_id }, _) in of_hop {
                if *path_id != 0 && self.has_too_many(address, prefix, *path_id) {
                    ignored = Some(format!("{prefix}: no more than {PATHS} paths of a prefix are kept"));
                    continue;
                }
                let source = match path_id {
                    0 => source.clone(),
                    path_id => self.sources.get(&source, address, *path_id),
                };
                let candidate = changed.judged(&import, prefix, source, path.clone(), &mut self.interner);
                self.rib.learn(*prefix, candidate);
            }
        }
        if let Some(peer) = self.peers.get_mut(&address).filter(|_| ignored.is_some()) {
            peer.faults.count(DefectAction::PrefixIgnored);
        }
        ignored
    }

    /// Whether one path more of this prefix is more than a neighbour may have us decide about.
    fn has_too_many(&self, address: IpAddr, prefix: &Cidr, path_id: u32) -> bool {
        let Some(destination) = self.rib.get(prefix).filter(|known| known.candidates().len() >= PATHS) else {
            return false;
        };
        // What is kept from before a restart goes soon, and may have had other identifiers.
        let session = self.peers.get(&address).map(|peer| peer.source.session);
        let present = destination.from(address).filter(|known| Some(known.source.session) == session);
        let known = destination.from(address).any(|known| known.source.path_id == path_id);
        !known && present.count() >= PATHS
    }

    /// Judges what a neighbour has told anew.
    pub(super) fn review_inbound(&mut self, address: IpAddr) {
        let own = self.own_addresses(address);
        if let Some(policy) = self.policy(address).filter(|policy| self.outbound.policy(address) != Some(policy)) {
            self.outbound.set_policy(address, policy);
        }
        let Some(peer) = self.peers.get(&address) else { return };
        let import = import(&self.config, &self.pools, address, peer, &own);
        let (interner, sources, present) = (&mut self.interner, &mut self.sources, &peer.source);
        let mut changed = Changed::default();
        self.rib.review(address, |prefix, known| {
            let source = match known.source.path_id {
                // What is stale keeps the session that it is of.
                _ if known.source.session != present.session => known.source.clone(),
                0 => present.clone(),
                path_id => sources.get(present, address, path_id),
            };
            changed.judged(&import, prefix, source, known.received().clone(), interner)
        });
    }

    /// The addresses that are this node, as far as the speaker knows: a route via one of them leads nowhere.
    pub(super) fn own_addresses(&self, peer: IpAddr) -> Vec<IpAddr> {
        let session = self.peers.get(&peer).and_then(|peer| peer.session.established()).and_then(|c| c.local);
        let own = [self.config.address4, self.config.address6, session].into_iter().flatten();
        // Two speakers on one host may share an address; then it tells nothing.
        own.filter(|address| *address != peer).collect()
    }
}

/// What a rule made of a path, and of which: routes that come together mostly share both.
#[derive(Default)]
pub(super) struct Changed(Option<(Arc<Path>, Family, Place, Arc<Path>)>);

impl Changed {
    /// The route as it enters the RIB: what was received is kept beside what a filter made of it, so that a change of the
    /// filter needs no new session.
    pub(super) fn judged(
        &mut self,
        import: &Import<'_>,
        prefix: &Cidr,
        source: Arc<Source>,
        received: Arc<Path>,
        interner: &mut Interner<Path>,
    ) -> Candidate {
        let place = match import.judge(prefix, &received) {
            Ok(Some(place)) => place,
            Ok(None) => return Candidate { source, path: received, judged: Judged::AsReceived },
            Err(refusal) => return Candidate { source, path: received, judged: Judged::Refused(refusal) },
        };
        let family = prefix.family();
        let path = match &self.0 {
            Some((from, of, by, path)) if Arc::ptr_eq(from, &received) && (*of, *by) == (family, place) => path.clone(),
            _ => interner.intern(import.rewrite(&received, family, place)),
        };
        self.0 = Some((received.clone(), family, place, path.clone()));
        Candidate { source, path, judged: Judged::Changed(received) }
    }
}

/// What is accepted from this neighbour.
pub(super) fn import<'a>(
    config: &'a SpeakerConfig,
    pools: &'a [Cidr],
    address: IpAddr,
    peer: &'a Peer,
    own_addresses: &'a [IpAddr],
) -> Import<'a> {
    let options = &peer.config.options;
    Import {
        policy: peer.config.import,
        pools,
        local_as: [config.as_number, options.local_as.unwrap_or(config.as_number)],
        // Without a session there is nothing to judge.
        peer_as: peer.as_number().unwrap_or(0),
        options,
        router_id: config.router_id,
        cluster_id: config.cluster_id(),
        own_addresses,
        filters: &peer.config.filters,
        peer: address,
    }
}

/// RFC 4271 6.3: the loopback is a network that we share with neighbours on this host, and with no other. Its first address
/// is nobody's but the one's who has it.
fn loopback_elsewhere(neighbor: IpAddr, reachable: &[(Nlri, NextHop)]) -> Option<String> {
    let first = |address: IpAddr| address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST;
    let shared = |address: IpAddr| address == neighbor || (neighbor.is_loopback() && !first(address));
    let next_hops = reachable.iter().map(|(_, next_hop)| next_hop.address);
    let stray = next_hops.filter(|address| address.is_loopback()).find(|address| !shared(*address))?;
    Some(format!("the next hop {stray} is a loopback address that we do not share with the neighbour"))
}
