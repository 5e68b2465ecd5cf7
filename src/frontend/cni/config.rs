//! The network configuration and CNI_ARGS, read into an attach request.

use std::collections::BTreeMap;

use routenet_core::model::{EndpointKey, InterfaceName, Labels, NetworkName};
use serde::Deserialize;
use serde_json::Value;

use super::Call;
use super::result::CniError;
use crate::frontend::AttachRequest;

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
    ips: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeConfig {
    mac: Option<String>,
    ips: Option<Value>,
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
}

impl Config {
    pub fn read(call: &Call<'_>) -> Result<Config, CniError> {
        let raw: Raw = serde_json::from_str(call.config)
            .map_err(|error| CniError::new(6, "the network configuration cannot be read", error.to_string()))?;
        let mut arguments = Arguments::parse(call.args)?;
        let named = raw.network.unwrap_or_else(|| raw.name.clone());
        let network = NetworkName::new(named).map_err(|error| CniError::new(7, error.to_string(), NAME_IT))?;
        if call.command == "ADD" && non_empty(&raw.args.cni.ips) | non_empty(&raw.runtime_config.ips) {
            return Err(static_addresses("ips"));
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
            namespace: self.arguments.namespace.clone().unwrap_or_else(|| "default".to_string()),
            name: self.arguments.pod.clone().unwrap_or_else(|| call.container_id.to_string()),
            labels: self.labels.clone(),
            netns: call.netns.to_string(),
            mac: self.arguments.mac,
            mtu: self.mtu,
            requester: Some(self.requester()),
        })
    }
}

const NAME_IT: &str = "set `network` in the network configuration to the name of a Network object";

fn non_empty(value: &Option<Value>) -> bool {
    value.as_ref().is_some_and(|value| value.as_array().is_none_or(|list| !list.is_empty()))
}

fn static_addresses(field: &str) -> CniError {
    CniError::new(2, format!("static addresses (`{field}`) are not built yet"), "leave the choice to routenet")
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
                "IP" if given.is_some() => return Err(static_addresses("IP")),
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
