//! UPDATE, received (RFC 4271 4.3 and 6.3, RFC 4760, RFC 4724, RFC 6793, RFC 7606): the walk over its three fields, and
//! what its attributes mean together.

use std::net::Ipv4Addr;

use super::as_path;
use super::attribute::{Action, Collected, Walk, code, name};
use super::multiprotocol::{Reach, is_valid_next_hop};
use super::nlri;
use super::open::AS_TRANS;
use super::reader::Reader;
use super::types::{AfiSafi, AsSegment, Attributes, CodecContext, NextHop, Nlri, Notification, Update};
use crate::model::Family;

const MISSING_WELL_KNOWN: u8 = 3;
const INVALID_NEXT_HOP: u8 = 8;

/// # Errors
/// What resets the session; see [`super::decode`].
pub(super) fn decode(body: &[u8], context: &CodecContext) -> Result<Update, Notification> {
    let mut reader = Reader::new(body);
    let withdrawn = field(&mut reader)?;
    let attributes = field(&mut reader)?;
    let with_ids = context.path_ids.received.contains(&AfiSafi::IPV4_UNICAST);
    let prefixes = |bytes| nlri::decode(Family::V4, with_ids, bytes).ok_or_else(Notification::invalid_network_field);
    let mut withdrawn = prefixes(withdrawn)?;
    let mut classic = prefixes(reader.rest())?;
    let mut walk = Walk::over(attributes, context)?;
    let end_of_rib = end_of_rib(body, &walk).filter(|family| context.families.contains(family));
    check_together(&mut walk, !classic.is_empty())?;
    refuse_blind_withdrawal(&walk, !classic.is_empty())?;
    let stray = !withdrawn.is_empty() || !classic.is_empty();
    if stray && !context.families.contains(&AfiSafi::IPV4_UNICAST) {
        walk.ignore("IPv4 prefixes: the address family was not negotiated".to_string());
        withdrawn.clear();
        classic.clear();
    }
    if let Some(unreach) = walk.collected.unreach.take() {
        withdrawn.extend(unreach.prefixes);
    }
    Ok(settle(walk, Update { withdrawn, end_of_rib, ..Update::default() }, classic, context))
}

/// A field behind its length of two octets. RFC 4271 6.3: lengths that do not agree are a malformed attribute list.
fn field<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Notification> {
    let length = reader.u16().ok_or_else(Notification::malformed_attribute_list)?;
    reader.take(usize::from(length)).ok_or_else(Notification::malformed_attribute_list)
}

/// RFC 4724 section 2: an UPDATE without anything, or with an MP_UNREACH_NLRI without prefixes and nothing else.
fn end_of_rib(body: &[u8], walk: &Walk) -> Option<AfiSafi> {
    if body == [0; 4] {
        return Some(AfiSafi::IPV4_UNICAST);
    }
    let Some(unreach) = &walk.collected.unreach else { return None };
    // Two lengths, and the attribute: 3 or 4 bytes of header, 3 of family.
    let alone = !walk.others && body.len() <= 4 + 4 + 3;
    (alone && walk.defects.is_empty() && unreach.prefixes.is_empty()).then_some(unreach.family)
}

/// The mandatory ones and the next hops. `classic`: the NLRI field holds prefixes, so NEXT_HOP is needed; without it
/// NEXT_HOP is ignored (RFC 4760 section 3).
fn check_together(walk: &mut Walk, classic: bool) -> Result<(), Notification> {
    let multiprotocol = walk.saw(code::MP_REACH_NLRI);
    if !classic && !multiprotocol {
        return Ok(());
    }
    for (wanted, needed) in [(code::ORIGIN, true), (code::AS_PATH, true), (code::NEXT_HOP, classic)] {
        if needed && !walk.saw(wanted) {
            // The data of the NOTIFICATION is the missing type alone.
            walk.defect(Action::TreatAsWithdraw, MISSING_WELL_KNOWN, format!("{}: missing", name(wanted)), &[wanted])?;
        }
    }
    let classic = walk.collected.next_hop.filter(|_| classic).map(|address| ("NEXT_HOP", address.into()));
    let reach = walk.collected.reach.as_ref().map(|reach| ("MP_REACH_NLRI", reach.next_hop.address));
    for (name, address) in [classic, reach].into_iter().flatten() {
        if !is_valid_next_hop(address) {
            let what = format!("{name}: {address} is no address of a neighbour");
            walk.defect(Action::TreatAsWithdraw, INVALID_NEXT_HOP, what, &[])?;
        }
    }
    Ok(())
}

/// RFC 7606 5.2: with a defect that treats routes as withdrawn, and attributes, but no prefix in sight, there may be some
/// that we failed to see. (An MP_REACH_NLRI of a family that is not ours was seen, and has none for us.)
fn refuse_blind_withdrawal(walk: &Walk, classic: bool) -> Result<(), Notification> {
    let multiprotocol = match &walk.collected.reach {
        Some(reach) => !reach.prefixes.is_empty(),
        None => walk.saw(code::MP_REACH_NLRI),
    };
    match &walk.withdraw {
        Some(notification) if walk.others && !classic && !multiprotocol => Err(notification.clone()),
        _ => Ok(()),
    }
}

/// Puts the reachable prefixes where the attributes let them be.
fn settle(mut walk: Walk, mut update: Update, classic: Vec<Nlri>, context: &CodecContext) -> Update {
    let next_hop = walk.collected.next_hop.map(|address| NextHop { address: address.into(), link_local: None });
    let reach = walk.collected.reach.take();
    let attributes = match walk.withdraw {
        None => attributes(std::mem::take(&mut walk.collected), context),
        Some(_) => None,
    };
    let Some(attributes) = attributes else {
        update.withdrawn.extend(classic);
        update.withdrawn.extend(reach.into_iter().flat_map(|reach| reach.prefixes));
        update.defects = walk.defects;
        return update;
    };
    let multiprotocol = reach.as_ref().map_or(0, |reach| reach.prefixes.len());
    update.reachable.reserve_exact(classic.len() + multiprotocol);
    if let Some(next_hop) = next_hop {
        update.reachable.extend(classic.into_iter().map(|prefix| (prefix, next_hop)));
    }
    if let Some(Reach { next_hop, prefixes }) = reach {
        update.reachable.extend(prefixes.into_iter().map(|prefix| (prefix, next_hop)));
    }
    ignore_unroutable(&mut update.reachable, &mut walk);
    update.attributes = (!update.reachable.is_empty()).then_some(attributes);
    update.defects = walk.defects;
    update
}

/// RFC 4271 6.3: prefixes that make no sense are logged and ignored. One defect for all of them.
fn ignore_unroutable(reachable: &mut Vec<(Nlri, NextHop)>, walk: &mut Walk) {
    let before = reachable.len();
    let first = reachable.iter().map(|(nlri, _)| nlri.prefix).find(nlri::is_unroutable);
    let Some(first) = first else { return };
    reachable.retain(|(nlri, _)| !nlri::is_unroutable(&nlri.prefix));
    let ignored = before - reachable.len();
    walk.ignore(format!("{first}: no unicast prefix ({ignored} such in this UPDATE)"));
}

/// The attributes in the form that the RIB keeps; `None` without the mandatory ones.
fn attributes(collected: Collected, context: &CodecContext) -> Option<Attributes> {
    let mut unknown = collected.unknown;
    unknown.sort_unstable();
    let mut attributes = Attributes {
        origin: collected.origin?,
        as_path: collected.as_path?,
        med: collected.med,
        local_pref: collected.local_pref,
        atomic_aggregate: collected.atomic_aggregate,
        aggregator: collected.aggregator,
        communities: collected.communities,
        extended_communities: collected.extended_communities,
        large_communities: collected.large_communities,
        originator_id: collected.originator_id,
        cluster_list: collected.cluster_list,
        otc: collected.otc,
        unknown,
        partial: collected.partial,
    };
    if !context.four_octet_as {
        four_octets(&mut attributes, collected.as4_path, collected.as4_aggregator);
    }
    Some(attributes)
}

/// RFC 6793 4.2.3: what a two-octet speaker passed on for four-octet ones. An AGGREGATOR with an AS of its own shows
/// that somebody aggregated who did not know of the others, which are therefore out of date.
fn four_octets(attributes: &mut Attributes, as4_path: Option<Vec<AsSegment>>, as4_aggregator: Option<(u32, Ipv4Addr)>) {
    if let (Some((number, _)), Some(_)) = (attributes.aggregator, as4_aggregator) {
        if number != u32::from(AS_TRANS) {
            return;
        }
        attributes.aggregator = as4_aggregator;
    }
    if let Some(as4_path) = as4_path {
        attributes.as_path = as_path::merge(std::mem::take(&mut attributes.as_path), as4_path);
    }
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
