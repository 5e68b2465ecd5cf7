//! The candidates of one prefix: mostly one, which then takes no allocation.

use std::ops::{Deref, DerefMut};

use super::Candidate;

#[derive(Debug, Default)]
pub(super) enum Candidates {
    #[default]
    None,
    One(Candidate),
    /// In a box, for the size of the other cases.
    #[expect(clippy::box_collection, reason = "a vector is as large as a candidate, and leaves no room for the tag")]
    Many(Box<Vec<Candidate>>),
}

impl Candidates {
    pub fn push(&mut self, candidate: Candidate) {
        *self = match std::mem::take(self) {
            Candidates::None => Candidates::One(candidate),
            Candidates::One(first) => Candidates::Many(Box::new(vec![first, candidate])),
            Candidates::Many(mut many) => {
                many.push(candidate);
                Candidates::Many(many)
            }
        };
    }

    /// Takes one out; the last comes into its place.
    pub fn swap_remove(&mut self, index: usize) -> Candidate {
        match std::mem::take(self) {
            Candidates::None => unreachable!("there is no candidate {index}"),
            Candidates::One(only) => only,
            Candidates::Many(mut many) => {
                let removed = many.swap_remove(index);
                *self = match many.len() {
                    1 => Candidates::One(many.remove(0)),
                    _ => Candidates::Many(many),
                };
                removed
            }
        }
    }

    pub fn set(&mut self, index: usize, candidate: Candidate) {
        self[index] = candidate;
    }
}

impl Deref for Candidates {
    type Target = [Candidate];

    fn deref(&self) -> &[Candidate] {
        match self {
            Candidates::None => &[],
            Candidates::One(only) => std::slice::from_ref(only),
            Candidates::Many(many) => many,
        }
    }
}

impl DerefMut for Candidates {
    fn deref_mut(&mut self) -> &mut [Candidate] {
        match self {
            Candidates::None => &mut [],
            Candidates::One(only) => std::slice::from_mut(only),
            Candidates::Many(many) => many,
        }
    }
}

#[cfg(test)]
#[path = "candidates_tests.rs"]
mod tests;
