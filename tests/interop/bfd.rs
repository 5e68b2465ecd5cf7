//! BFD with BIRD and FRR over both families: it comes up on both sides, sees at once what TCP does not, ends BGP with the
//! right words, and is no reason to end anything where it should not.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use routenet::agent::peering::bfd::{Bfd, Link};
use routenet::agent::peering::neighbor_lines;
use routenet::api::listing::{BfdLine, NeighborLine};
use routenet_core::bfd::{engine, packet, session};
use routenet_core::bgp::speaker::{PeerConfig, SpeakerConfig};
use routenet_core::model::BfdSettings;

use crate::bird::Bird;
use crate::fixture::{Agent, Site, established};
use crate::frr::Frr;
use crate::rig::{LIMIT, Namespace, Neighbor, OUR_AS, OURS, THEIR_AS, THEIRS, Us, between, cidr, ip, peer, speaker};
use crate::support::hosts;
use crate::support::{Process, in_fresh_netns, run, wait_for};

const OWN: [&str; 1] = ["10.65.0.0/26"];
const FOREIGN: [&str; 1] = ["198.51.100.0/24"];
/// What the session agrees on; BFD is to be much faster.
const HOLD_TIME: Duration = Duration::from_secs(30);

pub const BIRD_BFD: &str = "protocol bfd bfd1 { interface \"*\" { interval 100 ms; idle tx interval 1 s; multiplier 3; }; \
                        multihop { interval 100 ms; multiplier 3; }; }\nprotocol device";

fn watched(transport: usize, bfd: BfdSettings) -> SpeakerConfig {
    let mut config = speaker(transport, THEIR_AS);
    for peer in config.peers.values_mut() {
        peer.bfd = Some(bfd);
    }
    config
}

/// BIRD with BFD of 3 x 100 ms, and BGP that goes by it as `how` says.
fn bird(namespace: Namespace, transport: usize, how: &str) -> Bird {
    let bird = Bird::with(namespace, transport, THEIR_AS, &FOREIGN, how);
    bird.reconfigure("protocol device", BIRD_BFD);
    bird
}

fn frr(namespace: Namespace, transport: usize, more: &[&str]) -> Frr {
    Frr::with(namespace, transport, THEIR_AS, &FOREIGN, &[&["bfd", "bfd profile fast"], more].concat())
}

/// What its BFD says: whether its session with us is up.
trait Watches: Neighbor {
    fn sees_us(&self) -> bool;
}

impl Watches for Bird {
    fn sees_us(&self) -> bool {
        self.ask("show bfd sessions").lines().any(|line| line.split_whitespace().any(|word| word == "Up"))
    }
}

impl Watches for Frr {
    fn sees_us(&self) -> bool {
        self.bfd_states() == ["up"]
    }
}

fn line(us: &Us, transport: usize) -> NeighborLine {
    let lines = neighbor_lines(&us.status()).into_iter();
    lines.into_iter().find(|line| line.address == THEIRS[transport]).expect("a neighbour")
}

fn bfd(us: &Us, transport: usize) -> BfdLine {
    line(us, transport).bfd.expect("it is configured")
}

fn is_up(us: &Us, transport: usize) -> bool {
    bfd(us, transport).state == "Up"
}

/// Both sessions stand, BFD with the timers of both sides.
fn up(neighbor: &dyn Watches, us: &Us, transport: usize) {
    wait_for("BGP on both sides", LIMIT, || us.established(THEIRS[transport]) && neighbor.established());
    wait_for("BFD on both sides", LIMIT, || is_up(us, transport) && neighbor.sees_us());
    wait_for("its route", LIMIT, || us.learned().contains_key(&cidr(FOREIGN[0])));
    wait_for("our route", LIMIT, || neighbor.learned().contains_key(&cidr(OWN[0])));
    wait_for("the timers to be agreed on", LIMIT, || {
        let bfd = bfd(us, transport);
        (bfd.transmit_interval_ms, bfd.detection_time_ms) == (100, Some(300))
    });
}

fn start(config: SpeakerConfig) -> Us {
    let us = Us::start(config, false);
    us.announce(&OWN);
    us
}

/// Drops what comes in, of both families, before anybody sees it: for TCP the other side is only silent.
pub fn deafen(mut command: impl FnMut(&str) -> Command, what: &str, deaf: bool) {
    for program in ["iptables", "ip6tables"] {
        let mut words = vec!["-w", if deaf { "-I" } else { "-D" }, "INPUT"];
        words.extend(what.split_whitespace());
        let status = command(program).args(words).status().expect("iptables (make deps)");
        assert!(status.success(), "{program}: {status}");
    }
}

pub fn here(program: &str) -> Command {
    Command::new(program)
}

/// The link is cut in one direction, then in the other, and BGP ends on our side with the words that say why.
fn a_cut_link_ends_bgp(neighbor: &dyn Watches, transport: usize) {
    let us = start(watched(transport, BfdSettings::default()));
    up(neighbor, &us, transport);
    for we_are_deaf in [true, false] {
        let cut = |cut: bool| {
            if we_are_deaf {
                deafen(here, "-i us0 -j DROP", cut);
            } else {
                deafen(|program| neighbor.command(program), "-i them0 -j DROP", cut);
            }
        };
        let sessions = us.peer(THEIRS[transport]).sessions;
        let start = Instant::now();
        cut(true);
        wait_for("the end of BGP", HOLD_TIME / 2, || !us.established(THEIRS[transport]));
        println!("{we_are_deaf}: BGP ended after {:?}", start.elapsed());
        assert!(!us.learned().contains_key(&cidr(FOREIGN[0])), "nothing of it is kept");
        let line = line(&us, transport);
        // Nobody comes back while the link is cut, so this is what is told last.
        let why = line.last_error.expect("an error");
        let bfd = line.bfd.expect("it is configured");
        // Where packets of ours are lost BIRD may be the first to notice; its Cease, which has no subcode, then reaches us.
        let theirs = !we_are_deaf && why == "received Cease (6/0)";
        assert!(why.contains("BFD Down (6/10)") || why.contains("connect") || theirs, "{why}");
        assert_ne!(bfd.state, "Up");
        let down = bfd.why.expect("a reason");
        let expected = if we_are_deaf { "Control Detection Time Expired" } else { "Neighbor Signaled Session Down" };
        assert!(down.contains(expected), "{down}");
        wait_for("the end on its side", HOLD_TIME / 2, || !neighbor.established() && !neighbor.sees_us());
        cut(false);
        up(neighbor, &us, transport);
        assert!(us.peer(THEIRS[transport]).sessions > sessions);
    }
    us.stop();
}

#[test]
fn bird_a_cut_link_ends_bgp_long_before_the_hold_time() {
    for transport in [0, 1] {
        between(move |namespace| a_cut_link_ends_bgp(&bird(namespace, transport, "bfd on;"), transport));
    }
}

#[test]
fn frr_a_cut_link_ends_bgp_long_before_the_hold_time() {
    for transport in [0, 1] {
        between(move |namespace| a_cut_link_ends_bgp(&frr(namespace, transport, &[]), transport));
    }
}

/// RFC 5882 4.1: BGP comes up and stays although there is no BFD at the other end.
fn without_bfd(neighbor: &dyn Neighbor, transport: usize) {
    let us = start(watched(transport, BfdSettings::default()));
    wait_for("BGP on both sides", LIMIT, || us.established(THEIRS[transport]) && neighbor.established());
    // Far longer than the detection time.
    wait_for("three seconds of it", LIMIT, || bfd(&us, transport).since_secs >= 3);
    let line = line(&us, transport);
    assert_eq!((line.state.as_str(), line.sessions), ("Established", 1));
    let bfd = line.bfd.expect("it is configured");
    assert_eq!((bfd.state.as_str(), bfd.sessions), ("Down", 0));
    assert_eq!(bfd.why.as_deref(), Some("never up; nothing is heard from the neighbour"));
    us.stop();
}

#[test]
fn bird_without_bfd_keeps_its_session() {
    between(|namespace| without_bfd(&Bird::new(namespace, 0, THEIR_AS, &FOREIGN), 0));
}

#[test]
fn frr_without_bfd_keeps_its_session() {
    between(|namespace| without_bfd(&Frr::new(namespace, 1, THEIR_AS, &FOREIGN), 1));
}

/// RFC 5881 5: what came over a router is nobody's, and is told; then the same packets with a full TTL are taken.
#[test]
fn packets_with_another_ttl_are_ignored() {
    for (transport, program) in [(0, "iptables"), (1, "ip6tables")] {
        between(move |namespace| {
            let bird = bird(namespace, transport, "bfd on;");
            let rule = |how: &str| {
                let target = if transport == 0 { ["TTL", "--ttl-set"] } else { ["HL", "--hl-set"] };
                let words = format!("-w -t mangle {how} POSTROUTING -p udp --dport 3784 -j {} 254", target.join(" "));
                let status = bird.command(program).args(words.split(' ')).status().expect("iptables");
                assert!(status.success(), "{program} {words}: {status}");
            };
            rule("-A");
            let us = start(watched(transport, BfdSettings::default()));
            wait_for("BGP", LIMIT, || us.established(THEIRS[transport]));
            wait_for("packets that are not taken", LIMIT, || bfd(&us, transport).discarded >= 3);
            let seen = bfd(&us, transport);
            assert_eq!((seen.state.as_str(), seen.sessions, seen.remote_state), ("Down", 0, None));
            let why = seen.why.expect("a reason");
            assert!(why.contains("its TTL is 254"), "{why}");
            assert!(!bird.sees_us());
            rule("-D");
            up(&bird, &us, transport);

            // Once it is Up they are no sign of life either.
            rule("-A");
            wait_for("the failure", HOLD_TIME / 2, || !is_up(&us, transport));
            us.stop();
        });
    }
}

/// RFC 5882 3.2: the neighbour's administrator ends BFD, not BGP. (BIRD's only falls silent, which is a failure.)
#[test]
fn frr_whose_administrator_ends_bfd_keeps_its_session() {
    between(|namespace| {
        let frr = frr(namespace, 0, &[]);
        let us = start(watched(0, BfdSettings::default()));
        up(&frr, &us, 0);
        frr.ask_bfd("configure terminal\nbfd\nprofile fast\nshutdown");
        wait_for("the end of BFD", LIMIT, || !is_up(&us, 0));
        wait_for("three seconds of it", LIMIT, || bfd(&us, 0).since_secs >= 3);
        let line = line(&us, 0);
        assert_eq!((line.state.as_str(), line.sessions), ("Established", 1), "{line:?}");
        assert_eq!(line.bfd.expect("it is configured").why.as_deref(), Some("the neighbour's administrator ended it"));
        frr.ask_bfd("configure terminal\nbfd\nprofile fast\nno shutdown");
        up(&frr, &us, 0);
        assert_eq!(us.peer(THEIRS[0]).sessions, 1);
        us.stop();
    });
}

/// Two of ours, on addresses of one machine. What AdminDown means both know: BFD is taken from one and given back, and BGP does
/// not notice; one leaves, and its routes are kept.
#[test]
fn two_of_ours_tell_an_end_from_a_failure() {
    in_fresh_netns(|| {
        let (ours, theirs) = ("10.9.9.2", "10.9.9.3");
        for address in [ours, theirs] {
            run("ip", &["address", "add", address, "dev", "lo"]);
        }
        let config = |own: &str, other: &str, bfd| {
            let as_of = |address| if address == ours { OUR_AS } else { THEIR_AS };
            let peer = PeerConfig { bfd, ..peer("them", as_of(other), own) };
            SpeakerConfig {
                as_number: as_of(own),
                router_id: own.parse().expect("an address"),
                address4: Some(ip(own)),
                connect_retry: Duration::from_secs(1),
                peers: BTreeMap::from([(ip(other), peer)]),
                ..SpeakerConfig::default()
            }
        };
        let with = Some(BfdSettings::default());
        let start = |own: &str, other: &str| Us::start_at(&[&format!("{own}:179")], config(own, other, with), false);
        let (us, them) = (start(ours, theirs), start(theirs, ours));
        us.announce(&OWN);
        them.announce(&FOREIGN);
        let bfd = |of: &Us| neighbor_lines(&of.status()).remove(0).bfd;
        let up = |of: &Us| bfd(of).is_some_and(|bfd| bfd.state == "Up");
        wait_for("all of it", LIMIT, || us.established(theirs) && them.established(ours) && up(&us) && up(&them));
        wait_for("its route", LIMIT, || us.learned().contains_key(&cidr(FOREIGN[0])));

        them.peering.configure(config(theirs, ours, None));
        wait_for("the end of BFD", LIMIT, || !up(&us));
        wait_for("a while", LIMIT, || bfd(&us).is_some_and(|bfd| bfd.since_secs >= 2));
        assert_eq!(bfd(&us).and_then(|bfd| bfd.why).as_deref(), Some("the neighbour's administrator ended it"));
        them.peering.configure(config(theirs, ours, with));
        wait_for("BFD again", LIMIT, || up(&us) && up(&them));
        assert_eq!((us.peer(theirs).sessions, us.peer(theirs).last_error), (1, None), "BGP has not noticed");

        them.stop();
        wait_for("its end", LIMIT, || !us.established(theirs) && !up(&us));
        wait_for("a while", LIMIT, || bfd(&us).is_some_and(|bfd| bfd.since_secs >= 2));
        assert!(us.peer(theirs).retained && us.learned().contains_key(&cidr(FOREIGN[0])), "kept");
        us.stop();
    });
}

/// Link-local neighbours are told apart by their interface, whatever else has such an address.
#[test]
fn bird_at_a_link_local_address() {
    between(|namespace| {
        let bird = Bird::new(namespace, 0, THEIR_AS, &FOREIGN);
        let local = |list: &str| {
            let text =
                list.split_whitespace().skip_while(|word| *word != "inet6").nth(1).expect("a link-local address");
            text.split('/').next().expect("an address").to_string()
        };
        let words = |interface| ["-6", "-o", "address", "show", "scope", "link", "dev", interface];
        wait_for("addresses that may be used", LIMIT, || !run("ip", &words("us0")).contains("tentative"));
        let ours = local(&run("ip", &words("us0")));
        let theirs = || {
            let output = bird.command("ip").args(words("them0")).output().expect("ip");
            String::from_utf8(output.stdout).expect("text")
        };
        wait_for("addresses that may be used", LIMIT, || !theirs().contains("tentative"));
        let theirs = local(&theirs());
        let watch = format!("neighbor {ours} dev \"them0\" local {theirs};");
        bird.reconfigure("protocol device", &BIRD_BFD.replacen('{', &format!("{{ {watch}"), 1));

        let interface = nix::net::if_::if_nametoindex("us0").expect("an interface");
        let neighbor = engine::Neighbor { address: ip(&theirs), interface, multihop: false };
        let elsewhere = engine::Neighbor { interface: 1, ..neighbor };
        let settings = session::Settings { interval: Duration::from_millis(100), multiplier: 3 };
        let link = Link { local: None, wanted: engine::Wanted { settings, least_ttl: 0 } };
        let (mut ours, _heard) = Bfd::new();
        ours.configure(BTreeMap::from([(neighbor, link), (elsewhere, link)])).expect("a thread");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let state = |of| runtime.block_on(ours.report()).sessions.get(&of).map(|status| status.state);
        wait_for("both sides", LIMIT, || state(neighbor) == Some(packet::State::Up) && bird.sees_us());
        assert_eq!(state(elsewhere), Some(packet::State::Down));
    });
}

/// We leave: AdminDown comes first, so that graceful restart keeps our routes.
fn leaving_is_no_failure(neighbor: &dyn Watches) {
    let us = start(watched(0, BfdSettings::default()));
    up(neighbor, &us, 0);
    us.stop();
    wait_for("the end of both sessions", LIMIT, || !neighbor.established() && !neighbor.sees_us());
    // Three times the detection time after that.
    let until = Instant::now() + Duration::from_secs(1);
    wait_for("a second", LIMIT, || {
        assert!(neighbor.learned().contains_key(&cidr(OWN[0])), "kept while we are away");
        Instant::now() >= until
    });
    let us = start(watched(0, BfdSettings::default()));
    up(neighbor, &us, 0);
    us.stop();
}

/// BIRD 2.0 takes AdminDown for a failure; `bfd graceful` has it do then what graceful restart says.
#[test]
fn bird_keeps_our_routes_when_we_leave() {
    between(|namespace| leaving_is_no_failure(&bird(namespace, 0, "bfd graceful;")));
}

#[test]
fn frr_keeps_our_routes_when_we_leave() {
    between(|namespace| leaving_is_no_failure(&frr(namespace, 0, &[])));
}

/// RFC 5882 4.3.2: BIRD's BFD dies with it. TCP says so first, and what follows does not end the restart.
#[test]
fn bird_that_is_killed_keeps_its_routes_with_us() {
    between(|namespace| {
        let mut bird = bird(namespace, 0, "bfd graceful;");
        let us = start(watched(0, BfdSettings::default()));
        up(&bird, &us, 0);
        bird.kill();
        wait_for("the failure of both", LIMIT, || !us.established(THEIRS[0]) && !is_up(&us, 0));
        assert!(us.peer(THEIRS[0]).retained);
        assert!(us.learned().contains_key(&cidr(FOREIGN[0])), "kept while it is away");
        bird.start();
        up(&bird, &us, 0);
        us.stop();
    });
}

/// RFC 5883: another port, and a TTL that is a setting.
#[test]
fn bird_over_several_hops_is_held_to_the_ttl_that_was_asked_for() {
    between(|namespace| {
        let bird = bird(namespace, 0, "multihop 5; bfd on;");
        let rule = "-w -t mangle -A POSTROUTING -p udp --dport 4784 -j TTL --ttl-set 250";
        assert!(bird.command("iptables").args(rule.split(' ')).status().expect("iptables").success());
        let far = |minimum_ttl| BfdSettings { multihop: true, minimum_ttl, ..BfdSettings::default() };
        let us = start(watched(0, far(Some(251))));
        wait_for("BGP", LIMIT, || us.established(THEIRS[0]));
        wait_for("packets that are not taken", LIMIT, || bfd(&us, 0).discarded >= 3);
        assert!(!is_up(&us, 0) && !bird.sees_us());
        us.peering.configure(watched(0, far(Some(250))));
        up(&bird, &us, 0);
        us.peering.configure(watched(0, far(None)));
        up(&bird, &us, 0);
        assert_eq!(bfd(&us, 0).sessions, 1, "a setting that lets more through ends nothing");
        deafen(here, "-i us0 -j DROP", true);
        wait_for("the end of BGP", HOLD_TIME / 2, || !us.established(THEIRS[0]));
        us.stop();
    });
}

/// Another daemon has the port: that is told with its mend, BGP goes on, and once the port is free BFD comes up by itself.
#[test]
fn a_port_that_another_has_is_a_problem_until_it_is_free() {
    between(|namespace| {
        let bird = bird(namespace, 0, "bfd on;");
        let other = std::net::UdpSocket::bind("0.0.0.0:3784").expect("the port");
        let us = start(watched(0, BfdSettings::default()));
        wait_for("BGP", LIMIT, || us.established(THEIRS[0]));
        wait_for("the problem", LIMIT, || {
            us.status().bfd.errors.iter().any(|error| {
                error.contains("cannot take BFD packets on 10.9.0.1:3784") && error.contains("another BFD daemon")
            })
        });
        assert!(!is_up(&us, 0));
        drop(other);
        up(&bird, &us, 0);
        assert_eq!(us.status().bfd.errors, [] as [String; 0]);
        us.stop();
    });
}

/// tshark sees what we send from the first packet to the last: ports and TTL as RFC 5881 wants them, nothing malformed.
#[test]
fn tshark_reads_our_packets() {
    for transport in [0, 1] {
        between(move |namespace| {
            let folder = tempfile::tempdir().expect("a folder");
            let (file, log) = (folder.path().join("bfd.pcapng"), folder.path().join("log"));
            let file = file.to_str().expect("a path in UTF-8");
            let said = std::fs::File::create(&log).expect("a file");
            let mut capture = Command::new("tshark");
            capture.args(["-q", "-i", "us0", "-f", "udp", "-w", file]).stdout(Stdio::null()).stderr(said);
            let capture = Process(capture.spawn().expect("tshark (make deps)"));
            let probe = std::net::UdpSocket::bind((OURS[transport], 0)).expect("a socket");
            wait_for("the capture", LIMIT, || {
                // Nobody is there who would take it.
                let _ = probe.send_to(b"probe", (THEIRS[transport], 9));
                let seen = Command::new("tshark").args(["-n", "-r", file, "-Y", "udp.dstport == 9"]).output();
                seen.is_ok_and(|output| !output.stdout.is_empty())
            });

            let bird = bird(namespace, transport, "bfd on;");
            let us = start(watched(transport, BfdSettings::default()));
            up(&bird, &us, transport);
            wait_for("packets in their turn", LIMIT, || bfd(&us, transport).since_secs >= 2);
            us.stop();
            let ours = format!("{} == {} && udp.dstport == 3784", ["ip.src", "ipv6.src"][transport], OURS[transport]);
            let fields = [
                "bfd.version",
                "bfd.sta",
                "bfd.flags.p",
                "bfd.flags.f",
                "bfd.flags.a",
                "bfd.flags.d",
                "bfd.detect_time_multiplier",
                "bfd.message_length",
                ["ip.ttl", "ipv6.hlim"][transport],
                "udp.srcport",
                "bfd.my_discriminator",
            ];
            let mut words = vec!["-n", "-r", file, "-Y", ours.as_str(), "-T", "fields", "-E", "separator=|"];
            fields.iter().for_each(|field| words.extend(["-e", field]));
            let farewell = |table: &str| table.lines().any(|line| line.split('|').nth(1) == Some("0x00"));
            wait_for("our farewell in the capture", LIMIT, || farewell(&run("tshark", &words)));
            drop(capture);

            let table = run("tshark", &words);
            let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('|').collect()).collect();
            for row in &rows {
                assert_eq!((row[0], row[4], row[5], row[6]), ("1", "0", "0", "3"), "{row:?}");
                assert_eq!((row[7], row[8]), ("24", "255"), "{row:?}");
                assert!(row[2] == "0" || row[3] == "0", "Poll and Final together: {row:?}");
                let port: u16 = row[9].parse().expect("a port");
                assert!(port >= 49152, "{row:?}");
            }
            for column in [9, 10] {
                assert!(
                    rows.iter().all(|row| row[column] == rows[0][column]),
                    "one session, one port, one discriminator"
                );
            }
            // Down, Init or Up at once, Up, and AdminDown; a Poll, and an answer to one.
            for (column, value) in [(1, "0x01"), (1, "0x03"), (1, "0x00"), (2, "1"), (3, "1")] {
                assert!(rows.iter().any(|row| row[column] == value), "{}: {value}\n{table}", fields[column]);
            }
            let bad =
                run("tshark", &["-n", "-r", file, "-Y", "_ws.malformed || (bfd && _ws.expert.severity >= 6291456)"]);
            assert_eq!(bad, "");
        });
    }
}

/// A speaker alone, in our namespace.
fn alone(site: &Site) -> Agent {
    let at = site.directory.path().display();
    let config = format!(
        "node: s1\ndataPlane: off\nstore: {{type: none}}\n\
         bgp:\n  as: {OUR_AS}\n  routerId: {ours}\n  listen: ['{ours}:179']\n  connectRetry: 1\n\
         \x20 peers: [{{name: them, address: {theirs}, as: {THEIR_AS}, import: all, bfd: true}}]\n  originate: [{own}]\n\
         paths: {{state: {at}/h1, socket: {at}/h1.sock}}\n",
        ours = OURS[0],
        theirs = THEIRS[0],
        own = OWN[0],
    );
    Agent::start_with(site, &hosts::Namespace::present(), 1, &config)
}

/// A kill says nothing but by TCP's end; the silence that BFD sees after it does not end what graceful restart keeps.
fn a_killed_agent_is_missed_and_its_routes_are_kept(neighbor: &dyn Watches) {
    let site = Site::new();
    let mut agent = alone(&site);
    let told = || neighbor.learned().contains_key(&cidr(OWN[0]));
    wait_for("all of it", LIMIT, || established(&agent) && neighbor.sees_us() && told());
    agent.kill();
    wait_for("the end of both sessions", LIMIT, || !neighbor.established() && !neighbor.sees_us());
    let until = Instant::now() + Duration::from_secs(1);
    wait_for("a second", LIMIT, || {
        assert!(told(), "kept while we are away");
        Instant::now() >= until
    });
}

#[test]
fn bird_keeps_the_routes_of_a_killed_agent() {
    between(|namespace| a_killed_agent_is_missed_and_its_routes_are_kept(&bird(namespace, 0, "bfd graceful;")));
}

#[test]
fn frr_keeps_the_routes_of_a_killed_agent() {
    let more = ["bfd check-control-plane-failure"];
    between(move |namespace| a_killed_agent_is_missed_and_its_routes_are_kept(&frr(namespace, 0, &more)));
}

/// What a user sees: `routectl bgp neighbors` and `routectl status`, of a speaker alone.
#[test]
fn routectl_tells_how_bfd_is() {
    between(|namespace| {
        let bird = bird(namespace, 0, "bfd on;");
        let site = Site::new();
        let agent = alone(&site);
        let bfd = || agent.routectl(&["bgp", "neighbors", "-o", "json"]).json()[0]["bfd"].clone();
        wait_for("both sessions", LIMIT, || established(&agent) && bfd()["state"] == "Up" && bird.sees_us());
        let table = agent.routectl(&["bgp", "neighbors", "-o", "wide"]).stdout;
        assert!(table.contains("BFD") && table.contains("Up "), "{table}");
        let status = agent.routectl(&["status"]);
        assert_eq!(status.exit, 0, "{}", status.stdout);

        // Only BFD is cut: BGP ends, and comes back without it.
        deafen(here, "-i us0 -p udp -j DROP", true);
        wait_for("the words", LIMIT, || agent.routectl(&["bgp", "neighbors"]).stdout.contains("BFD Down (6/10)"));
        wait_for("BGP without BFD", LIMIT, || established(&agent));
        wait_for("a problem", LIMIT, || {
            let status = agent.routectl(&["status"]);
            status.exit == 1
                && status.stdout.contains("BFD with them (10.9.0.2) is Down: Control Detection Time Expired")
                && status.stdout.contains("UDP 3784")
        });
        deafen(here, "-i us0 -p udp -j DROP", false);
        wait_for("no problem", LIMIT, || agent.routectl(&["status"]).exit == 0);
    });
}
