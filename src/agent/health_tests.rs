//! What of the peering is a problem, in words.

use routenet_core::model::InterfaceName;
use routenet_core::model::scope::scoped;

use super::*;

fn said(peering: &PeeringStatus) -> Vec<(String, String)> {
    let found = peering_problems(peering, false).into_iter();
    found.map(|found| (found.what, found.mend.expect("each has a mend"))).collect()
}

#[test]
fn a_crowd_on_a_link_names_some_of_it_and_who_is_taken_for_the_neighbour() {
    let crowd = |count: u16, neighbor: Option<u16>| {
        let address = |number: u16| std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number);
        let interface = InterfaceName::new("eth0").expect("a name");
        Crowd { interface, routers: (1..=count).map(address).collect(), neighbor: neighbor.map(address) }
    };
    let status = |crowd: Crowd| PeeringStatus { crowds: vec![crowd], ..PeeringStatus::default() };
    let (what, mend) = said(&status(crowd(16, Some(2)))).remove(0);
    assert_eq!(
        what,
        "16 routers announce themselves on eth0 (fe80::1, fe80::2, fe80::3, ...), where one neighbour is meant: now fe80::2"
    );
    assert!(mend.contains("`address: fe80::2%eth0`"), "{mend}");
    let (what, _) = said(&status(crowd(2, None))).remove(0);
    assert!(what.ends_with("(fe80::1, fe80::2), where one neighbour is meant: now nobody yet"), "{what}");
    assert_eq!(said(&PeeringStatus::default()), []);
}

#[test]
fn a_thread_that_ended_and_a_password_that_keeps_others_out_are_problems() {
    let broken =
        Broken { what: "BGP next hops", why: "its thread panicked: boom".to_string(), since: Duration::from_secs(5) };
    let on = |index: u32| scoped("fe80::1".parse().expect("an address"), index);
    let overruled = Overruled { neighbor: on(70001), name: "tor-a".into(), by: (on(70002), "tor-b".into()) };
    let status = PeeringStatus { broken: vec![broken], overruled: vec![overruled], ..PeeringStatus::default() };
    let said = said(&status);
    assert_eq!(said[0].0, "BGP next hops: its thread panicked: boom");
    assert!(said[1].0.starts_with("connections from tor-a (fe80::1%70001) are dropped unless"), "{said:?}");
    assert!(said[1].0.contains("the password of tor-b (fe80::1%70002)"), "{said:?}");
    let peering = PeeringStatus { overruled: status.overruled, ..PeeringStatus::default() };
    let dated = peering_problems(&peering, false);
    assert!(dated[0].subject.contains("fe80::1%70001"), "{}", dated[0].subject);
}
