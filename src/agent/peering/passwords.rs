//! The passwords of neighbours (TCP MD5): read from their files, and read again while they are wanted, since nobody says
//! when such a file is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use routenet_core::bgp::speaker::PeerConfig;
use routenet_core::model::scope::unscoped;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::protection::LONGEST_KEY;
use crate::plane::interfaces;

/// The passwords by neighbour, without its link.
pub type Keys = BTreeMap<IpAddr, Vec<u8>>;

/// How long a file that was written may go unnoticed.
const PERIOD: Duration = Duration::from_secs(2);
/// What is read of a file, at most.
const MOST: u64 = 4096;

/// A neighbour whose connections to us are not looked at by its own password: the kernel's keys know no links (but VRFs), and
/// another neighbour has the same link-local address on another link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overruled {
    pub neighbor: IpAddr,
    pub name: String,
    /// Whose password it is.
    pub by: (IpAddr, String),
}

/// What there is to be said of the files of some neighbours.
#[derive(Default)]
struct Contents {
    overruled: Vec<Overruled>,
    /// Why there is none, by neighbour: it has no session.
    unreadable: BTreeMap<IpAddr, String>,
    /// Those files that everybody can read.
    open: BTreeSet<String>,
}

/// The passwords that are in force.
#[derive(Default)]
pub struct Passwords {
    contents: Contents,
    /// The listening sockets follow them.
    keys: watch::Sender<Keys>,
    /// None: no neighbour has one.
    again: Option<Instant>,
}

impl Passwords {
    /// Reads the files of these neighbours, and says in the log what is new.
    pub fn read<'a>(&mut self, peers: impl Iterator<Item = (&'a IpAddr, &'a PeerConfig)> + Clone) {
        let any = peers.clone().any(|(_, peer)| peer.transport.password_file.is_some());
        self.again = any.then(|| Instant::now() + PERIOD);
        let (keys, contents) = read(peers);
        for path in contents.open.difference(&self.contents.open) {
            warn!(path, "everybody on this machine can read this password of a BGP neighbour");
        }
        for (neighbor, error) in &contents.unreadable {
            if self.contents.unreadable.get(neighbor) != Some(error) {
                warn!(peer = interfaces::words(*neighbor), error, "no session without its password");
            }
        }
        for neighbor in self.contents.unreadable.keys().filter(|neighbor| !contents.unreadable.contains_key(neighbor)) {
            info!(peer = interfaces::words(*neighbor), "its password can be read, or it needs none any more");
        }
        self.keys.send_if_modified(|known| {
            let differs = *known != keys;
            *known = keys;
            differs
        });
        self.contents = contents;
    }

    /// When the files are to be read again.
    pub fn next_look(&self) -> Option<Instant> {
        self.again
    }

    /// The keys as they change.
    pub fn follow(&self) -> watch::Receiver<Keys> {
        self.keys.subscribe()
    }

    pub fn key(&self, neighbor: IpAddr) -> Option<Vec<u8>> {
        self.keys.borrow().get(&unscoped(neighbor).0).cloned()
    }

    /// Whom another one's password keeps out.
    pub fn overruled(&self) -> &[Overruled] {
        &self.contents.overruled
    }

    /// Neighbours without the password that they are to have, and why.
    pub fn unreadable(&self) -> &BTreeMap<IpAddr, String> {
        &self.contents.unreadable
    }
}

/// The password in a file: its first line.
///
/// # Errors
/// In words, with the file: it cannot be read, or holds none that TCP takes.
pub fn read_password(path: &str) -> Result<Vec<u8>, String> {
    let fault = |error: std::io::Error| format!("passwordFile {path}: {error}");
    // To open another thing, or to read it to its end, may take for ever.
    if !std::fs::metadata(path).map_err(fault)?.is_file() {
        return Err(format!("passwordFile {path}: it is not a regular file"));
    }
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut text)).map_err(fault)?;
    let line = text.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    match line.len() {
        0 => Err(format!("passwordFile {path}: its first line is empty; write the password there")),
        length if length > LONGEST_KEY => Err(format!(
            "passwordFile {path}: its first line is longer than the {LONGEST_KEY} bytes that TCP MD5 takes"
        )),
        _ => Ok(line.to_vec()),
    }
}

/// Whether everybody can read it. No fault: what is mounted into a container often can be.
pub fn is_open(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o004 != 0)
}

/// A neighbour by its address with its link, its name, and its password.
type Neighbor<'a> = (IpAddr, &'a str, Option<Vec<u8>>);

/// Of a neighbour whose password cannot be read nothing is taken.
fn read<'a>(peers: impl Iterator<Item = (&'a IpAddr, &'a PeerConfig)>) -> (Keys, Contents) {
    let (mut keys, mut contents) = (Keys::new(), Contents::default());
    let mut by_address: BTreeMap<IpAddr, Vec<Neighbor<'_>>> = BTreeMap::new();
    for (neighbor, peer) in peers {
        let key = match &peer.transport.password_file {
            Some(path) => {
                if is_open(path) {
                    contents.open.insert(path.clone());
                }
                match read_password(path) {
                    Ok(key) => Some(key),
                    Err(error) => {
                        contents.unreadable.insert(*neighbor, error);
                        continue;
                    }
                }
            }
            None => None,
        };
        let address = unscoped(*neighbor).0;
        if let Some(key) = &key {
            keys.insert(address, key.clone());
        }
        by_address.entry(address).or_default().push((*neighbor, &peer.name, key));
    }
    for (address, neighbors) in by_address {
        let Some(key) = keys.get(&address) else { continue };
        let (fitting, others): (Vec<_>, Vec<_>) = neighbors.iter().partition(|(_, _, own)| own.as_ref() == Some(key));
        let Some((by, whose, _)) = fitting.last() else { continue };
        contents.overruled.extend(others.into_iter().map(|(neighbor, name, _)| Overruled {
            neighbor: *neighbor,
            name: name.to_string(),
            by: (*by, whose.to_string()),
        }));
    }
    (keys, contents)
}

#[cfg(test)]
#[path = "passwords_tests.rs"]
mod tests;
