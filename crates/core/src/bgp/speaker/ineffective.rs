//! What somebody wrote of a neighbour, and what has no effect here beside the rest of the configuration.

use super::config::{PeerConfig, PeerSource, SpeakerConfig};

/// A neighbour that is none, since another one has its place. Of two by a mesh node and a BGPPeer, or by the file and the
/// store, one is meant to go before the other; of two in one list nobody can mean that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    pub name: String,
    /// Who has the place.
    pub by: String,
    pub source: PeerSource,
    /// An address, an interface, or both.
    pub place: String,
}

/// Something that was written down and does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ineffective {
    Peer(Twin),
    Option(IneffectiveOption),
}

/// An option of a neighbour that its AS does not go with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IneffectiveOption {
    pub name: String,
    pub source: PeerSource,
    pub option: &'static str,
    /// The neighbour's AS, where it is named, and ours as it is told.
    pub as_number: Option<u32>,
    pub local_as: u32,
    pub why: &'static str,
}

impl SpeakerConfig {
    pub fn ineffective(&self) -> Vec<Ineffective> {
        let links = self.links.iter().map(|link| &link.peer);
        let peers = self.peers.values().chain(links).chain(self.ranges.iter().map(|range| &range.template));
        let twins = self.twins.iter().cloned().map(Ineffective::Peer);
        twins.chain(peers.filter_map(|peer| self.ineffective_option(peer)).map(Ineffective::Option)).collect()
    }

    /// Which AS is ours is only known when the node is: a BGPPeer is taken in with either option.
    fn ineffective_option(&self, peer: &PeerConfig) -> Option<IneffectiveOption> {
        let settings = self.settings(peer);
        let (option, why) = match settings.external() {
            false if peer.options.role.is_some() => ("role", "roles are those of two ASes (RFC 9234)"),
            true if peer.options.reflector_client => {
                ("reflectorClient", "routes are reflected within an AS alone (RFC 4456)")
            }
            _ => return None,
        };
        Some(IneffectiveOption {
            name: peer.name.clone(),
            source: peer.source,
            option,
            as_number: peer.as_number,
            local_as: settings.local_as,
            why,
        })
    }
}

#[cfg(test)]
#[path = "ineffective_tests.rs"]
mod tests;
