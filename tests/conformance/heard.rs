//! What the speaker says, decoded from its bytes; anything that it must not say is an error in words.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::raw::{self, EXTENDED, OPTIONAL, OPTIONAL_TRANSITIVE, PARTIAL, TRANSITIVE, WELL_KNOWN};

/// Address and length.
pub type Prefix = (IpAddr, u8);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The body.
    Open(Vec<u8>),
    Update(Update),
    Notification(u8, u8, Vec<u8>),
    Keepalive,
    /// AFI, subtype, SAFI.
    Refresh(Vec<u8>),
    /// The connection was closed, or reset.
    Closed,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    pub withdrawn: Vec<Prefix>,
    pub reachable: Vec<Prefix>,
    /// Flags (without extended length) and value, by type.
    pub attributes: BTreeMap<u8, (u8, Vec<u8>)>,
    pub next_hop: Vec<u8>,
    /// The AFI whose End-of-RIB it is.
    pub end_of_rib: Option<u16>,
}

/// The value of this capability in the body of an OPEN.
pub fn offered(body: &[u8], code: u8) -> Option<&[u8]> {
    let mut parameters = body.get(10..)?;
    while let [2, length, rest @ ..] = parameters {
        let (mut list, left) = rest.split_at_checked(usize::from(*length))?;
        while let [kind, length, rest @ ..] = list {
            let (value, others) = rest.split_at_checked(usize::from(*length))?;
            if *kind == code {
                return Some(value);
            }
            list = others;
        }
        parameters = left;
    }
    None
}

/// The first whole message of `bytes`: its length, and what it says.
pub fn message(bytes: &[u8]) -> Result<Option<(usize, Heard)>, String> {
    let Some(header) = bytes.get(..19) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
    if header[..16] != [0xff; 16] || !(19..=4096).contains(&length) {
        return Err(format!("no header of a message: {header:02x?}"));
    }
    let Some(body) = bytes.get(19..length) else { return Ok(None) };
    let heard = match header[18] {
        raw::OPEN if body.len() >= 10 => Heard::Open(body.to_vec()),
        raw::UPDATE => Heard::Update(update(body).map_err(|why| format!("{why}: UPDATE {body:02x?}"))?),
        raw::NOTIFICATION if body.len() >= 2 => Heard::Notification(body[0], body[1], body[2..].to_vec()),
        raw::KEEPALIVE if body.is_empty() => Heard::Keepalive,
        raw::ROUTE_REFRESH if body.len() == 4 => Heard::Refresh(body.to_vec()),
        kind => return Err(format!("type {kind} with {body:02x?}")),
    };
    Ok(Some((length, heard)))
}

fn take<'a>(rest: &mut &'a [u8], count: usize, what: &str) -> Result<&'a [u8], String> {
    let (taken, left) = rest.split_at_checked(count).ok_or_else(|| format!("{what} is cut off"))?;
    *rest = left;
    Ok(taken)
}

fn field<'a>(rest: &mut &'a [u8], what: &str) -> Result<&'a [u8], String> {
    let length = take(rest, 2, what)?;
    take(rest, usize::from(u16::from_be_bytes([length[0], length[1]])), what)
}

fn prefixes(mut rest: &[u8], bits: u8) -> Result<Vec<Prefix>, String> {
    let mut prefixes = Vec::new();
    while let Some((&length, left)) = rest.split_first() {
        rest = left;
        if length > bits {
            return Err(format!("a prefix of {length} bits"));
        }
        let octets = take(&mut rest, usize::from(length.div_ceil(8)), "a prefix")?;
        let mut whole = [0; 16];
        whole[..octets.len()].copy_from_slice(octets);
        let address = match bits {
            32 => Ipv4Addr::from([whole[0], whole[1], whole[2], whole[3]]).into(),
            _ => Ipv6Addr::from(whole).into(),
        };
        prefixes.push((address, length));
    }
    Ok(prefixes)
}

fn family(value: &[u8]) -> Result<(u16, u8), String> {
    match value {
        [0, 1, 1, ..] => Ok((1, 32)),
        [0, 2, 1, ..] => Ok((2, 128)),
        _ => Err("a family that nobody negotiated".to_string()),
    }
}

/// RFC 4271 4.3, RFC 4760, RFC 7606 5.1.
fn update(body: &[u8]) -> Result<Update, String> {
    let mut rest = body;
    let mut update = Update { withdrawn: prefixes(field(&mut rest, "withdrawn routes")?, 32)?, ..Update::default() };
    let mut list = field(&mut rest, "the attribute list")?;
    update.reachable = prefixes(rest, 32)?;
    if body == [0; 4] {
        update.end_of_rib = Some(1);
    }
    let whole = list.len();
    while !list.is_empty() {
        let first = list.len() == whole;
        let head = take(&mut list, 2, "an attribute")?;
        let (flags, code) = (head[0], head[1]);
        let value = match flags & EXTENDED {
            0 => {
                let length = take(&mut list, 1, "an attribute")?[0];
                take(&mut list, usize::from(length), "an attribute")?
            }
            _ => field(&mut list, "an attribute")?,
        };
        sound(code, flags, value)?;
        match code {
            raw::MP_REACH => {
                let (_, bits) = family(value)?;
                let mut rest = &value[3..];
                let length = take(&mut rest, 1, "MP_REACH_NLRI")?[0];
                update.next_hop = take(&mut rest, length.into(), "MP_REACH_NLRI")?.to_vec();
                take(&mut rest, 1, "MP_REACH_NLRI")?;
                update.reachable.extend(prefixes(rest, bits)?);
                if !first {
                    return Err("MP_REACH_NLRI is not the first attribute".to_string());
                }
            }
            raw::MP_UNREACH => {
                let (afi, bits) = family(value)?;
                update.withdrawn.extend(prefixes(&value[3..], bits)?);
                if value.len() == 3 && first && list.is_empty() {
                    update.end_of_rib = Some(afi);
                }
            }
            raw::NEXT_HOP => update.next_hop = value.to_vec(),
            _ => {}
        }
        if update.attributes.insert(code, (flags & !EXTENDED, value.to_vec())).is_some() {
            return Err(format!("attribute {code} twice"));
        }
    }
    if !update.reachable.is_empty() {
        for code in [raw::ORIGIN, raw::AS_PATH] {
            if !update.attributes.contains_key(&code) {
                return Err(format!("attribute {code} is missing"));
            }
        }
        if update.next_hop.is_empty() {
            return Err("no next hop".to_string());
        }
    }
    Ok(update)
}

/// Flags and length of what the speaker sends (RFC 4271 4.3 and 5).
fn sound(code: u8, flags: u8, value: &[u8]) -> Result<(), String> {
    let length = value.len();
    let whole = |unit: usize| length > 0 && length.is_multiple_of(unit);
    let (wanted, fits) = match code {
        raw::ORIGIN => (WELL_KNOWN, length == 1 && value[0] < 3),
        raw::AS_PATH => (WELL_KNOWN, true),
        raw::NEXT_HOP => (WELL_KNOWN, length == 4),
        raw::LOCAL_PREF => (WELL_KNOWN, length == 4),
        raw::ATOMIC_AGGREGATE => (WELL_KNOWN, length == 0),
        raw::MED | raw::ORIGINATOR_ID => (OPTIONAL, length == 4),
        raw::CLUSTER_LIST => (OPTIONAL, whole(4)),
        raw::MP_REACH => (OPTIONAL, length >= 5),
        raw::MP_UNREACH => (OPTIONAL, length >= 3),
        raw::AGGREGATOR => (OPTIONAL_TRANSITIVE, length == 8 || length == 6),
        raw::COMMUNITIES => (OPTIONAL_TRANSITIVE, whole(4)),
        raw::EXTENDED_COMMUNITIES => (OPTIONAL_TRANSITIVE, whole(8)),
        raw::LARGE_COMMUNITIES => (OPTIONAL_TRANSITIVE, whole(12)),
        _ => (OPTIONAL_TRANSITIVE, true),
    };
    let partial = flags & PARTIAL != 0 && wanted != OPTIONAL_TRANSITIVE;
    if flags & (OPTIONAL | TRANSITIVE) != wanted || flags & 0x0f != 0 || partial || !fits {
        return Err(format!("attribute {code} with flags {flags:#04x} and {length} bytes"));
    }
    Ok(())
}
