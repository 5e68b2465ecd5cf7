use std::fs::{create_dir, write};

use super::*;

#[test]
fn a_directory_gives_its_yaml_in_the_order_of_names() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = |name: &str| folder.path().join(name);
    for name in ["b.yaml", "a.yml", "c.json", "notes.txt", ".hidden"] {
        write(path(name), name).expect("a file");
    }
    create_dir(path("d.yaml")).expect("a directory");
    let read = documents(&[folder.path().to_path_buf(), path("notes.txt")]).expect("documents");
    let names: Vec<&str> = read.iter().map(|document| document.text.as_str()).collect();
    assert_eq!(names, ["a.yml", "b.yaml", "c.json", "notes.txt"]);
    assert_eq!(read[0].file, path("a.yml").display().to_string());
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().expect("a directory");
    let error = documents(&[folder.path().to_path_buf()]).expect_err("an empty directory");
    assert_eq!(error.to_string(), format!("{}: holds no .yaml, .yml or .json file", folder.path().display()));
    let absent = folder.path().join("absent.yaml");
    let error = documents(std::slice::from_ref(&absent)).expect_err("no file");
    let expected = format!("{}: cannot be read: No such file or directory (os error 2)", absent.display());
    assert_eq!((error.to_string(), error.exit()), (expected, super::super::CANNOT_TELL));
    write(&absent, b"\xff\xfe").expect("a file");
    assert!(documents(&[absent]).is_err(), "no UTF-8");
}
