//! Prefixes on the wire: a length in bits and as many bytes as it needs (RFC 4271 4.3), in all four places that hold some.

use std::net::IpAddr;

use super::reader::Reader;
use super::zetta;
use crate::model::{Cidr, Family};

/// Bytes that the prefix takes, its length included.
fn encoded_length(prefix: &Cidr) -> usize {
    1 + usize::from(prefix.length().div_ceil(8))
}

/// All prefixes of a field, host bits cleared; `None` if one is longer than the family has bits, or is cut off.
pub(super) fn decode(family: Family, bytes: &[u8]) -> Option<Vec<Cidr>> {
    let mut reader = Reader::new(bytes);
    // Host routes are what we mostly carry; a shorter prefix makes the vector grow once.
    let mut prefixes = Vec::with_capacity(bytes.len().div_ceil(1 + usize::from(family.bits() / 8)));
    while !reader.is_empty() {
        let bits = reader.u8()?;
        if bits > family.bits() {
            return None;
        }
        let value = reader.take(usize::from(bits.div_ceil(8)))?;
        prefixes.push(match family {
            Family::V4 => zetta::prefix_v4(bits, value)?,
            Family::V6 => zetta::prefix_v6(bits, value)?,
        });
    }
    Some(prefixes)
}

/// Appends the leading prefixes of this family that fit into `room` bytes; answers how many.
pub(super) fn fill(prefixes: &[Cidr], family: Family, room: usize, out: &mut Vec<u8>) -> usize {
    let mut left = room;
    let mut taken = 0;
    for prefix in prefixes.iter().take_while(|prefix| prefix.family() == family) {
        match left.checked_sub(encoded_length(prefix)) {
            Some(rest) => left = rest,
            None => break,
        }
        zetta::put_prefix(prefix, out);
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
