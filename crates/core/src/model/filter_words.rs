//! Communities and AS paths as people write them in filters, and back.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is wrong with a word, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WordError(String);

/// RFC 1997, RFC 8326: the communities that have names (IANA "BGP Well-known Communities").
const WELL_KNOWN: [(&str, u32); 5] = [
    ("graceful-shutdown", 0xffff_0000),
    ("blackhole", 0xffff_029a),
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-export-subconfed", 0xffff_ff03),
];

/// Sub-types of extended communities with names (RFC 4360 sections 4 and 5).
const EXTENDED: [(&str, u8); 2] = [("rt", 2), ("soo", 3)];

/// One community: standard (RFC 1997), large (RFC 8092) or extended (RFC 4360).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Community {
    Standard(u32),
    Large(u32, u32, u32),
    Extended([u8; 8]),
}

/// Communities: one, or with `*` for a part of a standard or large one all that have any value there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommunityPattern {
    Standard([Option<u16>; 2]),
    Large([Option<u32>; 3]),
    Extended([u8; 8]),
}

impl CommunityPattern {
    pub fn standard(&self, community: u32) -> bool {
        let parts = [(community >> 16) as u16, community as u16];
        matches!(self, CommunityPattern::Standard(wanted) if fits(wanted, &parts))
    }

    pub fn large(&self, (a, b, c): (u32, u32, u32)) -> bool {
        matches!(self, CommunityPattern::Large(wanted) if fits(wanted, &[a, b, c]))
    }

    pub fn extended(&self, community: &[u8; 8]) -> bool {
        matches!(self, CommunityPattern::Extended(wanted) if wanted == community)
    }
}

fn fits<T: PartialEq>(wanted: &[Option<T>], parts: &[T]) -> bool {
    wanted.iter().zip(parts).all(|(wanted, part)| wanted.as_ref().is_none_or(|wanted| wanted == part))
}

impl FromStr for CommunityPattern {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        read_pattern(text).ok_or_else(|| {
            let kinds = "a standard one (65000:100), a large one (65000:1:2), an extended one (rt:65000:100, \
                         soo:192.0.2.1:7, ext:0x0002fde800000064) or a name (no-export)";
            WordError(format!("\"{text}\" is not a community: expected {kinds}"))
        })
    }
}

fn read_pattern(text: &str) -> Option<CommunityPattern> {
    if let Some((_, value)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
        return Some(CommunityPattern::Standard([Some((value >> 16) as u16), Some(*value as u16)]));
    }
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        ["ext", bytes] => {
            let digits = bytes.strip_prefix("0x").filter(|digits| digits.len() == 16)?;
            let sound = digits.bytes().all(|b| b.is_ascii_hexdigit());
            let value = sound.then(|| u64::from_str_radix(digits, 16).ok()).flatten()?;
            Some(CommunityPattern::Extended(value.to_be_bytes()))
        }
        [kind, administrator, number] if EXTENDED.iter().any(|(name, _)| name == kind) => {
            let (_, subtype) = EXTENDED.iter().find(|(name, _)| name == kind)?;
            read_extended(*subtype, administrator, number).map(CommunityPattern::Extended)
        }
        [a, b] => Some(CommunityPattern::Standard([part(a)?, part(b)?])),
        [a, b, c] => Some(CommunityPattern::Large([part(a)?, part(b)?, part(c)?])),
        _ => None,
    }
}

/// `*` is any. No signs: `parse` would take `+1`.
fn part<T: FromStr>(text: &str) -> Option<Option<T>> {
    match text {
        "*" => Some(None),
        text => digits(text).map(Some),
    }
}

fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// RFC 4360 section 3.1 and 3.2, RFC 5668: an administrator of two octets leaves four to the number, others two.
fn read_extended(subtype: u8, administrator: &str, number: &str) -> Option<[u8; 8]> {
    let mut bytes = [0, subtype, 0, 0, 0, 0, 0, 0];
    if let Some(short) = digits::<u16>(administrator) {
        bytes[2..4].copy_from_slice(&short.to_be_bytes());
        bytes[4..].copy_from_slice(&digits::<u32>(number)?.to_be_bytes());
        return Some(bytes);
    }
    let (kind, long) = match administrator.parse::<Ipv4Addr>() {
        Ok(address) => (1, address.octets()),
        Err(_) => (2, digits::<u32>(administrator)?.to_be_bytes()),
    };
    bytes[0] = kind;
    bytes[2..6].copy_from_slice(&long);
    bytes[6..].copy_from_slice(&digits::<u16>(number)?.to_be_bytes());
    Some(bytes)
}

impl fmt::Display for CommunityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = |part: Option<u32>| part.map_or_else(|| "*".to_string(), |number| number.to_string());
        match self {
            CommunityPattern::Standard([Some(high), Some(low)]) => {
                let value = u32::from(*high) << 16 | u32::from(*low);
                match WELL_KNOWN.iter().find(|(_, known)| *known == value) {
                    Some((name, _)) => f.write_str(name),
                    None => write!(f, "{high}:{low}"),
                }
            }
            CommunityPattern::Standard([a, b]) => write!(f, "{}:{}", any(a.map(u32::from)), any(b.map(u32::from))),
            CommunityPattern::Large([a, b, c]) => write!(f, "{}:{}:{}", any(*a), any(*b), any(*c)),
            CommunityPattern::Extended(bytes) => write_extended(bytes, f),
        }
    }
}

fn write_extended(bytes: &[u8; 8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let [kind, subtype, a, b, c, d, e, g] = *bytes;
    let name = EXTENDED.iter().find(|(_, known)| *known == subtype).map(|(name, _)| *name);
    let tail = u16::from_be_bytes([e, g]);
    match (name, kind) {
        (Some(name), 0) => {
            write!(f, "{name}:{}:{}", u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, g]))
        }
        (Some(name), 1) => write!(f, "{name}:{}:{tail}", Ipv4Addr::new(a, b, c, d)),
        // A small number here would read back as one of two octets.
        (Some(name), 2) if u32::from_be_bytes([a, b, c, d]) > u32::from(u16::MAX) => {
            write!(f, "{name}:{}:{tail}", u32::from_be_bytes([a, b, c, d]))
        }
        _ => write!(f, "ext:{:#018x}", u64::from_be_bytes(*bytes)),
    }
}

impl From<Community> for CommunityPattern {
    fn from(community: Community) -> Self {
        match community {
            Community::Standard(value) => CommunityPattern::Standard([Some((value >> 16) as u16), Some(value as u16)]),
            Community::Large(a, b, c) => CommunityPattern::Large([Some(a), Some(b), Some(c)]),
            Community::Extended(bytes) => CommunityPattern::Extended(bytes),
        }
    }
}

impl FromStr for Community {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text.parse()? {
            CommunityPattern::Standard([Some(high), Some(low)]) => {
                Ok(Community::Standard(u32::from(high) << 16 | u32::from(low)))
            }
            CommunityPattern::Large([Some(a), Some(b), Some(c)]) => Ok(Community::Large(a, b, c)),
            CommunityPattern::Extended(bytes) => Ok(Community::Extended(bytes)),
            _ => Err(WordError(format!("\"{text}\" names many communities: expected one, without `*`"))),
        }
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CommunityPattern::from(*self).fmt(f)
    }
}

/// A pattern over the whole AS path, from the neighbour to the origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsPathPattern(pub Vec<AsPathToken>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsPathToken {
    /// One AS from the first to the last, both included.
    Number(u32, u32),
    /// `?`: one AS, whichever.
    One,
    /// `*`: any number of them, also none.
    Any,
}

impl FromStr for AsPathPattern {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let token = |word: &str| match word {
            "*" => Some(AsPathToken::Any),
            "?" => Some(AsPathToken::One),
            word => {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                let (first, last) = (digits::<u32>(first)?, digits::<u32>(last)?);
                (first <= last && first != 0).then_some(AsPathToken::Number(first, last))
            }
        };
        let tokens: Result<Vec<AsPathToken>, WordError> = text
            .split_whitespace()
            .map(|word| {
                token(word).ok_or_else(|| {
                    let expected = "an AS number, a range (64512-65534), `?` for one AS or `*` for any number of them";
                    WordError(format!("\"{word}\" in an AS path pattern: expected {expected}"))
                })
            })
            .collect();
        tokens.map(AsPathPattern)
    }
}

impl fmt::Display for AsPathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.0.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            match token {
                AsPathToken::Number(first, last) if first == last => write!(f, "{space}{first}")?,
                AsPathToken::Number(first, last) => write!(f, "{space}{first}-{last}")?,
                AsPathToken::One => write!(f, "{space}?")?,
                AsPathToken::Any => write!(f, "{space}*")?,
            }
        }
        Ok(())
    }
}

/// In the store they are what people write.
macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Community, CommunityPattern, AsPathPattern);

#[cfg(test)]
#[path = "filter_words_tests.rs"]
mod tests;
