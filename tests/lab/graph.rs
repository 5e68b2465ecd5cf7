//! `routectl lab graph`: pictures of what may never have been deployed.

use std::path::Path;

use super::Place;

#[test]
fn a_shipped_lab_is_drawn_and_nothing_is_deployed() {
    let place = Place::default();
    let graph = |arguments: &[&str]| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/labs/three-node.clab.yml");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_routectl"));
        command.args(["lab", "graph", "-t"]).arg(file).args(arguments).output().expect("routectl")
    };
    let text = String::from_utf8(graph(&[]).stdout).expect("text");
    assert!(text.starts_with("---\ntitle: \"three-node\"\n---\ngraph TD\n"), "{text}");
    assert!(text.contains("n0 ---|\"eth1 - h1\"| n3\n"), "{text}");
    assert_eq!(graph(&["--mermaid"]).stdout, text.as_bytes());

    let path = place.path().join("picture.svg");
    let output = graph(&["--svg", "-o", path.to_str().expect("a path")]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let picture = std::fs::read_to_string(&path).expect("a picture");
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n") && picture.contains(">segment<"));
    assert_eq!(super::inits("three-node"), Vec::<i32>::new());

    assert_eq!(graph(&["--svg", "--mermaid"]).status.code(), Some(2));
    let output = graph(&["-o", "/nowhere/x"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/x: No such file"), "{output:?}");
}

#[test]
fn what_cannot_be_deployed_is_not_drawn() {
    let place = Place::default();
    let file = place.file("lab.clab.yml", "name: x\ntopology:\n  nodes:\n    a: {kind: ceos}\n");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_routectl"))
        .args(["lab", "graph", "-t"])
        .arg(file)
        .output()
        .expect("routectl");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains(":4: topology.nodes.a: unknown kind `ceos`"));
}
