//! What is sent, and the check of what arrives: prefixes in order, so many of them to an attribute set, each set with an AS
//! path and communities of its own.

use std::ops::Range;
use std::time::Instant;

use super::session::{MARKER, message};

pub const SPEAKER_AS: u32 = 65010;
pub const SENDER_AS: u32 = 65001;
/// The origin AS of the first set; the others count up from it.
const ORIGIN_AS: u32 = 4_200_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub prefixes: usize,
    pub length: u8,
    pub per_set: usize,
}

impl Load {
    pub fn address(&self, index: usize) -> u32 {
        0x0a00_0000 + ((index as u32) << (32 - self.length))
    }

    /// One UPDATE a set; each set as [`Load::check`] wants it.
    pub fn updates(&self, next_hop: [u8; 4]) -> Vec<u8> {
        let mut out = Vec::new();
        for set in 0..self.prefixes.div_ceil(self.per_set) {
            let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 10, 2, 2];
            attributes.extend(SENDER_AS.to_be_bytes());
            attributes.extend((ORIGIN_AS + set as u32).to_be_bytes());
            attributes.extend([0x40, 3, 4]);
            attributes.extend(next_hop);
            attributes.extend([0xc0, 8, 8]);
            attributes.extend(communities(set));
            let mut body = vec![0, 0];
            body.extend((attributes.len() as u16).to_be_bytes());
            body.extend(attributes);
            for index in self.of_set(set) {
                body.push(self.length);
                let bytes = self.address(index).to_be_bytes();
                body.extend(&bytes[..usize::from(self.length.div_ceil(8))]);
            }
            out.extend(message(2, &body));
        }
        out
    }

    fn of_set(&self, set: usize) -> Range<usize> {
        set * self.per_set..((set + 1) * self.per_set).min(self.prefixes)
    }
}

/// The prefix of which there is news, and none of a load.
const NEWS: [u8; 5] = [32, 198, 18, 0, 1];

/// An UPDATE with news of that prefix: its number is a community.
pub fn news(as_number: u32, next_hop: [u8; 4], number: u32) -> Vec<u8> {
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 6, 2, 1];
    attributes.extend(as_number.to_be_bytes());
    attributes.extend([0x40, 3, 4]);
    attributes.extend(next_hop);
    attributes.extend([0xc0, 8, 4]);
    attributes.extend(number.to_be_bytes());
    let mut body = vec![0, 0];
    body.extend((attributes.len() as u16).to_be_bytes());
    body.extend(attributes);
    body.extend(NEWS);
    message(2, &body)
}

fn communities(set: usize) -> [u8; 8] {
    let set = set as u32;
    let [a, b, c, d] = (SENDER_AS << 16 | 7).to_be_bytes();
    let [e, f, g, h] = (SENDER_AS << 16 | 0x8000 | (set & 0x7fff)).to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

/// What one receiver has been told.
pub struct Table {
    load: Load,
    next_hop: [u8; 4],
    has: Vec<bool>,
    /// How many prefixes it has at present.
    pub count: usize,
    /// The numbers of news, and when they came.
    pub news: Vec<(u32, Instant)>,
}

impl Table {
    pub fn new(load: Load, next_hop: [u8; 4]) -> Table {
        Table { load, next_hop, has: vec![false; load.prefixes], count: 0, news: Vec::new() }
    }

    pub fn is_full(&self) -> bool {
        self.count == self.load.prefixes
    }

    /// Takes in the body of an UPDATE, and panics over whatever the sender did not say.
    pub fn update(&mut self, body: &[u8]) {
        let (withdrawn, rest) = field(body);
        let (attributes, announced) = field(rest);
        if announced == NEWS {
            self.news.extend(attribute(attributes, 8).map(|four| {
                let number = u32::from_be_bytes(four.try_into().expect("one community"));
                (number, Instant::now())
            }));
            return;
        }
        self.each(withdrawn, false, None);
        if !announced.is_empty() {
            let set = self.check(attributes);
            self.each(announced, true, Some(self.load.of_set(set)));
        }
    }

    fn each(&mut self, mut prefixes: &[u8], reachable: bool, of_set: Option<Range<usize>>) {
        let bytes = usize::from(self.load.length.div_ceil(8));
        while let Some((&length, rest)) = prefixes.split_first() {
            assert_eq!(length, self.load.length, "the prefix length");
            let mut address = [0; 4];
            address[..bytes].copy_from_slice(&rest[..bytes]);
            prefixes = &rest[bytes..];
            let index = ((u32::from_be_bytes(address) - 0x0a00_0000) >> (32 - self.load.length)) as usize;
            if let Some(of_set) = &of_set {
                assert!(of_set.contains(&index), "prefix {index} with attributes of the prefixes {of_set:?}");
            }
            let before = std::mem::replace(&mut self.has[index], reachable);
            self.count = self.count + usize::from(reachable) - usize::from(before);
        }
    }

    /// Which set it is; everything else in it must be as the sender said, with the speaker in front.
    fn check(&self, mut attributes: &[u8]) -> usize {
        let (mut origin, mut path, mut next_hop, mut tags) = (None, Vec::new(), None, None);
        while let [flags, code, rest @ ..] = attributes {
            let (length, rest) = length(*flags, rest);
            let (value, rest) = rest.split_at(length);
            attributes = rest;
            match code {
                1 => origin = Some(value),
                2 => path = hops(value),
                3 => next_hop = Some(value),
                8 => tags = Some(value),
                _ => panic!("attribute {code} that nobody sent"),
            }
        }
        let [SPEAKER_AS, SENDER_AS, origin_as] = path[..] else { panic!("the AS path {path:?}") };
        let set = (origin_as - ORIGIN_AS) as usize;
        assert_eq!(origin, Some(&[0u8][..]), "ORIGIN");
        assert_eq!(next_hop, Some(&self.next_hop[..]), "NEXT_HOP");
        assert_eq!(tags, Some(&communities(set)[..]), "COMMUNITIES");
        set
    }
}

/// The value of an attribute.
fn attribute(mut attributes: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [flags, code, rest @ ..] = attributes {
        let (length, rest) = length(*flags, rest);
        let (value, rest) = rest.split_at(length);
        if *code == wanted {
            return Some(value);
        }
        attributes = rest;
    }
    None
}

/// How long an attribute's value is, and what follows the length.
fn length(flags: u8, rest: &[u8]) -> (usize, &[u8]) {
    match flags & 0x10 {
        0 => (usize::from(rest[0]), &rest[1..]),
        _ => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
    }
}

fn field(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    bytes[2..].split_at(length)
}

/// The AS numbers of a path of sequences.
fn hops(mut value: &[u8]) -> Vec<u32> {
    let mut hops = Vec::with_capacity(3);
    while let [kind, count, rest @ ..] = value {
        assert_eq!(*kind, 2, "a sequence");
        let (numbers, rest) = rest.split_at(usize::from(*count) * 4);
        hops.extend(numbers.chunks(4).map(|four| u32::from_be_bytes(four.try_into().expect("four bytes"))));
        value = rest;
    }
    hops
}

/// The first whole message of what came in: its type and body, and its length on the wire.
pub fn first_message(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (head, _) = bytes.split_at_checked(19)?;
    assert_eq!(head[..16], MARKER, "the marker");
    let length = usize::from(u16::from_be_bytes([head[16], head[17]]));
    let whole = bytes.get(..length)?;
    Some((head[18], &whole[19..], length))
}
