use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use clap::CommandFactory;
use serde_json::{Value, json};

use super::*;

/// An agent that answers one request with `reply`, and its client; the request is what the thread gives back.
pub fn agent(reply: Value) -> (tempfile::TempDir, Client, thread::JoinHandle<Value>) {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut line = String::new();
        BufReader::new(stream.try_clone().expect("a second handle")).read_line(&mut line).expect("a request");
        writeln!(stream, "{reply}").expect("a reply");
        serde_json::from_str(&line).expect("a request in JSON")
    });
    let client = Client::new(&socket);
    (folder, client, server)
}

/// Parses the words behind `routectl`, runs the command against an agent that replies `reply`, and answers what it
/// asked and what it said.
pub fn run(words: &str, reply: Value) -> (Value, Result<Answer, CliError>) {
    let (_folder, client, server) = agent(reply);
    let cli = Cli::try_parse_from(std::iter::once("routectl").chain(words.split_whitespace())).expect("a command line");
    let Command::Ask(question) = cli.command else { panic!("lab asks no agent") };
    let answer = question.ask(&client, output::Style { colour: false });
    (server.join().expect("the agent"), answer)
}

/// What a good command says.
pub fn said(words: &str, reply: Value) -> (Value, Answer) {
    let (asked, answer) = run(words, json!({ "ok": reply }));
    (asked, answer.expect("an answer"))
}

#[test]
fn the_command_line_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_says_what_it_is_for_and_how_it_exits() {
    let mut routectl = Cli::command();
    assert!(routectl.render_long_help().to_string().contains("EXIT STATUS"));
    for name in ["status", "get", "apply", "delete", "explain"] {
        let help = routectl.find_subcommand_mut(name).expect(name).render_long_help().to_string();
        assert!(help.contains("EXAMPLES") && help.contains("EXIT STATUS"), "{name}: {help}");
    }
}

#[test]
fn a_wrong_command_line_says_what_is_expected() {
    let refused = |words: &str| {
        let words = std::iter::once("routectl").chain(words.split_whitespace());
        let error = Cli::try_parse_from(words).expect_err("refused");
        assert_eq!(error.exit_code(), i32::from(CANNOT_TELL));
        error.to_string()
    };
    assert!(refused("get ipool").contains("unknown kind \"ipool\" (did you mean ippool?)"));
    assert!(refused("explain a b tcp").contains("tcp needs a port: write tcp/PORT, such as tcp/80"));
    assert!(refused("explain a b icmp/80").contains("icmp has no ports: write icmp"));
    assert!(refused("explain a b tcp/99999").contains("\"99999\" is not a port"));
    assert!(refused("explain a b tpc/80").contains("unknown protocol \"tpc\""));
    assert!(refused("delete gnp").contains("<NAME>"));
    assert!(refused("delete").contains("-f"));
    assert!(refused("apply").contains("--filename"));
}

#[test]
fn what_the_agent_refuses_is_exit_1_and_an_agent_that_is_not_there_exit_2() {
    let no = json!({ "error": { "code": "denied", "message": "user 1000 may read, not write" } });
    let (asked, answer) = run("node drain", no);
    assert_eq!(asked, json!({ "op": "drain", "graceful_seconds": 5 }));
    let error = answer.expect_err("refused");
    assert_eq!((error.to_string().as_str(), error.exit()), ("user 1000 may read, not write", REFUSED));

    let folder = tempfile::tempdir().expect("a directory");
    let client = Client::new(folder.path().join("agent.sock"));
    let error = node::NodeCommand::Drain { graceful_seconds: 0 }.run(&client).expect_err("nobody there");
    assert_eq!(error.exit(), CANNOT_TELL);
}
