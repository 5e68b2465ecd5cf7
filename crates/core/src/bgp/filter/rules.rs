//! The filters of one neighbour, in order, as rules to be asked.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::matching::{self, Route};
use super::operations;
use crate::bgp::rib::Path;
use crate::model::Family;
use crate::model::filter::{BgpFilter, FilterAction, FilterRule, NextHopChoice};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Import,
    Export,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Import => "import",
            Direction::Export => "export",
        })
    }
}

/// A rule: which filter of the neighbour, and which rule of it, both from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub filter: u16,
    pub rule: u16,
}

/// What the first rule that matches says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept(Place),
    Reject(Place),
    /// None matches: the neighbour's `import` decides.
    NoMatch,
}

/// The filters of one neighbour. Its clones are the same list; most neighbours have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(Option<Arc<List>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct List {
    filters: Vec<Filter>,
    /// Names that no filter has.
    missing: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    name: String,
    /// `importV4`, `importV6`, `exportV4`, `exportV6`.
    rules: [Vec<Rule>; 4],
}

/// A rule, with the neighbours that it names by their addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub rule: FilterRule,
    pub sources: Vec<IpAddr>,
}

/// The neighbours that a rule names, by address or by name.
fn sources(rule: &FilterRule, address: impl Fn(&str) -> Option<IpAddr>) -> Vec<IpAddr> {
    rule.source_peers.iter().filter_map(|peer| peer.parse().ok().or_else(|| address(peer))).collect()
}

impl Filters {
    /// Those of the names, in their order. `filter` finds one, `address` the neighbour of a name; a neighbour that is not
    /// there has told nothing, so no rule that names it matches.
    pub fn new(
        names: &[String],
        filter: impl Fn(&str) -> Option<BgpFilter>,
        address: impl Fn(&str) -> Option<IpAddr>,
    ) -> Filters {
        if names.is_empty() {
            return Filters(None);
        }
        let (mut filters, mut missing) = (Vec::new(), Vec::new());
        for name in names {
            let Some(found) = filter(name) else {
                missing.push(name.clone());
                continue;
            };
            let ready = |rules: Vec<FilterRule>| -> Vec<Rule> {
                rules.into_iter().map(|rule| Rule { sources: sources(&rule, &address), rule }).collect()
            };
            filters.push(Filter {
                name: found.name,
                rules: [ready(found.import4), ready(found.import6), ready(found.export4), ready(found.export6)],
            });
        }
        Filters(Some(Arc::new(List { filters, missing })))
    }

    /// The same, with the neighbours that its rules name where they are now.
    pub fn with_sources(&self, address: impl Fn(&str) -> Option<IpAddr>) -> Filters {
        let Some(list) = &self.0 else { return Filters(None) };
        let sources = |rule: &Rule| -> Vec<IpAddr> { sources(&rule.rule, &address) };
        if list
            .filters
            .iter()
            .flat_map(|filter| filter.rules.iter().flatten())
            .all(|rule| rule.sources == sources(rule))
        {
            return self.clone();
        }
        let mut list = List::clone(list);
        for rule in list.filters.iter_mut().flat_map(|filter| filter.rules.iter_mut().flatten()) {
            rule.sources = sources(rule);
        }
        Filters(Some(Arc::new(list)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The names of those that are there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list().map(|filter| filter.name.as_str())
    }

    /// The names that no filter has: nothing passes while there is one.
    pub fn missing(&self) -> &[String] {
        self.0.as_ref().map_or(&[], |list| &list.missing)
    }

    pub fn judge(&self, direction: Direction, route: &Route<'_>) -> Verdict {
        let found = self.rules(direction, route.prefix.family()).find(|(_, rule)| {
            // What fails first is of no interest here.
            matching::mismatch(rule, route).is_none()
        });
        match found {
            Some((place, rule)) if rule.rule.action == FilterAction::Accept => Verdict::Accept(place),
            Some((place, _)) => Verdict::Reject(place),
            None => Verdict::NoMatch,
        }
    }

    /// Whether the rule changes what it accepts.
    pub fn changes(&self, direction: Direction, family: Family, place: Place) -> bool {
        self.rule(direction, family, place).is_some_and(|rule| !rule.operations.is_empty())
    }

    /// Changes the attributes as the rule says; answers what it says of the next hop.
    pub fn apply(&self, direction: Direction, family: Family, place: Place, path: &mut Path) -> Option<NextHopChoice> {
        let rule = self.rule(direction, family, place)?;
        operations::apply(&rule.operations, &mut path.attributes)
    }

    /// A rule in words: `BGPFilter uplink, importV4[2]`, counted from 0 as in every error about a list.
    pub fn words(&self, direction: Direction, family: Family, place: Place) -> String {
        let name = self.list().nth(place.filter.into()).map_or("", |filter| filter.name.as_str());
        format!("BGPFilter {name}, {direction}V{}[{}]", family.digit(), place.rule)
    }

    pub(super) fn rules(&self, direction: Direction, family: Family) -> impl Iterator<Item = (Place, &Rule)> {
        let index = index(direction, family);
        self.list().enumerate().flat_map(move |(filter, list)| {
            let place = move |rule: usize| Place { filter: filter as u16, rule: rule as u16 };
            list.rules[index].iter().enumerate().map(move |(rule, it)| (place(rule), it))
        })
    }

    fn rule(&self, direction: Direction, family: Family, place: Place) -> Option<&FilterRule> {
        let filter = self.0.as_ref()?.filters.get(usize::from(place.filter))?;
        filter.rules[index(direction, family)].get(usize::from(place.rule)).map(|rule| &rule.rule)
    }

    fn list(&self) -> impl Iterator<Item = &Filter> {
        self.0.iter().flat_map(|list| list.filters.iter())
    }
}

/// Where a filter keeps such rules.
fn index(direction: Direction, family: Family) -> usize {
    let first = match direction {
        Direction::Import => 0,
        Direction::Export => 2,
    };
    first + usize::from(family == Family::V6)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
