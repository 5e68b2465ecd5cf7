use std::path::Path;

use super::*;
use crate::lab::Topology;

fn node(definition: &str) -> Result<Topology, String> {
    let text = format!("name: x\ntopology:\n  nodes:\n    a:\n      kind: linux\n      {definition}\n");
    Topology::parse(Path::new("/x.clab.yml"), &text).map_err(|error| error.to_string())
}

#[test]
fn every_field_that_is_refused_says_why_and_what_to_do() {
    for field in refused::names() {
        let said = node(&format!("{field}: x")).expect_err(field);
        let (why, mend) = refused::of(field).expect("a reason");
        assert_eq!(said, format!("/x.clab.yml:6: topology.nodes.a: `{field}`: {why}; {mend}"));
    }
    let said = node("colour: red").expect_err("no field of anybody's");
    assert!(
        said.starts_with("/x.clab.yml:6: topology.nodes.a: unknown field `colour`, expected one of `kind`"),
        "{said}"
    );
}

#[test]
fn the_page_on_labs_has_every_refused_field_with_its_reason() {
    let page = include_str!("../../../docs/labs.md");
    for field in refused::names() {
        let (why, mend) = refused::of(field).expect("a reason");
        let row = format!("| `{field}` | {why} | {mend} |\n");
        assert!(page.contains(&row), "put this line into docs/labs.md:\n{row}");
    }
}

#[test]
fn what_changes_nothing_is_ignored() {
    let plain = node("image: y").expect("a topology");
    let ignored = "image: y\n      image-pull-policy: Always\n      position: {x: 1}\n      license: key\n      type: t\n      \
                   config: {vars: {a: 1}}\n      auto-remove: true\n      cap-add: [NET_ADMIN]\n      restart-policy: no";
    assert_eq!(node(ignored).expect("a topology"), plain);
    let said = node("restart-policy: always").expect_err("nothing restarts");
    assert!(
        said.ends_with("restart-policy `always`: nothing here restarts a program; write `no`, and a loop into `cmd`"),
        "{said}"
    );
}

#[test]
fn an_entrypoint_comes_before_the_command_as_text_or_list() {
    let words = |definition: &str| node(definition).expect("a topology").nodes.remove(0).cmd.map(|cmd| cmd.words);
    assert_eq!(words("entrypoint: [sh, -c]\n      cmd: ['a b']"), Some(vec!["sh".into(), "-c".into(), "a b".into()]));
    assert_eq!(words("entrypoint: tini 'x y'\n      cmd: top -b").unwrap(), ["tini", "x y", "top", "-b"]);
    assert_eq!(words("entrypoint: tini").unwrap(), ["tini"]);
    assert_eq!(words("image: y"), None);
    assert!(node("entrypoint: []").expect_err("empty").ends_with("entrypoint: an empty command"));
}

#[test]
fn variables_are_replaced_before_yaml_is_read() {
    let text = "name: $LAB # $NOT_SET\ntopology:\n  nodes:\n    ${NODE:=a}:\n      kind: ${KIND:-linux}\n      exec: ['echo $$HOME']\n";
    let environment = |name: &str| (name == "LAB").then(|| "lab1".to_string());
    let topology = Topology::parse_with(Path::new("/x.clab.yml"), text, &environment).expect("a topology");
    assert_eq!((topology.name.as_str(), topology.nodes[0].name.as_str()), ("lab1", "a"));
    assert_eq!(topology.nodes[0].exec[0].words, ["echo", "$HOME"]);
    let said = Topology::parse(Path::new("/x.clab.yml"), text).expect_err("not set").to_string();
    assert!(said.starts_with("/x.clab.yml:1: the variable `LAB` is not set; set it, or"), "{said}");
}

#[test]
fn a_name_is_found_although_other_variables_are_not_set() {
    let text = "name: lab-$LAB\ntopology: $NONE\n";
    let set = |name: &str| (name == "LAB").then(|| "1".to_string());
    assert_eq!(parse_name(Path::new("/x"), text, &set).expect("a name"), "lab-1");
    let said = parse_name(Path::new("/x"), text, &|_| None).expect_err("no name").to_string();
    assert!(said.starts_with("/x:1: the variable `LAB` is not set"), "{said}");
}

#[test]
fn lines_are_found_where_things_are_written() {
    let text = "links:\ntopology:\n  nodes:\n    a:\n      x: 1\n\n    b:\n      x: 2\n  links:\n    - endpoints:\n        - a\n    - e\n";
    assert_eq!((lines::of_node(text, "b"), lines::of_node(text, "c")), (Some(7), None));
    assert_eq!((lines::within_node(text, "a", "x: 1"), lines::within_node(text, "a", "x: 2")), (Some(5), Some(4)));
    assert_eq!(lines::of_link("topology:\n  links:\n    - endpoints:\n        - a\n    - e\n", 1), Some(5));
}
