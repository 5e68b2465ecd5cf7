//! The mesh that lays itself out, with real agents: who has sessions with whom, that packets pass all the while, and that the
//! loss of a reflector costs none.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{Agent, CLUSTER, Site, attach};
use crate::support::hosts::segment;
use crate::support::ping::ContinuousPing;
use crate::support::{in_fresh_netns, wait_for};

const NODES: usize = 6;
const PATIENCE: Duration = Duration::from_secs(90);

fn settings(spec: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: BGPConfiguration\nmetadata: {{name: default}}\nspec: {spec}\n")
}

/// What the agent says of each node's part.
fn roles(agent: &Agent) -> BTreeMap<String, String> {
    let mesh = agent.routectl(&["bgp", "mesh", "-o", "json"]).json();
    let nodes = mesh["nodes"].as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_string();
    nodes.iter().map(|node| (word(&node["name"]), word(&node["role"]))).collect()
}

/// The neighbours with which it has an established session, and how many it is to have.
fn sessions(agent: &Agent) -> (Vec<String>, usize) {
    let status = agent.routectl(&["status", "-o", "json"]).json();
    let peers = status["node"]["bgp"].as_array().cloned().unwrap_or_default();
    let up = peers.iter().filter(|peer| peer["state"] == "Established");
    let mut names: Vec<String> = up.filter_map(|peer| Some(peer["name"].as_str()?.to_string())).collect();
    names.sort();
    names.dedup();
    (names, peers.len())
}

/// Whether all of them follow a plan of which nothing is under way.
fn at_rest(agents: &[Agent]) -> bool {
    agents.iter().all(|agent| {
        let status = agent.routectl(&["status", "-o", "json"]).json();
        let mesh = &status["node"]["mesh"];
        mesh["in_place"] == true && mesh["leaving"].as_array().is_some_and(Vec::is_empty)
    })
}

fn said(agents: &[Agent]) -> String {
    agents.iter().map(|agent| agent.routectl(&["bgp", "mesh"]).stdout + &agent.last_words() + "\n").collect()
}

#[test]
fn six_agents_lay_their_mesh_out_and_no_packet_is_lost_while_it_changes() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(NODES);
        let mut agents: Vec<Agent> =
            (0..NODES).map(|index| Agent::start(&site, &hosts[index], index + 1, "")).collect();
        agents[0].apply(CLUSTER);
        let workloads: Vec<_> = agents
            .iter()
            .enumerate()
            .map(|(index, agent)| attach(agent, &format!("w{}", index + 1), "blue", json!({})))
            .collect();
        let full = |agents: &[Agent]| agents.iter().all(|agent| sessions(agent).0.len() == NODES - 1);
        wait_for("a full mesh", PATIENCE, || full(&agents));
        let all_reach_all = || {
            for from in &workloads {
                workloads.iter().filter(|to| to.ipv4 != from.ipv4).for_each(|to| from.reaches(&to.ipv4));
            }
        };
        all_reach_all();

        let ping = |from: usize, to: usize| {
            ContinuousPing::start(workloads[from].namespace.command("ping"), &workloads[to].ipv4)
        };
        let nothing_lost = |pings: Vec<ContinuousPing>, while_: &str| {
            for ping in pings {
                let (sent, received) = ping.stop();
                assert!(sent > 0 && sent - received <= 1, "{while_}: {received} of {sent}");
            }
        };
        let every_two = || (0..NODES).flat_map(|from| (from + 1..NODES).map(move |to| (from, to)));

        let pings = every_two().map(|(from, to)| ping(from, to)).collect();
        agents[0].apply(&settings("{mesh: auto, meshLimit: 3}"));
        let planned = |agents: &[Agent]| {
            let roles = roles(&agents[0]);
            let clients: Vec<&String> =
                roles.iter().filter(|(_, role)| *role == "client").map(|(name, _)| name).collect();
            clients.len() == 2
                && agents.iter().enumerate().all(|(index, agent)| {
                    let own = format!("h{}", index + 1);
                    let (up, _) = sessions(agent);
                    match clients.contains(&&own) {
                        true => up.len() == 2 && up.iter().all(|other| !clients.contains(&other)),
                        false => {
                            roles.iter().all(|(other, role)| *other == own || role != "reflector" || up.contains(other))
                        }
                    }
                })
        };
        wait_for("sessions as they are planned", PATIENCE, || at_rest(&agents) && planned(&agents));
        nothing_lost(pings, "from a full mesh to reflectors");
        all_reach_all();

        // A reflector of a client's: what passes between the others goes on.
        let roles = roles(&agents[0]);
        let lost =
            (1..NODES).rev().find(|index| roles[&format!("h{}", index + 1)] == "reflector").expect("a reflector");
        let others = || every_two().filter(|(from, to)| *from != lost && *to != lost);
        let pings = others().map(|(from, to)| ping(from, to)).collect();
        agents[lost].kill();
        let name = format!("h{}", lost + 1);
        wait_for("its neighbours to see it go", PATIENCE, || !sessions(&agents[0]).0.contains(&name));
        nothing_lost(pings, "a reflector is killed");
        agents[lost].launch(&hosts[lost]);
        wait_for("it to be back", PATIENCE, || at_rest(&agents) && planned(&agents));

        let pings = every_two().map(|(from, to)| ping(from, to)).collect();
        agents[0].apply(&settings("{mesh: auto, meshLimit: 6}"));
        wait_for("a full mesh again", PATIENCE, || at_rest(&agents) && full(&agents));
        nothing_lost(pings, "from reflectors to a full mesh");
        all_reach_all();
        assert!(agents[0].routectl(&["status"]).stdout.contains("full, with 5 other nodes"), "{}", said(&agents));
    });
}
