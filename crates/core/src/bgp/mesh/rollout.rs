//! From one plan of the mesh to the next: make before break. The sessions of the new plan come up beside those of the old
//! one, and the old ones go when every node has said, in the store, that it has what the new plan gives it. So each pair of
//! nodes has a way over standing sessions at every moment.
//!
//! One node's own sessions would not do as a sign: in a full mesh that goes over to reflectors, a node whose two reflectors
//! stand would take its routes from one that has none yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::plan::{Plan, Role};
use super::reflection::Hold;
use crate::time::Time;

/// A change of the reflectors waits until the nodes have not changed for so long, or for at most so long: many nodes that
/// start at once make one change.
const SETTLE: Duration = Duration::from_secs(2);
const SETTLE_MOST: Duration = Duration::from_secs(10);
/// A neighbour of the new plan is waited for so long; another reflector does instead.
const PEER_WAIT: Duration = Duration::from_secs(30);
/// A node that has said nothing for so long is waited for no more.
const SILENCE: Duration = Duration::from_secs(30);
/// All have to be of one mind for so long: what was said over their sessions has arrived by then.
const LINGER: Duration = Duration::from_secs(3);
/// After so long the old sessions go whatever is missing. While the store cannot be read nobody could have said anything, so
/// that time counts for none of these.
const HOLD_MOST: Duration = Duration::from_secs(300);

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Down,
    Established,
    /// And the neighbour has told everything that it had to tell (End-of-RIB).
    Told,
}

/// What another node says in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Another value each time it says anything.
    pub at: u64,
    /// The plan that it has in place.
    pub in_place: Option<String>,
}

/// What a look finds.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether the store can be read, and what is said there comes through: else what others said last may no longer be true.
    pub current: bool,
    pub sessions: BTreeMap<String, Standing>,
    /// Whether what comes over the sessions that are to go comes over another one too.
    pub covered: bool,
    pub said: BTreeMap<String, Said>,
}

#[derive(Clone, Debug)]
struct Proposed {
    plan: Plan,
    since: Time,
    changed: Time,
}

/// The plan that this node follows, and what it keeps of earlier ones.
#[derive(Clone, Debug)]
pub struct Rollout {
    plan: Plan,
    /// For how long it has been followed while others could be heard.
    waited: Duration,
    /// The last look, if others could be heard then.
    heard_at: Option<Time>,
    /// Of earlier plans: sessions that the present one does not have, or holds for less.
    held: BTreeMap<String, Hold>,
    proposed: Option<Proposed>,
    in_place: bool,
    agreed: Option<Time>,
    /// What each member said last, and since when it has said nothing else.
    heard: BTreeMap<String, (u64, Time)>,
    /// For whom or what it waits, in words.
    waiting: Option<String>,
}

impl Rollout {
    /// The first plan is followed at once: there is nothing to keep.
    pub fn new(plan: Plan) -> Rollout {
        Rollout {
            plan,
            waited: Duration::ZERO,
            heard_at: None,
            held: BTreeMap::new(),
            proposed: None,
            in_place: false,
            agreed: None,
            heard: BTreeMap::new(),
            waiting: None,
        }
    }

    /// What the store's nodes and the setting come to now. `true`: the neighbours are others from now on.
    pub fn propose(&mut self, plan: Plan, now: Time) -> bool {
        if plan == self.plan {
            self.proposed = None;
            return false;
        }
        // Where the same nodes reflect, or nobody does, nobody has to be waited for.
        if plan.name == self.plan.name || [&plan, &self.plan].iter().all(|plan| plan.reflection.is_none()) {
            return self.follow(plan);
        }
        match &mut self.proposed {
            Some(proposed) if proposed.plan == plan => {}
            Some(proposed) => (proposed.plan, proposed.changed) = (plan, now),
            None => self.proposed = Some(Proposed { plan, since: now, changed: now }),
        }
        false
    }

    fn follow(&mut self, plan: Plan) -> bool {
        let before = self.peers();
        self.proposed = None;
        self.held = match plan.role {
            Role::Apart => BTreeMap::new(),
            // Who is no longer a node of the class, or no node at all, is held by nothing.
            _ => before
                .iter()
                .filter(|(other, hold)| plan.members.contains(*other) && plan.peers.get(*other) < Some(*hold))
                .map(|(other, hold)| (other.clone(), *hold))
                .collect(),
        };
        if plan.name != self.plan.name {
            (self.in_place, self.agreed) = (false, None);
            (self.waited, self.heard_at) = (Duration::ZERO, None);
        }
        self.heard.retain(|other, _| plan.members.contains(other));
        self.plan = plan;
        self.peers() != before
    }

    /// With whom this node has sessions, and how it holds them.
    pub fn peers(&self) -> BTreeMap<String, Hold> {
        let mut peers = self.plan.peers.clone();
        for (other, hold) in &self.held {
            let both = peers.entry(other.clone()).or_insert(*hold);
            *both = (*both).max(*hold);
        }
        peers
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The plan whose sessions stand, as it is said to the other nodes.
    pub fn in_place(&self) -> Option<&str> {
        self.in_place.then_some(&self.plan.name)
    }

    /// Neighbours that the plan no longer has.
    pub fn leaving(&self) -> BTreeSet<&str> {
        self.held.keys().map(String::as_str).filter(|other| !self.plan.peers.contains_key(*other)).collect()
    }

    /// Whether an earlier plan is still followed besides.
    pub fn is_changing(&self) -> bool {
        !self.held.is_empty() || self.proposed.is_some()
    }

    pub fn waiting(&self) -> Option<&str> {
        self.waiting.as_deref()
    }

    /// Whether a look may change anything.
    pub fn is_restless(&self) -> bool {
        self.is_changing() || !self.in_place
    }

    /// To be called every second or so while [`Rollout::is_restless`]. `true`: the neighbours are others from now on.
    pub fn look(&mut self, facts: &Facts, now: Time) -> bool {
        let due =
            |proposed: &mut Proposed| now.since(proposed.changed) >= SETTLE || now.since(proposed.since) >= SETTLE_MOST;
        if let Some(proposed) = self.proposed.take_if(due) {
            return self.follow(proposed.plan);
        }
        self.hear(facts, now);
        let overdue = facts.current && self.waited >= HOLD_MOST;
        self.waiting = self.missing(facts).filter(|_| !self.in_place || !self.held.is_empty());
        if self.waiting.is_none() || overdue {
            self.in_place = true;
        }
        if self.held.is_empty() {
            return false;
        }
        if self.waiting.is_none() {
            self.waiting = match facts.current {
                true => {
                    self.dissenter(facts, now).map(|other| format!("{other} does not have the new plan in place yet"))
                }
                false => Some("the store cannot be read".to_string()),
            };
        }
        if self.waiting.is_some() && !overdue {
            self.agreed = None;
            return false;
        }
        let agreed = *self.agreed.get_or_insert(now);
        if now.since(agreed) < LINGER {
            return false;
        }
        let before = self.peers();
        self.held.clear();
        self.waiting = None;
        self.peers() != before
    }

    fn hear(&mut self, facts: &Facts, now: Time) {
        let until = facts.current.then_some(now);
        if let (Some(from), Some(until)) = (std::mem::replace(&mut self.heard_at, until), until) {
            self.waited += until.since(from);
        }
        for member in &self.plan.members {
            let at = facts.said.get(member).map_or(0, |said| said.at);
            let heard = self.heard.entry(member.clone()).or_insert((at, now));
            if heard.0 != at || !facts.current {
                *heard = (at, now);
            }
        }
    }

    /// What this node still has to have of the plan, in words.
    fn missing(&self, facts: &Facts) -> Option<String> {
        let patient = self.waited < PEER_WAIT;
        let told = |other: &String| facts.sessions.get(other) == Some(&Standing::Told);
        let late = self.plan.peers.keys().find(|other| patient && self.plan.members.contains(*other) && !told(other));
        let late = late.map(|other| format!("{other} has not told its routes yet"));
        late.or_else(|| {
            let what = "routes come only over sessions that are to go";
            (!facts.covered && !self.held.is_empty()).then(|| what.to_string())
        })
    }

    /// A node that lives, and does not say that it has this plan in place.
    fn dissenter(&self, facts: &Facts, now: Time) -> Option<&String> {
        let agrees =
            |other: &String| facts.said.get(other).and_then(|said| said.in_place.as_ref()) == Some(&self.plan.name);
        let silent = |other: &String| self.heard.get(other).is_some_and(|(_, since)| now.since(*since) >= SILENCE);
        self.plan.members.iter().find(|other| !agrees(other) && !silent(other))
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
