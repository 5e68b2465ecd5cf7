use super::super::test_support::*;
use super::super::types::{DefectAction, Origin, PathIds};
use super::*;

fn mandatory() -> Vec<u8> {
    [ORIGIN, AS_PATH, NEXT_HOP].concat()
}

#[test]
fn a_plain_update() {
    let update = survives(&update(&[8, 11], &mandatory(), &[16, 10, 1, 32, 10, 2, 3, 4]), &ebgp());
    assert_eq!(update.withdrawn, prefixes(&["11.0.0.0/8"]));
    let via = next_hop("192.0.2.1");
    let reachable = prefixes(&["10.1.0.0/16", "10.2.3.4/32"]).into_iter().map(|prefix| (prefix, via));
    assert_eq!(update.reachable, reachable.collect::<Vec<_>>());
    let attributes = update.attributes.unwrap();
    assert_eq!(attributes, Attributes { origin: Origin::Igp, ..plain_attributes() });
    assert_eq!((update.end_of_rib, update.defects), (None, vec![]));
}

#[test]
fn fields_whose_lengths_disagree_reset() {
    for body in [
        &[0, 1, 0, 0][..],             // withdrawn routes leave no room for the attributes' length
        &[0, 0, 0, 1],                 // attributes beyond the message
        &[0xff, 0xff, 0, 0],           // withdrawn routes beyond the message
        &[0, 2, 8, 10, 0, 9, 0x40, 1], // attributes beyond the message
    ] {
        assert_eq!(refused(&message(2, body), &ebgp()), (3, 1, vec![]), "{body:?}");
    }
}

#[test]
fn prefixes_that_cannot_be_read_reset() {
    for (withdrawn, nlri) in
        [(&[33, 1, 2, 3, 4, 5][..], &[][..]), (&[], &[33, 1, 2, 3, 4, 5]), (&[24, 1], &[]), (&[], &[9, 1])]
    {
        assert_eq!(refused(&update(withdrawn, &mandatory(), nlri), &ebgp()), (3, 10, vec![]));
    }
}

#[test]
fn end_of_rib() {
    for context in [ebgp(), ibgp()] {
        let v4 = survives(&update(&[], &[], &[]), &context);
        assert_eq!(v4, Update { end_of_rib: Some(AfiSafi::IPV4_UNICAST), ..Update::default() });
        for attribute in [&[0x80, 15, 3, 0, 2, 1][..], &[0x90, 15, 0, 3, 0, 2, 1]] {
            let v6 = survives(&update(&[], attribute, &[]), &context);
            assert_eq!(v6, Update { end_of_rib: Some(AfiSafi::IPV6_UNICAST), ..Update::default() });
        }
        let v4 = survives(&update(&[], &[0x80, 15, 3, 0, 1, 1], &[]), &context);
        assert_eq!(v4.end_of_rib, Some(AfiSafi::IPV4_UNICAST));
    }
}

#[test]
fn no_end_of_rib() {
    let unreach = &[0x80, 15, 3, 0, 2, 1][..];
    for bytes in [
        update(&[8, 10], unreach, &[]),
        update(&[], &[unreach, &mandatory()].concat(), &[8, 10]),
        update(&[], &[0x80, 15, 5, 0, 2, 1, 8, 0x20], &[]),
        update(&[8, 10], &[], &[]),
        update(&[], &[0x80, 15, 3, 0, 25, 70], &[]),
        update(&[], &[unreach, &[0x80, 4, 4, 0, 0, 0, 1]].concat(), &[]),
    ] {
        assert_eq!(survives(&bytes, &ebgp()).end_of_rib, None, "{bytes:?}");
    }
    let only_v4 = CodecContext { families: vec![AfiSafi::IPV4_UNICAST], ..ebgp() };
    assert_eq!(survives(&update(&[], unreach, &[]), &only_v4).end_of_rib, None);
    let only_v6 = CodecContext { families: vec![AfiSafi::IPV6_UNICAST], ..ebgp() };
    assert_eq!(survives(&update(&[], &[], &[]), &only_v6).end_of_rib, None);
}

#[test]
fn each_missing_mandatory_attribute_withdraws() {
    for (missing, name) in [(0, "ORIGIN: missing"), (1, "AS_PATH: missing"), (2, "NEXT_HOP: missing")] {
        let mut list = vec![ORIGIN, AS_PATH, NEXT_HOP];
        list.remove(missing);
        let update = survives(&update(&[], &list.concat(), NLRI), &ebgp());
        assert_eq!(update.withdrawn, prefixes(&["10.1.0.0/16"]));
        assert_eq!((update.reachable, update.attributes), (vec![], None));
        assert_eq!(update.defects[0].what, name);
    }
    // MP_REACH_NLRI brings its own next hop, so only the other two are wanted.
    let sound = survives(&update(&[], &[MP_REACH, ORIGIN, AS_PATH].concat(), &[]), &ebgp());
    assert_eq!(sound.reachable, [(prefixes(&["2001:db8::/32"])[0], next_hop("2001:db8::1"))]);
    assert_eq!(sound.defects, []);
    let lacking = survives(&update(&[], &[MP_REACH, ORIGIN].concat(), &[]), &ebgp());
    assert_eq!(lacking.withdrawn, prefixes(&["2001:db8::/32"]));
    // Withdrawing needs no attributes at all.
    assert_eq!(survives(&update(&[8, 10], &[], &[]), &ebgp()).withdrawn, prefixes(&["10.0.0.0/8"]));
}

#[test]
fn both_families_in_one_message() {
    let list = [MP_REACH, &mandatory(), &[0x80, 15, 5, 0, 2, 1, 8, 0xfd]].concat();
    let both = survives(&update(&[8, 11], &list, NLRI), &ebgp());
    assert_eq!(both.withdrawn, prefixes(&["11.0.0.0/8", "fd00::/8"]));
    assert_eq!(
        both.reachable,
        [
            (prefixes(&["10.1.0.0/16"])[0], next_hop("192.0.2.1")),
            (prefixes(&["2001:db8::/32"])[0], next_hop("2001:db8::1")),
        ]
    );
    // One bad attribute withdraws both.
    let both = survives(&update(&[8, 11], &[&list, &[0x80, 4, 1, 0][..]].concat(), NLRI), &ebgp());
    assert_eq!(both.withdrawn, prefixes(&["11.0.0.0/8", "fd00::/8", "10.1.0.0/16", "2001:db8::/32"]));
    assert_eq!(both.reachable, []);
}

/// RFC 7606 5.2: without a prefix in sight treat-as-withdraw would be blind.
#[test]
fn a_defect_without_prefixes_resets() {
    let bad_origin = [0x40, 1, 1, 9];
    assert_eq!(refused(&update(&[], &bad_origin, &[]), &ebgp()), (3, 6, bad_origin.to_vec()));
    assert_eq!(refused(&update(&[8, 10], &bad_origin, &[]), &ebgp()), (3, 6, bad_origin.to_vec()));
    assert_eq!(refused(&update(&[], &[0x40], &[]), &ebgp()), (3, 5, vec![0x40]));
    // A discarded attribute does not matter.
    assert_eq!(survives(&update(&[8, 10], &[0x40, 6, 1, 0], &[]), &ebgp()).withdrawn.len(), 1);
    // Prefixes of a family that is not ours were seen.
    let foreign = [&[0x80, 14, 6, 0, 25, 70, 0, 0, 7][..], &bad_origin].concat();
    let update = survives(&update(&[], &foreign, &[]), &ebgp());
    assert_eq!(update.defects.iter().map(|defect| defect.action).max(), Some(DefectAction::TreatAsWithdraw));
}

/// RFC 7606 3 c: what holds prefixes can still be read, so that they can be withdrawn.
#[test]
fn wrong_flags_of_what_holds_prefixes_withdraw_them() {
    for flags in [0xc0, 0x40, 0x00] {
        let unreach = [flags, 15, 5, 0, 2, 1, 8, 0xfd];
        assert_eq!(survives(&update(&[], &unreach, &[]), &ebgp()).withdrawn, prefixes(&["fd00::/8"]));
        // RFC 7606 5.2: among other attributes, and without an announced prefix, something may have been missed.
        let bytes = update(&[], &[ORIGIN, &unreach].concat(), &[]);
        assert_eq!(refused(&bytes, &ebgp()), (3, 4, unreach.to_vec()));
        // RFC 7606 3 j: one that cannot be read still resets.
        let cut = [flags, 15, 5, 0, 2, 1, 64, 0xfd];
        assert_eq!(refused(&update(&[], &cut, &[]), &ebgp()), (3, 9, cut.to_vec()));

        let value =
            [&[0, 2, 1, 16][..], &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], &[0, 8, 0xfd]].concat();
        let attributes = [&attribute(flags, 14, &value)[..], ORIGIN, AS_PATH, NEXT_HOP].concat();
        let both = survives(&update(&[], &attributes, &[8, 10]), &ebgp());
        assert_eq!((both.withdrawn, both.reachable.len()), (prefixes(&["10.0.0.0/8", "fd00::/8"]), 0));
    }
}

fn reach(afi: u8, next_hop: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = u8::try_from(next_hop.len()).unwrap();
    let value = [&[0, afi, 1, length], next_hop, &[0], nlri].concat();
    update(&[], &[ORIGIN, AS_PATH, &attribute(0x80, 14, &value)].concat(), &[])
}

#[test]
fn next_hops_of_every_length() {
    let global = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let link_local = Some("fe80::2".parse().unwrap());
    let both = NextHop { link_local, ..next_hop("2001:db8::1") };
    let only_local = NextHop { link_local, ..next_hop("fe80::2") };
    for (bytes, expected) in [
        (global.to_vec(), next_hop("2001:db8::1")),
        (local.to_vec(), next_hop("fe80::2")),
        ([global, local].concat(), both),
        ([global, global].concat(), next_hop("2001:db8::1")),
        ([[0; 16], local].concat(), only_local),
    ] {
        let update = survives(&reach(2, &bytes, &[8, 0x20]), &ebgp());
        assert_eq!(update.reachable.len(), 1, "{bytes:?}");
        assert_eq!(update.reachable[0].1, expected, "{bytes:?}");
    }
    for bad in [[0; 16], [0xff; 16]] {
        assert_eq!(survives(&reach(2, &bad, &[8, 0x20]), &ebgp()).withdrawn.len(), 1, "{bad:?}");
    }
    for bad in [[0; 4], [0xff; 4], [224, 0, 0, 1]] {
        assert_eq!(survives(&reach(1, &bad, &[8, 10]), &ebgp()).withdrawn.len(), 1, "{bad:?}");
    }
    assert_eq!(survives(&reach(1, &[192, 0, 2, 1], &[8, 10]), &ebgp()).reachable[0].1, next_hop("192.0.2.1"));
}

/// RFC 7606 7.11: behind a next hop of a length that was not expected the prefixes cannot be found for certain. For IPv4
/// that is one of 16 or 32 bytes too, where nobody negotiated RFC 8950 with us.
#[test]
fn next_hop_lengths_that_the_family_cannot_have_reset() {
    for (afi, nlri, wrong) in [(1, &[8, 10][..], [16, 32]), (2, &[8, 0x20], [4, 20])] {
        for length in wrong.into_iter().chain([0, 1, 3, 5, 8, 12, 15, 17, 24, 31, 33, 48]) {
            let (code, subcode, _) = refused(&reach(afi, &vec![0x20; length], nlri), &ebgp());
            assert_eq!((code, subcode), (3, 9), "AFI {afi}, {length} bytes");
        }
    }
}

#[test]
fn next_hop_is_ignored_where_nothing_uses_it() {
    let list = [MP_REACH, ORIGIN, AS_PATH, &[0x40, 3, 4, 0, 0, 0, 0]].concat();
    let update = survives(&update(&[], &list, &[]), &ebgp());
    assert_eq!((update.reachable.len(), update.defects.len()), (1, 0));
}

#[test]
fn prefixes_of_a_family_that_was_not_negotiated_are_ignored() {
    let only_v6 = CodecContext { families: vec![AfiSafi::IPV6_UNICAST], ..ebgp() };
    let list = [MP_REACH, &mandatory()].concat();
    let kept = survives(&update(&[8, 11], &list, NLRI), &only_v6);
    assert_eq!(kept.withdrawn, []);
    assert_eq!(kept.reachable.len(), 1);
    assert_eq!(kept.defects[0].action, DefectAction::PrefixIgnored);
    let only_v4 = CodecContext { families: vec![AfiSafi::IPV4_UNICAST], ..ebgp() };
    let kept = survives(&update(&[8, 11], &list, NLRI), &only_v4);
    assert_eq!((kept.withdrawn.len(), kept.reachable.len(), kept.defects.len()), (1, 1, 1));
}

#[test]
fn prefixes_that_nobody_can_reach_are_ignored() {
    let kept = survives(&update(&[], &mandatory(), &[8, 127, 4, 224, 8, 10]), &ebgp());
    assert_eq!(kept.reachable, [(prefixes(&["10.0.0.0/8"])[0], next_hop("192.0.2.1"))]);
    assert_eq!(kept.defects.len(), 1);
    assert_eq!(kept.defects[0].what, "127.0.0.0/8: no unicast prefix (2 such in this UPDATE)");
    let kept = survives(&update(&[], &mandatory(), &[8, 127]), &ebgp());
    assert_eq!((kept.reachable, kept.attributes), (vec![], None));
}

fn with_ids() -> CodecContext {
    let received = vec![AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];
    CodecContext { path_ids: PathIds { received, sent: Vec::new() }, ..ebgp() }
}

fn path(path_id: u32, text: &str) -> Nlri {
    Nlri { path_id, ..prefixes(&[text])[0] }
}

/// RFC 7911 section 3, in all four places.
#[test]
fn prefixes_have_path_identifiers_where_both_sides_said_so() {
    let [reach, unreach] = [&[0, 0, 0, 6, 32, 0x20, 1, 0xd, 0xb8][..], &[0, 2, 1, 0, 0, 0, 9, 8, 0xfd]];
    let reach = [&[0x80, 14, 30], &MP_REACH[3..24], reach].concat();
    let list = [&reach[..], &attribute(0x80, 15, unreach), &mandatory()].concat();
    let bytes = update(&[0, 0, 0, 8, 8, 11], &list, &[0, 0, 0, 1, 16, 10, 1, 0, 0, 0, 2, 16, 10, 1]);
    let update = survives(&bytes, &with_ids());
    assert_eq!(update.withdrawn, [path(8, "11.0.0.0/8"), path(9, "fd00::/8")]);
    let reachable: Vec<Nlri> = update.reachable.iter().map(|(nlri, _)| *nlri).collect();
    assert_eq!(reachable, [path(1, "10.1.0.0/16"), path(2, "10.1.0.0/16"), path(6, "2001:db8::/32")]);
    assert_eq!(update.defects, []);
}

#[test]
fn a_family_without_identifiers_has_none_beside_one_with() {
    let path_ids = PathIds { received: vec![AfiSafi::IPV6_UNICAST], sent: vec![AfiSafi::IPV4_UNICAST] };
    let context = CodecContext { path_ids, ..ebgp() };
    let kept = survives(&update(&[], &mandatory(), NLRI), &context);
    assert_eq!(kept.reachable[0].0, path(0, "10.1.0.0/16"), "what is sent decides nothing about what is received");
}

#[test]
fn identifiers_that_are_cut_off_or_not_agreed_on_reset() {
    for nlri in [&[0, 0, 0][..], &[0, 0, 0, 1], &[0, 0, 0, 1, 16, 10], NLRI, &[0, 0, 0, 1, 16, 10, 1, 0]] {
        assert_eq!(refused(&update(&[], &mandatory(), nlri), &with_ids()), (3, 10, vec![]), "{nlri:?}");
        assert_eq!(refused(&update(nlri, &[], &[]), &with_ids()), (3, 10, vec![]), "{nlri:?}");
    }
    // Without: four times 0.0.0.0/0 would be read of one, and then 10.1.0.0/16.
    let cut = [&MP_REACH[..2], &[24], &MP_REACH[3..24], &[0, 0, 0]].concat();
    let (code, subcode, _) = refused(&update(&[], &[&cut[..], &mandatory()].concat(), &[]), &with_ids());
    assert_eq!((code, subcode), (3, 9));
    let unreach = attribute(0x80, 15, &[0, 2, 1, 0, 0, 0, 1]);
    assert_eq!(refused(&update(&[], &unreach, &[]), &with_ids()).1, 9);
    assert_eq!(refused(&update(&[], &mandatory(), &[0, 0, 0, 40, 16, 10, 1]), &ebgp()), (3, 10, vec![]));
}

#[test]
fn a_path_that_is_treated_as_withdrawn_is_that_one() {
    let bad_origin = [&[0x40, 1, 1, 7][..], AS_PATH, NEXT_HOP].concat();
    let update = survives(&update(&[], &bad_origin, &[0, 0, 0, 5, 16, 10, 1]), &with_ids());
    assert_eq!((update.withdrawn, update.reachable), (vec![path(5, "10.1.0.0/16")], vec![]));
}

#[test]
fn an_end_of_rib_is_one_with_identifiers_too() {
    assert_eq!(survives(&update(&[], &[], &[]), &with_ids()).end_of_rib, Some(AfiSafi::IPV4_UNICAST));
    let unreach = attribute(0x80, 15, &[0, 2, 1]);
    assert_eq!(survives(&update(&[], &unreach, &[]), &with_ids()).end_of_rib, Some(AfiSafi::IPV6_UNICAST));
}

#[test]
fn a_prefix_in_both_fields_is_in_both_lists() {
    let update = survives(&update(NLRI, &mandatory(), NLRI), &ebgp());
    assert_eq!((update.withdrawn.len(), update.reachable.len()), (1, 1), "withdrawn applies first: it stays reachable");
}

/// RFC 6793 4.2.3, through whole messages.
#[test]
fn what_two_octet_speakers_pass_on() {
    let as4_path = [0xc0, 17, 6, 2, 1, 0, 1, 0x11, 0x70];
    let as4_aggregator = [0xc0, 18, 8, 0, 1, 0x11, 0x70, 192, 0, 2, 7];
    let as_path = [0x40, 2, 6, 2, 2, 0, 3, 0x5b, 0xa0];
    let trans = [0xc0, 7, 6, 0x5b, 0xa0, 192, 0, 2, 7];
    let own = [0xc0, 7, 6, 0, 3, 192, 0, 2, 8];
    let decoded = |more: &[&[u8]]| {
        let list = [ORIGIN, &as_path, NEXT_HOP, &more.concat()].concat();
        let attributes = survives(&update(&[], &list, NLRI), &old_speaker()).attributes.unwrap();
        (attributes.as_path, attributes.aggregator)
    };
    let merged = vec![AsSegment::Sequence(vec![3, 70000])];
    let plain = vec![AsSegment::Sequence(vec![3, 23456])];
    let new_aggregator = Some((70000, [192, 0, 2, 7].into()));
    let old_aggregator = Some((3, [192, 0, 2, 8].into()));
    assert_eq!(decoded(&[]), (plain.clone(), None));
    assert_eq!(decoded(&[&as4_path]), (merged.clone(), None));
    assert_eq!(decoded(&[&trans, &as4_path, &as4_aggregator]), (merged.clone(), new_aggregator));
    assert_eq!(decoded(&[&own, &as4_path, &as4_aggregator]), (plain, old_aggregator), "both AS4 ones are out of date");
    assert_eq!(decoded(&[&own, &as4_path]), (merged.clone(), old_aggregator));
    assert_eq!(decoded(&[&as4_path, &as4_aggregator]), (merged, None), "AS4_AGGREGATOR needs an AGGREGATOR");
}

#[test]
fn the_same_from_a_four_octet_speaker_is_discarded() {
    let list = [&mandatory(), &[0xc0, 17, 6, 2, 1, 0, 1, 0x11, 0x70][..]].concat();
    let kept = survives(&update(&[], &list, NLRI), &ebgp());
    assert_eq!(kept.attributes.unwrap().as_path, [AsSegment::Sequence(vec![65001])]);
    assert_eq!(kept.defects[0].action, DefectAction::AttributeDiscard);
}

/// RFC 8950 section 3: where it was negotiated, and there alone, IPv4 prefixes have next hops of 16 or 32 bytes.
#[test]
fn ipv4_prefixes_over_ipv6_next_hops_need_to_be_negotiated() {
    let global = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let link_local = Some("fe80::2".parse().unwrap());
    for (bytes, expected) in [
        (vec![192, 0, 2, 1], next_hop("192.0.2.1")),
        (global.to_vec(), next_hop("2001:db8::1")),
        (local.to_vec(), next_hop("fe80::2")),
        ([global, local].concat(), NextHop { link_local, ..next_hop("2001:db8::1") }),
        ([local, local].concat(), NextHop { link_local, ..next_hop("fe80::2") }),
    ] {
        let update = survives(&reach(1, &bytes, &[8, 10]), &extended());
        assert_eq!(update.reachable, [(prefixes(&["10.0.0.0/8"])[0], expected)], "{bytes:?}");
        if bytes.len() > 4 {
            let (code, subcode, _) = refused(&reach(1, &bytes, &[8, 10]), &ebgp());
            assert_eq!((code, subcode), (3, 9), "{bytes:?}");
        }
    }
    for length in [0, 1, 3, 5, 8, 12, 15, 17, 20, 24, 31, 33, 48] {
        let (code, subcode, _) = refused(&reach(1, &vec![0x20; length], &[8, 10]), &extended());
        assert_eq!((code, subcode), (3, 9), "{length} bytes");
    }
    // It is IPv4 alone: an IPv6 prefix has no next hop of IPv4.
    assert_eq!(refused(&reach(2, &[192, 0, 2, 1], &[8, 0x20]), &extended()).0, 3);
    assert_eq!(survives(&reach(1, &[0; 16], &[8, 10]), &extended()).withdrawn.len(), 1);
}

/// What a neighbour writes into the bits that hold the link of ours must not name one.
#[test]
fn link_local_next_hops_name_no_link() {
    let crafted = [0xfe, 0x80, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2];
    let update = survives(&reach(2, &[crafted, crafted].concat(), &[8, 0x20]), &ebgp());
    assert_eq!(update.reachable[0].1, NextHop { link_local: Some("fe80::2".parse().unwrap()), ..next_hop("fe80::2") });
    assert_eq!(survives(&reach(2, &crafted, &[8, 0x20]), &ebgp()).reachable[0].1, next_hop("fe80::2"));
}
