//! `routectl node drain` and `undrain`.

use clap::Subcommand;

use super::{Answer, CliError};
use crate::api::Request;
use crate::api::client::Client;

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Have neighbours move away, withdraw every route of this node, then end its BGP sessions
    ///
    /// First everything is told again as the last choice (GRACEFUL_SHUTDOWN, RFC 8326): who has another way takes it while
    /// this one still works. Then neighbours stop sending here at once, which a mere restart of the agent avoids: drain
    /// before the machine goes away. Its workloads keep their network among themselves. Lasts until `undrain`.
    Drain {
        /// How long neighbours have to move away before the routes are withdrawn; 0: not at all
        #[arg(long, value_name = "SECONDS", default_value_t = 5)]
        graceful_seconds: u16,
    },
    /// Take this node back into routing
    Undrain,
}

impl NodeCommand {
    pub fn run(self, client: &Client) -> Result<Answer, CliError> {
        let (request, text) = match self {
            NodeCommand::Drain { graceful_seconds } => {
                let first = match graceful_seconds {
                    0 => "drained: routes are withdrawn and sessions closed".to_string(),
                    seconds => format!(
                        "draining: neighbours move away; in {seconds} s routes are withdrawn and sessions closed"
                    ),
                };
                (Request::Drain { graceful_seconds }, format!("{first}; `routectl node undrain` takes the node back\n"))
            }
            NodeCommand::Undrain => (Request::Undrain, "undrained: sessions and routes come back now\n".to_string()),
        };
        client.call::<serde_json::Value>(&request)?;
        Ok(Answer::good(text))
    }
}
