//! What a lab has outside of its nodes: interfaces in the network namespace of whoever deploys, and the bridge of the
//! management network. Written down before it is made, so that it can be removed whatever happens. Called by `deploy`
//! and [`super::state`].
//!
//! What is ours bears an alias that says so; nothing else is ever removed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::topology::{Far, Management, Topology};
use super::{LabError, links};

/// The alias of a bridge that was made here; labs share it, and the last one takes it along.
const BRIDGE_ALIAS: &str = "routenet-lab";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outside {
    pub interfaces: Vec<String>,
    pub bridge: Option<String>,
}

impl Outside {
    pub fn of(topology: &Topology) -> Self {
        let management = topology.links.iter().any(|link| matches!(link.far, Far::Management(_)));
        Outside {
            interfaces: topology.links.iter().filter_map(|link| link.outside()).map(String::from).collect(),
            bridge: management.then(|| topology.management.bridge.clone()),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.interfaces.is_empty()
    }

    /// Refuses names that are taken by anything but an earlier deployment of this lab.
    pub fn check(&self, lab: &str) -> Result<(), LabError> {
        if self.is_empty() {
            return Ok(());
        }
        let there = interfaces()?;
        for name in &self.interfaces {
            if Some(name) == self.bridge.as_ref() {
                return Err(LabError::Lab(format!(
                    "`{name}` is the management bridge; give the interface another name"
                )));
            }
            if there.iter().any(|one| one["ifname"] == **name && one["ifalias"] != alias(lab)) {
                return Err(LabError::Lab(format!(
                    "interface `{name}` of the host is there already; give the link another name, or remove it: `ip \
                     link delete {name}`"
                )));
            }
        }
        let Some(bridge) = &self.bridge else { return Ok(()) };
        let other = |one: &Value| one["ifname"] == **bridge && one["linkinfo"]["info_kind"] != "bridge";
        match there.iter().any(other) {
            true => Err(LabError::Lab(format!(
                "the management network: `{bridge}` is there and is no bridge; write `mgmt: {{bridge: NAME}}`"
            ))),
            false => Ok(()),
        }
    }

    /// Makes the bridge, unless it is there: another lab's, or one that the file names and its owner made.
    pub fn make_bridge(&self, management: &Management) -> Result<(), LabError> {
        let Some(name) = &self.bridge else { return Ok(()) };
        if interfaces()?.iter().any(|one| one["ifname"] == **name) {
            return Ok(());
        }
        ip(&["link", "add", "name", name, "type", "bridge"])?;
        ip(&["link", "set", "dev", name, "alias", BRIDGE_ALIAS])?;
        if let Some(mtu) = management.mtu {
            ip(&["link", "set", "dev", name, "mtu", &mtu.to_string()])?;
        }
        for address in &management.addresses {
            // Nobody else is on a bridge that has just been made.
            let extra: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            ip(&[&["address", "add", address, "dev", name], extra].concat())?;
        }
        ip(&["link", "set", "dev", name, "up"])
    }

    /// What to do to an interface once it is there.
    pub fn raise(&self, lab: &str, interface: &str, far: &Far) -> Result<(), LabError> {
        ip(&["link", "set", "dev", interface, "alias", &alias(lab)])?;
        match (far, &self.bridge) {
            (Far::Management(_), Some(bridge)) => ip(&["link", "set", "dev", interface, "master", bridge, "up"]),
            _ => ip(&["link", "set", "dev", interface, "up"]),
        }
    }

    /// Removes what is there of it. Interfaces go by themselves when their nodes end, a moment later.
    pub fn remove(&self, lab: &str) -> Result<(), LabError> {
        if self.is_empty() {
            return Ok(());
        }
        for one in interfaces()?.iter().filter(|one| one["ifalias"] == alias(lab)) {
            if let Some(name) = one["ifname"].as_str().filter(|name| self.interfaces.iter().any(|own| own == name)) {
                delete(name)?;
            }
        }
        let Some(bridge) = &self.bridge else { return Ok(()) };
        let there = interfaces()?;
        let ours = there.iter().any(|one| one["ifname"] == **bridge && one["ifalias"] == BRIDGE_ALIAS);
        let used = there.iter().any(|one| one["master"] == **bridge);
        if ours && !used { delete(bridge) } else { Ok(()) }
    }
}

fn alias(lab: &str) -> String {
    format!("routenet-lab {lab}")
}

/// Deletes an interface that may be going by itself just now.
fn delete(name: &str) -> Result<(), LabError> {
    ip(&["link", "delete", "dev", name]).or_else(|error| {
        let still = interfaces()?.iter().any(|one| one["ifname"] == name);
        if still { Err(error) } else { Ok(()) }
    })
}

/// The interfaces of the current network namespace, as `ip` tells of them.
fn interfaces() -> Result<Vec<Value>, LabError> {
    let output = links::ip(&["-d", "-j", "link"])?;
    serde_json::from_slice(&output.stdout).map_err(|error| LabError::system("ip -d -j link", error))
}

fn ip(words: &[&str]) -> Result<(), LabError> {
    let output = links::ip(words)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(LabError::Lab(format!(
            "ip {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim_end()
        ))),
    }
}
