//! One row of the UPDATE tables: what is sent, and what the neighbours must then see; and how all of them are run.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::heard::Prefix;
use crate::peer::{LIMIT, Peer};
use crate::raw::{self, Attribute, Draft, Open, WELL_KNOWN, attribute};
use crate::speaker::{AT, OUR_AS, Speaker, TESTER_AS, peer, tester};
use crate::support::in_fresh_netns;
use crate::watcher::Table;

/// The last AS of the path of what was announced before the row's UPDATE, and in it.
const BEFORE: u32 = 65500;
pub const AFTER: u32 = 65501;
/// Rows that are under way at a time.
const AT_ONCE: usize = 24;

/// Who sends the row's UPDATE, and about what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    pub external: bool,
    /// Its prefixes are IPv6, in MP_REACH_NLRI.
    pub v6: bool,
    /// It speaks no four-octet AS numbers.
    pub two_octets: bool,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = if self.external { "eBGP" } else { "iBGP" };
        let family = if self.v6 { "IPv6" } else { "IPv4" };
        write!(f, "{session}, {family}{}", if self.two_octets { ", two-octet AS" } else { "" })
    }
}

pub const EBGP: Sender = Sender { external: true, v6: false, two_octets: false };
pub const IBGP: Sender = Sender { external: false, v6: false, two_octets: false };
pub const EBGP6: Sender = Sender { external: true, v6: true, two_octets: false };
pub const IBGP6: Sender = Sender { external: false, v6: true, two_octets: false };

/// What a watcher must see of the route, once the row's UPDATE has come through.
#[derive(Clone)]
pub struct Seen {
    /// By the eBGP watcher, or by the iBGP one (who sees only what came over eBGP).
    pub external: bool,
    pub code: u8,
    /// Flags and value; `None`: not there.
    pub value: Option<(u8, Vec<u8>)>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.external { "eBGP" } else { "iBGP" };
        match &self.value {
            Some((flags, value)) => write!(f, ", over {by} attribute {} as {flags:02x} {value:02x?}", self.code),
            None => write!(f, ", over {by} without attribute {}", self.code),
        }
    }
}

#[derive(Clone)]
pub enum Expect {
    /// The session stays, and the route is as the UPDATE says, with these attributes.
    Accepted(Vec<Seen>),
    /// Treat-as-withdraw: the session stays, the route is gone.
    Withdrawn,
    /// The session stays, and the route is what it was.
    Unchanged,
    /// The session ends with this code and subcode, and this data where the RFC names it; its routes are gone.
    Reset(u8, u8, Option<Vec<u8>>),
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Accepted(seen) => {
                f.write_str("the new route")?;
                seen.iter().try_for_each(|seen| write!(f, "{seen}"))
            }
            Expect::Withdrawn => f.write_str("treat-as-withdraw"),
            Expect::Unchanged => f.write_str("the route as it was"),
            Expect::Reset(code, ANY, _) => write!(f, "a reset with NOTIFICATION {code}"),
            Expect::Reset(code, subcode, data) => write!(f, "a reset with NOTIFICATION {code}/{subcode} {data:02x?}"),
        }
    }
}

/// The RFC leaves the subcode open.
pub const ANY: u8 = 255;

pub struct Case {
    pub rfc: &'static str,
    pub name: String,
    pub sender: Sender,
    pub draft: Draft,
    pub expect: Expect,
}

/// What a row's sender announces: numbered, so that rows do not meet.
#[derive(Clone, Copy)]
pub struct Prefixes {
    /// What the row is about.
    pub victim: Prefix,
    /// Another route of the same sender, which must stay while its session does.
    pub bystander: Prefix,
    /// Told after the row's UPDATE.
    pub marker: Prefix,
}

pub fn prefixes(number: usize, v6: bool) -> Prefixes {
    let number = u16::try_from(number).expect("not that many");
    let [high, low] = number.to_be_bytes();
    let prefix = |kind: u8| match v6 {
        false => (IpAddr::V4(Ipv4Addr::new(kind, high, low, 0)), 24),
        true => (IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, kind.into(), number, 0, 0, 0, 0)), 64),
    };
    Prefixes { victim: prefix(20), bystander: prefix(30), marker: prefix(40) }
}

/// The attributes of a good route whose path ends in this AS.
pub fn good(sender: Sender, last_as: u32, announced: &[Prefix]) -> Draft {
    let first = if sender.external { TESTER_AS } else { 65300 };
    let path = match sender.two_octets {
        false => raw::sequence(&[first, last_as]),
        true => raw::sequence2(&[first as u16, last_as as u16]),
    };
    let mut draft = Draft::default();
    if sender.v6 {
        let value = raw::mp_reach(raw::IPV6, raw::UNICAST, &raw::v6("2001:db8::77"), &raw::nlri(announced));
        draft.push(attribute(raw::OPTIONAL, raw::MP_REACH, &value));
    } else {
        draft.nlri = raw::nlri(announced);
    }
    draft.push(attribute(WELL_KNOWN, raw::ORIGIN, &[0]));
    draft.push(attribute(WELL_KNOWN, raw::AS_PATH, &path));
    if !sender.v6 {
        draft.push(attribute(WELL_KNOWN, raw::NEXT_HOP, &[192, 0, 2, 77]));
    }
    if !sender.external {
        draft.push(attribute(WELL_KNOWN, raw::LOCAL_PREF, &[0, 0, 0, 200]));
    }
    draft
}

/// Rows in the making: each has its number, and so its prefixes.
#[derive(Default)]
pub struct Rows {
    pub cases: Vec<Case>,
}

impl Rows {
    /// A row whose UPDATE is the good one, changed.
    pub fn add(
        &mut self,
        rfc: &'static str,
        name: impl Into<String>,
        sender: Sender,
        expect: Expect,
        change: impl FnOnce(&mut Draft),
    ) {
        let mut draft = good(sender, AFTER, &[self.next(sender).victim]);
        change(&mut draft);
        self.cases.push(Case { rfc, name: name.into(), sender, draft, expect });
    }

    /// The prefixes of the next row.
    pub fn next(&self, sender: Sender) -> Prefixes {
        prefixes(self.cases.len(), sender.v6)
    }
}

pub fn seen(external: bool, attribute: &Attribute) -> Seen {
    Seen { external, code: attribute.code, value: Some((attribute.flags, attribute.value.clone())) }
}

pub fn unseen(external: bool, code: u8) -> Seen {
    Seen { external, code, value: None }
}

/// Runs all rows against one speaker; panics with every row that failed.
pub fn run(rows: Rows) {
    in_fresh_netns(move || {
        let cases = rows.cases;
        let as_of = |case: &Case| if case.sender.external { TESTER_AS } else { OUR_AS };
        let peers = cases.iter().enumerate().map(|(number, case)| peer(tester(number), as_of(case))).collect();
        let mut speaker = Speaker::start(peers);
        let failed = side_by_side(&cases, |number, case| {
            let outcome = play(&speaker, number, case);
            outcome.map_err(|why| {
                format!("RFC {}: {}: {}: expected {}: {why}", case.rfc, case.sender, case.name, case.expect)
            })
        });
        report(failed, cases.len(), speaker.faults());
    });
}

/// Calls `play` for each row, many at a time; answers what failed, in order.
pub fn side_by_side<T: Sync>(rows: &[T], play: impl Fn(usize, &T) -> Result<(), String> + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(rows.len()) {
            scope.spawn(|| {
                while let Some((number, row)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, rows.get(n)?)))
                {
                    if let Err(why) = play(number, row) {
                        failed.lock().expect("the list").push((number, why));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().expect("the list");
    failed.sort();
    failed.into_iter().map(|(_, why)| why).collect()
}

pub fn report(failed: Vec<String>, rows: usize, faults: Vec<String>) {
    println!("{rows} rows, {} failed", failed.len());
    assert!(
        failed.is_empty() && faults.is_empty(),
        "{} of {rows} rows failed:\n{}\n{}",
        failed.len(),
        failed.join("\n"),
        faults.join("\n")
    );
}

fn play(speaker: &Speaker, number: usize, case: &Case) -> Result<(), String> {
    let sender = case.sender;
    let Prefixes { victim, bystander, marker } = prefixes(number, sender.v6);
    let mut peer = Peer::connect(tester(number), AT)?;
    peer.establish(&open(sender, number))?;
    peer.say(&good(sender, BEFORE, &[victim, bystander]).bytes())?;
    for watcher in speaker.audience(sender.external) {
        watcher.must_see("the routes as they were announced first", victim, |table| {
            ends_in(table, victim, BEFORE) && ends_in(table, bystander, BEFORE)
        })?;
    }
    peer.say(&case.draft.bytes())?;
    if let Expect::Reset(code, subcode, data) = &case.expect {
        let heard = peer.notification()?;
        let named = *subcode == ANY || heard.1 == *subcode;
        if heard.0 != *code || !named || data.as_ref().is_some_and(|data| *data != heard.2) {
            return Err(format!("NOTIFICATION {}/{} with {:02x?}", heard.0, heard.1, heard.2));
        }
        for watcher in speaker.audience(sender.external) {
            watcher.must_see("both routes withdrawn", bystander, |table| {
                !table.routes.contains_key(&victim) && !table.routes.contains_key(&bystander)
            })?;
        }
        return Ok(());
    }
    // A speaker that has ended the session hears no more of this, and that is told below.
    let told = peer.say(&good(sender, BEFORE, &[marker]).bytes());
    for watcher in speaker.audience(sender.external) {
        let external = watcher.external;
        let comes = |table: &Table| {
            let others = ends_in(table, marker, BEFORE) && ends_in(table, bystander, BEFORE);
            others && holds(&case.expect, table, victim, external)
        };
        let end = Instant::now() + LIMIT;
        while !watcher.sees(Duration::from_millis(250), comes) {
            peer.is_up()?;
            told.clone()?;
            if Instant::now() > end {
                let (route, bystander) = (watcher.words(victim), watcher.words(bystander));
                return Err(format!("{} watcher sees {route}, {bystander}", watcher.name()));
            }
        }
    }
    peer.is_up()
}

pub fn open(sender: Sender, number: usize) -> Open {
    let [high, low] = (number as u16).to_be_bytes();
    let id = [198, 18, high, low];
    match (sender.external, sender.two_octets) {
        (true, false) => Open::new(TESTER_AS, id),
        (false, false) => Open::new(OUR_AS, id),
        (external, true) => {
            let capabilities = [raw::multiprotocol(raw::IPV4, 1), raw::multiprotocol(raw::IPV6, 1)].concat();
            Open::with(if external { TESTER_AS } else { OUR_AS }, id, &[raw::parameter(2, &capabilities)])
        }
    }
}

/// Whether the route is there, with a path that ends in this AS (watchers speak four octets).
fn ends_in(table: &Table, prefix: Prefix, last_as: u32) -> bool {
    let path = table.routes.get(&prefix).and_then(|attributes| attributes.get(&raw::AS_PATH));
    path.is_some_and(|(_, path)| path.ends_with(&last_as.to_be_bytes()))
}

fn holds(expect: &Expect, table: &Table, victim: Prefix, external: bool) -> bool {
    match expect {
        Expect::Withdrawn => !table.routes.contains_key(&victim),
        Expect::Unchanged => ends_in(table, victim, BEFORE),
        Expect::Accepted(wanted) => {
            let Some(attributes) = table.routes.get(&victim) else { return false };
            let wanted = wanted.iter().filter(|seen| seen.external == external);
            // A row that has something to say about the path says all of it.
            let says_path = wanted.clone().any(|seen| seen.code == raw::AS_PATH);
            (says_path || ends_in(table, victim, AFTER))
                && wanted.clone().all(|seen| attributes.get(&seen.code) == seen.value.as_ref())
        }
        Expect::Reset(..) => false,
    }
}
