//! Who has which labels and addresses: endpoints of all nodes and network sets; found by label, both ways.
//!
//! Owned by `cluster`. A selector asks for its subjects, a subject asks for its selectors, and neither looks at all
//! of the others as long as the selector demands some label.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{
    Action, Cidr, Endpoint, EndpointKey, HostEndpoint, Labels, NamedPort, NetworkSet, NetworkSetKey, NodeName,
    PolicyRule, Profile,
};

use super::selector::{
    LabelLookup, NAMESPACE_LABEL, NAMESPACE_NAME_LABELS, NAMESPACE_PREFIX, SERVICE_ACCOUNT_LABEL,
    SERVICE_ACCOUNT_PREFIX, Selector,
};

/// The network of an endpoint, as a label. The grammar has no spaces in names, so no user's selector can say it.
pub(super) const NETWORK_LABEL: &str = "the network";

/// The Profile that a namespace brings, as in Calico: it lets everything through.
pub(super) fn namespace_profile(namespace: &str) -> String {
    format!("kns.{namespace}")
}

/// The Profile that a service account brings, as in Calico: it has no rules.
pub(super) fn service_account_profile(namespace: &str, name: &str) -> String {
    format!("ksa.{namespace}.{name}")
}

/// Carried by who names the Profile; likewise.
pub(super) fn profile_label(profile: &str) -> String {
    format!("the profile {profile}")
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SubjectKey {
    Endpoint(NodeName, EndpointKey),
    NetworkSet(NetworkSetKey),
    HostEndpoint(String),
}

/// Something that selectors in rules can match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub body: Body,
    /// The labels that its place in the cluster gives it, and that nobody may claim for himself.
    given: Labels,
    /// The labels that its Profiles add to its own.
    inherited: Labels,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Endpoint(Box<Endpoint>),
    NetworkSet(NetworkSet),
    HostEndpoint(Box<HostEndpoint>),
}

/// The labels of namespaces, of service accounts (by namespace and name) and of profiles, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub namespaces: BTreeMap<String, Labels>,
    pub service_accounts: BTreeMap<(String, String), Labels>,
    /// What each Profile applies.
    pub profiles: BTreeMap<String, Labels>,
}

impl Places {
    /// What lets everything through for the Profile of a namespace, and nothing for that of a service account.
    pub fn built_in_profile(&self, name: &str) -> Option<Profile> {
        let of_namespace = name.strip_prefix("kns.").is_some_and(|namespace| self.namespaces.contains_key(namespace));
        // A namespace has no dots in its name.
        let account = name.strip_prefix("ksa.").and_then(|rest| rest.split_once('.'));
        let account = account.map(|(namespace, name)| (namespace.to_string(), name.to_string()));
        if !of_namespace && !account.is_some_and(|account| self.service_accounts.contains_key(&account)) {
            return None;
        }
        let rules = if of_namespace { vec![PolicyRule::any(Action::Allow)] } else { Vec::new() };
        let labels_to_apply = Labels::new();
        Some(Profile { name: name.to_string(), labels_to_apply, ingress: rules.clone(), egress: rules })
    }

    /// Labels of its namespace and service account come by their Profiles: not to one that names others only.
    pub fn endpoint(&self, endpoint: Endpoint) -> Subject {
        let named = |profile: &String| endpoint.profiles.as_ref().is_none_or(|names| names.contains(profile));
        let mut given = match named(&namespace_profile(&endpoint.namespace)) {
            true => self.of_namespace(&endpoint.namespace),
            false => Labels::from([(NAMESPACE_LABEL.to_string(), endpoint.namespace.clone())]),
        };
        given.insert(NETWORK_LABEL.to_string(), endpoint.key.network.to_string());
        if let Some(account) = &endpoint.service_account {
            given.insert(SERVICE_ACCOUNT_LABEL.to_string(), account.clone());
            let labels = self.service_accounts.get(&(endpoint.namespace.clone(), account.clone()));
            let labels = labels.filter(|_| named(&service_account_profile(&endpoint.namespace, account)));
            given.extend(
                labels
                    .into_iter()
                    .flatten()
                    .map(|(name, value)| (format!("{SERVICE_ACCOUNT_PREFIX}{name}"), value.clone())),
            );
        }
        let profiles = endpoint.profiles.clone().unwrap_or_default();
        self.with_profiles(Body::Endpoint(Box::new(endpoint)), given, &profiles)
    }

    pub fn host_endpoint(&self, host: HostEndpoint) -> Subject {
        let profiles = host.profiles.clone();
        self.with_profiles(Body::HostEndpoint(Box::new(host)), Labels::new(), &profiles)
    }

    fn with_profiles(&self, body: Body, mut given: Labels, profiles: &[String]) -> Subject {
        given.extend(profiles.iter().map(|name| (profile_label(name), String::new())));
        let mut subject = Subject { body, given, inherited: Labels::new() };
        for (name, value) in profiles.iter().filter_map(|name| self.profiles.get(name)).flatten() {
            if !is_given(name) && !subject.own_labels().contains_key(name) {
                subject.inherited.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        subject
    }

    pub fn network_set(&self, set: NetworkSet) -> Subject {
        let given = set.namespace.as_ref().map(|namespace| self.of_namespace(namespace)).unwrap_or_default();
        Subject { body: Body::NetworkSet(set), given, inherited: Labels::new() }
    }

    fn of_namespace(&self, namespace: &str) -> Labels {
        let labels = self.namespaces.get(namespace).into_iter().flatten();
        let mut given: Labels =
            labels.map(|(name, value)| (format!("{NAMESPACE_PREFIX}{name}"), value.clone())).collect();
        given.insert(NAMESPACE_LABEL.to_string(), namespace.to_string());
        for name in NAMESPACE_NAME_LABELS {
            given.insert(format!("{NAMESPACE_PREFIX}{name}"), namespace.to_string());
        }
        given
    }
}

impl Subject {
    pub fn as_endpoint(&self) -> Option<&Endpoint> {
        match &self.body {
            Body::Endpoint(endpoint) => Some(endpoint),
            Body::NetworkSet(_) | Body::HostEndpoint(_) => None,
        }
    }

    pub fn as_host_endpoint(&self) -> Option<&HostEndpoint> {
        match &self.body {
            Body::HostEndpoint(host) => Some(host),
            Body::NetworkSet(_) | Body::Endpoint(_) => None,
        }
    }

    /// Its ports that have names.
    pub fn ports(&self) -> &[NamedPort] {
        match &self.body {
            Body::Endpoint(endpoint) => &endpoint.ports,
            Body::HostEndpoint(host) => &host.ports,
            Body::NetworkSet(_) => &[],
        }
    }

    /// Of an endpoint; a network set has prefixes.
    pub fn addresses(&self) -> &[IpAddr] {
        match &self.body {
            Body::Endpoint(endpoint) => &endpoint.addresses,
            Body::HostEndpoint(host) => &host.expected_ips,
            Body::NetworkSet(_) => &[],
        }
    }

    pub fn nets(&self) -> Vec<Cidr> {
        match &self.body {
            Body::NetworkSet(set) => set.nets.clone(),
            Body::Endpoint(_) | Body::HostEndpoint(_) => self.addresses().iter().copied().map(Cidr::host).collect(),
        }
    }

    pub fn holds(&self, address: IpAddr) -> bool {
        match &self.body {
            Body::NetworkSet(set) => set.nets.iter().any(|net| net.contains(address)),
            Body::Endpoint(_) | Body::HostEndpoint(_) => self.addresses().contains(&address),
        }
    }

    fn own_labels(&self) -> &Labels {
        match &self.body {
            Body::Endpoint(endpoint) => &endpoint.labels,
            Body::NetworkSet(set) => &set.labels,
            Body::HostEndpoint(host) => &host.labels,
        }
    }

    /// All labels, those that its place in the cluster gives it among them.
    fn each_label(&self, mut see: impl FnMut(&str, &str)) {
        let own = self.own_labels().iter().filter(|(name, _)| !is_given(name));
        own.chain(&self.inherited).chain(&self.given).for_each(|(name, value)| see(name, value));
    }
}

/// Whether the label comes from the subject's place in the cluster, so that nobody may claim it for himself.
fn is_given(label: &str) -> bool {
    [NAMESPACE_LABEL, NETWORK_LABEL, SERVICE_ACCOUNT_LABEL].contains(&label)
        || label.starts_with(NAMESPACE_PREFIX)
        || label.starts_with(SERVICE_ACCOUNT_PREFIX)
        || label.starts_with("the profile ")
}

impl LabelLookup for Subject {
    fn label(&self, name: &str) -> Option<&str> {
        if is_given(name) {
            return self.given.get(name).map(String::as_str);
        }
        self.own_labels().get(name).or_else(|| self.inherited.get(name)).map(String::as_str)
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

    /// The host endpoints, by name.
    pub fn of_hosts(&self) -> impl Iterator<Item = &Subject> {
        let first = SubjectKey::HostEndpoint(String::new());
        self.by_key.range(first..).map(|(_, (_, subject))| subject)
    }

    /// The keys of those that carry the label with that value.
    pub fn with_label(&self, name: &str, value: &str) -> Vec<SubjectKey> {
        let ids = self.by_label.get(name).and_then(|values| values.get(value)).into_iter().flatten();
        ids.filter_map(|id| self.keys.get(id).cloned()).collect()
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
