//! Coming up, and coming back (RFC 4724 4.1): when our selection is done, and when the routes that the kernel kept from
//! before may be swept.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::config::SpeakerConfig;
use super::peer::Peer;
use crate::time::Time;

/// The Selection_Deferral_Timer where graceful restart is off.
const DEFERRAL: Duration = Duration::from_secs(60);

/// How the speaker was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// The kernel holds routes of an earlier incarnation, own or learned: we say so (the R and F bits), and tell learned
    /// routes and End-of-RIB only when the neighbours have told theirs.
    pub restarting: bool,
    /// Where jitter starts from.
    pub seed: u64,
}

#[derive(Debug)]
pub(super) struct Progress {
    restarting: bool,
    /// Our own prefixes have been named: before that no End-of-RIB is true.
    pub originated: bool,
    deadline: Time,
    /// When the neighbours were last looked at.
    looked: Time,
    selected: bool,
    converged: bool,
    /// Who was in the way of each of them the last time.
    unselected: Option<IpAddr>,
    untold: Option<IpAddr>,
    /// Whether [`Progress::converged`] was reported.
    pub reported: bool,
}

impl Progress {
    pub fn new(startup: Startup, config: &SpeakerConfig, now: Time) -> Progress {
        let wait = if config.restart_time > 0 { Duration::from_secs(config.restart_time.into()) } else { DEFERRAL };
        Progress {
            restarting: startup.restarting && config.restarts(),
            originated: false,
            deadline: now + wait,
            looked: now,
            selected: false,
            converged: false,
            unselected: None,
            untold: None,
            reported: false,
        }
    }

    /// Whether the kernel forwarded all the while what an earlier incarnation told; true also when the selection is done,
    /// for neighbours that are late.
    pub fn preserved(&self) -> bool {
        self.restarting
    }

    /// Whether we still say that we have restarted, and keep learned routes to ourselves.
    pub fn deferring(&self) -> bool {
        self.restarting && !self.selected
    }

    /// Whether no End-of-RIB may be sent yet.
    pub fn holds_end_of_rib(&self) -> bool {
        !self.selected
    }

    /// Whether every neighbour has told what it had to tell, or had its time.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// Looks at the neighbours; `true` when the selection has just been done. `complete`: none of them is still to be found on
    /// its link; `unanswered`: some next hop waits for its answer, and with it routes that were told.
    pub fn advance(&mut self, peers: &BTreeMap<IpAddr, Peer>, complete: bool, unanswered: bool, now: Time) -> bool {
        self.looked = now;
        let late = now >= self.deadline;
        if !self.converged {
            let told = complete && !unanswered && all(peers, &mut self.untold, |peer| peer.told_all(now));
            self.converged = late || told;
        }
        if self.selected {
            return false;
        }
        let neighbors_done =
            !self.restarting || (complete && all(peers, &mut self.unselected, Peer::selection_may_go_on));
        self.selected = late || (self.originated && neighbors_done && !unanswered);
        self.selected
    }

    pub fn next_deadline(&self, peers: &BTreeMap<IpAddr, Peer>) -> Option<Time> {
        if self.converged && self.selected {
            return None;
        }
        let quiet = self.untold.filter(|_| !self.converged).and_then(|untold| peers.get(&untold)?.quiet_at());
        let ahead = quiet.filter(|at| *at > self.looked);
        Some(ahead.map_or(self.deadline, |at| at.min(self.deadline)))
    }
}

/// Whether it is true of all of them. Who was in the way the last time is asked first: mostly it still is, and the others
/// need not be looked at.
fn all(peers: &BTreeMap<IpAddr, Peer>, in_the_way: &mut Option<IpAddr>, is_done: impl Fn(&Peer) -> bool) -> bool {
    let known = in_the_way.and_then(|address| peers.get(&address));
    if known.is_none_or(&is_done) {
        *in_the_way = peers.iter().find(|(_, peer)| !is_done(peer)).map(|(address, _)| *address);
    }
    in_the_way.is_none()
}
