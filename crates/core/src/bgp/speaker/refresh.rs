//! Route refresh, both ways (RFC 2918, RFC 7313): everything is told again, and what a neighbour did not tell again goes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::Speaker;
use crate::bgp::wire::{AfiSafi, Nlri, Update};
use crate::time::Time;

/// How long a neighbour may take to tell everything again; what is left then goes as at the end (RFC 7313 section 4).
const REFRESH_MOST: Duration = Duration::from_secs(360);

/// What a neighbour that has begun to tell everything of a family again has not told yet.
#[derive(Debug)]
pub(super) struct Refreshing {
    left: BTreeSet<Nlri>,
    pub until: Time,
}

impl Speaker {
    /// The neighbour wants to be told everything of the family again.
    pub(super) fn refresh(&mut self, address: IpAddr, family: AfiSafi) {
        let negotiated = self.peers.get(&address).and_then(|peer| peer.negotiated.as_ref());
        let Some(negotiated) = negotiated.filter(|negotiated| negotiated.codec.families.contains(&family)) else {
            return;
        };
        self.outbound.refresh(address, family, negotiated.enhanced_refresh);
    }

    /// A second beginning before the end begins anew.
    pub(super) fn refresh_begins(&mut self, address: IpAddr, family: AfiSafi, now: Time) {
        let destinations = self.rib.slots().map(|slot| self.rib.destination(slot));
        let of_family = destinations.filter(|destination| AfiSafi::of(destination.prefix()) == family);
        let left = of_family.flat_map(|destination| {
            let prefix = *destination.prefix();
            destination.from(address).map(move |known| Nlri { prefix, path_id: known.source.path_id })
        });
        let left = left.collect();
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.refreshing.insert(family, Refreshing { left, until: now + REFRESH_MOST });
        }
    }

    pub(super) fn refresh_ends(&mut self, address: IpAddr, family: AfiSafi) {
        let refreshing = self.peers.get_mut(&address).and_then(|peer| peer.refreshing.remove(&family));
        for nlri in refreshing.into_iter().flat_map(|refreshing| refreshing.left) {
            self.rib.forget(nlri, Some(address));
        }
    }

    /// What an UPDATE speaks of is told again.
    pub(super) fn refresh_goes_on(&mut self, address: IpAddr, update: &Update) {
        let Some(peer) = self.peers.get_mut(&address).filter(|peer| !peer.refreshing.is_empty()) else { return };
        for nlri in update.reachable.iter().map(|(nlri, _)| nlri).chain(&update.withdrawn) {
            if let Some(refreshing) = peer.refreshing.get_mut(&AfiSafi::of(&nlri.prefix)) {
                refreshing.left.remove(nlri);
            }
        }
    }

    pub(super) fn end_overdue_refreshes(&mut self, address: IpAddr, now: Time) {
        let Some(peer) = self.peers.get(&address) else { return };
        let overdue = peer.refreshing.iter().filter(|(_, refreshing)| refreshing.until <= now);
        for family in overdue.map(|(family, _)| *family).collect::<Vec<_>>() {
            self.refresh_ends(address, family);
        }
    }
}
