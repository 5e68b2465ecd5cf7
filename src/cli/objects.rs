//! `routectl get`, `apply` and `delete`: the objects of the cluster.

use std::path::PathBuf;

use clap::Args;
use routenet_core::model::yaml::{objects_to_yaml, read_documents, render_errors};
use routenet_core::model::{Kind, Object, table as object_table};
use routenet_core::policy::compare::PartyName;
use serde_json::{Value, json};

use super::output::{Format, counted, table};
use super::{Answer, CliError, REFUSED, input};
use crate::api::client::Client;
use crate::api::listing::{Change, ChangeReply, Connections, DiffReply, GetReply, Outcome};
use crate::api::{ObjectName, Request};

/// The namespace that is meant where none is given.
const DEFAULT_NAMESPACE: &str = "default";

fn kind_or_all(word: &str) -> Result<KindWord, String> {
    match word {
        "all" => Ok(KindWord(None)),
        word => one_kind(word).map(|kind| KindWord(Some(kind))),
    }
}

fn one_kind(word: &str) -> Result<Kind, String> {
    Kind::from_word(word).map_err(|error| error.to_string())
}

/// A kind, or `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindWord(Option<Kind>);

/// Print objects: all of a kind, or one by name
///
/// Objects come in the shape in which `apply` takes them: `-o yaml` can be edited and applied again.
#[derive(Debug, Args)]
#[command(after_long_help = "\
EXAMPLES
  routectl get pools
  routectl get gnp deny-db -o yaml > deny-db.yaml
  routectl get np -n shop -o wide
  routectl get all -o json

EXIT STATUS
  0  printed (a kind without objects is no error)
  1  there is no object of that name
  2  the command line is wrong, or the agent cannot be asked")]
pub struct GetArgs {
    /// A kind (`routectl --help` lists them), or `all`
    #[arg(value_parser = kind_or_all)]
    kind: KindWord,
    /// Only the object of this name
    name: Option<String>,
    /// The namespace of an object that lies in one [default: every one, or `default` with a NAME]
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl GetArgs {
    pub fn run(self, client: &Client) -> Result<Answer, CliError> {
        let KindWord(kind) = self.kind;
        if kind.is_none() && self.name.is_some() {
            return Err(CliError::Input("a name needs a kind: `routectl get KIND NAME`".to_string()));
        }
        let one = self.name.is_some();
        let namespace = self
            .namespace
            .or_else(|| (one && kind.is_some_and(Kind::is_namespaced)).then(|| DEFAULT_NAMESPACE.to_string()));
        let word = kind.map_or("all", Kind::word).to_string();
        let reply: GetReply = client.call(&Request::Get { kind: word, name: self.name, namespace })?;
        let text = match self.output {
            Format::Json => {
                let value = match reply.objects.as_slice() {
                    [object] if one => object.clone(),
                    objects => json!({ "apiVersion": "v1", "kind": "List", "items": objects }),
                };
                format!("{value:#}\n")
            }
            Format::Yaml => objects_to_yaml(&reply.objects),
            Format::Table | Format::Wide => tables(&typed(&reply.objects)?, kind, self.output.is_wide()),
        };
        Ok(Answer::good(text))
    }
}

/// The objects as typed values: the agent's words are read as a file's are.
fn typed(values: &[Value]) -> Result<Vec<Object>, CliError> {
    let mut objects = Vec::new();
    for value in values {
        let read = read_documents("the agent's reply", &value.to_string());
        let read = read.map_err(|errors| CliError::Input(render_errors(&errors)))?;
        objects.extend(read.into_iter().map(|object| object.value));
    }
    Ok(objects)
}

/// One table a kind; with a kind given, its table only.
fn tables(objects: &[Object], kind: Option<Kind>, wide: bool) -> String {
    let of = |kind: Kind| -> Vec<Vec<String>> {
        objects.iter().filter(|object| object.kind() == kind).map(|object| object_table::row(object, wide)).collect()
    };
    match kind {
        Some(kind) => table(&object_table::columns(kind, wide), of(kind), &format!("no {kind} objects")),
        None if objects.is_empty() => "no objects\n".to_string(),
        None => {
            let kinds = Kind::ALL.into_iter().map(|kind| (kind, of(kind))).filter(|(_, rows)| !rows.is_empty());
            let parts =
                kinds.map(|(kind, rows)| format!("{kind}\n{}", table(&object_table::columns(kind, wide), rows, "")));
            parts.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Write objects from YAML: all of them, or none
///
/// Everything is read and checked before anything is written: each file by itself (unknown fields, wrong values), and
/// the objects together with those of the cluster (overlapping pools, networks without pools). Every error is printed
/// with its file, line, object and field, and then nothing was changed.
///
/// Takes Calico's `projectcalico.org/v3` objects and our own `routenet/v1` ones, several to a file with `---` between
/// them, and lists as `get -o yaml` prints them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
EXAMPLES
  routectl apply -f policies/demo/
  routectl apply -f pools.yaml -f networks.yaml
  routectl get gnp deny-db -o yaml | sed s/Deny/Allow/ | routectl apply -f -
  routectl apply --diff -f policies/demo/
  routectl apply --confirm 60s -f policies/host-protection/
  routectl apply --cut -f policies/quarantine/

EXIT STATUS
  0  all is written (or was so already); with --diff: nothing would change
  1  something is invalid or refused: nothing was changed; with --diff: something would
  2  a file cannot be read, the command line is wrong, or the agent cannot be asked")]
pub struct ApplyArgs {
    /// A file, a directory (its .yaml, .yml and .json files), or `-` for standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", required = true)]
    file: Vec<PathBuf>,
    /// Write nothing; say which objects would change, and who would then reach whom by what
    #[arg(long)]
    diff: bool,
    /// Put back what was there before, unless `routectl confirm` says within this time that it is to stay: 60s, 5m
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "diff")]
    confirm: Option<u32>,
    /// End the established connections that policy then denies, on every node; without it they live on
    #[arg(long, conflicts_with = "diff")]
    cut: bool,
}

/// `60s`, `5m`, `1h`; up to a day.
fn seconds(text: &str) -> Result<u32, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let each = match &text[number.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("\"{text}\" is no time: write it like 60s, 5m or 1h")),
    };
    match number.parse::<u32>().ok().and_then(|number| number.checked_mul(each)) {
        Some(seconds @ 1..=86_400) => Ok(seconds),
        _ => Err(format!("\"{text}\" is no time from 1s to 24h")),
    }
}

impl ApplyArgs {
    pub fn run(self, client: &Client) -> Result<Answer, CliError> {
        let documents = input::documents(&self.file)?;
        if self.diff {
            let reply: DiffReply = client.call(&Request::Diff { documents })?;
            let same = reply.changes.iter().all(|change| change.outcome == Outcome::Unchanged);
            return Ok(Answer { text: diff_lines(&reply), exit: if same { 0 } else { REFUSED } });
        }
        let reply: ChangeReply = client.call(&Request::Apply { documents, confirm: self.confirm, cut: self.cut })?;
        let mut text = changed_lines(&reply);
        if let (Some(id), Some(seconds)) = (&reply.confirm, self.confirm) {
            text += &format!(
                "rolled back in {}, unless you say: routectl confirm {id}\n",
                counted(seconds.into(), "second")
            );
        }
        Ok(Answer::good(text))
    }
}

/// Keep what `apply --confirm` wrote
#[derive(Debug, Args)]
#[command(after_long_help = "\
EXIT STATUS
  0  it stays
  1  nothing waits under this name: it was confirmed, or rolled back
  2  the command line is wrong, or the agent cannot be asked")]
pub struct ConfirmArgs {
    /// The name that `apply --confirm` printed
    id: String,
}

impl ConfirmArgs {
    pub fn run(self, client: &Client) -> Result<Answer, CliError> {
        client.call::<()>(&Request::Confirm { id: self.id.clone() })?;
        Ok(Answer::good(format!("{} stays\n", self.id)))
    }
}

/// Delete objects, by kind and name or as YAML names them: all of them, or none
///
/// What others still need is refused, by name: a pool that a network draws from, for one.
#[derive(Debug, Args)]
#[command(
    override_usage = "routectl delete [OPTIONS] <KIND> <NAME>...\n       routectl delete [OPTIONS] -f <FILE|DIR|->...",
    after_long_help = "\
EXAMPLES
  routectl delete gnp deny-db
  routectl delete np allow-web -n shop
  routectl delete -f policies/demo/

EXIT STATUS
  0  they are gone (with -f also: they were not there)
  1  there is no object of that name, or something needs it: nothing was changed
  2  a file cannot be read, the command line is wrong, or the agent cannot be asked"
)]
pub struct DeleteArgs {
    /// A kind (`routectl --help` lists them)
    #[arg(value_parser = one_kind, requires = "name", required_unless_present = "file")]
    kind: Option<Kind>,
    /// The names of the objects
    name: Vec<String>,
    /// The namespace of an object that lies in one
    #[arg(short, long, value_name = "NS", default_value = DEFAULT_NAMESPACE, conflicts_with = "file")]
    namespace: String,
    /// A file, a directory, or `-`, with the objects to delete; may be repeated
    #[arg(short, long = "filename", value_name = "FILE|DIR|-", conflicts_with = "kind")]
    file: Vec<PathBuf>,
    /// End the established connections that policy then denies, on every node; without it they live on
    #[arg(long)]
    cut: bool,
}

impl DeleteArgs {
    pub fn run(self, client: &Client) -> Result<Answer, CliError> {
        let documents = input::documents(&self.file)?;
        let names = match self.kind {
            None => Vec::new(),
            Some(kind) => self
                .name
                .into_iter()
                .map(|name| ObjectName {
                    kind: kind.word().to_string(),
                    namespace: kind.is_namespaced().then(|| self.namespace.clone()),
                    name,
                })
                .collect(),
        };
        let reply: ChangeReply = client.call(&Request::Delete { documents, names, cut: self.cut })?;
        Ok(Answer::good(changed_lines(&reply)))
    }
}

/// What was done, and what is to be known of it.
fn changed_lines(reply: &ChangeReply) -> String {
    let mut text = change_lines(&reply.changes);
    if let Some(Connections { node, count, cut }) = &reply.connections {
        let connections = counted(*count as u64, "established connection");
        text += &match cut {
            true => format!("{connections} that policy denies ended on {node}; every other node ends its own\n"),
            false => format!(
                "{connections} on {node} that policy denies by now will go on; --cut ends such, on every node\n"
            ),
        };
    }
    text.extend(reply.warnings.iter().map(|warning| format!("warning: {warning}\n")));
    text
}

fn diff_lines(reply: &DiffReply) -> String {
    let mut text: String = change_lines(&reply.changes).lines().map(|line| format!("would: {line}\n")).collect();
    let verdicts = &reply.verdicts;
    let party = |party: &PartyName| match party.others {
        0 => party.name.clone(),
        others => format!("{} (and {others} like it)", party.name),
    };
    for one in &verdicts.differences {
        let (from, to, traffic) = (party(&one.from), party(&one.to), one.traffic.join(", "));
        text += &format!("{} -> {}: {from} to {to}: {traffic}\n    {}\n", one.before, one.after, one.decided_by);
    }
    let pairs = counted(verdicts.pairs as u64, "pair");
    text += &match verdicts.differences.len() {
        0 => format!("no verdict would change ({pairs} looked at)\n"),
        count => format!("{} would change ({pairs} looked at)\n", counted(count as u64, "verdict")),
    };
    if let Some(why) = &verdicts.incomplete {
        text += &format!("not all was looked at: stopped {why}\n");
    }
    text
}

/// A line each, and at the end how many are as they were.
fn change_lines(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let name = match &change.namespace {
            Some(namespace) => format!("{namespace}/{}", change.name),
            None => change.name.clone(),
        };
        text += &format!("{} {name} {}\n", change.kind, outcome_word(change.outcome));
    }
    if text.is_empty() {
        text = format!("{}: nothing to do\n", counted(0, "object"));
    }
    text
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Changed => "changed",
        Outcome::Unchanged => "unchanged",
        Outcome::Deleted => "deleted",
        Outcome::Absent => "was not there",
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
