//! Neighbours that send a minute of garbage to a whole agent cost their own sessions, while BIRD watches: its session and
//! the routes of both stay, and the agent goes on answering, in bounded memory.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use routenet_core::bgp::wire::{self, AfiSafi, Capability, Open};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::bird::Bird;
use crate::rig::{LIMIT, Neighbor, OUR_AS, OURS, THEIR_AS, THEIRS, between, cidr, ip};
use crate::support::{Process, run, wait_for};

const OWN: [&str; 2] = ["10.65.0.0/26", "fd65::/122"];
const FOREIGN: [&str; 2] = ["198.51.100.0/24", "2001:db8:1::/48"];
/// kB that the agent may take beyond what it had before.
const MEMORY_MOST: u64 = 32 * 1024;

/// Each has its own address, so that the rest that one earned does not spare us the others.
const ATTACKERS: u8 = 16;
const ATTACKER_AS: u32 = 65066;

/// Pseudo-random bytes (SplitMix64), the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// A good UPDATE with some bytes of it changed.
fn spoiled_update(noise: &mut Noise) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 30];
    body.extend([
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfe, 0x1a, 0x40, 3, 4, 10, 9, 0, 77, 0xc0, 8, 4, 0, 1, 0, 2, 0x80,
    ]);
    body.extend([4, 0, 24, 10, 66, noise.next() as u8]);
    for _ in 0..noise.below(4) {
        let at = noise.below(body.len() as u64) as usize;
        body[at] = noise.next() as u8;
    }
    message(2, &body)
}

fn open() -> Vec<u8> {
    let capabilities = vec![
        Capability::Multiprotocol(AfiSafi::IPV4_UNICAST),
        Capability::Multiprotocol(AfiSafi::IPV6_UNICAST),
        Capability::FourOctetAs(ATTACKER_AS),
    ];
    let router_id = Ipv4Addr::new(10, 9, 0, 66);
    wire::encode_open(&Open { as_number: ATTACKER_AS, hold_time: 90, router_id, capabilities })
}

/// One connection full of garbage; how many bytes of it we were sent.
fn attack(from: &str, noise: &mut Noise) -> std::io::Result<u64> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(ip(from), 0).into())?;
    socket.connect_timeout(&SocketAddr::new(ip(OURS[0]), 179).into(), Duration::from_secs(1))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    stream.set_write_timeout(Some(Duration::from_millis(200)))?;
    let mut sent = 0;
    let mut say = |stream: &mut TcpStream, bytes: &[u8]| stream.write_all(bytes).map(|()| sent += bytes.len() as u64);
    let outcome = (|| {
        if noise.below(4) > 0 {
            say(&mut stream, &open())?;
            say(&mut stream, &message(4, &[]))?;
        }
        let mut answer = [0; 4096];
        for _ in 0..200 {
            let garbage = match noise.below(8) {
                0 => {
                    let length = noise.below(5000) as usize;
                    noise.bytes(length)
                }
                1 | 2 => {
                    let (kind, length) = (noise.below(7) as u8, noise.below(300) as usize);
                    message(kind, &noise.bytes(length))
                }
                3 | 4 => nonsense_update(noise),
                _ => spoiled_update(noise),
            };
            say(&mut stream, &garbage)?;
            match stream.read(&mut answer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })();
    // How it ended is the point of the exercise, not of the attacker.
    let _: std::io::Result<()> = outcome;
    Ok(sent)
}

/// UPDATEs whose attribute list is well framed, and nonsense inside: any type, any flags, any length.
fn nonsense_update(noise: &mut Noise) -> Vec<u8> {
    let mut attributes = Vec::new();
    for _ in 0..noise.below(12) {
        // Those that we know and some more, and once in a while any other.
        let code = if noise.below(8) > 0 { noise.below(41) } else { noise.below(256) } as u8;
        // Without extended length, so that the next one is found.
        let flags = (noise.next() & 0xe0) as u8;
        let length = noise.below(40) as u8;
        attributes.extend([flags, code, length]);
        attributes.extend(noise.bytes(length.into()));
    }
    let length = (attributes.len() as u16).to_be_bytes();
    message(2, &[&[0, 0], &length[..], &attributes, &[24, 10, 66, noise.next() as u8]].concat())
}

/// What the attackers did, together.
#[derive(Default)]
struct Tally {
    over: AtomicBool,
    bytes: AtomicU64,
    connections: AtomicU64,
}

/// Attacks from this address, again as soon as it is let in again, until it is over.
fn attacker(address: &str, seed: u64, tally: &Tally) {
    let mut noise = Noise(seed);
    while !tally.over.load(Ordering::Relaxed) {
        if let Ok(sent) = attack(address, &mut noise) {
            tally.bytes.fetch_add(sent, Ordering::Relaxed);
            tally.connections.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The configuration that we ship for a speaker without data plane, with our addresses and neighbours.
fn configuration(folder: &Path, attackers: &[String]) -> String {
    let shipped = include_str!("../../config/nodes/speaker-only.yaml");
    let mut config: Value = serde_yaml::from_str(shipped).expect("YAML");
    let mut peers = vec![json!({"name": "bird", "address": THEIRS[0], "as": THEIR_AS, "import": "all"})];
    for address in attackers {
        peers.push(json!({"address": address, "as": ATTACKER_AS, "import": "all", "passive": true}));
    }
    config["bgp"]["as"] = json!(OUR_AS);
    config["bgp"]["routerId"] = json!(OURS[0]);
    config["bgp"]["listen"] = json!([format!("{}:179", OURS[0]), format!("[{}]:179", OURS[1])]);
    config["bgp"]["peers"] = json!(peers);
    config["bgp"]["originate"] = json!(OWN);
    config["paths"] = json!({"state": folder.join("state"), "socket": folder.join("agent.sock")});
    serde_yaml::to_string(&config).expect("YAML")
}

/// `routenetd` as a process of its own, and `routectl` to ask it.
struct Daemon {
    process: Process,
    folder: TempDir,
}

impl Daemon {
    fn start(attackers: &[String]) -> Daemon {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("speaker.yaml");
        std::fs::write(&config, configuration(folder.path(), attackers)).expect("a file");
        let log = File::create(folder.path().join("log")).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_routenetd"));
        command.arg("--config").arg(config).stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        Daemon { process: Process(command.spawn().expect("routenetd")), folder }
    }

    /// What `routectl bgp ...` answers; `None` where the agent does not.
    fn ask(&self, what: &str) -> Option<Vec<Value>> {
        let output = Command::new(env!("CARGO_BIN_EXE_routectl"))
            .arg("--socket")
            .arg(self.folder.path().join("agent.sock"))
            .args(["bgp", what, "-o", "json"])
            .output()
            .expect("routectl");
        let answer: Value = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())?;
        answer.as_array().cloned()
    }

    fn neighbors(&self) -> Vec<Value> {
        self.ask("neighbors").unwrap_or_else(|| {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            panic!("the agent does not answer; its log:\n{log}")
        })
    }

    /// Whether BIRD's prefixes are in its RIB.
    fn knows(&self, prefixes: &[&str]) -> bool {
        let routes = self.ask("routes").unwrap_or_default();
        prefixes.iter().all(|prefix| routes.iter().any(|route| route["prefix"] == *prefix))
    }

    /// Its resident memory in kB.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

/// BIRD's state of the session, and since when, in seconds of its day.
fn since(bird: &Bird) -> (String, f64) {
    let answer = bird.ask("show protocols routenet");
    let line = answer.lines().find(|line| line.starts_with("routenet")).expect("its line");
    let words: Vec<&str> = line.split_whitespace().collect();
    let time = words[4].split(':').map(|part| part.parse::<f64>().expect("HH:MM:SS.mmm"));
    (words[5].to_string(), time.fold(0.0, |sum, part| sum * 60.0 + part))
}

#[test]
fn a_minute_of_garbage_costs_its_own_sessions_while_bird_watches() {
    between(|namespace| {
        let attackers: Vec<String> = (0..ATTACKERS).map(|number| format!("10.9.66.{}", number + 1)).collect();
        for address in &attackers {
            run("ip", &["address", "add", &format!("{address}/32"), "dev", "lo"]);
        }
        let bird = Bird::new(namespace, 0, THEIR_AS, &FOREIGN);
        let daemon = Daemon::start(&attackers);
        let told = || OWN.iter().all(|prefix| bird.learned().contains_key(&cidr(prefix)));
        wait_for("BIRD's session", LIMIT, || bird.established() && told() && daemon.knows(&FOREIGN));
        let (session, memory) = (since(&bird), daemon.resident());

        let tally = Arc::new(Tally::default());
        let attack = |(seed, address): (usize, &String)| {
            let (tally, address) = (tally.clone(), address.clone());
            std::thread::spawn(move || attacker(&address, seed as u64, &tally))
        };
        let threads: Vec<_> = attackers.iter().enumerate().map(attack).collect();
        let end = Instant::now() + Duration::from_secs(60);
        let mut most = memory;
        while Instant::now() < end {
            let (state, at) = since(&bird);
            // BIRD works the time of day out anew for each answer, to a millisecond or so; a new session takes a second.
            assert!(state == session.0 && (at - session.1).abs() < 0.1, "BIRD's session never ends: {state}, {at}");
            assert!(told() && daemon.knows(&FOREIGN), "and the routes of both stay");
            let up = |line: &Value| line["name"] == "bird" && line["state"] == "Established";
            assert!(daemon.neighbors().iter().any(up), "and the agent says so");
            most = most.max(daemon.resident());
            assert!(most < memory + MEMORY_MOST, "{memory} kB before, {most} kB now");
            std::thread::sleep(Duration::from_millis(250));
        }
        tally.over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("an attacker");
        }

        let neighbors = daemon.neighbors();
        let (watcher, attacked): (Vec<_>, Vec<_>) = neighbors.iter().partition(|line| line["name"] == "bird");
        assert_eq!((&watcher[0]["sessions"], &watcher[0]["last_error"]), (&json!(1), &Value::Null));
        let sessions: u64 = attacked.iter().filter_map(|line| line["sessions"].as_u64()).sum();
        let ended = attacked.iter().filter(|line| line["last_error"].is_string()).count();
        let (bytes, connections) = (tally.bytes.load(Ordering::Relaxed), tally.connections.load(Ordering::Relaxed));
        println!(
            "{bytes} bytes of garbage in {connections} connections, {sessions} sessions; {memory} kB before, {most} kB at most"
        );
        assert!(
            sessions > 30 && ended == usize::from(ATTACKERS),
            "the attack must have met its target: {neighbors:#?}"
        );
    });
}
