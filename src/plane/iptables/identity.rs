//! How a rule in the kernel is known again: a hash of chain, text and ordinal among equals, in a comment.

use std::collections::BTreeMap;
use std::fmt;

use routenet_core::desired::{ChainKey, ChainRule, Hook};
use routenet_core::model::stable_hash;

/// The identity of one of our rules. Equal in two hosts and two versions if chain, text and ordinal are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u64);

const DIGITS: usize = 16;
const MARK: &str = "rn:";

impl RuleId {
    fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> RuleId {
        let hash = stable_hash(parts, DIGITS);
        RuleId(u64::from_str_radix(&hash, 16).expect("16 hexadecimal digits"))
    }

    /// The identity of a jump from a built-in chain.
    pub fn of_hook(hook: &Hook) -> RuleId {
        let family = hook.family.to_string();
        RuleId::of(["hook", family.as_str(), hook.table.name(), hook.builtin, hook.chain.as_str()])
    }

    /// Finds the identity in a line of `iptables-save`; `None` for a rule that is not ours.
    pub fn find(line: &str) -> Option<RuleId> {
        let comment = line.rsplit("--comment ").find_map(|tail| {
            let tail = tail.strip_prefix('"').unwrap_or(tail);
            let digits = tail.strip_prefix(MARK)?.get(..DIGITS)?;
            let end = tail.as_bytes().get(MARK.len() + DIGITS);
            matches!(end, None | Some(b'"' | b' ')).then_some(digits)
        })?;
        u64::from_str_radix(comment, 16).ok().map(RuleId)
    }

    /// What marks a rule as this one, in the words of iptables.
    pub fn comment(self) -> String {
        format!("-m comment --comment \"{self}\"")
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{:016x}", self.0)
    }
}

/// The identities of a chain's rules, in order; no two are equal.
pub fn rule_ids(chain: &ChainKey, rules: &[ChainRule]) -> Vec<RuleId> {
    let family = chain.family.to_string();
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    rules
        .iter()
        .map(|rule| {
            let ordinal = seen.entry(&rule.text).or_default();
            *ordinal += 1;
            RuleId::of([
                "rule",
                family.as_str(),
                chain.table.name(),
                chain.name.as_str(),
                &*rule.text,
                ordinal.to_string().as_str(),
            ])
        })
        .collect()
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
