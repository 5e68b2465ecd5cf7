use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::bgp::rib::decision::Step;
use crate::bgp::rib::path::{Judged, Path, Source, own_attributes};
use crate::bgp::rib::standing::Standing;
use crate::bgp::wire::NextHop;
use crate::model::scope::scoped;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn cidr(text: &str) -> Cidr {
    text.parse().expect("a prefix")
}

/// A route over iBGP of the neighbour 192.0.2.`from`.
fn route(from: u8, hop: IpAddr) -> Candidate {
    let address = IpAddr::from([192, 0, 2, from]);
    let router_id = [192, 0, 2, from].into();
    Candidate {
        source: Arc::new(Source { peer: Some(address), ..Source::own(router_id) }),
        path: Arc::new(Path { attributes: own_attributes(), next_hop: NextHop { address: hop, link_local: None } }),
        judged: Judged::AsReceived,
    }
}

fn asking() -> Rib {
    let mut rib = Rib::default();
    rib.ask_for_next_hops();
    rib
}

const fn via(metric: u32) -> Resolution {
    Resolution::Via { metric }
}

const NO_ROUTE: Resolution = Resolution::Unreachable { why: NoWay::NoRoute, closed: None };

fn best(rib: &Rib, prefix: &str) -> Vec<IpAddr> {
    rib.get(&cidr(prefix)).map(|destination| destination.next_hops().to_vec()).unwrap_or_default()
}

fn refused(rib: &Rib, prefix: &str) -> Vec<Option<Refusal>> {
    let destination = rib.get(&cidr(prefix)).expect("it has routes");
    destination.candidates().iter().map(|candidate| rib.refused(&cidr(prefix), candidate)).collect()
}

#[test]
fn who_does_not_ask_resolves_everything() {
    let mut rib = Rib::default();
    rib.learn(cidr("10.0.0.0/24"), route(2, ip("203.0.113.9")));
    assert_eq!(best(&rib, "10.0.0.0/24"), [ip("203.0.113.9")]);
    assert!(rib.take_questions().is_empty() && !rib.awaits_answers());
}

#[test]
fn a_route_waits_for_the_answer_and_is_asked_about_once() {
    let mut rib = asking();
    let hop = ip("203.0.113.9");
    for prefix in ["10.0.0.0/24", "10.0.1.0/24"] {
        rib.learn(cidr(prefix), route(2, hop));
    }
    assert_eq!(rib.take_questions(), BTreeMap::from([(hop, true)]));
    assert_eq!((best(&rib, "10.0.0.0/24"), rib.awaits_answers()), (vec![], true));
    assert_eq!(refused(&rib, "10.0.0.0/24"), [Some(Refusal::Unanswered)]);
    rib.resolve(vec![(hop, via(7))]);
    assert_eq!((best(&rib, "10.0.0.0/24"), best(&rib, "10.0.1.0/24")), (vec![hop], vec![hop]));
    assert!(!rib.awaits_answers());
    rib.forget(cidr("10.0.0.0/24"), Some(ip("192.0.2.2")));
    assert!(rib.take_questions().is_empty(), "another route needs it");
    rib.forget(cidr("10.0.1.0/24"), Some(ip("192.0.2.2")));
    assert_eq!(rib.take_questions(), BTreeMap::from([(hop, false)]));
    rib.resolve(vec![(hop, NO_ROUTE)]);
    assert_eq!(rib.unresolved().count(), 0, "an answer that nobody needs any more");
}

#[test]
fn what_import_refused_is_not_asked_about() {
    let mut rib = asking();
    let refused = Candidate { judged: Judged::Refused(Refusal::NoImport), ..route(2, ip("203.0.113.9")) };
    rib.learn(cidr("10.0.0.0/24"), refused);
    let own = Candidate { source: Arc::new(Source::own([192, 0, 2, 1].into())), ..route(1, ip("0.0.0.0")) };
    rib.learn(cidr("10.0.1.0/24"), own);
    assert!(rib.take_questions().is_empty());
    assert!(rib.get(&cidr("10.0.1.0/24")).is_some_and(|own| own.best().is_some()));
}

#[test]
fn a_next_hop_that_goes_takes_its_routes_and_brings_them_back() {
    let mut rib = asking();
    let (near, far) = (ip("203.0.113.1"), ip("203.0.113.2"));
    rib.learn(cidr("10.0.0.0/24"), route(2, near));
    rib.learn(cidr("10.0.0.0/24"), route(3, far));
    rib.resolve(vec![(near, via(100)), (far, via(200))]);
    assert_eq!(best(&rib, "10.0.0.0/24"), [near]);
    let standings = rib.standings(rib.get(&cidr("10.0.0.0/24")).expect("it has routes"));
    let step = Step::Metric { best: 100, lost: 200 };
    assert_eq!(step.to_string(), "IGP metric 100 against 200");
    assert_eq!(standings, [Standing::Best { over: Some(step.clone()) }, Standing::Lost(step)]);
    rib.resolve(vec![(near, via(200))]);
    assert_eq!(best(&rib, "10.0.0.0/24"), [near, far], "equal costs share the load");
    rib.resolve(vec![(near, NO_ROUTE)]);
    assert_eq!(best(&rib, "10.0.0.0/24"), [far]);
    assert_eq!(rib.unresolved().map(|hop| (hop.address, hop.routes)).collect::<Vec<_>>(), [(near, 1)]);
    let before = rib.head();
    rib.resolve(vec![(near, NO_ROUTE), (far, via(300))]);
    assert!(!rib.has_news(before), "nothing that anybody is told has changed");
    rib.resolve(vec![(near, via(0))]);
    assert_eq!((best(&rib, "10.0.0.0/24"), rib.unresolved().count()), (vec![near], 0));
}

#[test]
fn what_replaces_a_route_in_use_does_not_wait() {
    let mut rib = asking();
    let (old, new) = (ip("203.0.113.1"), ip("203.0.113.2"));
    rib.learn(cidr("10.0.0.0/24"), route(2, old));
    rib.resolve(vec![(old, via(5))]);
    rib.learn(cidr("10.0.0.0/24"), route(2, new));
    assert_eq!((best(&rib, "10.0.0.0/24"), rib.awaits_answers()), (vec![new], true));
    assert_eq!(rib.take_questions(), BTreeMap::from([(old, false), (new, true)]));
    rib.resolve(vec![(new, NO_ROUTE)]);
    assert!(best(&rib, "10.0.0.0/24").is_empty());
}

#[test]
fn a_learned_route_carries_a_next_hop_but_not_its_own() {
    let mut rib = asking();
    let (router, node) = (ip("198.51.100.1"), ip("10.2.0.1"));
    // The node's own address is behind a router that announces its subnet.
    rib.learn(cidr("10.9.0.0/24"), route(3, node));
    rib.resolve(vec![(node, NO_ROUTE)]);
    assert_eq!(refused(&rib, "10.9.0.0/24"), [Some(Refusal::NextHop(NoWay::NoRoute))]);
    rib.learn(cidr("10.2.0.0/24"), route(2, router));
    rib.resolve(vec![(router, via(20))]);
    assert_eq!(best(&rib, "10.9.0.0/24"), [node]);
    assert_eq!(rib.take_carried(), BTreeMap::from([(node, Some(router))]), "the kernel is to know by whom");
    // The subnet by way of an address in it does not lead there, and neither does a part of it.
    for prefix in ["10.2.0.0/24", "10.2.0.0/25", "10.2.0.1/32"] {
        rib.learn(cidr(prefix), route(3, node));
        rib.follow_carriers();
        let by_node = |candidate: &&Candidate| candidate.path.next_hop.address == node;
        let candidate =
            rib.get(&cidr(prefix)).and_then(|it| it.candidates().iter().find(by_node)).expect("it is there");
        assert_eq!(rib.refused(&cidr(prefix), candidate), Some(Refusal::NextHop(NoWay::NoRoute)), "{prefix}");
        assert_eq!(best(&rib, "10.9.0.0/24"), [node], "the rest of the way is as before");
    }
    assert!(rib.take_carried().is_empty());
    rib.forget(cidr("10.2.0.0/24"), Some(ip("192.0.2.2")));
    rib.follow_carriers();
    assert!(best(&rib, "10.9.0.0/24").is_empty());
    assert_eq!(rib.take_carried(), BTreeMap::from([(node, None)]));
}

#[test]
fn who_carries_a_next_hop_is_told_until_nobody_has_to() {
    let mut rib = asking();
    let (first, second, node) = (ip("198.51.100.1"), ip("198.51.100.2"), ip("10.2.0.1"));
    rib.learn(cidr("10.9.0.0/24"), route(3, node));
    rib.learn(cidr("10.2.0.0/24"), route(2, first));
    rib.learn(cidr("10.2.0.0/25"), route(4, second));
    let mut after = |answers: &[(IpAddr, Resolution)]| {
        rib.resolve(answers.to_vec());
        rib.take_carried()
    };
    assert_eq!(after(&[(node, NO_ROUTE), (first, via(0)), (second, via(0))]), [(node, Some(second))].into());
    assert_eq!(after(&[(second, NO_ROUTE)]), [(node, Some(first))].into());
    assert_eq!(after(&[(first, via(9))]), [].into(), "dearer, and the same way");
    assert_eq!(after(&[(node, via(0))]), [(node, None)].into(), "the host's own route leads there");
    assert_eq!(after(&[(node, NO_ROUTE)]), [(node, Some(first))].into());
    rib.forget(cidr("10.9.0.0/24"), Some(ip("192.0.2.3")));
    assert_eq!(rib.take_carried(), [(node, None)].into(), "no route needs it");
}

#[test]
fn a_learned_route_carries_no_next_hop_of_a_link() {
    let mut rib = asking();
    let (near, on_link) = (ip("2001:db8::1"), scoped(ip("fe80::2"), 7));
    rib.learn(cidr("::/0"), route(1, near));
    rib.learn(cidr("fd01::/64"), route(2, on_link));
    rib.resolve(vec![(near, via(0)), (on_link, Resolution::Unreachable { why: NoWay::LinkDown, closed: None })]);
    assert_eq!(best(&rib, "::/0"), [near]);
    assert_eq!(refused(&rib, "fd01::/64"), [Some(Refusal::NextHop(NoWay::LinkDown))]);
}

#[test]
fn what_is_carried_carries_nobody() {
    let mut rib = asking();
    let (a, b, router) = (ip("10.1.0.1"), ip("10.2.0.1"), ip("198.51.100.1"));
    rib.learn(cidr("10.1.0.0/24"), route(2, b));
    rib.learn(cidr("10.2.0.0/24"), route(3, a));
    rib.resolve(vec![(a, NO_ROUTE), (b, NO_ROUTE), (router, via(1))]);
    assert!(best(&rib, "10.1.0.0/24").is_empty() && best(&rib, "10.2.0.0/24").is_empty(), "each by the other");
    rib.learn(cidr("10.1.0.0/16"), route(4, router));
    rib.resolve(vec![(router, via(1))]);
    assert_eq!(best(&rib, "10.2.0.0/24"), [a], "a is reached by the router");
    assert!(best(&rib, "10.1.0.0/24").is_empty(), "b is not");
}

#[test]
fn a_blackhole_of_the_host_is_not_gone_around_by_a_wider_route() {
    let mut rib = asking();
    let (hop, router) = (ip("10.2.0.1"), ip("198.51.100.1"));
    rib.learn(cidr("10.9.0.0/24"), route(3, hop));
    rib.learn(cidr("10.2.0.0/24"), route(2, router));
    let closed = |length| Resolution::Unreachable { why: NoWay::Closed, closed: Some(length) };
    for (length, carried) in [(26, false), (24, false), (16, true)] {
        rib.resolve(vec![(router, via(0)), (hop, closed(length))]);
        assert_eq!(!best(&rib, "10.9.0.0/24").is_empty(), carried, "/{length}");
    }
}

/// What is looked at follows from what has changed, and not from how much there is that does not resolve.
#[test]
fn an_answer_touches_those_around_which_it_changes_something() {
    let mut rib = asking();
    let hop = |number: u16| IpAddr::from([10, 1, number.to_be_bytes()[0], number.to_be_bytes()[1]]);
    let many = 1000_u16;
    for number in 0..many {
        rib.learn(
            Cidr::host(IpAddr::from([10, 9, number.to_be_bytes()[0], number.to_be_bytes()[1]])),
            route(2, hop(number)),
        );
    }
    rib.resolve((0..many).map(|number| (hop(number), NO_ROUTE)).collect());
    assert_eq!(rib.unresolved().count(), usize::from(many));
    let (router, other) = (ip("198.51.100.1"), ip("198.51.100.2"));
    rib.learn(cidr("10.1.0.0/28"), route(3, router));
    rib.learn(cidr("10.7.0.0/16"), route(3, other));
    rib.follow_carriers();
    let mut touched = |answer: (IpAddr, Resolution)| {
        rib.heed(vec![answer]);
        let touched = rib.next_hops.touched.len();
        rib.carry();
        touched
    };
    assert_eq!(touched((other, via(1))), 0, "around no stray");
    assert_eq!(touched((router, via(1))), 16, "those in its /28");
    assert_eq!(touched((router, via(1))), 0, "the same again");
    assert_eq!(touched((router, NO_ROUTE)), 17, "and itself, which does not resolve now");
    assert_eq!(touched((hop(7), NO_ROUTE)), 0, "as before");
    assert_eq!(touched((hop(7), Resolution::Unreachable { why: NoWay::Closed, closed: Some(24) })), 1);
    assert_eq!(touched((hop(7), via(0))), 0, "the host leads there");
}

/// Only what takes the place of a route in use goes on meanwhile: not what else comes by way of the same next hop.
#[test]
fn what_is_new_by_way_of_an_unanswered_next_hop_waits_though_another_does_not() {
    let mut rib = asking();
    let (old, new) = (ip("203.0.113.1"), ip("203.0.113.2"));
    rib.learn(cidr("10.0.0.0/24"), route(2, old));
    rib.learn(cidr("10.2.0.0/24"), route(3, old));
    rib.resolve(vec![(old, via(5))]);
    rib.learn(cidr("10.0.0.0/24"), route(2, new));
    rib.learn(cidr("10.1.0.0/24"), route(2, new));
    rib.learn(cidr("10.2.0.0/24"), route(2, new));
    assert_eq!((best(&rib, "10.0.0.0/24"), best(&rib, "10.1.0.0/24")), (vec![new], vec![]));
    assert_eq!(best(&rib, "10.2.0.0/24"), [old], "another neighbour's word is no replacement");
    // The same next hop with other attributes goes on; what was withdrawn begins anew.
    let mut again = route(2, new);
    Arc::make_mut(&mut again.path).attributes.med = Some(7);
    rib.learn(cidr("10.0.0.0/24"), again);
    assert_eq!(best(&rib, "10.0.0.0/24"), [new]);
    let third = ip("203.0.113.3");
    rib.learn(cidr("10.0.0.0/24"), route(2, third));
    assert_eq!(best(&rib, "10.0.0.0/24"), [third], "over several changes");
    rib.forget(cidr("10.0.0.0/24"), Some(ip("192.0.2.2")));
    rib.learn(cidr("10.0.0.0/24"), route(2, new));
    assert!(best(&rib, "10.0.0.0/24").is_empty());
    rib.resolve(vec![(new, via(9))]);
    assert_eq!((best(&rib, "10.0.0.0/24"), best(&rib, "10.1.0.0/24")), (vec![new], vec![new]));
}

const HOPS: [&str; 5] = ["10.1.0.1", "10.2.0.1", "10.3.0.1", "198.51.100.1", "198.51.100.2"];
const PREFIXES: [&str; 8] = [
    "10.1.0.0/24",
    "10.2.0.0/24",
    "10.3.0.0/24",
    "10.1.0.1/32",
    "10.2.0.0/16",
    "10.0.0.0/8",
    "172.16.0.0/24",
    "0.0.0.0/0",
];

#[derive(Clone, Debug)]
enum Act {
    Learn(usize, u8, usize),
    Forget(usize, u8),
    Answer(usize, Resolution),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let resolution = prop_oneof![
        (0..3_u32).prop_map(via),
        Just(NO_ROUTE),
        (8..=25_u8).prop_map(|length| Resolution::Unreachable { why: NoWay::Closed, closed: Some(length) }),
    ];
    let act = prop_oneof![
        3 => (0..PREFIXES.len(), 2..5_u8, 0..HOPS.len()).prop_map(|(prefix, from, hop)| Act::Learn(prefix, from, hop)),
        1 => (0..PREFIXES.len(), 2..5_u8).prop_map(|(prefix, from)| Act::Forget(prefix, from)),
        2 => (0..HOPS.len(), resolution).prop_map(|(hop, answer)| Act::Answer(hop, answer)),
    ];
    prop::collection::vec(act, 1..60)
}

/// The best paths by the rules as they are written, from nothing but what stands at the end.
fn naive(
    routes: &BTreeMap<(Cidr, u8), IpAddr>,
    answers: &BTreeMap<IpAddr, Resolution>,
) -> BTreeMap<Cidr, BTreeSet<IpAddr>> {
    let by_host = |hop: IpAddr| match answers[&hop] {
        Resolution::Via { metric } => Some(metric),
        Resolution::Unreachable { .. } => None,
    };
    let carrier = |hop: IpAddr| {
        let Resolution::Unreachable { closed, .. } = answers[&hop] else { return None };
        let around = routes.iter().filter(|((prefix, _), _)| prefix.contains(hop));
        let open = around.filter(|((prefix, _), _)| closed.is_none_or(|length| prefix.length() > length));
        let usable = open.filter_map(|((prefix, _), by)| Some((prefix.length(), by_host(*by)?)));
        // The longest; among its routes the lowest cost.
        usable.max_by_key(|(length, metric)| (*length, u32::MAX - metric))
    };
    let mut best: BTreeMap<Cidr, Vec<(u32, IpAddr)>> = BTreeMap::new();
    for ((prefix, _), hop) in routes {
        let leads_to_itself = |length: u8| prefix.contains(*hop) && prefix.length() >= length;
        let carried = || carrier(*hop).filter(|(length, _)| !leads_to_itself(*length)).map(|(_, metric)| metric);
        let metric = by_host(*hop).or_else(carried);
        best.entry(*prefix).or_default().extend(metric.map(|metric| (metric, *hop)));
    }
    let equal = |routes: Vec<(u32, IpAddr)>| {
        let least = routes.iter().map(|(metric, _)| *metric).min();
        routes.into_iter().filter(|(metric, _)| Some(*metric) == least).map(|(_, hop)| hop).collect()
    };
    best.into_iter().map(|(prefix, routes)| (prefix, equal(routes))).collect()
}

proptest! {
    /// Whatever came before: what is best follows from what stands. And nothing of it changes of itself.
    #[test]
    fn what_resolves_follows_from_what_stands(acts in acts()) {
        let mut rib = asking();
        let (mut routes, mut answers, mut watched) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for hop in HOPS {
            answers.insert(ip(hop), NO_ROUTE);
        }
        for act in acts {
            match act {
                Act::Learn(prefix, from, hop) => {
                    rib.learn(cidr(PREFIXES[prefix]), route(from, ip(HOPS[hop])));
                    routes.insert((cidr(PREFIXES[prefix]), from), ip(HOPS[hop]));
                }
                Act::Forget(prefix, from) => {
                    rib.forget(cidr(PREFIXES[prefix]), Some(IpAddr::from([192, 0, 2, from])));
                    routes.remove(&(cidr(PREFIXES[prefix]), from));
                }
                Act::Answer(hop, answer) => {
                    answers.insert(ip(HOPS[hop]), answer);
                    if watched.contains(&ip(HOPS[hop])) {
                        rib.resolve(vec![(ip(HOPS[hop]), answer)]);
                    }
                }
            }
            rib.follow_carriers();
            let mut fresh = Vec::new();
            for (hop, wanted) in rib.take_questions() {
                if wanted {
                    watched.insert(hop);
                    fresh.push((hop, answers[&hop]));
                } else {
                    watched.remove(&hop);
                }
            }
            rib.resolve(fresh);
            let needed: BTreeSet<IpAddr> = routes.values().copied().collect();
            prop_assert_eq!(&watched, &needed);
            prop_assert!(!rib.awaits_answers());
            for (prefix, hops) in naive(&routes, &answers) {
                let found: BTreeSet<IpAddr> = rib.get(&prefix).expect("it has routes").next_hops().iter().copied().collect();
                prop_assert_eq!(found, hops, "{} of {:?} by {:?}", prefix, routes, answers);
            }
            let head = rib.head();
            rib.follow_carriers();
            rib.resolve(answers.iter().map(|(hop, answer)| (*hop, *answer)).collect());
            prop_assert!(!rib.has_news(head), "nothing has changed");
        }
    }
}
