//! Deploy, look, enter, destroy.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use super::{Place, inits, segment};

fn deployed(name: &str) -> (Place, String) {
    let place = Place::default();
    place.file("message.txt", "hello\n");
    let file = place.file("lab.clab.yml", &segment(name, "10.9.0.1", "10.9.0.2"));
    let file = file.to_str().expect("a path").to_string();
    place.lab("deploy", &["-t", &file]).good();
    (place, file)
}

#[test]
fn a_lab_is_deployed_seen_and_destroyed() {
    let (place, file) = deployed("life");
    place.exec("life", "one", &["ping", "-c1", "-W2", "10.9.0.2"]).good();
    assert_ne!(place.exec("life", "one", &["ping", "-c1", "-W1", "10.9.0.3"]).code, Some(0), "nobody is there");

    let listing: Value = serde_json::from_str(&place.lab("inspect", &["-t", &file, "-f", "json"]).good().out).unwrap();
    let nodes = listing["life"].as_array().expect("nodes");
    let names: Vec<_> = nodes.iter().map(|node| node["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["clab-life-one", "clab-life-two", "clab-life-lan"]);
    assert!(nodes.iter().all(|node| node["state"] == "running" && node["lab_name"] == "life"));
    assert_eq!((&nodes[0]["ipv4_address"], &nodes[2]["ipv4_address"]), (&"10.9.0.1/24".into(), &"N/A".into()));
    assert_eq!(nodes[0]["absLabPath"], file.as_str());
    assert!(nodes[0]["status"].as_str().is_some_and(|status| status.starts_with("Up ")), "{listing}");
    assert_eq!(nodes[0]["interfaces"][0]["addresses"][0], "10.9.0.1/24");
    assert_eq!(nodes[0]["interfaces"][0]["peer"], "lan:one");
    let same = place.lab("inspect", &["--name", "life", "-o", "json"]).good().out;
    assert_eq!(serde_json::from_str::<Value>(&same).unwrap()["life"][1]["pid"], nodes[1]["pid"]);
    let table = place.lab("inspect", &["-t", &file]).good().out;
    assert!(table.contains("two") && table.contains("10.9.0.2/24") && table.contains("bridge"), "{table}");

    place.lab("destroy", &["-t", &file]).good();
    place.assert_nothing_left("life");
    place.lab("destroy", &["-t", &file]).good();
    let said = place.exec("life", "one", &["true"]);
    assert_eq!(said.code, Some(125));
    assert!(said.err.contains("lab `life` is not deployed (looked in "), "{}", said.err);
}

#[test]
fn inspect_shows_all_labs_and_their_health() {
    let place = Place::default();
    let nothing = place.lab("inspect", &["--all", "--format", "json"]).good();
    assert_eq!(nothing.out, "{}\n");
    for (name, test) in [("well", "'true'"), ("ill", "'false'")] {
        let text = format!(
            "name: {name}\ntopology:\n  nodes:\n    a: {{kind: linux, healthcheck: {{test: [CMD, {test}]}}}}\n"
        );
        let file = place.file("lab.clab.yml", &text);
        place.lab("deploy", &["-t", file.to_str().expect("a path")]).good();
    }
    let listing: Value = serde_json::from_str(&place.lab("inspect", &["--all", "-f", "json"]).good().out).unwrap();
    let status = |lab: &str| listing[lab][0]["status"].as_str().unwrap_or_default().to_string();
    assert!(status("well").ends_with(" (healthy)") && status("ill").ends_with(" (unhealthy)"), "{listing}");
    let table = place.lab("inspect", &["-a"]).good().out;
    let rows: Vec<&str> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(rows, ["LAB", "ill", "well"], "{table}");

    nix::sys::signal::kill(nix::unistd::Pid::from_raw(inits("ill")[0]), nix::sys::signal::Signal::SIGKILL).unwrap();
    super::support::wait_for("its end", std::time::Duration::from_secs(10), || {
        let all: Value = serde_json::from_str(&place.lab("inspect", &["-a", "-f", "json"]).good().out).unwrap();
        all["ill"][0]["status"] == "Exited" && all["well"][0]["state"] == "running"
    });
}

#[test]
fn exec_passes_streams_environment_and_exit_code() {
    let (place, _) = deployed("exec");
    assert_eq!(place.exec("exec", "one", &["sh", "-c", "exit 7"]).code, Some(7));
    assert_eq!(place.exec("exec", "one", &["sh", "-c", "kill -TERM $$"]).code, Some(143));
    assert_eq!(place.exec("exec", "one", &["no-such-program"]).code, Some(127));
    assert_eq!(place.exec("exec", "one", &["/etc"]).code, Some(126));
    assert_eq!(place.exec("exec", "clab-exec-two", &["hostname"]).good().out, "two\n");
    let said = place.exec("exec", "three", &["true"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (Some(125), "routectl lab: lab `exec` has no node `three`; it has one, two, lan\n")
    );
    let words =
        ["--name", "exec", "--node", "one", "-e", "SIZE=large", "--", "sh", "-c", "echo $COLOUR $SIZE $NOTHING"];
    assert_eq!(place.lab("exec", &words).good().out, "blue large\n");

    let mut cat = place.command("exec", &["--name", "exec", "--node", "one", "--", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("exec");
    cat.stdin.take().expect("a pipe").write_all(b"through\n").expect("a reader");
    assert_eq!(cat.wait_with_output().expect("an end").stdout, b"through\n");

    // A terminal goes through as well, with job control: `script` gives one to what it runs.
    let shell = format!(
        "{} lab exec --state-dir {} --name exec --node one -- bash -ic 'tty; case $- in *m*) echo jobs ;; esac'",
        env!("CARGO_BIN_EXE_routectl"),
        place.path().join("state").display()
    );
    let said = super::support::run("script", &["-qec", &shell, "/dev/null"]);
    assert!(said.starts_with("/dev/pts/") && said.contains("jobs"), "{said}");
    assert!(!said.contains("no job control"), "{said}");
}

#[test]
fn a_node_has_a_machine_of_its_own() {
    let (place, _) = deployed("own");
    let one = |words: &[&str]| place.exec("own", "one", words);
    assert_eq!(one(&["cat", "/etc/routenet/message.txt"]).good().out, "hello\n");
    assert_ne!(one(&["sh", "-c", "echo no >/etc/routenet/message.txt"]).code, Some(0), "the bind is read-only");
    one(&["sh", "-c", "echo mine >/etc/routenet-own-test; echo mine >/run/x; echo mine >/tmp/x"]).good();
    assert!(!std::path::Path::new("/etc/routenet-own-test").exists(), "a node's changes stay in the node");
    assert_ne!(place.exec("own", "two", &["cat", "/etc/routenet-own-test"]).code, Some(0));
    one(&["sh", "-c", "echo both >/shared/x"]).good();
    assert_eq!(place.exec("own", "two", &["cat", "/shared/x"]).good().out, "both\n");

    let processes = one(&["sh", "-c", "echo /proc/[0-9]*"]).good().out;
    assert!(processes.starts_with("/proc/1 ") && processes.split(' ').count() < 6, "{processes}");
    one(&["ip", "netns", "add", "inner"]).good();
    assert_eq!(one(&["ip", "netns", "exec", "inner", "ip", "-br", "link"]).good().out.lines().count(), 1);
    assert_eq!(place.exec("own", "two", &["ip", "netns", "list"]).good().out, "");
    one(&["routectl", "--help"]).good();
}

#[test]
fn a_lab_that_runs_is_replaced_only_on_demand() {
    let (place, file) = deployed("again");
    let before = inits("again");
    assert_eq!(before.len(), 3);
    let said = place.lab("deploy", &["-t", &file]);
    assert_eq!(said.code, Some(1));
    assert_eq!(
        said.err,
        "routectl lab: lab `again` is already deployed; `--reconfigure` replaces it, `routectl lab destroy --name again` ends it\n"
    );
    assert_eq!(inits("again"), before, "what ran goes on running");
    place.lab("deploy", &["-t", &file, "--reconfigure"]).good();
    let after = inits("again");
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
}
