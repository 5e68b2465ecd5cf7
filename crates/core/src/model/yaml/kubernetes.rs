//! NetworkPolicy of `networking.k8s.io/v1`, read and written.

use serde_json::{Map, Value, json};

use super::fields::{At, Fields, optional};
use super::object::{Meta, read_labels};
use super::policy::{is_port_name, read_protocol, read_staged_action};
use super::pool::read_cidr;
use super::write::{labels_value, protocol_value, put, put_list, texts};
use crate::model::{
    KubernetesPeer, KubernetesPolicy, KubernetesPort, KubernetesPorts, KubernetesRule, LabelOperator, LabelRequirement,
    LabelSelector, PortMatch, Protocol, StagedKubernetesPolicy,
};

const OPERATORS: [(&str, LabelOperator); 4] = [
    ("In", LabelOperator::In),
    ("NotIn", LabelOperator::NotIn),
    ("Exists", LabelOperator::Exists),
    ("DoesNotExist", LabelOperator::DoesNotExist),
];

pub fn read_kubernetes_policy(meta: Meta, mut spec: Fields<'_>) -> Option<KubernetesPolicy> {
    // Absent and empty are the same here: everybody in the namespace.
    let pod_selector = spec.take("podSelector").filter(|at| !at.is_null()).map(|at| read_label_selector(&at));
    let types = spec
        .take("policyTypes")
        .map(|at| at.each(|item| item.one_of("type", &[("Ingress", true), ("Egress", false)])))
        .filter(|types| !types.is_empty());
    let mut rules = |name, peers| {
        let at = spec.take(name);
        at.map(|at| if at.is_null() { Vec::new() } else { at.each(|item| read_rule(&item, peers)) })
    };
    let ingress = rules("ingress", "from");
    let egress = rules("egress", "to");
    spec.finish();
    let (applies_ingress, applies_egress) = match types {
        Some(types) => (types.contains(&true), types.contains(&false)),
        None => (true, egress.as_ref().is_some_and(|rules| !rules.is_empty())),
    };
    Some(KubernetesPolicy {
        namespace: meta.namespace.unwrap_or_default(),
        name: meta.name,
        pod_selector: pod_selector.unwrap_or_else(|| Some(LabelSelector::default()))?,
        applies_ingress,
        applies_egress,
        ingress: ingress.unwrap_or_default(),
        egress: egress.unwrap_or_default(),
    })
}

pub fn read_staged(meta: Meta, mut spec: Fields<'_>) -> Option<StagedKubernetesPolicy> {
    let action = read_staged_action(&mut spec);
    let policy = read_kubernetes_policy(meta, spec);
    Some(StagedKubernetesPolicy { action: action?, policy: policy? })
}

fn read_rule(at: &At<'_>, peers_field: &'static str) -> Option<KubernetesRule> {
    let mut fields = at.fields()?;
    let mut given = |name| fields.take(name).filter(|at| !at.is_null());
    let peers = given(peers_field).map(|at| at.all(|item| read_peer(&item)));
    let ports = given("ports").map(|at| at.all(|item| read_port(&item)));
    fields.finish();
    // A peer or port that cannot be read must not leave a list that is empty, and means all.
    Some(KubernetesRule {
        peers: peers.unwrap_or_else(|| Some(Vec::new()))?,
        ports: ports.unwrap_or_else(|| Some(Vec::new()))?,
    })
}

fn read_peer(at: &At<'_>) -> Option<KubernetesPeer> {
    let mut fields = at.fields()?;
    // As in Kubernetes, null is absent.
    let mut given = |name| fields.take(name).filter(|at| !at.is_null());
    let block = given("ipBlock");
    let pods = given("podSelector").map(|at| read_label_selector(&at));
    let namespaces = given("namespaceSelector").map(|at| read_label_selector(&at));
    fields.finish();
    match (block, pods, namespaces) {
        (Some(block), None, None) => read_block(&block),
        (Some(block), ..) => {
            let mend = "make it a peer of its own".to_string();
            block.fail("an ipBlock stands alone, beside neither podSelector nor namespaceSelector", Some(mend))
        }
        (None, None, None) => at.fail("expected podSelector, namespaceSelector or ipBlock", None),
        (None, pods, namespaces) => {
            Some(KubernetesPeer::Pods { pods: optional(pods)?, namespaces: optional(namespaces)? })
        }
    }
}

fn read_block(at: &At<'_>) -> Option<KubernetesPeer> {
    let mut fields = at.fields()?;
    let cidr = fields.required("cidr", "a CIDR such as 10.0.0.0/16").and_then(|at| read_cidr(&at));
    let except = fields.take("except").map(|list| {
        list.all(|item| match (read_cidr(&item)?, cidr) {
            (net, Some(cidr)) if net.length() < cidr.length() || !cidr.contains(net.address()) => {
                item.fail(format!("{net} does not lie within {cidr}"), None)
            }
            (net, Some(cidr)) if net == cidr => item.fail(format!("{net} excludes all of the block"), None),
            (net, _) => Some(net),
        })
    });
    fields.finish();
    Some(KubernetesPeer::Block { cidr: cidr?, except: except.unwrap_or_else(|| Some(Vec::new()))? })
}

fn read_port(at: &At<'_>) -> Option<KubernetesPort> {
    let mut fields = at.fields()?;
    let protocol = fields.take("protocol").map(|at| match read_protocol(&at)? {
        protocol @ (Protocol::TCP | Protocol::UDP | Protocol::SCTP) => Some(protocol),
        other => at.fail(format!("expected TCP, UDP or SCTP, found {other}"), None),
    });
    let port = fields.take("port");
    let end = fields.take("endPort");
    fields.finish();
    let number = |at: &At<'_>| at.integer(1, 65535).map(|port| port as u16);
    let ports = match (&port, &end) {
        (None, None) => Some(KubernetesPorts::Every),
        (None, Some(end)) => end.fail("needs `port`, where the range begins", None),
        (Some(port), end) => match port.word("a number from 1 to 65535, or a port's name")? {
            name if is_port_name(name) => match end {
                Some(end) => end.fail(format!("a range has no name: `port` is \"{name}\""), None),
                None => Some(KubernetesPorts::Named(name.to_string())),
            },
            _ => {
                let first = number(port)?;
                let last = end.as_ref().map_or(Some(first), number)?;
                match (last >= first, end) {
                    (false, Some(end)) => end.fail(format!("{last} is below port {first}"), None),
                    _ => Some(KubernetesPorts::Range(PortMatch { first, last })),
                }
            }
        },
    };
    Some(KubernetesPort { protocol: protocol.unwrap_or(Some(Protocol::TCP))?, port: ports? })
}

fn read_label_selector(at: &At<'_>) -> Option<LabelSelector> {
    let mut fields = at.fields()?;
    let labels = fields.take("matchLabels").map(|at| {
        let labels = read_labels(&at)?;
        match labels.values().find(|value| !is_label_value(value)) {
            Some(value) => at.fail(format!("\"{value}\" is no label's value: {VALUE}"), None),
            None => Some(labels),
        }
    });
    let expressions = fields.take("matchExpressions").map(|at| at.all(|item| read_requirement(&item)));
    fields.finish();
    Some(LabelSelector {
        match_labels: labels.unwrap_or_else(|| Some(Default::default()))?,
        match_expressions: expressions.unwrap_or_else(|| Some(Vec::new()))?,
    })
}

fn read_requirement(at: &At<'_>) -> Option<LabelRequirement> {
    let mut fields = at.fields()?;
    let key = fields.required("key", "a label's name").and_then(|at| match at.text()? {
        text if is_label_name(text) => Some(text.to_string()),
        text => at.fail(format!("\"{text}\" is not a valid label"), None),
    });
    let operator = fields.required("operator", "In, NotIn, Exists or DoesNotExist");
    let operator = operator.and_then(|at| at.one_of("operator", &OPERATORS));
    let values = fields.take("values").map(|at| {
        at.all(|item| match item.text()? {
            text if is_label_value(text) => Some(text.to_string()),
            text => item.fail(format!("\"{text}\" is no label's value: {VALUE}"), None),
        })
    });
    fields.finish();
    let (operator, values) = (operator?, values.unwrap_or_else(|| Some(Vec::new()))?);
    match operator {
        LabelOperator::In | LabelOperator::NotIn if values.is_empty() => {
            at.fail_in("values", "missing: In and NotIn compare with at least one", None)
        }
        LabelOperator::Exists | LabelOperator::DoesNotExist if !values.is_empty() => {
            at.fail_in("values", "Exists and DoesNotExist compare with nothing", Some("remove it".to_string()))
        }
        _ => Some(LabelRequirement { key: key?, operator, values }),
    }
}

const VALUE: &str = "expected at most 63 letters, digits, `-`, `_` and `.`";

fn is_label_value(text: &str) -> bool {
    text.len() <= 63 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_label_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 317
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'))
}

pub fn spec(policy: &KubernetesPolicy) -> Value {
    let mut spec = Map::new();
    spec.insert("podSelector".into(), label_selector(&policy.pod_selector));
    let types = [(policy.applies_ingress, "Ingress"), (policy.applies_egress, "Egress")];
    put_list(&mut spec, "policyTypes", types.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.into()).collect());
    put_list(&mut spec, "ingress", policy.ingress.iter().map(|one| rule(one, "from")).collect());
    put_list(&mut spec, "egress", policy.egress.iter().map(|one| rule(one, "to")).collect());
    spec.into()
}

fn label_selector(selector: &LabelSelector) -> Value {
    let mut value = Map::new();
    let labels = Some(&selector.match_labels).filter(|labels| !labels.is_empty());
    put(&mut value, "matchLabels", labels.map(labels_value));
    let requirement = |requirement: &LabelRequirement| {
        let operator = OPERATORS.iter().find(|(_, operator)| *operator == requirement.operator);
        let mut value = Map::new();
        value.insert("key".into(), requirement.key.clone().into());
        put(&mut value, "operator", operator.map(|(name, _)| *name));
        put_list(&mut value, "values", texts(&requirement.values));
        value.into()
    };
    put_list(&mut value, "matchExpressions", selector.match_expressions.iter().map(requirement).collect());
    value.into()
}

fn rule(rule: &KubernetesRule, peers_field: &str) -> Value {
    let mut value = Map::new();
    let peer = |peer: &KubernetesPeer| match peer {
        KubernetesPeer::Block { cidr, except } => {
            let mut block = Map::new();
            block.insert("cidr".into(), cidr.to_string().into());
            put_list(&mut block, "except", texts(except));
            json!({ "ipBlock": block })
        }
        KubernetesPeer::Pods { pods, namespaces } => {
            let mut value = Map::new();
            put(&mut value, "podSelector", pods.as_ref().map(label_selector));
            put(&mut value, "namespaceSelector", namespaces.as_ref().map(label_selector));
            value.into()
        }
    };
    put_list(&mut value, peers_field, rule.peers.iter().map(peer).collect());
    let port = |port: &KubernetesPort| {
        let mut value = Map::new();
        value.insert("protocol".into(), protocol_value(port.protocol));
        match &port.port {
            KubernetesPorts::Every => {}
            KubernetesPorts::Named(name) => put(&mut value, "port", Some(name.clone())),
            KubernetesPorts::Range(range) => {
                put(&mut value, "port", Some(range.first));
                put(&mut value, "endPort", (range.last != range.first).then_some(range.last));
            }
        }
        value.into()
    };
    put_list(&mut value, "ports", rule.ports.iter().map(port).collect());
    value.into()
}
