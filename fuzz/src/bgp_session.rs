//! One neighbour says whatever it likes, with or without a session: no panic, no memory beyond what it sent, and a second
//! neighbour that watches keeps its session and its routes, and hears nothing but well-formed messages.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use routenet_core::bgp::rib::path::own_attributes;
use routenet_core::bgp::speaker::{
    ConnId, Event, Input, PeerConfig, PeerSource, Speaker, SpeakerConfig, Startup, State,
};
use routenet_core::bgp::wire::{
    self, AddPath, AfiSafi, AsSegment, Attributes, Capability, CodecContext, GracefulRestart, Message, NextHop, Nlri,
    Open, PathIds,
};
use routenet_core::model::peering::{AddPaths, MaxPrefixes, PeerOptions, SentPaths};
use routenet_core::model::{Cidr, ImportPolicy};
use routenet_core::time::Time;

use super::bytes::Bytes;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const WILD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const WATCHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));
const AS: u32 = 64512;
const WATCHED: [&str; 2] = ["192.0.2.0/24", "198.51.100.0/24"];
/// No end of a session leaves routes for longer: the hold time, then the restart time that the neighbour may name.
const FORGOTTEN: Duration = Duration::from_secs(90 + 4095 + 1);

struct World {
    speaker: Speaker,
    now: Time,
    /// What the connections that the speaker still holds were told.
    said: BTreeMap<ConnId, Vec<u8>>,
}

impl World {
    fn new(wild_as: u32, options: PeerOptions, seed: u64) -> World {
        let peer = |name: &str, as_number: u32, options: PeerOptions| PeerConfig {
            passive: true,
            options,
            ..PeerConfig::new(PeerSource::Config, name, Some(as_number), ImportPolicy::All)
        };
        let add_paths = AddPaths { receive: false, send: SentPaths::All };
        let watcher = PeerOptions { reflector_client: true, add_paths, ..PeerOptions::default() };
        let config = SpeakerConfig {
            as_number: AS,
            router_id: Ipv4Addr::new(10, 0, 0, 1),
            address4: Some(HERE),
            peers: BTreeMap::from([(WILD, peer("wild", wild_as, options)), (WATCHER, peer("watcher", AS, watcher))]),
            ..SpeakerConfig::default()
        };
        let now = Time::ZERO;
        let speaker = Speaker::new(config, Startup { restarting: false, seed }, now);
        let mut world = World { speaker, now, said: BTreeMap::new() };
        world.handle(Input::Originate(vec![(cidr(WATCHED[1]), true)]));
        world
    }

    fn connect(&mut self, from: IpAddr) -> Option<ConnId> {
        let conn = self.speaker.accept(from, HERE, self.now)?;
        self.said.insert(conn, Vec::new());
        self.settle();
        Some(conn)
    }

    fn handle(&mut self, input: Input<'_>) {
        self.speaker.handle(input, self.now);
        self.settle();
    }

    fn hear(&mut self, conn: ConnId, bytes: &[u8]) {
        self.handle(Input::Received { conn, bytes });
    }

    /// Writes what there is to write and closes what is to be closed, until there is nothing left to do.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "it never comes to rest");
            let mut moved = false;
            while let Some(event) = self.speaker.poll_event() {
                moved = true;
                match event {
                    Event::Close { conn, .. } => drop(self.said.remove(&conn)),
                    Event::Connect { .. } => panic!("both neighbours are passive"),
                    Event::State { .. } | Event::Malformed { .. } | Event::TooLong { .. } => {}
                }
            }
            while self.speaker.poll_best(64).is_some() {}
            for (conn, said) in &mut self.said {
                if self.speaker.wants_transmit(*conn) {
                    moved = true;
                    self.speaker.poll_transmit(*conn, said, 4096, self.now);
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Lets time pass; the watcher keeps its session.
    fn pass(&mut self, duration: Duration, watcher: ConnId) {
        let end = self.now + duration;
        while self.now < end {
            self.now = end.min(self.now + Duration::from_secs(25));
            self.hear(watcher, &wire::encode_keepalive());
            self.handle(Input::Timeout);
        }
    }

    fn state(&self, of: IpAddr) -> (State, u64) {
        let all = self.speaker.status(self.now);
        let status = all.into_iter().find(|status| status.address == of).expect("a neighbour");
        (status.state, status.sessions)
    }

    fn routes_from(&self, peer: IpAddr) -> usize {
        let routes = self.speaker.routes();
        routes.into_iter().filter(|route| route.from.as_ref().is_some_and(|(from, _)| *from == peer)).count()
    }
}

fn cidr(text: &str) -> Cidr {
    text.parse().expect("a CIDR")
}

/// `sends`: several paths of a prefix; everybody receives them.
fn open(as_number: u32, address: IpAddr, restart: Option<u16>, sends: bool) -> Vec<u8> {
    let IpAddr::V4(router_id) = address else { panic!("an IPv4 address") };
    let families = [AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];
    let mut capabilities: Vec<Capability> = families.into_iter().map(Capability::Multiprotocol).collect();
    capabilities.extend([Capability::RouteRefresh, Capability::FourOctetAs(as_number)]);
    let add_path = |family| AddPath { family, receives: true, sends };
    capabilities.push(Capability::AddPaths(families.map(add_path).to_vec()));
    capabilities.extend(restart.map(|restart_time| {
        let families = families.map(|family| (family, true)).to_vec();
        Capability::GracefulRestart(GracefulRestart { restarted: false, notification: true, restart_time, families })
    }));
    wire::encode_open(&Open { as_number, hold_time: 90, router_id, capabilities })
}

/// The watcher's.
fn context() -> CodecContext {
    let families = vec![AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];
    let path_ids = PathIds { received: families.clone(), sent: Vec::new() };
    CodecContext { four_octet_as: true, ibgp: true, families, path_ids, extended_next_hop: true }
}

/// What the watcher announces.
fn announcement() -> Vec<u8> {
    let attributes = Attributes { local_pref: Some(100), ..own_attributes() };
    let next_hop = NextHop { address: WATCHER, link_local: None };
    let mut out = Vec::new();
    wire::encode_reach(&attributes, &next_hop, &[cidr(WATCHED[0])], &context(), &mut out).expect("it fits");
    out
}

/// An UPDATE with the right beginning, so that what follows is not all refused for the same reason.
fn plausible(wild_as: u32, prefixes: &[u8], with_ids: bool) -> Vec<u8> {
    let external = wild_as != AS;
    let as_path = if external { vec![AsSegment::Sequence(vec![wild_as])] } else { Vec::new() };
    let attributes = Attributes { as_path, local_pref: (!external).then_some(100), ..own_attributes() };
    let next_hop = NextHop { address: WILD, link_local: None };
    let nlri = |byte: &u8| Nlri { prefix: cidr(&format!("10.{}.0.0/24", byte / 4)), path_id: u32::from(byte % 4) };
    let prefixes: Vec<Nlri> = prefixes.iter().map(nlri).collect();
    let sent = if with_ids { context().families } else { Vec::new() };
    let context = CodecContext { path_ids: PathIds { received: Vec::new(), sent }, ..context() };
    let mut out = Vec::new();
    let _ = wire::encode_reach(&attributes, &next_hop, &prefixes, &context, &mut out);
    out
}

/// A message of this kind, with a right header.
fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(wire::HEADER + body.len()).expect("a short body");
    [&[0xff; 16], &length.to_be_bytes()[..], &[kind], body].concat()
}

/// Whether the wild neighbour had a session at some time.
pub fn run(data: &[u8]) -> bool {
    let mut bytes = Bytes::new(data);
    let wild_as = bytes.one(&[65001, AS]);
    let paths = bytes.rarely(2);
    let options = PeerOptions {
        reflector_client: bytes.rarely(2),
        max_prefixes: bytes.rarely(4).then_some(MaxPrefixes { limit: 3, warning: 75, restart: Some(10) }),
        allowed_local_as: bytes.one(&[0, 1]),
        add_paths: AddPaths { receive: paths, send: bytes.one(&[SentPaths::None, SentPaths::All, SentPaths::Best(2)]) },
        ..PeerOptions::default()
    };
    let mut world = World::new(wild_as, options, bytes.number().into());
    let watcher = world.connect(WATCHER).expect("it is let in");
    world.hear(watcher, &[&open(AS, WATCHER, None, false)[..], &wire::encode_keepalive(), &announcement()].concat());
    assert_eq!(world.state(WATCHER), (State::Established, 1));

    let mut wild = world.connect(WILD);
    let restart = bytes.rarely(2).then_some(120);
    let greet = bytes.below(4) > 0;
    if let Some(conn) = wild.filter(|_| greet) {
        world.hear(conn, &[&open(wild_as, WILD, restart, paths)[..], &wire::encode_keepalive()].concat());
    }
    while !bytes.is_empty() {
        match bytes.below(12) {
            0 => world.pass(Duration::from_secs(bytes.below(100) as u64), watcher),
            1 => {
                if let Some(conn) = wild.take() {
                    world.said.remove(&conn);
                    world.handle(Input::Closed { conn, why: "reset by peer" });
                }
                wild = world.connect(WILD);
                if let Some(conn) = wild.filter(|_| bytes.rarely(2)) {
                    world.hear(conn, &[&open(wild_as, WILD, restart, paths)[..], &wire::encode_keepalive()].concat());
                }
            }
            what => {
                let length = bytes.below(128);
                let kind = bytes.one(&[2, 2, 2, 5, 3, 4, 1, 0, 6, 255]);
                let said = bytes.take(length);
                let message = match what {
                    2 => said.to_vec(),
                    3 | 4 => plausible(wild_as, said, paths),
                    _ => framed(kind, said),
                };
                if let Some(conn) = wild {
                    world.hear(conn, &message);
                }
            }
        }
        assert!(world.routes_from(WILD) <= data.len(), "more prefixes than bytes");
    }
    let had_session = world.state(WILD).1 > 0;

    // It falls silent. What it said is forgotten, and nobody else has noticed.
    world.pass(FORGOTTEN, watcher);
    assert_eq!(world.routes_from(WILD), 0, "a route has outlived its source");
    assert_eq!(world.state(WATCHER), (State::Established, 1));
    assert_eq!(world.routes_from(WATCHER), 1);
    let mut told = &world.said[&watcher][..];
    while let Some(length) = wire::message_length(told).expect("what we send is well formed") {
        let message = wire::decode(&told[..length], &context()).expect("what we send is well formed");
        assert!(!matches!(message, Message::Notification(_)), "{message:?}");
        if let Message::Update(update) = message {
            assert_eq!(update.defects, [], "what we pass on is well formed");
        }
        told = &told[length..];
    }
    assert!(told.is_empty(), "whole messages");
    had_session
}
