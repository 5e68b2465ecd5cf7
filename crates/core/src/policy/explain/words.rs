//! Rules, traffic and verdicts in words.

use crate::model::{Action, Cidr, EntityRule, IcmpMatch, PolicyRule, PortMatch};

use super::{Explanation, Verdict};

/// The first line of an explanation.
pub(super) fn sentence(explanation: &Explanation) -> String {
    let verdict = match (explanation.verdict, explanation.egress.verdict, explanation.ingress.verdict) {
        (Verdict::Allow, ..) => "ALLOWED",
        (_, Verdict::Deny, Verdict::Deny) => "DENIED at both ends",
        (_, Verdict::Deny, _) => "DENIED at the source",
        (_, _, Verdict::Deny) => "DENIED at the destination",
        _ => "DENIED at a host endpoint",
    };
    format!(
        "{} ({}) -> {} ({}) {}: {verdict}",
        explanation.source,
        explanation.source_address,
        explanation.destination,
        explanation.destination_address,
        explanation.traffic
    )
}

/// A rule as one line: `Allow tcp from role == 'client' to ports 80`.
pub(super) fn rule_text(rule: &PolicyRule) -> String {
    let mut words = vec![match rule.action {
        Action::Allow => "Allow".to_string(),
        Action::Deny => "Deny".to_string(),
        Action::Pass => "Pass".to_string(),
        Action::Log => "Log".to_string(),
    }];
    words.extend(rule.ip_version.map(|version| format!("IPv{version}")));
    words.extend(rule.protocol.map(|protocol| protocol.to_string()));
    words.extend(rule.not_protocol.map(|protocol| format!("not {protocol}")));
    words.extend(rule.icmp.map(|icmp| icmp_text(icmp.kind, icmp.code)));
    words.extend(rule.not_icmp.map(|icmp| format!("not {}", icmp_text(icmp.kind, icmp.code))));
    for (word, side) in [("from", &rule.source), ("to", &rule.destination)] {
        if !side.is_any() {
            words.push(format!("{word} {}", side_text(side)));
        }
    }
    words.join(" ")
}

fn side_text(side: &EntityRule) -> String {
    let nets = |nets: &[Cidr]| nets.iter().map(Cidr::to_string).collect::<Vec<_>>().join(", ");
    let ports = |ports: &[PortMatch], names: &[String]| {
        ports.iter().map(port_text).chain(names.iter().cloned()).collect::<Vec<_>>().join(", ")
    };
    let mut words = Vec::new();
    let mut say = |word: &str, text: String| {
        if !text.is_empty() {
            words.push(format!("{word}{text}"));
        }
    };
    say("", side.selector.clone().unwrap_or_default());
    say("not ", side.not_selector.as_ref().map(|text| format!("({text})")).unwrap_or_default());
    say("namespaces ", side.namespace_selector.clone().unwrap_or_default());
    if let Some(accounts) = &side.service_accounts {
        say("service accounts ", accounts.names.join(", "));
        say("service accounts with ", accounts.selector.clone().unwrap_or_default());
    }
    say("", nets(&side.nets));
    say("not ", nets(&side.not_nets));
    say("port ", ports(&side.ports, &side.named_ports));
    say("not port ", ports(&side.not_ports, &side.not_named_ports));
    words.join(" ")
}

fn port_text(range: &PortMatch) -> String {
    if range.first == range.last { range.first.to_string() } else { format!("{}-{}", range.first, range.last) }
}

fn icmp_text(kind: u8, code: Option<u8>) -> String {
    match code {
        Some(code) => format!("type {kind} code {code}"),
        None => format!("type {kind}"),
    }
}

/// `tcp/80`, `icmp type 8`.
pub(super) fn traffic_text(protocol: crate::model::Protocol, port: Option<u16>, icmp: Option<IcmpMatch>) -> String {
    match (port, icmp) {
        (Some(port), _) => format!("{protocol}/{port}"),
        (None, Some(icmp)) => format!("{protocol} {}", icmp_text(icmp.kind, icmp.code)),
        (None, None) => protocol.to_string(),
    }
}
