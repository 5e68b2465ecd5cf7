//! The work on some prefixes: each path is rewritten and encoded once, and prefixes that are told alike travel together.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use super::Policy;
use super::group::Told;
use super::portion::{Audience, Portion};
use super::too_long::TooLong;
use crate::bgp::filter::Place;
use crate::bgp::rib::path::{Candidate, Interner, Path};
use crate::bgp::wire::{self, CodecContext, EncodedPath, Nlri};
use crate::model::{Cidr, Family};

/// A portion is closed when it has grown by this, in bytes.
const PORTION: usize = 64 * 1024;

/// One thing to say of a prefix.
pub(super) struct Said {
    /// `None`: withdrawn.
    path: Option<Arc<EncodedPath>>,
    family: Family,
}

impl Said {
    pub fn of(told: Option<&Told>, nlri: &Nlri) -> Said {
        Said { path: told.map(|told| told.path.clone()), family: nlri.prefix.family() }
    }
}

/// The address of a path, whose it is where that matters (0: anybody's), the family of the prefix, and the rule of a
/// filter that changes it.
type PathKey = (*const Path, u32, Family, Option<Place>);
/// The address of a path as told (null: withdrawn), the family, and to whom.
type RunKey = (*const EncodedPath, Family, Audience);

pub(super) struct Batch<'a> {
    encodings: &'a mut Interner<EncodedPath>,
    /// The RIB is borrowed meanwhile, so an address is a name.
    paths: HashMap<PathKey, Option<Arc<EncodedPath>>>,
    runs: Vec<(Audience, Said)>,
    of_key: HashMap<RunKey, usize>,
    /// Each prefix, or path, with its run.
    staged: Vec<(usize, Nlri)>,
    /// The last route that no message can hold.
    pub too_long: Option<TooLong>,
}

impl<'a> Batch<'a> {
    pub fn new(encodings: &'a mut Interner<EncodedPath>) -> Batch<'a> {
        Batch {
            encodings,
            paths: HashMap::new(),
            runs: Vec::new(),
            of_key: HashMap::new(),
            staged: Vec::new(),
            too_long: None,
        }
    }

    pub fn path_for(&mut self, policy: &Policy, prefix: &Cidr, candidate: &Candidate) -> Option<Arc<EncodedPath>> {
        let export = &policy.export;
        let place = export.tells(prefix, candidate).ok()?;
        let family = prefix.family();
        // What is reflected says who was first to say it.
        let originator = if export.reflects(candidate) { u32::from(candidate.source.router_id) } else { 0 };
        let key = (Arc::as_ptr(&candidate.path), originator, family, place);
        let encoded = match self.paths.get(&key) {
            Some(known) => known.clone(),
            None => {
                let encoded = export.rewrite(candidate, family, place).and_then(|path| {
                    let encoded = EncodedPath::new(&path.attributes, &path.next_hop, family, &policy.codec).ok()?;
                    Some(self.encodings.intern(encoded))
                });
                self.paths.insert(key, encoded.clone());
                encoded
            }
        }?;
        match TooLong::of(&encoded, prefix, candidate, &policy.codec) {
            None => Some(encoded),
            // Nobody must keep an older path either.
            too_long => {
                self.too_long = too_long;
                None
            }
        }
    }

    pub fn add(&mut self, nlri: Nlri, audience: Audience, said: Said) {
        let key = (said.path.as_ref().map_or(std::ptr::null(), Arc::as_ptr), said.family, audience);
        let run = *self.of_key.entry(key).or_insert_with(|| {
            self.runs.push((audience, said));
            self.runs.len() - 1
        });
        self.staged.push((run, nlri));
    }

    pub fn encode(mut self, codec: &CodecContext, portions: &mut VecDeque<Portion>) {
        self.staged.sort_by_key(|(run, _)| *run);
        let mut open = false;
        for of_run in self.staged.chunk_by(|a, b| a.0 == b.0) {
            let (audience, said) = &self.runs[of_run[0].0];
            let fits = |last: &&mut Portion| open && last.audience == *audience && last.bytes.len() < PORTION;
            let portion = match portions.back_mut().filter(fits) {
                Some(last) => last,
                None => {
                    portions.push_back(Portion { audience: *audience, bytes: Vec::new(), nlri: Vec::new(), unread: 0 });
                    portions.back_mut().expect("pushed a line ago")
                }
            };
            open = true;
            let before = portion.nlri.len();
            portion.nlri.extend(of_run.iter().map(|(_, nlri)| nlri));
            let mut left = &portion.nlri[before..];
            while !left.is_empty() {
                let taken = match &said.path {
                    Some(path) => path.announce(left, codec, &mut portion.bytes),
                    None => wire::encode_withdraw(left, codec, &mut portion.bytes),
                };
                assert!(taken > 0, "a path that fits");
                left = &left[taken..];
            }
        }
        // They wait as long as their slowest reader: not longer than they must.
        if open && let Some(last) = portions.back_mut() {
            last.bytes.shrink_to_fit();
        }
    }
}
