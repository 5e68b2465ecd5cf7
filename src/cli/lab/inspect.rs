//! `routectl lab inspect`: labs as a table, or as the JSON that containerlab prints, with our own fields beside its.

use std::path::Path;
use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::{Map, Value, json};

use super::is_terminal;
use crate::lab::{NodeRecord, Record, enter, health};

/// What containerlab prints where a node has no address.
const NO_ADDRESS: &str = "N/A";

/// An interface of a node as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub state: String,
    /// With prefix lengths, without the link-local ones.
    pub addresses: Vec<String>,
}

/// A node as it is now.
#[derive(Clone, Debug, Default)]
pub struct Now {
    pub running: bool,
    pub age: Option<Duration>,
    pub healthy: Option<bool>,
    pub interfaces: Vec<Interface>,
}

impl Now {
    pub fn of(node: &NodeRecord) -> Self {
        match node.running() {
            false => Now::default(),
            true => {
                Now { running: true, age: enter::age(node), healthy: health::now(node), interfaces: interfaces(node) }
            }
        }
    }

    /// containerlab's words, which are Docker's.
    fn state(&self) -> &'static str {
        if self.running { "running" } else { "exited" }
    }

    fn status(&self) -> String {
        let health = self.healthy.map_or("", |healthy| if healthy { " (healthy)" } else { " (unhealthy)" });
        match self.age {
            Some(age) if self.running => format!("Up {}{health}", in_words(age)),
            _ if self.running => format!("Up{health}"),
            _ => "Exited".into(),
        }
    }

    /// The first address of a family.
    fn address(&self, six: bool) -> &str {
        let mut all = self.interfaces.iter().flat_map(|interface| &interface.addresses);
        all.find(|address| address.contains(':') == six).map_or(NO_ADDRESS, String::as_str)
    }
}

fn in_words(age: Duration) -> String {
    let seconds = age.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// What `ip` says of the interfaces of a node.
fn interfaces(node: &NodeRecord) -> Vec<Interface> {
    let listing = enter::in_network(node, || std::process::Command::new("ip").args(["-j", "address"]).output());
    let Ok(Ok(output)) = listing else { return Vec::new() };
    let links: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    links
        .iter()
        .filter(|link| link["ifname"] != "lo")
        .map(|link| {
            let addresses = link["addr_info"].as_array().into_iter().flatten();
            let addresses = addresses
                .filter(|address| address["scope"] != "link")
                .map(|address| format!("{}/{}", text(&address["local"]), address["prefixlen"]))
                .collect();
            Interface { name: text(&link["ifname"]), state: text(&link["operstate"]).to_lowercase(), addresses }
        })
        .collect()
}

/// The labs with a row a node; `all` adds the lab's name, as of several.
pub fn table(records: &[Record], all: bool) -> String {
    let mut table = Table::new();
    let header = ["NODE", "KIND", "IMAGE", "STATE", "PID", "INTERFACES"];
    table.load_preset(presets::NOTHING).set_header(all.then_some("LAB").into_iter().chain(header));
    if !is_terminal() {
        table.force_no_tty();
    }
    for (record, node) in records.iter().flat_map(|record| record.nodes.iter().map(move |node| (record, node))) {
        let now = Now::of(node);
        let interfaces: Vec<String> = now
            .interfaces
            .iter()
            .map(|interface| [vec![interface.name.clone()], interface.addresses.clone()].concat().join(" "))
            .collect();
        let row = [
            node.name.clone(),
            node.kind.clone(),
            node.image.clone().unwrap_or_else(|| "-".into()),
            now.state().into(),
            node.pid.to_string(),
            interfaces.join("\n"),
        ];
        table.add_row(all.then(|| record.name.clone()).into_iter().chain(row));
    }
    table.trim_fmt()
}

/// An object of labs, each the list of its nodes. `here` is the directory that paths are told from.
pub fn json(records: &[Record], here: &Path) -> Value {
    let labs = records.iter().map(|record| {
        let nodes = record.nodes.iter().map(|node| entry(record, node, &Now::of(node), here)).collect();
        (record.name.clone(), Value::Array(nodes))
    });
    Value::Object(labs.collect::<Map<_, _>>())
}

/// First containerlab's fields, then ours. There is no container: its id is made of what tells this start of the node
/// from any other.
fn entry(record: &Record, node: &NodeRecord, now: &Now, here: &Path) -> Value {
    let interfaces: Vec<Value> = now
        .interfaces
        .iter()
        .map(|interface| {
            json!({
                "name": interface.name, "state": interface.state, "addresses": interface.addresses,
                "peer": record.peer_of(&node.name, &interface.name),
            })
        })
        .collect();
    json!({
        "lab_name": record.name,
        "labPath": record.file.strip_prefix(here).unwrap_or(&record.file),
        "absLabPath": record.file,
        "name": node.long_name,
        "container_id": node.id(),
        "image": node.image.clone().unwrap_or_default(),
        "kind": node.kind,
        "group": node.group.clone().unwrap_or_default(),
        "state": now.state(),
        "status": now.status(),
        "ipv4_address": now.address(false),
        "ipv6_address": now.address(true),
        "owner": record.owner,
        "node": node.name,
        "pid": node.pid,
        "netns": node.netns(),
        "labels": node.labels,
        "interfaces": interfaces,
    })
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
