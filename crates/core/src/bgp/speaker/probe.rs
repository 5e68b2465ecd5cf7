//! What a route would meet at a neighbour's filters: the question of `routectl bgp filter test`.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Speaker;
use super::peer::Peer;
use super::status::as_path_words;
use super::update::import;
use crate::bgp::filter::{Asked, Direction, Place, Refusal, Silence};
use crate::bgp::rib::outbound::TooLong;
use crate::bgp::rib::path::own_attributes;
use crate::bgp::rib::{Candidate, Judged, Path, Source};
use crate::bgp::wire::{AsSegment, EncodedPath, NextHop};
use crate::model::filter::Community;
use crate::model::scope::unscoped;
use crate::model::{Cidr, Family};

/// A route and a neighbour. What is given replaces what the route in the RIB has; where there is none, the route is made of
/// it: on the way in one of the neighbour, on the way out one of our own, unless `from` names whose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterQuestion {
    /// By name or address.
    pub peer: String,
    pub direction: Direction,
    pub prefix: Cidr,
    pub from: Option<String>,
    pub as_path: Option<Vec<u32>>,
    pub communities: Option<Vec<Community>>,
    pub next_hop: Option<IpAddr>,
    pub med: Option<u32>,
    pub local_pref: Option<u32>,
}

impl FilterQuestion {
    /// With nothing given in place of what the route has.
    pub fn new(peer: &str, direction: Direction, prefix: Cidr) -> FilterQuestion {
        FilterQuestion {
            peer: peer.to_string(),
            direction,
            prefix,
            from: None,
            as_path: None,
            communities: None,
            next_hop: None,
            med: None,
            local_pref: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterAnswer {
    /// The neighbour's name and address.
    pub peer: String,
    pub address: IpAddr,
    pub direction: Direction,
    pub prefix: Cidr,
    /// Whether the route is one of the RIB, though perhaps with something given in place of its own.
    pub in_rib: bool,
    /// Whom it is from: a neighbour's name, or `here`.
    pub from: String,
    pub accepted: bool,
    /// What decided, in words: a rule, the neighbour's `import`, or the protocol.
    pub why: String,
    /// The rules that were asked, in order.
    pub rules: Vec<RuleLine>,
    pub attributes: Vec<AttributeLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleLine {
    /// `BGPFilter uplink, importV4[2]`.
    pub rule: String,
    /// The field that does not match; `None`: the rule matches.
    pub mismatch: Option<String>,
}

/// An attribute before and, of a route that is accepted, after. Absent: the route has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeLine {
    pub name: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl Speaker {
    /// # Errors
    /// In words: there is no such neighbour.
    pub fn test_filter(&self, question: &FilterQuestion) -> Result<FilterAnswer, String> {
        let (address, peer) = self.neighbour(&question.peer)?;
        let (candidate, in_rib) = self.candidate_for(question, address, peer)?;
        let from = match candidate.source.peer {
            None => "here".to_string(),
            Some(source) => self.peers.get(&source).map_or(source.to_string(), |peer| peer.config.name.clone()),
        };
        let filters = &peer.config.filters;
        let (direction, prefix, family) = (question.direction, question.prefix, question.prefix.family());
        // Refused by a rule where no other reason is given.
        let (asked, outcome): (_, Result<Path, Option<String>>) = match direction {
            Direction::Import => {
                let own = self.own_addresses(address);
                let import = import(&self.config, &self.pools, address, peer, &own);
                let asked = filters.explain(direction, &import.route(&prefix, &candidate.path));
                let outcome = import.judge(&prefix, &candidate.path).map(|place| match place {
                    Some(place) => import.rewrite(&candidate.path, family, place),
                    None => (*candidate.path).clone(),
                });
                let words = |refusal| match refusal {
                    Refusal::Filtered(_) => None,
                    refusal => Some(refusal.to_string()),
                };
                (asked, outcome.map_err(words))
            }
            Direction::Export => {
                let export = self.export(address, self.own_end(peer, family));
                let asked = filters.explain(direction, &export.route(&prefix, &candidate));
                let outcome = export.tells(&prefix, &candidate).map_err(|silence| match silence {
                    Silence::Filtered(_) => None,
                    silence => Some(silence.to_string()),
                });
                let told = outcome.and_then(|place| {
                    let none = || Some("there is no next hop to tell for it".to_string());
                    let path = export.rewrite(&candidate, family, place).ok_or_else(none)?;
                    match too_long(peer, &prefix, &candidate, &path) {
                        None => Ok(path),
                        Some(route) => Err(Some(route.to_string())),
                    }
                });
                (asked, told)
            }
        };
        let line = |it: &Asked| RuleLine {
            rule: filters.words(direction, family, it.place),
            mismatch: it.mismatch.map(|field| field.to_string()),
        };
        let before = candidate.source.peer.is_some() || question.next_hop.is_some();
        Ok(FilterAnswer {
            peer: peer.config.name.clone(),
            address,
            direction,
            prefix,
            in_rib,
            from,
            accepted: outcome.is_ok(),
            why: self.why(peer, direction, family, &asked, outcome.as_ref().err()),
            rules: asked.iter().map(line).collect(),
            attributes: attribute_lines(&candidate.path, before, outcome.ok().as_ref()),
        })
    }

    fn neighbour(&self, word: &str) -> Result<(IpAddr, &Peer), String> {
        let found = self.find(word).and_then(|address| Some((address, self.peers.get(&address)?)));
        found.ok_or_else(|| {
            let names: Vec<&str> = self.peers.values().map(|peer| peer.config.name.as_str()).collect();
            match names.as_slice() {
                [] => format!("no neighbour \"{word}\": this node has none"),
                names => format!("no neighbour \"{word}\": this node has {}", names.join(", ")),
            }
        })
    }

    /// The route that is asked about, as it is before any filter (import) or as we hold it (export), and whether the RIB
    /// has it.
    fn candidate_for(
        &self,
        question: &FilterQuestion,
        address: IpAddr,
        peer: &Peer,
    ) -> Result<(Candidate, bool), String> {
        let destination = self.rib.get(&question.prefix);
        let from = question.from.as_deref().map(|word| self.neighbour(word)).transpose()?;
        let source = match question.direction {
            Direction::Import => Some((address, peer)),
            Direction::Export => from,
        };
        let known = destination.and_then(|destination| match source {
            Some((source, _)) => destination.candidates().iter().find(|known| known.source.peer == Some(source)),
            None => destination.best(),
        });
        let base = match (known, source) {
            (Some(known), _) => match question.direction {
                Direction::Import => Candidate { path: known.received().clone(), ..known.clone() },
                Direction::Export => known.clone(),
            },
            (None, source) => self.made_up(source),
        };
        let mut path = (*base.path).clone();
        let attributes = &mut path.attributes;
        if let Some(numbers) = &question.as_path {
            attributes.as_path = match numbers.as_slice() {
                [] => Vec::new(),
                numbers => vec![AsSegment::Sequence(numbers.to_vec())],
            };
        }
        if let Some(communities) = &question.communities {
            attributes.communities.clear();
            attributes.large_communities.clear();
            attributes.extended_communities.clear();
            for community in communities {
                match community {
                    Community::Standard(value) => _ = attributes.communities.insert(*value),
                    Community::Large(a, b, c) => _ = attributes.large_communities.insert((*a, *b, *c)),
                    Community::Extended(bytes) => _ = attributes.extended_communities.insert(*bytes),
                }
            }
        }
        attributes.med = question.med.or(attributes.med);
        attributes.local_pref = question.local_pref.or(attributes.local_pref);
        if let Some(address) = question.next_hop {
            path.next_hop = NextHop::new(address);
        }
        Ok((Candidate { path: Arc::new(path), judged: Judged::AsReceived, ..base }, known.is_some()))
    }

    fn made_up(&self, source: Option<(IpAddr, &Peer)>) -> Candidate {
        let mut attributes = own_attributes();
        let (source, next_hop) = match source {
            Some((address, peer)) => {
                if peer.source.external {
                    attributes.as_path =
                        peer.as_number().map(|number| AsSegment::Sequence(vec![number])).into_iter().collect();
                }
                (peer.source.clone(), address)
            }
            None => (Arc::new(Source::own(self.config.router_id)), IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        };
        let path = Path { attributes, next_hop: NextHop::new(next_hop) };
        Candidate { source, path: Arc::new(path), judged: Judged::AsReceived }
    }

    /// Our end of the session or, while there is none, what it would probably be.
    fn own_end(&self, peer: &Peer, family: Family) -> IpAddr {
        let session = peer.session.established().and_then(|connection| connection.local);
        let by_family = match family {
            Family::V4 => self.config.address4,
            Family::V6 => self.config.address6,
        };
        let unknown = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        session.or(peer.config.local_address).or(by_family).unwrap_or(unknown)
    }

    fn why(
        &self,
        peer: &Peer,
        direction: Direction,
        family: Family,
        asked: &[Asked],
        refusal: Option<&Option<String>>,
    ) -> String {
        let filters = &peer.config.filters;
        if let [missing, ..] = filters.missing() {
            return format!("BGPFilter {missing}, which the peer names, is not there");
        }
        let matched = asked.last().filter(|last| last.mismatch.is_none()).map(|last| last.place);
        let words = |place: Place| filters.words(direction, family, place);
        match (refusal, matched) {
            (None, Some(place)) => format!("{} accepts it", words(place)),
            (None, None) if filters.is_empty() => "the peer has no filters, and takes it without".to_string(),
            (None, None) => "no rule matches, and the peer takes it without".to_string(),
            (Some(Some(reason)), _) => reason.clone(),
            (Some(None), place) => format!("{} rejects it", place.map(words).unwrap_or_default()),
        }
    }
}

/// Whether the session with the neighbour, if there is one, has a message that holds the path as it would be told.
fn too_long(peer: &Peer, prefix: &Cidr, candidate: &Candidate, path: &Path) -> Option<TooLong> {
    let codec = &peer.negotiated.as_ref().filter(|_| peer.told)?.codec;
    let encoded = EncodedPath::new(&path.attributes, &path.next_hop, prefix.family(), codec).ok()?;
    TooLong::of(&encoded, prefix, candidate, codec)
}

/// Every attribute that a filter may look at or change. `hop`: whether the next hop says something before.
fn attribute_lines(before: &Path, hop: bool, after: Option<&Path>) -> Vec<AttributeLine> {
    let text = |words: String| Some(words).filter(|words| !words.is_empty());
    let words = |path: &Path, hop: bool| -> [Option<String>; 5] {
        let attributes = &path.attributes;
        [
            text(as_path_words(path)),
            text(community_words(path).join(" ")),
            hop.then(|| unscoped(path.next_hop.address).0.to_string()),
            attributes.med.map(|value| value.to_string()),
            attributes.local_pref.map(|value| value.to_string()),
        ]
    };
    let after = match after {
        Some(path) => words(path, !path.next_hop.address.is_unspecified()),
        None => Default::default(),
    };
    let names = ["AS path", "communities", "next hop", "MED", "local preference"];
    let lines = names.into_iter().zip(words(before, hop)).zip(after);
    lines.map(|((name, before), after)| AttributeLine { name: name.to_string(), before, after }).collect()
}

/// Communities of every kind, as filters name them.
fn community_words(path: &Path) -> Vec<String> {
    let attributes = &path.attributes;
    let standard = attributes.communities.iter().map(|value| Community::Standard(*value));
    let large = attributes.large_communities.iter().map(|(a, b, c)| Community::Large(*a, *b, *c));
    let extended = attributes.extended_communities.iter().map(|bytes| Community::Extended(*bytes));
    standard.chain(large).chain(extended).map(|community| community.to_string()).collect()
}
