//! The node's configuration from YAML.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::peers::{read_peers, read_ranges};
use super::store;
use super::{
    AddressPool, Announce, ApiConfig, AutoAddress, BackendChoice, BgpConfig, DataPlane, DockerConfig, Failsafe,
    IptablesConfig, LogConfig, LogRules, NodeConfig, Paths, StoreConfig, TunnelConfig, WorkloadConfig,
};
use crate::model::config::AddressConfig;
use crate::model::kind::OWN_VERSION;
use crate::model::yaml::fields::{At, Fields, Report, optional};
use crate::model::yaml::{
    self, YamlError, pool, read_as_number, read_failsafe_port, read_hold_time, read_labels, read_router_id, tree,
};
use crate::model::{InterfaceName, Labels, NodeName};

/// The longest path of a unix socket, in bytes (`sun_path` less its final zero).
const SOCKET_PATH_LIMIT: usize = 107;

/// Reads a node's configuration; `file` is its name for the errors, which are all of the file's.
pub fn read(file: &str, text: &str) -> Result<NodeConfig, Vec<YamlError>> {
    let report = Report::new(file);
    let (documents, broken) = tree::parse(text);
    let start = tree::Mark { line: 1, column: 1 };
    if let Some(error) = broken {
        report.add(error.mark, "", error.what, None);
    } else if documents.is_empty() {
        report.add(start, "", "the file is empty: expected a node's configuration", None);
    }
    if let Some(second) = documents.get(1) {
        report.add(second.mark, "", "a second document: expected one node's configuration", None);
    }
    let config = documents.first().and_then(|document| read_node(&At::root(&report, document)));
    if config.is_none() && report.count() == 0 {
        report.add(start, "", "cannot be read as a node's configuration", None);
    }
    report.conclude(config)?.ok_or_else(Vec::new)
}

fn read_node(at: &At<'_>) -> Option<NodeConfig> {
    let mut fields = at.fields()?;
    if let Some(version) = fields.take("apiVersion") {
        version.one_of("apiVersion", &[(OWN_VERSION, ())]);
    }
    if let Some(kind) = fields.take("kind") {
        kind.one_of("kind", &[("NodeConfig", ())]);
    }
    let node =
        fields.required("node", "the name of this node").and_then(|at| at.parse("the name of a node", NodeName::new));
    let labels = fields.take("labels").map(|at| read_labels(&at));
    let data_plane = fields.take("dataPlane").map(read_data_plane);
    let data_plane = data_plane.unwrap_or(Some(DataPlane::Kernel));
    let paths = section(&mut fields, "paths", read_paths);
    let address = section(&mut fields, "address", read_address);
    let state = paths.as_ref().map_or_else(default_state, |paths| paths.state.clone());
    let store = match fields.take("store") {
        Some(at) => store::read_store(&at, &default_database(&state)),
        None if data_plane == Some(DataPlane::Off) => Some(StoreConfig::None(Box::default())),
        None => Some(StoreConfig::Embedded { path: default_database(&state) }),
    };
    let bgp = read_bgp(&mut fields, data_plane.unwrap_or_default(), address.as_ref());
    let iptables = section(&mut fields, "iptables", read_iptables);
    let workloads = section(&mut fields, "workloads", read_workloads);
    let log_rules = section(&mut fields, "policy", read_log_rules);
    let failsafe = section(&mut fields, "hostEndpoints", read_failsafe);
    let tunnels = section(&mut fields, "tunnels", read_tunnels);
    let api = section(&mut fields, "api", read_api);
    let docker = fields.take("docker").map(|at| read_docker(&at));
    let log = section(&mut fields, "log", read_log);
    let place = fields.at().clone();
    fields.finish();
    let address = address?;
    if data_plane? == DataPlane::Kernel && address == NO_ADDRESS {
        return place.fail_in(
            "address",
            "missing: hosts reach each other's workloads by it",
            Some("write `address: {ipv4: ADDRESS}`, or `address: {auto: [{interface: NAME}]}`".to_string()),
        );
    }
    Some(NodeConfig {
        node: node?,
        labels: labels.unwrap_or_else(|| Some(Labels::new()))?,
        address,
        store: store?,
        bgp: bgp?,
        data_plane: data_plane?,
        iptables: iptables?,
        workloads: workloads?,
        log_rules: log_rules?,
        failsafe: failsafe?,
        tunnels: tunnels?,
        paths: paths?,
        api: api?,
        docker: optional(docker)?,
        log: log?,
    })
}

fn read_data_plane(at: At<'_>) -> Option<DataPlane> {
    // What a tool that speaks YAML 1.1 makes of a plain `off` when it writes the file again.
    match at.word("kernel or off")? {
        "false" => Some(DataPlane::Off),
        _ => at.one_of("data plane", &[("kernel", DataPlane::Kernel), ("off", DataPlane::Off)]),
    }
}

/// A mapping whose every field has a default: where it is absent, it is read as empty.
fn section<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    read: impl FnOnce(&mut Section<'_, '_>) -> Option<T>,
) -> Option<T> {
    let mut inner = match fields.take(name) {
        Some(at) => Some(at.fields()?),
        None => None,
    };
    let value = read(&mut Section { fields: inner.as_mut() });
    if let Some(inner) = inner {
        inner.finish();
    }
    value
}

/// The fields of a section that may be absent as a whole.
struct Section<'s, 't> {
    fields: Option<&'s mut Fields<'t>>,
}

impl<'t> Section<'_, 't> {
    fn take(&mut self, name: &'static str) -> Option<At<'t>> {
        self.fields.as_mut()?.take(name)
    }

    /// The field as `read` has it, else the default; `None` where it was refused.
    fn or<T>(&mut self, name: &'static str, default: T, read: impl FnOnce(&At<'t>) -> Option<T>) -> Option<T> {
        match self.take(name) {
            Some(at) => read(&at),
            None => Some(default),
        }
    }

    fn maybe<T>(&mut self, name: &'static str, read: impl FnOnce(&At<'t>) -> Option<T>) -> Option<Option<T>> {
        optional(self.take(name).map(|at| read(&at)))
    }
}

const NO_ADDRESS: AddressConfig = AddressConfig { ipv4: None, ipv6: None, auto: Vec::new() };

fn read_address(fields: &mut Section<'_, '_>) -> Option<AddressConfig> {
    let ipv4 = fields.maybe("ipv4", |at| read_host_address(at, "IPv4"));
    let ipv6 = fields.maybe("ipv6", |at| read_host_address(at, "IPv6"));
    let auto = fields.or("auto", Vec::new(), |at| {
        if at.is_list() { at.all(|item| read_auto(&item)) } else { read_auto(at).map(|one| vec![one]) }
    });
    Some(AddressConfig { ipv4: ipv4?, ipv6: ipv6?, auto: auto? })
}

/// An address that a host can have.
fn read_host_address<A: std::str::FromStr + Into<IpAddr> + Copy>(at: &At<'_>, family: &str) -> Option<A> {
    let text = at.word(&format!("an {family} address"))?;
    let Ok(address) = text.parse::<A>() else {
        let mend = text.contains('/').then(|| "write the address without its length".to_string());
        return at.fail(format!("\"{text}\" is not an {family} address"), mend);
    };
    let ip: IpAddr = address.into();
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
        return at.fail(format!("{ip} is no address by which other hosts can reach this one"), None);
    }
    Some(address)
}

fn read_auto(at: &At<'_>) -> Option<AutoAddress> {
    let mut fields = at.fields()?;
    let interface = fields.take("interface").map(|at| at.parse("the name of an interface", InterfaceName::new));
    let cidr = fields.take("cidr").map(|at| pool::read_cidr(&at));
    fields.finish();
    match (interface, cidr) {
        (Some(interface), None) => interface.map(AutoAddress::Interface),
        (None, Some(cidr)) => cidr.map(AutoAddress::Cidr),
        (Some(_), Some(_)) => {
            at.fail("interface and cidr exclude each other", Some("make them two entries of the list".to_string()))
        }
        (None, None) => at.fail("expected `interface: NAME` or `cidr: CIDR`", None),
    }
}

fn default_state() -> PathBuf {
    PathBuf::from("/var/lib/routenet")
}

fn default_database(state: &Path) -> PathBuf {
    state.join("cluster.db")
}

/// The mesh's layout is the cluster's, since it holds only where all nodes have the same.
fn read_mesh(at: &At<'_>) -> Option<bool> {
    match at.plain() {
        Some(word @ ("full" | "auto")) => {
            let mend =
                format!("write true, and `mesh: {word}` in the BGPConfiguration `default`, which holds for all nodes");
            at.fail("expected true or false: whether this node takes part", Some(mend))
        }
        _ => at.boolean(),
    }
}

fn read_bgp(fields: &mut Fields<'_>, data_plane: DataPlane, address: Option<&AddressConfig>) -> Option<BgpConfig> {
    let place = fields.at().clone();
    let off = data_plane == DataPlane::Off;
    section(fields, "bgp", |bgp| {
        let as_number = bgp.maybe("as", read_as_number);
        let router_id = bgp.maybe("routerId", read_router_id);
        let cluster_id = bgp.maybe("clusterId", read_router_id);
        let listen = bgp.maybe("listen", |at| {
            if at.is_list() { at.all(|item| read_socket(&item)) } else { read_socket(at).map(|one| vec![one]) }
        });
        let stations = bgp.or("monitoringStations", Vec::new(), |at| at.all(|item| read_socket(&item)));
        let mesh = bgp.or("mesh", !off, read_mesh);
        let announce = bgp.or("announce", Announce::Hosts, |at| {
            at.one_of("value", &[("hosts", Announce::Hosts), ("blocks", Announce::Blocks)])
        });
        let hold_time = bgp.or("holdTime", 90, read_hold_time);
        let connect_retry = bgp.or("connectRetry", 5, |at| at.integer(1, 65535).map(|seconds| seconds as u16));
        let restart_time = bgp.or("gracefulRestart", (120, false, 0), read_graceful_restart);
        let bfd = bgp.or("bfd", None, yaml::read_bfd);
        let peers_at = bgp.take("peers");
        let peers = peers_at.as_ref().map(read_peers).unwrap_or_default();
        let ranges = bgp.or("listenRanges", Vec::new(), read_ranges);
        let filters = bgp.or("filters", Vec::new(), yaml::read_filters);
        let originate_at = bgp.take("originate");
        let originate = originate_at.as_ref().map(|at| at.each(|item| pool::read_cidr(&item))).unwrap_or_default();
        let (as_number, router_id, listen) = (as_number?, router_id?, listen?);
        if let Some(at) = originate_at.filter(|_| !off && !originate.is_empty()) {
            at.fail::<()>(
                "only with `dataPlane: off`: a host announces the routes of its workloads",
                Some("remove it".to_string()),
            );
        }
        if off {
            check_speaker(&place, as_number, router_id.or(address.and_then(|address| address.ipv4)), listen.is_some());
        }
        let listen = listen.unwrap_or_else(|| vec![SocketAddr::from(([0u16; 8], yaml::BGP_PORT))]);
        if let Some((passive, at)) = peers.iter().find(|peer| peer.passive).zip(peers_at)
            && listen.is_empty()
        {
            let what = format!("peer {} is passive, and this node listens nowhere", passive.name);
            at.fail::<()>(what, Some("give bgp.listen an address".to_string()));
        }
        Some(BgpConfig {
            as_number,
            router_id,
            cluster_id: cluster_id?,
            listen,
            stations: stations?,
            mesh: mesh?,
            announce: announce?,
            peers,
            ranges: ranges?,
            filters: filters?,
            hold_time: hold_time?,
            connect_retry: connect_retry?,
            restart_time: restart_time?.0,
            restart_on_notification: restart_time?.1,
            long_lived_time: restart_time?.2,
            bfd: bfd?,
            originate,
        })
    })
}

/// What a speaker without data plane must be told, since neither host nor cluster says it.
fn check_speaker(place: &At<'_>, as_number: Option<u32>, router_id: Option<Ipv4Addr>, listens: bool) {
    if as_number.is_none() {
        place.fail_in::<()>("bgp.as", "missing: with `dataPlane: off` expected an AS number", None);
    }
    if router_id.is_none() {
        let what = "missing: with `dataPlane: off` expected a router id such as 192.0.2.1";
        place.fail_in::<()>("bgp.routerId", what, None);
    }
    if !listens {
        let what = "missing: with `dataPlane: off` expected a list such as [\"127.0.0.1:1179\"], or []";
        place.fail_in::<()>("bgp.listen", what, None);
    }
}

fn read_socket(at: &At<'_>) -> Option<SocketAddr> {
    let text = at.word("ADDRESS:PORT")?;
    match text.parse::<SocketAddr>() {
        Ok(socket) if socket.port() != 0 => Some(socket),
        _ => {
            let mend = match text.parse::<IpAddr>() {
                Ok(address) => Some(format!("write \"{}\"", SocketAddr::new(address, yaml::BGP_PORT))),
                Err(_) => None,
            };
            at.fail(format!("\"{text}\" is not ADDRESS:PORT, such as 192.0.2.1:179 or [::]:179"), mend)
        }
    }
}

/// Seconds, 0 is off; whether it holds over NOTIFICATIONs; and the seconds beyond.
fn read_graceful_restart(at: &At<'_>) -> Option<(u16, bool, u32)> {
    let mut fields = at.fields()?;
    let enabled = fields.take("enabled").map(|at| at.boolean());
    let seconds = fields.take("restartTime").map(|at| at.integer(0, 4095));
    let notification = fields.take("notification").map(|at| at.boolean());
    let long_lived = fields.take("longLivedTime").map(|at| yaml::read_long_lived(&at));
    fields.finish();
    let seconds = seconds.unwrap_or(Some(120))? as u16;
    let long_lived = long_lived.unwrap_or(Some(0))?;
    let (seconds, long_lived) = if enabled.unwrap_or(Some(true))? { (seconds, long_lived) } else { (0, 0) };
    Some((seconds, notification.unwrap_or(Some(false))?, long_lived))
}

fn read_iptables(fields: &mut Section<'_, '_>) -> Option<IptablesConfig> {
    let backend = fields.or("backend", BackendChoice::Auto, |at| at.one_of("back end", &super::write::BACKENDS));
    let mark_mask = fields.or("markMask", 0xffff_0000, |at| {
        let mask = at.integer(0, u64::from(u32::MAX))? as u32;
        if mask.count_ones() < 3 {
            return at.fail(
                format!("{mask:#x} has fewer than the 3 bits that are needed"),
                Some("write a mask such as 0xffff0000".to_string()),
            );
        }
        Some(mask)
    });
    Some(IptablesConfig { backend: backend?, mark_mask: mark_mask? })
}

fn read_workloads(fields: &mut Section<'_, '_>) -> Option<WorkloadConfig> {
    // Less than 1280 does not carry IPv6 (RFC 8200, section 5).
    let mtu = fields.maybe("mtu", |at| at.integer(1280, 65535).map(|mtu| mtu as u32));
    let to_host = fields.or("toHost", false, At::boolean);
    let address_cooldown = fields.or("addressCooldown", 30, |at| at.integer(0, 86_400).map(|seconds| seconds as u32));
    Some(WorkloadConfig { mtu: mtu?, to_host: to_host?, address_cooldown: address_cooldown? })
}

/// What iptables takes for a prefix has 29 characters; the rest is the policy's name.
const LONGEST_PREFIX: usize = 16;

fn read_log_rules(fields: &mut Section<'_, '_>) -> Option<LogRules> {
    let usual = LogRules::default();
    let prefix = fields.or("logPrefix", usual.prefix, |at| {
        let text = at.text()?;
        let sound = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
        match sound && text.len() <= LONGEST_PREFIX {
            true => Some(text.to_string()),
            false => at.fail(
                format!("\"{text}\" is no prefix: at most {LONGEST_PREFIX} letters, digits, `-`, `_`, `.` and `:`"),
                None,
            ),
        }
    });
    let per_second =
        fields.or("logRateLimit", usual.per_second, |at| at.integer(0, 10_000).map(|number| number as u32));
    Some(LogRules { prefix: prefix?, per_second: per_second? })
}

fn read_failsafe(fields: &mut Section<'_, '_>) -> Option<Failsafe> {
    let ports = |at: &At<'_>| at.all(|item| read_failsafe_port(&item));
    let usual = Failsafe::default();
    let inbound = fields.or("failsafeInbound", usual.inbound, ports);
    let outbound = fields.or("failsafeOutbound", usual.outbound, ports);
    Some(Failsafe { inbound: inbound?, outbound: outbound? })
}

fn read_tunnels(fields: &mut Section<'_, '_>) -> Option<TunnelConfig> {
    let vxlan_port = fields.or("vxlanPort", 4789, |at| at.integer(1, 65535).map(|port| port as u16));
    Some(TunnelConfig { vxlan_port: vxlan_port? })
}

fn read_paths(fields: &mut Section<'_, '_>) -> Option<Paths> {
    let state = fields.or("state", default_state(), At::path);
    let socket = fields.or("socket", PathBuf::from("/run/routenet/agent.sock"), read_socket_path);
    Some(Paths { state: state?, socket: socket? })
}

fn read_socket_path(at: &At<'_>) -> Option<PathBuf> {
    let path = at.path()?;
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_LIMIT {
        let what = format!("{length} bytes are too long for a socket's path: at most {SOCKET_PATH_LIMIT}");
        return at.fail(what, Some("choose a shorter path".to_string()));
    }
    Some(path)
}

fn read_docker(at: &At<'_>) -> Option<DockerConfig> {
    let mut fields = at.fields()?;
    let mut section = Section { fields: Some(&mut fields) };
    let socket = section.or("socket", PathBuf::from("/run/docker/plugins/routenet.sock"), read_socket_path);
    let api = section.or("api", PathBuf::from("/run/docker.sock"), read_socket_path);
    let address_pools =
        section.or("addressPools", default_address_pools(), |at| at.all(|pool| read_address_pool(&pool)));
    fields.finish();
    Some(DockerConfig { socket: socket?, api: api?, address_pools: address_pools? })
}

/// A private range that Docker itself and its users rarely take, and a random unique local prefix (RFC 4193).
fn default_address_pools() -> Vec<AddressPool> {
    let pool = |base: &str, size| AddressPool { base: base.parse().expect("a prefix"), size };
    vec![pool("10.208.0.0/12", 20), pool("fd72:6f75:7465::/48", 64)]
}

fn read_address_pool(at: &At<'_>) -> Option<AddressPool> {
    let mut fields = at.fields()?;
    let base = fields.required("base", "the prefix to cut from").and_then(|at| pool::read_cidr(&at));
    let size = fields.required("size", "the prefix length of each cut");
    fields.finish();
    let base = base?;
    let (shortest, longest) = (u64::from(base.length()), u64::from(base.family().bits()) - 2);
    Some(AddressPool { base, size: size?.integer(shortest, longest)? as u8 })
}

fn read_api(fields: &mut Section<'_, '_>) -> Option<ApiConfig> {
    let group = |at: &At<'_>| at.word("the name or number of a group").map(str::to_string);
    let read_group = fields.maybe("readGroup", group);
    let write_group = fields.maybe("writeGroup", group);
    Some(ApiConfig { read_group: read_group?, write_group: write_group? })
}

fn read_log(fields: &mut Section<'_, '_>) -> Option<LogConfig> {
    const LEVELS: [(&str, ()); 6] =
        [("error", ()), ("warn", ()), ("info", ()), ("debug", ()), ("trace", ()), ("off", ())];
    let level = fields.or("level", "info".to_string(), |at| {
        let text = at.word("a level, or a filter such as info,routenet::plane=debug")?;
        if !text.contains(['=', ',']) {
            at.one_of("log level", &LEVELS)?;
        }
        Some(text.to_string())
    });
    Some(LogConfig { level: level? })
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
