//! `peers:` of the node's configuration, from YAML: of the speaker, and of a node without a store.

use std::net::{IpAddr, SocketAddr};

use super::PeerRange;
use crate::model::yaml::fields::{At, Fields, optional};
use crate::model::yaml::pool::read_cidr;
use crate::model::yaml::{self, read_hold_time, read_peer_as};
use crate::model::{BgpPeer, ImportPolicy};

/// Peers of one range at a time, where the file does not say.
const RANGE_LIMIT: u32 = 100;

pub(super) fn read_peers(at: &At<'_>) -> Vec<BgpPeer> {
    let mut peers: Vec<BgpPeer> = Vec::new();
    at.each(|item| {
        let peer = read_peer(&item)?;
        // A neighbour is known by where it connects from, which says nothing of the port that it listens on.
        let same = |other: &&BgpPeer| (other.address, &other.interface) == (peer.address, &peer.interface);
        if let Some(other) = peers.iter().find(same) {
            let what = format!("{} is the address of peer {} already", peer.place(), other.name);
            return item.fail(what, Some("remove one of them, or give each an address of its own".to_string()));
        }
        if peers.iter().any(|other| other.name == peer.name) {
            return item.fail(format!("a second peer by the name {}", peer.name), Some("rename it".to_string()));
        }
        peers.push(peer);
        Some(())
    });
    peers
}

fn read_peer(at: &At<'_>) -> Option<BgpPeer> {
    let mut fields = at.fields()?;
    let name = fields.take("name").map(|at| at.text().map(str::to_string));
    let place = match yaml::read_unnumbered(&mut fields, "address") {
        Some(None) => fields.required("address", "the address of the peer").and_then(|at| {
            let text = at.word("an address")?;
            match text.parse::<SocketAddr>() {
                Ok(socket) => {
                    let mend = format!("write `address: {}` and `port: {}`", socket.ip(), socket.port());
                    at.fail(format!("\"{text}\" is not the address of a peer"), Some(mend))
                }
                Err(_) => yaml::read_place(&at, text),
            }
        }),
        unnumbered => unnumbered.flatten(),
    };
    let port = fields.take("port").map(|at| at.integer(1, 65535).map(|port| port as u16));
    let passive = fields.take("passive").map(|at| at.boolean());
    let rest = read_rest(&mut fields);
    fields.finish();
    let (address, interface) = place?;
    let port = port.unwrap_or(Some(yaml::BGP_PORT))?;
    let peer = BgpPeer { address, interface, port, passive: passive.unwrap_or(Some(false))?, ..rest? };
    let usual_name = match port {
        yaml::BGP_PORT => peer.place(),
        port if peer.address.is_ipv4() => format!("{}:{port}", peer.place()),
        port => format!("[{}]:{port}", peer.place()),
    };
    Some(BgpPeer { name: name.unwrap_or(Some(usual_name))?, ..peer })
}

/// `bgp.listenRanges`.
pub(super) fn read_ranges(at: &At<'_>) -> Option<Vec<PeerRange>> {
    at.all(|item| read_range(&item))
}

fn read_range(at: &At<'_>) -> Option<PeerRange> {
    let mut fields = at.fields()?;
    let prefix = fields.required("prefix", "where the peers connect from").and_then(|at| read_cidr(&at));
    let limit = fields.take("limit").map(|at| at.integer(1, 10_000).map(|limit| limit as u32));
    // The kernel's password of a range would be everybody's.
    if let Some(at) = fields.take("passwordFile") {
        at.fail::<()>("a range has no password", Some("give the peer its own entry in `peers`".to_string()));
    }
    let rest = read_rest(&mut fields);
    fields.finish();
    let prefix = prefix?;
    let peer = BgpPeer { name: prefix.to_string(), address: prefix.address(), passive: true, ..rest? };
    Some(PeerRange { prefix, limit: limit.unwrap_or(Some(RANGE_LIMIT))?, peer })
}

/// What a peer and a range have in common; of nobody yet.
fn read_rest(fields: &mut Fields<'_>) -> Option<BgpPeer> {
    let as_number = fields.required("as", "the AS number of the peer").and_then(|at| read_peer_as(&at));
    let import = fields.take("import").map(|at| yaml::import_policy(&at));
    let hold_time = fields.take("holdTime").map(|at| read_hold_time(&at));
    let transport = yaml::read_transport(fields);
    let options = yaml::read_options(fields, as_number);
    let bfd = fields.take("bfd").map(|at| yaml::read_bfd(&at));
    Some(BgpPeer {
        name: String::new(),
        node: None,
        node_selector: None,
        address: IpAddr::from([0; 4]),
        interface: None,
        port: yaml::BGP_PORT,
        as_number: as_number?,
        passive: false,
        import: import.unwrap_or(Some(ImportPolicy::None))?,
        hold_time: optional(hold_time)?,
        transport: transport?,
        options: options?,
        bfd: bfd.unwrap_or(Some(None))?,
    })
}
