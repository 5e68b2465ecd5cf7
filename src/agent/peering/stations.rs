//! Monitoring stations (BMP, RFC 7854): connected to, told what was and what happens, and let go when they are too slow.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use routenet_core::bgp::monitor::bmp;
use routenet_core::bgp::speaker::Speaker;
use routenet_core::bgp::speaker::monitor::MonitorWalk;
use routenet_core::time::Time;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::StationStatus;
use super::connection::Io;

/// Portions that may wait for a station; with more it is too slow, and begins anew.
const QUEUE: usize = 1024;
/// Prefixes of the table in one portion.
const PORTION: u32 = 512;
const CONNECT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(5);

/// The stations of the configuration.
#[derive(Default)]
pub struct Stations(BTreeMap<SocketAddr, Station>);

struct Station {
    task: JoinHandle<()>,
    /// While it is connected.
    feed: Option<Feed>,
    status: StationStatus,
}

/// What a connected station is fed through, and how far it is in the table that was there before it.
struct Feed {
    queue: mpsc::Sender<Vec<u8>>,
    walk: Option<MonitorWalk>,
}

/// What became of a connection with a station.
pub struct StationIo {
    pub address: SocketAddr,
    /// The queue of the connection that stands; or why there is none.
    pub outcome: Result<mpsc::Sender<Vec<u8>>, String>,
}

impl Stations {
    pub fn new(addresses: &[SocketAddr], io: &mpsc::UnboundedSender<Io>) -> Stations {
        let station = |address: &SocketAddr| Station {
            task: tokio::spawn(connect(*address, io.clone())),
            feed: None,
            status: StationStatus { address: *address, connected: false, error: None },
        };
        Stations(addresses.iter().map(|address| (*address, station(address))).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn status(&self) -> Vec<StationStatus> {
        self.0.values().map(|station| station.status.clone()).collect()
    }

    pub fn take_in(&mut self, io: StationIo, name: &str) {
        let Some(station) = self.0.get_mut(&io.address) else { return };
        station.status.connected = io.outcome.is_ok();
        match io.outcome {
            Ok(queue) => {
                info!(station = %io.address, "BMP station connected");
                let mut hello = Vec::new();
                bmp::initiation(name, concat!("routenet ", env!("CARGO_PKG_VERSION")), &mut hello);
                station.status.error = None;
                // It has room: nothing was put into it before.
                let fresh = queue.try_send(hello).is_ok();
                station.feed = fresh.then_some(Feed { queue, walk: Some(MonitorWalk::default()) });
            }
            Err(error) => {
                if station.status.error.as_ref() != Some(&error) {
                    warn!(station = %io.address, error, "no BMP station");
                }
                station.status.error = Some(error);
                station.feed = None;
            }
        }
    }

    /// What just happened goes to all, then the next parts of the table to those that are not through with it. `true`: there
    /// is more of that at once.
    pub fn feed(&mut self, speaker: &mut Speaker, now: Time) -> bool {
        let news = speaker.take_monitored();
        let mut more = false;
        for station in self.0.values_mut() {
            let Some(feed) = &mut station.feed else { continue };
            if !news.is_empty() && feed.queue.try_send(news.clone()).is_err() {
                // Its connection ends with the queue, and the next one begins with the whole table.
                station.status.error = Some("it reads too slowly, and is told everything again".to_string());
                station.feed = None;
                continue;
            }
            let room = feed.queue.capacity() > QUEUE / 2;
            let Some(walk) = feed.walk.as_mut().filter(|_| room) else { continue };
            let mut part = Vec::new();
            let goes_on = speaker.monitor_walk(walk, PORTION, now, &mut part);
            // There is room: looked at above.
            let _ = feed.queue.try_send(part);
            if goes_on {
                more = true;
            } else {
                feed.walk = None;
            }
        }
        more
    }
}

impl Drop for Stations {
    fn drop(&mut self) {
        for station in self.0.values() {
            station.task.abort();
        }
    }
}

/// Connects, writes what is queued until the queue or the connection ends, and begins again.
async fn connect(address: SocketAddr, io: mpsc::UnboundedSender<Io>) {
    loop {
        let error = match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(mut stream)) => {
                let (queue, mut queued) = mpsc::channel::<Vec<u8>>(QUEUE);
                if io.send(Io::Station(StationIo { address, outcome: Ok(queue) })).is_err() {
                    return;
                }
                write_all(&mut stream, &mut queued).await
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer".to_string(),
        };
        if io.send(Io::Station(StationIo { address, outcome: Err(error) })).is_err() {
            return;
        }
        sleep(RETRY).await;
    }
}

/// Answers why it ended.
async fn write_all(stream: &mut TcpStream, queued: &mut mpsc::Receiver<Vec<u8>>) -> String {
    // A station says nothing: what can be read from it is its end.
    let mut nothing = [0; 64];
    loop {
        tokio::select! {
            bytes = queued.recv() => {
                let Some(bytes) = bytes else { return "it reads too slowly, and is told everything again".to_string() };
                if let Err(error) = stream.write_all(&bytes).await {
                    return error.to_string();
                }
            }
            read = tokio::io::AsyncReadExt::read(stream, &mut nothing) => match read {
                Ok(0) => return "it closed the connection".to_string(),
                Ok(_) => {}
                Err(error) => return error.to_string(),
            },
        }
    }
}
