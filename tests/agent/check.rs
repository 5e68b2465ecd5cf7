//! CHECK by the plugin: each thing that can break between ADD and CHECK is an error that names what is wrong, and where;
//! what the agent puts back by itself is well again when CHECK says so.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::fixture::{Agent, Output, cni, cni_on, one_host};
use crate::support::hosts::Namespace;
use crate::support::{run, wait_for};

/// A workload `c` of network `blue`, and the result of its ADD.
struct Checked<'a> {
    agent: &'a Agent,
    host: &'a Namespace,
    namespace: Namespace,
    result: Value,
}

impl<'a> Checked<'a> {
    fn add(agent: &'a Agent, host: &'a Namespace) -> Checked<'a> {
        let namespace = Namespace::new();
        let added = cni(agent, "ADD", "c", &namespace, json!({"name": "blue"}));
        assert_eq!(added.exit, 0, "{}", added.stdout);
        let checked = Checked { agent, host, namespace, result: added.json() };
        checked.is_sound();
        checked
    }

    fn check(&self) -> Output {
        self.check_against(&self.result)
    }

    fn check_against(&self, result: &Value) -> Output {
        cni(self.agent, "CHECK", "c", &self.namespace, json!({"name": "blue", "prevResult": result}))
    }

    fn is_sound(&self) {
        let said = self.check();
        assert_eq!((said.exit, said.stdout.as_str()), (0, ""), "{said:?}");
        self.passes();
    }

    /// A packet from the host, over both families.
    fn passes(&self) {
        for number in 0..2 {
            let address = self.address(number);
            assert!(self.host.succeeds("ping", &["-n", "-c", "1", "-W", "1", &address]), "a ping to {address}");
        }
    }

    fn address(&self, number: usize) -> String {
        let cidr = self.result["ips"][number]["address"].as_str().expect("an address");
        cidr.split('/').next().expect("an address").to_string()
    }

    fn host_link(&self) -> String {
        self.result["interfaces"][0]["name"].as_str().expect("the host's end").to_string()
    }

    /// A command of iproute2 in the workload.
    fn ip(&self, words: &str) {
        self.namespace.run("ip", &words.split(' ').collect::<Vec<_>>());
    }

    /// CHECK refuses, with the endpoint, and all of these words.
    fn is_broken(&self, words: &[&str]) {
        assert_broken(&self.check(), words);
    }
}

fn assert_broken(said: &Output, words: &[&str]) {
    assert_eq!((said.exit, said.json()["code"].as_i64()), (1, Some(103)), "{words:?}: {said:?}");
    let message = said.json()["msg"].as_str().unwrap_or_default().to_string();
    assert!(message.starts_with("blue/c/eth0: "), "whose: {message}");
    for part in words {
        assert!(message.contains(part), "no `{part}` in {message}");
    }
    assert!(said.stdout.contains("detach the workload and attach it again"), "the mend: {}", said.stdout);
}

#[test]
fn what_was_changed_in_the_workload_is_named_until_it_is_as_before() {
    one_host(|_, host, agent| {
        let c = Checked::add(agent, host);
        let (ipv4, ipv6) = (c.address(0), c.address(1));
        let mac = c.result["interfaces"][1]["mac"].as_str().expect("a MAC address").to_string();
        let (next4, next6) = ("169.254.1.1", "fe80::ecee:eeff:feee:eeee");
        for (damage, words, mend) in [
            (
                "link set eth0 address 02:00:00:00:00:99".to_string(),
                format!("eth0 has MAC address 02:00:00:00:00:99, not {mac}"),
                // The kernel drops neighbours with the address, permanent ones too.
                vec![
                    format!("link set eth0 address {mac}"),
                    format!("neighbour replace {next4} lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent"),
                    format!("neighbour replace {next6} lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent"),
                ],
            ),
            (
                "link set eth0 mtu 1400".to_string(),
                "eth0 has MTU 1400, not 1500".to_string(),
                vec!["link set eth0 mtu 1500".to_string()],
            ),
            (
                "-4 route del default".to_string(),
                format!("default route via {next4} dev eth0 is missing"),
                vec![format!("-4 route add default via {next4} dev eth0 proto static")],
            ),
            (
                format!("-4 route del {next4}"),
                format!("route {next4} dev eth0 is missing"),
                vec![format!("-4 route add {next4} dev eth0 scope link proto static")],
            ),
            (
                "-6 route del default".to_string(),
                format!("default route via {next6} dev eth0 is missing"),
                vec![format!("-6 route add default via {next6} dev eth0 proto static")],
            ),
            (
                "-6 route replace default via fe80::1 dev eth0 proto static".to_string(),
                format!("default route via {next6} dev eth0 is missing"),
                vec![format!("-6 route replace default via {next6} dev eth0 proto static")],
            ),
            (
                format!("address del {ipv6}/128 dev eth0"),
                format!("address {ipv6} is missing on eth0"),
                vec![format!("address add {ipv6}/128 dev eth0 nodad")],
            ),
            (
                format!("neighbour del {next4} dev eth0"),
                format!("permanent neighbour {next4} lladdr ee:ee:ee:ee:ee:ee dev eth0 is missing"),
                vec![format!("neighbour add {next4} lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent")],
            ),
            (
                format!("neighbour replace {next6} lladdr 02:00:00:00:00:99 dev eth0 nud permanent"),
                format!("permanent neighbour {next6} lladdr ee:ee:ee:ee:ee:ee dev eth0 is missing"),
                vec![format!("neighbour replace {next6} lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent")],
            ),
        ] {
            c.ip(&damage);
            c.is_broken(&[&words]);
            mend.iter().for_each(|mend| c.ip(mend));
            c.is_sound();
        }

        // The last IPv4 address takes its routes along: all of it is named at once, and another address is none of it.
        c.ip(&format!("address del {ipv4}/32 dev eth0"));
        c.ip("address add 10.65.255.1/32 dev eth0");
        c.is_broken(&[
            &format!("address {ipv4} is missing on eth0"),
            &format!("route {next4} dev eth0 is missing"),
            &format!("default route via {next4} dev eth0 is missing"),
        ]);
    });
}

#[test]
fn the_hosts_end_is_named_or_back_and_a_lost_link_is_named_until_it_can_be_had_again() {
    one_host(|_, host, agent| {
        let c = Checked::add(agent, host);
        let link = c.host_link();
        // A stopped agent finds CHECK and the kernel's notification together. What of it CHECK still finds depends on which it
        // takes first; where it finds nothing wrong, the link carries packets.
        for damage in [format!("link set {link} down"), format!("link set {link} mtu 1300"), format!("link del {link}")]
        {
            agent.signal(Signal::SIGSTOP);
            host.run("ip", &damage.split(' ').collect::<Vec<_>>());
            let said = std::thread::scope(|scope| {
                let asked = scope.spawn(|| c.check());
                wait_for("the call to have come", Duration::from_secs(20), || is_called(&c));
                agent.signal(Signal::SIGCONT);
                asked.join().expect("an answer")
            });
            println!("{damage}: {}", said.stdout.trim());
            if said.exit == 0 {
                c.passes();
            } else {
                assert_broken(&said, &[&link]);
            }
            wait_for("the link to be back", Duration::from_secs(20), || c.check().exit == 0);
            c.is_sound();
        }

        // What stands in its way keeps it away.
        agent.signal(Signal::SIGSTOP);
        host.run("ip", &["link", "del", &link]);
        c.ip("link add eth0 type bridge");
        agent.signal(Signal::SIGCONT);
        for _ in 0..2 {
            c.is_broken(&[&format!("interface {link} is missing on the host")]);
        }
        c.ip("link del eth0");
        wait_for("the link to be back", Duration::from_secs(60), || c.check().exit == 0);
        c.is_sound();
    });
}

/// Whether somebody waits at the agent's socket: an end of it beside the one that listens, in either namespace.
fn is_called(c: &Checked<'_>) -> bool {
    let path = c.agent.socket.display().to_string();
    let sockets = c.host.run("cat", &["/proc/net/unix"]) + &run("cat", &["/proc/net/unix"]);
    // `00010000`: it listens.
    sockets.lines().any(|line| line.ends_with(&path) && !line.contains(" 00010000 "))
}

#[test]
fn another_namespace_or_interface_than_that_of_the_add_is_named() {
    one_host(|_, host, agent| {
        let c = Checked::add(agent, host);
        let config = || json!({"name": "blue", "prevResult": c.result});
        let other = Namespace::new();
        let said = cni(agent, "CHECK", "c", &other, config());
        assert_broken(&said, &[&format!("interface eth0 is missing in {}", other.path())]);
        // An interface of that name which is somebody else's.
        other.run("ip", &["link", "add", "eth0", "type", "bridge"]);
        let said = cni(agent, "CHECK", "c", &other, config());
        assert_broken(&said, &[&format!("interface eth0 in {} is not the other end", other.path())]);
        let gone = cni_on(agent, "CHECK", "c", "/proc/1/no/such/ns", config());
        assert_broken(&gone, &["/proc/1/no/such/ns"]);

        // The same namespace by another path is the same.
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().display().to_string();
        run("mount", &["--bind", &c.namespace.path(), &path]);
        let same = cni_on(agent, "CHECK", "c", &path, config());
        run("umount", &[&path]);
        assert_eq!((same.exit, same.stdout.as_str()), (0, ""));

        let unknown = cni(agent, "CHECK", "nobody", &c.namespace, config());
        assert_eq!(unknown.json()["code"], 3, "{}", unknown.stdout);
        assert!(unknown.stdout.contains("blue/nobody/eth0 is not attached here"), "{}", unknown.stdout);
        c.is_sound();
    });
}

#[test]
fn a_result_that_says_something_else_is_named_and_what_later_plugins_added_is_not() {
    one_host(|_, host, agent| {
        let c = Checked::add(agent, host);
        let (ipv4, link) = (c.address(0), c.host_link());
        let netns = c.namespace.path();
        let changed = |pointer: &str, value: Value| {
            let mut result = c.result.clone();
            *result.pointer_mut(pointer).expect("a field of the result") = value;
            result
        };
        for (result, words) in [
            (
                changed("/ips/0/address", json!("10.65.3.3/32")),
                vec![format!("the endpoint has {ipv4}/32"), "`prevResult` lists 10.65.3.3/32".to_string()],
            ),
            (changed("/ips", json!([])), vec![format!("the endpoint has {ipv4}/32")]),
            (
                changed("/interfaces/1/name", json!("eth7")),
                vec![format!("interface eth0 in {netns}"), "`prevResult` lists".to_string(), "eth7".to_string()],
            ),
            (
                changed("/interfaces/1/sandbox", json!("/run/netns/elsewhere")),
                vec![format!("interface eth0 in {netns}"), "eth0 in /run/netns/elsewhere".to_string()],
            ),
            (
                changed("/interfaces/0/name", json!("veth0")),
                vec![format!("interface {link} on the host"), "veth0 on the host".to_string()],
            ),
            (
                changed("/ips/0/interface", json!(0)),
                vec![
                    format!("{ipv4}/32 is on interface eth0"),
                    format!("`prevResult` has it on interface {link} on the host"),
                ],
            ),
        ] {
            let said = c.check_against(&result);
            assert_broken(&said, &words.iter().map(String::as_str).collect::<Vec<_>>());
        }

        let mut chained = c.result.clone();
        let interfaces = chained["interfaces"].as_array_mut().expect("a list");
        interfaces.push(json!({"name": "ifb0", "sandbox": ""}));
        let ips = chained["ips"].as_array_mut().expect("a list");
        ips.push(json!({"address": "203.0.113.9/32", "interface": 2}));
        let said = c.check_against(&chained);
        assert_eq!((said.exit, said.stdout.as_str()), (0, ""), "what is not ours");
        // What comes before ours moves the indexes.
        let mut before = c.result.clone();
        before["interfaces"].as_array_mut().expect("a list").insert(0, json!({"name": "lo", "sandbox": netns}));
        for ip in before["ips"].as_array_mut().expect("a list") {
            ip["interface"] = json!(2);
        }
        assert_eq!(c.check_against(&before).exit, 0);
        c.is_sound();
    });
}
