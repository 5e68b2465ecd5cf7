//! One device: reads what is there, and makes it what is wanted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use routenet_core::desired::Tunnel;
use routenet_core::model::TunnelKind;

use super::message::{self, Entry, Seen};
use crate::plane::netlink::{Connection, Request};
use crate::plane::sysctl;

/// Makes the device as wanted; answers its index and what was put right, in words.
pub(super) fn sync(connection: &mut Connection, tunnel: &Tunnel) -> Result<(u32, Vec<String>), String> {
    let mut said = Vec::new();
    let seen = match find(connection, tunnel.kind)? {
        Some(seen) if seen.is_of(tunnel) => seen,
        found => {
            if let Some(other) = found {
                ask(connection, message::delete(other.index), "an older one cannot be removed")?;
                said.push("had other ends".to_string());
            } else {
                said.push("was missing".to_string());
            }
            create(connection, tunnel)?
        }
    };
    let index = seen.index;
    let mac = (tunnel.kind == TunnelKind::Vxlan).then_some(tunnel.mac);
    let wrong_mac = mac.is_some_and(|mac| seen.mac != mac);
    if !seen.up || seen.mtu != tunnel.mtu || wrong_mac {
        if sysctl::read("ipv6/conf/all/disable_ipv6").is_ok() {
            ask(connection, message::make_no_addresses(index), "cannot be set up")?;
        }
        ask(connection, message::set(index, tunnel.mtu, mac.filter(|_| wrong_mac)), "cannot be set up")?;
        said.push("was not set up".to_string());
    }
    settings(tunnel)?;
    said.extend(addresses(connection, index, tunnel)?);
    if tunnel.kind == TunnelKind::Vxlan {
        said.extend(entries(connection, index, tunnel)?);
    }
    Ok((index, said))
}

/// Removes the device, if it is there.
pub(super) fn remove(connection: &mut Connection, kind: TunnelKind) -> Result<(), String> {
    match find(connection, kind)? {
        Some(seen) => ask(connection, message::delete(seen.index), "cannot be removed"),
        None => Ok(()),
    }
}

fn find(connection: &mut Connection, kind: TunnelKind) -> Result<Option<Seen>, String> {
    let outcome = connection.request(message::get(&kind.device()), 0).map_err(|error| format!("netlink: {error}"))?;
    match outcome {
        Ok(Some(RouteNetlinkMessage::NewLink(found))) => Ok(Some(Seen::read(&found))),
        Err(refusal) if refusal.is(Errno::ENODEV) => Ok(None),
        Err(refusal) => Err(format!("cannot be read: {refusal}")),
        Ok(_) => Err("cannot be read: the kernel answered something else".to_string()),
    }
}

fn create(connection: &mut Connection, tunnel: &Tunnel) -> Result<Seen, String> {
    let Request { message, flags } = message::create(tunnel);
    let outcome = connection.request(message, flags).map_err(|error| format!("netlink: {error}"))?;
    if let Err(refusal) = outcome {
        return Err(match message::is_unknown_kind(&refusal) {
            true => message::mend_unknown(tunnel.kind),
            false => format!("cannot be created: {refusal}"),
        });
    }
    find(connection, tunnel.kind)?.ok_or_else(|| "is gone again".to_string())
}

fn ask(connection: &mut Connection, request: Request, doing: &str) -> Result<(), String> {
    let outcome = connection.request(request.message, request.flags).map_err(|error| format!("netlink: {error}"))?;
    outcome.map(drop).map_err(|refusal| format!("{doing}: {refusal}"))
}

/// Forwarding, and a reverse path filter that lets a reply come by another way than the request went: the two ends of a
/// tunnel do not change over at the same moment.
fn settings(tunnel: &Tunnel) -> Result<(), String> {
    let device = tunnel.kind.device();
    for (setting, value) in [("forwarding", "1"), ("rp_filter", "2")] {
        sysctl::ensure(&format!("ipv4/conf/{device}/{setting}"), value).map_err(|error| error.to_string())?;
    }
    let v6 = tunnel.addresses.iter().chain(tunnel.peers.values().flat_map(|peer| &peer.hops)).any(IpAddr::is_ipv6);
    if v6 {
        sysctl::ensure(&format!("ipv6/conf/{device}/disable_ipv6"), "0").map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn dump(connection: &mut Connection, request: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, String> {
    connection.dump(request).map_err(|error| format!("cannot be read: {error}"))
}

fn addresses(connection: &mut Connection, index: u32, tunnel: &Tunnel) -> Result<Vec<String>, String> {
    let objects = dump(connection, message::dump_addresses())?;
    let held: BTreeSet<IpAddr> = objects.iter().filter_map(|object| message::address_on(object, index)).collect();
    let mut said = Vec::new();
    for address in tunnel.addresses.difference(&held) {
        ask(connection, message::add_address(index, *address), &format!("{address} cannot be added"))?;
        said.push(format!("lacked {address}"));
    }
    for address in held.difference(&tunnel.addresses) {
        ask(connection, message::delete_address(index, *address), &format!("{address} cannot be removed"))?;
        said.push(format!("had {address}"));
    }
    Ok(said)
}

fn entries(connection: &mut Connection, index: u32, tunnel: &Tunnel) -> Result<Vec<String>, String> {
    let mut held = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6, AddressFamily::Bridge] {
        let objects = dump(connection, message::dump_entries(family))?;
        held.extend(objects.iter().filter_map(|object| message::entry_on(object, index)));
    }
    let wanted = message::entries(tunnel);
    // Deletions first: a MAC or next hop that moved must not have two.
    let gone: Vec<&Entry> = held.difference(&wanted).collect();
    let new: Vec<&Entry> = wanted.difference(&held).collect();
    let requests = gone.iter().map(|entry| message::delete_entry(index, entry));
    let requests: Vec<Request> = requests.chain(new.iter().map(|entry| message::add_entry(index, entry))).collect();
    let outcomes = connection.batch(&requests).map_err(|error| format!("netlink: {error}"))?;
    for (entry, outcome) in gone.iter().chain(&new).zip(outcomes) {
        match outcome {
            Err(refusal) if ![Errno::ENOENT, Errno::EEXIST].into_iter().any(|errno| refusal.is(errno)) => {
                return Err(format!("{entry}: {refusal}"));
            }
            _ => {}
        }
    }
    let lacked = new.iter().map(|entry| format!("lacked {entry}"));
    Ok(lacked.chain(gone.iter().map(|entry| format!("had {entry}"))).collect())
}
