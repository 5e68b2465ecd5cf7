//! The facts as they are, or as they would be if what is staged were enforced.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Deref;

use crate::model::ObjectKey;

use super::super::cluster::{Cluster, Staged};
use super::super::subjects::Subject;

/// No policies but those that are enforced.
static ENFORCED: BTreeMap<ObjectKey, Staged> = BTreeMap::new();

/// Whose each of some addresses is, looked up once for all of them.
pub(super) struct Holders<'a>(HashMap<IpAddr, Vec<Cow<'a, Subject>>>);

impl<'a> Holders<'a> {
    pub fn new(by_address: HashMap<IpAddr, Vec<Cow<'a, Subject>>>) -> Holders<'a> {
        Holders(by_address)
    }

    pub fn get(&self, address: IpAddr) -> Vec<Cow<'_, Subject>> {
        self.0.get(&address).into_iter().flatten().map(|holder| Cow::Borrowed(holder.as_ref())).collect()
    }
}

#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    cluster: &'a Cluster,
    staged: &'a BTreeMap<ObjectKey, Staged>,
    holders: Option<&'a Holders<'a>>,
}

impl<'a> View<'a> {
    pub fn enforced(cluster: &'a Cluster) -> View<'a> {
        View { cluster, staged: &ENFORCED, holders: None }
    }

    /// With policies in place of those whose keys they stand under.
    pub fn with(cluster: &'a Cluster, staged: &'a BTreeMap<ObjectKey, Staged>) -> View<'a> {
        View { cluster, staged, holders: None }
    }

    /// With whose each address is looked up before.
    pub fn with_holders(self, holders: &'a Holders<'a>) -> View<'a> {
        View { holders: Some(holders), ..self }
    }

    /// Who has the address, or a prefix with it.
    pub fn holders(&self, address: IpAddr) -> Vec<Cow<'a, Subject>> {
        match self.holders {
            Some(holders) => holders.get(address),
            None => self.cluster.subjects.holding(address),
        }
    }

    pub fn staged(&self) -> &'a BTreeMap<ObjectKey, Staged> {
        self.staged
    }
}

impl Deref for View<'_> {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}
