//! A route by a nexthop object, straight into the bytes of its message: of all routes these may be a hundred thousand,
//! and a message of attributes each would be most of the work on them.

use std::net::IpAddr;

use routenet_core::desired::{Route, RouteKey};
use routenet_core::model::Family;

use crate::plane::netlink::Encoded;

use super::message;

/// The message that installs a route which leads by an object: that alone says where.
pub(super) fn by_object(key: &RouteKey, route: &Route, nexthop: u32) -> Encoded {
    let family = if key.dst.family() == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
    // `rtmsg`: family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
    let header = [
        family as u8,
        key.dst.length(),
        0,
        0,
        libc::RT_TABLE_MAIN,
        message::protocol(route),
        libc::RT_SCOPE_UNIVERSE,
        message::kind(route).into(),
        0,
        0,
        0,
        0,
    ];
    let mut encoded = Encoded::new(libc::RTM_NEWROUTE, &header);
    put(&mut encoded, libc::RTA_DST, key.dst.address());
    encoded.attribute(libc::RTA_PRIORITY, &message::metric(key).to_ne_bytes());
    if let Route::Learned { src: Some(src), .. } | Route::Tunnelled { src: Some(src), .. } = route {
        put(&mut encoded, libc::RTA_PREFSRC, *src);
    }
    encoded.attribute(RTA_NH_ID, &nexthop.to_ne_bytes());
    encoded
}

/// Of linux/rtnetlink.h, since Linux 5.3.
const RTA_NH_ID: u16 = 30;

fn put(encoded: &mut Encoded, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => encoded.attribute(kind, &address.octets()),
        IpAddr::V6(address) => encoded.attribute(kind, &address.octets()),
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
