//! A peer that says exactly what it is told to, over TCP, and hears what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::heard::{self, Heard};
use crate::raw::{Open, keepalive};

/// For what must happen; a machine may be slow.
pub const LIMIT: Duration = Duration::from_secs(20);

pub struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
    closed: bool,
}

impl Peer {
    pub fn connect(from: IpAddr, to: SocketAddr) -> Result<Peer, String> {
        let connect = || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::new(from, 0).into())?;
            socket.connect_timeout(&to.into(), LIMIT)?;
            Ok(TcpStream::from(socket))
        };
        let stream = connect().map_err(|error: std::io::Error| format!("connect from {from}: {error}"))?;
        Ok(Peer::over(stream))
    }

    pub fn over(stream: TcpStream) -> Peer {
        stream.set_nodelay(true).expect("a socket");
        Peer { stream, buffer: Vec::new(), closed: false }
    }

    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor")
    }

    pub fn say(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("cannot write: {error}"))
    }

    /// The next message; `None` when none came in time.
    pub fn hear(&mut self, limit: Duration) -> Result<Option<Heard>, String> {
        let end = Instant::now() + limit;
        loop {
            if let Some((length, heard)) = heard::message(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(Some(heard));
            }
            if self.closed {
                return Ok(Some(Heard::Closed));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left)).expect("a socket");
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(count) => self.buffer.extend(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => self.closed = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("cannot read: {error}")),
            }
        }
    }

    /// Hears until `wanted`, which must come within [`LIMIT`], before the connection ends.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Heard) -> bool) -> Result<Heard, String> {
        let end = Instant::now() + LIMIT;
        loop {
            match self.hear(end.saturating_duration_since(Instant::now()))? {
                Some(heard) if wanted(&heard) => return Ok(heard),
                Some(end @ (Heard::Notification(..) | Heard::Closed)) => {
                    return Err(format!("waiting for {what}, heard {end:?}"));
                }
                Some(_) => {}
                None => return Err(format!("waited in vain for {what}")),
            }
        }
    }

    pub fn open(&mut self, open: &Open) -> Result<Vec<u8>, String> {
        self.say(&open.bytes())?;
        match self.until("an OPEN", |heard| matches!(heard, Heard::Open(_)))? {
            Heard::Open(body) => Ok(body),
            _ => unreachable!("that was waited for"),
        }
    }

    /// Both OPENs and both KEEPALIVEs.
    pub fn establish(&mut self, open: &Open) -> Result<(), String> {
        self.open(open)?;
        self.until("a KEEPALIVE", |heard| *heard == Heard::Keepalive)?;
        self.say(&keepalive())
    }

    /// The NOTIFICATION that must come, and the end of the connection behind it.
    pub fn notification(&mut self) -> Result<(u8, u8, Vec<u8>), String> {
        match self.until("a NOTIFICATION", |heard| matches!(heard, Heard::Notification(..)))? {
            Heard::Notification(code, subcode, data) => {
                self.until("the end of the connection", |heard| *heard == Heard::Closed)?;
                Ok((code, subcode, data))
            }
            _ => unreachable!("that was waited for"),
        }
    }

    /// Whether nothing but UPDATEs and KEEPALIVEs has come so far.
    pub fn is_up(&mut self) -> Result<(), String> {
        while let Some(heard) = self.hear(Duration::from_millis(1))? {
            if matches!(heard, Heard::Notification(..) | Heard::Closed) {
                return Err(format!("the session ended: {heard:?}"));
            }
        }
        Ok(())
    }
}
