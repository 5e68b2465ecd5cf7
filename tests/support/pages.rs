//! What the pages tell people to type, and what they say is answered. Of the tests that hold the pages to the programs.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

/// A line of a page that is set apart, where it stands.
pub struct Line {
    pub place: String,
    pub text: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let pages = std::fs::read_dir(root().join("docs")).expect("docs").flatten().map(|entry| entry.path());
    let mut pages: Vec<_> = pages.chain(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name))).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages
}

/// The lines that are set apart: indented by four, or between fences.
pub fn commands() -> Vec<Line> {
    let mut found = Vec::new();
    for page in pages() {
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

/// The words of each command of the line, without a prompt, `sudo`, what is piped in or out, and the remark behind it.
pub fn words(line: &str) -> Vec<Vec<String>> {
    let line = line.split_once(" #").map_or(line, |(command, _)| command);
    let parts = line.split("&&").flat_map(|part| part.split('|'));
    let of = |part: &str| {
        let command = part.split(['<', '>']).next().unwrap_or_default();
        command
            .split_whitespace()
            .skip_while(|word| ["sudo", "$", "#"].contains(word))
            .map(String::from)
            .collect::<Vec<_>>()
    };
    parts.map(of).filter(|words| !words.is_empty()).collect()
}

pub fn of_program(name: &str) -> Vec<(String, Vec<String>)> {
    let lines = commands().into_iter();
    let all = lines.flat_map(|line| words(&line.text).into_iter().map(move |words| (line.place.clone(), words)));
    // `routectl lab: ...` is what a program says.
    let is_said = |words: &[String]| words.get(1).is_some_and(|word| word.ends_with(':'));
    all.filter(|(_, words)| words[0] == name && !is_said(words)).collect()
}

/// What a page says that `command`, behind a prompt, answers.
pub fn answer_of(command: &str) -> String {
    let prompt = format!("    $ {command}");
    for page in pages() {
        let text = std::fs::read_to_string(page).expect("a page");
        if let Some(from) = text.lines().position(|line| line == prompt) {
            let answer = text.lines().skip(from + 1).map_while(|line| line.strip_prefix("    "));
            return answer.take_while(|line| !line.starts_with("$ ")).flat_map(|line| [line, "\n"]).collect();
        }
    }
    panic!("no page has `{command}` behind a prompt");
}

/// The YAML below the line of a page that begins with the file's name.
pub fn file_of_the_pages(name: &str) -> String {
    for page in pages() {
        let text = std::fs::read_to_string(page).expect("a page");
        if let Some((_, below)) = text.split_once(&format!("\n`{name}`")) {
            let fenced = below.split_once("```yaml\n").and_then(|(_, rest)| rest.split_once("```"));
            return fenced.expect("a fence").0.to_string();
        }
    }
    panic!("no page has {name}");
}
