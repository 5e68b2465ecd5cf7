use super::*;

#[test]
fn what_we_say_is_what_we_would_take() {
    assert_eq!(read(&advertisement(), 255), Some(Heard::Advertisement));
    assert_eq!(read(&solicitation(), 255), Some(Heard::Solicitation));
    assert_eq!(advertisement()[6..8], [0, 0], "nobody's default router");
}

/// RFC 4861 6.1.2, row by row.
#[test]
fn what_the_rfc_discards_is_discarded() {
    let with = |options: &[u8]| [&advertisement()[..], options].concat();
    let source = [1, 1, 2, 0, 0, 0, 0, 1];
    let prefix = [&[3, 4][..], &[0; 30]].concat();
    assert_eq!(read(&with(&[&source[..], &prefix].concat()), 255), Some(Heard::Advertisement));
    assert_eq!(read(&with(&[99, 1, 0, 0, 0, 0, 0, 0]), 255), Some(Heard::Advertisement), "unknown options are ignored");
    for hop_limit in [0, 1, 64, 254] {
        assert_eq!(read(&advertisement(), hop_limit), None, "it came over a router");
        assert_eq!(read(&solicitation(), hop_limit), None);
    }
    for options in [&[1][..], &[1, 0], &[1, 0, 0, 0, 0, 0, 0, 0], &[1, 2, 0, 0, 0, 0, 0, 0], &source[..7]] {
        assert_eq!(read(&with(options), 255), None, "{options:?}");
    }
    let mut coded = advertisement();
    coded[1] = 1;
    assert_eq!(read(&coded, 255), None);
    for short in 0..16 {
        assert_eq!(read(&advertisement()[..short], 255), None);
    }
    for short in 0..8 {
        assert_eq!(read(&solicitation()[..short], 255), None);
    }
    assert_eq!(read(&[135; 24], 255), None, "a neighbour solicitation");
}
