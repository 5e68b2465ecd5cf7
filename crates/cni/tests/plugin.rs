//! The plugin without an agent: what it must answer alone, and how it says that it cannot.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

struct Outcome {
    exit: i32,
    stdout: Value,
    stderr: String,
}

fn call(environment: &[(&str, &str)], stdin: &str) -> Outcome {
    let mut child = Command::new(env!("CARGO_BIN_EXE_routenet"))
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The plugin may exit before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Outcome {
        exit: output.status.code().unwrap(),
        stdout: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

const ADD: [(&str, &str); 4] =
    [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c1"), ("CNI_NETNS", "/run/netns/x"), ("CNI_IFNAME", "eth0")];

const CONFIG: &str =
    r#"{"cniVersion":"1.0.0","name":"blue","type":"routenet","socket":"/nonexistent/routenet/agent.sock"}"#;

fn add_with(name: &str, value: &str) -> Outcome {
    let mut environment = ADD.to_vec();
    environment.retain(|(key, _)| *key != name);
    if !value.is_empty() {
        environment.push((name, value));
    }
    call(&environment, CONFIG)
}

#[test]
fn version_needs_no_agent_and_takes_dummy_values() {
    let dummy = [("CNI_COMMAND", "VERSION"), ("CNI_NETNS", "dummy"), ("CNI_IFNAME", "dummy"), ("CNI_PATH", "dummy")];
    let outcome = call(&dummy, r#"{"cniVersion":"0.4.0"}"#);
    assert_eq!(outcome.exit, 0);
    assert_eq!(
        outcome.stdout,
        serde_json::json!({"cniVersion": "0.4.0", "supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]})
    );
}

#[test]
fn without_a_command_it_says_what_it_is() {
    let outcome = call(&[], "");
    assert_eq!(outcome.exit, 0);
    assert!(
        outcome.stderr.contains("CNI protocol versions supported: 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn each_kind_of_bad_call_has_its_code() {
    let broken = call(&ADD, "{");
    assert_eq!((broken.exit, &broken.stdout["code"]), (1, &6.into()));
    let nameless = call(&ADD, r#"{"cniVersion":"1.0.0"}"#);
    assert_eq!((nameless.exit, &nameless.stdout["code"]), (1, &7.into()));
    for version in ["9.9.9", "0.2.0"] {
        let unsupported = call(&ADD, &format!(r#"{{"cniVersion":"{version}","name":"blue"}}"#));
        assert_eq!((unsupported.exit, &unsupported.stdout["code"]), (1, &1.into()), "{version}");
        assert_eq!(unsupported.stdout["cniVersion"], version);
    }
    for (name, value) in [
        ("CNI_COMMAND", "PUT"),
        ("CNI_CONTAINERID", ""),
        ("CNI_CONTAINERID", "-x"),
        ("CNI_CONTAINERID", "a/b"),
        ("CNI_NETNS", ""),
        ("CNI_IFNAME", ""),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "sixteen-letters-"),
    ] {
        let outcome = add_with(name, value);
        assert_eq!((outcome.exit, &outcome.stdout["code"]), (1, &4.into()), "{name}={value}");
    }
}

#[test]
fn a_command_needs_the_version_that_brought_it() {
    let call_at = |command: &str, version: &str| {
        let mut environment = ADD.to_vec();
        environment[0].1 = command;
        call(&environment, &CONFIG.replace("1.0.0", version)).stdout["code"].as_i64()
    };
    assert_eq!(call_at("CHECK", "0.3.1"), Some(1));
    assert_eq!(call_at("CHECK", "0.4.0"), Some(11), "it gets as far as the agent");
    for command in ["GC", "STATUS"] {
        assert_eq!(call_at(command, "1.0.0"), Some(1), "{command}");
    }
    assert_eq!(call_at("ADD", "0.3.0"), Some(11));
}

#[test]
fn gc_and_status_need_no_container_and_status_says_that_no_add_is_possible() {
    let of_network = |command| call(&[("CNI_COMMAND", command), ("CNI_PATH", "/x")], &CONFIG.replace("1.0.0", "1.1.0"));
    assert_eq!(of_network("STATUS").stdout["code"], 50);
    assert_eq!(of_network("GC").stdout["code"], 11);
}

#[test]
fn a_dead_socket_is_named_with_the_mend_and_may_be_tried_again() {
    let outcome = call(&ADD, CONFIG);
    assert_eq!(outcome.exit, 1);
    assert_eq!(
        outcome.stdout,
        serde_json::json!({
            "cniVersion": "1.0.0",
            "code": 11,
            "msg": "cannot reach routenetd on /nonexistent/routenet/agent.sock: No such file or directory (os error 2)",
            "details": "there is no such socket: start routenetd, or name its socket by `socket` in the network configuration",
        })
    );
}
