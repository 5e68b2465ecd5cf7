//! `bfd:` of a BGP neighbour, in and out: `true`, `false`, or a mapping with what shall differ from the defaults.

use serde_json::{Map, Value};

use super::fields::{At, optional};
use crate::model::BfdSettings;

/// Below this a thread of a busy machine is late more often than a link fails; above it nobody needs BFD.
const INTERVAL: std::ops::RangeInclusive<u32> = 10..=60_000;

/// `None` inside: without BFD.
pub fn read_bfd(at: &At<'_>) -> Option<Option<BfdSettings>> {
    if !at.is_mapping() {
        return at.boolean().map(|on| on.then(BfdSettings::default));
    }
    let mut fields = at.fields()?;
    let defaults = BfdSettings::default();
    let interval = fields.take("interval").map(|at| read_interval(&at));
    let multiplier = fields.take("multiplier").map(|at| at.integer(1, 255).map(|number| number as u8));
    let multihop = fields.take("multihop").map(|at| at.boolean());
    let least = fields.take("minimumTTL");
    fields.finish();
    let multihop = multihop.unwrap_or(Some(false))?;
    let minimum_ttl = optional(least.map(|at| match at.integer(1, 255)? as u8 {
        least if multihop => Some(least),
        _ => at.fail(
            "a neighbour on the link is always held to a TTL of 255",
            Some("remove it, or write `multihop: true` beside it".to_string()),
        ),
    }));
    Some(Some(BfdSettings {
        interval_ms: interval.unwrap_or(Some(defaults.interval_ms))?,
        multiplier: multiplier.unwrap_or(Some(defaults.multiplier))?,
        multihop,
        minimum_ttl: minimum_ttl?,
    }))
}

/// `100ms`, `1s`.
fn read_interval(at: &At<'_>) -> Option<u32> {
    let text = at.word("a time such as 100ms")?;
    let millis = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => number.trim().parse::<u32>().ok(),
        (None, Some(number)) => number.trim().parse::<u32>().ok().and_then(|seconds| seconds.checked_mul(1000)),
        (None, None) => None,
    };
    match millis {
        Some(millis) if INTERVAL.contains(&millis) => Some(millis),
        Some(_) => at
            .fail(format!("\"{text}\" is out of range: expected {}ms to {}ms", INTERVAL.start(), INTERVAL.end()), None),
        None => {
            let mend = text.parse::<u32>().is_ok().then(|| format!("write {text}ms"));
            at.fail(format!("\"{text}\" is no time: expected one such as 100ms or 1s"), mend)
        }
    }
}

/// As [`read_bfd`] takes it; nothing without BFD.
pub fn bfd_value(bfd: Option<BfdSettings>) -> Option<Value> {
    let bfd = bfd?;
    let mut map = Map::new();
    map.insert("interval".into(), format!("{}ms", bfd.interval_ms).into());
    map.insert("multiplier".into(), bfd.multiplier.into());
    if bfd.multihop {
        map.insert("multihop".into(), true.into());
    }
    if let Some(least) = bfd.minimum_ttl {
        map.insert("minimumTTL".into(), least.into());
    }
    Some(map.into())
}
