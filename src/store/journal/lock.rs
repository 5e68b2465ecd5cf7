//! One agent per journal: a lock file beside it, which names its holder.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::store::StoreError;

/// How long a lock may outlive who took it: a program that an agent was just starting when it was killed has the file open
/// until it begins to run.
const AFTERLIFE: Duration = Duration::from_secs(5);

/// Held until dropped, and let go by the kernel when the process dies in whatever way.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, never read")] Flock<File>);

impl Lock {
    pub(super) fn take(journal: &Path) -> Result<Lock, StoreError> {
        let path = journal.with_extension("lock");
        let broken = |error: std::io::Error| StoreError::Refused {
            what: format!("the lock file {} cannot be written: {error}", path.display()),
            mend: "the state directory must be writable for the agent's user".into(),
        };
        // Never truncated here: until the lock is held, what it says is somebody else's.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        match lock(file.map_err(broken)?) {
            Ok(mut held) => {
                held.set_len(0).map_err(broken)?;
                held.rewind().map_err(broken)?;
                writeln!(held, "{}", std::process::id()).map_err(broken)?;
                Ok(Lock(held))
            }
            Err((mut file, Errno::EWOULDBLOCK)) => Err(StoreError::Refused {
                what: format!(
                    "journal {} is in use by another agent, process {}",
                    journal.display(),
                    holder(&mut file).as_deref().unwrap_or("unknown")
                ),
                mend: "stop that one, or give this one another `paths.state`".into(),
            }),
            Err((_, errno)) => Err(broken(errno.into())),
        }
    }
}

fn lock(mut file: File) -> Result<Flock<File>, (File, Errno)> {
    let until = Instant::now() + AFTERLIFE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((held, Errno::EWOULDBLOCK)) if Instant::now() < until => {
                file = held;
                let who = holder(&mut file);
                // Who has not yet said who it is has just begun.
                if file.rewind().is_err() || who.is_none_or(|who| has_not_ended(&who)) {
                    return Err((file, Errno::EWOULDBLOCK));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

/// Who is waited for by its parent has ended.
fn has_not_ended(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    let state = stat.as_ref().ok().and_then(|stat| stat.rsplit(") ").next());
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// The process that the file names, if any.
fn holder(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    Some(text.trim().to_string()).filter(|who| !who.is_empty())
}
