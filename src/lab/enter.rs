//! Running a command in a node. Called by `routectl lab exec`, by `inspect` for what a node's interfaces have, and by
//! `health` and `course` for what runs beside a node's init.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigHandler, Signal, signal};

use super::init::NAMESPACES;
use super::{LabError, NodeRecord};

/// A program that is not there, and one that cannot be run: a shell's exit codes.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

/// What a process in a node finds in its environment: this project's programs first in `PATH`, and the node's own.
pub fn environment(programs: &Path, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let mut all = BTreeMap::from([("PATH".to_string(), path), ("HOME".to_string(), "/root".to_string())]);
    all.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
    all
}

/// A handle on the process that is the node's init, which no other process can come to bear.
pub(super) fn pidfd(node: &NodeRecord) -> Result<OwnedFd, LabError> {
    let gone = || LabError::node(&node.name, "is not running; `routectl lab deploy --reconfigure` starts the lab anew");
    // SAFETY: a plain system call without pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, node.pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(gone)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // The start time is read after the handle was taken: if it fits, the handle is the node's.
    if start_time(node.pid).ok() == Some(node.start_time) { Ok(fd) } else { Err(gone()) }
}

/// When a process started, in clock ticks since boot; an error when there is no such process, or it has ended and only
/// waits to be reaped.
pub fn start_time(pid: i32) -> io::Result<u64> {
    start_time_in(Path::new("/proc"), pid)
}

/// The same by another `/proc` than ours, such as a node's.
pub(super) fn start_time_in(proc: &Path, pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat"))?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let start = fields.get(19).and_then(|field| field.parse().ok());
    start.ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat: unexpected form")))
}

/// How long a node has been there.
pub fn age(node: &NodeRecord) -> Option<Duration> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let start = node.start_time as f64 / ticks as f64;
    Some(Duration::from_secs_f64((uptime - start).max(0.0)))
}

/// Runs a command in a node with this process's standard streams; the answer is its exit code, or 128 and the number
/// of the signal that ended it. The command ends when this process does. Must be called before the process has a second
/// thread, and leaves it inside the node's namespaces.
pub fn exec(node: &NodeRecord, words: &[String], extra: &BTreeMap<String, String>) -> Result<u8, LabError> {
    let [program, arguments @ ..] = words else {
        return Err(LabError::node(&node.name, "no command to run"));
    };
    let fd = pidfd(node)?;
    setns(&fd, NAMESPACES).map_err(|error| LabError::system(format!("entering node `{}`", node.name), error))?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment(&node.programs, &node.env)).envs(extra).current_dir("/");
    if let Some(term) = std::env::var_os("TERM") {
        command.env("TERM", term);
    }
    // SAFETY: prctl is async-signal-safe, and the closure allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{program}: {error}");
            let missing = error.kind() == io::ErrorKind::NotFound;
            return Ok(if missing { NOT_FOUND } else { NOT_RUNNABLE });
        }
    };
    // Keys pressed at the terminal go to the command; this process only waits.
    for key in [Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: SIG_IGN runs no code.
        let _ = unsafe { signal(key, SigHandler::SigIgn) };
    }
    let status = child.wait().map_err(|error| LabError::system(program.clone(), error))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Runs a command in a node to its end, beside whatever this process does; inside, an error is what the command said
/// of its failure. One that takes longer than `limit` is killed with all it started.
pub(super) fn run(
    node: &NodeRecord,
    words: &[String],
    limit: Option<Duration>,
) -> Result<Result<(), String>, LabError> {
    let fd = pidfd(node)?;
    let shown = words.join(" ");
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            // A thread may change its mount namespace once it shares its root and working directory with no other.
            unshare(CloneFlags::CLONE_FS)
                .and_then(|()| setns(&fd, NAMESPACES))
                .map_err(|error| LabError::system(format!("entering node `{}`", node.name), error))?;
            Ok(run_here(node, words, limit).map_err(|what| format!("`{shown}`: {what}")))
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn run_here(node: &NodeRecord, words: &[String], limit: Option<Duration>) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let output = memfd_create(c"output", MFdFlags::MFD_CLOEXEC).map_err(|error| format!("memfd: {error}"))?;
    let mut output = fs::File::from(output);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env_clear().envs(environment(&node.programs, &node.env)).current_dir("/");
    command.stdin(Stdio::null()).stdout(output.try_clone().map_err(text)?).stderr(output.try_clone().map_err(text)?);
    let mut child = command.process_group(0).spawn().map_err(text)?;
    let end = limit.map(|limit| Instant::now() + limit);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(text)? {
            break status;
        }
        if end.is_some_and(|end| Instant::now() > end) {
            let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
            let _ = nix::sys::signal::killpg(group, Signal::SIGKILL);
            child.wait().map_err(text)?;
            return Err(format!("took longer than {} s", limit.unwrap_or_default().as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    let _ = output.rewind().and_then(|()| output.read_to_end(&mut said));
    Err(format!("{status}: {}", String::from_utf8_lossy(&said).trim_end()))
}

/// Runs `work` on a thread of its own in the node's network namespace, and in nothing else of the node.
pub fn in_network<T: Send>(node: &NodeRecord, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    let fd = pidfd(node)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(&fd, CloneFlags::CLONE_NEWNET).map_err(|error| {
                LabError::system(format!("entering the network of node `{}` ({})", node.name, fd.as_raw_fd()), error)
            })?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
#[path = "enter_tests.rs"]
mod tests;
