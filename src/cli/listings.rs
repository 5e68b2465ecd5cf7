//! `routectl endpoints`, `bgp neighbors` and `bgp routes`, and the tables of `ipam show`.

use clap::{Args, Subcommand};

use super::filter::FilterCommand;
use super::output::{Format, Style, as_word, duration, joined, or_dash, table, yes_no};
use super::{Answer, CliError};
use crate::api::Request;
use crate::api::client::Client;
use crate::api::listing::{
    BfdLine, DumpReply, EndpointLine, IpamBlockLine, IpamPoolLine, IpamReply, MeshLine, MeshReply, NeighborLine,
    RouteLine,
};

/// How to print
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
}

/// The workloads of the cluster: where they are, and whether they are ready
#[derive(Debug, Args)]
#[command(after_long_help = "\
STATES
  ready    its sets, chains, link and routes are in the kernel
  waiting  not yet; it is closed until they are
  failed   something keeps it out: -o wide says what
  remote   it is on another node, which answers for it

EXAMPLES
  routectl endpoints --node host-a
  routectl endpoints -n shop -o wide")]
pub struct EndpointsArgs {
    /// Only those of this namespace
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// Only those of this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

impl EndpointsArgs {
    pub fn run(self, client: &Client) -> Result<Answer, CliError> {
        let mut lines: Vec<EndpointLine> = client.call(&Request::Endpoints)?;
        lines.retain(|line| self.namespace.as_ref().is_none_or(|namespace| *namespace == line.namespace));
        lines.retain(|line| self.node.as_ref().is_none_or(|node| *node == line.node));
        let format = self.output.output;
        Ok(Answer::good(format.data(&lines).unwrap_or_else(|| endpoint_table(&lines, format.is_wide()))))
    }
}

fn endpoint_table(lines: &[EndpointLine], wide: bool) -> String {
    let mut headings = vec!["NAMESPACE", "NAME", "NETWORK", "NODE", "ADDRESSES", "STATE"];
    if wide {
        headings.extend(["LABELS", "PORTS", "INTERFACE", "CONTAINER", "ERROR"]);
    }
    let row = |line: &EndpointLine| {
        let mut row = vec![
            line.namespace.clone(),
            line.name.clone(),
            line.network.clone(),
            line.node.clone(),
            joined(&line.addresses),
            line.state.clone(),
        ];
        if wide {
            row.extend([
                joined(&line.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()),
                joined(&line.ports),
                format!("{} -> {}", line.host_interface, line.ifname),
                line.container_id.clone(),
                or_dash(line.error.as_ref()),
            ]);
        }
        row
    };
    table(&headings, lines.iter().map(row).collect(), "no endpoints")
}

pub(super) fn ipam_tables(reply: &IpamReply, wide: bool) -> String {
    let mut pool_headings = vec!["POOL", "CIDR", "BLOCKS", "NETWORKS"];
    let mut block_headings = vec!["BLOCK", "POOL", "NODE", "USED", "RESTING"];
    if wide {
        pool_headings.extend(["BLOCK SIZE", "DISABLED"]);
        block_headings.push("EPOCH");
    }
    let pool = |line: &IpamPoolLine| {
        let mut row = vec![
            line.name.clone(),
            line.cidr.to_string(),
            format!("{} of {}", line.blocks_claimed, line.blocks_total),
            joined(&line.networks),
        ];
        if wide {
            row.extend([format!("/{}", line.block_size), yes_no(line.disabled)]);
        }
        row
    };
    let block = |line: &IpamBlockLine| {
        let mut row = vec![
            line.cidr.to_string(),
            line.pool.clone(),
            line.node.clone(),
            format!("{} of {}", line.allocated, line.size),
            or_dash(line.resting),
        ];
        if wide {
            row.push(line.epoch.to_string());
        }
        row
    };
    let pools = table(
        &pool_headings,
        reply.pools.iter().map(pool).collect(),
        "no pools: apply an IPPool and a Network that draws from it",
    );
    let blocks = table(&block_headings, reply.blocks.iter().map(block).collect(), "no blocks are claimed");
    format!("{pools}\n{blocks}")
}

#[derive(Debug, Subcommand)]
pub enum BgpCommand {
    /// The neighbours of the node that answers, and how its sessions with them are
    Neighbors(OutputArgs),
    /// The routes that the node that answers has: its own, learned ones, and those it refused
    ///
    /// FLAGS are `>` for the best paths (they are in the kernel), `s` for stale ones (kept while the neighbour
    /// restarts), `x` for refused ones (-o wide says why).
    Routes(OutputArgs),
    /// The mesh of the nodes: what each one is in it, and why
    ///
    /// Beyond the limit of `mesh: auto` (BGPConfiguration) some nodes reflect and the others are clients of two of them.
    Mesh(OutputArgs),
    /// All that is known of one neighbour: counters, last errors both ways, what of its UPDATEs was malformed
    Neighbor(super::bgp::NeighborArgs),
    /// The routes to a prefix or an address, and why the best one is the best and each other one is not
    Route(super::bgp::RouteArgs),
    /// Write the table of all neighbours into an MRT file (RFC 6396) of the node that answers, and say which
    ///
    /// It is in `mrt` below the node's state directory; bgpdump, GoBGP and others read it.
    Dump,
    /// End the session with a neighbour, and begin anew
    Reset(super::bgp::ResetArgs),
    /// Filters: what a route would meet
    #[command(subcommand)]
    Filter(FilterCommand),
}

impl BgpCommand {
    pub fn run(self, client: &Client, style: Style) -> Result<Answer, CliError> {
        match self {
            BgpCommand::Filter(command) => command.run(client, style),
            BgpCommand::Neighbors(OutputArgs { output }) => {
                let lines: Vec<NeighborLine> = client.call(&Request::BgpNeighbors)?;
                Ok(Answer::good(output.data(&lines).unwrap_or_else(|| neighbor_table(&lines, output.is_wide()))))
            }
            BgpCommand::Routes(OutputArgs { output }) => {
                let lines: Vec<RouteLine> = client.call(&Request::BgpRoutes)?;
                Ok(Answer::good(output.data(&lines).unwrap_or_else(|| route_table(&lines, output.is_wide()))))
            }
            BgpCommand::Mesh(OutputArgs { output }) => {
                let reply: MeshReply = client.call(&Request::BgpMesh)?;
                Ok(Answer::good(output.data(&reply).unwrap_or_else(|| mesh_table(&reply))))
            }
            BgpCommand::Neighbor(args) => args.run(client),
            BgpCommand::Route(args) => args.run(client),
            BgpCommand::Dump => {
                let DumpReply { file, bytes } = client.call(&Request::BgpDump)?;
                Ok(Answer::good(format!("{file}: {bytes} bytes\n")))
            }
            BgpCommand::Reset(args) => args.run(client),
        }
    }
}

fn neighbor_table(lines: &[NeighborLine], wide: bool) -> String {
    let mut headings = vec!["NAME", "ADDRESS", "AS", "STATE", "FOR", "IN", "OUT", "LAST ERROR"];
    if wide {
        headings.extend([
            "ROUTER ID",
            "PORT",
            "SOURCE",
            "PASSIVE",
            "IMPORT",
            "FILTERS",
            "RECEIVED",
            "HOLD TIME",
            "SESSIONS",
            "CAPABILITIES",
            "BFD",
        ]);
    }
    let row = |line: &NeighborLine| {
        let error = line.last_error.as_ref().map(|error| match line.last_error_secs_ago {
            Some(ago) => format!("{error} ({} ago)", duration(ago)),
            None => error.clone(),
        });
        let mut row = vec![
            line.name.clone(),
            line.address.clone(),
            as_word(line.as_number),
            line.state.clone(),
            duration(line.since_secs),
            line.accepted.to_string(),
            line.advertised.to_string(),
            or_dash(error),
        ];
        if wide {
            row.extend([
                or_dash(line.router_id),
                line.port.to_string(),
                line.source.clone(),
                yes_no(line.passive),
                line.import.clone(),
                joined(&line.filters),
                line.received.to_string(),
                or_dash(line.hold_time.map(|seconds| format!("{seconds} s"))),
                line.sessions.to_string(),
                joined(&line.capabilities),
                or_dash(line.bfd.as_ref().map(bfd_words)),
            ]);
        }
        row
    };
    table(
        &headings,
        lines.iter().map(row).collect(),
        "no neighbours: a mesh needs a second node, a BGPPeer makes one too",
    )
}

fn mesh_table(reply: &MeshReply) -> String {
    let Some(status) = &reply.status else {
        return "no mesh: it is off for this node (`bgp.mesh`) or for all (BGPConfiguration)\n".to_string();
    };
    let row = |line: &MeshLine| {
        let clients = or_dash(line.clients);
        vec![line.name.clone(), line.role.clone(), joined(&line.reflectors), clients, yes_no(line.in_place)]
    };
    let rows = reply.nodes.iter().map(row).collect();
    let headings = ["NODE", "ROLE", "REFLECTORS", "CLIENTS", "IN PLACE"];
    format!("{}\n\n{}", super::status::mesh_words(status), table(&headings, rows, ""))
}

/// `Up 5m (300 ms)`, or since when and why not.
pub(super) fn bfd_words(bfd: &BfdLine) -> String {
    let lasting = format!("{} {}", bfd.state, duration(bfd.since_secs));
    match (&bfd.why, bfd.detection_time_ms) {
        (Some(why), _) => format!("{lasting}: {why}"),
        (None, Some(millis)) => format!("{lasting} ({millis} ms)"),
        (None, None) => lasting,
    }
}

fn route_table(lines: &[RouteLine], wide: bool) -> String {
    let mut headings = vec!["FLAGS", "PREFIX", "NEXT HOP", "FROM", "AS PATH", "ORIGIN"];
    if wide {
        headings.extend(["LOCAL PREF", "MED", "COMMUNITIES", "REFUSED"]);
    }
    let row = |line: &RouteLine| {
        let flags = [(line.best, '>'), (line.stale, 's'), (line.refused.is_some(), 'x')];
        let path = Some(&line.as_path).filter(|path| !path.is_empty());
        let mut row = vec![
            flags.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag).collect(),
            line.prefix.to_string(),
            or_dash(line.next_hop.as_ref()),
            line.from.clone().unwrap_or_else(|| "here".to_string()),
            or_dash(path),
            line.origin.clone(),
        ];
        if wide {
            row.extend([
                or_dash(line.local_pref),
                or_dash(line.med),
                joined(&line.communities),
                or_dash(line.refused.as_ref()),
            ]);
        }
        row
    };
    table(&headings, lines.iter().map(row).collect(), "no routes")
}

#[cfg(test)]
#[path = "listings_tests.rs"]
mod tests;
