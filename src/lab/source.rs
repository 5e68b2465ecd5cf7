//! The topology file as it is written: YAML into plain structures, refusing what is unknown or not done by name, with
//! file and line. Read by [`super::topology`] only.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::LabError;
use super::topology::Kind;

/// Fields that containerlab knows and this runner does not do: refused in other words than a typing error.
const NOT_DONE: &[&str] = &[
    "aliases",
    "auto-remove",
    "cap-add",
    "certificate",
    "components",
    "config",
    "cpu",
    "cpu-set",
    "credentials",
    "debug",
    "devices",
    "dns",
    "enforce-startup-config",
    "entrypoint",
    "env-files",
    "extras",
    "healthcheck",
    "image-pull-policy",
    "ipv4",
    "ipv6",
    "kernel",
    "license",
    "memory",
    "mgmt",
    "mgmt-ipv4",
    "mgmt-ipv6",
    "ports",
    "position",
    "publish",
    "restart-policy",
    "runtime",
    "sandbox",
    "settings",
    "shm-size",
    "stages",
    "startup-config",
    "startup-delay",
    "suppress-startup-config",
    "ulimits",
    "user",
    "vars",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub name: String,
    pub prefix: Option<String>,
    pub topology: Section,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    #[serde(default)]
    pub defaults: Definition,
    #[serde(default, deserialize_with = "unique")]
    pub kinds: Vec<(Kind, Definition)>,
    #[serde(default, deserialize_with = "unique")]
    pub groups: Vec<(String, Definition)>,
    #[serde(deserialize_with = "unique")]
    pub nodes: Vec<(String, Definition)>,
    #[serde(default)]
    pub links: Vec<Link>,
}

/// What may be said of a node, a group, a kind, or all of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Definition {
    pub kind: Option<Kind>,
    pub group: Option<String>,
    pub image: Option<String>,
    pub binds: Vec<String>,
    pub env: BTreeMap<String, Scalar>,
    pub exec: Vec<String>,
    pub cmd: Option<String>,
    pub sysctls: BTreeMap<String, Scalar>,
    pub labels: BTreeMap<String, Scalar>,
    pub network_mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Read for its refusals: there is only one type.
    #[serde(rename = "type", default)]
    _type: Option<LinkType>,
    pub endpoints: Vec<Endpoint>,
    pub mtu: Option<u32>,
    /// Meaningless to the kernel.
    #[serde(rename = "labels", default)]
    _labels: BTreeMap<String, Scalar>,
}

/// `veth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LinkType;

/// One end of a link: `node:interface`, or the same in words.
#[derive(Debug)]
pub struct Endpoint {
    pub node: String,
    pub interface: String,
    pub mac: Option<String>,
}

/// A value that YAML may take for a number or a boolean, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar(pub String);

/// Parses the text of a topology file.
pub fn parse(file: &Path, text: &str) -> Result<File, LabError> {
    refuse_variables(file, text)?;
    serde_yaml::from_str(text).map_err(|error| refusal(file, &error))
}

/// Only the lab's name: for a file that was deployed and may have changed since.
pub fn parse_name(file: &Path, text: &str) -> Result<String, LabError> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let named: Named = serde_yaml::from_str(text).map_err(|error| refusal(file, &error))?;
    Ok(named.name)
}

fn refusal(file: &Path, error: &serde_yaml::Error) -> LabError {
    let mut what = error.to_string();
    let line = error.location().map(|location| location.line());
    if let Some(location) = error.location() {
        let suffix = format!(" at line {} column {}", location.line(), location.column());
        what = what.replace(&suffix, "");
    }
    if let Some(field) = what.split("unknown field `").nth(1).and_then(|rest| rest.split('`').next())
        && NOT_DONE.contains(&field)
    {
        let place = what.split(": unknown field").next().filter(|place| *place != what).unwrap_or("the file");
        what = format!("{place}: `{field}` is a field of containerlab that `routectl lab` does not do; remove it");
    }
    LabError::Topology { file: file.into(), line, what }
}

/// containerlab replaces `$NAME` and `${NAME}` in the whole file before it reads it; silently keeping them would deploy
/// something else.
fn refuse_variables(file: &Path, text: &str) -> Result<(), LabError> {
    for (index, line) in text.lines().enumerate() {
        let code = match line.trim_start().starts_with('#') {
            true => "",
            false => line.split(" #").next().unwrap_or(line),
        };
        let Some(at) = code.find('$') else { continue };
        if code[at + 1..].starts_with(|c: char| c == '{' || c == '$' || c == '_' || c.is_ascii_alphabetic()) {
            return Err(LabError::Topology {
                file: file.into(),
                line: Some(index + 1),
                what: format!(
                    "`{}`: `routectl lab` does not replace variables of the environment; write the value",
                    &code[at..].split_whitespace().next().unwrap_or("$")
                ),
            });
        }
    }
    Ok(())
}

/// The line of `needle`'s first appearance.
pub fn line_of(text: &str, needle: &str) -> Option<usize> {
    text.lines().position(|line| line.contains(needle)).map(|index| index + 1)
}

/// The line of a node's own definition.
pub fn line_of_node(text: &str, name: &str) -> Option<usize> {
    let nodes = text.lines().position(|line| line.trim() == "nodes:")?;
    let found = text.lines().skip(nodes + 1).position(|line| {
        let key = line.trim().split(':').next().unwrap_or("").trim_matches(|c| c == '"' || c == '\'');
        key == name
    })?;
    Some(nodes + found + 2)
}

/// The lines at which the links begin, in order; `None` where they are not written one an item.
pub fn line_of_link(text: &str, number: usize) -> Option<usize> {
    let start = text.lines().position(|line| line.trim() == "links:")?;
    let mut items = None;
    let mut seen = 0;
    for (index, line) in text.lines().enumerate().skip(start + 1) {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if trimmed.starts_with('-') && *items.get_or_insert(indent) == indent {
            if seen == number {
                return Some(index + 1);
            }
            seen += 1;
        }
    }
    Some(start + 1)
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Kind::parse(&text).ok_or_else(|| {
            D::Error::custom(format!("unknown kind `{text}`: `routectl lab` deploys `linux` and `bridge`"))
        })
    }
}

impl<'de> Deserialize<'de> for LinkType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "veth" => Ok(LinkType),
            _ => Err(D::Error::custom(format!("unknown type of link `{text}`: `routectl lab` makes `veth`"))),
        }
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

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_yaml::Value::deserialize(deserializer)? {
            serde_yaml::Value::String(text) => Ok(Scalar(text)),
            serde_yaml::Value::Number(number) => Ok(Scalar(number.to_string())),
            serde_yaml::Value::Bool(value) => Ok(Scalar(value.to_string())),
            serde_yaml::Value::Null => Ok(Scalar(String::new())),
            _ => Err(D::Error::custom("expected one value, found a list or a map")),
        }
    }
}

/// A map in the order of the file, in which no key comes twice. A key without a value (`h1:`) is an empty one.
fn unique<'de, D, K, V>(deserializer: D) -> Result<Vec<(K, V)>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + PartialEq + fmt::Display,
    V: Deserialize<'de> + Default,
{
    struct Entries<K, V>(std::marker::PhantomData<(K, V)>);
    impl<'de, K, V> Visitor<'de> for Entries<K, V>
    where
        K: Deserialize<'de> + PartialEq + fmt::Display,
        V: Deserialize<'de> + Default,
    {
        type Value = Vec<(K, V)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries: Vec<(K, V)> = Vec::new();
            while let Some((key, value)) = map.next_entry::<K, Option<V>>()? {
                if entries.iter().any(|(have, _)| *have == key) {
                    return Err(A::Error::custom(format!("`{key}` is there twice")));
                }
                entries.push((key, value.unwrap_or_default()));
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_map(Entries(std::marker::PhantomData))
}
