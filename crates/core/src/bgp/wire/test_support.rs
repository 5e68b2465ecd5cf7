//! Messages built byte by byte, for the tests of this room.

use std::collections::BTreeSet;

use super::*;
use crate::model::Cidr;

pub fn ebgp() -> CodecContext {
    CodecContext {
        four_octet_as: true,
        ibgp: false,
        families: vec![AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST],
        ..CodecContext::default()
    }
}

pub fn ibgp() -> CodecContext {
    CodecContext { ibgp: true, ..ebgp() }
}

/// One with whom IPv4 routes may have IPv6 next hops (RFC 8950).
pub fn extended() -> CodecContext {
    CodecContext { extended_next_hop: true, ..ebgp() }
}

/// A neighbour that does not speak four-octet AS numbers.
pub fn old_speaker() -> CodecContext {
    CodecContext { four_octet_as: false, ..ebgp() }
}

pub fn prefixes(texts: &[&str]) -> Vec<Nlri> {
    texts.iter().map(|text| text.parse::<Cidr>().unwrap().into()).collect()
}

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER + body.len()).unwrap();
    [&[0xff; 16], &length.to_be_bytes()[..], &[kind], body].concat()
}

/// An UPDATE from its three fields; lengths are filled in.
pub fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = |field: &[u8]| u16::try_from(field.len()).unwrap().to_be_bytes();
    message(2, &[&length(withdrawn), withdrawn, &length(attributes), attributes, nlri].concat())
}

pub fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    [&[flags, code, u8::try_from(value.len()).unwrap()], value].concat()
}

pub const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
/// One sequence of one four-octet AS, 65001.
pub const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
/// The same, said in two octets.
pub const AS_PATH_OLD: &[u8] = &[0x40, 2, 4, 2, 1, 0xfd, 0xe9];
pub const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
/// 10.1.0.0/16.
pub const NLRI: &[u8] = &[16, 10, 1];
/// 2001:db8::/32 via 2001:db8::1.
pub const MP_REACH: &[u8] =
    &[0x80, 14, 26, 0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 32, 0x20, 1, 0xd, 0xb8];

/// The decoded UPDATE of a message that must survive.
pub fn survives(bytes: &[u8], context: &CodecContext) -> Update {
    match decode(bytes, context) {
        Ok(Message::Update(update)) => update,
        other => panic!("expected an UPDATE, got {other:x?}"),
    }
}

/// The code, subcode and data that a message must be answered with.
pub fn refused(bytes: &[u8], context: &CodecContext) -> (u8, u8, Vec<u8>) {
    match decode(bytes, context) {
        Err(notification) => (notification.code, notification.subcode, notification.data),
        Ok(other) => panic!("expected a NOTIFICATION, got {other:x?}"),
    }
}

/// Every attribute that we have a field for.
pub fn all_attributes() -> Attributes {
    Attributes {
        origin: Origin::Egp,
        as_path: vec![AsSegment::Sequence(vec![65001, 4_200_000_001]), AsSegment::Set(vec![1, 2])],
        med: Some(7),
        local_pref: Some(100),
        atomic_aggregate: true,
        aggregator: Some((4_200_000_002, [192, 0, 2, 1].into())),
        communities: BTreeSet::from([0xffff_ff01, 65001 << 16 | 7]),
        extended_communities: BTreeSet::from([[0, 2, 0xfd, 0xe9, 0, 0, 0, 9]]),
        large_communities: BTreeSet::from([(65001, 1, 2)]),
        originator_id: Some([10, 0, 0, 1].into()),
        cluster_list: vec![[10, 0, 0, 2].into()],
        otc: Some(65001),
        unknown: vec![(0xe0, 20, vec![1, 2, 3]), (0xe0, 99, vec![])],
        partial: 0,
    }
}

/// The least that a route needs.
pub fn plain_attributes() -> Attributes {
    Attributes {
        origin: Origin::Igp,
        as_path: vec![AsSegment::Sequence(vec![65001])],
        med: None,
        local_pref: None,
        atomic_aggregate: false,
        aggregator: None,
        communities: BTreeSet::new(),
        extended_communities: BTreeSet::new(),
        large_communities: BTreeSet::new(),
        originator_id: None,
        cluster_list: Vec::new(),
        otc: None,
        unknown: Vec::new(),
        partial: 0,
    }
}

pub fn next_hop(text: &str) -> NextHop {
    NextHop { address: text.parse().unwrap(), link_local: None }
}
