use super::*;

#[test]
fn link_local_addresses_are_written_with_the_name_of_their_interface() {
    let loopback = if_nametoindex("lo").expect("every namespace has one");
    let address = scoped("fe80::1".parse().expect("an address"), loopback);
    assert_eq!(words(address), "fe80::1%lo");
    assert_eq!(read_words("fe80::1%lo"), Some(address));
    assert_eq!(read_words(&format!("fe80::1%{loopback}")), Some(address));
    assert_eq!(
        words(scoped("fe80::1".parse().expect("an address"), u32::MAX)),
        "fe80::1%4294967295",
        "one that is gone"
    );
    for plain in ["192.0.2.1", "2001:db8::1", "fe80::1"] {
        assert_eq!(words(plain.parse().expect("an address")), plain);
        assert_eq!(read_words(plain), plain.parse().ok());
    }
    assert_eq!(read_words("fe80::1%no-such-link"), None);
    assert_eq!(read_words("tor-a"), None);
}

#[test]
fn the_loopback_is_an_interface_without_a_link_local_address() {
    let links = look_at_links().expect("netlink needs no rights");
    let loopback = links[&InterfaceName::new("lo").expect("a name")];
    assert_eq!((loopback.index, loopback.link_local), (1, None));
}
