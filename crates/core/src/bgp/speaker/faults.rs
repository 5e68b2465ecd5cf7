//! What was wrong with a neighbour's UPDATEs (RFC 7606): counted, remembered, and reported with all that section 6 wants.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::ration::Ration;
use super::{Event, Speaker};
use crate::bgp::wire::{self, DefectAction, Message, Notification};
use crate::model::Cidr;
use crate::time::Time;

/// So many reports of one neighbour come in a minute at most; the counters have all.
const REPORTS: u32 = 10;

/// The faults of one neighbour's UPDATEs since it was configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// UPDATEs with anything wrong.
    pub updates: u64,
    /// Those of the present session, or else of the last one.
    pub of_session: u64,
    /// What was done: routes treated as withdrawn, attributes discarded, prefixes ignored, sessions reset.
    pub withdrawn: u64,
    pub discarded: u64,
    pub ignored: u64,
    pub resets: u64,
    pub last: Option<(Time, Fault)>,
    ration: Ration,
}

/// One UPDATE with something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub what: String,
    /// The offending attribute's first bytes as received; none where no single one is at fault.
    pub bytes: Vec<u8>,
    /// The prefixes in it, withdrawn or reachable; none of one that ended the session, which could not be read.
    pub prefixes: BTreeSet<Cidr>,
    /// The whole message as received.
    pub message: Vec<u8>,
    /// It ended the session.
    pub fatal: bool,
}

impl Faults {
    pub fn count(&mut self, action: DefectAction) {
        *match action {
            DefectAction::TreatAsWithdraw => &mut self.withdrawn,
            DefectAction::AttributeDiscard => &mut self.discarded,
            DefectAction::PrefixIgnored => &mut self.ignored,
        } += 1;
    }

    /// The counters go on; what the session before had wrong is not this one's.
    pub(super) fn new_session(&mut self) {
        self.of_session = 0;
    }
}

impl Speaker {
    /// An UPDATE that was mended.
    pub(super) fn mended(&mut self, address: IpAddr, what: String, bytes: Vec<u8>, message: Vec<u8>, now: Time) {
        self.fault(address, Fault { what, bytes, prefixes: BTreeSet::new(), message, fatal: false }, now);
    }

    /// An UPDATE that cannot be mended. The NOTIFICATION that it is answered by goes out behind this.
    pub(super) fn unreadable(&mut self, address: IpAddr, notification: &Notification, message: Vec<u8>, now: Time) {
        let (what, bytes) = (notification.to_string(), notification.data.clone());
        self.fault(address, Fault { what, bytes, prefixes: BTreeSet::new(), message, fatal: true }, now);
    }

    fn fault(&mut self, address: IpAddr, mut fault: Fault, now: Time) {
        let Some(peer) = self.peers.get_mut(&address).filter(|peer| !peer.is_away()) else { return };
        let faults = &mut peer.faults;
        faults.updates += 1;
        faults.of_session += 1;
        faults.resets += u64::from(fault.fatal);
        if let Some(unreported) = faults.ration.take(REPORTS, now) {
            // What could not be decoded is not tried again: it may be a panic of the decoder that a session caught.
            let codec = peer.negotiated.as_ref().filter(|_| !fault.fatal).map(|negotiated| &negotiated.codec);
            fault.prefixes = codec.map(|codec| prefixes(&fault.message, codec)).unwrap_or_default();
            let name = peer.config.name.clone();
            self.events.push_back(Event::Malformed { peer: address, name, fault: fault.clone(), unreported });
        }
        faults.last = Some((now, fault));
    }
}

/// Every prefix that an UPDATE names.
fn prefixes(message: &[u8], codec: &wire::CodecContext) -> BTreeSet<Cidr> {
    let Ok(Message::Update(update)) = wire::decode(message, codec) else { return BTreeSet::new() };
    let reachable = update.reachable.into_iter().map(|(nlri, _)| nlri);
    reachable.chain(update.withdrawn).map(|nlri| nlri.prefix).collect()
}
