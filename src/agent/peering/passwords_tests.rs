//! Whose password counts for an address, and what is seen when a file is written.

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
    let who = |neighbors: &[(IpAddr, &Option<String>)]| {
        let peers: BTreeMap<IpAddr, PeerConfig> = neighbors
            .iter()
            .map(|(address, password)| {
                let name = unscoped(*address).1.unwrap_or(0).to_string();
                (*address, PeerConfig { name, ..with((*password).clone()) })
            })
            .collect();
        let (keys, Contents { overruled, .. }) = read(peers.iter());
        let key = keys.get(&far).map(|key| String::from_utf8_lossy(key).into_owned());
        (key, overruled.into_iter().map(|it| (it.name, it.by.1)).collect::<Vec<_>>())
    };
    let on = |index: u32| scoped(far, index);
    let is = |key: &str| Some(key.to_string());
    let out = |name: &str, by: &str| (name.to_string(), by.to_string());

    assert_eq!(who(&[(on(7), &sesame), (on(8), &same)]), (is("open sesame"), vec![]), "the same one does for both");
    assert_eq!(who(&[(on(7), &sesame), (scoped(near, 8), &barley)]), (is("open sesame"), vec![]), "two addresses");
    assert_eq!(who(&[(on(7), &None), (on(8), &None)]), (None, vec![]));
    assert_eq!(who(&[(on(7), &sesame), (on(8), &barley)]), (is("open barley"), vec![out("7", "8")]));
    assert_eq!(
        who(&[(on(7), &sesame), (on(8), &None)]),
        (is("open sesame"), vec![out("8", "7")]),
        "nor is it unsigned"
    );
    assert_eq!(who(&[(on(7), &sesame), (on(8), &missing)]), (is("open sesame"), vec![]), "it has no session anyway");
    assert_eq!(
        who(&[(on(7), &sesame), (on(8), &same), (on(9), &barley)]),
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
    let files = [open.clone(), open.clone(), file("group", 0o640), file("ours", 0o600), None, missing];
    let peers: BTreeMap<IpAddr, PeerConfig> = (1..).map(address).zip(files.map(with)).collect();
    assert_eq!(read(peers.iter()).1.open, open.into_iter().collect(), "one, once");
}

#[test]
fn a_file_that_is_written_later_is_a_key_at_the_next_look_and_what_it_lacks_is_known_until_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tor");
    let path_text = path.display().to_string();
    let peers = BTreeMap::from([(address(1), with(Some(path_text.clone()))), (address(2), with(None))]);
    let mut passwords = Passwords::default();
    let mut followed = passwords.follow();
    let key = |passwords: &Passwords| passwords.key(address(1));
    let lacks = |passwords: &Passwords| passwords.unreadable().get(&address(1)).cloned().unwrap_or_default();

    passwords.read(peers.iter());
    assert!(lacks(&passwords).contains(&format!("passwordFile {path_text}: No such file")), "{}", lacks(&passwords));
    assert!(passwords.next_look().is_some() && key(&passwords).is_none());
    assert!(!followed.has_changed().expect("it is there"));

    std::fs::write(&path, "\n").expect("a file");
    passwords.read(peers.iter());
    assert!(lacks(&passwords).contains("first line is empty"), "{}", lacks(&passwords));
    std::fs::write(&path, "open sesame\nsaid Ali").expect("a file");
    passwords.read(peers.iter());
    assert_eq!(key(&passwords), Some(b"open sesame".to_vec()));
    assert!(passwords.unreadable().is_empty() && followed.has_changed().expect("it is there"));
    assert_eq!(followed.borrow_and_update().get(&address(1)), Some(&b"open sesame".to_vec()));

    passwords.read(peers.iter());
    assert!(!followed.has_changed().expect("it is there"), "nothing was written");
    std::fs::write(&path, "x".repeat(81)).expect("a file");
    passwords.read(peers.iter());
    assert!(lacks(&passwords).contains("longer than the 80 bytes"), "{}", lacks(&passwords));
    assert!(key(&passwords).is_none(), "rather none than a wrong one");

    passwords.read(BTreeMap::from([(address(2), with(None))]).iter());
    assert!(passwords.next_look().is_none() && passwords.unreadable().is_empty());
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    for path in ["/dev/zero", "/"] {
        let why = read_password(path).expect_err("no password");
        assert!(why.contains(path) && why.contains("not a regular file"), "{why}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).expect("a fifo");
    assert!(read_password(&fifo.display().to_string()).is_err());
}

fn address(number: u8) -> IpAddr {
    [192, 0, 2, number].into()
}

fn with(password_file: Option<String>) -> PeerConfig {
    let mut peer = peer("tor");
    peer.transport.password_file = password_file;
    peer
}
