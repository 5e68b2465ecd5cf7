//! What a change of the mesh's plan has to know of this speaker: how its sessions with nodes stand, and whether anything comes
//! only over those that are to go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::config::PeerSource;
use super::{Speaker, State};
use crate::bgp::mesh::Standing;
use crate::bgp::rib::Candidate;
use crate::time::Time;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshSessions {
    /// By the node's name.
    pub sessions: BTreeMap<String, Standing>,
    pub covered: bool,
}

impl Speaker {
    /// `leaving`: names of nodes whose sessions are to go.
    pub fn mesh_sessions(&self, leaving: &BTreeSet<String>, now: Time) -> MeshSessions {
        let nodes = self.peers.iter().filter(|(_, peer)| peer.config.source == PeerSource::Node);
        let mut sessions = BTreeMap::new();
        let mut going = BTreeSet::new();
        for (address, peer) in nodes {
            let standing = match peer.session.state() {
                State::Established if peer.told_all(now) => Standing::Told,
                State::Established => Standing::Established,
                _ => Standing::Down,
            };
            sessions.insert(peer.config.name.clone(), standing);
            if leaving.contains(&peer.config.name) {
                going.insert(*address);
            }
        }
        MeshSessions { sessions, covered: going.is_empty() || self.is_covered_without(&going) }
    }

    /// Whether every prefix with a usable route from one of these has one from elsewhere that will stay: what is kept of a
    /// session that is over is no way to rely on.
    fn is_covered_without(&self, going: &BTreeSet<IpAddr>) -> bool {
        let goes = |route: &Candidate| route.source.peer.is_some_and(|peer| going.contains(&peer));
        let is_live = |route: &Candidate| {
            let peer = route.source.peer.map(|peer| self.peers.get(&peer));
            peer.is_none_or(|peer| peer.is_some_and(|it| it.told && it.source.session == route.source.session))
        };
        self.rib.slots().all(|slot| {
            let destination = self.rib.destination(slot);
            let is_usable = |route: &&Candidate| self.rib.refused(destination.prefix(), route).is_none();
            let usable = || destination.candidates().iter().filter(is_usable);
            !usable().any(goes) || usable().any(|route| !goes(route) && is_live(route))
        })
    }
}
