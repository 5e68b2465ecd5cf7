//! The house rules that a compiler does not hold: who may import whom, how long a file may be, how it opens,
//! that the README says of the configuration what the code says, and that the pages tell people to type what is there.

mod docs;
mod imports;
#[path = "../support/pages.rs"]
mod pages;
mod readme;
mod shape;

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file of the project: its path below the project's root, and its text.
pub struct Source {
    pub path: String,
    pub text: String,
}

impl Source {
    /// Tests lie beside the code and may reach for anything they hold against it.
    pub fn is_test(&self) -> bool {
        self.path.ends_with("_tests.rs")
    }
}

/// All Rust files below `src` and `crates`.
pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for top in ["src", "crates"] {
        collect(&root.join(top), &mut files);
    }
    files.sort();
    assert!(files.len() > 20, "only {} files found: is this the project's root?", files.len());
    files
        .into_iter()
        .map(|file| Source {
            path: file.strip_prefix(root).expect("below the root").display().to_string(),
            text: fs::read_to_string(&file).expect("a source file"),
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
