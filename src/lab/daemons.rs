//! What an image stands for: one of Debian's daemons, or this project's own agent. Asked by `deploy` when a node has no
//! `cmd` of its own.

use std::path::Path;

use super::topology::Node;

/// A daemon of this machine that stands for an image: run to its end, it leaves its daemons in the background.
#[derive(Debug, PartialEq, Eq)]
pub struct Daemon {
    pub words: Vec<String>,
}

/// Where the agent's image has its configuration, and so where a node binds it to.
const AGENT_CONFIG: &str = "/etc/routenet/node.yaml";

/// The command that starts what the node's image stands for; `None` for an image that stands for nothing here.
pub fn of(node: &Node) -> Result<Option<Daemon>, String> {
    let Some(image) = &node.image else { return Ok(None) };
    let name = image.rsplit('/').next().unwrap_or(image).split([':', '@']).next().unwrap_or(image);
    if name == "routenet" {
        // Without a configuration of its own the agent has nothing to be: such a node is there for the programs in the
        // image, as those of tests that start agents by themselves.
        let bound = node.binds.iter().any(|bind| bind.target == Path::new(AGENT_CONFIG));
        return Ok(bound.then(|| background("routenetd", &["--config", AGENT_CONFIG])));
    }
    if name == "etcd" {
        return debian(image, "/usr/bin/etcd", "etcd-server", background("etcd", &[]));
    }
    if name.contains("frr") {
        return debian(image, "/usr/lib/frr/frrinit.sh", "frr", Daemon::of(&["/usr/lib/frr/frrinit.sh", "start"]));
    }
    if name.contains("bird") {
        // Without -u, so that a bound configuration of any owner can be read.
        let words = ["/usr/sbin/bird", "-s", "/run/bird/bird.ctl", "-P", "/run/bird/bird.pid"];
        return debian(image, "/usr/sbin/bird", "bird2", Daemon::of(&words));
    }
    Ok(None)
}

impl Daemon {
    fn of(words: &[&str]) -> Daemon {
        Daemon { words: words.iter().map(|word| word.to_string()).collect() }
    }
}

/// A program that does not leave its terminal by itself, with what it says in a log of the node: `/var/log/PROGRAM.log`.
fn background(program: &str, arguments: &[&str]) -> Daemon {
    // The shell's own error for a program that is missing would end in that log, unseen.
    let script = format!(
        "command -v {program} >/dev/null || {{ echo {program} is not installed; exit 127; }}\n\
         setsid {program} \"$@\" >>/var/log/{program}.log 2>&1 </dev/null &"
    );
    Daemon::of(&[&["sh", "-c", &script, program], arguments].concat())
}

/// A daemon of a Debian package, which must be installed.
fn debian(image: &str, program: &str, package: &str, daemon: Daemon) -> Result<Option<Daemon>, String> {
    match Path::new(program).exists() {
        true => Ok(Some(daemon)),
        false => Err(format!(
            "image `{image}` stands for Debian's package {package}, whose {program} is missing (make deps)"
        )),
    }
}

#[cfg(test)]
#[path = "daemons_tests.rs"]
mod tests;
