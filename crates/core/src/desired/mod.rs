//! Facts in, what this host's kernel and peers should have out; by delta and from scratch.
//!
//! [`Desired::apply`] takes changes of facts and answers what should now differ; [`state`] has the words for that.
//! From scratch is the same function over all facts: a property test holds the two equal. Called by the agent's loop.
//!
//! Three parts that know nothing of each other: the [`crate::policy`] engine makes sets and chains, [`nat`] the chains that
//! translate addresses, [`network`] links, routes and announcements.

pub mod facts;
pub mod nat;
pub mod network;
pub mod state;

pub use facts::*;
pub use state::*;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Cidr;
use crate::policy::PolicyEngine;
use nat::NatEngine;
use network::NetworkEngine;

/// The wanted state of one host.
pub struct Desired {
    policy: PolicyEngine,
    nat: NatEngine,
    network: NetworkEngine,
}

impl Desired {
    /// No facts yet; the frame of the chains is wanted all the same, so an agent without facts is closed.
    pub fn new(settings: &Settings) -> Self {
        Desired {
            policy: PolicyEngine::new(settings),
            nat: NatEngine::new(settings.clone()),
            network: NetworkEngine::new(settings.clone()),
        }
    }

    /// Takes changes of facts; answers what should now differ.
    pub fn apply(&mut self, facts: &[FactDelta]) -> DesiredDelta {
        let mut delta = self.network.apply(facts);
        delta.rules = self.policy.apply(facts);
        delta.rules.chains.extend(self.nat.apply(facts));
        delta
    }

    /// All that is wanted now.
    pub fn state(&self) -> DesiredState {
        let network = self.network.state();
        DesiredState {
            sets: self.policy.sets(),
            chains: self.policy.chains().iter().chain(self.nat.chains()).map(|(k, v)| (k.clone(), v.clone())).collect(),
            hooks: self.policy.hooks().into_iter().chain(NatEngine::hooks()).collect(),
            links: network.links.clone(),
            routes: network.routes.clone(),
            announcements: network.announcements.clone(),
        }
    }

    /// The routes that are wanted now.
    pub fn routes(&self) -> &BTreeMap<RouteKey, Route> {
        &self.network.state().routes
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
