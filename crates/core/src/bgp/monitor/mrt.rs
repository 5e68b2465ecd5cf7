//! The table of all neighbours as an MRT file: TABLE_DUMP_V2 (RFC 6396 section 4.3, RFC 8050), written in portions.

use std::net::{IpAddr, Ipv4Addr};

use crate::bgp::rib::{Destination, Slot, Walk};
use crate::bgp::speaker::Speaker;
use crate::bgp::wire::encode_table_attributes;
use crate::model::scope::unscoped;
use crate::model::{Cidr, Family};

const TABLE_DUMP_V2: u16 = 13;
/// Subtypes.
const PEER_INDEX_TABLE: u16 = 1;
const RIB_IPV4_UNICAST: u16 = 2;
const RIB_IPV6_UNICAST: u16 = 4;
const RIB_IPV4_UNICAST_ADDPATH: u16 = 8;
const RIB_IPV6_UNICAST_ADDPATH: u16 = 10;
/// Bits of a peer's type: its address is of IPv6, its AS has four octets.
const IPV6: u8 = 1;
const FOUR_OCTET_AS: u8 = 2;

/// The route of one source.
struct Entry {
    index: usize,
    path_id: Option<u32>,
    attributes: Vec<u8>,
}

/// Where a dump stands. Routes of neighbours that came after its beginning are not in it.
#[derive(Clone, Debug)]
pub struct MrtDump {
    /// The index of each source; the first is this speaker.
    sources: Vec<Option<IpAddr>>,
    walk: Walk,
    sequence: u32,
}

impl MrtDump {
    /// Appends the index of neighbours. `at`: seconds since 1970.
    pub fn begin(speaker: &Speaker, at: u32, out: &mut Vec<u8>) -> MrtDump {
        let config = speaker.config();
        let own = (None, config.router_id, IpAddr::V4(config.router_id), config.as_number);
        let neighbors = speaker.neighbors().map(|(address, id, as_number)| (Some(address), id, address, as_number));
        let sources: Vec<(Option<IpAddr>, Ipv4Addr, IpAddr, u32)> =
            std::iter::once(own).chain(neighbors).take(usize::from(u16::MAX)).collect();
        record(PEER_INDEX_TABLE, at, out, |out| {
            out.extend_from_slice(&config.router_id.octets());
            // No view has a name.
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&(sources.len() as u16).to_be_bytes());
            for (_, id, address, as_number) in &sources {
                out.push(FOUR_OCTET_AS | if address.is_ipv6() { IPV6 } else { 0 });
                out.extend_from_slice(&id.octets());
                match unscoped(*address).0 {
                    IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
                    IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
                }
                out.extend_from_slice(&as_number.to_be_bytes());
            }
        });
        let sources = sources.into_iter().map(|(source, ..)| source).collect();
        MrtDump { sources, walk: Walk::default(), sequence: 0 }
    }

    /// Appends the next prefixes, at most `most`; `false` when there was none left.
    pub fn next(&mut self, speaker: &Speaker, at: u32, most: Slot, out: &mut Vec<u8>) -> bool {
        let portion = self.walk.portion(&speaker.rib().slots(), most);
        for slot in portion.clone() {
            self.put(speaker, speaker.rib().destination(slot), at, out);
        }
        !portion.is_empty()
    }

    /// RFC 6396 4.3.2: one prefix, with the route of each source; those that came with path identifiers in a record of their
    /// own (RFC 8050 section 4).
    fn put(&mut self, speaker: &Speaker, destination: &Destination, at: u32, out: &mut Vec<u8>) {
        let prefix = destination.prefix();
        let index = |source: Option<IpAddr>| self.sources.iter().position(|known| *known == source);
        let entries = destination.candidates().iter().filter_map(|candidate| {
            let mut attributes = Vec::new();
            let own = candidate.source.peer.is_none();
            let next_hop = Some(candidate.path.next_hop).filter(|_| !own);
            encode_table_attributes(&candidate.path.attributes, next_hop.as_ref(), &mut attributes);
            let path_id = speaker.path_id(prefix, candidate);
            Some(Entry { index: index(candidate.source.peer)?, path_id, attributes })
        });
        let entries = entries.filter(|entry| entry.attributes.len() <= usize::from(u16::MAX));
        let (with_ids, without): (Vec<Entry>, Vec<Entry>) = entries.partition(|entry| entry.path_id.is_some());
        let subtypes = match prefix.family() {
            Family::V4 => [RIB_IPV4_UNICAST, RIB_IPV4_UNICAST_ADDPATH],
            Family::V6 => [RIB_IPV6_UNICAST, RIB_IPV6_UNICAST_ADDPATH],
        };
        for (subtype, entries) in subtypes.into_iter().zip([without, with_ids]) {
            self.put_entries(subtype, prefix, &entries, at, out);
        }
    }

    fn put_entries(&mut self, subtype: u16, prefix: &Cidr, entries: &[Entry], at: u32, out: &mut Vec<u8>) {
        if entries.is_empty() {
            return;
        }
        record(subtype, at, out, |out| {
            out.extend_from_slice(&self.sequence.to_be_bytes());
            out.push(prefix.length());
            let bytes = usize::from(prefix.length()).div_ceil(8);
            match prefix.address() {
                IpAddr::V4(address) => out.extend_from_slice(&address.octets()[..bytes]),
                IpAddr::V6(address) => out.extend_from_slice(&address.octets()[..bytes]),
            }
            out.extend_from_slice(&(entries.len() as u16).to_be_bytes());
            for Entry { index, path_id, attributes } in entries {
                out.extend_from_slice(&(*index as u16).to_be_bytes());
                // When a route came is not kept; the time of the dump is what is true of it.
                out.extend_from_slice(&at.to_be_bytes());
                out.extend(path_id.iter().flat_map(|path_id| path_id.to_be_bytes()));
                out.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
                out.extend_from_slice(attributes);
            }
        });
        self.sequence += 1;
    }
}

/// RFC 6396 section 2: the header, then the body, whose length it holds.
fn record(subtype: u16, at: u32, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&at.to_be_bytes());
    out.extend_from_slice(&TABLE_DUMP_V2.to_be_bytes());
    out.extend_from_slice(&subtype.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    let start = out.len();
    body(out);
    let length = (out.len() - start) as u32;
    out[start - 4..start].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
#[path = "mrt_tests.rs"]
mod tests;
