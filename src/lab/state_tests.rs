use super::*;

#[test]
fn what_an_earlier_version_wrote_can_still_be_read_and_destroyed() {
    let base = tempfile::tempdir().expect("a directory");
    let dir = LabDir::new(base.path(), "old");
    let text = r#"{"name": "old", "file": "/x.clab.yml", "links": [["a:eth1", "b:eth1"]], "nodes": [{
        "name": "a", "long-name": "clab-old-a", "kind": "linux", "image": null, "pid": 0, "start-time": 1,
        "env": {}, "labels": {}, "programs": "/usr/bin"}]}"#;
    fs::create_dir_all(dir.path()).expect("its directory");
    fs::write(dir.record_path(), text).expect("its record");
    let record = dir.record().expect("a record").expect("one");
    assert_eq!((record.peer_of("b", "eth1"), record.peer_of("b", "eth2")), (Some("a:eth1"), None));
    assert!(!record.running(), "no process has the id 0");
    assert_eq!(LabDir::all(base.path()).expect("labs").len(), 1);
    assert!(!dir.destroy().expect("its end"), "nothing ran");
    assert!(!dir.path().exists());
    assert!(LabDir::all(&base.path().join("nowhere")).expect("none").is_empty());
}

#[test]
fn a_record_that_makes_no_sense_is_refused_with_what_to_do() {
    let base = tempfile::tempdir().expect("a directory");
    let dir = LabDir::new(base.path(), "odd");
    fs::create_dir_all(dir.path()).expect("its directory");
    fs::write(dir.record_path(), "{}").expect("its record");
    let said = dir.record().expect_err("no record").to_string();
    assert!(said.contains("lab.json: missing field `name`") && said.contains("then remove the directory"), "{said}");
}
