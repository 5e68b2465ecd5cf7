//! WorkloadEndpoint: read for workloads that no runtime makes, written for all.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::fields::{At, Fields};
use super::host::read_named_port;
use super::object::Meta;
use super::write::{named_port_value, put, put_list, texts};
use crate::model::{
    Cidr, Endpoint, EndpointKey, Family, InterfaceName, NetworkName, NodeName, WORKLOAD_INTERFACES, WorkloadEndpoint,
};

pub fn read_workload_endpoint(meta: Meta, mut spec: Fields<'_>) -> Option<WorkloadEndpoint> {
    let node = spec.required("node", "the name of a node").and_then(|at| at.parse("the name of a node", NodeName::new));
    let interface = spec.required("interfaceName", "the host's interface that leads to it");
    let interface = interface.and_then(|at| read_interface(&at));
    let addresses = spec.required("ipNetworks", "its addresses, such as [10.65.0.9/32]");
    let addresses = addresses.and_then(|at| read_addresses(&at));
    let network = spec.take("network").map(|at| at.parse("the name of a network", NetworkName::new));
    let ifname = spec.take("endpoint").map(|at| at.parse("an interface's name", InterfaceName::new));
    let named = ["pod", "workload"].map(|field| spec.take(field).map(|at| at.text().map(str::to_string)));
    let account = spec.take("serviceAccountName").map(|at| at.text().map(str::to_string));
    let profiles = spec.take("profiles").map(|at| at.each(|item| item.text().map(str::to_string)));
    let ports = spec.take("ports").map(|at| at.each(|item| read_named_port(&item))).unwrap_or_default();
    // Who made it and by what name, and what the neighbour protocols find out.
    spec.ignore(&["orchestrator", "containerID", "mac"]);
    spec.finish();
    let namespace = meta.namespace.unwrap_or_default();
    let [pod, workload] = named;
    let key = EndpointKey {
        network: network.unwrap_or_else(|| NetworkName::new("default").ok())?,
        container_id: WorkloadEndpoint::id(&namespace, &meta.name),
        ifname: ifname.unwrap_or_else(|| InterfaceName::new("eth0").ok())?,
    };
    let endpoint = Endpoint {
        key,
        node: node?,
        name: pod.or(workload).unwrap_or_else(|| Some(meta.name.clone()))?,
        namespace,
        service_account: account.map_or(Some(None), |account| account.map(Some))?,
        labels: meta.labels,
        ports,
        profiles,
        addresses: addresses?,
        interface: Some(interface?),
        attachment: None,
    };
    Some(WorkloadEndpoint { name: meta.name, endpoint })
}

/// Rules know workloads by how their interfaces are called, so that an unknown one is closed.
fn read_interface(at: &At<'_>) -> Option<InterfaceName> {
    let name = at.parse("an interface's name", InterfaceName::new)?;
    if name.as_str().starts_with(WORKLOAD_INTERFACES) {
        return Some(name);
    }
    let what = format!("\"{name}\": workloads are known by interfaces whose names begin with {WORKLOAD_INTERFACES}-");
    at.fail(what, Some(format!("ip link set dev {name} name {WORKLOAD_INTERFACES}-NAME, and write that here")))
}

fn read_addresses(at: &At<'_>) -> Option<Vec<IpAddr>> {
    let nets = at.each(|item| {
        let single = |text: &str| text.parse::<IpAddr>().map(Cidr::host).ok();
        let net = match item.text().and_then(single) {
            Some(net) => net,
            None => item.parse("an address, alone or as a /32 or /128", str::parse::<Cidr>)?,
        };
        if !net.is_host() {
            return item.fail(format!("{net} is more than one address"), Some("write it as a /32 or /128".to_string()));
        }
        Some(net.address())
    });
    let of = |family| nets.iter().filter(|address| Family::of(**address) == family).count();
    match Family::BOTH.map(of) {
        [0, 0] => at.fail("it has no address", None),
        [0..=1, 0..=1] => Some(nets),
        _ => at.fail("more than one address of a family", Some("a WorkloadEndpoint for each".to_string())),
    }
}

pub fn workload_endpoint_spec(workload: &WorkloadEndpoint) -> Value {
    let endpoint = &workload.endpoint;
    let mut spec = Map::new();
    spec.insert("node".into(), endpoint.node.to_string().into());
    spec.insert("network".into(), endpoint.key.network.to_string().into());
    spec.insert("workload".into(), endpoint.name.clone().into());
    spec.insert("endpoint".into(), endpoint.key.ifname.to_string().into());
    spec.insert("interfaceName".into(), endpoint.host_interface().to_string().into());
    let nets: Vec<Cidr> = endpoint.addresses.iter().copied().map(Cidr::host).collect();
    put_list(&mut spec, "ipNetworks", texts(&nets));
    put(&mut spec, "serviceAccountName", endpoint.service_account.clone());
    put(&mut spec, "profiles", endpoint.profiles.as_ref().map(|names| json!(names)));
    put_list(&mut spec, "ports", endpoint.ports.iter().map(named_port_value).collect());
    spec.into()
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
