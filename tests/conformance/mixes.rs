//! Several malformed attributes in one UPDATE: every ordered pair of defects, where the strongest action is taken (RFC 7606
//! 3h), and attributes that come again, of which the first alone counts (3g).

use crate::case::{AFTER, ANY, EBGP, EBGP6, Expect, IBGP, IBGP6, Rows, Seen, Sender, prefixes, run, seen, unseen};
use crate::heard::Prefix;
use crate::raw::{self, Attribute, Draft, OPTIONAL, OPTIONAL_TRANSITIVE, PARTIAL, WELL_KNOWN, attribute};
use crate::speaker::TESTER_AS;

/// What the attribute's RFC has done to the UPDATE.
#[derive(Clone)]
enum Action {
    Discard,
    Withdraw,
    /// Subcode of UPDATE Message Error, and the data where the RFC names it.
    Reset(u8, Option<Vec<u8>>),
}
use Action::{Discard, Reset, Withdraw};

/// What is wrong, where.
enum Spoilt {
    /// Attributes of one type, in the place of any good one of it.
    Attributes(Vec<Attribute>),
    /// The end of the attribute list.
    Tail(Vec<u8>),
    Nlri(Vec<u8>),
}

struct Defect {
    rfc: &'static str,
    name: &'static str,
    action: Action,
    spoilt: Spoilt,
    /// The same attribute as it should be; `None`: there is no such, or a second one ends the session.
    good: Option<Attribute>,
}

impl Defect {
    /// An attribute with a value that is malformed.
    fn value(rfc: &'static str, name: &'static str, action: Action, good: Attribute, bad: &[u8]) -> Defect {
        let bad = Attribute { value: bad.to_vec(), ..good.clone() };
        Defect { rfc, name, action, spoilt: Spoilt::Attributes(vec![bad]), good: Some(good) }
    }

    /// `None`: it is none of an attribute.
    fn code(&self) -> Option<u8> {
        match &self.spoilt {
            Spoilt::Attributes(list) => list.first().map(|attribute| attribute.code),
            Spoilt::Tail(_) | Spoilt::Nlri(_) => None,
        }
    }

    fn apply(&self, draft: &mut Draft) {
        match &self.spoilt {
            Spoilt::Attributes(list) => {
                self.code().into_iter().for_each(|code| draft.remove(code));
                draft.attributes.extend(list.clone());
            }
            Spoilt::Tail(bytes) => draft.tail.extend(bytes),
            Spoilt::Nlri(bytes) => draft.nlri.extend(bytes),
        }
    }

    /// What is seen where the attribute is discarded.
    fn discarded(&self) -> Vec<Seen> {
        let of = |code: u8| match code {
            // An iBGP neighbour is always told a LOCAL_PREF: ours.
            raw::LOCAL_PREF => seen(false, &attribute(WELL_KNOWN, code, &100u32.to_be_bytes())),
            code => unseen(false, code),
        };
        self.code().into_iter().flat_map(|code| [unseen(true, code), of(code)]).collect()
    }

    /// What is seen where the good attribute is taken.
    fn taken(&self, good: &Attribute) -> Vec<Seen> {
        match good.code {
            // Every row asks for the end of the path; next hops are told as our own.
            raw::AS_PATH | raw::NEXT_HOP => vec![],
            // Nothing of another AS, or of a two-octet speaker: over iBGP, from where they are taken, nobody is told them.
            raw::LOCAL_PREF | raw::ORIGINATOR_ID | raw::CLUSTER_LIST | raw::AS4_PATH => self.discarded(),
            raw::MED => vec![unseen(true, raw::MED), seen(false, good)],
            _ => vec![seen(true, good), seen(false, good)],
        }
    }
}

/// One or two defects of each attribute, and of fields, with what is to be done about them from this sender.
fn defects(sender: Sender, victim: Prefix) -> Vec<Defect> {
    let first = if sender.external { TESTER_AS } else { 65300 };
    let transitive = |code: u8, value: &[u8]| attribute(OPTIONAL_TRANSITIVE, code, value);
    let well_known = |code: u8, value: &[u8]| attribute(WELL_KNOWN, code, value);
    let optional = |code: u8, value: &[u8]| attribute(OPTIONAL, code, value);
    // From another AS these are discarded, whatever they hold.
    let internal = if sender.external { Discard } else { Withdraw };
    let good_path = raw::sequence(&[first, AFTER]);
    let bad_path = [raw::sequence(&[first]), raw::segment(9, &[AFTER])].concat();
    let community = [0, 2, 0xff, 0xdc, 0, 0, 0, 1];
    let large = [0, 0, 0xff, 0xdc, 0, 0, 0, 1, 0, 0, 0, 2];
    let mut defects = vec![
        Defect::value("7606 7.1", "ORIGIN 9", Withdraw, well_known(raw::ORIGIN, &[1]), &[9]),
        Defect::value("7606 7.2", "a segment of type 9", Withdraw, well_known(raw::AS_PATH, &good_path), &bad_path),
        Defect::value("7606 7.4", "MED of 3 bytes", Withdraw, optional(raw::MED, &[0, 0, 1, 0]), &[1; 3]),
        Defect::value(
            "7606 7.5",
            "LOCAL_PREF of 3 bytes",
            internal.clone(),
            well_known(raw::LOCAL_PREF, &[1; 4]),
            &[1; 3],
        ),
        Defect::value("7606 7.6", "ATOMIC_AGGREGATE of 1 byte", Discard, well_known(raw::ATOMIC_AGGREGATE, &[]), &[1]),
        Defect::value(
            "7606 7.7",
            "AGGREGATOR of 5 bytes",
            Discard,
            transitive(raw::AGGREGATOR, &[0, 0, 0xfd, 0xe9, 192, 0, 2, 9]),
            &[1; 5],
        ),
        Defect::value("7606 7.8", "COMMUNITIES of 3 bytes", Withdraw, good_communities(), &[1; 3]),
        Defect::value(
            "7606 7.9",
            "ORIGINATOR_ID of 3 bytes",
            internal.clone(),
            optional(raw::ORIGINATOR_ID, &[192, 0, 2, 50]),
            &[1; 3],
        ),
        Defect::value("7606 7.10", "CLUSTER_LIST of 3 bytes", internal, optional(raw::CLUSTER_LIST, &[1; 4]), &[1; 3]),
        Defect::value(
            "7606 7.14",
            "EXTENDED_COMMUNITIES of 7 bytes",
            Withdraw,
            transitive(raw::EXTENDED_COMMUNITIES, &community),
            &community[..7],
        ),
        Defect::value(
            "8092 5",
            "LARGE_COMMUNITY of 11 bytes",
            Withdraw,
            transitive(raw::LARGE_COMMUNITIES, &large),
            &large[..11],
        ),
        Defect::value("9234 5", "OTC of 3 bytes", Withdraw, transitive(raw::OTC, &[0, 0, 0xff, 0xdc]), &[1; 3]),
        // Nothing that a speaker of four-octet AS numbers has to say, which all testers here are.
        Defect::value(
            "6793 4.1",
            "AS4_PATH of 1 byte",
            Discard,
            transitive(raw::AS4_PATH, &raw::sequence(&[70000])),
            &[2],
        ),
    ];
    let good = transitive(raw::IPV6_EXTENDED_COMMUNITIES, &[7; 20]);
    let flags = Attribute { flags: OPTIONAL, ..good.clone() };
    defects.push(of_attributes("7606 3c", "wrong flags of type 25", Withdraw, vec![flags], Some(good)));
    let unknown = well_known(203, &[1, 2]);
    let reset = Reset(2, Some(unknown.bytes()));
    defects.push(of_attributes("4271 6.3", "an unknown well-known attribute", reset, vec![unknown], None));
    // Beside IPv4 prefixes, those of IPv6 are others.
    let prefix = if sender.v6 { victim } else { prefixes(0, true).victim };
    let reach =
        |hop: &[u8]| optional(raw::MP_REACH, &raw::mp_reach(raw::IPV6, raw::UNICAST, hop, &raw::nlri(&[prefix])));
    let twice = vec![reach(&raw::v6("2001:db8::77")); 2];
    defects.push(of_attributes("7606 3g", "MP_REACH_NLRI twice", Reset(1, None), twice, None));
    let long = vec![reach(&[0x20; 17])];
    defects.push(of_attributes("7606 7.11", "a next hop of 17 bytes", Reset(9, None), long, None));
    let unreach = optional(raw::MP_UNREACH, &raw::mp_unreach(raw::IPV6, raw::UNICAST, &[16, 0x20, 9]));
    defects.push(of_attributes("7606 3g", "MP_UNREACH_NLRI twice", Reset(1, None), vec![unreach; 2], None));
    let tail = Spoilt::Tail(vec![OPTIONAL_TRANSITIVE, 210, 9, 1]);
    defects.push(Defect { rfc: "7606 4", name: "an attribute cut off", action: Withdraw, spoilt: tail, good: None });
    if !sender.v6 {
        let hop = well_known(raw::NEXT_HOP, &[192, 0, 2, 78]);
        defects.push(Defect::value("7606 7.3", "NEXT_HOP of 5 bytes", Withdraw, hop, &[1; 5]));
        let (action, spoilt) = (Reset(10, None), Spoilt::Nlri(vec![33, 99, 1, 1, 1, 1]));
        defects.push(Defect { rfc: "7606 5.3", name: "a prefix of 33 bits", action, spoilt, good: None });
    }
    defects
}

fn of_attributes(
    rfc: &'static str,
    name: &'static str,
    action: Action,
    list: Vec<Attribute>,
    good: Option<Attribute>,
) -> Defect {
    Defect { rfc, name, action, spoilt: Spoilt::Attributes(list), good }
}

fn good_communities() -> Attribute {
    attribute(OPTIONAL_TRANSITIVE, raw::COMMUNITIES, &[0xff, 0xdc, 0, 7])
}

/// Behind all attributes that are malformed: the walk does not end with them.
fn witness() -> Attribute {
    attribute(OPTIONAL_TRANSITIVE | PARTIAL, 200, &[1, 2, 3])
}

/// Taken, with this to see and the witness.
fn accepted(mut wanted: Vec<Seen>) -> Expect {
    wanted.extend([seen(true, &witness()), seen(false, &witness())]);
    Expect::Accepted(wanted)
}

/// The strongest action of the two; of two that reset the session either may be named.
fn strongest(first: &Defect, second: &Defect) -> Expect {
    match (&first.action, &second.action) {
        (Reset(..), Reset(..)) => Expect::Reset(3, ANY, None),
        (Reset(subcode, data), _) | (_, Reset(subcode, data)) => Expect::Reset(3, *subcode, data.clone()),
        (Withdraw, _) | (_, Withdraw) => Expect::Withdrawn,
        (Discard, Discard) => accepted([first.discarded(), second.discarded()].concat()),
    }
}

/// The action of one alone, with more to see where that lets the route be.
fn alone(defect: &Defect, more: Vec<Seen>) -> Expect {
    match &defect.action {
        Reset(subcode, data) => Expect::Reset(3, *subcode, data.clone()),
        Withdraw => Expect::Withdrawn,
        Discard => accepted([defect.discarded(), more].concat()),
    }
}

/// The defects as the next row has them: some name its prefix.
fn of_next_row(sender: Sender, rows: &Rows) -> Vec<Defect> {
    defects(sender, rows.next(sender).victim)
}

/// RFC 7606 3h.
fn pairs(sender: Sender) {
    let mut rows = Rows::default();
    let count = of_next_row(sender, &rows).len();
    for (one, other) in (0..count).flat_map(|one| (0..count).map(move |other| (one, other))) {
        let all = of_next_row(sender, &rows);
        let (first, second) = (&all[one], &all[other]);
        // What is wrong with a field comes behind all attributes, so there is one order only.
        let ordered = first.code().is_some() || (second.code().is_none() && one < other);
        if one == other || !ordered || (first.code().is_some() && first.code() == second.code()) {
            continue;
        }
        let name = format!("{} (RFC {}), then {} (RFC {})", first.name, first.rfc, second.name, second.rfc);
        rows.add("7606 3h", name, sender, strongest(first, second), |draft| {
            first.apply(draft);
            second.apply(draft);
            draft.push(witness());
        });
    }
    run(rows);
}

/// RFC 7606 3g: two and three of an attribute, good or bad in any order.
fn again(sender: Sender, rows: &mut Rows) {
    for defect in of_next_row(sender, rows) {
        let (Some(good), Spoilt::Attributes(bad)) = (&defect.good, &defect.spoilt) else { continue };
        let forms = [2, 3].into_iter().flat_map(|count| (1..1 << count).map(move |bits: u8| (count, bits)));
        for (count, bits) in forms {
            let is_bad = |place: u8| bits & (1 << place) != 0;
            let list: Vec<Attribute> =
                (0..count).map(|place| if is_bad(place) { bad[0].clone() } else { good.clone() }).collect();
            let words: Vec<&str> = (0..count).map(|place| if is_bad(place) { "bad" } else { "good" }).collect();
            let expect = if is_bad(0) { alone(&defect, vec![]) } else { accepted(defect.taken(good)) };
            let name = format!("{} (RFC {}): {}", defect.name, defect.rfc, words.join(", "));
            rows.add("7606 3g", name, sender, expect, |draft| {
                draft.remove(good.code);
                draft.attributes.extend(list);
                draft.push(witness());
            });
        }
    }
}

/// RFC 7606 3g and 3h: a defect between two COMMUNITIES, of which the first counts, and one that comes twice.
fn between(sender: Sender, rows: &mut Rows) {
    let good = good_communities();
    let bad = Attribute { value: vec![1; 3], ..good.clone() };
    let count = of_next_row(sender, rows).len();
    for at in 0..count {
        for (first, last) in [(&good, &bad), (&bad, &good)] {
            let all = of_next_row(sender, rows);
            let defect = &all[at];
            if defect.code().is_none_or(|code| code == raw::COMMUNITIES) {
                continue;
            }
            let (how, expect) = match std::ptr::eq(first, &good) {
                true => ("good, then malformed", alone(defect, vec![seen(true, &good), seen(false, &good)])),
                false => {
                    let communities = all.iter().find(|other| other.code() == Some(raw::COMMUNITIES));
                    ("malformed, then good", strongest(communities.expect("it is in the list"), defect))
                }
            };
            let name = format!("{} (RFC {}) between COMMUNITIES that are {how}", defect.name, defect.rfc);
            rows.add("7606 3h", name, sender, expect, |draft| {
                draft.push(first.clone());
                defect.apply(draft);
                draft.push(last.clone());
                draft.push(witness());
            });
        }
    }
}

#[test]
fn pairs_of_defects_over_ebgp() {
    pairs(EBGP);
}

#[test]
fn pairs_of_defects_over_ibgp() {
    pairs(IBGP);
}

#[test]
fn pairs_of_defects_of_ipv6_over_ebgp() {
    pairs(EBGP6);
}

#[test]
fn pairs_of_defects_of_ipv6_over_ibgp() {
    pairs(IBGP6);
}

#[test]
fn attributes_that_come_again() {
    let mut rows = Rows::default();
    for sender in [EBGP, IBGP, EBGP6, IBGP6] {
        again(sender, &mut rows);
        between(sender, &mut rows);
    }
    run(rows);
}
