//! The facts as they are, or as they would be if what is staged were enforced.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;

use crate::model::ObjectKey;

use super::super::cluster::{Cluster, Staged};
use super::super::subjects::Subject;
use super::connections::Holders;

/// No policies but those that are enforced.
static ENFORCED: BTreeMap<ObjectKey, Staged> = BTreeMap::new();

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
