//! The options of a BGP neighbour, from YAML and back: the same keys in a BGPPeer and in the node's file.

use serde_json::{Map, Value};

use super::bgp::read_as_number;
use super::fields::{At, Fields, optional};
use crate::model::peering::{AddPaths, BgpRole, MaxPrefixes, NextHopMode, PeerAs, PeerOptions, SentPaths};

const NEXT_HOP: [(&str, NextHopMode); 3] =
    [("Auto", NextHopMode::Auto), ("Self", NextHopMode::Own), ("Keep", NextHopMode::Keep)];
/// Percent of the limit.
const WARNING: u8 = 75;

/// Takes every option; `of` is the neighbour's AS, if it could be read.
pub fn read_options(fields: &mut Fields<'_>, of: Option<PeerAs>) -> Option<PeerOptions> {
    let (internal, external) = (of == Some(PeerAs::INTERNAL), of == Some(PeerAs::EXTERNAL));
    let reflector_client = fields.take("reflectorClient").map(|at| match at.boolean()? {
        true if external => at.fail(
            "routes are reflected to neighbours of our own AS, and this one is external".to_string(),
            Some("remove it, or write `internal` for its AS".to_string()),
        ),
        client => Some(client),
    });
    let next_hop = fields.take("nextHopMode").map(|at| at.one_of("next hop mode", &NEXT_HOP));
    let local_as = fields.take("localASNumber").map(|at| match read_as_number(&at)? {
        _ if internal => at.fail(
            "an internal neighbour has the AS of this node, and we are of another one for it".to_string(),
            Some("write the neighbour's AS number instead of `internal`".to_string()),
        ),
        number => Some(number),
    });
    let allowed = fields.take("numAllowedLocalASNumbers").map(|at| at.integer(0, 10).map(|times| times as u8));
    let max_prefixes = fields.take("maxPrefixes").map(|at| read_max_prefixes(&at));
    let long_lived = fields.take("longLivedTime").map(|at| read_long_lived(&at));
    let delay_open = fields.take("delayOpen").map(|at| at.integer(0, 240).map(|seconds| seconds as u16));
    let role =
        fields.take("role").map(|at| match at.one_of("BGP role", &BgpRole::ALL.map(|role| (role.word(), role)))? {
            _ if internal => at.fail(
                "roles are those of two ASes (RFC 9234), and this neighbour is internal".to_string(),
                Some("remove it, or write `external` for its AS".to_string()),
            ),
            role => Some(role),
        });
    let role_strict = fields.take("roleStrict").map(|at| match at.boolean()? {
        true if role.is_none() => {
            at.fail("there is no role to be strict about", Some("write `role` beside it".to_string()))
        }
        strict => Some(strict),
    });
    let extended_next_hop = fields.take("extendedNextHop").map(|at| at.boolean());
    let add_paths = fields.take("addPaths").map(|at| read_add_paths(&at));
    let filters = fields.take("filters").map(|at| at.all(|name| name.text().map(str::to_string)));
    Some(PeerOptions {
        reflector_client: reflector_client.unwrap_or(Some(false))?,
        next_hop: next_hop.unwrap_or(Some(NextHopMode::Auto))?,
        local_as: optional(local_as)?,
        allowed_local_as: allowed.unwrap_or(Some(0))?,
        max_prefixes: optional(max_prefixes)?,
        long_lived_time: optional(long_lived)?,
        delay_open: delay_open.unwrap_or(Some(0))?,
        role: optional(role)?,
        role_strict: role_strict.unwrap_or(Some(false))?,
        classic_next_hop: !extended_next_hop.unwrap_or(Some(true))?,
        add_paths: add_paths.unwrap_or(Some(AddPaths::default()))?,
        filters: filters.unwrap_or_else(|| Some(Vec::new()))?,
    })
}

/// Seconds, of which a capability has 24 bits (RFC 9494 3.1); 0 is off.
pub fn read_long_lived(at: &At<'_>) -> Option<u32> {
    at.integer(0, 0x00ff_ffff).map(|seconds| seconds as u32)
}

fn read_max_prefixes(at: &At<'_>) -> Option<MaxPrefixes> {
    let mut fields = at.fields()?;
    let most = u64::from(u32::MAX);
    let limit = fields.required("limit", "the most prefixes of a family").and_then(|at| at.integer(1, most));
    let warning = fields.take("warning").map(|at| at.integer(1, 100).map(|percent| percent as u8));
    // RFC 4486 section 4 leaves the wait to us; less than a few seconds would only be a loop.
    let restart = fields.take("restart").map(|at| at.integer(5, 604_800).map(|seconds| seconds as u32));
    fields.finish();
    Some(MaxPrefixes { limit: limit? as u32, warning: warning.unwrap_or(Some(WARNING))?, restart: optional(restart)? })
}

fn read_add_paths(at: &At<'_>) -> Option<AddPaths> {
    let mut fields = at.fields()?;
    let receive = fields.take("receive").map(|at| at.boolean());
    let send = fields.take("send").map(|at| read_sent_paths(&at));
    fields.finish();
    Some(AddPaths { receive: receive.unwrap_or(Some(false))?, send: send.unwrap_or(Some(SentPaths::None))? })
}

fn read_sent_paths(at: &At<'_>) -> Option<SentPaths> {
    let (least, most) = (*SentPaths::BEST.start(), *SentPaths::BEST.end());
    match at.word("`none`, `all` or a number of paths")? {
        "none" => Some(SentPaths::None),
        "all" => Some(SentPaths::All),
        word if word.starts_with(|first: char| first.is_ascii_digit()) => {
            at.integer(least.into(), most.into()).map(|number| SentPaths::Best(number as u8))
        }
        word => at.fail(
            format!("\"{word}\" is not a number of paths"),
            Some(format!("write `none`, `all`, or {least} to {most} for so many of the best")),
        ),
    }
}

/// Those that are not what they are without being written.
pub fn write_options(options: &PeerOptions) -> Vec<(&'static str, Value)> {
    let next_hop = NEXT_HOP.iter().find(|(_, mode)| *mode == options.next_hop).map(|(word, _)| *word);
    let written = [
        ("reflectorClient", options.reflector_client.then_some(Value::Bool(true))),
        ("nextHopMode", next_hop.filter(|_| options.next_hop != NextHopMode::Auto).map(Value::from)),
        ("localASNumber", options.local_as.map(Value::from)),
        ("numAllowedLocalASNumbers", Some(options.allowed_local_as).filter(|times| *times > 0).map(Value::from)),
        ("maxPrefixes", options.max_prefixes.as_ref().map(write_max_prefixes)),
        ("longLivedTime", options.long_lived_time.map(Value::from)),
        ("delayOpen", Some(options.delay_open).filter(|seconds| *seconds > 0).map(Value::from)),
        ("role", options.role.map(|role| Value::from(role.word()))),
        ("roleStrict", options.role_strict.then_some(Value::Bool(true))),
        ("extendedNextHop", options.classic_next_hop.then_some(Value::Bool(false))),
        ("addPaths", Some(&options.add_paths).filter(|it| **it != AddPaths::default()).map(write_add_paths)),
        ("filters", Some(&options.filters).filter(|names| !names.is_empty()).map(|names| names.clone().into())),
    ];
    written.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn write_add_paths(add_paths: &AddPaths) -> Value {
    let send = match add_paths.send {
        SentPaths::None => Value::from("none"),
        SentPaths::All => Value::from("all"),
        SentPaths::Best(number) => number.into(),
    };
    Map::from_iter([("receive".to_string(), add_paths.receive.into()), ("send".to_string(), send)]).into()
}

fn write_max_prefixes(bound: &MaxPrefixes) -> Value {
    let mut map = Map::new();
    map.insert("limit".into(), bound.limit.into());
    map.insert("warning".into(), bound.warning.into());
    if let Some(restart) = bound.restart {
        map.insert("restart".into(), restart.into());
    }
    map.into()
}
