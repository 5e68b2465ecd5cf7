//! What others keep in this host's kernel and our packets meet: what another Calico left, firewalls that judge beside our
//! chains, marks in our bits. It only looks, and touches nothing of it. Called by the agent.

mod base;
mod rules;

use std::collections::BTreeSet;
use std::process::Command;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use routenet_core::model::Family;

use super::ipset;
use super::iptables::Backend;
use super::route;
use super::tracker::and_more;
use rules::Rules;

/// Routes to workloads bear this where felix made them (`deviceRouteProtocol`).
const FELIX_ROUTES: u8 = 80;
/// The devices of Calico's encapsulation; the kernel makes the first for everybody, so only one that is up counts.
const CALICO_DEVICES: [&str; 4] = ["tunl0", "vxlan.calico", "vxlan-v6.calico", "wireguard.cali"];

/// Something of somebody else's, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub what: String,
    pub mend: String,
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// What is to be told.
    pub found: Vec<Neighbour>,
    /// Whether what no rule takes is dropped on its way to the host itself.
    pub input_drops: bool,
}

/// Looks at the network namespace of the calling thread. `marks`: the packet mark bits that our rules use. What cannot be
/// read is left out: who looks after it says so already.
pub fn look(backend: Backend, marks: u32) -> Neighbours {
    let mut all = Neighbours::default();
    for judge in [backend, backend.other()] {
        let mut rules = Rules::default();
        for family in Family::BOTH {
            rules.read(family, &judge.save(family).unwrap_or_default(), marks);
        }
        all.input_drops |= rules.input_drops;
        all.found.extend(of_rules(&rules, judge, backend));
    }
    all.found.extend(base_chains());
    all.found.extend(calico_sets());
    all.found.extend(calico_links());
    all.found.extend(calico_routes());
    all
}

fn of_rules(rules: &Rules, judge: Backend, ours: Backend) -> Vec<Neighbour> {
    let mut all = Vec::new();
    let [v4, v6] = Family::BOTH.map(|family| judge.command(family));
    if rules.calico_chains > 0 {
        let hooks = if rules.calico_hooks.is_empty() {
            "nothing jumps to them".to_string()
        } else {
            format!("asked from {}", rules.calico_hooks.iter().cloned().collect::<Vec<_>>().join(", "))
        };
        all.push(Neighbour {
            what: format!("another Calico's chains stand in {v4} and {v6}: {} of them, {hooks}", rules.calico_chains),
            mend: format!(
                "if it runs here no more: {v4}-save | grep -v 'cali[-:]' | {v4}-restore; \
                 {v6}-save | grep -v 'cali[-:]' | {v6}-restore"
            ),
        });
    }
    if let Some(first) = rules.marked.first() {
        all.push(Neighbour {
            what: format!("a rule of somebody else's uses mark bits of ours: {first}{}", and_more(rules.marked.len())),
            mend: "set `iptables.markMask` in the node's file to bits that nobody else uses, and restart the agent"
                .into(),
        });
    }
    if judge != ours && !rules.forward_drops.is_empty() {
        let families: Vec<String> = rules.forward_drops.iter().map(Family::to_string).collect();
        all.push(Neighbour {
            what: format!(
                "{} drops what it does not know in FORWARD ({}), and our chains are in {}: packets meet both",
                judge.command(Family::V4),
                families.join(", "),
                ours.command(Family::V4)
            ),
            mend: format!(
                "set `iptables.backend: {}` in the node's file and restart the agent; or {} -P FORWARD ACCEPT",
                judge.name(),
                judge.command(rules.forward_drops.first().copied().unwrap_or(Family::V4))
            ),
        });
    }
    all
}

/// Tables of plain nft: what our chains accept, a base chain of theirs may still drop.
fn base_chains() -> Vec<Neighbour> {
    let suspects = base::suspects(&nft(&["list", "chains"]));
    let unknowing =
        |suspect: &base::Suspect| !base::knows_workloads(&nft(&["list", "table", &suspect.family, &suspect.table]));
    suspects.into_iter().filter(unknowing).map(base::Suspect::told).collect()
}

/// Nothing where the program is not on this machine.
fn nft(args: &[&str]) -> String {
    let output = Command::new("nft").args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

fn calico_sets() -> Option<Neighbour> {
    let names = ipset::Client::open().and_then(|mut client| client.names()).unwrap_or_default();
    let theirs: Vec<String> =
        names.into_iter().filter(|name| ["cali4", "cali6"].iter().any(|prefix| name.starts_with(prefix))).collect();
    let first = theirs.first()?;
    Some(Neighbour {
        what: format!("another Calico's sets are here: {first}{}", and_more(theirs.len())),
        mend: "if it runs here no more, and its chains are gone: \
               ipset list -n | grep '^cali[46]' | xargs -n1 ipset destroy"
            .into(),
    })
}

fn calico_links() -> Vec<Neighbour> {
    let (mut workloads, mut devices) = (BTreeSet::new(), BTreeSet::new());
    for interface in getifaddrs().into_iter().flatten() {
        let name = interface.interface_name;
        if CALICO_DEVICES.contains(&name.as_str()) {
            if interface.flags.contains(InterfaceFlags::IFF_UP) {
                devices.insert(name);
            }
        } else if name.starts_with("cali") {
            workloads.insert(name);
        }
    }
    let mut all = Vec::new();
    if let Some(first) = workloads.first() {
        all.push(Neighbour {
            what: format!("another Calico's workload interfaces are here: {first}{}", and_more(workloads.len())),
            mend: "if it runs here no more: ip -o link | grep -o ' cali[0-9a-z]*' | sort -u | xargs -n1 ip link del"
                .into(),
        });
    }
    for device in devices {
        // The kernel's own fallback device cannot be deleted.
        let mend = match device.as_str() {
            "tunl0" => "ip addr flush dev tunl0 && ip link set tunl0 down".to_string(),
            _ => format!("ip link del {device}"),
        };
        all.push(Neighbour {
            what: format!("another Calico's tunnel device {device} is up"),
            mend: format!("if it runs here no more: {mend}"),
        });
    }
    all
}

fn calico_routes() -> Option<Neighbour> {
    let count = route::count(FELIX_ROUTES).unwrap_or(0);
    (count > 0).then(|| Neighbour {
        what: format!("another Calico's routes are here: {count} of protocol {FELIX_ROUTES}"),
        mend: format!(
            "if it runs here no more: ip route flush proto {FELIX_ROUTES}; ip -6 route flush proto {FELIX_ROUTES}"
        ),
    })
}
