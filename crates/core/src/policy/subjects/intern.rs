//! Values that many share, each kept once as long as anybody holds it, known by a number.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, Equivalent, HashTable};

#[derive(Clone, Debug)]
pub(super) struct Interner<T> {
    /// With the number of holders.
    entries: Vec<Option<(T, u32)>>,
    free: Vec<u32>,
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Interner { entries: Vec::new(), free: Vec::new(), ids: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }
}

impl<T: Hash + Eq> Interner<T> {
    /// Whatever is borrowed as a `Q` must hash like the value that it is equivalent to.
    pub fn find<Q: Hash + Equivalent<T>>(&self, wanted: &Q) -> Option<u32> {
        let is_it = |id: &u32| self.entries[*id as usize].as_ref().is_some_and(|(known, _)| wanted.equivalent(known));
        self.ids.find(self.hasher.hash_one(wanted), is_it).copied()
    }

    /// Holds the value once more; `true` if nobody did before.
    pub fn hold<Q: Hash + Equivalent<T>>(&mut self, wanted: &Q, make: impl FnOnce() -> T) -> (u32, bool) {
        if let Some(id) = self.find(wanted) {
            if let Some((_, holders)) = &mut self.entries[id as usize] {
                *holders += 1;
            }
            return (id, false);
        }
        let entry = Some((make(), 1));
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("fewer than four billion values")
            }
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash_of = |id: &u32| hasher.hash_one(&entries[*id as usize].as_ref().expect("its number is known").0);
        self.ids.insert_unique(hasher.hash_one(wanted), id, hash_of);
        (id, true)
    }

    /// Holds it once less; the value, if nobody holds it any more.
    pub fn release(&mut self, id: u32) -> Option<T> {
        let entry = &mut self.entries[id as usize];
        let (value, holders) = entry.as_mut().expect("released only by who holds it");
        *holders -= 1;
        if *holders > 0 {
            return None;
        }
        let hash = self.hasher.hash_one(&*value);
        if let Ok(found) = self.ids.find_entry(hash, |known| *known == id) {
            found.remove();
        }
        self.free.push(id);
        entry.take().map(|(value, _)| value)
    }

    pub fn get(&self, id: u32) -> &T {
        &self.entries[id as usize].as_ref().expect("held").0
    }
}
