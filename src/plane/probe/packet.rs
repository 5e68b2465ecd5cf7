//! The probe and its answers on the wire: what is to be expected, and whether a packet is it.

use std::net::IpAddr;

use routenet_core::model::Protocol;

/// The types of ICMP and of ICMPv6.
pub const ECHO_REQUEST: [u8; 2] = [8, 128];
const ECHO_REPLY: [u8; 2] = [0, 129];
/// (type, code, words): RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3.
const ERRORS_V4: [(u8, &[u8], &str); 8] = [
    (3, &[0, 5, 11], "network unreachable"),
    (3, &[1, 12], "host unreachable"),
    (3, &[2], "protocol unreachable"),
    (3, &[3], "port unreachable: nothing listens there"),
    (3, &[4], "too large, and not to be fragmented"),
    (3, &[9, 10, 13], "administratively prohibited"),
    (11, &[0, 1], "time exceeded: the routes lead in a circle"),
    (12, &[0, 1, 2], "parameter problem"),
];
const ERRORS_V6: [(u8, &[u8], &str); 7] = [
    (1, &[0], "no route"),
    (1, &[1, 5, 6], "administratively prohibited"),
    (1, &[2, 3], "address unreachable"),
    (1, &[4], "port unreachable: nothing listens there"),
    (2, &[0], "too large"),
    (3, &[0, 1], "time exceeded: the routes lead in a circle"),
    (4, &[0, 1, 2], "parameter problem"),
];

/// What a packet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Probe,
    /// In words.
    Answer(String),
    /// An ICMP error: who says it, and what.
    Error(IpAddr, String),
}

/// As far as it is looked at.
pub struct Packet<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// From the network header on; it may be cut short behind.
    pub fn read(bytes: &'a [u8]) -> Option<Packet<'a>> {
        match bytes.first()? >> 4 {
            4 => {
                let header = usize::from(bytes[0] & 0xf) * 4;
                let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
                Some(Packet {
                    source: address(12)?,
                    destination: address(16)?,
                    protocol: Protocol(bytes[9]),
                    payload: bytes.get(header..)?,
                })
            }
            6 => {
                let address = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?));
                Some(Packet {
                    source: address(8)?,
                    destination: address(24)?,
                    protocol: Protocol(bytes[6]),
                    payload: bytes.get(40..)?,
                })
            }
            _ => None,
        }
    }

    fn ports(&self) -> Option<(u16, u16)> {
        let ports = self.payload.get(..4)?;
        Some((u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]])))
    }
}

/// What belongs to one probe, also where one of its ends was translated.
pub struct Expected {
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    /// Of TCP and UDP, (own, other's).
    ports: (u16, u16),
    echo_id: u16,
}

impl Expected {
    pub fn ports((source, destination): (IpAddr, IpAddr), protocol: Protocol, own: u16, other: u16) -> Expected {
        Expected { source, destination, protocol, ports: (own, other), echo_id: 0 }
    }

    pub fn echo((source, destination): (IpAddr, IpAddr), echo_id: u16) -> Expected {
        let protocol = if source.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
        Expected { source, destination, protocol, ports: (0, 0), echo_id }
    }

    /// What the packet is to the probe, if anything.
    pub fn seen(&self, packet: &Packet) -> Option<Seen> {
        if self.is_probe(packet) {
            return Some(Seen::Probe);
        }
        self.error(packet).or_else(|| self.answer(packet).map(Seen::Answer))
    }

    fn is_probe(&self, packet: &Packet) -> bool {
        let from_or_to = packet.source == self.source || packet.destination == self.destination;
        from_or_to && packet.protocol == self.protocol && self.carries(packet, self.ports, ECHO_REQUEST)
    }

    fn answer(&self, packet: &Packet) -> Option<String> {
        let from_or_to = packet.source == self.destination || packet.destination == self.source;
        let (own, other) = self.ports;
        if !from_or_to || packet.protocol != self.protocol || !self.carries(packet, (other, own), ECHO_REPLY) {
            return None;
        }
        Some(match self.protocol {
            Protocol::TCP => {
                let flags = packet.payload.get(13)?;
                match (flags & 0x04 != 0, flags & 0x12 == 0x12) {
                    (true, _) => "a reset: nothing listens there".to_string(),
                    (_, true) => "SYN, ACK: it listens".to_string(),
                    _ => return None,
                }
            }
            Protocol::UDP => "a datagram".to_string(),
            _ => "an echo reply".to_string(),
        })
    }

    fn carries(&self, packet: &Packet, ports: (u16, u16), icmp: [u8; 2]) -> bool {
        if self.protocol == Protocol::TCP || self.protocol == Protocol::UDP {
            return packet.ports() == Some(ports);
        }
        let kind = if self.source.is_ipv4() { icmp[0] } else { icmp[1] };
        let id = packet.payload.get(4..6).map(|id| u16::from_be_bytes([id[0], id[1]]));
        packet.payload.first() == Some(&kind) && id == Some(self.echo_id)
    }

    /// An ICMP error about the probe: it quotes it.
    fn error(&self, packet: &Packet) -> Option<Seen> {
        let errors: &[(u8, &[u8], &str)] = match packet.protocol {
            Protocol::ICMP => &ERRORS_V4,
            Protocol::ICMPV6 => &ERRORS_V6,
            _ => return None,
        };
        let [kind, code] = *packet.payload.first_chunk::<2>()?;
        let quoted = Packet::read(packet.payload.get(8..)?)?;
        if !self.is_probe(&quoted) {
            return None;
        }
        let known = errors.iter().find(|(of, codes, _)| *of == kind && codes.contains(&code));
        let words = known.map_or_else(|| format!("ICMP type {kind} code {code}"), |(.., words)| words.to_string());
        Some(Seen::Error(packet.source, words))
    }
}

/// An echo request. Of ICMPv6 the kernel computes the checksum.
pub fn echo(kind: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let sum = u32::from(u16::from_be_bytes([kind, 0])) + u32::from(id) + 1;
    let [check_high, check_low] = (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes();
    vec![kind, 0, check_high, check_low, high, low, 0, 1]
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
