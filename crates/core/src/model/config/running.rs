//! What of a changed file a running `routenetd` takes over, and what waits for its next start.

use super::{BgpConfig, DataPlane, NodeConfig, StaticCluster, StoreConfig};

/// The configuration that is in force once `read` was taken over by one that runs with `running`, and the fields of which the
/// present start keeps what it had.
///
/// A speaker alone takes over nearly all. A node with a data plane takes over what concerns its BGP sessions, and the
/// neighbours of a node without a store: pools, addresses and planes are the start's.
///
/// # Errors
/// In words: the two are no configurations of one kind of node.
pub fn take_over(running: &NodeConfig, read: &NodeConfig) -> Result<(NodeConfig, Vec<&'static str>), String> {
    if read.data_plane != running.data_plane {
        return Err("dataPlane cannot change while it runs: take that back, or restart routenetd".to_string());
    }
    let alone = running.data_plane == DataPlane::Off;
    let mut waits = Vec::new();
    let NodeConfig {
        node,
        labels,
        address,
        store,
        bgp,
        data_plane: _,
        iptables,
        workloads,
        log_rules,
        failsafe,
        tunnels,
        paths,
        api,
        docker,
        log,
    } = read;
    let kept_by_all = [
        ("node", *node != running.node),
        ("paths", *paths != running.paths),
        ("api", *api != running.api),
        ("log", *log != running.log),
        ("bgp.monitoringStations", bgp.stations != running.bgp.stations),
    ];
    let kept_by_planes = [
        ("labels", *labels != running.labels),
        ("address", *address != running.address),
        ("iptables", *iptables != running.iptables),
        ("workloads", *workloads != running.workloads),
        ("policy", *log_rules != running.log_rules),
        ("hostEndpoints", *failsafe != running.failsafe),
        ("tunnels", *tunnels != running.tunnels),
        ("docker", *docker != running.docker),
    ];
    waits.extend(kept_by_all.into_iter().chain(kept_by_planes.into_iter().filter(|_| !alone)));
    let taken = if alone {
        NodeConfig {
            node: running.node.clone(),
            paths: running.paths.clone(),
            api: running.api.clone(),
            log: running.log.clone(),
            bgp: BgpConfig { stations: running.bgp.stations.clone(), ..bgp.clone() },
            ..read.clone()
        }
    } else {
        let (bgp, of_bgp) = bgp_beside_planes(&running.bgp, bgp);
        let (store, of_store) = store_beside_planes(&running.store, store);
        waits.extend(of_bgp.into_iter().chain(of_store));
        NodeConfig { bgp, store, ..running.clone() }
    };
    Ok((taken, waits.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()))
}

type Fields = Vec<(&'static str, bool)>;

/// What a node says of itself to the others stays, and so does what it listens on, since that is a part of it.
fn bgp_beside_planes(running: &BgpConfig, read: &BgpConfig) -> (BgpConfig, Fields) {
    let BgpConfig {
        as_number,
        router_id,
        listen,
        stations,
        mesh,
        announce,
        originate,
        cluster_id: _,
        peers: _,
        ranges: _,
        filters: _,
        hold_time: _,
        connect_retry: _,
        restart_time: _,
        restart_on_notification: _,
        long_lived_time: _,
        bfd: _,
    } = running.clone();
    let waits = vec![
        ("bgp.as", read.as_number != as_number),
        ("bgp.routerId", read.router_id != router_id),
        ("bgp.listen", read.listen != listen),
        ("bgp.mesh", read.mesh != mesh),
        ("bgp.announce", read.announce != announce),
        ("bgp.originate", read.originate != originate),
    ];
    let taken = BgpConfig { as_number, router_id, listen, stations, mesh, announce, originate, ..read.clone() };
    (taken, waits)
}

fn store_beside_planes(running: &StoreConfig, read: &StoreConfig) -> (StoreConfig, Fields) {
    match (running, read) {
        (StoreConfig::None(running), StoreConfig::None(read)) => {
            let StaticCluster { pools, networks, blocks, peers, policies } = &**read;
            let waits = vec![
                ("store.pools", *pools != running.pools),
                ("store.networks", *networks != running.networks),
                ("store.blocks", *blocks != running.blocks),
                ("store.policies", *policies != running.policies),
            ];
            (StoreConfig::None(Box::new(StaticCluster { peers: peers.clone(), ..(**running).clone() })), waits)
        }
        _ => (running.clone(), vec![("store", read != running)]),
    }
}

#[cfg(test)]
#[path = "running_tests.rs"]
mod tests;
