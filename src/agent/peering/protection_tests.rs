//! Whose password counts for an address.

use routenet_core::model::scope::scoped;

use super::*;
use crate::agent::peering::test_support::peer;

#[test]
fn of_one_address_on_several_links_one_password_counts_and_whom_it_keeps_out_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, password: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, password).expect("a file");
        Some(path.display().to_string())
    };
    let [sesame, same, barley] =
        [("a", "open sesame\n"), ("b", "open sesame"), ("c", "open barley\n")].map(|it| file(it.0, it.1));
    let missing = Some("/nonexistent/password".to_string());
    let far: IpAddr = "fe80::1".parse().expect("an address");
    let near: IpAddr = "fe80::2".parse().expect("an address");
    let read = |neighbors: &[(IpAddr, &Option<String>)]| {
        let peers: BTreeMap<IpAddr, PeerConfig> = neighbors
            .iter()
            .map(|(address, password)| {
                let mut peer = peer(&format!("{}", unscoped(*address).1.unwrap_or(0)));
                peer.transport.password_file = (*password).clone();
                (*address, peer)
            })
            .collect();
        let (keys, overruled) = read_keys(peers.iter());
        let key = keys.get(&far).map(|key| String::from_utf8_lossy(key).into_owned());
        (key, overruled.into_iter().map(|it| (it.name, it.by.1)).collect::<Vec<_>>())
    };
    let on = |index: u32| scoped(far, index);
    let is = |key: &str| Some(key.to_string());
    let out = |name: &str, by: &str| (name.to_string(), by.to_string());

    assert_eq!(read(&[(on(7), &sesame), (on(8), &same)]), (is("open sesame"), vec![]), "the same one does for both");
    assert_eq!(read(&[(on(7), &sesame), (scoped(near, 8), &barley)]), (is("open sesame"), vec![]), "two addresses");
    assert_eq!(read(&[(on(7), &None), (on(8), &None)]), (None, vec![]));
    assert_eq!(read(&[(on(7), &sesame), (on(8), &barley)]), (is("open barley"), vec![out("7", "8")]));
    assert_eq!(
        read(&[(on(7), &sesame), (on(8), &None)]),
        (is("open sesame"), vec![out("8", "7")]),
        "nor is it unsigned"
    );
    assert_eq!(read(&[(on(7), &sesame), (on(8), &missing)]), (is("open sesame"), vec![]), "it has no session anyway");
    assert_eq!(
        read(&[(on(7), &sesame), (on(8), &same), (on(9), &barley)]),
        (is("open barley"), vec![out("7", "9"), out("8", "9")])
    );
}

#[test]
fn a_password_that_everybody_can_read_is_known() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, "open sesame").expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("ours");
        Some(path.display().to_string())
    };
    let missing = Some("/nonexistent/password".to_string());
    let open = file("open", 0o644);
    let peers =
        [open.clone(), open.clone(), file("group", 0o640), file("ours", 0o600), None, missing].map(|password| {
            let mut peer = peer("tor");
            peer.transport.password_file = password;
            peer
        });
    assert_eq!(open_files(peers.iter()), open.into_iter().collect(), "one, once");
}
