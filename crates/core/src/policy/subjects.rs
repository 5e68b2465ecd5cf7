//! Who has which labels and addresses: endpoints of all nodes and network sets; found by label, both ways.
//!
//! Owned by `cluster`. A selector asks for its subjects, a subject asks for its selectors, and neither looks at all
//! of the others as long as the selector demands some label.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{Cidr, Endpoint, EndpointKey, NetworkSet, NodeName};

use super::selector::{LabelLookup, NAMESPACE_LABEL, NAMESPACE_NAME_LABELS, NAMESPACE_PREFIX, Selector};

/// The network of an endpoint, as a label. The grammar has no spaces in names, so no user's selector can say it.
pub(super) const NETWORK_LABEL: &str = "the network";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SubjectKey {
    Endpoint(NodeName, EndpointKey),
    NetworkSet(String),
}

/// Something that selectors in rules can match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Endpoint(Box<Endpoint>),
    NetworkSet(NetworkSet),
}

impl Subject {
    pub fn nets(&self) -> Vec<Cidr> {
        match self {
            Subject::Endpoint(endpoint) => endpoint.addresses.iter().copied().map(Cidr::host).collect(),
            Subject::NetworkSet(set) => set.nets.clone(),
        }
    }

    pub fn holds(&self, address: IpAddr) -> bool {
        match self {
            Subject::Endpoint(endpoint) => endpoint.addresses.contains(&address),
            Subject::NetworkSet(set) => set.nets.iter().any(|net| net.contains(address)),
        }
    }

    /// All labels, those that its place in the cluster gives it among them.
    fn each_label(&self, mut see: impl FnMut(&str, &str)) {
        let own = match self {
            Subject::Endpoint(endpoint) => {
                see(NETWORK_LABEL, endpoint.key.network.as_str());
                see(NAMESPACE_LABEL, &endpoint.namespace);
                for name in NAMESPACE_NAME_LABELS {
                    see(&format!("{NAMESPACE_PREFIX}{name}"), &endpoint.namespace);
                }
                &endpoint.labels
            }
            Subject::NetworkSet(set) => &set.labels,
        };
        own.iter().filter(|(name, _)| !is_given(name)).for_each(|(name, value)| see(name, value));
    }
}

/// Whether the label comes from the subject's place in the cluster, so that nobody may claim it for himself.
fn is_given(label: &str) -> bool {
    label == NAMESPACE_LABEL || label == NETWORK_LABEL || label.starts_with(NAMESPACE_PREFIX)
}

impl LabelLookup for Subject {
    fn label(&self, name: &str) -> Option<&str> {
        match self {
            Subject::Endpoint(endpoint) if is_given(name) => match name.strip_prefix(NAMESPACE_PREFIX) {
                Some(name) => NAMESPACE_NAME_LABELS.contains(&name).then_some(endpoint.namespace.as_str()),
                None if name == NETWORK_LABEL => Some(endpoint.key.network.as_str()),
                None => Some(&endpoint.namespace),
            },
            Subject::Endpoint(endpoint) => endpoint.labels.get(name).map(String::as_str),
            Subject::NetworkSet(_) if is_given(name) => None,
            Subject::NetworkSet(set) => set.labels.get(name).map(String::as_str),
        }
    }
}

/// All subjects, and who carries which label.
#[derive(Clone, Debug, Default)]
pub(super) struct Subjects {
    by_key: BTreeMap<SubjectKey, (u32, Subject)>,
    keys: BTreeMap<u32, SubjectKey>,
    by_label: BTreeMap<String, BTreeMap<String, BTreeSet<u32>>>,
    next: u32,
}

impl Subjects {
    pub fn get(&self, key: &SubjectKey) -> Option<&Subject> {
        self.by_key.get(key).map(|(_, subject)| subject)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&SubjectKey, &Subject)> {
        self.by_key.iter().map(|(key, (_, subject))| (key, subject))
    }

    /// Puts the new subject in the place of the old one, which is returned.
    pub fn replace(&mut self, key: SubjectKey, new: Option<Subject>) -> Option<Subject> {
        let old = self.by_key.remove(&key);
        if let Some((id, subject)) = &old {
            self.unindex(*id, subject);
        }
        if let Some(subject) = new {
            let id = self.next;
            self.next = self.next.wrapping_add(1);
            let by_label = &mut self.by_label;
            subject.each_label(|name, value| {
                by_label.entry(name.into()).or_default().entry(value.into()).or_default().insert(id);
            });
            self.keys.insert(id, key.clone());
            self.by_key.insert(key, (id, subject));
        }
        old.map(|(_, subject)| subject)
    }

    fn unindex(&mut self, id: u32, subject: &Subject) {
        self.keys.remove(&id);
        let by_label = &mut self.by_label;
        subject.each_label(|name, value| {
            let Some(values) = by_label.get_mut(name) else { return };
            if let Some(ids) = values.get_mut(value) {
                ids.remove(&id);
                if ids.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                by_label.remove(name);
            }
        });
    }

    /// Whom the selector matches.
    pub fn matching<'a>(&'a self, selector: &'a Selector) -> Box<dyn Iterator<Item = &'a Subject> + 'a> {
        let Some(anchors) = selector.anchors() else {
            return Box::new(self.iter().map(|(_, subject)| subject).filter(|subject| selector.matches(*subject)));
        };
        let mut ids = BTreeSet::new();
        for anchor in anchors {
            let Some(values) = self.by_label.get(&anchor.label) else { continue };
            match &anchor.value {
                Some(value) => ids.extend(values.get(value).into_iter().flatten()),
                None => ids.extend(values.values().flatten()),
            }
        }
        let subjects = ids.into_iter().filter_map(|id| self.get(self.keys.get(&id)?));
        Box::new(subjects.filter(|subject| selector.matches(*subject)))
    }
}

/// Selectors under keys, found by the labels of what they could match.
#[derive(Clone, Debug)]
pub(super) struct SelectorIndex<K> {
    by_label: BTreeMap<String, BTreeMap<Option<String>, BTreeSet<K>>>,
    without_label: BTreeSet<K>,
}

impl<K> Default for SelectorIndex<K> {
    fn default() -> Self {
        SelectorIndex { by_label: BTreeMap::new(), without_label: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> SelectorIndex<K> {
    pub fn insert(&mut self, selector: &Selector, key: &K) {
        match selector.anchors() {
            None => {
                self.without_label.insert(key.clone());
            }
            Some(anchors) => anchors.into_iter().for_each(|anchor| {
                self.by_label.entry(anchor.label).or_default().entry(anchor.value).or_default().insert(key.clone());
            }),
        }
    }

    pub fn remove(&mut self, selector: &Selector, key: &K) {
        let Some(anchors) = selector.anchors() else {
            self.without_label.remove(key);
            return;
        };
        for anchor in anchors {
            let Some(values) = self.by_label.get_mut(&anchor.label) else { continue };
            if let Some(keys) = values.get_mut(&anchor.value) {
                keys.remove(key);
                if keys.is_empty() {
                    values.remove(&anchor.value);
                }
            }
            if values.is_empty() {
                self.by_label.remove(&anchor.label);
            }
        }
    }

    /// The keys of the selectors that may match the subject; each must still be asked.
    pub fn candidates(&self, subject: &Subject) -> BTreeSet<K> {
        let mut found = self.without_label.clone();
        subject.each_label(|name, value| {
            let Some(values) = self.by_label.get(name) else { return };
            found.extend(values.get(&None).into_iter().flatten().cloned());
            found.extend(values.get(&Some(value.to_string())).into_iter().flatten().cloned());
        });
        found
    }
}

#[cfg(test)]
#[path = "subjects_tests.rs"]
mod tests;
