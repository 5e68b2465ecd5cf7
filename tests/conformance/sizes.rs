//! Messages of exactly 4096 bytes, in and out, and with a byte more (RFC 4271 4.1 and 9.2): what comes is taken, or is a
//! header error; what would be told, with what the speaker adds, is told, or withdrawn where an older version was told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;

use crate::case::{self, AFTER, EBGP, EBGP6, Expect, IBGP, IBGP6, Rows, Sender, good, seen};
use crate::heard::Prefix;
use crate::peer::Peer;
use crate::raw::{self, Attribute, Draft, EXTENDED, OPTIONAL, OPTIONAL_TRANSITIVE, PARTIAL, WELL_KNOWN, attribute};
use crate::script::{self, Scripts, Stage, ends};
use crate::speaker::{OUR_AS, TESTER_AS};
use crate::watcher::Table;

/// RFC 4271 4.1: the most that a message has.
const MOST: usize = 4096;
/// Attributes that nobody knows: one that is passed on, and one that ends here (RFC 4271 section 5).
const PASSED: u8 = 200;
const DROPPED: u8 = 202;

const SET: u8 = 1;
const SEQUENCE: u8 = 2;
/// What the count of a segment can say (RFC 4271 4.3).
const SEGMENT: usize = 255;
/// The data of the NOTIFICATION about a message with a byte more (RFC 4271 6.1).
const TOO_LONG: [u8; 2] = 4097u16.to_be_bytes();
const SENDERS: [Sender; 4] = [EBGP, IBGP, EBGP6, IBGP6];
/// Type and numbers of each segment.
type Path = Vec<(u8, Vec<u32>)>;

fn bytes_of(path: &Path) -> Vec<u8> {
    path.iter().flat_map(|(kind, numbers)| raw::segment(*kind, numbers)).collect()
}

/// RFC 4271 5.1.2 b: into the first segment, or into a new one where that is a set, or full.
fn prepended(mut path: Path) -> Path {
    match path.first_mut() {
        Some((SEQUENCE, numbers)) if numbers.len() < SEGMENT => numbers.insert(0, OUR_AS),
        _ => path.insert(0, (SEQUENCE, vec![OUR_AS])),
    }
    path
}

/// A segment with so many numbers, that begins with this one where it is named, and ends in [`AFTER`].
fn segment(kind: u8, first: Option<u32>, count: usize) -> (u8, Vec<u32>) {
    let mut numbers: Vec<u32> = (66000..).take(count - 1).chain([AFTER]).collect();
    first.into_iter().for_each(|first| numbers[0] = first);
    (kind, numbers)
}

fn family(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}

fn first_as(external: bool) -> u32 {
    if external { TESTER_AS } else { 65300 }
}

/// Puts an attribute behind the others whose value makes the message so long.
fn fill(draft: &mut Draft, flags: u8, code: u8, length: usize) {
    draft.push(attribute(flags | EXTENDED, code, &[]));
    let left = length.checked_sub(draft.bytes().len()).expect("room for it");
    draft.get(code).value = vec![0xab; left];
    assert_eq!(draft.bytes().len(), length);
}

/// Host routes that are this row's own.
fn hosts(row: u8, count: u16, v6: bool) -> Vec<Prefix> {
    let host = |number: u16| match (v6, number.to_be_bytes()) {
        (false, [high, low]) => (IpAddr::from(Ipv4Addr::new(100, row, high, low)), 32),
        (true, _) => (Ipv6Addr::new(0x2001, 0xdb8, 100, row.into(), 0, 0, 0, number).into(), 128),
    };
    (0..count).map(host).collect()
}

/// Of what comes with 4096 bytes, what is told is shorter where the rest is in an attribute that ends here, or a LOCAL_PREF.
#[test]
fn updates_that_come_with_4096_bytes_and_with_one_more() {
    let too_long = || Expect::Reset(1, 2, Some(TOO_LONG.to_vec()));
    let communities: Vec<u8> = (0..975u32).flat_map(|number| (0xffdc_0000 + number).to_be_bytes()).collect();
    let mut rows = Rows::default();
    for sender in SENDERS {
        let full = |first: Option<u32>| segment(SEQUENCE, first, SEGMENT);
        let path = vec![full(Some(first_as(sender.external))), full(None), segment(SET, None, 200), full(None)];
        let long = [
            ("an unknown attribute", attribute(OPTIONAL_TRANSITIVE | PARTIAL, PASSED, &[7; 3900])),
            ("communities", attribute(OPTIONAL_TRANSITIVE, raw::COMMUNITIES, &communities)),
            ("segments of a path", attribute(WELL_KNOWN, raw::AS_PATH, &bytes_of(&path))),
        ];
        for length in [MOST, MOST + 1] {
            for (what, long) in &long {
                // Every row asks for the end of the path.
                let seen = [true, false].map(|external| seen(external, long));
                let seen = if long.code == raw::AS_PATH { vec![] } else { seen.to_vec() };
                let expect = if length > MOST { too_long() } else { Expect::Accepted(seen) };
                rows.add("4271 4.1", format!("{length} bytes, most of them {what}"), sender, expect, |draft| {
                    draft.put(long.clone());
                    fill(draft, OPTIONAL, DROPPED, length);
                });
            }
            let expect = match (length, sender.external) {
                (MOST, false) => Expect::Accepted(vec![]),
                // It is taken in the place of the one before, and nobody can be told it (9.2).
                (MOST, true) => Expect::Withdrawn,
                _ => too_long(),
            };
            rows.add("4271 4.1", format!("{length} bytes that are all passed on"), sender, expect, |draft| {
                fill(draft, OPTIONAL_TRANSITIVE, PASSED, length);
            });
        }
    }
    case::run(rows);
}

fn ends_in(table: &Table, prefix: Prefix, last_as: u32) -> bool {
    let path = table.routes.get(&prefix).and_then(|attributes| attributes.get(&raw::AS_PATH));
    path.is_some_and(|(_, path)| path.ends_with(&last_as.to_be_bytes()))
}

fn unreachable(prefixes: &[Prefix], v6: bool) -> Draft {
    let mut draft = Draft::default();
    match v6 {
        false => draft.withdrawn = raw::nlri(prefixes),
        true => {
            let value = raw::mp_unreach(raw::IPV6, raw::UNICAST, &raw::nlri(prefixes));
            draft.push(attribute(OPTIONAL | EXTENDED, raw::MP_UNREACH, &value));
        }
    }
    draft
}

fn is_gone(table: &Table, prefix: Prefix) -> bool {
    !table.routes.contains_key(&prefix)
}

/// Those who hear of the sender see that it holds of all these.
fn all(
    stage: &Stage<'_>,
    sender: Sender,
    prefixes: &[Prefix],
    what: &str,
    holds: impl Fn(&Table, Prefix) -> bool,
) -> Result<(), String> {
    let holds = |table: &Table| prefixes.iter().all(|prefix| holds(table, *prefix));
    let what = format!("all of {} {what}", prefixes.len());
    stage.speaker.audience(sender.external).try_for_each(|watcher| watcher.must_see(&what, prefixes[0], holds))
}

#[test]
fn prefixes_that_come_and_go_in_messages_of_4096_bytes() {
    let mut scripts = Scripts::default();
    for (row, sender) in (0..).zip(SENDERS) {
        let name = format!("as many of {} as there is room for, and one of a byte more", family(sender.v6));
        scripts.add("4271 4.1", name, sender.external, move |stage| {
            let mut peer = stage.establish()?;
            // To withdraw these takes a message up to its last three bytes, which are a prefix of 16 bits.
            let mut prefixes = hosts(row, if sender.v6 { 239 } else { 814 }, sender.v6);
            prefixes.push(prefix(row, 16, sender.v6));
            for some in prefixes.chunks(prefixes.len() / 2) {
                let mut draft = good(sender, AFTER, some);
                fill(&mut draft, OPTIONAL, DROPPED, MOST);
                peer.say(&draft.bytes())?;
            }
            all(stage, sender, &prefixes, "told", |table, prefix| ends_in(table, prefix, AFTER))?;
            let withdrawal = unreachable(&prefixes, sender.v6).bytes();
            assert_eq!(withdrawal.len(), MOST);
            peer.say(&withdrawal)?;
            all(stage, sender, &prefixes, "withdrawn", is_gone)?;
            stage.still_up(&mut peer)?;
            prefixes.push(prefix(row, 0, sender.v6));
            peer.say(&unreachable(&prefixes, sender.v6).bytes())?;
            ends(&mut peer, 1, 2, Some(&TOO_LONG))?;
            stage.is_gone()
        });
    }
    script::run(scripts);
}

/// A route that nearly fills a message.
#[derive(Clone)]
struct Route {
    sender: Sender,
    prefix: Prefix,
    path: Path,
    med: bool,
}

impl Route {
    /// As it comes, with a value of so many bytes in an attribute that is passed on.
    fn comes(&self, bytes: usize) -> Draft {
        let mut draft = good(self.sender, AFTER, &[self.prefix]);
        draft.put(attribute(WELL_KNOWN, raw::AS_PATH, &bytes_of(&self.path)));
        // An internal neighbour should say one; but then what is told externally were no longer than what comes.
        draft.remove(raw::LOCAL_PREF);
        if self.med {
            draft.push(attribute(OPTIONAL, raw::MED, &[0, 0, 0, 9]));
        }
        draft.push(attribute(OPTIONAL_TRANSITIVE, PASSED, &vec![7; bytes]));
        assert!(draft.bytes().len() <= MOST);
        draft
    }

    /// As this watcher has to be told it (RFC 4271 5.1.2, 5.1.4 and 5.1.5; section 5 for Partial).
    fn told(&self, bytes: usize, external: bool) -> Draft {
        let mut draft = self.comes(bytes);
        draft.get(PASSED).flags |= PARTIAL;
        if external {
            draft.put(attribute(WELL_KNOWN, raw::AS_PATH, &bytes_of(&prepended(self.path.clone()))));
            draft.remove(raw::MED);
        } else {
            draft.push(attribute(WELL_KNOWN, raw::LOCAL_PREF, &100u32.to_be_bytes()));
        }
        if self.sender.v6 {
            // A length of two octets, which is the speaker's choice.
            draft.get(raw::MP_REACH).flags |= EXTENDED;
        }
        draft
    }

    /// The value with which this watcher is told a message of 4096 bytes.
    fn exact(&self, external: bool) -> usize {
        let any = 300;
        any + MOST - self.told(any, external).bytes().len()
    }

    /// Whether it is there as it has to be told; next hops apart, which take as many bytes whatever they are.
    fn is_seen(&self, table: &Table, bytes: usize, external: bool) -> bool {
        let Some(attributes) = table.routes.get(&self.prefix) else { return false };
        let told = self.told(bytes, external).attributes;
        let as_told = |told: &Attribute| {
            let next_hop = [raw::NEXT_HOP, raw::MP_REACH].contains(&told.code);
            let wanted = (told.flags & !EXTENDED, told.value.clone());
            attributes.get(&told.code).is_some_and(|there| next_hop || *there == wanted)
        };
        attributes.len() == told.len() && told.iter().all(as_told)
    }
}

/// Announces a version of these routes, and another route behind them: those of the routes that fit are seen, the others
/// are gone, and so goes on whatever else there is.
fn version(stage: &Stage<'_>, peer: &mut Peer, routes: &[Route], bytes: usize, number: u32) -> Result<(), String> {
    let external = routes[0].sender.external;
    let of_each = |watcher| routes.iter().map(move |route| (watcher, route));
    let each = stage.speaker.audience(external).flat_map(of_each);
    let before: Vec<_> = each.map(|(watcher, route)| (watcher, route, watcher.announced(route.prefix))).collect();
    for route in routes {
        peer.say(&route.comes(bytes).bytes())?;
    }
    let (bystander, marker) = (stage.prefixes().victim, stage.prefixes().marker);
    peer.say(&good(if external { EBGP } else { IBGP }, number, &[marker]).bytes())?;
    for (watcher, route, announced) in before {
        let length = route.told(bytes, watcher.external).bytes().len();
        let what = format!("version {number}, which takes {length} bytes");
        watcher.must_see(&what, route.prefix, |table| {
            let others = ends_in(table, marker, number) && table.routes.contains_key(&bystander);
            let as_wanted = match length {
                ..=MOST => route.is_seen(table, bytes, watcher.external),
                _ => is_gone(table, route.prefix),
            };
            others && as_wanted
        })?;
        if length > MOST && watcher.announced(route.prefix) != announced {
            return Err(format!("{what}, was told, and withdrawn behind that"));
        }
    }
    peer.is_up()
}

/// Versions of the routes up to what one watcher is told in 4096 bytes, and beyond, there and back.
fn versions(stage: &Stage<'_>, routes: &[Route], bytes: usize) -> Result<(), String> {
    let mut peer = stage.establish()?;
    for (number, bytes) in (1..).zip([10, bytes + 1, bytes, bytes + 1, 10]) {
        version(stage, &mut peer, routes, bytes, number)?;
    }
    let prefixes: Vec<Prefix> = routes.iter().map(|route| route.prefix).collect();
    let sender = routes[0].sender;
    peer.say(&unreachable(&prefixes, sender.v6).bytes())?;
    all(stage, sender, &prefixes, "withdrawn", is_gone)
}

/// The prefix of this length that is the row's own.
fn prefix(row: u8, length: u8, v6: bool) -> Prefix {
    match v6 {
        false => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            let address = u32::from_be_bytes([128 + row, 0x55, 0x55, 0x55]) & mask;
            (Ipv4Addr::from(address).into(), length)
        }
        true => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            let address = u128::from(Ipv6Addr::new(0x2a00 + u16::from(row), 0x55, 0x55, 0x55, 0, 0, 0, 0x55)) & mask;
            (Ipv6Addr::from(address).into(), length)
        }
    }
}

/// A row of each shape of a route, to each watcher for whom it grows, and each of these lengths of a prefix of IPv4 and IPv6.
fn shapes(mut row: impl FnMut(String, Vec<Route>, bool), lengths: [&[u8]; 2]) {
    const TO_BOTH: &[bool] = &[true, false];
    let (theirs, ours) = (Some(first_as(true)), Some(first_as(false)));
    let shapes: [(bool, &str, Path, bool, &[bool]); 9] = [
        (true, "a short path", vec![segment(SEQUENCE, theirs, 2)], false, TO_BOTH),
        // With our own, it needs two octets for its length as well.
        (true, "a path of 63", vec![segment(SEQUENCE, theirs, 63)], false, TO_BOTH),
        (true, "a full segment", vec![segment(SEQUENCE, theirs, SEGMENT)], false, TO_BOTH),
        // Which ends here over eBGP, so that what is told there is shorter than what comes.
        (true, "a MED", vec![segment(SEQUENCE, theirs, 2)], true, &[false]),
        (false, "a short path", vec![segment(SEQUENCE, ours, 2)], false, &[true]),
        (false, "no path", vec![], false, &[true]),
        (false, "a set", vec![segment(SET, ours, 2)], false, &[true]),
        (false, "a set of 63", vec![segment(SET, ours, 63)], false, &[true]),
        (false, "a full segment", vec![segment(SEQUENCE, ours, SEGMENT)], false, &[true]),
    ];
    let all = shapes.into_iter().flat_map(|shape| shape.4.iter().map(move |target| (shape.clone(), *target)));
    for (number, ((external, what, path, med, _), target)) in (0..).zip(all) {
        for (v6, lengths) in [(false, lengths[0]), (true, lengths[1])] {
            let sender = Sender { external, v6, two_octets: false };
            let of = |length: &u8| Route { sender, prefix: prefix(number, *length, v6), path: path.clone(), med };
            let name = format!("{} with {what}, to the {} watcher", family(v6), if target { "eBGP" } else { "iBGP" });
            row(name, lengths.iter().map(of).collect(), target);
        }
    }
}

#[test]
fn routes_that_are_told_in_4096_bytes_and_not_in_one_more() {
    let mut scripts = Scripts::default();
    let each = |name: String, routes: Vec<Route>, target: bool| {
        for route in routes {
            let name = format!("{name}, /{}", route.prefix.1);
            scripts.add("4271 9.2", name, route.sender.external, move |stage| {
                versions(stage, std::slice::from_ref(&route), route.exact(target))
            });
        }
    };
    shapes(each, [&[8, 24, 32], &[48, 128]]);
    // With one path, those prefixes are told that are short enough.
    let together = |name: String, routes: Vec<Route>, target: bool| {
        scripts.add("4271 9.2", format!("{name}, several lengths"), routes[0].sender.external, move |stage| {
            versions(stage, &routes, routes[1].exact(target))
        });
    };
    shapes(together, [&[16, 17, 24, 25], &[56, 57, 64, 65]]);
    script::run(scripts);
}

/// One for all rows, so they take turns; and in no UPDATE with others, in which tshark takes it for a path identifier.
#[test]
fn default_routes_that_are_told_in_4096_bytes_and_not_in_one_more() {
    static CLEAN: Mutex<bool> = Mutex::new(true);
    let mut scripts = Scripts::default();
    let each = |name: String, routes: Vec<Route>, target: bool| {
        scripts.add("4271 9.2", format!("{name}, /0"), routes[0].sender.external, move |stage| {
            let mut clean = CLEAN.lock().expect("the turn");
            if !std::mem::replace(&mut *clean, false) {
                return Err("not tried, since a row before it failed".to_string());
            }
            versions(stage, &routes, routes[0].exact(target))?;
            stage.is_gone()?;
            *clean = true;
            Ok(())
        });
    };
    shapes(each, [&[0], &[0]]);
    script::run(scripts);
}

/// Prefixes of one path, in as many messages as they need.
#[test]
fn many_prefixes_of_one_path() {
    let mut scripts = Scripts::default();
    for (place, sender) in (0..).zip(SENDERS) {
        let path = vec![segment(SEQUENCE, Some(first_as(sender.external)), 2)];
        let one = Route { sender, prefix: hosts(0, 1, sender.v6)[0], path, med: false };
        // With 2000 bytes beside them, and with so many that what the one who is told most is told holds one of them.
        for (row, bytes, count, at_once) in [
            (2 * place, 2000, if sender.v6 { 1500 } else { 3000 }, 100),
            (2 * place + 1, one.exact(!sender.external), 150, 1),
        ] {
            let name = format!("{count} prefixes of {} with {bytes} bytes beside them", family(sender.v6));
            scripts.add("4271 9.2", name, sender.external, move |stage| {
                let mut peer = stage.establish()?;
                let prefixes = hosts(row, count, sender.v6);
                for some in prefixes.chunks(at_once) {
                    let mut draft = good(sender, AFTER, some);
                    draft.remove(raw::LOCAL_PREF);
                    draft.push(attribute(OPTIONAL_TRANSITIVE, PASSED, &vec![row; bytes]));
                    peer.say(&draft.bytes())?;
                }
                all(stage, sender, &prefixes, "told", |table, prefix| ends_in(table, prefix, AFTER))?;
                for some in prefixes.chunks(200) {
                    peer.say(&unreachable(some, sender.v6).bytes())?;
                }
                all(stage, sender, &prefixes, "withdrawn", is_gone)?;
                stage.still_up(&mut peer)
            });
        }
    }
    script::run(scripts);
}
