//! `routectl`: parses, runs, exits.

use std::process::ExitCode;

use clap::Parser;
use routenet::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
