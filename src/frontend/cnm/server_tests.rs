use super::*;

#[tokio::test]
async fn a_missing_directory_is_made_and_one_that_cannot_be_is_named_with_its_setting() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/docker/plugins/routenet.sock");
    let server = Server::bind(&path).await.expect("dockerd makes the directory at its first start, which may be later");
    assert!(path.exists());
    let error = Server::bind(&path).await.err().unwrap().to_string();
    assert!(error.contains("another driver answers on this socket") && error.contains("`docker.socket`"), "{error}");
    drop(server);
    assert!(!path.exists(), "the socket's file is gone with the server");

    std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(Server::bind(&path).await.expect("a socket that nobody serves is replaced"));

    std::fs::write(directory.path().join("file"), "").unwrap();
    let path = directory.path().join("file/plugins/routenet.sock");
    let error = Server::bind(&path).await.err().unwrap().to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(error.contains("`docker.socket` names a directory that this user may write"), "{error}");
}
