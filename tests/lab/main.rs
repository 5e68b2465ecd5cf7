//! Labs, through `routectl` as people use it: real namespaces, real packets, nothing left behind. Needs root.

#[path = "../support/mod.rs"]
mod support;

mod apart;
mod cleanup;
mod daemons;
mod graph;
mod life;
mod outside;
mod refuse;
mod shipped;
mod stages;
mod written;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use routenet::lab::{Deployed, Options, Topology, deploy};

/// A place for one test's files and labs; the labs in it end with it.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Default for Place {
    fn default() -> Self {
        Place { folder: tempfile::tempdir().expect("a directory") }
    }
}

impl Place {
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Writes a file and answers its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// `routectl lab VERB --state-dir ... ARGUMENTS`.
    pub fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_routectl"));
        command.args(["lab", verb, "--state-dir"]).arg(self.state()).args(arguments);
        command
    }

    pub fn lab(&self, verb: &str, arguments: &[&str]) -> Said {
        Said::new(self.command(verb, arguments).output().expect("routectl"))
    }

    pub fn exec(&self, lab: &str, node: &str, words: &[&str]) -> Said {
        self.lab("exec", &[&["--name", lab, "--node", node, "--"], words].concat())
    }

    /// Deploys through the library; the lab ends with what is answered.
    pub fn deploy(&self, file: &Path) -> Deployed {
        let topology = Topology::read(file).expect("a topology");
        let options = Options { base: self.state(), ..Options::new(env!("CARGO_BIN_EXE_routectl")) };
        deploy(&topology, &options, &mut |_| {}).expect("a lab")
    }

    /// Asserts that a lab of this name has no process and no file.
    pub fn assert_nothing_left(&self, lab: &str) {
        assert_eq!(inits(lab), Vec::<i32>::new(), "processes of lab {lab}");
        assert!(!self.state().exists(), "{} is still there", self.state().display());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let labs = std::fs::read_dir(self.state()).into_iter().flatten().flatten();
        for lab in labs {
            let _ = self.command("destroy", &["--name", &lab.file_name().to_string_lossy()]).output();
        }
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    fn new(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

/// The processes that are inits of a lab, from `/proc`.
pub fn inits(lab: &str) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.len() > 3 && words[2] == b"node-init" && words[3] == lab.as_bytes()
    })
    .collect()
}

/// Ends what is left of a lab that was never written down.
pub struct NothingLeft(pub &'static str);

impl Drop for NothingLeft {
    fn drop(&mut self) {
        for pid in inits(self.0) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Whether a program runs in a node of a lab.
pub fn runs(lab: &str, program: &str) -> bool {
    inits(lab).into_iter().any(|pid| {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().any(|child| {
            std::fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|comm| comm.trim_end() == program)
        })
    })
}

/// Two hosts on one segment.
pub fn segment(name: &str, first: &str, second: &str) -> String {
    format!(
        "\
name: {name}
topology:
  defaults:
    kind: linux
    image: alpine
    network-mode: none
  nodes:
    one:
      env: {{COLOUR: blue}}
      binds: [message.txt:/etc/routenet/message.txt:ro, '__clabDir__:/shared']
      exec: [ip address add {first}/24 dev eth1]
    two:
      binds: ['__clabDir__:/shared']
      exec: [ip address add {second}/24 dev eth1]
    lan:
      kind: bridge
  links:
    - endpoints: [one:eth1, lan:one]
    - endpoints: [two:eth1, lan:two]
"
    )
}
