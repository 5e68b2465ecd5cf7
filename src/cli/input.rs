//! YAML from files, directories and standard input, as documents for the agent.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::CliError;
use crate::api::Document;

/// The documents behind the arguments of `-f`, in the order given; the files of a directory in the order of their
/// names, directories in it and tests of policies left out.
pub fn documents(files: &[PathBuf]) -> Result<Vec<Document>, CliError> {
    let mut documents = Vec::new();
    for file in files {
        if file.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| unreadable(Path::new("standard input"), &error))?;
            documents.push(Document { file: "-".to_string(), text });
        } else if file.is_dir() {
            documents.extend(directory(file)?);
        } else {
            documents.push(document(file)?);
        }
    }
    Ok(documents)
}

fn directory(directory: &Path) -> Result<Vec<Document>, CliError> {
    let entries = fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(directory, &error))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) && path.is_file() && !is_test(&path) {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(CliError::Input(format!("{}: holds no .yaml, .yml or .json file", directory.display())));
    }
    files.sort();
    files.iter().map(|file| document(file)).collect()
}

/// Whether it is a test of policies, which stand beside it.
pub fn is_test(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".test.yaml"))
}

fn document(file: &Path) -> Result<Document, CliError> {
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    Ok(Document { file: file.display().to_string(), text })
}

pub fn unreadable(file: &Path, error: &std::io::Error) -> CliError {
    CliError::Input(format!("{}: cannot be read: {error}", file.display()))
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
