//! BMP as tshark reads it: a station that was there before and one that comes later hear the same of BIRD, and nothing of it
//! is malformed.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::bird::Bird;
use crate::rig::{LIMIT, Neighbor, THEIR_AS, THEIRS, Us, between, cidr, speaker};
use crate::support::{run, wait_for};
use crate::wire_tshark::capture_to;

const PORT: u16 = 11019;

/// A station on the loopback; its connections' bytes as they come.
fn station(port: u16) -> Receiver<Vec<u8>> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).expect("a socket");
    let (tell, heard) = channel();
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let mut chunk = [0; 65536];
        while let Ok(read) = stream.read(&mut chunk) {
            if read == 0 || tell.send(chunk[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    heard
}

/// The whole messages among what was heard.
fn messages(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut all = Vec::new();
    while let Some(length) = rest.get(1..5).map(|l| u32::from_be_bytes(l.try_into().expect("four")) as usize) {
        let Some((message, behind)) = rest.split_at_checked(length) else { break };
        all.push(message);
        rest = behind;
    }
    all
}

/// What tshark makes of it: type, peer, prefixes announced and withdrawn, a line a message.
fn read(bytes: &[u8]) -> String {
    fields_of(bytes, &["bmp.type", "bmp.peer.ip.addr", "bmp.peer.asn", "bgp.nlri_prefix", "bgp.withdrawn_prefix"])
}

fn fields_of(bytes: &[u8], fields: &[&str]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("station.pcap");
    std::fs::write(&file, capture_to(PORT, &messages(bytes))).expect("a capture file");
    let tshark = |more: &[&str]| {
        let file = file.to_str().expect("a path in UTF-8");
        let as_bmp = format!("tcp.port=={PORT},bmp");
        run("tshark", &[&["-n", "-r", file, "-d", as_bmp.as_str()], more].concat())
    };
    let malformed = tshark(&["-Y", "_ws.malformed || _ws.expert.group == \"Malformed\""]);
    assert_eq!(malformed, "", "tshark calls these malformed");
    let mut words = vec!["-T", "fields", "-E", "separator=|"];
    for field in fields.iter().flat_map(|field| ["-e", field]) {
        words.push(field);
    }
    tshark(&words)
}

/// RFC 7911: what is monitored has the identifiers that it came with.
#[test]
fn several_paths_have_their_identifiers() {
    between(|namespace| {
        run("ip", &["link", "set", "lo", "up"]);
        let heard = station(PORT);
        let second =
            "protocol static second {\n  ipv4;\n  route 198.51.100.0/24 blackhole { bgp_path.prepend(65099); };\n}\n";
        let announced = ["198.51.100.0/24"];
        let bird = Bird::in_channels(namespace, 0, THEIR_AS, &announced, "", "add paths tx;", second);
        let mut config = speaker(0, THEIR_AS);
        for peer in config.peers.values_mut() {
            peer.options.add_paths.receive = true;
        }
        let us = Us::watched(config, &[SocketAddr::from(([127, 0, 0, 1], PORT))]);
        wait_for("the session", LIMIT, || bird.established());
        wait_for("both paths", LIMIT, || us.route("198.51.100.0/24").len() == 2);
        bird.ask("disable second");
        wait_for("one of them", LIMIT, || us.route("198.51.100.0/24").len() == 1);
        let mut bytes = Vec::new();
        let mut said = Vec::new();
        wait_for("what the station has to hear", LIMIT, || {
            while let Ok(more) = heard.recv_timeout(Duration::from_millis(100)) {
                bytes.extend(more);
            }
            let fields = ["bgp.nlri_prefix", "bgp.withdrawn_prefix", "bgp.nlri_path_id"];
            let lines = fields_of(&bytes, &fields);
            said = lines.lines().filter(|line| line.contains("198.51.100.0")).map(str::to_string).collect();
            said.len() == 3
        });
        // PREFIX||ID
        let ids: Vec<&str> = said.iter().filter_map(|line| line.rsplit_once('|')).map(|(_, id)| id).collect();
        assert!(ids[0] != ids[1] && ids[..2].contains(&ids[2]) && !ids.contains(&""), "{said:?}");
        us.stop();
    });
}

#[test]
fn stations_hear_what_neighbours_say_whenever_they_come() {
    between(|namespace| {
        run("ip", &["link", "set", "lo", "up"]);
        let early = station(PORT);
        let late_port = PORT + 1;
        let bird = Bird::new(namespace, 0, THEIR_AS, &["198.51.100.0/24", "2001:db8:1::/48"]);
        let stations = [PORT, late_port].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let us = Us::watched(speaker(0, THEIR_AS), &stations);
        wait_for("the session", LIMIT, || bird.established());
        let learned = || us.routes().iter().any(|route| route.prefix == cidr("198.51.100.0/24"));
        wait_for("BIRD's route", LIMIT, learned);

        let mut heard = Vec::new();
        let collect = |from: &Receiver<Vec<u8>>, heard: &mut Vec<u8>, what: &str, wanted: &[&str]| {
            let mut said = String::new();
            wait_for(what, LIMIT, || {
                while let Ok(bytes) = from.recv_timeout(Duration::from_millis(100)) {
                    heard.extend(bytes);
                }
                said = read(heard);
                wanted.iter().all(|wanted| said.lines().any(|line| line.starts_with(wanted)))
            });
            said
        };
        let up = format!("3|{}|{THEIR_AS}|", THEIRS[0]);
        let route = format!("0|{}|{THEIR_AS}|198.51.100.0|", THEIRS[0]);
        let said = collect(&early, &mut heard, "the early station", &["4|", &up, &route]);
        assert!(said.starts_with("4|"), "Initiation is first: {said}");

        let late = station(late_port);
        let mut later = Vec::new();
        let said = collect(&late, &mut later, "the late station", &["4|", &up, &route]);
        assert!(said.starts_with("4|"), "{said}");

        bird.withdraw_all();
        let gone = format!("0|{}|{THEIR_AS}||198.51.100.0", THEIRS[0]);
        collect(&early, &mut heard, "the withdrawal", &[&gone]);
        bird.shut();
        let down = format!("2|{}|{THEIR_AS}|", THEIRS[0]);
        collect(&early, &mut heard, "the end", &[&down]);
        collect(&late, &mut later, "the end, for the late one", &[&gone, &down]);
    });
}
