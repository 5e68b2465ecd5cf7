//! `store:` of the node's configuration, from YAML.

use std::path::{Path, PathBuf};

use super::peers::read_peers;
use super::{EtcdConfig, StaticCluster, StoreConfig};
use crate::model::validate::check_objects;
use crate::model::yaml::fields::{At, optional};
use crate::model::yaml::pool;
use crate::model::{Cidr, Network, NetworkName, Object, ObjectKey, Pool, PoolName};

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Embedded,
    Etcd,
    None,
}

const TYPES: [(&str, Type); 3] = [("embedded", Type::Embedded), ("etcd", Type::Etcd), ("none", Type::None)];

pub(super) fn read_store(at: &At<'_>, default_database: &Path) -> Option<StoreConfig> {
    let mut fields = at.fields()?;
    let kind = fields.required("type", "embedded, etcd or none").and_then(|at| at.one_of("store type", &TYPES));
    let path = fields.take("path");
    let etcd = Etcd {
        endpoints: fields.take("endpoints"),
        prefix: fields.take("prefix"),
        username: fields.take("username"),
        password_file: fields.take("passwordFile"),
        ca_file: fields.take("caFile"),
        cert_file: fields.take("certFile"),
        key_file: fields.take("keyFile"),
    };
    let pools = fields.take("pools");
    let networks = fields.take("networks");
    let blocks = fields.take("blocks");
    let peers = fields.take("peers");
    let policies = fields.take("policies");
    let place = fields.at().clone();
    fields.finish();
    let kind = kind?;
    if kind != Type::None {
        for given in [&pools, &networks, &blocks, &peers, &policies].into_iter().flatten() {
            given.fail::<()>("only with `type: none`", Some("apply it with routectl instead".to_string()));
        }
    }
    if kind != Type::Embedded
        && let Some(path) = &path
    {
        path.fail::<()>("only with `type: embedded`", Some("remove it".to_string()));
    }
    if kind != Type::Etcd {
        etcd.refuse();
    }
    match kind {
        Type::Embedded => {
            Some(StoreConfig::Embedded { path: path.map_or_else(|| Some(default_database.into()), |at| at.path())? })
        }
        Type::Etcd => etcd.read(&place).map(StoreConfig::Etcd),
        Type::None => {
            let pools = pools.map(|at| read_named(&at, read_pool)).unwrap_or_default();
            let networks = networks.map(|at| read_named(&at, read_network)).unwrap_or_default();
            check_cluster(&pools, &networks);
            let blocks = blocks.map(|at| read_blocks(&at, &pools)).unwrap_or_default();
            Some(StoreConfig::None(Box::new(StaticCluster {
                pools: pools.into_iter().map(|(pool, _)| pool).collect(),
                networks: networks.into_iter().map(|(network, _)| network).collect(),
                blocks,
                peers: peers.map(|at| read_peers(&at)).unwrap_or_default(),
                policies: optional(policies.map(|at| at.path()))?,
            })))
        }
    }
}

/// The fields of an etcd store.
struct Etcd<'t> {
    endpoints: Option<At<'t>>,
    prefix: Option<At<'t>>,
    username: Option<At<'t>>,
    password_file: Option<At<'t>>,
    ca_file: Option<At<'t>>,
    cert_file: Option<At<'t>>,
    key_file: Option<At<'t>>,
}

impl Etcd<'_> {
    fn refuse(&self) {
        let given = [
            &self.endpoints,
            &self.prefix,
            &self.username,
            &self.password_file,
            &self.ca_file,
            &self.cert_file,
            &self.key_file,
        ];
        for at in given.into_iter().flatten() {
            at.fail::<()>("only with `type: etcd`", Some("remove it".to_string()));
        }
    }

    fn read(self, place: &At<'_>) -> Option<EtcdConfig> {
        let Some(endpoints) = self.endpoints else {
            let mend = "write `endpoints: [http://HOST:2379]`".to_string();
            return place.fail_in("endpoints", "missing: where etcd is", Some(mend));
        };
        let endpoints = endpoints.all(|at| read_endpoint(&at));
        let prefix = self.prefix.map_or_else(|| Some("/routenet".to_string()), |at| read_prefix(&at));
        let username = optional(self.username.as_ref().map(|at| at.word("a name").map(str::to_string)));
        let path = |at: &Option<At<'_>>| -> Option<Option<PathBuf>> { optional(at.as_ref().map(At::path)) };
        let (password_file, ca_file) = (path(&self.password_file), path(&self.ca_file));
        let (cert_file, key_file) = (path(&self.cert_file), path(&self.key_file));
        for (one, other, name) in [
            (&self.username, &self.password_file, "passwordFile"),
            (&self.password_file, &self.username, "username"),
            (&self.cert_file, &self.key_file, "keyFile"),
            (&self.key_file, &self.cert_file, "certFile"),
        ] {
            if let (Some(at), None) = (one, other) {
                at.fail::<()>(format!("needs `{name}` beside it"), None);
            }
        }
        Some(EtcdConfig {
            endpoints: endpoints?,
            prefix: prefix?,
            username: username?,
            password_file: password_file?,
            ca_file: ca_file?,
            cert_file: cert_file?,
            key_file: key_file?,
        })
    }
}

fn read_endpoint(at: &At<'_>) -> Option<String> {
    let text = at.word("an address such as http://192.0.2.1:2379")?;
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains('/') => Some(text.to_string()),
        _ => at.fail(
            format!("\"{text}\" is no etcd endpoint"),
            Some("write http://HOST:PORT or https://HOST:PORT".into()),
        ),
    }
}

fn read_prefix(at: &At<'_>) -> Option<String> {
    let text = at.word("a path such as /routenet")?;
    if text.starts_with('/') && !text.ends_with('/') && !text.contains("//") {
        return Some(text.to_string());
    }
    at.fail(format!("\"{text}\" is no prefix of keys"), Some("write a path such as /routenet".to_string()))
}

/// The items of a list with their places, for errors across them.
fn read_named<'t, T>(at: &At<'t>, read: impl Fn(&At<'t>) -> Option<T>) -> Vec<(T, At<'t>)> {
    at.each(|item| read(&item).map(|value| (value, item)))
}

fn read_pool(at: &At<'_>) -> Option<Pool> {
    let mut fields = at.fields()?;
    let name = fields.required("name", "a name").and_then(|at| at.parse("the name of a pool", PoolName::new));
    let cidr = fields.required("cidr", "a CIDR such as 10.65.0.0/16").and_then(|at| pool::read_pool_cidr(&at));
    let pool = pool::read_pool_rest(name.as_ref().map_or("unnamed", PoolName::as_str), cidr, &mut fields);
    fields.finish();
    name.and(pool)
}

fn read_network(at: &At<'_>) -> Option<Network> {
    let mut fields = at.fields()?;
    let name = fields.required("name", "a name").and_then(|at| at.parse("the name of a network", NetworkName::new));
    let network = pool::read_network_rest(name.as_ref().map_or("unnamed", NetworkName::as_str), &mut fields);
    fields.finish();
    name.and(network)
}

/// What the objects of a store would be asked too, and what holds without a store only.
fn check_cluster(pools: &[(Pool, At<'_>)], networks: &[(Network, At<'_>)]) {
    let pool_objects = pools.iter().map(|(pool, at)| (Object::IPPool(pool.clone()), at));
    let network_objects = networks.iter().map(|(network, at)| (Object::Network(network.clone()), at));
    let (objects, places): (Vec<Object>, Vec<&At<'_>>) = pool_objects.chain(network_objects).unzip();
    let place = |key: &ObjectKey| objects.iter().rposition(|object| object.key() == *key).map(|index| places[index]);
    for invalid in check_objects(&[], &objects, &[]).err().unwrap_or_default() {
        if let Some(at) = place(&invalid.object) {
            at.fail_in::<()>(invalid.field.trim_start_matches("spec."), invalid.what, Some(invalid.mend));
        }
    }
    for (index, (network, at)) in networks.iter().enumerate() {
        for (earlier, _) in &networks[..index] {
            if let Some(pool) = network.pools.iter().find(|pool| earlier.pools.contains(pool)) {
                at.fail_in::<()>(
                    "pools",
                    format!("network {} has pool {pool} already: without a store a network is its pools", earlier.name),
                    Some("give each network pools of its own".to_string()),
                );
            }
        }
    }
}

fn read_blocks(at: &At<'_>, pools: &[(Pool, At<'_>)]) -> Vec<Cidr> {
    let mut blocks: Vec<Cidr> = Vec::new();
    at.each(|item| {
        let block = pool::read_cidr(&item)?;
        if let Some(other) = blocks.iter().find(|other| other.overlaps(&block)) {
            return item.fail(format!("{block} overlaps the block {other}"), Some("remove one of them".to_string()));
        }
        if !pools.iter().any(|(pool, _)| pool.cidr.covers(&block)) {
            let mend = "add the pool to store.pools, or correct the block";
            return item.fail::<()>(format!("{block} lies in none of the pools"), Some(mend.to_string()));
        }
        blocks.push(block);
        Some(())
    });
    blocks
}
