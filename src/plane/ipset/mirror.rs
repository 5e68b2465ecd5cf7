//! What is wanted of sets, what the kernel has, and the steps from the second to the first.

use std::collections::{BTreeMap, BTreeSet};

use routenet_core::desired::{Member, SetKind, SetName, SetOp, SetSpec};
use routenet_core::model::{Cidr, Family, stable_hash};

use super::client::{Client, ERR_BUSY, KernelSet, NewSet, Step, describe};
use super::is_ours;
use crate::plane::PlaneError;

/// Room of a set; one that outgrows it is rebuilt with room for twice its members.
const MAX_MEMBERS: u32 = 1 << 20;
const SMALLEST_HASH: u32 = 64;
const LARGEST_FIRST_HASH: u32 = 1 << 16;

/// The sets of ours: wanted, and as the kernel has them.
pub struct IpsetPlane {
    client: Client,
    /// Whether members count packets and bytes.
    counters: bool,
    want: BTreeMap<SetName, SetSpec>,
    have: BTreeMap<SetName, KernelSet>,
    /// Sets of which the kernel refused something, and why.
    failed: BTreeMap<SetName, PlaneError>,
}

impl IpsetPlane {
    /// Opens a connection to the ipset of this thread's network namespace; changes nothing.
    pub fn open(counters: bool) -> Result<IpsetPlane, PlaneError> {
        Ok(IpsetPlane {
            client: Client::open()?,
            counters,
            want: BTreeMap::new(),
            have: BTreeMap::new(),
            failed: BTreeMap::new(),
        })
    }

    /// Replaces all that is wanted; nothing goes to the kernel yet.
    pub fn want(&mut self, sets: BTreeMap<SetName, SetSpec>) {
        self.want = sets;
    }

    /// The number of members wanted.
    pub fn wanted_members(&self) -> u64 {
        self.want.values().map(|set| set.members.len() as u64).sum()
    }

    /// What the kernel refused last, by set.
    pub fn failed(&self) -> &BTreeMap<SetName, PlaneError> {
        &self.failed
    }

    /// Sets whose name is taken by one of another type or family, which a rule holds: what is asked there is not what we
    /// want to know.
    pub fn occupied(&self) -> BTreeSet<SetName> {
        let differs =
            |have: &KernelSet, want: &SetSpec| have.kind != Some(want.kind) || have.family != Some(want.family);
        let occupied =
            self.want.iter().filter(|(name, want)| self.have.get(*name).is_some_and(|have| differs(have, want)));
        occupied.map(|(name, _)| name.clone()).collect()
    }

    /// Sets of ours that the kernel still has and nobody wants: a rule may hold them a moment longer.
    pub fn leftovers(&self) -> impl Iterator<Item = &SetName> {
        self.have.keys().filter(|name| !self.want.contains_key(*name))
    }

    /// Names of all sets that are wanted or there.
    pub fn all_names(&self) -> BTreeSet<SetName> {
        self.want.keys().chain(self.have.keys()).cloned().collect()
    }

    /// Reads all sets of ours from the kernel.
    pub fn read(&mut self) -> Result<(), PlaneError> {
        let names = self.client.names()?;
        let mut have = BTreeMap::new();
        for name in names.into_iter().filter(|name| is_ours(name)) {
            if let Some(set) = self.client.read(&name)? {
                have.insert(name, set);
            }
        }
        self.have = have;
        Ok(())
    }

    /// Reads again those sets whose number of members, by the kernel, is not the mirror's; answers whether there were any.
    pub fn read_miscounted(&mut self) -> Result<bool, PlaneError> {
        let counts = self.client.counts()?;
        let mut names: BTreeSet<SetName> =
            self.have.keys().filter(|name| !counts.contains_key(*name)).cloned().collect();
        for (name, count) in &counts {
            let known = self.have.get(name).map(|set| set.members.len() + set.odd.len());
            if known != Some(*count as usize) {
                names.insert(name.clone());
            }
        }
        for name in &names {
            self.read_one(name)?;
        }
        Ok(!names.is_empty())
    }

    fn read_one(&mut self, name: &str) -> Result<(), PlaneError> {
        match self.client.read(name)? {
            Some(set) => _ = self.have.insert(name.to_string(), set),
            None => _ = self.have.remove(name),
        }
        Ok(())
    }

    /// The first set whose mirror is not what is wanted, in words. Leftovers and known failures do not count.
    pub fn difference(&self) -> Option<String> {
        self.want.iter().filter(|(name, _)| !self.failed.contains_key(*name)).find_map(|(name, want)| {
            let words = match self.have.get(name) {
                None => "missing".to_string(),
                Some(have) => {
                    let missing = want.members.difference(&have.members).map(|member| ("without", member));
                    let extra = have.members.iter().chain(&have.odd).filter(|member| !want.members.contains(member));
                    let all: Vec<_> = missing.chain(extra.map(|member| ("with", member))).collect();
                    if all.is_empty() && !needs_rebuild(want, have, self.counters) {
                        return None;
                    }
                    named(&all)
                }
            };
            Some(format!("set {name}: {words}"))
        })
    }

    /// Members that are wanted and missing in the mirror, of those that the caller asks about: `MEMBER of set NAME`.
    pub fn missing(&self, concerns: impl Fn(&Member) -> bool) -> Vec<String> {
        let of_set = |(name, want): (&SetName, &SetSpec)| {
            let have = self.have.get(name);
            let missing = want.members.iter().filter(|member| concerns(member));
            let missing = missing.filter(|member| have.is_none_or(|have| !have.members.contains(member)));
            missing.map(|member| format!("{member} of set {name}")).collect::<Vec<_>>()
        };
        self.want.iter().flat_map(of_set).collect()
    }

    /// Creations and additions of a change, in its order.
    pub fn grow(&mut self, ops: &[SetOp]) -> Vec<PlaneError> {
        let mut errors = Vec::new();
        let mut steps = Vec::new();
        let mut rebuild = BTreeSet::new();
        let mut begun = BTreeSet::new();
        for op in ops {
            match op {
                SetOp::Create { name, family, kind, members } => {
                    let fits = self.want.get(name).is_some_and(|set| set.kind == *kind && set.family == *family);
                    if !fits {
                        let members = BTreeSet::new();
                        self.want.insert(name.clone(), SetSpec { family: *family, kind: *kind, members });
                    }
                    self.ensure(name, &mut begun, &mut rebuild, &mut steps);
                    for member in members {
                        match self.accept(name, member) {
                            Ok(()) => self.push_missing(name, member, &mut steps),
                            Err(error) => errors.push(error),
                        }
                    }
                }
                SetOp::Add { name, member } => match self.accept(name, member) {
                    Ok(()) => {
                        self.ensure(name, &mut begun, &mut rebuild, &mut steps);
                        self.push_missing(name, member, &mut steps);
                    }
                    Err(error) => errors.push(error),
                },
                SetOp::Delete { .. } | SetOp::Destroy { .. } => errors.extend(self.shrink(std::slice::from_ref(op))),
            }
        }
        errors.extend(self.run(steps));
        for name in rebuild {
            errors.extend(self.rebuild(&name));
        }
        errors
    }

    fn push_missing(&self, name: &SetName, member: &Member, steps: &mut Vec<Step>) {
        if !self.have.get(name).is_some_and(|set| set.members.contains(member)) {
            push_member(steps, name, member, true);
        }
    }

    /// Deletions and destructions of a change, in its order. A set that a rule still holds stays a leftover: no error.
    pub fn shrink(&mut self, ops: &[SetOp]) -> Vec<PlaneError> {
        let mut errors = Vec::new();
        let mut steps = Vec::new();
        for op in ops {
            match op {
                SetOp::Delete { name, member } => {
                    if let Some(set) = self.want.get_mut(name) {
                        set.members.remove(member);
                    }
                    if self.have.get(name).is_some_and(|set| set.members.contains(member)) {
                        push_member(&mut steps, name, member, false);
                    }
                }
                SetOp::Destroy { name } => {
                    self.want.remove(name);
                    self.failed.remove(name);
                    if self.have.contains_key(name) {
                        steps.push(Step::Destroy(name.clone()));
                    }
                }
                SetOp::Create { .. } | SetOp::Add { .. } => errors.extend(self.grow(std::slice::from_ref(op))),
            }
        }
        errors.extend(self.run(steps));
        errors
    }

    /// Brings what is missing of these sets, in this order.
    pub fn grow_all(&mut self, names: &[SetName]) -> Vec<PlaneError> {
        let mut errors = Vec::new();
        for name in names {
            self.failed.remove(name);
            let Some(want) = self.want.get(name) else { continue };
            let have = self.have.get(name);
            if have.is_some_and(|have| needs_rebuild(want, have, self.counters)) {
                errors.extend(self.rebuild(name));
                continue;
            }
            let mut steps = Vec::new();
            if have.is_none() {
                steps.push(Step::Create(self.new_set(name, want)));
            }
            let mut missing = Vec::new();
            for member in want.members.iter().filter(|m| !have.is_some_and(|set| set.members.contains(m))) {
                match check_member(want, member) {
                    Ok(()) => missing.push(member.clone()),
                    Err(what) => {
                        let error = PlaneError { object: format!("set {name}, member {}", show(member)), what };
                        self.failed.insert(name.clone(), error.clone());
                        errors.push(error);
                    }
                }
            }
            if !missing.is_empty() {
                steps.push(Step::Add(name.clone(), missing));
            }
            errors.extend(self.run(steps));
        }
        errors
    }

    /// Takes away what is too much of these sets, in this order, and the sets that nobody wants.
    pub fn shrink_all(&mut self, names: &[SetName]) -> Vec<PlaneError> {
        let mut steps = Vec::new();
        for name in names {
            let Some(have) = self.have.get(name) else { continue };
            match self.want.get(name) {
                None => steps.push(Step::Destroy(name.clone())),
                Some(want) => {
                    let extra: Vec<Member> = have
                        .members
                        .iter()
                        .chain(have.odd.iter().filter(|m| !want.members.contains(m)))
                        .filter(|m| !want.members.contains(m))
                        .cloned()
                        .collect();
                    if !extra.is_empty() {
                        steps.push(Step::Delete(name.clone(), extra));
                    }
                }
            }
        }
        self.run(steps)
    }

    /// Checks an addition and notes it as wanted.
    fn accept(&mut self, name: &str, member: &Member) -> Result<(), PlaneError> {
        let refuse = |what: String| PlaneError { object: format!("set {name}, member {}", show(member)), what };
        let Some(set) = self.want.get_mut(name) else {
            return Err(refuse("no such set is wanted: create it first".into()));
        };
        check_member(set, member).map_err(refuse)?;
        set.members.insert(member.clone());
        Ok(())
    }

    /// Once in a batch: sees to it that a wanted set is there with the right type, or is rebuilt at the end.
    fn ensure(
        &self,
        name: &str,
        begun: &mut BTreeSet<SetName>,
        rebuild: &mut BTreeSet<SetName>,
        steps: &mut Vec<Step>,
    ) {
        let Some(want) = self.want.get(name) else { return };
        match self.have.get(name) {
            Some(have) if needs_rebuild(want, have, self.counters) => _ = rebuild.insert(name.to_string()),
            Some(_) => {}
            None if begun.insert(name.to_string()) => {
                steps.push(Step::Create(self.new_set(name, want)));
                if !want.members.is_empty() {
                    // An earlier attempt failed: all that is wanted goes in, not only this change's.
                    steps.push(Step::Add(name.to_string(), want.members.iter().cloned().collect()));
                }
            }
            None => {}
        }
    }

    fn new_set(&self, name: &str, want: &SetSpec) -> NewSet {
        let count = u32::try_from(want.members.len()).unwrap_or(u32::MAX / 2);
        NewSet {
            name: name.to_string(),
            family: want.family,
            kind: want.kind,
            max_members: MAX_MEMBERS.max(count.saturating_mul(2)),
            hash_size: (count / 4).next_power_of_two().clamp(SMALLEST_HASH, LARGEST_FIRST_HASH),
            counters: self.counters,
        }
    }

    /// Exchanges a set for one with the wanted options and content: built beside it, swapped in one step, the old one
    /// destroyed. A set of another type cannot be swapped: it is destroyed first, if no rule refers to it.
    fn rebuild(&mut self, name: &str) -> Vec<PlaneError> {
        let (Some(want), Some(have)) = (self.want.get(name), self.have.get(name)) else { return Vec::new() };
        let swappable = have.kind == Some(want.kind) && have.family == Some(want.family);
        let new = self.new_set(name, want);
        let members: Vec<Member> = want.members.iter().cloned().collect();
        let steps = if swappable {
            let beside = format!("rn{}-swap-{}", want.family.digit(), stable_hash([name], 16));
            vec![
                Step::Destroy(beside.clone()),
                Step::Create(NewSet { name: beside.clone(), ..new }),
                Step::Add(beside.clone(), members),
                Step::Swap(name.to_string(), beside.clone()),
                Step::Destroy(beside),
            ]
        } else {
            vec![Step::Destroy(name.to_string()), Step::Create(new), Step::Add(name.to_string(), members)]
        };
        let mut errors = self.run_unmirrored(&steps);
        if let Err(error) = self.read_one(name) {
            errors.push(error);
        }
        errors
    }

    /// Runs steps whose effect is read back afterwards; every refusal is reported under the set of its step.
    fn run_unmirrored(&mut self, steps: &[Step]) -> Vec<PlaneError> {
        match self.client.run(steps) {
            Err(error) => vec![error],
            Ok(refusals) => refusals
                .into_iter()
                .map(|refusal| {
                    let error = step_error(&steps[refusal.step], refusal.member.as_ref(), refusal.errno);
                    self.failed.insert(steps[refusal.step].set().to_string(), error.clone());
                    error
                })
                .collect(),
        }
    }

    /// Runs steps and takes what the kernel accepted into the mirror.
    fn run(&mut self, steps: Vec<Step>) -> Vec<PlaneError> {
        if steps.is_empty() {
            return Vec::new();
        }
        let refusals = match self.client.run(&steps) {
            Ok(refusals) => refusals,
            Err(error) => {
                // How far it got is unknown: a new connection, and the kernel's own word.
                for step in &steps {
                    self.failed.insert(step.set().to_string(), error.clone());
                }
                if let Ok(client) = Client::open() {
                    self.client = client;
                    if let Err(reading) = self.read() {
                        return vec![error, reading];
                    }
                }
                return vec![error];
            }
        };
        let mut refused_steps = BTreeSet::new();
        let mut refused_members: BTreeMap<usize, BTreeSet<Member>> = BTreeMap::new();
        let mut errors = Vec::new();
        for refusal in refusals {
            let step = &steps[refusal.step];
            match refusal.member.clone() {
                Some(member) => _ = refused_members.entry(refusal.step).or_default().insert(member),
                None => _ = refused_steps.insert(refusal.step),
            }
            if refusal.errno == ERR_BUSY && matches!(step, Step::Destroy(_)) {
                continue;
            }
            let error = step_error(step, refusal.member.as_ref(), refusal.errno);
            self.failed.insert(step.set().to_string(), error.clone());
            errors.push(error);
        }
        for (index, step) in steps.into_iter().enumerate() {
            if !refused_steps.contains(&index) {
                self.record(step, refused_members.get(&index));
            }
        }
        self.reread_vanished(&errors);
        errors
    }

    /// A refusal may mean that the mirror is wrong (somebody destroyed the set): look, so that the next attempt knows.
    fn reread_vanished(&mut self, errors: &[PlaneError]) {
        if errors.is_empty() {
            return;
        }
        let names: Vec<SetName> = self.failed.keys().cloned().collect();
        for name in names {
            if let Err(error) = self.read_one(&name) {
                self.failed.insert(name, error);
            }
        }
    }

    fn record(&mut self, step: Step, refused: Option<&BTreeSet<Member>>) {
        let passed = |member: &Member| !refused.is_some_and(|refused| refused.contains(member));
        match step {
            Step::Create(new) => {
                self.have.entry(new.name).or_insert(KernelSet {
                    family: Some(new.family),
                    kind: Some(new.kind),
                    max_members: new.max_members,
                    counters: new.counters,
                    members: BTreeSet::new(),
                    odd: BTreeSet::new(),
                });
            }
            Step::Add(name, members) => {
                if let Some(set) = self.have.get_mut(&name) {
                    for member in members.into_iter().filter(|m| passed(m)) {
                        set.odd.remove(&member);
                        set.members.insert(member);
                    }
                }
            }
            Step::Delete(name, members) => {
                if let Some(set) = self.have.get_mut(&name) {
                    for member in members.iter().filter(|m| passed(m)) {
                        set.odd.remove(member);
                        set.members.remove(member);
                    }
                }
            }
            Step::Destroy(name) => _ = self.have.remove(&name),
            Step::Swap(..) => {}
        }
    }
}

/// Adds to the last step where that is for the same set, so that many members are one message.
fn push_member(steps: &mut Vec<Step>, name: &str, member: &Member, add: bool) {
    match (steps.last_mut(), add) {
        (Some(Step::Add(last, members)), true) | (Some(Step::Delete(last, members)), false) if last == name => {
            members.push(member.clone());
        }
        (_, true) => steps.push(Step::Add(name.to_string(), vec![member.clone()])),
        (_, false) => steps.push(Step::Delete(name.to_string(), vec![member.clone()])),
    }
}

fn needs_rebuild(want: &SetSpec, have: &KernelSet, counters: bool) -> bool {
    have.kind != Some(want.kind)
        || have.family != Some(want.family)
        || have.counters != counters
        || want.members.len() as u64 > u64::from(have.max_members)
}

/// Whether the kernel can take a member into a set of this kind and family.
fn check_member(set: &SetSpec, member: &Member) -> Result<(), String> {
    let (kind, cidr) = match member {
        Member::Net(cidr) => (SetKind::HashNet, *cidr),
        Member::NetIface(cidr, _) => (SetKind::HashNetIface, *cidr),
        Member::IpPort(address, ..) => (SetKind::HashIpPort, Cidr::host(*address)),
    };
    if kind != set.kind {
        return Err(
            "a set holds prefixes, (prefix, interface) pairs or (address, port) pairs, never two of these".into()
        );
    }
    if cidr.family() != set.family {
        return Err(format!("the set is for {}", set.family));
    }
    if cidr.length() == 0 {
        let halves = match set.family {
            Family::V4 => "0.0.0.0/1 and 128.0.0.0/1",
            Family::V6 => "::/1 and 8000::/1",
        };
        return Err(format!("ipset takes no prefix of length 0: write its halves {halves}"));
    }
    Ok(())
}

/// The first members by name, the number of the others.
fn named(members: &[(&str, &Member)]) -> String {
    const NAMED: usize = 3;
    if members.is_empty() {
        return "of other options".into();
    }
    let first = members.iter().take(NAMED).map(|(how, member)| format!("{how} {member}"));
    let more = members.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("{more} more"));
    first.chain(more).collect::<Vec<_>>().join(", ")
}

fn show(member: &Member) -> String {
    match member {
        Member::Net(cidr) => cidr.to_string(),
        Member::NetIface(cidr, interface) => format!("{cidr},{interface}"),
        Member::IpPort(address, protocol, port) => format!("{address},{protocol}:{port}"),
    }
}

fn step_error(step: &Step, member: Option<&Member>, errno: i32) -> PlaneError {
    let set = step.set();
    let object = match member {
        Some(member) => format!("set {set}, member {}", show(member)),
        None => format!("set {set}"),
    };
    let doing = match step {
        Step::Create(_) => "create",
        Step::Add(..) => "add",
        Step::Delete(..) => "delete",
        Step::Destroy(_) => "destroy",
        Step::Swap(..) => "swap",
    };
    PlaneError { object, what: format!("{doing}: {}", describe(errno)) }
}
