//! What people write for the traffic of a flow: `tcp/80`, `udp/53`, `icmp`, `47`.

use std::fmt;
use std::str::FromStr;

use crate::model::Protocol;

/// A protocol, and the destination port where it has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    pub protocol: Protocol,
    pub port: Option<u16>,
}

impl FromStr for Traffic {
    type Err = String;

    fn from_str(text: &str) -> Result<Traffic, String> {
        let (name, port) = match text.split_once('/') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        let protocol = Protocol::from_word(name).ok_or_else(|| {
            format!(
                "unknown protocol \"{name}\"; expected tcp, udp, sctp, udplite, icmp, icmpv6 or a number from 1 to 255"
            )
        })?;
        let port = match (port, protocol.has_ports()) {
            (None, true) => {
                return Err(format!("{protocol} needs a port: write {protocol}/PORT, such as {protocol}/80"));
            }
            (Some(_), false) => return Err(format!("{protocol} has no ports: write {protocol}")),
            (None, false) => None,
            (Some(port), true) => match port.parse::<u16>() {
                Ok(port) => Some(port),
                Err(_) => return Err(format!("\"{port}\" is not a port: expected 0 to 65535")),
            },
        };
        Ok(Traffic { protocol, port })
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.protocol)?;
        self.port.map_or(Ok(()), |port| write!(f, "/{port}"))
    }
}
