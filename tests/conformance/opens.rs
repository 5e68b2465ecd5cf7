//! OPEN: what is refused (RFC 4271 6.2, RFC 5492, RFC 6286, RFC 6793, RFC 7607), and what is to be taken (RFC 9072 too).

use crate::case::{EBGP, IBGP};
use crate::heard::Heard;
use crate::raw::{IPV4, IPV6, Open, UNICAST, capability, multiprotocol, parameter};
use crate::script::{Scripts, Stage, ends, run};
use crate::speaker::{OUR_AS, OUR_ID, TESTER_AS};

type Change = Box<dyn Fn(&mut Open) + Send + Sync>;

fn change(change: impl Fn(&mut Open) + Send + Sync + 'static) -> Change {
    Box::new(change)
}

/// These bytes, with the length of one octet that they have.
fn parameters(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

/// RFC 9072: parameters with lengths of two octets.
fn extended(first: u8, list: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let list: Vec<u8> = list
        .iter()
        .flat_map(|(kind, value)| [&[*kind], &(value.len() as u16).to_be_bytes()[..], value].concat())
        .collect();
    [&[first, 255], &(list.len() as u16).to_be_bytes()[..], &list].concat()
}

/// What the peer of this kind needs to say, as capabilities.
fn needed(external: bool) -> Vec<u8> {
    let as_number = if external { TESTER_AS } else { OUR_AS };
    [multiprotocol(IPV4, UNICAST), multiprotocol(IPV6, UNICAST), capability(65, &as_number.to_be_bytes())].concat()
}

struct Refused {
    rfc: &'static str,
    name: String,
    subcode: u8,
    data: Option<Vec<u8>>,
    change: Change,
}

fn refused(external: bool) -> Vec<Refused> {
    let mut rows = Vec::new();
    for version in [0, 1, 3, 5, 255] {
        let (name, data) = (format!("version {version}"), Some(vec![0, 4]));
        let change = change(move |open| open.version = version);
        rows.push(Refused { rfc: "4271 6.2", name, subcode: 1, data, change });
    }
    let mut row = |rfc, name: &str, subcode, data: Option<Vec<u8>>, change| {
        rows.push(Refused { rfc, name: name.to_string(), subcode, data, change });
    };
    row("4271 6.2", "another AS", 2, None, change(|open| *open = Open::new(65099, open.id)));
    row("4271 6.2", "another AS of two octets", 2, None, change(|open| *open = Open::with(65099, open.id, &[])));
    row("6793 4.1", "another AS of four octets", 2, None, change(|open| *open = Open::new(70000, open.id)));
    row("6793 4.1", "the field contradicts the capability", 2, None, change(|open| open.as_field = 65099));
    row("7607 2", "AS 0", 2, None, change(|open| *open = Open::with(0, open.id, &[])));
    row("7607 2", "AS 0 as a capability", 2, None, change(|open| *open = Open::new(0, open.id)));
    row("6793 9", "AS_TRANS without the capability", 2, None, change(|open| *open = Open::with(23456, open.id, &[])));
    row("6286 2.1", "identifier 0.0.0.0", 3, None, change(|open| open.id = [0; 4]));
    if !external {
        row("6286 2.1", "our identifier", 3, None, change(|open| open.id = OUR_ID));
    }
    for seconds in [1, 2] {
        let hold = change(move |open| open.hold_time = seconds);
        row("4271 6.2", &format!("hold time {seconds}"), 6, None, hold);
    }
    for kind in [0, 1, 3, 77, 254] {
        let with = move |open: &mut Open| open.parameters = parameters(&parameter(kind, &[1, 2]));
        row("4271 6.2", &format!("optional parameter {kind}"), 4, None, change(with));
        let with = move |open: &mut Open| {
            let both = [parameter(2, &needed(external)), parameter(kind, &[])].concat();
            open.parameters = parameters(&both);
        };
        row("4271 6.2", &format!("optional parameter {kind} behind a good one"), 4, None, change(with));
    }
    for (what, bytes) in [
        ("the parameters end after the message", vec![20, 2, 2, 2, 0]),
        ("bytes behind the parameters", vec![4, 2, 2, 2, 0, 0]),
        ("bytes behind no parameters", vec![0, 2, 2, 2, 0]),
        ("a parameter ends after the list", vec![4, 2, 9, 2, 0]),
        ("a parameter without a length", vec![5, 2, 2, 2, 0, 2]),
        ("a capability ends after its parameter", vec![4, 2, 2, 2, 1]),
        ("a capability without a length", vec![5, 2, 3, 2, 0, 2]),
        ("a family of three bytes", vec![7, 2, 5, 1, 3, 0, 1, 0]),
        ("a family of five bytes", vec![9, 2, 7, 1, 5, 0, 1, 0, 1, 0]),
        ("an AS of two octets in the capability", vec![6, 2, 4, 65, 2, 0xfd, 0xf2]),
        ("extended lengths that end after the message", vec![255, 255, 0, 9, 2, 0, 2, 2, 0]),
        ("extended lengths that end before it", vec![255, 255, 0, 4, 2, 0, 2, 2, 0]),
        ("an extended parameter that ends after the list", vec![255, 255, 0, 5, 2, 0, 9, 2, 0]),
        ("extended lengths without one", vec![255, 255, 0]),
    ] {
        row("4271 6.2", what, 0, None, change(move |open| open.parameters = bytes.clone()));
    }
    let wanted = [multiprotocol(IPV4, UNICAST), multiprotocol(IPV6, UNICAST)].concat();
    let foreign = move |open: &mut Open| {
        let as_number = if external { TESTER_AS } else { OUR_AS };
        let list = [multiprotocol(25, 70), capability(65, &as_number.to_be_bytes())].concat();
        open.parameters = parameters(&parameter(2, &list));
    };
    row("5492 5", "no family of ours", 7, Some(wanted), change(foreign));
    rows
}

fn accepted(external: bool) -> Vec<(&'static str, String, Change)> {
    let mut rows: Vec<(&'static str, String, Change)> = Vec::new();
    let mut row = |rfc, name: &str, change| rows.push((rfc, name.to_string(), change));
    for seconds in [0, 3, 90, 65535] {
        row("4271 4.2", &format!("hold time {seconds}"), change(move |open| open.hold_time = seconds));
    }
    for id in [[255; 4], [224, 0, 0, 1], [127, 0, 0, 1], [0, 0, 0, 1]] {
        row("6286 2.1", &format!("identifier {id:?}"), change(move |open| open.id = id));
    }
    if external {
        row("6286 2.1", "our identifier", change(|open| open.id = OUR_ID));
    }
    let as_trans = change(|open| open.as_field = 23456);
    row("6793 4.1", "AS_TRANS in the field, though ours would fit", as_trans);
    let unknown = [capability(66, &[]), capability(99, &[1; 40]), capability(255, &[2]), capability(0, &[3])].concat();
    let with_unknown = [unknown.clone(), needed(external), unknown].concat();
    let value = with_unknown.clone();
    row("5492 4", "unknown capabilities", change(move |open| open.parameters = parameters(&parameter(2, &value))));
    let value = [needed(external), needed(external)].concat();
    row("5492 4", "capabilities twice", change(move |open| open.parameters = parameters(&parameter(2, &value))));
    let all = needed(external);
    let list = [&all[..6], &all[6..12], &all[12..], &[], &capability(2, &[])].map(|one| parameter(2, one)).concat();
    row("5492 4", "a parameter for each capability", change(move |open| open.parameters = parameters(&list)));
    let more = [multiprotocol(25, 70), multiprotocol(IPV4, 2), needed(external)].concat();
    row(
        "4760 8",
        "families that are not ours, too",
        change(move |open| open.parameters = parameters(&parameter(2, &more))),
    );
    let known = [
        needed(external),
        capability(2, &[]),
        capability(70, &[]),
        capability(6, &[]),
        capability(64, &[0x40, 120, 0, 1, 1, 0]),
        capability(71, &[0, 1, 1, 0, 0, 0, 60]),
        capability(69, &[0, 1, 1, 1]),
        capability(5, &[0, 1, 0, 1, 0, 2]),
        capability(73, &[4, b'h', b'o', b's', b't', 3, b'l', b'a', b'n']),
    ];
    let value = known.concat();
    row("5492 4", "whatever others say", change(move |open| open.parameters = parameters(&parameter(2, &value))));
    for (what, first) in [("255", 255), ("1", 1), ("20", 20)] {
        let list = vec![(2, needed(external)), (2, with_unknown.clone())];
        let with = move |open: &mut Open| open.parameters = extended(first, &list);
        row("9072 2", &format!("extended lengths, {what} as the old one"), change(with));
    }
    let long: Vec<u8> = (0..12).flat_map(|number| capability(100 + number, &[number; 250])).collect();
    let list = vec![(2, needed(external)), (2, long)];
    row("9072 2", "3 kB of capabilities", change(move |open| open.parameters = extended(255, &list)));
    rows
}

/// The speaker's own OPEN (RFC 4271 4.2): ours, and with the capabilities that we name.
fn own(stage: &Stage<'_>) -> Result<(), String> {
    let mut peer = stage.connect()?;
    let Heard::Open(body) = peer.until("an OPEN", |heard| matches!(heard, Heard::Open(_)))? else { unreachable!() };
    let fixed = [&[4], &(OUR_AS as u16).to_be_bytes()[..], &90u16.to_be_bytes(), &OUR_ID].concat();
    if body[..9] != fixed || usize::from(body[9]) != body.len() - 10 || body[10] != 2 {
        return Err(format!("its OPEN is {body:02x?}"));
    }
    let wanted = [
        multiprotocol(IPV4, UNICAST),
        multiprotocol(IPV6, UNICAST),
        capability(2, &[]),
        capability(65, &OUR_AS.to_be_bytes()),
    ];
    match wanted.iter().find(|wanted| !body.windows(wanted.len()).any(|part| part == **wanted)) {
        Some(missing) => Err(format!("{missing:02x?} is not in its OPEN {body:02x?}")),
        None => Ok(()),
    }
}

#[test]
fn opens_that_are_refused() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        for Refused { rfc, name, subcode, data, change } in refused(external) {
            scripts.add(rfc, name, external, move |stage| {
                let mut open = stage.open();
                change(&mut open);
                let mut peer = stage.connect()?;
                peer.say(&open.bytes())?;
                ends(&mut peer, 2, subcode, data.as_deref())
            });
        }
    }
    run(scripts);
}

#[test]
fn opens_that_are_taken() {
    let mut scripts = Scripts::default();
    for external in [true, false] {
        scripts.add("4271 4.2", "the speaker's own", external, own);
        for (rfc, name, change) in accepted(external) {
            scripts.add(rfc, name, external, move |stage| {
                let mut open = stage.open();
                change(&mut open);
                let mut peer = stage.establish_with(&open)?;
                stage.still_up(&mut peer)
            });
        }
        // Without four-octet AS numbers, and so with paths of two octets.
        scripts.add("4760 8", "no capability at all", external, move |stage| {
            let sender = if external { EBGP } else { IBGP };
            let sender = crate::case::Sender { two_octets: true, ..sender };
            let mut peer = stage.connect()?;
            peer.establish(&Open::with(if external { TESTER_AS } else { OUR_AS }, stage.open().id, &[]))?;
            peer.say(&crate::case::good(sender, 65500, &[stage.prefixes().victim]).bytes())?;
            stage.is_told()?;
            peer.is_up()
        });
    }
    run(scripts);
}
