//! Which of several routes to one prefix is the best (RFC 4271 9.1.1 and 9.1.2.2, RFC 4456 section 9), whatever the order in
//! which they came; what the watchers are told of it (RFC 4271 9.2); and what becomes of it when a route or a session goes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Shutdown};

use crate::case::{Sender, good, prefixes, report, side_by_side};
use crate::heard::{Heard, Prefix};
use crate::peer::Peer;
use crate::raw::{self, Attribute, Draft, OPTIONAL, OPTIONAL_TRANSITIVE, Open, WELL_KNOWN, attribute, header, message};
use crate::speaker::{AT, OUR_AS, Speaker, TESTER_AS, peer, tester};
use crate::support::in_fresh_netns;

/// Section, what it is about, and the routes, the best first. MED makes no order: behind them may be sets of routes of which
/// another one than the first is the best. In a path letters are ASes, those in braces are a set, `/` ends a segment.
/// What is better by the row's step is worse by those behind it: where a row says nothing else it has the higher identifier
/// and address. LOCAL_PREF over iBGP is then 100, which is our default for what came over eBGP.
const ROWS: &str = "
4271 9.1.1 | LOCAL_PREF goes before all else | ibgp AXY pref=101 incomplete med=20 clusters=2 > ebgp A
4271 9.1.1 | eBGP has 100, and goes before less | ebgp AXY incomplete med=20 > ibgp A pref=99
4271 9.1.1 | eBGP between two of iBGP | ibgp AXY pref=101 > ebgp AX > ibgp A pref=99
4271 9.1.1 | LOCAL_PREF's range | ibgp AXY pref=4294967295 > ibgp AX pref=2147483647 > ibgp A pref=0
4271 5.1.5 | a high LOCAL_PREF over eBGP is none | ibgp AX pref=101 > ebgp A pref=200
4271 5.1.5 | a low LOCAL_PREF over eBGP is none | ebgp AX pref=0 > ibgp A pref=99
4271 9.1.2.2 a | the shorter AS_PATH goes before all behind it | ibgp A incomplete med=20 clusters=2 > ebgp AX
4271 9.1.2.2 a | three lengths, of several ASes | ebgp C incomplete > ebgp BX egp > ebgp AXY
4271 9.1.2.2 a | an empty AS_PATH | ibgp incomplete med=20 clusters=2 > ebgp A > ibgp AX
4271 9.1.2.2 a | an AS counts as often as it is there | ebgp AX incomplete > ebgp AAA
4271 9.1.2.2 a | a set counts as one, of three | ebgp A{XYZ} incomplete med=20 > ebgp AXY
4271 9.1.2.2 a | a set counts as one, not as none | ebgp A incomplete med=20 > ebgp A{X}
4271 9.1.2.2 a | a set alone counts as one | ibgp incomplete > ibgp {XYZ} egp > ibgp AX
4271 9.1.2.2 a | a set is as long as one AS | ebgp A{XY} > ebgp AX egp > ebgp A{X} incomplete
4271 9.1.2.2 a | two sets are two | ebgp AX incomplete > ebgp A{XY}{Z} egp > ebgp A{X}{YZ}{C}
4271 9.1.2.2 a | segments add up | ebgp A/X > ebgp AX egp > ebgp A/X incomplete
4271 9.1.2.2 b | ORIGIN goes before all behind it | ibgp A med=20 clusters=2 > ibgp A egp med=10 > ebgp A incomplete
4271 9.1.2.2 b | ORIGIN over eBGP | ebgp A med=20 > ebgp B egp med=10 > ebgp A incomplete
4271 9.1.2.2 b | ORIGIN with empty paths | ibgp med=20 > ibgp egp med=10 > ibgp incomplete
4271 9.1.2.2 c | MED goes before all behind it | ibgp A med=10 clusters=2 > ebgp A med=20
4271 9.1.2.2 c | MED's range | ebgp A med=1 > ebgp A med=2147483648 > ebgp A med=4294967295
4271 9.1.2.2 c | MED within our AS | ibgp A med=1 > ibgp A med=255 > ibgp A med=256
4271 9.1.2.2 c | a missing MED is the lowest | ebgp A > ebgp A med=1 > ibgp A med=2
4271 9.1.2.2 c | a missing MED is 0 | ebgp A id=1.0.1.1 > ebgp A med=0 id=2.0.1.1 > ebgp A id=3.0.1.1
4271 9.1.2.2 c | the neighbouring AS is the first of the path | ebgp AX med=10 > ebgp AY med=20
4271 9.1.2.2 c | the neighbouring AS is not the last | ebgp AX med=20 id=1.0.1.2 > ebgp BX med=10 id=2.0.1.2
4271 9.1.2.2 c | of a higher AS | ebgp B med=20 id=1.0.1.3 > ebgp A med=10 id=2.0.1.3
4271 9.1.2.2 c | of a lower AS | ebgp A med=20 id=1.0.1.4 > ebgp B med=10 id=2.0.1.4
4271 9.1.2.2 c | of another AS, iBGP | ibgp A med=20 id=1.0.1.5 > ibgp B med=10 id=2.0.1.5
4271 9.1.2.2 c | of another AS, eBGP and iBGP | ebgp A med=20 > ibgp B med=10
4271 9.1.2.2 c | of three ASes | ebgp C med=30 id=1.0.1.6 > ebgp B med=20 id=2.0.1.6 > ebgp A id=3.0.1.6
4271 9.1.2.2 c | an empty path is of our AS | ibgp med=10 > ibgp med=20
4271 9.1.2.2 c | a path that begins with a set is of our AS | ibgp {AB} med=10 > ibgp {X} med=20
4271 9.1.2.2 c | and of none of its set | ibgp {A} med=20 id=1.0.1.7 > ibgp A med=10 id=2.0.1.7
4271 9.1.2.2 c | three of two ASes | ebgp B id=2.0.1.8 > ebgp A med=10 id=3.0.1.8 > ebgp A med=20 id=1.0.1.8 | 02:2
4271 9.1.2.2 c | two of iBGP, one of eBGP | ibgp B id=2.0.1.9 > ibgp A med=10 id=3.0.1.9 > ebgp A med=20 id=1.0.1.9 | 02:2
4271 9.1.2.2 c | four | ebgp B med=1 id=3.1.1.1 > ebgp A med=1 id=4.1.1.1 > ebgp B med=2 id=2.1.1.1 > ebgp A med=2 id=1.1.1.1 \
    | 03:3 12:2 23:3 023:3 123:2
4271 9.1.2.2 d | eBGP goes before iBGP | ebgp A id=2.0.2.1 > ebgp B id=3.0.2.1 > ibgp A originator=1.0.2.1
4271 9.1.2.2 d | eBGP before the same path over iBGP | ebgp AX > ibgp AX clusters=1 originator=1.0.2.2
4271 9.1.2.2 f | the lowest identifier | ebgp A id=9.255.255.255 > ebgp B id=10.0.3.1 > ebgp A id=200.0.3.1
4271 9.1.2.2 f | the lowest identifier, iBGP | ibgp A id=9.255.255.254 > ibgp B id=10.0.3.2 > ibgp A id=200.0.3.2
4456 9 | ORIGINATOR_ID is the identifier | ibgp id=5.0.3.3 originator=1.0.3.3 > ibgp id=3.0.3.3 > ibgp id=2.0.3.3 originator=4.0.3.3
7606 7.9 | but not over eBGP | ebgp A id=2.0.3.4 originator=4.0.3.4 > ebgp A id=3.0.3.4 > ebgp A id=5.0.3.4 originator=1.0.3.4
4456 9 | before CLUSTER_LIST | ibgp originator=1.0.3.5 clusters=3 > ibgp originator=2.0.3.5 clusters=1 > ibgp id=3.0.3.5
4456 9 | the shortest one, or none | ibgp id=1.0.3.6 > ibgp originator=1.0.3.6 clusters=1 > ibgp originator=1.0.3.6 clusters=2
4271 9.1.2.2 g | the lowest address | ebgp C id=1.0.4.1 at=127.2.0.9 > ebgp B id=1.0.4.1 at=127.2.0.10 > ebgp A id=1.0.4.1 at=127.2.1.1
4271 9.1.2.2 g | the lowest address, iBGP | ibgp at=127.3.0.9 originator=1.0.4.2 > ibgp at=127.3.0.10 originator=1.0.4.2
7606 7.10 | CLUSTER_LIST over eBGP is none | ebgp A id=1.0.4.3 at=127.4.0.1 clusters=2 > ebgp B id=1.0.4.3 at=127.4.0.2
";

/// Testers of one row, at most.
const MOST: usize = 4;
/// Rows that are under way at a time. All that becomes the best is told to all of their testers, and tshark reads it.
const AT_ONCE: usize = 4;

/// What a tester announces.
#[derive(Clone)]
struct Route {
    /// The tester's; ours: over iBGP.
    as_number: u32,
    /// The tester's, where its rank does not give them.
    address: Option<IpAddr>,
    id: Option<[u8; 4]>,
    /// In the place of those of a good route; the last of a type counts.
    attributes: Vec<Attribute>,
    /// In its COMMUNITIES, which take no part in the decision.
    mark: u8,
}

fn as_number(letter: u8) -> u32 {
    TESTER_AS + u32::from(letter - b'A')
}

impl Route {
    fn read(words: &str, mark: u8) -> Route {
        let mut words = words.split_whitespace().peekable();
        let mut route = Route { as_number: OUR_AS, address: None, id: None, attributes: vec![], mark };
        if words.next() == Some("ebgp") {
            route.as_number = as_number(words.peek().expect("a path").as_bytes()[0]);
        } else {
            route = route.path("").with(WELL_KNOWN, raw::LOCAL_PREF, &[0, 0, 0, 100]);
        }
        for word in words {
            let (field, value) = word.split_once('=').unwrap_or((word, ""));
            let number = || value.parse::<u32>().expect("a number").to_be_bytes();
            let address = || value.parse::<Ipv4Addr>().expect("an address");
            route = match field {
                "id" => Route { id: Some(address().octets()), ..route },
                "at" => Route { address: Some(address().into()), ..route },
                "egp" => route.with(WELL_KNOWN, raw::ORIGIN, &[1]),
                "incomplete" => route.with(WELL_KNOWN, raw::ORIGIN, &[2]),
                "med" => route.with(OPTIONAL, raw::MED, &number()),
                "pref" => route.with(WELL_KNOWN, raw::LOCAL_PREF, &number()),
                "originator" => route.with(OPTIONAL, raw::ORIGINATOR_ID, &address().octets()),
                "clusters" => route.with(OPTIONAL, raw::CLUSTER_LIST, &[192, 0, 2, 201].repeat(number()[3].into())),
                path => route.path(path),
            };
        }
        route
    }

    fn with(mut self, flags: u8, code: u8, value: &[u8]) -> Route {
        self.attributes.push(attribute(flags, code, value));
        self
    }

    fn path(&self, letters: &str) -> Route {
        let numbers = |letters: &str| -> Vec<u32> { letters.bytes().map(as_number).collect() };
        let segments = letters.split(['/', '{']).filter(|segment| !segment.is_empty());
        let path = segments.flat_map(|segment| match segment.strip_suffix('}') {
            Some(set) => raw::segment(1, &numbers(set)),
            None => raw::sequence(&numbers(segment)),
        });
        self.clone().with(WELL_KNOWN, raw::AS_PATH, &path.collect::<Vec<u8>>())
    }

    fn marked(&self, mark: u8) -> Route {
        Route { mark, ..self.clone() }
    }

    fn external(&self) -> bool {
        self.as_number != OUR_AS
    }

    fn draft(&self, prefix: Prefix) -> Draft {
        let sender = Sender { external: self.external(), v6: prefix.0.is_ipv6(), two_octets: false };
        let mut draft = good(sender, 0, &[prefix]);
        self.attributes.iter().for_each(|attribute| draft.put(attribute.clone()));
        draft.put(attribute(OPTIONAL_TRANSITIVE, raw::COMMUNITIES, &[0xff, 0xdc, 0, self.mark]));
        draft
    }
}

fn withdrawal(prefix: Prefix) -> Draft {
    let nlri = raw::nlri(&[prefix]);
    if prefix.0.is_ipv4() {
        return Draft { withdrawn: nlri, ..Draft::default() };
    }
    let gone = attribute(OPTIONAL, raw::MP_UNREACH, &raw::mp_unreach(raw::IPV6, raw::UNICAST, &nlri));
    Draft { attributes: vec![gone], ..Draft::default() }
}

struct Row {
    number: usize,
    line: String,
    routes: Vec<Route>,
    /// Where just these are there, that one is the best.
    unless: Vec<(Vec<usize>, usize)>,
}

impl Row {
    fn read(number: usize, line: &str) -> Row {
        let mut columns = line.split('|').skip(2);
        let mut column = || columns.next().unwrap_or_default();
        let routes = column().split('>').zip(0..).map(|(words, mark)| Route::read(words, mark)).collect();
        let digits = |digits: &str| digits.bytes().map(|digit| usize::from(digit - b'0')).collect::<Vec<_>>();
        let unless = column().split_whitespace().map(|words| words.split_once(':').expect("a set and its best"));
        let unless = unless.map(|(these, best)| (digits(these), digits(best)[0])).collect();
        Row { number, line: line.to_string(), routes, unless }
    }

    fn best(&self, there: &BTreeSet<usize>) -> Option<usize> {
        let unless = self.unless.iter().find(|(these, _)| there.iter().eq(these));
        unless.map(|(_, best)| *best).or(there.first().copied())
    }

    fn tester(&self, who: usize) -> (IpAddr, Open) {
        let place = MOST * self.number + self.routes.len() - 1 - who;
        let [high, low] = (place as u16).to_be_bytes();
        let Route { as_number, address, id, .. } = self.routes[who];
        (address.unwrap_or(tester(place)), Open::new(as_number, id.unwrap_or([198, 18, high, low])))
    }

    fn connect(&self, who: usize, id: Option<[u8; 4]>) -> Result<Peer, String> {
        let (address, open) = self.tester(who);
        let mut peer = Peer::connect(address, AT)?;
        peer.establish(&Open { id: id.unwrap_or(open.id), ..open })?;
        Ok(peer)
    }

    fn played(&self, speaker: &Speaker, play: impl Fn(&mut Turn<'_>) -> Result<(), String>) -> Result<(), String> {
        let mut peers = (0..self.routes.len()).map(|who| self.connect(who, None)).collect::<Result<Vec<_>, _>>()?;
        for v6 in [false, true] {
            let (marker, there, has, told) = ([false; MOST], BTreeSet::new(), [None; 2], [0; 2]);
            play(&mut Turn { speaker, row: self, v6, peers: &mut peers, marker, there, has, told })
                .map_err(|why| format!("RFC {}: {}: {why}", self.line, if v6 { "IPv6" } else { "IPv4" }))?;
        }
        peers.iter_mut().try_for_each(Peer::is_up)
    }
}

/// A row that is played, in one family.
struct Turn<'a> {
    speaker: &'a Speaker,
    row: &'a Row,
    v6: bool,
    peers: &'a mut [Peer],
    /// Whose marker is there.
    marker: [bool; MOST],
    there: BTreeSet<usize>,
    /// By watcher: the mark of the route that it has, and how often it was told one.
    has: [Option<u8>; 2],
    told: [usize; 2],
}

impl Turn<'_> {
    fn prefix(&self) -> Prefix {
        prefixes(self.row.number, self.v6).victim
    }

    /// Says it, and behind it something that is seen whatever becomes of the route: a marker comes, or goes.
    fn says(&mut self, who: usize, draft: &Draft) -> Result<(), String> {
        let marker = prefixes(MOST * self.row.number + who, self.v6).marker;
        let behind = if self.marker[who] { withdrawal(marker) } else { self.row.routes[who].draft(marker) };
        self.peers[who].say(&[draft.bytes(), behind.bytes()].concat())?;
        self.marker[who] = !self.marker[who];
        self.sees_marker(who)
    }

    fn sees_marker(&self, who: usize) -> Result<(), String> {
        let marker = prefixes(MOST * self.row.number + who, self.v6).marker;
        self.speaker.audience(self.row.routes[who].external()).try_for_each(|watcher| {
            watcher.must_see("the marker", marker, |table| table.routes.contains_key(&marker) == self.marker[who])
        })
    }

    /// Each watcher has this route (the iBGP one none that came over iBGP), and was told it once, when it became the best:
    /// not again when something changed behind it, or beside it (RFC 4271 9.2).
    fn best(&mut self, best: Option<&Route>) -> Result<(), String> {
        let prefix = self.prefix();
        for (at, watcher) in self.speaker.watchers.iter().enumerate() {
            let mark = best.filter(|route| watcher.external || route.external()).map(|route| route.mark);
            self.told[at] += usize::from(mark.is_some() && mark != self.has[at]);
            self.has[at] = mark;
            let told = self.told[at];
            watcher.must_see(&format!("expected mark {mark:?}, told {told} times so far"), prefix, |table| {
                let route = table.routes.get(&prefix);
                let has = route.map(|route| route.get(&raw::COMMUNITIES).and_then(|(_, value)| value.last().copied()));
                has == mark.map(Some) && table.announced.get(&prefix).copied().unwrap_or(0) == told
            })?;
        }
        Ok(())
    }

    fn ranks(&mut self) -> Result<(), String> {
        let row = self.row;
        let best = row.best(&self.there).map(|best| &row.routes[best]);
        self.best(best).map_err(|why| format!("of the routes {:?}: {why}", self.there))
    }

    /// Its route comes, or goes where it is there.
    fn flips(&mut self, who: usize) -> Result<(), String> {
        let comes = !self.there.remove(&who) && self.there.insert(who);
        let draft = if comes { self.row.routes[who].draft(self.prefix()) } else { withdrawal(self.prefix()) };
        self.says(who, &draft)?;
        self.ranks()
    }

    /// All come in this order; the best goes and comes again; then they go, each time the best.
    fn order(&mut self, order: &[usize]) -> Result<(), String> {
        order.iter().try_for_each(|who| self.flips(*who))?;
        let best = self.row.best(&self.there).expect("all are there");
        self.flips(best)?;
        self.flips(best)?;
        while let Some(best) = self.row.best(&self.there) {
            self.flips(best)?;
        }
        Ok(())
    }

    /// It has this route in the place of what it had, and then that one is the best.
    fn replaces(&mut self, who: usize, route: &Route, best: &Route) -> Result<(), String> {
        self.says(who, &route.draft(self.prefix()))?;
        self.best(Some(best)).map_err(|why| format!("{who} has the mark {}: {why}", route.mark))
    }

    /// Says this, or else closes the connection; nothing that it told is left. Then it is back, and is to tell its route.
    fn loses_session(&mut self, who: usize, last: &[u8], id: Option<[u8; 4]>) -> Result<(), String> {
        let peer = &mut self.peers[who];
        peer.say(last)?;
        if last.is_empty() {
            peer.stream().shutdown(Shutdown::Write).expect("a socket");
        }
        peer.until("the end", |heard| matches!(heard, Heard::Notification(..) | Heard::Closed))?;
        self.marker[who] = false;
        self.there.remove(&who);
        self.sees_marker(who)?;
        self.ranks()?;
        self.row.connect(who, id).map(|peer| self.peers[who] = peer)
    }

    fn sessions(&mut self, last: &[u8]) -> Result<(), String> {
        [0, 1].into_iter().try_for_each(|who| {
            self.loses_session(who, last, None)?;
            self.flips(who)
        })
    }
}

fn orders(of: usize) -> Vec<Vec<usize>> {
    let Some(last) = of.checked_sub(1) else { return vec![vec![]] };
    let with_last = |order: Vec<usize>| (0..of).map(move |at| [&order[..at], &[last], &order[at..]].concat());
    orders(last).into_iter().flat_map(with_last).collect()
}

fn run(lines: Vec<String>, play: impl Fn(&mut Turn<'_>) -> Result<(), String> + Send + Sync + 'static) {
    in_fresh_netns(move || {
        let rows: Vec<Row> = lines.iter().enumerate().map(|(number, line)| Row::read(number, line)).collect();
        let testers = rows
            .iter()
            .flat_map(|row| row.routes.iter().zip(0..).map(|(route, who)| peer(row.tester(who).0, route.as_number)));
        let mut speaker = Speaker::start(testers.collect());
        let some = rows.chunks(AT_ONCE);
        let failed = some.flat_map(|rows| side_by_side(rows, |_, row| row.played(&speaker, &play))).collect();
        report(failed, rows.len(), speaker.faults());
    });
}

#[test]
fn the_best_of_several() {
    run(ROWS.trim().lines().map(String::from).collect(), |turn| {
        let mut orders = orders(turn.row.routes.len()).into_iter();
        orders.try_for_each(|order| turn.order(&order).map_err(|why| format!("in the order {order:?}: {why}")))
    });
}

/// With both routes there, of which the first is better.
type Conversation = fn(&mut Turn<'_>, &Route, &Route) -> Result<(), String>;

const RIVALS: &[&str] = &["ebgp AX > ebgp BXY", "ebgp AX > ibgp BXY", "ibgp AX > ebgp BXY", "ibgp AX > ibgp BXY"];
/// Whose identifiers decide.
const EVEN: &[&str] = &["ebgp A id=2.0.5.1 > ebgp B id=3.0.5.1", "ibgp A id=2.0.5.1 > ibgp B id=3.0.5.1"];
const CONVERSATIONS: [(&str, &[&str], Conversation); 7] = [
    ("4271 9 | another path in the place of the former", RIVALS, |turn, first, second| {
        let better = second.path("B").marked(7);
        turn.replaces(1, &better, &better)?;
        turn.replaces(1, second, first)?;
        turn.replaces(0, &first.path("AXYZ").marked(8), second)?;
        turn.replaces(0, first, first)
    }),
    ("4271 9.2 | the same again, and changes that decide nothing", RIVALS, |turn, first, second| {
        turn.replaces(0, first, first)?;
        turn.replaces(1, second, first)?;
        let (first, second) = (first.marked(7), second.marked(8));
        turn.replaces(0, &first, &first)?;
        turn.replaces(1, &second, &first)?;
        turn.says(0, &withdrawal(turn.prefix()))?;
        turn.best(Some(&second))
    }),
    ("7606 2 | treat-as-withdraw", RIVALS, |turn, first, second| {
        for (who, route, best) in [(0, first, second), (1, second, first)] {
            turn.replaces(who, &route.clone().with(WELL_KNOWN, raw::ORIGIN, &[9]), best)?;
            turn.replaces(who, route, first)?;
        }
        Ok(())
    }),
    ("4271 8.2.2 | the connection is closed", RIVALS, |turn, _, _| turn.sessions(&[])),
    ("4271 8.2.2 | Cease", RIVALS, |turn, _, _| turn.sessions(&message(raw::NOTIFICATION, &[6, 2]))),
    ("4271 8.2.2 | a fault", RIVALS, |turn, _, _| turn.sessions(&header([0; 16], 19, raw::KEEPALIVE, &[]))),
    ("4271 9.1.2.2 f | another identifier than before", EVEN, |turn, first, second| {
        turn.loses_session(1, &[], Some([1, 0, 5, 1]))?;
        turn.replaces(1, second, second)?;
        turn.replaces(0, first, second)?;
        turn.loses_session(1, &[], None)?;
        turn.replaces(1, second, first)
    }),
];

#[test]
fn the_next_best() {
    let each = CONVERSATIONS.iter();
    let rows = each.flat_map(|(title, all, play)| all.iter().map(move |routes| (format!("{title} | {routes}"), play)));
    let (lines, plays): (Vec<_>, Vec<&Conversation>) = rows.unzip();
    run(lines, move |turn| {
        let row = turn.row;
        turn.flips(0)?;
        turn.flips(1)?;
        plays[row.number](turn, &row.routes[0], &row.routes[1])
    });
}
