use super::*;

#[test]
fn names_are_checked_at_the_door() {
    assert!(NodeName::new("h1.rack-2").is_ok());
    for wrong in ["", "H1", "h1.", "-h", "h_1", "h 1"] {
        assert!(NodeName::new(wrong).is_err(), "{wrong}");
    }
    assert!(NetworkName::new("My_net-1.x").is_ok());
    assert!(NetworkName::new("_x").is_err());
    assert!(InterfaceName::new("eth0").is_ok());
    for wrong in ["", ".", "..", "a/b", "a b", "a:b", "abcdefghijklmnop"] {
        assert!(InterfaceName::new(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        NodeName::new("H1").unwrap_err().to_string(),
        "`H1` is not a valid node name: expected lower-case letters, digits, `-` and `.` (RFC 1123)"
    );
}

#[test]
fn the_hash_is_stable_and_knows_where_parts_end() {
    assert_eq!(stable_hash(["a", "bc"], 11).len(), 11);
    assert_ne!(stable_hash(["a", "bc"], 11), stable_hash(["ab", "c"], 11));
    // Names in running kernels depend on it: this value must never change.
    assert_eq!(stable_hash(["net", "id", "eth0"], 11), "123f06558bf");
}
