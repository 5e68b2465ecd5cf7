//! ROUTE-REFRESH (RFC 2918) and its subtypes (RFC 7313).

use super::header::{self, MessageType};
use super::types::{AfiSafi, HEADER, Message, Notification};
use super::zetta;

/// Subtypes of ROUTE-REFRESH (RFC 7313 section 3.2). A session ignores any other.
pub mod refresh_subtype {
    pub const REQUEST: u8 = 0;
    pub const BEGIN: u8 = 1;
    pub const END: u8 = 2;
}

/// AFI, subtype, SAFI.
const BODY: usize = 4;

/// RFC 7313 section 5 gives a bad length of subtypes 1 and 2 an error of its own, with the whole message as data, and
/// wants unknown subtypes ignored whatever follows them. No RFC says what else is to be said of a bad length, so that is said.
pub(super) fn decode(message: &[u8]) -> Result<Message, Notification> {
    let body = &message[HEADER..];
    let wrong_length = || Notification::new(Notification::ROUTE_REFRESH_ERROR, 1, message);
    let known = body.get(2).is_some_and(|subtype| *subtype <= refresh_subtype::END);
    if known && body.len() != BODY {
        return Err(wrong_length());
    }
    let (afi, safi, subtype) = zetta::refresh(body).ok_or_else(wrong_length)?;
    Ok(Message::RouteRefresh { family: AfiSafi { afi, safi }, subtype })
}

/// The whole message. `subtype` is one of [`refresh_subtype`].
pub fn encode_route_refresh(family: AfiSafi, subtype: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + BODY);
    let start = header::begin(MessageType::RouteRefresh, &mut out);
    zetta::put_refresh(family.afi, family.safi, subtype, &mut out);
    header::finish(start, &mut out);
    out
}
