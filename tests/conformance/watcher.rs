//! A neighbour that only listens: the table of what it was told last, and whether anything was wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::heard::{Heard, Prefix, Update};
use crate::peer::{LIMIT, Peer};
use crate::raw::{self, Open};

/// Flags and value of each attribute, by type.
pub type Attributes = BTreeMap<u8, (u8, Vec<u8>)>;

#[derive(Default)]
pub struct Table {
    pub routes: BTreeMap<Prefix, Arc<Attributes>>,
    /// By AFI.
    pub end_of_rib: BTreeSet<u16>,
    /// How often each prefix was announced.
    pub announced: BTreeMap<Prefix, usize>,
    /// What should not have been said, and the end of the session.
    pub faults: Vec<String>,
}

pub struct Watcher {
    pub external: bool,
    shared: Arc<(Mutex<Table>, Condvar)>,
    peer: std::net::TcpStream,
}

impl Watcher {
    /// Comes up as this neighbour, and listens from then on. `as_number` is none of ours over eBGP.
    pub fn start(from: IpAddr, to: SocketAddr, open: &Open, external: bool) -> Watcher {
        let mut peer = Peer::connect(from, to).expect("the watcher's connection");
        peer.establish(open).expect("the watcher's session");
        let shared = Arc::new((Mutex::new(Table::default()), Condvar::new()));
        let stream = peer.stream();
        let told = shared.clone();
        std::thread::spawn(move || {
            loop {
                let heard = peer.hear(Duration::from_secs(3600));
                let (table, changed) = &*told;
                let mut table = table.lock().expect("the table");
                let over = table.take_in(heard, external);
                changed.notify_all();
                if over {
                    return;
                }
            }
        });
        Watcher { external, shared, peer: stream }
    }

    /// Whether `wanted` comes true in time.
    pub fn sees(&self, limit: Duration, wanted: impl Fn(&Table) -> bool) -> bool {
        let (table, changed) = &*self.shared;
        let mut table = table.lock().expect("the table");
        let end = Instant::now() + limit;
        while !wanted(&table) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            table = changed.wait_timeout(table, left).expect("the table").0;
        }
        true
    }

    /// The same, within [`LIMIT`], or what is seen instead of it.
    pub fn must_see(&self, what: &str, prefix: Prefix, wanted: impl Fn(&Table) -> bool) -> Result<(), String> {
        if self.sees(LIMIT, wanted) {
            return Ok(());
        }
        Err(format!("{} watcher: {what}; it sees {}", self.name(), self.words(prefix)))
    }

    pub fn name(&self) -> &'static str {
        if self.external { "the eBGP" } else { "the iBGP" }
    }

    pub fn words(&self, prefix: Prefix) -> String {
        match self.shared.0.lock().expect("the table").routes.get(&prefix) {
            Some(attributes) => format!("{}/{} with {attributes:02x?}", prefix.0, prefix.1),
            None => format!("no {}/{}", prefix.0, prefix.1),
        }
    }

    pub fn announced(&self, prefix: Prefix) -> usize {
        self.shared.0.lock().expect("the table").announced.get(&prefix).copied().unwrap_or(0)
    }

    /// What was wrong with what it was told; none: its session is as it was.
    pub fn faults(&self) -> Vec<String> {
        let table = self.shared.0.lock().expect("the table");
        table.faults.iter().map(|fault| format!("{} watcher: {fault}", self.name())).collect()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.peer.shutdown(std::net::Shutdown::Both);
    }
}

impl Table {
    /// `true`: nothing more will come.
    fn take_in(&mut self, heard: Result<Option<Heard>, String>, external: bool) -> bool {
        match heard {
            Ok(Some(Heard::Update(update))) => self.update(update, external),
            Ok(Some(Heard::Keepalive | Heard::Refresh(_)) | None) => {}
            Ok(Some(other)) => {
                self.faults.push(format!("its session ended: {other:?}"));
                return true;
            }
            Err(why) => {
                self.faults.push(why);
                return true;
            }
        }
        false
    }

    fn update(&mut self, update: Update, external: bool) {
        for prefix in &update.withdrawn {
            self.routes.remove(prefix);
        }
        let attributes = Arc::new(update.attributes);
        if !update.reachable.is_empty() {
            self.faults.extend(across_the_border(&attributes, external));
        }
        for prefix in update.reachable {
            *self.announced.entry(prefix).or_default() += 1;
            self.routes.insert(prefix, attributes.clone());
        }
        self.end_of_rib.extend(update.end_of_rib);
    }
}

/// What RFC 4271 5.1 and RFC 4456 allow on each kind of session.
fn across_the_border(attributes: &Attributes, external: bool) -> Option<String> {
    let has = |code: u8| attributes.contains_key(&code);
    let inside = [raw::LOCAL_PREF, raw::ORIGINATOR_ID, raw::CLUSTER_LIST].into_iter().find(|code| has(*code));
    match (external, inside) {
        (true, Some(code)) => Some(format!("attribute {code} over eBGP")),
        (false, _) if !has(raw::LOCAL_PREF) => Some("no LOCAL_PREF over iBGP".to_string()),
        _ => None,
    }
}
