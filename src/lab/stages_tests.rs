use std::path::Path;

use super::*;
use crate::lab::Topology;

/// The nodes of a lab in which `a`, `b` and `c` are hosts with these definitions.
fn parse(definitions: [&str; 3]) -> Result<Vec<Node>, String> {
    let [a, b, c] = definitions;
    let text = format!("name: x\ntopology:\n  defaults: {{kind: linux}}\n  nodes:\n    a:\n{a}    b:\n{b}    c:\n{c}");
    Topology::parse(Path::new("/x.clab.yml"), &text).map(|topology| topology.nodes).map_err(|error| error.to_string())
}

const NOTHING: &str = "      image: x\n";

fn waits(stage: &str, node: &str, its: &str) -> String {
    format!(
        "      stages:\n        {stage}:\n          wait-for:\n            - node: {node}\n              stage: {its}\n"
    )
}

#[test]
fn waits_and_commands_of_stages_add_up_with_what_is_inherited() {
    let text = "\
name: x
topology:
  defaults:
    kind: linux
    stages:
      configure:
        wait-for: [{node: a, stage: create}]
        exec: [{command: echo defaults, phase: on-exit}]
  nodes:
    a: {}
    b:
      stages:
        configure:
          wait-for: [{node: a, stage: configure}, {node: a, stage: create}]
          exec:
            - command: echo own
              target: container
        create-links:
          exec: {on-enter: [echo old], on-exit: ['echo old too']}
";
    let topology = Topology::parse(Path::new("/x.clab.yml"), text).expect("a topology");
    let plan = topology.nodes[1].stage(Stage::Configure);
    assert_eq!(plan.waits.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a: create", "a: configure"]);
    assert_eq!(plan.on_enter[0].words, ["echo", "own"]);
    assert_eq!(plan.on_exit[0].words, ["echo", "defaults"]);
    let links = topology.nodes[1].stage(Stage::CreateLinks);
    assert_eq!((links.on_enter[0].text.as_str(), links.on_exit[0].text.as_str()), ("echo old", "echo old too"));
    assert!(topology.nodes[1].stage(Stage::Create).is_empty());
}

#[test]
fn early_are_those_that_wait_for_nobody_before_their_links_are_there() {
    let names = |nodes: &[Node]| early(nodes).into_iter().map(String::from).collect::<Vec<_>>();
    let nodes = parse([NOTHING, &waits("configure", "a", "configure"), &waits("create", "a", "create")]).unwrap();
    assert_eq!(names(&nodes), ["a", "b"], "who waits later still comes early");
    let nodes =
        parse(["      network-mode: container:b\n", "      network-mode: container:c\n", "      startup-delay: 1\n"])
            .unwrap();
    assert_eq!(names(&nodes), Vec::<String>::new(), "who shares the network of a late one is late");
}

#[test]
fn what_looks_like_a_circle_and_is_none_is_taken() {
    parse([&waits("configure", "b", "create-links"), &waits("configure", "a", "create-links"), NOTHING]).unwrap();
    // A health check runs from when the main process does, whatever the node still waits for.
    let checked = format!("      healthcheck: {{test: [CMD, 'true']}}\n{}", waits("configure", "b", "configure"));
    parse([&checked, &waits("create", "a", "healthy"), NOTHING]).unwrap();
}

#[test]
fn what_can_never_come_is_refused_by_name_and_line() {
    let long = |stage: &str, exec: &str| format!("      stages:\n        {stage}:\n          exec: {exec}\n");
    let check = "      healthcheck: {test: [CMD, 'true']}\n";
    let cases: Vec<([String; 3], &str)> = vec![
        (
            [
                waits("create", "b", "create"),
                waits("create", "c", "create-links"),
                waits("create-links", "a", "create"),
            ],
            "9: topology.nodes.a: stages.create: the nodes wait in a circle: a: create waits for b: create; b: create \
             waits for c: create-links; c: create-links waits for a: create",
        ),
        (
            [waits("configure", "a", "configure"), NOTHING.into(), NOTHING.into()],
            "9: topology.nodes.a: stages.configure: the nodes wait in a circle: a: configure waits for a: configure",
        ),
        (
            ["      network-mode: container:b\n".into(), waits("create", "a", "create"), NOTHING.into()],
            "6: topology.nodes.a: stages.create: the nodes wait in a circle: a: create waits for b: create, whose \
             network it shares; b: create waits for a: create",
        ),
        (
            [waits("create", "d", "create"), NOTHING.into(), NOTHING.into()],
            "9: topology.nodes.a: stages.create: waits for `d`, which is no node of the lab; it has a, b, c",
        ),
        (
            [waits("create", "b", "started"), NOTHING.into(), NOTHING.into()],
            "unknown stage `started`: the stages are `create`, `create-links`, `configure`, `healthy`, `exit`",
        ),
        (
            [waits("created", "b", "create"), NOTHING.into(), NOTHING.into()],
            "7: topology.nodes.a.stages: unknown field `created`, expected one of `create`",
        ),
        (
            [waits("create", "b", "healthy"), NOTHING.into(), NOTHING.into()],
            "9: topology.nodes.a: stages.create: waits for `b: healthy`, which never comes: `b` has no `healthcheck`; \
             give it one, with a `test`",
        ),
        (
            [waits("create", "b", "exit"), NOTHING.into(), NOTHING.into()],
            "9: topology.nodes.a: stages.create: waits for `b: exit`, which never comes: `b` has no `cmd` that could \
             end; give it one, or wait for `configure`",
        ),
        (
            [long("create", "[{command: ls /}]"), NOTHING.into(), NOTHING.into()],
            "8: topology.nodes.a: stages.create: nothing can run before the node is there; write `phase: on-exit`",
        ),
        (
            [long("healthy", "[{command: ls /}]"), NOTHING.into(), NOTHING.into()],
            "7: topology.nodes.a: stages.healthy: `a` has no `healthcheck`",
        ),
        (
            [long("exit", "[{command: ls /}]"), NOTHING.into(), NOTHING.into()],
            "7: topology.nodes.a: stages.exit: nobody is there for it once the lab runs; append the command to `cmd`",
        ),
        (
            [long("configure", "[{command: touch /x, target: host}]"), NOTHING.into(), NOTHING.into()],
            "`target: host` of `touch /x`: `routectl lab` runs nothing outside of the nodes; run it beside",
        ),
        (
            [long("configure", "[{command: ls, target: node}]"), NOTHING.into(), NOTHING.into()],
            "unknown target `node`: expected `container`",
        ),
        (
            [long("configure", "[{command: ls, phase: after}]"), NOTHING.into(), NOTHING.into()],
            "unknown phase `after`: the phases are `on-enter` and `on-exit`",
        ),
        (
            [check.replace("CMD, 'true'", "'true'"), NOTHING.into(), NOTHING.into()],
            "topology.nodes.a: healthcheck.test: expected `[CMD, PROGRAM, ARGUMENT, ...]` or",
        ),
        (
            [check.replace("]}", "], interval: 0}"), NOTHING.into(), NOTHING.into()],
            "topology.nodes.a: healthcheck: `interval`, `timeout` (seconds) and `retries` must be at least 1",
        ),
    ];
    for ([a, b, c], expected) in cases {
        let said = parse([&a, &b, &c]).expect_err(expected);
        assert!(said.contains(expected), "\n  said     {said}\n  expected {expected}");
    }
}
