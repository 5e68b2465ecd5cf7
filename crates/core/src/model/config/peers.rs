//! `peers:` of the node's configuration, from YAML: of the speaker, and of a node without a store.

use std::net::{IpAddr, SocketAddr};

use crate::model::yaml::fields::{At, optional};
use crate::model::yaml::{self, read_as_number, read_hold_time};
use crate::model::{BgpPeer, ImportPolicy};

pub(super) fn read_peers(at: &At<'_>) -> Vec<BgpPeer> {
    let mut peers: Vec<BgpPeer> = Vec::new();
    at.each(|item| {
        let peer = read_peer(&item)?;
        if let Some(other) = peers.iter().find(|other| (other.address, other.port) == (peer.address, peer.port)) {
            let what = format!("{} port {} is the address of peer {} already", peer.address, peer.port, other.name);
            return item.fail(what, Some("remove one of them".to_string()));
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
    let address = fields.required("address", "the address of the peer").and_then(|at| {
        let text = at.word("an address")?;
        match text.parse::<IpAddr>() {
            Ok(address) if !address.is_unspecified() && !address.is_multicast() => Some(address),
            _ => {
                let mend = text
                    .parse::<SocketAddr>()
                    .ok()
                    .map(|socket| format!("write `address: {}` and `port: {}`", socket.ip(), socket.port()));
                at.fail(format!("\"{text}\" is not the address of a peer"), mend)
            }
        }
    });
    let as_number = fields.required("as", "the AS number of the peer").and_then(|at| read_as_number(&at));
    let port = fields.take("port").map(|at| at.integer(1, 65535).map(|port| port as u16));
    let passive = fields.take("passive").map(|at| at.boolean());
    let import = fields.take("import").map(|at| yaml::import_policy(&at));
    let hold_time = fields.take("holdTime").map(|at| read_hold_time(&at));
    let transport = yaml::read_transport(&mut fields);
    let options = yaml::read_options(&mut fields);
    let bfd = fields.take("bfd").map(|at| yaml::read_bfd(&at));
    fields.finish();
    let address = address?;
    let port = port.unwrap_or(Some(yaml::BGP_PORT))?;
    let usual_name = match port {
        yaml::BGP_PORT => address.to_string(),
        port => SocketAddr::new(address, port).to_string(),
    };
    Some(BgpPeer {
        name: name.unwrap_or(Some(usual_name))?,
        node: None,
        node_selector: None,
        address,
        port,
        as_number: as_number?,
        passive: passive.unwrap_or(Some(false))?,
        import: import.unwrap_or(Some(ImportPolicy::None))?,
        hold_time: optional(hold_time)?,
        transport: transport?,
        options: options?,
        bfd: bfd.unwrap_or(Some(None))?,
    })
}
