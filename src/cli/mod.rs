//! `routectl`'s commands: each asks the agent one thing over its socket and prints the answer. Called by `routectl`.
//!
//! | file | commands |
//! |---|---|
//! | `objects` | `get`, `apply`, `confirm`, `delete` |
//! | `status` | `status` |
//! | `bgp` | `bgp neighbor`, `bgp route`, `bgp reset` |
//! | `filter` | `bgp filter test` |
//! | `listings` | `endpoints`, `bgp neighbors`, `bgp routes` |
//! | `ipam` | `ipam show`, `why`, `check`, `release`, `release-node` |
//! | `explain` | `explain` |
//! | `policy` | `policy test` (needs no agent) |
//! | `node` | `node drain`, `node undrain` |
//! | `lab` | `lab ...` (needs no agent) |
//!
//! A command answers with its text and exit code, and does not print: so tests read what people read.

mod bgp;
mod explain;
mod filter;
mod input;
mod ipam;
pub mod lab;
mod listings;
mod node;
mod objects;
mod output;
mod policy;
mod status;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use routenet_core::model::Kind;

use crate::api::client::{Client, ClientError, DEFAULT_SOCKET};

/// Look at, change and try a routenet: objects, addresses, routes, verdicts, labs.
///
/// routectl speaks to the agent (routenetd) of the machine that it runs on, over the agent's socket. Objects are those
/// of the whole cluster, whichever node is asked; `status`, `bgp` and `node` are about the node that answers, and what
/// it knows of the others.
#[derive(Debug, Parser)]
#[command(name = "routectl", version, max_term_width = 100, after_long_help = top_help())]
pub struct Cli {
    /// The agent's socket
    #[arg(long, global = true, value_name = "PATH", env = "ROUTENET_SOCKET", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    #[command(subcommand)]
    command: Command,
}

const TOP_HELP: &str = "\
EXAMPLES
  routectl status                          is it well, and if not, why
  routectl apply -f policies/demo/         write every object of a directory, or none
  routectl policy test policies/           do they say what their tests expect
  routectl get gnp -o wide                 the policies of the cluster
  routectl explain shop/web shop/db tcp/5432
                                           may it, and which rule says so

KINDS
{kinds}

EXIT STATUS
  0  done (status: all is well; explain: allowed)
  1  refused, invalid or not found (status: degraded; explain: denied)
  2  the command line is wrong, or the agent cannot be asked
  `lab exec` exits with the code of the command that it ran.

ENVIRONMENT
  ROUTENET_SOCKET  the agent's socket, where --socket is not given
  NO_COLOR         print without colours; they are used on terminals only

FILES
  /run/routenet/agent.sock  the agent's socket. Root may use it, and the groups that the agent's
                            configuration names under `api:`";

/// With all kinds, each with its shortest other name.
fn top_help() -> String {
    let name = |kind: Kind| match kind.aliases().iter().min_by_key(|alias| alias.len()) {
        Some(short) if short.len() < kind.word().len() => format!("{} ({short})", kind.word()),
        _ => kind.word().to_string(),
    };
    let mut lines = vec![String::from(" ")];
    for word in Kind::ALL.into_iter().map(name) {
        if lines.last().is_some_and(|line| line.len() + word.len() > 90) {
            lines.push(String::from(" "));
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(&format!(" {word},"));
        }
    }
    let kinds = lines.join("\n").trim_end_matches(',').to_string();
    TOP_HELP.replace("{kinds}", &(kinds + "; plurals mean the same."))
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Ask(Question),
    #[command(subcommand)]
    Lab(lab::LabCommand),
}

/// The commands that an agent answers.
#[derive(Debug, Subcommand)]
enum Question {
    Status(status::StatusArgs),
    Get(objects::GetArgs),
    Apply(objects::ApplyArgs),
    Confirm(objects::ConfirmArgs),
    Delete(objects::DeleteArgs),
    Endpoints(listings::EndpointsArgs),
    /// Addresses: pools and blocks
    #[command(subcommand)]
    Ipam(ipam::IpamCommand),
    Explain(explain::ExplainArgs),
    /// Policies: test them
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// BGP: neighbours, routes and filters
    #[command(subcommand)]
    Bgp(listings::BgpCommand),
    /// The node that answers: take it out of routing, and back
    #[command(subcommand)]
    Node(node::NodeCommand),
}

impl Question {
    fn ask(self, client: &Client, style: output::Style) -> Result<Answer, CliError> {
        match self {
            Question::Status(args) => args.run(client, style),
            Question::Get(args) => args.run(client),
            Question::Apply(args) => args.run(client),
            Question::Confirm(args) => args.run(client),
            Question::Delete(args) => args.run(client),
            Question::Endpoints(args) => args.run(client),
            Question::Ipam(command) => command.run(client),
            Question::Explain(args) => args.run(client, style),
            Question::Policy(command) => command.run(style),
            Question::Bgp(command) => command.run(client, style),
            Question::Node(command) => command.run(client),
        }
    }
}

/// The command line is wrong, or the agent cannot be asked.
const CANNOT_TELL: u8 = 2;
/// Refused, invalid or not found; degraded; denied.
const REFUSED: u8 = 1;

/// What a command has to say, and how it exits.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    text: String,
    exit: u8,
}

impl Answer {
    fn good(text: String) -> Answer {
        Answer { text, exit: 0 }
    }
}

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Agent(#[from] ClientError),
    /// A file that cannot be read, or an argument that cannot be meant.
    #[error("{0}")]
    Input(String),
}

impl CliError {
    fn exit(&self) -> u8 {
        match self {
            CliError::Agent(ClientError::Refused(_)) => REFUSED,
            CliError::Agent(_) | CliError::Input(_) => CANNOT_TELL,
        }
    }
}

impl Cli {
    /// Runs the command and prints its answer. Must be called before the process has a second thread (see
    /// [`lab::LabCommand::run`]).
    pub fn run(self) -> ExitCode {
        let question = match self.command {
            Command::Lab(command) => return command.run(),
            Command::Ask(question) => question,
        };
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        let answer = question.ask(&Client::new(self.socket), output::Style { colour });
        match answer {
            Ok(answer) => {
                // A reader that has seen enough (`| head`) closes the pipe: no error.
                let _ = std::io::stdout().write_all(answer.text.as_bytes());
                ExitCode::from(answer.exit)
            }
            Err(error) => {
                eprintln!("routectl: {error}");
                ExitCode::from(error.exit())
            }
        }
    }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
