//! What was written of a neighbour and does nothing, in words.

use routenet_core::bgp::speaker::{Ineffective, IneffectiveOption, PeerSource, Twin};

use super::{Found, found};

pub(super) fn problem(ineffective: &Ineffective) -> Found {
    match ineffective {
        Ineffective::Peer(twin) => twin_problem(twin),
        Ineffective::Option(option) => option_problem(option),
    }
}

fn twin_problem(Twin { name, by, source, place }: &Twin) -> Found {
    let (who, mend) = match source {
        PeerSource::Peer => {
            ("BGPPeers", "take one of the two away, or give each nodes of its own (`node`, `nodeSelector`)")
        }
        PeerSource::Config | PeerSource::Range | PeerSource::Node => {
            ("`bgp.peers`", "take one of the two out of the file")
        }
    };
    found("bgp", format!("{who} {by} and {name} are both for {place} on this node: only {by} counts"), mend)
}

fn option_problem(option: &IneffectiveOption) -> Found {
    let IneffectiveOption { name, source, option, as_number, local_as, why } = option;
    let (whose, key) = match source {
        PeerSource::Peer => ("BGPPeer", "asNumber"),
        PeerSource::Config | PeerSource::Range | PeerSource::Node => ("neighbour", "as"),
    };
    let theirs = as_number.map_or("not ours".to_string(), |number| number.to_string());
    let what =
        format!("`{option}` of {whose} {name} has no effect: {why}, its AS is {theirs}, and ours is {local_as} there");
    found("bgp", what, &format!("take `{option}` out, or mend its `{key}`"))
}
