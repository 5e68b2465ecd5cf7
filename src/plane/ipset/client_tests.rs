use super::*;

#[test]
fn who_may_not_is_told_what_is_needed() {
    assert_eq!(describe(libc::EPERM), "not permitted: run as root, or with CAP_NET_ADMIN and CAP_NET_RAW");
}

#[test]
fn a_kernel_without_a_set_type_is_told_with_its_module() {
    let error = no_set_type("hash:net,iface", Family::V6, &describe(4098));
    assert_eq!(
        error.to_string(),
        "ipset: set type hash:net,iface for IPv6: the kernel does not know this set type or revision \
         (mend: modprobe ip_set_hash_netiface)"
    );
    let ours = wire::SET_KINDS.map(|kind| module_of(wire::type_name(kind)));
    assert_eq!(ours, ["ip_set_hash_net", "ip_set_hash_netiface", "ip_set_hash_ipport"]);
}

#[test]
fn a_kernel_without_ipset_is_told_with_its_modules() {
    for errno in [libc::EINVAL, libc::EOPNOTSUPP] {
        assert_eq!(refusal(wire::CMD_PROTOCOL, errno).to_string(), format!("ipset: {NO_IPSET}"));
        assert!(!refusal(wire::CMD_TYPE, errno).to_string().contains("modprobe"));
    }
    assert!(NO_IPSET.contains("modprobe ip_set"));
}
