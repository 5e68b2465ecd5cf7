//! What one file may be.

use super::sources;

/// Past this, a file no longer does one thing.
const LONGEST: usize = 620;

#[test]
fn no_file_is_longer_than_one_keeps_in_the_head() {
    let long: Vec<String> = sources()
        .iter()
        .map(|source| (source, source.text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(source, lines)| format!("{}: {lines} lines", source.path))
        .collect();
    assert!(long.is_empty(), "split by meaning what is longer than {LONGEST} lines:\n{}", long.join("\n"));
}

#[test]
fn every_module_opens_with_what_it_owns() {
    let mute: Vec<String> = sources()
        .iter()
        .filter(|source| !source.is_test())
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.clone())
        .collect();
    assert!(
        mute.is_empty(),
        "no `//!` on the first line, saying what the module owns and who calls it:\n{}",
        mute.join("\n")
    );
}

#[test]
fn a_file_of_tests_holds_tests() {
    let empty: Vec<String> = sources()
        .iter()
        .filter(|source| source.path.ends_with("_tests.rs") && !source.text.contains("#[test]"))
        .filter(|source| !source.text.contains("#[tokio::test]"))
        .map(|source| source.path.clone())
        .collect();
    assert!(empty.is_empty(), "a file of tests without a test promises what it does not hold:\n{}", empty.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    let words =
        [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["todo", "!("].concat(), ["unimplemented", "!("].concat()];
    let left: Vec<String> = sources()
        .iter()
        .flat_map(|source| {
            let lines = source.text.lines().enumerate();
            let found = lines.filter(|(_, line)| words.iter().any(|word| line.contains(word.as_str())));
            found.map(|(number, line)| format!("{}:{}: {}", source.path, number + 1, line.trim())).collect::<Vec<_>>()
        })
        .collect();
    assert!(left.is_empty(), "{}", left.join("\n"));
}
