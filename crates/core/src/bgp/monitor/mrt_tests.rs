use std::time::Duration;

use super::*;
use crate::bgp::speaker::{Input, PeerConfig, PeerSource, SpeakerConfig, Startup};
use crate::model::ImportPolicy;
use crate::time::Time;

/// A speaker with one neighbour that is not there, and a prefix of each family.
fn speaker() -> Speaker {
    let peer = PeerConfig {
        passive: true,
        ..PeerConfig::new(PeerSource::Config, "tor", Some(4_200_000_001), ImportPolicy::All)
    };
    let mut config = SpeakerConfig { router_id: [192, 0, 2, 1].into(), ..SpeakerConfig::default() };
    config.peers.insert("2001:db8::9".parse().unwrap(), peer);
    let now = Time::ZERO + Duration::from_secs(1);
    let mut speaker = Speaker::new(config, Startup::default(), now);
    let own = ["10.65.0.0/26", "fd65::/122"].map(|prefix| (prefix.parse().unwrap(), true));
    speaker.handle(Input::Originate(own.to_vec()), now);
    speaker
}

#[test]
fn the_index_names_this_speaker_and_every_neighbour() {
    let mut out = Vec::new();
    MrtDump::begin(&speaker(), 0x1234_5678, &mut out);
    let head = [0x12, 0x34, 0x56, 0x78, 0, 13, 0, 1, 0, 0, 0, 8 + 13 + 25];
    let own = [2, 192, 0, 2, 1, 192, 0, 2, 1, 0, 0, 0xfc, 0];
    let neighbor = [3, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0xfa, 0x56, 0xea, 1];
    assert_eq!(out, [&head[..], &[192, 0, 2, 1, 0, 0, 0, 2], &own, &neighbor].concat());
}

#[test]
fn each_prefix_is_a_record_and_portions_make_the_whole() {
    let speaker = speaker();
    let mut out = Vec::new();
    let mut dump = MrtDump::begin(&speaker, 7, &mut out);
    let index = out.len();
    assert!(dump.next(&speaker, 7, 1, &mut out));
    let attributes = [0x40, 1, 1, 0, 0x40, 2, 0];
    let entry = [&[0, 1, 0, 0, 0, 0, 0, 7, 0, 7][..], &attributes].concat();
    let first = [&[0, 0, 0, 7, 0, 13, 0, 2, 0, 0, 0, 26][..], &[0, 0, 0, 0, 26, 10, 65, 0, 0], &entry].concat();
    assert_eq!(out[index..], first);
    assert!(dump.next(&speaker, 7, 1, &mut out));
    let second = &out[index + first.len()..];
    assert_eq!(second[..12], [0, 0, 0, 7, 0, 13, 0, 4, 0, 0, 0, 38]);
    assert_eq!(second[12..20], [0, 0, 0, 1, 122, 0xfd, 0x65, 0]);
    let before = out.len();
    assert!(!dump.next(&speaker, 7, 1, &mut out));
    assert_eq!(out.len(), before);
}
