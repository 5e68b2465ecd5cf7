//! Veths, dummies and bridges of a lab. Called by `course`; speaks to the kernel through `ip`, whose errors people know.

use std::ffi::OsStr;
use std::fs::File;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use sha2::{Digest, Sha256};

use super::LabError;
use super::topology::{End, Far, Link};

/// Where ends wait whose nodes are not there yet: a network namespace that nobody else is in, and that ends, with all in
/// it, when this does.
pub struct Parking(File);

impl Parking {
    pub fn new() -> Result<Self, LabError> {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from)?;
            File::open("/proc/thread-self/ns/net")
        });
        let made = made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        made.map(Parking).map_err(|error| LabError::system("a network namespace for ends of links", error))
    }

    /// Runs `ip` in the parking.
    fn ip<W: AsRef<OsStr> + Sync>(&self, words: &[W]) -> Result<Output, LabError> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET)
                    .map_err(|error| LabError::system("the network namespace for ends of links", error))?;
                ip(words)
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes the veth of a link with one end in its node and the other here.
    pub fn park(&self, lab: &str, link: &Link, number: usize, near: (&End, i32)) -> Result<(), LabError> {
        let (end, pid) = near;
        let peer = link.ends().find(|other| *other != end).unwrap_or(end);
        let mac = mac_of(lab, peer);
        let words = veth(lab, link, (end, pid), (&parked(number), &mac, None));
        done(link, &self.ip(&words)?)
    }

    /// Takes the end that was parked into its node.
    pub fn fetch(&self, link: &Link, number: usize, end: &End, pid: i32) -> Result<(), LabError> {
        let pid = pid.to_string();
        done(link, &self.ip(&["link", "set", "dev", &parked(number), "name", &end.interface, "netns", &pid])?)
    }
}

fn parked(number: usize) -> String {
    format!("parked{number}")
}

/// Runs `ip` in the current network namespace; what it says of a failure is in the output.
pub fn ip<W: AsRef<OsStr>>(words: &[W]) -> Result<Output, LabError> {
    let output = Command::new("ip").args(words).output();
    output.map_err(|error| LabError::system("ip (Debian's package iproute2)", error))
}

fn done(link: &Link, output: &Output) -> Result<(), LabError> {
    match output.status.success() {
        true => Ok(()),
        false => Err(LabError::Lab(format!("link {link}: {}", String::from_utf8_lossy(&output.stderr).trim_end()))),
    }
}

/// The words that make a veth: one end in a node, the other in the current network namespace or in a node, both down.
fn veth(lab: &str, link: &Link, near: (&End, i32), far: (&str, &str, Option<i32>)) -> Vec<String> {
    let ((end, pid), (name, mac, other)) = (near, far);
    let (mtu, pid) = (link.mtu.to_string(), pid.to_string());
    let own = mac_of(lab, end);
    let mut words = vec!["link", "add", &end.interface, "address", &own, "mtu", &mtu, "netns", &pid, "type", "veth"];
    words.extend(["peer", "name", name, "address", mac, "mtu", &mtu]);
    let other = other.map(|pid| pid.to_string());
    if let Some(other) = &other {
        words.extend(["netns", other]);
    }
    words.into_iter().map(String::from).collect()
}

/// Makes the veth of a link, each end directly in its node's namespace, still down.
pub fn create(lab: &str, link: &Link, near: (&End, i32), far: (&End, i32)) -> Result<(), LabError> {
    let words = veth(lab, link, near, (&far.0.interface, &mac_of(lab, far.0), Some(far.1)));
    done(link, &ip(&words)?)
}

/// Makes the veth of a link that ends in the current network namespace.
pub fn create_outwards(lab: &str, link: &Link, interface: &str, pid: i32) -> Result<(), LabError> {
    let words = veth(lab, link, (&link.near, pid), (interface, &generated_mac(lab, &link.far), None));
    done(link, &ip(&words)?)
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

/// How a node makes its dummy.
pub fn dummy(lab: &str, link: &Link) -> Vec<String> {
    let (mac, mtu) = (mac_of(lab, &link.near), link.mtu.to_string());
    let words = ["ip", "link", "add", "name", &link.near.interface, "address", &mac, "mtu", &mtu, "type", "dummy"];
    words.map(String::from).into()
}

/// What a bridge node does first.
pub fn bridge(name: &str) -> [Vec<String>; 2] {
    let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
    [words(&["ip", "link", "add", "name", name, "type", "bridge"]), words(&["ip", "link", "set", "dev", name, "up"])]
}

/// Refuses dummies where the kernel makes none, before anything else is made.
pub fn probe_dummies(links: &[Link]) -> Result<(), LabError> {
    let Some(link) = links.iter().find(|link| link.far == Far::Nothing) else { return Ok(()) };
    let output = Parking::new()?.ip(&["link", "add", "probe", "type", "dummy"])?;
    match output.status.success() {
        true => Ok(()),
        false => Err(LabError::Lab(format!(
            "link {link}: this kernel has no dummies ({}); load its module `dummy`, or write a link of two interfaces \
             of the node: `endpoints: [\"{}\", \"{}:peer\"]`",
            String::from_utf8_lossy(&output.stderr).trim_end(),
            link.near,
            link.near.node
        ))),
    }
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

fn mac_of(lab: &str, end: &End) -> String {
    end.mac.clone().unwrap_or_else(|| generated_mac(lab, end))
}

/// containerlab's prefix for MAC addresses, and three bytes that are the same each time the lab is deployed.
fn generated_mac(lab: &str, end: impl std::fmt::Display) -> String {
    let digest = Sha256::digest(format!("{lab}/{end}"));
    format!("aa:c1:ab:{:02x}:{:02x}:{:02x}", digest[0], digest[1], digest[2])
}
