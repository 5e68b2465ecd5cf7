//! The facts as they are, or as they would be if what is staged were enforced.

use std::collections::BTreeMap;
use std::ops::Deref;

use crate::model::ObjectKey;

use super::super::cluster::{Cluster, Staged};

/// No policies but those that are enforced.
static ENFORCED: BTreeMap<ObjectKey, Staged> = BTreeMap::new();

#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    cluster: &'a Cluster,
    staged: &'a BTreeMap<ObjectKey, Staged>,
}

impl<'a> View<'a> {
    pub fn enforced(cluster: &'a Cluster) -> View<'a> {
        View { cluster, staged: &ENFORCED }
    }

    /// With policies in place of those whose keys they stand under.
    pub fn with(cluster: &'a Cluster, staged: &'a BTreeMap<ObjectKey, Staged>) -> View<'a> {
        View { cluster, staged }
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
