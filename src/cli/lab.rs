//! `routectl lab`: labs on this machine, from containerlab topology files. Parses and prints; [`crate::lab`] works.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::lab::{self, LabDir, LabError, NodeRecord, Options, Record, Topology, enter, init, state};

/// Something failed; nothing of a failed deployment is left.
const FAILED: u8 = 1;
/// The topology file is refused; nothing was done.
const REFUSED: u8 = 2;
/// `exec` itself failed, as with `docker exec`: smaller codes are the command's.
const EXEC_FAILED: u8 = 125;

/// Deploy containerlab topologies on this machine, without Docker
///
/// Nodes are namespaces of this machine (network, mount, UTS, IPC, PID) over a private layer of its file system:
/// what a node changes goes with the node. A `linux` node whose image names frr or bird runs Debian's daemons; a
/// `bridge` node is a segment. Needs root.
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
        #[command(flatten)]
        which: Which,
        /// How to print
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
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
            LabCommand::Inspect { which, output } => inspect(&which, output),
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
    let routectl = std::env::current_exe().map_err(|error| LabError::System { what: "routectl".into(), error })?;
    let options = Options { base: which.state_dir.clone(), reconfigure, ..Options::new(routectl) };
    let name = topology.name.clone();
    let deployed = lab::deploy(&topology, &options, &mut |step| eprintln!("lab {name}: {step}"))?;
    let record = deployed.keep()?;
    print_table(&record);
    Ok(ExitCode::SUCCESS)
}

fn destroy(which: &Which) -> Result<ExitCode, LabError> {
    let there = which.dir()?.destroy()?;
    eprintln!("{}", if there { "the lab is gone" } else { "there was no such lab" });
    Ok(ExitCode::SUCCESS)
}

fn inspect(which: &Which, output: Format) -> Result<ExitCode, LabError> {
    let record = which.dir()?.deployed()?;
    match output {
        Format::Table => print_table(&record),
        Format::Json => print(&format!("{:#}", as_json(&record))),
    }
    Ok(ExitCode::SUCCESS)
}

fn exec(which: &Which, node: &str, env: BTreeMap<String, String>, command: &[String]) -> Result<ExitCode, LabError> {
    let record = which.dir()?.deployed()?;
    enter::exec(record.node(node)?, command, &env).map(ExitCode::from)
}

/// What `ip` says of the interfaces of a node, by name: their state and their addresses but the link-local ones.
fn interfaces(node: &NodeRecord) -> Vec<(String, String, Vec<String>)> {
    let listing = enter::in_network(node, || std::process::Command::new("ip").args(["-j", "address"]).output());
    let Ok(Ok(output)) = listing else { return Vec::new() };
    let links: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    links
        .iter()
        .filter(|link| link["ifname"] != "lo")
        .map(|link| {
            let addresses = link["addr_info"].as_array().into_iter().flatten();
            let addresses = addresses
                .filter(|address| address["scope"] != "link")
                .map(|address| format!("{}/{}", text(&address["local"]), address["prefixlen"]))
                .collect();
            (text(&link["ifname"]), text(&link["operstate"]).to_lowercase(), addresses)
        })
        .collect()
}

fn print_table(record: &Record) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["NODE", "KIND", "IMAGE", "STATE", "PID", "INTERFACES"]);
    if !std::io::stdout().is_terminal() {
        table.force_no_tty();
    }
    for node in &record.nodes {
        let interfaces: Vec<String> = interfaces(node)
            .into_iter()
            .map(|(name, _, addresses)| [vec![name], addresses].concat().join(" "))
            .collect();
        table.add_row([
            node.name.clone(),
            node.kind.clone(),
            node.image.clone().unwrap_or_else(|| "-".into()),
            if node.running() { "running" } else { "ended" }.into(),
            node.pid.to_string(),
            interfaces.join("\n"),
        ]);
    }
    print(&table.trim_fmt());
}

/// A reader that went away (`| head`) is no failure.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn as_json(record: &Record) -> Value {
    let nodes: Vec<Value> = record
        .nodes
        .iter()
        .map(|node| {
            let interfaces: Vec<Value> = interfaces(node)
                .into_iter()
                .map(|(name, state, addresses)| json!({"name": name, "state": state, "addresses": addresses}))
                .collect();
            json!({
                "name": node.name, "long-name": node.long_name, "kind": node.kind, "image": node.image,
                "state": if node.running() { "running" } else { "ended" }, "pid": node.pid,
                "netns": node.netns(), "labels": node.labels, "interfaces": interfaces,
            })
        })
        .collect();
    let file: &Path = &record.file;
    json!({"name": record.name, "file": file, "nodes": nodes, "links": record.links})
}
