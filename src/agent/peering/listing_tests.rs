//! What is noted beside a neighbour.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::agent::peering::test_support::away;

#[test]
fn a_neighbour_has_notes_of_an_open_password_and_of_families_that_it_is_not_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("password").display().to_string();
    std::fs::write(&path, "open sesame").expect("a file");
    let noted = |mode: u32, untold: Vec<Untold>| {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("ours");
        let mut status = away("no answer", None);
        status.config.transport.password_file = Some(path.clone());
        let detail = PeerDetail {
            status,
            messages_in: Messages::default(),
            messages_out: Messages::default(),
            faults: Default::default(),
            last_fault: None,
            last_sent: None,
            last_received: None,
            waiting: false,
            untold,
            too_long: None,
            history: Vec::new(),
        };
        neighbor_reply(&detail, None).notes
    };
    assert_eq!(noted(0o600, Vec::new()), Vec::<String>::new());
    assert_eq!(noted(0o644, Vec::new()), [format!("everybody on this machine can read its password: {path}")]);
    let untold = [Untold { family: Family::V6, on_link: false }, Untold { family: Family::V4, on_link: true }];
    assert_eq!(
        noted(0o600, untold.to_vec()),
        [
            "it is told no IPv6 route by way of this node: this node has no IPv6 address (`address.ipv6`)",
            "it is told no IPv4 route by way of this node: this session has IPv6 link-local addresses, and does not carry \
             IPv6 next hops of IPv4 routes (RFC 8950)",
        ]
    );
}
