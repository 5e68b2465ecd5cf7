//! Shared by the tests that touch a kernel: private namespaces, waiting for conditions, processes that end with the test.
//!
//! Each test target uses a part of it.
#![allow(dead_code)]

pub mod capture;
pub mod dice;
pub mod hosts;
pub mod monitor;
pub mod ping;

use std::time::{Duration, Instant};

/// Runs `test` on a thread that has a network namespace of its own, with loopback up. Threads and processes that it
/// starts inherit the namespace, nobody else can find it, and it is gone when the last of them ends, also after a panic.
pub fn in_fresh_netns<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let outcome = std::thread::Builder::new()
        .name("netns".into())
        .spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace (run as root)");
            run("ip", &["link", "set", "lo", "up"]);
            test()
        })
        .expect("a thread")
        .join();
    match outcome {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs a command to its end and answers its standard output; panics, with what it said, when it fails.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error} (is it installed? make deps)"));
    assert!(
        output.status.success(),
        "{program} {}: {}\n{}{}",
        args.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What `ip route` shows, without the ids of the nexthop objects by which routes lead.
pub fn without_ids(routes: &str) -> String {
    let line = |line: &str| match line.split_once(" nhid ") {
        Some((to, rest)) => format!("{to}{}", rest.find(' ').map_or("", |end| &rest[end..])),
        None => line.to_string(),
    };
    routes.lines().map(|one| line(one) + "\n").collect()
}

/// Set where tests run in a user-mode Linux, in which every process takes most of a second to start.
#[allow(dead_code)]
pub const GUEST: &str = "ROUTENET_GUEST";

/// Waits until `condition` holds; panics, naming `what`, when it does not within `limit`.
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let limit = if std::env::var_os(GUEST).is_some() { limit * 8 } else { limit };
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A process that is killed, and reaped, when the test drops it.
pub struct Process(pub std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
