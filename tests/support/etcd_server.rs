//! Debian's etcd, on ports and in a directory of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use routenet::store::{ClusterStore, EtcdStore};
use routenet_core::model::config::EtcdConfig;

use crate::support::{Process, wait_for};

/// A port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// One member, whose data outlives its process.
pub struct EtcdServer {
    pub port: u16,
    peer_port: u16,
    health_port: u16,
    /// Where clients reach it.
    address: String,
    name: String,
    folder: PathBuf,
    /// Beside what every member is told.
    more: Vec<String>,
    process: Option<Process>,
}

impl EtcdServer {
    /// A cluster of one.
    pub fn start(folder: &Path) -> EtcdServer {
        EtcdServer::start_with(folder, &[])
    }

    pub fn start_with(folder: &Path, more: &[String]) -> EtcdServer {
        let mut server = EtcdServer::new(folder, "m1");
        server.more = more.to_vec();
        server.launch();
        server
    }

    /// A cluster of one for clients elsewhere, who reach it at this address.
    pub fn start_at(folder: &Path, address: &str) -> EtcdServer {
        let mut server = EtcdServer::new(folder, "m1");
        server.address = address.to_string();
        server.launch();
        server
    }

    /// Members of one cluster, all running.
    pub fn cluster(folder: &Path, count: usize) -> Vec<EtcdServer> {
        let mut members: Vec<EtcdServer> =
            (1..=count).map(|number| EtcdServer::new(folder, &format!("m{number}"))).collect();
        let url = |member: &EtcdServer| format!("{}=http://127.0.0.1:{}", member.name, member.peer_port);
        let all = members.iter().map(url).collect::<Vec<_>>().join(",");
        for member in &mut members {
            member.more = vec![format!("--initial-cluster={all}")];
            member.begin();
        }
        members.iter().for_each(EtcdServer::wait);
        members
    }

    fn new(folder: &Path, name: &str) -> EtcdServer {
        let folder = folder.join(format!("etcd-{name}"));
        let (port, peer_port, health_port) = (free_port(), free_port(), free_port());
        let address = "127.0.0.1".to_string();
        EtcdServer {
            port,
            peer_port,
            health_port,
            address,
            name: name.to_string(),
            folder,
            more: Vec::new(),
            process: None,
        }
    }

    /// Starts it (again), on the same data.
    pub fn launch(&mut self) {
        self.begin();
        self.wait();
    }

    fn begin(&mut self) {
        let scheme = if self.more.iter().any(|flag| flag.starts_with("--cert-file")) { "https" } else { "http" };
        let client = format!("{scheme}://{}:{}", self.address, self.port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = Command::new("etcd");
        command
            .args(["--name", &self.name, "--logger", "zap", "--log-level", "error"])
            .arg("--data-dir")
            .arg(&self.folder)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .arg(format!("--listen-metrics-urls=http://127.0.0.1:{}", self.health_port))
            // Quick to notice a member that is gone.
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"]);
        if !self.more.iter().any(|flag| flag.starts_with("--initial-cluster=")) {
            command.arg(format!("--initial-cluster={}={peer}", self.name));
        }
        let child = command.args(&self.more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(Process(child.expect("etcd (make deps)")));
    }

    /// Until it has a leader: one that is killed before has never written down who its members are.
    fn wait(&self) {
        wait_for(&format!("etcd {}", self.name), Duration::from_secs(30), || self.is_healthy());
    }

    fn is_healthy(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.health_port)) else { return false };
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").and_then(|()| stream.read_to_string(&mut answer));
        asked.is_ok() && answer.contains("true")
    }

    /// SIGKILL; its data stays.
    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}:{}", self.address, self.port)
    }
}

/// How a node is told of these members.
pub fn config(endpoints: &[String]) -> EtcdConfig {
    EtcdConfig {
        endpoints: endpoints.to_vec(),
        prefix: "/routenet".into(),
        username: None,
        password_file: None,
        ca_file: None,
        cert_file: None,
        key_file: None,
    }
}

/// Waits until the store answers.
pub async fn answering(store: &EtcdStore) {
    let start = std::time::Instant::now();
    while let Err(error) = store.get("/x").await {
        assert!(start.elapsed() < Duration::from_secs(30), "{error}");
    }
}
