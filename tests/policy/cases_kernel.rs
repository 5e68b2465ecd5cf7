//! The same cases through a real kernel: their policies compiled and programmed, every probe sent as a packet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use routenet::plane::iptables::Backend;
use routenet::plane::link::LinkPlane;
use routenet::plane::rules::{RulesConfig, RulesPlane};

use crate::cases::{Asked, Case, cases};
use crate::probe::{Probe, send};
use crate::raw::SctpListener;
use crate::support::{in_fresh_netns, run};
use crate::world::{Listener, Place, block_on, ip, plug_in};

/// Cases at once: each waits most of the time.
const AT_ONCE: usize = 4;

/// The ports that the probes of a case ask for.
fn ports(case: &Case) -> Vec<u16> {
    case.verdicts.iter().filter_map(|asked| asked.port).collect::<BTreeSet<u16>>().into_iter().collect()
}

/// Everything that stands in the namespaces of one case.
struct Stage {
    places: BTreeMap<String, Place>,
    outside: Place,
    _listeners: Vec<(Listener, SctpListener)>,
    _links: LinkPlane,
    _rules: RulesPlane,
}

impl Stage {
    /// In the namespace of the calling thread, which is the host.
    fn new(case: &Case, backend: Backend) -> Stage {
        let engine = case.engine();
        let ports = ports(case);
        let listen = |addresses: Vec<IpAddr>| {
            let ports = ports.clone();
            move || (Listener::on(&addresses, &ports), SctpListener::new())
        };
        run("sysctl", &["-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
        let outside = Place::new();
        // Nobody has another's address, so nobody asks for it, which would take a second or two.
        let unasked = || run("sysctl", &["-q", "-w", "net.ipv6.conf.default.accept_dad=0"]);
        unasked();
        outside.run(unasked);
        ip(&format!("link add eth0 type veth peer name eth0 netns {}", outside.netns));
        ip("link set eth0 up");
        outside.ip("link set eth0 up");
        let hosts: Vec<IpAddr> = std::iter::once(case.host).chain(case.host6.map(IpAddr::V6)).collect();
        // A tentative address cannot be listened on.
        let put = |address: IpAddr, length: &str| {
            format!("address add {address}{length} {}", if address.is_ipv6() { "nodad" } else { "" })
        };
        for host in &hosts {
            let (length, option) = if host.is_ipv4() { ("/24", "-4") } else { ("/64", "-6") };
            ip(&format!("{} dev eth0", put(*host, length)));
            // Next to the host, whatever its address.
            outside.ip(&format!("{} dev eth0", put(beside(*host), length)));
            outside.ip(&format!("{option} route add default via {host}"));
        }
        for address in &case.outside {
            outside.ip(&format!("{} dev lo", put(*address, "")));
            let host = hosts.iter().find(|host| host.is_ipv4() == address.is_ipv4());
            let host = host.unwrap_or_else(|| panic!("{}: a host of the family of {address}", case.name));
            ip(&format!("route add {address} via {}", beside(*host)));
        }
        let mut listeners = vec![listen(hosts)(), outside.run(listen(case.outside.clone()))];
        let links = LinkPlane::spawn().expect("a link plane");
        let mut places = BTreeMap::new();
        for workload in &case.workloads {
            let place = plug_in(&links, &workload.endpoint());
            listeners.push(place.run(listen(workload.ips.clone())));
            places.insert(workload.display_name(), place);
        }
        let rules = RulesPlane::spawn(RulesConfig::new(backend)).expect("a rules plane");
        let state = (engine.sets(), engine.chains().clone(), engine.hooks());
        block_on(rules.start(state.0, state.1, state.2)).expect("the kernel takes it");
        Stage { places, outside, _listeners: listeners, _links: links, _rules: rules }
    }
}

/// An address of the same subnet.
fn beside(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(host) => IpAddr::from((u32::from(host) ^ 0xfc).to_be_bytes()),
        IpAddr::V6(host) => IpAddr::from((u128::from(host) ^ 0xfc).to_be_bytes()),
    }
}

/// How many probes of the case were sent, and which the kernel answered otherwise than Calico did.
/// `prepare`: what else is done to the host, whose namespace the calling thread is in.
pub fn differences(case: &Case, backend: Backend, prepare: impl FnOnce()) -> (usize, Vec<String>) {
    let stage = Stage::new(case, backend);
    prepare();
    let mut by_sender: BTreeMap<&str, Vec<&Asked>> = BTreeMap::new();
    for asked in &case.verdicts {
        let sender = if asked.from.starts_with("outside:") { "outside" } else { asked.from.as_str() };
        by_sender.entry(sender).or_default().push(asked);
    }
    let mut answered = BTreeSet::new();
    let mut running = Vec::new();
    for (sender, asked) in &by_sender {
        let probes: Vec<Probe> = asked.iter().map(|one| case.probe(one)).collect();
        let allowed = asked.iter().filter(|one| one.verdict == "allow").map(|one| case.probe(one)).collect();
        match (*sender, stage.places.get(*sender)) {
            ("host", _) => answered.extend(send(&probes, &allowed)),
            ("outside", _) => running.push(stage.outside.start(move || send(&probes, &allowed))),
            (_, place) => running.push(place.expect("a workload").start(move || send(&probes, &allowed))),
        }
    }
    for outcome in running {
        answered.extend(outcome.recv().expect("the probes were sent"));
    }
    let wrong = |asked: &&Asked| answered.contains(&case.probe(asked)) != (asked.verdict == "allow");
    let words = |asked: &Asked| {
        let did = if asked.verdict == "allow" { "drops" } else { "passes" };
        format!("{} ({backend:?}): the kernel {did} {}, where {} is right", case.name, case.probe(asked), asked.verdict)
    };
    (case.verdicts.len(), case.verdicts.iter().filter(wrong).map(words).collect())
}

/// The case by the evaluator, and with packets on both back ends.
pub fn holds(case: &Case) {
    assert_eq!(case.disputed(), Vec::<String>::new());
    for backend in [Backend::Nft, Backend::Legacy] {
        let case = case.clone();
        let (sent, wrong) = in_fresh_netns(move || differences(&case, backend, || ()));
        assert!(sent > 0 && wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn the_kernel_does_what_calico_did() {
    let cases: Vec<(Case, Backend)> = cases()
        .into_iter()
        .flat_map(|(case, _)| [Backend::Nft, Backend::Legacy].map(|backend| (case.clone(), backend)))
        .collect();
    let next = AtomicUsize::new(0);
    let outcomes: Vec<(usize, Vec<String>)> = std::thread::scope(|scope| {
        let work = || {
            let mut found = Vec::new();
            while let Some((case, backend)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (case, backend) = (case.clone(), *backend);
                found.push(in_fresh_netns(move || differences(&case, backend, || ())));
            }
            found
        };
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no case panics")).collect()
    });
    let sent: usize = outcomes.iter().map(|(sent, _)| sent).sum();
    let wrong: Vec<String> = outcomes.into_iter().flat_map(|(_, wrong)| wrong).collect();
    println!("{sent} probes sent through the kernel");
    assert!(wrong.is_empty(), "{} of {sent}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(sent > 0, "no case was tried");
}
