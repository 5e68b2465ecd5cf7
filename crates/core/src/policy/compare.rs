//! What a change of policies would change: which of whom reach whom by what, before it is written. Called by
//! `routectl apply --diff` by way of the agent.
//!
//! Endpoints that no policy could tell apart are one class, and ports between which no rule draws a line are one range; a
//! question is asked of one of each, before and after.

mod classes;
mod ports;

use serde::{Deserialize, Serialize};

use crate::desired::{FactDelta, Settings};
use crate::model::{Endpoint, Family, NodeName, Object, Policy, PolicyRule};

use super::explain::{Explanation, Verdict};
use super::{Flow, PolicyEngine, Side};
use classes::{Party, parties};
use ports::{Range, ranges};

/// The most questions that are asked, each before and after.
const LIMIT: usize = 400_000;

/// What would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    pub differences: Vec<Difference>,
    /// How many pairs were looked at.
    pub pairs: usize,
    /// Why it is not the whole.
    pub incomplete: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub from: PartyName,
    pub to: PartyName,
    /// `tcp/80`, `tcp/1-79`, `icmp type 8`: all for which it is the same.
    pub traffic: Vec<String>,
    pub before: Verdict,
    pub after: Verdict,
    /// What decides afterwards.
    pub decided_by: String,
}

/// One of those who are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartyName {
    pub name: String,
    /// How many others are like it.
    pub others: usize,
}

/// Compares the verdicts by the objects `before` and `after`, between these endpoints, hosts and strangers.
pub fn compare(
    settings: &Settings,
    endpoints: &[Endpoint],
    nodes: &[NodeName],
    before: &[Object],
    after: &[Object],
) -> Comparison {
    let parties = parties(endpoints, nodes, before, after);
    let engines = [before, after].map(|objects| engine(settings, &parties, objects));
    let ranges = ranges(&rules_of(before, after), &parties);
    let [old, new] = &engines;
    let families = [Family::V4, Family::V6];
    let mut comparison = Comparison::default();
    let mut asked = 0;
    for from in &parties {
        for to in &parties {
            if matches!((&from.side, &to.side), (Side::Address(_), Side::Address(_)))
                || from.name == to.name && from.others == 0
            {
                continue;
            }
            if asked >= LIMIT {
                let why =
                    format!("after {LIMIT} questions; narrow the change down, or look at pairs with routectl explain");
                comparison.incomplete.get_or_insert(why);
                continue;
            }
            comparison.pairs += 1;
            let mut found: Vec<Difference> = Vec::new();
            for range in &ranges {
                asked += 1;
                let verdicts = families.iter().filter_map(|family| {
                    let flow = range.flow(from.side.clone(), to.side.clone(), *family);
                    Some((old.explain(&flow).ok()?, new.explain(&flow).ok()?))
                });
                let changed = |(old, new): &(Explanation, Explanation)| old.verdict != new.verdict;
                let Some((old, new)) = verdicts.into_iter().find(changed) else { continue };
                let (before, after, decided_by) = (old.verdict, new.verdict, new.decided_by());
                let same = |known: &&mut Difference| (known.after, &known.decided_by) == (after, &decided_by);
                match found.iter_mut().find(same) {
                    Some(known) => known.traffic.push(range.text()),
                    None => found.push(Difference {
                        from: from.named(),
                        to: to.named(),
                        traffic: vec![range.text()],
                        before,
                        after,
                        decided_by,
                    }),
                }
            }
            comparison.differences.append(&mut found);
        }
    }
    comparison
}

/// With one endpoint of each class.
fn engine(settings: &Settings, parties: &[Party], objects: &[Object]) -> PolicyEngine {
    let mut facts: Vec<FactDelta> =
        objects.iter().filter_map(|object| FactDelta::of_object(object.clone()).ok()).collect();
    for endpoint in parties.iter().filter_map(|party| party.endpoint.as_ref()) {
        facts.push(FactDelta::Endpoint {
            node: endpoint.node.clone(),
            key: endpoint.key.clone(),
            endpoint: Some(endpoint.clone()),
        });
    }
    let mut engine = PolicyEngine::new(settings);
    engine.apply(&facts);
    engine
}

/// The rules of all policies and Profiles: what draws lines between ports.
fn rules_of(before: &[Object], after: &[Object]) -> Vec<PolicyRule> {
    let of = |objects: &[Object]| objects.iter().flat_map(rules).collect::<Vec<_>>();
    let mut rules = of(before);
    rules.extend(of(after));
    rules
}

/// Of one object.
fn rules(object: &Object) -> Vec<PolicyRule> {
    let of = |policy: &Policy| policy.ingress.iter().chain(&policy.egress).cloned().collect();
    match object {
        Object::GlobalNetworkPolicy(policy) | Object::NetworkPolicy(policy) => of(policy),
        Object::KubernetesNetworkPolicy(policy) => of(&policy.to_policy()),
        Object::Profile(profile) => profile.ingress.iter().chain(&profile.egress).cloned().collect(),
        _ => Vec::new(),
    }
}

impl Range {
    fn flow(&self, source: Side, destination: Side, family: Family) -> Flow {
        Flow {
            source,
            destination,
            family: Some(family),
            protocol: self.protocol,
            source_port: None,
            port: self.port,
            icmp: self.icmp,
        }
    }
}

#[cfg(test)]
#[path = "compare/compare_tests.rs"]
mod tests;
