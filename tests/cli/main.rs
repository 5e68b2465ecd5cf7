//! `routectl` as people start it: what it says on which stream, and how it exits. Needs no root and no agent.

#[path = "../support/pages.rs"]
mod pages;
mod typed;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

fn routectl(socket: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_routectl"));
    command.arg("--socket").arg(socket).args(words).env_remove("ROUTENET_SOCKET").output().expect("routectl")
}

/// Exit code, standard output and standard error.
fn said(socket: &Path, words: &[&str]) -> (i32, String, String) {
    let output = routectl(socket, words);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

#[test]
fn a_missing_socket_is_exit_2_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("agent.sock");
    let expected = format!(
        "routectl: no agent socket at {}: is routenetd running on this machine? Start it, or name its socket with \
         --socket PATH or ROUTENET_SOCKET\n",
        socket.display()
    );
    for words in [&["status"][..], &["get", "pools"], &["endpoints"], &["bgp", "routes"], &["node", "drain"]] {
        assert_eq!(said(&socket, words), (2, String::new(), expected.clone()));
    }
}

#[test]
fn a_dead_agent_is_exit_2_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("agent.sock");
    drop(UnixListener::bind(&socket).expect("a socket"));
    let (code, out, err) = said(&socket, &["status"]);
    let expected = format!(
        "routectl: {} is there, but no agent listens on it: routenetd has stopped or was killed. Start it again; running \
         workloads keep their network meanwhile\n",
        socket.display()
    );
    assert_eq!((code, out, err), (2, String::new(), expected));
}

#[test]
fn help_goes_to_standard_output_and_a_wrong_command_line_to_standard_error() {
    let nowhere = Path::new("/nonexistent/agent.sock");
    let (code, out, err) = said(nowhere, &["--help"]);
    assert!(code == 0 && out.contains("EXIT STATUS") && err.is_empty(), "{code} {err}");
    let (code, out, err) = said(nowhere, &["get", "ipool"]);
    assert!(code == 2 && out.is_empty() && err.contains("(did you mean ippool?)"), "{code} {err}");
    let (code, _, err) = said(nowhere, &["apply", "-f", "/nonexistent/a.yaml"]);
    let expected = "routectl: /nonexistent/a.yaml: cannot be read: No such file or directory (os error 2)\n";
    assert_eq!((code, err.as_str()), (2, expected));
}

#[test]
fn the_shipped_policies_say_what_their_tests_expect() {
    let nowhere = Path::new("/nonexistent/agent.sock");
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
    let (code, out, err) = said(nowhere, &["policy", "test", policies]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.ends_with(": all as expected\n"), "{out}");
}
