//! `routenetd`: parse, run, exit code.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use routenet::agent::signals::{Asked, Signals};
use routenet::agent::{peering, start};
use routenet_core::model::config::{self, DataPlane, NodeConfig};
use routenet_core::model::yaml::render_errors;
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
EXAMPLES:
  routenetd --config /etc/routenet/node.yaml --check
      Say what is wrong with a configuration, or print it with every default filled in.
  routenetd --config /etc/routenet/node.yaml
      Run. Stop it with SIGTERM: workloads keep their network, neighbours keep the routes.

SIGNALS:
  SIGTERM, SIGINT   stop; links, routes and rules stay, BGP connections close without a NOTIFICATION
  SIGHUP            read the configuration again, and the policies directory of a node without a store: what concerns BGP
                    sessions is taken over at once, `routectl status` says what waits for a restart

EXIT STATUS:
  0  stopped as asked, or the configuration is good (--check)
  1  the agent cannot run
  2  the configuration is wrong, or so is the command line";

/// The agent of routenet: one per host. It routes and isolates the workloads of this host, and speaks BGP with the others.
#[derive(Parser)]
#[command(name = "routenetd", version, after_help = EXAMPLES)]
struct Arguments {
    /// The node's configuration, in YAML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Validate the configuration, print the effective one, and exit
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match read(&arguments.config) {
        Ok(config) => config,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    if arguments.check {
        print!("{}", config::to_yaml(&config));
        return ExitCode::SUCCESS;
    }
    // RUST_LOG outranks the file, for one run.
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(&config.log.level));
    let filter = match filter {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("{}: log.level: {error}", arguments.config.display());
            return ExitCode::from(2);
        }
    };
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("routenetd: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match config.data_plane {
        DataPlane::Kernel => {
            runtime.block_on(start::run(config, || read(&arguments.config))).map_err(|error| error.to_string())
        }
        DataPlane::Off => runtime.block_on(speak_only(config, &arguments.config)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("routenetd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(file: &PathBuf) -> Result<NodeConfig, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{}: {error}; name the node's configuration with --config", file.display()))?;
    config::read(&file.display().to_string(), &text).map_err(|errors| render_errors(&errors))
}

/// `dataPlane: off`: the speaker alone, until SIGTERM or SIGINT.
async fn speak_only(config: NodeConfig, file: &PathBuf) -> Result<(), String> {
    let mut signals = Signals::new()?;
    let mut speaker = peering::run_speaker_only(config).await?;
    while signals.next().await == Asked::Reload {
        speaker.reload(read(file));
    }
    speaker.stop().await;
    Ok(())
}
