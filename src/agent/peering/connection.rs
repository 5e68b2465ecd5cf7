//! One TCP connection: connected, read and written by tasks, each with a bound on what it may hold.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use routenet_core::bgp::speaker::ConnId;
use routenet_core::model::BgpTransport;
use routenet_core::model::scope::unscoped;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::listener::{Arrival, socket_address};
use super::passwords::read_password;
use super::protection;
use super::stations::StationIo;
use crate::plane::interfaces;

/// What a reader hands over at a time, at most; the next waits until that was taken in.
const CHUNK: usize = 64 * 1024;
/// Portions that may wait for a neighbour to read them.
pub const QUEUE: usize = 4;
/// How long a portion may take to be written (RFC 9687 wants 8 minutes or more).
const SEND_HOLD: Duration = Duration::from_secs(480);
const CONNECT: Duration = Duration::from_secs(5);
/// How long last words may take.
pub const FAREWELL: Duration = Duration::from_secs(3);

/// What tasks tell the driver. The channel has no bound of its own: a connection has one chunk and [`QUEUE`] receipts on the
/// way at most, and arrivals have their permits.
pub enum Io {
    Arrived(Arrival),
    Connected {
        conn: ConnId,
        stream: TcpStream,
    },
    Received {
        conn: ConnId,
        bytes: Vec<u8>,
        taken_in: OwnedSemaphorePermit,
    },
    Written {
        conn: ConnId,
    },
    /// The neighbour does not read.
    Stuck {
        conn: ConnId,
    },
    /// In words.
    Broken {
        conn: ConnId,
        why: String,
    },
    /// A listening socket was bound, or could not be.
    Listener {
        wanted: SocketAddr,
        bound: Result<SocketAddr, String>,
    },
    /// A monitoring station is there, or is not.
    Station(StationIo),
}

enum Outgoing {
    Portion(Vec<u8>),
    LastWords(Vec<u8>),
}

/// A connection as the driver holds it. Dropped, it is closed at once.
pub struct Connection {
    tasks: Tasks,
    /// Portions that were not written yet.
    pub unwritten: usize,
}

enum Tasks {
    Connecting(JoinHandle<()>),
    Open { reader: JoinHandle<()>, writer: JoinHandle<()>, queue: mpsc::Sender<Outgoing> },
    Closed,
}

impl Connection {
    /// Starts to connect, from `local` if given.
    pub fn connect(
        conn: ConnId,
        remote: SocketAddr,
        local: Option<IpAddr>,
        transport: BgpTransport,
        io: mpsc::UnboundedSender<Io>,
    ) -> Connection {
        let task = tokio::spawn(async move {
            let outcome = match timeout(CONNECT, connect(remote, local, &transport)).await {
                Ok(Ok(stream)) => Io::Connected { conn, stream },
                Ok(Err(error)) => Io::Broken { conn, why: error },
                Err(_) => {
                    Io::Broken { conn, why: format!("connect to {}: no answer within {CONNECT:?}", words(remote)) }
                }
            };
            let _ = io.send(outcome);
        });
        Connection { tasks: Tasks::Connecting(task), unwritten: 0 }
    }

    /// Takes over a stream that stands.
    pub fn open(conn: ConnId, stream: TcpStream, io: mpsc::UnboundedSender<Io>) -> Connection {
        // Without it a KEEPALIVE may wait for the acknowledgement of what went before. An error here means that the
        // stream is broken, which the reader will say.
        let _ = stream.set_nodelay(true);
        let (incoming, outgoing) = stream.into_split();
        // One more than portions: last words always find room.
        let (queue, queued) = mpsc::channel(QUEUE + 1);
        let reader = tokio::spawn(read(conn, incoming, io.clone()));
        let writer = tokio::spawn(write(conn, outgoing, queued, io));
        Connection { tasks: Tasks::Open { reader, writer, queue }, unwritten: 0 }
    }

    pub fn has_room(&self) -> bool {
        matches!(self.tasks, Tasks::Open { .. }) && self.unwritten < QUEUE
    }

    /// Queues a portion; only where there is room.
    pub fn send(&mut self, portion: Vec<u8>) {
        if let Tasks::Open { queue, .. } = &self.tasks
            && queue.try_send(Outgoing::Portion(portion)).is_ok()
        {
            self.unwritten += 1;
        }
    }

    /// Writes what is queued and these last words, and closes; the task ends within [`FAREWELL`]. Without words it closes
    /// at once.
    pub fn close(mut self, last_words: Vec<u8>) -> Option<JoinHandle<()>> {
        if last_words.is_empty() {
            return None;
        }
        match std::mem::replace(&mut self.tasks, Tasks::Closed) {
            Tasks::Open { reader, mut writer, queue } => {
                reader.abort();
                let queued = queue.try_send(Outgoing::LastWords(last_words)).is_ok();
                Some(tokio::spawn(async move {
                    if !queued || timeout(FAREWELL, &mut writer).await.is_err() {
                        writer.abort();
                    }
                }))
            }
            Tasks::Connecting(task) => {
                task.abort();
                None
            }
            Tasks::Closed => None,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        match &self.tasks {
            Tasks::Connecting(task) => task.abort(),
            Tasks::Open { reader, writer, .. } => {
                reader.abort();
                writer.abort();
            }
            Tasks::Closed => {}
        }
    }
}

async fn connect(remote: SocketAddr, local: Option<IpAddr>, transport: &BgpTransport) -> Result<TcpStream, String> {
    let from = local.map(|local| format!(" from {}", interfaces::words(local))).unwrap_or_default();
    let to = words(remote);
    let failed = |error: std::io::Error| format!("connect to {to}{from}: {error}");
    let socket = if remote.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    if let Some(path) = &transport.password_file {
        let key = read_password(path).map_err(|why| format!("connect to {to}{from}: {why}"))?;
        protection::sign(&socket, remote.is_ipv6(), unscoped(remote.ip()).0, &key).map_err(failed)?;
    }
    if let Some(hops) = transport.ttl_security {
        let near = protection::send_far(&socket, remote.is_ipv6());
        near.and_then(|()| protection::come_near(&socket, remote.is_ipv6(), hops)).map_err(failed)?;
    }
    if let Some(local) = local {
        socket.bind(socket_address(local, 0)).map_err(failed)?;
    }
    socket.connect(socket_address(remote.ip(), remote.port())).await.map_err(failed)
}

fn words(remote: SocketAddr) -> String {
    match remote {
        SocketAddr::V4(_) => remote.to_string(),
        SocketAddr::V6(_) => format!("[{}]:{}", interfaces::words(remote.ip()), remote.port()),
    }
}

async fn read(conn: ConnId, mut stream: OwnedReadHalf, io: mpsc::UnboundedSender<Io>) {
    let pace = Arc::new(Semaphore::new(1));
    let mut chunk = vec![0; CHUNK];
    loop {
        let Ok(taken_in) = pace.clone().acquire_owned().await else { return };
        let why = match stream.read(&mut chunk).await {
            Ok(0) => "the neighbour closed the connection".to_string(),
            Ok(length) => {
                let bytes = chunk[..length].to_vec();
                if io.send(Io::Received { conn, bytes, taken_in }).is_err() {
                    return;
                }
                continue;
            }
            Err(error) => format!("the connection broke: {error}"),
        };
        let _ = io.send(Io::Broken { conn, why });
        return;
    }
}

async fn write(
    conn: ConnId,
    mut stream: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Outgoing>,
    io: mpsc::UnboundedSender<Io>,
) {
    while let Some(outgoing) = queue.recv().await {
        match outgoing {
            Outgoing::Portion(bytes) => {
                let report = match timeout(SEND_HOLD, stream.write_all(&bytes)).await {
                    Ok(Ok(())) => Io::Written { conn },
                    Ok(Err(error)) => Io::Broken { conn, why: format!("the connection broke: {error}") },
                    Err(_) => Io::Stuck { conn },
                };
                if io.send(report).is_err() {
                    return;
                }
            }
            Outgoing::LastWords(bytes) => {
                if stream.write_all(&bytes).await.is_ok() && stream.shutdown().await.is_ok() {
                    drink_up(stream.as_ref()).await;
                }
                return;
            }
        }
    }
}

/// Reads to the end: a socket closed with unread data sends a reset, which may overtake our last words.
async fn drink_up(stream: &TcpStream) {
    let mut waste = [0; 4096];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut waste) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
