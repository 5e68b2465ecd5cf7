//! What the log says of routes that came malformed, and of routes that cannot be told.

use routenet_core::bgp::speaker::detail::Fault;
use tracing::warn;

use super::listing::hex;

/// RFC 7606 section 6 wants the prefixes, and the whole message.
pub fn malformed(peer: &str, name: &str, fault: &Fault, unreported: u64) {
    let outcome = if fault.fatal { "the session is reset" } else { "mended" };
    let prefixes: Vec<String> = fault.prefixes.iter().map(ToString::to_string).collect();
    let (what, prefixes, update) = (&fault.what, prefixes.join(" "), hex(&fault.message));
    let before = match unreported {
        0 => String::new(),
        number => format!(", after {number} that were only counted"),
    };
    warn!(peer, name, what, prefixes, update, "malformed UPDATE (RFC 7606), {outcome}{before}");
}

pub fn too_long(peer: &str, name: &str, what: &str) {
    warn!(peer, name, what, "a route is not told; `routectl bgp neighbor` counts others");
}
