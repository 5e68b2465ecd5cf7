//! `routenetd` with the configuration that we ship for a speaker without data plane, and the peers of a test.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peer::LIMIT;
use crate::raw::Open;
use crate::support::capture::{self, Capture};
use crate::support::{Process, wait_for};
use crate::watcher::Watcher;

pub const OUR_AS: u32 = 64512;
pub const OUR_ID: [u8; 4] = [192, 0, 2, 1];
pub const TESTER_AS: u32 = 65010;
pub const WATCHER_AS: u32 = 65020;
/// Where the speaker listens.
pub const AT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1179);

pub struct Speaker {
    process: Process,
    folder: TempDir,
    /// All that it sends.
    sent: Option<Capture>,
    pub watchers: Vec<Watcher>,
}

/// The address of the tester of this number.
pub fn tester(number: usize) -> IpAddr {
    let [high, low] = u16::try_from(number + 1).expect("not that many").to_be_bytes();
    Ipv4Addr::new(127, 1, high, low).into()
}

/// A neighbour that connects to us, and whose routes are all taken.
pub fn peer(address: IpAddr, as_number: u32) -> Value {
    json!({"address": address, "as": as_number, "import": "all", "passive": true})
}

const EXTERNAL_WATCHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 20));
const INTERNAL_WATCHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 21));

impl Speaker {
    /// Starts it in the network namespace of this thread, with these peers and two watchers, which are up at the end.
    pub fn start(peers: Vec<Value>) -> Speaker {
        Speaker::start_on(peers, None)
    }

    /// The same, listening on these addresses alone.
    pub fn start_on(peers: Vec<Value>, listen: Option<&[&str]>) -> Speaker {
        let folder = tempfile::tempdir().expect("a folder");
        let mut peers = peers;
        peers.push(peer(EXTERNAL_WATCHER, WATCHER_AS));
        peers.push(peer(INTERNAL_WATCHER, OUR_AS));
        let shipped = include_str!("../../config/nodes/speaker-only.yaml");
        let mut config: Value = serde_yaml::from_str(shipped).expect("YAML");
        config["bgp"]["peers"] = json!(peers);
        if let Some(listen) = listen {
            config["bgp"]["listen"] = json!(listen);
        }
        config["bgp"]["connectRetry"] = json!(1);
        // For the rows of RFC 8538; those without its bit show that it changes nothing for others.
        config["bgp"]["gracefulRestart"]["notification"] = json!(true);
        config["paths"] = json!({"state": folder.path().join("state"), "socket": folder.path().join("agent.sock")});
        let path = folder.path().join("speaker.yaml");
        std::fs::write(&path, serde_yaml::to_string(&config).expect("YAML")).expect("a file");
        let log = File::create(folder.path().join("log")).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_routenetd"));
        command.arg("--config").arg(path).stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let sent = Some(Capture::start(AT.port(), |(source, _)| source.port() == AT.port()));
        let process = Process(command.spawn().expect("routenetd"));
        let mut speaker = Speaker { process, folder, sent, watchers: Vec::new() };
        wait_for("the speaker to listen", LIMIT, || TcpStream::connect(AT).is_ok());
        speaker.watchers = vec![
            Watcher::start(EXTERNAL_WATCHER, AT, &Open::new(WATCHER_AS, [192, 0, 2, 20]), true),
            Watcher::start(INTERNAL_WATCHER, AT, &Open::new(OUR_AS, [192, 0, 2, 21]), false),
        ];
        speaker
    }

    /// Those that hear of what a tester announces: what came over iBGP stays there (RFC 4271 9.2).
    pub fn audience(&self, external: bool) -> impl Iterator<Item = &Watcher> {
        self.watchers.iter().filter(move |watcher| external || watcher.external)
    }

    /// Its resident memory in kB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// How many files and sockets it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.0.id())).expect("it runs").count()
    }

    /// What is wrong with the bystanders of all that happened, and with what was sent, as tshark reads it.
    pub fn faults(&mut self) -> Vec<String> {
        let mut faults: Vec<String> = self.watchers.iter().flat_map(Watcher::faults).collect();
        let frames = self.sent.take().expect("asked once").frames(&["4", "2"]);
        println!("tshark: {:?}, NOTIFICATIONs {:?}", capture::counts(&frames), capture::notifications(&frames));
        faults
            .extend(frames.iter().filter(|frame| frame.complaint.is_some()).map(|frame| format!("tshark: {frame:?}")));
        if let Ok(Some(status)) = self.process.0.try_wait() {
            faults.push(format!("routenetd has ended: {status}"));
        }
        if !faults.is_empty() {
            faults.push(std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
        faults
    }
}
