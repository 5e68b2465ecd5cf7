//! Which next hops somebody has to look up, and those that do not resolve.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Speaker;
use crate::bgp::rib::next_hops::Unresolved;

impl Speaker {
    /// From now on next hops have to resolve (RFC 4271 9.1.2.1): each is asked about by [`Speaker::poll_next_hops`]. To be
    /// said before any input, by whoever has a kernel to answer by.
    pub fn ask_for_next_hops(&mut self) {
        self.rib.ask_for_next_hops();
    }

    /// What [`super::Input::NextHops`] is awaited for (`true`), even if it was answered before, and what need not be
    /// followed any more.
    pub fn poll_next_hops(&mut self) -> BTreeMap<IpAddr, bool> {
        self.rib.take_questions()
    }

    /// What is new of next hops to which only learned routes lead: the next hop of that route, which the host's own routes
    /// reach; `None`: no such route leads there any more.
    pub fn poll_carried(&mut self) -> BTreeMap<IpAddr, Option<IpAddr>> {
        self.rib.take_carried()
    }

    /// Next hops by which routes were accepted, and which do not resolve.
    pub fn unresolved(&self) -> Vec<Unresolved> {
        self.rib.unresolved().collect()
    }
}
