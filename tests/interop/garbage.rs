//! Neighbours that send garbage cost their own sessions, while BIRD watches: its session stays, and goes on hearing news.
//!
//! 10 s by default; `GARBAGE_SECS=60` makes it the long run.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use routenet_core::bgp::wire::{self, AfiSafi, Capability, Open};
use socket2::{Domain, Socket, Type};

use crate::bird::Bird;
use crate::rig::{LIMIT, Neighbor, OURS, THEIR_AS, THEIRS, Us, between, cidr, ip, peer, speaker};
use crate::support::{run, wait_for};

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

#[test]
fn garbage_costs_its_own_session_while_bird_watches() {
    let seconds = std::env::var("GARBAGE_SECS").map_or(10, |text| text.parse().expect("GARBAGE_SECS: seconds"));
    between(move |namespace| {
        let mut config = speaker(0, THEIR_AS);
        let attackers: Vec<String> = (0..ATTACKERS).map(|number| format!("10.9.66.{}", number + 1)).collect();
        for address in &attackers {
            run("ip", &["address", "add", &format!("{address}/32"), "dev", "lo"]);
            let mut attacker = peer("attacker", ATTACKER_AS, OURS[0]);
            attacker.passive = true;
            config.peers.insert(ip(address), attacker);
        }
        let bird = Bird::new(namespace, 0, THEIR_AS, &["198.51.100.0/24"]);
        let us = Us::start(config, false);
        us.announce(&["10.65.0.0/26"]);
        wait_for("BIRD's session", LIMIT, || bird.established() && bird.learned().len() == 1);

        let over = Arc::new(AtomicBool::new(false));
        let (bytes, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let threads: Vec<_> = attackers
            .iter()
            .enumerate()
            .map(|(seed, address)| {
                let (over, address) = (over.clone(), address.clone());
                let (bytes, connections) = (bytes.clone(), connections.clone());
                std::thread::spawn(move || {
                    let mut noise = Noise(seed as u64);
                    while !over.load(Ordering::Relaxed) {
                        if let Ok(sent) = attack(&address, &mut noise) {
                            bytes.fetch_add(sent, Ordering::Relaxed);
                            connections.fetch_add(1, Ordering::Relaxed);
                        }
                        std::thread::sleep(Duration::from_millis(50));
                    }
                })
            })
            .collect();

        let end = Instant::now() + Duration::from_secs(seconds);
        let mut round = 0u32;
        while Instant::now() < end {
            round += 1;
            let news = format!("10.65.{}.{}/32", 1 + (round >> 8 & 127), round & 255);
            us.announce(&[&news]);
            wait_for("news at BIRD during the attack", LIMIT, || bird.learned().contains_key(&cidr(&news)));
        }
        over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("an attacker");
        }
        let watcher = us.peer(THEIRS[0]);
        assert_eq!((watcher.sessions, watcher.last_error), (1, None), "the watcher saw nothing of it");
        assert!(us.learned().contains_key(&cidr("198.51.100.0/24")));
        let (bytes, connections) = (bytes.load(Ordering::Relaxed), connections.load(Ordering::Relaxed));
        let peers = us.status().peers;
        let attacked = peers.iter().filter(|peer| peer.config.name == "attacker");
        let (mut sessions, mut malformed, mut ended) = (0, 0, 0);
        for attacker in attacked {
            sessions += attacker.sessions;
            malformed += attacker.malformed;
            ended += u64::from(attacker.last_error.is_some());
        }
        println!(
            "{bytes} bytes of garbage in {connections} connections: {sessions} sessions, {malformed} UPDATEs mended"
        );
        assert!(
            sessions > 10 && malformed > 10 && ended == u64::from(ATTACKERS),
            "the attack must have met its target"
        );
        us.stop();
    });
}
