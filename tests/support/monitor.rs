//! What the kernel says of its routes while a test goes on: `ip monitor`.

use std::process::Command;

use tempfile::NamedTempFile;

use super::Process;

/// Ends when it is dropped.
pub struct RouteMonitor {
    heard: NamedTempFile,
    process: Process,
}

impl RouteMonitor {
    /// `ip`: the program, in the network namespace that is listened to; `objects`: `route`, and what else is to be heard of.
    pub fn start(mut ip: Command, objects: &[&str]) -> RouteMonitor {
        let heard = NamedTempFile::new().expect("a file");
        ip.arg("monitor").args(objects).stdout(heard.reopen().expect("the file"));
        RouteMonitor { heard, process: Process(ip.spawn().expect("ip monitor")) }
    }

    /// All of it up to now.
    pub fn heard(&self) -> String {
        std::fs::read_to_string(self.heard.path()).expect("what it said")
    }

    /// All of it, once it has ended.
    pub fn stop(self) -> String {
        let RouteMonitor { heard, process } = self;
        drop(process);
        std::fs::read_to_string(heard.path()).expect("what it said")
    }
}
