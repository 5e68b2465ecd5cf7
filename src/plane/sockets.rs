//! Ends TCP sockets of the calling thread's namespace, over sock_diag: both ends of a connection that policy denies by now
//! must go. With its entry alone deleted, whichever end speaks next would begin it anew, and that one may be allowed to.
//! Called by the agent, inside workloads and on the host.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_sys::{Socket, SocketAddr as NetlinkAddr};

use super::nfnetlink::messages;

const NETLINK_SOCK_DIAG: isize = 4;
/// `linux/sock_diag.h`; the kernel takes it where `CONFIG_INET_DIAG_DESTROY` is set, as Debian's is.
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
const LENGTH: usize = 16 + 56;
const ANY_COOKIE: [u8; 8] = [0xff; 8];
const REPLY_BUFFER: usize = 4096;

/// Ends these sockets, each (own, other's). Answers how many there were; its other end is sent a reset.
///
/// # Errors
/// When the kernel cannot do it; that a socket is not there is none.
pub fn destroy(sockets: &[(SocketAddr, SocketAddr)]) -> io::Result<usize> {
    if sockets.is_empty() {
        return Ok(0);
    }
    let mut netlink = Socket::new(NETLINK_SOCK_DIAG)?;
    netlink.bind_auto()?;
    let mut ended = 0;
    let mut buffer = Vec::with_capacity(REPLY_BUFFER);
    for (own, other) in sockets {
        netlink.send_to(&request(*own, *other), &NetlinkAddr::new(0, 0), 0)?;
        buffer.clear();
        netlink.recv(&mut buffer, 0)?;
        let answer = messages(&buffer).find(|message| message.kind == NLMSG_ERROR);
        let code = answer.and_then(|answer| Some(i32::from_ne_bytes(answer.payload.get(..4)?.try_into().ok()?)));
        match code.map(|code| code.saturating_neg()) {
            Some(0) => ended += 1,
            Some(libc::ENOENT) => {}
            code => return Err(io::Error::from_raw_os_error(code.unwrap_or(libc::EPROTO))),
        }
    }
    Ok(ended)
}

fn request(own: SocketAddr, other: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend((LENGTH as u32).to_ne_bytes());
    bytes.extend(SOCK_DESTROY.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    bytes.extend([0; 8]);
    let family = if own.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    bytes.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(own.port().to_be_bytes());
    bytes.extend(other.port().to_be_bytes());
    for address in [own.ip(), other.ip()] {
        let mut octets = [0; 16];
        match address {
            IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => octets = address.octets(),
        }
        bytes.extend(octets);
    }
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(ANY_COOKIE);
    bytes
}
