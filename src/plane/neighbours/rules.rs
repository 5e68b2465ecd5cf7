//! What `iptables-save` of one back end says of others' rules.

use std::collections::BTreeSet;

use routenet_core::model::Family;

use crate::plane::iptables::is_ours;

/// Of both families, as far as it concerns us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub calico_chains: usize,
    /// The built-in chains that ask Calico's: `filter FORWARD`.
    pub calico_hooks: BTreeSet<String>,
    /// The families in which FORWARD drops what no rule takes.
    pub forward_drops: BTreeSet<Family>,
    pub input_drops: bool,
    /// Rules that set or want bits of ours.
    pub marked: Vec<String>,
}

impl Rules {
    /// Takes in what was printed for a family; `marks`: our mark bits.
    pub fn read(&mut self, family: Family, saved: &str, marks: u32) {
        let mut table = "";
        for line in saved.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if let Some(declared) = line.strip_prefix(':') {
                self.chain(family, table, declared);
            } else if let Some(rule) = line.strip_prefix("-A ") {
                self.rule(family, table, rule, marks);
            }
        }
    }

    fn chain(&mut self, family: Family, table: &str, declared: &str) {
        let mut words = declared.split(' ');
        match (table, words.next().unwrap_or(""), words.next().unwrap_or("")) {
            (_, name, _) if is_calico(name) => self.calico_chains += 1,
            ("filter", "FORWARD", "DROP") => _ = self.forward_drops.insert(family),
            ("filter", "INPUT", "DROP") => self.input_drops = true,
            _ => {}
        }
    }

    fn rule(&mut self, family: Family, table: &str, rule: &str, marks: u32) {
        let (chain, text) = rule.split_once(' ').unwrap_or((rule, ""));
        let words: Vec<&str> = text.split(' ').collect();
        let target = words.iter().position(|word| matches!(*word, "-j" | "-g")).and_then(|at| words.get(at + 1));
        if is_calico(chain) || target.is_some_and(|target| is_calico(target)) {
            if !is_calico(chain) {
                self.calico_hooks.insert(format!("{table} {chain}"));
            }
        } else if !is_ours(chain) && words.windows(2).any(|pair| marks_bits(pair[0], pair[1]) & marks != 0) {
            self.marked.push(format!("{family} {table} -A {rule}"));
        }
    }
}

fn is_calico(chain: &str) -> bool {
    chain.starts_with("cali-")
}

/// The bits that an option of a rule sets in a packet, or wants to be set: of `0x4000/0x4000` the second. What a rule
/// clears is left out, since a bit of ours that is gone closes.
fn marks_bits(option: &str, value: &str) -> u32 {
    if !matches!(option, "--mark" | "--set-mark" | "--set-xmark" | "--or-mark") {
        return 0;
    }
    let (mark, mask) = value.split_once('/').unwrap_or((value, "0xffffffff"));
    number(mark) & number(mask)
}

fn number(text: &str) -> u32 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or(0)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
