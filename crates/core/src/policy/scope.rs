//! A policy with its selectors read and limited to its namespace, and the order of policies.
//!
//! Called by `cluster` once for each change of a policy; the compiler and the evaluator work on the outcome.

use std::cmp::Ordering;

use crate::model::{Action, EntityRule, Kind, ObjectKey, Policy, PolicyRule, Profile, Tier, staged_for};

use super::Direction;
use super::check::{RuleError, check_rule};
use super::selector::{NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL, Selector, SelectorError};
use super::subjects::{NETWORK_LABEL, profile_label};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct ScopedPolicy {
    pub policy: Policy,
    /// The endpoints that it governs.
    pub applies_to: Selector,
    ingress: Vec<ScopedRule>,
    egress: Vec<ScopedRule>,
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
    pub fn new(policy: &Policy) -> Result<ScopedPolicy, SelectorError> {
        let mut applies_to = Selector::parse(&policy.selector)?;
        if let Some(text) = &policy.namespace_selector {
            applies_to = applies_to.and(Selector::parse(text)?.of_namespace());
        }
        if let Some(text) = &policy.service_account_selector {
            applies_to = applies_to.and(Selector::parse(text)?.of_service_account());
        }
        Ok(ScopedPolicy::of(policy, applies_to))
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
        ScopedPolicy::of(&policy, Selector::all())
    }

    /// The rules of a Profile, which those ask who name it.
    pub fn of_profile(profile: &Profile) -> ScopedPolicy {
        let policy = Policy {
            ingress: profile.ingress.clone(),
            egress: profile.egress.clone(),
            ..Policy::sealed(ObjectKey::global(Kind::Profile, &profile.name))
        };
        ScopedPolicy::of(&policy, Selector::has(&profile_label(&profile.name)))
    }

    fn of(policy: &Policy, mut applies_to: Selector) -> ScopedPolicy {
        let namespace = policy.key.namespace.as_deref();
        if let Some(namespace) = namespace {
            applies_to = applies_to.and(Selector::equal(NAMESPACE_LABEL, namespace));
        }
        let among_workloads = policy.key.kind == Kind::KubernetesNetworkPolicy;
        let scoped =
            |rules: &[PolicyRule]| rules.iter().map(|rule| ScopedRule::new(rule, namespace, among_workloads)).collect();
        ScopedPolicy {
            applies_to,
            ingress: scoped(&policy.ingress),
            egress: scoped(&policy.egress),
            policy: policy.clone(),
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
        match direction {
            Direction::Ingress => self.policy.ingress.iter().zip(&self.ingress),
            Direction::Egress => self.policy.egress.iter().zip(&self.egress),
        }
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

impl ScopedRule {
    fn new(rule: &PolicyRule, namespace: Option<&str>, among_workloads: bool) -> ScopedRule {
        let side = |field, side| {
            let mut side =
                ScopedSide::new(side, namespace).map_err(|error| RuleError { field, what: error.to_string() })?;
            // Kubernetes has no network sets: its selectors choose pods, as in Calico.
            if among_workloads {
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

/// Which of two policies of a tier is asked first: the lower order (none is last); among equals the text
/// NAME/NAMESPACE/KIND decides.
pub(super) fn precedence(a: &Policy, b: &Policy) -> Ordering {
    let order = |policy: &Policy| policy.order.unwrap_or(f64::INFINITY) + 0.0;
    order(a).total_cmp(&order(b)).then_with(|| tie_text(&a.key).cmp(&tie_text(&b.key)))
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
