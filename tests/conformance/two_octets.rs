//! Speakers of two-octet AS numbers (RFC 6793): what is made of what they say, and what they are told.

use std::time::Duration;

use crate::case::{self, AFTER, Expect, Rows, Sender, good, prefixes, run, seen, unseen};
use crate::heard::Prefix;
use crate::peer::Peer;
use crate::raw::{
    self, OPTIONAL, OPTIONAL_TRANSITIVE, TRANSITIVE, WELL_KNOWN, attribute, segment, segment2, sequence, sequence2,
};
use crate::speaker::{AT, OUR_AS, Speaker, TESTER_AS, peer, tester};
use crate::support::in_fresh_netns;
use crate::watcher::Watcher;

const AS_TRANS: u16 = 23456;
const WIDE: u32 = 70000;

fn senders() -> [Sender; 4] {
    [case::EBGP, case::IBGP, case::EBGP6, case::IBGP6].map(|sender| Sender { two_octets: true, ..sender })
}

fn path_of(sender: Sender, rest: &[u16]) -> raw::Attribute {
    let first = if sender.external { TESTER_AS } else { 65300 } as u16;
    attribute(WELL_KNOWN, raw::AS_PATH, &sequence2(&[&[first], rest].concat()))
}

/// What both watchers see of the path: these numbers, behind ours where we come first.
fn told(rest: &[u8], numbers: &[u32]) -> Vec<case::Seen> {
    let path = |numbers: &[u32]| attribute(WELL_KNOWN, raw::AS_PATH, &[sequence(numbers), rest.to_vec()].concat());
    vec![seen(true, &path(&[&[OUR_AS], numbers].concat())), seen(false, &path(numbers))]
}

fn rows_of(sender: Sender, rows: &mut Rows) {
    let first = if sender.external { TESTER_AS } else { 65300 };
    let as4 = |value: &[u8]| attribute(OPTIONAL_TRANSITIVE, raw::AS4_PATH, value);
    let as4_aggregator = |value: &[u8]| attribute(OPTIONAL_TRANSITIVE, raw::AS4_AGGREGATOR, value);
    let aggregator = |number: u16| {
        let [high, low] = number.to_be_bytes();
        attribute(OPTIONAL_TRANSITIVE, raw::AGGREGATOR, &[high, low, 192, 0, 2, 9])
    };
    let wide_aggregator = [&WIDE.to_be_bytes()[..], &[192, 0, 2, 8]].concat();
    let mut row = |rfc: &'static str, what: &str, expect: Expect, attributes: Vec<raw::Attribute>| {
        rows.add(rfc, what, sender, expect, |draft| attributes.into_iter().for_each(|attribute| draft.put(attribute)));
    };
    row(
        "6793 4.2.3",
        "a path of two octets",
        Expect::Accepted(told(&[], &[first, 65400, AFTER])),
        vec![path_of(sender, &[65400, AFTER as u16])],
    );
    for (what, path, as4_path, expected) in [
        ("AS4_PATH as long as AS_PATH", vec![AS_TRANS], vec![first, WIDE], vec![first, WIDE]),
        ("AS4_PATH shorter: the rest comes from AS_PATH", vec![65400, AS_TRANS], vec![WIDE], vec![first, 65400, WIDE]),
        ("AS4_PATH longer is ignored", vec![AS_TRANS], vec![first, 65400, WIDE], vec![first, AS_TRANS.into()]),
    ] {
        let attributes = vec![path_of(sender, &path), as4(&sequence(&as4_path))];
        row("6793 4.2.3", what, Expect::Accepted(told(&[], &expected)), attributes.clone());
        row(
            "4271 5",
            &format!("{what}, backwards"),
            Expect::Accepted(told(&[], &expected)),
            attributes.into_iter().rev().collect(),
        );
    }
    let set = segment(1, &[65400, WIDE]);
    let path =
        attribute(WELL_KNOWN, raw::AS_PATH, &[sequence2(&[first as u16]), segment2(1, &[65400, AS_TRANS])].concat());
    row("6793 4.2.3", "a set counts as one", Expect::Accepted(told(&set, &[first])), vec![path, as4(&set)]);
    let confederation = [segment(3, &[65401]), segment(4, &[65402]), sequence(&[first, WIDE])].concat();
    row(
        "6793 6",
        "AS4_PATH: confederation segments are dropped",
        Expect::Accepted(told(&[], &[first, WIDE])),
        vec![path_of(sender, &[AS_TRANS]), as4(&confederation)],
    );
    let plain = told(&[], &[first, AS_TRANS.into()]);
    for bad in [
        vec![],
        vec![2],
        vec![2, 0],
        vec![2, 1, 0, 1, 0x11],
        vec![2, 2, 0, 1, 0x11, 0x70],
        vec![2, 1, 0, 1, 0x11, 0x70, 0],
        vec![7, 1, 0, 1, 0x11, 0x70],
        // RFC 7607 section 2.
        vec![2, 1, 0, 0, 0, 0],
    ] {
        row(
            "6793 6",
            &format!("malformed AS4_PATH {bad:02x?}"),
            Expect::Accepted(plain.clone()),
            vec![path_of(sender, &[AS_TRANS]), as4(&bad)],
        );
    }
    for flags in [OPTIONAL, TRANSITIVE, 0] {
        row(
            "7606 3c",
            &format!("AS4_PATH with flags {flags:#04x}"),
            Expect::Withdrawn,
            vec![path_of(sender, &[AS_TRANS]), attribute(flags, raw::AS4_PATH, &sequence(&[first, WIDE]))],
        );
        row(
            "7606 3c",
            &format!("AS4_AGGREGATOR with flags {flags:#04x}"),
            Expect::Withdrawn,
            vec![aggregator(AS_TRANS), attribute(flags, raw::AS4_AGGREGATOR, &wide_aggregator)],
        );
    }
    let both = |attribute: &raw::Attribute| vec![seen(true, attribute), seen(false, attribute)];
    let wide = attribute(OPTIONAL_TRANSITIVE, raw::AGGREGATOR, &wide_aggregator);
    let known = |number: u32| {
        attribute(OPTIONAL_TRANSITIVE, raw::AGGREGATOR, &[&number.to_be_bytes()[..], &[192, 0, 2, 9]].concat())
    };
    row("6793 4.2.3", "AGGREGATOR of two octets", Expect::Accepted(both(&known(65400))), vec![aggregator(65400)]);
    row(
        "6793 4.2.3",
        "AGGREGATOR is AS_TRANS",
        Expect::Accepted(both(&wide)),
        vec![aggregator(AS_TRANS), as4_aggregator(&wide_aggregator)],
    );
    let ignored = [both(&known(65400)), plain.clone()].concat();
    row(
        "6793 4.2.3",
        "AGGREGATOR is not AS_TRANS: both AS4 are ignored",
        Expect::Accepted(ignored),
        vec![
            path_of(sender, &[AS_TRANS]),
            aggregator(65400),
            as4_aggregator(&wide_aggregator),
            as4(&sequence(&[first, WIDE])),
        ],
    );
    let alone =
        [vec![unseen(true, raw::AGGREGATOR), unseen(false, raw::AGGREGATOR)], told(&[], &[first, WIDE])].concat();
    row(
        "6793 4.2.3",
        "AS4_AGGREGATOR without AGGREGATOR",
        Expect::Accepted(alone),
        vec![path_of(sender, &[AS_TRANS]), as4_aggregator(&wide_aggregator), as4(&sequence(&[first, WIDE]))],
    );
    for length in [0, 4, 6, 7, 9] {
        row(
            "6793 6",
            &format!("AS4_AGGREGATOR of {length} bytes"),
            Expect::Accepted(both(&known(AS_TRANS.into()))),
            vec![aggregator(AS_TRANS), as4_aggregator(&vec![1; length])],
        );
    }
    for length in [0, 4, 5, 7, 8] {
        let bad = attribute(OPTIONAL_TRANSITIVE, raw::AGGREGATOR, &vec![1; length]);
        row(
            "7606 7.7",
            &format!("AGGREGATOR of {length} bytes"),
            Expect::Accepted(vec![unseen(true, raw::AGGREGATOR), unseen(false, raw::AGGREGATOR)]),
            vec![bad],
        );
    }
    let four = attribute(WELL_KNOWN, raw::AS_PATH, &sequence(&[first, AFTER]));
    row("7606 7.2", "AS_PATH of four octets", Expect::Withdrawn, vec![four]);
}

#[test]
fn what_two_octet_speakers_say() {
    let mut rows = Rows::default();
    for sender in senders() {
        rows_of(sender, &mut rows);
    }
    run(rows);
}

/// Waits for the route, and answers these attributes of it.
fn attributes(watcher: &Watcher, prefix: Prefix, codes: [u8; 4]) -> Result<[Option<Vec<u8>>; 4], String> {
    let found = std::cell::RefCell::new(None);
    watcher.must_see("the route", prefix, |table| {
        let route = table.routes.get(&prefix);
        *found.borrow_mut() = route.map(|route| codes.map(|code| route.get(&code).map(|(_, value)| value.clone())));
        route.is_some()
    })?;
    Ok(found.into_inner().expect("it is there"))
}

#[test]
fn what_two_octet_speakers_are_told() {
    in_fresh_netns(|| {
        let neighbors = vec![peer(tester(0), TESTER_AS), peer(tester(1), 65021), peer(tester(2), OUR_AS)];
        let mut speaker = Speaker::start(neighbors);
        let old = |as_number: u32, low: u8| raw::Open::with(as_number, [192, 0, 2, low], &[]);
        let outside = Watcher::start(tester(1), AT, &old(65021, 31), true);
        let inside = Watcher::start(tester(2), AT, &old(OUR_AS, 32), false);
        let mut sender = Peer::connect(tester(0), AT).expect("a connection");
        sender.establish(&case::open(case::EBGP, 0)).expect("a session");
        let codes = [raw::AS_PATH, raw::AS4_PATH, raw::AGGREGATOR, raw::AS4_AGGREGATOR];
        let ours = OUR_AS as u16;
        let (first, wide) = (TESTER_AS as u16, WIDE.to_be_bytes());
        let mut failed = Vec::new();
        for (number, (path, aggregator, paths, as4_paths, aggregators)) in [
            (
                sequence(&[TESTER_AS, 65400]),
                [&65400u32.to_be_bytes()[..], &[192, 0, 2, 9]].concat(),
                [sequence2(&[ours, first, 65400]), sequence2(&[first, 65400])],
                [None, None],
                [Some([&65400u16.to_be_bytes()[..], &[192, 0, 2, 9]].concat()), None],
            ),
            (
                sequence(&[TESTER_AS, WIDE]),
                [&wide[..], &[192, 0, 2, 9]].concat(),
                [sequence2(&[ours, first, AS_TRANS]), sequence2(&[first, AS_TRANS])],
                [Some(sequence(&[OUR_AS, TESTER_AS, WIDE])), Some(sequence(&[TESTER_AS, WIDE]))],
                [
                    Some([&AS_TRANS.to_be_bytes()[..], &[192, 0, 2, 9]].concat()),
                    Some([&wide[..], &[192, 0, 2, 9]].concat()),
                ],
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let prefix = prefixes(number, false).victim;
            let mut draft = good(case::EBGP, AFTER, &[prefix]);
            draft.put(attribute(WELL_KNOWN, raw::AS_PATH, &path));
            draft.put(attribute(OPTIONAL_TRANSITIVE, raw::AGGREGATOR, &aggregator));
            sender.say(&draft.bytes()).expect("it is up");
            for (watcher, path, as4_path) in [(&outside, &paths[0], &as4_paths[0]), (&inside, &paths[1], &as4_paths[1])]
            {
                let expected = [Some(path.clone()), as4_path.clone(), aggregators[0].clone(), aggregators[1].clone()];
                match attributes(watcher, prefix, codes) {
                    Ok(found) if found == expected => {}
                    Ok(found) => failed.push(format!(
                        "RFC 6793 4.2.2: {}: expected {expected:02x?}, found {found:02x?}",
                        watcher.name()
                    )),
                    Err(why) => failed.push(why),
                }
            }
        }
        assert!(outside.sees(Duration::ZERO, |table| table.end_of_rib.contains(&1)), "it has heard End-of-RIB");
        let mut faults = speaker.faults();
        faults.extend([outside.faults(), inside.faults()].concat());
        case::report(failed, 4, faults);
    });
}
