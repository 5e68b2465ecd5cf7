//! Found by label: who carries one, and which selectors look at one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::selector::{Anchor, Selector};
use super::Party;

/// Numbers under labels.
#[derive(Clone, Debug, Default)]
pub(super) struct LabelIndex(BTreeMap<String, BTreeMap<String, BTreeSet<u32>>>);

impl LabelIndex {
    pub fn insert(&mut self, name: &str, value: &str, id: u32) {
        self.0.entry(name.into()).or_default().entry(value.into()).or_default().insert(id);
    }

    pub fn remove(&mut self, name: &str, value: &str, id: u32) {
        let Some(values) = self.0.get_mut(name) else { return };
        if let Some(ids) = values.get_mut(value) {
            ids.remove(&id);
            if ids.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.0.remove(name);
        }
    }

    pub fn with(&self, name: &str, value: &str) -> impl Iterator<Item = u32> {
        self.0.get(name).and_then(|values| values.get(value)).into_iter().flatten().copied()
    }

    /// Those that carry the label of the anchor, with its value if it has one; some may come twice.
    pub fn at<'a>(&'a self, anchor: &'a Anchor) -> impl Iterator<Item = u32> + 'a {
        let values = self.0.get(&anchor.label).into_iter().flatten();
        let meant = values.filter(|(value, _)| anchor.value.as_ref().is_none_or(|wanted| wanted == *value));
        meant.flat_map(|(_, ids)| ids).copied()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Selectors under keys, found by the labels of what they could match.
#[derive(Clone, Debug)]
pub(in crate::policy) struct SelectorIndex<K> {
    by_label: HashMap<String, ByValue<K>>,
    without_label: BTreeSet<K>,
}

#[derive(Clone, Debug)]
struct ByValue<K> {
    any: BTreeSet<K>,
    values: HashMap<String, BTreeSet<K>>,
}

impl<K> Default for SelectorIndex<K> {
    fn default() -> Self {
        SelectorIndex { by_label: HashMap::new(), without_label: BTreeSet::new() }
    }
}

impl<K> Default for ByValue<K> {
    fn default() -> Self {
        ByValue { any: BTreeSet::new(), values: HashMap::new() }
    }
}

impl<K: Ord + Clone> SelectorIndex<K> {
    pub fn insert(&mut self, selector: &Selector, key: &K) {
        let Some(anchors) = selector.anchors() else {
            self.without_label.insert(key.clone());
            return;
        };
        for anchor in anchors {
            let of_label = self.by_label.entry(anchor.label).or_default();
            let keys = match anchor.value {
                Some(value) => of_label.values.entry(value).or_default(),
                None => &mut of_label.any,
            };
            keys.insert(key.clone());
        }
    }

    pub fn remove(&mut self, selector: &Selector, key: &K) {
        let Some(anchors) = selector.anchors() else {
            self.without_label.remove(key);
            return;
        };
        for anchor in anchors {
            let Some(of_label) = self.by_label.get_mut(&anchor.label) else { continue };
            match &anchor.value {
                Some(value) => {
                    if let Some(keys) = of_label.values.get_mut(value) {
                        keys.remove(key);
                        if keys.is_empty() {
                            of_label.values.remove(value);
                        }
                    }
                }
                None => drop(of_label.any.remove(key)),
            }
            if of_label.any.is_empty() && of_label.values.is_empty() {
                self.by_label.remove(&anchor.label);
            }
        }
    }

    /// The keys of the selectors that may match the party; each must still be asked.
    pub fn candidates(&self, party: &impl Party) -> BTreeSet<&K> {
        let mut found: BTreeSet<&K> = self.without_label.iter().collect();
        if self.by_label.is_empty() {
            return found;
        }
        party.each_label(&mut |name, value| {
            let Some(of_label) = self.by_label.get(name) else { return };
            found.extend(&of_label.any);
            found.extend(of_label.values.get(value).into_iter().flatten());
        });
        found
    }
}
