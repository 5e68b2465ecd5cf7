//! The bodies of the fuzz targets, on seeded bytes: `make fuzz` feeds them for as long as one likes. And what the grammar of
//! rules stands for: both back ends take the text. That part needs root.

#[path = "../../fuzz/src/lib.rs"]
mod bodies;
#[path = "../support/mod.rs"]
mod support;

mod taken;

use std::path::Path;

use support::dice::Dice;

fn some_bytes(dice: &mut Dice, most: usize) -> Vec<u8> {
    (0..dice.below(most)).map(|_| dice.below(256) as u8).collect()
}

#[test]
fn selectors_read_back_as_they_are_written_and_mean_what_they_say() {
    let mut dice = Dice(1);
    let taken = (0..12_000).filter(|_| bodies::selector::run(&some_bytes(&mut dice, 24))).count();
    assert!(taken > 200, "only {taken} texts were selectors");
}

/// All YAML of objects that the project has.
fn examples() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = std::fs::read_dir(root.join("policies")).expect("the library of patterns").flatten();
    let files = folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flatten().flatten();
    let mut paths: Vec<_> = files.map(|entry| entry.path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".yaml") && !path.to_string_lossy().ends_with(".test.yaml"));
    paths.push(root.join("tests/policy/matrix.yaml"));
    paths.push(root.join("config/compose/cluster.yaml"));
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).expect("a file")).collect()
}

/// What YAML or the readers behind it take for more than itself.
const TELLING: &[u8] = b" \t'\"{}[],:#&*!|>%@`-0Az\xff\n";

/// Some lines of an example, a few of them changed: cut, doubled, or with other bytes in them.
fn changed(dice: &mut Dice, examples: &[String]) -> Vec<u8> {
    let example = &examples[dice.below(examples.len())];
    let documents: Vec<&str> = example.split("\n---\n").collect();
    let mut lines: Vec<Vec<u8>> =
        documents[dice.below(documents.len())].lines().map(|line| line.as_bytes().to_vec()).collect();
    for _ in 0..dice.below(4) {
        let at = dice.below(lines.len());
        match dice.below(4) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => {
                let line = &mut lines[at];
                let place = dice.below(line.len() + 1);
                line.insert(place, TELLING[dice.below(TELLING.len())]);
            }
            _ => {
                let other = documents[dice.below(documents.len())].lines().collect::<Vec<_>>();
                lines[at] = other[dice.below(other.len())].as_bytes().to_vec();
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.join(&b'\n')
}

#[test]
fn objects_read_back_as_they_are_written_and_nothing_makes_their_reader_panic() {
    let mut dice = Dice(2);
    let examples = examples();
    let whole: usize = examples.iter().map(|text| bodies::yaml::run(text.as_bytes())).sum();
    assert!(whole > 10, "{whole} objects of the examples are taken as they are");
    let taken: usize = (0..3_000).map(|_| bodies::yaml::run(&changed(&mut dice, &examples))).sum();
    assert!(taken > 300, "only {taken} changed objects were taken");
}

#[test]
fn messages_are_understood_the_same_when_they_are_said_again() {
    let mut dice = Dice(4);
    let understood = (0..20_000).filter(|_| bodies::bgp_decode::run(&some_bytes(&mut dice, 80))).count();
    assert!(understood > 100, "only {understood} were messages");
}

#[test]
fn a_neighbor_that_says_anything_costs_its_own_session_only() {
    let mut dice = Dice(5);
    let sessions = (0..400).filter(|_| bodies::bgp_session::run(&some_bytes(&mut dice, 400))).count();
    assert!(sessions > 100, "only {sessions} had a session");
}

#[test]
fn whatever_is_taken_at_the_door_comes_to_rules_of_a_strict_grammar() {
    let mut dice = Dice(3);
    let taken: usize = (0..500).map(|_| bodies::restore::run(&some_bytes(&mut dice, 800))).sum();
    assert!(taken > 300, "only {taken} objects were taken");
}
