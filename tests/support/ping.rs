//! Whether packets get through all the time.

use std::io::Read;
use std::process::{Child, Command, Stdio};

/// A ping every 10 ms, until it is stopped.
pub struct ContinuousPing(Child);

impl ContinuousPing {
    /// `ping`: the program, in the namespace that it is to run in.
    pub fn start(ping: Command, to: &str) -> ContinuousPing {
        ContinuousPing::start_with(ping, &[], to)
    }

    /// The same, of packets of so many bytes in all (IPv4), which must not be fragmented.
    pub fn start_sized(ping: Command, to: &str, bytes: u32) -> ContinuousPing {
        ContinuousPing::start_with(ping, &["-M", "do", "-s", &(bytes - 28).to_string()], to)
    }

    fn start_with(mut ping: Command, flags: &[&str], to: &str) -> ContinuousPing {
        let child = ping
            .args(["-n", "-q", "-i", "0.01"])
            .args(flags)
            .arg(to)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ping");
        ContinuousPing(child)
    }

    /// Stops it; (sent, received).
    pub fn stop(mut self) -> (u64, u64) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("our own process");
        let mut text = String::new();
        self.0.stdout.take().expect("piped").read_to_string(&mut text).expect("its summary");
        self.0.wait().expect("its end");
        let line = text.lines().find(|line| line.contains("packets transmitted")).expect("a summary");
        let mut numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
        (numbers.next().expect("sent"), numbers.next().expect("received"))
    }
}

impl Drop for ContinuousPing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
