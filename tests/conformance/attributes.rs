//! Every attribute x what can be wrong with it x from whom: RFC 7606 sections 3, 4, 5 and 7, with RFC 4271 6.3, RFC 4760,
//! RFC 5701, RFC 6793, RFC 7607, RFC 8092 and RFC 9234.

use crate::case::{AFTER, EBGP, EBGP6, Expect, IBGP, IBGP6, Rows, Seen, Sender, run, seen, unseen};
use crate::raw::{
    self, Attribute, EXTENDED, OPTIONAL, OPTIONAL_TRANSITIVE, PARTIAL, TRANSITIVE, WELL_KNOWN, attribute,
};
use crate::speaker::TESTER_AS;

/// What RFC 7606 has done to the UPDATE.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Discard,
    Withdraw,
}
use Action::{Discard, Withdraw};

/// Who is told of the attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Both watchers, unchanged.
    Both,
    /// Neighbours of our own AS only.
    Inside,
    /// Nobody: it is ours to use.
    Nobody,
    /// It says what another row asks.
    Unasked,
}

/// From whom it is taken at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Anyone,
    Internal,
    /// Of the two-octet rows; here every form of it is discarded (RFC 6793 4.1).
    TwoOctet,
}

struct Subject {
    rfc: &'static str,
    name: &'static str,
    code: u8,
    flags: u8,
    from: From,
    reach: Reach,
    /// Two values that are sound.
    good: [Vec<u8>; 2],
    bad: Vec<Vec<u8>>,
    malformed: Action,
}

fn subject(rfc: &'static str, name: &'static str, code: u8, flags: u8, malformed: Action) -> Subject {
    let (from, reach) = (From::Anyone, Reach::Both);
    Subject { rfc, name, code, flags, from, reach, good: Default::default(), bad: Vec::new(), malformed }
}

impl Subject {
    fn from(mut self, from: From, reach: Reach) -> Subject {
        (self.from, self.reach) = (from, reach);
        self
    }

    fn good(mut self, one: &[u8], other: &[u8]) -> Subject {
        self.good = [one.to_vec(), other.to_vec()];
        self
    }

    /// Values of these lengths are malformed.
    fn lengths(mut self, lengths: &[usize]) -> Subject {
        self.bad.extend(lengths.iter().map(|&length| vec![1; length]));
        self
    }

    fn bad(mut self, values: &[&[u8]]) -> Subject {
        self.bad.extend(values.iter().map(|value| value.to_vec()));
        self
    }

    /// Whether it is discarded unseen from this sender.
    fn is_strange(&self, sender: Sender) -> bool {
        match self.from {
            From::Anyone => false,
            From::Internal => sender.external,
            From::TwoOctet => true,
        }
    }

    /// Taken, with this value of it.
    fn accepted(&self, sender: Sender, flags: u8, value: &[u8]) -> Expect {
        if self.is_strange(sender) {
            return self.discarded();
        }
        let whole = attribute(self.flags | (flags & PARTIAL), self.code, value);
        Expect::Accepted(match self.reach {
            Reach::Both => vec![seen(true, &whole), seen(false, &whole)],
            Reach::Inside => vec![unseen(true, self.code), seen(false, &whole)],
            Reach::Nobody => vec![unseen(true, self.code), unseen(false, self.code)],
            Reach::Unasked => vec![],
        })
    }

    /// Taken without it.
    fn discarded(&self) -> Expect {
        // An iBGP neighbour is always told a LOCAL_PREF: ours.
        let inside = match self.code {
            raw::LOCAL_PREF => seen(false, &attribute(WELL_KNOWN, raw::LOCAL_PREF, &100u32.to_be_bytes())),
            code => unseen(false, code),
        };
        Expect::Accepted(vec![unseen(true, self.code), inside])
    }

    fn malformed(&self, sender: Sender) -> Expect {
        match self.malformed {
            _ if self.is_strange(sender) => self.discarded(),
            Discard => self.discarded(),
            Withdraw => Expect::Withdrawn,
        }
    }

    fn rows(&self, sender: Sender, rows: &mut Rows) {
        let Subject { rfc, name, code, flags, .. } = *self;
        let [one, other] = &self.good;
        let mut row = |what: &str, rfc: &'static str, expect: Expect, attributes: Vec<Attribute>| {
            rows.add(rfc, format!("{name}: {what}"), sender, expect, |draft| {
                draft.remove(code);
                draft.attributes.extend(attributes);
            });
        };
        let with = |flags: u8, value: &[u8]| attribute(flags, code, value);
        let declared =
            |value: &[u8], length: usize| Attribute { length: Some(length), ..attribute(flags, code, value) };
        row("good", rfc, self.accepted(sender, 0, one), vec![with(flags, one)]);
        row("another good value", rfc, self.accepted(sender, 0, other), vec![with(flags, other)]);
        row("extended length", "4271 4.3", self.accepted(sender, 0, one), vec![with(flags | EXTENDED, one)]);
        row("unused flags set", "4271 4.3", self.accepted(sender, 0, one), vec![with(flags | 0x0f, one)]);
        if flags == OPTIONAL_TRANSITIVE {
            let expect = self.accepted(sender, PARTIAL, one);
            row("Partial is kept", "4271 5", expect, vec![with(flags | PARTIAL, one)]);
        }
        for flip in [OPTIONAL, TRANSITIVE, OPTIONAL_TRANSITIVE] {
            let expect = if self.is_strange(sender) { self.discarded() } else { Expect::Withdrawn };
            row(&format!("flags {:#04x}", flags ^ flip), "7606 3c", expect, vec![with(flags ^ flip, one)]);
        }
        for value in &self.bad {
            let what = format!("bad value {value:02x?}");
            row(&what, rfc, self.malformed(sender), vec![with(flags, value)]);
            let rest = [with(flags, value), with(flags, one)];
            row(&format!("{what}, then a good one"), "7606 3g", self.malformed(sender), rest.to_vec());
            let rest = [with(flags, one), with(flags, value)];
            row(&format!("good, then a {what}"), "7606 3g", self.accepted(sender, 0, one), rest.to_vec());
        }
        let twice = vec![with(flags, one), with(flags, other)];
        row("twice", "7606 3g", self.accepted(sender, 0, one), twice);
        let rest = vec![declared(one, one.len() + 1)];
        row("cut off: one byte is missing", "7606 4", Expect::Withdrawn, rest);
        row("cut off: 255 declared", "7606 4", Expect::Withdrawn, vec![declared(one, 255)]);
        let long = Attribute { length: Some(65535), ..with(flags | EXTENDED, one) };
        row("cut off: 65535 declared", "7606 4", Expect::Withdrawn, vec![long]);
        for (head, what) in [
            (vec![flags], "only flags are there"),
            (vec![flags, code], "only flags and type are there"),
            (vec![flags | EXTENDED, code, 0], "half of its length is there"),
        ] {
            rows.add("7606 4", format!("{name}: {what}"), sender, Expect::Withdrawn, |draft| {
                draft.remove(code);
                draft.tail = head;
            });
        }
        // In front, with a length that takes in the attribute behind it as well.
        rows.add("7606 3h", format!("{name}: swallows ORIGIN or AS_PATH"), sender, Expect::Withdrawn, |draft| {
            draft.remove(code);
            let behind =
                draft.attributes.iter().position(|a| [raw::ORIGIN, raw::AS_PATH].contains(&a.code)).expect("one");
            let length = one.len() + draft.attributes[behind].bytes().len();
            draft.attributes.insert(behind, Attribute { length: Some(length), ..with(flags, one) });
        });
    }
}

/// The well-known ones, and those that reflectors use.
fn first_subjects(sender: Sender) -> Vec<Subject> {
    let first = if sender.external { TESTER_AS } else { 65300 };
    let head = raw::sequence(&[first]);
    let after = |rest: &[u8]| [&head[..], rest].concat();
    let number = AFTER.to_be_bytes();
    let mut subjects = vec![
        subject("7606 7.1", "ORIGIN", raw::ORIGIN, WELL_KNOWN, Withdraw)
            .good(&[1], &[2])
            .lengths(&[0, 2, 3])
            .bad(&[&[3], &[255]]),
        subject("7606 7.2", "AS_PATH", raw::AS_PATH, WELL_KNOWN, Withdraw)
            .from(From::Anyone, Reach::Unasked)
            .good(&raw::sequence(&[first, AFTER]), &after(&raw::sequence(&[65400, AFTER])))
            .lengths(&[1, 2, 3])
            .bad(&[
                &after(&[0, 1, 0, 0, 0xff, 0xdd]),
                &after(&[5, 1, 0, 0, 0xff, 0xdd]),
                &after(&[255, 1, 0, 0, 0xff, 0xdd]),
                &after(&raw::segment(3, &[AFTER])),
                &after(&raw::segment(4, &[AFTER])),
                &after(&[2, 0]),
                &after(&[1, 0]),
                &after(&[2]),
                &after(&[2, 2, number[0], number[1], number[2], number[3]]),
                &after(&[2, 1, number[0], number[1], number[2]]),
                &after(&[2, 1, number[0], number[1], number[2], number[3], 0]),
                &raw::sequence(&[first, 0, AFTER]),
                &after(&raw::segment(1, &[0, AFTER])),
            ]),
        subject("7606 7.4", "MULTI_EXIT_DISC", raw::MED, OPTIONAL, Withdraw)
            .from(From::Anyone, Reach::Inside)
            .good(&[0, 0, 1, 0], &[255; 4])
            .lengths(&[0, 1, 3, 5, 8]),
        subject("7606 7.5", "LOCAL_PREF", raw::LOCAL_PREF, WELL_KNOWN, Withdraw)
            .from(From::Internal, Reach::Nobody)
            .good(&[0, 0, 1, 0], &[0; 4])
            .lengths(&[0, 1, 3, 5, 8]),
        subject("7606 7.6", "ATOMIC_AGGREGATE", raw::ATOMIC_AGGREGATE, WELL_KNOWN, Discard)
            .good(&[], &[])
            .lengths(&[1, 4]),
        subject("7606 7.7", "AGGREGATOR", raw::AGGREGATOR, OPTIONAL_TRANSITIVE, Discard)
            .good(&[0, 0, 0xfd, 0xe9, 192, 0, 2, 9], &[0, 1, 0, 1, 192, 0, 2, 8])
            .lengths(&[0, 4, 6, 7, 9, 12])
            // RFC 7607 section 2: AS 0.
            .bad(&[&[0, 0, 0, 0, 192, 0, 2, 9]]),
        subject("7606 7.9", "ORIGINATOR_ID", raw::ORIGINATOR_ID, OPTIONAL, Withdraw)
            .from(From::Internal, Reach::Nobody)
            .good(&[192, 0, 2, 50], &[192, 0, 2, 51])
            .lengths(&[0, 3, 5, 8]),
        subject("7606 7.10", "CLUSTER_LIST", raw::CLUSTER_LIST, OPTIONAL, Withdraw)
            .from(From::Internal, Reach::Nobody)
            .good(&[192, 0, 2, 60], &[192, 0, 2, 60, 192, 0, 2, 61])
            .lengths(&[0, 3, 5, 6, 9]),
    ];
    if !sender.v6 {
        subjects.push(
            subject("7606 7.3", "NEXT_HOP", raw::NEXT_HOP, WELL_KNOWN, Withdraw)
                .from(From::Anyone, Reach::Unasked)
                .good(&[192, 0, 2, 78], &[198, 51, 100, 1])
                .lengths(&[0, 1, 3, 5, 8, 16])
                // RFC 4271 6.3: no address of a host.
                .bad(&[&[0; 4], &[224, 0, 0, 1], &[239, 1, 2, 3], &[240, 0, 0, 1], &[255; 4]]),
        );
    }
    subjects
}

/// The optional transitive ones.
fn second_subjects() -> Vec<Subject> {
    vec![
        subject("7606 7.8", "COMMUNITIES", raw::COMMUNITIES, OPTIONAL_TRANSITIVE, Withdraw)
            .good(&[0, 1, 0, 2, 0xff, 0xdc, 0, 7], &[0xff, 0xdc, 0, 8])
            .lengths(&[0, 1, 3, 5, 6, 9]),
        subject("7606 7.14", "EXTENDED COMMUNITIES", raw::EXTENDED_COMMUNITIES, OPTIONAL_TRANSITIVE, Withdraw)
            // An unknown type is no error.
            .good(&[0, 2, 0xff, 0xdc, 0, 0, 0, 1, 0x3f, 0x99, 1, 2, 3, 4, 5, 6], &[0, 3, 0xff, 0xdc, 0, 0, 0, 2])
            .lengths(&[0, 1, 4, 7, 9, 12]),
        subject("6793 4.1", "AS4_PATH", raw::AS4_PATH, OPTIONAL_TRANSITIVE, Discard)
            .from(From::TwoOctet, Reach::Nobody)
            .good(&raw::sequence(&[65010, 70000]), &raw::sequence(&[70000]))
            .lengths(&[0, 1, 5, 7]),
        subject("6793 4.1", "AS4_AGGREGATOR", raw::AS4_AGGREGATOR, OPTIONAL_TRANSITIVE, Discard)
            .from(From::TwoOctet, Reach::Nobody)
            .good(&[0, 1, 0, 1, 192, 0, 2, 8], &[0, 1, 0, 2, 192, 0, 2, 8])
            .lengths(&[0, 6, 7, 9]),
        subject(
            "7606 7.15",
            "IPv6 EXTENDED COMMUNITIES",
            raw::IPV6_EXTENDED_COMMUNITIES,
            OPTIONAL_TRANSITIVE,
            Withdraw,
        )
        .good(&[7; 20], &[9; 40])
        .lengths(&[0, 1, 8, 19, 21, 39]),
        subject("8092 5", "LARGE_COMMUNITY", raw::LARGE_COMMUNITIES, OPTIONAL_TRANSITIVE, Withdraw)
            .good(&[0, 0, 0xff, 0xdc, 0, 0, 0, 1, 0, 0, 0, 2], &[1; 12])
            .lengths(&[0, 1, 4, 11, 13, 20]),
        subject("9234 5", "ONLY_TO_CUSTOMER", raw::OTC, OPTIONAL_TRANSITIVE, Withdraw)
            .good(&[0, 0, 0xff, 0xdc], &[0, 1, 0, 1])
            .lengths(&[0, 1, 3, 5, 8]),
    ]
}

/// RFC 4271 section 5: what nobody knows.
fn unknown(sender: Sender, rows: &mut Rows) {
    let both = |flags: u8, code: u8, value: &[u8]| {
        let whole = attribute(flags, code, value);
        Expect::Accepted(vec![seen(true, &whole), seen(false, &whole)])
    };
    let nobody = |code: u8| Expect::Accepted(vec![unseen(true, code), unseen(false, code)]);
    let partial = OPTIONAL_TRANSITIVE | PARTIAL;
    let long = vec![0xab; 300];
    for (what, flags, value) in [
        ("passed on with Partial", OPTIONAL_TRANSITIVE, vec![1, 2, 3]),
        ("Partial stays", partial, vec![1, 2, 3]),
        ("empty", OPTIONAL_TRANSITIVE, vec![]),
        ("extended length", OPTIONAL_TRANSITIVE | EXTENDED, vec![1]),
        ("unused flags", OPTIONAL_TRANSITIVE | 0x0f, vec![1]),
        ("300 bytes", OPTIONAL_TRANSITIVE, long),
    ] {
        rows.add(
            "4271 5",
            format!("unknown optional transitive: {what}"),
            sender,
            both(partial, 200, &value),
            |draft| {
                draft.push(attribute(flags, 200, &value));
            },
        );
    }
    rows.add("7606 3g", "unknown optional transitive: twice", sender, both(partial, 200, &[1]), |draft| {
        draft.push(attribute(OPTIONAL_TRANSITIVE, 200, &[1]));
        draft.push(attribute(OPTIONAL_TRANSITIVE, 200, &[2, 2]));
    });
    let several: Vec<Seen> = [199, 201, 255]
        .iter()
        .flat_map(|&code| [true, false].map(|external| seen(external, &attribute(partial, code, &[code]))))
        .collect();
    rows.add("4271 5", "several unknown optional transitive", sender, Expect::Accepted(several), |draft| {
        for code in [255, 199, 201] {
            draft.push(attribute(OPTIONAL_TRANSITIVE, code, &[code]));
        }
    });
    for (code, flags, value) in [
        (202, OPTIONAL, &[1u8, 2, 3][..]),
        (202, OPTIONAL, &[]),
        (202, OPTIONAL | PARTIAL, &[1]),
        (raw::AIGP, OPTIONAL, &[1, 0, 11]),
    ] {
        let name = format!("unknown optional non-transitive {code} {flags:#04x} {value:?}");
        rows.add("4271 5", name, sender, nobody(code), |draft| draft.push(attribute(flags, code, value)));
    }
    // What others know, RFC 7606 names, and we make nothing of: its flags have to be right all the same.
    for (rfc, code, right) in
        [("7606 7.13", 24, OPTIONAL), ("7311 3.2", raw::AIGP, OPTIONAL), ("7606 7.16", 128, OPTIONAL_TRANSITIVE)]
    {
        for flip in [OPTIONAL, TRANSITIVE, OPTIONAL_TRANSITIVE] {
            let whole = attribute(right ^ flip, code, &[0, 0, 0xff, 0xdc]);
            let name = format!("attribute {code}: flags {:#04x}", whole.flags);
            let expect = if code == raw::AIGP { nobody(code) } else { Expect::Withdrawn };
            rows.add(rfc, name, sender, expect, |draft| draft.push(whole));
        }
    }
    rows.add("7606 7.16", "ATTR_SET passes", sender, both(partial, 128, &[0, 0, 0xff, 0xdc]), |draft| {
        draft.push(attribute(OPTIONAL_TRANSITIVE, 128, &[0, 0, 0xff, 0xdc]));
    });
    for flags in [WELL_KNOWN, 0] {
        let whole = attribute(flags, 203, &[1, 2]);
        let expect = Expect::Reset(3, 2, Some(whole.bytes()));
        rows.add("4271 6.3", format!("unknown well-known {flags:#04x}"), sender, expect, |draft| draft.push(whole));
    }
}

fn table(senders: &[Sender], subjects: impl Fn(Sender) -> Vec<Subject>) -> Rows {
    let mut rows = Rows::default();
    for &sender in senders {
        for subject in subjects(sender) {
            subject.rows(sender, &mut rows);
        }
    }
    rows
}

#[test]
fn mandatory_and_internal_attributes_over_ipv4() {
    run(table(&[EBGP, IBGP], first_subjects));
}

#[test]
fn mandatory_and_internal_attributes_over_ipv6() {
    run(table(&[EBGP6, IBGP6], first_subjects));
}

#[test]
fn transitive_attributes_over_ipv4() {
    run(table(&[EBGP, IBGP], |_| second_subjects()));
}

#[test]
fn transitive_attributes_over_ipv6() {
    run(table(&[EBGP6, IBGP6], |_| second_subjects()));
}

#[test]
fn attributes_that_nobody_knows() {
    let mut rows = Rows::default();
    for sender in [EBGP, IBGP, EBGP6, IBGP6] {
        unknown(sender, &mut rows);
    }
    run(rows);
}
