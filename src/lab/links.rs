//! Veths and bridges of a lab. Called by `deploy`; speaks to the kernel through `ip`, whose errors people know.

use std::process::Command;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::LabError;
use super::topology::{End, Link};

/// Makes the veth of a link, each end directly in its node's namespace, still down.
pub fn create(lab: &str, link: &Link, pids: [i32; 2]) -> Result<(), LabError> {
    let [one, two] = &link.ends;
    let mtu = link.mtu.to_string();
    let macs = [one, two].map(|end| end.mac.clone().unwrap_or_else(|| mac_of(lab, end)));
    let pids = pids.map(|pid| pid.to_string());
    let output = Command::new("ip")
        .args(["link", "add", &one.interface, "address", &macs[0], "mtu", &mtu, "netns", &pids[0], "type", "veth"])
        .args(["peer", "name", &two.interface, "address", &macs[1], "mtu", &mtu, "netns", &pids[1]])
        .output()
        .map_err(|error| LabError::system("ip (Debian's package iproute2)", error))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(LabError::Lab(format!("link {one} -- {two}: {}", said.trim_end())))
        }
    }
}

/// What a node does to its end of a link: into the bridge, where it is one, and up.
pub fn raise(end: &End, bridge: Option<&str>) -> Vec<String> {
    let mut words = vec!["ip", "link", "set", "dev", &end.interface];
    if let Some(bridge) = bridge {
        words.extend(["master", bridge]);
    }
    words.push("up");
    words.into_iter().map(String::from).collect()
}

/// What a bridge node does first.
pub fn bridge(name: &str) -> [Vec<String>; 2] {
    let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
    [words(&["ip", "link", "add", "name", name, "type", "bridge"]), words(&["ip", "link", "set", "dev", name, "up"])]
}

/// Waits until these interfaces of the current network namespace carry traffic: the kernel takes up to a second to see
/// that a veth with both ends up is up, and what is sent before that is lost.
pub fn wait_until_up(interfaces: &[&str]) -> Result<(), String> {
    let limit = Instant::now() + Duration::from_secs(5);
    loop {
        let output = Command::new("ip").args(["-j", "link"]).output().map_err(|error| format!("ip: {error}"))?;
        let links: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let up = |name: &&str| links.iter().any(|link| link["ifname"] == **name && link["operstate"] == "UP");
        let Some(down) = interfaces.iter().find(|name| !up(name)) else { return Ok(()) };
        if Instant::now() > limit {
            return Err(format!("interface {down} did not come up within 5 s"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// containerlab's prefix for MAC addresses, and three bytes that are the same each time the lab is deployed.
fn mac_of(lab: &str, end: &End) -> String {
    let digest = Sha256::digest(format!("{lab}/{end}"));
    format!("aa:c1:ab:{:02x}:{:02x}:{:02x}", digest[0], digest[1], digest[2])
}
