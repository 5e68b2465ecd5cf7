//! libnetwork's remote driver and IPAM protocol: the requests and replies that carry something. Field names are its own;
//! what is absent or null is empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Options of all kinds: by label, values of any shape.
pub(super) type Options = BTreeMap<String, Value>;

/// Docker writes null for every empty list and map.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Serialize)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RequestPool {
    #[serde(default)]
    pub pool: String,
    #[serde(default)]
    pub sub_pool: String,
    #[serde(default, deserialize_with = "or_default")]
    pub options: BTreeMap<String, String>,
    #[serde(default)]
    pub v6: bool,
}

#[derive(Serialize)]
pub(super) struct PoolReply {
    #[serde(rename = "PoolID")]
    pub pool_id: String,
    #[serde(rename = "Pool")]
    pub pool: String,
    #[serde(rename = "Data")]
    pub data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(super) struct ReleasePool {
    #[serde(rename = "PoolID")]
    pub pool_id: String,
}

#[derive(Deserialize)]
pub(super) struct RequestAddress {
    #[serde(rename = "PoolID")]
    pub pool_id: String,
    #[serde(rename = "Address", default)]
    pub address: String,
    #[serde(rename = "Options", default, deserialize_with = "or_default")]
    pub options: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddressReply {
    pub address: String,
}

#[derive(Deserialize)]
pub(super) struct ReleaseAddress {
    #[serde(rename = "Address", default)]
    pub address: String,
}

#[derive(Deserialize)]
pub(super) struct CreateNetwork {
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    #[serde(rename = "Options", default, deserialize_with = "or_default")]
    pub options: Options,
    #[serde(rename = "IPv4Data", default, deserialize_with = "or_default")]
    pub ipv4: Vec<IpamData>,
    #[serde(rename = "IPv6Data", default, deserialize_with = "or_default")]
    pub ipv6: Vec<IpamData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IpamData {
    #[serde(default)]
    pub pool: String,
}

#[derive(Deserialize)]
pub(super) struct DeleteNetwork {
    #[serde(rename = "NetworkID")]
    pub network_id: String,
}

#[derive(Deserialize)]
pub(super) struct CreateEndpoint {
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    #[serde(rename = "Interface", default, deserialize_with = "or_default")]
    pub interface: Interface,
}

/// Addresses with a prefix length.
#[derive(Default, Deserialize)]
pub(super) struct Interface {
    #[serde(rename = "Address", default)]
    pub address: String,
    #[serde(rename = "AddressIPv6", default)]
    pub address_ipv6: String,
    #[serde(rename = "MacAddress", default)]
    pub mac_address: String,
}

/// What the driver chose; what Docker gave must not be echoed.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreatedInterface {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateEndpointReply {
    pub interface: CreatedInterface,
}

/// The calls that only name an endpoint.
#[derive(Deserialize)]
pub(super) struct OfEndpoint {
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    #[serde(rename = "SandboxKey", default)]
    pub sandbox_key: String,
    #[serde(rename = "Options", default, deserialize_with = "or_default")]
    pub options: Options,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InfoReply {
    pub value: BTreeMap<String, Value>,
}

#[derive(Serialize)]
pub(super) struct JoinReply {
    #[serde(rename = "InterfaceName")]
    pub interface_name: InterfaceName,
    #[serde(rename = "Gateway")]
    pub gateway: String,
    #[serde(rename = "GatewayIPv6")]
    pub gateway_ipv6: String,
    #[serde(rename = "StaticRoutes")]
    pub static_routes: Vec<StaticRoute>,
    /// Whether Docker must not add its own bridge as a way out.
    #[serde(rename = "DisableGatewayService")]
    pub disable_gateway_service: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InterfaceName {
    pub src_name: String,
    pub dst_prefix: String,
}

/// `RouteType` 0: by a next hop; 1: directly on the interface.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StaticRoute {
    pub destination: String,
    pub route_type: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<String>,
}

/// One `-p`, as libnetwork writes it: `Proto` is the protocol's number, `HostPort` 0 lets the driver choose.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct PortBinding {
    #[serde(rename = "Proto")]
    pub protocol: u8,
    #[serde(rename = "Port")]
    pub port: u16,
    #[serde(rename = "HostIP", default)]
    pub host_ip: String,
    #[serde(rename = "HostPort", default)]
    pub host_port: u16,
    #[serde(rename = "HostPortEnd", default)]
    pub host_port_end: u16,
}
