//! MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760, RFC 2545). Decoding is ours: zettabgp panics on short ones and
//! loses half of a 32-byte next hop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::attribute::{Action, Fault};
use super::nlri;
use super::reader::Reader;
use super::types::{AfiSafi, CodecContext, NextHop, Nlri};
use crate::model::Family;
use crate::model::scope::unscoped;

/// Optional Attribute Error.
const OPTIONAL_ATTRIBUTE: u8 = 9;

/// A decoded MP_REACH_NLRI.
pub(super) struct Reach {
    pub next_hop: NextHop,
    pub prefixes: Vec<Nlri>,
}

/// A decoded MP_UNREACH_NLRI.
pub(super) struct Unreach {
    pub family: AfiSafi,
    pub prefixes: Vec<Nlri>,
}

fn fault(what: &'static str) -> Fault {
    Fault { what, subcode: OPTIONAL_ATTRIBUTE, action: None }
}

/// # Errors
/// A family that was not negotiated: discarded. A next hop length that the family cannot have, or a bad prefix: the
/// prefixes cannot be known, which resets the session (RFC 7606 7.11 and 3 j).
pub(super) fn decode_reach(value: &[u8], context: &CodecContext) -> Result<Reach, Fault> {
    let mut reader = Reader::new(value);
    let (wire, family) = negotiated(&mut reader, context)?;
    let length = reader.u8().ok_or(fault("cut off before the next hop"))?;
    let next_hop = reader.take(usize::from(length)).ok_or(fault("cut off in the next hop"))?;
    let next_hop =
        next_hop_of(family, next_hop, context).ok_or(fault("next hop length that the family cannot have"))?;
    // The octet was a count once (RFC 2858); RFC 4760 has it ignored.
    reader.u8().ok_or(fault("cut off before the prefixes"))?;
    let with_ids = context.path_ids.received.contains(&wire);
    let prefixes = nlri::decode(family, with_ids, reader.rest()).ok_or(fault("prefix too long or cut off"))?;
    Ok(Reach { next_hop, prefixes })
}

/// # Errors
/// As of [`decode_reach`].
pub(super) fn decode_unreach(value: &[u8], context: &CodecContext) -> Result<Unreach, Fault> {
    let mut reader = Reader::new(value);
    let (family, bits) = negotiated(&mut reader, context)?;
    let with_ids = context.path_ids.received.contains(&family);
    let prefixes = nlri::decode(bits, with_ids, reader.rest()).ok_or(fault("prefix too long or cut off"))?;
    Ok(Unreach { family, prefixes })
}

fn negotiated(reader: &mut Reader<'_>, context: &CodecContext) -> Result<(AfiSafi, Family), Fault> {
    let (Some(afi), Some(safi)) = (reader.u16(), reader.u8()) else {
        return Err(fault("cut off in the address family"));
    };
    let wire = AfiSafi { afi, safi };
    let family = match wire {
        AfiSafi::IPV4_UNICAST => Family::V4,
        AfiSafi::IPV6_UNICAST => Family::V6,
        _ => {
            return Err(Fault {
                action: Some(Action::AttributeDiscard),
                ..fault("an address family that is not ours")
            });
        }
    };
    if !context.families.contains(&wire) {
        let action = Some(Action::AttributeDiscard);
        return Err(Fault { action, ..fault("an address family that was not negotiated") });
    }
    Ok((wire, family))
}

/// 4 bytes for IPv4; 16, or 32 with a link-local address, for IPv6 (RFC 2545 section 3). Only where it was negotiated may
/// IPv4 prefixes have those of IPv6 (RFC 8950 section 3); else it is a length that is not expected.
fn next_hop_of(family: Family, bytes: &[u8], context: &CodecContext) -> Option<NextHop> {
    let mut reader = Reader::new(bytes);
    let v6_allowed = family == Family::V6 || context.extended_next_hop;
    match (family, bytes.len()) {
        (Family::V4, 4) => Some(NextHop::new(Ipv4Addr::from(reader.u32()?).into())),
        (_, 16) if v6_allowed => Some(NextHop::new(v6(reader.array()?).into())),
        (_, 32) if v6_allowed => {
            let (global, local) = (v6(reader.array()?), v6(reader.array()?));
            let link_local = local.is_unicast_link_local().then_some(local);
            // A speaker without a global address leaves the first half empty.
            let address = if global.is_unspecified() { link_local.unwrap_or(global) } else { global };
            Some(NextHop { address: address.into(), link_local })
        }
        _ => None,
    }
}

/// A link-local address on the wire says nothing of a link, whatever its bits are: nobody tells us which one of ours it is on.
fn v6(octets: [u8; 16]) -> Ipv6Addr {
    match unscoped(Ipv6Addr::from(octets).into()).0 {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => Ipv6Addr::from(octets),
    }
}

/// Whether the address can be a host's: not this network's, not a group, not reserved (RFC 4271 6.3). Whose it is, the speaker
/// looks at.
pub(super) fn is_valid_next_hop(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => (1..224).contains(&address.octets()[0]),
        IpAddr::V6(address) => !(address.is_unspecified() || address.is_multicast()),
    }
}
