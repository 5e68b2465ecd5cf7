//! `routectl bgp filter test`: what a route would meet at a neighbour's filters.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use routenet_core::bgp::filter::Direction;
use routenet_core::bgp::speaker::{FilterAnswer, FilterQuestion, Input, Speaker, Startup, speaker_config};
use routenet_core::model::Cidr;
use routenet_core::model::config::{self, StoreConfig};
use routenet_core::model::filter::Community;
use routenet_core::model::yaml::render_errors;
use routenet_core::time::Time;

use super::output::{Format, Style};
use super::{Answer, CliError, REFUSED, input};
use crate::api::Request;
use crate::api::client::{Client, ClientError};

#[derive(Debug, Subcommand)]
pub enum FilterCommand {
    Test(Box<TestArgs>),
}

impl FilterCommand {
    pub fn run(self, client: &Client, style: Style) -> Result<Answer, CliError> {
        match self {
            FilterCommand::Test(args) => args.run(client, style),
        }
    }
}

/// What a route would meet on its way from or to a neighbour, and which rule of which BGPFilter decides it
///
/// A route that the node has is taken as it is: on the way in as the neighbour sent it, on the way out as the node holds
/// it. The options replace what it has. Of a prefix that the node has no route to one is made up: on the way in one of
/// the neighbour, on the way out one of the node's own, or of the neighbour that --from names.
///
/// What the protocol forbids comes before every filter; what no rule matches is left to the peer's `import`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
EXAMPLES
  routectl bgp filter test --peer tor-a --direction import 10.1.0.0/24
  routectl bgp filter test --peer 192.0.2.2 --direction import 10.1.0.0/24 --as-path '65001 65002' \\
      --community 65001:666 --community no-export
  routectl bgp filter test --peer tor-a --direction export 10.65.0.0/26 --from tor-b
  routectl bgp filter test -f /etc/routenet/node.yaml --peer tor-a --direction export 10.65.0.0/26

EXIT STATUS
  0  accepted
  1  rejected
  2  it cannot be told: no such neighbour, a wrong command line, or the agent cannot be asked")]
pub struct TestArgs {
    /// The prefix
    #[arg(value_name = "PREFIX")]
    prefix: Cidr,
    /// The neighbour, by name or address
    #[arg(long, value_name = "PEER")]
    peer: String,
    /// Whether the route comes from the neighbour or goes to it
    #[arg(long, value_enum)]
    direction: Way,
    /// Whose route it is that goes out: a neighbour's, by name or address
    #[arg(long, value_name = "PEER")]
    from: Option<String>,
    /// Its AS path, as numbers with spaces between them; '' is the empty one
    #[arg(long, value_name = "AS ...", value_parser = as_path)]
    as_path: Option<AsPath>,
    /// A community that it carries; may be given again, and stands for all that it carries
    #[arg(long, value_name = "COMMUNITY")]
    community: Vec<Community>,
    /// Its next hop
    #[arg(long, value_name = "ADDRESS")]
    next_hop: Option<IpAddr>,
    /// Its MED
    #[arg(long, value_name = "NUMBER")]
    med: Option<u32>,
    /// Its local preference
    #[arg(long, value_name = "NUMBER")]
    local_pref: Option<u32>,
    /// Ask a node's configuration file, not an agent: its peers and its filters
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    Import,
    Export,
}

/// A list that is one argument.
#[derive(Clone, Debug)]
struct AsPath(Vec<u32>);

fn as_path(text: &str) -> Result<AsPath, String> {
    let number = |word: &str| word.parse::<u32>().map_err(|_| format!("\"{word}\" is not an AS number"));
    text.split_whitespace().map(number).collect::<Result<Vec<u32>, String>>().map(AsPath)
}

impl TestArgs {
    fn run(self, client: &Client, style: Style) -> Result<Answer, CliError> {
        let direction = match self.direction {
            Way::Import => Direction::Import,
            Way::Export => Direction::Export,
        };
        let question = FilterQuestion {
            from: self.from,
            as_path: self.as_path.map(|AsPath(numbers)| numbers),
            communities: Some(self.community).filter(|communities| !communities.is_empty()),
            next_hop: self.next_hop,
            med: self.med,
            local_pref: self.local_pref,
            ..FilterQuestion::new(&self.peer, direction, self.prefix)
        };
        let answer = match &self.file {
            Some(file) => offline(file, &question)?,
            None => client.call(&Request::BgpFilterTest(Box::new(question))).map_err(|error| match error {
                // Exit 1 says rejected here: what cannot be told is another thing.
                ClientError::Refused(error) => CliError::Input(error.message),
                error => CliError::Agent(error),
            })?,
        };
        let text = self.output.data(&answer).unwrap_or_else(|| render(&answer, style));
        Ok(Answer { text, exit: if answer.accepted { 0 } else { REFUSED } })
    }
}

/// The speaker of the file, without a session.
fn offline(file: &Path, question: &FilterQuestion) -> Result<FilterAnswer, CliError> {
    let text = std::fs::read_to_string(file).map_err(|error| input::unreadable(file, &error))?;
    let config = config::read(&file.display().to_string(), &text)
        .map_err(|errors| CliError::Input(render_errors(&errors).trim_end().to_string()))?;
    let (pools, peers) = match &config.store {
        StoreConfig::None(cluster) => (cluster.pools.as_slice(), cluster.peers.as_slice()),
        StoreConfig::Embedded { .. } | StoreConfig::Etcd(_) => (&[][..], &[][..]),
    };
    let speaker = speaker_config(&config, &[], peers, &[], &[], &Default::default());
    let mut speaker = Speaker::new(speaker, Startup { restarting: false, seed: 0 }, Time::ZERO);
    speaker.handle(Input::Pools(pools.iter().map(|pool| pool.cidr).collect()), Time::ZERO);
    let hint = match &config.store {
        StoreConfig::None(_) => "",
        StoreConfig::Embedded { .. } | StoreConfig::Etcd(_) => {
            " (of the file alone; without -f the agent is asked, who knows the store's BGPPeers and BGPFilters)"
        }
    };
    speaker.test_filter(question).map_err(|why| CliError::Input(format!("{}: {why}{hint}", file.display())))
}

fn render(answer: &FilterAnswer, style: Style) -> String {
    let verdict = if answer.accepted { style.good("accepted") } else { style.bad("rejected") };
    let way = match answer.direction {
        Direction::Import => "import from",
        Direction::Export => "export to",
    };
    let mut text = format!("{verdict}: {}, {way} {} ({})\n", answer.prefix, answer.peer, answer.address);
    let mut line = |title: &str, what: &str| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "  {title:<16}  {what}");
    };
    line("decided", &answer.why);
    let whose = if answer.in_rib { "the node's route" } else { "the node has none; made up as one" };
    line("route", &format!("{whose} from {}", answer.from));
    for (index, rule) in answer.rules.iter().enumerate() {
        let how = match &rule.mismatch {
            Some(field) => format!("{}: `{field}` does not match", rule.rule),
            None => format!("{}: matches", rule.rule),
        };
        line(if index == 0 { "rules" } else { "" }, &how);
    }
    for attribute in &answer.attributes {
        let before = attribute.before.as_deref().unwrap_or("-");
        let after = attribute.after.as_deref().unwrap_or("-");
        if !answer.accepted || before == after {
            line(&attribute.name, before);
        } else {
            line(&attribute.name, &format!("{before} -> {}", style.strong(after)));
        }
    }
    text
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
