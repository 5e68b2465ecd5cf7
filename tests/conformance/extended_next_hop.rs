//! IPv4 routes with IPv6 next hops (RFC 8950): taken from who said so in its OPEN, over IPv6; from anybody else a next hop of
//! that length ends the session (RFC 7606 7.11).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::Command;

use crate::case::{self, good, report, side_by_side};
use crate::heard::Heard;
use crate::peer::Peer;
use crate::raw::{self, IPV4, IPV6, Open, UNICAST, attribute, capability, multiprotocol, parameter};
use crate::script::ends;
use crate::speaker::{OUR_AS, Speaker, TESTER_AS, peer};
use crate::support::in_fresh_netns;

/// Where the speaker is for testers over IPv6.
const HERE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 0xffff);
const PORT: u16 = 1179;
/// AFI 1, SAFI 1, next hops of AFI 2.
const OFFER: [u8; 6] = [0, 1, 0, 1, 0, 2];

struct Row {
    external: bool,
    /// The value of its capability 5, if it has one.
    offer: Option<Vec<u8>>,
    next_hop: Vec<u8>,
    taken: bool,
}

fn tester(number: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, u16::try_from(number + 1).expect("not that many"))
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let global = raw::v6("2001:db8::77").to_vec();
    let local = raw::v6("fe80::77").to_vec();
    let both = [global.clone(), local.clone()].concat();
    for external in [true, false] {
        let mut row = |offer: Option<&[u8]>, next_hop: &[u8], taken| {
            rows.push(Row { external, offer: offer.map(<[u8]>::to_vec), next_hop: next_hop.to_vec(), taken });
        };
        for next_hop in [&global, &both] {
            row(Some(&OFFER), next_hop, true);
            row(Some(&[&[0, 1, 0, 128, 0, 2][..], &OFFER].concat()), next_hop, true);
            row(None, next_hop, false);
            // Offers of something else: another SAFI, another next hop, IPv6 by way of IPv4, a SAFI of 257, odd lengths.
            row(Some(&[0, 1, 0, 2, 0, 2]), next_hop, false);
            row(Some(&[0, 1, 0, 1, 0, 1]), next_hop, false);
            row(Some(&[0, 2, 0, 1, 0, 1]), next_hop, false);
            row(Some(&[0, 1, 1, 1, 0, 2]), next_hop, false);
            row(Some(&[]), next_hop, false);
            row(Some(&OFFER[..5]), next_hop, false);
            row(Some(&[&OFFER[..], &[0]].concat()), next_hop, false);
        }
        row(Some(&OFFER), &[192, 0, 2, 77], true);
        for length in [0, 1, 3, 5, 8, 12, 15, 17, 20, 24, 31, 33, 48] {
            row(Some(&OFFER), &vec![0x20; length], false);
        }
    }
    rows
}

fn play(speaker: &Speaker, number: usize, row: &Row) -> Result<(), String> {
    let words = |why: String| format!("offer {:02x?}, next hop {:02x?}: {why}", row.offer, row.next_hop);
    let as_number = if row.external { TESTER_AS } else { OUR_AS };
    let [high, low] = u16::try_from(number).expect("not that many").to_be_bytes();
    let mut capabilities =
        vec![multiprotocol(IPV4, UNICAST), multiprotocol(IPV6, UNICAST), capability(65, &as_number.to_be_bytes())];
    capabilities.extend(row.offer.as_ref().map(|value| capability(5, value)));
    let open = Open::with(as_number, [198, 51, high, low.max(1)], &[parameter(2, &capabilities.concat())]);
    let mut peer = Peer::connect(tester(number).into(), SocketAddr::new(HERE.into(), PORT)).map_err(words)?;
    peer.say(&open.bytes()).map_err(words)?;
    let theirs = peer.until("its OPEN", |heard| matches!(heard, Heard::Open(_))).map_err(words)?;
    let Heard::Open(theirs) = theirs else { return Err(words("no OPEN".to_string())) };
    let offered = capability(5, &OFFER);
    if !theirs.windows(offered.len()).any(|window| window == offered) {
        return Err(words("we do not offer it".to_string()));
    }
    peer.until("its KEEPALIVE", |heard| *heard == Heard::Keepalive).map_err(words)?;
    peer.say(&raw::keepalive()).map_err(words)?;

    let route = case::prefixes(number, false).victim;
    let sender = if row.external { case::EBGP } else { case::IBGP };
    let mut draft = good(sender, 65500, &[]);
    draft.remove(raw::NEXT_HOP);
    let value = raw::mp_reach(IPV4, UNICAST, &row.next_hop, &raw::nlri(&[route]));
    draft.put(attribute(raw::OPTIONAL, raw::MP_REACH, &value));
    peer.say(&draft.bytes()).map_err(words)?;
    if row.taken {
        for watcher in speaker.audience(row.external) {
            watcher.must_see("the route", route, |table| table.routes.contains_key(&route)).map_err(words)?;
        }
        return peer.is_up().map_err(words);
    }
    ends(&mut peer, 3, 9, None).map_err(words)?;
    let told = speaker.audience(row.external).any(|watcher| watcher.announced(route) > 0);
    if told { Err(words("it was told on".to_string())) } else { Ok(()) }
}

#[test]
fn ipv6_next_hops_of_ipv4_routes_are_taken_from_who_offered_them() {
    in_fresh_netns(|| {
        let rows = rows();
        let addresses = (0..rows.len()).map(tester).chain([HERE]);
        let lines: String = addresses.map(|address| format!("address add {address}/128 dev lo nodad\n")).collect();
        let batch = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(batch.path(), lines).expect("a file");
        assert!(Command::new("ip").arg("-batch").arg(batch.path()).status().expect("ip").success());
        let known = rows
            .iter()
            .enumerate()
            .map(|(number, row)| peer(IpAddr::V6(tester(number)), if row.external { TESTER_AS } else { OUR_AS }));
        let here = format!("[{HERE}]:{PORT}");
        let mut speaker = Speaker::start_on(known.collect(), Some(&["127.0.0.1:1179", &here]));
        let failed = side_by_side(&rows, |number, row| play(&speaker, number, row));
        report(failed, rows.len(), speaker.faults());
    });
}
