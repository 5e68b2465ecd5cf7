use super::super::test_support::prefixes;
use super::*;

#[test]
fn host_bits_are_cleared() {
    assert_eq!(decode(Family::V4, false, &[9, 10, 0xff, 0]), Some(prefixes(&["10.128.0.0/9", "0.0.0.0/0"])));
    assert_eq!(decode(Family::V6, false, &[15, 0x20, 0xff]), Some(prefixes(&["20fe::/15"])));
}

#[test]
fn what_is_too_long_or_cut_off_is_refused() {
    for bytes in [&[33, 1, 2, 3, 4, 5][..], &[8], &[32, 1, 2, 3], &[255], &[248, 0], &[0, 24, 1, 2]] {
        assert_eq!(decode(Family::V4, false, bytes), None, "{bytes:?}");
    }
    for bytes in [&[129; 18][..], &[128, 0], &[255; 33], &[1]] {
        assert_eq!(decode(Family::V6, false, bytes), None, "{bytes:?}");
    }
    assert_eq!(decode(Family::V6, false, &[33, 0x20, 1, 0xd, 0xb8, 0x80]), Some(prefixes(&["2001:db8:8000::/33"])));
}

#[test]
fn filling_stops_at_the_room_and_at_another_family() {
    let mixed = prefixes(&["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "10.2.0.0/16"]);
    for (room, expected) in
        [(0, &[][..]), (1, &[]), (2, &[8, 10]), (4, &[8, 10]), (5, &[8, 10, 16, 10, 1]), (99, &[8, 10, 16, 10, 1])]
    {
        let mut out = Vec::new();
        fill(&mixed, Family::V4, false, room, &mut out);
        assert_eq!(out, expected, "room for {room}");
    }
}

#[test]
fn an_identifier_goes_before_each_prefix_where_both_said_so() {
    let one = |path_id, text: &str| Nlri { path_id, ..prefixes(&[text])[0] };
    let bytes = [0, 0, 0, 7, 8, 10, 0xff, 0, 0, 1, 8, 10, 0, 0, 0, 0, 0];
    let both = vec![one(7, "10.0.0.0/8"), one(0xff00_0001, "10.0.0.0/8"), one(0, "0.0.0.0/0")];
    assert_eq!(decode(Family::V4, true, &bytes).as_ref(), Some(&both), "one prefix, two paths");
    let mut out = Vec::new();
    assert_eq!(fill(&both, Family::V4, true, 99, &mut out), 3);
    assert_eq!(out, bytes);
    out.clear();
    assert_eq!((fill(&both, Family::V4, true, 11, &mut out), out.len()), (1, 6), "no room for two");
    for cut in [1, 4, 5, 7, 10, 16] {
        assert_eq!(decode(Family::V4, true, &bytes[..cut]), None, "{cut} bytes");
    }
    assert_eq!(decode(Family::V4, true, &[0, 0, 0, 1, 33, 1, 2, 3, 4, 5]), None, "longer than an address");
    assert_eq!(decode(Family::V6, true, &[0, 0, 0, 1, 129]), None);
}

#[test]
fn unroutable_prefixes() {
    for text in ["224.0.0.0/4", "239.1.2.3/32", "127.0.0.0/8", "127.0.0.1/32", "ff00::/8", "fe80::/10", "::1/128"] {
        assert!(is_unroutable(&text.parse().unwrap()), "{text}");
    }
    for text in ["0.0.0.0/0", "10.0.0.0/8", "224.0.0.0/3", "240.0.0.0/4", "::/0", "fd00::/8", "fe00::/8", "::1/127"] {
        // ::1/127 is ::/127 once masked, and not the loopback address.
        let prefix = text.parse().unwrap_or_else(|_| Cidr::new("::1".parse().unwrap(), 127).unwrap());
        assert!(!is_unroutable(&prefix), "{text}");
    }
}
