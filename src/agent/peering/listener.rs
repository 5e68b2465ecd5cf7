//! Listening sockets: bound, bound again after a failure, and no more arrivals at a time than the driver can look at.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use routenet_core::model::scope::{scoped, unscoped};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use super::connection::Io;
use super::passwords::Keys;
use super::protection;

/// Arrivals that nobody has looked at yet, for each socket.
const ARRIVALS: usize = 16;
const BACKLOG: i32 = 128;
const RETRY: Duration = Duration::from_secs(1);

/// A connection that came in.
pub struct Arrival {
    pub stream: TcpStream,
    pub remote: IpAddr,
    pub local: IpAddr,
    /// Held until the driver has looked at it.
    pub seen: OwnedSemaphorePermit,
}

/// Listens until the task is aborted. `both`: an IPv6 wildcard takes IPv4 too.
pub fn listen(
    wanted: SocketAddr,
    both: bool,
    mut keys: watch::Receiver<Keys>,
    io: mpsc::UnboundedSender<Io>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let bound = bind(wanted, both).and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (report, listener) = match bound {
                Ok((address, listener)) => (Ok(address), Some(listener)),
                Err(error) => (Err(words(wanted, &error)), None),
            };
            if io.send(Io::Listener { wanted, bound: report }).is_err() {
                return;
            }
            match listener {
                Some(listener) => {
                    let mut signed = BTreeSet::new();
                    loop {
                        sign(&listener, &keys.borrow_and_update(), &mut signed);
                        tokio::select! {
                            () = accept(&listener, &io) => break,
                            changed = keys.changed() => if changed.is_err() { return },
                        }
                    }
                }
                None => tokio::time::sleep(RETRY).await,
            }
        }
    })
}

/// Connections from these neighbours must be signed, from others not. `signed`: whose keys the socket has.
fn sign(listener: &TcpListener, keys: &Keys, signed: &mut BTreeSet<IpAddr>) {
    let Ok(own) = listener.local_addr() else { return };
    let none = Vec::new();
    let gone: Vec<IpAddr> = signed.iter().filter(|neighbor| !keys.contains_key(neighbor)).copied().collect();
    let wanted = gone.iter().map(|neighbor| (neighbor, &none)).chain(keys);
    for (neighbor, key) in wanted {
        match protection::sign(listener, own.is_ipv6(), *neighbor, key) {
            Ok(()) if key.is_empty() => _ = signed.remove(neighbor),
            Ok(()) => _ = signed.insert(*neighbor),
            // Those that come from there are signed when they are taken, or refused.
            Err(error) => tracing::warn!(%neighbor, %error, "connections of this neighbour cannot be signed"),
        }
    }
}

fn words(wanted: SocketAddr, error: &std::io::Error) -> String {
    let mend = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program listens there: stop it, or change bgp.listen",
        std::io::ErrorKind::AddrNotAvailable => "no interface has that address: change bgp.listen, or add the address",
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE: change bgp.listen",
        _ => "see bgp.listen",
    };
    format!("cannot listen on {wanted}: {error} ({mend})")
}

fn bind(wanted: SocketAddr, both: bool) -> std::io::Result<TcpListener> {
    match bind_one(wanted, !both) {
        // A host without IPv6 still has neighbours.
        Err(error) if both && error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            bind_one(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), wanted.port()), false)
        }
        bound => bound,
    }
}

fn bind_one(address: SocketAddr, only_v6: bool) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_nonblocking(true)?;
    // Neighbours that look at the TTL look at the answer to their SYN, too.
    protection::send_far(&socket, address.is_ipv6())?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The address of a socket's end; a link-local one with its link.
pub fn place(end: SocketAddr) -> IpAddr {
    match end {
        SocketAddr::V4(end) => (*end.ip()).into(),
        SocketAddr::V6(end) => scoped(IpAddr::V6(*end.ip()).to_canonical(), end.scope_id()),
    }
}

/// The socket's end at an address with its link.
pub fn socket_address(address: IpAddr, port: u16) -> SocketAddr {
    match unscoped(address) {
        (IpAddr::V6(address), Some(interface)) => SocketAddrV6::new(address, port, 0, interface).into(),
        (address, _) => SocketAddr::new(address, port),
    }
}

/// Returns when the socket has failed for good.
async fn accept(listener: &TcpListener, io: &mpsc::UnboundedSender<Io>) {
    let unseen = Arc::new(Semaphore::new(ARRIVALS));
    loop {
        let Ok(seen) = unseen.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, remote)) => {
                let Ok(local) = stream.local_addr() else { continue };
                let (remote, local) = (place(remote), place(local));
                if io.send(Io::Arrived(Arrival { stream, remote, local, seen })).is_err() {
                    return;
                }
            }
            // The connection was gone before it was taken; or the process has no descriptor left, which may pass.
            Err(error) => {
                tracing::warn!(%error, "a BGP connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
