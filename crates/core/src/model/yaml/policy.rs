//! GlobalNetworkPolicy, NetworkPolicy, Tier, GlobalNetworkSet and NetworkSet.

use super::fields::{At, Fields, optional};
use super::object::Meta;
use super::pool::{read_cidr, read_selector};
use crate::model::{
    Action, Cidr, DEFAULT_TIER, EntityRule, Family, IcmpMatch, Kind, NetworkSet, ObjectKey, Policy, PolicyRule,
    PolicyStage, PortMatch, Protocol, ServiceAccountMatch, StagedAction, StagedPolicy, Tier, TierAction,
};

const ACTIONS: [(&str, Action); 4] =
    [("Allow", Action::Allow), ("Deny", Action::Deny), ("Log", Action::Log), ("Pass", Action::Pass)];

const PROTOCOLS: [&str; 6] = ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

pub fn read_network_set(meta: Meta, mut spec: Fields<'_>) -> Option<NetworkSet> {
    spec.not_built("allowedEgressDomains", &[]);
    let nets = spec.take("nets").map(|at| at.each(|item| read_cidr(&item)));
    spec.finish();
    Some(NetworkSet { namespace: meta.namespace, name: meta.name, labels: meta.labels, nets: nets.unwrap_or_default() })
}

const TIER_ACTIONS: [(&str, TierAction); 2] = [("Deny", TierAction::Deny), ("Pass", TierAction::Pass)];

pub fn tier_action_word(action: TierAction) -> &'static str {
    match action {
        TierAction::Deny => "Deny",
        TierAction::Pass => "Pass",
    }
}

/// Without a spec it is the last, and denies. `object`: where the object stands.
pub fn read_tier(meta: Meta, object: &At<'_>, spec: Option<At<'_>>) -> Option<Tier> {
    let (place, mut order, mut default_action) = (spec.clone().unwrap_or_else(|| object.clone()), None, None);
    if let Some(spec) = spec {
        let mut spec = spec.fields()?;
        order = spec.take("order").map(|at| at.number());
        default_action = spec.take("defaultAction").map(|at| at.one_of("default action", &TIER_ACTIONS));
        spec.finish();
    }
    let tier = Tier {
        name: meta.name,
        order: optional(order)?,
        default_action: default_action.unwrap_or(Some(TierAction::Deny))?,
    };
    // Calico has objects of them, which go in as they are and say what holds anyway.
    match Tier::built_in(&tier.name) {
        Some(built_in) if built_in != tier => place.fail(
            format!(
                "tier {} is built in, with order {} and default action {}",
                tier.name,
                built_in.order.unwrap_or_default(),
                tier_action_word(built_in.default_action)
            ),
            Some("choose another name".to_string()),
        ),
        _ => Some(tier),
    }
}

/// Where a policy is asked, and whether for what is forwarded, too: `doNotTrack`, `preDNAT`, `applyOnForward`.
fn read_stage(kind: Kind, spec: &mut Fields<'_>) -> Option<(PolicyStage, bool)> {
    let mut flag = |name| {
        let at = spec.take(name);
        let on = at.as_ref().map_or(Some(false), |at| at.boolean());
        (at, on)
    };
    let [(untracked_at, untracked), (pre_dnat_at, pre_dnat), (forward_at, forward)] =
        ["doNotTrack", "preDNAT", "applyOnForward"].map(&mut flag);
    let (untracked, pre_dnat, forward) = (untracked?, pre_dnat?, forward?);
    let given = [(&untracked_at, untracked), (&pre_dnat_at, pre_dnat), (&forward_at, forward)];
    let set = given.into_iter().find_map(|(at, on)| at.as_ref().filter(|_| on));
    if let Some(at) = set
        && kind == Kind::NetworkPolicy
    {
        let mend = Some("remove it, or make it a GlobalNetworkPolicy".to_string());
        return at.fail("only for host endpoints, which no NetworkPolicy governs", mend);
    }
    match (untracked, pre_dnat, set) {
        (true, true, Some(at)) => at.fail("either this or `preDNAT`, not both", Some("remove one of them".to_string())),
        (true, _, Some(at)) | (_, true, Some(at)) if !forward => {
            let mend = Some("add `applyOnForward: true`".to_string());
            at.fail("such a policy governs what is forwarded, too, and must say so", mend)
        }
        (true, _, _) => Some((PolicyStage::Untracked, true)),
        (_, true, _) => Some((PolicyStage::PreDnat, true)),
        _ => Some((PolicyStage::Filter, forward)),
    }
}

pub fn read_policy(kind: Kind, meta: Meta, mut spec: Fields<'_>) -> Option<Policy> {
    let stage = read_stage(kind, &mut spec);
    spec.not_built("performanceHints", &[]);
    let tier = spec.take("tier").map(|at| at.text().map(str::to_string));
    let order = spec.take("order").map(|at| at.number());
    let selector = spec.take("selector").map(|at| read_selector(&at));
    let namespace_selector = match meta.namespace {
        None => spec.take("namespaceSelector").map(|at| read_selector(&at)),
        Some(_) => None,
    };
    let service_account_selector = spec.take("serviceAccountSelector").map(|at| read_selector(&at));
    let types = spec.take("types").map(|at| {
        at.each(|item| item.one_of("type", &[("Ingress", Direction::Ingress), ("Egress", Direction::Egress)]))
    });
    let mut rules = |name| spec.take(name).map(|at| at.each(|item| read_rule(&item))).unwrap_or_default();
    let ingress = rules("ingress");
    let egress = rules("egress");
    let place = spec.at().clone();
    spec.finish();
    // What Calico infers where `types` is absent or empty.
    let (applies_ingress, applies_egress) = match types.filter(|types| !types.is_empty()) {
        Some(types) => (types.contains(&Direction::Ingress), types.contains(&Direction::Egress)),
        None => (egress.is_empty() || !ingress.is_empty(), !egress.is_empty()),
    };
    let (stage, apply_on_forward) = stage?;
    if stage == PolicyStage::PreDnat && applies_egress {
        let what = "a policy with `preDNAT` governs what comes in only";
        return place.fail(what, Some("remove `egress`, and Egress from `types`".to_string()));
    }
    Some(Policy {
        key: ObjectKey { kind, namespace: meta.namespace, name: meta.name },
        tier: tier.unwrap_or_else(|| Some(DEFAULT_TIER.to_string()))?,
        order: optional(order)?,
        selector: selector.unwrap_or_else(|| Some(String::new()))?,
        namespace_selector: optional(namespace_selector)?,
        service_account_selector: optional(service_account_selector)?,
        stage,
        apply_on_forward,
        applies_ingress,
        applies_egress,
        ingress,
        egress,
    })
}

const STAGED_ACTIONS: [(&str, StagedAction); 4] = [
    ("Set", StagedAction::Set),
    ("Delete", StagedAction::Delete),
    ("Learn", StagedAction::Learn),
    ("Ignore", StagedAction::Ignore),
];

pub fn staged_action_word(action: StagedAction) -> &'static str {
    STAGED_ACTIONS.iter().find(|(_, one)| *one == action).map(|(word, _)| *word).unwrap_or_default()
}

pub fn read_staged_action(spec: &mut Fields<'_>) -> Option<StagedAction> {
    let action = spec.take("stagedAction").map(|at| at.one_of("staged action", &STAGED_ACTIONS));
    action.unwrap_or(Some(StagedAction::Set))
}

/// `kind`: that of the policy which it is staged for.
pub fn read_staged(kind: Kind, meta: Meta, mut spec: Fields<'_>) -> Option<StagedPolicy> {
    let action = read_staged_action(&mut spec);
    let policy = read_policy(kind, meta, spec);
    Some(StagedPolicy { action: action?, policy: policy? })
}

pub fn read_rule(at: &At<'_>) -> Option<PolicyRule> {
    let mut fields = at.fields()?;
    fields.not_built("http", &[]);
    fields.ignore(&["metadata"]);
    let action = fields.required("action", "Allow, Deny, Log or Pass").and_then(|at| at.one_of("action", &ACTIONS));
    let ip_version = fields.take("ipVersion").map(|at| match at.integer(0, u64::MAX)? {
        version @ (4 | 6) => Some(version as u8),
        other => at.fail(format!("expected 4 or 6, found {other}"), None),
    });
    let protocol = fields.take("protocol").map(|at| read_protocol(&at));
    let not_protocol = fields.take("notProtocol").map(|at| read_protocol(&at));
    let icmp_at = fields.take("icmp");
    let not_icmp_at = fields.take("notICMP");
    let source_at = fields.take("source");
    let destination_at = fields.take("destination");
    fields.finish();
    let given = Given { protocol: protocol.flatten(), ip_version: ip_version.flatten() };
    if protocol.is_none_or(|protocol| protocol.is_some()) {
        given.check_family(at);
    }
    let icmp = icmp_at.map(|at| given.read_icmp(&at));
    let not_icmp = not_icmp_at.map(|at| given.read_icmp(&at));
    // A protocol that cannot be read is reported once, not again for each of its ports.
    let ports_make_sense = match protocol {
        Some(None) => true,
        _ => given.protocol.is_some_and(Protocol::has_ports),
    };
    let source = source_at.map(|at| given.read_entity(&at, ports_make_sense));
    let destination = destination_at.map(|at| given.read_entity(&at, ports_make_sense));
    Some(PolicyRule {
        action: action?,
        ip_version: optional(ip_version)?,
        protocol: optional(protocol)?,
        not_protocol: optional(not_protocol)?,
        icmp: optional(icmp)?,
        not_icmp: optional(not_icmp)?,
        source: source.unwrap_or_else(|| Some(EntityRule::default()))?,
        destination: destination.unwrap_or_else(|| Some(EntityRule::default()))?,
    })
}

pub fn read_protocol(at: &At<'_>) -> Option<Protocol> {
    let expectation = "TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number 1-255";
    let text = at.word(expectation)?;
    match Protocol::from_word(text) {
        Some(protocol) => Some(protocol),
        None => at.fail(
            format!("unknown protocol \"{text}\"; expected {expectation}"),
            super::suggest::did_you_mean(text, PROTOCOLS),
        ),
    }
}

/// What of a rule the rest of it depends on.
struct Given {
    protocol: Option<Protocol>,
    ip_version: Option<u8>,
}

impl Given {
    fn family(&self) -> Option<Family> {
        match self.ip_version {
            Some(4) => Some(Family::V4),
            Some(_) => Some(Family::V6),
            None => None,
        }
    }

    fn check_family(&self, at: &At<'_>) {
        let clash = match (self.protocol, self.ip_version) {
            (Some(Protocol::ICMP), Some(6)) => Some(("ICMP", "ICMPv6")),
            (Some(Protocol::ICMPV6), Some(4)) => Some(("ICMPv6", "ICMP")),
            _ => None,
        };
        if let Some((given, mend)) = clash {
            let version = self.ip_version.unwrap_or_default();
            at.fail::<()>(
                format!("protocol {given} does not occur in IPv{version}: this rule never matches"),
                Some(format!("write `protocol: {mend}`, or another ipVersion")),
            );
        }
    }

    fn read_icmp(&self, at: &At<'_>) -> Option<IcmpMatch> {
        let mut fields = at.fields()?;
        let kind = fields.take("type").map(|at| at.integer(0, 254));
        let code = fields.take("code").map(|at| at.integer(0, 255));
        fields.finish();
        if !matches!(self.protocol, Some(Protocol::ICMP | Protocol::ICMPV6)) {
            return at.fail("only with `protocol: ICMP` or `protocol: ICMPv6`", None);
        }
        let Some(kind) = kind else {
            return at.fail_in("type", "missing: expected a number from 0 to 254", None);
        };
        Some(IcmpMatch { kind: kind? as u8, code: optional(code)?.map(|code| code as u8) })
    }

    fn read_entity(&self, at: &At<'_>, ports_make_sense: bool) -> Option<EntityRule> {
        let mut fields = at.fields()?;
        fields.not_built("services", &[]);
        fields.not_built("domains", &[]);
        let nets = fields.take("nets").map(|at| at.each(|item| self.read_net(&item)));
        let not_nets = fields.take("notNets").map(|at| {
            at.each(|item| {
                let net = self.read_net(&item)?;
                if net.length() == 0 {
                    return item.fail(format!("{net} excludes everything: this rule would never match"), None);
                }
                Some(net)
            })
        });
        let selector = fields.take("selector").map(|at| read_selector(&at));
        let not_selector = fields.take("notSelector").map(|at| read_selector(&at));
        let namespace_selector = fields.take("namespaceSelector").map(|at| read_selector(&at));
        let service_accounts = fields.take("serviceAccounts").map(|at| read_service_accounts(&at));
        let mut ports = |name| {
            let Some(at) = fields.take(name) else { return (Vec::new(), Vec::new()) };
            let (mut numbers, mut names) = (Vec::new(), Vec::new());
            for port in at.each(|item| read_port(&item)) {
                match port {
                    Port::Numbers(range) => numbers.push(range),
                    Port::Name(name) => names.push(name),
                }
            }
            // A name tells its protocol.
            if !ports_make_sense && (!numbers.is_empty() || !names.is_empty() && self.protocol.is_some()) {
                at.fail::<()>("ports need `protocol: TCP`, UDP, SCTP or UDPLite in the same rule", None);
            }
            (numbers, names)
        };
        let (ports_given, named_ports) = ports("ports");
        let (not_ports, not_named_ports) = ports("notPorts");
        fields.finish();
        Some(EntityRule {
            nets: nets.unwrap_or_default(),
            not_nets: not_nets.unwrap_or_default(),
            selector: optional(selector)?,
            not_selector: optional(not_selector)?,
            namespace_selector: optional(namespace_selector)?,
            service_accounts: optional(service_accounts)?,
            ports: ports_given,
            not_ports,
            named_ports,
            not_named_ports,
        })
    }

    fn read_net(&self, at: &At<'_>) -> Option<Cidr> {
        let net = read_cidr(at)?;
        match self.family() {
            Some(family) if family != net.family() => {
                at.fail(format!("{net} is {}, and the rule's ipVersion says {family}", net.family()), None)
            }
            _ => Some(net),
        }
    }
}

fn read_service_accounts(at: &At<'_>) -> Option<ServiceAccountMatch> {
    let mut fields = at.fields()?;
    let names = fields.take("names").map(|at| at.each(|item| item.text().map(str::to_string)));
    let selector = fields.take("selector").map(|at| read_selector(&at));
    fields.finish();
    Some(ServiceAccountMatch { names: names.unwrap_or_default(), selector: optional(selector)? })
}

enum Port {
    Numbers(PortMatch),
    Name(String),
}

/// A port, a range of ports, or a name: `80`, `"80:90"`, `http`.
fn read_port(at: &At<'_>) -> Option<Port> {
    let text = at.word("a port such as 80, a range such as \"80:90\", or a name")?;
    let parse = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let range = match text.split_once(':') {
        Some((first, last)) => parse(first).zip(parse(last)),
        None => parse(text).map(|port| (port, port)),
    };
    match range {
        Some((first, last)) if first <= last => Some(Port::Numbers(PortMatch { first, last })),
        Some((first, last)) => at.fail(format!("the range {text} is empty"), Some(format!("write \"{last}:{first}\""))),
        None if is_port_name(text) => Some(Port::Name(text.to_string())),
        None => at
            .fail(format!("\"{text}\" is not a port: expected 0 to 65535, a range such as \"80:90\", or a name"), None),
    }
}

pub fn is_port_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
