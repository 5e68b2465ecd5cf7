//! Never open, never lost: policies, sets and endpoints change at speed and the agent is killed a hundred times at random
//! moments, while a stream that must be denied is denied for every packet, and one that must pass loses none. Each packet is
//! a connection of its own, so that each is judged by policy.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use serde_json::json;

use crate::fixture::{Agent, CLUSTER, Site, attach, cni};
use crate::support::dice::Dice;
use crate::support::hosts::{Namespace, segment};
use crate::support::{in_fresh_netns, wait_for};

const KILLS: usize = 100;
const PORT: u16 = 7000;
/// Where no stream's ports are.
const BELOW_EPHEMERAL: Range<u16> = 10_000..32_768;
/// Between two packets of a stream.
const EVERY: Duration = Duration::from_millis(3);
/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// Answers every packet. Its own socket is no place to lose any while others have the processors.
fn echo(stop: Arc<AtomicBool>) {
    let socket = UdpSocket::bind(("0.0.0.0", PORT)).expect("its own port");
    setsockopt(&socket, RcvBufForce, &(8 << 20)).expect("root");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // Who asked may have gone.
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}

/// What became of a stream's packets.
#[derive(Default)]
struct Counts {
    sent: usize,
    /// When the packets were sent that were answered, and those that were not, and from which port.
    answered: Vec<(Instant, Option<SocketAddr>)>,
    lost: Vec<(Instant, Option<SocketAddr>)>,
}

/// Sends a packet from a new port all the time.
fn stream(to: SocketAddr, stop: Arc<AtomicBool>) -> Counts {
    let mut open: VecDeque<(Instant, UdpSocket)> = VecDeque::new();
    let mut counts = Counts::default();
    let mut buffer = [0; 64];
    loop {
        let stopped = stop.load(Ordering::Relaxed);
        if !stopped {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("a port");
            socket.set_nonblocking(true).expect("a mode");
            socket.send_to(b"?", to).expect("a route");
            counts.sent += 1;
            open.push_back((Instant::now(), socket));
        }
        open.retain(|(since, socket)| match socket.recv(&mut buffer) {
            Ok(_) => {
                counts.answered.push((*since, socket.local_addr().ok()));
                false
            }
            Err(_) => true,
        });
        let overdue = open.partition_point(|(since, _)| since.elapsed() > PATIENCE);
        counts.lost.extend(open.drain(..overdue).map(|(since, socket)| (since, socket.local_addr().ok())));
        if stopped && open.is_empty() {
            return counts;
        }
        std::thread::sleep(EVERY);
    }
}

/// Of each of these packets the kill before it.
fn moments(packets: &[(Instant, Option<SocketAddr>)], kills: &[Instant]) -> String {
    let mut text = String::new();
    for (at, from) in packets.iter().take(20) {
        let round = kills.partition_point(|kill| kill <= at);
        let after = round.checked_sub(1).map(|round| at.duration_since(kills[round]));
        let before = kills.get(round).map(|kill| kill.duration_since(*at));
        text += &format!("from {from:?}, {after:?} after kill {round}, {before:?} before the next one\n");
    }
    text
}

/// Where packets may have been lost: their moments, and what the kernels counted.
fn evidence(lost: &[(Instant, Option<SocketAddr>)], kills: &[Instant], places: &[(&str, &Namespace)]) -> String {
    let mut text = moments(lost, kills);
    for (name, namespace) in places {
        for file in ["/proc/net/snmp", "/proc/net/stat/nf_conntrack", "/proc/net/stat/arp_cache"] {
            text += &format!("{name} {file}:\n{}", namespace.run("grep", &["-v", "^Icmp", file]));
        }
        text += &format!("{name}:\n{}", namespace.run("ip", &["-s", "neighbour", "show"]));
    }
    text
}

/// What holds all the time: `web` reaches `db`, `bad` does not. How it is said differs each time.
fn policies(dice: &mut Dice) -> String {
    let order = 1 + dice.below(50);
    let noise: String = (0..dice.below(4))
        .map(|index| {
            format!("  - {{action: Deny, protocol: TCP, source: {{nets: [10.9.{index}.0/24]}}, destination: {{ports: [{}]}}}}\n", 1 + dice.below(60000))
        })
        .collect();
    let by = match dice.below(3) {
        0 => "app == 'web'",
        1 => "app in {'web', 'nobody'}",
        _ => "app != 'bad' && has(app)",
    };
    let mut text = format!(
        "apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {{name: db}}
spec:
  order: {order}
  selector: app == 'db'
  types: [Ingress]
  ingress:
{noise}  - {{action: Allow, protocol: UDP, source: {{selector: \"{by}\"}}, destination: {{ports: [{PORT}]}}}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {{name: beside-{}}}
spec:
  tier: early
  selector: {}
  types: [Ingress, Egress]
  ingress: [{{action: Pass}}]
  egress: [{{action: Pass}}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {{name: set, labels: {{app: web}}}}
spec: {{nets: [10.77.{}.0/24]}}
",
        dice.below(3),
        ["all()", "app == 'db'", "has(app)"][dice.below(3)],
        dice.below(200),
    );
    if dice.below(2) == 0 {
        text += "---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: not-bad}
spec: {order: 5, selector: app == 'db', types: [Ingress], ingress: [{action: Deny, source: {selector: app == 'bad'}}]}
";
    }
    text
}

const TIER: &str = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: early}\nspec: {order: 10}\n---\n";

#[test]
fn a_hundred_kills_open_nothing_and_lose_nothing() {
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    println!("seed {seed}");
    in_fresh_netns(move || {
        let mut dice = Dice(seed);
        let site = Site::new();
        let hosts = segment(1);
        let host = &hosts[0];
        let mut agent = Agent::start(&site, host, 1, "");
        agent.apply(CLUSTER);
        let [web, bad, db] = ["web", "bad", "db"].map(|app| attach(&agent, app, "blue", json!({ "app": app })));
        agent.apply(&format!("{TIER}{}", policies(&mut dice)));
        let stop = Arc::new(AtomicBool::new(false));
        let server = db.within({
            let stop = stop.clone();
            move || echo(stop)
        });
        let to = SocketAddr::new(db.ipv4.parse().expect("an address"), PORT);
        // An answer from before the policies makes a connection that lives on for half a minute: from ports that a stream never
        // gets, and each time from another one.
        let mut ports = BELOW_EPHEMERAL;
        wait_for("the policies", Duration::from_secs(10), || {
            let port = ports.next().expect("a port");
            let ask = move || {
                let socket = UdpSocket::bind(("0.0.0.0", port)).expect("a port");
                socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
                socket.send_to(b"?", to).expect("a route");
                socket.recv(&mut [0; 8]).is_ok()
            };
            web.within(ask).join().expect("an answer") && !bad.within(ask).join().expect("an answer")
        });

        let streams = [&web, &bad].map(|from| {
            let stop = stop.clone();
            from.within(move || stream(to, stop))
        });
        let mut others: Vec<(String, Namespace)> = Vec::new();
        let mut applied = 0;
        let mut kills = Vec::new();
        for round in 0..KILLS {
            for _ in 0..dice.below(4) {
                if dice.below(3) > 0 {
                    let said = agent.try_apply(&policies(&mut dice));
                    applied += usize::from(said.exit == 0);
                    let starting = said.stderr.contains("the agent is starting");
                    assert!(said.exit == 0 || starting, "{said:?}\n{}", agent.log_text());
                } else if others.len() < 4 {
                    let (id, namespace) = (format!("other-{round}-{}", others.len()), Namespace::new());
                    let app = ["web", "bad", "db", "else"][dice.below(4)];
                    let labels = json!({ "app": app });
                    cni(&agent, "ADD", &id, &namespace, json!({ "name": "blue", "labels": labels }));
                    others.push((id, namespace));
                } else {
                    let (id, namespace) = others.remove(dice.below(others.len()));
                    cni(&agent, "DEL", &id, &namespace, json!({ "name": "blue" }));
                }
            }
            std::thread::sleep(Duration::from_millis(dice.below(250) as u64));
            kills.push(Instant::now());
            agent.kill();
            agent.launch(host);
        }
        stop.store(true, Ordering::Relaxed);
        let [passed, denied] = streams.map(|stream| stream.join().expect("its counts"));
        server.join().expect("its end");
        println!(
            "{KILLS} kills, {applied} changes: {} packets that must pass, {} that must not",
            passed.sent, denied.sent
        );
        let opened = moments(&denied.answered, &kills);
        assert!(opened.is_empty(), "packets that were to be denied were answered; seed {seed}\n{opened}");
        if passed.answered.len() != passed.sent {
            let places = [("host", host), ("web", &web.namespace), ("db", &db.namespace)];
            let evidence = evidence(&passed.lost, &kills, &places);
            panic!(
                "{} of {} packets that were to pass were lost; seed {seed}\n{evidence}",
                passed.lost.len(),
                passed.sent
            );
        }
        assert!(applied > KILLS / 4, "{applied} changes were made");
        assert!(passed.sent > 1000 && denied.sent > 1000, "{} {}", passed.sent, denied.sent);
    });
}
