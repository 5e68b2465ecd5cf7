//! Results and errors in the version asked for.

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

/// CHECK: every address of the endpoint must stand in what the chain said that it made.
pub fn compare(previous: &Value, endpoint: &Endpoint) -> Result<(), CniError> {
    let listed: Vec<&str> =
        previous["ips"].as_array().into_iter().flatten().filter_map(|ip| ip["address"].as_str()).collect();
    for address in &endpoint.addresses {
        let address = Cidr::host(*address).to_string();
        if !listed.contains(&address.as_str()) {
            let msg = format!("the endpoint has {address}, but `prevResult` lists {}", listed.join(", "));
            return Err(CniError::new(103, msg, "detach the workload and attach it again"));
        }
    }
    Ok(())
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
