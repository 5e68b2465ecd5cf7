//! Which policies have a meaning: what the compiler and the evaluator rely on.
//!
//! The readers of YAML refuse what fails here, naming the field. What gets past them all the same (an object written
//! by a newer version) stays closed and is reported as a problem: an unsound rule denies, and an unreadable selector
//! governs everyone.

use crate::model::{EntityRule, IcmpMatch, Policy, PolicyRule, Protocol};

use super::Direction;
use super::selector::{Selector, SelectorError};

/// A field of a rule that cannot be, relative to the rule (`source.ports`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct RuleError {
    pub field: &'static str,
    /// What is wrong, and what mends it.
    pub what: String,
}

/// A field of a policy that cannot be, relative to `spec` (`ingress[2].source.ports`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct PolicyError {
    pub field: String,
    pub what: String,
}

/// Whether the policy has a meaning.
///
/// # Errors
/// The first field that is wrong, what is wrong with it, and what mends it.
pub fn check_policy(policy: &Policy) -> Result<(), PolicyError> {
    let selectors = [
        ("selector", Some(&policy.selector)),
        ("namespaceSelector", policy.namespace_selector.as_ref()),
        ("serviceAccountSelector", policy.service_account_selector.as_ref()),
    ];
    for (field, selector) in selectors {
        let Some(selector) = selector else { continue };
        Selector::parse(selector).map_err(|e| PolicyError { field: field.into(), what: e.to_string() })?;
    }
    for (direction, rules) in [(Direction::Ingress, &policy.ingress), (Direction::Egress, &policy.egress)] {
        for (index, rule) in rules.iter().enumerate() {
            check_rule(rule).map_err(|error| PolicyError {
                field: format!("{}[{index}].{}", direction.name(), error.field),
                what: error.what,
            })?;
        }
    }
    Ok(())
}

/// Whether the rule has a meaning.
///
/// # Errors
/// The first field that is wrong, what is wrong with it, and what mends it.
pub fn check_rule(rule: &PolicyRule) -> Result<(), RuleError> {
    let refuse = |field, what: &str| Err(RuleError { field, what: what.to_string() });
    if !matches!(rule.ip_version, None | Some(4 | 6)) {
        return refuse("ipVersion", "expected 4 or 6");
    }
    if rule.protocol == Some(Protocol(0)) {
        return refuse("protocol", "expected a name or a number from 1 to 255; leave it out to match every protocol");
    }
    if rule.not_protocol == Some(Protocol(0)) {
        return refuse("notProtocol", "expected a name or a number from 1 to 255");
    }
    check_icmp("icmp", rule.icmp, rule.protocol)?;
    check_icmp("notICMP", rule.not_icmp, rule.protocol)?;
    check_side(&SOURCE, &rule.source, rule.protocol)?;
    check_side(&DESTINATION, &rule.destination, rule.protocol)
}

fn check_icmp(field: &'static str, icmp: Option<IcmpMatch>, protocol: Option<Protocol>) -> Result<(), RuleError> {
    let Some(icmp) = icmp else { return Ok(()) };
    if !matches!(protocol, Some(Protocol::ICMP | Protocol::ICMPV6)) {
        return Err(RuleError { field, what: "needs `protocol: ICMP` or `protocol: ICMPv6` in the same rule".into() });
    }
    if icmp.kind == 255 {
        return Err(RuleError { field, what: "type is from 0 to 254".into() });
    }
    Ok(())
}

/// The names of a side's fields.
struct SideFields {
    not_nets: &'static str,
    selector: &'static str,
    not_selector: &'static str,
    namespace_selector: &'static str,
    service_accounts: &'static str,
    ports: &'static str,
    not_ports: &'static str,
}

const SOURCE: SideFields = SideFields {
    not_nets: "source.notNets",
    selector: "source.selector",
    not_selector: "source.notSelector",
    namespace_selector: "source.namespaceSelector",
    service_accounts: "source.serviceAccounts.selector",
    ports: "source.ports",
    not_ports: "source.notPorts",
};

const DESTINATION: SideFields = SideFields {
    not_nets: "destination.notNets",
    selector: "destination.selector",
    not_selector: "destination.notSelector",
    namespace_selector: "destination.namespaceSelector",
    service_accounts: "destination.serviceAccounts.selector",
    ports: "destination.ports",
    not_ports: "destination.notPorts",
};

fn check_side(fields: &SideFields, side: &EntityRule, protocol: Option<Protocol>) -> Result<(), RuleError> {
    if let Some(net) = side.not_nets.iter().find(|net| net.length() == 0) {
        let what = format!("{net} leaves nothing to match: remove the rule, or say `ipVersion`");
        return Err(RuleError { field: fields.not_nets, what });
    }
    let fields_of_ports =
        [(fields.ports, &side.ports, &side.named_ports), (fields.not_ports, &side.not_ports, &side.not_named_ports)];
    for (field, ports, names) in fields_of_ports {
        // A name tells its protocol.
        if ports.is_empty() && (names.is_empty() || protocol.is_none()) {
            continue;
        }
        if !protocol.is_some_and(Protocol::has_ports) {
            let what = "needs `protocol: TCP`, `UDP`, `SCTP` or `UDPLite` in the same rule".into();
            return Err(RuleError { field, what });
        }
        if let Some(range) = ports.iter().find(|range| range.first > range.last) {
            let what =
                format!("{}:{} ends before it begins: write {}:{}", range.first, range.last, range.last, range.first);
            return Err(RuleError { field, what });
        }
    }
    let read = |field, text: &Option<String>| match text {
        Some(text) => {
            Selector::parse(text).map(Some).map_err(|e: SelectorError| RuleError { field, what: e.to_string() })
        }
        None => Ok(None),
    };
    read(fields.selector, &side.selector)?;
    read(fields.not_selector, &side.not_selector)?;
    read(fields.namespace_selector, &side.namespace_selector)?;
    read(fields.service_accounts, &side.service_accounts.as_ref().and_then(|accounts| accounts.selector.clone()))?;
    Ok(())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
