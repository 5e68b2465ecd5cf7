//! How BFD with a neighbour is, in the words of the local API.

use routenet_core::bfd::engine::Status;
use routenet_core::bfd::packet::{Diagnostic, State as Up};
use routenet_core::bgp::speaker::PeerStatus;

use super::Report;
use crate::api::listing::BfdLine;

/// `None`: it is not configured.
pub fn line(report: &Report, peer: &PeerStatus) -> Option<BfdLine> {
    let multihop = peer.config.bfd?.multihop;
    let found = report.sessions.get_key_value(&super::neighbor(peer.address, multihop));
    let Some((neighbor, bfd)) = found else {
        return Some(BfdLine {
            state: "Down".to_string(),
            why: Some("there is no session".to_string()),
            ..BfdLine::default()
        });
    };
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Some(BfdLine {
        state: bfd.state.to_string(),
        since_secs: bfd.lasting.as_secs(),
        why: why_down(bfd, report.unsent.get(neighbor)),
        remote_state: bfd.remote.map(|(state, _)| state.to_string()),
        transmit_interval_ms: millis(bfd.transmit_interval),
        detection_time_ms: bfd.detection_time.map(millis),
        sessions: bfd.ups,
        discarded: bfd.discarded,
        last_discard: bfd.last_discard.map(|discard| discard.to_string()),
    })
}

/// Nothing while it is Up.
fn why_down(bfd: &Status, unsent: Option<&String>) -> Option<String> {
    if bfd.state == Up::Up {
        return None;
    }
    if let Some(error) = unsent {
        return Some(format!("packets do not go out: {error}"));
    }
    if bfd.ended_by_neighbor {
        return Some("the neighbour's administrator ended it".to_string());
    }
    let heard = match (bfd.remote, bfd.last_discard) {
        (Some((state, diagnostic)), _) if diagnostic != Diagnostic::NONE => {
            format!("; the neighbour says {state} ({diagnostic})")
        }
        (Some((state, _)), _) => format!("; the neighbour says {state}"),
        (None, Some(discard)) => format!("; the last packet was not taken: {discard}"),
        (None, None) => "; nothing is heard from the neighbour".to_string(),
    };
    Some(match bfd.diagnostic {
        Diagnostic::NONE => format!("never up{heard}"),
        diagnostic => format!("{diagnostic}{heard}"),
    })
}
