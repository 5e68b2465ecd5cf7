//! UPDATE, sent: attributes and as many prefixes as 4096 bytes hold, appended to the caller's buffer.
//!
//! Nothing is allocated for a prefix, and the attributes are written once a message: the caller groups prefixes by equal
//! attributes, next hop and family, and calls again for those that did not fit.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use super::as_path;
use super::attribute::{EXTENDED_LENGTH, OPTIONAL, PARTIAL, TRANSITIVE, code, partial};
use super::header::{self, MessageType, put_u16};
use super::nlri;
use super::types::{AfiSafi, Attributes, CodecContext, HEADER, MAX_MESSAGE, NextHop, Nlri};
use super::zetta;
use crate::model::scope::unscoped;
use crate::model::{Cidr, Family};

const WELL_KNOWN: u8 = TRANSITIVE;
const OPTIONAL_TRANSITIVE: u8 = OPTIONAL | TRANSITIVE;
/// Header of an attribute with extended length.
const LONG_HEADER: usize = 4;

/// Why a route has no encoding. The buffer is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{prefix}: its UPDATE would take {length} bytes, and a message has {MAX_MESSAGE} at most")]
    TooLong { prefix: Cidr, length: usize },
    #[error("{prefix}: a prefix has no encoding with the next hop {next_hop}, which is of the other family")]
    NextHopFamily { prefix: Cidr, next_hop: IpAddr },
}

/// Appends one UPDATE that announces the leading prefixes, as many as fit; answers how many those are (0 only if there
/// are none). Prefixes behind a change of family wait for the next call. IPv4 goes into the NLRI field, unless its next
/// hop is of IPv6 (RFC 8950), IPv6 into MP_REACH_NLRI. LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST go to internal neighbours only
/// (RFC 4271 5.1.5, RFC 4456 section 8); those want a LOCAL_PREF always, and giving one is the caller's part. Four-octet
/// AS numbers reach a two-octet peer as RFC 6793 4.2.2 says.
///
/// # Errors
/// Not even one prefix fits beside the attributes, or the next hop cannot be said for this family.
pub fn encode_reach<N: Into<Nlri> + Copy>(
    attributes: &Attributes,
    next_hop: &NextHop,
    prefixes: &[N],
    context: &CodecContext,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    let Some(Nlri { prefix, .. }) = prefixes.first().map(|nlri| (*nlri).into()) else { return Ok(0) };
    let reach = EncodedPath::new(attributes, next_hop, prefix.family(), context);
    let reach = reach.map_err(|next_hop| EncodeError::NextHopFamily { prefix, next_hop })?;
    match reach.announce(prefixes, context, out) {
        0 => Err(EncodeError::TooLong { prefix, length: reach.length_with(&prefix, context) }),
        taken => Ok(taken),
    }
}

/// A path in its encoding for one family of prefixes and one kind of neighbour: equal for all that are told the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EncodedPath {
    pub next_hop: NextHop,
    /// The attribute list without MP_REACH_NLRI.
    attributes: Box<[u8]>,
}

impl EncodedPath {
    /// As [`encode_reach`] says it.
    ///
    /// # Errors
    /// The next hop, if it cannot be said for this family.
    pub fn new(
        attributes: &Attributes,
        next_hop: &NextHop,
        family: Family,
        context: &CodecContext,
    ) -> Result<EncodedPath, IpAddr> {
        let classic = match (family, next_hop.address) {
            (Family::V4, IpAddr::V4(address)) => Some(address),
            (Family::V6, IpAddr::V6(_)) => None,
            (Family::V4, IpAddr::V6(_)) if context.extended_next_hop => None,
            (_, next_hop) => return Err(next_hop),
        };
        let mut list = Vec::with_capacity(128);
        put_attributes(attributes, classic, context, &mut list);
        Ok(EncodedPath { next_hop: *next_hop, attributes: list.into_boxed_slice() })
    }

    /// Bytes of an UPDATE that announces this prefix alone; beyond [`MAX_MESSAGE`] there is none (RFC 4271 9.2).
    pub fn length_with(&self, prefix: &Cidr, context: &CodecContext) -> usize {
        let reach = match self.next_hop {
            NextHop { address: IpAddr::V4(_), .. } => 0,
            // Family, length of the next hop, its addresses, the reserved byte.
            NextHop { link_local, .. } => LONG_HEADER + 3 + 1 + 16 * (1 + usize::from(link_local.is_some())) + 1,
        };
        let nlri = nlri::encoded_length(prefix, sends_ids(context, prefix.family()));
        HEADER + 4 + reach + self.attributes.len() + nlri
    }

    /// Appends one UPDATE that announces the leading prefixes of one family, as many as fit; answers how many those are.
    /// Where none fits the buffer is as it was.
    pub fn announce<N: Into<Nlri> + Copy>(&self, prefixes: &[N], context: &CodecContext, out: &mut Vec<u8>) -> usize {
        let Some(family) = prefixes.first().map(|nlri| family_of(*nlri)) else { return 0 };
        let with_ids = sends_ids(context, family);
        let start = header::begin(MessageType::Update, out);
        out.extend_from_slice(&[0; 4]);
        let list = out.len();
        let taken = if self.next_hop.address.is_ipv4() {
            out.extend_from_slice(&self.attributes);
            let (length, room) = (out.len() - list, MAX_MESSAGE.saturating_sub(out.len() - start));
            let taken = nlri::fill(prefixes, family, with_ids, room, out);
            if taken > 0 {
                put_u16(out, list - 2, length);
            }
            taken
        } else {
            // RFC 7606 5.1 wants it first.
            put_reach_head(AfiSafi::unicast(family), &self.next_hop, out);
            let room = MAX_MESSAGE.saturating_sub(out.len() - start + self.attributes.len());
            let taken = nlri::fill(prefixes, family, with_ids, room, out);
            if taken > 0 {
                let value = out.len() - list - LONG_HEADER;
                put_u16(out, list + 2, value);
                out.extend_from_slice(&self.attributes);
                let length = out.len() - list;
                put_u16(out, list - 2, length);
            }
            taken
        };
        match taken {
            0 => out.truncate(start),
            _ => header::finish(start, out),
        }
        taken
    }
}

/// Appends one UPDATE that withdraws the leading prefixes, as many as fit; answers how many those are (0 only if there
/// are none). Prefixes behind a change of family wait for the next call.
pub fn encode_withdraw<N: Into<Nlri> + Copy>(prefixes: &[N], context: &CodecContext, out: &mut Vec<u8>) -> usize {
    let Some(family) = prefixes.first().map(|nlri| family_of(*nlri)) else { return 0 };
    let with_ids = sends_ids(context, family);
    let start = header::begin(MessageType::Update, out);
    out.extend_from_slice(&[0; 2]);
    let field = out.len();
    let taken = match family {
        Family::V4 => {
            // The last two bytes are the length of the attributes that are not there.
            let taken = nlri::fill(prefixes, Family::V4, with_ids, MAX_MESSAGE - HEADER - 4, out);
            let length = out.len() - field;
            put_u16(out, field - 2, length);
            out.extend_from_slice(&[0; 2]);
            taken
        }
        Family::V6 => {
            put_unreach_head(AfiSafi::IPV6_UNICAST, out);
            let room = MAX_MESSAGE - (out.len() - start);
            let taken = nlri::fill(prefixes, Family::V6, with_ids, room, out);
            finish_unreach(field, out);
            taken
        }
    };
    header::finish(start, out);
    taken
}

fn family_of(nlri: impl Into<Nlri>) -> Family {
    nlri.into().prefix.family()
}

fn sends_ids(context: &CodecContext, family: Family) -> bool {
    context.path_ids.sent.contains(&AfiSafi::unicast(family))
}

/// Appends the End-of-RIB marker of a family (RFC 4724 section 2).
pub fn encode_end_of_rib(family: AfiSafi, out: &mut Vec<u8>) {
    let start = header::begin(MessageType::Update, out);
    out.extend_from_slice(&[0; 2]);
    let field = out.len();
    if family == AfiSafi::IPV4_UNICAST {
        out.extend_from_slice(&[0; 2]);
    } else {
        put_unreach_head(family, out);
        finish_unreach(field, out);
    }
    header::finish(start, out);
}

/// The length of the attribute list, and an MP_UNREACH_NLRI without prefixes whose own length is still open.
fn put_unreach_head(family: AfiSafi, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, OPTIONAL | EXTENDED_LENGTH, code::MP_UNREACH_NLRI, 0, 0]);
    out.extend_from_slice(&family.afi.to_be_bytes());
    out.push(family.safi);
}

/// Both lengths; the attribute list starts at `field` and ends with the buffer.
fn finish_unreach(field: usize, out: &mut [u8]) {
    let list = out.len() - field - 2;
    put_u16(out, field, list);
    put_u16(out, field + 4, list - LONG_HEADER);
}

/// An MP_REACH_NLRI up to its prefixes, its length still open.
fn put_reach_head(family: AfiSafi, next_hop: &NextHop, out: &mut Vec<u8>) {
    out.extend_from_slice(&[OPTIONAL | EXTENDED_LENGTH, code::MP_REACH_NLRI, 0, 0]);
    out.extend_from_slice(&family.afi.to_be_bytes());
    out.push(family.safi);
    put_next_hop(next_hop, out);
    out.push(0);
}

/// Length and addresses of a next hop in MP_REACH_NLRI (RFC 2545 section 3); a link-local one without its link.
pub(super) fn put_next_hop(next_hop: &NextHop, out: &mut Vec<u8>) {
    let at = out.len();
    out.push(0);
    for address in std::iter::once(next_hop.address).chain(next_hop.link_local.map(IpAddr::V6)) {
        match unscoped(address).0 {
            IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
        }
    }
    out[at] = (out.len() - at - 1) as u8;
}

/// All attributes but MP_REACH_NLRI, by ascending type.
pub(super) fn put_attributes(
    attributes: &Attributes,
    next_hop: Option<Ipv4Addr>,
    context: &CodecContext,
    out: &mut Vec<u8>,
) {
    let path = &attributes.as_path;
    put(WELL_KNOWN, code::ORIGIN, out, |out| zetta::put_origin(attributes.origin, out));
    put(WELL_KNOWN, code::AS_PATH, out, |out| as_path::put(path, context.four_octet_as, out));
    if let Some(next_hop) = next_hop {
        put(WELL_KNOWN, code::NEXT_HOP, out, |out| zetta::put_next_hop(next_hop, out));
    }
    if let Some(med) = attributes.med {
        put(OPTIONAL, code::MULTI_EXIT_DISC, out, |out| zetta::put_med(med, out));
    }
    if let (Some(local_pref), true) = (attributes.local_pref, context.ibgp) {
        put(WELL_KNOWN, code::LOCAL_PREF, out, |out| zetta::put_local_pref(local_pref, out));
    }
    if attributes.atomic_aggregate {
        put(WELL_KNOWN, code::ATOMIC_AGGREGATE, out, |_| {});
    }
    if let Some((number, address)) = attributes.aggregator {
        put(transitive(attributes, code::AGGREGATOR), code::AGGREGATOR, out, |out| {
            match context.four_octet_as {
                true => out.extend_from_slice(&number.to_be_bytes()),
                false => out.extend_from_slice(&as_path::two_octets(number).to_be_bytes()),
            }
            out.extend_from_slice(&address.octets());
        });
    }
    if !attributes.communities.is_empty() {
        let communities = &attributes.communities;
        let flags = transitive(attributes, code::COMMUNITIES);
        put(flags, code::COMMUNITIES, out, |out| zetta::put_communities(communities, out));
    }
    if context.ibgp {
        put_reflection(attributes, out);
    }
    put_unknown(attributes, 0..=code::EXTENDED_COMMUNITIES, out);
    if !attributes.extended_communities.is_empty() {
        let communities = &attributes.extended_communities;
        let flags = transitive(attributes, code::EXTENDED_COMMUNITIES);
        put(flags, code::EXTENDED_COMMUNITIES, out, |out| {
            zetta::put_extended_communities(communities, out);
        });
    }
    if !context.four_octet_as {
        put_four_octets(attributes, out);
    }
    put_unknown(attributes, code::EXTENDED_COMMUNITIES + 1..=code::LARGE_COMMUNITIES, out);
    if !attributes.large_communities.is_empty() {
        let communities = &attributes.large_communities;
        let flags = transitive(attributes, code::LARGE_COMMUNITIES);
        put(flags, code::LARGE_COMMUNITIES, out, |out| zetta::put_large_communities(communities, out));
    }
    put_unknown(attributes, code::LARGE_COMMUNITIES + 1..=code::ONLY_TO_CUSTOMER, out);
    if let Some(number) = attributes.otc {
        put(transitive(attributes, code::ONLY_TO_CUSTOMER), code::ONLY_TO_CUSTOMER, out, |out| {
            out.extend_from_slice(&number.to_be_bytes())
        });
    }
    put_unknown(attributes, code::ONLY_TO_CUSTOMER + 1..=u8::MAX, out);
}

/// What route reflectors add (RFC 4456).
fn put_reflection(attributes: &Attributes, out: &mut Vec<u8>) {
    if let Some(originator) = attributes.originator_id {
        put(OPTIONAL, code::ORIGINATOR_ID, out, |out| out.extend_from_slice(&originator.octets()));
    }
    if !attributes.cluster_list.is_empty() {
        put(OPTIONAL, code::CLUSTER_LIST, out, |out| {
            for cluster in &attributes.cluster_list {
                out.extend_from_slice(&cluster.octets());
            }
        });
    }
}

/// What a two-octet peer passes on to others, only where two octets did not say it (RFC 6793 4.2.2).
fn put_four_octets(attributes: &Attributes, out: &mut Vec<u8>) {
    if as_path::needs_four_octets(&attributes.as_path) {
        put(OPTIONAL_TRANSITIVE, code::AS4_PATH, out, |out| as_path::put(&attributes.as_path, true, out));
    }
    if let Some((number, address)) = attributes.aggregator.filter(|(number, _)| *number > u32::from(u16::MAX)) {
        put(OPTIONAL_TRANSITIVE, code::AS4_AGGREGATOR, out, |out| {
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(&address.octets());
        });
    }
}

fn put_unknown(attributes: &Attributes, codes: RangeInclusive<u8>, out: &mut Vec<u8>) {
    for (flags, code, value) in attributes.unknown.iter().filter(|(_, code, _)| codes.contains(code)) {
        let flags = (flags & (OPTIONAL_TRANSITIVE | PARTIAL)) | transitive(attributes, *code);
        put(flags, *code, out, |out| out.extend_from_slice(value));
    }
}

/// The flags of an optional transitive attribute: Partial stays where somebody before us has set it.
fn transitive(attributes: &Attributes, code: u8) -> u8 {
    OPTIONAL_TRANSITIVE | if attributes.partial & partial(code) != 0 { PARTIAL } else { 0 }
}

/// Appends an attribute; its length takes two bytes only where it needs them.
fn put(flags: u8, code: u8, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[flags, code, 0]);
    value(out);
    let length = out.len() - start - 3;
    match u8::try_from(length) {
        Ok(length) => out[start + 2] = length,
        Err(_) => {
            // One that even two bytes cannot say never leaves: the message is over its limit, and refused.
            let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
            out[start] |= EXTENDED_LENGTH;
            out[start + 2] = high;
            out.insert(start + 3, low);
        }
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
