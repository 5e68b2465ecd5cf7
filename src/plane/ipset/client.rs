//! The ipset protocol: many steps a send, each acknowledged, each failure attributed to its step and member.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use routenet_core::desired::{Member, SetKind, SetName};
use routenet_core::model::Family;

use super::wire::{self, Writer};
use crate::plane::PlaneError;
use crate::plane::nfnetlink::{Attrs, Message, messages};

/// The newest revision of the set types whose options we use; older `ipset` tools still list such sets.
const NEWEST_REVISION: u8 = 6;
/// Entries in one message: the container's length has 16 bits, and an IPv6 entry with interface takes 68 bytes.
const MEMBERS_PER_MESSAGE: usize = 500;
/// A send ends here: so many acknowledgements surely fit into the receive buffer.
const MESSAGES_PER_SEND: usize = 128;
const BYTES_PER_SEND: usize = 48 * 1024;
const RECEIVE_BUFFER: usize = 4 << 20;
const LONGEST_DATAGRAM: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// What a kernel without netfilter's socket, or without ipset behind it, wants.
const NO_IPSET: &str = "the kernel has no ipset (mend: modprobe ip_set)";

/// Private error numbers of ipset.
pub const ERR_BUSY: i32 = 4100;
const ERR_TYPE_MISMATCH: i32 = 4102;

/// A set to create. One of the same name, type and options is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSet {
    pub name: SetName,
    pub family: Family,
    pub kind: SetKind,
    /// The most members it takes; costs no memory.
    pub max_members: u32,
    /// Buckets to begin with; the kernel doubles them as it needs.
    pub hash_size: u32,
    /// Whether each member counts packets and bytes.
    pub counters: bool,
}

/// One thing to do. Adding what is there and deleting what is not are no errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Create(NewSet),
    Add(SetName, Vec<Member>),
    Delete(SetName, Vec<Member>),
    Destroy(SetName),
    /// Exchanges content and options; both sets have one type and family.
    Swap(SetName, SetName),
}

impl Step {
    /// The set it works on.
    pub fn set(&self) -> &str {
        match self {
            Step::Create(new) => &new.name,
            Step::Add(name, _) | Step::Delete(name, _) | Step::Destroy(name) | Step::Swap(name, _) => name,
        }
    }

    fn members(&self) -> &[Member] {
        match self {
            Step::Add(_, members) | Step::Delete(_, members) => members,
            _ => &[],
        }
    }
}

/// A step, or one member of it, that the kernel refused; what else the step had was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError {
    /// The position of the step.
    pub step: usize,
    pub member: Option<Member>,
    /// Positive: an errno, or from 4096 one of ipset's own.
    pub errno: i32,
}

/// A set as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSet {
    pub family: Option<Family>,
    /// `None`: a type that we do not use.
    pub kind: Option<SetKind>,
    pub max_members: u32,
    pub counters: bool,
    pub members: BTreeSet<Member>,
    /// Entries with flags of somebody else's (`nomatch`, `physdev:`, wildcards): there, but not what we mean.
    pub odd: BTreeSet<Member>,
}

/// A part of a step that fits into one message.
struct Piece {
    step: usize,
    from: usize,
    to: usize,
}

/// A connection to the ipset of the network namespace of the thread that opened it.
pub struct Client {
    socket: Socket,
    sequence: u32,
    protocol: u8,
    revisions: BTreeMap<(&'static str, Family), u8>,
    incoming: Vec<u8>,
}

impl Client {
    pub fn open() -> Result<Client, PlaneError> {
        let socket = (|| {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).or_else(|_| socket_buffer(&socket))?;
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE.as_secs() as i64, 0))?;
            Ok::<_, std::io::Error>(socket)
        })()
        .map_err(|error: std::io::Error| match error.raw_os_error() {
            Some(libc::EPROTONOSUPPORT) => ipset_error(format!("no netfilter socket: {NO_IPSET}")),
            _ => ipset_error(format!("no netfilter socket: {error}")),
        })?;
        let incoming = Vec::with_capacity(LONGEST_DATAGRAM);
        let mut client = Client { socket, sequence: 0, protocol: 6, revisions: BTreeMap::new(), incoming };
        client.negotiate()?;
        Ok(client)
    }

    /// Finds the protocol version (6 or 7) and the revision of each set type.
    fn negotiate(&mut self) -> Result<(), PlaneError> {
        let (mut newest, mut oldest) = (0, None);
        self.ask(
            wire::CMD_PROTOCOL,
            Family::V4,
            |_| {},
            |attr, value| match attr {
                wire::ATTR_PROTOCOL => newest = value.first().copied().unwrap_or(0),
                wire::ATTR_PROTOCOL_MIN => oldest = value.first().copied(),
                _ => {}
            },
        )?;
        let oldest = oldest.unwrap_or(newest);
        if newest < 6 || oldest > 7 {
            return Err(ipset_error(format!("the kernel speaks protocol {oldest} to {newest}, we speak 6 and 7")));
        }
        self.protocol = newest.min(7);
        for kind in wire::SET_KINDS {
            for family in Family::BOTH {
                let (mut newest, mut oldest) = (0, 0);
                let name = wire::type_name(kind);
                self.ask(
                    wire::CMD_TYPE,
                    family,
                    |message| {
                        message.string(wire::ATTR_TYPENAME, name);
                        message.u8(wire::ATTR_FAMILY, wire::family_number(family));
                    },
                    |attr, value| match attr {
                        wire::ATTR_REVISION => newest = value.first().copied().unwrap_or(0),
                        wire::ATTR_REVISION_MIN => oldest = value.first().copied().unwrap_or(0),
                        _ => {}
                    },
                )
                .map_err(|error| no_set_type(name, family, &error.what))?;
                self.revisions.insert((name, family), newest.min(NEWEST_REVISION).max(oldest));
            }
        }
        Ok(())
    }

    /// Does the steps in their order. What the kernel refuses is reported and does not stop the rest.
    ///
    /// # Errors
    /// The connection itself failed; how far the steps got is then unknown.
    pub fn run(&mut self, steps: &[Step]) -> Result<Vec<StepError>, PlaneError> {
        let mut todo: VecDeque<Piece> = VecDeque::new();
        for (step, what) in steps.iter().enumerate() {
            let count = what.members().len();
            if matches!(what, Step::Add(..) | Step::Delete(..)) {
                todo.extend((0..count).step_by(MEMBERS_PER_MESSAGE).map(|from| Piece {
                    step,
                    from,
                    to: (from + MEMBERS_PER_MESSAGE).min(count),
                }));
            } else {
                todo.push_back(Piece { step, from: 0, to: 0 });
            }
        }
        let mut errors = Vec::new();
        while !todo.is_empty() {
            let mut writer = Writer::default();
            let mut sent: BTreeMap<u32, Piece> = BTreeMap::new();
            while sent.len() < MESSAGES_PER_SEND && writer.bytes.len() < BYTES_PER_SEND {
                let Some(piece) = todo.pop_front() else { break };
                self.sequence = self.sequence.wrapping_add(1);
                self.write(&mut writer, &steps[piece.step], &piece);
                let many = piece.to - piece.from > 1;
                sent.insert(self.sequence, piece);
                if many {
                    // If one entry is refused, the rest of this piece goes out before the next step.
                    break;
                }
            }
            self.send(&writer.bytes)?;
            self.collect(steps, sent, &mut todo, &mut errors)?;
        }
        Ok(errors)
    }

    /// Takes the acknowledgements of one send; the entries after a refused one go back in front of `todo`.
    fn collect(
        &mut self,
        steps: &[Step],
        mut sent: BTreeMap<u32, Piece>,
        todo: &mut VecDeque<Piece>,
        errors: &mut Vec<StepError>,
    ) -> Result<(), PlaneError> {
        while !sent.is_empty() {
            self.receive()?;
            for message in messages(&self.incoming) {
                if message.kind != wire::NLMSG_ERROR {
                    continue;
                }
                let Some(piece) = sent.remove(&message.sequence) else { continue };
                let errno = wire::errno(&message);
                let step = &steps[piece.step];
                let gone_already = errno == libc::ENOENT && matches!(step, Step::Destroy(_));
                if errno == 0 || gone_already {
                    continue;
                }
                let mut refused = step.members().get(piece.from).cloned();
                if piece.to - piece.from > 1 {
                    let line = wire::failed_line(&message).unwrap_or(0) as usize;
                    // Lines count from 1; without one no entry was looked at, such as when there is no such set.
                    let at = (piece.from + 1..=piece.to).contains(&line).then(|| line - 1);
                    refused = at.and_then(|at| step.members().get(at).cloned());
                    if let Some(next) = at.map(|at| at + 1).filter(|next| *next < piece.to) {
                        todo.push_front(Piece { step: piece.step, from: next, to: piece.to });
                    }
                }
                errors.push(StepError { step: piece.step, member: refused, errno });
            }
        }
        Ok(())
    }

    fn write(&self, writer: &mut Writer, step: &Step, piece: &Piece) {
        let (command, family) = match step {
            Step::Create(new) => (wire::CMD_CREATE, new.family),
            Step::Add(..) => (wire::CMD_ADD, Family::V4),
            Step::Delete(..) => (wire::CMD_DEL, Family::V4),
            Step::Destroy(_) => (wire::CMD_DESTROY, Family::V4),
            Step::Swap(..) => (wire::CMD_SWAP, Family::V4),
        };
        let start = writer.begin(command, wire::NLM_F_ACK, self.sequence, family);
        writer.u8(wire::ATTR_PROTOCOL, self.protocol);
        writer.string(wire::ATTR_SETNAME, step.set());
        match step {
            Step::Create(new) => {
                let name = wire::type_name(new.kind);
                writer.string(wire::ATTR_TYPENAME, name);
                let revision = self.revisions.get(&(name, new.family)).copied().unwrap_or(0);
                writer.u8(wire::ATTR_REVISION, revision);
                writer.u8(wire::ATTR_FAMILY, wire::family_number(new.family));
                writer.nested(wire::ATTR_DATA, |data| {
                    data.u32(wire::ATTR_HASHSIZE, new.hash_size);
                    data.u32(wire::ATTR_MAXELEM, new.max_members);
                    if new.counters {
                        data.u32(wire::ATTR_CADT_FLAGS, wire::FLAG_WITH_COUNTERS);
                    }
                });
            }
            Step::Add(_, members) | Step::Delete(_, members) => match &members[piece.from..piece.to] {
                [member] => writer.member(member, piece.to as u32),
                several => {
                    writer.u32(wire::ATTR_LINENO, 0);
                    writer.nested(wire::ATTR_ADT, |list| {
                        for (line, member) in (piece.from as u32 + 1..).zip(several) {
                            list.member(member, line);
                        }
                    });
                }
            },
            Step::Destroy(_) => {}
            Step::Swap(_, other) => writer.string(wire::ATTR_SETNAME2, other),
        }
        writer.end(start);
    }

    /// The names of all sets, ours and others'.
    pub fn names(&mut self) -> Result<BTreeSet<SetName>, PlaneError> {
        let mut names = BTreeSet::new();
        self.dump(None, Some(wire::FLAG_LIST_SETNAME), |message| {
            names
                .extend(message.attrs().find(|(attr, _)| *attr == wire::ATTR_SETNAME).and_then(|(_, v)| wire::text(v)));
        })?;
        Ok(names)
    }

    /// The number of members of every set of ours, without reading members.
    pub fn counts(&mut self) -> Result<BTreeMap<SetName, u32>, PlaneError> {
        let mut counts = BTreeMap::new();
        self.dump(None, Some(wire::FLAG_LIST_HEADER), |message| {
            let (mut name, mut elements) = (None, None);
            for (attr, value) in message.attrs() {
                match attr {
                    wire::ATTR_SETNAME => name = wire::text(value),
                    wire::ATTR_DATA => {
                        elements =
                            Attrs(value).find(|(a, _)| *a == wire::ATTR_ELEMENTS).and_then(|(_, v)| wire::be32(v));
                    }
                    _ => {}
                }
            }
            if let (Some(name), Some(elements)) = (name.filter(|name| super::is_ours(name)), elements) {
                counts.insert(name, elements);
            }
        })?;
        Ok(counts)
    }

    /// One set with its members; `None` when there is none of that name.
    pub fn read(&mut self, name: &str) -> Result<Option<KernelSet>, PlaneError> {
        let mut set: Option<KernelSet> = None;
        let found = self.dump(Some(name), None, |message| {
            let set = set.get_or_insert(KernelSet {
                family: None,
                kind: None,
                max_members: 0,
                counters: false,
                members: BTreeSet::new(),
                odd: BTreeSet::new(),
            });
            read_part(set, message);
        })?;
        Ok(set.filter(|_| found))
    }

    /// Lists sets; false when the named one does not exist.
    fn dump(
        &mut self,
        name: Option<&str>,
        flags: Option<u32>,
        mut part: impl FnMut(&Message<'_>),
    ) -> Result<bool, PlaneError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut writer = Writer::default();
        let start = writer.begin(wire::CMD_LIST, wire::NLM_F_DUMP | wire::NLM_F_ACK, self.sequence, Family::V4);
        writer.u8(wire::ATTR_PROTOCOL, self.protocol);
        if let Some(name) = name {
            writer.string(wire::ATTR_SETNAME, name);
        }
        if let Some(flags) = flags {
            writer.u32(wire::ATTR_FLAGS, flags);
        }
        writer.end(start);
        self.send(&writer.bytes)?;
        loop {
            self.receive()?;
            for message in messages(&self.incoming).filter(|message| message.sequence == self.sequence) {
                match message.kind {
                    wire::NLMSG_DONE => return Ok(true),
                    wire::NLMSG_ERROR => match wire::errno(&message) {
                        0 => return Ok(true),
                        libc::ENOENT => return Ok(false),
                        errno => return Err(ipset_error(format!("listing: {}", describe(errno)))),
                    },
                    _ => part(&message),
                }
            }
        }
    }

    /// One question with one answer.
    fn ask(
        &mut self,
        command: u8,
        family: Family,
        question: impl FnOnce(&mut Writer),
        mut answer: impl FnMut(u16, &[u8]),
    ) -> Result<(), PlaneError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut writer = Writer::default();
        let start = writer.begin(command, 0, self.sequence, family);
        writer.u8(wire::ATTR_PROTOCOL, self.protocol);
        question(&mut writer);
        writer.end(start);
        self.send(&writer.bytes)?;
        loop {
            self.receive()?;
            let mine = messages(&self.incoming).find(|message| message.sequence == self.sequence);
            let Some(message) = mine else { continue };
            if message.kind == wire::NLMSG_ERROR {
                return Err(refusal(command, wire::errno(&message)));
            }
            message.attrs().for_each(|(attr, value)| answer(attr, value));
            return Ok(());
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), PlaneError> {
        let sent =
            self.socket.send(bytes, 0).map_err(|error| ipset_error(format!("sending to the kernel: {error}")))?;
        if sent == bytes.len() { Ok(()) } else { Err(ipset_error("the kernel took part of a message".into())) }
    }

    fn receive(&mut self) -> Result<(), PlaneError> {
        loop {
            self.incoming.clear();
            match self.socket.recv(&mut self.incoming, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ipset_error(format!("waiting for the kernel's answer: {error}"))),
            }
        }
    }
}

fn socket_buffer(socket: &Socket) -> Result<(), nix::Error> {
    setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER)
}

/// Takes one message of a listing: header, members, or both.
fn read_part(set: &mut KernelSet, message: &Message<'_>) {
    for (attr, value) in message.attrs() {
        match attr {
            wire::ATTR_TYPENAME => set.kind = wire::text(value).and_then(|name| wire::kind_of_name(&name)),
            wire::ATTR_FAMILY => set.family = value.first().and_then(|number| wire::family_of_number(*number)),
            wire::ATTR_DATA => {
                for (attr, value) in Attrs(value) {
                    match attr {
                        wire::ATTR_MAXELEM => set.max_members = wire::be32(value).unwrap_or(0),
                        wire::ATTR_CADT_FLAGS => {
                            set.counters = wire::be32(value).unwrap_or(0) & wire::FLAG_WITH_COUNTERS != 0;
                        }
                        _ => {}
                    }
                }
            }
            wire::ATTR_ADT => {
                let (Some(kind), Some(family)) = (set.kind, set.family) else { continue };
                for (_, entry) in Attrs(value).filter(|(attr, _)| *attr == wire::ATTR_DATA) {
                    match wire::read_member(kind, family, Attrs(entry)) {
                        Some((member, false)) => _ = set.members.insert(member),
                        Some((member, true)) => _ = set.odd.insert(member),
                        None => {}
                    }
                }
            }
            _ => {}
        }
    }
}

fn ipset_error(what: String) -> PlaneError {
    PlaneError { object: "ipset".into(), what }
}

/// Why the kernel did not answer a question.
fn refusal(command: u8, errno: i32) -> PlaneError {
    match errno {
        // nfnetlink has nobody for ipset's messages.
        libc::EINVAL | libc::EOPNOTSUPP if command == wire::CMD_PROTOCOL => ipset_error(NO_IPSET.into()),
        _ => ipset_error(describe(errno)),
    }
}

fn no_set_type(name: &str, family: Family, what: &str) -> PlaneError {
    ipset_error(format!("set type {name} for {family}: {what} (mend: modprobe {})", module_of(name)))
}

/// The kernel's module of a set type: `ip_set_hash_netiface` of `hash:net,iface`.
fn module_of(set_type: &str) -> String {
    format!("ip_set_{}", set_type.replace(':', "_").replace(',', ""))
}

/// An error number of the kernel's in words.
pub fn describe(errno: i32) -> String {
    let words = match errno {
        libc::EPERM => "not permitted: run as root, or with CAP_NET_ADMIN and CAP_NET_RAW",
        4097 => "the kernel does not understand the message (ipset protocol)",
        4098 => "the kernel does not know this set type or revision",
        4099 => "the kernel has as many sets as it takes",
        ERR_BUSY => "a rule or a list of sets still refers to it",
        ERR_TYPE_MISMATCH => "the two sets differ in type or family",
        4103 => "the entry is there already",
        4104 => "the kernel refuses the prefix length",
        4352 => "the set is full (maxelem)",
        _ if errno < 4096 => return std::io::Error::from_raw_os_error(errno).to_string(),
        _ => return format!("ipset error {errno}"),
    };
    words.to_string()
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
