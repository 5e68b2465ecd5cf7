//! The neighbours, by address, and when each of them has to be looked at: what one says costs nothing for all the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Deref;

use super::peer::Peer;
use crate::time::Time;

#[derive(Debug, Default)]
pub(super) struct Peers {
    held: BTreeMap<IpAddr, Peer>,
    /// The next deadline of each that has one, as [`Peers::note_deadlines`] found it.
    due: BTreeSet<(Time, IpAddr)>,
    /// Who may have changed since.
    touched: Vec<IpAddr>,
}

impl Deref for Peers {
    type Target = BTreeMap<IpAddr, Peer>;

    fn deref(&self) -> &Self::Target {
        &self.held
    }
}

impl Peers {
    pub fn get_mut(&mut self, address: &IpAddr) -> Option<&mut Peer> {
        let peer = self.held.get_mut(address)?;
        // One step mostly looks at one neighbour many times.
        if self.touched.last() != Some(address) {
            self.touched.push(*address);
        }
        Some(peer)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&IpAddr, &mut Peer)> {
        self.touched.extend(self.held.keys());
        self.held.iter_mut()
    }

    pub fn insert(&mut self, address: IpAddr, peer: Peer) {
        self.remove(&address);
        self.held.insert(address, peer);
        self.touched.push(address);
    }

    pub fn remove(&mut self, address: &IpAddr) {
        if let Some(at) = self.held.remove(address).and_then(|peer| peer.noted_deadline) {
            self.due.remove(&(at, *address));
        }
    }

    /// To be called after whatever may have changed a neighbour.
    pub fn note_deadlines(&mut self) {
        for address in self.touched.drain(..) {
            let Some(peer) = self.held.get_mut(&address) else { continue };
            let deadline = peer.next_deadline();
            if deadline == peer.noted_deadline {
                continue;
            }
            if let Some(at) = std::mem::replace(&mut peer.noted_deadline, deadline) {
                self.due.remove(&(at, address));
            }
            self.due.extend(deadline.map(|at| (at, address)));
        }
    }

    /// The first of all deadlines.
    pub fn next_deadline(&self) -> Option<Time> {
        let first = self.due.first().map(|(at, _)| *at);
        debug_assert_eq!(first, self.held.values().filter_map(Peer::next_deadline).min(), "a deadline was not noted");
        first
    }

    /// Those whose deadline has come, by address.
    pub fn due(&self, now: Time) -> BTreeSet<IpAddr> {
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, address)| *address).collect()
    }
}
