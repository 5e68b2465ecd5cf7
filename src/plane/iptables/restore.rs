//! One `iptables-restore --noflush -v`, kept alive and fed commit after commit.
//!
//! With `-v` it repeats each comment line when it comes to it: a comment behind every COMMIT tells that the kernel has
//! the commit. At a bad line it says so, and ends; the next commit starts another.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use routenet_core::model::Family;

use super::{Backend, Origin, TableCommit};

/// How long a commit may take: 50,000 rules take a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// Seconds that legacy waits for another process's xtables lock.
const LOCK_PATIENCE: &str = "10";
const ERRORS_KEPT: usize = 16 * 1024;

/// Why a commit did not go through. Tables before the failed one are committed, it and those after it are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitError {
    /// How many of the tables were committed.
    pub committed: usize,
    /// What the refused line was for, where iptables names a line.
    pub origin: Option<Origin>,
    /// In iptables' words.
    pub message: String,
    /// Whether the same lines may pass another time: iptables did not judge them (it was killed, or the lock was taken).
    pub passing: bool,
}

/// The long-lived process of one family.
pub struct Restore {
    backend: Backend,
    family: Family,
    running: Option<Running>,
    serial: u64,
}

struct Running {
    child: Child,
    input: OwnedFd,
    output: OwnedFd,
    errors: OwnedFd,
    /// Lines fed so far: iptables counts them over its whole life.
    lines: usize,
    said: Vec<u8>,
    complained: Vec<u8>,
}

impl Restore {
    /// Starts nothing before the first commit.
    pub fn new(backend: Backend, family: Family) -> Restore {
        Restore { backend, family, running: None, serial: 0 }
    }

    /// Commits the tables one after the other; returns when the kernel has them.
    pub fn commit(&mut self, tables: &[TableCommit]) -> Result<(), CommitError> {
        let lost = |message: String| CommitError { committed: 0, origin: None, message, passing: true };
        let mut running = match self.running.take() {
            Some(running) => running,
            None => Running::start(self.backend, self.family).map_err(lost)?,
        };
        let before = running.lines;
        let (mut text, mut markers) = (String::new(), Vec::new());
        for commit in tables {
            self.serial += 1;
            text.push_str(&format!("*{}\n", commit.table.name()));
            for line in &commit.lines {
                text.push_str(&line.text);
                text.push('\n');
            }
            let marker = format!("# routenet {}\n", self.serial);
            text.push_str("COMMIT\n");
            text.push_str(&marker);
            markers.push(marker);
            running.lines += commit.lines.len() + 3;
        }
        running.said.clear();
        running.complained.clear();
        let end = running.feed(text.as_bytes(), markers.last().map_or("", String::as_str));
        let said = String::from_utf8_lossy(&running.said).into_owned();
        let committed = markers.iter().take_while(|marker| said.contains(marker.as_str())).count();
        if committed == markers.len() {
            self.running = Some(running);
            return Ok(());
        }
        let complaint = running.finish();
        let line = refused_line(&complaint).and_then(|line| line.checked_sub(before + 1));
        let origin = line.and_then(|line| origin_of(tables, line));
        let judged = !complaint.is_empty() && !is_passing(&complaint);
        let message = if complaint.is_empty() { end } else { complaint };
        Err(CommitError { committed, origin, message, passing: !judged })
    }
}

/// What the line of this index (from 0, over all that was fed) was for.
fn origin_of(tables: &[TableCommit], mut line: usize) -> Option<Origin> {
    for commit in tables {
        if line < commit.lines.len() + 3 {
            return commit.lines.get(line.checked_sub(1)?).map(|line| line.origin.clone());
        }
        line -= commit.lines.len() + 3;
    }
    None
}

/// The number in `Error occurred at line: 12`, `line 12 failed`, or nf_tables' `line 12: RULE_APPEND failed`.
fn refused_line(complaint: &str) -> Option<usize> {
    complaint.match_indices("line").find_map(|(at, _)| {
        let tail = complaint[at + 4..].trim_start_matches([':', ' ']);
        tail[..tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len())].parse().ok()
    })
}

/// Complaints that are not about the lines.
fn is_passing(complaint: &str) -> bool {
    ["xtables lock", "Cannot allocate memory", "Permission denied", "generation id", "unable to initialize table"]
        .iter()
        .any(|words| complaint.contains(words))
}

impl Running {
    fn start(backend: Backend, family: Family) -> Result<Running, String> {
        let program = format!("{}-restore", backend.command(family));
        let mut command = Command::new(&program);
        if backend == Backend::Legacy {
            command.args(["-w", LOCK_PATIENCE]);
        }
        let mut child = command
            .args(["--noflush", "-v"])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program} does not start: {error}"))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return Err(format!("{program} started without its pipes"));
        };
        let (input, output, errors) = (OwnedFd::from(input), OwnedFd::from(output), OwnedFd::from(errors));
        for pipe in [&input, &output, &errors] {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|error| format!("{program}'s pipes: {error}"))?;
        }
        Ok(Running { child, input, output, errors, lines: 0, said: Vec::new(), complained: Vec::new() })
    }

    /// Writes the text and reads until the marker comes back; answers why it stopped otherwise.
    fn feed(&mut self, mut text: &[u8], marker: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.said.ends_with(marker.as_bytes()) {
                return String::new();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return format!("no answer within {} s", PATIENCE.as_secs());
            }
            let mut fds = vec![
                PollFd::new(self.output.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.errors.as_fd(), PollFlags::POLLIN),
            ];
            if !text.is_empty() {
                fds.push(PollFd::new(self.input.as_fd(), PollFlags::POLLOUT));
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            if let Err(error) = poll(&mut fds, timeout)
                && error != nix::Error::EINTR
            {
                return format!("waiting for it: {error}");
            }
            let output_ended = drain(&self.output, &mut self.said);
            drain(&self.errors, &mut self.complained);
            self.complained.truncate(ERRORS_KEPT);
            if output_ended {
                return "it ended".into();
            }
            if text.is_empty() {
                continue;
            }
            match nix::unistd::write(&self.input, text) {
                Ok(written) => text = &text[written..],
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
                // It closed its input: what it says on the way out is read until its output ends.
                Err(_) => text = &[],
            }
        }
    }

    /// Ends the process and answers what it complained of.
    fn finish(mut self) -> String {
        // It ends by itself after a complaint; one that hangs is ended.
        let deadline = Instant::now() + Duration::from_millis(500);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            let mut fds = [PollFd::new(self.errors.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::from(5u8));
            drain(&self.errors, &mut self.complained);
        }
        drain(&self.errors, &mut self.complained);
        let words: Vec<String> = String::from_utf8_lossy(&self.complained)
            .lines()
            .filter(|line| !line.starts_with("Try `") && !line.starts_with('#') && !line.trim().is_empty())
            .map(|line| line.trim().to_string())
            .collect();
        words.join("; ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what is there; true at the end.
fn drain(pipe: &OwnedFd, into: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    loop {
        match nix::unistd::read(pipe, &mut chunk) {
            Ok(0) => return true,
            Ok(count) => into.extend_from_slice(&chunk[..count]),
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::EAGAIN) => return false,
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
