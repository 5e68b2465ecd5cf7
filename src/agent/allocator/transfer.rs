//! Addresses that change hands without ever being free: reserved first, an endpoint's later.

use std::net::IpAddr;

use routenet_core::model::EndpointKey;

use super::Allocator;
use crate::store::{JournalWrite, StoreError};

impl Allocator {
    /// What the reservations hold is the endpoint's from now on, in one commit.
    pub async fn transfer(&self, reservations: &[EndpointKey], to: &EndpointKey) -> Result<(), StoreError> {
        let (moved, commit) = {
            let mut state = self.lock();
            let held = reservations.iter().filter_map(|key| Some((key.clone(), state.handles.remove(key)?)));
            let moved: Vec<(EndpointKey, Vec<IpAddr>)> = held.collect();
            if moved.is_empty() {
                return Ok(());
            }
            let addresses = moved.iter().flat_map(|(_, addresses)| addresses.clone());
            let addresses: Vec<IpAddr> = addresses.collect();
            state.handles.entry(to.clone()).or_default().extend(addresses);
            let write = |(from, _): &(EndpointKey, _)| JournalWrite::Transfer { from: from.clone(), to: to.clone() };
            let commit = self.journal.submit(moved.iter().map(write).collect());
            (moved, commit)
        };
        let outcome = commit.await;
        if outcome.is_err() {
            let mut state = self.lock();
            let addresses: Vec<IpAddr> = moved.iter().flat_map(|(_, addresses)| addresses.clone()).collect();
            if let Some(held) = state.handles.get_mut(to) {
                held.retain(|address| !addresses.contains(address));
                if held.is_empty() {
                    state.handles.remove(to);
                }
            }
            state.handles.extend(moved);
        }
        outcome
    }
}
