//! Two network namespaces for one speaker: its own, and that of the sender and the receivers, with a cable for each side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The speaker's end of the sender's cable, and of the receivers'. Two subnets, so that every speaker has to put itself in
/// as the next hop (RFC 4271 5.1.3 lets it keep one of a subnet that both share).
pub const SPEAKER: [&str; 2] = ["172.30.0.1", "172.31.0.1"];
pub const SENDER: &str = "172.30.0.2";
/// How long anything may take before the run is given up.
pub const LIMIT: Duration = Duration::from_secs(600);

/// Waits until it is so.
pub fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The receiver's own address.
pub fn receiver(index: usize) -> String {
    format!("172.31.{}.{}", 1 + index / 200, 1 + index % 200)
}

pub fn run(program: &str, words: &str) {
    let status = Command::new(program).args(words.split_whitespace()).status();
    let status = status.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{program} {words}: {status}");
}

/// The speaker's namespace; the caller's thread is in the other one. It ends what still runs there when it is dropped.
pub struct Place {
    holder: Child,
    processes: Vec<Child>,
    pub folder: tempfile::TempDir,
}

impl Place {
    /// Takes the calling thread into a namespace of its own, and joins the speaker's to it.
    pub fn new(receivers: usize) -> Place {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace: run as root");
        let holder =
            Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn().expect("unshare (util-linux)");
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place { holder, processes: Vec::new(), folder };
        let (own, pid) = (std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace"), place.holder.id());
        wait_for("the speaker's namespace", || std::fs::read_link(place.netns()).is_ok_and(|theirs| theirs != own));
        run("ip", "link set lo up");
        run("ip", &format!("link add out0 type veth peer name in0 netns {pid}"));
        run("ip", &format!("link add out1 type veth peer name in1 netns {pid}"));
        run("ip", &format!("address add {SENDER}/24 dev out0"));
        for index in 0..receivers {
            run("ip", &format!("address add {}/16 dev out1", receiver(index)));
        }
        let inside = format!("--net={}", place.netns());
        for words in [
            "link set lo up".to_string(),
            format!("address add {}/24 dev in0", SPEAKER[0]),
            format!("address add {}/16 dev in1", SPEAKER[1]),
            "link set in0 up".to_string(),
            "link set in1 up".to_string(),
        ] {
            run("nsenter", &format!("{inside} ip {words}"));
        }
        run("ip", "link set out0 up");
        run("ip", "link set out1 up");
        place
    }

    pub fn netns(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.file(name), text).expect("a file");
        self.file(name).display().to_string()
    }

    /// Starts a daemon inside; what it says goes into a file.
    pub fn start(&mut self, program: &str, args: &[&str]) {
        let log = std::fs::File::create(self.file("log")).expect("a file");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns())).arg(program).args(args).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        self.processes.push(command.spawn().expect("nsenter (util-linux)"));
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Every process of the speaker: those that are in its namespace.
    fn pids(&self) -> Vec<u32> {
        let wanted = std::fs::read_link(self.netns()).expect("the namespace stands");
        let processes = std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let inside = pids.filter(|pid| {
            *pid != self.holder.id() && std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|at| at == wanted)
        });
        inside.collect()
    }

    /// What its processes have resident now, in MB; memory that they share counts for each.
    pub fn resident(&self) -> f64 {
        let kilobytes = |pid: u32| -> f64 {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let fields: BTreeMap<&str, &str> = status.lines().filter_map(|line| line.split_once(':')).collect();
            let resident = fields.get("VmRSS").and_then(|value| value.split_whitespace().next()?.parse().ok());
            resident.unwrap_or(0.0)
        };
        self.pids().into_iter().map(kilobytes).sum::<f64>() / 1024.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for pid in self.pids() {
            let pid = nix::unistd::Pid::from_raw(pid.try_into().expect("a process id"));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        for mut process in self.processes.drain(..) {
            let _ = process.wait();
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
