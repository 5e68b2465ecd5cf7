//! Messages as raw bytes, right or wrong as a row wants them.

use std::net::{IpAddr, Ipv6Addr};

use crate::heard::Prefix;

pub const OPEN: u8 = 1;
pub const UPDATE: u8 = 2;
pub const NOTIFICATION: u8 = 3;
pub const KEEPALIVE: u8 = 4;
pub const ROUTE_REFRESH: u8 = 5;

pub const OPTIONAL: u8 = 0x80;
pub const TRANSITIVE: u8 = 0x40;
pub const PARTIAL: u8 = 0x20;
pub const EXTENDED: u8 = 0x10;
pub const WELL_KNOWN: u8 = TRANSITIVE;
pub const OPTIONAL_TRANSITIVE: u8 = OPTIONAL | TRANSITIVE;

pub const ORIGIN: u8 = 1;
pub const AS_PATH: u8 = 2;
pub const NEXT_HOP: u8 = 3;
pub const MED: u8 = 4;
pub const LOCAL_PREF: u8 = 5;
pub const ATOMIC_AGGREGATE: u8 = 6;
pub const AGGREGATOR: u8 = 7;
pub const COMMUNITIES: u8 = 8;
pub const ORIGINATOR_ID: u8 = 9;
pub const CLUSTER_LIST: u8 = 10;
pub const MP_REACH: u8 = 14;
pub const MP_UNREACH: u8 = 15;
pub const EXTENDED_COMMUNITIES: u8 = 16;
pub const AS4_PATH: u8 = 17;
pub const AS4_AGGREGATOR: u8 = 18;
pub const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
pub const AIGP: u8 = 26;
pub const LARGE_COMMUNITIES: u8 = 32;
pub const OTC: u8 = 35;

pub const IPV4: u16 = 1;
pub const IPV6: u16 = 2;
pub const UNICAST: u8 = 1;

/// A message with a header as it should be.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    header([0xff; 16], 19 + body.len(), kind, body)
}

pub fn header(marker: [u8; 16], length: usize, kind: u8, body: &[u8]) -> Vec<u8> {
    [&marker[..], &(length as u16).to_be_bytes(), &[kind], body].concat()
}

pub fn keepalive() -> Vec<u8> {
    message(KEEPALIVE, &[])
}

pub fn refresh(afi: u16, subtype: u8, safi: u8) -> Vec<u8> {
    let [high, low] = afi.to_be_bytes();
    message(ROUTE_REFRESH, &[high, low, subtype, safi])
}

#[derive(Clone, Debug)]
pub struct Open {
    pub version: u8,
    pub as_field: u16,
    pub hold_time: u16,
    pub id: [u8; 4],
    /// The optional parameters, their length of one octet before them.
    pub parameters: Vec<u8>,
}

impl Open {
    /// Both families, route refresh and four-octet AS numbers; a hold time of 0, so that nobody has to say anything.
    pub fn new(as_number: u32, id: [u8; 4]) -> Open {
        let capabilities = [
            multiprotocol(IPV4, UNICAST),
            multiprotocol(IPV6, UNICAST),
            capability(2, &[]),
            capability(65, &as_number.to_be_bytes()),
        ];
        Open::with(as_number, id, &[parameter(2, &capabilities.concat())])
    }

    /// With these parameters alone.
    pub fn with(as_number: u32, id: [u8; 4], parameters: &[Vec<u8>]) -> Open {
        let parameters = parameters.concat();
        Open {
            version: 4,
            as_field: u16::try_from(as_number).unwrap_or(23456),
            hold_time: 0,
            id,
            parameters: [&[parameters.len() as u8], &parameters[..]].concat(),
        }
    }

    pub fn hold(mut self, seconds: u16) -> Open {
        self.hold_time = seconds;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        message(OPEN, &self.body())
    }

    pub fn body(&self) -> Vec<u8> {
        let (as_field, hold_time) = (self.as_field.to_be_bytes(), self.hold_time.to_be_bytes());
        [&[self.version][..], &as_field, &hold_time, &self.id, &self.parameters].concat()
    }
}

/// What was offered, and these capabilities in a parameter of their own (RFC 5492 section 4).
pub fn offering(mut open: Open, capabilities: &[Vec<u8>]) -> Open {
    if !capabilities.is_empty() {
        open.parameters.extend(parameter(2, &capabilities.concat()));
        open.parameters[0] = u8::try_from(open.parameters.len() - 1).expect("not that long");
    }
    open
}

pub fn capability(code: u8, value: &[u8]) -> Vec<u8> {
    [&[code, value.len() as u8], value].concat()
}

pub fn multiprotocol(afi: u16, safi: u8) -> Vec<u8> {
    let [high, low] = afi.to_be_bytes();
    capability(1, &[high, low, 0, safi])
}

pub fn parameter(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, value.len() as u8], value].concat()
}

/// One path attribute.
#[derive(Clone, Debug)]
pub struct Attribute {
    pub flags: u8,
    pub code: u8,
    pub value: Vec<u8>,
    /// What its length field says, where that is not the truth.
    pub length: Option<usize>,
}

pub fn attribute(flags: u8, code: u8, value: &[u8]) -> Attribute {
    Attribute { flags, code, value: value.to_vec(), length: None }
}

impl Attribute {
    pub fn bytes(&self) -> Vec<u8> {
        let length = self.length.unwrap_or(self.value.len());
        let head = match (self.flags & EXTENDED, u8::try_from(length)) {
            (0, Ok(length)) => vec![self.flags, self.code, length],
            _ => [&[self.flags | EXTENDED, self.code], &(length as u16).to_be_bytes()[..]].concat(),
        };
        [head, self.value.clone()].concat()
    }
}

/// An UPDATE in the making.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub withdrawn: Vec<u8>,
    pub withdrawn_length: Option<usize>,
    pub attributes: Vec<Attribute>,
    /// Behind the last attribute, and counted with them.
    pub tail: Vec<u8>,
    pub attributes_length: Option<usize>,
    pub nlri: Vec<u8>,
}

impl Draft {
    pub fn body(&self) -> Vec<u8> {
        let mut attributes: Vec<u8> = self.attributes.iter().flat_map(Attribute::bytes).collect();
        attributes.extend(&self.tail);
        let lengths = [
            self.withdrawn_length.unwrap_or(self.withdrawn.len()) as u16,
            self.attributes_length.unwrap_or(attributes.len()) as u16,
        ];
        let [withdrawn_length, attributes_length] = lengths.map(u16::to_be_bytes);
        [&withdrawn_length[..], &self.withdrawn, &attributes_length, &attributes, &self.nlri].concat()
    }

    pub fn bytes(&self) -> Vec<u8> {
        message(UPDATE, &self.body())
    }

    pub fn remove(&mut self, code: u8) {
        self.attributes.retain(|attribute| attribute.code != code);
    }

    /// In the place of the one of its type, else at the end.
    pub fn put(&mut self, attribute: Attribute) {
        match self.attributes.iter_mut().find(|known| known.code == attribute.code) {
            Some(known) => *known = attribute,
            None => self.attributes.push(attribute),
        }
    }

    pub fn push(&mut self, attribute: Attribute) {
        self.attributes.push(attribute);
    }

    pub fn get(&mut self, code: u8) -> &mut Attribute {
        self.attributes.iter_mut().find(|attribute| attribute.code == code).expect("the row's draft has it")
    }
}

/// Prefixes as NLRI.
pub fn nlri(prefixes: &[Prefix]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (address, length) in prefixes {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        bytes.push(*length);
        bytes.extend(&octets[..usize::from(length.div_ceil(8))]);
    }
    bytes
}

/// One segment of an AS_PATH with numbers of four octets.
pub fn segment(kind: u8, numbers: &[u32]) -> Vec<u8> {
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    [&[kind, (numbers.len() / 4) as u8], &numbers[..]].concat()
}

pub fn sequence(numbers: &[u32]) -> Vec<u8> {
    segment(2, numbers)
}

/// One segment of an AS_PATH with numbers of two octets.
pub fn segment2(kind: u8, numbers: &[u16]) -> Vec<u8> {
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    [&[kind, (numbers.len() / 2) as u8], &numbers[..]].concat()
}

pub fn sequence2(numbers: &[u16]) -> Vec<u8> {
    segment2(2, numbers)
}

/// The value of an MP_REACH_NLRI.
pub fn mp_reach(afi: u16, safi: u8, next_hop: &[u8], nlri: &[u8]) -> Vec<u8> {
    [&afi.to_be_bytes()[..], &[safi, next_hop.len() as u8], next_hop, &[0], nlri].concat()
}

/// The value of an MP_UNREACH_NLRI.
pub fn mp_unreach(afi: u16, safi: u8, nlri: &[u8]) -> Vec<u8> {
    [&afi.to_be_bytes()[..], &[safi], nlri].concat()
}

pub fn v6(address: &str) -> [u8; 16] {
    address.parse::<Ipv6Addr>().expect("an IPv6 address").octets()
}
