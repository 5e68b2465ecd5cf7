//! Applies deltas to an empty host, and holds them to the order in which a kernel can take them.

use std::collections::BTreeMap;

use crate::desired::{ChainKey, ChainRule, RulesDelta, SetName, SetOp, SetSpec};

#[derive(Debug, Default, PartialEq)]
pub struct Replay {
    pub sets: BTreeMap<SetName, SetSpec>,
    pub chains: BTreeMap<ChainKey, Vec<ChainRule>>,
}

impl Replay {
    pub fn apply(&mut self, delta: &RulesDelta) {
        for op in &delta.grow {
            self.grow(op);
        }
        for (key, rules) in &delta.chains {
            match rules {
                Some(rules) => {
                    assert_ne!(self.chains.get(key), Some(rules), "{key} is said to change and does not");
                    self.chains.insert(key.clone(), rules.clone());
                }
                None => assert!(self.chains.remove(key).is_some(), "{key} is removed and was not there"),
            }
        }
        self.check_references();
        for op in &delta.shrink {
            self.shrink(op);
        }
        self.check_references();
    }

    fn grow(&mut self, op: &SetOp) {
        match op {
            SetOp::Create { name, family, kind, members } => {
                assert!(name.len() <= 31, "{name} is too long");
                let spec = SetSpec { family: *family, kind: *kind, members: members.iter().cloned().collect() };
                assert_eq!(spec.members.len(), members.len(), "{name} has something twice");
                assert!(self.sets.insert(name.clone(), spec).is_none(), "{name} is created twice");
            }
            SetOp::Add { name, member } => {
                let set = self.sets.get_mut(name).unwrap_or_else(|| panic!("{name} grows before it is created"));
                assert!(set.members.insert(member.clone()), "{member:?} is added to {name} twice");
            }
            other => panic!("{other:?} is no growth"),
        }
    }

    fn shrink(&mut self, op: &SetOp) {
        match op {
            SetOp::Delete { name, member } => {
                let set = self.sets.get_mut(name).unwrap_or_else(|| panic!("{name} shrinks after it was destroyed"));
                assert!(set.members.remove(member), "{member:?} is deleted from {name} and was not there");
            }
            SetOp::Destroy { name } => {
                assert!(self.sets.remove(name).is_some(), "{name} is destroyed and was not there");
            }
            other => panic!("{other:?} is no shrinking"),
        }
    }

    /// Every set and chain that a rule names must be there.
    fn check_references(&self) {
        for (key, rules) in &self.chains {
            assert!(key.name.len() <= 28, "{key} is too long");
            for rule in rules {
                let words: Vec<&str> = rule.text.split_whitespace().collect();
                for pair in words.windows(2) {
                    match pair {
                        ["--match-set", name] => {
                            let set = self.sets.get(*name).unwrap_or_else(|| panic!("{key}: {name} is not there"));
                            assert_eq!(set.family, key.family, "{key}: {name}");
                        }
                        ["-j" | "-g", target] if target.starts_with("rn-") => {
                            let chain = ChainKey { name: target.to_string(), ..key.clone() };
                            assert!(self.chains.contains_key(&chain), "{key}: {chain} is not there");
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}
