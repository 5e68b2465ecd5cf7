//! BGPFilter, from YAML and back: Calico's fields, and ours beside them.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::bgp::read_as_number;
use super::fields::{At, Fields, listed, optional};
use super::write::{put, put_list, texts};
use crate::model::filter::*;
use crate::model::{Cidr, Family};

const ACTION: [(&str, FilterAction); 2] = [("Accept", FilterAction::Accept), ("Reject", FilterAction::Reject)];
const OPERATOR: [(&str, MatchOperator); 4] = [
    ("Equal", MatchOperator::Equal),
    ("NotEqual", MatchOperator::NotEqual),
    ("In", MatchOperator::In),
    ("NotIn", MatchOperator::NotIn),
];
const SOURCE: [(&str, RouteSource); 2] = [("RemotePeers", RouteSource::RemotePeers), ("Own", RouteSource::Own)];
const PEER_TYPE: [(&str, PeerType); 2] = [("eBGP", PeerType::External), ("iBGP", PeerType::Internal)];
const COMMUNITIES: [(&str, CommunityOperator); 3] =
    [("AnyOf", CommunityOperator::AnyOf), ("AllOf", CommunityOperator::AllOf), ("NoneOf", CommunityOperator::NoneOf)];
const NEXT_HOP: [(&str, NextHopChoice); 2] = [("Self", NextHopChoice::Own), ("Keep", NextHopChoice::Keep)];
const OPERATIONS: [&str; 7] = [
    "addCommunity",
    "removeCommunity",
    "setCommunities",
    "prependASPath",
    "setMED",
    "setLocalPreference",
    "setNextHop",
];

fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}

/// The four lists of rules; the caller has the name and sees to the rest.
pub fn read_filter(name: &str, fields: &mut Fields<'_>) -> Option<BgpFilter> {
    let mut rules = |key, family, import| match fields.take(key) {
        Some(at) => at.all(|item| read_rule(&item, family, import)),
        None => Some(Vec::new()),
    };
    let export4 = rules("exportV4", Family::V4, false);
    let import4 = rules("importV4", Family::V4, true);
    let export6 = rules("exportV6", Family::V6, false);
    let import6 = rules("importV6", Family::V6, true);
    Some(BgpFilter {
        name: name.to_string(),
        export4: export4?,
        import4: import4?,
        export6: export6?,
        import6: import6?,
    })
}

/// `filters:` of the node's file: each with its name beside its rules.
pub fn read_filters(at: &At<'_>) -> Option<Vec<BgpFilter>> {
    let mut names = std::collections::BTreeSet::new();
    at.all(|item| {
        let mut fields = item.fields()?;
        let name = fields.required("name", "the name that peers call it by").and_then(|at| at.text());
        let filter = read_filter(name.unwrap_or_default(), &mut fields);
        fields.finish();
        if !names.insert(name?.to_string()) {
            return item.fail(format!("a second filter by the name {}", name?), Some("rename it".to_string()));
        }
        filter
    })
}

fn read_rule(at: &At<'_>, family: Family, import: bool) -> Option<FilterRule> {
    let mut fields = at.fields()?;
    fields.not_built("interface", &[]);
    fields.not_built("priority", &[]);
    let action = fields.required("action", "Accept or Reject").and_then(|at| at.one_of("action", &ACTION));
    let cidr = fields.take("cidr").map(|at| read_cidr(&at, family));
    let operator = fields.take("matchOperator").map(|at| at.one_of("operator", &OPERATOR));
    let lengths = fields.take("prefixLength").map(|at| read_lengths(&at, family));
    let source = fields.take("source").map(|at| at.one_of("source", &SOURCE));
    let source_peers = fields.take("sourcePeers").map(|at| at.all(|peer| peer.text().map(str::to_string)));
    let peer_type = fields.take("peerType").map(|at| at.one_of("type of peer", &PEER_TYPE));
    let communities = fields.take("communities").map(|at| read_communities(&at));
    let as_path_prefix = fields.take("asPathPrefix").map(|at| at.all(|number| read_as_number(&number)));
    let as_path = fields.take("asPath").map(|at| at.parse("an AS path pattern", str::parse));
    let next_hops = fields.take("nextHops").map(|at| at.all(|net| read_next_hop(&net)));
    let operations = fields.take("operations");
    let place = fields.at().clone();
    fields.finish();
    if let Some(at) = &operations
        && action == Some(FilterAction::Reject)
    {
        at.fail::<()>("what is rejected is not changed", Some("remove it, or write `action: Accept`".to_string()));
    }
    let operations = operations.map(|at| at.all(|item| read_operation(&item, import)));
    let (cidr, operator) = (optional(cidr)?, optional(operator)?);
    let cidr = match (cidr, operator) {
        (Some(cidr), Some(operator)) => Some((operator, cidr)),
        (None, None) => None,
        (Some(_), None) => {
            let expected = listed(OPERATOR.iter().map(|(word, _)| *word), "or");
            return place.fail_in("matchOperator", format!("missing: beside cidr expected {expected}"), None);
        }
        (None, Some(_)) => return place.fail_in("cidr", "missing: matchOperator compares with it", None),
    };
    Some(FilterRule {
        action: action?,
        cidr,
        prefix_length: optional(lengths)?,
        source: optional(source)?,
        source_peers: optional(source_peers)?.unwrap_or_default(),
        peer_type: optional(peer_type)?,
        communities: optional(communities)?,
        as_path_prefix: optional(as_path_prefix)?.unwrap_or_default(),
        as_path: optional(as_path)?,
        next_hops: optional(next_hops)?.unwrap_or_default(),
        operations: optional(operations)?.unwrap_or_default(),
    })
}

fn read_cidr(at: &At<'_>, family: Family) -> Option<Cidr> {
    let cidr: Cidr = at.parse("a CIDR", str::parse)?;
    if cidr.family() == family {
        return Some(cidr);
    }
    let list = |family: Family| format!("importV{0} or exportV{0}", family.digit());
    let mend = format!("write the rule under {}", list(cidr.family()));
    at.fail(format!("{cidr} is {}, and the list is for {family}", cidr.family()), Some(mend))
}

fn read_lengths(at: &At<'_>, family: Family) -> Option<LengthRange> {
    let mut fields = at.fields()?;
    let most = u64::from(family.bits());
    let min = fields.take("min").map(|at| at.integer(0, most).map(|length| length as u8));
    let max = fields.take("max").map(|at| at.integer(0, most).map(|length| length as u8));
    fields.finish();
    let range = LengthRange { min: optional(min)?, max: optional(max)? };
    match range {
        LengthRange { min: Some(min), max: Some(max) } if min > max => {
            at.fail(format!("no length is from {min} to {max}"), Some("exchange them".to_string()))
        }
        range => Some(range),
    }
}

fn read_communities(at: &At<'_>) -> Option<CommunityMatch> {
    let mut fields = at.fields()?;
    let operator = fields.take("matchOperator").map(|at| at.one_of("operator", &COMMUNITIES));
    let values = fields.required("values", "communities").and_then(|at| {
        let values: Vec<CommunityPattern> = at.all(|value| value.parse("a community", str::parse))?;
        if values.is_empty() { at.fail("expected a community at least", None) } else { Some(values) }
    });
    fields.finish();
    Some(CommunityMatch { operator: optional(operator)?.unwrap_or_default(), values: values? })
}

/// A CIDR, or an address for itself alone.
fn read_next_hop(at: &At<'_>) -> Option<Cidr> {
    at.parse("an address or a CIDR", |text| match text.parse::<IpAddr>() {
        Ok(address) => Ok(Cidr::host(address)),
        Err(_) => text.parse::<Cidr>(),
    })
}

fn read_operation(at: &At<'_>, import: bool) -> Option<FilterOperation> {
    let mut fields = at.fields()?;
    fields.not_built("setPriority", &[]);
    let given: Vec<(&str, At<'_>)> =
        OPERATIONS.into_iter().filter_map(|name| fields.take(name).map(|at| (name, at))).collect();
    fields.finish();
    let [(name, operation)] = given.as_slice() else {
        let expected = format!("expected one of {}, found {}", listed(OPERATIONS.into_iter(), "and"), given.len());
        return at.fail(expected, Some("write each on a line of its own".to_string()));
    };
    let mut fields = operation.fields()?;
    let (key, expectation) = match *name {
        "setCommunities" => ("values", "communities"),
        "prependASPath" => ("prefix", "AS numbers"),
        _ => ("value", "a value"),
    };
    let value = fields.required(key, expectation);
    fields.finish();
    let value = value?;
    let number = || value.integer(0, u32::MAX.into()).map(|number| number as u32);
    Some(match *name {
        "addCommunity" => FilterOperation::AddCommunity(value.parse("a community", str::parse)?),
        "removeCommunity" => FilterOperation::RemoveCommunity(value.parse("a community", str::parse)?),
        "setCommunities" => FilterOperation::SetCommunities(value.all(|item| item.parse("a community", str::parse))?),
        "prependASPath" => {
            let numbers = value.all(|number| read_as_number(&number))?;
            // As in Calico: a path that nobody takes is longer already.
            if !(1..=10).contains(&numbers.len()) {
                return value.fail(format!("expected 1 to 10 AS numbers, found {}", numbers.len()), None);
            }
            FilterOperation::PrependAsPath(numbers)
        }
        "setMED" => FilterOperation::SetMed(number()?),
        "setLocalPreference" => FilterOperation::SetLocalPreference(number()?),
        _ if import => {
            return operation.fail("a next hop is changed on the way out", Some("write it in an export rule".into()));
        }
        _ => FilterOperation::SetNextHop(value.one_of("next hop", &NEXT_HOP)?),
    })
}

pub fn filter_spec(filter: &BgpFilter) -> Map<String, Value> {
    let mut spec = Map::new();
    for (key, rules) in [
        ("exportV4", &filter.export4),
        ("importV4", &filter.import4),
        ("exportV6", &filter.export6),
        ("importV6", &filter.import6),
    ] {
        put_list(&mut spec, key, rules.iter().map(rule_value).collect());
    }
    spec
}

fn rule_value(rule: &FilterRule) -> Value {
    let mut value = Map::new();
    value.insert("action".into(), word(&ACTION, &rule.action).into());
    if let Some((operator, cidr)) = &rule.cidr {
        value.insert("matchOperator".into(), word(&OPERATOR, operator).into());
        value.insert("cidr".into(), cidr.to_string().into());
    }
    if let Some(range) = &rule.prefix_length {
        let mut lengths = Map::new();
        put(&mut lengths, "min", range.min);
        put(&mut lengths, "max", range.max);
        value.insert("prefixLength".into(), lengths.into());
    }
    put(&mut value, "source", rule.source.as_ref().map(|source| word(&SOURCE, source)));
    put_list(&mut value, "sourcePeers", texts(&rule.source_peers));
    put(&mut value, "peerType", rule.peer_type.as_ref().map(|kind| word(&PEER_TYPE, kind)));
    if let Some(wanted) = &rule.communities {
        let mut communities = Map::new();
        let operator = (wanted.operator != CommunityOperator::AnyOf).then(|| word(&COMMUNITIES, &wanted.operator));
        put(&mut communities, "matchOperator", operator);
        communities.insert("values".into(), texts(&wanted.values).into());
        value.insert("communities".into(), communities.into());
    }
    put_list(&mut value, "asPathPrefix", rule.as_path_prefix.iter().map(|number| (*number).into()).collect());
    put(&mut value, "asPath", rule.as_path.as_ref().map(ToString::to_string));
    put_list(&mut value, "nextHops", texts(&rule.next_hops));
    put_list(&mut value, "operations", rule.operations.iter().map(operation_value).collect());
    value.into()
}

fn operation_value(operation: &FilterOperation) -> Value {
    match operation {
        FilterOperation::AddCommunity(value) => json!({"addCommunity": {"value": value.to_string()}}),
        FilterOperation::RemoveCommunity(value) => json!({"removeCommunity": {"value": value.to_string()}}),
        FilterOperation::SetCommunities(values) => json!({"setCommunities": {"values": texts(values)}}),
        FilterOperation::PrependAsPath(numbers) => json!({"prependASPath": {"prefix": numbers}}),
        FilterOperation::SetMed(value) => json!({"setMED": {"value": value}}),
        FilterOperation::SetLocalPreference(value) => json!({"setLocalPreference": {"value": value}}),
        FilterOperation::SetNextHop(choice) => json!({"setNextHop": {"value": word(&NEXT_HOP, choice)}}),
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
