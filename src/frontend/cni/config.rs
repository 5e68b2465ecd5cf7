//! The network configuration and CNI_ARGS, read into an attach request.

use std::collections::BTreeMap;
use std::net::IpAddr;

use routenet_core::model::{EndpointKey, InterfaceName, Labels, NetworkName, Protocol, PublishedPort};
use serde::Deserialize;
use serde_json::Value;

use super::Call;
use super::result::CniError;
use crate::frontend::{AttachRequest, Identity, Plug};

/// What of the network configuration concerns us; everything else belongs to other plugins.
pub struct Config {
    pub version: String,
    pub previous: Option<Value>,
    pub dns: Option<Value>,
    /// What of GC's `cni.dev/valid-attachments` there is; `None`: nothing may be concluded.
    pub valid: Option<Vec<ValidAttachment>>,
    pub network: NetworkName,
    /// The name of the network configuration: several may lead to one network.
    name: String,
    labels: Labels,
    mtu: Option<u32>,
    published: Vec<PublishedPort>,
    arguments: Arguments,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    cni_version: Option<String>,
    name: String,
    network: Option<String>,
    #[serde(default)]
    labels: LabelList,
    mtu: Option<u32>,
    prev_result: Option<Value>,
    dns: Option<Value>,
    #[serde(default)]
    args: RawArgs,
    #[serde(default)]
    runtime_config: RuntimeConfig,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid: Option<Vec<ValidAttachment>>,
}

/// An attachment that the runtime still knows (CNI specification 1.1.0, GC).
#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValidAttachment {
    #[serde(rename = "containerID")]
    pub container_id: String,
    pub ifname: String,
}

#[derive(Default, Deserialize)]
struct RawArgs {
    #[serde(default)]
    cni: CniArgs,
}

#[derive(Default, Deserialize)]
struct CniArgs {
    #[serde(default)]
    labels: LabelList,
    ips: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeConfig {
    mac: Option<String>,
    ips: Option<Vec<String>>,
    #[serde(default)]
    port_mappings: Vec<PortMapping>,
}

/// One port of the `portMappings` capability.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortMapping {
    host_port: u16,
    container_port: u16,
    /// `tcp` where it is absent or empty.
    #[serde(default)]
    protocol: String,
    #[serde(default, rename = "hostIP")]
    host_ip: String,
}

impl PortMapping {
    fn read(&self) -> Result<PublishedPort, CniError> {
        let bad = |what: String| CniError::new(7, format!("runtimeConfig.portMappings: {what}"), "correct the call");
        let protocol = match self.protocol.to_ascii_lowercase().as_str() {
            "" => Some(Protocol::TCP),
            word => Protocol::from_name(word).filter(|protocol| protocol.has_ports()),
        };
        let protocol = protocol.ok_or_else(|| bad(format!("protocol `{}` has no ports", self.protocol)))?;
        let host_address = match self.host_ip.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| bad(format!("hostIP `{text}` is no address")))?),
        };
        if self.host_port == 0 || self.container_port == 0 {
            return Err(bad("a port of 0 is none".to_string()));
        }
        Ok(PublishedPort { protocol, host_address, host_port: self.host_port, port: self.container_port })
    }
}

/// The conventions write labels as a list of pairs; people write a map.
#[derive(Deserialize)]
#[serde(untagged)]
enum LabelList {
    Map(BTreeMap<String, String>),
    Pairs(Vec<Pair>),
}

impl Default for LabelList {
    fn default() -> Self {
        LabelList::Map(BTreeMap::new())
    }
}

impl LabelList {
    fn into_labels(self) -> Labels {
        match self {
            LabelList::Map(map) => map,
            LabelList::Pairs(pairs) => pairs.into_iter().map(|pair| (pair.key, pair.value)).collect(),
        }
    }
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    value: String,
}

/// CNI_ARGS: `K=V;K=V`.
#[derive(Debug, Default, PartialEq)]
struct Arguments {
    namespace: Option<String>,
    pod: Option<String>,
    mac: Option<[u8; 6]>,
    addresses: Vec<IpAddr>,
}

impl Config {
    pub fn read(call: &Call<'_>) -> Result<Config, CniError> {
        let raw: Raw = serde_json::from_str(call.config)
            .map_err(|error| CniError::new(6, "the network configuration cannot be read", error.to_string()))?;
        let mut arguments = Arguments::parse(call.args)?;
        let named = raw.network.unwrap_or_else(|| raw.name.clone());
        let network = NetworkName::new(named).map_err(|error| CniError::new(7, error.to_string(), NAME_IT))?;
        for (field, ips) in [("args.cni.ips", &raw.args.cni.ips), ("runtimeConfig.ips", &raw.runtime_config.ips)] {
            parse_addresses(ips.iter().flatten().map(String::as_str), field, 7, &mut arguments.addresses)?;
        }
        if let Some(mac) = &raw.runtime_config.mac {
            arguments.mac = Some(parse_mac(mac, "runtimeConfig.mac")?);
        }
        let mut labels = raw.labels.into_labels();
        labels.extend(raw.args.cni.labels.into_labels());
        Ok(Config {
            version: raw.cni_version.unwrap_or_else(|| "1.0.0".to_string()),
            previous: raw.prev_result,
            dns: raw.dns,
            valid: raw.valid,
            network,
            name: raw.name,
            labels,
            mtu: raw.mtu,
            published: raw.runtime_config.port_mappings.iter().map(PortMapping::read).collect::<Result<_, _>>()?,
            arguments,
        })
    }

    /// Whose attachments are this configuration's to collect.
    pub fn requester(&self) -> String {
        format!("cni/{}", self.name)
    }

    pub fn key(&self, call: &Call<'_>) -> Result<EndpointKey, CniError> {
        Ok(EndpointKey {
            network: self.network.clone(),
            container_id: call.container_id.to_string(),
            ifname: InterfaceName::new(call.ifname)
                .map_err(|error| CniError::new(4, format!("CNI_IFNAME: {error}"), "correct the runtime's call"))?,
        })
    }

    pub fn attach_request(&self, call: &Call<'_>) -> Result<AttachRequest, CniError> {
        Ok(AttachRequest {
            key: self.key(call)?,
            identity: Identity {
                namespace: self.arguments.namespace.clone().unwrap_or_else(|| "default".to_string()),
                name: self.arguments.pod.clone().unwrap_or_else(|| call.container_id.to_string()),
                labels: Some(self.labels.clone()),
            },
            netns: call.netns.to_string(),
            plug: Plug::Made,
            addresses: self.arguments.addresses.clone(),
            reservations: Vec::new(),
            mac: self.arguments.mac,
            mtu: self.mtu,
            published: self.published.clone(),
            requester: Some(self.requester()),
        })
    }
}

const NAME_IT: &str = "set `network` in the network configuration to the name of a Network object";

/// Addresses that a call asks for, each a text with or without a prefix length: a workload has no use for one.
///
/// # Errors
/// Code 4 or 7, naming the field: what is no address, or two of one family.
fn parse_addresses<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    field: &str,
    code: u32,
    into: &mut Vec<IpAddr>,
) -> Result<(), CniError> {
    for text in texts.into_iter().map(str::trim) {
        let address: IpAddr = text.split('/').next().unwrap_or(text).parse().map_err(|_| {
            let mend = "expected an IPv4 or IPv6 address, such as 10.65.0.7";
            CniError::new(code, format!("{field}: `{text}` is no address"), mend)
        })?;
        match into.iter().find(|other| other.is_ipv4() == address.is_ipv4()) {
            Some(same) if *same == address => {}
            Some(other) => {
                let mend = "an interface has at most one address of each family";
                return Err(CniError::new(code, format!("{field}: {address} is asked for beside {other}"), mend));
            }
            None => into.push(address),
        }
    }
    Ok(())
}

fn parse_mac(text: &str, field: &str) -> Result<[u8; 6], CniError> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    match bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()) {
        Some(mac) if mac[0] & 1 == 0 => Ok(mac),
        _ => Err(CniError::new(
            4,
            format!("{field} `{text}` is no unicast MAC address"),
            "expected six bytes, such as 02:00:00:00:00:01",
        )),
    }
}

impl Arguments {
    fn parse(text: &str) -> Result<Arguments, CniError> {
        let pairs: Vec<(&str, &str)> = text
            .split(';')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                pair.split_once('=').ok_or_else(|| {
                    CniError::new(4, format!("CNI_ARGS has `{pair}`"), "expected KEY=VALUE pairs with `;` between them")
                })
            })
            .collect::<Result<_, _>>()?;
        let tolerant = pairs
            .iter()
            .any(|(key, value)| *key == "IgnoreUnknown" && matches!(*value, "1" | "true" | "True" | "TRUE"));
        let mut arguments = Arguments::default();
        for (key, value) in pairs {
            let given = (!value.is_empty()).then(|| value.to_string());
            match key {
                "K8S_POD_NAMESPACE" => arguments.namespace = given,
                "K8S_POD_NAME" => arguments.pod = given,
                "MAC" if given.is_some() => arguments.mac = Some(parse_mac(value, "CNI_ARGS MAC")?),
                "IP" if given.is_some() => {
                    parse_addresses(value.split(','), "CNI_ARGS IP", 4, &mut arguments.addresses)?
                }
                "IgnoreUnknown" | "K8S_POD_INFRA_CONTAINER_ID" | "K8S_POD_UID" | "MAC" | "IP" => {}
                _ if tolerant => {}
                _ => {
                    let mend = "add IgnoreUnknown=1 or leave it out";
                    return Err(CniError::new(4, format!("CNI_ARGS has the unknown key `{key}`"), mend));
                }
            }
        }
        Ok(arguments)
    }
}
