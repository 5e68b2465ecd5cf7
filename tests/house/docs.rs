//! What the pages tell people to type: commands that the programs know, targets and files that are there.

use std::path::Path;

use clap::CommandFactory;
use routenet::cli::Cli;

/// A line of a page that is a command, where it stands.
struct Line {
    place: String,
    text: String,
}

/// The lines that are set apart: indented by four, or between fences.
fn commands() -> Vec<Line> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = std::fs::read_dir(root.join("docs")).expect("docs").flatten().map(|entry| entry.path());
    let mut pages: Vec<_> = pages.chain(["README.md", "CONTRIBUTING.md"].map(|name| root.join(name))).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    let mut found = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("a page");
        let mut fenced = false;
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if fenced || line.starts_with("    ") {
                let name = page.file_name().expect("a name").to_string_lossy().into_owned();
                found.push(Line { place: format!("{name}:{}", number + 1), text: line.trim().to_string() });
            }
        }
    }
    found
}

/// The words of each command of the line, without `sudo`, what is piped in or out, and the remark behind it.
fn words(line: &str) -> Vec<Vec<String>> {
    let line = line.split_once(" #").map_or(line, |(command, _)| command);
    let parts = line.split("&&").flat_map(|part| part.split('|'));
    let of = |part: &str| {
        let command = part.split(['<', '>']).next().unwrap_or_default();
        command.split_whitespace().skip_while(|word| *word == "sudo").map(String::from).collect::<Vec<_>>()
    };
    parts.map(of).filter(|words| !words.is_empty()).collect()
}

fn of_program(name: &str) -> Vec<(String, Vec<String>)> {
    let lines = commands().into_iter();
    let all = lines.flat_map(|line| words(&line.text).into_iter().map(move |words| (line.place.clone(), words)));
    // `routectl lab: ...` is what a program says.
    let is_said = |words: &[String]| words.get(1).is_some_and(|word| word.ends_with(':'));
    all.filter(|(_, words)| words[0] == name && !is_said(words)).collect()
}

#[test]
fn every_routectl_command_of_the_pages_is_one() {
    let found = of_program("routectl");
    assert!(found.len() > 15, "only {} found", found.len());
    for (place, words) in found {
        let parsed = Cli::command().try_get_matches_from(&words);
        assert!(parsed.is_ok(), "{place}: {}: {}", words.join(" "), parsed.expect_err("refused"));
    }
}

#[test]
fn every_target_and_script_of_the_pages_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let makefile = std::fs::read_to_string(root.join("Makefile")).expect("Makefile");
    let targets = of_program("make");
    assert!(targets.len() > 3, "only {} found", targets.len());
    for (place, words) in targets {
        let target = words.iter().skip(1).find(|word| !word.starts_with('-') && !word.contains('=')).expect("a target");
        assert!(makefile.contains(&format!("\n{target}: ")), "{place}: there is no target {target}");
    }
    for line in commands() {
        for words in words(&line.text) {
            let files = words.iter().filter(|word| {
                ["scripts/", "config/", "policies/", "tests/"].iter().any(|folder| word.starts_with(folder))
                    && !word.contains(['$', '*', '{', '['])
            });
            for file in files {
                assert!(root.join(file).exists(), "{}: there is no {file}", line.place);
            }
        }
    }
}
