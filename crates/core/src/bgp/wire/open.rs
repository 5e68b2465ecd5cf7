//! OPEN (RFC 4271 4.2 and 6.2), with RFC 9072's extended lengths and RFC 6793's AS numbers. All ours: zettabgp ignores
//! the parameters' length and lets hold time 1, AS 0 and router id 0 pass.

use std::net::Ipv4Addr;

use super::capability;
use super::header::{self, MessageType};
use super::reader::Reader;
use super::types::{Capability, HEADER, MAX_MESSAGE, Notification, Open};

/// The AS number that stands for one of four octets (RFC 6793).
pub const AS_TRANS: u16 = 23456;

const VERSION: u8 = 4;
const CAPABILITIES: u8 = 2;
/// RFC 9072: as the first parameter's type it says that extended lengths follow; on transmission also as the length.
const EXTENDED: u8 = 255;

/// # Errors
/// Everything of RFC 4271 6.2 that can be said without knowing who was expected: the AS and the router id are compared
/// with the configured ones by the session.
pub(super) fn decode(body: &[u8]) -> Result<Open, Notification> {
    let malformed = Notification::malformed_open;
    let mut reader = Reader::new(body);
    if reader.u8().ok_or_else(malformed)? != VERSION {
        return Err(Notification::unsupported_version());
    }
    let as_field = reader.u16().ok_or_else(malformed)?;
    let hold_time = reader.u16().ok_or_else(malformed)?;
    let router_id = reader.u32().ok_or_else(malformed)?;
    let parameters = reader.u8().ok_or_else(malformed)?;
    let capabilities = optional_parameters(parameters, reader.rest())?;
    let as_number = as_number(as_field, &capabilities)?;
    if hold_time == 1 || hold_time == 2 {
        return Err(Notification::unacceptable_hold_time());
    }
    // RFC 6286: any value but zero.
    if router_id == 0 {
        return Err(Notification::bad_bgp_identifier());
    }
    Ok(Open { as_number, hold_time, router_id: Ipv4Addr::from(router_id), capabilities })
}

/// The real AS. Zero is nobody's (RFC 7607), AS_TRANS nobody's own (RFC 6793 section 9); a field that is neither
/// AS_TRANS nor the capability's number contradicts it.
fn as_number(field: u16, capabilities: &[Capability]) -> Result<u32, Notification> {
    let four_octets = capabilities.iter().find_map(|capability| match capability {
        Capability::FourOctetAs(number) => Some(*number),
        _ => None,
    });
    let number = match four_octets {
        Some(number) if field == AS_TRANS || u32::from(field) == number => number,
        Some(_) => return Err(Notification::bad_peer_as()),
        None => u32::from(field),
    };
    if number == 0 || number == u32::from(AS_TRANS) {
        return Err(Notification::bad_peer_as());
    }
    Ok(number)
}

/// `length` is the field of one octet, `bytes` everything behind it.
fn optional_parameters(length: u8, bytes: &[u8]) -> Result<Vec<Capability>, Notification> {
    let mut reader = Reader::new(bytes);
    let extended = length != 0 && bytes.first() == Some(&EXTENDED);
    let declared =
        if extended { reader.u8().and_then(|_type| reader.u16()).map(usize::from) } else { Some(usize::from(length)) };
    if declared != Some(reader.rest().len()) {
        return Err(Notification::malformed_open());
    }
    let mut capabilities = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u8();
        let length = if extended { reader.u16().map(usize::from) } else { reader.u8().map(usize::from) };
        let value = length.and_then(|length| reader.take(length)).ok_or_else(Notification::malformed_open)?;
        if kind != Some(CAPABILITIES) {
            return Err(Notification::unsupported_optional_parameter());
        }
        capability::decode_all(value, &mut capabilities).ok_or_else(Notification::malformed_open)?;
    }
    Ok(capabilities)
}

/// The whole message, with all capabilities in one optional parameter, or with RFC 9072's lengths if they need more than
/// 255 bytes. A capability whose value is longer than 255 bytes, or that no longer fits, has no encoding and is left out.
pub fn encode_open(open: &Open) -> Vec<u8> {
    /// Version to router id, and the most that the lengths take.
    const FIXED: usize = HEADER + 9 + 1 + 6;
    let mut value = Vec::new();
    for encoded in open.capabilities.iter().filter_map(capability::encode) {
        if FIXED + value.len() + encoded.len() <= MAX_MESSAGE {
            value.extend_from_slice(&encoded);
        }
    }
    let mut out = Vec::with_capacity(FIXED + value.len());
    let start = header::begin(MessageType::Open, &mut out);
    out.push(VERSION);
    out.extend_from_slice(&u16::try_from(open.as_number).unwrap_or(AS_TRANS).to_be_bytes());
    out.extend_from_slice(&open.hold_time.to_be_bytes());
    out.extend_from_slice(&open.router_id.octets());
    match (u8::try_from(value.len()), u8::try_from(value.len() + 2)) {
        (Ok(0), _) => out.push(0),
        (Ok(length), Ok(parameters)) if parameters != EXTENDED => {
            out.extend_from_slice(&[parameters, CAPABILITIES, length]);
        }
        _ => {
            out.extend_from_slice(&[EXTENDED, EXTENDED, 0, 0, CAPABILITIES, 0, 0]);
            let end = out.len();
            header::put_u16(&mut out, end - 5, value.len() + 3);
            header::put_u16(&mut out, end - 2, value.len());
        }
    }
    out.extend_from_slice(&value);
    header::finish(start, &mut out);
    out
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
