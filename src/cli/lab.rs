//! `routectl lab`: labs on this machine, from containerlab topology files. Parses and prints; [`crate::lab`] works.

mod inspect;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::lab::{self, LabDir, LabError, Options, Record, Topology, enter, graph, init, state};

/// Something failed; nothing of a failed deployment is left.
const FAILED: u8 = 1;
/// The topology file is refused; nothing was done.
const REFUSED: u8 = 2;
/// `exec` itself failed, as with `docker exec`: smaller codes are the command's.
const EXEC_FAILED: u8 = 125;

/// Deploy containerlab topologies on this machine, without Docker
///
/// Nodes are namespaces of this machine (network, mount, UTS, IPC, PID) over a private layer of its file system:
/// what a node changes goes with the node. A `linux` node whose image names frr, bird or etcd runs Debian's daemons, one
/// of the image routenet the agent; a `bridge` node is a segment. Needs root.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Deploy a topology
    Deploy {
        #[command(flatten)]
        which: Which,
        /// Replace a lab of the same name
        #[arg(long)]
        reconfigure: bool,
    },
    /// End a lab and all that runs in it; one that is not there is no error
    Destroy {
        #[command(flatten)]
        which: Which,
    },
    /// Show a lab's nodes, whether they run, and their addresses
    Inspect {
        /// The topology file
        #[arg(short = 't', long = "topo", value_name = "FILE", required_unless_present_any = ["name", "all"])]
        topology: Option<PathBuf>,
        /// The lab's name, if not the file's
        #[arg(long)]
        name: Option<String>,
        /// All labs
        #[arg(short, long, conflicts_with_all = ["topology", "name"])]
        all: bool,
        /// Where labs are kept
        #[arg(long, env = "ROUTENET_LAB_DIR", value_name = "DIR", default_value = state::DEFAULT_BASE)]
        state_dir: PathBuf,
        /// How to print; json is containerlab's, with fields of ours
        #[arg(short, long, short_alias = 'o', alias = "output", value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Draw a topology; nothing is deployed, no root is needed
    Graph {
        /// The topology file
        #[arg(short = 't', long = "topo", value_name = "FILE")]
        topology: PathBuf,
        /// As text for Mermaid, which many forges show as a picture (default)
        #[arg(long)]
        mermaid: bool,
        /// As an SVG picture
        #[arg(long, conflicts_with = "mermaid")]
        svg: bool,
        /// Write to a file
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Run a command in a node; its exit code is ours (125: it could not be started in the node)
    Exec {
        #[command(flatten)]
        which: Which,
        /// The node
        #[arg(long)]
        node: String,
        /// A variable for the command's environment, beside those of the node
        #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = variable)]
        env: Vec<(String, String)>,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// The first process of a node; started by deploy
    #[command(hide = true)]
    NodeInit {
        /// The lab and the node, for who looks at a list of processes
        #[arg(num_args = 2)]
        names: Vec<String>,
    },
}

/// Which lab is meant.
#[derive(Debug, Args)]
pub struct Which {
    /// The topology file
    #[arg(short = 't', long = "topo", value_name = "FILE", required_unless_present = "name")]
    topology: Option<PathBuf>,
    /// The lab's name, if not the file's
    #[arg(long)]
    name: Option<String>,
    /// Where labs are kept
    #[arg(long, env = "ROUTENET_LAB_DIR", value_name = "DIR", default_value = state::DEFAULT_BASE)]
    state_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    parts.map(|(name, value)| (name.into(), value.into())).ok_or("expected NAME=VALUE".into())
}

impl LabCommand {
    /// Must be called before the process has a second thread: `exec` and a node's first process change namespaces.
    pub fn run(self) -> ExitCode {
        let failed = if matches!(self, LabCommand::Exec { .. }) { EXEC_FAILED } else { FAILED };
        let outcome = match self {
            LabCommand::NodeInit { .. } => return init::run(),
            LabCommand::Deploy { which, reconfigure } => deploy(&which, reconfigure),
            LabCommand::Destroy { which } => destroy(&which),
            LabCommand::Inspect { topology, name, all, state_dir, format } => {
                inspect(&Which { topology, name, state_dir }, all, format)
            }
            LabCommand::Graph { topology, mermaid: _, svg, output } => draw(&topology, svg, output.as_deref()),
            LabCommand::Exec { which, node, env, command } => exec(&which, &node, env.into_iter().collect(), &command),
        };
        outcome.unwrap_or_else(|error| {
            eprintln!("routectl lab: {error}");
            match error {
                LabError::Topology { .. } => ExitCode::from(REFUSED),
                _ => ExitCode::from(failed),
            }
        })
    }
}

impl Which {
    fn dir(&self) -> Result<LabDir, LabError> {
        let name = match (&self.name, &self.topology) {
            (Some(name), _) => name.clone(),
            (None, Some(file)) => Topology::read_name(file)?,
            (None, None) => return Err(LabError::Lab("which lab? give `-t FILE` or `--name NAME`".into())),
        };
        Ok(LabDir::new(&self.state_dir, &name))
    }
}

fn deploy(which: &Which, reconfigure: bool) -> Result<ExitCode, LabError> {
    let Some(file) = &which.topology else {
        return Err(LabError::Lab("what to deploy? give `-t FILE`".into()));
    };
    let mut topology = Topology::read(file)?;
    if let Some(name) = &which.name {
        topology = topology.renamed(name)?;
    }
    if !nix::unistd::geteuid().is_root() {
        let what = format!("a lab's namespaces need root: sudo routectl lab deploy -t {}", file.display());
        return Err(LabError::Lab(what));
    }
    let routectl = std::env::current_exe().map_err(|error| LabError::System { what: "routectl".into(), error })?;
    let options = Options { base: which.state_dir.clone(), reconfigure, ..Options::new(routectl) };
    let name = topology.name.clone();
    let deployed = lab::deploy(&topology, &options, &mut |step| eprintln!("lab {name}: {step}"))?;
    let record = deployed.keep()?;
    print(&inspect::table(&[record], false));
    Ok(ExitCode::SUCCESS)
}

fn destroy(which: &Which) -> Result<ExitCode, LabError> {
    let there = which.dir()?.destroy()?;
    eprintln!("{}", if there { "the lab is gone" } else { "there was no such lab" });
    Ok(ExitCode::SUCCESS)
}

fn inspect(which: &Which, all: bool, format: Format) -> Result<ExitCode, LabError> {
    let records = if all { all_labs(&which.state_dir)? } else { vec![which.dir()?.deployed()?] };
    match format {
        Format::Table => print(&inspect::table(&records, all)),
        Format::Json => {
            let here = std::env::current_dir().unwrap_or_default();
            print(&format!("{:#}", inspect::json(&records, &here)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A record that cannot be read is told of, and does not hide the others.
fn all_labs(base: &Path) -> Result<Vec<Record>, LabError> {
    let records = LabDir::all(base)?.into_iter().filter_map(|dir| {
        dir.record().unwrap_or_else(|error| {
            eprintln!("routectl lab: {error}");
            None
        })
    });
    Ok(records.collect())
}

fn draw(file: &Path, svg: bool, output: Option<&Path>) -> Result<ExitCode, LabError> {
    let topology = Topology::read(file)?;
    let text = if svg { graph::svg(&topology) } else { graph::mermaid(&topology) };
    match output {
        None => print(text.trim_end()),
        Some(path) => {
            std::fs::write(path, text).map_err(|error| LabError::System { what: path.display().to_string(), error })?
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn exec(which: &Which, node: &str, env: BTreeMap<String, String>, command: &[String]) -> Result<ExitCode, LabError> {
    let record = which.dir()?.deployed()?;
    enter::exec(record.node(node)?, command, &env).map(ExitCode::from)
}

/// A reader that went away (`| head`) is no failure.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}
