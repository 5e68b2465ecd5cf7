//! What of the peering is a problem, in words.

use routenet_core::bgp::speaker::{Ineffective, IneffectiveOption, Twin};
use routenet_core::model::InterfaceName;
use routenet_core::model::scope::scoped;

use super::*;
use crate::agent::peering::test_support::away;

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

#[test]
fn what_was_written_and_does_nothing_names_both_objects_and_the_mend() {
    let twin = |source| Ineffective::Peer(Twin { name: "b".into(), by: "a".into(), source, place: "192.0.2.1".into() });
    let role = Ineffective::Option(IneffectiveOption {
        name: "tor".into(),
        source: PeerSource::Peer,
        option: "role",
        as_number: Some(64512),
        local_as: 64512,
        why: "roles are those of two ASes (RFC 9234)",
    });
    let ineffective = vec![twin(PeerSource::Peer), twin(PeerSource::Config), role];
    let said = said(&PeeringStatus { ineffective, ..PeeringStatus::default() });
    assert_eq!(said[0].0, "BGPPeers a and b are both for 192.0.2.1 on this node: only a counts");
    assert!(said[0].1.contains("`nodeSelector`"), "{said:?}");
    assert_eq!(said[1].0, "`bgp.peers` a and b are both for 192.0.2.1 on this node: only a counts");
    assert_eq!(
        said[2].0,
        "`role` of BGPPeer tor has no effect: roles are those of two ASes (RFC 9234), its AS is 64512, and ours is 64512 there"
    );
    assert_eq!(said[2].1, "take `role` out, or mend its `asNumber`");
}

#[test]
fn a_password_that_cannot_be_had_is_a_problem_instead_of_the_session() {
    let with = |unreadable: &[(&str, &str)]| {
        let unreadable = unreadable.iter().map(|(at, why)| (at.parse().unwrap(), why.to_string())).collect();
        said(&PeeringStatus { peers: vec![away("x", None)], unreadable, ..PeeringStatus::default() })
    };
    let why = "passwordFile /etc/tor: its first line is empty";
    let [(what, mend)] = with(&[("192.0.2.2", why)]).try_into().expect("once");
    assert_eq!(what, format!("no password for tor (192.0.2.2): {why}"));
    assert!(mend.contains("first line of that file"), "{mend}");
    let [(what, _)] = with(&[("192.0.2.3", why)]).try_into().expect("once");
    assert!(what.starts_with("no session with tor"), "another one's: {what}");
}
