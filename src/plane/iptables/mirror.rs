//! Chains and hooks of both families behind one face, with the notices of nf_tables and the counts of legacy.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};

use routenet_core::desired::{ChainKey, ChainRule, Hook, SetName, Table};
use routenet_core::model::Family;

use super::entries::EntryCounter;
use super::events::NftEvents;
use super::tables::FamilyTables;
use super::{Backend, RuleId, rule_ids};
use crate::plane::PlaneError;

/// What a rule has seen since it was programmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCounters {
    /// What stands after `-A CHAIN`.
    pub rule: String,
    pub packets: u64,
    pub bytes: u64,
}

/// Our chains and hooks: wanted, and as the kernel has them.
pub struct IptablesPlane {
    backend: Backend,
    v4: FamilyTables,
    v6: FamilyTables,
    /// Of nf_tables only.
    events: Option<NftEvents>,
    /// Of legacy only.
    counter: Option<EntryCounter>,
    /// Entries that are not ours, as they were when legacy's tables were read last.
    others: BTreeMap<(Family, Table), i64>,
}

impl IptablesPlane {
    /// For this thread's network namespace; changes nothing.
    pub fn open(backend: Backend) -> Result<IptablesPlane, PlaneError> {
        let (events, counter) = match backend {
            Backend::Nft => (Some(NftEvents::subscribe()?), None),
            Backend::Legacy => (None, Some(EntryCounter::open()?)),
        };
        Ok(IptablesPlane {
            backend,
            v4: FamilyTables::new(backend, Family::V4),
            v6: FamilyTables::new(backend, Family::V6),
            events,
            counter,
            others: BTreeMap::new(),
        })
    }

    fn of(&mut self, family: Family) -> &mut FamilyTables {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    fn families(&self) -> [&FamilyTables; 2] {
        [&self.v4, &self.v6]
    }

    /// Replaces all that is wanted; nothing goes to the kernel yet.
    pub fn want(&mut self, chains: BTreeMap<ChainKey, Vec<ChainRule>>, hooks: BTreeSet<Hook>) -> Vec<PlaneError> {
        self.v4.want_nothing();
        self.v6.want_nothing();
        for hook in hooks {
            self.of(hook.family).want_hook(hook);
        }
        self.change(chains.into_iter().map(|(chain, rules)| (chain, Some(rules))).collect())
    }

    /// Wants chains with new content, or no longer; nothing goes to the kernel yet.
    pub fn change(&mut self, chains: BTreeMap<ChainKey, Option<Vec<ChainRule>>>) -> Vec<PlaneError> {
        chains.into_iter().filter_map(|(chain, rules)| self.of(chain.family).want_chain(&chain, rules).err()).collect()
    }

    /// Commits what differs from the mirror. Rules that ask a set that is `occupied` by another's are refused.
    pub fn sync(&mut self, occupied: &BTreeSet<SetName>) -> Vec<PlaneError> {
        let mut errors = self.v4.sync(occupied);
        errors.extend(self.v6.sync(occupied));
        let commits = self.v4.take_commits() + self.v6.take_commits();
        if let Some(events) = &mut self.events {
            events.expect(commits);
        }
        errors
    }

    /// Gives what was refused another chance at the next [`IptablesPlane::sync`].
    pub fn retry(&mut self) {
        self.v4.retry();
        self.v6.retry();
        self.compare();
    }

    /// Reads the kernel into the mirror.
    pub fn read(&mut self) -> Result<(), PlaneError> {
        // Before: what changes while it is read shows at the next count.
        let counted = self.count();
        self.read_tables(counted)
    }

    /// Reads again if somebody else added or removed entries since the last time; answers whether. Only legacy is
    /// counted, since nf_tables gives notice.
    pub fn read_miscounted(&mut self) -> Result<bool, PlaneError> {
        let counted = self.count();
        let others = self.others_of(&counted);
        let changed = others != self.others;
        if changed {
            self.read_tables(counted)?;
        }
        Ok(changed)
    }

    fn read_tables(&mut self, counted: BTreeMap<(Family, Table), i64>) -> Result<(), PlaneError> {
        self.v4.read()?;
        self.v6.read()?;
        self.others = self.others_of(&counted);
        Ok(())
    }

    /// The entries of the tables that hold hooks of ours. A table that cannot be counted takes no commits either, and
    /// those say so.
    fn count(&self) -> BTreeMap<(Family, Table), i64> {
        let Some(counter) = &self.counter else { return BTreeMap::new() };
        let tables = self.families().into_iter().zip(Family::BOTH);
        let tables = tables.flat_map(|(tables, family)| tables.hooked().into_iter().map(move |table| (family, table)));
        let counted = |(family, table)| Some(((family, table), i64::from(counter.entries(family, table).ok()?)));
        tables.filter_map(counted).collect()
    }

    fn others_of(&self, counted: &BTreeMap<(Family, Table), i64>) -> BTreeMap<(Family, Table), i64> {
        let ours = |family, table| match family {
            Family::V4 => self.v4.entries(table),
            Family::V6 => self.v6.entries(table),
        };
        counted.iter().map(|(&(family, table), entries)| ((family, table), entries - ours(family, table))).collect()
    }

    /// Notes where the mirror differs from what is wanted; answers it in words.
    pub fn compare(&mut self) -> Option<String> {
        const NAMED: usize = 8;
        let mut words = self.v4.compare();
        words.extend(self.v6.compare());
        let more = words.len().saturating_sub(NAMED);
        words.truncate(NAMED);
        words.extend((more > 0).then(|| format!("{more} more")));
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Whether somebody else committed to nf_tables since the last look. Legacy never tells.
    pub fn foreign_change(&mut self) -> bool {
        self.events.as_mut().is_some_and(NftEvents::foreign)
    }

    /// Who committed to nf_tables since the last time, besides us.
    pub fn take_authors(&mut self) -> BTreeSet<String> {
        self.events.as_mut().map(NftEvents::take_authors).unwrap_or_default()
    }

    /// What becomes readable when nf_tables has a notice.
    pub fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.events.as_ref().map(AsFd::as_fd)
    }

    pub fn in_sync(&self) -> bool {
        self.families().into_iter().all(FamilyTables::in_sync)
    }

    /// Whether the mirror holds nothing of ours.
    pub fn is_clear(&self) -> bool {
        self.families().into_iter().all(FamilyTables::is_clear)
    }

    pub fn wanted_rules(&self) -> u64 {
        self.families().into_iter().map(FamilyTables::wanted_rules).sum()
    }

    /// What does not work now.
    pub fn failures(&self) -> Vec<PlaneError> {
        self.families().into_iter().flat_map(FamilyTables::failures).cloned().collect()
    }

    /// Removes what a run with the other back end left behind; packets would meet both.
    pub fn clear_other_backend(&self) -> Vec<PlaneError> {
        let other = self.backend.other();
        let clear = |family| {
            let mut tables = FamilyTables::new(other, family);
            // Its programs need not be there; then it holds nothing that anybody could have put there.
            if tables.read().is_err() || tables.is_clear() {
                return Vec::new();
            }
            tables.compare();
            tables.sync(&BTreeSet::new())
        };
        Family::BOTH.into_iter().flat_map(clear).collect()
    }

    /// The sets that rules mention, in the order in which a packet meets them on its way from the hooks.
    pub fn sets_as_met(&self) -> Vec<SetName> {
        self.families().into_iter().flat_map(FamilyTables::sets_as_met).collect()
    }

    /// The counters of a chain's rules, in order. A rule in the kernel that is not ours is given as iptables prints it.
    pub fn counters(&self, chain: &ChainKey) -> Result<Vec<RuleCounters>, PlaneError> {
        let listed = self.backend.list(chain.family, chain.table, &format!("-v -S {}", chain.name))?;
        let rules = self.tables(chain.family).rules(chain).unwrap_or(&[]);
        let texts: BTreeMap<RuleId, &str> =
            rule_ids(chain, rules).into_iter().zip(rules.iter().map(|rule| &*rule.text)).collect();
        let counted = listed.lines().filter_map(|line| {
            let (_, mut counted) = read_counters(line)?;
            if let Some(text) = RuleId::find(line).and_then(|id| texts.get(&id)) {
                counted.rule = text.to_string();
            }
            Some(counted)
        });
        Ok(counted.collect())
    }

    /// What each of our rules that drops has counted, in all tables.
    pub fn drops(&self, family: Family) -> Result<Vec<(ChainKey, RuleCounters)>, PlaneError> {
        let mut drops = Vec::new();
        for table in Table::ALL {
            let listed = self.backend.list(family, table, "-v -S")?;
            for line in listed.lines().filter(|line| line.ends_with("-j DROP")) {
                let Some((chain, mut counted)) = read_counters(line) else { continue };
                let chain = ChainKey { family, table, name: chain.to_string() };
                let Some(rules) = self.tables(family).rules(&chain) else { continue };
                let position =
                    RuleId::find(line).and_then(|id| rule_ids(&chain, rules).iter().position(|one| *one == id));
                if let Some(position) = position {
                    counted.rule = rules[position].text.to_string();
                }
                drops.push((chain, counted));
            }
        }
        Ok(drops)
    }

    fn tables(&self, family: Family) -> &FamilyTables {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

/// The chain, and what was counted, of a line of `-v -S` that is a rule. A comment may look like counters: the last that can
/// be read are.
fn read_counters(line: &str) -> Option<(&str, RuleCounters)> {
    let (chain, text) = line.strip_prefix("-A ")?.split_once(' ')?;
    text.rmatch_indices("-c ").find_map(|(at, _)| {
        let mut words = text[at + 3..].splitn(3, ' ');
        let (packets, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let rule = format!("{}{}", &text[..at], words.next().unwrap_or_default());
        Some((chain, RuleCounters { rule, packets, bytes }))
    })
}
