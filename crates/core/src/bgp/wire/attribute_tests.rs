//! RFC 7606 as a table: each attribute, each way to be malformed, from each kind of neighbour.

use super::super::test_support::{self as t, attribute, ebgp, ibgp, old_speaker, update};
use super::super::{Message, decode};
use super::*;

/// What became of an UPDATE with one IPv4 prefix and one odd attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Announced, nothing to say.
    Fine,
    /// Announced without the attribute.
    Discarded,
    Withdrawn,
    /// UPDATE Message Error with this subcode.
    Reset(u8),
}
use Fate::{Discarded, Fine, Reset, Withdrawn};

/// A sound value of each attribute, from a four-octet speaker.
#[rustfmt::skip]
const SOUND: [(u8, &[u8]); 18] = [
    (code::ORIGIN, &[0]),
    (code::AS_PATH, &[2, 1, 0, 0, 0xfd, 0xe9]),
    (code::NEXT_HOP, &[192, 0, 2, 1]),
    (code::MULTI_EXIT_DISC, &[0, 0, 0, 1]),
    (code::LOCAL_PREF, &[0, 0, 0, 100]),
    (code::ATOMIC_AGGREGATE, &[]),
    (code::AGGREGATOR, &[0, 0, 0xfd, 0xe9, 192, 0, 2, 1]),
    (code::COMMUNITIES, &[0xfd, 0xe9, 0, 1]),
    (code::ORIGINATOR_ID, &[10, 0, 0, 1]),
    (code::CLUSTER_LIST, &[10, 0, 0, 2]),
    (code::MP_REACH_NLRI, &[0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 8, 0x20]),
    (code::MP_UNREACH_NLRI, &[0, 2, 1, 8, 0x21]),
    (code::EXTENDED_COMMUNITIES, &[0, 2, 0xfd, 0xe9, 0, 0, 0, 9]),
    (code::AS4_PATH, &[2, 1, 0, 1, 0, 0]),
    (code::AS4_AGGREGATOR, &[0, 1, 0, 0, 192, 0, 2, 1]),
    (code::IPV6_EXTENDED_COMMUNITIES, &[7; 20]),
    (code::LARGE_COMMUNITIES, &[0, 0, 0xfd, 0xe9, 0, 0, 0, 1, 0, 0, 0, 2]),
    (code::ONLY_TO_CUSTOMER, &[0, 0, 0xfd, 0xe9]),
];

fn sound(code: u8) -> &'static [u8] {
    SOUND.iter().find(|(known, _)| *known == code).expect("a sound value for each attribute").1
}

fn flags(code: u8) -> u8 {
    ROWS.iter().find(|row| row.code == code).expect("a row for each attribute").flags
}

/// The three mandatory attributes, without `code`, and then `odd`.
fn with(code: u8, odd: &[u8], context: &CodecContext) -> Vec<u8> {
    let as_path = if context.four_octet_as { t::AS_PATH } else { t::AS_PATH_OLD };
    let mut list = Vec::new();
    for (mandatory, bytes) in [(code::ORIGIN, t::ORIGIN), (code::AS_PATH, as_path), (code::NEXT_HOP, t::NEXT_HOP)] {
        if mandatory != code {
            list.extend_from_slice(bytes);
        }
    }
    list.extend_from_slice(odd);
    update(&[], &list, t::NLRI)
}

fn fate(bytes: &[u8], context: &CodecContext) -> Fate {
    let prefix = t::prefixes(&["10.1.0.0/16"])[0];
    match decode(bytes, context) {
        Err(notification) => {
            assert_eq!(notification.code, Notification::UPDATE_ERROR);
            Reset(notification.subcode)
        }
        Ok(Message::Update(update)) => {
            let worst = update.defects.iter().map(|defect| defect.action).max();
            let announced = update.reachable.iter().any(|(reachable, _)| *reachable == prefix);
            let withdrawn = update.withdrawn.contains(&prefix);
            assert_ne!(announced, withdrawn, "the prefix is lost, or both: {update:?}");
            assert_eq!(update.attributes.is_some(), announced);
            match worst {
                None if announced => Fine,
                Some(DefectAction::AttributeDiscard) if announced => Discarded,
                Some(DefectAction::TreatAsWithdraw) if withdrawn => Withdrawn,
                _ => panic!("{worst:?} does not go with {update:?}"),
            }
        }
        Ok(other) => panic!("{other:?}"),
    }
}

/// Whether an attribute of this code is looked at when it comes from such a neighbour.
fn taken(code: u8, context: &CodecContext) -> bool {
    match code {
        code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST => context.ibgp,
        code::AS4_PATH | code::AS4_AGGREGATOR => !context.four_octet_as,
        _ => true,
    }
}

/// A sound value in the width that this neighbour writes.
fn sound_for(code: u8, context: &CodecContext) -> Vec<u8> {
    match (code, context.four_octet_as) {
        (code::AS_PATH, false) => vec![2, 1, 0xfd, 0xe9],
        (code::AGGREGATOR, false) => vec![0xfd, 0xe9, 192, 0, 2, 1],
        _ => sound(code).to_vec(),
    }
}

/// What a malformed value leads to (RFC 7606 section 7, RFC 6793 section 6).
fn malformed(code: u8) -> Fate {
    match code {
        code::ATOMIC_AGGREGATE | code::AGGREGATOR | code::AS4_PATH | code::AS4_AGGREGATOR => Discarded,
        code::MP_REACH_NLRI | code::MP_UNREACH_NLRI => Reset(9),
        _ => Withdrawn,
    }
}

fn neighbours() -> [CodecContext; 3] {
    [ebgp(), ibgp(), old_speaker()]
}

#[test]
fn every_row_is_in_this_table() {
    assert_eq!(ROWS.map(|row| row.code), SOUND.map(|(code, _)| code));
}

#[test]
fn sound_attributes() {
    for context in neighbours() {
        for (code, _) in SOUND {
            let odd = attribute(flags(code), code, &sound_for(code, &context));
            let expected = if taken(code, &context) { Fine } else { Discarded };
            assert_eq!(fate(&with(code, &odd, &context), &context), expected, "{} {context:?}", name(code));
        }
    }
}

#[test]
fn wrong_flags_are_treated_as_withdraw() {
    for context in neighbours() {
        for (code, _) in SOUND {
            for wrong in [OPTIONAL, TRANSITIVE] {
                let odd = attribute(flags(code) ^ wrong, code, &sound_for(code, &context));
                let expected = if taken(code, &context) { Withdrawn } else { Discarded };
                assert_eq!(fate(&with(code, &odd, &context), &context), expected, "{} {context:?}", name(code));
            }
            // Partial and the four unused bits say nothing about the attribute.
            let odd = attribute(flags(code) | PARTIAL | 0x0f, code, &sound_for(code, &context));
            let expected = if taken(code, &context) { Fine } else { Discarded };
            assert_eq!(fate(&with(code, &odd, &context), &context), expected, "{} {context:?}", name(code));
        }
    }
}

/// One byte less, one byte more, nothing at all.
#[test]
fn wrong_lengths() {
    for context in neighbours() {
        for (code, _) in SOUND {
            let value = sound_for(code, &context);
            let longer = [value.as_slice(), &[0xff]].concat();
            let shorter = value.split_last().map(|(_, shorter)| shorter.to_vec());
            let empty = (!matches!(code, code::AS_PATH | code::ATOMIC_AGGREGATE)).then(Vec::new);
            for wrong in [Some(longer), shorter, empty].into_iter().flatten() {
                let odd = attribute(flags(code), code, &wrong);
                let expected = if taken(code, &context) { malformed(code) } else { Discarded };
                let found = fate(&with(code, &odd, &context), &context);
                assert_eq!(found, expected, "{} {wrong:?} {context:?}", name(code));
            }
        }
        let empty_path = attribute(TRANSITIVE, code::AS_PATH, &[]);
        assert_eq!(fate(&with(code::AS_PATH, &empty_path, &context), &context), Fine, "a path may be empty");
    }
}

#[test]
fn second_ones_are_discarded_and_the_first_counts() {
    for context in neighbours() {
        for (code, _) in SOUND {
            let first = attribute(flags(code), code, &sound_for(code, &context));
            let expected = match code {
                code::MP_REACH_NLRI | code::MP_UNREACH_NLRI => Reset(1),
                _ => Discarded,
            };
            // The second one may be as malformed as it likes.
            for second in [first.clone(), attribute(flags(code), code, &[1, 2, 3])] {
                let odd = [first.as_slice(), &second].concat();
                assert_eq!(fate(&with(code, &odd, &context), &context), expected, "{} {context:?}", name(code));
            }
        }
    }
    let twice = [attribute(OPTIONAL, 4, &[0, 0, 0, 1]), attribute(OPTIONAL, 4, &[0, 0, 0, 2])].concat();
    let kept = t::survives(&with(0, &twice, &ebgp()), &ebgp());
    assert_eq!(kept.attributes.unwrap().med, Some(1));
}

/// RFC 4271 section 5: in, and out again.
#[test]
fn partial_stays_on_known_attributes_and_comes_to_unknown_ones() {
    let context = ibgp();
    let optional_transitive = |code: u8| flags(code) == OPTIONAL_TRANSITIVE && taken(code, &context);
    for (code, value) in SOUND.into_iter().filter(|(code, _)| optional_transitive(*code)) {
        for partial in [0, PARTIAL] {
            let odd = attribute(OPTIONAL_TRANSITIVE | partial, code, value);
            assert!(passed_on(&odd, &context).contains(&odd), "{} with {partial:#x}", name(code));
        }
    }
    let unknown = attribute(OPTIONAL_TRANSITIVE, 200, &[1]);
    let expected = attribute(OPTIONAL_TRANSITIVE | PARTIAL, 200, &[1]);
    assert!(passed_on(&unknown, &context).contains(&expected));
}

/// The attributes of a route that had this one, one by one, as the next neighbour is told.
fn passed_on(odd: &[u8], context: &CodecContext) -> Vec<Vec<u8>> {
    let update = t::survives(&with(0, odd, context), context);
    let (prefix, next_hop) = update.reachable[0];
    let mut out = Vec::new();
    crate::bgp::wire::encode_reach(&update.attributes.unwrap(), &next_hop, &[prefix], context, &mut out).unwrap();
    let length = usize::from(u16::from_be_bytes([out[21], out[22]]));
    let mut reader = Reader::new(&out[23..23 + length]);
    let mut whole = Vec::new();
    while let Some((flags, code, value)) = next_attribute(&mut reader) {
        whole.push(attribute(flags, code, value));
    }
    whole
}

/// RFC 7606 section 4: longer than the list, or without room for flags, type and length.
#[test]
fn cut_off_attributes() {
    for context in neighbours() {
        for (code, _) in SOUND {
            let whole = attribute(flags(code), code, &sound_for(code, &context));
            let extended = [&[flags(code) | EXTENDED_LENGTH, code, 0][..], &whole[2..]].concat();
            for whole in [whole, extended] {
                for cut in 1..whole.len() {
                    let expected = match code {
                        // Prefixes may be lost. One byte alone does not say what it was going to be.
                        code::MP_REACH_NLRI | code::MP_UNREACH_NLRI if cut > 1 => Reset(9),
                        _ => Withdrawn,
                    };
                    let bytes = with(0, &whole[..cut], &context);
                    let found = fate(&bytes, &context);
                    assert_eq!(found, expected, "{} cut to {cut} {context:?}", name(code));
                }
            }
        }
    }
}

#[test]
fn values_that_mean_nothing() {
    for (code, value, expected) in [
        (code::ORIGIN, &[3][..], Withdrawn),
        (code::AS_PATH, &[2, 1, 0, 0, 0, 0], Withdrawn),
        (code::AS_PATH, &[3, 1, 0, 0, 0, 1], Withdrawn),
        (code::AS_PATH, &[2, 0], Withdrawn),
        (code::NEXT_HOP, &[0, 0, 0, 0], Withdrawn),
        // Whether the loopback is the neighbour's, the speaker knows.
        (code::NEXT_HOP, &[127, 0, 0, 1], Fine),
        (code::NEXT_HOP, &[224, 0, 0, 5], Withdrawn),
        (code::NEXT_HOP, &[240, 0, 0, 1], Withdrawn),
        (code::NEXT_HOP, &[255, 255, 255, 255], Withdrawn),
        (code::NEXT_HOP, &[223, 255, 255, 1], Fine),
        (code::AGGREGATOR, &[0, 0, 0, 0, 192, 0, 2, 1], Discarded),
        (code::MP_REACH_NLRI, &[0, 2, 1, 4, 192, 0, 2, 1, 0, 8, 0x20], Reset(9)),
        (code::MP_REACH_NLRI, &[0, 1, 1, 4, 0, 0, 0, 0, 0, 8, 10], Withdrawn),
        (code::MP_REACH_NLRI, &[0, 1, 1, 4, 192, 0, 2, 1, 0, 33, 10, 0, 0, 0, 0], Reset(9)),
        (code::MP_UNREACH_NLRI, &[0, 1, 1, 33, 10, 0, 0, 0, 0], Reset(9)),
        (code::MP_REACH_NLRI, &[0, 25, 70, 4, 192, 0, 2, 1, 0, 99], Discarded),
        (code::MP_UNREACH_NLRI, &[0, 1, 128, 99], Discarded),
    ] {
        let odd = attribute(flags(code), code, value);
        assert_eq!(fate(&with(code, &odd, &ebgp()), &ebgp()), expected, "{} {value:?}", name(code));
    }
    for (code, value) in [
        (code::AS4_PATH, &[2, 1, 0, 0, 0, 0][..]),
        (code::AS4_PATH, &[9, 1, 0, 0, 0, 1]),
        (code::AS4_AGGREGATOR, &[0, 0, 0, 0, 192, 0, 2, 1]),
    ] {
        let odd = attribute(flags(code), code, value);
        assert_eq!(fate(&with(code, &odd, &old_speaker()), &old_speaker()), Discarded, "{} {value:?}", name(code));
    }
}

#[test]
fn unknown_attributes() {
    let unknown = |flags, value: &[u8]| with(0, &attribute(flags, 200, value), &ebgp());
    let kept = t::survives(&unknown(OPTIONAL_TRANSITIVE, &[1, 2]), &ebgp()).attributes.unwrap().unknown;
    assert_eq!(kept, [(0xe0, 200, vec![1, 2])], "passed on, with Partial");
    let kept = t::survives(&unknown(OPTIONAL, &[1, 2]), &ebgp());
    assert_eq!(kept.attributes.unwrap().unknown, [], "not transitive: dropped");
    assert_eq!(kept.defects, []);
    let (code, subcode, data) = t::refused(&unknown(TRANSITIVE, &[1, 2]), &ebgp());
    assert_eq!((code, subcode, data), (3, 2, attribute(TRANSITIVE, 200, &[1, 2])), "not optional: must be known");
    let twice = [attribute(0xc0, 200, &[1]), attribute(0xc0, 200, &[2]), attribute(0xc0, 34, &[])].concat();
    let kept = t::survives(&with(0, &twice, &ebgp()), &ebgp());
    assert_eq!(kept.attributes.unwrap().unknown, [(0xe0, 34, vec![]), (0xe0, 200, vec![1])]);
    assert_eq!(kept.defects.len(), 1);
}

/// RFC 7606 3 c, 7.13 and 7.16: what is registered as optional is not taken for well-known.
#[test]
fn foreign_attributes_have_their_flags() {
    for (code, right, action) in FOREIGN {
        let malformed = if action == Action::AttributeDiscard { Discarded } else { Withdrawn };
        assert!(ROWS.iter().all(|row| row.code != code), "attribute {code} is in both tables");
        assert_eq!(fate(&with(0, &attribute(right, code, &[1]), &ebgp()), &ebgp()), Fine);
        for wrong in [OPTIONAL, TRANSITIVE, OPTIONAL_TRANSITIVE] {
            let odd = attribute(right ^ wrong, code, &[1]);
            assert_eq!(fate(&with(0, &odd, &ebgp()), &ebgp()), malformed, "attribute {code} with {:#x}", right ^ wrong);
        }
    }
}

#[test]
fn defects_carry_words_and_the_first_64_bytes() {
    let odd = attribute(OPTIONAL_TRANSITIVE, code::COMMUNITIES, &[7; 101]);
    let update = t::survives(&with(0, &odd, &ebgp()), &ebgp());
    let [defect] = update.defects.as_slice() else { panic!("{update:?}") };
    assert_eq!(defect.what, "COMMUNITIES: length is no multiple of its entries'");
    assert_eq!(defect.bytes, odd[..64]);
}

/// RFC 7606 3 h: the strongest action wins, whatever came first.
#[test]
fn the_strongest_action_wins() {
    let discard = attribute(TRANSITIVE, code::ATOMIC_AGGREGATE, &[1]);
    let withdraw = attribute(OPTIONAL, code::MULTI_EXIT_DISC, &[1]);
    let reset = attribute(OPTIONAL, code::MP_REACH_NLRI, &[]);
    for (odd, expected) in [
        ([discard.as_slice(), &withdraw].concat(), Withdrawn),
        ([withdraw.as_slice(), &discard].concat(), Withdrawn),
        ([withdraw.as_slice(), &reset].concat(), Reset(9)),
        ([discard.as_slice(), &reset, &withdraw].concat(), Reset(9)),
    ] {
        assert_eq!(fate(&with(0, &odd, &ebgp()), &ebgp()), expected);
    }
}
