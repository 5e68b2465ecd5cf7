//! BGP by hand, as much as a sender and receivers need: OPEN, KEEPALIVE, UPDATE and Cease over non-blocking sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use super::load::{Table, first_message};
use super::place::LIMIT;

pub const MARKER: [u8; 16] = [0xff; 16];
const HOLD: u16 = 240;
/// Often enough for any hold time that a speaker may insist on.
const KEEPALIVE: Duration = Duration::from_secs(20);

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = MARKER.to_vec();
    out.extend((19 + body.len() as u16).to_be_bytes());
    out.push(kind);
    out.extend(body);
    out
}

fn open(as_number: u32, id: Ipv4Addr, hold: u16) -> Vec<u8> {
    // IPv4 unicast, route refresh, four-octet AS numbers.
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 2, 0, 65, 4];
    capabilities.extend(as_number.to_be_bytes());
    let mut body = vec![4];
    body.extend((as_number as u16).to_be_bytes());
    body.extend(hold.to_be_bytes());
    body.extend(id.octets());
    body.extend([capabilities.len() as u8 + 2, 2, capabilities.len() as u8]);
    body.extend(capabilities);
    message(1, &body)
}

/// One neighbour of the speaker.
pub struct Session {
    pub name: String,
    stream: TcpStream,
    heard: Vec<u8>,
    /// What of `heard` was read.
    read: usize,
    unsent: Vec<u8>,
    sent: usize,
    keepalive: Duration,
    keepalive_at: Instant,
    heard_at: Instant,
    /// The longest time for which nothing was heard.
    pub silence: Duration,
    pub table: Table,
    /// When the last of its prefixes came, or went.
    pub changed: Instant,
    /// When it was Established.
    pub since: Instant,
}

impl Session {
    /// A session that is Established. While the speaker does not take it (it may be starting), it is tried again.
    pub fn establish(local: &str, remote: &str, as_number: u32, table: impl Fn() -> Table) -> Session {
        Session::establish_for(HOLD, local, remote, as_number, table)
    }

    /// The same with a hold time, in seconds.
    pub fn establish_for(hold: u16, local: &str, remote: &str, as_number: u32, table: impl Fn() -> Table) -> Session {
        let begun = Instant::now();
        loop {
            let why = match Session::try_establish(hold, local, remote, as_number, &table) {
                Ok(session) => return session,
                Err(why) => why,
            };
            assert!(begun.elapsed() < LIMIT, "no session of {local} with {remote}: {why}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_establish(
        hold: u16,
        local: &str,
        remote: &str,
        as_number: u32,
        table: &impl Fn() -> Table,
    ) -> std::io::Result<Session> {
        let (local, remote): (Ipv4Addr, Ipv4Addr) = (local.parse().expect("an address"), remote.parse().expect("one"));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::V4(SocketAddrV4::new(local, 0)).into())?;
        socket.connect_timeout(&SocketAddr::V4(SocketAddrV4::new(remote, 179)).into(), Duration::from_secs(2))?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(&open(as_number, local, hold))?;
        // OPEN, then KEEPALIVE; what comes behind it waits for the loop.
        let (mut heard, mut read, mut chunk) = (Vec::new(), 0, [0; 4096]);
        for wanted in [1, 4] {
            let (kind, length) = loop {
                if let Some((kind, _, length)) = first_message(&heard[read..]) {
                    break (kind, length);
                }
                match stream.read(&mut chunk)? {
                    0 => return Err(ErrorKind::UnexpectedEof.into()),
                    length => heard.extend(&chunk[..length]),
                }
            };
            if kind != wanted {
                return Err(std::io::Error::other(format!("message {:?}", &heard[read..read + length])));
            }
            read += length;
            if kind == 1 {
                stream.write_all(&message(4, &[]))?;
            }
        }
        stream.set_nonblocking(true)?;
        let since = Instant::now();
        let keepalive = KEEPALIVE.min(Duration::from_secs(hold.into()) / 3);
        let (name, table) = (local.to_string(), table());
        Ok(Session {
            name,
            stream,
            heard,
            read,
            unsent: Vec::new(),
            sent: 0,
            keepalive,
            keepalive_at: since + keepalive,
            heard_at: since,
            silence: Duration::ZERO,
            table,
            changed: since,
            since,
        })
    }

    /// Whether all is on its way that was to be sent.
    pub fn is_idle(&self) -> bool {
        self.sent == self.unsent.len()
    }

    pub fn send(&mut self, bytes: Vec<u8>) {
        assert!(self.is_idle(), "one thing after the other");
        (self.unsent, self.sent) = (bytes, 0);
    }

    /// Says Cease (Administrative Shutdown), and closes.
    pub fn cease(mut self) {
        self.stream.set_nonblocking(false).expect("a socket");
        self.stream.write_all(&message(3, &[6, 2])).expect("it reads");
        self.stream.shutdown(std::net::Shutdown::Write).expect("a socket");
    }

    fn wants(&self) -> PollFlags {
        match self.sent < self.unsent.len() {
            true => PollFlags::POLLIN | PollFlags::POLLOUT,
            false => PollFlags::POLLIN,
        }
    }

    fn write(&mut self) {
        if self.is_idle() && Instant::now() >= self.keepalive_at {
            self.keepalive_at = Instant::now() + self.keepalive;
            self.send(message(4, &[]));
        }
        while self.sent < self.unsent.len() {
            // Not all that the socket would take: what comes back must be read too.
            let end = self.unsent.len().min(self.sent + 256 * 1024);
            match self.stream.write(&self.unsent[self.sent..end]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{}: {error}", self.name),
            }
        }
    }

    fn hear(&mut self) {
        let start = self.heard.len();
        self.heard.resize(start + 256 * 1024, 0);
        let length = match self.stream.read(&mut self.heard[start..]) {
            Ok(0) => panic!("{}: the speaker closed the session", self.name),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{}: {error}", self.name),
        };
        self.heard.truncate(start + length);
        if length > 0 {
            let now = Instant::now();
            self.silence = self.silence.max(now - self.heard_at);
            self.heard_at = now;
        }
        self.take_in();
    }

    fn take_in(&mut self) {
        let before = self.table.count;
        while let Some((kind, body, length)) = first_message(&self.heard[self.read..]) {
            match kind {
                2 => self.table.update(body),
                3 => panic!("{}: NOTIFICATION {body:?}", self.name),
                _ => {}
            }
            self.read += length;
        }
        self.heard.drain(..self.read);
        self.read = 0;
        if self.table.count != before {
            self.changed = Instant::now();
        }
    }
}

/// Serves the sessions until it is so.
pub fn serve(what: &str, sessions: &mut [&mut Session], mut so: impl FnMut(&[&mut Session]) -> bool) {
    let begun = Instant::now();
    sessions.iter_mut().for_each(|session| session.take_in());
    while !so(sessions) {
        if begun.elapsed() > LIMIT {
            let states: Vec<String> = sessions.iter().map(|s| format!("{} has {}", s.name, s.table.count)).collect();
            panic!("waited {LIMIT:?} for {what}: {}", states.join(", "));
        }
        step(sessions, Duration::from_secs(1));
    }
}

/// Waits so long for something to come or to be taken, and deals with it.
pub fn step(sessions: &mut [&mut Session], pause: Duration) {
    let wants: Vec<PollFlags> = sessions.iter().map(|session| session.wants()).collect();
    let mut polled: Vec<PollFd<'_>> =
        sessions.iter().zip(wants).map(|(session, wants)| PollFd::new(session.stream.as_fd(), wants)).collect();
    poll(&mut polled, PollTimeout::try_from(pause).expect("a short pause")).expect("poll");
    let ready: Vec<PollFlags> = polled.iter().map(|one| one.revents().unwrap_or(PollFlags::empty())).collect();
    for (session, ready) in sessions.iter_mut().zip(ready) {
        if ready.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            session.hear();
        }
        session.write();
    }
}
