//! Deletes links without making anybody wait for the kernel's grace periods.
//!
//! A link is out of both namespaces about 1 ms after its deletion begins; the 20 ms that the request takes are spent
//! waiting, without the routing lock, for readers of the freed device. So a few threads do the requests, the plane
//! answers when the kernel has told that the link is gone, and what piles up goes in one request by group.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use tokio::sync::mpsc::UnboundedSender;

use crate::plane::PlaneError;
use crate::plane::netlink::Connection;
use netlink_packet_route::RouteNetlinkMessage;

use super::host::{self, HostLink};

/// Deletions under way at once.
const THREADS: usize = 6;
/// The group into which links are put to be deleted together: `rnwd` in ASCII.
const DOOMED_GROUP: u32 = 0x726e_7764;

/// What became of the deletion of the link with this index.
pub(super) struct Reaped {
    pub index: u32,
    pub outcome: Result<(), String>,
}

/// Where links go to be deleted.
pub(super) struct Reaper {
    queue: Sender<u32>,
}

impl Reaper {
    /// Starts the threads, with sockets of the calling thread's network namespace. They end with this value.
    pub(super) fn spawn(done: &UnboundedSender<Reaped>) -> Result<Reaper, PlaneError> {
        let fault = |error: std::io::Error| PlaneError { object: "link plane".to_string(), what: error.to_string() };
        let (queue, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..THREADS {
            let (waiting, done) = (waiting.clone(), done.clone());
            let mut connection = Connection::open().map_err(fault)?;
            let work = move || {
                while let Some(batch) = take(&waiting) {
                    for (index, outcome) in delete(&mut connection, &batch) {
                        // The plane has ended: nobody asks any more.
                        let _ = done.send(Reaped { index, outcome });
                    }
                }
            };
            std::thread::Builder::new().name("rn-reaper".to_string()).spawn(work).map_err(fault)?;
        }
        Ok(Reaper { queue })
    }

    pub(super) fn delete(&self, index: u32) {
        self.queue.send(index).expect("the reaper's threads live as long as its queue");
    }
}

/// Waits for a link to delete, and takes all that wait with it.
fn take(waiting: &Mutex<Receiver<u32>>) -> Option<Vec<u32>> {
    let queue = waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let first = queue.recv().ok()?;
    Some(std::iter::once(first).chain(queue.try_iter()).collect())
}

/// Deletes links of ours by index. A link that is gone already is deleted.
pub(super) fn delete(connection: &mut Connection, links: &[u32]) -> Vec<(u32, Result<(), String>)> {
    if links.len() > 1 && matches!(delete_together(connection, links), Ok(true)) {
        return links.iter().map(|index| (*index, Ok(()))).collect();
    }
    links.iter().map(|index| (*index, delete_one(connection, *index))).collect()
}

fn delete_one(connection: &mut Connection, index: u32) -> Result<(), String> {
    let request = host::delete(index);
    match connection.request(request.message, request.flags) {
        Ok(Err(refusal)) if !refusal.is(Errno::ENODEV) => Err(format!("cannot be deleted: {refusal}")),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("netlink: {error}")),
    }
}

/// One request for all of them; `false` when somebody else's link is in our group, which must not go with them.
fn delete_together(connection: &mut Connection, links: &[u32]) -> std::io::Result<bool> {
    let doomed: BTreeSet<u32> = links.iter().copied().collect();
    let grouped: Vec<_> = doomed.iter().map(|index| host::set_group(*index, DOOMED_GROUP)).collect();
    connection.batch(&grouped)?;
    let members = connection.dump(host::dump_links())?;
    let foreign = members.iter().any(|object| match object {
        RouteNetlinkMessage::NewLink(message) => HostLink::read(message).is_some_and(|link| {
            link.group == DOOMED_GROUP && !doomed.contains(&link.index) && !host::is_ours(&link.name)
        }),
        _ => false,
    });
    if foreign {
        return Ok(false);
    }
    let request = host::delete_group(DOOMED_GROUP);
    Ok(match connection.request(request.message, request.flags)? {
        Ok(_) => true,
        Err(refusal) => refusal.is(Errno::ENODEV),
    })
}
