//! Which of the kernel's two iptables we speak to: chosen once, never mixed.

use std::process::{Command, Output};

use routenet_core::desired::Table;
use routenet_core::model::Family;
use routenet_core::model::config::BackendChoice;

use crate::plane::PlaneError;

/// One of the two implementations of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// On top of nf_tables.
    Nft,
    /// The older `ip_tables`.
    Legacy,
}

impl Backend {
    /// Finds the back end that was chosen; with `auto` the one that the system's `iptables` is, unless only the other
    /// one holds rules (somebody else's firewall is there, and packets should meet one firewall).
    ///
    /// # Errors
    /// Its programs are not there or do not run.
    pub fn detect(choice: BackendChoice) -> Result<Backend, PlaneError> {
        let backend = match choice {
            BackendChoice::Nft => Backend::Nft,
            BackendChoice::Legacy => Backend::Legacy,
            BackendChoice::Auto => {
                let (system, other) = match system_default() {
                    Backend::Nft => (Backend::Nft, Backend::Legacy),
                    Backend::Legacy => (Backend::Legacy, Backend::Nft),
                };
                let only_other_used = !system.has_rules() && other.has_rules();
                if system.check().is_err() || (only_other_used && other.check().is_ok()) { other } else { system }
            }
        };
        backend.check()?;
        Ok(backend)
    }

    /// The back end that was not chosen.
    pub fn other(self) -> Backend {
        match self {
            Backend::Nft => Backend::Legacy,
            Backend::Legacy => Backend::Nft,
        }
    }

    /// `nft` or `legacy`, as in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Nft => "nft",
            Backend::Legacy => "legacy",
        }
    }

    /// The command for single operations.
    pub fn command(self, family: Family) -> &'static str {
        match (self, family) {
            (Backend::Nft, Family::V4) => "iptables-nft",
            (Backend::Nft, Family::V6) => "ip6tables-nft",
            (Backend::Legacy, Family::V4) => "iptables-legacy",
            (Backend::Legacy, Family::V6) => "ip6tables-legacy",
        }
    }

    /// All rules of a family, as `iptables-save` prints them. Changes nothing, not even a generation number.
    pub fn save(self, family: Family) -> Result<String, PlaneError> {
        let program = format!("{}-save", self.command(family));
        let fail = |what: String| PlaneError { object: program.clone(), what };
        let output = run(&program, &[]).map_err(fail)?;
        if !output.status.success() {
            return Err(fail(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What a single `iptables` command prints for a table.
    pub fn list(self, family: Family, table: Table, command: &str) -> Result<String, PlaneError> {
        let object = format!("{} -t {} {command}", self.command(family), table.name());
        let tool = iptables::IPTables { cmd: self.command(family), has_check: true, has_wait: true, is_numeric: true };
        let fail = |what: String| PlaneError { object: object.clone(), what };
        let output = tool.execute(table.name(), command).map_err(|error| fail(error.to_string()))?;
        if !output.status.success() {
            return Err(fail(String::from_utf8_lossy(&output.stderr).trim().to_string()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn check(self) -> Result<(), PlaneError> {
        for family in Family::BOTH {
            for part in ["-restore", "-save"] {
                let program = format!("{}{part}", self.command(family));
                let mend = "install the package `iptables`, or set `iptables.backend` to the one that is there";
                run(&program, &["--version"])
                    .map_err(|what| PlaneError { object: program.clone(), what: format!("{what}: {mend}") })?;
            }
        }
        Ok(())
    }

    fn has_rules(self) -> bool {
        Family::BOTH
            .into_iter()
            .any(|family| self.save(family).is_ok_and(|text| text.lines().any(|line| line.starts_with("-A "))))
    }
}

fn run(program: &str, args: &[&str]) -> Result<Output, String> {
    Command::new(program).args(args).output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "is not on this machine".to_string(),
        _ => error.to_string(),
    })
}

/// What `iptables` without a suffix is here; nft when that cannot be told.
fn system_default() -> Backend {
    match run("iptables", &["--version"]) {
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("(legacy)") => Backend::Legacy,
        _ => Backend::Nft,
    }
}
