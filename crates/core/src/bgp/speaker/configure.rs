//! What the speaker is told of itself: its configuration, the pools, and its own prefixes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::config::SpeakerConfig;
use super::peer::Peer;
use super::{Speaker, State};
use crate::bgp::rib::path::own_attributes;
use crate::bgp::rib::{Candidate, Judged, Path, Source};
use crate::bgp::wire::{NextHop, Notification, cease};
use crate::model::{Cidr, ImportPolicy};
use crate::time::Time;

impl Speaker {
    pub(super) fn configure(&mut self, mut config: SpeakerConfig, now: Time) {
        self.keep_ranges(&mut config);
        let gone: Vec<IpAddr> = self.peers.keys().filter(|peer| !config.peers.contains_key(peer)).copied().collect();
        let mut own = SpeakerConfig { peers: BTreeMap::new(), ..config.clone() };
        std::mem::swap(&mut self.config, &mut own);
        let self_changed = (own.address4, own.address6, own.cluster_id)
            != (self.config.address4, self.config.address6, self.config.cluster_id);
        for peer in gone {
            self.session(peer, now, |session, env| session.shut(env, Notification::cease(cease::PEER_DECONFIGURED)));
            self.rib.forget_all(peer, |_, _| true);
            self.peers.remove(&peer);
            self.config.peers.remove(&peer);
        }
        for (address, peer_config) in config.peers {
            let settings = self.config.settings(&peer_config);
            self.config.peers.insert(address, peer_config.clone());
            let Some(peer) = self.peers.get_mut(&address) else {
                let mut peer = Peer::new(address, peer_config, settings, now);
                peer.reported = State::Idle;
                self.peers.insert(address, peer);
                if self.drained.is_some() {
                    self.session(address, now, |session, env| {
                        session.shut(env, Notification::administrative_shutdown(""))
                    });
                }
                continue;
            };
            let policy_changed = peer.config.import != peer_config.import
                || peer.config.options != peer_config.options
                || peer.config.filters != peer_config.filters;
            let protected_anew = peer.config.transport != peer_config.transport
                || peer.config.options.needs_new_session(&peer_config.options);
            let bound_changed = peer.config.options.max_prefixes != peer_config.options.max_prefixes;
            let suspended = peer.session.suspended();
            peer.config = peer_config;
            peer.hold_as_configured();
            if bound_changed {
                self.check_bound(address, now);
            }
            if protected_anew {
                let change = Notification::cease(cease::OTHER_CONFIGURATION_CHANGE);
                self.session(address, now, |session, env| session.reset(env, change));
            }
            self.session(address, now, |session, env| {
                // Not one that the new bound has just ended.
                if suspended && bound_changed {
                    session.release(env);
                }
                if *session.settings() != settings {
                    session.configure(env, settings);
                }
            });
            if policy_changed || self_changed {
                self.review_inbound(address);
            }
        }
        if self_changed {
            self.review_outbound();
        }
    }

    pub(super) fn set_pools(&mut self, pools: Vec<Cidr>) {
        if pools == self.pools {
            return;
        }
        self.pools = pools;
        let by_pools = self.peers.iter().filter(|(_, peer)| peer.config.import == ImportPolicy::Pools);
        for peer in by_pools.map(|(address, _)| *address).collect::<Vec<_>>() {
            self.review_inbound(peer);
        }
    }

    pub(super) fn originate(&mut self, changes: Vec<(Cidr, bool)>) {
        self.progress.originated = true;
        if changes.is_empty() {
            return;
        }
        let source = Arc::new(Source::own(self.config.router_id));
        let here = NextHop { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), link_local: None };
        let path = self.interner.intern(Path { attributes: own_attributes(), next_hop: here });
        for (prefix, announce) in changes {
            if announce {
                let own = Candidate { source: source.clone(), path: path.clone(), judged: Judged::AsReceived };
                self.rib.learn(prefix, own);
            } else {
                self.rib.forget(prefix, None);
            }
        }
    }
}
