use super::*;
use AsSegment::{Sequence, Set};

fn malformed(value: &[u8], four_octets: bool) -> &'static str {
    decode(value, four_octets, Confederation::Malformed).unwrap_err()
}

#[test]
fn sound_paths() {
    let decode = |value: &[u8], four| decode(value, four, Confederation::Malformed);
    assert_eq!(decode(&[], true), Ok(vec![]));
    assert_eq!(decode(&[2, 1, 0, 0, 0xfd, 0xe9], true), Ok(vec![Sequence(vec![65001])]));
    assert_eq!(decode(&[2, 2, 0, 1, 0, 2, 1, 1, 0, 3], false), Ok(vec![Sequence(vec![1, 2]), Set(vec![3])]));
    // Each segment for itself (RFC 4271 5.1.2: a path is told on as it is).
    assert_eq!(decode(&[2, 1, 0, 1, 2, 1, 0, 2], false), Ok(vec![Sequence(vec![1]), Sequence(vec![2])]));
    assert_eq!(decode(&[1, 1, 0, 1, 1, 1, 0, 2], false), Ok(vec![Set(vec![1]), Set(vec![2])]));
}

#[test]
fn malformed_paths() {
    assert_eq!(malformed(&[2], true), "a byte is left behind the last segment");
    assert_eq!(malformed(&[2, 1, 0, 0, 0xfd, 0xe9, 0], true), "a byte is left behind the last segment");
    assert_eq!(malformed(&[2, 0], true), "empty segment");
    assert_eq!(malformed(&[2, 2, 0, 0, 0, 1], true), "a segment is longer than the attribute");
    assert_eq!(malformed(&[2, 1, 0, 0, 0, 1, 9, 1, 0, 0, 0, 1], true), "unknown segment type");
    assert_eq!(malformed(&[0, 1, 0, 1], false), "unknown segment type");
    assert_eq!(malformed(&[2, 2, 0, 1, 0, 0], false), "AS 0");
    assert_eq!(malformed(&[3, 1, 0, 1], false), "confederation segment");
    assert_eq!(malformed(&[4, 1, 0, 1], false), "confederation segment");
}

#[test]
fn confederation_segments_of_as4_path_are_dropped() {
    let value = [3, 1, 0, 0, 0, 9, 2, 1, 0, 0, 0, 1, 4, 1, 0, 0, 0, 8];
    assert_eq!(decode(&value, true, Confederation::Dropped), Ok(vec![Sequence(vec![1])]));
}

#[test]
fn what_no_segment_can_count_is_split() {
    for length in [1, 255, 256, 510, 511, 900] {
        let path: Vec<u32> = (1..=length).collect();
        let split: Vec<AsSegment> = path.chunks(SEGMENT).map(|chunk| Sequence(chunk.to_vec())).collect();
        for four_octets in [true, false] {
            let mut out = Vec::new();
            put(&[Sequence(path.clone())], four_octets, &mut out);
            assert_eq!(decode(&out, four_octets, Confederation::Malformed), Ok(split.clone()), "{length}");
        }
    }
    let mut out = Vec::new();
    put(&[Sequence(vec![]), Set(vec![])], true, &mut out);
    assert!(out.is_empty(), "an empty segment would be malformed");
}

#[test]
fn two_octet_speakers_get_as_trans() {
    let mut out = Vec::new();
    put(&[Sequence(vec![65535, 65536])], false, &mut out);
    assert_eq!(out, [2, 2, 0xff, 0xff, 0x5b, 0xa0]);
    assert!(needs_four_octets(&[Sequence(vec![1]), Set(vec![65536])]));
    assert!(!needs_four_octets(&[Sequence(vec![65535])]));
}

/// RFC 6793 4.2.3.
#[test]
fn merging() {
    const T: u32 = AS_TRANS as u32;
    for (as_path, as4_path, expected) in [
        // The old speaker 3 put itself in front of what the new ones said.
        (vec![Sequence(vec![3, T, T])], vec![Sequence(vec![70000, 70001])], vec![Sequence(vec![3, 70000, 70001])]),
        // As long as each other: all from AS4_PATH.
        (vec![Sequence(vec![T, 2])], vec![Sequence(vec![70000, 2])], vec![Sequence(vec![70000, 2])]),
        // A longer AS4_PATH cannot be right, and is ignored.
        (vec![Sequence(vec![T])], vec![Sequence(vec![70000, 2])], vec![Sequence(vec![T])]),
        // A set counts as one.
        (
            vec![Sequence(vec![3]), Set(vec![4, 5]), Sequence(vec![T])],
            vec![Sequence(vec![70000])],
            vec![Sequence(vec![3]), Set(vec![4, 5]), Sequence(vec![70000])],
        ),
        (
            vec![Sequence(vec![3, T]), Set(vec![T, 5])],
            vec![Sequence(vec![70000]), Set(vec![70001, 5])],
            vec![Sequence(vec![3, 70000]), Set(vec![70001, 5])],
        ),
        // What ends here ends here.
        (
            vec![Sequence(vec![3]), Sequence(vec![T])],
            vec![Sequence(vec![70000])],
            vec![Sequence(vec![3]), Sequence(vec![70000])],
        ),
        // What is already full gets no longer.
        (
            vec![Sequence(vec![3; SEGMENT]), Sequence(vec![T])],
            vec![Sequence(vec![70000])],
            vec![Sequence(vec![3; SEGMENT]), Sequence(vec![70000])],
        ),
        // Nothing of two octets is left over, and nothing at all is there.
        (vec![Sequence(vec![3])], vec![], vec![Sequence(vec![3])]),
        (vec![], vec![], vec![]),
    ] {
        assert_eq!(merge(as_path.clone(), as4_path.clone()), expected, "{as_path:?} and {as4_path:?}");
    }
}
