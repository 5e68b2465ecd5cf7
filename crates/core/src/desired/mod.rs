//! Facts in, what this host's kernel and peers should have out; by delta and from scratch.
//!
//! [`Desired::apply`] takes changes of facts and answers what should now differ; [`state`] has the words for that.
//! From scratch is the same function over all facts: a property test holds the two equal. Called by the agent's loop.
//!
//! Parts that know nothing of each other: the [`crate::policy`] engine makes sets and chains, [`nat`] the chains that
//! translate addresses, [`network`] links, routes and announcements, [`tunnels`] the devices that some of those routes lead to.

pub mod encapsulation;
pub mod facts;
pub mod nat;
pub mod network;
pub mod state;
pub mod tunnels;

pub use facts::*;
pub use state::*;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Cidr;
use crate::policy::PolicyEngine;
use nat::NatEngine;
use network::NetworkEngine;
use tunnels::TunnelEngine;

/// The wanted state of one host.
pub struct Desired {
    policy: PolicyEngine,
    nat: NatEngine,
    network: NetworkEngine,
    tunnels: TunnelEngine,
}

impl Desired {
    /// No facts yet; the frame of the chains is wanted all the same, so an agent without facts is closed.
    pub fn new(settings: &Settings) -> Self {
        Desired {
            policy: PolicyEngine::new(settings),
            nat: NatEngine::new(settings.clone()),
            network: NetworkEngine::new(settings.clone()),
            tunnels: TunnelEngine::new(settings.clone()),
        }
    }

    /// Takes changes of facts; answers what should now differ.
    pub fn apply(&mut self, facts: &[FactDelta]) -> DesiredDelta {
        let mut delta = self.network.apply(facts);
        let tunnels = self.tunnels.apply(facts);
        delta.tunnels = tunnels.tunnels;
        for rules in [self.policy.apply(facts), self.nat.apply(facts), tunnels.rules] {
            delta.rules.grow.extend(rules.grow);
            delta.rules.chains.extend(rules.chains);
            delta.rules.shrink.extend(rules.shrink);
        }
        delta
    }

    /// All that is wanted now.
    pub fn state(&self) -> DesiredState {
        let network = self.network.state();
        let chains = self.policy.chains().iter().chain(self.nat.chains()).chain(self.tunnels.chains());
        let sets = self.nat.sets().iter().chain(self.tunnels.sets()).map(|(name, set)| (name.clone(), set.clone()));
        DesiredState {
            sets: self.policy.sets().into_iter().chain(sets).collect(),
            chains: chains.map(|(key, rules)| (key.clone(), rules.clone())).collect(),
            hooks: [self.policy.hooks(), NatEngine::hooks(), TunnelEngine::hooks()].into_iter().flatten().collect(),
            links: network.links.clone(),
            tunnels: self.tunnels.tunnels().clone(),
            routes: network.routes.clone(),
            announcements: network.announcements.clone(),
        }
    }

    /// The routes that are wanted now.
    pub fn routes(&self) -> &BTreeMap<RouteKey, Route> {
        &self.network.state().routes
    }

    /// How packets travel to the other nodes, and why so.
    pub fn ways(&self) -> Vec<network::NodeWay> {
        self.network.ways()
    }

    /// The MTU of a tunnel device, if it is wanted.
    pub fn tunnel_mtu(&self, kind: crate::model::TunnelKind) -> Option<u32> {
        self.tunnels.tunnels().get(&kind).map(|tunnel| tunnel.mtu)
    }

    /// The blocks of this node, as the facts have them.
    pub fn own_blocks(&self) -> &BTreeSet<Cidr> {
        self.network.own_blocks()
    }

    /// The policy engine, for the evaluator.
    pub fn policy(&self) -> &PolicyEngine {
        &self.policy
    }
}

#[cfg(test)]
#[path = "desired_tests.rs"]
mod tests;
