//! Names: newtypes over text that was checked once, at the door.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a valid {what}: {expected}")]
pub struct NameError {
    pub given: String,
    pub what: &'static str,
    pub expected: &'static str,
}

/// Lower-case hexadecimal digits of a SHA-256 over the parts, each preceded by its length: stable over versions, so
/// names in the kernel can be found again after an upgrade. At most 64 digits.
pub fn stable_hash<'a>(parts: impl IntoIterator<Item = &'a str>, digits: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let nibbles = hash.finalize().into_iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    nibbles.take(digits).filter_map(|nibble| char::from_digit(u32::from(nibble), 16)).collect()
}

/// Whether a text can name an object of the cluster (RFC 1123 subdomain, as in Kubernetes).
pub fn is_dns_subdomain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

fn is_loose_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_interface(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 15
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                if $check(&text) {
                    Ok($name(text))
                } else {
                    Err(NameError { given: text, what: $what, expected: $expected })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                $name::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                $name::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name of a node, as other nodes know it.
    NodeName, "node name", "expected lower-case letters, digits, `-` and `.` (RFC 1123)", is_dns_subdomain
);
name!(
    /// The name of an address pool.
    PoolName, "pool name", "expected lower-case letters, digits, `-` and `.` (RFC 1123)", is_dns_subdomain
);
name!(
    /// The name of a network. Docker and CNI allow more in theirs than Kubernetes does.
    NetworkName, "network name",
    "expected a letter or digit, then letters, digits, `.`, `_` and `-`", is_loose_name
);
name!(
    /// The name of a network interface: at most 15 bytes (IFNAMSIZ), no `/`, `:` or space.
    InterfaceName, "interface name",
    "expected at most 15 printable characters without `/`, `:` and space, and not `.` or `..`", is_interface
);

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
