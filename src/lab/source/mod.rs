//! The topology file as it is written: variables replaced, YAML into plain structures, refusing what is unknown or not
//! done by name, with file and line. Read by [`super::topology`] only.

pub mod definition;
pub mod lines;
pub mod link;
mod refused;
mod values;

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::LabError;
use super::topology::Kind;
use super::variables::{self, Environment};
pub use definition::Definition;
pub use link::Link;
pub use values::{Scalar, Words};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub name: String,
    pub prefix: Option<String>,
    #[serde(default)]
    pub mgmt: Management,
    pub topology: Section,
    /// How much containerlab says.
    #[serde(rename = "debug", default)]
    _debug: IgnoredAny,
}

/// The management network.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Management {
    pub network: Option<String>,
    pub bridge: Option<String>,
    #[serde(alias = "ipv4_subnet")]
    pub ipv4_subnet: Option<String>,
    #[serde(alias = "ipv6_subnet")]
    pub ipv6_subnet: Option<String>,
    pub ipv4_gw: Option<String>,
    pub ipv6_gw: Option<String>,
    pub mtu: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    #[serde(default)]
    pub defaults: Definition,
    #[serde(default, deserialize_with = "values::unique")]
    pub kinds: Vec<(Kind, Definition)>,
    #[serde(default, deserialize_with = "values::unique")]
    pub groups: Vec<(String, Definition)>,
    #[serde(deserialize_with = "values::unique")]
    pub nodes: Vec<(String, Definition)>,
    #[serde(default)]
    pub links: Vec<Link>,
}

/// Parses the text of a topology file in which the variables are replaced.
pub fn parse(file: &Path, text: &str) -> Result<File, LabError> {
    serde_yaml::from_str(text).map_err(|error| refusal(file, &error))
}

/// The text of a topology file with the variables replaced.
pub fn replace_variables(file: &Path, text: &str, environment: Environment) -> Result<String, LabError> {
    variables::replace(text, environment).map_err(|refused| LabError::Topology {
        file: file.into(),
        line: Some(refused.line),
        what: refused.what,
    })
}

/// Only the lab's name: for a file that was deployed and may have changed since.
pub fn parse_name(file: &Path, text: &str, environment: Environment) -> Result<String, LabError> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let known = variables::replace_known(text, environment);
    let named: Named = serde_yaml::from_str(&known).map_err(|error| refusal(file, &error))?;
    if named.name.contains('$') {
        replace_variables(file, text, environment)?;
    }
    Ok(named.name)
}

fn refusal(file: &Path, error: &serde_yaml::Error) -> LabError {
    let mut what = error.to_string();
    let line = error.location().map(|location| location.line());
    if let Some(location) = error.location() {
        let suffix = format!(" at line {} column {}", location.line(), location.column());
        what = what.replace(&suffix, "");
    }
    if let Some(field) = what.split("unknown field `").nth(1).and_then(|rest| rest.split('`').next())
        && let Some((why, mend)) = refused::of(field)
    {
        let place = what.split(": unknown field").next().filter(|place| *place != what).unwrap_or("the file");
        what = format!("{place}: `{field}`: {why}; {mend}");
    }
    LabError::Topology { file: file.into(), line, what }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
