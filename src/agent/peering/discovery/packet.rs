//! Router advertisements and solicitations as bytes (RFC 4861 4.1, 4.2); the kernel fills in the checksum, and looks at it.

/// ICMPv6 types.
pub const SOLICITATION: u8 = 133;
pub const ADVERTISEMENT: u8 = 134;
/// What a packet has that came over no router (RFC 4861 6.1).
pub const FULL_HOP_LIMIT: u8 = 255;
/// An advertisement without options.
const LEAST: usize = 16;
/// A solicitation without options.
const LEAST_SOLICITATION: usize = 8;

/// That there is a speaker here, and nothing that a host would follow: no hop limit, no flag, a lifetime of 0 (no default
/// router), no times, no prefix.
pub const fn advertisement() -> [u8; LEAST] {
    let mut bytes = [0; LEAST];
    bytes[0] = ADVERTISEMENT;
    bytes
}

/// Asks whoever is there for its advertisement.
pub const fn solicitation() -> [u8; LEAST_SOLICITATION] {
    let mut bytes = [0; LEAST_SOLICITATION];
    bytes[0] = SOLICITATION;
    bytes
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Advertisement,
    Solicitation,
}

/// RFC 4861 6.1.1 and 6.1.2, but for the checksum and the sender; `None`: it is to be discarded.
pub fn read(bytes: &[u8], hop_limit: u8) -> Option<Heard> {
    let (heard, least) = match *bytes.first()? {
        ADVERTISEMENT => (Heard::Advertisement, LEAST),
        SOLICITATION => (Heard::Solicitation, LEAST_SOLICITATION),
        _ => return None,
    };
    let code = *bytes.get(1)?;
    let options = bytes.get(least..)?;
    (hop_limit == FULL_HOP_LIMIT && code == 0 && are_options(options)).then_some(heard)
}

/// Each has a length, in units of 8 octets, that is not 0 and fits.
fn are_options(mut options: &[u8]) -> bool {
    while !options.is_empty() {
        let length = options.get(1).map_or(0, |length| usize::from(*length) * 8);
        match options.get(length..) {
            Some(rest) if length > 0 => options = rest,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
