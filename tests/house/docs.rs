//! What the pages tell people to type: commands that the programs know, targets and files that are there.

use clap::CommandFactory;
use routenet::cli::Cli;

use crate::pages::{commands, of_program, root, words};

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
    let makefile = std::fs::read_to_string(root().join("Makefile")).expect("Makefile");
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
                assert!(root().join(file).exists(), "{}: there is no {file}", line.place);
            }
        }
    }
}

#[test]
fn what_the_image_installs_is_in_the_tests_root_of_images() {
    let text = |name: &str| std::fs::read_to_string(root().join(name)).expect("a file");
    let (dockerfile, script) = (text("Dockerfile"), text("scripts/test-images"));
    let line = dockerfile.lines().rev().find(|line| line.contains("apt-get install")).expect("packages");
    let packages: Vec<&str> = line
        .split_whitespace()
        .skip_while(|word| *word != "install")
        .skip(1)
        .filter(|w| !w.starts_with(['-', '\\']))
        .collect();
    let made = script.lines().find_map(|line| line.strip_prefix("WANTED=(")).expect("a list");
    let made: Vec<&str> = made.trim_end_matches(')').split_whitespace().collect();
    assert!(packages.len() > 4, "{line}");
    for package in packages {
        assert!(made.contains(&package), "scripts/test-images: WANTED lacks {package}, which the Dockerfile installs");
    }
}
