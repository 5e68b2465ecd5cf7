//! Long-lived graceful restart of a neighbour (RFC 9494): beyond its restart time its routes are the last choice, and told to
//! nobody but those who know what that is.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::case::{self, EBGP, IBGP, Sender, good, prefixes, report, side_by_side};
use crate::heard::{Prefix, offered};
use crate::peer::Peer;
use crate::raw::{
    self, Draft, IPV4, IPV6, OPTIONAL_TRANSITIVE, Open, UNICAST, WELL_KNOWN, attribute, capability, nlri, offering,
};
use crate::restart::{A_MOMENT, KEPT, RESTART, RESTARTED, cease, end_of_rib, graceful};
use crate::script::closes;
use crate::speaker::{AT, OUR_AS, Speaker, TESTER_AS, peer, tester};
use crate::support::in_fresh_netns;
use crate::watcher::{Table, Watcher};

const LLGR_STALE: [u8; 4] = [0xff, 0xff, 0, 6];
const NO_LLGR: [u8; 4] = [0xff, 0xff, 0, 7];
/// One that the route has of its own, and keeps.
const OWN: [u8; 4] = [0xfd, 0xf2, 0, 1];
/// Long-lived stale times in seconds: longer than any row, and one that a row waits for.
const LONG: u32 = 3600;
const SHORT: u32 = 5;

/// The last AS of the path of a row's route, and of its rival's.
const ROUTE: u32 = 65500;
const RIVAL: u32 = 65502;
/// Where the numbers of rivals begin.
const RIVALS: usize = 200;

const KNOWING_AS: u32 = 65030;
const KNOWING: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 30)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 31))];

/// The capability: each family's AFI, its F bit or none, and its long-lived stale time of three octets (section 3.1).
fn long_lived(families: &[(u16, u8, u32)]) -> Vec<u8> {
    let family = |(afi, flags, time): &(u16, u8, u32)| {
        [&afi.to_be_bytes()[..], &[UNICAST, *flags], &time.to_be_bytes()[1..]].concat()
    };
    capability(71, &families.iter().flat_map(family).collect::<Vec<u8>>())
}

/// What the watchers have of a route.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    /// As it was announced, with a path that ends in this AS.
    AsItWas(u32),
    /// Marked as stale; and nothing, those who do not know what that is (section 4.3).
    Stale(u32),
    Nothing,
}

fn is_told(table: &Table, route: Prefix, knowing: bool, wanted: Told) -> bool {
    let attributes = table.routes.get(&route);
    let value = |code: u8| attributes.and_then(|attributes| attributes.get(&code)).map(|(_, value)| value.as_slice());
    let ends_in = |last: u32| value(raw::AS_PATH).is_some_and(|path| path.ends_with(&last.to_be_bytes()));
    let has = |community: [u8; 4]| value(raw::COMMUNITIES).is_some_and(|all| all.chunks(4).any(|one| one == community));
    match wanted {
        Told::AsItWas(last) => ends_in(last) && has(OWN) && !has(LLGR_STALE),
        Told::Stale(last) if knowing => ends_in(last) && has(OWN) && has(LLGR_STALE),
        Told::Stale(_) | Told::Nothing => attributes.is_none(),
    }
}

/// What a row has to play with: a neighbour, its route, and another neighbour that may tell the same one.
struct Scene<'a> {
    speaker: &'a Speaker,
    /// Watchers that have the capability, over eBGP and over iBGP.
    knowing: &'a [Watcher],
    number: usize,
    sender: Sender,
}

impl Scene<'_> {
    fn route(&self) -> Prefix {
        prefixes(self.number, false).victim
    }

    /// With these capabilities beside what is as it should be.
    fn offering(&self, capabilities: &[Vec<u8>]) -> Open {
        offering(case::open(self.sender, self.number), capabilities)
    }

    /// With this restart time and its bits, and this long-lived stale time, all of it for IPv4.
    fn open(&self, head: u16, time: u32) -> Open {
        self.offering(&[graceful(head, &[(IPV4, KEPT)]), long_lived(&[(IPV4, KEPT, time)])])
    }

    fn connect(&self, open: &Open) -> Result<Peer, String> {
        let mut peer = Peer::connect(tester(self.number), AT)?;
        peer.establish(open)?;
        Ok(peer)
    }

    fn tell(&self, peer: &mut Peer, route: Prefix, communities: &[[u8; 4]]) -> Result<(), String> {
        let sender = Sender { v6: route.0.is_ipv6(), ..self.sender };
        let mut draft = good(sender, ROUTE, &[route]);
        draft.put(attribute(OPTIONAL_TRANSITIVE, raw::COMMUNITIES, &communities.concat()));
        peer.say(&draft.bytes())
    }

    /// Up, with its route told and both End-of-RIB said.
    fn up(&self, open: &Open) -> Result<Peer, String> {
        self.up_with(open, &[OWN])
    }

    fn up_with(&self, open: &Open, communities: &[[u8; 4]]) -> Result<Peer, String> {
        let mut peer = self.connect(open)?;
        self.tell(&mut peer, self.route(), communities)?;
        end_of_rib(&mut peer, &[IPV4, IPV6])?;
        let stale = communities.contains(&LLGR_STALE);
        self.comes(if stale { Told::Stale(ROUTE) } else { Told::AsItWas(ROUTE) })?;
        Ok(peer)
    }

    /// Another neighbour's way to the same prefix: worse than the row's own by AS_PATH, and over iBGP by LOCAL_PREF.
    fn rival(&self, communities: &[[u8; 4]]) -> Result<Peer, String> {
        let number = RIVALS + self.number;
        let mut rival = Peer::connect(tester(number), AT)?;
        rival.establish(&case::open(self.sender, number))?;
        let mut draft = good(self.sender, RIVAL, &[self.route()]);
        let first = if self.sender.external { TESTER_AS } else { 65300 };
        draft.put(attribute(WELL_KNOWN, raw::AS_PATH, &raw::sequence(&[first, 65301, 65302, 65303, RIVAL])));
        if !self.sender.external {
            draft.put(attribute(WELL_KNOWN, raw::LOCAL_PREF, &[0, 0, 0, 1]));
        }
        draft.put(attribute(OPTIONAL_TRANSITIVE, raw::COMMUNITIES, &communities.concat()));
        rival.say(&draft.bytes())?;
        // Behind it, so that it has been looked at.
        let marker = prefixes(number, false).marker;
        rival.say(&good(self.sender, RIVAL, &[marker]).bytes())?;
        let watcher = &self.speaker.watchers[0];
        watcher.must_see("the rival's other route", marker, |table| table.routes.contains_key(&marker))?;
        Ok(rival)
    }

    /// Those who hear of it, and whether they know what is stale.
    fn audience(&self) -> impl Iterator<Item = (&Watcher, bool)> {
        let all = self.knowing.iter().map(|watcher| (watcher, true));
        let all = all.chain(self.speaker.watchers.iter().map(|watcher| (watcher, false)));
        all.filter(|(watcher, _)| self.sender.external || watcher.external)
    }

    fn comes_of(&self, route: Prefix, wanted: Told) -> Result<(), String> {
        self.audience().try_for_each(|(watcher, knowing)| {
            let what = format!("knows of LLGR: {knowing}, expected {wanted:?}");
            watcher.must_see(&what, route, |table| is_told(table, route, knowing, wanted))
        })
    }

    fn comes(&self, wanted: Told) -> Result<(), String> {
        self.comes_of(self.route(), wanted)
    }

    /// The same, well before the restart time is over.
    fn comes_at_once(&self, wanted: Told) -> Result<(), String> {
        let route = self.route();
        let soon = Duration::from_secs(RESTART.into()) - A_MOMENT;
        match self.knowing[0].sees(soon, |table| is_told(table, route, true, wanted)) {
            true => self.comes(wanted),
            false => Err(format!("expected {wanted:?} at once; there is {}", self.knowing[0].words(route))),
        }
    }

    /// It is told so, and nothing else for this time.
    fn stays_for(&self, during: Duration, wanted: Told) -> Result<(), String> {
        let route = self.route();
        self.comes(wanted)?;
        match self.knowing[0].sees(during, |table| !is_told(table, route, true, wanted)) {
            true => Err(format!("{wanted:?} was to stay; there is {}", self.knowing[0].words(route))),
            false => self.comes(wanted),
        }
    }

    fn stays(&self, wanted: Told) -> Result<(), String> {
        self.stays_for(A_MOMENT, wanted)
    }
}

type Play = Arc<dyn Fn(&Scene<'_>) -> Result<(), String> + Send + Sync>;

struct Row {
    /// Of RFC 9494.
    section: &'static str,
    name: String,
    sender: Sender,
    /// Our own `longLivedTime` for the neighbour.
    longest: u32,
    play: Play,
}

#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
}

impl Rows {
    /// Over eBGP and over iBGP.
    fn add(
        &mut self,
        section: &'static str,
        name: impl Into<String>,
        play: impl Fn(&Scene<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.add_with(section, name, LONG, play);
    }

    fn add_with(
        &mut self,
        section: &'static str,
        name: impl Into<String>,
        longest: u32,
        play: impl Fn(&Scene<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) {
        let (name, play): (String, Play) = (name.into(), Arc::new(play));
        let row = |sender| Row { section, name: name.clone(), sender, longest, play: play.clone() };
        self.rows.extend([EBGP, IBGP].map(row));
    }
}

fn run(rows: Rows) {
    in_fresh_netns(move || {
        let rows = rows.rows;
        let mut peers = vec![peer(KNOWING[0], KNOWING_AS), peer(KNOWING[1], OUR_AS)];
        for (number, row) in rows.iter().enumerate() {
            let as_number = if row.sender.external { TESTER_AS } else { OUR_AS };
            let mut known = peer(tester(number), as_number);
            known["longLivedTime"] = json!(row.longest);
            peers.extend([known, peer(tester(RIVALS + number), as_number)]);
        }
        let mut speaker = Speaker::start(peers);
        let knows = |open: Open| offering(open, &[graceful(0, &[]), long_lived(&[])]);
        let knowing = [
            Watcher::start(KNOWING[0], AT, &knows(Open::new(KNOWING_AS, [192, 0, 2, 30])), true),
            Watcher::start(KNOWING[1], AT, &knows(Open::new(OUR_AS, [192, 0, 2, 31])), false),
        ];
        let failed = side_by_side(&rows, |number, row| {
            let scene = Scene { speaker: &speaker, knowing: &knowing, number, sender: row.sender };
            (row.play)(&scene).map_err(|why| format!("RFC 9494 {}: {}: {}: {why}", row.section, row.sender, row.name))
        });
        let mut faults = speaker.faults();
        faults.extend(knowing.iter().flat_map(Watcher::faults));
        report(failed, rows.len(), faults);
    });
}

#[test]
fn a_neighbour_that_stays_away() {
    let mut rows = Rows::default();
    rows.add("4.2", "first the restart time, then as stale", |scene| {
        drop(scene.up(&scene.open(RESTART, LONG))?);
        scene.stays(Told::AsItWas(ROUTE))?;
        scene.stays(Told::Stale(ROUTE))
    });
    rows.add("4.2", "a restart time of 0: as stale at once", |scene| {
        drop(scene.up(&scene.open(0, LONG))?);
        scene.comes_at_once(Told::Stale(ROUTE))?;
        scene.stays(Told::Stale(ROUTE))
    });
    rows.add("4.2", "a restart time of no family: as stale at once", |scene| {
        let long = long_lived(&[(IPV4, KEPT, LONG)]);
        drop(scene.up(&scene.offering(&[graceful(RESTART, &[]), long]))?);
        scene.comes_at_once(Told::Stale(ROUTE))
    });
    for (what, long) in [
        ("no family", long_lived(&[])),
        ("another family", long_lived(&[(IPV6, KEPT, LONG)])),
        ("a time of 0", long_lived(&[(IPV4, KEPT, 0)])),
    ] {
        rows.add("4.2", format!("long-lived for {what}: gone after the restart time"), move |scene| {
            drop(scene.up(&scene.offering(&[graceful(RESTART, &[(IPV4, KEPT)]), long.clone()]))?);
            scene.stays(Told::AsItWas(ROUTE))?;
            scene.comes(Told::Nothing)
        });
    }
    for (ours, theirs) in [(LONG, SHORT), (SHORT, LONG)] {
        let name = format!("the lower one of its time, {theirs} s, and our bound, {ours} s, is over: gone");
        rows.add_with("4.2", name, ours, move |scene| {
            drop(scene.up(&scene.open(0, theirs))?);
            scene.stays(Told::Stale(ROUTE))?;
            scene.comes(Told::Nothing)
        });
    }
    rows.add("4.2", "each family has a time of its own", |scene| {
        let v6 = prefixes(scene.number, true).victim;
        let families = graceful(0, &[(IPV4, KEPT), (IPV6, KEPT)]);
        let long = long_lived(&[(IPV4, KEPT, LONG), (IPV6, KEPT, SHORT)]);
        let mut peer = scene.up(&scene.offering(&[families, long]))?;
        scene.tell(&mut peer, v6, &[OWN])?;
        scene.comes_of(v6, Told::AsItWas(ROUTE))?;
        drop(peer);
        scene.comes_of(v6, Told::Stale(ROUTE))?;
        scene.comes_of(v6, Told::Nothing)?;
        scene.stays(Told::Stale(ROUTE))
    });
    for restart in [0, RESTART] {
        rows.add("4.2", format!("NO_LLGR, a restart time of {restart}: gone after it"), move |scene| {
            drop(scene.up_with(&scene.open(restart, LONG), &[OWN, NO_LLGR])?);
            if restart > 0 {
                scene.stays(Told::AsItWas(ROUTE))?;
                return scene.comes(Told::Nothing);
            }
            scene.comes_at_once(Told::Nothing)
        });
    }
    rows.add("4.5", "without the capability of graceful restart it counts for nothing", |scene| {
        drop(scene.up(&scene.offering(&[long_lived(&[(IPV4, KEPT, LONG)])]))?);
        scene.comes_at_once(Told::Nothing)
    });
    rows.add_with("5", "we have not been told to: gone after the restart time", 0, |scene| {
        drop(scene.up(&scene.open(RESTART, LONG))?);
        scene.stays(Told::AsItWas(ROUTE))?;
        scene.comes(Told::Nothing)
    });
    rows.add("4.2", "it says Cease: gone, since graceful restart keeps nothing then", |scene| {
        let mut peer = scene.up(&scene.open(RESTART, LONG))?;
        peer.say(&cease(2, &[]))?;
        closes(&mut peer)?;
        scene.comes_at_once(Told::Nothing)
    });
    rows.add("4.1", "we say it of both families, beside graceful restart", |scene| {
        let body = Peer::connect(tester(scene.number), AT)?.open(&case::open(scene.sender, scene.number))?;
        let wanted = long_lived(&[(IPV4, 0, LONG), (IPV6, 0, LONG)]);
        match (offered(&body, 64), offered(&body, 71)) {
            (Some(_), Some(value)) if value == &wanted[2..] => Ok(()),
            other => Err(format!("its capabilities of both are {other:02x?}")),
        }
    });
    rows.add_with("5", "we have not been told to, and do not say it", 0, |scene| {
        let body = Peer::connect(tester(scene.number), AT)?.open(&case::open(scene.sender, scene.number))?;
        offered(&body, 71).map_or(Ok(()), |value| Err(format!("its capability is {value:02x?}")))
    });
    run(rows);
}

#[test]
fn a_neighbour_that_is_back() {
    let mut rows = Rows::default();
    rows.add("4.2", "it tells its route again: that one is not stale, and stays", |scene| {
        drop(scene.up(&scene.open(0, SHORT))?);
        scene.comes(Told::Stale(ROUTE))?;
        let mut peer = scene.up(&scene.open(RESTARTED, SHORT))?;
        scene.stays_for(Duration::from_secs(SHORT.into()) + A_MOMENT, Told::AsItWas(ROUTE))?;
        peer.is_up()
    });
    rows.add("4.2", "it does not tell its route again: stale up to End-of-RIB", |scene| {
        drop(scene.up(&scene.open(0, LONG))?);
        scene.comes(Told::Stale(ROUTE))?;
        let mut peer = scene.connect(&scene.open(RESTARTED, LONG))?;
        scene.stays(Told::Stale(ROUTE))?;
        end_of_rib(&mut peer, &[IPV4])?;
        scene.comes(Told::Nothing)?;
        peer.is_up()
    });
    let of_restart = || graceful(RESTARTED, &[(IPV4, KEPT)]);
    for (what, back) in [
        ("with F of graceful restart alone", vec![of_restart(), long_lived(&[(IPV4, 0, LONG)])]),
        ("with F of another family", vec![of_restart(), long_lived(&[(IPV6, KEPT, LONG)])]),
        ("without the capability", vec![of_restart()]),
        ("without that of graceful restart", vec![long_lived(&[(IPV4, KEPT, LONG)])]),
        ("without either", vec![]),
    ] {
        rows.add("4.2", format!("it is back {what}: gone at once"), move |scene| {
            drop(scene.up(&scene.open(0, LONG))?);
            scene.comes(Told::Stale(ROUTE))?;
            let mut peer = scene.connect(&scene.offering(&back))?;
            scene.comes(Told::Nothing)?;
            peer.is_up()
        });
    }
    rows.add("4.1", "with F, and graceful restart of no family: stale up to End-of-RIB", |scene| {
        let open = |bits| scene.offering(&[graceful(bits, &[]), long_lived(&[(IPV4, KEPT, LONG)])]);
        drop(scene.up(&open(0))?);
        scene.comes(Told::Stale(ROUTE))?;
        let mut peer = scene.connect(&open(RESTARTED))?;
        scene.stays(Told::Stale(ROUTE))?;
        end_of_rib(&mut peer, &[IPV4])?;
        scene.comes(Told::Nothing)
    });
    rows.add("4.1", "it connects anew while we take the old connection for up", |scene| {
        let mut old = scene.up(&scene.open(0, LONG))?;
        let mut new = scene.connect(&scene.open(RESTARTED, LONG))?;
        closes(&mut old)?;
        scene.stays(Told::Stale(ROUTE))?;
        scene.tell(&mut new, scene.route(), &[OWN])?;
        scene.comes(Told::AsItWas(ROUTE))?;
        new.is_up()
    });
    rows.add("4.2", "its long-lived stale time is over before End-of-RIB: gone", |scene| {
        drop(scene.up(&scene.open(0, SHORT))?);
        scene.comes(Told::Stale(ROUTE))?;
        let mut peer = scene.connect(&scene.open(RESTARTED, LONG))?;
        // Each family has one of its own.
        end_of_rib(&mut peer, &[IPV6])?;
        scene.stays(Told::Stale(ROUTE))?;
        scene.comes(Told::Nothing)?;
        peer.is_up()
    });
    rows.add("4.2", "it restarts again before End-of-RIB: stale for the rest of the first time", |scene| {
        drop(scene.up(&scene.open(0, SHORT))?);
        scene.comes(Told::Stale(ROUTE))?;
        drop(scene.connect(&scene.open(RESTARTED, LONG))?);
        scene.stays(Told::Stale(ROUTE))?;
        scene.comes(Told::Nothing)
    });
    for restart in [0, RESTART] {
        let name = format!("its time was over before End-of-RIB, and it restarts again (restart time {restart}): gone");
        rows.add("4.2", name, move |scene| {
            let other = prefixes(scene.number, false).bystander;
            let mut peer = scene.up(&scene.open(0, SHORT))?;
            scene.tell(&mut peer, other, &[OWN])?;
            scene.comes_of(other, Told::AsItWas(ROUTE))?;
            drop(peer);
            scene.comes_of(other, Told::Stale(ROUTE))?;
            let mut peer = scene.connect(&scene.open(RESTARTED | restart, LONG))?;
            scene.tell(&mut peer, scene.route(), &[OWN])?;
            scene.comes(Told::AsItWas(ROUTE))?;
            scene.comes_of(other, Told::Nothing)?;
            // What was told again goes with the rest.
            drop(peer);
            scene.comes_at_once(Told::Nothing)
        });
    }
    rows.add("4.2", "it restarts again within its restart time, before End-of-RIB: kept", |scene| {
        drop(scene.up(&scene.open(RESTART, LONG))?);
        scene.stays(Told::AsItWas(ROUTE))?;
        drop(scene.connect(&scene.open(RESTARTED | RESTART, LONG))?);
        scene.stays(Told::AsItWas(ROUTE))?;
        scene.stays(Told::Stale(ROUTE))
    });
    run(rows);
}

#[test]
fn the_last_choice() {
    let mut rows = Rows::default();
    rows.add("4.4", "within the restart time it wins as before, then it loses against any other", |scene| {
        let peer = scene.up(&scene.open(RESTART, LONG))?;
        let rival = scene.rival(&[OWN])?;
        drop(peer);
        scene.stays(Told::AsItWas(ROUTE))?;
        scene.stays(Told::AsItWas(RIVAL))?;
        drop(rival);
        scene.comes(Told::Stale(ROUTE))
    });
    rows.add("4.3", "a route that comes with LLGR_STALE loses against any other", |scene| {
        let _peer = scene.up_with(&scene.open(RESTART, LONG), &[OWN, LLGR_STALE])?;
        scene.stays(Told::Stale(ROUTE))?;
        let rival = scene.rival(&[OWN])?;
        scene.stays(Told::AsItWas(RIVAL))?;
        drop(rival);
        scene.comes(Told::Stale(ROUTE))
    });
    rows.add("4.4", "of two such routes the better one is chosen", |scene| {
        let mut peer = scene.up_with(&scene.open(RESTART, LONG), &[OWN, LLGR_STALE])?;
        let _rival = scene.rival(&[OWN, LLGR_STALE])?;
        scene.stays(Told::Stale(ROUTE))?;
        peer.say(&Draft { withdrawn: nlri(&[scene.route()]), ..Draft::default() }.bytes())?;
        scene.comes(Told::Stale(RIVAL))
    });
    run(rows);
}
