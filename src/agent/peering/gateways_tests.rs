use std::net::IpAddr;

use routenet_core::model::{Cidr, NoWay, Resolution, Via};

use super::Gateways;
use crate::agent::peering::PeeringEvent;
use crate::plane::next_hops::{Found, Questions};

fn ip(word: &str) -> IpAddr {
    word.parse().unwrap()
}

fn via(gateways: &[&str]) -> Found {
    Found { resolution: Resolution::Via { metric: 0 }, gateways: gateways.iter().map(|word| ip(word)).collect() }
}

fn route(prefix: &str, hops: &[&str]) -> (Cidr, Via) {
    (prefix.parse().unwrap(), hops.iter().map(|word| ip(word)).collect())
}

fn told(hop: &str, gateways: &[&str]) -> Option<PeeringEvent> {
    Some(PeeringEvent::Gateways(vec![(ip(hop), gateways.iter().map(|word| ip(word)).collect())]))
}

const FAR: &str = "10.1.0.5";
const NEAR: &str = "192.0.2.2";

fn following(hops: &[&str]) -> Gateways {
    let mut gateways = Gateways::default();
    gateways.ask(&hops.iter().map(|hop| (ip(hop), true)).collect::<Questions>());
    gateways
}

#[test]
fn gateways_are_told_before_the_routes_and_once() {
    let mut gateways = following(&[FAR, NEAR]);
    assert_eq!((gateways.has_news(), gateways.news()), (false, None));
    let answers = gateways.find(vec![(ip(FAR), via(&["192.0.2.9"])), (ip(NEAR), via(&[]))]);
    assert_eq!(answers, [FAR, NEAR].map(|hop| (ip(hop), Resolution::Via { metric: 0 })));
    assert!(gateways.has_news());
    assert_eq!(gateways.news(), told(FAR, &["192.0.2.9"]), "what is on a link is nothing new");
    assert_eq!((gateways.has_news(), gateways.news()), (false, None));
    let routes = vec![route("10.9.0.0/24", &[FAR]), route("10.9.1.0/24", &[NEAR]), route("10.9.2.0/24", &[])];
    assert_eq!(gateways.pass(routes.clone()), routes);

    gateways.find(vec![(ip(FAR), via(&["192.0.2.9"]))]);
    assert_eq!(gateways.news(), None);
    gateways.find(vec![(ip(FAR), via(&["192.0.2.8"]))]);
    assert_eq!(gateways.news(), told(FAR, &["192.0.2.8"]));
    // Whoever is out of reach loses its routes: no other way is told for these meanwhile.
    let nowhere = Resolution::Unreachable { why: NoWay::NoRoute, closed: None };
    assert_eq!(
        gateways.find(vec![(ip(FAR), Found { resolution: nowhere, gateways: Vec::new() })]),
        [(ip(FAR), nowhere)]
    );
    assert_eq!(gateways.news(), None);
    gateways.find(vec![(ip(FAR), via(&[]))]);
    assert_eq!(gateways.news(), told(FAR, &[]));
}

#[test]
fn a_route_waits_for_what_is_found_of_its_next_hop() {
    let mut gateways = following(&[FAR, NEAR]);
    gateways.find(vec![(ip(NEAR), via(&[]))]);
    let near = route("10.9.1.0/24", &[NEAR]);
    let far = ["10.9.0.0/24", "10.9.2.0/24", "10.9.3.0/24"].map(|prefix| route(prefix, &[FAR]));
    let mut all = far.to_vec();
    all.push(near.clone());
    assert_eq!(gateways.pass(all), [near]);
    // A later word on the same prefix counts.
    let (gone, other) = (route("10.9.2.0/24", &[]), route("10.9.3.0/24", &[NEAR]));
    assert_eq!(gateways.pass(vec![gone.clone(), other.clone()]), [gone, other]);
    assert_eq!(gateways.news(), None);
    gateways.find(vec![(ip(FAR), via(&["192.0.2.9"]))]);
    assert_eq!(gateways.news(), told(FAR, &["192.0.2.9"]));
    assert!(gateways.has_news());
    assert_eq!((gateways.news(), gateways.release()), (None, Some(PeeringEvent::Routes(vec![far[0].clone()]))));
    assert_eq!((gateways.has_news(), gateways.release()), (false, None));
}

#[test]
fn what_is_decided_by_the_answer_goes_before_what_waited_for_it() {
    let mut gateways = following(&[FAR, NEAR]);
    gateways.find(vec![(ip(NEAR), via(&[]))]);
    let held = [route("10.9.0.0/24", &[FAR]), route("10.9.1.0/24", &[FAR])];
    assert_eq!(gateways.pass(held.to_vec()), []);
    let nowhere = Resolution::Unreachable { why: NoWay::NoRoute, closed: None };
    gateways.find(vec![(ip(FAR), Found { resolution: nowhere, gateways: Vec::new() })]);
    assert_eq!(gateways.news(), None, "only of gateways");
    let instead = vec![route("10.9.0.0/24", &[NEAR]), route("10.9.1.0/24", &[])];
    assert_eq!(gateways.pass(instead.clone()), instead);
    assert_eq!((gateways.release(), gateways.has_news()), (None, false), "nobody wants these any more");
}

#[test]
fn nothing_is_kept_of_next_hops_that_no_route_has() {
    let mut gateways = following(&[FAR]);
    gateways.find(vec![(ip(FAR), via(&["192.0.2.9"]))]);
    gateways.news();
    assert_eq!(gateways.forget(), None);
    gateways.ask(&Questions::from([(ip(FAR), false)]));
    assert_eq!(gateways.forget(), told(FAR, &[]));
    assert_eq!(gateways.forget(), None);
    // An answer that was on its way.
    gateways.find(vec![(ip(FAR), via(&["192.0.2.9"]))]);
    assert_eq!((gateways.news(), gateways.known.len(), gateways.told.len()), (None, 0, 0));
    // Asked about again before it was forgotten: what it is now is told, whatever was.
    gateways.ask(&Questions::from([(ip(FAR), true)]));
    gateways.find(vec![(ip(FAR), via(&["192.0.2.9"]))]);
    gateways.news();
    gateways.ask(&Questions::from([(ip(FAR), false)]));
    gateways.ask(&Questions::from([(ip(FAR), true)]));
    gateways.find(vec![(ip(FAR), via(&[]))]);
    assert_eq!(gateways.news(), told(FAR, &[]));
}

#[test]
fn without_anybody_who_looks_nothing_waits() {
    let mut gateways = Gateways::default();
    let routes = vec![route("10.9.0.0/24", &[FAR])];
    assert_eq!(gateways.pass(routes.clone()), routes);
}

#[test]
fn what_a_learned_route_carries_is_led_as_that_routes_next_hop() {
    let mut gateways = following(&[FAR, NEAR, "10.2.0.5"]);
    let nowhere = Found { resolution: Resolution::Unreachable { why: NoWay::NoRoute, closed: None }, gateways: vec![] };
    gateways.find(vec![(ip(FAR), nowhere), (ip(NEAR), via(&[])), (ip("10.2.0.5"), via(&["192.0.2.9"]))]);
    assert_eq!(gateways.news(), told("10.2.0.5", &["192.0.2.9"]));
    gateways.carry([(ip(FAR), Some(ip(NEAR)))].into());
    assert!(gateways.has_news());
    assert_eq!(gateways.news(), told(FAR, &[NEAR]), "it is on a link");
    gateways.carry([(ip(FAR), Some(ip("10.2.0.5")))].into());
    assert_eq!(gateways.news(), told(FAR, &["192.0.2.9"]), "it is behind a router itself");
    gateways.find(vec![(ip("10.2.0.5"), via(&["192.0.2.8"]))]);
    let both = [FAR, "10.2.0.5"].map(|hop| (ip(hop), vec![ip("192.0.2.8")]));
    assert_eq!(gateways.news(), Some(PeeringEvent::Gateways(both.to_vec())));
    // Nothing leads there: its routes are about to go.
    gateways.carry([(ip(FAR), None)].into());
    assert_eq!(gateways.news(), None);
    gateways.find(vec![(ip(FAR), via(&["192.0.2.7"]))]);
    assert_eq!(gateways.news(), told(FAR, &["192.0.2.7"]));
    gateways.carry([(ip(FAR), Some(ip(NEAR)))].into());
    gateways.ask(&Questions::from([(ip(FAR), false)]));
    gateways.carry([(ip(FAR), None)].into());
    assert_eq!(gateways.news(), None);
    assert_eq!(gateways.forget(), told(FAR, &[]));
}
