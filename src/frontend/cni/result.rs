//! Results and errors in the version asked for.

use std::fmt;
use std::net::IpAddr;

use routenet_core::desired::{GATEWAY4, GATEWAY6, HOST_MAC};
use routenet_core::model::{Cidr, Endpoint};
use serde_json::{Value, json};

use super::config::Config;
use crate::frontend::{AttachError, Failed};

/// An error result. Codes from 100 are ours: 100 internal, 101 the interface exists, 102 the pools are full,
/// 103 CHECK found something broken, 104 the address that was asked for is not to be had.
#[derive(Debug)]
pub struct CniError {
    code: u32,
    msg: String,
    details: String,
}

impl CniError {
    pub fn new(code: u32, msg: impl Into<String>, details: impl Into<String>) -> Self {
        CniError { code, msg: msg.into(), details: details.into() }
    }

    pub fn to_json(&self, version: &str) -> Value {
        json!({"cniVersion": version, "code": self.code, "msg": self.msg, "details": self.details})
    }
}

impl From<AttachError> for CniError {
    fn from(error: AttachError) -> CniError {
        let code = match error.kind {
            Failed::UnknownNetwork => 7,
            Failed::Namespace => 8,
            Failed::TryAgain => 11,
            Failed::Unknown => 3,
            Failed::Internal | Failed::Refused => 100,
            Failed::InterfaceExists => 101,
            Failed::PoolFull => 102,
            Failed::Broken => 103,
            Failed::AddressUnavailable => 104,
        };
        CniError::new(code, error.message, error.mend)
    }
}

/// The result of ADD: appended to what earlier plugins of the chain made.
pub fn added(config: &Config, endpoint: &Endpoint, netns: &str) -> Value {
    let mut result = config.previous.clone().filter(Value::is_object).unwrap_or_else(|| json!({}));
    result["cniVersion"] = config.version.clone().into();
    let interfaces = list(&mut result, "interfaces");
    let container = interfaces.len() + 1;
    let mac = endpoint.attachment.as_ref().map(|attachment| mac_text(attachment.mac)).unwrap_or_default();
    interfaces.push(json!({"name": endpoint.key.host_interface(), "mac": mac_text(HOST_MAC), "sandbox": ""}));
    let mut inside = json!({"name": endpoint.key.ifname, "mac": mac, "sandbox": netns});
    if config.version == "1.1.0"
        && let Some(attachment) = &endpoint.attachment
    {
        inside["mtu"] = attachment.mtu.into();
    }
    interfaces.push(inside);
    for address in &endpoint.addresses {
        let (version, gateway, all) = match address {
            IpAddr::V4(_) => ("4", IpAddr::V4(GATEWAY4), "0.0.0.0/0"),
            IpAddr::V6(_) => ("6", IpAddr::V6(GATEWAY6), "::/0"),
        };
        let mut ip = json!({"address": Cidr::host(*address), "gateway": gateway, "interface": container});
        if config.version.starts_with("0.") {
            ip["version"] = version.into();
        }
        list(&mut result, "ips").push(ip);
        list(&mut result, "routes").push(json!({"dst": all, "gw": gateway}));
    }
    if let Some(dns) = &config.dns {
        result["dns"] = dns.clone();
    }
    result
}

/// CHECK: both ends of the link and every address of the endpoint must stand in what the chain said that it made, the
/// addresses on the workload's end. What else stands there is other plugins'.
///
/// # Errors
/// Code 103 with all that differs.
pub fn compare(previous: &Value, endpoint: &Endpoint, netns: &str) -> Result<(), CniError> {
    let key = &endpoint.key;
    let mut said = Vec::new();
    let interfaces = Listed::read(previous);
    let find = |name: &str, sandbox: &str| interfaces.iter().position(|it| it.name == name && it.sandbox == sandbox);
    let host = key.host_interface();
    // The result has the path of the ADD, which the runtime may have another of by now.
    let added_in = endpoint.attachment.as_ref().map_or(netns, |attachment| attachment.netns.as_str());
    let inside = find(key.ifname.as_str(), netns).or_else(|| find(key.ifname.as_str(), added_in));
    for (at, name, sandbox) in [(find(host.as_str(), ""), &host, ""), (inside, &key.ifname, netns)] {
        if at.is_none() {
            let ours = Listed { name: name.as_str(), sandbox };
            said.push(format!("there is {ours}, but `prevResult` lists {}", or_nothing(&interfaces)));
        }
    }
    let ips: Vec<&Value> = previous["ips"].as_array().into_iter().flatten().collect();
    for address in &endpoint.addresses {
        let address = Cidr::host(*address).to_string();
        let Some(ip) = ips.iter().find(|ip| ip["address"] == *address) else {
            let listed: Vec<&str> = ips.iter().filter_map(|ip| ip["address"].as_str()).collect();
            said.push(format!("the endpoint has {address}, but `prevResult` lists {}", or_nothing(&listed)));
            continue;
        };
        let at = ip["interface"].as_u64().and_then(|index| usize::try_from(index).ok());
        if let (Some(at), Some(inside)) = (at, inside)
            && at != inside
        {
            let there = interfaces.get(at).map_or("no interface".to_string(), ToString::to_string);
            said.push(format!("{address} is on {}, but `prevResult` has it on {there}", interfaces[inside]));
        }
    }
    if said.is_empty() {
        return Ok(());
    }
    Err(CniError::new(103, format!("{key}: {}", said.join("; ")), "detach the workload and attach it again"))
}

/// An interface of a result.
struct Listed<'a> {
    name: &'a str,
    /// Empty: on the host.
    sandbox: &'a str,
}

impl Listed<'_> {
    fn read(result: &Value) -> Vec<Listed<'_>> {
        let interfaces = result["interfaces"].as_array().into_iter().flatten();
        let read = |it| Listed { name: text(it, "name"), sandbox: text(it, "sandbox") };
        interfaces.map(read).collect()
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sandbox {
            "" => write!(f, "interface {} on the host", self.name),
            sandbox => write!(f, "interface {} in {sandbox}", self.name),
        }
    }
}

fn or_nothing(listed: &[impl ToString]) -> String {
    if listed.is_empty() {
        return "none".to_string();
    }
    listed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn list<'a>(result: &'a mut Value, field: &str) -> &'a mut Vec<Value> {
    if !result[field].is_array() {
        result[field] = json!([]);
    }
    result[field].as_array_mut().expect("made an array a line ago")
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
