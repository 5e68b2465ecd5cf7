//! NetworkDriver: published ports (`-p`). Docker makes no listener for a driver of others; the host's ports lead to the
//! workload by translation in the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use routenet_core::model::{Protocol, PublishedPort};

use super::messages::{Nothing, OfEndpoint, PortBinding};
use super::state::Change;
use super::{Driver, Refusal};
use crate::frontend::Revision;

const PORT_MAP: &str = "com.docker.network.portmap";
/// From which Docker too takes ports that nobody named.
const ANY_PORT: std::ops::RangeInclusive<u16> = 49153..=65535;

impl Driver {
    /// ProgramExternalConnectivity.
    pub(super) async fn publish(&self, request: OfEndpoint) -> Result<Nothing, Refusal> {
        let _turn = self.0.amending.lock().await;
        let mut note = self.endpoint(&request.endpoint_id)?;
        let Some(joined) = note.joined.clone() else {
            return Err(Refusal::bad("ports can be published after Join only"));
        };
        let bindings: Vec<PortBinding> = match request.options.get(PORT_MAP) {
            None | Some(serde_json::Value::Null) => Vec::new(),
            Some(map) => serde_json::from_value(map.clone())
                .map_err(|error| Refusal::bad(format!("the published ports cannot be read: {error}")))?,
        };
        if bindings.is_empty() && note.published.is_empty() {
            return Ok(Nothing {});
        }
        let mut taken: Vec<PublishedPort> = {
            let state = self.state();
            let others = state.endpoints.iter().filter(|(id, _)| **id != request.endpoint_id);
            others.flat_map(|(_, other)| other.published.clone()).collect()
        };
        let mut published = Vec::new();
        for binding in &bindings {
            let port = choose(binding, &taken)?;
            taken.push(port.clone());
            published.push(port);
        }
        note.published = published.clone();
        self.save(vec![Change::Endpoint(request.endpoint_id, Some(note))]).await?;
        let revision = Revision { published: Some(published), ..Revision::default() };
        self.0.hosts.workloads.revise(&joined.key, revision).await?;
        Ok(Nothing {})
    }

    /// RevokeExternalConnectivity; once more is no error.
    pub(super) async fn unpublish(&self, request: OfEndpoint) -> Result<Nothing, Refusal> {
        let _turn = self.0.amending.lock().await;
        let Some(mut note) = self.state().endpoints.get(&request.endpoint_id).cloned() else { return Ok(Nothing {}) };
        let Some(joined) = note.joined.clone().filter(|_| !note.published.is_empty()) else { return Ok(Nothing {}) };
        let revision = Revision { published: Some(Vec::new()), ..Revision::default() };
        self.0.hosts.workloads.revise(&joined.key, revision).await?;
        note.published.clear();
        self.save(vec![Change::Endpoint(request.endpoint_id, Some(note))]).await?;
        Ok(Nothing {})
    }
}

/// The host's port for one binding.
fn choose(binding: &PortBinding, taken: &[PublishedPort]) -> Result<PublishedPort, Refusal> {
    let protocol = Protocol(binding.protocol);
    if !protocol.has_ports() {
        return Err(Refusal::bad(format!("-p: protocol {protocol} has no ports")));
    }
    let host_address = match binding.host_ip.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| Refusal::bad(format!("-p: `{text}` is no address")))?),
    };
    // `0.0.0.0` and `::` say only which family is meant.
    let range = match binding.host_port {
        0 => ANY_PORT,
        first => first..=binding.host_port_end.max(first),
    };
    let mut why = String::new();
    for host_port in range.clone() {
        let port = PublishedPort { protocol, host_address, host_port, port: binding.port };
        match in_the_way(&port, taken) {
            None => return Ok(port),
            Some(what) => why = what,
        }
    }
    if range.start() == range.end() {
        return Err(Refusal::bad(format!("-p {}: {why}", range.start())));
    }
    Err(Refusal::bad(format!("-p: no port from {} to {} is free; {why}", range.start(), range.end())))
}

/// Who has the port, if somebody does.
fn in_the_way(port: &PublishedPort, taken: &[PublishedPort]) -> Option<String> {
    if let Some(other) = taken.iter().find(|other| port.excludes(other)) {
        return Some(format!("port {}/{} is published by another container", other.host_port, other.protocol));
    }
    let addresses = match port.host_address {
        Some(address) => vec![address],
        None => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
    };
    for address in addresses {
        let at = SocketAddr::new(address, port.host_port);
        let bound = match port.protocol {
            Protocol::TCP => TcpListener::bind(at).map(drop),
            Protocol::UDP => UdpSocket::bind(at).map(drop),
            _ => Ok(()),
        };
        match bound {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                return Some(format!("port {}/{} is in use on the host", port.host_port, port.protocol));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable && port.host_address.is_some() => {
                return Some(format!("the host has no address {address}"));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
#[path = "ports_tests.rs"]
mod tests;
