//! A lab's directory, `BASE/NAME`: which processes are its nodes, so that later commands find them, and what the lab
//! shares. A node counts as running while its process id still bears the start time that was written down.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::LabError;
use super::host::Outside;
use super::{enter, health};

/// Where labs are kept unless told otherwise; gone after a reboot, as the labs are.
pub const DEFAULT_BASE: &str = "/run/routenet-lab";

/// What is written down of a deployed lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    pub name: String,
    /// The topology file, absolute.
    pub file: PathBuf,
    pub nodes: Vec<NodeRecord>,
    /// `node:interface`, both ends; the second may be `host:interface`, `mgmt-net:interface` or `dummy`.
    pub links: Vec<[String; 2]>,
    /// Who deployed it.
    #[serde(default)]
    pub owner: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeRecord {
    pub name: String,
    /// The name that containerlab would give the node's container.
    pub long_name: String,
    pub kind: String,
    #[serde(default)]
    pub group: Option<String>,
    pub image: Option<String>,
    /// The node's init, as seen from where the lab was deployed.
    pub pid: i32,
    /// In clock ticks since boot.
    pub start_time: u64,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// The directory that comes first in the node's `PATH`.
    pub programs: PathBuf,
    #[serde(default)]
    pub health: Option<health::Check>,
}

impl NodeRecord {
    pub fn running(&self) -> bool {
        enter::start_time(self.pid).ok() == Some(self.start_time)
    }

    /// Twelve hexadecimal digits that no other start of a node has.
    pub fn id(&self) -> String {
        let digest = Sha256::digest(format!("{}/{}/{}", self.long_name, self.pid, self.start_time));
        digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The path of the node's network namespace, valid while the node runs.
    pub fn netns(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.pid).into()
    }
}

impl Record {
    pub fn node(&self, name: &str) -> Result<&NodeRecord, LabError> {
        let found = self.nodes.iter().find(|node| node.name == name || node.long_name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            LabError::Lab(format!("lab `{}` has no node `{name}`; it has {}", self.name, names.join(", ")))
        })
    }

    /// The other end of a node's link.
    pub fn peer_of(&self, node: &str, interface: &str) -> Option<&str> {
        let end = format!("{node}:{interface}");
        self.links.iter().find_map(|[one, two]| match (*one == end, *two == end) {
            (true, _) => Some(two.as_str()),
            (_, true) => Some(one.as_str()),
            _ => None,
        })
    }

    pub fn running(&self) -> bool {
        self.nodes.iter().any(NodeRecord::running)
    }
}

/// The directory of one lab, which may or may not exist.
#[derive(Clone, Debug)]
pub struct LabDir {
    base: PathBuf,
    name: String,
}

impl LabDir {
    pub fn new(base: &Path, name: &str) -> Self {
        LabDir { base: base.into(), name: name.into() }
    }

    pub fn path(&self) -> PathBuf {
        self.base.join(&self.name)
    }

    /// What the nodes may share (`__clabDir__` in a bind); goes with the lab.
    pub fn shared(&self) -> PathBuf {
        self.path().join("shared")
    }

    pub(super) fn scratch(&self, node: &str) -> PathBuf {
        self.path().join("nodes").join(node)
    }

    pub(super) fn log(&self, node: &str) -> PathBuf {
        self.path().join(format!("{node}.log"))
    }

    fn record_path(&self) -> PathBuf {
        self.path().join("lab.json")
    }

    fn outside_path(&self) -> PathBuf {
        self.path().join("outside.json")
    }

    /// The labs in a base, deployed or not, by name.
    pub fn all(base: &Path) -> Result<Vec<Self>, LabError> {
        let entries = match fs::read_dir(base) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(LabError::system(base.display().to_string(), error)),
        };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names.iter().map(|name| LabDir::new(base, name)).collect())
    }

    /// Creates the directory if need be and holds it until the answer is dropped: one deployment or destruction of a
    /// lab at a time.
    pub(super) fn lock(&self) -> Result<Flock<File>, LabError> {
        let path = self.path();
        let fail = |error: io::Error| LabError::system(path.display().to_string(), error);
        loop {
            fs::create_dir_all(&path).map_err(fail)?;
            let held = match File::open(&path) {
                Ok(file) => Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| fail(error.into()))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(fail(error)),
            };
            // Whoever held it before may have removed it: then this lock is on nothing.
            let ours = held.metadata().map_err(fail)?.ino();
            if fs::metadata(&path).is_ok_and(|there| there.ino() == ours) {
                return Ok(held);
            }
        }
    }

    /// What was written down; `None` when no deployment of this lab was ever completed.
    pub fn record(&self) -> Result<Option<Record>, LabError> {
        let path = self.record_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LabError::system(path.display().to_string(), error)),
        };
        let record = serde_json::from_str(&text);
        record.map(Some).map_err(|error| {
            let mend = "kill its nodes (`routectl lab node-init` in ps), then remove the directory";
            LabError::Lab(format!("{}: {error}; written by another version? {mend}", path.display()))
        })
    }

    /// A deployed lab.
    pub fn deployed(&self) -> Result<Record, LabError> {
        let none = || LabError::Lab(format!("lab `{}` is not deployed (looked in {})", self.name, self.base.display()));
        self.record()?.filter(Record::running).ok_or_else(none)
    }

    pub(super) fn write(&self, record: &Record) -> Result<(), LabError> {
        let path = self.record_path();
        let fail = |error: io::Error| LabError::system(path.display().to_string(), error);
        let text = serde_json::to_string_pretty(record).map_err(|error| fail(error.into()))?;
        let new = path.with_extension("new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(fail)
    }

    /// Writes down what the lab will have outside of its nodes.
    pub(super) fn write_outside(&self, outside: &Outside) -> Result<(), LabError> {
        if outside.is_empty() {
            return Ok(());
        }
        let path = self.outside_path();
        let fail = |error: io::Error| LabError::system(path.display().to_string(), error);
        fs::write(&path, serde_json::to_string_pretty(outside).map_err(|error| fail(error.into()))?).map_err(fail)
    }

    fn remove_outside(&self) -> Result<(), LabError> {
        let path = self.outside_path();
        match fs::read_to_string(&path) {
            Ok(text) => {
                let outside: Outside = serde_json::from_str(&text)
                    .map_err(|error| LabError::Lab(format!("{}: {error}; remove the file", path.display())))?;
                outside.remove(&self.name)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(LabError::system(path.display().to_string(), error)),
        }
    }

    /// Ends a lab and removes its directory. Answers whether a node was running; a lab that is not there is no error.
    pub fn destroy(&self) -> Result<bool, LabError> {
        if !self.path().exists() {
            return Ok(false);
        }
        let _held = self.lock()?;
        let any = self.clear()?;
        self.remove()?;
        Ok(any)
    }

    /// Ends the nodes that were written down and empties the directory, for who holds the lock. Answers whether a node
    /// was running.
    pub(super) fn clear(&self) -> Result<bool, LabError> {
        let killed: Vec<_> = self.record()?.iter().flat_map(|record| &record.nodes).filter_map(kill).collect();
        killed.iter().try_for_each(wait_for_end)?;
        self.remove_outside()?;
        let path = self.path();
        let fail = |error: io::Error| LabError::system(path.display().to_string(), error);
        for entry in fs::read_dir(&path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            match entry.file_type().map_err(fail)?.is_dir() {
                true => fs::remove_dir_all(entry.path()).map_err(fail)?,
                false => fs::remove_file(entry.path()).map_err(fail)?,
            }
        }
        Ok(!killed.is_empty())
    }

    pub(super) fn remove(&self) -> Result<(), LabError> {
        let path = self.path();
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LabError::system(path.display().to_string(), error));
            }
            _ => {}
        }
        // The last lab takes the base with it; one that is not empty stays.
        let _ = fs::remove_dir(&self.base);
        Ok(())
    }
}

/// The user who called, also through sudo.
pub(super) fn caller() -> String {
    let named = ["SUDO_USER", "USER"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    named.unwrap_or_else(|| "root".into())
}

/// Kills a node's init, and so all that is in the node. `None` when it was not running.
pub(super) fn kill(node: &NodeRecord) -> Option<std::os::fd::OwnedFd> {
    use std::os::fd::AsRawFd;
    let handle = enter::pidfd(node).ok()?;
    // SAFETY: a system call on a descriptor that we hold, with no structure to read.
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), libc::SIGKILL, std::ptr::null::<()>(), 0)
    };
    (sent == 0).then_some(handle)
}

/// Waits until a killed node has ended. Init ends last: when it has, so has everything in the node.
pub(super) fn wait_for_end(handle: &std::os::fd::OwnedFd) -> Result<(), LabError> {
    use std::os::fd::AsFd;
    let mut ended = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut ended, PollTimeout::from(10_000u16)) {
            Ok(0) => return Err(LabError::Lab("a killed node has not ended within 10 s".into())),
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(LabError::system("waiting for a node's end", error)),
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
