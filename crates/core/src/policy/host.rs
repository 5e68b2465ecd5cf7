//! Host endpoints of this host: which interface is which, and the chains that a packet of such an interface meets.
//!
//! Called by the engine whenever something that they follow from has changed; there are few, so all is made anew. Their
//! policies are compiled and counted with those of the groups.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::desired::{ChainKey, ChainRule, Table};
use crate::model::config::{Failsafe, FailsafePort};
use crate::model::{Family, HostEndpoint, HostInterface, InterfaceName, ObjectKey};

use super::Direction;
use super::cluster::{Checkpoint, Cluster, Profile};
use super::frame::{ALLOW, LINK_DISCOVERY, Marks, chain_in, plain};
use super::subjects::Subject;
use super::tree::{Asking, TierKey};

/// A place of the frame where the chains of interfaces are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gate {
    UntrackedIn,
    UntrackedOut,
    PreDnat,
    HostIn,
    HostOut,
    /// What the host itself sends to a translated destination, behind routing.
    TranslatedOut,
    ForwardIn,
    ForwardOut,
}

impl Gate {
    const ALL: [Gate; 8] = [
        Gate::UntrackedIn,
        Gate::UntrackedOut,
        Gate::PreDnat,
        Gate::HostIn,
        Gate::HostOut,
        Gate::TranslatedOut,
        Gate::ForwardIn,
        Gate::ForwardOut,
    ];

    pub fn table(self) -> Table {
        match self {
            Gate::UntrackedIn | Gate::UntrackedOut => Table::Raw,
            Gate::PreDnat | Gate::TranslatedOut => Table::Mangle,
            Gate::HostIn | Gate::HostOut | Gate::ForwardIn | Gate::ForwardOut => Table::Filter,
        }
    }

    fn direction(self) -> Direction {
        match self {
            Gate::UntrackedIn | Gate::PreDnat | Gate::HostIn | Gate::ForwardIn => Direction::Ingress,
            Gate::UntrackedOut | Gate::HostOut | Gate::TranslatedOut | Gate::ForwardOut => Direction::Egress,
        }
    }

    fn checkpoint(self) -> Checkpoint {
        match self {
            Gate::UntrackedIn | Gate::UntrackedOut => Checkpoint::Untracked,
            Gate::PreDnat => Checkpoint::PreDnat,
            Gate::HostIn | Gate::HostOut | Gate::TranslatedOut => Checkpoint::Host,
            Gate::ForwardIn | Gate::ForwardOut => Checkpoint::Forward,
        }
    }

    /// The chain that looks the interface up.
    fn chain(self) -> &'static str {
        match self {
            Gate::UntrackedIn => "rn-untracked-in",
            Gate::UntrackedOut => "rn-untracked-out",
            Gate::PreDnat => "rn-pre-dnat",
            Gate::HostIn => "rn-to-host",
            Gate::HostOut => "rn-from-host",
            Gate::TranslatedOut => "rn-translated-out",
            Gate::ForwardIn => "rn-forward-in",
            Gate::ForwardOut => "rn-forward-out",
        }
    }

    /// The chain of an interface; without one, of all others.
    fn chain_of(self, interface: Option<&InterfaceName>) -> String {
        let letter = match self {
            Gate::UntrackedIn | Gate::UntrackedOut => "u",
            Gate::PreDnat => "d",
            Gate::HostIn | Gate::HostOut | Gate::TranslatedOut => "h",
            Gate::ForwardIn | Gate::ForwardOut => "f",
        };
        let way = if self.direction() == Direction::Ingress { "i" } else { "e" };
        match interface {
            Some(interface) => format!("rn-{letter}{way}-{interface}"),
            None => format!("rn-{letter}{way}"),
        }
    }

    pub fn jump(self, open: &BTreeSet<Gate>) -> Option<String> {
        open.contains(&self).then(|| format!("-j {}", self.chain()))
    }

    fn failsafe_chain(self) -> &'static str {
        match self.direction() {
            Direction::Ingress => "rn-failsafe-in",
            Direction::Egress => "rn-failsafe-out",
        }
    }
}

/// What this host's host endpoints come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct HostChains {
    pub gates: BTreeSet<Gate>,
    pub chains: BTreeMap<ChainKey, Vec<ChainRule>>,
    /// The policies that the chains ask, by table.
    pub policies: BTreeSet<(Table, Direction, ObjectKey)>,
}

/// Which host endpoint an interface of this host is; without a name: each that is none by name. Of several the first by
/// name.
pub(super) fn interfaces<'a>(
    cluster: &'a Cluster,
    addresses: &BTreeMap<InterfaceName, BTreeSet<IpAddr>>,
) -> BTreeMap<Option<InterfaceName>, (&'a Subject, &'a HostEndpoint)> {
    let mut found = BTreeMap::new();
    for (subject, host) in cluster.host_endpoints(&cluster.settings.node) {
        let names: Vec<Option<InterfaceName>> = match &host.interface {
            HostInterface::Every => vec![None],
            HostInterface::Named(name) => vec![Some(name.clone())],
            HostInterface::ByAddress => {
                let has = |held: &BTreeSet<IpAddr>| host.expected_ips.iter().any(|address| held.contains(address));
                addresses.iter().filter(|(_, held)| has(held)).map(|(name, _)| Some(name.clone())).collect()
            }
        };
        for name in names {
            found.entry(name).or_insert((subject, host));
        }
    }
    found
}

/// The chains of all interfaces. `may_pass` says of a policy whether it may hand a packet on.
pub(super) fn compile(
    cluster: &Cluster,
    addresses: &BTreeMap<InterfaceName, BTreeSet<IpAddr>>,
    marks: Marks,
    may_pass: impl Fn(&ObjectKey, Direction) -> bool,
) -> HostChains {
    let interfaces = interfaces(cluster, addresses);
    let mut compiled = HostChains::default();
    for gate in Gate::ALL {
        let direction = gate.direction();
        let mut lookup = Vec::new();
        let mut guarded = false;
        // By name first: the one for all others is sorted before them.
        let named = interfaces.iter().filter(|(name, _)| name.is_some());
        for (name, (subject, host)) in named.chain(interfaces.get_key_value(&None)) {
            let tiers: Vec<TierKey> = TierKey::of(cluster, subject, gate.checkpoint(), direction);
            let ends_here = gate.checkpoint() == Checkpoint::Host;
            if tiers.is_empty() && !ends_here {
                // An interface without policies of the kind is not the business of the one for all others either.
                lookup.extend(name.as_ref().map(|name| format!("{} -j RETURN", at(gate, name))));
                continue;
            }
            guarded = true;
            let profile = cluster.listed_profile(&host.profiles);
            let keys = tiers.iter().flat_map(|tier| &tier.policies);
            let listed = match &profile {
                Profile::Listed(keys) if ends_here => keys.as_slice(),
                _ => &[],
            };
            let asked = keys.chain(listed).map(|key| (gate.table(), direction, key.clone()));
            compiled.policies.extend(asked);
            let rules = chain(gate, &tiers, listed, marks, &|key| may_pass(key, direction));
            let chain_name = gate.chain_of(name.as_ref());
            for family in Family::BOTH {
                let rules = rules.iter().map(String::as_str).map(plain).collect();
                compiled.chains.insert(chain_in(family, gate.table(), &chain_name), rules);
            }
            match name {
                Some(name) => lookup.push(format!("{} -g {chain_name}", at(gate, name))),
                None => {
                    let way = interface_option(gate);
                    lookup.extend(["rnw+", "lo"].map(|others| format!("{way} {others} -j RETURN")));
                    lookup.push(format!("-g {chain_name}"));
                }
            }
        }
        if !guarded {
            continue;
        }
        compiled.gates.insert(gate);
        for family in Family::BOTH {
            let rules = lookup.iter().map(String::as_str).map(plain).collect();
            compiled.chains.insert(chain_in(family, gate.table(), gate.chain()), rules);
            let failsafe = failsafe(gate, &cluster.settings.failsafe, family);
            compiled.chains.insert(chain_in(family, gate.table(), gate.failsafe_chain()), failsafe);
        }
    }
    compiled
}

fn interface_option(gate: Gate) -> &'static str {
    match gate.direction() {
        Direction::Ingress => "-i",
        Direction::Egress => "-o",
    }
}

fn at(gate: Gate, interface: &InterfaceName) -> String {
    format!("{} {interface}", interface_option(gate))
}

/// What a packet meets at an interface. Only what is for the host itself is denied where nobody decides.
fn chain(
    gate: Gate,
    tiers: &[TierKey],
    profiles: &[ObjectKey],
    marks: Marks,
    may_pass: &dyn Fn(&ObjectKey) -> bool,
) -> Vec<String> {
    let mut rules = Vec::new();
    let checkpoint = gate.checkpoint();
    if matches!(checkpoint, Checkpoint::Host | Checkpoint::Forward) {
        rules.push(format!("-m conntrack --ctstate RELATED,ESTABLISHED -g {ALLOW}"));
        rules.push("-m conntrack --ctstate INVALID -j DROP".to_string());
    }
    if checkpoint != Checkpoint::Forward {
        rules.push(format!("-j {}", gate.failsafe_chain()));
    }
    rules.push(marks.clear());
    let is_accepted = Marks::is_set(marks.accept);
    let untrack = (checkpoint == Checkpoint::Untracked).then(|| format!("{is_accepted} -j CT --notrack"));
    let asking = Asking {
        direction: gate.direction(),
        marks,
        ends: matches!(checkpoint, Checkpoint::Host | Checkpoint::Forward),
        may_pass,
        accepted: untrack.into_iter().chain([format!("{is_accepted} -j RETURN")]).collect(),
    };
    let goes_on = asking.tiers(tiers, &mut rules);
    if checkpoint == Checkpoint::Host && goes_on {
        asking.profiles(profiles, &mut rules);
    }
    if checkpoint == Checkpoint::Host || !goes_on {
        rules.push("-j DROP".to_string());
    }
    rules
}

/// Before connections are tracked the answers must be let through by name, too.
fn failsafe(gate: Gate, ports: &Failsafe, family: Family) -> Vec<ChainRule> {
    let (own, others, other_end) = match gate.direction() {
        Direction::Ingress => (&ports.inbound, &ports.outbound, "-s"),
        Direction::Egress => (&ports.outbound, &ports.inbound, "-d"),
    };
    let of_family = |port: &&FailsafePort| port.net.is_none_or(|net| net.family() == family);
    let rule = |port: &FailsafePort, which: &str| {
        let net = port.net.map(|net| format!("{other_end} {net} ")).unwrap_or_default();
        plain(format!("{net}-p {0} -m {0} {which} {1} -j ACCEPT", port.protocol, port.port))
    };
    let asked = own.iter().filter(of_family).map(|port| rule(port, "--dport"));
    let answers = others.iter().filter(of_family).map(|port| rule(port, "--sport"));
    let discovery = LINK_DISCOVERY.map(|kind| plain(format!("-p icmpv6 -m icmp6 --icmpv6-type {kind} -j ACCEPT")));
    let discovery = discovery.into_iter().filter(|_| family == Family::V6);
    match gate.checkpoint() {
        Checkpoint::Untracked => discovery.chain(asked).chain(answers).collect(),
        _ => discovery.chain(asked).collect(),
    }
}
