//! Everybody probes everybody; the kernel must say what the evaluator says, before, during and after policies.

use std::collections::BTreeSet;
use std::net::IpAddr;

use routenet::plane::iptables::Backend;
use routenet_core::desired::FactDelta;
use routenet_core::model::yaml::read_documents;
use routenet_core::model::{Endpoint, Family, Protocol};
use routenet_core::policy::{Flow, Side, Verdict};

use crate::probe::{Probe, send};
use crate::support::{in_fresh_netns, run};
use crate::world::{HOST, STRANGER, World, addresses, block_on, endpoint_fact, node, policy_fact};

/// Where an end of a flow is, as seen from the host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whereabouts {
    /// By its index in the world.
    Inside(usize),
    Host,
    Outside,
}

struct Party {
    at: Whereabouts,
    side: Side,
    addresses: Vec<IpAddr>,
}

impl Party {
    fn side_with(&self, address: IpAddr) -> Side {
        if let Side::Address(_) = self.side { Side::Address(address) } else { self.side.clone() }
    }
}

fn parties(world: &World) -> Vec<Party> {
    let workload = |at, endpoint: &Endpoint| Party {
        at,
        side: Side::Workload(endpoint.node.clone(), endpoint.key.clone()),
        addresses: endpoint.addresses.clone(),
    };
    let locals = world.workloads.iter().enumerate();
    let mut parties: Vec<Party> =
        locals.map(|(index, local)| workload(Whereabouts::Inside(index), &local.endpoint)).collect();
    parties.push(workload(Whereabouts::Outside, &world.remote));
    parties.push(Party { at: Whereabouts::Host, side: Side::Host(node("n1")), addresses: addresses(&HOST) });
    let strangers = addresses(&STRANGER);
    parties.push(Party { at: Whereabouts::Outside, side: Side::Address(strangers[0]), addresses: strangers });
    parties
}

const KINDS: [(Protocol, Option<u16>); 4] =
    [(Protocol::TCP, Some(80)), (Protocol::TCP, Some(81)), (Protocol::UDP, Some(80)), (Protocol::ICMP, None)];

/// A probe, whether the evaluator lets it pass, and its words for that.
type Planned = (Probe, bool, String);

/// All probes that pass this host, by the place that sends them, each with whether this host lets it through.
fn plan(world: &World) -> Vec<(Whereabouts, Vec<Planned>)> {
    let parties = parties(world);
    let mut plan: Vec<(Whereabouts, Vec<_>)> = Vec::new();
    for source in &parties {
        for destination in &parties {
            let inside = |party: &Party| matches!(party.at, Whereabouts::Inside(_));
            if source.at == destination.at || !(inside(source) || inside(destination)) {
                continue;
            }
            for (family, (protocol, port)) in Family::BOTH.into_iter().flat_map(|f| KINDS.map(|kind| (f, kind))) {
                let of = |party: &Party| *party.addresses.iter().find(|a| Family::of(**a) == family).expect("both");
                let (from, to) = (of(source), of(destination));
                let flow = Flow {
                    source: source.side_with(from),
                    destination: destination.side_with(to),
                    family: Some(family),
                    protocol,
                    source_port: Some(40000),
                    port,
                    icmp: None,
                };
                let found = world.engine.explain(&flow).expect("a verdict");
                // What another host would say to it does not show here.
                let verdict = match (source.at, destination.at) {
                    (Whereabouts::Outside, _) => found.ingress.verdict,
                    (_, Whereabouts::Outside) => found.egress.verdict,
                    _ => found.verdict,
                };
                let probe = Probe { source: from, destination: to, protocol, port, source_port: None, icmp: None };
                let entry = (probe, verdict == Verdict::Allow, found.to_string());
                match plan.iter_mut().find(|(at, _)| *at == source.at) {
                    Some((_, probes)) => probes.push(entry),
                    None => plan.push((source.at, vec![entry])),
                }
            }
        }
    }
    plan
}

/// Sends the whole matrix; (let through, denied) in numbers.
fn check(world: &World, round: &str) -> (usize, usize) {
    let plan = plan(world);
    let mut running = Vec::new();
    let mut at_home = Vec::new();
    for (at, entries) in &plan {
        let probes: Vec<Probe> = entries.iter().map(|(probe, ..)| probe.clone()).collect();
        let allowed: BTreeSet<Probe> = entries.iter().filter(|(_, allow, _)| *allow).map(|(p, ..)| p.clone()).collect();
        match at {
            Whereabouts::Inside(index) => {
                running.push(world.workloads[*index].place.start(move || send(&probes, &allowed)));
            }
            Whereabouts::Outside => running.push(world.outside.start(move || send(&probes, &allowed))),
            Whereabouts::Host => at_home.push((probes, allowed)),
        }
    }
    let mut answered: BTreeSet<Probe> = at_home.iter().flat_map(|(probes, allowed)| send(probes, allowed)).collect();
    for outcome in running {
        answered.extend(outcome.recv().expect("the probes were sent"));
    }
    let entries: Vec<_> = plan.into_iter().flat_map(|(_, entries)| entries).collect();
    let wrong: Vec<String> = entries
        .iter()
        .filter(|(probe, allow, _)| answered.contains(probe) != *allow)
        .map(|(probe, allow, why)| {
            let (did, should) = if *allow { ("drops", "allows") } else { ("passes", "denies") };
            format!("{round}: the kernel {did} {probe}, which the evaluator {should}:\n{why}")
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), entries.len(), wrong.join("\n"));
    (answered.len(), entries.len() - answered.len())
}

fn policies(text: &str, keep: bool) -> Vec<FactDelta> {
    let objects = read_documents("matrix.yaml", text).unwrap_or_else(|errors| panic!("{errors:?}"));
    objects.into_iter().map(|located| policy_fact(located.value, keep)).collect()
}

fn kernel_says_what_the_evaluator_says(backend: Backend, workload_to_host: bool) {
    in_fresh_netns(move || {
        let mut world = World::new(backend, workload_to_host);
        let bare = (world.engine.sets(), world.engine.chains().clone());
        let (passed, denied) = check(&world, "without policies");
        assert!(passed > 50 && denied > 50, "isolation both lets through and denies: {passed}, {denied}");

        for text in [include_str!("../../policies/demo/web.yaml"), include_str!("matrix.yaml")] {
            world.apply(&policies(text, true));
        }
        assert_eq!(world.engine.problems(), []);
        let (passed, denied) = check(&world, "with policies");
        assert!(passed > 50 && denied > 50, "policies both let through and deny: {passed}, {denied}");

        let mut guest = world.workload("guest").endpoint.clone();
        guest.labels.insert("role".into(), "client".into());
        let mut client = world.workload("client").endpoint.clone();
        client.labels.insert("role".into(), "guest".into());
        let change = world.engine.apply(&[endpoint_fact(&guest), endpoint_fact(&client)]);
        assert!(change.chains.is_empty(), "a change between known groups touches no chain");
        block_on(world.rules.apply(change)).expect("the kernel takes it");
        check(&world, "after a change of labels");

        let original = ["guest", "client"].map(|name| endpoint_fact(&world.workload(name).endpoint));
        world.apply(&original);
        for text in [include_str!("../../policies/demo/web.yaml"), include_str!("matrix.yaml")] {
            world.apply(&policies(text, false));
        }
        assert_eq!((world.engine.sets(), world.engine.chains().clone()), bare);
        check(&world, "without policies again");

        block_on(world.rules.remove_all()).expect("everything of ours goes");
        for family in Family::BOTH {
            assert!(!backend.save(family).expect("a listing").contains("rn-"), "chains of ours are left");
        }
        assert!(!run("ipset", &["list", "-n"]).contains("rn"), "sets of ours are left");
    });
}

#[test]
fn kernel_and_evaluator_agree_with_nft() {
    kernel_says_what_the_evaluator_says(Backend::Nft, false);
}

#[test]
fn kernel_and_evaluator_agree_with_legacy() {
    kernel_says_what_the_evaluator_says(Backend::Legacy, true);
}
