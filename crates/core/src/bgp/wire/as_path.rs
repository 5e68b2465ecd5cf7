//! AS_PATH and AS4_PATH (RFC 4271 4.3, RFC 6793). All ours: zettabgp loops for ever on an odd byte and swaps the types.
//!
//! Segments stay as they came, also sequences behind one another that mean the same as one: over iBGP nothing of a path is
//! changed, and over eBGP its first segment alone (RFC 4271 5.1.2).

use super::open::AS_TRANS;
use super::reader::Reader;
use super::types::AsSegment;

const SET: u8 = 1;
const SEQUENCE: u8 = 2;
const CONFED_SEQUENCE: u8 = 3;
const CONFED_SET: u8 = 4;
/// What one segment's count can say.
const SEGMENT: usize = u8::MAX as usize;

/// What a decoder does with the segments of a confederation (RFC 5065).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Confederation {
    /// In AS_PATH: we are in none, so nobody may send us any.
    Malformed,
    /// In AS4_PATH: dropped (RFC 6793 section 6).
    Dropped,
}

/// # Errors
/// What is wrong, per RFC 7606 7.2 and RFC 7607: an unknown or empty segment, one that ends after the attribute or with
/// bytes left that make no other, AS 0.
pub(super) fn decode(value: &[u8], four_octets: bool, confed: Confederation) -> Result<Vec<AsSegment>, &'static str> {
    let mut reader = Reader::new(value);
    // Mostly there is one segment, and a RIB keeps many of them.
    let mut path = Vec::with_capacity(1);
    while !reader.is_empty() {
        let (Some(kind), Some(count)) = (reader.u8(), reader.u8()) else {
            return Err("a byte is left behind the last segment");
        };
        if count == 0 {
            return Err("empty segment");
        }
        let width = if four_octets { 4 } else { 2 };
        let numbers = reader.take(usize::from(count) * width).ok_or("a segment is longer than the attribute")?;
        let numbers = numbers_of(numbers, four_octets);
        if numbers.contains(&0) {
            return Err("AS 0");
        }
        match (kind, confed) {
            (SET, _) => path.push(AsSegment::Set(numbers)),
            (SEQUENCE, _) => path.push(AsSegment::Sequence(numbers)),
            (CONFED_SEQUENCE | CONFED_SET, Confederation::Dropped) => {}
            (CONFED_SEQUENCE | CONFED_SET, Confederation::Malformed) => return Err("confederation segment"),
            _ => return Err("unknown segment type"),
        }
    }
    Ok(path)
}

fn numbers_of(bytes: &[u8], four_octets: bool) -> Vec<u32> {
    let mut reader = Reader::new(bytes);
    let mut numbers = Vec::with_capacity(bytes.len() / if four_octets { 4 } else { 2 });
    while let Some(number) = if four_octets { reader.u32() } else { reader.u16().map(u32::from) } {
        numbers.push(number);
    }
    numbers
}

/// The length that route selection compares (RFC 4271 9.1.2.2): a set counts as one.
fn length(path: &[AsSegment]) -> usize {
    path.iter()
        .map(|segment| match segment {
            AsSegment::Sequence(numbers) => numbers.len(),
            AsSegment::Set(_) => 1,
        })
        .sum()
}

/// RFC 6793 4.2.3: the real path, from what a two-octet speaker says and what it passes on from four-octet ones.
pub(super) fn merge(as_path: Vec<AsSegment>, as4_path: Vec<AsSegment>) -> Vec<AsSegment> {
    let Some(mut leading) = length(&as_path).checked_sub(length(&as4_path)) else {
        return as_path;
    };
    let mut merged = Vec::new();
    let mut is_cut = false;
    for segment in as_path {
        if leading == 0 {
            break;
        }
        match segment {
            AsSegment::Sequence(mut numbers) => {
                is_cut = numbers.len() > leading;
                numbers.truncate(leading);
                leading -= numbers.len();
                merged.push(AsSegment::Sequence(numbers));
            }
            AsSegment::Set(numbers) => {
                leading -= 1;
                merged.push(AsSegment::Set(numbers));
            }
        }
    }
    let mut rest = as4_path.into_iter().peekable();
    // A sequence that was cut goes on there.
    if is_cut
        && let Some(AsSegment::Sequence(last)) = merged.last_mut()
        && let Some(AsSegment::Sequence(first)) = rest.peek()
        && last.len() + first.len() <= SEGMENT
    {
        last.extend(first);
        rest.next();
    }
    merged.extend(rest);
    merged
}

/// Whether a two-octet peer needs an AS4_PATH with this path.
pub(super) fn needs_four_octets(path: &[AsSegment]) -> bool {
    path.iter().any(|segment| {
        let (AsSegment::Sequence(numbers) | AsSegment::Set(numbers)) = segment;
        numbers.iter().any(|&number| number > u32::from(u16::MAX))
    })
}

/// The number as a two-octet speaker sees it.
pub(super) fn two_octets(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(AS_TRANS)
}

/// Appends the value. Segments of more than 255 are split, empty ones left out.
pub(super) fn put(path: &[AsSegment], four_octets: bool, out: &mut Vec<u8>) {
    for segment in path {
        let (kind, numbers) = match segment {
            AsSegment::Sequence(numbers) => (SEQUENCE, numbers),
            AsSegment::Set(numbers) => (SET, numbers),
        };
        for chunk in numbers.chunks(SEGMENT) {
            let count = u8::try_from(chunk.len()).expect("chunks are at most 255 long");
            out.extend_from_slice(&[kind, count]);
            for &number in chunk {
                match four_octets {
                    true => out.extend_from_slice(&number.to_be_bytes()),
                    false => out.extend_from_slice(&two_octets(number).to_be_bytes()),
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "as_path_tests.rs"]
mod tests;
