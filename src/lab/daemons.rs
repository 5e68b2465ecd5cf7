//! Which daemons of this machine an image stands for: our own agent, or one of Debian's routing daemons. Asked by `deploy`
//! when a node has no `cmd` of its own.

use std::path::Path;

use super::topology::Node;

/// Where our image's agent finds its configuration.
const AGENT_CONFIGURATION: &str = "/etc/routenet/node.yaml";
/// What our image starts with, in the background. Its words go where those of a container's first process would be looked
/// for.
const AGENT: &str = "routenetd --config /etc/routenet/node.yaml >>/var/log/routenetd.log 2>&1 </dev/null &";

/// A daemon of this machine that stands for an image: run to its end, it leaves its daemons in the background.
#[derive(Debug, PartialEq, Eq)]
pub struct Daemon {
    pub words: Vec<String>,
}

/// The command that starts what the node's image stands for; `None` for an image that stands for nothing here.
pub fn of(node: &Node) -> Result<Option<Daemon>, String> {
    let Some(image) = &node.image else { return Ok(None) };
    let name = image.rsplit('/').next().unwrap_or(image).split([':', '@']).next().unwrap_or(image);
    if name == "routenet" {
        // A node of our image without a configuration is a host whose agent somebody starts by hand.
        let configured = node.binds.iter().any(|bind| bind.target == Path::new(AGENT_CONFIGURATION));
        return Ok(configured.then(|| Daemon { words: ["sh", "-c", AGENT].map(str::to_string).to_vec() }));
    }
    let (program, package, words): (_, _, &[&str]) = if name.contains("frr") {
        ("/usr/lib/frr/frrinit.sh", "frr", &["/usr/lib/frr/frrinit.sh", "start"])
    } else if name.contains("bird") {
        // Without -u, so that a bound configuration of any owner can be read.
        ("/usr/sbin/bird", "bird2", &["/usr/sbin/bird", "-s", "/run/bird/bird.ctl", "-P", "/run/bird/bird.pid"])
    } else {
        return Ok(None);
    };
    if !Path::new(program).exists() {
        return Err(format!(
            "image `{image}` stands for Debian's package {package}, whose {program} is missing (make deps)"
        ));
    }
    Ok(Some(Daemon { words: words.iter().map(|word| word.to_string()).collect() }))
}

#[cfg(test)]
#[path = "daemons_tests.rs"]
mod tests;
