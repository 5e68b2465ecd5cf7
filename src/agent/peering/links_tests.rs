use super::*;
use crate::agent::peering::test_support::peer;

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
    let peer = peer(&address.map_or(interface.to_string(), |address| format!("{address}%{interface}")));
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
        let config = links.look(seen, |_| false, Instant::now());
        assert_eq!((places(&config), why(&links)), (vec![], vec![expected.to_string()]));
        assert_eq!(config.links.len(), 1, "the speaker waits for it");
    }
    let config = links.look(view(&[("eth0", 7, true, true)], &[("eth0", &[A])]), |_| false, Instant::now());
    assert_eq!(places(&config), [(on(A, 7), Some(on("fe80::1", 7)))]);
    assert_eq!((why(&links), config.links.len()), (vec![], 0));
}

#[test]
fn a_named_neighbour_needs_no_advertisement_and_follows_its_interface() {
    let mut links = links(&[link("eth0", Some(A)), link("eth1", Some(A))]);
    let both = |first: u32| view(&[("eth0", first, true, true), ("eth1", 8, true, true)], &[]);
    let config = links.look(both(7), |_| false, Instant::now());
    assert_eq!(places(&config), [(on(A, 7), Some(on("fe80::1", 7))), (on(A, 8), Some(on("fe80::1", 8)))]);
    // The interface was made anew.
    let config = links.look(both(9), |_| true, Instant::now());
    assert_eq!(places(&config), [(on(A, 8), Some(on("fe80::1", 8))), (on(A, 9), Some(on("fe80::1", 9)))]);
    assert!(links.unnumbered().is_empty(), "nobody is asked for an advertisement");
}

#[test]
fn who_was_found_stays_while_it_is_there() {
    let mut links = links(&[link("eth0", None)]);
    let heard = |who: &[&str]| view(&[("eth0", 7, true, true)], &[("eth0", who)]);
    let first = |config: &SpeakerConfig| config.peers.keys().next().copied();
    assert_eq!(first(&links.look(heard(&[A, B]), |_| false, Instant::now())), Some(on(A, 7)), "the first to be heard");
    assert_eq!(
        first(&links.look(heard(&[B, A]), |_| false, Instant::now())),
        Some(on(A, 7)),
        "it announces itself still"
    );
    assert_eq!(
        first(&links.look(heard(&[B]), |address| address == on(A, 7), Instant::now())),
        Some(on(A, 7)),
        "it has a session"
    );
    assert_eq!(first(&links.look(heard(&[]), |_| false, Instant::now())), Some(on(A, 7)), "nobody else is there");
    assert_eq!(first(&links.look(heard(&[B]), |_| false, Instant::now())), Some(on(B, 7)));
    assert_eq!(
        first(&links.look(view(&[("eth0", 7, false, false)], &[]), |_| true, Instant::now())),
        None,
        "the link is down"
    );
    assert_eq!(first(&links.look(heard(&[]), |_| false, Instant::now())), None, "and nothing is remembered of it");
}

#[test]
fn who_connects_from_an_unnumbered_link_announces_itself_by_that() {
    let mut links = links(&[link("eth0", None), link("eth1", Some(A))]);
    let seen = view(&[("eth0", 7, true, true), ("eth1", 8, true, true)], &[]);
    links.look(seen.clone(), |_| false, Instant::now());
    assert_eq!(links.arrived(on(B, 8), |_| false, Instant::now()), None, "on that link somebody else is expected");
    assert_eq!(links.arrived(on(B, 9), |_| false, Instant::now()), None, "there is no such link");
    assert_eq!(links.arrived("2001:db8::1".parse().expect("an address"), |_| false, Instant::now()), None);
    let config = links.arrived(on(A, 7), |_| false, Instant::now()).expect("it is taken");
    assert!(config.peers.contains_key(&on(A, 7)));
    assert_eq!(
        links.arrived(on(B, 7), |address| address == on(A, 7), Instant::now()),
        None,
        "who is there has a session"
    );
    assert!(links.arrived(on(B, 7), |_| false, Instant::now()).is_some(), "who is gone makes room");
}

#[test]
fn without_a_socket_the_mend_is_to_name_the_neighbour() {
    let mut links = links(&[link("eth0", None)]);
    let error = Some("router advertisements cannot be sent or heard: Operation not permitted".to_string());
    links.look(View { error, ..view(&[("eth0", 7, true, true)], &[]) }, |_| false, Instant::now());
    let waiting = &links.waiting()[0];
    assert!(waiting.why.ends_with("Operation not permitted"), "{waiting:?}");
    assert!(waiting.mend.contains("address: fe80::1%eth0"), "{waiting:?}");
}

/// Who takes part in the turns on `eth0`, second by second.
struct Turns {
    links: Links,
    began: Instant,
}

impl Turns {
    fn new() -> Turns {
        Turns { links: links(&[link("eth0", None)]), began: Instant::now() }
    }

    fn at(&self, second: u64) -> Instant {
        self.began + Duration::from_secs(second)
    }

    fn hear(&mut self, who: &[&str], up: Option<&str>, second: u64) -> Option<IpAddr> {
        let now = self.at(second);
        let seen = view(&[("eth0", 7, true, true)], &[("eth0", who)]);
        let config = self.links.look(seen, |address| up.is_some_and(|up| address == on(up, 7)), now);
        config.peers.keys().next().copied()
    }

    /// What the driver does by its timer until this second: whose turn it was, with the seconds at which it began.
    fn until(&mut self, up: Option<&str>, second: u64) -> Vec<(u64, IpAddr)> {
        let mut turns = Vec::new();
        while let Some(at) = self.links.next_turn().filter(|at| *at <= self.at(second)) {
            let before = self.links.found[&name("eth0")].address;
            self.links.place(|address| up.is_some_and(|up| address == on(up, 7)), at);
            let now = self.links.found[&name("eth0")].address;
            if now != before {
                turns.push((at.duration_since(self.began).as_secs(), now));
            }
        }
        turns
    }
}

const CROWD: [&str; 4] = ["fe80::b1", "fe80::b2", "fe80::b3", "fe80::b4"];

#[test]
fn each_of_several_routers_has_its_turn_until_one_has_a_session() {
    let mut turns = Turns::new();
    assert_eq!(turns.hear(&["fe80::b3", A, "fe80::b1", "fe80::b4", "fe80::b2"], None, 0), Some(on("fe80::b3", 7)));
    let order = ["fe80::b4", A, "fe80::b1"].map(|who| on(who, 7));
    let expected: Vec<_> = (1..).map(|turn| 30 * turn).zip(order).collect();
    assert_eq!(turns.until(None, 100), expected);
    assert_eq!(turns.links.unnumbered()[&name("eth0")], Some(v6("fe80::b1")));

    // Alone it is nobody else's turn.
    let mut turns = Turns::new();
    turns.hear(&[A], None, 0);
    assert_eq!((turns.links.next_turn(), turns.links.crowds()), (None, vec![]));
}

#[test]
fn a_session_is_taken_by_no_crowd_and_one_that_is_lost_may_come_back() {
    let mut turns = Turns::new();
    let all: Vec<&str> = [A].into_iter().chain(CROWD).collect();
    assert_eq!(turns.hear(&all, None, 0), Some(on(A, 7)));
    assert_eq!(turns.hear(&all, Some(A), 1), Some(on(A, 7)));
    assert_eq!(turns.until(Some(A), 1000), []);
    // Nor where it is no longer among those that are heard.
    assert_eq!(turns.hear(&CROWD, Some(A), 1001), Some(on(A, 7)));
    assert_eq!(turns.hear(&all, None, 1002), Some(on(A, 7)), "lost, and it announces itself");
    assert_eq!(turns.until(None, 1180), []);
    assert_eq!(turns.until(None, 1181), [(1181, on("fe80::b1", 7))], "three minutes after it was last seen to stand");

    let crowd = &turns.links.crowds()[0];
    assert_eq!((crowd.routers.len(), crowd.neighbor), (5, Some(v6("fe80::b1"))));
}

#[test]
fn who_connects_takes_the_place_of_one_that_only_announces_itself() {
    let mut turns = Turns::new();
    turns.hear(&CROWD, None, 0);
    let no = |_| false;
    let at: Vec<Instant> = (0..=100).map(|second| turns.at(second)).collect();
    assert_eq!(turns.links.arrived(on(A, 7), no, at[4]), None, "it may be about to answer us");
    assert!(turns.links.arrived(on(A, 7), |address| address == on(CROWD[0], 7), at[6]).is_none(), "it has answered us");
    assert!(turns.links.arrived(on(A, 7), no, at[6]).is_some_and(|config| config.peers.contains_key(&on(A, 7))));
    // Who has come has its turn, too, heard or not, and whoever else comes.
    assert_eq!(turns.hear(&CROWD, None, 7), Some(on(A, 7)));
    turns.hear(&[A, CROWD[0], CROWD[1]], None, 7);
    assert_eq!(turns.links.arrived(on(B, 7), no, at[35]), None);
    assert!(turns.links.arrived(on(B, 7), no, at[36]).is_some());
}

#[test]
fn a_link_names_the_one_neighbour_that_is_on_it() {
    let lo = nix::net::if_::if_nametoindex("lo").expect("a link");
    let (here, there) = (on(A, lo), on(B, lo));
    let far: IpAddr = "192.0.2.9".parse().expect("an address");
    assert_eq!(only_on("lo", [far, here].iter()), Some(here));
    assert_eq!(only_on("lo", [here, there].iter()), None, "one of two is nobody");
    assert_eq!((only_on("o", [here].iter()), only_on("lo", [far].iter())), (None, None));
}
