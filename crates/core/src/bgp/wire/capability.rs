//! Capabilities of the OPEN (RFC 5492), one row a code: decoded and encoded by us, since zettabgp drops or rejects many.

use super::reader::Reader;
use super::types::{AddPath, AfiSafi, Capability, GracefulRestart, LongLived};

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const ROLE: u8 = 9;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;
const ADD_PATH: u8 = 69;
const ENHANCED_ROUTE_REFRESH: u8 = 70;
const LONG_LIVED: u8 = 71;

/// R and N bits and the width of the time (RFC 4724 section 3, RFC 8538 section 2).
const RESTARTED: u16 = 0x8000;
const NOTIFICATION: u16 = 0x4000;
const RESTART_TIME: u16 = 0x0fff;
/// Send/Receive of a family (RFC 7911 section 4).
const RECEIVES: u8 = 1;
const SENDS: u8 = 2;
/// The F bit of a family.
const FORWARDING: u8 = 0x80;
/// AFI, SAFI, flags, and 24 bits of time.
const LONG_LIVED_FAMILY: usize = 7;

/// The capabilities in the value of one optional parameter, appended to `into`; `None` if one is cut off, or is one that
/// we know and has a length that it cannot have.
pub(super) fn decode_all(value: &[u8], into: &mut Vec<Capability>) -> Option<()> {
    let mut reader = Reader::new(value);
    while !reader.is_empty() {
        let code = reader.u8()?;
        let length = reader.u8()?;
        into.push(decode(code, reader.take(usize::from(length))?)?);
    }
    Some(())
}

fn decode(code: u8, value: &[u8]) -> Option<Capability> {
    let mut reader = Reader::new(value);
    let capability = match code {
        MULTIPROTOCOL => {
            let (afi, _reserved, safi) = (reader.u16()?, reader.u8()?, reader.u8()?);
            Capability::Multiprotocol(AfiSafi { afi, safi })
        }
        ROUTE_REFRESH => Capability::RouteRefresh,
        ENHANCED_ROUTE_REFRESH => Capability::EnhancedRouteRefresh,
        FOUR_OCTET_AS => Capability::FourOctetAs(reader.u32()?),
        // RFC 8950 section 4: AFI, a SAFI of two octets, the next hop's AFI. One of another length offers nothing.
        EXTENDED_NEXT_HOP if value.len().is_multiple_of(6) => {
            let mut offered = Vec::new();
            while !reader.is_empty() {
                let (afi, safi, next_hop) = (reader.u16()?, reader.u16()?, reader.u16()?);
                offered.extend(u8::try_from(safi).ok().map(|safi| (AfiSafi { afi, safi }, next_hop)));
            }
            Capability::ExtendedNextHop(offered)
        }
        // One of another length is no role, but no reason for both to be without a session either.
        ROLE if value.len() == 1 => Capability::Role(reader.u8()?),
        GRACEFUL_RESTART => {
            let head = reader.u16()?;
            let mut families = Vec::new();
            while !reader.is_empty() {
                let family = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
                families.push((family, reader.u8()? & FORWARDING != 0));
            }
            Capability::GracefulRestart(GracefulRestart {
                restarted: head & RESTARTED != 0,
                notification: head & NOTIFICATION != 0,
                restart_time: head & RESTART_TIME,
                families,
            })
        }
        // RFC 9494 3.1 says nothing of other lengths: as with a role.
        LONG_LIVED if value.len().is_multiple_of(LONG_LIVED_FAMILY) => {
            let mut families = Vec::new();
            while !reader.is_empty() {
                let family = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
                // A flag, then 24 bits.
                let [flags, time @ ..] = reader.array::<4>()?;
                let seconds = u32::from_be_bytes([0, time[0], time[1], time[2]]);
                families.push(LongLived { family, forwarding: flags & FORWARDING != 0, seconds });
            }
            Capability::LongLivedGracefulRestart(families)
        }
        ADD_PATH => match add_paths(value) {
            Some(families) => return Some(Capability::AddPaths(families)),
            None => return Some(Capability::Unknown { code, value: value.to_vec() }),
        },
        _ => return Some(Capability::Unknown { code, value: value.to_vec() }),
    };
    reader.is_empty().then_some(capability)
}

/// RFC 7911 section 4: one with a value that is not defined is as one that is not understood. So is one whose length does
/// not fit: without it there are fewer paths, but there is a session.
fn add_paths(value: &[u8]) -> Option<Vec<AddPath>> {
    let mut reader = Reader::new(value);
    let mut families = Vec::new();
    while !reader.is_empty() {
        let family = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
        let mode = reader.u8().filter(|mode| (RECEIVES..=RECEIVES | SENDS).contains(mode))?;
        families.push(AddPath { family, receives: mode & RECEIVES != 0, sends: mode & SENDS != 0 });
    }
    Some(families)
}

/// Code, length and value; `None` if the value is longer than the 255 bytes that the length can say.
pub(super) fn encode(capability: &Capability) -> Option<Vec<u8>> {
    let (code, value) = match capability {
        Capability::Multiprotocol(family) => {
            let [high, low] = family.afi.to_be_bytes();
            (MULTIPROTOCOL, vec![high, low, 0, family.safi])
        }
        Capability::RouteRefresh => (ROUTE_REFRESH, Vec::new()),
        Capability::EnhancedRouteRefresh => (ENHANCED_ROUTE_REFRESH, Vec::new()),
        Capability::FourOctetAs(number) => (FOUR_OCTET_AS, number.to_be_bytes().to_vec()),
        Capability::GracefulRestart(restart) => (GRACEFUL_RESTART, graceful_restart(restart)),
        Capability::LongLivedGracefulRestart(families) => (LONG_LIVED, families.iter().flat_map(long_lived).collect()),
        Capability::ExtendedNextHop(offered) => {
            let entry = |(family, next_hop): &(AfiSafi, u16)| {
                [family.afi.to_be_bytes(), u16::from(family.safi).to_be_bytes(), next_hop.to_be_bytes()].concat()
            };
            (EXTENDED_NEXT_HOP, offered.iter().flat_map(entry).collect())
        }
        Capability::Role(role) => (ROLE, vec![*role]),
        Capability::AddPaths(families) => {
            let mode = |it: &AddPath| if it.receives { RECEIVES } else { 0 } | if it.sends { SENDS } else { 0 };
            let tuple = |it: &AddPath| {
                let [high, low] = it.family.afi.to_be_bytes();
                [high, low, it.family.safi, mode(it)]
            };
            (ADD_PATH, families.iter().flat_map(tuple).collect())
        }
        Capability::Unknown { code, value } => (*code, value.clone()),
    };
    let length = u8::try_from(value.len()).ok()?;
    Some([&[code, length], value.as_slice()].concat())
}

fn graceful_restart(restart: &GracefulRestart) -> Vec<u8> {
    let mut head = restart.restart_time.min(RESTART_TIME);
    if restart.restarted {
        head |= RESTARTED;
    }
    if restart.notification {
        head |= NOTIFICATION;
    }
    let mut value = head.to_be_bytes().to_vec();
    for (family, forwarding) in &restart.families {
        value.extend_from_slice(&family.afi.to_be_bytes());
        value.extend_from_slice(&[family.safi, if *forwarding { FORWARDING } else { 0 }]);
    }
    value
}

fn long_lived(one: &LongLived) -> [u8; LONG_LIVED_FAMILY] {
    let [afi, of_afi] = one.family.afi.to_be_bytes();
    let [_, time @ ..] = one.seconds.min(LongLived::MOST).to_be_bytes();
    let flags = if one.forwarding { FORWARDING } else { 0 };
    [afi, of_afi, one.family.safi, flags, time[0], time[1], time[2]]
}
