//! The words between the runner and a node's init: one JSON value a line, over a socket pair that is init's standard
//! input. The end of that stream before [`Order::Keep`] ends the node: a runner that is killed leaves nothing behind.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a node is to be: the first line to its init.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub name: String,
    /// An empty directory of the machine, over which the node may mount.
    pub scratch: PathBuf,
    /// Directory of the executables of this project: visible in the node under its own path, first in `PATH`.
    pub programs: PathBuf,
    pub network: SpecNetwork,
    pub binds: Vec<SpecBind>,
    pub env: BTreeMap<String, String>,
    pub sysctls: BTreeMap<String, String>,
    /// What daemons and the main process print goes to the end of this file.
    pub log: PathBuf,
}

/// The network namespace of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpecNetwork {
    /// A new one.
    New,
    /// That of the runner.
    Kept,
    /// That of this process.
    Of(i32),
}

/// A bind whose source is absolute and exists.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpecBind {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Run to the end.
    Run { words: Vec<String> },
    /// Start in the background.
    Start { words: Vec<String> },
    /// Live on when this stream ends.
    Keep,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The init's process id, as the runner sees it.
    Pid(i32),
    /// The order was carried out; the first one says that the node is set up.
    Done,
    /// What was to start has started, with this process id in the node.
    Started(i32),
    /// The order, or the set-up, failed.
    Failed(String),
}

/// One end of the stream.
pub struct Line {
    reader: BufReader<UnixStream>,
}

impl Line {
    pub fn new(stream: UnixStream) -> Self {
        Line { reader: BufReader::new(stream) }
    }

    pub fn send(&mut self, value: &impl Serialize) -> std::io::Result<()> {
        let mut text = serde_json::to_string(value)?;
        text.push('\n');
        self.reader.get_mut().write_all(text.as_bytes())
    }

    /// The next value; `None` when the other side is gone.
    pub fn receive<T: DeserializeOwned>(&mut self) -> std::io::Result<Option<T>> {
        let mut text = String::new();
        match self.reader.read_line(&mut text)? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&text)?)),
        }
    }

    /// Whether a value may already have been read from the socket, and for waiting on it: the socket itself.
    pub fn buffered(&self) -> bool {
        !self.reader.buffer().is_empty()
    }

    pub fn stream(&self) -> &UnixStream {
        self.reader.get_ref()
    }
}
