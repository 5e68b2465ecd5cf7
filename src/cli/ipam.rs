//! `routectl ipam`.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::listings::{OutputArgs, ipam_tables};
use super::output::or_dash;
use super::{Answer, CliError, REFUSED};
use crate::api::Request;
use crate::api::client::Client;
use crate::api::listing::{IpamCheckReply, IpamReleaseReply, IpamReply, IpamWhyReply};

#[derive(Debug, Subcommand)]
pub enum IpamCommand {
    /// Pools and blocks: whose they are, and how full
    ///
    /// A pool is cut into blocks; a node claims a block when it needs one, and gives addresses out of it without asking
    /// anybody. RESTING are addresses that were released a moment ago and are not given out again yet. How full another
    /// node's blocks are is seen by the endpoints that it has published.
    Show(OutputArgs),
    /// Whose an address is, and why it is not to be had
    Why(WhyArgs),
    /// Whether blocks, endpoints and pools of the cluster fit together
    ///
    /// And whether the node that answers holds addresses that no endpoint, tunnel device or runtime knows of.
    /// Exits 1 where they do not, with a line for each thing that is wrong.
    Check(OutputArgs),
    /// Take back an address that the node that answers has given out
    ///
    /// For what its runtime has forgotten. An address that an endpoint has needs --force, which detaches the endpoint. The
    /// address of a tunnel device cannot be taken back: it goes with the last pool that encapsulates.
    Release(ReleaseArgs),
    /// Give away the blocks of a node that will not come back, and forget what it published
    ///
    /// Refused while the node lives: while it was heard within 30 s, or its workloads are announced. A node that comes
    /// back all the same, and finds a block with another owner, keeps what runs and gives nothing more out of it.
    ReleaseNode(ReleaseNodeArgs),
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    address: IpAddr,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct ReleaseArgs {
    address: IpAddr,
    /// Also if an endpoint has it: it is detached
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub struct ReleaseNodeArgs {
    node: String,
    /// Also if there are signs that it lives
    #[arg(long)]
    force: bool,
}

impl IpamCommand {
    pub fn run(self, client: &Client) -> Result<Answer, CliError> {
        match self {
            IpamCommand::Show(OutputArgs { output }) => {
                let reply: IpamReply = client.call(&Request::IpamShow)?;
                Ok(Answer::good(output.data(&reply).unwrap_or_else(|| ipam_tables(&reply, output.is_wide()))))
            }
            IpamCommand::Why(WhyArgs { address, output: OutputArgs { output } }) => {
                let reply: IpamWhyReply = client.call(&Request::IpamWhy { address })?;
                Ok(Answer::good(output.data(&reply).unwrap_or_else(|| why_text(&reply))))
            }
            IpamCommand::Check(OutputArgs { output }) => {
                let reply: IpamCheckReply = client.call(&Request::IpamCheck)?;
                let text = output.data(&reply).unwrap_or_else(|| check_text(&reply));
                Ok(Answer { text, exit: if reply.problems.is_empty() { 0 } else { REFUSED } })
            }
            IpamCommand::Release(ReleaseArgs { address, force }) => {
                let reply: IpamReleaseReply = client.call(&Request::IpamRelease { address, force })?;
                Ok(Answer::good(released_text(&reply)))
            }
            IpamCommand::ReleaseNode(ReleaseNodeArgs { node, force }) => {
                let reply: IpamReleaseReply = client.call(&Request::IpamReleaseNode { node, force })?;
                Ok(Answer::good(released_text(&reply)))
            }
        }
    }
}

fn why_text(reply: &IpamWhyReply) -> String {
    let mut text = format!("{}: {}\n", reply.address, reply.state);
    let mut line = |name: &str, value: String| text += &format!("  {name:<7} {value}\n");
    line("holder", or_dash(reply.holder.as_ref()));
    line("pool", or_dash(reply.pool.as_ref()));
    line("block", or_dash(reply.block.as_ref()));
    line("node", or_dash(reply.node.as_ref()));
    text
}

fn check_text(reply: &IpamCheckReply) -> String {
    let looked = format!("{} blocks and {} addresses were looked at", reply.blocks, reply.addresses);
    if reply.problems.is_empty() {
        return format!("all fits together: {looked}\n");
    }
    let problems: String = reply.problems.iter().map(|problem| format!("  ! {problem}\n")).collect();
    format!("{problems}{looked}\n")
}

fn released_text(reply: &IpamReleaseReply) -> String {
    reply.released.iter().map(|what| format!("released {what}\n")).collect()
}
