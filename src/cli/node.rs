//! `routectl node drain` and `undrain`.

use clap::Subcommand;

use super::{Answer, CliError};
use crate::api::Request;
use crate::api::client::Client;

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Withdraw every route of this node, then end its BGP sessions
    ///
    /// Neighbours stop sending here at once, which a mere restart of the agent avoids: drain before the machine goes
    /// away. Its workloads keep their network among themselves. Lasts until `undrain`.
    Drain,
    /// Take this node back into routing
    Undrain,
}

impl NodeCommand {
    pub fn run(self, client: &Client) -> Result<Answer, CliError> {
        let (request, text) = match self {
            NodeCommand::Drain => (
                Request::Drain,
                "drained: routes are withdrawn and sessions closed; `routectl node undrain` takes the node back\n",
            ),
            NodeCommand::Undrain => (Request::Undrain, "undrained: sessions and routes come back now\n"),
        };
        client.call::<serde_json::Value>(&request)?;
        Ok(Answer::good(text.to_string()))
    }
}
