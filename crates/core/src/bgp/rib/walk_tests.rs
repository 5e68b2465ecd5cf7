use std::net::Ipv4Addr;
use std::sync::Arc;

use super::*;
use crate::bgp::rib::Rib;
use crate::bgp::rib::path::own_attributes;
use crate::bgp::rib::{Candidate, Judged, Path, Source};
use crate::bgp::wire::NextHop;
use crate::model::Cidr;

fn prefix(number: u8) -> Cidr {
    Cidr::host([10, 0, 0, number].into())
}

fn learn(rib: &mut Rib, number: u8) {
    let source = Arc::new(Source::own(Ipv4Addr::new(192, 0, 2, 1)));
    let next_hop = NextHop { address: Ipv4Addr::UNSPECIFIED.into(), link_local: None };
    let path = Arc::new(Path { attributes: own_attributes(), next_hop });
    rib.learn(prefix(number), Candidate { source, path, judged: Judged::AsReceived });
}

fn met(walk: &mut Walk, rib: &Rib, most: Slot) -> Vec<Cidr> {
    walk.portion(&rib.slots(), most).map(|slot| *rib.destination(slot).prefix()).collect()
}

#[test]
fn portions_make_the_whole_and_what_comes_meanwhile_is_in_the_rest() {
    let mut rib = Rib::default();
    let mut walk = Walk::default();
    assert!(walk.is_over(&rib.slots()) && met(&mut walk, &rib, 2).is_empty(), "nothing is there");
    (0..3).for_each(|number| learn(&mut rib, number));
    assert_eq!(met(&mut walk, &rib, 2), [prefix(0), prefix(1)]);
    assert!(!walk.is_over(&rib.slots()));
    learn(&mut rib, 3);
    learn(&mut rib, 0);
    assert_eq!(met(&mut walk, &rib, 1), [prefix(2)]);
    assert_eq!(met(&mut walk, &rib, Slot::MAX), [prefix(3)], "once, whatever changed behind it");
    assert!(walk.is_over(&rib.slots()) && met(&mut walk, &rib, 2).is_empty());
}
