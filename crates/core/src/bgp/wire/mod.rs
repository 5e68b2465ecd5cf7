//! The wire format (RFC 4271 section 4): our own types, and the quarantine of zettabgp.
//!
//! Bytes from a peer become a [`Message`] by [`message_length`] and [`decode`]; what we say becomes bytes by the
//! `encode_*` functions. Called by the session FSM (every message) and the speaker (updates). Nothing above this
//! room sees a length, a flag or a type of zettabgp.
//!
//! * **No panic, no endless loop, no work out of proportion**: each byte of a message is looked at a fixed number of
//!   times, and zettabgp is handed nothing whose length has not been checked (see `zetta`). A caller that wraps
//!   [`decode`] all the same loses one message by it.
//! * **An `Err` is the NOTIFICATION to send** before closing (RFC 4271 section 6: code, subcode, data). What RFC 7606
//!   lets a session survive is no `Err`: it is in [`Update::defects`], already applied.
//!
//! What is left to the session, because it needs more than one message: whether the peer's AS, router id and first AS
//! of the path are the expected ones, and whether a next hop is ours or reachable.

mod as_path;
mod attribute;
mod capability;
mod encode;
mod header;
mod multiprotocol;
mod nlri;
mod notification;
mod open;
mod reader;
mod refresh;
mod table;
pub mod types;
mod update;
mod zetta;

pub use encode::{EncodeError, EncodedPath, encode_end_of_rib, encode_reach, encode_withdraw};
pub use header::{MessageType, encode_keepalive, message_length};
pub use notification::{cease, encode_notification};
pub use open::{AS_TRANS, encode_open};
pub use refresh::{encode_route_refresh, refresh_subtype};
pub use table::encode_table_attributes;
pub use types::*;

/// Decodes one whole message, header included, as [`message_length`] cut it from the stream.
///
/// # Errors
/// The NOTIFICATION that RFC 4271 section 6 (and RFC 7606, RFC 7313) wants sent before the session is closed.
pub fn decode(message: &[u8], context: &CodecContext) -> Result<Message, Notification> {
    let wrong_length = || Notification::bad_message_length(u16::try_from(message.len()).unwrap_or(u16::MAX));
    if message_length(message)? != Some(message.len()) {
        return Err(wrong_length());
    }
    let body = &message[HEADER..];
    match MessageType::of(message[HEADER - 1]) {
        Some(MessageType::Open) => open::decode(body).map(Message::Open),
        Some(MessageType::Update) => update::decode(body, context).map(Message::Update),
        Some(MessageType::Notification) => {
            notification::decode(body).ok_or_else(wrong_length).map(Message::Notification)
        }
        Some(MessageType::Keepalive) => Ok(Message::Keepalive),
        Some(MessageType::RouteRefresh) => refresh::decode(message),
        None => Err(Notification::bad_message_type(message[HEADER - 1])),
    }
}

#[cfg(test)]
#[path = "properties_tests.rs"]
mod properties_tests;
#[cfg(test)]
mod test_support;
#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "zettabgp_defects_tests.rs"]
mod zettabgp_defects_tests;
