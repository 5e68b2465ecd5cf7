//! A policy with its selectors read and limited to its namespace, and the order of policies.
//!
//! Called by `cluster` once for each change of a policy; the compiler and the evaluator work on the outcome.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::model::{Action, EntityRule, Kind, ObjectKey, Policy, PolicyRule, Profile, Tier, staged_for};

use super::Direction;
use super::check::{RuleError, check_rule};
use super::selector::{NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL, Selector, SelectorError};
use super::subjects::{NETWORK_LABEL, profile_label};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct ScopedPolicy {
    /// Without its rules.
    pub policy: Policy,
    /// The endpoints that it governs.
    pub applies_to: Selector,
    ingress: Box<[Arc<Rule>]>,
    egress: Box<[Arc<Rule>]>,
}

/// A rule as written, and as read in its namespace.
#[derive(Debug, PartialEq)]
struct Rule {
    namespace: Option<String>,
    among_workloads: bool,
    written: PolicyRule,
    scoped: ScopedRule,
}

/// Among whom the selectors of a rule choose.
#[derive(Clone, Copy, PartialEq, Hash)]
struct Within<'a> {
    namespace: Option<&'a str>,
    among_workloads: bool,
}

impl Rule {
    fn within(&self) -> Within<'_> {
        Within { namespace: self.namespace.as_deref(), among_workloads: self.among_workloads }
    }
}

/// The rules of all policies: equal ones are read and kept once.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedRules {
    known: HashTable<Arc<Rule>>,
    hasher: DefaultHashBuilder,
    /// At how many it is looked for those that nobody has any more.
    sweep_at: usize,
}

impl SharedRules {
    fn read(&mut self, rules: &[PolicyRule], within: Within) -> Box<[Arc<Rule>]> {
        rules.iter().map(|rule| self.read_one(rule, within)).collect()
    }

    fn read_one(&mut self, written: &PolicyRule, within: Within) -> Arc<Rule> {
        let hash = self.hasher.hash_one((within, written));
        let is_it = |known: &Arc<Rule>| known.written == *written && known.within() == within;
        if let Some(known) = self.known.find(hash, is_it) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|rule| Arc::strong_count(rule) > 1);
            self.sweep_at = 64.max(2 * self.known.len());
        }
        let scoped = ScopedRule::new(written, within);
        let rule = Arc::new(Rule {
            namespace: within.namespace.map(String::from),
            among_workloads: within.among_workloads,
            written: written.clone(),
            scoped,
        });
        let hasher = &self.hasher;
        let hash_of = |rule: &Arc<Rule>| hasher.hash_one((rule.within(), &rule.written));
        self.known.insert_unique(hash, rule.clone(), hash_of);
        rule
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ScopedRule {
    Sound {
        source: ScopedSide,
        destination: ScopedSide,
    },
    /// It denies everything, since nobody can tell what it was to let through.
    Unsound(RuleError),
}

/// What the selectors of a side come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ScopedSide {
    /// The address must belong to somebody whom this matches.
    pub wanted: Option<Selector>,
    /// The address must belong to nobody whom this matches; strangers pass.
    pub unwanted: Option<Selector>,
}

impl ScopedPolicy {
    pub fn new(policy: &Policy, rules: &mut SharedRules) -> Result<ScopedPolicy, SelectorError> {
        let mut applies_to = Selector::parse(&policy.selector)?;
        if let Some(text) = &policy.namespace_selector {
            applies_to = applies_to.and(Selector::parse(text)?.of_namespace());
        }
        if let Some(text) = &policy.service_account_selector {
            applies_to = applies_to.and(Selector::parse(text)?.of_service_account());
        }
        Ok(ScopedPolicy::of(policy, applies_to, rules))
    }

    /// In place of a policy whose selector cannot be read: nobody can tell whom it was to protect, so it governs all
    /// that it could, in its order and directions, and lets nothing through.
    pub fn sealed(policy: &Policy) -> ScopedPolicy {
        let sealed = Policy::sealed(policy.key.clone());
        let policy = Policy {
            tier: policy.tier.clone(),
            order: policy.order,
            applies_ingress: policy.applies_ingress,
            applies_egress: policy.applies_egress,
            ..sealed
        };
        ScopedPolicy::of(&policy, Selector::all(), &mut SharedRules::default())
    }

    /// The rules of a Profile, which those ask who name it.
    pub fn of_profile(profile: &Profile, rules: &mut SharedRules) -> ScopedPolicy {
        let policy = Policy {
            ingress: profile.ingress.clone(),
            egress: profile.egress.clone(),
            ..Policy::sealed(ObjectKey::global(Kind::Profile, &profile.name))
        };
        ScopedPolicy::of(&policy, Selector::has(&profile_label(&profile.name)), rules)
    }

    fn of(policy: &Policy, mut applies_to: Selector, rules: &mut SharedRules) -> ScopedPolicy {
        let namespace = policy.key.namespace.as_deref();
        if let Some(namespace) = namespace {
            applies_to = applies_to.and(Selector::equal(NAMESPACE_LABEL, namespace));
        }
        // Kubernetes has no network sets: its selectors choose pods, as in Calico.
        let among_workloads = policy.key.kind == Kind::KubernetesNetworkPolicy;
        let within = Within { namespace, among_workloads };
        ScopedPolicy {
            applies_to,
            ingress: rules.read(&policy.ingress, within),
            egress: rules.read(&policy.egress, within),
            policy: without_rules(policy),
        }
    }

    pub fn governs(&self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.policy.applies_ingress,
            Direction::Egress => self.policy.applies_egress,
        }
    }

    /// The rules of a direction, in their order.
    pub fn rules(&self, direction: Direction) -> impl Iterator<Item = (&PolicyRule, &ScopedRule)> {
        let rules = match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        };
        rules.iter().map(|rule| (&rule.written, &rule.scoped))
    }

    /// Whether a rule of the direction may hand the packet to what comes after its tier.
    pub fn may_pass(&self, direction: Direction) -> bool {
        self.rules(direction).any(|(rule, _)| rule.action == Action::Pass)
    }

    /// What is unsound: direction, index from 0, and the error.
    pub fn unsound_rules(&self) -> impl Iterator<Item = (Direction, usize, &RuleError)> {
        Direction::BOTH.into_iter().flat_map(|direction| {
            self.rules(direction).enumerate().filter_map(move |(index, (_, scoped))| match scoped {
                ScopedRule::Unsound(error) => Some((direction, index, error)),
                ScopedRule::Sound { .. } => None,
            })
        })
    }
}

fn without_rules(policy: &Policy) -> Policy {
    Policy {
        key: policy.key.clone(),
        tier: policy.tier.clone(),
        order: policy.order,
        selector: policy.selector.clone(),
        namespace_selector: policy.namespace_selector.clone(),
        service_account_selector: policy.service_account_selector.clone(),
        stage: policy.stage,
        apply_on_forward: policy.apply_on_forward,
        applies_ingress: policy.applies_ingress,
        applies_egress: policy.applies_egress,
        ingress: Vec::new(),
        egress: Vec::new(),
    }
}

impl ScopedRule {
    fn new(rule: &PolicyRule, within: Within) -> ScopedRule {
        let side = |field, side| {
            let mut side = ScopedSide::new(side, within.namespace)
                .map_err(|error| RuleError { field, what: error.to_string() })?;
            if within.among_workloads {
                side.wanted = side.wanted.map(|wanted| wanted.and(Selector::has(NETWORK_LABEL)));
            }
            Ok(side)
        };
        let sides = check_rule(rule)
            .and_then(|()| Ok((side("source", &rule.source)?, side("destination", &rule.destination)?)));
        match sides {
            Ok((source, destination)) => ScopedRule::Sound { source, destination },
            Err(error) => ScopedRule::Unsound(error),
        }
    }
}

impl ScopedSide {
    /// In a NetworkPolicy any selector limits the side to the policy's own namespace, unless a namespace selector says
    /// otherwise. A positive selector and a negative one are one expression on each subject.
    fn new(side: &EntityRule, namespace: Option<&str>) -> Result<ScopedSide, SelectorError> {
        let read = |text: &Option<String>| match text.as_deref().map(str::trim) {
            None | Some("") => Ok(None),
            Some(text) => Selector::parse(text).map(Some),
        };
        let selector = match (read(&side.selector)?, service_accounts(side)?) {
            (Some(selector), Some(accounts)) => Some(accounts.and(selector)),
            (selector, accounts) => selector.or(accounts),
        };
        let not_selector = read(&side.not_selector)?;
        let namespace_selector = read(&side.namespace_selector)?.map(|selector| selector.of_namespace());
        let scope = match (namespace_selector, namespace) {
            (Some(selector), _) => Some(selector),
            (None, Some(namespace)) if selector.is_some() || not_selector.is_some() => {
                Some(Selector::equal(NAMESPACE_LABEL, namespace))
            }
            _ => None,
        };
        let wanted = match (scope, selector) {
            (Some(scope), Some(selector)) => Some(scope.and(selector)),
            (scope, selector) => scope.or(selector),
        };
        Ok(match (wanted, not_selector) {
            (Some(wanted), Some(not)) => ScopedSide { wanted: Some(wanted.and(not.negated())), unwanted: None },
            (wanted, unwanted) => ScopedSide { wanted, unwanted },
        })
    }
}

fn service_accounts(side: &EntityRule) -> Result<Option<Selector>, SelectorError> {
    let Some(accounts) = &side.service_accounts else { return Ok(None) };
    let named = match accounts.names.as_slice() {
        [] => None,
        names => Some(Selector::one_of(SERVICE_ACCOUNT_LABEL, names)),
    };
    let labelled = match accounts.selector.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(text) => Some(Selector::parse(text)?.of_service_account()),
    };
    Ok(match (named, labelled) {
        (Some(named), Some(labelled)) => Some(named.and(labelled)),
        (named, labelled) => named.or(labelled),
    })
}

/// Of two policies of a tier the one with the lesser value is asked first: the lower order (none is last); among equals
/// the text NAME/NAMESPACE/KIND decides.
pub(super) fn precedence(policy: &Policy) -> (TotalOrder, String) {
    (TotalOrder(policy.order.unwrap_or(f64::INFINITY) + 0.0), tie_text(&policy.key))
}

/// A number with a place among all others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TotalOrder(f64);

impl Eq for TotalOrder {}

impl PartialOrd for TotalOrder {
    fn partial_cmp(&self, other: &TotalOrder) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TotalOrder {
    fn cmp(&self, other: &TotalOrder) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Which of two tiers is asked first: the lower order (none is last), then the name.
pub(super) fn tier_precedence(a: &Tier, b: &Tier) -> Ordering {
    let order = |tier: &Tier| tier.order.unwrap_or(f64::INFINITY) + 0.0;
    order(a).total_cmp(&order(b)).then_with(|| a.name.cmp(&b.name))
}

fn tie_text(key: &ObjectKey) -> String {
    let namespace = key.namespace.as_deref().unwrap_or_default();
    match staged_for(key).map_or(key.kind, |key| key.kind) {
        // Calico keeps Kubernetes' policies under such names.
        Kind::KubernetesNetworkPolicy => format!("knp.default.{}/{namespace}/NetworkPolicy", key.name),
        kind => format!("{}/{namespace}/{kind}", key.name),
    }
}

#[cfg(test)]
#[path = "scope_tests.rs"]
mod tests;
