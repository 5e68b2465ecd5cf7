//! Network namespaces of workloads: found by path, told apart by identity, entered for a moment. Called by the link plane, and
//! by the agent for what only shows inside.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;

use nix::sched::{CloneFlags, setns};

/// What makes two paths the same namespace: device and inode of its nsfs file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceId {
    device: u64,
    inode: u64,
}

/// An open namespace; it lives at least as long as this value.
pub struct Namespace {
    file: File,
    id: NamespaceId,
}

impl Namespace {
    /// The calling thread's own.
    pub fn current() -> Result<Namespace, String> {
        Namespace::open("/proc/thread-self/ns/net")
    }

    pub fn open(path: &str) -> Result<Namespace, String> {
        let file = File::open(path).map_err(|error| format!("network namespace {path}: {error}"))?;
        let kind = nix::sys::statfs::fstatfs(&file).map_err(|error| format!("network namespace {path}: {error}"))?;
        if kind.filesystem_type() != nix::sys::statfs::NSFS_MAGIC {
            return Err(format!(
                "{path} is no network namespace; it must be one such as /run/netns/NAME or /proc/PID/ns/net"
            ));
        }
        let metadata = file.metadata().map_err(|error| format!("network namespace {path}: {error}"))?;
        let id = NamespaceId { device: metadata.dev(), inode: metadata.ino() };
        Ok(Namespace { file, id })
    }

    /// The namespace of a workload. `host` is refused: a "container" with the host's own namespace would have its
    /// addresses and default route put on the host.
    pub fn of_workload(path: &str, host: &Namespace) -> Result<Namespace, String> {
        let namespace = Namespace::open(path)?;
        if namespace.id == host.id {
            return Err(format!("{path} is the host's own network namespace; a workload needs one of its own"));
        }
        Ok(namespace)
    }

    pub fn id(&self) -> NamespaceId {
        self.id
    }

    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Runs `task` with the calling thread in this namespace, and brings the thread back to `home`.
    ///
    /// # Panics
    /// When the thread cannot be brought back: it must not go on in a stranger's namespace.
    pub fn enter<T>(&self, home: &Namespace, task: impl FnOnce() -> T) -> Result<T, String> {
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
            .map_err(|error| format!("cannot enter the network namespace: {error}"))?;
        let back = Return(home);
        let value = task();
        drop(back);
        Ok(value)
    }
}

/// Runs `task` in the workload's namespace of this path.
///
/// # Errors
/// The path is none, is the calling thread's own, or cannot be entered.
///
/// # Panics
/// As [`Namespace::enter`].
pub fn inside<T>(path: &str, task: impl FnOnce() -> T) -> Result<T, String> {
    let home = Namespace::current()?;
    Namespace::of_workload(path, &home)?.enter(&home, task)
}

/// Brings the thread back, also when the task panicked.
struct Return<'a>(&'a Namespace);

impl Drop for Return<'_> {
    fn drop(&mut self) {
        setns(self.0.file.as_fd(), CloneFlags::CLONE_NEWNET)
            .expect("a thread may go back to the network namespace that it came from");
    }
}
