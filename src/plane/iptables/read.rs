//! What of `iptables-save` concerns us: our chains, as identities, and our jumps in the built-in chains.

use std::collections::{BTreeMap, BTreeSet};

use routenet_core::desired::{ChainKey, Table};
use routenet_core::model::Family;

use super::RuleId;

/// Whether a chain of this name is ours.
pub fn is_ours(chain: &str) -> bool {
    chain.starts_with("rn-")
}

/// A rule of ours in a built-in chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRule {
    pub id: RuleId,
    /// What stands after `-A CHAIN`: enough to delete it. Only a comment and a jump, so it reads back as it was written.
    pub text: String,
}

/// The part of one family's tables that is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelTables {
    /// Each chain's rules in order; `None`: a rule that is not ours.
    pub chains: BTreeMap<ChainKey, Vec<Option<RuleId>>>,
    /// Each built-in chain's rules in order; `None`: a rule of somebody else's. Chains without one of ours are left out.
    pub hooks: BTreeMap<(Table, String), Vec<Option<HookRule>>>,
    /// Tables that hold rules which this iptables cannot read.
    pub unreadable: BTreeSet<Table>,
}

impl KernelTables {
    /// Takes apart what `iptables-save` printed for a family.
    pub fn parse(family: Family, saved: &str) -> KernelTables {
        let mut tables = KernelTables::default();
        let mut table = None;
        for line in saved.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = table_of_name(name);
            } else if let Some(rest) = line.strip_prefix("# Table `") {
                let name = rest.split('\'').next().unwrap_or("");
                if rest.contains("incompatible") {
                    tables.unreadable.extend(table_of_name(name));
                }
            } else if let Some(table) = table {
                tables.take(family, table, line);
            }
        }
        tables.hooks.retain(|_, rules| rules.iter().any(Option::is_some));
        tables
    }

    fn take(&mut self, family: Family, table: Table, line: &str) {
        let key = |name: &str| ChainKey { family, table, name: name.to_string() };
        if let Some(declared) = line.strip_prefix(':') {
            let name = declared.split(' ').next().unwrap_or("");
            if is_ours(name) {
                self.chains.entry(key(name)).or_default();
            }
        } else if let Some((name, text)) =
            line.strip_prefix("-A ").map(|rule| rule.split_once(' ').unwrap_or((rule, "")))
        {
            if is_ours(name) {
                self.chains.entry(key(name)).or_default().push(RuleId::find(line));
            } else {
                let hook = RuleId::find(line).map(|id| HookRule { id, text: text.to_string() });
                self.hooks.entry((table, name.to_string())).or_default().push(hook);
            }
        }
    }

    /// Whether there is nothing of ours.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.hooks.is_empty()
    }
}

fn table_of_name(name: &str) -> Option<Table> {
    Table::ALL.into_iter().find(|table| table.name() == name)
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
