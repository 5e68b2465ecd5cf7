//! The versions of CNI that the plugin announces, each against a live agent; and STATUS where the agent cannot answer.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{Agent, CLUSTER, Output, Site, attach, cni, cni_on, one_host, plugin};
use crate::support::hosts::{Namespace, segment};
use crate::support::{in_fresh_netns, wait_for};

/// What differs between the versions (CNI specification, sections 2 and 5).
struct Dialect {
    version: &'static str,
    /// Whether `ips[]` say their family.
    ip_has_version: bool,
    has_check: bool,
    has_gc_and_status: bool,
    interface_has_mtu: bool,
}

const fn dialect(version: &'static str, since: u8) -> Dialect {
    Dialect {
        version,
        ip_has_version: since < 3,
        has_check: since >= 2,
        has_gc_and_status: since >= 4,
        interface_has_mtu: since >= 4,
    }
}

const DIALECTS: [Dialect; 5] =
    [dialect("0.3.0", 0), dialect("0.3.1", 1), dialect("0.4.0", 2), dialect("1.0.0", 3), dialect("1.1.0", 4)];

fn announced() -> Value {
    let mut command = Command::new(plugin());
    let output = command.env("CNI_COMMAND", "VERSION").output().expect("the plugin");
    serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["supportedVersions"].clone()
}

/// The keys of each object of a list.
fn keys(list: &Value) -> Vec<Vec<&str>> {
    let objects = list.as_array().into_iter().flatten().filter_map(Value::as_object);
    objects.map(|object| object.keys().map(String::as_str).collect()).collect()
}

/// The result of ADD has the fields of its version and no others, and says where the address is. Answers the addresses.
fn assert_shape(dialect: &Dialect, result: &Value, netns: &str) -> Vec<String> {
    let version = dialect.version;
    assert_eq!(result["cniVersion"], version, "{result}");
    let top: Vec<&String> = result.as_object().expect("an object").keys().collect();
    assert_eq!(top, ["cniVersion", "interfaces", "ips", "routes"], "{version}");

    let inside =
        if dialect.interface_has_mtu { &["mac", "mtu", "name", "sandbox"][..] } else { &["mac", "name", "sandbox"] };
    assert_eq!(keys(&result["interfaces"]), [&["mac", "name", "sandbox"][..], inside], "{version}: {result}");
    assert_eq!(result["interfaces"][0]["sandbox"], "", "{version}: the host's end");
    assert_eq!(result["interfaces"][1]["sandbox"], netns, "{version}");
    assert_eq!(result["interfaces"][1]["name"], "eth0", "{version}");

    let ip = if dialect.ip_has_version {
        &["address", "gateway", "interface", "version"][..]
    } else {
        &["address", "gateway", "interface"]
    };
    assert_eq!(keys(&result["ips"]), [ip, ip], "{version}: {result}");
    for (ip, family) in result["ips"].as_array().expect("a list").iter().zip(["4", "6"]) {
        assert_eq!(ip["interface"], 1, "{version}: the workload's end");
        assert!(!dialect.ip_has_version || ip["version"] == family, "{version}: {ip}");
    }
    assert_eq!(keys(&result["routes"]), [["dst", "gw"], ["dst", "gw"]], "{version}: {result}");
    let cidrs = result["ips"].as_array().into_iter().flatten().filter_map(|ip| ip["address"].as_str());
    cidrs.map(|cidr| cidr.split('/').next().expect("an address").to_string()).collect()
}

/// An error result in the version that was asked for.
fn assert_refused(output: &Output, version: &str, code: i64, words: &str) {
    let said = output.json();
    assert_eq!((output.exit, &said["cniVersion"], said["code"].as_i64()), (1, &json!(version), Some(code)), "{said}");
    assert!(output.stdout.contains(words), "no `{words}` in {said}");
}

#[test]
fn every_version_that_is_announced_adds_checks_and_deletes_in_its_own_shape() {
    assert_eq!(announced(), json!(DIALECTS.map(|dialect| dialect.version)));
    one_host(|_, host, agent| {
        let other = attach(agent, "other", "blue", json!({}));
        for dialect in DIALECTS {
            let (version, workload) = (dialect.version, Namespace::new());
            let config = |more: Value| {
                let mut config = json!({"cniVersion": version, "name": "blue"});
                config.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
                config
            };
            let call = |command: &str, config: Value| cni(agent, command, "c", &workload, config);
            let added = call("ADD", config(json!({})));
            assert_eq!(added.exit, 0, "{version}: {added:?}");
            let result = added.json();
            let addresses = assert_shape(&dialect, &result, &workload.path());
            for address in &addresses {
                assert!(other.pings(address), "{version}: {address}, to it");
            }
            assert!(workload.succeeds("ping", &["-n", "-c", "1", "-W", "1", &other.ipv4]), "{version}: from it");

            let check = call("CHECK", config(json!({"prevResult": result})));
            if dialect.has_check {
                assert_eq!((check.exit, check.stdout.as_str()), (0, ""), "{version}: {check:?}");
                assert_refused(&call("CHECK", config(json!({}))), version, 7, "CHECK needs `prevResult`");
            } else {
                assert_refused(&check, version, 1, &format!("CHECK is not part of CNI {version}"));
                assert!(check.stdout.contains("0.4.0 or later"), "the mend: {}", check.stdout);
            }
            for command in ["STATUS", "GC"] {
                let output = cni_on(agent, command, "", "", config(json!({})));
                if dialect.has_gc_and_status {
                    assert_eq!((output.exit, output.stdout.as_str()), (0, ""), "{version}: {output:?}");
                } else {
                    assert_refused(&output, version, 1, &format!("{command} is not part of CNI {version}"));
                }
            }

            let again = call("ADD", config(json!({})));
            assert_refused(&again, version, 101, "is attached already");
            for _ in 0..2 {
                let deleted = call("DEL", config(json!({"prevResult": result})));
                assert_eq!((deleted.exit, deleted.stdout.as_str()), (0, ""), "{version}: {deleted:?}");
            }
            for address in &addresses {
                assert!(!other.pings(address), "{version}: {address} after DEL");
            }
            assert!(!workload.succeeds("ip", &["link", "show", "eth0"]), "{version}");
        }
        let routes = host.run("ip", &["route"]);
        assert_eq!(routes.lines().filter(|line| line.contains("dev rnw")).count(), 1, "the other's: {routes}");
    });
}

#[test]
fn a_version_that_is_not_announced_is_refused_and_nothing_is_attached() {
    one_host(|_, host, agent| {
        let workload = Namespace::new();
        for version in ["0.1.0", "0.2.0", "0.3.2", "1.0", "1.2.0", "9.9.9", "v1.0.0", ""] {
            for command in ["ADD", "CHECK", "DEL"] {
                let output = cni(agent, command, "c", &workload, json!({"cniVersion": version, "name": "blue"}));
                assert_refused(&output, version, 1, &format!("cniVersion `{version}` is not supported"));
                assert!(output.stdout.contains("supported: 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"), "{}", output.stdout);
            }
        }
        let number = cni(agent, "ADD", "c", &workload, json!({"cniVersion": 1.0, "name": "blue"}));
        assert_refused(&number, "1.0.0", 6, "cniVersion");
        assert_eq!(agent.routectl(&["endpoints", "-o", "json"]).json(), json!([]));
        assert!(!host.run("ip", &["-o", "link"]).contains("rnw"));
        assert!(!workload.succeeds("ip", &["link", "show", "eth0"]));
    });
}

fn status(agent: &Agent) -> Output {
    cni_on(agent, "STATUS", "", "", json!({"cniVersion": "1.1.0", "name": "blue"}))
}

/// 50, not 51: what runs keeps its network without an agent.
#[test]
fn status_of_a_killed_agent_says_that_no_add_is_possible_and_what_to_do() {
    in_fresh_netns(|| {
        let (site, hosts) = (Site::new(), segment(1));
        let mut agent = Agent::start(&site, &hosts[0], 1, "");
        agent.apply(CLUSTER);
        let (a, b) = (attach(&agent, "a", "blue", json!({})), attach(&agent, "b", "blue", json!({})));
        let well = status(&agent);
        assert_eq!((well.exit, well.stdout.as_str()), (0, ""));

        agent.kill();
        assert!(agent.socket.exists(), "a killed agent leaves its socket's file");
        let dead = status(&agent);
        assert_refused(&dead, "1.1.0", 50, "nobody listens on it: start routenetd");
        assert!(dead.stdout.contains(&agent.socket.display().to_string()), "which socket: {}", dead.stdout);
        assert!(a.pings(&b.ipv4), "connectivity is not limited");

        agent.launch(&hosts[0]);
        wait_for("a good STATUS of the new agent", Duration::from_secs(20), || status(&agent).exit == 0);
        agent.terminate();
        assert!(!agent.socket.exists());
        assert_refused(&status(&agent), "1.1.0", 50, "there is no such socket: start routenetd");
    });
}

#[test]
fn status_of_an_agent_that_waits_says_for_what_and_what_to_do() {
    in_fresh_netns(|| {
        let (site, hosts) = (Site::new(), segment(1));
        let config = site.node_config(1, "").replace("192.0.2.1,", "198.51.100.77,");
        let agent = Agent::start_with(&site, &hosts[0], 1, &config);
        let waiting = status(&agent);
        assert_refused(&waiting, "1.1.0", 50, "the agent is starting: it waits for the host's address");
        assert!(waiting.stdout.contains("has 198.51.100.77"), "for what: {}", waiting.stdout);
        assert!(waiting.stdout.contains("add it (ip address add), or correct the file"), "{}", waiting.stdout);
        let add = cni(&agent, "ADD", "c", &Namespace::new(), json!({"name": "blue"}));
        assert_refused(&add, "1.0.0", 11, "the agent is starting");

        hosts[0].run("ip", &["address", "add", "198.51.100.77/24", "dev", "eth0"]);
        agent.apply(CLUSTER);
        let well = status(&agent);
        assert_eq!((well.exit, well.stdout.as_str()), (0, ""));
    });
}
