//! A node's init: PID 1 of its namespaces. Started by `deploy` as `routectl lab node-init`; ends when the runner goes
//! away before it said `Order::Keep`, and with it the kernel ends everything in the node.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::enter;
use super::rootfs;
use super::wire::{Answer, Line, Order, Spec, SpecNetwork};

/// The namespaces of a node.
pub const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNET
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWPID);

/// The whole life of `routectl lab node-init`, whose standard input is the runner's socket. Must be called before the
/// process has a second thread.
pub fn run() -> ExitCode {
    // SAFETY: the runner gave this process its socket as descriptor 0, and nothing else here uses it.
    let stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(0) });
    let mut line = Line::new(stream);
    let spec = match line.receive::<Spec>() {
        Ok(Some(spec)) => spec,
        Ok(None) | Err(_) => {
            eprintln!("routectl lab node-init is started by `routectl lab deploy`, not by hand");
            return ExitCode::FAILURE;
        }
    };
    let _ = nix::unistd::setsid();
    if let Err(what) = leave(spec.network) {
        let _ = line.send(&Answer::Failed(what));
        return ExitCode::FAILURE;
    }
    // SAFETY: this process has one thread, so the child may do anything.
    match unsafe { fork() } {
        Err(error) => {
            let _ = line.send(&Answer::Failed(format!("fork: {error}")));
            ExitCode::FAILURE
        }
        Ok(ForkResult::Parent { child }) => {
            let told = line.send(&Answer::Pid(child.as_raw()));
            if told.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Ok(ForkResult::Child) => live(&spec, line),
    }
}

/// Leaves the runner's namespaces for the node's.
fn leave(network: SpecNetwork) -> Result<(), String> {
    let own = match network {
        SpecNetwork::New => NAMESPACES,
        SpecNetwork::Kept => NAMESPACES - CloneFlags::CLONE_NEWNET,
        SpecNetwork::Of(pid) => {
            let path = format!("/proc/{pid}/ns/net");
            let namespace = File::open(&path).map_err(|error| format!("{path}: {error}"))?;
            setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(|error| format!("{path}: {error}"))?;
            NAMESPACES - CloneFlags::CLONE_NEWNET
        }
    };
    unshare(own).map_err(|error| format!("namespaces: {error} (labs need root)"))
}

fn live(spec: &Spec, mut line: Line) -> ExitCode {
    let log = match set_up(spec) {
        Ok(log) => log,
        Err(what) => {
            let _ = line.send(&Answer::Failed(what));
            return ExitCode::FAILURE;
        }
    };
    if line.send(&Answer::Done).is_err() {
        return ExitCode::FAILURE;
    }
    match serve(spec, &mut line, &log) {
        Ok(true) => reap_for_ever(),
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn set_up(spec: &Spec) -> Result<File, String> {
    let log = OpenOptions::new().create(true).append(true).open(&spec.log);
    let log = log.map_err(|error| format!("{}: {error}", spec.log.display()))?;
    nix::unistd::dup2_stderr(&log).map_err(|error| format!("stderr: {error}"))?;
    nix::unistd::dup2_stdout(&log).map_err(|error| format!("stdout: {error}"))?;
    nix::unistd::sethostname(&spec.name).map_err(|error| format!("hostname: {error}"))?;
    rootfs::enter(spec)?;
    if spec.network == SpecNetwork::New {
        run_command(spec, &["ip", "link", "set", "lo", "up"].map(String::from))?;
    }
    for (key, value) in &spec.sysctls {
        let path = format!("/proc/sys/{}", sysctl_path(key));
        std::fs::write(&path, value).map_err(|error| format!("sysctl {key}={value}: {path}: {error}"))?;
    }
    Ok(log)
}

/// `a.b.c` to `a/b/c`; where the name has slashes, as sysctl(8) has it, they part it and dots belong to its parts.
fn sysctl_path(key: &str) -> String {
    match key.contains('/') {
        true => key.into(),
        false => key.replace('.', "/"),
    }
}

/// Carries out orders until the runner is gone (false) or lets go of the node (true), reaping orphans meanwhile.
fn serve(spec: &Spec, line: &mut Line, log: &File) -> std::io::Result<bool> {
    let children = child_signals()?;
    loop {
        if !line.buffered() {
            let mut ready = [
                PollFd::new(line.stream().as_fd(), PollFlags::POLLIN),
                PollFd::new(children.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [order, child] = ready.map(|one| one.any().unwrap_or(false));
            if child {
                let _ = children.read_signal();
                reap();
            }
            if !order {
                continue;
            }
        }
        let outcome = match line.receive::<Order>()? {
            None => return Ok(false),
            Some(Order::Keep) => {
                line.send(&Answer::Done)?;
                return Ok(true);
            }
            Some(Order::Run { words }) => run_watched(spec, &words, line, &children)?.map(|()| Answer::Done),
            Some(Order::Start { words }) => start_command(spec, &words, log).map(Answer::Started),
        };
        line.send(&outcome.unwrap_or_else(Answer::Failed))?;
    }
}

fn child_signals() -> std::io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    Ok(SignalFd::new(&mask)?)
}

fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

/// The node lives until it is killed.
fn reap_for_ever() -> ExitCode {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    loop {
        reap();
        if mask.wait().is_err() {
            return ExitCode::FAILURE;
        }
    }
}

fn command(spec: &Spec, words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env_clear().envs(enter::environment(&spec.programs, &spec.env)).stdin(Stdio::null());
    command.current_dir("/");
    command
}

/// What a command prints goes to memory, not to a pipe, since what it leaves in the background would keep a pipe open for
/// ever.
struct Running {
    child: Child,
    output: File,
    shown: String,
}

impl Running {
    fn start(spec: &Spec, words: &[String]) -> Result<Self, String> {
        let shown = words.join(" ");
        let output = memfd_create(c"output", MFdFlags::MFD_CLOEXEC).map_err(|error| format!("memfd: {error}"))?;
        let output = File::from(output);
        let clone = |file: &File| file.try_clone().map_err(|error| format!("memfd: {error}"));
        let child = unblocked(command(spec, words).stdout(clone(&output)?).stderr(clone(&output)?))
            .spawn()
            .map_err(|error| format!("`{shown}`: {error}"))?;
        Ok(Running { child, output, shown })
    }

    /// An error carries what the command printed.
    fn end(mut self, status: ExitStatus) -> Result<(), String> {
        if status.success() {
            return Ok(());
        }
        let mut text = Vec::new();
        let _ = self.output.rewind().and_then(|()| self.output.read_to_end(&mut text));
        Err(format!("`{}`: {status}: {}", self.shown, String::from_utf8_lossy(&text).trim_end()))
    }
}

/// Runs to the end.
fn run_command(spec: &Spec, words: &[String]) -> Result<(), String> {
    let mut running = Running::start(spec, words)?;
    let status = running.child.wait().map_err(|error| format!("`{}`: {error}", running.shown))?;
    running.end(status)
}

/// Runs to the end, or until the runner is gone: that is the outer error, and the node's end.
fn run_watched(spec: &Spec, words: &[String], line: &Line, children: &SignalFd) -> std::io::Result<Result<(), String>> {
    let mut running = match Running::start(spec, words) {
        Ok(running) => running,
        Err(what) => return Ok(Err(what)),
    };
    loop {
        if let Some(status) = running.child.try_wait()? {
            // The signals of orphans that ended meanwhile may have been read here.
            reap();
            return Ok(running.end(status));
        }
        let mut ready =
            [PollFd::new(line.stream().as_fd(), PollFlags::POLLHUP), PollFd::new(children.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [gone, child] = ready.map(|one| one.any().unwrap_or(false));
        if gone {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        if child {
            let _ = children.read_signal();
        }
    }
}

/// Answers the process id.
fn start_command(spec: &Spec, words: &[String], log: &File) -> Result<i32, String> {
    let clone = || log.try_clone().map_err(|error| format!("log: {error}"));
    let started = unblocked(command(spec, words).stdout(clone()?).stderr(clone()?)).spawn();
    // The child is reaped with the orphans.
    started.map(|child| child.id().cast_signed()).map_err(|error| format!("`{}`: {error}", words.join(" ")))
}

/// A command starts with no signal blocked, whatever init blocks for itself.
fn unblocked(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: sigprocmask is async-signal-safe, and the closure allocates nothing.
    unsafe {
        command.pre_exec(|| {
            nix::sys::signal::sigprocmask(nix::sys::signal::SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            Ok(())
        })
    }
}
