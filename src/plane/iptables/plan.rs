//! The lines for `iptables-restore --noflush` that bring one table from what it has to what it should have.

use std::collections::BTreeSet;

use routenet_core::desired::{ChainKey, ChainRule, Hook, Table};

use super::{Edit, KernelTables, RuleId, edits};

/// One line, and what it is for: an error names that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub origin: Origin,
}

/// What a line is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Chain(ChainKey),
    /// The rule of this index in the chain.
    Rule(ChainKey, usize),
    /// A built-in chain's jumps into ours.
    Hooks(Table, String),
}

/// What one table commits, as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCommit {
    pub table: Table,
    pub lines: Vec<Line>,
}

impl TableCommit {
    pub fn new(table: Table) -> TableCommit {
        TableCommit { table, lines: Vec::new() }
    }

    fn push(&mut self, text: String, origin: Origin) {
        self.lines.push(Line { text, origin });
    }

    /// Creates the chain, empty, where it is missing.
    pub fn declare(&mut self, have: &KernelTables, chain: &ChainKey) {
        if !have.chains.contains_key(chain) {
            self.push(format!(":{} - [0:0]", chain.name), Origin::Chain(chain.clone()));
        }
    }

    /// Edits the chain's rules.
    pub fn edit(&mut self, have: &KernelTables, chain: &ChainKey, rules: &[ChainRule], ids: &[RuleId]) {
        let name = &chain.name;
        let present = have.chains.get(chain).map_or(&[][..], Vec::as_slice);
        let rule = |index: usize| format!("{} {}", rules[index].text, ids[index].comment());
        for edit in edits(present, ids) {
            match edit {
                Edit::Flush => self.push(format!("-F {name}"), Origin::Chain(chain.clone())),
                Edit::Delete { position } => self.push(format!("-D {name} {position}"), Origin::Chain(chain.clone())),
                Edit::Insert { position, rule: index } => {
                    self.push(format!("-I {name} {position} {}", rule(index)), Origin::Rule(chain.clone(), index));
                }
                Edit::Append { rule: index } => {
                    self.push(format!("-A {name} {}", rule(index)), Origin::Rule(chain.clone(), index));
                }
            }
        }
    }

    /// Puts the hooks of a built-in chain first, in their order, and takes out jumps of ours that should not be there.
    ///
    /// Deleting is by text, not by position: somebody may insert there at any time, and what a position then means is
    /// theirs. Out and in are one commit, so there is no moment without.
    pub fn hook(&mut self, have: &KernelTables, builtin: &str, wanted: &BTreeSet<Hook>) {
        let present = have.hooks.get(&(self.table, builtin.to_string()));
        if hooks_stand(present.map_or(&[][..], Vec::as_slice), wanted) {
            return;
        }
        let origin = Origin::Hooks(self.table, builtin.to_string());
        for rule in present.into_iter().flatten().flatten() {
            self.push(format!("-D {builtin} {}", rule.text), origin.clone());
        }
        for (position, hook) in (1..).zip(wanted) {
            self.push(format!("-I {builtin} {position} {}", hook_text(hook)), origin.clone());
        }
    }

    /// Empties and removes chains; all are emptied before the first goes, since they may refer to each other.
    pub fn remove(&mut self, chains: &[ChainKey]) {
        for command in ["-F", "-X"] {
            for chain in chains {
                self.push(format!("{command} {}", chain.name), Origin::Chain(chain.clone()));
            }
        }
    }
}

/// What stands after `-A CHAIN` for a hook.
pub fn hook_text(hook: &Hook) -> String {
    format!("{} -j {}", RuleId::of_hook(hook).comment(), hook.chain)
}

/// Whether a built-in chain begins with exactly these hooks and has no other rule of ours.
pub fn hooks_stand(present: &[Option<super::HookRule>], wanted: &BTreeSet<Hook>) -> bool {
    let ids: Vec<Option<RuleId>> = present.iter().map(|rule| rule.as_ref().map(|rule| rule.id)).collect();
    let first = ids.iter().take(wanted.len()).copied();
    let rest_foreign = ids.iter().skip(wanted.len()).all(Option::is_none);
    rest_foreign && first.eq(wanted.iter().map(|hook| Some(RuleId::of_hook(hook))))
}

/// Why a rule must not be sent at all; `None` when it may.
pub fn unsendable(text: &str) -> Option<&'static str> {
    /// iptables-restore reads lines into a buffer of 10240 bytes; chain, position and comment take their part.
    const LONGEST: usize = 10_000;
    if text.bytes().any(|byte| byte == b'\n' || byte == b'\r' || byte == 0) {
        Some("it holds a line break or a NUL")
    } else if text.len() > LONGEST {
        Some("it is longer than iptables-restore can read (10000 bytes)")
    } else {
        None
    }
}

/// The chains that a rule jumps or goes to, if it does; targets such as ACCEPT included.
pub fn jump_target(text: &str) -> Option<&str> {
    let mut words = text.split_ascii_whitespace();
    while let Some(word) = words.next() {
        if matches!(word, "-j" | "-g" | "--jump" | "--goto") {
            return words.next();
        }
    }
    None
}

/// The sets that a rule looks into.
pub fn mentioned_sets(text: &str) -> impl Iterator<Item = &str> {
    let mut words = text.split_ascii_whitespace();
    std::iter::from_fn(move || {
        words.find(|word| *word == "--match-set")?;
        words.next()
    })
}
