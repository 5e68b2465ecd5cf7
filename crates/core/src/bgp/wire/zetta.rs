//! The quarantine: every call into zettabgp is in this file.
//!
//! zettabgp 0.6 panics, loops or lies on much malformed input, so nothing comes here whose length has not been checked
//! by the caller (each function says what it needs), and only those types are used that were found sound: prefixes,
//! the communities, ORIGIN, NEXT_HOP, MULTI_EXIT_DISC, LOCAL_PREF, ROUTE-REFRESH, KEEPALIVE. Its refusals come back as
//! `None`. Its UPDATE, OPEN, NOTIFICATION, AS_PATH, AGGREGATOR, ATOMIC_AGGREGATE, ORIGINATOR_ID, CLUSTER_LIST and
//! MP_REACH_NLRI are not used: they are ours.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use zettabgp::prelude::{
    BgpAddrV4, BgpAddrV6, BgpAttr, BgpAttrOrigin, BgpCommunity, BgpCommunityList, BgpExtCommunity, BgpExtCommunityList,
    BgpKeepaliveMessage, BgpLargeCommunity, BgpLargeCommunityList, BgpLocalpref, BgpMED, BgpMessage, BgpMessageType,
    BgpNextHop, BgpOrigin, BgpRouterefreshMessage, BgpSessionParams, BgpTransportMode,
};

use super::types::{HEADER, Origin};
use crate::model::Cidr;

/// What zettabgp's codecs ask for. `fuzzy_pathid` guesses ADD-PATH from the bytes, and so misreads plain prefixes.
fn session() -> BgpSessionParams {
    let mut session = BgpSessionParams::new(0, 0, BgpTransportMode::IPv4, Ipv4Addr::UNSPECIFIED, Vec::new());
    session.fuzzy_pathid = false;
    session
}

/// Appends the value of an attribute of `length` bytes.
fn put(attribute: &impl BgpAttr, length: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + length, 0);
    let written = attribute.encode_to(&session(), &mut out[start..]);
    debug_assert_eq!(written.ok(), Some(length), "{attribute:?}");
}

pub fn keepalive() -> [u8; HEADER] {
    let mut message = [0; HEADER];
    let session = session();
    let body = BgpKeepaliveMessage {}.encode_to(&session, &mut message[HEADER..]);
    let length = session.prepare_message_buf(&mut message, BgpMessageType::Keepalive, body.unwrap_or(0));
    debug_assert_eq!(length.ok(), Some(HEADER));
    message
}

/// (AFI, SAFI, subtype) of a ROUTE-REFRESH body.
pub fn refresh(body: &[u8]) -> Option<(u16, u8, u8)> {
    let mut message = BgpRouterefreshMessage::new();
    message.decode_from(&session(), body).ok()?;
    Some((message.afi, message.safi, message.subtype))
}

pub fn put_refresh(afi: u16, safi: u8, subtype: u8, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + 4, 0);
    let written = BgpRouterefreshMessage { afi, safi, subtype }.encode_to(&session(), &mut out[start..]);
    debug_assert_eq!(written.ok(), Some(4));
}

/// `bits` must be at most 32 and `bytes` exactly as many as they need. Host bits are cleared.
pub fn prefix_v4(bits: u8, bytes: &[u8]) -> Option<Cidr> {
    let (prefix, _) = BgpAddrV4::from_bits(bits, bytes).ok()?;
    Cidr::new(prefix.addr.into(), prefix.prefixlen).ok()
}

/// `bits` must be at most 128 and `bytes` exactly as many as they need. Host bits are cleared.
pub fn prefix_v6(bits: u8, bytes: &[u8]) -> Option<Cidr> {
    let (prefix, _) = BgpAddrV6::from_bits(bits, bytes).ok()?;
    Cidr::new(prefix.addr.into(), prefix.prefixlen).ok()
}

/// Appends length in bits and as many bytes as they need.
pub fn put_prefix(prefix: &Cidr, out: &mut Vec<u8>) {
    let mut bytes = [0; 16];
    let encoded = match prefix.address() {
        IpAddr::V4(address) => BgpAddrV4::new(address, prefix.length()).to_bits(&mut bytes),
        IpAddr::V6(address) => BgpAddrV6::new(address, prefix.length()).to_bits(&mut bytes),
    };
    debug_assert!(encoded.is_ok(), "{prefix}");
    if let Ok((bits, length)) = encoded {
        out.push(bits);
        out.extend_from_slice(&bytes[..length]);
    }
}

pub fn origin(value: [u8; 1]) -> Option<Origin> {
    Some(match BgpOrigin::decode_from(&value).ok()?.value {
        BgpAttrOrigin::Igp => Origin::Igp,
        BgpAttrOrigin::Egp => Origin::Egp,
        BgpAttrOrigin::Incomplete => Origin::Incomplete,
    })
}

pub fn put_origin(origin: Origin, out: &mut Vec<u8>) {
    let value = match origin {
        Origin::Igp => BgpAttrOrigin::Igp,
        Origin::Egp => BgpAttrOrigin::Egp,
        Origin::Incomplete => BgpAttrOrigin::Incomplete,
    };
    put(&BgpOrigin::new(value), 1, out);
}

pub fn next_hop(value: [u8; 4]) -> Option<Ipv4Addr> {
    match BgpNextHop::decode_from(&session(), &value).ok()?.value {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

pub fn put_next_hop(address: Ipv4Addr, out: &mut Vec<u8>) {
    put(&BgpNextHop::new(address.into()), 4, out);
}

pub fn med(value: [u8; 4]) -> Option<u32> {
    Some(BgpMED::decode_from(&value).ok()?.value)
}

pub fn put_med(value: u32, out: &mut Vec<u8>) {
    put(&BgpMED::new(value), 4, out);
}

pub fn local_pref(value: [u8; 4]) -> Option<u32> {
    Some(BgpLocalpref::decode_from(&value).ok()?.value)
}

pub fn put_local_pref(value: u32, out: &mut Vec<u8>) {
    put(&BgpLocalpref::new(value), 4, out);
}

/// `value` must be a multiple of 4 long.
pub fn communities(value: &[u8]) -> Option<BTreeSet<u32>> {
    let list = BgpCommunityList::decode_from(value).ok()?;
    Some(list.value.into_iter().map(|community| community.value).collect())
}

pub fn put_communities(communities: &BTreeSet<u32>, out: &mut Vec<u8>) {
    let value = communities.iter().map(|&community| BgpCommunity::new(community)).collect();
    put(&BgpCommunityList { value }, communities.len() * 4, out);
}

/// `value` must be a multiple of 8 long.
pub fn extended_communities(value: &[u8]) -> Option<BTreeSet<[u8; 8]>> {
    let list = BgpExtCommunityList::decode_from(value).ok()?;
    list.value
        .iter()
        .map(|community| {
            let mut bytes = [0; 8];
            community.encode_to(&mut bytes).ok().map(|_| bytes)
        })
        .collect()
}

pub fn put_extended_communities(communities: &BTreeSet<[u8; 8]>, out: &mut Vec<u8>) {
    let value: BTreeSet<_> = communities.iter().filter_map(|bytes| BgpExtCommunity::decode_from(bytes).ok()).collect();
    put(&BgpExtCommunityList { value }, communities.len() * 8, out);
}

/// `value` must be a multiple of 12 long.
pub fn large_communities(value: &[u8]) -> Option<BTreeSet<(u32, u32, u32)>> {
    let list = BgpLargeCommunityList::decode_from(value).ok()?;
    Some(list.value.into_iter().map(|c| (c.ga, c.ldp1, c.ldp2)).collect())
}

pub fn put_large_communities(communities: &BTreeSet<(u32, u32, u32)>, out: &mut Vec<u8>) {
    let value = communities.iter().map(|&(ga, ldp1, ldp2)| BgpLargeCommunity { ga, ldp1, ldp2 }).collect();
    put(&BgpLargeCommunityList { value }, communities.len() * 12, out);
}
