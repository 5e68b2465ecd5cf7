//! Several paths of one prefix from one neighbour (RFC 7911): each identifier is a route of its own, and NLRI without one, or
//! with a part of one, cannot be read. The watchers hear the best path, whose end names it.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::case;
use crate::heard::Prefix;
use crate::peer::Peer;
use crate::raw::{
    self, Draft, IPV4, IPV6, OPTIONAL, Open, UNICAST, WELL_KNOWN, attribute, capability, multiprotocol, parameter,
};
use crate::script::{Scripts, Stage, ends, run};
use crate::speaker::{OUR_AS, TESTER_AS};

const RECEIVES: u8 = 1;
const SENDS: u8 = 2;

/// Says that it can do this in both families, or that it has this capability.
fn open(stage: &Stage<'_>, external: bool, value: &[u8]) -> Open {
    let as_number = if external { TESTER_AS } else { OUR_AS };
    let list = [
        multiprotocol(IPV4, UNICAST),
        multiprotocol(IPV6, UNICAST),
        capability(65, &as_number.to_be_bytes()),
        capability(69, value),
    ];
    Open::with(as_number, stage.open().id, &[parameter(2, &list.concat())])
}

fn both(mode: u8) -> Vec<u8> {
    vec![0, 1, 1, mode, 0, 2, 1, mode]
}

/// The victim of the stage, in either family.
fn victim(stage: &Stage<'_>, v6: bool) -> Prefix {
    match stage.prefixes().victim.0 {
        IpAddr::V4(address) if v6 => {
            let [_, high, low, _] = address.octets();
            case::prefixes(u16::from_be_bytes([high, low]).into(), true).victim
        }
        _ => stage.prefixes().victim,
    }
}

/// As NLRI, under this identifier.
fn under(id: u32, prefix: Prefix) -> Vec<u8> {
    [&id.to_be_bytes()[..], &raw::nlri(&[prefix])].concat()
}

/// Its routes are announced by this NLRI, with a path that is the longer the less it is wanted, and ends in `last`.
fn announce(external: bool, v6: bool, last: u32, length: usize, nlri: &[u8]) -> Draft {
    let sender = case::Sender { external, v6, two_octets: false };
    let mut draft = case::good(sender, last, &[]);
    let first = if external { TESTER_AS } else { 65300 };
    let path = [vec![first], vec![65400; length], vec![last]].concat();
    draft.put(attribute(WELL_KNOWN, raw::AS_PATH, &raw::sequence(&path)));
    match v6 {
        true => draft.get(raw::MP_REACH).value = raw::mp_reach(IPV6, UNICAST, &raw::v6("2001:db8::77"), nlri),
        false => draft.nlri = nlri.to_vec(),
    }
    draft
}

fn withdraw(v6: bool, nlri: &[u8]) -> Draft {
    let mut draft = Draft::default();
    match v6 {
        true => draft.push(attribute(OPTIONAL, raw::MP_UNREACH, &raw::mp_unreach(IPV6, UNICAST, nlri))),
        false => draft.withdrawn = nlri.to_vec(),
    }
    draft
}

/// The watchers have the path that ends in this AS; `None`: no path.
fn best(stage: &Stage<'_>, external: bool, route: Prefix, wanted: Option<u32>) -> Result<(), String> {
    stage.speaker.audience(external).try_for_each(|watcher| {
        watcher.must_see(&format!("a path that ends in {wanted:?}"), route, |table| {
            let path = table.routes.get(&route).and_then(|attributes| attributes.get(&raw::AS_PATH));
            path.and_then(|(_, path)| path.last_chunk()).map(|last| u32::from_be_bytes(*last)) == wanted
        })
    })
}

/// One conversation of an established session with identifiers.
struct Talk<'a, 'b> {
    stage: &'a Stage<'b>,
    peer: Peer,
    external: bool,
    v6: bool,
    route: Prefix,
}

impl<'a, 'b> Talk<'a, 'b> {
    fn start(stage: &'a Stage<'b>, external: bool, v6: bool) -> Result<Talk<'a, 'b>, String> {
        let mut peer = stage.connect()?;
        peer.establish(&open(stage, external, &both(SENDS)))?;
        Ok(Talk { stage, peer, external, v6, route: victim(stage, v6) })
    }

    fn announces(&mut self, id: u32, last: u32, length: usize) -> Result<(), String> {
        self.peer.say(&announce(self.external, self.v6, last, length, &under(id, self.route)).bytes())
    }

    fn withdraws(&mut self, id: u32) -> Result<(), String> {
        self.peer.say(&withdraw(self.v6, &under(id, self.route)).bytes())
    }

    fn best(&mut self, wanted: impl Into<Option<u32>>) -> Result<(), String> {
        best(self.stage, self.external, self.route, wanted.into())?;
        self.peer.is_up()
    }
}

fn receive() -> Value {
    json!({"addPaths": {"receive": true}})
}

type Conversation = fn(&mut Talk<'_, '_>) -> Result<(), String>;

const CONVERSATIONS: [(&str, &str, Conversation); 8] = [
    ("7911 3", "three paths, withdrawn from the best on", |talk| {
        for (id, last) in [(0, 65501), (1, 65502), (u32::MAX, 65503)] {
            talk.announces(id, last, last as usize - 65500)?;
        }
        for (id, last) in [(0, 65501), (1, 65502), (u32::MAX, 65503)] {
            talk.best(last)?;
            talk.withdraws(id)?;
        }
        talk.best(None)
    }),
    ("7911 3", "three paths, withdrawn from the worst on", |talk| {
        for (id, last) in [(7, 65503), (0, 65502), (u32::MAX, 65501)] {
            talk.announces(id, last, last as usize - 65500)?;
            talk.best(last)?;
        }
        talk.withdraws(7)?;
        talk.withdraws(0)?;
        // Behind them, so that they have been looked at.
        talk.announces(7, 65504, 9)?;
        talk.withdraws(u32::MAX)?;
        talk.best(65504)?;
        talk.withdraws(7)?;
        talk.best(None)
    }),
    ("7911 5", "one that replaces the path of its identifier", |talk| {
        talk.announces(3, 65501, 0)?;
        talk.announces(3, 65502, 5)?;
        talk.best(65502)?;
        talk.withdraws(3)?;
        talk.best(None)
    }),
    ("7911 5", "an identifier that was never announced is withdrawn", |talk| {
        talk.announces(3, 65501, 1)?;
        talk.withdraws(4)?;
        talk.announces(5, 65502, 0)?;
        talk.best(65502)?;
        talk.withdraws(5)?;
        talk.best(65501)
    }),
    ("7911 3", "two identifiers in one UPDATE", |talk| {
        let nlri = [under(1, talk.route), under(2, talk.route)].concat();
        talk.peer.say(&announce(talk.external, talk.v6, 65501, 0, &nlri).bytes())?;
        talk.best(65501)?;
        talk.withdraws(1)?;
        talk.announces(3, 65503, 5)?;
        talk.best(65501)?;
        talk.withdraws(2)?;
        talk.best(65503)
    }),
    ("4271 4.3", "one identifier twice in one UPDATE", |talk| {
        let nlri = [under(1, talk.route), under(1, talk.route)].concat();
        talk.peer.say(&announce(talk.external, talk.v6, 65501, 0, &nlri).bytes())?;
        talk.best(65501)?;
        talk.withdraws(1)?;
        talk.best(None)
    }),
    ("7911 3", "one is withdrawn beside the news of another", |talk| {
        talk.announces(1, 65501, 0)?;
        talk.best(65501)?;
        let mut draft = announce(talk.external, talk.v6, 65502, 3, &under(2, talk.route));
        let gone = withdraw(talk.v6, &under(1, talk.route));
        draft.withdrawn = gone.withdrawn;
        draft.attributes.extend(gone.attributes);
        talk.peer.say(&draft.bytes())?;
        talk.best(65502)
    }),
    ("7606 2", "one is malformed: the others stay", |talk| {
        talk.announces(1, 65501, 0)?;
        talk.announces(2, 65502, 3)?;
        talk.best(65501)?;
        let mut draft = announce(talk.external, talk.v6, 65501, 0, &under(1, talk.route));
        draft.put(attribute(WELL_KNOWN, raw::ORIGIN, &[9]));
        talk.peer.say(&draft.bytes())?;
        talk.best(65502)
    }),
];

#[test]
fn several_paths_of_a_prefix() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        for v6 in [false, true] {
            for (rfc, name, talk) in CONVERSATIONS {
                let name = format!("{name}, {}", if v6 { "IPv6" } else { "IPv4" });
                scripts.add_with(rfc, name, external, receive(), move |stage| {
                    talk(&mut Talk::start(stage, external, v6)?)
                });
            }
        }
    }
    run(scripts);
}

/// RFC 7606 5.3 and 3j, of NLRI as RFC 7911 section 3 has it.
#[test]
fn prefixes_that_cannot_be_read() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        for v6 in [false, true] {
            let bits = if v6 { 128 } else { 32 };
            for (what, nlri) in [
                ("a part of an identifier", vec![0, 0, 0]),
                ("an identifier alone", vec![0, 0, 0, 1]),
                ("one bit too many", [vec![0, 0, 0, 1, bits + 1], vec![0x20; 17]].concat()),
                ("cut off", vec![0, 0, 0, 1, 24, 0x20]),
                ("no identifier", vec![16, 10, 1]),
                ("the second has no identifier", vec![0, 0, 0, 1, 16, 0x20, 1, 16, 0x20, 2]),
            ] {
                for withdrawn in [false, true] {
                    let field = if withdrawn { "withdrawn" } else { "announced" };
                    let name = format!("{what}, {field}, {}", if v6 { "IPv6" } else { "IPv4" });
                    let nlri = nlri.clone();
                    scripts.add_with("7606 5.3", name, external, receive(), move |stage| {
                        let mut talk = Talk::start(stage, external, v6)?;
                        talk.announces(1, 65501, 0)?;
                        talk.best(65501)?;
                        let draft = match withdrawn {
                            true => withdraw(v6, &nlri),
                            false => announce(external, v6, 65501, 0, &nlri),
                        };
                        talk.peer.say(&draft.bytes())?;
                        ends(&mut talk.peer, 3, if v6 { 9 } else { 10 }, None)?;
                        best(stage, external, talk.route, None)
                    });
                }
            }
        }
    }
    run(scripts);
}

/// RFC 7911 section 4 and 5: without both ends' word NLRI is what it always was.
#[test]
fn identifiers_that_were_not_agreed_on() {
    let mut scripts = Scripts::default();
    let mut row = |name: &str, ours: Value, theirs: Vec<u8>, with_ids: [bool; 2]| {
        for external in [true, false] {
            let theirs = theirs.clone();
            scripts.add_with("7911 5", name, external, ours.clone(), move |stage| {
                let mut peer = stage.connect()?;
                peer.establish(&open(stage, external, &theirs))?;
                for (v6, with_ids) in [false, true].into_iter().zip(with_ids) {
                    let route = victim(stage, v6);
                    let nlri = if with_ids { under(9, route) } else { raw::nlri(&[route]) };
                    peer.say(&announce(external, v6, 65501, 0, &nlri).bytes())?;
                    best(stage, external, route, Some(65501))?;
                }
                peer.is_up()
            });
        }
    };
    row("we do not want them", json!({}), both(SENDS), [false, false]);
    row("it only receives them", receive(), both(RECEIVES), [false, false]);
    row("it does both", receive(), both(SENDS | RECEIVES), [true, true]);
    row("of IPv4 alone", receive(), vec![0, 1, 1, SENDS], [true, false]);
    row("of IPv6 alone", receive(), vec![0, 2, 1, SENDS], [false, true]);
    row("of a family that is not ours", receive(), vec![0, 25, 70, SENDS], [false, false]);
    row("the last of two tuples counts", receive(), vec![0, 1, 1, SENDS, 0, 1, 1, RECEIVES], [false, false]);
    for undefined in [0, 4, 255] {
        row("a value that is not defined", receive(), both(undefined), [false, false]);
    }
    row("a capability that is too short", receive(), vec![0, 1, 1], [false, false]);
    run(scripts);
}
