//! The BFD control packet (RFC 5880 4.1), and the checks of 6.8.6 that need nothing but the packet itself.

use std::fmt;
use std::time::Duration;

/// The mandatory section; we add none, since we authenticate nothing.
pub const LENGTH: usize = 24;
/// With the Authentication Present bit a packet has two more bytes at least (RFC 5880 6.8.6).
const LENGTH_AUTHENTICATED: u8 = 26;
const VERSION: u8 = 1;

/// bfd.SessionState (RFC 5880 6.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    AdminDown,
    Down,
    Init,
    Up,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a session last went down (RFC 5880 4.1); a number, since others may say what we never do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    pub const NONE: Diagnostic = Diagnostic(0);
    pub const DETECTION_TIME_EXPIRED: Diagnostic = Diagnostic(1);
    pub const NEIGHBOR_SIGNALED_DOWN: Diagnostic = Diagnostic(3);
    pub const ADMINISTRATIVELY_DOWN: Diagnostic = Diagnostic(7);
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "No Diagnostic",
            1 => "Control Detection Time Expired",
            2 => "Echo Function Failed",
            3 => "Neighbor Signaled Session Down",
            4 => "Forwarding Plane Reset",
            5 => "Path Down",
            6 => "Concatenated Path Down",
            7 => "Administratively Down",
            8 => "Reverse Concatenated Path Down",
            other => return write!(f, "diagnostic {other}"),
        })
    }
}

/// A control packet without authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub diagnostic: Diagnostic,
    pub state: State,
    pub poll: bool,
    pub final_: bool,
    /// Its BFD goes on while its control plane is away (the C bit).
    pub control_plane_independent: bool,
    pub demand: bool,
    pub multiplier: u8,
    /// Not 0.
    pub my_discriminator: u32,
    pub your_discriminator: u32,
    pub desired_min_tx: Duration,
    pub required_min_rx: Duration,
    pub required_min_echo_rx: Duration,
}

/// Why a packet is nobody's (RFC 5880 6.8.6, RFC 5881 5): the first check that it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Discard {
    /// Not even its fixed part is there.
    Truncated,
    Version(u8),
    LengthTooSmall(u8),
    LengthBeyondPayload(u8),
    ZeroMultiplier,
    Multipoint,
    ZeroMyDiscriminator,
    UnknownDiscriminator,
    /// Your Discriminator is 0, and the state neither Down nor AdminDown.
    ZeroYourDiscriminator,
    UnknownNeighbor,
    /// It is authenticated, and we agreed on no authentication.
    Authenticated,
    /// What it came with, and the least that is taken.
    Ttl(u8, u8),
}

impl fmt::Display for Discard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Discard::Truncated => f.write_str("shorter than a control packet"),
            Discard::Version(version) => write!(f, "version {version}, and ours is {VERSION}"),
            Discard::LengthTooSmall(length) => write!(f, "its length says {length}"),
            Discard::LengthBeyondPayload(length) => write!(f, "its length says {length}, and it is shorter"),
            Discard::ZeroMultiplier => f.write_str("Detect Mult is 0"),
            Discard::Multipoint => f.write_str("the Multipoint bit is set"),
            Discard::ZeroMyDiscriminator => f.write_str("My Discriminator is 0"),
            Discard::UnknownDiscriminator => f.write_str("Your Discriminator is none of ours"),
            Discard::ZeroYourDiscriminator => f.write_str("Your Discriminator is 0 in a state beyond Down"),
            Discard::UnknownNeighbor => f.write_str("no neighbour by that address has BFD"),
            Discard::Authenticated => f.write_str("it is authenticated, and no authentication was agreed on"),
            Discard::Ttl(had, 255) => write!(f, "its TTL is {had}: it came over a router, or from a forger"),
            Discard::Ttl(had, least) => write!(f, "its TTL is {had}, below {least}: it came over too many routers"),
        }
    }
}

impl Packet {
    pub fn encode(&self) -> [u8; LENGTH] {
        let state = match self.state {
            State::AdminDown => 0,
            State::Down => 1,
            State::Init => 2,
            State::Up => 3,
        };
        let bit = |set: bool, at: u8| u8::from(set) << at;
        let mut out = [0; LENGTH];
        out[0] = VERSION << 5 | (self.diagnostic.0 & 0x1f);
        out[1] = state << 6
            | bit(self.poll, 5)
            | bit(self.final_, 4)
            | bit(self.control_plane_independent, 3)
            | bit(self.demand, 1);
        out[2] = self.multiplier;
        out[3] = LENGTH as u8;
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            micros(self.desired_min_tx),
            micros(self.required_min_rx),
            micros(self.required_min_echo_rx),
        ];
        for (place, word) in out[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        out
    }

    /// RFC 5880 6.8.6, in its order, as far as it needs no session; the rest is [`super::engine::Engine`]'s. An
    /// authenticated packet is refused only there, as the one before it names the session: the second value says whether
    /// it is one.
    ///
    /// # Errors
    /// The first check that it failed.
    pub fn decode(payload: &[u8]) -> Result<(Packet, bool), Discard> {
        let [head, flags, multiplier, length, ..] = *payload else { return Err(Discard::Truncated) };
        if head >> 5 != VERSION {
            return Err(Discard::Version(head >> 5));
        }
        let authenticated = flags & 0x04 != 0;
        let least = if authenticated { LENGTH_AUTHENTICATED } else { LENGTH as u8 };
        if length < least {
            return Err(Discard::LengthTooSmall(length));
        }
        if usize::from(length) > payload.len() {
            return Err(Discard::LengthBeyondPayload(length));
        }
        if multiplier == 0 {
            return Err(Discard::ZeroMultiplier);
        }
        if flags & 0x01 != 0 {
            return Err(Discard::Multipoint);
        }
        let word = |at: usize| {
            let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes).ok_or(Discard::Truncated)
        };
        let time = |at| word(at).map(|micros| Duration::from_micros(micros.into()));
        let packet = Packet {
            diagnostic: Diagnostic(head & 0x1f),
            state: match flags >> 6 {
                0 => State::AdminDown,
                1 => State::Down,
                2 => State::Init,
                _ => State::Up,
            },
            poll: flags & 0x20 != 0,
            final_: flags & 0x10 != 0,
            control_plane_independent: flags & 0x08 != 0,
            demand: flags & 0x02 != 0,
            multiplier,
            my_discriminator: word(4)?,
            your_discriminator: word(8)?,
            desired_min_tx: time(12)?,
            required_min_rx: time(16)?,
            required_min_echo_rx: time(20)?,
        };
        if packet.my_discriminator == 0 {
            return Err(Discard::ZeroMyDiscriminator);
        }
        Ok((packet, authenticated))
    }
}

/// Microseconds on the wire; what does not fit is the longest there is.
fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
