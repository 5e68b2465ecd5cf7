//! What its place in the cluster gives a subject: labels of its namespace, network, service account and Profiles.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};

use crate::model::{Action, Endpoint, HostEndpoint, Labels, NetworkName, NetworkSet, PolicyRule, Profile};

use super::super::selector::{
    NAMESPACE_LABEL, NAMESPACE_NAME_LABELS, NAMESPACE_PREFIX, SERVICE_ACCOUNT_LABEL, SERVICE_ACCOUNT_PREFIX,
};
use super::{Body, NETWORK_LABEL, Subject, is_given, namespace_profile, profile_label, service_account_profile};

/// The same for all who stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::policy) struct Place {
    /// What nobody may claim for himself.
    pub given: Labels,
    /// What Profiles add; a subject's own labels outrank them.
    pub inherited: Labels,
}

/// The labels of namespaces, of service accounts (by namespace and name) and of profiles, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct Places {
    namespaces: BTreeMap<String, Labels>,
    service_accounts: BTreeMap<(String, String), Labels>,
    /// What each Profile applies.
    profiles: BTreeMap<String, Labels>,
    /// The places that endpoints stood at since the last change of the above.
    of_endpoints: HashMap<Standing, Arc<Place>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Standing {
    namespace: String,
    network: NetworkName,
    account: Option<String>,
    profiles: Option<Vec<String>>,
}

/// As [`Standing`], borrowed; hashes alike.
#[derive(Hash)]
struct StandingOf<'a> {
    namespace: &'a str,
    network: &'a NetworkName,
    account: Option<&'a str>,
    profiles: Option<&'a [String]>,
}

impl Equivalent<Standing> for StandingOf<'_> {
    fn equivalent(&self, known: &Standing) -> bool {
        self.namespace == known.namespace
            && *self.network == known.network
            && self.account == known.account.as_deref()
            && self.profiles == known.profiles.as_deref()
    }
}

impl Places {
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        self.of_endpoints.clear();
        match labels {
            Some(labels) => self.namespaces.insert(name.to_string(), labels),
            None => self.namespaces.remove(name),
        };
    }

    pub fn set_service_account(&mut self, namespace: &str, name: &str, labels: Option<Labels>) {
        self.of_endpoints.clear();
        let key = (namespace.to_string(), name.to_string());
        match labels {
            Some(labels) => self.service_accounts.insert(key, labels),
            None => self.service_accounts.remove(&key),
        };
    }

    pub fn set_profile(&mut self, name: &str, labels: Option<Labels>) {
        self.of_endpoints.clear();
        match labels {
            Some(labels) => self.profiles.insert(name.to_string(), labels),
            None => self.profiles.remove(name),
        };
    }

    pub fn has_profile(&self, name: &str) -> bool {
        self.profiles.contains_key(name)
    }

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

    pub fn endpoint(&mut self, endpoint: Endpoint) -> Subject {
        let place = self.of_endpoint(&endpoint);
        Subject { body: Body::Endpoint(Box::new(endpoint)), place }
    }

    pub fn host_endpoint(&self, host: HostEndpoint) -> Subject {
        let place = Arc::new(self.with_profiles(Labels::new(), &host.profiles));
        Subject { body: Body::HostEndpoint(Box::new(host)), place }
    }

    pub fn network_set(&self, set: NetworkSet) -> Subject {
        let given = set.namespace.as_ref().map(|namespace| self.of_namespace(namespace)).unwrap_or_default();
        Subject { body: Body::NetworkSet(set), place: Arc::new(Place { given, inherited: Labels::new() }) }
    }

    /// Labels of its namespace and service account come by their Profiles: not to one that names others only.
    pub fn of_endpoint(&mut self, endpoint: &Endpoint) -> Arc<Place> {
        let standing = StandingOf {
            namespace: &endpoint.namespace,
            network: &endpoint.key.network,
            account: endpoint.service_account.as_deref(),
            profiles: endpoint.profiles.as_deref(),
        };
        if let Some(place) = self.of_endpoints.get(&standing) {
            return place.clone();
        }
        let place = Arc::new(self.of_standing(&standing));
        let standing = Standing {
            namespace: endpoint.namespace.clone(),
            network: endpoint.key.network.clone(),
            account: endpoint.service_account.clone(),
            profiles: endpoint.profiles.clone(),
        };
        self.of_endpoints.insert(standing, place.clone());
        place
    }

    fn of_standing(&self, at: &StandingOf) -> Place {
        let named = |profile: &String| at.profiles.is_none_or(|names| names.contains(profile));
        let mut given = match named(&namespace_profile(at.namespace)) {
            true => self.of_namespace(at.namespace),
            false => Labels::from([(NAMESPACE_LABEL.to_string(), at.namespace.to_string())]),
        };
        given.insert(NETWORK_LABEL.to_string(), at.network.to_string());
        if let Some(account) = at.account {
            given.insert(SERVICE_ACCOUNT_LABEL.to_string(), account.to_string());
            let labels = self.service_accounts.get(&(at.namespace.to_string(), account.to_string()));
            let labels = labels.filter(|_| named(&service_account_profile(at.namespace, account)));
            let labels = labels.into_iter().flatten();
            given.extend(labels.map(|(name, value)| (format!("{SERVICE_ACCOUNT_PREFIX}{name}"), value.clone())));
        }
        self.with_profiles(given, at.profiles.unwrap_or_default())
    }

    fn with_profiles(&self, mut given: Labels, profiles: &[String]) -> Place {
        given.extend(profiles.iter().map(|name| (profile_label(name), String::new())));
        let mut inherited = Labels::new();
        for (name, value) in profiles.iter().filter_map(|name| self.profiles.get(name)).flatten() {
            if !is_given(name) {
                inherited.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        Place { given, inherited }
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
