//! Who waits for whom: delays, stages, health checks, and that the first failure ends all of it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::support::{Process, wait_for};
use super::{Place, inits};

const LIMIT: Duration = Duration::from_secs(20);

/// What the nodes wrote, in order, into the file that they share.
fn written(place: &Place, lab: &str, node: &str) -> Vec<String> {
    let said = place.exec(lab, node, &["cat", "/shared/log"]).good().out;
    said.lines().map(String::from).collect()
}

/// A lab whose nodes share `/shared`; `note X` in a definition stands for a command that appends X to its log.
fn lab(place: &Place, name: &str, nodes: &str, links: &str) -> String {
    let text = format!(
        "name: {name}\ntopology:\n  defaults: {{kind: linux, network-mode: none, binds: ['__clabDir__:/shared']}}\n  \
         nodes:\n{nodes}{links}"
    );
    let text = text.replace("note ", "sh -c 'echo $$0 >>/shared/log' ");
    place.file("lab.clab.yml", &text).to_str().expect("a path").to_string()
}

#[test]
fn nodes_go_through_their_stages_in_the_order_that_is_asked_for() {
    let place = Place::default();
    let nodes = "    client:
      exec: [note client-configures, ping -c1 -W5 10.9.1.1]
      stages:
        create: {wait-for: [{node: router, stage: configure}]}
        create-links:
          exec:
            - command: sh -c 'test ! -e /sys/class/net/eth1'
            - command: sh -c 'test -e /sys/class/net/eth1'
              phase: on-exit
            - command: ip address add 10.9.1.2/24 dev eth1
              phase: on-exit
    router:
      exec: [ip address add 10.9.1.1/24 dev eth1, note router-configures]
      stages:
        create: {exec: [{command: note router-created, phase: on-exit}]}
        configure:
          wait-for: [{node: keys, stage: exit}]
          exec: [{command: note router-enters}, {command: note router-leaves, phase: on-exit}]
    keys:
      cmd: sh -c 'sleep 0.3; echo keys-made >>/shared/log'
";
    let links = "  links:\n    - endpoints: [client:eth1, router:eth1]\n";
    let file = lab(&place, "stages", nodes, links);
    let said = place.lab("deploy", &["-t", &file]).good();
    assert_eq!(
        written(&place, "stages", "client"),
        ["router-created", "keys-made", "router-enters", "router-configures", "router-leaves", "client-configures"]
    );
    assert!(said.err.contains("lab stages: client: create waits for router: configure\n"), "{}", said.err);
    // The veth was made before its second node was there: it carries packets, and no others.
    place.exec("stages", "router", &["ping", "-c1", "-W2", "10.9.1.2"]).good();
    assert_ne!(place.exec("stages", "router", &["ping", "-c1", "-W1", "10.9.1.3"]).code, Some(0));
    assert_eq!(place.exec("stages", "router", &["ls", "/sys/class/net"]).good().out, "eth1\nlo\n");
    place.lab("destroy", &["-t", &file]).good();
    place.assert_nothing_left("stages");
}

#[test]
fn a_delayed_node_comes_later_and_nobody_waits_for_it() {
    let place = Place::default();
    let nodes = "    late: {startup-delay: 2, exec: [note late]}\n    prompt: {exec: [note prompt]}\n";
    let links = "  links:\n    - endpoints: [late:eth1, prompt:eth1]\n";
    let file = lab(&place, "delayed", nodes, links);
    let began = Instant::now();
    let mut deploy = place.command("deploy", &["-t", &file]);
    let mut deploy = Process(deploy.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("routectl"));
    let log = place.path().join("state/delayed/shared/log");
    wait_for("the prompt node", LIMIT, || std::fs::read_to_string(&log).is_ok_and(|text| text == "prompt\n"));
    assert!(began.elapsed() < Duration::from_secs(2), "it waited for the late one");
    assert_eq!(inits("delayed").len(), 1);
    assert!(deploy.0.wait().expect("its end").success());
    assert!(began.elapsed() >= Duration::from_secs(2), "the late one was not late");
    assert_eq!(written(&place, "delayed", "late"), ["prompt", "late"]);
    let up = place.exec("delayed", "prompt", &["cat", "/sys/class/net/eth1/operstate"]).good().out;
    assert_eq!(up, "up\n");
}

#[test]
fn who_waits_for_health_comes_when_the_check_succeeds() {
    let place = Place::default();
    let nodes = "    server:
      cmd: sh -c 'sleep 0.5; echo ready >>/shared/log; touch /ready; sleep 1000'
      healthcheck: {test: [CMD, test, -e, /ready], interval: 1, retries: 20}
      stages: {healthy: {exec: [{command: note healthy}]}}
    client:
      exec: [note client]
      stages: {create: {wait-for: [{node: server, stage: healthy}]}}
";
    let file = lab(&place, "health", nodes, "");
    place.lab("deploy", &["-t", &file]).good();
    assert_eq!(written(&place, "health", "client"), ["ready", "healthy", "client"]);
}

#[test]
fn who_never_becomes_healthy_ends_the_deployment() {
    let place = Place::default();
    let nodes = "    server:
      healthcheck: {test: [CMD-SHELL, 'echo no such page; exit 3'], interval: 1, retries: 2}
    client:
      stages: {create: {wait-for: [{node: server, stage: healthy}]}}
    other:
      exec: [sleep 1000]
";
    let file = lab(&place, "unhealthy", nodes, "");
    let said = place.lab("deploy", &["-t", &file]);
    assert_eq!(said.code, Some(1));
    let expected = "routectl lab: node `server`: is unhealthy: its health check failed 2 times: `sh -c echo no such page; \
                    exit 3`: exit status: 3: no such page\n";
    assert!(said.err.ends_with(expected), "{}", said.err);
    place.assert_nothing_left("unhealthy");

    let slow = nodes.replace(
        "[CMD-SHELL, 'echo no such page; exit 3'], interval: 1",
        "[CMD, sleep, '1000'], timeout: 1, interval: 1",
    );
    let file = lab(&place, "unhealthy", &slow.replace("retries: 2", "retries: 1"), "");
    let said = place.lab("deploy", &["-t", &file]);
    assert!(said.err.ends_with("its health check failed once: `sleep 1000`: took longer than 1 s\n"), "{}", said.err);
    place.assert_nothing_left("unhealthy");
}

#[test]
fn a_failure_in_one_node_ends_who_waits_and_who_works() {
    let place = Place::default();
    let nodes = "    broken:
      exec: ['false']
    waits:
      stages: {create: {wait-for: [{node: broken, stage: configure}]}}
    works:
      exec: [sleep 1000]
    sleeps:
      startup-delay: 1000
";
    let file = lab(&place, "broken", nodes, "");
    let said = place.lab("deploy", &["-t", &file]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.ends_with("routectl lab: node `broken`: `false`: exit status: 1: \n"), "{}", said.err);
    place.assert_nothing_left("broken");
}

#[test]
fn a_circle_is_refused_before_anything_is_made() {
    let place = Place::default();
    let nodes = "    a:
      stages: {create: {wait-for: [{node: b, stage: create}]}}
    b:
      stages: {create: {wait-for: [{node: a, stage: create}]}}
";
    let file = lab(&place, "circle", nodes, "");
    let said = place.lab("deploy", &["-t", &file]);
    assert_eq!(said.code, Some(2));
    let expected = ":6: topology.nodes.a: stages.create: the nodes wait in a circle: a: create waits for b: create; b: \
                    create waits for a: create\n";
    assert!(said.err.ends_with(expected), "{}", said.err);
    place.assert_nothing_left("circle");
}
