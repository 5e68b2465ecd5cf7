use std::io::Error;

use super::*;

#[test]
fn what_the_machine_lacks_is_told_with_its_mend_and_another_fault_as_it_is() {
    let told = |errno| unreadable(&Error::from_raw_os_error(errno)).to_string();
    for errno in [libc::EINVAL, libc::EOPNOTSUPP, libc::EPROTONOSUPPORT] {
        assert_eq!(
            told(errno),
            "the table of connections: cannot be read: the kernel does not list its connections \
             (mend: modprobe nf_conntrack_netlink)"
        );
    }
    assert!(told(libc::EPERM).ends_with("run as root, or with CAP_NET_ADMIN and CAP_NET_RAW"), "{}", told(libc::EPERM));
    assert!(!told(libc::ENOBUFS).contains("mend"), "{}", told(libc::ENOBUFS));
}
