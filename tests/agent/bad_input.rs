//! Bad input: the words and the exit code that a person gets, and that what runs goes on running.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::fixture::{Agent, CLUSTER, Output, Site, attach, one_host};
use crate::support::hosts::segment;
use crate::support::{in_fresh_netns, run, wait_for};

fn program(path: &str, args: &[&str]) -> Output {
    let output = Command::new(path).args(args).output().expect("a program of ours");
    Output {
        exit: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Refused with this exit code, in words that contain all of these.
fn refused(output: &Output, exit: i32, words: &[&str]) {
    assert_eq!(output.exit, exit, "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "`{word}` is missing:\n{}", output.stderr);
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn an_unknown_field_of_a_node_is_named_with_its_line() {
    let site = Site::new();
    let path = text(&site.write("node.yaml", &site.node_config(1, "bgp:\n  holdtime: 30")));
    let output = program(env!("CARGO_BIN_EXE_routenetd"), &["--config", &path, "--check"]);
    refused(&output, 2, &[&path, ":6", "holdtime", "holdTime"]);

    let path = text(&site.write("node.yaml", "node: h1\naddress: {ipv4: 192.0.2.300}\n"));
    let output = program(env!("CARGO_BIN_EXE_routenetd"), &["--config", &path, "--check"]);
    refused(&output, 2, &[&path, ":2", "address.ipv4", "192.0.2.300"]);
}

#[test]
fn objects_that_are_wrong_are_refused_with_all_that_came_with_them() {
    one_host(|_, _, agent| {
        let a = attach(agent, "a", "blue", json!({}));
        let b = attach(agent, "b", "blue", json!({}));
        let good =
            "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: good}\nspec: {cidr: 10.80.0.0/16}\n---\n";
        let pool = |spec: &str| {
            format!("apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: bad}}\nspec: {spec}\n")
        };
        let policy = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: bad}\n\
                      spec: {selector: \"app = 'web'\"}\n";
        for (bad, words) in [
            (pool("{cidr: 10.81.0.0/16, colour: red}"), ["IPPool bad", "colour", "-:9:"]),
            (pool("{cidr: 10.81.0.0/40}"), ["IPPool bad", "spec.cidr", "prefix length 40"]),
            (pool("{cidr: 10.65.128.0/17}"), ["IPPool bad", "10.65.0.0/16", "blue4"]),
            (policy.to_string(), ["GlobalNetworkPolicy bad", "spec.selector", "=="]),
        ] {
            let output = agent.try_apply(&format!("{good}{bad}"));
            refused(&output, 1, &words);
            let there = agent.routectl(&["get", "ippool", "-o", "json"]);
            assert!(!there.stdout.contains("10.80.0.0"), "the good one was not written either: {}", there.stdout);
        }
        assert!(a.pings(&b.ipv4), "what runs goes on");
        agent.apply(good);
    });
}

#[test]
fn a_second_agent_with_the_same_name_is_refused_and_the_first_goes_on() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(2);
        let first = Agent::start(&site, &hosts[0], 1, "");
        first.apply(CLUSTER);
        let a = attach(&first, "a", "blue", json!({}));
        let b = attach(&first, "b", "blue", json!({}));

        let config = site.node_config(2, "").replace("node: h2", "node: h1");
        let path = text(&site.write("h2.yaml", &config));
        let mut second = hosts[1].command(env!("CARGO_BIN_EXE_routenetd"));
        let output = second.args(["--config", &path]).output().expect("routenetd");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("h1") && said.contains("192.0.2.1"), "who holds the name: {said}");
        assert!(a.pings(&b.ipv4));
        assert_eq!(first.routectl(&["status"]).exit, 0, "{:?}", first.routectl(&["status"]));
    });
}

#[test]
fn a_corrupt_store_is_named_and_what_runs_goes_on() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(1);
        let mut agent = Agent::start(&site, &hosts[0], 1, "");
        agent.apply(CLUSTER);
        agent.apply(
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: closed}\n\
             spec: {selector: closed == 'yes', types: [Ingress]}\n",
        );
        let a = attach(&agent, "a", "blue", json!({}));
        let b = attach(&agent, "b", "blue", json!({}));
        let closed = attach(&agent, "c", "blue", json!({"closed": "yes"}));
        let holds = |when: &str| {
            assert!(a.pings(&b.ipv4), "{when}");
            assert!(!a.pings(&closed.ipv4), "{when}");
        };
        holds("before");

        let store = site.path("cluster.db");
        let damaged = site.write("damaged", &"this is no database, and longer than a header of one: ".repeat(100));
        // The journal beside it holds good pages, which SQLite would take in place of the damaged ones.
        for beside in ["cluster.db-wal", "cluster.db-shm"] {
            std::fs::remove_file(site.path(beside)).expect("removed");
        }
        std::fs::rename(&damaged, &store).expect("a damaged file in its place");
        wait_for("a status that is degraded and names the file", Duration::from_secs(15), || {
            let status = agent.routectl(&["status"]);
            status.exit == 1 && status.stdout.contains(&text(&store))
        });
        holds("with a damaged store");

        agent.kill();
        agent.launch(&hosts[0]);
        wait_for("the agent's answer, from its snapshot", Duration::from_secs(15), || {
            let status = agent.routectl(&["status"]);
            status.exit == 1 && status.stdout.contains(&text(&store))
        });
        holds("after a restart without the store");
        let fresh = attach(&agent, "d", "blue", json!({}));
        assert!(fresh.pings(&b.ipv4), "addresses of own blocks need no store");
        assert!(!fresh.pings(&closed.ipv4));
    });
}

#[test]
fn a_dead_socket_is_said_by_routectl() {
    let site = Site::new();
    let socket = text(&site.path("nobody.sock"));
    let output = program(env!("CARGO_BIN_EXE_routectl"), &["--socket", &socket, "status"]);
    refused(&output, 2, &[&socket, "routenetd"]);
}

#[test]
fn a_lab_with_an_unknown_kind_is_refused_and_nothing_is_made() {
    let site = Site::new();
    let lab = "name: bad\ntopology:\n  nodes:\n    a: {kind: linux, image: routenet}\n    b: {kind: srl}\n";
    let path = text(&site.write("bad.clab.yml", lab));
    let output = program(env!("CARGO_BIN_EXE_routectl"), &["lab", "deploy", "-t", &path]);
    refused(&output, 2, &[&path, ":5", "srl", "linux", "bridge"]);
    let inspected = program(env!("CARGO_BIN_EXE_routectl"), &["lab", "inspect", "-t", &path]);
    assert_ne!(inspected.exit, 0, "{inspected:?}");
}

#[test]
fn an_agent_without_rights_says_which_it_needs() {
    in_fresh_netns(|| {
        let site = Site::new();
        run("chmod", &["0777", &text(site.directory.path())]);
        let hosts = segment(1);
        let path = text(&site.write("node.yaml", &site.node_config(1, "")));
        let user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--", env!("CARGO_BIN_EXE_routenetd")];
        let output = hosts[0].command("setpriv").args(user).args(["--config", &path]).output().expect("setpriv");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("run as root, or with CAP_NET_ADMIN and CAP_NET_RAW"), "{said}");
    });
}

#[test]
fn an_agent_without_iptables_says_what_to_install() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(1);
        let path = text(&site.write("node.yaml", &site.node_config(1, "")));
        let among = format!("PATH={}", text(&site.path("no-programs")));
        let args = [&among, env!("CARGO_BIN_EXE_routenetd"), "--config", &path];
        let output = hosts[0].command("env").args(args).output().expect("env");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("-restore: is not on this machine") && said.contains("install the package `iptables`"),
            "{said}"
        );
    });
}

#[test]
fn an_agent_that_cannot_make_its_files_names_them_and_their_settings() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(1);
        let file = text(&site.write("file", ""));
        let docker = format!("docker: {{socket: {file}/plugins/routenet.sock, api: {file}}}");
        let config = |from: &str, to: &str| site.node_config(1, "").replace(from, to);
        let (store, state) = (text(&site.path("cluster.db")), format!("state: {}", text(&site.path("h1"))));
        let socket = format!("socket: {}", text(&site.path("h1.sock")));
        let cases = [
            (config(&state, &format!("state: {file}/h1")), ["the state directory", "`paths.state`"]),
            (config(&socket, &format!("socket: {file}/h1.sock")), ["/file/h1.sock", "`paths.socket`"]),
            (site.node_config(1, &docker), ["/file/plugins/routenet.sock", "`docker.socket`"]),
        ];
        for (config, words) in cases {
            let path = text(&site.write("node.yaml", &config));
            let args = ["20", env!("CARGO_BIN_EXE_routenetd"), "--config", &path];
            let output = hosts[0].command("timeout").args(args).output().expect("timeout");
            assert_eq!(output.status.code(), Some(1), "{config}: {output:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
        }

        // A store that cannot be written is another's to mend: the agent waits for it, and says so.
        let config = config(&store, &format!("{file}/cluster.db"));
        let agent = Agent::start_with(&site, &hosts[0], 1, &config);
        wait_for("a status that names the store and its mend", Duration::from_secs(20), || {
            let status = agent.routectl(&["status"]);
            let said = status.stdout + &status.stderr;
            status.exit != 0 && said.contains("/file/cluster.db") && said.contains("`store.path`")
        });
    });
}
