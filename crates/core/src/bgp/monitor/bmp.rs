//! The BGP Monitoring Protocol (RFC 7854) as bytes: who is a neighbour, and what each one says before any policy of ours.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::bgp::wire::{self, AfiSafi, Attributes, CodecContext, NextHop, Nlri, Notification, PathIds};
use crate::model::scope::unscoped;

const VERSION: u8 = 3;
/// Message types (section 4.1).
const ROUTE_MONITORING: u8 = 0;
const PEER_DOWN: u8 = 2;
const PEER_UP: u8 = 3;
const INITIATION: u8 = 4;
/// Flag of the per-peer header: an IPv6 address (section 4.2).
const IPV6: u8 = 0x80;
/// Information TLVs of an Initiation (section 4.4).
const SYSTEM_DESCRIPTION: u16 = 1;
const SYSTEM_NAME: u16 = 2;

/// Whom a message is about (section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    pub address: IpAddr,
    pub as_number: u32,
    pub router_id: Ipv4Addr,
    /// Since 1970.
    pub at: Duration,
    /// The families in which what it says has path identifiers (RFC 7911); a station knows from the two OPENs.
    pub path_ids: Vec<AfiSafi>,
}

/// Why a session ended (section 4.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down {
    /// We said so.
    Local(Notification),
    /// We closed it without a word.
    LocalQuiet,
    Remote(Notification),
    RemoteQuiet,
}

/// Section 4.3: the first thing that a station hears.
pub fn initiation(name: &str, description: &str, out: &mut Vec<u8>) {
    message(INITIATION, out, |out| {
        for (kind, text) in [(SYSTEM_DESCRIPTION, description), (SYSTEM_NAME, name)] {
            let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&(text.len() as u16).to_be_bytes());
            out.extend_from_slice(text);
        }
    });
}

/// Section 4.10. `sent` and `received`: the two OPENs, whole. The ports are not known here, and 0.
pub fn peer_up(peer: &PeerHeader, local: Option<IpAddr>, sent: &[u8], received: &[u8], out: &mut Vec<u8>) {
    message(PEER_UP, out, |out| {
        put_header(peer, out);
        put_address(local.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), out);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(sent);
        out.extend_from_slice(received);
    });
}

/// Section 4.9.
pub fn peer_down(peer: &PeerHeader, down: &Down, out: &mut Vec<u8>) {
    message(PEER_DOWN, out, |out| {
        put_header(peer, out);
        match down {
            Down::Local(notification) => {
                out.push(1);
                out.extend_from_slice(&wire::encode_notification(notification));
            }
            // 0: no event of the FSM fits.
            Down::LocalQuiet => out.extend_from_slice(&[2, 0, 0]),
            Down::Remote(notification) => {
                out.push(3);
                out.extend_from_slice(&wire::encode_notification(notification));
            }
            Down::RemoteQuiet => out.push(4),
        }
    });
}

/// Section 4.6: announced prefixes, as one message an UPDATE that holds as many as fit.
pub fn reachable(peer: &PeerHeader, attributes: &Attributes, prefixes: &[(Nlri, NextHop)], out: &mut Vec<u8>) {
    let context = context(peer);
    let mut rest = prefixes;
    while let Some((first, next_hop)) = rest.first() {
        let together =
            rest.iter().take_while(|(nlri, hop)| hop == next_hop && nlri.prefix.family() == first.prefix.family());
        let run: Vec<Nlri> = together.map(|(nlri, _)| *nlri).collect();
        let mut update = Vec::new();
        match wire::encode_reach(attributes, next_hop, &run, &context, &mut update) {
            Ok(taken) => {
                monitored(peer, &update, out);
                rest = &rest[taken.max(1)..];
            }
            // Attributes that fill a message by themselves: the prefixes cannot be told.
            Err(_) => rest = &rest[run.len()..],
        }
    }
}

/// Section 4.6: withdrawn prefixes.
pub fn withdrawn(peer: &PeerHeader, prefixes: &[Nlri], out: &mut Vec<u8>) {
    let mut rest = prefixes;
    while !rest.is_empty() {
        let mut update = Vec::new();
        let taken = wire::encode_withdraw(rest, &context(peer), &mut update);
        monitored(peer, &update, out);
        rest = &rest[taken.max(1)..];
    }
}

/// Section 5: the end of the first dump of a family, too, is said as BGP says it.
pub fn end_of_rib(peer: &PeerHeader, family: AfiSafi, out: &mut Vec<u8>) {
    let mut update = Vec::new();
    wire::encode_end_of_rib(family, &mut update);
    monitored(peer, &update, out);
}

fn monitored(peer: &PeerHeader, update: &[u8], out: &mut Vec<u8>) {
    message(ROUTE_MONITORING, out, |out| {
        put_header(peer, out);
        out.extend_from_slice(update);
    });
}

/// All attributes, four octets an AS: the header's flags say nothing else.
fn context(peer: &PeerHeader) -> CodecContext {
    let families = vec![AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];
    let path_ids = PathIds { received: Vec::new(), sent: peer.path_ids.clone() };
    CodecContext { four_octet_as: true, ibgp: true, families, path_ids, extended_next_hop: true }
}

/// Section 4.1.
fn message(kind: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(VERSION);
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    body(out);
    let length = (out.len() - start) as u32;
    out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
}

/// Section 4.2: a global instance peer, before policy.
fn put_header(peer: &PeerHeader, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, if peer.address.is_ipv6() { IPV6 } else { 0 }]);
    out.extend_from_slice(&[0; 8]);
    put_address(peer.address, out);
    out.extend_from_slice(&peer.as_number.to_be_bytes());
    out.extend_from_slice(&peer.router_id.octets());
    out.extend_from_slice(&(peer.at.as_secs() as u32).to_be_bytes());
    out.extend_from_slice(&peer.at.subsec_micros().to_be_bytes());
}

fn put_address(address: IpAddr, out: &mut Vec<u8>) {
    match unscoped(address).0 {
        IpAddr::V4(address) => {
            out.extend_from_slice(&[0; 12]);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
}
