//! The configuration in force, as YAML in the order of the reference. Read back, it is the same configuration.

use std::path::Path;

use serde_yaml::{Mapping, Value};

use super::{
    AddressPool, Announce, AutoAddress, BackendChoice, DataPlane, DockerConfig, FailsafePort, NodeConfig, PeerRange,
    StaticCluster, StoreConfig,
};
use crate::model::kind::OWN_VERSION;
use crate::model::yaml::{filter_spec, import_word, isolation_word, mode_field, mode_word, write_options};
use crate::model::{BfdSettings, BgpFilter, BgpPeer, Network, Pool, TunnelKind};

pub const BACKENDS: [(&str, BackendChoice); 3] =
    [("auto", BackendChoice::Auto), ("nft", BackendChoice::Nft), ("legacy", BackendChoice::Legacy)];

/// Every setting, the defaults too. What is decided only on the machine (an absent MTU, an automatic address) is
/// absent here as well.
pub fn to_yaml(config: &NodeConfig) -> String {
    let mut top = Map::default();
    top.put("apiVersion", OWN_VERSION);
    top.put("kind", "NodeConfig");
    top.put("node", config.node.as_str());
    let mut labels = Map::default();
    for (key, value) in &config.labels {
        labels.put(key, value.as_str());
    }
    top.put("labels", labels);
    top.put("dataPlane", if config.data_plane == DataPlane::Off { "off" } else { "kernel" });
    top.put("address", address(config));
    top.put("store", store(&config.store));
    top.put("bgp", bgp(config));
    let mut iptables = Map::default();
    let backend = BACKENDS.iter().find(|(_, backend)| *backend == config.iptables.backend);
    iptables.maybe("backend", backend.map(|(name, _)| *name));
    iptables.put("markMask", u64::from(config.iptables.mark_mask));
    top.put("iptables", iptables);
    let mut workloads = Map::default();
    workloads.maybe("mtu", config.workloads.mtu);
    workloads.put("toHost", config.workloads.to_host);
    workloads.put("addressCooldown", config.workloads.address_cooldown);
    top.put("workloads", workloads);
    let mut policy = Map::default();
    policy.put("logPrefix", config.log_rules.prefix.as_str());
    policy.put("logRateLimit", config.log_rules.per_second);
    top.put("policy", policy);
    let mut hosts = Map::default();
    hosts.put("failsafeInbound", failsafe_ports(&config.failsafe.inbound));
    hosts.put("failsafeOutbound", failsafe_ports(&config.failsafe.outbound));
    top.put("hostEndpoints", hosts);
    let mut tunnels = Map::default();
    tunnels.put("vxlanPort", config.tunnels.vxlan_port);
    top.put("tunnels", tunnels);
    let mut paths = Map::default();
    paths.put("state", path(&config.paths.state));
    paths.put("socket", path(&config.paths.socket));
    top.put("paths", paths);
    let mut api = Map::default();
    api.maybe("readGroup", config.api.read_group.clone());
    api.maybe("writeGroup", config.api.write_group.clone());
    top.put("api", api);
    top.maybe("docker", config.docker.as_ref().map(docker));
    let mut log = Map::default();
    log.put("level", config.log.level.as_str());
    top.put("log", log);
    serde_yaml::to_string(&top.0).expect("a mapping with text keys is YAML")
}

/// A mapping in the order of writing.
#[derive(Default)]
struct Map(Mapping);

impl Map {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.into(), value.into());
    }

    fn maybe(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Value {
        Value::Mapping(map.0)
    }
}

fn failsafe_ports(ports: &[FailsafePort]) -> Vec<Value> {
    ports.iter().map(|port| port.to_string().into()).collect()
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn texts<T: ToString>(values: &[T]) -> Vec<Value> {
    values.iter().map(|value| value.to_string().into()).collect()
}

fn address(config: &NodeConfig) -> Map {
    let mut address = Map::default();
    address.maybe("ipv4", config.address.ipv4.map(|ip| ip.to_string()));
    address.maybe("ipv6", config.address.ipv6.map(|ip| ip.to_string()));
    let auto = |auto: &AutoAddress| {
        let mut entry = Map::default();
        match auto {
            AutoAddress::Interface(name) => entry.put("interface", name.as_str()),
            AutoAddress::Cidr(cidr) => entry.put("cidr", cidr.to_string()),
        }
        Value::from(entry)
    };
    address.put("auto", config.address.auto.iter().map(auto).collect::<Vec<Value>>());
    address
}

fn docker(config: &DockerConfig) -> Map {
    let mut docker = Map::default();
    docker.put("socket", path(&config.socket));
    docker.put("api", path(&config.api));
    let pool = |pool: &AddressPool| {
        let mut entry = Map::default();
        entry.put("base", pool.base.to_string());
        entry.put("size", u64::from(pool.size));
        Value::from(entry)
    };
    docker.put("addressPools", config.address_pools.iter().map(pool).collect::<Vec<Value>>());
    docker
}

fn store(config: &StoreConfig) -> Map {
    let mut store = Map::default();
    match config {
        StoreConfig::Embedded { path: file } => {
            store.put("type", "embedded");
            store.put("path", path(file));
        }
        StoreConfig::Etcd(etcd) => {
            store.put("type", "etcd");
            store.put("endpoints", texts(&etcd.endpoints));
            store.put("prefix", etcd.prefix.as_str());
            store.maybe("username", etcd.username.clone());
            for (key, file) in [
                ("passwordFile", &etcd.password_file),
                ("caFile", &etcd.ca_file),
                ("certFile", &etcd.cert_file),
                ("keyFile", &etcd.key_file),
            ] {
                store.maybe(key, file.as_deref().map(path));
            }
        }
        StoreConfig::None(cluster) => {
            store.put("type", "none");
            put_cluster(&mut store, cluster);
        }
    }
    store
}

fn put_cluster(store: &mut Map, cluster: &StaticCluster) {
    store.put("pools", cluster.pools.iter().map(|each| pool(each).into()).collect::<Vec<Value>>());
    store.put("networks", cluster.networks.iter().map(|each| network(each).into()).collect::<Vec<Value>>());
    store.put("blocks", texts(&cluster.blocks));
    store.put("peers", cluster.peers.iter().map(|each| peer(each).into()).collect::<Vec<Value>>());
    store.maybe("policies", cluster.policies.as_deref().map(path));
}

fn pool(pool: &Pool) -> Map {
    let mut map = Map::default();
    map.put("name", pool.name.as_str());
    map.put("cidr", pool.cidr.to_string());
    map.put("blockSize", pool.block_size);
    map.put("disabled", pool.disabled);
    map.put("nodeSelector", pool.node_selector.as_str());
    map.put("unreachableRoute", pool.unreachable_route);
    for kind in TunnelKind::ALL {
        map.put(mode_field(kind), mode_word(pool, kind));
    }
    map.put("natOutgoing", pool.nat_outgoing);
    map
}

fn network(network: &Network) -> Map {
    let mut map = Map::default();
    map.put("name", network.name.as_str());
    map.put("pools", texts(&network.pools));
    map.put("isolation", isolation_word(network.isolation));
    map
}

fn peer(peer: &BgpPeer) -> Map {
    let mut map = Map::default();
    map.put("name", peer.name.as_str());
    map.put(if peer.unnumbered().is_some() { "interface" } else { "address" }, peer.place());
    map.put("as", serde_yaml::to_value(peer.as_number).expect("a number or a word"));
    map.put("port", peer.port);
    map.put("passive", peer.passive);
    map.put("import", import_word(peer.import));
    map.maybe("holdTime", peer.hold_time);
    map.maybe("ttlSecurity", peer.transport.ttl_security);
    map.maybe("passwordFile", peer.transport.password_file.clone());
    for (key, value) in write_options(&peer.options) {
        map.put(key, serde_yaml::to_value(value).expect("JSON is YAML"));
    }
    map.maybe("bfd", peer.bfd.map(bfd));
    map
}

fn bfd(bfd: BfdSettings) -> Map {
    let mut map = Map::default();
    map.put("interval", format!("{}ms", bfd.interval_ms));
    map.put("multiplier", bfd.multiplier);
    map.put("multihop", bfd.multihop);
    map.maybe("minimumTTL", bfd.minimum_ttl);
    map
}

fn range(range: &PeerRange) -> Map {
    let mut map = Map::default();
    map.put("prefix", range.prefix.to_string());
    map.put("limit", range.limit);
    let of_range = |key: &str| !["name", "address", "interface", "port", "passive"].contains(&key);
    for (key, value) in peer(&range.peer).0.into_iter().filter(|(key, _)| key.as_str().is_some_and(of_range)) {
        map.0.insert(key, value);
    }
    map
}

/// The name beside the rules, since the file has no `metadata`.
fn filter(filter: &BgpFilter) -> Value {
    let mut map = serde_json::Map::new();
    map.insert("name".into(), filter.name.clone().into());
    map.extend(filter_spec(filter));
    serde_yaml::to_value(map).expect("JSON is YAML")
}

fn bgp(config: &NodeConfig) -> Map {
    let bgp = &config.bgp;
    let mut map = Map::default();
    map.maybe("as", bgp.as_number);
    map.maybe("routerId", bgp.router_id.map(|id| id.to_string()));
    map.maybe("clusterId", bgp.cluster_id.map(|id| id.to_string()));
    map.put("listen", texts(&bgp.listen));
    map.put("monitoringStations", texts(&bgp.stations));
    map.put("mesh", bgp.mesh);
    map.put("announce", if bgp.announce == Announce::Blocks { "blocks" } else { "hosts" });
    map.put("holdTime", bgp.hold_time);
    map.put("connectRetry", bgp.connect_retry);
    let mut restart = Map::default();
    restart.put("restartTime", bgp.restart_time);
    restart.put("notification", bgp.restart_on_notification);
    restart.put("longLivedTime", bgp.long_lived_time);
    map.put("gracefulRestart", restart);
    map.maybe("bfd", bgp.bfd.map(bfd));
    map.put("peers", bgp.peers.iter().map(|each| peer(each).into()).collect::<Vec<Value>>());
    map.put("listenRanges", bgp.ranges.iter().map(|each| range(each).into()).collect::<Vec<Value>>());
    map.put("filters", bgp.filters.iter().map(filter).collect::<Vec<Value>>());
    if config.data_plane == DataPlane::Off {
        map.put("originate", texts(&bgp.originate));
    }
    map
}
