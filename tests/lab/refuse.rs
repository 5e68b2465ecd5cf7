//! Bad topology files, as people meet them: text and exit code, and what runs goes on running.

use super::{Place, inits, segment};

#[test]
fn an_unknown_kind_is_refused_by_name_and_line() {
    let place = Place::default();
    place.file("message.txt", "");
    let good = segment("refuse", "10.9.0.1", "10.9.0.2");
    let file = place.file("lab.clab.yml", &good);
    let path = file.to_str().expect("a path").to_string();
    place.lab("deploy", &["-t", &path]).good();
    let before = inits("refuse");

    place.file("lab.clab.yml", &good.replace("kind: bridge", "kind: nokia_srlinux"));
    let said = place.lab("deploy", &["-t", &path, "--reconfigure"]);
    assert_eq!(said.code, Some(2));
    assert_eq!(
        said.err,
        format!(
            "routectl lab: {path}:16: topology.nodes.lan: unknown kind `nokia_srlinux`: `routectl lab` deploys `linux` and `bridge`\n"
        )
    );
    assert_eq!(inits("refuse"), before);
    place.exec("refuse", "one", &["ping", "-c1", "-W2", "10.9.0.2"]).good();
    // What was deployed can be ended by a file that could not be deployed any more.
    place.lab("destroy", &["-t", &path]).good();
    place.assert_nothing_left("refuse");
}

#[test]
fn a_file_that_is_not_there_and_a_field_that_is_not_done() {
    let place = Place::default();
    let said = place.lab("deploy", &["-t", "/nowhere/x.clab.yml"]);
    assert_eq!(said.code, Some(2));
    assert_eq!(said.err, "routectl lab: /nowhere/x.clab.yml: cannot be read: No such file or directory (os error 2)\n");

    let text = segment("refused-field", "10.9.0.1", "10.9.0.2").replace("image: alpine", "memory: 1Gb");
    let file = place.file("lab.clab.yml", &text);
    let said = place.lab("deploy", &["-t", file.to_str().expect("a path")]);
    assert_eq!(said.code, Some(2));
    let expected =
        ":5: topology.defaults: `memory`: nodes have no limits of their own; write `cmd: prlimit --as=BYTES PROGRAM`\n";
    assert!(said.err.ends_with(expected), "{}", said.err);
    place.assert_nothing_left("refused-field");
}

#[test]
fn who_is_not_root_is_told_so_before_anything_is_made() {
    let place = Place::default();
    let file = place.file("lab.clab.yml", &segment("not-root", "10.9.0.1", "10.9.0.2"));
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", env!("CARGO_BIN_EXE_routectl")]);
    // The file is not for everybody's eyes: what is refused first is the user.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), open).expect("our own folder");
    let output = command.args(["lab", "deploy", "-t"]).arg(&file).output().expect("setpriv");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let wanted =
        format!("routectl lab: a lab's namespaces need root: sudo routectl lab deploy -t {}\n", file.display());
    assert_eq!(said, wanted);
}
