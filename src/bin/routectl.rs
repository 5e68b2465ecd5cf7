//! `routectl`: parses, runs, exits.

use std::process::ExitCode;

use clap::Parser;
use routenet::cli::lab::LabCommand;

#[derive(Parser)]
enum Routectl {
    #[command(subcommand)]
    Lab(LabCommand),
}

fn main() -> ExitCode {
    let Routectl::Lab(command) = Routectl::parse();
    command.run()
}
