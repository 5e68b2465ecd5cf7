use std::net::Ipv4Addr;

use super::*;
use crate::bgp::filter::Refusal;
use crate::bgp::rib::path::own_attributes;
use crate::bgp::wire::NextHop;

const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn prefix(number: u16) -> Cidr {
    let [a, b] = number.to_be_bytes();
    Cidr::host([10, 0, a, b].into())
}

fn route(med: u32) -> Candidate {
    let mut attributes = own_attributes();
    attributes.med = Some(med);
    Candidate {
        source: Arc::new(Source { peer: Some(PEER.into()), external: true, ..Source::own(PEER) }),
        path: Arc::new(Path { attributes, next_hop: NextHop { address: PEER.into(), link_local: None } }),
        judged: Judged::AsReceived,
    }
}

fn news(rib: &Rib, position: Position) -> Vec<Cidr> {
    let mut position = position;
    let slots = rib.read(&mut position, Scope::Best, usize::MAX);
    slots.into_iter().map(|slot| *rib.destination(slot).prefix()).collect()
}

#[test]
fn a_prefix_that_changes_again_has_only_its_last_place_in_the_log() {
    let mut rib = Rib::default();
    let start = rib.head();
    for number in [1, 2, 1] {
        rib.learn(prefix(number), route(rib.head() as u32));
    }
    assert_eq!(news(&rib, start), [prefix(2), prefix(1)]);
    assert_eq!(rib.unread(), 2);
    rib.trim(rib.head());
    assert_eq!((news(&rib, start), rib.unread()), (vec![], 0));
    assert!(!rib.has_news(rib.head()));
}

#[test]
fn the_log_does_not_grow_with_changes_that_nobody_reads() {
    let mut rib = Rib::default();
    let start = rib.head();
    for change in 0..100_000 {
        rib.learn(prefix(change as u16 % 10), route(change));
    }
    assert_eq!((news(&rib, start).len(), rib.unread()), (10, 10));
    assert!(rib.log.len() < 4 * VOID_AT_LEAST, "{}", rib.log.len());
    assert!(news(&rib, rib.head() - 1).len() == 1);
}

#[test]
fn a_slot_is_kept_until_all_have_read_that_its_prefix_is_gone() {
    let mut rib = Rib::default();
    rib.learn(prefix(1), route(0));
    rib.trim(rib.head());
    let before = rib.head();
    rib.forget(prefix(1), Some(PEER.into()));
    rib.learn(prefix(2), route(0));
    assert_eq!(rib.slots().len(), 2, "the first is not free yet");
    assert_eq!(news(&rib, before), [prefix(1), prefix(2)]);
    assert!(rib.get(&prefix(1)).is_some_and(|destination| destination.best().is_none()));
    rib.trim(rib.head());
    assert!(rib.get(&prefix(1)).is_none());
    rib.learn(prefix(3), route(0));
    assert_eq!(rib.slots().len(), 2, "now it is");
    assert_eq!(rib.iter().map(|(prefix, _)| *prefix).collect::<Vec<_>>(), [prefix(2), prefix(3)]);
}

#[test]
fn a_refused_route_that_goes_leaves_nothing() {
    let mut rib = Rib::default();
    let refused = Candidate { judged: Judged::Refused(Refusal::NoImport), ..route(0) };
    rib.learn(prefix(1), refused);
    assert_eq!((rib.unread(), rib.counts(PEER.into())), (0, Counts { received: 1, accepted: 0 }));
    rib.forget_all(PEER.into(), |_, _| true);
    assert!(rib.get(&prefix(1)).is_none());
    assert_eq!((rib.unread(), rib.counts(PEER.into()).received), (0, 0));
}
