//! The endpoints of other nodes, of which there are most: in about a hundred bytes each, and found by label.
//!
//! What many have in common is kept once: nodes, the places where they stand, labels with their values. Each of these
//! knows who has it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, Equivalent, HashTable};
use roaring::RoaringBitmap;

use crate::model::{Cidr, Endpoint, EndpointKey, InterfaceName, Labels, NamedPort, NetworkName, NodeName};

use super::super::selector::{Anchor, LabelLookup, Selector};
use super::index::LabelIndex;
use super::intern::Interner;
use super::place::Place;
use super::{Body, Party, Subject, SubjectKey, is_given};

#[derive(Clone, Debug, Default)]
pub(super) struct Remotes {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    hasher: DefaultHashBuilder,
    nodes: Interner<NodeName>,
    commons: Interner<Common>,
    pairs: Interner<Pair>,
    /// Who stands at a place, and who carries a label with its value; by their numbers.
    at_common: Vec<RoaringBitmap>,
    with_pair: Vec<RoaringBitmap>,
    /// The pairs of a label.
    pairs_of: BTreeMap<Arc<str>, BTreeSet<u32>>,
    /// The commons whose place gives a label.
    by_place: LabelIndex,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    node: u32,
    common: u32,
    /// Where in `text` the container's id ends.
    id_length: u32,
    /// Whether a name of its own follows there; otherwise it is called like its container.
    is_named: bool,
    text: Box<str>,
    /// Pairs, in the order of their names.
    labels: Box<[u32]>,
    addresses: Addresses,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Addresses {
    /// Nearly always.
    Four(Ipv4Addr),
    Some(Box<[IpAddr]>),
}

/// What an endpoint is likely to share with others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Common {
    network: NetworkName,
    ifname: InterfaceName,
    namespace: String,
    account: Option<String>,
    profiles: Option<Vec<String>>,
    ports: Vec<NamedPort>,
    place: Arc<Place>,
}

impl Hash for Common {
    /// The place follows from the rest, as long as nothing changes.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.network, &self.ifname, &self.namespace, &self.account, &self.profiles, &self.ports).hash(state);
    }
}

struct CommonOf<'a>(&'a Endpoint, &'a Arc<Place>);

impl Hash for CommonOf<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let it = self.0;
        (&it.key.network, &it.key.ifname, &it.namespace, &it.service_account, &it.profiles, &it.ports).hash(state);
    }
}

impl Equivalent<Common> for CommonOf<'_> {
    fn equivalent(&self, known: &Common) -> bool {
        let CommonOf(it, place) = self;
        it.key.network == known.network
            && it.key.ifname == known.ifname
            && it.namespace == known.namespace
            && it.service_account == known.account
            && it.profiles == known.profiles
            && it.ports == known.ports
            && **place == known.place
    }
}

/// A label and its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pair {
    name: Arc<str>,
    value: Box<str>,
}

#[derive(Hash)]
struct PairOf<'a>(&'a str, &'a str);

impl Equivalent<Pair> for PairOf<'_> {
    fn equivalent(&self, known: &Pair) -> bool {
        *self.0 == *known.name && *self.1 == *known.value
    }
}

/// An endpoint as it is kept.
#[derive(Clone, Copy)]
pub(in crate::policy) struct Remote<'a> {
    all: &'a Remotes,
    slot: &'a Slot,
}

impl Remotes {
    pub fn get(&self, node: &NodeName, key: &EndpointKey) -> Option<Remote<'_>> {
        self.at(self.find(node, key)?)
    }

    pub fn iter(&self) -> impl Iterator<Item = Remote<'_>> {
        self.slots.iter().flatten().map(|slot| Remote { all: self, slot })
    }

    fn at(&self, number: u32) -> Option<Remote<'_>> {
        let slot = self.slots.get(number as usize)?.as_ref()?;
        Some(Remote { all: self, slot })
    }

    fn hash_of(&self, node: &NodeName, network: &NetworkName, container_id: &str, ifname: &InterfaceName) -> u64 {
        self.hasher.hash_one((node, network, container_id, ifname))
    }

    fn find(&self, node: &NodeName, key: &EndpointKey) -> Option<u32> {
        let hash = self.hash_of(node, &key.network, &key.container_id, &key.ifname);
        let is_it = |number: &u32| self.at(*number).is_some_and(|known| known.is(node, key));
        self.by_key.find(hash, is_it).copied()
    }

    /// Takes it away, if it is there.
    pub fn remove(&mut self, node: &NodeName, key: &EndpointKey) {
        let Some(number) = self.find(node, key) else { return };
        let hash = self.hash_of(node, &key.network, &key.container_id, &key.ifname);
        if let Ok(found) = self.by_key.find_entry(hash, |known| *known == number) {
            found.remove();
        }
        let Some(slot) = self.slots[number as usize].take() else { return };
        self.free.push(number);
        self.nodes.release(slot.node);
        self.at_common[slot.common as usize].remove(number);
        if let Some(common) = self.commons.release(slot.common) {
            common.place.each_label(|(name, value)| self.by_place.remove(name, value, slot.common));
        }
        for pair in slot.labels {
            self.with_pair[pair as usize].remove(number);
            let Some(Pair { name, .. }) = self.pairs.release(pair) else { continue };
            if let Some(pairs) = self.pairs_of.get_mut(&name) {
                pairs.remove(&pair);
                if pairs.is_empty() {
                    self.pairs_of.remove(&name);
                }
            }
        }
    }

    /// Puts in one that is not there.
    pub fn insert(&mut self, endpoint: &Endpoint, place: &Arc<Place>) {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than four billion endpoints")
        });
        let (node, _) = self.nodes.hold(&Same(&endpoint.node), || endpoint.node.clone());
        let common = self.hold_common(endpoint, place);
        note(&mut self.at_common, common, number);
        let labels: Box<[u32]> = endpoint.labels.iter().map(|(name, value)| self.hold_pair(name, value)).collect();
        labels.iter().for_each(|pair| note(&mut self.with_pair, *pair, number));
        let id = &endpoint.key.container_id;
        let is_named = endpoint.name != *id;
        let text = if is_named { format!("{id}{}", endpoint.name).into() } else { id.as_str().into() };
        let addresses = match endpoint.addresses.as_slice() {
            [IpAddr::V4(address)] => Addresses::Four(*address),
            addresses => Addresses::Some(addresses.into()),
        };
        let id_length = u32::try_from(id.len()).expect("an id is shorter than 4 GB");
        self.slots[number as usize] = Some(Slot { node, common, id_length, is_named, text, labels, addresses });
        let hash = self.hash_of(&endpoint.node, &endpoint.key.network, id, &endpoint.key.ifname);
        let (all, hasher) = (&self.slots, &self.hasher);
        let (nodes, commons) = (&self.nodes, &self.commons);
        self.by_key.insert_unique(hash, number, |number| {
            let slot = all[*number as usize].as_ref().expect("its number is known");
            let common = commons.get(slot.common);
            hasher.hash_one((nodes.get(slot.node), &common.network, slot.container_id(), &common.ifname))
        });
    }

    fn hold_common(&mut self, endpoint: &Endpoint, place: &Arc<Place>) -> u32 {
        let (common, is_new) = self.commons.hold(&CommonOf(endpoint, place), || Common {
            network: endpoint.key.network.clone(),
            ifname: endpoint.key.ifname.clone(),
            namespace: endpoint.namespace.clone(),
            account: endpoint.service_account.clone(),
            profiles: endpoint.profiles.clone(),
            ports: endpoint.ports.clone(),
            place: place.clone(),
        });
        if is_new {
            place.each_label(|(name, value)| self.by_place.insert(name, value, common));
        }
        common
    }

    fn hold_pair(&mut self, name: &str, value: &str) -> u32 {
        let pairs_of = &mut self.pairs_of;
        let (pair, is_new) = self.pairs.hold(&PairOf(name, value), || {
            let shared = pairs_of.get_key_value(name).map(|(name, _)| name.clone());
            Pair { name: shared.unwrap_or_else(|| name.into()), value: value.into() }
        });
        if is_new {
            let name = self.pairs.get(pair).name.clone();
            self.pairs_of.entry(name).or_default().insert(pair);
        }
        pair
    }

    /// Whether it is there, exactly so.
    pub fn holds(&self, endpoint: &Endpoint, place: &Arc<Place>) -> bool {
        let Some(known) = self.get(&endpoint.node, &endpoint.key) else { return false };
        let labels = known.labels().map(|pair| (&*pair.name, &*pair.value));
        CommonOf(endpoint, place).equivalent(known.common())
            && labels.eq(endpoint.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            && known.name() == endpoint.name
            && known.each_address().eq(endpoint.addresses.iter().copied())
    }

    /// The keys of those whose place gives them the label with that value.
    pub fn with_given(&self, name: &str, value: &str) -> Vec<SubjectKey> {
        let numbers = self.by_place.with(name, value).flat_map(|common| &self.at_common[common as usize]);
        numbers.filter_map(|number| self.at(number)).map(|remote| remote.key()).collect()
    }

    /// Whom the selector matches; looked for among those who carry one of the labels.
    pub fn matching<'a>(
        &'a self,
        selector: &'a Selector,
        anchors: Option<&[Anchor]>,
    ) -> Box<dyn Iterator<Item = Remote<'a>> + 'a> {
        let Some(anchors) = anchors else {
            return Box::new(self.iter().filter(|remote| selector.matches(remote)));
        };
        let mut numbers = RoaringBitmap::new();
        for anchor in anchors {
            self.by_place.at(anchor).for_each(|common| numbers |= &self.at_common[common as usize]);
            match &anchor.value {
                Some(value) => {
                    let pair = self.pairs.find(&PairOf(&anchor.label, value));
                    pair.into_iter().for_each(|pair| numbers |= &self.with_pair[pair as usize]);
                }
                None => {
                    let pairs = self.pairs_of.get(anchor.label.as_str()).into_iter().flatten();
                    pairs.for_each(|pair| numbers |= &self.with_pair[*pair as usize]);
                }
            }
        }
        let found = numbers.into_iter().filter_map(|number| self.at(number));
        Box::new(found.filter(|remote| selector.matches(remote)))
    }

    #[cfg(test)]
    pub fn has_forgotten_all(&self) -> bool {
        self.iter().next().is_none() && self.pairs_of.is_empty() && self.by_place.is_empty()
    }
}

/// A value as its own borrowed form.
#[derive(Hash)]
struct Same<'a, T>(&'a T);

impl<T: Eq> Equivalent<T> for Same<'_, T> {
    fn equivalent(&self, known: &T) -> bool {
        self.0 == known
    }
}

fn note(lists: &mut Vec<RoaringBitmap>, list: u32, number: u32) {
    let list = list as usize;
    if lists.len() <= list {
        lists.resize_with(list + 1, RoaringBitmap::new);
    }
    lists[list].insert(number);
}

impl Slot {
    fn container_id(&self) -> &str {
        &self.text[..self.id_length as usize]
    }
}

impl<'a> Remote<'a> {
    fn is(&self, node: &NodeName, key: &EndpointKey) -> bool {
        let common = self.common();
        self.slot.container_id() == key.container_id
            && self.all.nodes.get(self.slot.node) == node
            && common.network == key.network
            && common.ifname == key.ifname
    }

    fn common(&self) -> &'a Common {
        self.all.commons.get(self.slot.common)
    }

    fn name(&self) -> &'a str {
        if self.slot.is_named { &self.slot.text[self.slot.id_length as usize..] } else { self.slot.container_id() }
    }

    fn labels(&self) -> impl Iterator<Item = &'a Pair> + use<'a> {
        let all = self.all;
        self.slot.labels.iter().map(move |pair| all.pairs.get(*pair))
    }

    fn each_address(&self) -> impl Iterator<Item = IpAddr> + use<'a> {
        let (four, some) = match &self.slot.addresses {
            Addresses::Four(address) => (Some(IpAddr::V4(*address)), &[][..]),
            Addresses::Some(addresses) => (None, &**addresses),
        };
        four.into_iter().chain(some.iter().copied())
    }

    pub fn has_address(&self, address: IpAddr) -> bool {
        self.each_address().any(|own| own == address)
    }

    fn endpoint_key(&self) -> EndpointKey {
        let common = self.common();
        EndpointKey {
            network: common.network.clone(),
            container_id: self.slot.container_id().to_string(),
            ifname: common.ifname.clone(),
        }
    }

    pub fn key(&self) -> SubjectKey {
        SubjectKey::Endpoint(self.all.nodes.get(self.slot.node).clone(), self.endpoint_key())
    }

    /// As it was given.
    pub fn endpoint(&self) -> Endpoint {
        let common = self.common();
        Endpoint {
            key: self.endpoint_key(),
            node: self.all.nodes.get(self.slot.node).clone(),
            namespace: common.namespace.clone(),
            name: self.name().to_string(),
            service_account: common.account.clone(),
            labels: self.labels().map(|pair| (pair.name.to_string(), pair.value.to_string())).collect::<Labels>(),
            ports: common.ports.clone(),
            profiles: common.profiles.clone(),
            addresses: self.each_address().collect(),
            attachment: None,
        }
    }

    pub fn subject(&self) -> Subject {
        Subject { body: Body::Endpoint(Box::new(self.endpoint())), place: self.common().place.clone() }
    }
}

impl LabelLookup for Remote<'_> {
    fn label(&self, name: &str) -> Option<&str> {
        let place = &self.common().place;
        if is_given(name) {
            return place.given.get(name).map(String::as_str);
        }
        let own = self.labels().find(|pair| *pair.name == *name).map(|pair| &*pair.value);
        own.or_else(|| place.inherited.get(name).map(String::as_str))
    }
}

impl Party for Remote<'_> {
    fn each_label(&self, see: &mut dyn FnMut(&str, &str)) {
        let own = self.labels().filter(|pair| !is_given(&pair.name));
        own.for_each(|pair| see(&pair.name, &pair.value));
        let place = &self.common().place;
        let is_own = |name: &str| self.labels().any(|pair| *pair.name == *name);
        place.inherited.iter().filter(|(name, _)| !is_own(name)).for_each(|(name, value)| see(name, value));
        place.given.iter().for_each(|(name, value)| see(name, value));
    }

    fn addresses(&self) -> Cow<'_, [IpAddr]> {
        match &self.slot.addresses {
            Addresses::Four(address) => Cow::Owned(vec![IpAddr::V4(*address)]),
            Addresses::Some(addresses) => Cow::Borrowed(addresses),
        }
    }

    fn ports(&self) -> &[NamedPort] {
        &self.common().ports
    }

    fn each_net(&self, see: &mut dyn FnMut(Cidr)) {
        self.each_address().for_each(|address| see(Cidr::host(address)));
    }
}

impl Place {
    fn each_label(&self, see: impl FnMut((&String, &String))) {
        self.given.iter().chain(&self.inherited).for_each(see);
    }
}
