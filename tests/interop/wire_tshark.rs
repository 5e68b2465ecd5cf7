//! tshark reads what we encode: nothing is malformed, and each field says what we meant.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use routenet_core::bgp::wire::{self, AfiSafi, AsSegment, Attributes, Capability, CodecContext, NextHop, Open, Origin};
use routenet_core::model::Cidr;

use crate::support::run;

const PREFIX: &str = "bgp.nlri_prefix";
const WITHDRAWN: &str = "bgp.withdrawn_prefix";
const REACH_V4: &str = "bgp.mp_reach_nlri_ipv4_prefix";
const REACH_V6: &str = "bgp.mp_reach_nlri_ipv6_prefix";
const UNREACH_V6: &str = "bgp.mp_unreach_nlri_ipv6_prefix";
const LENGTH: &str = "bgp.prefix_length";
const CODES: &str = "bgp.update.path_attribute.type_code";
const FLAGS: &str = "bgp.update.path_attribute.flags";
const SEGMENTS: &str = "bgp.update.path_attribute.as_path_segment.type";
const AS2: &str = "bgp.update.path_attribute.as_path_segment.as2";
const AS4: &str = "bgp.update.path_attribute.as_path_segment.as4";
const AGGREGATOR: &str = "bgp.update.path_attribute.aggregator_as";
const NEXT_HOP: &str = "bgp.update.path_attribute.next_hop";
const NEXT_HOP_V6: &str = "bgp.update.path_attribute.mp_reach_nlri.next_hop.ipv6";
const NEXT_HOP_LOCAL: &str = "bgp.update.path_attribute.mp_reach_nlri.next_hop.ipv6.link_local";

/// Without zero bytes: tshark guesses at ADD-PATH identifiers where it sees several.
const HOST_V6: &str = "2001:db8:1:2:3:4:5:6/128";

/// A message of ours, and fields as tshark should print them: a value an occurrence, joined by commas.
struct Case {
    message: Vec<u8>,
    fields: Vec<(&'static str, &'static str)>,
}

fn capture(messages: &[&[u8]]) -> Vec<u8> {
    capture_to(179, messages)
}

/// A capture file (libpcap 2.4, raw IP) in which each message is one TCP segment to this port.
pub fn capture_to(port: u16, messages: &[&[u8]]) -> Vec<u8> {
    const RAW_IP: u32 = 101;
    let mut file = Vec::new();
    file.extend_from_slice(&0xa1b2_c3d4_u32.to_ne_bytes());
    file.extend_from_slice(&2_u16.to_ne_bytes());
    file.extend_from_slice(&4_u16.to_ne_bytes());
    for word in [0, 0, 65535, RAW_IP] {
        file.extend_from_slice(&word.to_ne_bytes());
    }
    let mut sequence = 1_u32;
    for (second, message) in messages.iter().enumerate() {
        let segment = u16::try_from(40 + message.len()).expect("an IP packet");
        for word in [second as u32, 0, u32::from(segment), u32::from(segment)] {
            file.extend_from_slice(&word.to_ne_bytes());
        }
        file.extend_from_slice(&[0x45, 0]);
        file.extend_from_slice(&segment.to_be_bytes());
        file.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        file.extend_from_slice(&[0xc0, 0]);
        file.extend_from_slice(&port.to_be_bytes());
        file.extend_from_slice(&sequence.to_be_bytes());
        file.extend_from_slice(&[0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        file.extend_from_slice(message);
        sequence += u32::try_from(message.len()).expect("a short message");
    }
    file
}

fn tshark(file: &Path, as_length: &str, more: &[&str]) -> String {
    let file = file.to_str().expect("a path in UTF-8");
    let as_length = format!("bgp.asn_len:{as_length}");
    run("tshark", &[&["-n", "-r", file, "-o", as_length.as_str()], more].concat())
}

/// Asserts every field of every case, and that tshark has nothing to complain about.
fn assert_read(cases: &[Case], as_length: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ours.pcap");
    let messages: Vec<&[u8]> = cases.iter().map(|case| case.message.as_slice()).collect();
    std::fs::write(&file, capture(&messages)).expect("a capture file");

    let malformed = tshark(&file, as_length, &["-Y", "_ws.malformed || (bgp && _ws.expert.group == \"Malformed\")"]);
    assert_eq!(malformed, "", "tshark calls these malformed");
    let seen = tshark(&file, as_length, &["-Y", "bgp"]);
    assert_eq!(seen.lines().count(), cases.len(), "tshark sees other messages than ours:\n{seen}");

    let wanted: BTreeMap<&str, ()> =
        cases.iter().flat_map(|case| &case.fields).map(|(field, _)| (*field, ())).collect();
    let columns: Vec<&str> = wanted.into_keys().collect();
    let mut arguments = vec!["-T", "fields", "-E", "separator=|", "-E", "aggregator=,"];
    for column in &columns {
        arguments.extend_from_slice(&["-e", column]);
    }
    let table = tshark(&file, as_length, &arguments);
    assert_eq!(table.lines().count(), cases.len(), "{table}");
    for (number, (line, case)) in table.lines().zip(cases).enumerate() {
        let values: BTreeMap<&str, &str> = columns.iter().copied().zip(line.split('|')).collect();
        for (field, expected) in &case.fields {
            assert_eq!(values[field], *expected, "message {number}, {field}\n{:x?}", case.message);
        }
    }
}

fn context(four_octet_as: bool, ibgp: bool) -> CodecContext {
    let families = vec![AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];
    CodecContext { four_octet_as, ibgp, families, extended_next_hop: true, ..CodecContext::default() }
}

fn prefixes(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().expect("a prefix")).collect()
}

fn next_hop(text: &str, link_local: Option<&str>) -> NextHop {
    let address: IpAddr = text.parse().expect("an address");
    NextHop { address, link_local: link_local.map(|text| text.parse().expect("an address")) }
}

fn reach(attributes: &Attributes, via: NextHop, texts: &[&str], context: &CodecContext) -> Vec<u8> {
    let mut out = Vec::new();
    let taken = wire::encode_reach(attributes, &via, &prefixes(texts), context, &mut out).expect("an encoding");
    assert_eq!(taken, texts.len());
    out
}

fn withdraw(texts: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(wire::encode_withdraw(&prefixes(texts), &context(true, false), &mut out), texts.len());
    out
}

fn end_of_rib(family: AfiSafi) -> Vec<u8> {
    let mut out = Vec::new();
    wire::encode_end_of_rib(family, &mut out);
    out
}

fn all_attributes() -> Attributes {
    Attributes {
        origin: Origin::Incomplete,
        as_path: vec![AsSegment::Sequence(vec![65001, 4_200_000_001]), AsSegment::Set(vec![64512, 64513])],
        med: Some(7),
        local_pref: Some(200),
        atomic_aggregate: true,
        aggregator: Some((4_200_000_002, [192, 0, 2, 9].into())),
        communities: [65001 << 16 | 7, 65001 << 16 | 8].into(),
        extended_communities: [[0, 2, 0xfd, 0xe9, 0, 0, 0, 9]].into(),
        large_communities: [(65001, 1, 2)].into(),
        originator_id: Some([10, 0, 0, 1].into()),
        cluster_list: vec![[10, 0, 0, 2].into(), [10, 0, 0, 3].into()],
        otc: Some(65001),
        unknown: vec![(0xe0, 77, vec![1, 2, 3])],
        partial: 0,
    }
}

fn open() -> Case {
    let open = Open {
        as_number: 4_200_000_001,
        hold_time: 90,
        router_id: [10, 0, 0, 1].into(),
        capabilities: vec![
            Capability::Multiprotocol(AfiSafi::IPV4_UNICAST),
            Capability::Multiprotocol(AfiSafi::IPV6_UNICAST),
            Capability::RouteRefresh,
            Capability::EnhancedRouteRefresh,
            Capability::ExtendedNextHop(vec![(AfiSafi::IPV4_UNICAST, 2)]),
            Capability::FourOctetAs(4_200_000_001),
            Capability::GracefulRestart(wire::GracefulRestart {
                restarted: true,
                notification: true,
                restart_time: 120,
                families: vec![(AfiSafi::IPV4_UNICAST, true), (AfiSafi::IPV6_UNICAST, false)],
            }),
            Capability::LongLivedGracefulRestart(vec![wire::LongLived {
                family: AfiSafi::IPV6_UNICAST,
                forwarding: true,
                seconds: 86_400,
            }]),
            Capability::AddPaths(vec![
                wire::AddPath { family: AfiSafi::IPV4_UNICAST, receives: true, sends: false },
                wire::AddPath { family: AfiSafi::IPV6_UNICAST, receives: true, sends: true },
            ]),
        ],
    };
    Case {
        message: wire::encode_open(&open),
        fields: vec![
            ("bgp.type", "1"),
            ("bgp.open.version", "4"),
            ("bgp.open.myas", "23456"),
            ("bgp.open.holdtime", "90"),
            ("bgp.open.identifier", "10.0.0.1"),
            ("bgp.cap.type", "1,1,2,70,5,65,64,71,69"),
            ("bgp.cap.ap.afi", "1,2"),
            ("bgp.cap.ap.sendreceive", "1,3"),
            ("bgp.cap.enh.afi", "1"),
            ("bgp.cap.enh.safi", "1"),
            ("bgp.cap.enh.nhafi", "2"),
            ("bgp.cap.mp.afi", "1,2"),
            ("bgp.cap.4as", "4200000001"),
            ("bgp.cap.gr.timers.restart_flag", "1"),
            ("bgp.cap.gr.timers.notification_flag", "1"),
            ("bgp.cap.gr.timers.restart_time", "120"),
            ("bgp.cap.gr.afi", "1,2"),
            ("bgp.cap.gr.flag.pfs", "1,0"),
        ],
    }
}

#[test]
fn messages_without_routes() {
    let shutdown = wire::Notification::administrative_shutdown("moving house");
    let cases = [
        open(),
        Case { message: wire::encode_keepalive().to_vec(), fields: vec![("bgp.type", "4"), ("bgp.length", "19")] },
        Case {
            message: wire::encode_route_refresh(AfiSafi::IPV6_UNICAST, wire::refresh_subtype::END),
            fields: vec![
                ("bgp.type", "5"),
                ("bgp.route_refresh.afi", "2"),
                ("bgp.route_refresh.subtype", "2"),
                ("bgp.route_refresh.safi", "1"),
            ],
        },
        Case {
            message: end_of_rib(AfiSafi::IPV4_UNICAST),
            fields: vec![("bgp.type", "2"), ("bgp.length", "23"), (CODES, "")],
        },
        Case {
            message: end_of_rib(AfiSafi::IPV6_UNICAST),
            fields: vec![
                (CODES, "15"),
                ("bgp.update.path_attribute.mp_unreach_nlri.afi", "2"),
                (UNREACH_V6, ""),
                (FLAGS, "0x90"),
            ],
        },
        Case {
            message: wire::encode_notification(&shutdown),
            fields: vec![
                ("bgp.type", "3"),
                ("bgp.notify.major_error", "6"),
                ("bgp.notify.minor_error_cease", "2"),
                ("bgp.notify.communication", "moving house"),
            ],
        },
    ];
    assert_read(&cases, "4 octet");
}

#[test]
fn routes_for_a_four_octet_peer() {
    let everything = vec![
        ("bgp.update.path_attribute.origin", "2"),
        (SEGMENTS, "2,1"),
        (AS4, "65001,4200000001,64512,64513"),
        ("bgp.update.path_attribute.multi_exit_disc", "7"),
        ("bgp.update.path_attribute.local_pref", "200"),
        (AGGREGATOR, "4200000002"),
        ("bgp.update.path_attribute.aggregator_origin", "192.0.2.9"),
        ("bgp.update.path_attribute.community_value", "7,8"),
        ("bgp.update.path_attribute.originator_id", "10.0.0.1"),
        ("bgp.path_attribute.cluster_id", "10.0.0.2,10.0.0.3"),
        ("bgp.ext_com.value_as2", "65001"),
        ("bgp.ext_com.value_an4", "9"),
        ("bgp.large_communities.ga", "65001"),
        ("bgp.large_communities.ldp1", "1"),
        ("bgp.large_communities.ldp2", "2"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [everything.as_slice(), more].concat();
    let internal = context(true, true);
    let cases = [
        Case {
            message: reach(
                &all_attributes(),
                next_hop("192.0.2.1", None),
                &["0.0.0.0/0", "10.0.0.0/8", "10.128.0.0/9", "10.1.2.3/32"],
                &internal,
            ),
            fields: with(&[
                (CODES, "1,2,3,4,5,6,7,8,9,10,16,32,35,77"),
                (FLAGS, "0x40,0x40,0x40,0x80,0x40,0x40,0xc0,0xc0,0x80,0x80,0xc0,0xc0,0xc0,0xe0"),
                (NEXT_HOP, "192.0.2.1"),
                (PREFIX, "0.0.0.0,10.0.0.0,10.128.0.0,10.1.2.3"),
                (LENGTH, "0,8,9,32"),
            ]),
        },
        Case {
            message: reach(
                &all_attributes(),
                next_hop("2001:db8::1", Some("fe80::1")),
                &["2001:db8:8000::/33", HOST_V6],
                &internal,
            ),
            fields: with(&[
                (CODES, "14,1,2,4,5,6,7,8,9,10,16,32,35,77"),
                (FLAGS, "0x90,0x40,0x40,0x80,0x40,0x40,0xc0,0xc0,0x80,0x80,0xc0,0xc0,0xc0,0xe0"),
                (NEXT_HOP_V6, "2001:db8::1"),
                (NEXT_HOP_LOCAL, "fe80::1"),
                (REACH_V6, "2001:db8:8000::,2001:db8:1:2:3:4:5:6"),
                (LENGTH, "33,128"),
            ]),
        },
        // RFC 8950: our link-local address alone.
        Case {
            message: reach(
                &all_attributes(),
                next_hop("fe80::1", None).on_link(7),
                &["10.0.0.0/8", "10.1.2.3/32"],
                &internal,
            ),
            fields: with(&[
                (CODES, "14,1,2,4,5,6,7,8,9,10,16,32,35,77"),
                (FLAGS, "0x90,0x40,0x40,0x80,0x40,0x40,0xc0,0xc0,0x80,0x80,0xc0,0xc0,0xc0,0xe0"),
                (NEXT_HOP_V6, "fe80::1"),
                (REACH_V4, "10.0.0.0,10.1.2.3"),
                (LENGTH, "8,32"),
            ]),
        },
        Case {
            message: withdraw(&["0.0.0.0/0", "10.1.2.3/32"]),
            fields: vec![(WITHDRAWN, "0.0.0.0,10.1.2.3"), (LENGTH, "0,32"), (CODES, "")],
        },
        Case {
            message: withdraw(&["2001:db8:8000::/33", HOST_V6]),
            fields: vec![(UNREACH_V6, "2001:db8:8000::,2001:db8:1:2:3:4:5:6"), (LENGTH, "33,128"), (CODES, "15")],
        },
        Case { message: withdraw(&["::/0"]), fields: vec![(UNREACH_V6, "::"), (LENGTH, "0"), (CODES, "15")] },
    ];
    assert_read(&cases, "4 octet");
}

#[test]
fn routes_for_a_two_octet_peer() {
    let cases = [Case {
        message: reach(&all_attributes(), next_hop("192.0.2.1", None), &["10.0.0.0/8"], &context(false, false)),
        fields: vec![
            (CODES, "1,2,3,4,6,7,8,16,17,18,32,35,77"),
            (SEGMENTS, "2,1,2,1"),
            (AS2, "65001,23456,64512,64513"),
            (AS4, "65001,4200000001,64512,64513"),
            (AGGREGATOR, "23456,4200000002"),
            (PREFIX, "10.0.0.0"),
        ],
    }];
    assert_read(&cases, "2 octet");
}

#[test]
fn full_messages_and_long_attributes() {
    let mut attributes = all_attributes();
    attributes.as_path = vec![AsSegment::Sequence((1..=300).collect())];
    attributes.communities = (0..100).collect();
    let many: Vec<Cidr> = (0..5000_u32).map(|i| Cidr::host((0x0a00_0000 + i).to_be_bytes().into())).collect();
    let mut messages = Vec::new();
    let mut rest = many.as_slice();
    while !rest.is_empty() {
        let mut message = Vec::new();
        let via = next_hop("192.0.2.1", None);
        let taken = wire::encode_reach(&attributes, &via, rest, &context(true, true), &mut message);
        rest = &rest[taken.expect("an encoding")..];
        assert!(message.len() <= wire::MAX_MESSAGE);
        messages.push(Case { message, fields: vec![("bgp.type", "2"), (SEGMENTS, "2,2")] });
    }
    assert_read(&messages, "4 octet");
}

/// RFC 7911: tshark knows from the bytes that there are identifiers.
#[test]
fn several_paths_of_a_prefix() {
    let sent = vec![AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];
    let context = CodecContext { path_ids: wire::PathIds { received: Vec::new(), sent }, ..context(true, true) };
    let paths = |text: &str| [1, 7].map(|path_id| wire::Nlri { prefix: text.parse().expect("a prefix"), path_id });
    let said = |via: &str, text: &str| {
        let mut out = Vec::new();
        let via = next_hop(via, None);
        let taken = wire::encode_reach(&all_attributes(), &via, &paths(text), &context, &mut out);
        assert_eq!(taken, Ok(2));
        out
    };
    let gone = |text: &str| {
        let mut out = Vec::new();
        assert_eq!(wire::encode_withdraw(&paths(text), &context, &mut out), 2);
        out
    };
    let fields = |prefix, text| vec![("bgp.nlri_path_id", "1,7"), (prefix, text)];
    assert_read(
        &[
            Case { message: said("192.0.2.1", "10.1.0.0/16"), fields: fields(PREFIX, "10.1.0.0,10.1.0.0") },
            Case { message: gone("10.1.0.0/16"), fields: fields(WITHDRAWN, "10.1.0.0,10.1.0.0") },
            Case { message: said("2001:db8::1", "fd65::/64"), fields: vec![("bgp.nlri_path_id", "1,7")] },
            Case { message: gone("fd65::/64"), fields: vec![("bgp.nlri_path_id", "1,7")] },
        ],
        "4 octet",
    );
}

/// The oracle can say no: bytes that are wrong do not pass.
#[test]
fn tshark_would_have_noticed() {
    let mut message = reach(&all_attributes(), next_hop("192.0.2.1", None), &["10.0.0.0/8"], &context(true, true));
    let origin = wire::HEADER + 4;
    assert_eq!(message[origin..origin + 4], [0x40, 1, 1, 2]);
    // ORIGIN that claims two bytes: everything behind it is off by one.
    message[origin + 2] = 2;
    let case = Case { message, fields: vec![(PREFIX, "10.0.0.0")] };
    let outcome = std::panic::catch_unwind(|| assert_read(&[case], "4 octet"));
    assert!(outcome.is_err(), "tshark took a shifted attribute list for sound");
}
