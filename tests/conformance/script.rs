//! Rows that are a conversation: what a peer of their own says, and what it must hear. Run as those of the UPDATE tables.

use std::net::IpAddr;

use serde_json::Value;

use crate::case::{EBGP, IBGP, Prefixes, Sender, good, open, prefixes, report, side_by_side};
use crate::heard::Heard;
use crate::peer::{LIMIT, Peer};
use crate::raw::{Draft, Open, nlri};
use crate::speaker::{AT, OUR_AS, Speaker, TESTER_AS, peer, tester};
use crate::support::in_fresh_netns;

type Play = Box<dyn Fn(&Stage<'_>) -> Result<(), String> + Send + Sync>;

pub struct Script {
    rfc: &'static str,
    name: String,
    external: bool,
    /// How the speaker knows the peer, beyond its address and AS.
    more: Value,
    play: Play,
}

#[derive(Default)]
pub struct Scripts {
    scripts: Vec<Script>,
}

impl Scripts {
    /// A row with a peer that the speaker waits for.
    pub fn add(
        &mut self,
        rfc: &'static str,
        name: impl Into<String>,
        external: bool,
        play: impl Fn(&Stage<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.add_with(rfc, name, external, serde_json::json!({}), play);
    }

    /// The same, with these fields of the peer's configuration.
    pub fn add_with(
        &mut self,
        rfc: &'static str,
        name: impl Into<String>,
        external: bool,
        more: Value,
        play: impl Fn(&Stage<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.scripts.push(Script { rfc, name: name.into(), external, more, play: Box::new(play) });
    }
}

/// What a row has to play with.
pub struct Stage<'a> {
    pub speaker: &'a Speaker,
    /// Of the row's own peer.
    pub address: IpAddr,
    number: usize,
    sender: Sender,
}

impl Stage<'_> {
    pub fn connect(&self) -> Result<Peer, String> {
        Peer::connect(self.address, AT)
    }

    /// The OPEN that is as it should be.
    pub fn open(&self) -> Open {
        open(self.sender, self.number)
    }

    pub fn prefixes(&self) -> Prefixes {
        prefixes(self.number, false)
    }

    /// Up, and its route told to the watchers.
    pub fn establish(&self) -> Result<Peer, String> {
        self.establish_with(&self.open())
    }

    pub fn establish_with(&self, open: &Open) -> Result<Peer, String> {
        let mut peer = self.connect()?;
        peer.establish(open)?;
        self.announces(&mut peer)?;
        Ok(peer)
    }

    /// A good UPDATE about its route.
    pub fn update(&self) -> Draft {
        good(self.sender, 65500, &[self.prefixes().victim])
    }

    /// Whether its session is up: its route comes to the watchers.
    pub fn announces(&self, peer: &mut Peer) -> Result<(), String> {
        let told = peer.say(&self.update().bytes());
        self.is_told().map_err(|why| match peer.is_up().and(told.clone()) {
            Ok(()) => why,
            Err(end) => format!("{why}; {end}"),
        })
    }

    pub fn is_told(&self) -> Result<(), String> {
        let route = self.prefixes().victim;
        self.speaker.audience(self.sender.external).try_for_each(|watcher| {
            watcher.must_see("the route of a session that is up", route, |table| table.routes.contains_key(&route))
        })
    }

    /// Another route of it comes through, too.
    pub fn still_up(&self, peer: &mut Peer) -> Result<(), String> {
        let route = self.prefixes().marker;
        peer.is_up()?;
        peer.say(&good(self.sender, 65500, &[route]).bytes())?;
        self.speaker.audience(self.sender.external).try_for_each(|watcher| {
            watcher.must_see("a route told later", route, |table| table.routes.contains_key(&route))
        })?;
        peer.is_up()
    }

    /// Its routes are gone, since its session is.
    pub fn is_gone(&self) -> Result<(), String> {
        let route = self.prefixes().victim;
        self.speaker.audience(self.sender.external).try_for_each(|watcher| {
            watcher.must_see("no route of a session that ended", route, |table| !table.routes.contains_key(&route))
        })
    }

    /// Withdraws its route, so that it can be told anew.
    pub fn withdraws(&self, peer: &mut Peer) -> Result<(), String> {
        peer.say(&Draft { withdrawn: nlri(&[self.prefixes().victim]), ..Draft::default() }.bytes())?;
        self.is_gone()
    }
}

/// The NOTIFICATION that must come, with its data where the RFC names it, and the end of the connection.
pub fn ends(peer: &mut Peer, code: u8, subcode: u8, data: Option<&[u8]>) -> Result<(), String> {
    let heard = peer.notification()?;
    if (heard.0, heard.1) != (code, subcode) || data.is_some_and(|data| data != heard.2) {
        let (a, b, c) = heard;
        return Err(format!("expected NOTIFICATION {code}/{subcode} with {data:02x?}, heard {a}/{b} with {c:02x?}"));
    }
    Ok(())
}

/// The end of the connection, without a NOTIFICATION before it.
pub fn closes(peer: &mut Peer) -> Result<(), String> {
    match peer.hear(LIMIT)? {
        Some(Heard::Closed) => Ok(()),
        Some(Heard::Open(_) | Heard::Keepalive | Heard::Update(_)) => closes(peer),
        other => Err(format!("expected the connection to be closed, heard {other:?}")),
    }
}

pub fn run(scripts: Scripts) {
    in_fresh_netns(move || {
        let scripts = scripts.scripts;
        let known = scripts.iter().enumerate().map(|(number, script)| {
            let mut peer = peer(tester(number), if script.external { TESTER_AS } else { OUR_AS });
            let more = script.more.as_object().cloned().unwrap_or_default();
            more.into_iter().for_each(|(field, value)| peer[field] = value);
            peer
        });
        let mut speaker = Speaker::start(known.collect());
        let failed = side_by_side(&scripts, |number, script| {
            let sender = if script.external { EBGP } else { IBGP };
            let stage = Stage { speaker: &speaker, address: tester(number), number, sender };
            (script.play)(&stage).map_err(|why| {
                format!("RFC {}: {}: {}: {why}", script.rfc, if script.external { "eBGP" } else { "iBGP" }, script.name)
            })
        });
        report(failed, scripts.len(), speaker.faults());
    });
}
