//! The CNI plugin `routenet`: a thin client of the agent's socket.
//!
//! It checks what belongs to the call itself (environment, JSON, version: CNI specification, "Section 2"), answers
//! `VERSION` alone, and hands everything else to `routenetd`, whose answer it prints. It keeps no state. Only std and
//! serde_json, linked statically, so that a spawn costs well under a millisecond.

mod agent;
mod call;
mod failure;

use std::io::Read;
use std::process::ExitCode;

use serde_json::{Value, json};

use call::Call;
use failure::{DEFAULT_VERSION, Failure, SUPPORTED_VERSIONS};

const ABOUT: &str = "\
routenet: CNI plugin of routenetd, version {version}
CNI protocol versions supported: {supported}

A container runtime calls it with CNI_COMMAND (ADD, DEL, CHECK, GC, STATUS, VERSION) and the network configuration on
standard input. Configuration keys beside those of the specification:
  network   the routenet Network to attach to (default: `name`)
  labels    labels of the endpoint, for policy (args.cni.labels outranks them)
  socket    the agent's socket (default: /run/routenet/agent.sock)
  mtu       MTU of the workload's interface, in bytes (default: the node's)";

fn main() -> ExitCode {
    let Ok(command) = std::env::var("CNI_COMMAND") else {
        let about = ABOUT.replace("{version}", env!("CARGO_PKG_VERSION"));
        eprintln!("{}", about.replace("{supported}", &SUPPORTED_VERSIONS.join(", ")));
        return ExitCode::SUCCESS;
    };
    let mut stdin = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut stdin) {
        return report(DEFAULT_VERSION, &Failure::new(5, "cannot read the network configuration", error.to_string()));
    }
    let config: Result<Value, _> = serde_json::from_str(&stdin);
    let version = config
        .as_ref()
        .ok()
        .and_then(|config| config.get("cniVersion"))
        .and_then(Value::as_str)
        .unwrap_or(DEFAULT_VERSION)
        .to_string();
    match config {
        Err(_) if command == "VERSION" && stdin.trim().is_empty() => print_versions(DEFAULT_VERSION),
        Err(error) => {
            let what = "the network configuration on standard input is not JSON";
            report(&version, &Failure::new(6, what, error.to_string()))
        }
        Ok(_) if command == "VERSION" => print_versions(&version),
        Ok(config) => match Call::read(&command, &version, &config).and_then(|call| agent::ask(&call, stdin)) {
            Ok(answer) => {
                if let Some(stdout) = answer.stdout {
                    println!("{stdout}");
                }
                ExitCode::from(answer.exit)
            }
            Err(failure) => report(&version, &failure),
        },
    }
}

fn print_versions(version: &str) -> ExitCode {
    println!("{}", json!({"cniVersion": version, "supportedVersions": SUPPORTED_VERSIONS}));
    ExitCode::SUCCESS
}

fn report(version: &str, failure: &Failure) -> ExitCode {
    println!("{}", failure.to_json(version));
    ExitCode::FAILURE
}
