//! NOTIFICATION (RFC 4271 4.5 and 6): how each error is said on the wire, and in words.

use std::fmt;

use super::header::{self, MessageType};
use super::reader::Reader;
use super::types::{AfiSafi, HEADER, MAX_MESSAGE, Notification};

/// Subcodes of Cease (RFC 4486, RFC 8538, RFC 9384).
pub mod cease {
    pub const MAXIMUM_PREFIXES: u8 = 1;
    pub const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
    pub const PEER_DECONFIGURED: u8 = 3;
    pub const ADMINISTRATIVE_RESET: u8 = 4;
    pub const CONNECTION_REJECTED: u8 = 5;
    pub const OTHER_CONFIGURATION_CHANGE: u8 = 6;
    pub const COLLISION_RESOLUTION: u8 = 7;
    pub const OUT_OF_RESOURCES: u8 = 8;
    pub const HARD_RESET: u8 = 9;
    pub const BFD_DOWN: u8 = 10;
}

/// The version that we speak, as the data of Unsupported Version Number wants it.
const VERSION: [u8; 2] = [0, 4];
/// What a shutdown text may take (RFC 9003 section 2), in bytes.
const SHUTDOWN_TEXT: usize = 255;

impl Notification {
    pub const HEADER_ERROR: u8 = 1;
    pub const OPEN_ERROR: u8 = 2;
    pub const UPDATE_ERROR: u8 = 3;
    pub const HOLD_TIMER_EXPIRED: u8 = 4;
    pub const FSM_ERROR: u8 = 5;
    pub const CEASE: u8 = 6;
    pub const ROUTE_REFRESH_ERROR: u8 = 7;
    pub const SEND_HOLD_TIMER_EXPIRED: u8 = 8;

    pub fn new(code: u8, subcode: u8, data: impl Into<Vec<u8>>) -> Self {
        Notification { code, subcode, data: data.into() }
    }

    /// RFC 4271 6.1: the marker is not all ones.
    pub fn connection_not_synchronized() -> Self {
        Self::new(Self::HEADER_ERROR, 1, [])
    }

    /// RFC 4271 6.1: data is the length field as received.
    pub fn bad_message_length(length: u16) -> Self {
        Self::new(Self::HEADER_ERROR, 2, length.to_be_bytes())
    }

    /// RFC 4271 6.1: data is the type field as received.
    pub fn bad_message_type(number: u8) -> Self {
        Self::new(Self::HEADER_ERROR, 3, [number])
    }

    /// RFC 4271 6.2: an optional parameter or capability of the OPEN is known but malformed, or its lengths disagree.
    pub fn malformed_open() -> Self {
        Self::new(Self::OPEN_ERROR, 0, [])
    }

    /// RFC 4271 6.2: data is the version that we speak.
    pub fn unsupported_version() -> Self {
        Self::new(Self::OPEN_ERROR, 1, VERSION)
    }

    pub fn bad_peer_as() -> Self {
        Self::new(Self::OPEN_ERROR, 2, [])
    }

    pub fn bad_bgp_identifier() -> Self {
        Self::new(Self::OPEN_ERROR, 3, [])
    }

    pub fn unsupported_optional_parameter() -> Self {
        Self::new(Self::OPEN_ERROR, 4, [])
    }

    pub fn unacceptable_hold_time() -> Self {
        Self::new(Self::OPEN_ERROR, 6, [])
    }

    /// RFC 9234 section 4.2: the two roles do not belong together, or the one that is asked for was not said.
    pub fn role_mismatch() -> Self {
        Self::new(Self::OPEN_ERROR, 11, [])
    }

    /// RFC 5492 section 5: data is the capabilities that the session cannot do without, as they would be in an OPEN.
    pub fn unsupported_capability(wanted: impl Into<Vec<u8>>) -> Self {
        Self::new(Self::OPEN_ERROR, 7, wanted)
    }

    /// RFC 4271 6.3: the lengths of the UPDATE's fields disagree, or MP_REACH_NLRI or MP_UNREACH_NLRI came twice.
    pub fn malformed_attribute_list() -> Self {
        Self::new(Self::UPDATE_ERROR, 1, [])
    }

    /// RFC 4271 6.3: a prefix of the withdrawn routes or the NLRI field is too long or cut off.
    pub fn invalid_network_field() -> Self {
        Self::new(Self::UPDATE_ERROR, 10, [])
    }

    pub fn hold_timer_expired() -> Self {
        Self::new(Self::HOLD_TIMER_EXPIRED, 0, [])
    }

    /// RFC 9687: our own data could not be sent for too long.
    pub fn send_hold_timer_expired() -> Self {
        Self::new(Self::SEND_HOLD_TIMER_EXPIRED, 0, [])
    }

    /// RFC 6608: a message that this state has no use for; data is its type. `state` is 1 for OpenSent, 2 for
    /// OpenConfirm, 3 for Established, 0 for any other.
    pub fn unexpected_message(state: u8, number: u8) -> Self {
        Self::new(Self::FSM_ERROR, state, [number])
    }

    /// A Cease of this subcode (see [`cease`]) without data.
    pub fn cease(subcode: u8) -> Self {
        Self::new(Self::CEASE, subcode, [])
    }

    /// RFC 4486 section 4: data is the family and the bound.
    pub fn maximum_prefixes(family: AfiSafi, bound: u32) -> Self {
        let mut data = Vec::with_capacity(7);
        data.extend_from_slice(&family.afi.to_be_bytes());
        data.push(family.safi);
        data.extend_from_slice(&bound.to_be_bytes());
        Self::new(Self::CEASE, cease::MAXIMUM_PREFIXES, data)
    }

    /// RFC 9003: Administrative Shutdown with a text for the other side, cut at 255 bytes; none if it is empty.
    pub fn administrative_shutdown(text: &str) -> Self {
        Self::new(Self::CEASE, cease::ADMINISTRATIVE_SHUTDOWN, shutdown_data(text))
    }

    /// RFC 9003: Administrative Reset with a text for the other side, cut at 255 bytes; none if it is empty.
    pub fn administrative_reset(text: &str) -> Self {
        Self::new(Self::CEASE, cease::ADMINISTRATIVE_RESET, shutdown_data(text))
    }

    /// RFC 8538 section 3.1: `inner`, as the reset that drops the routes although N was negotiated.
    pub fn hard_reset(inner: &Notification) -> Self {
        let mut data = vec![inner.code, inner.subcode];
        data.extend_from_slice(&inner.data);
        Self::new(Self::CEASE, cease::HARD_RESET, data)
    }

    /// Whether it says that the session is not meant to come back as it was, or that no packet gets through: such a one goes out as a Hard Reset where RFC
    /// 8538 was agreed on, so that no routes outlive it.
    pub fn ends_for_good(&self) -> bool {
        let subcodes =
            [cease::MAXIMUM_PREFIXES, cease::ADMINISTRATIVE_SHUTDOWN, cease::PEER_DECONFIGURED, cease::BFD_DOWN];
        self.code == Self::CEASE && subcodes.contains(&self.subcode)
    }

    /// The NOTIFICATION inside a Hard Reset, if this is one.
    pub fn hard_reset_reason(&self) -> Option<Notification> {
        if (self.code, self.subcode) != (Self::CEASE, cease::HARD_RESET) {
            return None;
        }
        decode(&self.data)
    }

    /// The text of an Administrative Shutdown or Reset (RFC 9003); what is no UTF-8 is replaced.
    pub fn shutdown_text(&self) -> Option<String> {
        let takes_text = matches!(self.subcode, cease::ADMINISTRATIVE_SHUTDOWN | cease::ADMINISTRATIVE_RESET);
        if self.code != Self::CEASE || !takes_text {
            return None;
        }
        let (&length, text) = self.data.split_first()?;
        let text = &text[..text.len().min(usize::from(length))];
        (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
    }

    /// The name of the code in the words of the RFCs.
    pub fn code_name(&self) -> &'static str {
        match self.code {
            1 => "Message Header Error",
            2 => "OPEN Message Error",
            3 => "UPDATE Message Error",
            4 => "Hold Timer Expired",
            5 => "Finite State Machine Error",
            6 => "Cease",
            7 => "ROUTE-REFRESH Message Error",
            8 => "Send Hold Timer Expired",
            _ => "unknown error",
        }
    }

    /// The name of the subcode; `None` for 0 and for one that nobody defined.
    pub fn subcode_name(&self) -> Option<&'static str> {
        Some(match (self.code, self.subcode) {
            (1, 1) => "Connection Not Synchronized",
            (1, 2) => "Bad Message Length",
            (1, 3) => "Bad Message Type",
            (2, 1) => "Unsupported Version Number",
            (2, 2) => "Bad Peer AS",
            (2, 3) => "Bad BGP Identifier",
            (2, 4) => "Unsupported Optional Parameter",
            (2, 5) => "Authentication Failure",
            (2, 6) => "Unacceptable Hold Time",
            (2, 7) => "Unsupported Capability",
            (2, 11) => "Role Mismatch",
            (3, 1) => "Malformed Attribute List",
            (3, 2) => "Unrecognized Well-known Attribute",
            (3, 3) => "Missing Well-known Attribute",
            (3, 4) => "Attribute Flags Error",
            (3, 5) => "Attribute Length Error",
            (3, 6) => "Invalid ORIGIN Attribute",
            (3, 7) => "AS Routing Loop",
            (3, 8) => "Invalid NEXT_HOP Attribute",
            (3, 9) => "Optional Attribute Error",
            (3, 10) => "Invalid Network Field",
            (3, 11) => "Malformed AS_PATH",
            (5, 1) => "Unexpected Message in OpenSent",
            (5, 2) => "Unexpected Message in OpenConfirm",
            (5, 3) => "Unexpected Message in Established",
            (6, cease::MAXIMUM_PREFIXES) => "Maximum Number of Prefixes Reached",
            (6, cease::ADMINISTRATIVE_SHUTDOWN) => "Administrative Shutdown",
            (6, cease::PEER_DECONFIGURED) => "Peer De-configured",
            (6, cease::ADMINISTRATIVE_RESET) => "Administrative Reset",
            (6, cease::CONNECTION_REJECTED) => "Connection Rejected",
            (6, cease::OTHER_CONFIGURATION_CHANGE) => "Other Configuration Change",
            (6, cease::COLLISION_RESOLUTION) => "Connection Collision Resolution",
            (6, cease::OUT_OF_RESOURCES) => "Out of Resources",
            (6, cease::HARD_RESET) => "Hard Reset",
            (6, cease::BFD_DOWN) => "BFD Down",
            (7, 1) => "Invalid Message Length",
            _ => return None,
        })
    }

    /// What the data says, where it is worth a word.
    fn detail(&self) -> Option<String> {
        let mut data = Reader::new(&self.data);
        match (self.code, self.subcode) {
            (1, 2) => data.u16().map(|length| format!("length {length}")),
            (1, 3) => data.u8().map(|number| format!("type {number}")),
            (2, 1) => data.u16().map(|version| format!("speaks version {version}")),
            // RFC 4271 defines none; BIRD and FRR say which AS it was that they did not expect.
            (2, 2) => {
                let number = if self.data.len() == 4 { data.u32() } else { data.u16().map(u32::from) };
                number.map(|number| format!("AS {number}"))
            }
            (3, 3) => data.u8().map(|code| format!("attribute {code}")),
            (3, 2 | 4 | 5 | 6 | 8 | 9) => data.take(2).map(|head| format!("attribute {}", head[1])),
            (5, 1..=3) => data.u8().map(|number| format!("type {number}")),
            (6, cease::MAXIMUM_PREFIXES) => {
                let (afi, safi, bound) = (data.u16()?, data.u8()?, data.u32()?);
                Some(format!("AFI {afi} SAFI {safi}, at most {bound}"))
            }
            // Not a Hard Reset inside a Hard Reset: a peer could nest a thousand of them.
            (6, cease::HARD_RESET) => {
                let inner = self.hard_reset_reason()?;
                inner.hard_reset_reason().is_none().then(|| inner.to_string())
            }
            // Escaped: the text is a stranger's, and goes to logs and terminals.
            _ => self.shutdown_text().map(|text| format!("\"{}\"", text.escape_debug())),
        }
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code_name())?;
        match self.subcode_name() {
            Some(name) => write!(f, ": {name} ({}/{})", self.code, self.subcode)?,
            None => write!(f, " ({}/{})", self.code, self.subcode)?,
        }
        match self.detail() {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Notification {}

/// Length and text, cut at 255 bytes between two characters.
fn shutdown_data(text: &str) -> Vec<u8> {
    let end = (0..=text.len().min(SHUTDOWN_TEXT)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    let text = &text.as_bytes()[..end];
    match u8::try_from(text.len()) {
        Ok(length) if length > 0 => [&[length], text].concat(),
        _ => Vec::new(),
    }
}

/// Code, subcode and data; `None` with fewer than two bytes.
pub(super) fn decode(body: &[u8]) -> Option<Notification> {
    let mut reader = Reader::new(body);
    let (code, subcode) = (reader.u8()?, reader.u8()?);
    Some(Notification::new(code, subcode, reader.rest()))
}

/// The whole message. Data that does not fit into 4096 bytes is cut.
pub fn encode_notification(notification: &Notification) -> Vec<u8> {
    let data = &notification.data[..notification.data.len().min(MAX_MESSAGE - HEADER - 2)];
    let mut out = Vec::with_capacity(HEADER + 2 + data.len());
    let start = header::begin(MessageType::Notification, &mut out);
    out.extend_from_slice(&[notification.code, notification.subcode]);
    out.extend_from_slice(data);
    header::finish(start, &mut out);
    out
}

#[cfg(test)]
#[path = "notification_tests.rs"]
mod tests;
