//! IPv4 routes with IPv6 next hops (RFC 8950), and neighbours that are known by their link-local addresses.

use std::net::IpAddr;

use routenet_core::bgp::rib::path::own_attributes;
use routenet_core::bgp::speaker::detail::Untold;
use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{self, AfiSafi, Attributes, Capability, Message, NextHop, Open};
use routenet_core::model::peering::PeerOptions;
use routenet_core::model::scope::scoped;
use routenet_core::model::{Cidr, Family, ImportPolicy};

use crate::world::{World, address, address6, cidr, neighbor, puppet_context, puppet_open};

const PUPPET: u32 = 65009;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Neighbours at these addresses, who connect.
fn alone(peers: &[(IpAddr, u32)], options: PeerOptions) -> World {
    let mut world = World::mesh(&[64512], ImportPolicy::All);
    for (index, (address, as_number)) in peers.iter().enumerate() {
        let config = neighbor(8 + index, *as_number, ImportPolicy::All);
        let peer = PeerConfig { passive: true, local_address: None, options: options.clone(), ..config };
        world.hosts[0].config.peers.insert(*address, peer);
    }
    world.start();
    world.announce(0, &["10.9.0.0/24", "fd99::/64"]);
    world
}

fn open(extended: bool) -> Open {
    let mut open = puppet_open(PUPPET, None);
    if extended {
        open.capabilities.push(Capability::ExtendedNextHop(vec![(AfiSafi::IPV4_UNICAST, 2)]));
    }
    open
}

fn attributes() -> Attributes {
    Attributes { as_path: vec![wire::AsSegment::Sequence(vec![PUPPET])], ..own_attributes() }
}

fn reach(prefix: &str, next_hop: NextHop) -> Vec<u8> {
    let mut out = Vec::new();
    wire::encode_reach(&attributes(), &next_hop, &[cidr(prefix)], &puppet_context(), &mut out).expect("an encoding");
    out
}

/// The routes among what the puppet heard.
fn routes(heard: &[Message]) -> Vec<(Cidr, NextHop)> {
    let updates = heard.iter().filter_map(|message| match message {
        Message::Update(update) => Some(update.reachable.clone()),
        _ => None,
    });
    let mut routes: Vec<_> = updates.flatten().map(|(nlri, next_hop)| (nlri.prefix, next_hop)).collect();
    routes.sort();
    routes
}

fn offers(heard: &[Message]) -> bool {
    let Some(Message::Open(open)) = heard.first() else { panic!("no OPEN: {heard:?}") };
    open.capabilities.iter().any(|capability| matches!(capability, Capability::ExtendedNextHop(_)))
}

#[test]
fn over_a_link_local_session_our_link_local_address_is_the_next_hop_of_both_families() {
    let (them, us) = (scoped(ip("fe80::2"), 7), scoped(ip("fe80::1"), 7));
    let mut world = alone(&[(them, PUPPET)], PeerOptions::default());
    world.puppet_connects_to(0, them, us);
    world.puppet_establishes(&open(true));
    let heard = world.puppet_heard();
    assert!(offers(&heard));
    let here = NextHop::new(ip("fe80::1"));
    assert_eq!(routes(&heard), [(cidr("10.9.0.0/24"), here), (cidr("fd99::/64"), here)]);
    // What it says of itself is on that link, in each of the forms.
    let local = Some("fe80::2".parse().expect("an address"));
    let forms = [NextHop::new(ip("fe80::2")), NextHop { link_local: local, ..NextHop::new(ip("2001:db8::2")) }];
    for next_hop in forms {
        for prefix in ["10.1.0.0/16", "2001:db8:1::/48"] {
            world.puppet_says(&reach(prefix, next_hop));
            assert_eq!(world.hosts[0].kernel[&cidr(prefix)], [them], "{next_hop:?}");
        }
    }
    // Without one it is where it says.
    world.puppet_says(&reach("10.1.0.0/16", NextHop::new(ip("2001:db8::3"))));
    assert_eq!(world.hosts[0].kernel[&cidr("10.1.0.0/16")], [ip("2001:db8::3")]);
    assert_eq!(world.speaker(0).status(world.now)[0].capabilities[2], "extended-next-hop");
    assert_eq!(untold(&world, them), []);
}

fn untold(world: &World, neighbor: IpAddr) -> Vec<Untold> {
    let now = world.now;
    world.speaker(0).neighbor(neighbor, now).expect("a neighbour").untold
}

/// A family that was agreed on in vain is known with the neighbour.
#[test]
fn a_family_that_we_have_no_address_of_is_known_as_untold() {
    for address6 in [None, Some(address6(0))] {
        let mut world = World::mesh(&[64512], ImportPolicy::All);
        let peer = PeerConfig { passive: true, ..neighbor(8, PUPPET, ImportPolicy::All) };
        world.hosts[0].config.peers.insert(address(8), peer);
        world.hosts[0].config.address6 = address6;
        world.start();
        world.announce(0, &["10.9.0.0/24", "fd99::/64"]);
        assert_eq!(untold(&world, address(8)), [], "nothing was agreed on");
        world.puppet_connects(0, address(8));
        world.puppet_establishes(&open(false));
        assert_eq!(routes(&world.puppet_heard()).len(), 1 + usize::from(address6.is_some()));
        let without = Untold { family: Family::V6, on_link: false };
        assert_eq!(untold(&world, address(8)), if address6.is_none() { vec![without] } else { vec![] });
    }
}

/// The negative: who does not agree is told no IPv4 route, and may tell none with an IPv6 next hop.
#[test]
fn without_the_capability_there_are_no_ipv6_next_hops_for_ipv4() {
    let (them, us) = (scoped(ip("fe80::2"), 7), scoped(ip("fe80::1"), 7));
    for (options, theirs) in
        [(PeerOptions::default(), false), (PeerOptions { classic_next_hop: true, ..PeerOptions::default() }, true)]
    {
        let ours = !options.classic_next_hop;
        let mut world = alone(&[(them, PUPPET)], options);
        world.puppet_connects_to(0, them, us);
        world.puppet_establishes(&open(theirs));
        let heard = world.puppet_heard();
        assert_eq!(offers(&heard), ours);
        assert_eq!(routes(&heard), [(cidr("fd99::/64"), NextHop::new(ip("fe80::1")))]);
        assert_eq!(untold(&world, them), [Untold { family: Family::V4, on_link: true }]);
        world.puppet_says(&reach("10.1.0.0/16", NextHop::new(ip("fe80::2"))));
        let said = world.puppet_notified().expect("a NOTIFICATION");
        assert_eq!((said.code, said.subcode), (3, 9), "RFC 7606 7.11");
        assert!(!world.hosts[0].kernel.contains_key(&cidr("10.1.0.0/16")));
    }
}

/// An IPv4 address of ours stays the next hop of IPv4 routes over a global IPv6 address; without one the session's is.
#[test]
fn over_a_global_address_ipv4_routes_keep_an_ipv4_next_hop_where_there_is_one() {
    let them = ip("fd00::9");
    for (address4, expected) in [(Some(ip("10.0.0.1")), ip("10.0.0.1")), (None, address6(0))] {
        let mut world = alone(&[(them, PUPPET)], PeerOptions::default());
        world.hosts[0].config.address4 = address4;
        let config = world.hosts[0].config.clone();
        world.handle(0, Input::Configure(Box::new(config)));
        world.puppet_connects_to(0, them, address6(0));
        world.puppet_establishes(&open(true));
        let heard = world.puppet_heard();
        assert_eq!(routes(&heard)[0], (cidr("10.9.0.0/24"), NextHop::new(expected)));
    }
    // Over IPv4 there is nothing to offer.
    let mut world = alone(&[(ip("10.0.0.9"), PUPPET)], PeerOptions::default());
    world.puppet_connects(0, ip("10.0.0.9"));
    assert!(!offers(&world.puppet_heard()));
}

/// Two links, the same address on both: two neighbours, two next hops.
#[test]
fn one_link_local_address_on_two_links_is_two_neighbours() {
    let them = [7, 8].map(|link| scoped(ip("fe80::2"), link));
    let mut world = alone(&[(them[0], PUPPET), (them[1], PUPPET)], PeerOptions::default());
    let mut first = None;
    for (neighbor, link) in [(them[0], 7), (them[1], 8)] {
        world.puppet_connects_to(0, neighbor, scoped(ip("fe80::1"), link));
        world.puppet_establishes(&open(true));
        world.puppet_says(&reach("10.1.0.0/16", NextHop::new(ip("fe80::2"))));
        first = first.or(world.puppet.take());
    }
    assert_eq!(world.hosts[0].kernel[&cidr("10.1.0.0/16")], them, "both share the load");
    world.puppet = first;
    world.puppet_breaks();
    assert_eq!(world.hosts[0].kernel[&cidr("10.1.0.0/16")], [them[1]]);
}

/// RFC 2545 section 3: a link-local next hop means nothing on another link. There it is our own.
#[test]
fn a_link_local_next_hop_is_kept_on_its_own_link_only() {
    let options = PeerOptions { reflector_client: true, ..PeerOptions::default() };
    let source = scoped(ip("fe80::2"), 7);
    let (same, other) = (scoped(ip("fe80::3"), 7), scoped(ip("fe80::3"), 8));
    for (reader, own, expected) in [
        (same, scoped(ip("fe80::1"), 7), ip("fe80::2")),
        (other, scoped(ip("fe80::1"), 8), ip("fe80::1")),
        (ip("fd00::9"), address6(0), address6(0)),
    ] {
        let mut world = alone(&[(source, 64512), (reader, 64512)], options.clone());
        let internal = |id: u8| Open { as_number: 64512, router_id: [9, 9, 9, id].into(), ..open(true) };
        let internal = |id: u8| {
            let mut open = internal(id);
            open.capabilities.retain(|capability| !matches!(capability, Capability::FourOctetAs(_)));
            open.capabilities.push(Capability::FourOctetAs(64512));
            open
        };
        world.puppet_connects_to(0, source, scoped(ip("fe80::1"), 7));
        world.puppet_establishes(&internal(1));
        world.puppet_says(&reach("2001:db8:1::/48", NextHop::new(ip("fe80::2"))));
        world.puppet = None;
        world.puppet_connects_to(0, reader, own);
        world.puppet_establishes(&internal(2));
        let heard = routes(&world.puppet_heard());
        let told = heard.iter().find(|(prefix, _)| *prefix == cidr("2001:db8:1::/48"));
        assert_eq!(told.map(|(_, next_hop)| *next_hop), Some(NextHop::new(expected)), "to {reader}");
    }
}

/// A reader without RFC 8950 cannot be told another's IPv6 next hop of an IPv4 route: it hears of the route by way of us.
#[test]
fn what_is_reflected_by_way_of_ipv6_reaches_who_does_not_take_such_next_hops_too() {
    let options = PeerOptions { reflector_client: true, ..PeerOptions::default() };
    let (source, reader, theirs, ours) = (ip("fd00::9"), ip("fd00::8"), ip("2001:db8::5"), ip("10.0.0.1"));
    let internal = |extended: bool, id: u8| {
        let mut open = Open { as_number: 64512, router_id: [9, 9, 9, id].into(), ..open(extended) };
        open.capabilities.retain(|capability| !matches!(capability, Capability::FourOctetAs(_)));
        open.capabilities.push(Capability::FourOctetAs(64512));
        open
    };
    for (takes, own, expected) in
        [(true, Some(ours), Some(theirs)), (false, Some(ours), Some(ours)), (false, None, None)]
    {
        let mut world = alone(&[(source, 64512), (reader, 64512)], options.clone());
        world.hosts[0].config.address4 = own;
        let config = Box::new(world.hosts[0].config.clone());
        world.handle(0, Input::Configure(config));
        world.puppet_connects_to(0, source, address6(0));
        world.puppet_establishes(&internal(true, 1));
        world.puppet_says(&reach("10.1.0.0/16", NextHop::new(theirs)));
        assert_eq!(world.hosts[0].kernel[&cidr("10.1.0.0/16")], [theirs]);
        world.puppet = None;
        world.puppet_connects_to(0, reader, address6(0));
        world.puppet_establishes(&internal(takes, 2));
        let heard = routes(&world.puppet_heard());
        let told = heard.iter().find(|(prefix, _)| *prefix == cidr("10.1.0.0/16"));
        assert_eq!(told.map(|(_, next_hop)| *next_hop), expected.map(NextHop::new), "{takes} {own:?}");
    }
}
