//! A link as it is written: brief (`endpoints: ["a:eth1", "b:eth1"]`) or in words, by type. Read by
//! [`super::super::wiring`].

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::values::Scalar;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Link {
    #[serde(rename = "type", default)]
    pub kind: LinkType,
    pub endpoints: Option<Vec<Endpoint>>,
    pub endpoint: Option<Endpoint>,
    pub host_interface: Option<String>,
    pub mtu: Option<u32>,
    /// Of labels the kernel knows nothing, and `vars` are for containerlab's templates.
    #[serde(rename = "labels", default)]
    _labels: BTreeMap<String, Scalar>,
    #[serde(rename = "vars", default)]
    _vars: IgnoredAny,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkType {
    #[default]
    Veth,
    Host,
    Management,
    Dummy,
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LinkType::Veth => "veth",
            LinkType::Host => "host",
            LinkType::Management => "mgmt-net",
            LinkType::Dummy => "dummy",
        })
    }
}

/// One end of a link: `node:interface`, or the same in words.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub node: String,
    pub interface: String,
    pub mac: Option<String>,
}

impl<'de> Deserialize<'de> for LinkType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let all = [LinkType::Veth, LinkType::Host, LinkType::Management, LinkType::Dummy];
        if let Some(known) = all.into_iter().find(|kind| kind.to_string() == text) {
            return Ok(known);
        }
        let known = all.map(|kind| format!("`{kind}`")).join(", ");
        let what = match text.as_str() {
            "macvlan" | "vxlan" | "vxlan-stitch" => format!(
                "type `{text}`: `routectl lab` makes {known}; take a `host` link and join its host interface to what \
                 lies outside (`ip link set ... master ...`, or a route)"
            ),
            _ => format!("unknown type of link `{text}`: `routectl lab` makes {known}"),
        };
        Err(D::Error::custom(what))
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Words {
            node: String,
            interface: String,
            mac: Option<String>,
            #[serde(rename = "vars", default)]
            _vars: IgnoredAny,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Endpoint;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`node:interface`, or a map of `node` and `interface`")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Endpoint, E> {
                match text.split_once(':') {
                    Some((node, interface)) if !node.is_empty() && !interface.is_empty() => {
                        Ok(Endpoint { node: node.into(), interface: interface.into(), mac: None })
                    }
                    _ => Err(E::custom(format!("endpoint `{text}`: expected `node:interface`"))),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Endpoint, A::Error> {
                let words = Words::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Endpoint { node: words.node, interface: words.interface, mac: words.mac })
            }
        }
        deserializer.deserialize_any(Either)
    }
}
