//! A link-local address keeps its link, and no other address is touched.

use std::net::IpAddr;

use super::{scoped, unscoped};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn the_same_address_on_two_links_is_two() {
    let (first, second) = (scoped(ip("fe80::1"), 2), scoped(ip("fe80::1"), 3));
    assert_ne!(first, second);
    assert_eq!(unscoped(first), (ip("fe80::1"), Some(2)));
    assert_eq!(unscoped(second), (ip("fe80::1"), Some(3)));
    assert_eq!(unscoped(scoped(ip("fe80::1"), u32::MAX)), (ip("fe80::1"), Some(u32::MAX)));
}

#[test]
fn a_link_is_replaced_not_mixed() {
    assert_eq!(scoped(scoped(ip("fe80::1"), 5), 2), scoped(ip("fe80::1"), 2));
}

#[test]
fn without_a_link_there_is_none() {
    assert_eq!(unscoped(ip("fe80::1")), (ip("fe80::1"), None));
}

#[test]
fn other_addresses_have_no_link() {
    for address in ["10.0.0.1", "169.254.0.1", "2001:db8:0:7::1", "fd00::1", "::1"] {
        assert_eq!(scoped(ip(address), 7), ip(address));
        assert_eq!(unscoped(ip(address)), (ip(address), None));
    }
}
