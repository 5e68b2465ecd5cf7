//! `routectl policy test`: policies tested without a host or an agent.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use routenet_core::model::yaml::{YamlError, render_errors};
use routenet_core::policy::suite::{self, Outcome};

use super::output::Style;
use super::{Answer, CliError, REFUSED, input};

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    Test(TestArgs),
}

impl PolicyCommand {
    pub fn run(self, style: Style) -> Result<Answer, CliError> {
        match self {
            PolicyCommand::Test(args) => args.run(style),
        }
    }
}

/// Test policies: who may reach whom, told beside the policies and asked of the evaluator
///
/// A FILE is a PolicyTest: the policy files, workloads with their labels, and questions with the expected answers. Of a
/// directory all files are taken whose names end in `.test.yaml`, in the directories below it, too. No agent is asked,
/// and nothing is changed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
EXAMPLES
  routectl policy test policies/
  routectl policy test policies/three-tier-app/shop.test.yaml --junit report.xml

A TEST
  apiVersion: routenet/v1
  kind: PolicyTest
  metadata: {name: shop}
  spec:
    policies: [shop.yaml]           # beside this file
    isolation: network              # where no policy applies: `network` or `open`
    workloads:
    - {name: shop/web, labels: {tier: web}}
    - {name: shop/db, labels: {tier: db}}
    tests:
    - {from: shop/web, to: shop/db, port: [tcp/5432, tcp/22], expect: deny}
    - {from: 203.0.113.7, to: shop/web, port: tcp/443, expect: allow, because: public}

EXIT STATUS
  0  everything is as expected
  1  something is not
  2  a file cannot be read")]
pub struct TestArgs {
    /// Tests, or directories of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the outcome as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// A suite that has run.
struct Ran {
    file: String,
    name: String,
    outcomes: Vec<Outcome>,
}

impl Ran {
    fn failed(&self) -> impl Iterator<Item = (&Outcome, &String)> {
        self.outcomes.iter().filter_map(|outcome| Some((outcome, outcome.failure.as_ref()?)))
    }
}

impl TestArgs {
    fn run(self, style: Style) -> Result<Answer, CliError> {
        let mut ran = Vec::new();
        for file in found(&self.files)? {
            ran.push(run_suite(&file)?);
        }
        if let Some(file) = &self.junit {
            std::fs::write(file, junit(&ran))
                .map_err(|error| CliError::Input(format!("{}: cannot be written: {error}", file.display())))?;
        }
        let failed = ran.iter().flat_map(Ran::failed).count();
        Ok(Answer { text: report(&ran, failed, style), exit: if failed == 0 { 0 } else { REFUSED } })
    }
}

/// The suites behind the arguments, each once.
fn found(files: &[PathBuf]) -> Result<BTreeSet<PathBuf>, CliError> {
    let mut found = BTreeSet::new();
    for file in files {
        if !file.is_dir() {
            found.insert(file.clone());
            continue;
        }
        let before = found.len();
        walk(file, &mut found)?;
        if found.len() == before {
            return Err(CliError::Input(format!("{}: holds no file whose name ends in .test.yaml", file.display())));
        }
    }
    Ok(found)
}

fn walk(directory: &Path, found: &mut BTreeSet<PathBuf>) -> Result<(), CliError> {
    let entries = std::fs::read_dir(directory).map_err(|error| input::unreadable(directory, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| input::unreadable(directory, &error))?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else if input::is_test(&path) {
            found.insert(path);
        }
    }
    Ok(())
}

fn run_suite(file: &Path) -> Result<Ran, CliError> {
    let text = |path: &Path| std::fs::read_to_string(path).map_err(|error| input::unreadable(path, &error));
    let told = |errors: Vec<YamlError>| CliError::Input(render_errors(&errors));
    let name = file.display().to_string();
    let suite = suite::read(&name, &text(file)?).map_err(told)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut policies = Vec::new();
    for policy in &suite.policies {
        let path = folder.join(policy);
        policies.push((path.display().to_string(), text(&path)?));
    }
    let outcomes = suite.run(&suite::policies(&policies).map_err(told)?);
    Ok(Ran { file: name, name: suite.name, outcomes })
}

fn report(ran: &[Ran], failed: usize, style: Style) -> String {
    let mut text = String::new();
    for suite in ran {
        let wrong: Vec<_> = suite.failed().collect();
        let word = if wrong.is_empty() { style.good("ok") } else { style.bad("FAILED") };
        let _ = writeln!(text, "{word:<6} {} ({})", suite.name, counted(suite.outcomes.len(), "question"));
        for (outcome, why) in wrong {
            let _ = writeln!(text, "       {}:{}: {}\n           {why}", suite.file, outcome.line, outcome.question);
        }
    }
    let asked: usize = ran.iter().map(|suite| suite.outcomes.len()).sum();
    let verdict = match failed {
        0 => style.good("all as expected"),
        failed => style.bad(&format!("{failed} not as expected")),
    };
    let _ = writeln!(text, "{}, {}: {verdict}", counted(ran.len(), "file"), counted(asked, "question"));
    text
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// As continuous integration reads it.
fn junit(ran: &[Ran]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for suite in ran {
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\">",
            escaped(&suite.name),
            suite.outcomes.len(),
            suite.failed().count()
        );
        for outcome in &suite.outcomes {
            let _ = write!(
                text,
                "    <testcase classname=\"{}\" name=\"line {}: {}\"",
                escaped(&suite.name),
                outcome.line,
                escaped(&outcome.question)
            );
            let _ = match &outcome.failure {
                None => writeln!(text, "/>"),
                Some(why) => writeln!(text, "><failure message=\"{}\"/></testcase>", escaped(why)),
            };
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
