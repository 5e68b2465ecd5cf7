//! The tables of one family: wanted, as the kernel has them, and the commits from the second to the first.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use routenet_core::desired::{ChainKey, ChainRule, Hook, SetName, Table};
use routenet_core::model::Family;

use super::plan::{hook_text, hooks_stand, jump_target, mentioned_sets, unsendable};
use super::restore::{CommitError, Restore};
use super::{Backend, HookRule, KernelTables, Origin, RuleId, TableCommit, is_ours, rule_ids};
use crate::plane::PlaneError;

/// A built-in chain of a table.
type Builtin = (Table, String);

/// The longest name of a chain that both back ends take.
const LONGEST_NAME: usize = 28;

struct Wanted {
    rules: Vec<ChainRule>,
    ids: Vec<RuleId>,
}

/// What stands in for a chain of which iptables refused a rule, until it takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StandIn {
    /// The rules before this index, then a drop: closed.
    Closed(usize),
    /// What the kernel has; an empty chain where it has none. For chains that a hook jumps to, since all traffic of the
    /// host passes them, for the nat table, where a drop is not possible, and where the drop itself was refused.
    Kept,
}

struct Refused {
    stand_in: StandIn,
    error: PlaneError,
}

/// A commit of one table, and what of the mirror it makes true.
struct Planned {
    commit: TableCommit,
    chains: Vec<ChainKey>,
    hooks: Vec<Builtin>,
}

/// The tables of one family.
pub struct FamilyTables {
    backend: Backend,
    family: Family,
    restore: Restore,
    want: BTreeMap<ChainKey, Wanted>,
    hooks: BTreeMap<Builtin, BTreeSet<Hook>>,
    have: KernelTables,
    dirty: BTreeSet<ChainKey>,
    dirty_hooks: BTreeSet<Builtin>,
    refused: BTreeMap<ChainKey, Refused>,
    /// The rule of a chain that was refused last, for where iptables does not say which it is.
    suspects: BTreeMap<ChainKey, usize>,
    /// What else does not go: hooks, removals, tables as a whole. Keyed by what it is about.
    stuck: BTreeMap<String, PlaneError>,
    /// Whether the kernel may have chains of ours that nobody wants.
    stray: bool,
    /// Commits since [`FamilyTables::take_commits`].
    commits: u64,
}

impl FamilyTables {
    /// Knows of nothing wanted; reads nothing yet.
    pub fn new(backend: Backend, family: Family) -> FamilyTables {
        FamilyTables {
            backend,
            family,
            restore: Restore::new(backend, family),
            want: BTreeMap::new(),
            hooks: BTreeMap::new(),
            have: KernelTables::default(),
            dirty: BTreeSet::new(),
            dirty_hooks: BTreeSet::new(),
            refused: BTreeMap::new(),
            suspects: BTreeMap::new(),
            stuck: BTreeMap::new(),
            stray: false,
            commits: 0,
        }
    }

    /// Forgets all that was wanted.
    pub fn want_nothing(&mut self) {
        self.want.clear();
        self.hooks.clear();
        self.dirty.clear();
        self.dirty_hooks.clear();
        self.refused.clear();
        self.suspects.clear();
        self.stuck.clear();
    }

    pub fn want_hook(&mut self, hook: Hook) {
        self.hooks.entry((hook.table, hook.builtin.to_string())).or_default().insert(hook);
    }

    /// Wants a chain with these rules, or no longer wants it.
    pub fn want_chain(&mut self, chain: &ChainKey, rules: Option<Vec<ChainRule>>) -> Result<(), PlaneError> {
        self.refused.remove(chain);
        self.suspects.remove(chain);
        self.stuck.remove(&chain.to_string());
        let Some(rules) = rules else {
            self.want.remove(chain);
            self.dirty.remove(chain);
            self.stray = true;
            return Ok(());
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !is_ours(&chain.name) || chain.name.len() > LONGEST_NAME || !chain.name.bytes().all(plain) {
            let what = "a chain of ours is named rn- and letters, digits, `-`, `_`, `.`: at most 28 characters";
            return Err(PlaneError { object: format!("chain {chain}"), what: what.into() });
        }
        let ids = rule_ids(chain, &rules);
        self.want.insert(chain.clone(), Wanted { rules, ids });
        self.dirty.insert(chain.clone());
        Ok(())
    }

    pub fn wanted_rules(&self) -> u64 {
        self.want.values().map(|chain| chain.rules.len() as u64).sum::<u64>()
            + self.hooks.values().map(|hooks| hooks.len() as u64).sum::<u64>()
    }

    pub fn rules(&self, chain: &ChainKey) -> Option<&[ChainRule]> {
        self.want.get(chain).map(|wanted| wanted.rules.as_slice())
    }

    pub fn take_commits(&mut self) -> u64 {
        std::mem::take(&mut self.commits)
    }

    /// What does not work now, in the order of its names.
    pub fn failures(&self) -> impl Iterator<Item = &PlaneError> {
        self.refused.values().map(|refused| &refused.error).chain(self.stuck.values())
    }

    /// Whether the mirror has all that is wanted and no more.
    pub fn in_sync(&self) -> bool {
        self.dirty.is_empty() && self.dirty_hooks.is_empty() && self.failures().next().is_none()
    }

    /// Gives what was refused another chance at the next [`FamilyTables::sync`].
    pub fn retry(&mut self) {
        self.dirty.extend(std::mem::take(&mut self.refused).into_keys());
        self.stuck.clear();
    }

    /// Reads the kernel into the mirror.
    pub fn read(&mut self) -> Result<(), PlaneError> {
        self.have = KernelTables::parse(self.family, &self.backend.save(self.family)?);
        self.stray = true;
        Ok(())
    }

    /// Notes where the mirror differs from what is wanted, for the next [`FamilyTables::sync`]; answers it in words,
    /// hooks first.
    pub fn compare(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        let builtins: BTreeSet<Builtin> = self.hooks.keys().chain(self.have.hooks.keys()).cloned().collect();
        for builtin in builtins {
            let about = self.jump_from(&builtin);
            if !self.hook_stands(&builtin) && !self.stuck.contains_key(&about) {
                words.push(about);
                self.dirty_hooks.insert(builtin);
            }
        }
        for chain in self.want.keys() {
            let ids = self.effective(chain).1;
            let stands =
                self.have.chains.get(chain).is_some_and(|have| have.iter().copied().eq(ids.iter().copied().map(Some)));
            let kept = self.refused.get(chain).is_some_and(|refused| refused.stand_in == StandIn::Kept);
            if !stands && !kept {
                self.dirty.insert(chain.clone());
                words.push(format!("chain {chain}"));
            }
        }
        let stray = self.have.chains.keys().filter(|chain| !self.want.contains_key(chain));
        let known = |chain: &&ChainKey| self.stuck.contains_key(&chain.to_string());
        words.extend(stray.filter(|chain| !known(chain)).map(|chain| format!("stray chain {chain}")));
        words
    }

    fn jump_from(&self, builtin: &Builtin) -> String {
        format!("jump from {} {} {}", self.family, builtin.0.name(), builtin.1)
    }

    fn hook_stands(&self, builtin: &Builtin) -> bool {
        let nothing = BTreeSet::new();
        let present = self.have.hooks.get(builtin).map_or(&[][..], Vec::as_slice);
        hooks_stand(present, self.hooks.get(builtin).unwrap_or(&nothing))
    }

    /// Commits what differs, then removes chains that nobody wants. What iptables refuses is named and replaced by its
    /// stand-in, and the rest goes through.
    pub fn sync(&mut self, occupied: &BTreeSet<SetName>) -> Vec<PlaneError> {
        let mut errors = self.vet(occupied);
        let mut read_again = false;
        // Each round that fails sets at least one chain, hook or table aside.
        for _ in 0..self.dirty.len() * 3 + self.dirty_hooks.len() + 8 {
            let planned = self.plan(&mut errors);
            if planned.is_empty() {
                break;
            }
            let commits: Vec<TableCommit> = planned.iter().map(|planned| planned.commit.clone()).collect();
            let Err(error) = self.commit(&commits, &planned) else { break };
            if !read_again {
                // The process had gone, or somebody changed a chain of ours and the positions are wrong.
                read_again = true;
                if let Err(error) = self.read() {
                    errors.push(self.stick("reading", error));
                    break;
                }
                continue;
            }
            let table = commits[error.committed.min(commits.len() - 1)].table;
            if error.passing {
                let what = format!("{}-restore: {}", self.backend.command(self.family), error.message);
                let object = format!("{} {}", self.family, table.name());
                errors.push(self.stick(table.name(), PlaneError { object, what }));
                break;
            }
            match error.origin.clone() {
                Some(origin) => errors.extend(self.set_aside(&origin, &error.message)),
                None => errors.extend(self.isolate(table)),
            }
        }
        errors.extend(self.sweep());
        errors
    }

    fn stick(&mut self, about: &str, error: PlaneError) -> PlaneError {
        self.stuck.insert(about.to_string(), error.clone());
        error
    }

    /// Sets aside, before anything is sent, rules that could do harm or surely fail.
    fn vet(&mut self, occupied: &BTreeSet<SetName>) -> Vec<PlaneError> {
        let mut bad = Vec::new();
        for chain in &self.dirty {
            let Some(wanted) = self.want.get(chain) else { continue };
            for (index, rule) in wanted.rules.iter().enumerate() {
                let missing = jump_target(&rule.text).filter(|name| {
                    is_ours(name) && !self.want.contains_key(&ChainKey { name: name.to_string(), ..chain.clone() })
                });
                let taken = mentioned_sets(&rule.text).find(|name| occupied.contains(*name));
                let why = match (unsendable(&rule.text), missing, taken) {
                    (Some(why), ..) => why.to_string(),
                    (None, Some(name), _) => format!("it jumps to {name}, and no such chain is wanted"),
                    (None, None, Some(name)) => {
                        format!(
                            "it asks set {name}, and a rule of somebody else's holds one of that name and another type"
                        )
                    }
                    (None, None, None) => continue,
                };
                bad.push((chain.clone(), index, why));
                break;
            }
        }
        bad.into_iter().filter_map(|(chain, index, why)| self.set_aside(&Origin::Rule(chain, index), &why)).collect()
    }

    /// Gives the chain of a refused line its stand-in, or takes note that a hook does not go.
    fn set_aside(&mut self, origin: &Origin, why: &str) -> Option<PlaneError> {
        let (chain, index) = match origin {
            Origin::Rule(chain, index) => (chain, *index),
            Origin::Chain(chain) => (chain, 0),
            Origin::Hooks(table, builtin) => {
                let builtin = (*table, builtin.clone());
                self.dirty_hooks.remove(&builtin);
                let object = self.jump_from(&builtin);
                return Some(self.stick(&object.clone(), PlaneError { object, what: why.to_string() }));
            }
        };
        let kept = self.is_kept(chain);
        let stand_in = match self.refused.get(chain).map(|refused| refused.stand_in) {
            Some(StandIn::Closed(before)) if index < before => StandIn::Closed(index),
            None if !kept => StandIn::Closed(index),
            _ => StandIn::Kept,
        };
        if let Some(refused) = self.refused.get_mut(chain) {
            // The first refusal names the rule; what follows is about its stand-in.
            refused.stand_in = stand_in;
            return None;
        }
        let rule = self.want.get(chain).and_then(|wanted| wanted.rules.get(index));
        let policy = rule.and_then(|rule| rule.origin.as_ref()).map_or(String::new(), |origin| {
            let direction = if origin.ingress { "ingress" } else { "egress" };
            format!(" ({}, {direction} rule {})", origin.policy, origin.index + 1)
        });
        let effect = match stand_in {
            StandIn::Closed(_) => "it drops everything from there on until that is mended",
            StandIn::Kept => "it stays as it was until that is mended",
        };
        let text = rule.map_or(String::new(), |rule| format!(" `{}`", rule.text.escape_debug()));
        let error = PlaneError {
            object: format!("chain {chain}, rule {index}{policy}"),
            what: format!("iptables ({}) refuses{text}: {why}; {effect}", self.backend.name()),
        };
        self.refused.insert(chain.clone(), Refused { stand_in, error: error.clone() });
        self.suspects.insert(chain.clone(), index);
        Some(error)
    }

    /// Whether a chain of which a rule is refused stays as it is.
    fn is_kept(&self, chain: &ChainKey) -> bool {
        chain.table == Table::Nat
            || self.hooks.values().flatten().any(|hook| hook.table == chain.table && hook.chain == chain.name)
    }

    /// What a chain should have now: its rules, or its stand-in.
    fn effective(&self, chain: &ChainKey) -> (Cow<'_, [ChainRule]>, Cow<'_, [RuleId]>) {
        let Some(wanted) = self.want.get(chain) else { return Default::default() };
        match self.refused.get(chain).map(|refused| refused.stand_in) {
            Some(StandIn::Closed(index)) => {
                let mut rules = wanted.rules[..index].to_vec();
                rules.push(ChainRule { text: "-j DROP".into(), origin: None });
                let ids = rule_ids(chain, &rules);
                (rules.into(), ids.into())
            }
            Some(StandIn::Kept) | None => (Cow::from(&wanted.rules), Cow::from(&wanted.ids)),
        }
    }

    fn plan(&mut self, errors: &mut Vec<PlaneError>) -> Vec<Planned> {
        let mut all = Vec::new();
        for table in Table::ALL {
            let chains: Vec<ChainKey> = self.dirty.iter().filter(|chain| chain.table == table).cloned().collect();
            let hooks: Vec<Builtin> = self.dirty_hooks.iter().filter(|builtin| builtin.0 == table).cloned().collect();
            if chains.is_empty() && hooks.is_empty() {
                continue;
            }
            if self.have.unreadable.contains(&table) {
                let object = format!("{} {}", self.family, table.name());
                let what =
                    "it holds rules of plain nft, which iptables-nft cannot read: move them to a table of another name";
                if !self.stuck.contains_key(&object) {
                    errors.push(self.stick(&object.clone(), PlaneError { object, what: what.into() }));
                }
                continue;
            }
            let planned = self.plan_table(table, chains, hooks);
            if planned.commit.lines.is_empty() {
                self.record(&planned);
            } else {
                all.push(planned);
            }
        }
        all
    }

    fn plan_table(&self, table: Table, chains: Vec<ChainKey>, hooks: Vec<Builtin>) -> Planned {
        let mut commit = TableCommit::new(table);
        for chain in &chains {
            commit.declare(&self.have, chain);
        }
        for chain in &chains {
            if self.refused.get(chain).is_some_and(|refused| refused.stand_in == StandIn::Kept) {
                continue;
            }
            let (rules, ids) = self.effective(chain);
            commit.edit(&self.have, chain, &rules, &ids);
        }
        let nothing = BTreeSet::new();
        for builtin in &hooks {
            commit.hook(&self.have, &builtin.1, self.hooks.get(builtin).unwrap_or(&nothing));
        }
        Planned { commit, chains, hooks }
    }

    /// Commits and takes what went through into the mirror.
    fn commit(&mut self, commits: &[TableCommit], planned: &[Planned]) -> Result<(), CommitError> {
        let outcome = self.restore.commit(commits);
        let committed = outcome.as_ref().map_or_else(|error| error.committed, |()| commits.len());
        self.commits += committed as u64;
        for planned in &planned[..committed] {
            self.record(planned);
        }
        outcome
    }

    fn record(&mut self, planned: &Planned) {
        for chain in &planned.chains {
            self.dirty.remove(chain);
            let kept = self.refused.get(chain).is_some_and(|refused| refused.stand_in == StandIn::Kept);
            let rules = self.effective(chain).1.iter().copied().map(Some).collect();
            let have = self.have.chains.entry(chain.clone()).or_default();
            if !kept {
                *have = rules;
            }
        }
        for builtin in &planned.hooks {
            self.dirty_hooks.remove(builtin);
            let wanted = self.hooks.get(builtin);
            let ours = wanted
                .into_iter()
                .flatten()
                .map(|hook| Some(HookRule { id: RuleId::of_hook(hook), text: hook_text(hook) }));
            let present = self.have.hooks.remove(builtin).unwrap_or_default();
            let rules: Vec<Option<HookRule>> = ours.chain(present.into_iter().filter(Option::is_none)).collect();
            if rules.iter().any(Option::is_some) {
                self.have.hooks.insert(builtin.clone(), rules);
            }
        }
    }

    /// Commits a table chain by chain, targets before those that jump to them: for a refusal that names no line (legacy
    /// judges a table as a whole). A moment between two chains is as if their changes had come one by one.
    fn isolate(&mut self, table: Table) -> Vec<PlaneError> {
        let mut errors = Vec::new();
        let units = self.by_dependency(table).into_iter().map(|chain| (vec![chain], Vec::new()));
        let hooks = self.dirty_hooks.iter().filter(|builtin| builtin.0 == table).cloned();
        let hooks = hooks.map(|builtin| (Vec::new(), vec![builtin]));
        for (chains, hooks) in units.chain(hooks).collect::<Vec<_>>() {
            // As it is wanted, closed from a rule on, closed from the first rule on, kept.
            for _ in 0..4 {
                let planned = self.plan_table(table, chains.clone(), hooks.clone());
                if planned.commit.lines.is_empty() {
                    self.record(&planned);
                    break;
                }
                let commit = planned.commit.clone();
                let Err(error) = self.commit(&[commit], &[planned]) else { break };
                let origin = match (error.origin.clone(), chains.first(), hooks.first()) {
                    (Some(origin), ..) => origin,
                    (None, Some(chain), _) => self.find_refused(chain),
                    (None, None, Some(builtin)) => Origin::Hooks(builtin.0, builtin.1.clone()),
                    (None, None, None) => unreachable!("a unit has a chain or a hook"),
                };
                errors.extend(self.set_aside(&origin, &error.message));
                if matches!(origin, Origin::Hooks(..)) {
                    break;
                }
            }
        }
        errors
    }

    /// Which rule of a refused chain it is, where iptables does not say: the chain is closed behind more or less of its
    /// rules until it is known. Where that was found out before, the chain is closed there and nothing of it changes.
    fn find_refused(&mut self, chain: &ChainKey) -> Origin {
        let count = self.want.get(chain).map_or(0, |wanted| wanted.rules.len());
        if count == 0 || self.is_kept(chain) || self.refused.contains_key(chain) {
            return Origin::Chain(chain.clone());
        }
        // The rules before `low` are taken; all of those before `high` are not.
        let (mut low, mut high) = (0, count);
        let mut guesses: Vec<usize> = self.suspects.get(chain).map_or(Vec::new(), |index| vec![index + 1, *index]);
        while high - low > 1 {
            let middle = std::iter::from_fn(|| guesses.pop()).find(|guess| low < *guess && *guess < high);
            let middle = middle.unwrap_or(low.midpoint(high));
            if self.takes_before(chain, middle) { low = middle } else { high = middle }
        }
        Origin::Rule(chain.clone(), low)
    }

    /// Whether iptables takes the rules of a chain before this one, closed behind them.
    fn takes_before(&mut self, chain: &ChainKey, index: usize) -> bool {
        let error = PlaneError { object: format!("chain {chain}"), what: String::new() };
        self.refused.insert(chain.clone(), Refused { stand_in: StandIn::Closed(index), error });
        let planned = self.plan_table(chain.table, vec![chain.clone()], Vec::new());
        let commit = planned.commit.clone();
        let taken = commit.lines.is_empty() || self.commit(&[commit], &[planned]).is_ok();
        self.refused.remove(chain);
        self.dirty.insert(chain.clone());
        taken
    }

    /// The dirty chains of a table, each behind those that it jumps to.
    fn by_dependency(&self, table: Table) -> Vec<ChainKey> {
        fn visit(tables: &FamilyTables, chain: &ChainKey, seen: &mut BTreeSet<ChainKey>, order: &mut Vec<ChainKey>) {
            if !tables.dirty.contains(chain) || !seen.insert(chain.clone()) {
                return;
            }
            let rules = tables.want.get(chain).map_or(&[][..], |wanted| wanted.rules.as_slice());
            for name in rules.iter().filter_map(|rule| jump_target(&rule.text)) {
                visit(tables, &ChainKey { name: name.to_string(), ..chain.clone() }, seen, order);
            }
            order.push(chain.clone());
        }
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        for chain in self.dirty.iter().filter(|chain| chain.table == table) {
            visit(self, chain, &mut seen, &mut order);
        }
        order
    }

    /// Removes chains of ours that nobody wants. One that cannot go (somebody's rule jumps to it) is reported and stays.
    fn sweep(&mut self) -> Vec<PlaneError> {
        let mut errors = Vec::new();
        if !std::mem::take(&mut self.stray) {
            return errors;
        }
        let mut read_again = false;
        let mut stays: BTreeSet<ChainKey> = BTreeSet::new();
        loop {
            let gone: Vec<ChainKey> = self
                .have
                .chains
                .keys()
                .filter(|chain| !self.want.contains_key(chain) && !stays.contains(chain))
                .cloned()
                .collect();
            let Some(table) = gone.first().map(|chain| chain.table) else { return errors };
            let gone: Vec<ChainKey> = gone.into_iter().filter(|chain| chain.table == table).collect();
            let mut commit = TableCommit::new(table);
            commit.remove(&gone);
            match self.restore.commit(std::slice::from_ref(&commit)) {
                Ok(()) => {
                    self.commits += 1;
                    for chain in &gone {
                        self.have.chains.remove(chain);
                        self.stuck.remove(&chain.to_string());
                    }
                }
                Err(_) if !read_again => {
                    read_again = true;
                    if let Err(error) = self.read() {
                        errors.push(self.stick("reading", error));
                        return errors;
                    }
                }
                Err(error) => {
                    let chain = match error.origin {
                        Some(Origin::Chain(chain)) => chain,
                        _ => gone[0].clone(),
                    };
                    let object = format!("chain {chain}");
                    let what =
                        format!("cannot be removed: {} (does a rule of somebody else's jump to it?)", error.message);
                    errors.push(self.stick(&chain.to_string(), PlaneError { object, what }));
                    stays.insert(chain);
                }
            }
        }
    }

    /// The sets that rules mention, breadth first from the chains that hooks jump to.
    pub fn sets_as_met(&self) -> Vec<SetName> {
        let (mut sets, mut known) = (Vec::new(), BTreeSet::new());
        let hooked = self.hooks.values().flatten();
        let mut queue: VecDeque<ChainKey> =
            hooked.map(|hook| ChainKey { family: self.family, table: hook.table, name: hook.chain.clone() }).collect();
        let mut seen: BTreeSet<ChainKey> = queue.iter().cloned().collect();
        while let Some(chain) = queue.pop_front() {
            for rule in self.rules(&chain).unwrap_or(&[]) {
                sets.extend(mentioned_sets(&rule.text).filter(|name| known.insert(*name)).map(str::to_string));
                if let Some(name) = jump_target(&rule.text).filter(|name| is_ours(name)) {
                    let target = ChainKey { name: name.to_string(), ..chain.clone() };
                    if seen.insert(target.clone()) {
                        queue.push_back(target);
                    }
                }
            }
        }
        sets
    }

    /// The tables that hooks are wanted in.
    pub fn hooked(&self) -> BTreeSet<Table> {
        self.hooks.keys().map(|(table, _)| *table).collect()
    }

    /// How many entries of a table are ours by the mirror, as legacy counts: a chain is two beside its rules.
    pub fn entries(&self, table: Table) -> i64 {
        let chains = self.have.chains.iter().filter(|(chain, _)| chain.table == table);
        let hooks = self.have.hooks.iter().filter(|((hooked, _), _)| *hooked == table);
        let in_chains: usize = chains.map(|(_, rules)| rules.len() + 2).sum();
        let in_hooks: usize = hooks.map(|(_, rules)| rules.iter().flatten().count()).sum();
        i64::try_from(in_chains + in_hooks).unwrap_or(i64::MAX)
    }

    /// Whether the mirror holds nothing of ours.
    pub fn is_clear(&self) -> bool {
        self.have.is_empty()
    }
}
