//! `routectl status`: is it well, and if not, why and since when.

use clap::{Args, ValueEnum};

use super::output::{Format, Style, as_word, counted, duration, joined, or_dash, table};
use super::{Answer, CliError, REFUSED};
use crate::api::Request;
use crate::api::client::Client;
use crate::api::status::{
    ClusterStatus, MeshStatus, NodeLine, NodeProblem, OwnStatus, PeerStatus, PlaneLine, StoreState, WayLine,
};

/// Whether the cluster is well, and if not, why and since when
///
/// What is wrong comes first, with what mends it; then the node that answers, with its store, blocks, planes (the parts
/// of the kernel that it looks after) and BGP neighbours; then every node of the cluster. A node that has said nothing
/// for 30 s counts as degraded.
#[derive(Debug, Args)]
#[command(after_long_help = "\
EXAMPLES
  routectl status
  routectl status -o json | jq .problems
  routectl status >/dev/null || echo 'look at the network'

EXIT STATUS
  0  all is well
  1  degraded: something is wrong somewhere in the cluster
  2  it cannot be told: the command line is wrong, or the agent cannot be asked")]
pub struct StatusArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: StatusFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum StatusFormat {
    /// One screen, for people
    #[default]
    Text,
    /// For programs
    Json,
    Yaml,
}

impl StatusArgs {
    pub fn run(self, client: &Client, style: Style) -> Result<Answer, CliError> {
        let status: ClusterStatus = client.call(&Request::Status)?;
        let data = match self.output {
            StatusFormat::Text => None,
            StatusFormat::Json => Format::Json.data(&status),
            StatusFormat::Yaml => Format::Yaml.data(&status),
        };
        let text = data.unwrap_or_else(|| render(&status, style));
        Ok(Answer { text, exit: if status.is_well() { 0 } else { REFUSED } })
    }
}

fn render(status: &ClusterStatus, style: Style) -> String {
    let mut text = verdict(status, style);
    for problem in &status.problems {
        text += &problem_lines(problem, status.at, style);
    }
    text += "\n";
    text += &own_lines(&status.node, style);
    if !status.node.planes.is_empty() {
        let rows = status.node.planes.iter().map(plane_row).collect();
        text += "\n";
        text += &table(&["PLANE", "STATE", "WANTED", "REPAIRS", "LAST REPAIR"], rows, "");
    }
    if !status.node.ways.is_empty() {
        let rows = status.node.ways.iter().map(way_row).collect();
        text += "\n";
        text += &table(&["WAY TO", "NEXT HOP", "POOL", "HOW", "BECAUSE"], rows, "");
    }
    text += "\n";
    let rows = status.node.bgp.iter().map(peer_row).collect();
    let headings = ["BGP NEIGHBOUR", "ADDRESS", "AS", "STATE", "FOR", "IN", "OUT", "LAST ERROR"];
    text += &table(&headings, rows, "no BGP neighbours");
    if !status.nodes.is_empty() {
        let rows = status.nodes.iter().map(|node| node_row(node, &status.node.name)).collect();
        text += "\n";
        text +=
            &table(&["NODE", "STATE", "ADDRESSES", "ENDPOINTS", "BLOCKS", "PEERS UP", "HEARD", "VERSION"], rows, "");
    }
    text
}

/// The first line: well or not, of how many nodes.
fn verdict(status: &ClusterStatus, style: Style) -> String {
    let nodes = counted(status.nodes.len().max(1) as u64, "node");
    if status.is_well() {
        return format!("{}: {nodes}, seen from {}\n", style.good("all is well"), status.node.name);
    }
    let problems = match status.problems.len() {
        0 => "it is not as it should be".to_string(),
        count => counted(count as u64, "problem"),
    };
    format!("{}: {problems} in {nodes}, seen from {}\n", style.bad("degraded"), status.node.name)
}

fn problem_lines(problem: &NodeProblem, now: u64, style: Style) -> String {
    let NodeProblem { node, problem } = problem;
    let since = duration(now.saturating_sub(problem.since));
    let mut text = format!("  {} {node} {}: {} (for {since})\n", style.bad("!"), problem.part, problem.what);
    if let Some(mend) = &problem.mend {
        text += &format!("    {mend}\n");
    }
    text
}

fn own_lines(node: &OwnStatus, style: Style) -> String {
    let addresses = joined(&node.addresses);
    let mut text = format!("{}\n", style.strong(&node.name));
    let mut line = |name: &str, value: String| text += &format!("  {name:<10} {value}\n");
    let speaker = format!("AS {}, router id {}", node.as_number, node.router_id);
    if node.addresses.is_empty() {
        line("speaker", speaker);
    } else {
        line("address", format!("{addresses}, {speaker}"));
    }
    line("agent", format!("{}, up for {}", node.version, duration(node.uptime_secs)));
    if node.data_plane == "off" {
        line("kernel", "not touched (dataPlane: off)".to_string());
    }
    if node.drained {
        line("drained", "it announces nothing; `routectl node undrain` takes it back".to_string());
    }
    let store = match node.store.state {
        StoreState::InSync => "in sync",
        StoreState::Reading => "reading",
        StoreState::Away => "out of reach; what was read last holds",
    };
    let mut store = format!("{}, {store}, for {}", node.store.description, duration(node.store.since_secs));
    if let Some(error) = &node.store.error {
        store += &format!(": {error}");
    }
    line("store", store);
    if node.data_plane != "off" {
        line("endpoints", node.endpoints.to_string());
    }
    if let Some(mesh) = &node.mesh {
        line("mesh", mesh_words(mesh));
    }
    for (index, block) in node.blocks.iter().enumerate() {
        let resting = if block.resting == 0 { String::new() } else { format!(", {} resting", block.resting) };
        let fill = format!("{} of {} used{resting}", block.allocated, block.size);
        line(if index == 0 { "blocks" } else { "" }, format!("{} ({fill}) of {}", block.cidr, block.pool));
    }
    if node.blocks.is_empty() && node.data_plane != "off" {
        line("blocks", "none yet: the first workload claims one".to_string());
    }
    text
}

/// What the node is in the mesh, why, and what is under way.
pub(super) fn mesh_words(mesh: &MeshStatus) -> String {
    let mut words = format!("{} ({})", mesh.role, mesh.why);
    if mesh.strangers > 0 {
        let nodes = counted(mesh.strangers, "node");
        words += &format!("; {nodes} of another AS or family have sessions whatever the plan: reflection is iBGP's");
    }
    if !mesh.leaving.is_empty() {
        let sessions = counted(mesh.leaving.len() as u64, "session");
        words += &format!("; {sessions} of the plan before stand until every node has this one");
    }
    if let Some(waiting) = &mesh.waiting {
        words += &format!(": {waiting}");
    }
    words
}

fn plane_row(plane: &PlaneLine) -> Vec<String> {
    let state = match &plane.failure {
        Some(failure) => format!("failing for {}: {}", duration(failure.secs_ago), failure.what),
        None if plane.in_sync => "in sync".to_string(),
        None => "catching up".to_string(),
    };
    let repair = plane.last_repair.as_ref().map(|event| format!("{} ago: {}", duration(event.secs_ago), event.what));
    vec![plane.name.clone(), state, plane.wanted.to_string(), plane.repairs.to_string(), or_dash(repair)]
}

fn way_row(way: &WayLine) -> Vec<String> {
    let how = way.tunnel.as_ref().map_or("as it is".to_string(), |kind| format!("{kind} tunnel"));
    vec![or_dash(way.node.as_ref()), way.next_hop.clone(), way.pool.clone(), how, way.why.clone()]
}

fn peer_row(peer: &PeerStatus) -> Vec<String> {
    vec![
        peer.name.clone(),
        peer.address.clone(),
        as_word(peer.as_number),
        peer.state.clone(),
        duration(peer.since_secs),
        peer.received.to_string(),
        peer.advertised.to_string(),
        or_dash(peer.last_error.as_ref()),
    ]
}

fn node_row(node: &NodeLine, own: &str) -> Vec<String> {
    let heard = match node.heard_secs_ago {
        _ if node.name == own => "answers".to_string(),
        Some(seconds) => format!("{} ago", duration(seconds)),
        None => "never".to_string(),
    };
    let version = Some(&node.version).filter(|version| !version.is_empty());
    vec![
        node.name.clone(),
        if node.degraded { "degraded" } else { "well" }.to_string(),
        joined(&node.addresses),
        node.endpoints.to_string(),
        joined(&node.blocks),
        format!("{} of {}", node.peers_established, node.peers_configured),
        heard,
        or_dash(version),
    ]
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
