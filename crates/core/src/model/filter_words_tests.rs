use super::*;

#[test]
fn communities_are_read_as_they_are_written() {
    let bytes = |text: &str| match text.parse().unwrap() {
        Community::Extended(bytes) => bytes,
        other => panic!("{other}"),
    };
    assert_eq!("65000:100".parse(), Ok(Community::Standard(65000 << 16 | 100)));
    assert_eq!("4200000001:0:4294967295".parse(), Ok(Community::Large(4_200_000_001, 0, u32::MAX)));
    assert_eq!("no-export".parse(), Ok(Community::Standard(0xffff_ff01)));
    assert_eq!("65535:65281".parse::<Community>().unwrap().to_string(), "no-export");
    // RFC 4360 section 4, RFC 5668 section 2.
    assert_eq!(bytes("rt:65000:100"), [0, 2, 0xfd, 0xe8, 0, 0, 0, 100]);
    assert_eq!(bytes("soo:192.0.2.1:7"), [1, 3, 192, 0, 2, 1, 0, 7]);
    assert_eq!(bytes("rt:4200000001:7"), [2, 2, 0xfa, 0x56, 0xea, 0x01, 0, 7]);
    assert_eq!(bytes("ext:0x030b000000000001"), [3, 0x0b, 0, 0, 0, 0, 0, 1]);
    for text in [
        "65000:100",
        "1:2:3",
        "no-export",
        "no-advertise",
        "graceful-shutdown",
        "blackhole",
        "rt:65000:100",
        "soo:192.0.2.1:7",
        "rt:4200000001:7",
        "ext:0x030b000000000001",
        "ext:0x0202000000010007",
        "65000:*",
        "*:*",
        "1:*:3",
    ] {
        assert_eq!(text.parse::<CommunityPattern>().unwrap().to_string(), text);
    }
}

#[test]
fn what_is_no_community_is_refused_with_what_one_is() {
    for text in [
        "",
        "65000",
        "65536:1",
        "1:65536",
        "1:2:3:4",
        "+1:2",
        "1: 2",
        "rt:1",
        "rt:70000:70000",
        "rt:192.0.2.1:65536",
        "ext:0x00",
        "ext:0x+000000000000001",
        "export",
        "1:2:4294967296",
        "rt:*:1",
    ] {
        let error = text.parse::<CommunityPattern>().unwrap_err().to_string();
        assert!(error.contains("is not a community: expected a standard one (65000:100)"), "{text}: {error}");
    }
    let many = "65000:*".parse::<Community>().unwrap_err();
    assert_eq!(many.to_string(), "\"65000:*\" names many communities: expected one, without `*`");
}

#[test]
fn a_star_is_any_value_of_a_part() {
    let pattern: CommunityPattern = "65000:*".parse().unwrap();
    assert!(pattern.standard(65000 << 16) && pattern.standard(65000 << 16 | 0xffff));
    assert!(!pattern.standard(65001 << 16) && !pattern.large((65000, 0, 0)));
    let large: CommunityPattern = "1:*:3".parse().unwrap();
    assert!(large.large((1, 9, 3)) && !large.large((1, 9, 4)) && !large.standard(1 << 16 | 3));
}

#[test]
fn patterns_of_as_paths_are_read_and_written() {
    for text in ["", "65001", "65001 *", "* 65001", "? 64512-65534 * 7", "*"] {
        assert_eq!(text.parse::<AsPathPattern>().unwrap().to_string(), text);
    }
    for text in ["65001,65002", "0", "9-3", "-", "1-", "^65001", "4294967296", "_1_"] {
        let error = text.parse::<AsPathPattern>().unwrap_err().to_string();
        assert!(error.contains("expected an AS number, a range (64512-65534)"), "{text}: {error}");
    }
}
