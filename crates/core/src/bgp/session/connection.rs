//! One TCP connection of a neighbour: bytes in, messages out, what is to be sent, and its two timers.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use super::Negotiated;
use super::timers::Rng;
use crate::bgp::wire::{self, AfiSafi, CodecContext, Message, MessageType, Notification};
use crate::time::Time;

/// Names a connection between the speaker and whoever holds its sockets. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Incoming,
    Outgoing,
}

/// The states of RFC 4271 8.2.2 that a connection can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Connecting,
    /// TCP stands, and the DelayOpenTimer runs: Connect or Active, by who opened it.
    Delayed,
    OpenSent,
    OpenConfirm,
    Established,
}

impl Phase {
    /// RFC 6608 section 3: what is said out of turn ends the session, whatever is in it.
    fn expects(self, message: MessageType) -> Result<(), Notification> {
        use MessageType::{Keepalive, Notification as Ends, Open, RouteRefresh, Update};
        let (subcode, expected): (u8, &[MessageType]) = match self {
            Phase::Connecting => (0, &[]),
            Phase::Delayed => (0, &[Open, Ends]),
            Phase::OpenSent => (1, &[Open, Ends]),
            Phase::OpenConfirm => (2, &[Keepalive, Ends]),
            Phase::Established => (3, &[Update, Keepalive, RouteRefresh, Ends]),
        };
        match expected.contains(&message) {
            true => Ok(()),
            false => Err(Notification::unexpected_message(subcode, message as u8)),
        }
    }
}

#[derive(Debug)]
pub struct Connection {
    pub id: ConnId,
    pub direction: Direction,
    pub phase: Phase,
    /// Our end's address, once it is known.
    pub local: Option<IpAddr>,
    pub negotiated: Option<Negotiated>,
    /// The DelayOpenTimer (RFC 4271 8.1.1).
    pub open_at: Option<Time>,
    pub hold_at: Option<Time>,
    pub keepalive_at: Option<Time>,
    /// In OpenConfirm, with the neighbour's KEEPALIVE there: until when the outcome of a collision is waited for.
    pub confirmed_until: Option<Time>,
    /// The OPENs, whole: ours, and the neighbour's.
    pub opens: [Vec<u8>; 2],
    codec: CodecContext,
    input: Vec<u8>,
    /// What of `input` has been read, and how much of that the last message was.
    read: usize,
    last: usize,
    output: Vec<u8>,
    keepalive_waits: bool,
}

impl Connection {
    pub fn new(id: ConnId, direction: Direction) -> Connection {
        Connection {
            id,
            direction,
            phase: Phase::Connecting,
            local: None,
            negotiated: None,
            open_at: None,
            hold_at: None,
            keepalive_at: None,
            confirmed_until: None,
            opens: Default::default(),
            codec: CodecContext {
                four_octet_as: false,
                ibgp: false,
                families: vec![AfiSafi::IPV4_UNICAST],
                ..CodecContext::default()
            },
            input: Vec::new(),
            read: 0,
            last: 0,
            output: Vec::new(),
            keepalive_waits: false,
        }
    }

    pub fn take_in(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next whole message of what came in.
    ///
    /// # Errors
    /// The NOTIFICATION that ends the session.
    pub fn next_message(&mut self) -> Result<Option<Message>, Notification> {
        self.last = 0;
        let Some(whole) = first_whole(&self.input[self.read..])? else {
            self.input.drain(..self.read);
            self.read = 0;
            return Ok(None);
        };
        if let Some(kind) = MessageType::of(whole[wire::HEADER - 1]) {
            self.phase.expects(kind)?;
        }
        if self.phase <= Phase::OpenSent {
            self.opens[1] = whole.to_vec();
        }
        // A panic in the decoder is a bug of ours; it must not cost more than this session.
        let decoded = std::panic::catch_unwind(AssertUnwindSafe(|| wire::decode(whole, &self.codec)));
        self.last = whole.len();
        self.read += self.last;
        decoded.unwrap_or_else(|_| Err(Notification::malformed_attribute_list())).map(Some)
    }

    /// Whether the neighbour speaks as in Established on a connection that waits for the outcome of a collision: it has decided.
    pub fn goes_on(&self) -> bool {
        if self.confirmed_until.is_none() {
            return false;
        }
        let next = first_whole(&self.input[self.read..]).ok().flatten();
        let kind = next.and_then(|message| MessageType::of(message[wire::HEADER - 1]));
        matches!(kind, Some(MessageType::Update | MessageType::RouteRefresh))
    }

    /// The message that was decoded last, or could not be, as it came; none where there was no whole one in turn.
    pub fn message(&self) -> &[u8] {
        &self.input[self.read - self.last..self.read]
    }

    /// Adopts what the two OPENs came to, and starts its timers.
    pub fn agree(&mut self, negotiated: Negotiated, now: Time, rng: &mut Rng) {
        self.codec = negotiated.codec.clone();
        self.negotiated = Some(negotiated);
        self.heard(now);
        self.schedule_keepalive(now, rng);
    }

    /// Restarts the hold timer.
    pub fn heard(&mut self, now: Time) {
        let hold_time = self.negotiated.as_ref().map_or(0, |negotiated| negotiated.hold_time);
        self.hold_at = (hold_time > 0).then(|| now + Duration::from_secs(hold_time.into()));
    }

    /// Whether a NOTIFICATION ends it as a break of TCP would (RFC 8538): both sides said so, and it stands.
    pub fn survives_notifications(&self) -> bool {
        let theirs = self.negotiated.as_ref().and_then(|negotiated| negotiated.graceful_restart.as_ref());
        self.phase == Phase::Established && theirs.is_some_and(|theirs| theirs.notification)
    }

    /// A third of the hold time from now, with jitter.
    fn schedule_keepalive(&mut self, now: Time, rng: &mut Rng) {
        let hold_time = self.negotiated.as_ref().map_or(0, |negotiated| negotiated.hold_time);
        let interval = Duration::from_secs(hold_time.into()) / 3;
        self.keepalive_at = (hold_time > 0).then(|| now + rng.jitter(interval));
    }

    pub fn send(&mut self, message: &[u8]) {
        self.output.extend_from_slice(message);
    }

    /// One KEEPALIVE in the queue is enough.
    pub fn keepalive(&mut self, now: Time, rng: &mut Rng) {
        if !self.keepalive_waits {
            self.send(&wire::encode_keepalive());
            self.keepalive_waits = true;
        }
        self.schedule_keepalive(now, rng);
    }

    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// What the FSM has to say: it goes before any UPDATE.
    pub fn take_output(&mut self, buffer: &mut Vec<u8>) {
        buffer.append(&mut self.output);
        self.keepalive_waits = false;
    }

    /// The rest of the output, with these last words.
    pub fn last_words(mut self, notification: &Notification) -> Vec<u8> {
        self.output.extend_from_slice(&wire::encode_notification(notification));
        self.output
    }
}

/// The first message of these bytes, once it is whole.
fn first_whole(bytes: &[u8]) -> Result<Option<&[u8]>, Notification> {
    Ok(wire::message_length(bytes)?.and_then(|length| bytes.get(..length)))
}
