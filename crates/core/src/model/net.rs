//! Addresses: a CIDR whose host bits are zero, and the two address families.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Bits of an address: 32 or 128.
    pub const fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// `4` or `6`, as in the names of our sets.
    pub const fn digit(self) -> char {
        match self {
            Family::V4 => '4',
            Family::V6 => '6',
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// A prefix with all host bits zero, so that equal prefixes are equal values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr(IpNetwork);

/// As one number: tables of many prefixes are looked up all the time, and the parts one by one take several times as long.
impl Hash for Cidr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            IpNetwork::V4(network) => {
                state.write_u64(u64::from(network.ip().to_bits()) << 8 | u64::from(network.prefix()));
            }
            IpNetwork::V6(network) => {
                state.write_u128(network.ip().to_bits());
                state.write_u8(network.prefix());
            }
        }
    }
}

/// Why a text or an (address, length) pair is no [`Cidr`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    #[error("`{0}` is not a CIDR: expected ADDRESS/LENGTH, such as 10.0.0.0/16 or fd00::/64")]
    Syntax(String),
    #[error("`{given}` has host bits set: write {mend}")]
    HostBits { given: String, mend: Cidr },
    #[error("prefix length {length} is more than {family} has ({})", family.bits())]
    Length { length: u8, family: Family },
}

impl Cidr {
    /// The prefix of this length that holds `address`; host bits are cleared.
    pub fn new(address: IpAddr, length: u8) -> Result<Cidr, CidrError> {
        let network =
            IpNetwork::new(address, length).map_err(|_| CidrError::Length { length, family: Family::of(address) })?;
        Ok(Cidr(IpNetwork::new(network.network(), length).expect("length was valid a line ago")))
    }

    /// `address/32` or `address/128`.
    pub fn host(address: IpAddr) -> Cidr {
        Cidr(IpNetwork::from(address))
    }

    pub fn address(&self) -> IpAddr {
        self.0.ip()
    }

    pub fn length(&self) -> u8 {
        self.0.prefix()
    }

    pub fn family(&self) -> Family {
        Family::of(self.0.ip())
    }

    /// Whether this is one address only.
    pub fn is_host(&self) -> bool {
        self.length() == self.family().bits()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// Whether every address of `other` lies in this prefix.
    pub fn covers(&self, other: &Cidr) -> bool {
        self.family() == other.family() && self.length() <= other.length() && self.contains(other.address())
    }

    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The number of addresses, saturating at `u128::MAX`.
    pub fn size(&self) -> u128 {
        1u128.checked_shl(u32::from(self.family().bits() - self.length())).unwrap_or(u128::MAX)
    }

    /// The `index`-th address of the prefix, if it has that many.
    pub fn nth(&self, index: u128) -> Option<IpAddr> {
        if index >= self.size() {
            return None;
        }
        Some(match self.address() {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from(u32::from(a) + index as u32)),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from(u128::from(a) + index)),
        })
    }

    /// The prefixes of this length in it, in order; none if the length is shorter than its own or too long.
    pub fn subnets(&self, length: u8) -> impl Iterator<Item = Cidr> + use<> {
        let (whole, bits) = (*self, self.family().bits());
        let count = match length.checked_sub(whole.length()) {
            Some(more) if length <= bits => 1u128.checked_shl(u32::from(more)).unwrap_or(u128::MAX),
            _ => 0,
        };
        let size = 1u128.checked_shl(u32::from(bits.saturating_sub(length))).unwrap_or(u128::MAX);
        (0..count).map_while(move |index| Cidr::new(whole.nth(index.checked_mul(size)?)?, length).ok())
    }

    /// The position of `address` in the prefix, if it lies in it.
    pub fn index_of(&self, address: IpAddr) -> Option<u128> {
        if !self.contains(address) {
            return None;
        }
        Some(match (self.address(), address) {
            (IpAddr::V4(base), IpAddr::V4(a)) => u128::from(u32::from(a) - u32::from(base)),
            (IpAddr::V6(base), IpAddr::V6(a)) => u128::from(a) - u128::from(base),
            _ => return None,
        })
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// Strict: a length is required, and host bits must be zero.
    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let syntax = || CidrError::Syntax(text.to_string());
        let (address, length) = text.split_once('/').ok_or_else(syntax)?;
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(syntax());
        }
        let length: u8 = length.parse().map_err(|_| syntax())?;
        let cidr = Cidr::new(address, length)?;
        if cidr.address() != address {
            return Err(CidrError::HostBits { given: text.to_string(), mend: cidr });
        }
        Ok(cidr)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.length())
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cidr, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;
