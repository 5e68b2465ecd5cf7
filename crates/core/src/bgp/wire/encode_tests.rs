use std::collections::BTreeSet;

use super::super::test_support::*;
use super::super::types::{AsSegment, PathIds, Update};
use super::super::{Message, decode, message_length};
use super::*;

fn many(family: Family, count: u32) -> Vec<Cidr> {
    let address = |i: u32| match family {
        Family::V4 => IpAddr::from((0x0a00_0000 + i).to_be_bytes()),
        Family::V6 => IpAddr::from((0xfd00_u128 << 112 | u128::from(i)).to_be_bytes()),
    };
    (0..count).map(|i| Cidr::host(address(i))).collect()
}

/// Everything that a peer would decode from `out`.
fn decoded(mut out: &[u8], context: &CodecContext) -> Vec<Update> {
    let mut updates = Vec::new();
    while let Some(length) = message_length(out).expect("a header of ours") {
        let (message, rest) = out.split_at(length);
        match decode(message, context) {
            Ok(Message::Update(update)) => updates.push(update),
            other => panic!("{other:?}"),
        }
        out = rest;
    }
    assert!(out.is_empty());
    updates
}

#[test]
fn what_is_encoded_is_decoded_equal() {
    let link_local = NextHop { link_local: Some("fe80::9".parse().unwrap()), ..next_hop("2001:db8::9") };
    for (texts, via) in [
        (["10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0"], next_hop("192.0.2.9")),
        (["2001:db8::/32", "2001:db8::1/128", "::/0"], next_hop("2001:db8::9")),
        (["2001:db8::/32", "2001:db8::1/128", "::/0"], link_local),
    ] {
        let prefixes = prefixes(&texts);
        for (attributes, context) in
            [(all_attributes(), ibgp()), (plain_attributes(), ebgp()), (plain_attributes(), old_speaker())]
        {
            let mut out = Vec::new();
            assert_eq!(encode_reach(&attributes, &via, &prefixes, &context, &mut out), Ok(3));
            let expected = Update {
                reachable: prefixes.iter().map(|&prefix| (prefix, via)).collect(),
                attributes: Some(attributes),
                ..Update::default()
            };
            assert_eq!(decoded(&out, &context), [expected]);
        }
    }
}

#[test]
fn four_octet_numbers_reach_a_two_octet_peer() {
    let context = CodecContext { ibgp: true, ..old_speaker() };
    let mut out = Vec::new();
    let via = next_hop("192.0.2.9");
    encode_reach(&all_attributes(), &via, &prefixes(&["10.0.0.0/8"]), &context, &mut out).unwrap();
    let contains = |bytes: &[u8]| out.windows(bytes.len()).any(|window| window == bytes);
    assert!(contains(&[0x40, 2, 12, 2, 2, 0xfd, 0xe9, 0x5b, 0xa0, 1, 2, 0, 1, 0, 2]), "AS_PATH with AS_TRANS");
    assert!(contains(&[0xc0, 7, 6, 0x5b, 0xa0, 192, 0, 2, 1]), "AGGREGATOR with AS_TRANS");
    assert!(contains(&[0xc0, 17, 20, 2, 2]), "AS4_PATH");
    assert!(contains(&[0xc0, 18, 8]), "AS4_AGGREGATOR");
    assert_eq!(decoded(&out, &context)[0].attributes, Some(all_attributes()));
    // Where two octets say it all there is nothing to add.
    let mut out = Vec::new();
    encode_reach(&plain_attributes(), &via, &prefixes(&["10.0.0.0/8"]), &context, &mut out).unwrap();
    assert!(!out.windows(2).any(|window| window == [0xc0, 17]));
}

#[test]
fn external_neighbours_get_nothing_internal() {
    let mut out = Vec::new();
    encode_reach(&all_attributes(), &next_hop("192.0.2.9"), &prefixes(&["10.0.0.0/8"]), &ebgp(), &mut out).unwrap();
    let [update] = decoded(&out, &ebgp()).try_into().unwrap();
    assert_eq!(update.defects, [], "nothing that the other side has to discard");
    let expected = Attributes { local_pref: None, originator_id: None, cluster_list: Vec::new(), ..all_attributes() };
    assert_eq!(update.attributes, Some(expected));
}

/// (flags, type) of each attribute of the one message in `out`, whose withdrawn routes are empty.
fn attribute_heads(out: &[u8]) -> Vec<(u8, u8)> {
    let mut list = &out[HEADER + 4..HEADER + 4 + usize::from(u16::from_be_bytes([out[HEADER + 2], out[HEADER + 3]]))];
    let mut heads = Vec::new();
    while let [flags, code, rest @ ..] = list {
        heads.push((*flags, *code));
        let (length, header) = match flags & EXTENDED_LENGTH {
            0 => (usize::from(rest[0]), 1),
            _ => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), 2),
        };
        list = &rest[header + length..];
    }
    heads
}

#[test]
fn attributes_ascend_and_have_their_flags() {
    let mut attributes = all_attributes();
    attributes.unknown = vec![(0xe0, 11, vec![]), (0xf0, 20, vec![]), (0xe0, 99, vec![])];
    let context = CodecContext { ibgp: true, ..old_speaker() };
    let common = [
        (0x40, 1),
        (0x40, 2),
        (0x40, 3),
        (0x80, 4),
        (0x40, 5),
        (0x40, 6),
        (0xc0, 7),
        (0xc0, 8),
        (0x80, 9),
        (0x80, 10),
        (0xe0, 11),
        (0xc0, 16),
        (0xc0, 17),
        (0xc0, 18),
        (0xe0, 20),
        (0xc0, 32),
        (0xc0, 35),
        (0xe0, 99),
    ];
    let mut out = Vec::new();
    encode_reach(&attributes, &next_hop("192.0.2.9"), &prefixes(&["10.0.0.0/8"]), &context, &mut out).unwrap();
    assert_eq!(attribute_heads(&out), common);
    // RFC 7606 5.1: MP_REACH_NLRI stands first. It replaces NEXT_HOP.
    let mut out = Vec::new();
    encode_reach(&attributes, &next_hop("fd00::9"), &prefixes(&["fd00::/8"]), &context, &mut out).unwrap();
    let heads = attribute_heads(&out);
    assert_eq!(heads[0], (0x90, 14));
    assert_eq!(heads[1..], common.iter().copied().filter(|&(_, code)| code != 3).collect::<Vec<_>>());
}

#[test]
fn values_over_255_bytes_have_an_extended_length() {
    for count in [63, 64, 900] {
        let attributes = Attributes { communities: (0..count).collect(), ..plain_attributes() };
        let mut out = Vec::new();
        encode_reach(&attributes, &next_hop("192.0.2.9"), &prefixes(&["10.0.0.0/8"]), &ebgp(), &mut out).unwrap();
        let extended = if count > 63 { EXTENDED_LENGTH } else { 0 };
        assert_eq!(attribute_heads(&out)[3], (0xc0 | extended, 8));
        assert_eq!(decoded(&out, &ebgp())[0].attributes.as_ref(), Some(&attributes));
    }
}

#[test]
fn messages_are_filled_up_to_4096_and_none_is_lost() {
    for (family, via, withdrawn_a_message) in [(Family::V4, "192.0.2.9", 814), (Family::V6, "fd00::9", 239)] {
        let prefixes = many(family, 3000);
        let mut out = Vec::new();
        let mut rest = prefixes.as_slice();
        while !rest.is_empty() {
            let start = out.len();
            let taken = encode_reach(&all_attributes(), &next_hop(via), rest, &ibgp(), &mut out).unwrap();
            let full = out.len() - start;
            assert!(full <= MAX_MESSAGE && (taken == rest.len() || full > MAX_MESSAGE - 17), "{full}");
            rest = &rest[taken..];
        }
        let back = decoded(&out, &ibgp()).into_iter().flat_map(|update| update.reachable);
        assert_eq!(back.map(|(nlri, _)| nlri.prefix).collect::<Vec<_>>(), prefixes);

        let mut out = Vec::new();
        let mut rest = prefixes.as_slice();
        while !rest.is_empty() {
            let taken = encode_withdraw(rest, &ibgp(), &mut out);
            assert_eq!(taken, rest.len().min(withdrawn_a_message));
            rest = &rest[taken..];
        }
        let back = decoded(&out, &ibgp()).into_iter().flat_map(|update| update.withdrawn);
        assert_eq!(back.map(|nlri| nlri.prefix).collect::<Vec<_>>(), prefixes);
    }
}

#[test]
fn another_family_waits_for_the_next_message() {
    let mixed = prefixes(&["10.0.0.0/8", "fd00::/8"]);
    let mut out = vec![1, 2, 3];
    assert_eq!(encode_withdraw(&mixed, &ebgp(), &mut out), 1);
    assert_eq!(encode_withdraw(&mixed[1..], &ebgp(), &mut out), 1);
    assert_eq!(encode_reach(&plain_attributes(), &next_hop("192.0.2.9"), &mixed, &ebgp(), &mut out), Ok(1));
    assert_eq!(out[..3], [1, 2, 3], "what was in the buffer stays");
    assert_eq!(decoded(&out[3..], &ebgp()).len(), 3);
}

#[test]
fn no_prefixes_no_message() {
    let mut out = Vec::new();
    assert_eq!(encode_withdraw::<Cidr>(&[], &ebgp(), &mut out), 0);
    assert_eq!(encode_reach::<Cidr>(&plain_attributes(), &next_hop("fd00::9"), &[], &ebgp(), &mut out), Ok(0));
    assert!(out.is_empty());
}

#[test]
fn attributes_that_leave_no_room_are_an_error() {
    for (texts, via) in [("10.0.0.0/8", "192.0.2.9"), ("fd00::/8", "fd00::9")] {
        let prefixes = prefixes(&[texts]);
        for count in [1010, 1100, 20_000] {
            let attributes = Attributes { communities: (0..count).collect(), ..plain_attributes() };
            let mut out = vec![7];
            let encoded = encode_reach(&attributes, &next_hop(via), &prefixes, &ebgp(), &mut out);
            match encoded {
                Ok(1) if count == 1010 => assert!(out.len() <= 1 + MAX_MESSAGE),
                Err(EncodeError::TooLong { prefix, length }) => {
                    assert_eq!((prefix, out.as_slice()), (prefixes[0].prefix, &[7][..]));
                    assert!(length > count as usize * 4);
                }
                other => panic!("{count}: {other:?}"),
            }
        }
    }
    let long = Attributes { as_path: vec![AsSegment::Sequence((1..2000).collect())], ..plain_attributes() };
    let refused = encode_reach(&long, &next_hop("192.0.2.9"), &prefixes(&["10.0.0.0/8"]), &ebgp(), &mut Vec::new());
    assert!(refused.unwrap_err().to_string().starts_with("10.0.0.0/8: its UPDATE would take "));
}

#[test]
fn a_next_hop_of_the_other_family_has_no_encoding() {
    for (prefix, via) in [("fd00::/8", "192.0.2.9"), ("10.0.0.0/8", "fd00::9")] {
        let mut out = vec![7];
        let refused = encode_reach(&plain_attributes(), &next_hop(via), &prefixes(&[prefix]), &ebgp(), &mut out);
        let expected =
            format!("{prefix}: a prefix has no encoding with the next hop {via}, which is of the other family");
        assert_eq!(refused.unwrap_err().to_string(), expected);
        assert_eq!(out, [7]);
    }
}

#[test]
fn end_of_rib_markers() {
    for (family, length) in [(AfiSafi::IPV4_UNICAST, 23), (AfiSafi::IPV6_UNICAST, 30)] {
        let mut out = Vec::new();
        encode_end_of_rib(family, &mut out);
        assert_eq!(out.len(), length);
        assert_eq!(decoded(&out, &ebgp()), [Update { end_of_rib: Some(family), ..Update::default() }]);
    }
}

#[test]
fn sets_are_sent_in_order_whatever_their_insertion() {
    let encoded = |communities: BTreeSet<u32>| {
        let mut out = Vec::new();
        let attributes = Attributes { communities, ..plain_attributes() };
        encode_reach(&attributes, &next_hop("192.0.2.9"), &prefixes(&["10.0.0.0/8"]), &ebgp(), &mut out).unwrap();
        out
    };
    assert_eq!(encoded([3, 1, 2].into()), encoded([2, 3, 1].into()));
}

/// RFC 8950: prefixes in MP_REACH_NLRI, byte for byte, and nothing where the neighbour did not agree.
#[test]
fn ipv4_over_ipv6_next_hops_byte_for_byte() {
    let local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    let global = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    let with_local = NextHop { link_local: Some("fe80::9".parse().unwrap()), ..next_hop("2001:db8::9") };
    let texts = prefixes(&["10.0.0.0/8", "10.1.2.0/24"]);
    let nlri = [8, 10, 24, 10, 1, 2];
    for (via, bytes) in [
        (next_hop("2001:db8::9"), global.to_vec()),
        (next_hop("fe80::9"), local.to_vec()),
        (next_hop("fe80::9").on_link(7), local.to_vec()),
        (with_local, [global, local].concat()),
        (with_local.on_link(7), [global, local].concat()),
    ] {
        let mut out = Vec::new();
        assert_eq!(encode_reach(&plain_attributes(), &via, &texts, &extended(), &mut out), Ok(2));
        let head = [0, 1, 1, u8::try_from(bytes.len()).unwrap()];
        let value = [&head[..], &bytes, &[0], &nlri].concat();
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        let reach = [&[0x90, 14][..], &length, &value].concat();
        assert_eq!(out, update(&[], &[&reach, ORIGIN, AS_PATH].concat(), &[]), "{via:?}");
        let mut refused = Vec::new();
        let answer = encode_reach(&plain_attributes(), &via, &texts, &ebgp(), &mut refused);
        assert_eq!(answer, Err(EncodeError::NextHopFamily { prefix: texts[0].prefix, next_hop: via.address }));
        assert!(refused.is_empty());
    }
}

#[test]
fn a_message_of_ipv4_over_ipv6_next_hops_is_filled_to_its_bound() {
    let prefixes = many(Family::V4, 2000);
    let mut out = Vec::new();
    let mut left = &prefixes[..];
    while !left.is_empty() {
        left = &left[encode_reach(&plain_attributes(), &next_hop("fe80::9"), left, &extended(), &mut out).unwrap()..];
    }
    let updates = decoded(&out, &extended());
    assert_eq!(updates.iter().map(|update| update.reachable.len()).sum::<usize>(), 2000);
    assert!(message_length(&out).unwrap().unwrap() > 4096 - 6);
}

/// RFC 4271 4.1: 4096 bytes are a message, and 4097 are none, whatever the prefix takes of them.
#[test]
fn the_last_byte_of_a_message_is_used() {
    let link_local = NextHop { link_local: Some("fe80::9".parse().unwrap()), ..next_hop("2001:db8::9") };
    let with_ids =
        CodecContext { path_ids: PathIds { sent: vec![AfiSafi::IPV4_UNICAST], ..PathIds::default() }, ..ebgp() };
    for (text, via, context) in [
        ("0.0.0.0/0", next_hop("192.0.2.9"), ebgp()),
        ("10.0.0.0/8", next_hop("192.0.2.9"), ebgp()),
        ("10.0.0.0/24", next_hop("192.0.2.9"), ebgp()),
        ("10.0.0.1/32", next_hop("192.0.2.9"), with_ids),
        ("10.0.0.1/32", next_hop("2001:db8::9"), extended()),
        ("::/0", next_hop("2001:db8::9"), ebgp()),
        ("2001:db8::/48", link_local, ebgp()),
        ("2001:db8::1/128", link_local, ebgp()),
    ] {
        let prefix: Cidr = text.parse().expect("a prefix");
        // An attribute that nobody knows takes what is left.
        let with = |bytes: usize| Attributes { unknown: vec![(0xc0, 99, vec![7; bytes])], ..plain_attributes() };
        let path = |bytes| EncodedPath::new(&with(bytes), &via, prefix.family(), &context).expect("a next hop");
        let full = 3000 + MAX_MESSAGE - path(3000).length_with(&prefix, &context);
        let mut out = Vec::new();
        assert_eq!(encode_reach(&with(full), &via, &[prefix], &context, &mut out), Ok(1), "{text}");
        assert_eq!(out.len(), MAX_MESSAGE, "{text}");
        let refused = encode_reach(&with(full + 1), &via, &[prefix], &context, &mut Vec::new());
        assert_eq!(refused, Err(EncodeError::TooLong { prefix, length: MAX_MESSAGE + 1 }), "{text}");
    }
}
