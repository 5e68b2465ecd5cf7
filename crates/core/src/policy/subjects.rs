//! Who has which labels and addresses: endpoints of all nodes, host endpoints and network sets; found by label, both
//! ways.
//!
//! Owned by `cluster`. A selector asks for its subjects, a subject asks for its selectors, and neither looks at all
//! of the others as long as the selector demands some label.
//!
//! | file | owns |
//! |---|---|
//! | `place` | the labels that a subject's place in the cluster gives it |
//! | `remote` | endpoints of other nodes, kept small |
//! | `intern` | values that many share |
//! | `index` | numbers and selectors by label |

mod index;
mod intern;
mod place;
mod remote;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Cidr, Endpoint, EndpointKey, HostEndpoint, Labels, NamedPort, NetworkSet, NetworkSetKey, NodeName};

use super::selector::{
    LabelLookup, NAMESPACE_LABEL, NAMESPACE_PREFIX, SERVICE_ACCOUNT_LABEL, SERVICE_ACCOUNT_PREFIX, Selector,
};
use index::LabelIndex;
pub(super) use index::SelectorIndex;
pub(super) use place::{Place, Places};
use remote::{Remote, Remotes};

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
    place: Arc<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Endpoint(Box<Endpoint>),
    NetworkSet(NetworkSet),
    HostEndpoint(Box<HostEndpoint>),
}

/// A subject, whole or as it is kept: what selectors and sets ask of it.
pub(super) trait Party: LabelLookup {
    /// All labels, those that its place in the cluster gives it among them.
    fn each_label(&self, see: &mut dyn FnMut(&str, &str));
    /// Of an endpoint; a network set has prefixes.
    fn addresses(&self) -> Cow<'_, [IpAddr]>;
    /// Its ports that have names.
    fn ports(&self) -> &[NamedPort];
    fn each_net(&self, see: &mut dyn FnMut(Cidr));
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

    fn own_addresses(&self) -> &[IpAddr] {
        match &self.body {
            Body::Endpoint(endpoint) => &endpoint.addresses,
            Body::HostEndpoint(host) => &host.expected_ips,
            Body::NetworkSet(_) => &[],
        }
    }

    pub fn holds(&self, address: IpAddr) -> bool {
        match &self.body {
            Body::NetworkSet(set) => set.nets.iter().any(|net| net.contains(address)),
            Body::Endpoint(_) | Body::HostEndpoint(_) => self.own_addresses().contains(&address),
        }
    }

    fn own_labels(&self) -> &Labels {
        match &self.body {
            Body::Endpoint(endpoint) => &endpoint.labels,
            Body::NetworkSet(set) => &set.labels,
            Body::HostEndpoint(host) => &host.labels,
        }
    }
}

impl Party for Subject {
    fn each_label(&self, see: &mut dyn FnMut(&str, &str)) {
        let own = self.own_labels();
        own.iter().filter(|(name, _)| !is_given(name)).for_each(|(name, value)| see(name, value));
        let inherited = self.place.inherited.iter().filter(|(name, _)| !own.contains_key(*name));
        inherited.chain(&self.place.given).for_each(|(name, value)| see(name, value));
    }

    fn addresses(&self) -> Cow<'_, [IpAddr]> {
        Cow::Borrowed(self.own_addresses())
    }

    fn ports(&self) -> &[NamedPort] {
        match &self.body {
            Body::Endpoint(endpoint) => &endpoint.ports,
            Body::HostEndpoint(host) => &host.ports,
            Body::NetworkSet(_) => &[],
        }
    }

    fn each_net(&self, see: &mut dyn FnMut(Cidr)) {
        match &self.body {
            Body::NetworkSet(set) => set.nets.iter().copied().for_each(see),
            Body::Endpoint(_) | Body::HostEndpoint(_) => {
                self.own_addresses().iter().copied().map(Cidr::host).for_each(see);
            }
        }
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
            return self.place.given.get(name).map(String::as_str);
        }
        self.own_labels().get(name).or_else(|| self.place.inherited.get(name)).map(String::as_str)
    }
}

/// All subjects, and who carries which label. Endpoints of other nodes are kept small, everything else whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Subjects {
    /// Its endpoints are kept whole.
    here: Option<NodeName>,
    remotes: Remotes,
    by_key: BTreeMap<SubjectKey, (u32, Subject)>,
    keys: BTreeMap<u32, SubjectKey>,
    by_label: LabelIndex,
    next: u32,
}

impl Subjects {
    /// As this node sees them.
    pub fn of_node(here: &NodeName) -> Subjects {
        Subjects { here: Some(here.clone()), ..Subjects::default() }
    }

    pub fn get(&self, key: &SubjectKey) -> Option<Cow<'_, Subject>> {
        if let Some((_, subject)) = self.by_key.get(key) {
            return Some(Cow::Borrowed(subject));
        }
        self.remote(key).map(|remote| Cow::Owned(remote.subject()))
    }

    /// One that is kept whole, as those of this node are.
    pub fn whole(&self, key: &SubjectKey) -> Option<&Subject> {
        self.by_key.get(key).map(|(_, subject)| subject)
    }

    /// One that is kept small.
    pub fn remote(&self, key: &SubjectKey) -> Option<Remote<'_>> {
        match key {
            SubjectKey::Endpoint(node, key) => self.remotes.get(node, key),
            SubjectKey::NetworkSet(_) | SubjectKey::HostEndpoint(_) => None,
        }
    }

    /// The endpoints of all nodes, with their nodes.
    pub fn endpoints(&self) -> impl Iterator<Item = (NodeName, Cow<'_, Endpoint>)> {
        let whole = self.by_key.iter().filter_map(|(key, (_, subject))| match key {
            SubjectKey::Endpoint(node, _) => Some((node.clone(), Cow::Borrowed(subject.as_endpoint()?))),
            SubjectKey::NetworkSet(_) | SubjectKey::HostEndpoint(_) => None,
        });
        let remote = self.remotes.iter().map(|remote| remote.endpoint());
        whole.chain(remote.map(|endpoint| (endpoint.node.clone(), Cow::Owned(endpoint))))
    }

    /// Everybody to whom the address belongs.
    pub fn holding(&self, address: IpAddr) -> Vec<Cow<'_, Subject>> {
        let whole = self.by_key.values().map(|(_, subject)| subject).filter(|subject| subject.holds(address));
        let remote = self.remotes.iter().filter(|remote| remote.has_address(address));
        whole.map(Cow::Borrowed).chain(remote.map(|remote| Cow::Owned(remote.subject()))).collect()
    }

    /// The host endpoints, by name.
    pub fn of_hosts(&self) -> impl Iterator<Item = &Subject> {
        let first = SubjectKey::HostEndpoint(String::new());
        self.by_key.range(first..).map(|(_, (_, subject))| subject)
    }

    /// The keys of those whose place gives them the label with that value.
    pub fn with_given(&self, name: &str, value: &str) -> Vec<SubjectKey> {
        let mut keys: Vec<SubjectKey> =
            self.by_label.with(name, value).filter_map(|id| self.keys.get(&id).cloned()).collect();
        keys.append(&mut self.remotes.with_given(name, value));
        keys
    }

    /// Whether an endpoint is one of those that are kept small.
    pub fn is_small(&self, endpoint: &Endpoint) -> bool {
        endpoint.attachment.is_none() && self.here.as_ref() != Some(&endpoint.node)
    }

    /// Whether a small one is there, exactly so.
    pub fn is_known(&self, endpoint: &Endpoint, place: &Arc<Place>) -> bool {
        self.remotes.holds(endpoint, place)
    }

    /// Puts in one that is kept small; there is none under its key.
    pub fn insert_remote(&mut self, endpoint: &Endpoint, place: &Arc<Place>) {
        self.remotes.insert(endpoint, place);
    }

    /// Takes away what there is under the key, whole or small.
    pub fn remove(&mut self, key: &SubjectKey) {
        if let SubjectKey::Endpoint(node, key) = key {
            self.remotes.remove(node, key);
        }
        if let Some((id, subject)) = self.by_key.remove(key) {
            self.keys.remove(&id);
            subject.each_label(&mut |name, value| self.by_label.remove(name, value, id));
        }
    }

    /// Puts in one that is kept whole; there is none under its key.
    pub fn insert(&mut self, key: SubjectKey, subject: Subject) {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        subject.each_label(&mut |name, value| self.by_label.insert(name, value, id));
        self.keys.insert(id, key.clone());
        self.by_key.insert(key, (id, subject));
    }

    /// Whom the selector matches of those that are kept whole.
    pub fn whole_matching<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = (&'a SubjectKey, &'a Subject)> {
        let ids = selector
            .anchors()
            .map(|anchors| anchors.iter().flat_map(|anchor| self.by_label.at(anchor)).collect::<BTreeSet<u32>>());
        let all = ids.is_none().then(|| self.by_key.iter().map(|(key, (_, subject))| (key, subject)));
        let found = ids.into_iter().flatten().filter_map(|id| {
            let (key, (_, subject)) = self.by_key.get_key_value(self.keys.get(&id)?)?;
            Some((key, subject))
        });
        all.into_iter().flatten().chain(found).filter(|(_, subject)| selector.matches(*subject))
    }

    /// Whom the selector matches of those that are kept small.
    pub fn remote_matching<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = Remote<'a>> {
        self.remotes.matching(selector, selector.anchors().as_deref())
    }
}

#[cfg(test)]
#[path = "subjects_tests.rs"]
mod tests;
