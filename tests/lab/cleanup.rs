//! What goes wrong leaves nothing behind, and says what went wrong.

use std::process::Stdio;
use std::time::Duration;

use super::support::{Process, wait_for};
use super::{NothingLeft, Place, inits, runs};

const LIMIT: Duration = Duration::from_secs(10);

/// One host whose definition ends with these lines, linked to another.
fn pair(name: &str, more: &str, interface: &str) -> String {
    format!(
        "name: {name}\ntopology:\n  nodes:\n    a:\n      kind: linux\n      network-mode: none\n{more}    b:\n      \
         kind: linux\n  links:\n    - endpoints: [a:{interface}, b:eth1]\n"
    )
}

#[test]
fn a_failed_deployment_cleans_up_after_itself() {
    let cases = [
        (
            "      exec: [echo fine, ls /nowhere]\n",
            "eth1",
            1,
            "node `a`: `ls /nowhere`: exit status: 2: ls: cannot access '/nowhere'",
        ),
        ("      exec: [no-such-program]\n", "eth1", 1, "node `a`: `no-such-program`: No such file or directory"),
        (
            "      sysctls: {net.ipv4.no_such_thing: 1}\n",
            "eth1",
            1,
            "node `a`: sysctl net.ipv4.no_such_thing=1: /proc/sys/net/ipv4/no_such_thing:",
        ),
        ("", "lo", 1, "link a:lo -- b:eth1: "),
        ("      binds: [missing.conf:/etc/x]\n", "eth1", 2, ":7: topology.nodes.a: bind source `"),
    ];
    for (number, (more, interface, code, expected)) in cases.into_iter().enumerate() {
        let place = Place::default();
        let name = format!("failed{number}");
        let file = place.file("lab.clab.yml", &pair(&name, more, interface));
        let said = place.lab("deploy", &["-t", file.to_str().expect("a path")]);
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(said.err.contains(expected), "expected {expected}\n{}", said.err);
        place.assert_nothing_left(&name);
    }
}

#[test]
fn a_failed_deployment_can_be_mended_and_deployed() {
    let place = Place::default();
    let file = place.file("lab.clab.yml", &pair("mended", "      exec: ['false']\n", "eth1"));
    let file = file.to_str().expect("a path");
    assert_eq!(place.lab("deploy", &["-t", file]).code, Some(1));
    place.file("lab.clab.yml", &pair("mended", "      exec: ['true']\n", "eth1"));
    place.lab("deploy", &["-t", file]).good();
    assert_eq!(inits("mended").len(), 2);
}

#[test]
fn a_killed_runner_takes_its_nodes_along() {
    let _end = NothingLeft("killed");
    let place = Place::default();
    let file = place.file("lab.clab.yml", &pair("killed", "      exec: [sleep 1000]\n", "eth1"));
    let mut runner = place.command("deploy", &["-t", file.to_str().expect("a path")]);
    let runner = Process(runner.stderr(Stdio::null()).spawn().expect("routectl"));
    wait_for("a command in a node", LIMIT, || inits("killed").len() == 2 && runs("killed", "sleep"));
    // Dropping a Process kills it with SIGKILL.
    drop(runner);
    wait_for("the end of both nodes", LIMIT, || inits("killed").is_empty());
    place.lab("destroy", &["--name", "killed"]).good();
    place.assert_nothing_left("killed");
}

#[test]
fn a_lab_whose_nodes_were_killed_is_not_taken_for_a_running_one() {
    let place = Place::default();
    let file = place.file("lab.clab.yml", &pair("stale", "", "eth1"));
    let file = file.to_str().expect("a path");
    place.lab("deploy", &["-t", file]).good();
    for pid in inits("stale") {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("our own");
    }
    // A process that ends loses its command line a moment before it counts as ended.
    wait_for("inspect to see their end", LIMIT, || place.lab("inspect", &["-t", file]).code == Some(1));
    place.lab("deploy", &["-t", file]).good();
    place.exec("stale", "a", &["true"]).good();
}

#[test]
fn what_exec_runs_ends_with_exec_and_with_the_lab() {
    let place = Place::default();
    let file = place.file("lab.clab.yml", &pair("ends", "", "eth1"));
    place.lab("deploy", &["-t", file.to_str().expect("a path")]).good();
    let sleeping = || place.exec("ends", "a", &["pgrep", "sleep"]).code == Some(0);
    let mut exec = place.command("exec", &["--name", "ends", "--node", "a", "--", "sleep", "1000"]);
    let exec = Process(exec.spawn().expect("exec"));
    wait_for("sleep in the node", LIMIT, sleeping);
    drop(exec);
    wait_for("its end", LIMIT, || !sleeping());

    let mut exec = place.command("exec", &["--name", "ends", "--node", "a", "--", "sleep", "1000"]);
    let mut exec = Process(exec.spawn().expect("exec"));
    wait_for("sleep in the node", LIMIT, sleeping);
    place.lab("destroy", &["--name", "ends"]).good();
    assert_eq!(exec.0.wait().expect("its end").code(), Some(128 + 9));
    place.assert_nothing_left("ends");
}
