//! Several paths of a prefix (RFC 7911): what is agreed on, what is kept of them, and what others hear.

use routenet_core::bgp::monitor::mrt::MrtDump;
use routenet_core::bgp::rib::path::own_attributes;
use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{
    self, AddPath, AfiSafi, AsSegment, Capability, GracefulRestart, Message, NextHop, Nlri, Notification, PathIds,
};
use routenet_core::model::ImportPolicy;
use routenet_core::model::peering::{AddPaths, MaxPrefixes, SentPaths};

use crate::world::{World, address, cidr, neighbor, puppet_context, puppet_open};

const PUPPET: usize = 8;
const NOTHING: [&str; 0] = [];
const BOTH: [AfiSafi; 2] = [AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];

/// What the puppet offers for one family.
fn tuple(family: AfiSafi, receives: bool, sends: bool) -> AddPath {
    AddPath { family, receives, sends }
}

/// Two speakers, of which the first has a neighbour that the test plays, with sessions that stand. `ours`: what the first is
/// to do with the puppet; `theirs`: what the puppet offers.
fn with_puppet(ours: AddPaths, theirs: &[AddPath], change: impl FnOnce(&mut PeerConfig)) -> World {
    let mut world = World::mesh(&[64512, 64513], ImportPolicy::All);
    let mut peer = PeerConfig { passive: true, ..neighbor(PUPPET, 65009, ImportPolicy::All) };
    peer.options.add_paths = ours;
    change(&mut peer);
    world.hosts[0].config.peers.insert(address(PUPPET), peer);
    world.start();
    world.seconds(5);
    connect(&mut world, theirs);
    world
}

fn connect(world: &mut World, theirs: &[AddPath]) {
    world.puppet_connects(0, address(PUPPET));
    let restart = GracefulRestart {
        restarted: false,
        notification: false,
        restart_time: 120,
        families: BOTH.map(|family| (family, true)).to_vec(),
    };
    let mut open = puppet_open(65009, Some(restart));
    open.capabilities.push(Capability::AddPaths(theirs.to_vec()));
    open.capabilities.push(Capability::EnhancedRouteRefresh);
    world.puppet_says(&wire::encode_open(&open));
    let ours = offered(world);
    let agreed = |family: &AfiSafi| {
        let receives = |all: &[AddPath]| all.iter().any(|it| it.family == *family && it.receives);
        let sends = |all: &[AddPath]| all.iter().any(|it| it.family == *family && it.sends);
        (sends(&ours) && receives(theirs), receives(&ours) && sends(theirs))
    };
    let received = BOTH.into_iter().filter(|family| agreed(family).0).collect();
    let sent = BOTH.into_iter().filter(|family| agreed(family).1).collect();
    let puppet = world.puppet.as_mut().expect("a puppet");
    puppet.context.path_ids = PathIds { received, sent };
    world.puppet_says(&wire::encode_keepalive());
    world.seconds(1);
    assert_eq!(world.status(0, PUPPET).state, State::Established);
}

/// What the speaker offered the puppet.
fn offered(world: &mut World) -> Vec<AddPath> {
    let open = world.puppet_heard().into_iter().find_map(|message| match message {
        Message::Open(open) => Some(open),
        _ => None,
    });
    let capabilities = open.expect("an OPEN").capabilities.into_iter();
    capabilities
        .filter_map(|capability| if let Capability::AddPaths(it) = capability { Some(it) } else { None })
        .flatten()
        .collect()
}

fn receiving() -> World {
    let ours = AddPaths { receive: true, send: SentPaths::None };
    with_puppet(ours, &BOTH.map(|family| tuple(family, false, true)), |_| {})
}

/// The puppet announces this prefix under an identifier, over these ASes beside its own.
fn announce(world: &mut World, path_id: u32, prefix: &str, via: u8, over: &[u32]) {
    let mut attributes = own_attributes();
    attributes.as_path = vec![AsSegment::Sequence([&[65009], over].concat())];
    let next_hop = NextHop { address: [10, 0, 0, via].into(), link_local: None };
    let context = world.puppet.as_ref().expect("a puppet").context.clone();
    let mut bytes = Vec::new();
    let nlri = Nlri { prefix: cidr(prefix), path_id };
    wire::encode_reach(&attributes, &next_hop, &[nlri], &context, &mut bytes).expect("it fits");
    world.puppet_says(&bytes);
}

fn withdraw(world: &mut World, path_id: u32, prefix: &str) {
    let context = world.puppet.as_ref().expect("a puppet").context.clone();
    let mut bytes = Vec::new();
    wire::encode_withdraw(&[Nlri { prefix: cidr(prefix), path_id }], &context, &mut bytes);
    world.puppet_says(&bytes);
}

/// Identifier and AS path of each route of the puppet's, by identifier.
fn paths(world: &World, prefix: &str) -> Vec<(u32, String)> {
    let details = world.speaker(0).route(&cidr(prefix)).into_iter();
    let mut paths: Vec<_> = details.filter_map(|it| Some((it.path_id?, it.route.as_path))).collect();
    paths.sort();
    paths
}

/// What the puppet heard: identifier, prefix, AS path; without one: withdrawn.
fn heard(world: &mut World) -> Vec<(u32, String, Option<Vec<u32>>)> {
    let mut all = Vec::new();
    for message in world.puppet_heard() {
        let Message::Update(update) = message else { continue };
        assert_eq!(update.defects, []);
        all.extend(update.withdrawn.iter().map(|nlri| (nlri.path_id, nlri.prefix.to_string(), None)));
        let numbers = |segment: AsSegment| match segment {
            AsSegment::Sequence(numbers) | AsSegment::Set(numbers) => numbers,
        };
        let path = update.attributes.map(|it| it.as_path.into_iter().flat_map(numbers).collect::<Vec<u32>>());
        all.extend(update.reachable.iter().map(|(nlri, _)| (nlri.path_id, nlri.prefix.to_string(), path.clone())));
    }
    all.sort();
    all
}

#[test]
fn each_direction_of_a_family_has_identifiers_only_where_one_sends_and_the_other_receives() {
    let says = |receive, send| AddPaths { receive, send };
    let [v4, v6] = BOTH;
    for (ours, theirs, agreed) in [
        (
            says(true, SentPaths::All),
            vec![tuple(v4, true, true), tuple(v6, true, true)],
            "receive-4 receive-6 send-4 send-6",
        ),
        (says(true, SentPaths::All), vec![tuple(v4, true, false), tuple(v6, false, true)], "receive-6 send-4"),
        (says(true, SentPaths::None), vec![tuple(v4, true, true)], "receive-4"),
        (says(true, SentPaths::None), vec![tuple(v4, true, false)], ""),
        (says(false, SentPaths::Best(2)), vec![tuple(v4, true, true)], "send-4"),
        (says(false, SentPaths::None), vec![tuple(v4, true, true), tuple(v6, true, true)], ""),
        (says(true, SentPaths::All), vec![], ""),
        (says(true, SentPaths::All), vec![tuple(v4, true, true), tuple(v4, true, false)], "send-4"),
    ] {
        let world = with_puppet(ours, &theirs, |_| {});
        let words = world.status(0, PUPPET).capabilities.into_iter();
        let words: Vec<String> = words.filter_map(|word| Some(word.strip_prefix("add-paths-")?.to_string())).collect();
        let short = words.join(" ").replace("ipv4-unicast", "4").replace("ipv6-unicast", "6");
        assert_eq!(short, agreed, "{ours:?} {theirs:?}");
    }
}

#[test]
fn nothing_is_offered_unless_it_is_asked_for() {
    let mut world = World::mesh(&[64512], ImportPolicy::All);
    let peer = PeerConfig { passive: true, ..neighbor(PUPPET, 65009, ImportPolicy::All) };
    world.hosts[0].config.peers.insert(address(PUPPET), peer);
    world.start();
    world.puppet_connects(0, address(PUPPET));
    assert_eq!(offered(&mut world), []);
}

#[test]
fn a_neighbor_has_as_many_routes_as_identifiers() {
    let mut world = receiving();
    announce(&mut world, 1, "10.1.0.0/24", 91, &[]);
    announce(&mut world, 2, "10.1.0.0/24", 92, &[]);
    announce(&mut world, 7, "10.1.0.0/24", 93, &[65010]);
    assert_eq!(paths(&world, "10.1.0.0/24"), [(1, "65009".into()), (2, "65009".into()), (7, "65009 65010".into())]);
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.91 10.0.0.92"], "equal ones share the load");
    let status = world.status(0, PUPPET);
    assert_eq!((status.received, status.accepted), (3, 3));
    world.seconds(1);
    assert_eq!(world.kernel(1), ["10.1.0.0/24 via 10.0.0.1"], "who agreed on nothing hears the best");
    assert_eq!(world.status(1, 0).received, 1);

    // One is replaced, one goes; a withdrawal of what never was is nothing.
    announce(&mut world, 1, "10.1.0.0/24", 91, &[65011]);
    withdraw(&mut world, 2, "10.1.0.0/24");
    withdraw(&mut world, 3, "10.1.0.0/24");
    withdraw(&mut world, 1, "10.2.0.0/24");
    let left = [(1, "65009 65011".to_string()), (7, "65009 65010".to_string())];
    assert_eq!(paths(&world, "10.1.0.0/24"), left);
    assert_eq!(world.status(0, PUPPET).received, 2);
    for (path_id, _) in left {
        withdraw(&mut world, path_id, "10.1.0.0/24");
    }
    assert_eq!((world.kernel(0), world.status(0, PUPPET).received), (vec![], 0));
    assert_eq!(world.status(0, PUPPET).malformed, 0);
}

#[test]
fn a_session_that_ends_takes_all_paths_with_it() {
    let mut world = receiving();
    for path_id in 1..=3 {
        announce(&mut world, path_id, "10.1.0.0/24", 90 + path_id as u8, &[]);
    }
    world.puppet_says(&wire::encode_notification(&Notification::administrative_shutdown("")));
    assert_eq!((world.kernel(0), world.status(0, PUPPET).received), (NOTHING.map(String::from).to_vec(), 0));
}

#[test]
fn paths_that_are_not_told_again_go_and_others_stay() {
    let mut world = receiving();
    for path_id in 1..=3 {
        announce(&mut world, path_id, "10.1.0.0/24", 90 + path_id as u8, &[]);
    }
    // RFC 7313.
    let mark = |subtype| wire::encode_route_refresh(AfiSafi::IPV4_UNICAST, subtype);
    world.puppet_says(&mark(wire::refresh_subtype::BEGIN));
    announce(&mut world, 2, "10.1.0.0/24", 92, &[]);
    announce(&mut world, 3, "10.1.0.0/24", 93, &[]);
    assert_eq!(paths(&world, "10.1.0.0/24").len(), 3);
    world.puppet_says(&mark(wire::refresh_subtype::END));
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.92 10.0.0.93"]);

    // RFC 4724.
    world.puppet_breaks();
    world.seconds(1);
    assert_eq!(world.kernel(0).len(), 1, "kept");
    connect(&mut world, &BOTH.map(|family| tuple(family, false, true)));
    announce(&mut world, 3, "10.1.0.0/24", 93, &[]);
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.92 10.0.0.93"], "until it has told all");
    for family in BOTH {
        let mut end = Vec::new();
        wire::encode_end_of_rib(family, &mut end);
        world.puppet_says(&end);
    }
    assert_eq!(world.kernel(0), ["10.1.0.0/24 via 10.0.0.93"]);
    assert_eq!(paths(&world, "10.1.0.0/24").len(), 1);
}

#[test]
fn a_bound_counts_every_path() {
    let ours = AddPaths { receive: true, send: SentPaths::None };
    let bound = MaxPrefixes { limit: 2, warning: 75, restart: None };
    let mut world = with_puppet(ours, &[tuple(AfiSafi::IPV4_UNICAST, false, true)], |peer| {
        peer.options.max_prefixes = Some(bound);
    });
    announce(&mut world, 1, "10.1.0.0/24", 91, &[]);
    announce(&mut world, 2, "10.1.0.0/24", 92, &[]);
    assert_eq!(world.status(0, PUPPET).state, State::Established);
    announce(&mut world, 3, "10.1.0.0/24", 93, &[]);
    assert_eq!(world.puppet_notified(), Some(Notification::maximum_prefixes(AfiSafi::IPV4_UNICAST, 2)));
    assert_eq!(world.kernel(0), NOTHING);
}

#[test]
fn more_paths_of_a_prefix_than_can_be_decided_about_are_ignored_and_counted() {
    let mut world = receiving();
    for path_id in 1..=300 {
        announce(&mut world, path_id, "10.1.0.0/24", 91, &[]);
    }
    announce(&mut world, 300, "10.2.0.0/24", 91, &[]);
    let status = world.status(0, PUPPET);
    assert_eq!((status.state, status.received, status.malformed), (State::Established, 257, 44));
    assert!(status.last_malformed.is_some_and(|what| what.contains("no more than 256 paths")));
    // What is known is replaced all the same.
    announce(&mut world, 256, "10.1.0.0/24", 91, &[65010]);
    assert!(paths(&world, "10.1.0.0/24").contains(&(256, "65009 65010".into())));
}

#[test]
fn prefixes_without_identifiers_where_they_were_agreed_on_end_the_session() {
    let mut world = receiving();
    let puppet = world.puppet.as_mut().expect("a puppet");
    puppet.context = puppet_context();
    announce(&mut world, 0, "10.1.0.0/24", 91, &[]);
    assert_eq!(world.puppet_notified().map(|it| (it.code, it.subcode)), Some((3, 10)));
}

#[test]
fn who_wants_several_hears_each_path_and_what_becomes_of_it() {
    let ours = AddPaths { receive: false, send: SentPaths::All };
    let mut world = with_puppet(ours, &[tuple(AfiSafi::IPV4_UNICAST, true, false)], |_| {});
    world.announce(0, &["10.1.0.0/24", "fd01::/64"]);
    world.announce(1, &["10.1.0.0/24", "fd01::/64"]);
    world.seconds(1);
    let own = Some(vec![64512]);
    let other = Some(vec![64512, 64513]);
    let told = heard(&mut world);
    let [(0, six, path), (a, first, at_first), (b, second, at_second)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((first.as_str(), second.as_str(), six.as_str()), ("10.1.0.0/24", "10.1.0.0/24", "fd01::/64"));
    assert!(a != b && [at_first, at_second].contains(&&own) && [at_first, at_second].contains(&&other), "{told:?}");
    assert_eq!(path, &own, "of a family without, the best only");
    assert_eq!(world.status(0, PUPPET).advertised, 3);
    let known = world.speaker(0).route(&cidr("10.1.0.0/24"));
    let mut ids: Vec<u32> = known.iter().filter_map(|route| route.told_as).collect();
    ids.sort();
    assert_eq!(ids, [*a, *b]);

    // The best stays what it is; the other goes.
    world.withdraw(1, &["10.1.0.0/24", "fd01::/64"]);
    world.seconds(1);
    let of_other = if *at_first == other { *a } else { *b };
    assert_eq!(heard(&mut world), [(of_other, "10.1.0.0/24".to_string(), None)]);
    assert_eq!(world.status(0, PUPPET).advertised, 2);
}

#[test]
fn another_number_of_paths_is_soft_and_another_capability_is_not() {
    let ours = AddPaths { receive: false, send: SentPaths::All };
    let mut world = with_puppet(ours, &[tuple(AfiSafi::IPV4_UNICAST, true, false)], |_| {});
    for send in [SentPaths::Best(2), SentPaths::All, SentPaths::None] {
        let config = &mut world.hosts[0].config;
        config.peers.get_mut(&address(PUPPET)).expect("a neighbour").options.add_paths.send = send;
        let config = Box::new(config.clone());
        world.handle(0, Input::Configure(config));
        let stands = world.status(0, PUPPET).state == State::Established;
        assert_eq!((stands, world.status(0, PUPPET).sessions), (send != SentPaths::None, 1), "{send:?}");
    }
}

/// RFC 8050: records with identifiers are of a subtype of their own, beside those without.
#[test]
fn a_dump_has_the_identifiers() {
    let mut world = receiving();
    announce(&mut world, 0x0a0b_0c0d, "10.1.0.0/24", 91, &[]);
    announce(&mut world, 7, "10.1.0.0/24", 92, &[]);
    world.announce(1, &["10.1.0.0/24"]);
    world.seconds(1);
    let (speaker, mut bytes) = (world.speaker(0), Vec::new());
    let mut dump = MrtDump::begin(speaker, 7, &mut bytes);
    while dump.next(speaker, 7, 100, &mut bytes) {}
    let mut records = Vec::new();
    let mut rest = &bytes[..];
    while let Some((head, behind)) = rest.split_first_chunk::<12>() {
        let length = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        records.push((u16::from_be_bytes([head[6], head[7]]), &behind[..length]));
        rest = &behind[length..];
    }
    let [(1, _), (2, without), (8, with)] = records[..] else { panic!("{records:?}") };
    // Sequence number, prefix, how many entries; each: whose, when, and then its identifier.
    assert_eq!((&without[4..10], &with[4..10]), (&[24, 10, 1, 0, 0, 1][..], &[24, 10, 1, 0, 0, 2][..]));
    let first = u32::from_be_bytes(with[16..20].try_into().expect("four"));
    let length = usize::from(u16::from_be_bytes([with[20], with[21]]));
    let second = &with[22 + length..];
    let second_id = u32::from_be_bytes(second[6..10].try_into().expect("four"));
    assert_eq!([first, second_id], [7, 0x0a0b_0c0d], "in the order of the decision");
    assert_eq!(with.len(), 22 + length + 12 + usize::from(u16::from_be_bytes([second[10], second[11]])));
}
