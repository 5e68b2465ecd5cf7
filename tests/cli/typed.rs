//! What the pages tell people to type and needs no agent, typed; and the help of every command.

use std::path::Path;
use std::process::{Command, Output};

use clap::CommandFactory;
use routenet::cli::Cli;

use crate::pages::{answer_of, file_of_the_pages, of_program, root};

/// The commands that look at files alone.
const OFFLINE: [[&str; 2]; 2] = [["policy", "test"], ["lab", "graph"]];

fn typed(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_routectl"));
    command.current_dir(folder).env("ROUTENET_SOCKET", "/nonexistent/agent.sock").args(words);
    command.output().expect("routectl")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder in which the paths of the pages are right.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["policies", "config"] {
        std::os::unix::fs::symlink(root().join(name), folder.path().join(name)).expect("a link");
    }
    let name = "office.clab.yml";
    std::fs::write(folder.path().join(name), file_of_the_pages(name)).expect("a file");
    folder
}

#[test]
fn every_line_of_the_pages_that_needs_no_agent_does_what_it_says() {
    let folder = folder();
    let lines: Vec<_> = of_program("routectl")
        .into_iter()
        .filter(|(_, words)| OFFLINE.iter().any(|offline| words.get(1..3).is_some_and(|start| start == offline)))
        .collect();
    for offline in OFFLINE {
        assert!(lines.iter().any(|(_, words)| words[1..3] == offline), "no page has {offline:?}");
    }
    for (place, words) in lines {
        let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        let output = typed(folder.path(), &words);
        assert!(output.status.success() && !output.stdout.is_empty(), "{place}: {}: {output:?}", words.join(" "));
        if let Some(at) = words.iter().position(|word| *word == "--junit") {
            let report = std::fs::read_to_string(folder.path().join(words[at + 1])).expect("a report");
            assert!(report.contains("<testsuite") && !report.contains("<failure"), "{place}: {report}");
        }
    }
    // The same commands where what they need is not there.
    for offline in OFFLINE {
        let words = [&offline[..], if offline[0] == "lab" { &["-t", "nowhere"] } else { &["nowhere"] }].concat();
        let output = typed(folder.path(), &words);
        assert!(!output.status.success() && text(&output.stderr).contains("nowhere"), "{words:?}: {output:?}");
    }
}

#[test]
fn the_picture_of_the_page_is_what_graph_draws() {
    let command = "routectl lab graph -t office.clab.yml";
    let output = typed(folder().path(), &command.split(' ').skip(1).collect::<Vec<_>>());
    assert_eq!(text(&output.stdout), answer_of(command));
}

#[test]
fn every_command_has_help_and_the_programs_say_their_version() {
    let mut commands = Vec::new();
    collect(&Cli::command(), &[], &mut commands);
    assert!(commands.len() > 25, "only {} found", commands.len());
    for words in commands {
        let asked: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let output = typed(Path::new("/"), &asked);
        let help = text(&output.stdout);
        assert!(output.status.success() && output.stderr.is_empty(), "{asked:?}: {output:?}");
        assert!(help.contains(&format!("Usage: routectl {}", words.join(" "))), "{asked:?}: {help}");
    }
    for program in [env!("CARGO_BIN_EXE_routectl"), env!("CARGO_BIN_EXE_routenetd")] {
        let output = Command::new(program).arg("--version").output().expect("a program");
        let name = Path::new(program).file_name().expect("a name").to_string_lossy();
        let expected = format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), expected));
    }
    let wrong = typed(Path::new("/"), &["frobnicate", "--help"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

/// The words of each command, those that only group others among them.
fn collect(command: &clap::Command, above: &[String], into: &mut Vec<Vec<String>>) {
    into.push(above.to_vec());
    for below in command.get_subcommands() {
        collect(below, &[above, &[below.get_name().to_string()]].concat(), into);
    }
}
