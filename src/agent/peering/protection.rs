//! What protects a TCP connection of BGP from strangers: signatures by a password (TCP MD5, RFC 2385) and the number of hops
//! that packets may have come (GTSM, RFC 5082). Socket options of Linux, and nothing else.

use std::io;
use std::mem::size_of;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

/// What a packet has that came over no hop.
const FULL_TTL: u8 = 255;
/// `TCP_MD5SIG_MAXKEYLEN`.
pub const LONGEST_KEY: usize = 80;
const SOCKADDR_STORAGE: usize = 128;
/// `struct tcp_md5sig`: address, flags, prefix length, key length, interface, key.
const MD5SIG: usize = SOCKADDR_STORAGE + 1 + 1 + 2 + 4 + LONGEST_KEY;

/// Signs what goes to the neighbour, and drops what comes from there without the signature; an empty key ends that. On a
/// listening socket for connections to come, or before connecting.
///
/// # Errors
/// What the kernel says: it may be built without `CONFIG_TCP_MD5SIG`.
pub fn sign(socket: &impl AsRawFd, is_v6: bool, neighbor: IpAddr, key: &[u8]) -> io::Result<()> {
    let mut bytes = [0u8; MD5SIG];
    let family = if is_v6 { libc::AF_INET6 } else { libc::AF_INET };
    bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    match (neighbor, is_v6) {
        (IpAddr::V4(address), false) => bytes[4..8].copy_from_slice(&address.octets()),
        (IpAddr::V4(address), true) => bytes[8..24].copy_from_slice(&address.to_ipv6_mapped().octets()),
        (IpAddr::V6(address), true) => bytes[8..24].copy_from_slice(&address.octets()),
        // An IPv4 socket has nothing to do with it.
        (IpAddr::V6(_), false) => return Ok(()),
    }
    let length = key.len().min(LONGEST_KEY);
    let at = SOCKADDR_STORAGE + 2;
    bytes[at..at + 2].copy_from_slice(&(length as u16).to_ne_bytes());
    let at = SOCKADDR_STORAGE + 8;
    bytes[at..at + length].copy_from_slice(&key[..length]);
    match set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &bytes) {
        // There was no key to take away.
        Err(error) if key.is_empty() && error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        done => done,
    }
}

/// Sends with the full TTL, for neighbours that look at it; on a listening socket it holds for what comes of it.
pub fn send_far(socket: &impl AsRawFd, is_v6: bool) -> io::Result<()> {
    let ttl = i32::from(FULL_TTL).to_ne_bytes();
    // Both on an IPv6 socket: it may take IPv4, too.
    if is_v6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, &ttl)?;
    }
    set(socket, libc::IPPROTO_IP, libc::IP_TTL, &ttl)
}

/// Drops what came over more hops (from 1).
pub fn come_near(socket: &impl AsRawFd, is_v6: bool, hops: u8) -> io::Result<()> {
    let least = i32::from(FULL_TTL - (hops.max(1) - 1)).to_ne_bytes();
    if is_v6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, &least)?;
    }
    set(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &least)
}

/// A socket option whose value is these bytes.
pub fn set(socket: &impl AsRawFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    const { assert!(MD5SIG == 216 && size_of::<i32>() == 4) };
    // SAFETY: the kernel reads `value.len()` bytes from `value`, which lives as long as the call.
    let code = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, value.as_ptr().cast(), value.len() as libc::socklen_t)
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
