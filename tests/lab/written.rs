//! What is written in a topology file and arrives in the nodes: variables, files of variables, main processes.

use std::time::Duration;

use super::support::wait_for;
use super::{Place, inits};

const LAB: &str = "\
name: ${LAB_NAME:=written}
topology:
  defaults:
    kind: linux
    network-mode: none
    env-files: [common.env]
    env: {WHO: __clabNodeName__, FROM: $LAB_FROM, WHERE: __clabLabName__}
    labels: {dir: __clabNodeDir__}
  nodes:
    a:
      env-files: [a.env]
      entrypoint: [sh, -c]
      cmd: ['echo $$WHO $$SIZE $$COLOUR $$FROM $$WHERE __clabNodeName__ >/told; exec sleep 1000']
      binds: ['__clabNodeDir__:/own', '__clabDir__:/all']
      exec: [sh -c 'echo $$FROM >/own/file']
";

#[test]
fn variables_of_every_sort_arrive_in_the_node() {
    let place = Place::default();
    place.file("common.env", "SIZE=small\nCOLOUR=blue\nWHO=nobody\n");
    place.file("a.env", "# nearer\nexport SIZE='very large'\n");
    let file = place.file("lab.clab.yml", LAB);
    let file = file.to_str().expect("a path");
    let deploy = |name: &str| {
        let mut deploy = place.command("deploy", &["-t", file]);
        deploy.env("LAB_FROM", "outside").env("LAB_NAME", name).output().expect("routectl")
    };
    assert!(deploy("").status.success(), "the default, for what is empty");
    let one = |words: &[&str]| place.exec("written", "a", words);
    wait_for("the main process", Duration::from_secs(5), || one(&["test", "-s", "/told"]).code == Some(0));
    assert_eq!(one(&["cat", "/told"]).good().out, "a very large blue outside written a\n");
    assert_eq!(one(&["cat", "/all/a/file"]).good().out, "outside\n");

    // A name from the environment finds the lab again, and a name that is not set finds none.
    assert!(deploy("by-name").status.success());
    assert_eq!(inits("by-name").len(), 1);
    let mut destroy = place.command("destroy", &["-t", file]);
    assert!(destroy.env("LAB_NAME", "by-name").output().expect("routectl").status.success());
    assert_eq!((inits("by-name").len(), inits("written").len()), (0, 1));
}

#[test]
fn a_variable_that_is_not_set_is_refused_by_name_and_line() {
    let place = Place::default();
    let file = place.file("lab.clab.yml", LAB);
    let said = place.lab("deploy", &["-t", file.to_str().expect("a path")]);
    assert_eq!(said.code, Some(2));
    let expected = ":7: the variable `LAB_FROM` is not set; set it, or write `${LAB_FROM:=default}`, or `$$LAB_FROM` for \
                    that very text\n";
    assert!(said.err.ends_with(expected), "{}", said.err);
    place.assert_nothing_left("written");
}

#[test]
fn a_file_of_variables_that_cannot_be_read_is_refused() {
    let place = Place::default();
    let file = place.file("lab.clab.yml", &LAB.replace("$LAB_FROM", "x"));
    let path = file.to_str().expect("a path");
    let said = place.lab("deploy", &["-t", path]);
    assert_eq!(said.code, Some(2));
    let missing =
        format!(":6: topology.nodes.a: env-files: {}: No such file", place.path().join("common.env").display());
    assert!(said.err.contains(&missing), "{}", said.err);
    let common = place.file("common.env", "A=1\nnonsense\n");
    let said = place.lab("deploy", &["-t", path]);
    let wrong = format!(":6: topology.nodes.a: env-files: {}:2: `nonsense`: expected NAME=VALUE\n", common.display());
    assert!(said.err.ends_with(&wrong), "{}", said.err);
    place.assert_nothing_left("written");
}
