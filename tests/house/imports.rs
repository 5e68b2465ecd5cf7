//! Imports go one way: bin -> cli, agent, frontend, lab -> api, store, plane -> core, and inside core
//! desired -> policy, ipam, bgp -> model. The picture is the one in `src/lib.rs`.

use std::collections::BTreeMap;

use super::{Source, sources};

/// For each room of `src`, the rooms that it may import beside itself.
const MACHINE: &[(&str, &[&str])] = &[
    ("bin", &["agent", "api", "cli", "frontend", "lab"]),
    ("cli", &["api", "lab"]),
    ("agent", &["api", "frontend", "plane", "store"]),
    ("frontend", &["agent", "api"]),
    ("lab", &[]),
    ("api", &[]),
    ("store", &[]),
    ("plane", &[]),
];

/// The same for `crates/core/src`. `policy::selector` is a leaf: it knows nothing but labels.
const CORE: &[(&str, &[&str])] = &[
    ("desired", &["bgp", "ipam", "model", "policy", "time"]),
    ("policy", &["model", "time", WORDS]),
    ("ipam", &["model", "policy::selector", "time"]),
    ("bgp", &["model", "time"]),
    ("bfd", &["time"]),
    ("model", &["policy::selector", "time"]),
    ("time", &[]),
];

/// The words that facts and wanted state are written in, without what makes the one of the other: these files.
const WORDS: &str = "the words of desired";
const WORD_FILES: [&str; 2] = ["crates/core/src/desired/facts.rs", "crates/core/src/desired/state.rs"];

/// Only this room may know the codec crate.
const CODEC: (&str, &str) = ("zettabgp", "crates/core/src/bgp/wire/");

#[test]
fn rooms_import_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    let sources = sources();
    let words = words(&sources);
    for source in sources.iter().filter(|source| !source.is_test()) {
        for (root, prefixes, rules) in
            [("src/", ["crate::", "routenet::"], MACHINE), ("crates/core/src/", ["crate::", "routenet_core::"], CORE)]
        {
            let Some(room) = room_of(source, root) else { continue };
            let Some((_, allowed)) = rules.iter().find(|(name, _)| *name == room) else {
                wrong.push(format!(
                    "{}: the room `{room}` is in no rule; add it to tests/house/imports.rs",
                    source.path
                ));
                continue;
            };
            for path in imports(&source.text, &prefixes) {
                let own = path.split("::").next() == Some(room);
                let word = allowed.contains(&WORDS) && words.contains(&path);
                if !own && !word && !allowed.iter().any(|good| path == *good || path.starts_with(&format!("{good}::")))
                {
                    wrong.push(format!("{}: `{room}` may not import `{path}`", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_codec_crate_is_known_in_one_place() {
    let (codec, home) = CODEC;
    let strangers: Vec<String> = sources()
        .iter()
        .filter(|source| !source.path.starts_with(home))
        .filter(|source| code(&source.text).contains(&format!("{codec}::")))
        .map(|source| source.path.clone())
        .collect();
    assert!(strangers.is_empty(), "only {home} may use {codec}:\n{}", strangers.join("\n"));
}

#[test]
fn the_plugin_needs_only_the_standard_library_and_serde_json() {
    let manifest = include_str!("../../crates/cni/Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).expect("dependencies");
    let own = dependencies.split("\n[").next().unwrap_or_default();
    let names: Vec<&str> =
        own.lines().filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|name| !name.is_empty()).collect();
    assert_eq!(names, ["serde_json"]);
}

/// The test of the test: the reader of `use` lines sees what rustc sees.
#[test]
fn use_lines_are_read() {
    let text = "use crate::{plane::{self, link::Link}, store};\n//! use crate::cli;\npub use crate::api::Request;\n\
                fn f() { crate::lab::deploy(); }\nuse routenet::agent as a;\nuse super::x;\n";
    let mut found = imports(text, &["crate::", "routenet::"]);
    found.sort();
    assert_eq!(found, ["agent", "api::Request", "lab::deploy", "plane", "plane::link::Link", "store"]);
}

/// The public types of the files that hold words, as others name them.
fn words(sources: &[Source]) -> Vec<String> {
    let files = sources.iter().filter(|source| WORD_FILES.contains(&source.path.as_str()));
    let words: Vec<String> = files
        .flat_map(|source| source.text.lines())
        .filter_map(|line| ["pub struct ", "pub enum ", "pub type "].iter().find_map(|start| line.strip_prefix(start)))
        .filter_map(|rest| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next())
        .map(|name| format!("desired::{name}"))
        .collect();
    assert!(!words.is_empty(), "no words in {WORD_FILES:?}");
    words
}

/// The room of a file: the first folder or file below `root`; none for the crate's own `lib.rs`.
fn room_of<'a>(source: &'a Source, root: &str) -> Option<&'a str> {
    let below = source.path.strip_prefix(root)?;
    let room = below.split('/').next()?.trim_end_matches(".rs");
    (room != "lib").then_some(room)
}

/// The code without comments; strings stay, they do no harm.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The paths, below one of the prefixes, that a file names: in `use` trees and in expressions.
fn imports(text: &str, prefixes: &[&str]) -> Vec<String> {
    let code = code(text);
    let mut found = BTreeMap::new();
    for prefix in prefixes {
        let mut rest = code.as_str();
        while let Some(at) = rest.find(prefix) {
            let whole_word = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            rest = &rest[at + prefix.len()..];
            if whole_word {
                for path in expand("", rest).0 {
                    found.insert(path, ());
                }
            }
        }
    }
    found.into_keys().collect()
}

/// Reads one tree (`a::{b, c::d}`) from the beginning of `text`; answers its paths and how much was read.
fn expand(prefix: &str, text: &str) -> (Vec<String>, usize) {
    let mut at = 0;
    let mut path = String::from(prefix);
    loop {
        let rest = &text[at..];
        if rest.starts_with('{') {
            return group(&path, text, at + 1);
        }
        let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let word = &rest[..length];
        at += length;
        if !word.is_empty() && word != "self" {
            if !path.is_empty() {
                path.push_str("::");
            }
            path.push_str(word);
        }
        match text[at..].starts_with("::") && !word.is_empty() {
            true => at += 2,
            false => break,
        }
    }
    let skipped = text[at..].find([',', '}', ';']).unwrap_or(text.len() - at);
    (if path.is_empty() { Vec::new() } else { vec![path] }, at + skipped)
}

fn group(path: &str, text: &str, from: usize) -> (Vec<String>, usize) {
    let mut at = from;
    let mut paths = Vec::new();
    loop {
        at += text[at..].find(|c: char| !c.is_whitespace()).unwrap_or(text.len() - at);
        match text[at..].chars().next() {
            None => return (paths, at),
            Some('}') => return (paths, at + 1),
            Some(',') => at += 1,
            Some(_) => {
                let (more, read) = expand(path, &text[at..]);
                paths.extend(more);
                at += read.max(1);
            }
        }
    }
}
