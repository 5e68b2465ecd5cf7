//! How many messages of each type passed, since the neighbour was configured.

use crate::bgp::wire::{HEADER, MessageType, message_length};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    pub opens: u64,
    pub updates: u64,
    pub notifications: u64,
    pub keepalives: u64,
    pub refreshes: u64,
}

impl Messages {
    pub fn count(&mut self, kind: MessageType) {
        *match kind {
            MessageType::Open => &mut self.opens,
            MessageType::Update => &mut self.updates,
            MessageType::Notification => &mut self.notifications,
            MessageType::Keepalive => &mut self.keepalives,
            MessageType::RouteRefresh => &mut self.refreshes,
        } += 1;
    }

    /// Counts what is about to be written: whole messages of our own.
    pub fn count_all(&mut self, mut bytes: &[u8]) {
        while let Ok(Some(length)) = message_length(bytes) {
            let Some((message, rest)) = bytes.split_at_checked(length) else { return };
            if let Some(kind) = MessageType::of(message[HEADER - 1]) {
                self.count(kind);
            }
            bytes = rest;
        }
    }
}
