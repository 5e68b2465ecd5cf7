use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use super::*;

/// Answers one connection with `reply` and gives back the line that it was sent.
fn answer(listener: UnixListener, reply: &'static str) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut line = String::new();
        BufReader::new(stream.try_clone().expect("a second handle")).read_line(&mut line).expect("a request");
        stream.write_all(reply.as_bytes()).expect("a reply");
        line
    })
}

#[test]
fn one_line_goes_out_and_one_comes_back() {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("agent.sock");
    let server = answer(UnixListener::bind(&socket).expect("a socket"), "{\"ok\":[1,2]}\n");
    let numbers: Vec<u8> = Client::new(&socket).call(&Request::BgpRoutes).expect("a reply");
    assert_eq!(numbers, [1, 2]);
    assert_eq!(server.join().expect("the server"), "{\"op\":\"bgp-routes\"}\n");
}

#[test]
fn an_error_of_the_agent_is_its_own_words() {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("agent.sock");
    let server = answer(
        UnixListener::bind(&socket).expect("a socket"),
        "{\"error\":{\"code\":\"denied\",\"message\":\"user 1000 may not write\"}}\n",
    );
    let error = Client::new(&socket).call::<()>(&Request::Drain { graceful_seconds: 0 }).expect_err("refused");
    assert_eq!(error.to_string(), "user 1000 may not write");
    server.join().expect("the server");
}

#[test]
fn a_missing_socket_a_dead_agent_and_a_silent_one_are_told_apart() {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("agent.sock");
    let call = || Client::new(&socket).call::<()>(&Request::Status).expect_err("no answer").to_string();
    assert!(call().starts_with(&format!("no agent socket at {}: is routenetd running", socket.display())));

    let listener = UnixListener::bind(&socket).expect("a socket");
    let server = answer(listener, "");
    assert!(call().contains("closed the connection without a reply"));
    server.join().expect("the server");

    assert!(call().contains("no agent listens on it"), "{}", call());
}

#[test]
fn a_reply_of_another_shape_asks_about_versions() {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("agent.sock");
    let server = answer(UnixListener::bind(&socket).expect("a socket"), "{\"ok\":\"text\"}\n");
    let error = Client::new(&socket).call::<Vec<u8>>(&Request::BgpRoutes).expect_err("no list");
    assert!(error.to_string().contains("of one version?"), "{error}");
    server.join().expect("the server");
}
