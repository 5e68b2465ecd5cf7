//! Filters of the naive model: rules that are asked one by one, by another way than the speaker's.

use std::net::IpAddr;

use routenet_core::model::{Cidr, Family};

use crate::naive::Route;

/// A rule holds where all that it names holds.
#[derive(Clone, Debug)]
pub struct Rule {
    pub accept: bool,
    pub family: Family,
    pub net: Option<Net>,
    /// Learned, or of the speaker's own.
    pub learned: Option<bool>,
    pub source: Option<usize>,
    /// The session that it is asked for.
    pub external: Option<bool>,
    pub communities: Option<(Carries, Vec<u32>)>,
    pub path_begins: Vec<u32>,
    pub path_has: Option<u32>,
    pub via: Option<IpAddr>,
    /// None where it rejects.
    pub operations: Vec<Operation>,
}

impl Rule {
    /// Whatever it is, as it is.
    pub fn accepting(family: Family) -> Rule {
        Rule {
            accept: true,
            family,
            net: None,
            learned: None,
            source: None,
            external: None,
            communities: None,
            path_begins: Vec::new(),
            path_has: None,
            via: None,
            operations: Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Net {
    pub of: Cidr,
    /// Whatever lies in it, or only itself.
    pub inside: bool,
    pub shortest: u8,
    /// Whatever is not so.
    pub not: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Carries {
    Any,
    All,
    None,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Add(u32),
    Remove(u32),
    Set(Vec<u32>),
    Prepend(Vec<u32>),
    Med(u32),
    LocalPref(u32),
    /// Whether the next hop stays.
    NextHop(bool),
}

/// The filters of one neighbour, in order.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    pub import: Vec<Vec<Rule>>,
    pub export: Vec<Vec<Rule>>,
    /// One that it names is not there: nothing passes.
    pub missing: bool,
}

/// The first rule that holds.
pub fn first<'a>(filters: &'a [Vec<Rule>], prefix: &Cidr, route: &Route, external: bool) -> Option<&'a Rule> {
    filters.iter().flatten().find(|rule| holds(rule, prefix, route, external))
}

fn holds(rule: &Rule, prefix: &Cidr, route: &Route, external: bool) -> bool {
    let net = |net: &Net| {
        let there = if net.inside { net.of.covers(prefix) } else { net.of == *prefix };
        (there && prefix.length() >= net.shortest) != net.not
    };
    let communities = |(how, values): &(Carries, Vec<u32>)| {
        let carried = values.iter().filter(|value| route.communities.contains(value)).count();
        match how {
            Carries::Any => carried > 0,
            Carries::All => carried == values.len(),
            Carries::None => carried == 0,
        }
    };
    rule.family == prefix.family()
        && rule.net.as_ref().is_none_or(net)
        && rule.learned.is_none_or(|learned| learned == route.from.is_some())
        && rule.source.is_none_or(|source| route.from == Some(source))
        && rule.external.is_none_or(|wanted| wanted == external)
        && rule.communities.as_ref().is_none_or(communities)
        && route.as_path.starts_with(&rule.path_begins)
        && rule.path_has.is_none_or(|number| route.as_path.contains(&number))
        && rule.via.is_none_or(|via| route.next_hop == Some(via))
}

/// Changes the route; answers whether the next hop stays, if the rule says so or the contrary.
pub fn change(rule: &Rule, route: &mut Route) -> Option<bool> {
    let mut keeps = None;
    for operation in &rule.operations {
        match operation {
            Operation::Add(value) => _ = route.communities.insert(*value),
            Operation::Remove(value) => _ = route.communities.remove(value),
            Operation::Set(values) => route.communities = values.iter().copied().collect(),
            Operation::Prepend(numbers) => route.as_path = [&numbers[..], &route.as_path].concat(),
            Operation::Med(value) => route.med = Some(*value),
            Operation::LocalPref(value) => route.local_pref = Some(*value),
            Operation::NextHop(keep) => keeps = Some(*keep),
        }
    }
    keeps
}
