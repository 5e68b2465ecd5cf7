//! `routectl bgp neighbor`, `bgp route` and `bgp reset`: one neighbour, one prefix.

use clap::Args;

use super::listings::{OutputArgs, bfd_words};
use super::output::{as_word, duration, joined, or_dash};
use super::{Answer, CliError};
use crate::api::Request;
use crate::api::client::Client;
use crate::api::listing::{MessageCounts, NeighborReply, Past, RouteReply, Stale};

/// Bytes of a message that are shown.
const SHOWN: usize = 64;

/// All that is known of one neighbour
#[derive(Debug, Args)]
pub struct NeighborArgs {
    /// Its name or address, as in `routectl bgp neighbors`
    #[arg(value_name = "NAME|ADDRESS")]
    name: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl NeighborArgs {
    pub fn run(self, client: &Client) -> Result<Answer, CliError> {
        let reply: NeighborReply = client.call(&Request::BgpNeighbor { name: self.name })?;
        Ok(Answer::good(self.output.output.data(&reply).unwrap_or_else(|| neighbor(&reply))))
    }
}

/// The routes to a prefix, and why the best is the best
#[derive(Debug, Args)]
pub struct RouteArgs {
    /// A prefix or an address; the longest prefix with a route that covers it is shown
    #[arg(value_name = "PREFIX|ADDRESS")]
    prefix: String,
    #[command(flatten)]
    output: OutputArgs,
}

impl RouteArgs {
    pub fn run(self, client: &Client) -> Result<Answer, CliError> {
        let routes: Vec<RouteReply> = client.call(&Request::BgpRoute { prefix: self.prefix })?;
        let text = || routes.iter().map(route).collect::<String>();
        Ok(Answer::good(self.output.output.data(&routes).unwrap_or_else(text)))
    }
}

/// End the session with a neighbour, and begin anew
///
/// It hears Cease, Administrative Reset. One whose session was ended for sending too many prefixes is tried again.
#[derive(Debug, Args)]
pub struct ResetArgs {
    /// Its name or address, or `all`
    #[arg(value_name = "NAME|ADDRESS|all")]
    name: String,
}

impl ResetArgs {
    pub fn run(self, client: &Client) -> Result<Answer, CliError> {
        let whom: Vec<String> = client.call(&Request::BgpReset { name: self.name })?;
        Ok(Answer::good(format!("reset: {}\n", joined(&whom))))
    }
}

/// `words` beside each other, in two columns.
fn lines(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(what, said)| format!("  {what:<14}{said}\n")).collect()
}

fn neighbor(reply: &NeighborReply) -> String {
    let line = &reply.line;
    let said = |past: &Option<Past>| or_dash(past.as_ref().map(ago));
    let mut rows = vec![
        ("state", format!("{} for {}", line.state, duration(line.since_secs))),
        ("router id", or_dash(line.router_id)),
        ("hold time", or_dash(line.hold_time.map(|seconds| format!("{seconds} s")))),
        ("agreed", joined(&line.capabilities)),
        ("import", line.import.clone()),
    ];
    if !reply.options.is_empty() {
        let options = reply.options.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>();
        rows.push(("options", joined(&options)));
    }
    if let Some(bfd) = &line.bfd {
        rows.push(("BFD", bfd_words(bfd)));
    }
    let waiting = if reply.waiting { ", more to come" } else { "" };
    let retained = match (&reply.stale, reply.retained) {
        (Some(stale), _) => stale_words(stale),
        (None, true) => ", kept from before its restart".to_string(),
        (None, false) => String::new(),
    };
    rows.extend([
        ("routes in", format!("{} accepted of {}{retained}", line.accepted, line.received)),
        ("routes out", format!("{}{waiting}", line.advertised)),
        ("messages in", counts(&reply.messages_received)),
        ("messages out", counts(&reply.messages_sent)),
        ("sessions", line.sessions.to_string()),
        ("last error", or_dash(line.last_error.clone())),
        ("we said", said(&reply.last_notification_sent)),
        ("it said", said(&reply.last_notification_received)),
    ]);
    let mut malformed = reply.malformed.to_string();
    if reply.malformed > 0 {
        malformed = format!(
            "{malformed} UPDATEs (RFC 7606): {} treated as withdrawn, {} attributes discarded, {} prefixes ignored, {} \
             sessions reset",
            reply.treated_as_withdraw, reply.attributes_discarded, reply.prefixes_ignored, reply.sessions_reset
        );
    }
    rows.push(("malformed", malformed));
    if let Some(last) = &reply.last_malformed {
        rows.push(("  the last", ago(&last.past)));
        rows.push(("  its bytes", or_dash(Some(&last.bytes).filter(|bytes| !bytes.is_empty()))));
        rows.push(("  in", beginning(&last.update)));
    }
    rows.extend(reply.notes.iter().map(|note| ("note", note.clone())));
    rows.extend(reply.history.iter().rev().map(|past| ("event", ago(past))));
    format!("{} ({}, AS {})\n{}", line.name, line.address, as_word(line.as_number), lines(&rows))
}

fn stale_words(stale: &Stale) -> String {
    let (since, left) = (duration(stale.since_secs), duration(stale.left_secs));
    let choice = if stale.long_lived { "as the last choice (RFC 9494), " } else { "" };
    format!(", kept from before its restart {choice}for {since}, for {left} more")
}

fn ago(past: &Past) -> String {
    format!("{} ({} ago)", past.what, duration(past.secs_ago))
}

/// A message in hexadecimal, as much of it as a terminal is for.
fn beginning(message: &str) -> String {
    match message.get(..2 * SHOWN).filter(|beginning| beginning.len() < message.len()) {
        Some(beginning) => format!("{beginning}... ({} bytes; `-o json` has all)", message.len() / 2),
        None => or_dash(Some(message).filter(|message| !message.is_empty())),
    }
}

fn counts(counts: &MessageCounts) -> String {
    let MessageCounts { opens, updates, notifications, keepalives, refreshes } = counts;
    format!(
        "{opens} OPEN, {updates} UPDATE, {keepalives} KEEPALIVE, {refreshes} ROUTE-REFRESH, {notifications} NOTIFICATION"
    )
}

fn route(reply: &RouteReply) -> String {
    let line = &reply.line;
    let from = match (&line.from, reply.external) {
        (None, _) => "this node".to_string(),
        (Some(name), true) => format!("{name}, eBGP"),
        (Some(name), false) => format!("{name}, iBGP"),
    };
    let stale = if line.stale { ", stale (kept while the neighbour restarts)" } else { "" };
    let why = reply.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let list = |words: &[String]| (!words.is_empty()).then(|| joined(words));
    let mut rows = vec![
        ("from", from),
        ("next hop", or_dash(line.next_hop.as_ref())),
        ("AS path", or_dash(Some(&line.as_path).filter(|path| !path.is_empty()))),
        ("origin", line.origin.clone()),
    ];
    let path_id = match (reply.path_id, reply.told_as) {
        (Some(id), Some(told)) => Some(format!("{id}, told as {told}")),
        (Some(id), None) => Some(id.to_string()),
        (None, told) => told.map(|told| format!("told as {told}")),
    };
    let optional = [
        ("path id", path_id),
        ("local pref", line.local_pref.map(|value| value.to_string())),
        ("MED", line.med.map(|value| value.to_string())),
        ("communities", list(&line.communities.iter().map(|one| community(one)).collect::<Vec<_>>())),
        ("large", list(&reply.large_communities)),
        ("extended", list(&reply.extended_communities)),
        ("router id", reply.router_id.map(|id| id.to_string())),
        ("originator", reply.originator_id.map(|id| id.to_string())),
        ("cluster list", list(&reply.cluster_list.iter().map(|id| id.to_string()).collect::<Vec<_>>())),
        ("OTC", reply.otc.map(|number| number.to_string())),
        ("aggregator", reply.aggregator.clone()),
        ("unknown", list(&reply.unknown_attributes.iter().map(|code| code.to_string()).collect::<Vec<_>>())),
    ];
    rows.extend(optional.into_iter().filter_map(|(what, said)| Some((what, said?))));
    format!("{} {}{why}{stale}\n{}", line.prefix, reply.standing, lines(&rows))
}

/// Those that have a name, with it (RFC 1997, RFC 8326, RFC 9494).
fn community(value: &str) -> String {
    let name = match value {
        "65535:0" => "GRACEFUL_SHUTDOWN",
        "65535:6" => "LLGR_STALE",
        "65535:7" => "NO_LLGR",
        "65535:65281" => "NO_EXPORT",
        "65535:65282" => "NO_ADVERTISE",
        "65535:65283" => "NO_EXPORT_SUBCONFED",
        _ => return value.to_string(),
    };
    format!("{value} ({name})")
}

#[cfg(test)]
#[path = "bgp_tests.rs"]
mod tests;
