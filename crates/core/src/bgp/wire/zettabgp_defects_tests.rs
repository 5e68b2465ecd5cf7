//! What zettabgp 0.6.0 does wrong, byte for byte, and that none of it comes through this room. The numbers are only an
//! order; each test says what zettabgp does with these bytes.

use super::test_support::*;
use super::types::DefectAction::{AttributeDiscard, TreatAsWithdraw};
use super::*;
use crate::model::Cidr;

/// An UPDATE of 10.1.0.0/16 whose mandatory attributes are sound, with more behind them.
fn and(more: &[u8]) -> Vec<u8> {
    update(&[], &[ORIGIN, AS_PATH, NEXT_HOP, more].concat(), NLRI)
}

fn action(bytes: &[u8], context: &CodecContext) -> Option<DefectAction> {
    survives(bytes, context).defects.iter().map(|defect| defect.action).max()
}

fn announced(attributes: &Attributes, via: &str, prefix: &str, context: &CodecContext) -> Vec<u8> {
    let mut out = Vec::new();
    encode_reach(attributes, &next_hop(via), &prefixes(&[prefix]), context, &mut out).unwrap();
    out
}

fn contains(out: &[u8], bytes: &[u8]) -> bool {
    out.windows(bytes.len()).any(|window| window == bytes)
}

/// Its encoder sends a sequence as AS_SET.
#[test]
fn n01_a_sequence_is_sent_as_a_sequence() {
    let out = announced(&plain_attributes(), "192.0.2.1", "10.0.0.0/8", &ebgp());
    assert!(contains(&out, &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9]), "{out:x?}");
    let set = Attributes { as_path: vec![AsSegment::Set(vec![65001])], ..plain_attributes() };
    let out = announced(&set, "192.0.2.1", "10.0.0.0/8", &ebgp());
    assert!(contains(&out, &[0x40, 2, 6, 1, 1, 0, 0, 0xfd, 0xe9]), "{out:x?}");
}

/// It never returns, and takes a gigabyte a second.
#[test]
fn n02_a_byte_behind_the_as_path_ends() {
    let odd = [0x40, 2, 7, 2, 1, 0, 0, 0xfd, 0xe9, 0];
    let bytes = update(&[], &[ORIGIN, &odd, NEXT_HOP].concat(), NLRI);
    assert_eq!(action(&bytes, &ebgp()), Some(TreatAsWithdraw));
}

/// It panics on each of these.
#[test]
fn n03_malformed_attributes_do_not_panic() {
    for path in [&[2, 1][..], &[2, 1, 0], &[2, 2, 0]] {
        let bytes = update(&[], &[ORIGIN, NEXT_HOP, &attribute(0x40, 2, path)].concat(), NLRI);
        assert_eq!(action(&bytes, &ebgp()), Some(TreatAsWithdraw), "AS_PATH {path:?}");
    }
    assert_eq!(action(&and(&attribute(0xc0, 8, &[0; 5])), &ebgp()), Some(TreatAsWithdraw), "COMMUNITIES");
    assert_eq!(action(&and(&attribute(0xc0, 32, &[0; 13])), &ebgp()), Some(TreatAsWithdraw), "LARGE_COMMUNITIES");
    assert_eq!(action(&and(&attribute(0x80, 9, &[0; 3])), &ibgp()), Some(TreatAsWithdraw), "ORIGINATOR_ID");
    assert_eq!(action(&and(&attribute(0xc0, 35, &[0; 2])), &ebgp()), Some(TreatAsWithdraw), "OTC");
    for code in [14, 15] {
        for length in 0..3 {
            let (_, subcode, data) = refused(&and(&attribute(0x80, code, &[0, 2, 1][..length])), &ebgp());
            assert_eq!((subcode, data.len()), (9, 3 + length), "attribute {code}, {length} bytes");
        }
    }
    let oversized = attribute(0x80, 14, &[0, 2, 1, 255, 0x20, 1]);
    assert_eq!(refused(&and(&oversized), &ebgp()), (3, 9, oversized));
    for trailing in [&[0xc0][..], &[0xc0, 8], &[0xd0, 8, 0]] {
        assert_eq!(action(&and(trailing), &ebgp()), Some(TreatAsWithdraw), "{trailing:?} behind the attributes");
    }
}

/// It computes a body of 65 5xx bytes from a length under 19, and knows no upper limit.
#[test]
fn n04_header_lengths_are_bounded() {
    let header = |length: u16| [&[0xff; 16], &length.to_be_bytes()[..], &[2]].concat();
    for length in [0, 1, 18, 4097, 65535] {
        assert_eq!(message_length(&header(length)), Err(Notification::bad_message_length(length)));
    }
    assert_eq!(message_length(&header(4096)), Ok(Some(4096)));
}

/// It accepts all of these.
#[test]
fn n05_what_is_wrong_is_not_accepted() {
    let missing = update(&[], &[AS_PATH, NEXT_HOP].concat(), NLRI);
    assert_eq!(action(&missing, &ebgp()), Some(TreatAsWithdraw), "ORIGIN missing");
    assert_eq!(action(&and(ORIGIN), &ebgp()), Some(AttributeDiscard), "ORIGIN twice");
    for (code, flags, value) in [
        (1, 0x80, &[0][..]),            // wrong flags
        (1, 0x40, &[0, 0]),             // ORIGIN of 2
        (2, 0x40, &[2, 9, 0, 0, 0, 1]), // a segment beyond the attribute
        (3, 0x40, &[192, 0, 2, 1, 0]),  // NEXT_HOP of 5
    ] {
        let sound = [(1, ORIGIN), (2, AS_PATH), (3, NEXT_HOP)];
        let others: Vec<u8> =
            sound.iter().filter(|(other, _)| *other != code).flat_map(|(_, sound)| sound.to_vec()).collect();
        let bytes = update(&[], &[others, attribute(flags, code, value)].concat(), NLRI);
        assert_eq!(action(&bytes, &ebgp()), Some(TreatAsWithdraw), "attribute {code} {value:?}");
    }
    assert_eq!(action(&and(&attribute(0x80, 4, &[0; 5])), &ebgp()), Some(TreatAsWithdraw), "MED of 5");
    assert_eq!(action(&and(&attribute(0x80, 10, &[0; 5])), &ibgp()), Some(TreatAsWithdraw), "CLUSTER_LIST of 5");
    assert_eq!(action(&and(&attribute(0xc0, 16, &[0; 9])), &ebgp()), Some(TreatAsWithdraw), "extended of 9");
}

/// Of IPv4 prefixes (RFC 8950) it reads such a one as 254.128.0.0, negotiated or not; of IPv6 prefixes it loses
/// the link-local address.
#[test]
fn n06_next_hops_of_16_and_32_bytes() {
    let fe80 = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let global = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let reach = |value: &[u8]| update(&[], &[ORIGIN, AS_PATH, &attribute(0x80, 14, value)].concat(), &[]);
    let (code, subcode, _) = refused(&reach(&[&[0, 1, 1, 16][..], &fe80, &[0, 8, 10]].concat()), &ebgp());
    assert_eq!((code, subcode), (3, 9));
    let v4 = survives(&reach(&[&[0, 1, 1, 16][..], &fe80, &[0, 8, 10]].concat()), &extended());
    assert_eq!(v4.reachable, [(prefixes(&["10.0.0.0/8"])[0], next_hop("fe80::1"))]);
    let v6 = survives(&reach(&[&[0, 2, 1, 32][..], &global, &fe80, &[0, 8, 0x20]].concat()), &ebgp());
    let both = NextHop { link_local: Some("fe80::1".parse().unwrap()), ..next_hop("2001:db8::1") };
    assert_eq!(v6.reachable, [(prefixes(&["2000::/8"])[0], both)]);
}

/// It ignores the parameters' length, lets hold time 1, AS 0 and id 0 pass, rejects FQDN with a domain and RFC 9072, and
/// drops what it does not know.
#[test]
fn n07_open() {
    let open = |head: &[u8], parameters: &[u8]| message(1, &[head, parameters].concat());
    let head = [4, 0xfd, 0xe9, 0, 90, 10, 0, 0, 1];
    assert_eq!(refused(&open(&head, &[9, 2, 2, 2, 0]), &ebgp()), (2, 0, vec![]));
    assert_eq!(refused(&open(&[4, 0xfd, 0xe9, 0, 1, 10, 0, 0, 1], &[0]), &ebgp()), (2, 6, vec![]));
    assert_eq!(refused(&open(&[4, 0, 0, 0, 90, 10, 0, 0, 1], &[0]), &ebgp()), (2, 2, vec![]));
    assert_eq!(refused(&open(&[4, 0xfd, 0xe9, 0, 90, 0, 0, 0, 0], &[0]), &ebgp()), (2, 3, vec![]));
    let fqdn = [73, 8, 1, b'a', 5, b'b', b'.', b'c', b'o', b'm'];
    let plain = open(&head, &[&[18, 2, 16][..], &fqdn, &[5, 0, 6, 0, 9, 0]].concat());
    let extended = open(&head, &[&[255, 255, 0, 19, 2, 0, 16][..], &fqdn, &[5, 0, 6, 0, 9, 0]].concat());
    for bytes in [plain, extended] {
        let Ok(Message::Open(open)) = decode(&bytes, &ebgp()) else { panic!("{bytes:?} is a sound OPEN") };
        let unknown = |code, value: &[u8]| Capability::Unknown { code, value: value.to_vec() };
        let none = Capability::ExtendedNextHop(Vec::new());
        assert_eq!(open.capabilities, [unknown(73, &fqdn[2..]), none, unknown(6, &[]), unknown(9, &[])]);
        let Ok(Message::Open(again)) = decode(&encode_open(&open), &ebgp()) else { panic!("our own OPEN") };
        assert_eq!(again, open);
    }
}

/// Its data is two bytes.
#[test]
fn n08_notification_data() {
    let bytes = message(3, b"\x06\x02\x0bgoing away.");
    let Ok(Message::Notification(notification)) = decode(&bytes, &ebgp()) else { panic!("a NOTIFICATION") };
    assert_eq!(notification.shutdown_text().as_deref(), Some("going away."));
    assert_eq!(encode_notification(&notification), bytes);
}

/// It sends what was in the buffer, 4 bytes of ATOMIC_AGGREGATE, and Partial on LARGE_COMMUNITIES.
#[test]
fn n09_aggregation_and_large_communities() {
    let out = announced(&all_attributes(), "192.0.2.1", "10.0.0.0/8", &ebgp());
    assert!(contains(&out, &[0x40, 6, 0, 0xc0, 7, 8, 0xfa, 0x56, 0xea, 0x02, 192, 0, 2, 1]), "{out:x?}");
    assert!(contains(&out, &[0xc0, 32, 12, 0, 0, 0xfd, 0xe9]), "{out:x?}");
}

/// It sends the lower 16 bits, does not merge AS4_PATH, and refuses paths of more than 255.
#[test]
fn n10_two_octet_peers_and_long_paths() {
    let numbers: Vec<u32> = (0..300).map(|i| 4_200_000_000 + i).collect();
    let path = numbers.chunks(255).map(|chunk| AsSegment::Sequence(chunk.to_vec())).collect();
    let attributes = Attributes { as_path: path, ..plain_attributes() };
    for context in [ebgp(), old_speaker()] {
        let out = announced(&attributes, "192.0.2.1", "10.0.0.0/8", &context);
        assert_eq!(survives(&out, &context).attributes.as_ref(), Some(&attributes));
        assert_eq!(contains(&out, &[2, 255, 0x5b, 0xa0, 0x5b, 0xa0]), !context.four_octet_as);
    }
}

/// To it, 65536 is equal to 1.
#[test]
fn n11_as_numbers_are_compared_whole() {
    let with = |number| Attributes { as_path: vec![AsSegment::Sequence(vec![number])], ..plain_attributes() };
    assert_ne!(with(65536), with(1));
    let out = announced(&with(65536), "192.0.2.1", "10.0.0.0/8", &ebgp());
    assert_eq!(survives(&out, &ebgp()).attributes, Some(with(65536)));
}

/// By default it takes two zero bytes for an ADD-PATH identifier.
#[test]
fn n12_plain_prefixes_are_no_add_path() {
    let nlri = [0, 0, 24, 10, 1, 2];
    let plain = survives(&update(&[], &[ORIGIN, AS_PATH, NEXT_HOP].concat(), &nlri), &ebgp());
    let reachable: Vec<Nlri> = plain.reachable.iter().map(|(prefix, _)| *prefix).collect();
    assert_eq!(reachable, prefixes(&["0.0.0.0/0", "0.0.0.0/0", "10.1.2.0/24"]));
}

/// It panics on a short buffer, and makes messages of 100 kB.
#[test]
fn n13_messages_fit_and_buffers_grow() {
    let many: Vec<Cidr> = (0..20_000_u32).map(|i| Cidr::host((0x0a00_0000 + i).to_be_bytes().into())).collect();
    let mut out = Vec::new();
    let taken = encode_reach(&all_attributes(), &next_hop("192.0.2.1"), &many, &ibgp(), &mut out).unwrap();
    assert!(taken > 700 && out.len() <= MAX_MESSAGE, "{taken} prefixes, {} bytes", out.len());
    assert_eq!(message_length(&out), Ok(Some(out.len())));
}
