//! HostEndpoint and Profile.

use std::net::IpAddr;

use super::fields::{At, Fields};
use super::object::{Meta, read_labels};
use super::policy::{is_port_name, read_protocol, read_rule};
use crate::model::config::FailsafePort;
use crate::model::{HostEndpoint, HostInterface, InterfaceName, NamedPort, NodeName, Profile, Protocol};

pub fn read_host_endpoint(meta: Meta, mut spec: Fields<'_>) -> Option<HostEndpoint> {
    let node = spec.required("node", "the name of a node").and_then(|at| at.parse("the name of a node", NodeName::new));
    let interface = spec.take("interfaceName").map(|at| match at.text()? {
        "*" => Some(HostInterface::Every),
        text if !is_plain(text) => {
            let expected = "expected letters, digits, `-`, `_` and `.`, or * for all";
            at.fail(format!("\"{text}\" is not a name that rules can have for an interface: {expected}"), None)
        }
        _ => at.parse("an interface's name, or *", InterfaceName::new).map(HostInterface::Named),
    });
    let expected = spec.take("expectedIPs");
    let expected_ips = expected.map(|at| at.each(|item| item.parse("an address", str::parse::<IpAddr>)));
    let expected_ips = expected_ips.unwrap_or_default();
    let profiles = spec.take("profiles").map(|at| at.each(|item| item.text().map(str::to_string)));
    let ports = spec.take("ports").map(|at| at.each(|item| read_named_port(&item)));
    let place = spec.at().clone();
    spec.finish();
    if interface.is_none() && expected_ips.is_empty() {
        let mend = "write `interfaceName: NAME`, or `interfaceName: \"*\"` for all of them".to_string();
        return place.fail("neither `interfaceName` nor `expectedIPs` says which interface it is", Some(mend));
    }
    Some(HostEndpoint {
        name: meta.name,
        labels: meta.labels,
        node: node?,
        interface: interface.unwrap_or(Some(HostInterface::ByAddress))?,
        expected_ips,
        profiles: profiles.unwrap_or_default(),
        ports: ports.unwrap_or_default(),
    })
}

/// As Calico has it: in a rule `eth+` would be all that begin with `eth`.
fn is_plain(interface: &str) -> bool {
    !interface.starts_with('-')
        && interface.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

pub fn read_named_port(at: &At<'_>) -> Option<NamedPort> {
    let mut fields = at.fields()?;
    let name = fields.required("name", "the name of the port").and_then(|at| match at.text()? {
        text if is_port_name(text) => Some(text.to_string()),
        text => at.fail(format!("\"{text}\" is not a port's name: it begins with a letter"), None),
    });
    let protocol = fields.required("protocol", "TCP, UDP, SCTP or UDPLite").and_then(|at| match read_protocol(&at)? {
        protocol if protocol.has_ports() => Some(protocol),
        other => at.fail(format!("{other} has no ports"), None),
    });
    let port = fields.required("port", "a number from 1 to 65535").and_then(|at| at.integer(1, 65535));
    fields.finish();
    Some(NamedPort { name: name?, protocol: protocol?, port: port? as u16 })
}

pub fn read_profile(name: &str, mut spec: Fields<'_>) -> Option<Profile> {
    let labels = spec.take("labelsToApply").map(|at| read_labels(&at));
    let mut rules = |name| spec.take(name).map(|at| at.each(|item| read_rule(&item))).unwrap_or_default();
    let (ingress, egress) = (rules("ingress"), rules("egress"));
    spec.finish();
    Some(Profile {
        name: name.to_string(),
        labels_to_apply: labels.unwrap_or_else(|| Some(Default::default()))?,
        ingress,
        egress,
    })
}

/// A port that is never closed: `tcp:22`, or `tcp:22@192.0.2.0/24` for these at the other end.
pub fn read_failsafe_port(at: &At<'_>) -> Option<FailsafePort> {
    let expectation = "PROTOCOL:PORT such as tcp:22, or tcp:22@192.0.2.0/24";
    let text = at.word(expectation)?;
    let (port, net) = match text.split_once('@') {
        Some((port, net)) => (port, Some(net)),
        None => (text, None),
    };
    let read = || {
        let (protocol, port) = port.split_once(':')?;
        let protocol = Protocol::from_name(protocol).filter(|protocol| protocol.has_ports())?;
        let net = net.map(str::parse).transpose().ok()?;
        Some(FailsafePort { protocol, port: port.parse().ok()?, net })
    };
    match read() {
        Some(port) => Some(port),
        None => at.fail(format!("\"{text}\" is not a port: expected {expectation}"), None),
    }
}
