//! The 19 bytes that open every message: marker, length, type (RFC 4271 sections 4.1 and 6.1).

use super::reader::Reader;
use super::types::{HEADER, MAX_MESSAGE, Notification};
use super::zetta;

const MARKER: [u8; 16] = [0xff; 16];

/// The message types that we speak (RFC 4271 4.1, RFC 2918).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    Open = 1,
    Update = 2,
    Notification = 3,
    Keepalive = 4,
    RouteRefresh = 5,
}

impl MessageType {
    /// `None` for a type that nobody defined.
    pub fn of(number: u8) -> Option<MessageType> {
        match number {
            1 => Some(MessageType::Open),
            2 => Some(MessageType::Update),
            3 => Some(MessageType::Notification),
            4 => Some(MessageType::Keepalive),
            5 => Some(MessageType::RouteRefresh),
            _ => None,
        }
    }

    /// The least and greatest total length. ROUTE-REFRESH has an error of its own (RFC 7313) for what is not 23.
    fn bounds(self) -> (usize, usize) {
        match self {
            MessageType::Open => (29, MAX_MESSAGE),
            MessageType::Update => (23, MAX_MESSAGE),
            MessageType::Notification => (21, MAX_MESSAGE),
            MessageType::Keepalive => (HEADER, HEADER),
            MessageType::RouteRefresh => (HEADER, MAX_MESSAGE),
        }
    }
}

/// The total length, in bytes, of the first message in `header`, which may hold more than the header; `None` with fewer
/// than 19 bytes. The answer is 19 to 4096, so a reader never has to buffer more than [`MAX_MESSAGE`].
///
/// # Errors
/// RFC 4271 6.1: Connection Not Synchronized; Bad Message Length with the length as data, also by the bounds of the
/// message's type; Bad Message Type with the type as data.
pub fn message_length(header: &[u8]) -> Result<Option<usize>, Notification> {
    let mut reader = Reader::new(header);
    let (Some(marker), Some(length), Some(number)) = (reader.array(), reader.u16(), reader.u8()) else {
        return Ok(None);
    };
    if marker != MARKER {
        return Err(Notification::connection_not_synchronized());
    }
    let total = usize::from(length);
    if !(HEADER..=MAX_MESSAGE).contains(&total) {
        return Err(Notification::bad_message_length(length));
    }
    let (least, most) = MessageType::of(number).ok_or_else(|| Notification::bad_message_type(number))?.bounds();
    if !(least..=most).contains(&total) {
        return Err(Notification::bad_message_length(length));
    }
    Ok(Some(total))
}

/// Appends a header whose length [`finish`] fills in; answers where the message starts.
pub(super) fn begin(kind: MessageType, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&[0, 0, kind as u8]);
    start
}

/// Writes the length of the message that starts at `start` and ends with the buffer.
pub(super) fn finish(start: usize, out: &mut [u8]) {
    put_u16(out, start + 16, out.len() - start);
}

/// Overwrites two bytes with a length that the caller has kept under [`MAX_MESSAGE`].
pub(super) fn put_u16(out: &mut [u8], at: usize, length: usize) {
    let length = u16::try_from(length).expect("a message is at most 4096 bytes");
    out[at..at + 2].copy_from_slice(&length.to_be_bytes());
}

/// A KEEPALIVE: a header and nothing else (RFC 4271 4.4).
pub fn encode_keepalive() -> [u8; HEADER] {
    zetta::keepalive()
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
