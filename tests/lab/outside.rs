//! What reaches out of a lab: `host` and `mgmt-net` links, nodes in the network of whoever deploys or of another node.
//! Each test deploys from a network namespace of its own, which stands for the machine's.

use serde_json::Value;

use super::support::{Process, in_fresh_netns, run, wait_for};
use super::{NothingLeft, Place, inits, runs};

/// The interfaces around us, but for loopback and what a kernel puts into every namespace.
fn interfaces() -> Vec<String> {
    let links: Vec<Value> = serde_json::from_str(&run("ip", &["-j", "link"])).expect("ip's JSON");
    let names = links.iter().filter_map(|link| link["ifname"].as_str());
    let mut names: Vec<String> = names.filter(|name| *name != "lo" && !name.ends_with('0')).map(String::from).collect();
    names.sort();
    names
}

fn pings(address: &str) -> bool {
    let status = std::process::Command::new("ping").args(["-c1", "-W1", address]).output().expect("ping").status;
    status.success()
}

fn file(place: &Place, name: &str, text: &str) -> String {
    let text = format!("name: {name}\n{text}");
    place.file(&format!("{name}.clab.yml"), &text).to_str().expect("a path").to_string()
}

const HOST_LINK: &str = "\
topology:
  defaults: {kind: linux, network-mode: none}
  nodes:
    a: {exec: [ip address add 10.9.2.2/24 dev eth1]}
  links:
    - {type: host, endpoint: {node: a, interface: eth1, mac: '02:00:00:00:00:09'}, host-interface: to-a, mtu: 1400}
";

#[test]
fn a_host_link_joins_a_node_with_whoever_deploys_and_goes_with_the_lab() {
    in_fresh_netns(|| {
        let place = Place::default();
        let file = file(&place, "hostlink", HOST_LINK);
        place.lab("deploy", &["-t", &file]).good();
        run("ip", &["address", "add", "10.9.2.1/24", "dev", "to-a"]);
        assert!(pings("10.9.2.2"));
        assert!(!pings("10.9.2.3"), "nobody");
        let link = run("ip", &["-j", "link", "show", "dev", "to-a"]);
        assert!(link.contains("\"mtu\":1400") && link.contains("\"ifalias\":\"routenet-lab hostlink\""), "{link}");
        let neighbour = run("ip", &["neighbour", "show", "10.9.2.2"]);
        assert!(neighbour.contains("02:00:00:00:00:09"), "{neighbour}");
        place.lab("destroy", &["-t", &file]).good();
        assert_eq!(interfaces(), Vec::<String>::new());
        place.assert_nothing_left("hostlink");
    });
}

#[test]
fn what_a_lab_had_outside_is_removed_also_when_its_nodes_died() {
    in_fresh_netns(|| {
        let place = Place::default();
        let text = HOST_LINK.replace("type: host", "type: mgmt-net");
        let file = file(&place, "died", &text);
        place.lab("deploy", &["-t", &file]).good();
        assert_eq!(interfaces(), ["br-clab", "to-a"]);
        for pid in inits("died") {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("ours");
        }
        place.lab("destroy", &["-t", &file]).good();
        assert_eq!(interfaces(), Vec::<String>::new());
        place.assert_nothing_left("died");
    });
}

#[test]
fn a_failed_deployment_leaves_nothing_outside() {
    in_fresh_netns(|| {
        let place = Place::default();
        let text = HOST_LINK.replace("type: host", "type: mgmt-net").replace("{exec: [", "{exec: ['false', ");
        let file = file(&place, "failing", &text);
        assert_eq!(place.lab("deploy", &["-t", &file]).code, Some(1));
        assert_eq!(interfaces(), Vec::<String>::new());
        place.assert_nothing_left("failing");
    });
}

#[test]
fn what_a_killed_deployment_left_outside_is_removed_by_destroy() {
    let _end = NothingLeft("killed-outside");
    in_fresh_netns(|| {
        let place = Place::default();
        let text = HOST_LINK.replace("type: host", "type: mgmt-net").replace("{exec: [", "{exec: [sleep 1000, ");
        let file = file(&place, "killed-outside", &text);
        let mut runner = place.command("deploy", &["-t", &file]);
        let runner = Process(runner.stderr(std::process::Stdio::null()).spawn().expect("routectl"));
        let limit = std::time::Duration::from_secs(10);
        wait_for("a command in the node", limit, || runs("killed-outside", "sleep"));
        assert_eq!(interfaces(), ["br-clab", "to-a"]);
        drop(runner);
        wait_for("the end of the node", limit, || inits("killed-outside").is_empty());
        place.lab("destroy", &["-t", &file]).good();
        assert_eq!(interfaces(), Vec::<String>::new());
        place.assert_nothing_left("killed-outside");
    });
}

#[test]
fn a_name_that_is_taken_is_refused_before_anything_is_made_and_stays() {
    in_fresh_netns(|| {
        let place = Place::default();
        run("ip", &["link", "add", "to-a", "type", "bridge"]);
        let file = file(&place, "taken", HOST_LINK);
        let said = place.lab("deploy", &["-t", &file]);
        let expected = "routectl lab: interface `to-a` of the host is there already; give the link another name, or \
                        remove it: `ip link delete to-a`\n";
        assert_eq!((said.code, said.err.as_str()), (Some(1), expected));
        assert_eq!(interfaces(), ["to-a"]);
        place.assert_nothing_left("taken");
        run("ip", &["link", "delete", "to-a"]);
        // Its own is no obstacle to the lab that replaces it.
        place.lab("deploy", &["-t", &file]).good();
        place.lab("deploy", &["-t", &file, "--reconfigure"]).good();
        assert_eq!(interfaces(), ["to-a"]);
    });
}

#[test]
fn the_management_bridge_joins_nodes_and_host_and_goes_with_its_last_lab() {
    in_fresh_netns(|| {
        let place = Place::default();
        let lab = |name: &str, number: u8| {
            file(
                &place,
                name,
                &format!(
                    "mgmt: {{network: nets, ipv4-subnet: 10.9.3.0/24, ipv6-subnet: 'fd00:93::/64', mtu: 1450}}
topology:
  defaults: {{kind: linux, network-mode: none}}
  nodes:
    a: {{exec: [ip address add 10.9.3.{number}/24 dev eth0, 'ip address add fd00:93::{number}/64 dev eth0 nodad']}}
  links:
    - endpoints: [a:eth0, 'mgmt-net:{name}']
"
                ),
            )
        };
        let (one, two) = (lab("one", 11), lab("two", 12));
        place.lab("deploy", &["-t", &one]).good();
        place.lab("deploy", &["-t", &two]).good();
        assert_eq!(interfaces(), ["br-nets", "one", "two"]);
        assert!(pings("10.9.3.11") && pings("fd00:93::12"), "from the host");
        place.exec("one", "a", &["ping", "-c1", "-W2", "10.9.3.12"]).good();
        place.exec("one", "a", &["ping", "-c1", "-W2", "10.9.3.1"]).good();
        assert_ne!(place.exec("one", "a", &["ping", "-c1", "-W1", "10.9.3.13"]).code, Some(0), "nobody");
        let bridge = run("ip", &["-j", "link", "show", "dev", "br-nets"]);
        assert!(bridge.contains("\"mtu\":1450"), "{bridge}");
        place.lab("destroy", &["-t", &one]).good();
        assert_eq!(interfaces(), ["br-nets", "two"], "the other lab's");
        assert!(pings("10.9.3.12"));
        place.lab("destroy", &["-t", &two]).good();
        assert_eq!(interfaces(), Vec::<String>::new());
    });
}

#[test]
fn a_bridge_that_somebody_else_made_is_used_and_left() {
    in_fresh_netns(|| {
        let place = Place::default();
        run("ip", &["link", "add", "mine", "type", "bridge"]);
        let text = format!("mgmt: {{bridge: mine}}\n{}", HOST_LINK.replace("type: host", "type: mgmt-net"));
        let file = file(&place, "guest", &text);
        place.lab("deploy", &["-t", &file]).good();
        let ports = run("ip", &["-br", "link", "show", "master", "mine"]);
        assert!(ports.starts_with("to-a@"), "{ports}");
        place.lab("destroy", &["-t", &file]).good();
        assert_eq!(interfaces(), ["mine"]);
        run("ip", &["link", "delete", "mine"]);
        run("ip", &["link", "add", "mine", "type", "veth", "peer", "name", "other"]);
        let said = place.lab("deploy", &["-t", &file]);
        assert_eq!(said.code, Some(1));
        assert!(said.err.contains("`mine` is there and is no bridge; write `mgmt: {bridge: NAME}`"), "{}", said.err);
    });
}

#[test]
fn a_node_may_have_the_network_of_whoever_deploys_or_of_another_node() {
    in_fresh_netns(|| {
        let place = Place::default();
        let file = file(
            &place,
            "shared",
            "\
topology:
  defaults: {kind: linux}
  nodes:
    inner: {network-mode: 'container:clab-shared-owner', exec: [ip address add 10.9.4.1/24 dev eth1]}
    owner: {network-mode: none, startup-delay: 1}
    other: {network-mode: none, exec: [ip address add 10.9.4.2/24 dev eth1]}
    outer: {network-mode: host, cmd: sleep 1000}
  links:
    - endpoints: [owner:eth1, other:eth1]
",
        );
        run("ip", &["link", "set", "lo", "down"]);
        place.lab("deploy", &["-t", &file]).good();
        let namespace = |node: &str| place.exec("shared", node, &["readlink", "/proc/self/ns/net"]).good().out;
        assert_eq!(namespace("inner"), namespace("owner"));
        assert_ne!(namespace("inner"), namespace("other"));
        let ours = std::fs::read_link("/proc/thread-self/ns/net").expect("our namespace");
        assert_eq!(namespace("outer").trim_end(), ours.to_str().expect("text"));
        place.exec("shared", "inner", &["ping", "-c1", "-W2", "10.9.4.2"]).good();
        assert_ne!(place.exec("shared", "outer", &["ping", "-c1", "-W1", "10.9.4.2"]).code, Some(0), "not its network");
        // What is not shared is not: each has processes and files of its own.
        assert_eq!(place.exec("shared", "inner", &["hostname"]).good().out, "inner\n");
        let lo = run("ip", &["-br", "link", "show", "dev", "lo"]);
        assert!(lo.contains("DOWN"), "the deployer's loopback is not ours to raise: {lo}");
        place.lab("destroy", &["-t", &file]).good();
        assert_eq!(interfaces(), Vec::<String>::new());
        place.assert_nothing_left("shared");
    });
}

#[test]
fn a_dummy_is_made_or_refused_with_what_to_do() {
    in_fresh_netns(|| {
        let place = Place::default();
        let text = HOST_LINK.replace("type: host", "type: dummy").replace(", host-interface: to-a", "");
        let file = file(&place, "dummy", &text);
        let kernel = std::process::Command::new("ip").args(["link", "add", "probe", "type", "dummy"]).output();
        let can = kernel.expect("ip").status.success();
        let said = place.lab("deploy", &["-t", &file]);
        if can {
            run("ip", &["link", "delete", "probe"]);
            said.good();
            place.exec("dummy", "a", &["ping", "-c1", "-W1", "10.9.2.2"]).good();
        } else {
            assert_eq!(said.code, Some(1));
            assert!(said.err.contains("link a:eth1 -- dummy: this kernel has no dummies ("), "{}", said.err);
            assert!(said.err.contains("interfaces of the node: `endpoints: [\"a:eth1\", \"a:peer\"]`"), "{}", said.err);
            place.assert_nothing_left("dummy");
        }
    });
}
