//! Path attributes as an entry of a table dump has them (RFC 6396 4.3.4).

use std::net::IpAddr;

use super::attribute::{EXTENDED_LENGTH, OPTIONAL, code};
use super::encode::{put_attributes, put_next_hop};
use super::types::{Attributes, CodecContext, NextHop};

/// Appends all attributes, four octets an AS. An IPv6 next hop is an MP_REACH_NLRI that holds nothing else; `None`: a route
/// of our own.
pub fn encode_table_attributes(attributes: &Attributes, next_hop: Option<&NextHop>, out: &mut Vec<u8>) {
    let context = CodecContext { four_octet_as: true, ibgp: true, extended_next_hop: true, ..CodecContext::default() };
    let classic = next_hop.and_then(|next_hop| match next_hop.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    put_attributes(attributes, classic, &context, out);
    let Some(next_hop) = next_hop.filter(|next_hop| next_hop.address.is_ipv6()) else { return };
    out.extend_from_slice(&[OPTIONAL | EXTENDED_LENGTH, code::MP_REACH_NLRI, 0, 0]);
    let at = out.len();
    put_next_hop(next_hop, out);
    out[at - 1] = (out.len() - at) as u8;
}
