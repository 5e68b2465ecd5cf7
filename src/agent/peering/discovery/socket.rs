//! The raw ICMPv6 socket: router advertisements and solicitations of all interfaces, and nothing else.

use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::packet::{ADVERTISEMENT, FULL_HOP_LIMIT, SOLICITATION};
use crate::agent::peering::protection;

/// Everybody on the link, and the routers there.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// `ICMP6_FILTER`: a set bit blocks its type.
const FILTER: i32 = 1;
const LONGEST: usize = 1500;

pub struct RouterSocket(AsyncFd<Socket>);

/// A packet that came in.
pub struct Received {
    pub interface: u32,
    pub from: Ipv6Addr,
    pub hop_limit: u8,
    pub bytes: Vec<u8>,
}

impl RouterSocket {
    /// # Errors
    /// What the kernel says; without CAP_NET_RAW there is no such socket.
    pub fn open() -> io::Result<RouterSocket> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.set_nonblocking(true)?;
        protection::set(&socket, libc::IPPROTO_ICMPV6, FILTER, &filter())?;
        socket.set_recv_hoplimit_v6(true)?;
        socket.set_multicast_hops_v6(FULL_HOP_LIMIT.into())?;
        socket.set_unicast_hops_v6(FULL_HOP_LIMIT.into())?;
        socket.set_multicast_loop_v6(false)?;
        // SAFETY: the descriptor is the socket's own, which is closed with it and by nobody else.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(RouterSocket(socket))
    }

    /// Hears what is said to the routers of this link.
    pub fn join(&self, interface: u32) -> io::Result<()> {
        match self.0.get_ref().join_multicast_v6(&ALL_ROUTERS, interface) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
            joined => joined,
        }
    }

    pub fn leave(&self, interface: u32) {
        // With an interface that is gone its groups are gone.
        let _ = self.0.get_ref().leave_multicast_v6(&ALL_ROUTERS, interface);
    }

    pub fn send(&self, interface: u32, to: Ipv6Addr, bytes: &[u8]) -> io::Result<()> {
        let to = SocketAddrV6::new(to, 0, 0, interface);
        self.0.get_ref().send_to(bytes, &to.into()).map(|_| ())
    }

    /// To all routers of the link.
    pub fn ask(&self, interface: u32, bytes: &[u8]) -> io::Result<()> {
        self.send(interface, ALL_ROUTERS, bytes)
    }

    /// The next packet from a link-local address (RFC 4861 6.1.2); of another none of these comes.
    ///
    /// # Errors
    /// The socket has failed.
    pub async fn receive(&self) -> io::Result<Received> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|socket| receive_one(socket.get_ref())) {
                Ok(Ok(Some(received))) => return Ok(received),
                Ok(Ok(None)) | Err(_) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // An interface that went down says so on the socket; that is no end of it.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }
}

/// Blocks everything but the two types.
fn filter() -> [u8; 32] {
    let mut words = [u32::MAX; 8];
    for kind in [SOLICITATION, ADVERTISEMENT] {
        words[usize::from(kind >> 5)] &= !(1 << (kind & 31));
    }
    let mut bytes = [0; 32];
    for (word, into) in words.iter().zip(bytes.chunks_exact_mut(4)) {
        into.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn receive_one(socket: &Socket) -> io::Result<Option<Received>> {
    let mut bytes = [0; LONGEST];
    let mut control = nix::cmsg_space!(i32);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let hop_limit = message.cmsgs().ok().into_iter().flatten().find_map(|part| match part {
        ControlMessageOwned::Ipv6HopLimit(limit) => u8::try_from(limit).ok(),
        _ => None,
    });
    let (Some(source), Some(hop_limit)) = (message.address, hop_limit) else { return Ok(None) };
    let (from, interface, length) = (source.ip(), source.scope_id(), message.bytes);
    // A solicitation of somebody without an address yet is answered with the next advertisement.
    let received = Received { interface, from, hop_limit, bytes: bytes[..length].to_vec() };
    Ok((from.is_unicast_link_local() && interface != 0).then_some(received))
}
