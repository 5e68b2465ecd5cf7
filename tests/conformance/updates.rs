//! UPDATEs as a whole: fields, missing attributes, several faults at once, prefixes and next hops, MP_REACH_NLRI and
//! MP_UNREACH_NLRI, loops (RFC 4271 4.3 and 6.3, RFC 4456, RFC 4724, RFC 4760, RFC 7606 3 and 5).

use std::net::IpAddr;

use crate::case::{AFTER, ANY, EBGP, EBGP6, Expect, IBGP, IBGP6, Rows, Sender, run, seen, unseen};
use crate::raw::{self, Draft, EXTENDED, OPTIONAL, OPTIONAL_TRANSITIVE, TRANSITIVE, WELL_KNOWN, attribute};
use crate::speaker::{OUR_AS, OUR_ID, TESTER_AS, tester};

fn taken() -> Expect {
    Expect::Accepted(vec![])
}

fn first_as(sender: Sender) -> u32 {
    if sender.external { TESTER_AS } else { 65300 }
}

/// Only with attributes as they are, and without a prefix.
fn without_prefixes(draft: &mut Draft) {
    draft.nlri.clear();
    draft.remove(raw::MP_REACH);
}

const BAD_ORIGIN: [u8; 1] = [9];
const BAD_MED: [u8; 3] = [0, 0, 1];
const BAD_AGGREGATOR: [u8; 5] = [1; 5];

fn spoil(draft: &mut Draft, code: u8) {
    draft.put(match code {
        raw::ORIGIN => attribute(WELL_KNOWN, raw::ORIGIN, &BAD_ORIGIN),
        raw::MED => attribute(OPTIONAL, raw::MED, &BAD_MED),
        raw::ATOMIC_AGGREGATE => attribute(WELL_KNOWN, raw::ATOMIC_AGGREGATE, &[0]),
        _ => attribute(OPTIONAL_TRANSITIVE, raw::AGGREGATOR, &BAD_AGGREGATOR),
    });
}

/// RFC 7606 3d, RFC 4271 6.3.
fn missing(sender: Sender, rows: &mut Rows) {
    for code in [raw::ORIGIN, raw::AS_PATH, raw::NEXT_HOP] {
        if code != raw::NEXT_HOP || !sender.v6 {
            rows.add("7606 3d", format!("attribute {code} is missing"), sender, Expect::Withdrawn, |d| d.remove(code));
        }
    }
    rows.add("7606 3d", "all but the prefixes are missing", sender, Expect::Withdrawn, |draft| {
        draft.attributes.retain(|attribute| attribute.code == raw::MP_REACH);
    });
    rows.add("7606 3h", "ORIGIN is missing, AGGREGATOR malformed", sender, Expect::Withdrawn, |draft| {
        draft.remove(raw::ORIGIN);
        spoil(draft, raw::AGGREGATOR);
    });
}

/// RFC 7606 3h: the strongest action wins.
fn several_faults(sender: Sender, rows: &mut Rows) {
    rows.add(
        "7606 3h",
        "two that are discarded",
        sender,
        {
            let codes = [raw::ATOMIC_AGGREGATE, raw::AGGREGATOR];
            Expect::Accepted(codes.iter().flat_map(|&code| [unseen(true, code), unseen(false, code)]).collect())
        },
        |draft| {
            spoil(draft, raw::ATOMIC_AGGREGATE);
            spoil(draft, raw::AGGREGATOR);
        },
    );
    for codes in [[raw::MED, raw::AGGREGATOR], [raw::AGGREGATOR, raw::MED], [raw::ORIGIN, raw::MED]] {
        rows.add("7606 3h", format!("{codes:?} are malformed"), sender, Expect::Withdrawn, |draft| {
            codes.iter().for_each(|&code| spoil(draft, code));
        });
    }
    let unknown = attribute(WELL_KNOWN, 203, &[1]);
    let reset = Expect::Reset(3, 2, Some(unknown.bytes()));
    rows.add("7606 3h", "malformed MED, then an unknown well-known one", sender, reset.clone(), |draft| {
        spoil(draft, raw::MED);
        draft.push(unknown.clone());
    });
    rows.add("7606 3h", "an unknown well-known one, then malformed MED and a cut", sender, reset, |draft| {
        draft.push(unknown.clone());
        spoil(draft, raw::MED);
        draft.tail = vec![0x40, 1, 7];
    });
    rows.add(
        "7606 3h",
        "malformed MED and AGGREGATOR, MP_UNREACH_NLRI twice",
        sender,
        Expect::Reset(3, 1, None),
        |draft| {
            spoil(draft, raw::MED);
            spoil(draft, raw::AGGREGATOR);
            let gone = attribute(OPTIONAL, raw::MP_UNREACH, &raw::mp_unreach(raw::IPV6, 1, &[]));
            draft.attributes.extend([gone.clone(), gone]);
        },
    );
    if !sender.v6 {
        rows.add("7606 3h", "malformed MED and a prefix of 33 bits", sender, Expect::Reset(3, 10, None), |draft| {
            spoil(draft, raw::MED);
            draft.nlri = vec![33, 20, 0, 0, 0, 0];
        });
        rows.add("7606 2", "treated as withdrawn: prefixes of both families", sender, Expect::Withdrawn, |draft| {
            spoil(draft, raw::MED);
            let value = raw::mp_reach(raw::IPV6, 1, &raw::v6("2001:db8::77"), &[64, 0x20, 1, 0xd, 0xb8, 9, 9, 9, 9]);
            draft.attributes.insert(0, attribute(OPTIONAL, raw::MP_REACH, &value));
        });
    }
}

/// RFC 7606 5.2: treat-as-withdraw of what cannot be seen.
fn no_prefixes(sender: Sender, rows: &mut Rows) {
    for code in [raw::ORIGIN, raw::MED] {
        rows.add(
            "7606 5.2",
            format!("attribute {code} malformed, no prefix"),
            sender,
            Expect::Reset(3, ANY, None),
            |draft| {
                without_prefixes(draft);
                spoil(draft, code);
            },
        );
        rows.add(
            "7606 5.2",
            format!("attribute {code} malformed, withdrawn routes"),
            sender,
            Expect::Reset(3, ANY, None),
            |draft| {
                without_prefixes(draft);
                spoil(draft, code);
                draft.withdrawn = vec![24, 99, 1, 1];
            },
        );
        rows.add(
            "7606 5.2",
            format!("attribute {code} malformed, MP_UNREACH_NLRI"),
            sender,
            Expect::Reset(3, ANY, None),
            |draft| {
                without_prefixes(draft);
                spoil(draft, code);
                draft.push(attribute(OPTIONAL, raw::MP_UNREACH, &raw::mp_unreach(raw::IPV6, 1, &[16, 0x20, 9])));
            },
        );
    }
    rows.add("7606 5.2", "cut off, no prefix", sender, Expect::Reset(3, ANY, None), |draft| {
        without_prefixes(draft);
        draft.tail = vec![0x40, 1];
    });
    rows.add("7606 5.2", "only a discarded attribute, no prefix", sender, Expect::Unchanged, |draft| {
        without_prefixes(draft);
        spoil(draft, raw::ATOMIC_AGGREGATE);
    });
    rows.add("4271 4.3", "attributes without prefixes", sender, Expect::Unchanged, without_prefixes);
    rows.add("4271 4.3", "attributes with nothing but withdrawn routes", sender, Expect::Unchanged, |draft| {
        without_prefixes(draft);
        draft.withdrawn = vec![24, 99, 1, 1];
    });
}

/// RFC 4271 6.3 and RFC 7606 3b, 3i, 5.3.
fn fields(sender: Sender, rows: &mut Rows) {
    let list = Expect::Reset(3, 1, None);
    let network = Expect::Reset(3, 10, None);
    for more in [1, 100, 60000] {
        rows.add("7606 3b", format!("withdrawn routes length {more} too large"), sender, list.clone(), |draft| {
            draft.withdrawn_length = Some(draft.body().len() - 4 + more);
        });
        rows.add("7606 3b", format!("total attribute length {more} too large"), sender, list.clone(), |draft| {
            draft.attributes_length = Some(draft.body().len() - 4 + more);
        });
    }
    rows.add("7606 3b", "no room for the total attribute length", sender, list.clone(), |draft| {
        *draft = Draft { withdrawn_length: Some(1), ..Draft::default() };
    });
    rows.add("7606 3b", "both lengths together too large", sender, list, |draft| {
        draft.withdrawn = vec![24, 99, 1, 1];
        draft.attributes_length = Some(draft.body().len() - 7);
    });
    for (what, nlri) in [
        ("33 bits", vec![33, 99, 1, 1, 1, 1]),
        ("255 bits", vec![255, 99, 1, 1, 1, 1]),
        ("cut off", vec![24, 99, 1]),
        ("nothing but a length", vec![8]),
    ] {
        rows.add("7606 5.3", format!("NLRI: {what}"), sender, network.clone(), |draft| draft.nlri.extend(&nlri));
        rows.add("7606 3i", format!("withdrawn routes: {what}"), sender, network.clone(), |draft| {
            draft.withdrawn = nlri
        });
    }
}

fn prefixes(sender: Sender, rows: &mut Rows) {
    let own = rows.next(sender).victim;
    rows.add("4271 4.3", "withdrawn", sender, Expect::Withdrawn, |draft| {
        *draft = Draft { withdrawn: raw::nlri(&[own]), ..Draft::default() };
    });
    let own = rows.next(sender).victim;
    rows.add("4760 4", "withdrawn by MP_UNREACH_NLRI of IPv4", sender, Expect::Withdrawn, |draft| {
        *draft = Draft::default();
        draft.push(attribute(OPTIONAL, raw::MP_UNREACH, &raw::mp_unreach(raw::IPV4, 1, &raw::nlri(&[own]))));
    });
    let own = rows.next(sender).victim;
    rows.add("4760 3", "announced by MP_REACH_NLRI of IPv4", sender, taken(), |draft| {
        draft.nlri.clear();
        draft.remove(raw::NEXT_HOP);
        let value = raw::mp_reach(raw::IPV4, 1, &[192, 0, 2, 77], &raw::nlri(&[own]));
        draft.attributes.insert(0, attribute(OPTIONAL, raw::MP_REACH, &value));
    });
    let own = rows.next(sender).victim;
    rows.add(
        "8950 4",
        "IPv4 with an IPv6 next hop that nobody negotiated",
        sender,
        Expect::Reset(3, 9, None),
        |draft| {
            draft.nlri.clear();
            let value = raw::mp_reach(raw::IPV4, 1, &raw::v6("2001:db8::77"), &raw::nlri(&[own]));
            draft.attributes.insert(0, attribute(OPTIONAL, raw::MP_REACH, &value));
        },
    );
    let own = rows.next(sender).victim;
    rows.add("4271 4.3", "withdrawn and announced", sender, taken(), |draft| draft.withdrawn = raw::nlri(&[own]));
    let own = rows.next(sender).victim;
    rows.add("4271 4.3", "announced twice", sender, taken(), |draft| draft.nlri.extend(raw::nlri(&[own])));
    rows.add("4271 4.3", "withdrawn: what was never announced", sender, Expect::Unchanged, |draft| {
        *draft = Draft { withdrawn: vec![24, 99, 1, 1, 0], ..Draft::default() };
    });
    for (what, nlri) in [("multicast", vec![8, 224]), ("loopback", vec![8, 127])] {
        rows.add("4271 6.3", format!("a {what} prefix beside it is ignored"), sender, taken(), |draft| {
            draft.nlri.extend(&nlri);
        });
    }
    let number = rows.cases.len();
    rows.add("4271 4.1", "4096 bytes", sender, taken(), |draft| {
        let [high, low] = (number as u16).to_be_bytes();
        // A /24 takes four bytes, a /32 five.
        let left = 4096 - draft.bytes().len();
        let networks = (5 - left % 5) % 5;
        for network in 0..networks {
            draft.nlri.extend([24, 80 + network as u8, high, low]);
        }
        for host in 0..(left - 4 * networks) / 5 {
            draft.nlri.extend([32, 60 + (host / 250) as u8, high, low, (host % 250) as u8]);
        }
        assert_eq!(draft.bytes().len(), 4096);
    });
    for (what, next_hop, expect) in [
        // RFC 4271 6.3 b: a network that both share, be it a host's loopback; but ours is nobody's way to anywhere.
        ("the sender's", address(tester(rows.cases.len())), taken()),
        ("ours", [127, 0, 0, 1], Expect::Withdrawn),
        ("another of the loopback, which both share", [127, 99, 0, 1], taken()),
        ("0.1.2.3", [0, 1, 2, 3], Expect::Withdrawn),
    ] {
        rows.add("4271 6.3", format!("NEXT_HOP: {what}"), sender, expect, |draft| {
            draft.put(attribute(WELL_KNOWN, raw::NEXT_HOP, &next_hop));
        });
    }
}

fn address(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => unreachable!("testers have IPv4 addresses"),
    }
}

/// End-of-RIB, and what nobody negotiated (RFC 4724 section 2, RFC 4760 section 6).
fn families(sender: Sender, rows: &mut Rows) {
    rows.add("4724 2", "End-of-RIB of IPv4", sender, Expect::Unchanged, |draft| *draft = Draft::default());
    for (what, afi, safi) in
        [("IPv6", raw::IPV6, 1), ("IPv4 by MP_UNREACH_NLRI", raw::IPV4, 1), ("another family", 25, 70)]
    {
        rows.add("4724 2", format!("End-of-RIB of {what}"), sender, Expect::Unchanged, |draft| {
            *draft = Draft::default();
            draft.push(attribute(OPTIONAL, raw::MP_UNREACH, &raw::mp_unreach(afi, safi, &[])));
        });
    }
    for (afi, safi, next_hop) in
        [(25, 70, &[192, 0, 2, 77][..]), (1, 2, &[192, 0, 2, 77]), (1, 128, &[0; 12]), (2, 2, &[7; 16]), (99, 1, &[])]
    {
        if !sender.v6 {
            rows.add("4760 7", format!("MP_REACH_NLRI of {afi}/{safi} beside it"), sender, taken(), |draft| {
                let value = raw::mp_reach(afi, safi, next_hop, &[1, 2, 3, 4]);
                draft.attributes.insert(0, attribute(OPTIONAL, raw::MP_REACH, &value));
            });
        }
        rows.add("4760 7", format!("MP_REACH_NLRI of {afi}/{safi} alone"), sender, Expect::Unchanged, |draft| {
            draft.nlri.clear();
            draft.remove(raw::NEXT_HOP);
            draft.put(attribute(OPTIONAL, raw::MP_REACH, &raw::mp_reach(afi, safi, next_hop, &[1, 2, 3, 4])));
        });
        rows.add("4760 7", format!("MP_UNREACH_NLRI of {afi}/{safi}"), sender, Expect::Unchanged, |draft| {
            *draft = Draft::default();
            draft.push(attribute(OPTIONAL, raw::MP_UNREACH, &raw::mp_unreach(afi, safi, &[1, 2, 3, 4])));
        });
    }
}

/// RFC 4271 9.1.2, 5.1.2 and 6.3, RFC 4456 section 8, RFC 7607.
fn paths(sender: Sender, rows: &mut Rows) {
    let first = first_as(sender);
    let head = raw::sequence(&[first]);
    let path = |rest: &[u8]| attribute(WELL_KNOWN, raw::AS_PATH, &[&head[..], rest].concat());
    let whole = |numbers: &[u32]| attribute(WELL_KNOWN, raw::AS_PATH, &raw::sequence(numbers));
    let mut row = |rfc: &'static str, what: &str, expect: Expect, path| {
        rows.add(rfc, what, sender, expect, |draft| draft.put(path));
    };
    row("4271 9.1.2", "our AS in the path", Expect::Withdrawn, path(&raw::sequence(&[OUR_AS, AFTER])));
    row("4271 9.1.2", "our AS in a set", Expect::Withdrawn, path(&raw::segment(1, &[AFTER, OUR_AS])));
    let long: Vec<u32> = (0..254).map(|number| 66000 + number).collect();
    row(
        "4271 5.1.2",
        "a sequence that is full",
        taken(),
        path(&[raw::sequence(&long), raw::sequence(&[AFTER])].concat()),
    );
    let set = raw::segment(1, &[65400, AFTER]);
    let told = |external: bool, ours: &[u32], rest: &[u8]| {
        seen(external, &attribute(WELL_KNOWN, raw::AS_PATH, &[raw::sequence(ours), rest.to_vec()].concat()))
    };
    let expect = vec![told(true, &[OUR_AS, first], &set), told(false, &[first], &set)];
    row("4271 5.1.2", "a set at the end", Expect::Accepted(expect), path(&set));
    let expect = vec![told(true, &[OUR_AS, first, AFTER], &[]), told(false, &[first, AFTER], &[])];
    row("4271 5.1.2", "ours comes first over eBGP", Expect::Accepted(expect), whole(&[first, AFTER]));
    let full: Vec<u32> = (0..255).map(|number| 66000 + number).collect();
    let full = raw::sequence(&full);
    let expect = vec![told(true, &[OUR_AS, first], &full), told(false, &[first], &full)];
    row("4271 5.1.2", "sequences behind one another", Expect::Accepted(expect), path(&full));
    let other = whole(&[65333, AFTER]);
    row(
        "4271 6.3",
        "the first AS is not the sender's",
        if sender.external { Expect::Withdrawn } else { taken() },
        other,
    );
    let empty = match sender.external {
        true => Expect::Withdrawn,
        false => Expect::Accepted(vec![told(true, &[OUR_AS], &[])]),
    };
    row("4271 5.1.2", "an empty path", empty, attribute(WELL_KNOWN, raw::AS_PATH, &[]));
    let ours = attribute(OPTIONAL, raw::ORIGINATOR_ID, &OUR_ID);
    let expect =
        if sender.external { Expect::Accepted(vec![unseen(false, raw::ORIGINATOR_ID)]) } else { Expect::Withdrawn };
    row("4456 8", "we are the originator", expect, ours);
}

/// RFC 4271 5.1.3: an external neighbour hears of us, an internal one of the next hop as it came.
fn next_hops(sender: Sender, rows: &mut Rows) {
    for hop in [[192, 0, 2, 77], [198, 51, 100, 7], address(tester(rows.cases.len() + 2))] {
        let whole = |hop: &[u8]| attribute(WELL_KNOWN, raw::NEXT_HOP, hop);
        let expect = Expect::Accepted(vec![seen(true, &whole(&[127, 0, 0, 1])), seen(false, &whole(&hop))]);
        rows.add("4271 5.1.3", format!("NEXT_HOP {hop:?}"), sender, expect, |draft| draft.put(whole(&hop)));
    }
}

/// RFC 4360 section 6, RFC 1997.
fn across_the_border(sender: Sender, rows: &mut Rows) {
    let transitive = [0, 2, 0xff, 0xdc, 0, 0, 0, 1];
    let within = [0x40, 4, 0xff, 0xdc, 0, 0, 0, 1];
    let whole = |value: &[u8]| attribute(OPTIONAL_TRANSITIVE, raw::EXTENDED_COMMUNITIES, value);
    let both = [transitive, within].concat();
    let expect = vec![seen(true, &whole(&transitive)), seen(false, &whole(&both))];
    rows.add(
        "4360 6",
        "a non-transitive extended community stays in the AS",
        sender,
        Expect::Accepted(expect),
        |draft| {
            draft.push(whole(&both));
        },
    );
    let expect = vec![unseen(true, raw::EXTENDED_COMMUNITIES), seen(false, &whole(&within))];
    rows.add("4360 6", "nothing but a non-transitive one", sender, Expect::Accepted(expect), |draft| {
        draft.push(whole(&within))
    });
}

/// All of it, in any order (RFC 4271 section 5).
fn order(sender: Sender, rows: &mut Rows) {
    let more = [
        attribute(WELL_KNOWN, raw::ATOMIC_AGGREGATE, &[]),
        attribute(OPTIONAL_TRANSITIVE, raw::AGGREGATOR, &[0, 0, 0xfd, 0xe9, 192, 0, 2, 9]),
        attribute(OPTIONAL_TRANSITIVE, raw::COMMUNITIES, &[0xff, 0xdc, 0, 7]),
        attribute(OPTIONAL_TRANSITIVE, raw::EXTENDED_COMMUNITIES, &[0, 2, 0xff, 0xdc, 0, 0, 0, 1]),
        attribute(OPTIONAL_TRANSITIVE, raw::LARGE_COMMUNITIES, &[0, 0, 0xff, 0xdc, 0, 0, 0, 1, 0, 0, 0, 2]),
    ];
    let all = more.iter().flat_map(|attribute| [seen(true, attribute), seen(false, attribute)]).collect();
    let expect: Expect = Expect::Accepted(all);
    rows.add("4271 5", "all at once", sender, expect.clone(), |draft| draft.attributes.extend(more.clone()));
    rows.add("4271 5", "all at once, backwards", sender, expect.clone(), |draft| {
        draft.attributes.extend(more.clone());
        draft.attributes.reverse();
    });
    rows.add("4271 4.3", "all at once, with extended length", sender, expect, |draft| {
        draft.attributes.extend(more.clone());
        draft.attributes.iter_mut().for_each(|attribute| attribute.flags |= EXTENDED);
    });
}

/// RFC 4760, RFC 2545, RFC 7606 5.3, 7.11 and 7.12.
fn multiprotocol(sender: Sender, rows: &mut Rows) {
    let incorrect = Expect::Reset(3, 9, None);
    let hop = raw::v6("2001:db8::77");
    for code in [raw::MP_REACH, raw::MP_UNREACH] {
        let name = if code == raw::MP_REACH { "MP_REACH_NLRI" } else { "MP_UNREACH_NLRI" };
        for flip in [OPTIONAL, TRANSITIVE, OPTIONAL_TRANSITIVE] {
            let flags = OPTIONAL ^ flip;
            let own = rows.next(sender).victim;
            rows.add("7606 3c", format!("{name}: flags {flags:#04x}"), sender, Expect::Withdrawn, |draft| {
                if code == raw::MP_UNREACH {
                    *draft = Draft::default();
                    draft.push(attribute(flags, code, &raw::mp_unreach(raw::IPV6, 1, &raw::nlri(&[own]))));
                }
                draft.get(code).flags = flags;
            });
            let reset = Expect::Reset(3, ANY, None);
            rows.add("7606 3j", format!("{name}: flags {flags:#04x}, unreadable"), sender, reset.clone(), |draft| {
                put_unreach(draft, code);
                draft.get(code).flags = flags;
                draft.get(code).value.extend([64, 0x20, 1, 0xd]);
            });
            rows.add("7606 5.2", format!("{name}: flags {flags:#04x}, no prefix"), sender, reset, |draft| {
                put_unreach(draft, code);
                let keep = if code == raw::MP_REACH { 21 } else { usize::MAX };
                draft.get(code).value.truncate(keep);
                draft.get(code).flags = flags;
                draft.attributes.retain(|attribute| attribute.code == code || attribute.code != raw::MP_REACH);
            });
        }
        for length in 0..if code == raw::MP_REACH { 5 } else { 3 } {
            rows.add("7606 5.3", format!("{name}: {length} bytes"), sender, incorrect.clone(), |draft| {
                put_unreach(draft, code);
                draft.get(code).value.truncate(length);
            });
        }
        for more in [vec![129, 0x20, 1], vec![255], vec![64, 0x20, 1, 0xd]] {
            rows.add("7606 5.3", format!("{name}: with {more:02x?} as a prefix"), sender, incorrect.clone(), |draft| {
                put_unreach(draft, code);
                draft.get(code).value.extend(&more);
            });
        }
        for (what, more) in [("one byte is missing", 1), ("much is missing", 200)] {
            rows.add("7606 3j", format!("{name}: cut off, {what}"), sender, incorrect.clone(), |draft| {
                put_unreach(draft, code);
                let mut last = draft.get(code).clone();
                last.length = Some(last.value.len() + more);
                draft.remove(code);
                draft.push(last);
            });
        }
        rows.add("7606 3g", format!("{name}: twice"), sender, Expect::Reset(3, 1, None), |draft| {
            put_unreach(draft, code);
            let again = draft.get(code).clone();
            draft.push(again);
        });
        rows.add("4271 4.3", format!("{name}: unused flags and extended length"), sender, taken(), |draft| {
            put_unreach(draft, code);
            draft.get(code).flags |= 0x3f;
        });
        rows.add("7606 5.1", format!("{name}: behind all others"), sender, taken(), |draft| {
            put_unreach(draft, code);
            let last = draft.get(code).clone();
            draft.remove(code);
            draft.push(last);
        });
    }
    let reach = |draft: &mut Draft, hop: &[u8], own| {
        draft.get(raw::MP_REACH).value = raw::mp_reach(raw::IPV6, 1, hop, &raw::nlri(&[own]));
    };
    for length in [0, 1, 4, 8, 12, 15, 17, 24, 31, 33, 48, 255] {
        let own = rows.next(sender).victim;
        rows.add("7606 7.11", format!("next hop of {length} bytes"), sender, incorrect.clone(), |draft| {
            reach(draft, &vec![0x20; length], own);
        });
    }
    let link_local = raw::v6("fe80::77");
    for (what, hop, expect) in [
        ("with a link-local one", [hop, link_local].concat(), taken()),
        ("unspecified", vec![0; 16], Expect::Withdrawn),
        ("multicast", raw::v6("ff02::1").to_vec(), Expect::Withdrawn),
        ("loopback", raw::v6("::1").to_vec(), Expect::Withdrawn),
    ] {
        let own = rows.next(sender).victim;
        rows.add("4271 6.3", format!("next hop {what}"), sender, expect, |draft| reach(draft, &hop, own));
    }
    let own = rows.next(sender).victim;
    let whole = |hop: &[u8]| attribute(OPTIONAL, raw::MP_REACH, &raw::mp_reach(raw::IPV6, 1, hop, &raw::nlri(&[own])));
    let expect = vec![seen(true, &whole(&raw::v6("::1"))), seen(false, &whole(&hop))];
    rows.add("4271 5.1.3", "next hop as it is told on", sender, Expect::Accepted(expect), |draft| {
        // Like no other row's, whose prefixes would be told in the same MP_REACH_NLRI.
        draft.push(attribute(OPTIONAL_TRANSITIVE, raw::COMMUNITIES, &[0xff, 0x78, 0x51, 0x13]));
    });
    let own = rows.next(sender).victim;
    rows.add("4760 3", "the reserved octet is no matter", sender, taken(), |draft| {
        reach(draft, &hop, own);
        draft.get(raw::MP_REACH).value[20] = 0xff;
    });
    rows.add("4760 3", "MP_REACH_NLRI without prefixes", sender, Expect::Unchanged, |draft| {
        draft.get(raw::MP_REACH).value.truncate(21);
    });
    rows.add(
        "7606 5.2",
        "MP_REACH_NLRI without prefixes, malformed ORIGIN",
        sender,
        Expect::Reset(3, ANY, None),
        |draft| {
            draft.get(raw::MP_REACH).value.truncate(21);
            spoil(draft, raw::ORIGIN);
        },
    );
    let own = rows.next(sender).victim;
    let gone = |own| attribute(OPTIONAL, raw::MP_UNREACH, &raw::mp_unreach(raw::IPV6, 1, &raw::nlri(&[own])));
    rows.add("4760 4", "withdrawn", sender, Expect::Withdrawn, |draft| {
        *draft = Draft::default();
        draft.push(gone(own));
    });
    let own = rows.next(sender).victim;
    rows.add("4760 4", "withdrawn, with other attributes", sender, Expect::Withdrawn, |draft| {
        draft.remove(raw::MP_REACH);
        draft.push(gone(own));
    });
    let own = rows.next(sender).victim;
    rows.add("4760 4", "withdrawn and announced", sender, taken(), |draft| draft.push(gone(own)));
}

/// Another route is withdrawn as well, where the row is about MP_UNREACH_NLRI.
fn put_unreach(draft: &mut Draft, code: u8) {
    if code == raw::MP_UNREACH {
        draft.push(attribute(OPTIONAL, code, &raw::mp_unreach(raw::IPV6, 1, &[16, 0x20, 9])));
    }
}

#[test]
fn updates_as_a_whole() {
    let mut rows = Rows::default();
    for sender in [EBGP, IBGP] {
        for part in [missing, several_faults, no_prefixes, fields, prefixes, families, paths, next_hops] {
            part(sender, &mut rows);
        }
        for part in [across_the_border, order] {
            part(sender, &mut rows);
        }
    }
    for sender in [EBGP6, IBGP6] {
        for part in [missing, several_faults, no_prefixes, families, paths, across_the_border, order, multiprotocol] {
            part(sender, &mut rows);
        }
    }
    run(rows);
}
