//! Path attributes, received: one row an attribute, with what RFC 7606 wants when it is malformed, and the walk that
//! applies the rows. What the attributes mean together is `update`'s business.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::as_path::{self, Confederation};
use super::multiprotocol::{self, Reach, Unreach};
use super::reader::Reader;
use super::types::{AsSegment, CodecContext, Defect, DefectAction, Notification, Origin};
use super::zetta;

pub(super) const OPTIONAL: u8 = 0x80;
pub(super) const TRANSITIVE: u8 = 0x40;
pub(super) const PARTIAL: u8 = 0x20;
pub(super) const EXTENDED_LENGTH: u8 = 0x10;

/// Attribute type codes (IANA "BGP Path Attributes").
pub(super) mod code {
    pub const ORIGIN: u8 = 1;
    pub const AS_PATH: u8 = 2;
    pub const NEXT_HOP: u8 = 3;
    pub const MULTI_EXIT_DISC: u8 = 4;
    pub const LOCAL_PREF: u8 = 5;
    pub const ATOMIC_AGGREGATE: u8 = 6;
    pub const AGGREGATOR: u8 = 7;
    pub const COMMUNITIES: u8 = 8;
    pub const ORIGINATOR_ID: u8 = 9;
    pub const CLUSTER_LIST: u8 = 10;
    pub const MP_REACH_NLRI: u8 = 14;
    pub const MP_UNREACH_NLRI: u8 = 15;
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    pub const AS4_PATH: u8 = 17;
    pub const AS4_AGGREGATOR: u8 = 18;
    pub const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    pub const LARGE_COMMUNITIES: u8 = 32;
    pub const ONLY_TO_CUSTOMER: u8 = 35;
}

/// Subcodes of UPDATE Message Error that a single attribute can earn.
mod subcode {
    pub const UNRECOGNIZED_WELL_KNOWN: u8 = 2;
    pub const FLAGS: u8 = 4;
    pub const LENGTH: u8 = 5;
    pub const ORIGIN: u8 = 6;
    pub const OPTIONAL: u8 = 9;
    pub const AS_PATH: u8 = 11;
}

/// RFC 7606 section 2, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    AttributeDiscard,
    TreatAsWithdraw,
    SessionReset,
}

/// Why an attribute is malformed. `action` overrides the row's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub what: &'static str,
    pub subcode: u8,
    pub action: Option<Action>,
}

/// From whom an attribute is taken at all; from others it is discarded unseen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    Anyone,
    /// Our own AS (RFC 7606 7.5, 7.9, 7.10).
    Internal,
    /// Speakers without four-octet AS numbers (RFC 6793 4.1).
    TwoOctet,
}

/// The attributes of one UPDATE as far as they were sound.
#[derive(Default)]
pub(super) struct Collected {
    pub origin: Option<Origin>,
    pub as_path: Option<Vec<AsSegment>>,
    pub next_hop: Option<Ipv4Addr>,
    pub med: Option<u32>,
    pub local_pref: Option<u32>,
    pub atomic_aggregate: bool,
    pub aggregator: Option<(u32, Ipv4Addr)>,
    pub communities: BTreeSet<u32>,
    pub originator_id: Option<Ipv4Addr>,
    pub cluster_list: Vec<Ipv4Addr>,
    pub reach: Option<Reach>,
    pub unreach: Option<Unreach>,
    pub extended_communities: BTreeSet<[u8; 8]>,
    pub as4_path: Option<Vec<AsSegment>>,
    pub as4_aggregator: Option<(u32, Ipv4Addr)>,
    pub large_communities: BTreeSet<(u32, u32, u32)>,
    pub otc: Option<u32>,
    pub unknown: Vec<(u8, u8, Vec<u8>)>,
    pub partial: u64,
}

type Decoder = fn(&[u8], &CodecContext, &mut Collected) -> Result<(), Fault>;

/// What is to know about one attribute.
struct Row {
    code: u8,
    name: &'static str,
    /// What Optional and Transitive must be.
    flags: u8,
    from: Sender,
    decode: Decoder,
    malformed: Action,
}

const WELL_KNOWN: u8 = TRANSITIVE;
const OPTIONAL_TRANSITIVE: u8 = OPTIONAL | TRANSITIVE;

#[rustfmt::skip]
const ROWS: [Row; 18] = {
    use Action::{AttributeDiscard as Discard, SessionReset as Reset, TreatAsWithdraw as Withdraw};
    use Sender::{Anyone, Internal, TwoOctet};
    const fn row(code: u8, name: &'static str, flags: u8, from: Sender, decode: Decoder, malformed: Action) -> Row {
        Row { code, name, flags, from, decode, malformed }
    }
    [
        row(code::ORIGIN,               "ORIGIN",               WELL_KNOWN,          Anyone,   origin,               Withdraw),
        row(code::AS_PATH,              "AS_PATH",              WELL_KNOWN,          Anyone,   as_path,              Withdraw),
        row(code::NEXT_HOP,             "NEXT_HOP",             WELL_KNOWN,          Anyone,   next_hop,             Withdraw),
        row(code::MULTI_EXIT_DISC,      "MULTI_EXIT_DISC",      OPTIONAL,            Anyone,   med,                  Withdraw),
        row(code::LOCAL_PREF,           "LOCAL_PREF",           WELL_KNOWN,          Internal, local_pref,           Withdraw),
        row(code::ATOMIC_AGGREGATE,     "ATOMIC_AGGREGATE",     WELL_KNOWN,          Anyone,   atomic_aggregate,     Discard),
        row(code::AGGREGATOR,           "AGGREGATOR",           OPTIONAL_TRANSITIVE, Anyone,   aggregator,           Discard),
        row(code::COMMUNITIES,          "COMMUNITIES",          OPTIONAL_TRANSITIVE, Anyone,   communities,          Withdraw),
        row(code::ORIGINATOR_ID,        "ORIGINATOR_ID",        OPTIONAL,            Internal, originator_id,        Withdraw),
        row(code::CLUSTER_LIST,         "CLUSTER_LIST",         OPTIONAL,            Internal, cluster_list,         Withdraw),
        row(code::MP_REACH_NLRI,        "MP_REACH_NLRI",        OPTIONAL,            Anyone,   mp_reach,             Reset),
        row(code::MP_UNREACH_NLRI,      "MP_UNREACH_NLRI",      OPTIONAL,            Anyone,   mp_unreach,           Reset),
        row(code::EXTENDED_COMMUNITIES, "EXTENDED_COMMUNITIES", OPTIONAL_TRANSITIVE, Anyone,   extended_communities, Withdraw),
        row(code::AS4_PATH,             "AS4_PATH",             OPTIONAL_TRANSITIVE, TwoOctet, as4_path,             Discard),
        row(code::AS4_AGGREGATOR,       "AS4_AGGREGATOR",       OPTIONAL_TRANSITIVE, TwoOctet, as4_aggregator,       Discard),
        row(code::IPV6_EXTENDED_COMMUNITIES, "IPV6_EXTENDED_COMMUNITIES", OPTIONAL_TRANSITIVE, Anyone, ipv6_communities, Withdraw),
        row(code::LARGE_COMMUNITIES,    "LARGE_COMMUNITIES",    OPTIONAL_TRANSITIVE, Anyone,   large_communities,    Withdraw),
        row(code::ONLY_TO_CUSTOMER,     "ONLY_TO_CUSTOMER",     OPTIONAL_TRANSITIVE, Anyone,   only_to_customer,     Withdraw),
    ]
};

/// What we make nothing of, but whose flags are registered (IANA): with others it is malformed (RFC 7606 3 c, 7.13, 7.16) and
/// not well-known. PMSI_TUNNEL, Tunnel Encapsulation, Traffic Engineering, AIGP, PE Distinguisher Labels, BGP-LS,
/// BGPsec_PATH, Prefix-SID, ATTR_SET. AIGP alone is discarded then (RFC 7311 3.2).
const FOREIGN: [(u8, u8, Action); 9] = {
    use Action::{AttributeDiscard as Discard, TreatAsWithdraw as Withdraw};
    [
        (22, OPTIONAL_TRANSITIVE, Withdraw),
        (23, OPTIONAL_TRANSITIVE, Withdraw),
        (24, OPTIONAL, Withdraw),
        (26, OPTIONAL, Discard),
        (27, OPTIONAL_TRANSITIVE, Withdraw),
        (29, OPTIONAL, Withdraw),
        (33, OPTIONAL, Withdraw),
        (40, OPTIONAL_TRANSITIVE, Withdraw),
        (128, OPTIONAL_TRANSITIVE, Withdraw),
    ]
};

/// The name of an attribute that we know.
pub(super) fn name(code: u8) -> Cow<'static, str> {
    match ROWS.iter().find(|row| row.code == code) {
        Some(row) => row.name.into(),
        None => format!("attribute {code}").into(),
    }
}

fn bad_length(what: &'static str) -> Fault {
    Fault { what, subcode: subcode::LENGTH, action: None }
}

fn bad_optional(what: &'static str) -> Fault {
    Fault { what, subcode: subcode::OPTIONAL, action: None }
}

/// The value, if it is exactly `N` bytes long.
fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], Fault> {
    value.try_into().map_err(|_| bad_length("wrong length"))
}

/// Refuses what is empty or no multiple of `unit` bytes.
fn list_of(unit: usize, value: &[u8]) -> Result<&[u8], Fault> {
    if value.is_empty() || !value.len().is_multiple_of(unit) {
        return Err(bad_length("length is no multiple of its entries'"));
    }
    Ok(value)
}

fn origin(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    let undefined = Fault { what: "undefined value", subcode: subcode::ORIGIN, action: None };
    into.origin = Some(zetta::origin(exactly(value)?).ok_or(undefined)?);
    Ok(())
}

fn as_path(value: &[u8], context: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    let path = as_path::decode(value, context.four_octet_as, Confederation::Malformed);
    into.as_path = Some(path.map_err(|what| Fault { what, subcode: subcode::AS_PATH, action: None })?);
    Ok(())
}

fn next_hop(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    into.next_hop = Some(zetta::next_hop(exactly(value)?).ok_or(bad_optional("unreadable"))?);
    Ok(())
}

fn med(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    into.med = Some(zetta::med(exactly(value)?).ok_or(bad_optional("unreadable"))?);
    Ok(())
}

fn local_pref(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    into.local_pref = Some(zetta::local_pref(exactly(value)?).ok_or(bad_optional("unreadable"))?);
    Ok(())
}

fn atomic_aggregate(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    exactly::<0>(value)?;
    into.atomic_aggregate = true;
    Ok(())
}

/// AS number and address; AS 0 is malformed (RFC 7607 section 2).
fn aggregator_of(number: u32, mut address: Reader<'_>) -> Result<(u32, Ipv4Addr), Fault> {
    match (number, address.u32()) {
        (0, _) => Err(bad_optional("AS 0")),
        (_, Some(address)) => Ok((number, address.into())),
        (_, None) => Err(bad_length("wrong length")),
    }
}

fn aggregator(value: &[u8], context: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    if context.four_octet_as {
        let [a, b, c, d, address @ ..] = exactly::<8>(value)?;
        into.aggregator = Some(aggregator_of(u32::from_be_bytes([a, b, c, d]), Reader::new(&address))?);
    } else {
        let [a, b, address @ ..] = exactly::<6>(value)?;
        into.aggregator = Some(aggregator_of(u16::from_be_bytes([a, b]).into(), Reader::new(&address))?);
    }
    Ok(())
}

fn communities(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    into.communities = zetta::communities(list_of(4, value)?).ok_or(bad_optional("unreadable"))?;
    Ok(())
}

fn originator_id(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    into.originator_id = Some(Ipv4Addr::from(exactly::<4>(value)?));
    Ok(())
}

fn cluster_list(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    let mut reader = Reader::new(list_of(4, value)?);
    while let Some(cluster) = reader.u32() {
        into.cluster_list.push(Ipv4Addr::from(cluster));
    }
    Ok(())
}

fn mp_reach(value: &[u8], context: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    into.reach = Some(multiprotocol::decode_reach(value, context)?);
    Ok(())
}

fn mp_unreach(value: &[u8], context: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    into.unreach = Some(multiprotocol::decode_unreach(value, context)?);
    Ok(())
}

fn extended_communities(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    into.extended_communities = zetta::extended_communities(list_of(8, value)?).ok_or(bad_optional("unreadable"))?;
    Ok(())
}

fn as4_path(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    if value.is_empty() {
        return Err(bad_length("empty"));
    }
    let path = as_path::decode(value, true, Confederation::Dropped);
    into.as4_path = Some(path.map_err(bad_optional)?);
    Ok(())
}

fn as4_aggregator(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    let [a, b, c, d, address @ ..] = exactly::<8>(value)?;
    into.as4_aggregator = Some(aggregator_of(u32::from_be_bytes([a, b, c, d]), Reader::new(&address))?);
    Ok(())
}

fn large_communities(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    into.large_communities = zetta::large_communities(list_of(12, value)?).ok_or(bad_optional("unreadable"))?;
    Ok(())
}

/// RFC 9234 section 5: four octets, and treat-as-withdraw where they are not.
fn only_to_customer(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    into.otc = Some(u32::from_be_bytes(exactly::<4>(value)?));
    Ok(())
}

/// RFC 5701, RFC 7606 7.15. We make nothing of them, but know them well enough to pass them on as they are.
fn ipv6_communities(value: &[u8], _: &CodecContext, into: &mut Collected) -> Result<(), Fault> {
    let value = list_of(20, value)?.to_vec();
    into.unknown.push((OPTIONAL_TRANSITIVE, code::IPV6_EXTENDED_COMMUNITIES, value));
    Ok(())
}

/// The attributes of an UPDATE, walked.
pub(super) struct Walk {
    pub collected: Collected,
    pub defects: Vec<Defect>,
    /// The first defect that treats the routes as withdrawn, as the NOTIFICATION that it is where even that cannot be
    /// done (RFC 7606 5.2).
    pub withdraw: Option<Notification>,
    /// Whether something else than MP_UNREACH_NLRI was there.
    pub others: bool,
    seen: [bool; 256],
}

impl Walk {
    /// # Errors
    /// The defects that reset the session.
    pub fn over(attributes: &[u8], context: &CodecContext) -> Result<Walk, Notification> {
        let mut walk = Walk {
            collected: Collected::default(),
            defects: Vec::new(),
            withdraw: None,
            others: false,
            seen: [false; 256],
        };
        let mut reader = Reader::new(attributes);
        while !reader.is_empty() {
            let whole = reader.rest();
            let Some((flags, code, value)) = next_attribute(&mut reader) else {
                walk.cut_off(whole)?;
                break;
            };
            let whole = &whole[..whole.len() - reader.rest().len()];
            walk.attribute(flags, code, value, whole, context)?;
        }
        Ok(walk)
    }

    /// Whether an attribute of this code was there, sound or not.
    pub fn saw(&self, code: u8) -> bool {
        self.seen[usize::from(code)]
    }

    /// Applies one defect; `bytes` is the attribute as received, which is the NOTIFICATION's data.
    pub fn defect(&mut self, action: Action, subcode: u8, what: String, bytes: &[u8]) -> Result<(), Notification> {
        const SHOWN: usize = 64;
        let notification = || Notification::new(Notification::UPDATE_ERROR, subcode, bytes);
        let action = match action {
            Action::SessionReset => return Err(notification()),
            Action::TreatAsWithdraw => {
                self.withdraw.get_or_insert_with(notification);
                DefectAction::TreatAsWithdraw
            }
            Action::AttributeDiscard => DefectAction::AttributeDiscard,
        };
        self.defects.push(Defect { action, what, bytes: bytes[..bytes.len().min(SHOWN)].to_vec() });
        Ok(())
    }

    /// Notes prefixes that are left out for what they are, not for their attributes.
    pub fn ignore(&mut self, what: String) {
        self.defects.push(Defect { action: DefectAction::PrefixIgnored, what, bytes: Vec::new() });
    }

    /// RFC 7606 section 4: the last attribute is longer than the list, or too short to have a length. Where it holds
    /// prefixes, or may, treat-as-withdraw would miss them.
    fn cut_off(&mut self, bytes: &[u8]) -> Result<(), Notification> {
        self.others = true;
        let (action, subcode, what) = match bytes.get(1) {
            Some(&code) if holds_prefixes(code) => (Action::SessionReset, subcode::OPTIONAL, name(code)),
            Some(&code) => (Action::TreatAsWithdraw, subcode::LENGTH, name(code)),
            None => (Action::TreatAsWithdraw, subcode::LENGTH, "the attribute list".into()),
        };
        self.defect(action, subcode, format!("{what}: cut off"), bytes)
    }

    fn attribute(
        &mut self,
        flags: u8,
        code: u8,
        value: &[u8],
        whole: &[u8],
        context: &CodecContext,
    ) -> Result<(), Notification> {
        self.others |= code != code::MP_UNREACH_NLRI;
        if std::mem::replace(&mut self.seen[usize::from(code)], true) {
            return self.duplicate(code, whole);
        }
        let Some(row) = ROWS.iter().find(|row| row.code == code) else {
            return self.unknown(flags, code, value, whole);
        };
        let stranger = match row.from {
            Sender::Anyone => None,
            Sender::Internal => (!context.ibgp).then_some("from an external neighbour"),
            Sender::TwoOctet => context.four_octet_as.then_some("from a speaker of four-octet AS numbers"),
        };
        if let Some(stranger) = stranger {
            let what = format!("{}: {stranger}", row.name);
            return self.defect(Action::AttributeDiscard, subcode::OPTIONAL, what, whole);
        }
        if flags & OPTIONAL_TRANSITIVE != row.flags {
            let what = format!("{}: wrong flags {flags:#04x}", row.name);
            // RFC 7606 3 c, of every attribute: what prefixes one holds is still read below, and withdrawn.
            self.defect(Action::TreatAsWithdraw, subcode::FLAGS, what, whole)?;
        }
        match (row.decode)(value, context, &mut self.collected) {
            Ok(()) => {
                // RFC 4271 section 5: who passes it on must not take the bit away.
                if row.flags == OPTIONAL_TRANSITIVE && flags & PARTIAL != 0 {
                    self.collected.partial |= partial(code);
                }
                Ok(())
            }
            Err(fault) => {
                let what = format!("{}: {}", row.name, fault.what);
                self.defect(fault.action.unwrap_or(row.malformed), fault.subcode, what, whole)
            }
        }
    }

    /// RFC 7606 3 g.
    fn duplicate(&mut self, code: u8, whole: &[u8]) -> Result<(), Notification> {
        if holds_prefixes(code) {
            return Err(Notification::malformed_attribute_list());
        }
        let what = format!("{}: a second time", name(code));
        self.defect(Action::AttributeDiscard, subcode::OPTIONAL, what, whole)
    }

    /// RFC 4271 section 5: well-known ones must be known, optional transitive ones are passed on, others dropped.
    fn unknown(&mut self, flags: u8, code: u8, value: &[u8], whole: &[u8]) -> Result<(), Notification> {
        let registered = FOREIGN.iter().find(|(foreign, ..)| *foreign == code);
        if let Some((_, _, action)) = registered.filter(|(_, right, _)| flags & OPTIONAL_TRANSITIVE != *right) {
            let what = format!("{}: wrong flags {flags:#04x}", name(code));
            return self.defect(*action, subcode::FLAGS, what, whole);
        }
        if flags & OPTIONAL == 0 {
            let what = format!("{}: not known, and not optional", name(code));
            return self.defect(Action::SessionReset, subcode::UNRECOGNIZED_WELL_KNOWN, what, whole);
        }
        if flags & TRANSITIVE != 0 {
            self.collected.unknown.push((OPTIONAL_TRANSITIVE | PARTIAL, code, value.to_vec()));
        }
        Ok(())
    }
}

/// Whether treat-as-withdraw needs it to be readable (RFC 7606 3 j).
fn holds_prefixes(code: u8) -> bool {
    matches!(code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI)
}

/// The bit of an attribute in [`super::types::Attributes::partial`].
pub(super) fn partial(code: u8) -> u64 {
    1u64.checked_shl(code.into()).unwrap_or(0)
}

/// Flags, code and value; `None` if one of them is not there.
fn next_attribute<'a>(reader: &mut Reader<'a>) -> Option<(u8, u8, &'a [u8])> {
    let (flags, code) = (reader.u8()?, reader.u8()?);
    let length = match flags & EXTENDED_LENGTH {
        0 => usize::from(reader.u8()?),
        _ => usize::from(reader.u16()?),
    };
    Some((flags, code, reader.take(length)?))
}

#[cfg(test)]
#[path = "attribute_tests.rs"]
mod tests;
