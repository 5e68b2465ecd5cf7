//! Notices of nf_tables: whether somebody else committed something. Called by the worker, between its own commits.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{setsockopt, sockopt};

use crate::plane::PlaneError;
use crate::plane::nfnetlink::messages;

/// NFNLGRP_NFTABLES.
const GROUP: u32 = 7;
/// NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN: sent once for each commit.
const NEW_GENERATION: u16 = 10 << 8 | 15;
const NFTA_GEN_PROC_NAME: u16 = 3;
const RECEIVE_BUFFER: usize = 2 << 20;
const LONGEST_DATAGRAM: usize = 64 * 1024;

/// A subscription to the commits of this thread's network namespace.
///
/// The kernel names the committing process by its number in the outermost PID namespace, which a process in a container
/// cannot know of its own child. So our commits are counted: the kernel tells of a commit before the committing process
/// returns from it.
pub struct NftEvents {
    socket: Socket,
    ours: u64,
    /// Names of processes that committed and were not us, since [`NftEvents::take_authors`].
    authors: BTreeSet<String>,
    incoming: Vec<u8>,
}

impl NftEvents {
    pub fn subscribe() -> Result<NftEvents, PlaneError> {
        let socket = (|| {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.add_membership(GROUP)?;
            socket.set_non_blocking(true)?;
            if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
                setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
            }
            Ok::<_, std::io::Error>(socket)
        })()
        .map_err(|error| PlaneError { object: "nf_tables notices".into(), what: error.to_string() })?;
        Ok(NftEvents { socket, ours: 0, authors: BTreeSet::new(), incoming: Vec::with_capacity(LONGEST_DATAGRAM) })
    }

    /// Notes that we committed so many times since the last look.
    pub fn expect(&mut self, commits: u64) {
        self.ours += commits;
    }

    /// Takes what has come; true when somebody else committed, or when notices were lost.
    pub fn foreign(&mut self) -> bool {
        let mut foreign = false;
        let mut like_ours = 0u64;
        loop {
            self.incoming.clear();
            match self.socket.recv(&mut self.incoming, 0) {
                Ok(_) => {
                    for message in messages(&self.incoming).filter(|message| message.kind == NEW_GENERATION) {
                        match message.attrs().find(|(kind, _)| *kind == NFTA_GEN_PROC_NAME) {
                            Some((_, name)) if is_restore(name) => like_ours += 1,
                            author => {
                                foreign = true;
                                self.authors.extend(author.map(|(_, name)| process_name(name)));
                            }
                        }
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    foreign = true;
                    // ENOBUFS: some notices were lost, more may follow. Anything else would only come again.
                    if error.raw_os_error() != Some(libc::ENOBUFS) {
                        break;
                    }
                }
            }
        }
        if like_ours > self.ours {
            foreign = true;
            self.authors.insert("another iptables-restore".into());
        }
        self.ours = 0;
        foreign
    }

    /// Who committed, by the names of their processes, as far as the notices said it.
    pub fn take_authors(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.authors)
    }
}

impl AsFd for NftEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A name may be anything; what is no letter of it is replaced.
fn process_name(name: &[u8]) -> String {
    let name = name.split(|byte| *byte == 0).next().unwrap_or(&[]);
    String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The kernel keeps 15 bytes of a process's name.
fn is_restore(name: &[u8]) -> bool {
    let name = name.split(|byte| *byte == 0).next().unwrap_or(&[]);
    ["iptables-nft-restore", "ip6tables-nft-restore"].iter().any(|full| &full.as_bytes()[..15] == name)
}
