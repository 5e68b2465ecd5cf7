//! Prefixes on the wire: a length in bits and as many bytes as it needs (RFC 4271 4.3), where both sides said so behind a
//! path identifier (RFC 7911 section 3), in all four places that hold some.

use std::net::IpAddr;

use super::reader::Reader;
use super::types::Nlri;
use super::zetta;
use crate::model::{Cidr, Family};

/// Bytes of a path identifier.
const PATH_ID: usize = 4;

/// Bytes that the prefix takes, its length included, and its path identifier where there are such.
pub(super) fn encoded_length(prefix: &Cidr, with_ids: bool) -> usize {
    1 + usize::from(prefix.length().div_ceil(8)) + if with_ids { PATH_ID } else { 0 }
}

/// The most bytes that a prefix of the family takes.
fn longest(family: Family, with_ids: bool) -> usize {
    1 + usize::from(family.bits() / 8) + if with_ids { PATH_ID } else { 0 }
}

/// All prefixes of a field, host bits cleared; `None` if one is longer than the family has bits, or is cut off.
pub(super) fn decode(family: Family, with_ids: bool, bytes: &[u8]) -> Option<Vec<Nlri>> {
    let mut reader = Reader::new(bytes);
    // Host routes are what we mostly carry; a shorter prefix makes the vector grow once.
    let mut prefixes = Vec::with_capacity(bytes.len().div_ceil(longest(family, with_ids)));
    while !reader.is_empty() {
        let path_id = if with_ids { reader.u32()? } else { 0 };
        let bits = reader.u8()?;
        if bits > family.bits() {
            return None;
        }
        let value = reader.take(usize::from(bits.div_ceil(8)))?;
        let prefix = match family {
            Family::V4 => zetta::prefix_v4(bits, value)?,
            Family::V6 => zetta::prefix_v6(bits, value)?,
        };
        prefixes.push(Nlri { prefix, path_id });
    }
    Some(prefixes)
}

/// Appends the leading prefixes of this family that fit into `room` bytes; answers how many.
pub(super) fn fill<N: Into<Nlri> + Copy>(
    prefixes: &[N],
    family: Family,
    with_ids: bool,
    room: usize,
    out: &mut Vec<u8>,
) -> usize {
    let mut left = room;
    let mut taken = 0;
    let prefixes = prefixes.iter().map(|nlri| (*nlri).into());
    for Nlri { prefix, path_id } in prefixes.take_while(|nlri: &Nlri| nlri.prefix.family() == family) {
        match left.checked_sub(encoded_length(&prefix, with_ids)) {
            Some(rest) => left = rest,
            None => break,
        }
        if with_ids {
            out.extend_from_slice(&path_id.to_be_bytes());
        }
        zetta::put_prefix(&prefix, out);
        taken += 1;
    }
    taken
}

/// Whether nobody can be reached by unicast at these addresses: such a prefix is ignored (RFC 4271 6.3).
pub(super) fn is_unroutable(prefix: &Cidr) -> bool {
    match prefix.address() {
        IpAddr::V4(address) => (address.is_multicast() && prefix.length() >= 4) || address.is_loopback(),
        IpAddr::V6(address) => {
            (address.is_multicast() && prefix.length() >= 8)
                || (address.is_unicast_link_local() && prefix.length() >= 10)
                || (address.is_loopback() && prefix.is_host())
        }
    }
}

#[cfg(test)]
#[path = "nlri_tests.rs"]
mod tests;
