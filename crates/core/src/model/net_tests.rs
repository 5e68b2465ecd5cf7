use super::*;

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

#[test]
fn a_cidr_is_strict_and_says_how_to_mend_it() {
    assert_eq!(cidr("10.0.0.0/26").to_string(), "10.0.0.0/26");
    assert_eq!(
        "10.0.0.1/26".parse::<Cidr>().unwrap_err().to_string(),
        "`10.0.0.1/26` has host bits set: write 10.0.0.0/26"
    );
    for wrong in ["10.0.0.0", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/33", "x/8", "fd00::/129", "/8"] {
        assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
    }
}

#[test]
fn containment_and_overlap() {
    assert!(cidr("10.0.0.0/16").covers(&cidr("10.0.3.0/26")));
    assert!(!cidr("10.0.3.0/26").covers(&cidr("10.0.0.0/16")));
    assert!(cidr("10.0.3.0/26").overlaps(&cidr("10.0.0.0/16")));
    assert!(!cidr("10.0.3.0/26").overlaps(&cidr("10.0.4.0/26")));
    assert!(!cidr("0.0.0.0/0").covers(&cidr("fd00::/64")));
}

#[test]
fn addresses_by_position() {
    let block = cidr("10.0.0.64/26");
    assert_eq!(block.size(), 64);
    assert_eq!(block.nth(63), Some("10.0.0.127".parse().unwrap()));
    assert_eq!(block.nth(64), None);
    assert_eq!(block.index_of("10.0.0.65".parse().unwrap()), Some(1));
    assert_eq!(block.index_of("10.0.0.1".parse().unwrap()), None);
    assert_eq!(cidr("fd00::/122").nth(1), Some("fd00::1".parse().unwrap()));
    assert_eq!(cidr("::/0").size(), u128::MAX);
}

#[test]
fn subnets_cut_a_prefix_whole() {
    let cut =
        |text: &str, length| text.parse::<Cidr>().unwrap().subnets(length).map(|c| c.to_string()).collect::<Vec<_>>();
    assert_eq!(cut("10.0.0.0/14", 16), ["10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]);
    assert_eq!(cut("fd00::/63", 64), ["fd00::/64", "fd00:0:0:1::/64"]);
    assert_eq!(cut("10.0.0.0/16", 16), ["10.0.0.0/16"]);
    assert!(cut("10.0.0.0/16", 8).is_empty() && cut("10.0.0.0/16", 33).is_empty());
}
