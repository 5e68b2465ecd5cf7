use routenet_core::bgp::speaker::{PeerConfig, PeerSource};
use routenet_core::model::ImportPolicy;

use super::*;

const A: &str = "fe80::a";
const B: &str = "fe80::b";

fn name(text: &str) -> InterfaceName {
    InterfaceName::new(text).expect("a name")
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn on(text: &str, index: u32) -> IpAddr {
    scoped(v6(text).into(), index)
}

fn link(interface: &str, address: Option<&str>) -> LinkPeer {
    let peer = PeerConfig {
        name: address.map_or(interface.to_string(), |address| format!("{address}%{interface}")),
        source: PeerSource::Config,
        port: 179,
        as_number: Some(65000),
        passive: false,
        import: ImportPolicy::All,
        hold_time: None,
        local_address: None,
        transport: Default::default(),
        options: Default::default(),
        bfd: None,
        filters: Default::default(),
    };
    LinkPeer { interface: name(interface), address: address.map(v6), peer }
}

fn links(of: &[LinkPeer]) -> Links {
    Links::new(SpeakerConfig { links: of.to_vec(), ..SpeakerConfig::default() })
}

/// `(name, index, running, settled)` of each interface, and who announces itself there.
fn view(interfaces: &[(&str, u32, bool, bool)], announced: &[(&str, &[&str])]) -> View {
    let interface = |(text, index, running, settled): &(&str, u32, bool, bool)| {
        let link_local = settled.then(|| v6("fe80::1"));
        (name(text), Interface { index: *index, running: *running, link_local })
    };
    View {
        interfaces: interfaces.iter().map(interface).collect(),
        announced: announced.iter().map(|(at, who)| (name(at), who.iter().map(|who| v6(who)).collect())).collect(),
        error: None,
    }
}

fn places(config: &SpeakerConfig) -> Vec<(IpAddr, Option<IpAddr>)> {
    config.peers.iter().map(|(address, peer)| (*address, peer.local_address)).collect()
}

fn why(links: &Links) -> Vec<String> {
    links.waiting().into_iter().map(|waiting| waiting.why).collect()
}

/// Each obstacle is told, one after the other, and then there is none.
#[test]
fn an_unnumbered_neighbour_waits_for_one_thing_after_the_other() {
    let mut links = links(&[link("eth0", None)]);
    for (seen, expected) in [
        (view(&[], &[]), "waiting: there is no interface eth0"),
        (view(&[("eth0", 7, false, false)], &[]), "waiting: eth0 is down, or has no carrier"),
        (view(&[("eth0", 7, true, false)], &[]), "waiting: eth0 has no link-local address yet"),
        (view(&[("eth0", 7, true, true)], &[]), "waiting: a neighbour on eth0: no router advertisement seen yet"),
    ] {
        let config = links.look(seen, |_| false);
        assert_eq!((places(&config), why(&links)), (vec![], vec![expected.to_string()]));
        assert_eq!(config.links.len(), 1, "the speaker waits for it");
    }
    let config = links.look(view(&[("eth0", 7, true, true)], &[("eth0", &[A])]), |_| false);
    assert_eq!(places(&config), [(on(A, 7), Some(on("fe80::1", 7)))]);
    assert_eq!((why(&links), config.links.len()), (vec![], 0));
}

#[test]
fn a_named_neighbour_needs_no_advertisement_and_follows_its_interface() {
    let mut links = links(&[link("eth0", Some(A)), link("eth1", Some(A))]);
    let both = |first: u32| view(&[("eth0", first, true, true), ("eth1", 8, true, true)], &[]);
    let config = links.look(both(7), |_| false);
    assert_eq!(places(&config), [(on(A, 7), Some(on("fe80::1", 7))), (on(A, 8), Some(on("fe80::1", 8)))]);
    // The interface was made anew.
    let config = links.look(both(9), |_| true);
    assert_eq!(places(&config), [(on(A, 8), Some(on("fe80::1", 8))), (on(A, 9), Some(on("fe80::1", 9)))]);
    assert!(links.unnumbered().is_empty(), "nobody is asked for an advertisement");
}

#[test]
fn who_was_found_stays_while_it_is_there() {
    let mut links = links(&[link("eth0", None)]);
    let heard = |who: &[&str]| view(&[("eth0", 7, true, true)], &[("eth0", who)]);
    let first = |config: &SpeakerConfig| config.peers.keys().next().copied();
    assert_eq!(first(&links.look(heard(&[A, B]), |_| false)), Some(on(A, 7)), "the first to be heard");
    assert_eq!(first(&links.look(heard(&[B, A]), |_| false)), Some(on(A, 7)), "it announces itself still");
    assert_eq!(first(&links.look(heard(&[B]), |address| address == on(A, 7))), Some(on(A, 7)), "it has a session");
    assert_eq!(first(&links.look(heard(&[]), |_| false)), Some(on(A, 7)), "nobody else is there");
    assert_eq!(first(&links.look(heard(&[B]), |_| false)), Some(on(B, 7)));
    assert_eq!(first(&links.look(view(&[("eth0", 7, false, false)], &[]), |_| true)), None, "the link is down");
    assert_eq!(first(&links.look(heard(&[]), |_| false)), None, "and nothing is remembered of it");
}

#[test]
fn who_connects_from_an_unnumbered_link_announces_itself_by_that() {
    let mut links = links(&[link("eth0", None), link("eth1", Some(A))]);
    let seen = view(&[("eth0", 7, true, true), ("eth1", 8, true, true)], &[]);
    links.look(seen.clone(), |_| false);
    assert_eq!(links.arrived(on(B, 8), |_| false), None, "on that link somebody else is expected");
    assert_eq!(links.arrived(on(B, 9), |_| false), None, "there is no such link");
    assert_eq!(links.arrived("2001:db8::1".parse().expect("an address"), |_| false), None);
    let config = links.arrived(on(A, 7), |_| false).expect("it is taken");
    assert!(config.peers.contains_key(&on(A, 7)));
    assert_eq!(links.arrived(on(B, 7), |address| address == on(A, 7)), None, "who is there has a session");
    assert!(links.arrived(on(B, 7), |_| false).is_some(), "who is gone makes room");
}

#[test]
fn without_a_socket_the_mend_is_to_name_the_neighbour() {
    let mut links = links(&[link("eth0", None)]);
    let error = Some("router advertisements cannot be sent or heard: Operation not permitted".to_string());
    links.look(View { error, ..view(&[("eth0", 7, true, true)], &[]) }, |_| false);
    let waiting = &links.waiting()[0];
    assert!(waiting.why.ends_with("Operation not permitted"), "{waiting:?}");
    assert!(waiting.mend.contains("address: fe80::1%eth0"), "{waiting:?}");
}
