//! ExaBGP as a neighbour: it says what it is told to say, byte by byte, and keeps no table but what it heard.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use routenet_core::model::Cidr;
use serde_json::Value;

use crate::rig::{COMMUNITY, LARGE_COMMUNITY, LOCAL_PREF, MED, Namespace, Neighbor, OUR_AS, ROUTE_TARGET, Told};
use crate::support::{Process, run};

pub struct ExaBgp {
    namespace: Namespace,
    folder: tempfile::TempDir,
    daemon: Option<Process>,
    /// The writing end of its commands' pipe; the helper that reads it ends with it.
    commands: Option<File>,
    transport: usize,
    announced: Vec<String>,
}

impl ExaBgp {
    /// Announces these prefixes to us, over IPv4 (0) or IPv6 (1), as a speaker of this AS.
    pub fn new(namespace: Namespace, transport: usize, as_number: u32, announced: &[&str]) -> ExaBgp {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display();
        let config = format!(
            "process table {{\n  run /bin/sh {path}/table.sh;\n  encoder json;\n}}\n\
             neighbor {us} {{\n  router-id {router_id};\n  local-address {local};\n  local-as {as_number};\n\
             \x20 peer-as {OUR_AS};\n  hold-time 30;\n  family {{ ipv4 unicast; ipv6 unicast; }}\n\
             \x20 capability {{ asn4 enable; route-refresh enable; graceful-restart 120; }}\n\
             \x20 api {{ processes [ table ]; neighbor-changes; receive {{ parsed; update; }} }}\n}}\n",
            us = namespace.ours[transport],
            router_id = namespace.theirs[0],
            local = namespace.theirs[transport],
        );
        std::fs::write(folder.path().join("exabgp.conf"), config).expect("a file");
        let helper = format!("cat {path}/commands &\nexec cat >> {path}/heard\n");
        std::fs::write(folder.path().join("table.sh"), helper).expect("a file");
        let announced = announced.iter().map(|prefix| prefix.to_string()).collect();
        let mut exabgp = ExaBgp { namespace, folder, daemon: None, commands: None, transport, announced };
        exabgp.start();
        exabgp
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn us(&self) -> &str {
        &self.namespace.ours[self.transport]
    }

    /// A command of its API.
    pub fn ask(&self, command: &str) {
        writeln!(self.commands.as_ref().expect("it runs"), "{command}").expect("its pipe");
    }

    /// Announces a prefix with these attributes and no others, except for the AS_PATH, which it makes itself.
    pub fn announce(&self, prefix: &str, attributes: &str) {
        let next_hop = &self.namespace.theirs[usize::from(prefix.contains(':'))];
        self.ask(&format!("announce route {prefix} next-hop {next_hop} {attributes}"));
    }

    /// What it heard and became, oldest first.
    pub fn heard(&self) -> Vec<Value> {
        let heard = std::fs::read_to_string(self.file("heard")).unwrap_or_default();
        heard.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The attributes that came with a prefix, as it names them.
    pub fn attributes_of(&self, prefix: &str) -> Option<Value> {
        let all = self.heard();
        let updates = all.iter().rev().map(|event| &event["neighbor"]["message"]["update"]);
        let mut with = updates.filter(|update| announced_in(update).any(|(_, nlri)| nlri == prefix));
        with.next().map(|update| update["attribute"].clone())
    }
}

/// The next hop and the prefix of each route of an update.
fn announced_in(update: &Value) -> impl Iterator<Item = (&str, &str)> {
    let families = update["announce"].as_object().into_iter().flatten();
    families.flat_map(|(_, hops)| hops.as_object().into_iter().flatten()).flat_map(|(hop, routes)| {
        let routes = routes.as_array().into_iter().flatten();
        routes.filter_map(move |route| Some((hop.as_str(), route["nlri"].as_str()?)))
    })
}

fn told(attributes: &Value, hop: &str) -> Told {
    let number = |value: &Value| value.as_u64().map(|number| u32::try_from(number).expect("32 bits"));
    let list = |key: &str| attributes[key].as_array().into_iter().flatten();
    let joined = |key: &str| {
        let tuples = list(key).map(|tuple| tuple.as_array().expect("a community"));
        tuples.map(|tuple| tuple.iter().map(Value::to_string).collect::<Vec<_>>().join(":")).collect()
    };
    let address = |value: &Value| value.as_str().map(|text| text.parse().expect("an identifier"));
    Told {
        next_hop: Some(hop.parse::<IpAddr>().expect("an address")),
        as_path: list("as-path").filter_map(number).collect(),
        med: number(&attributes["med"]),
        local_pref: number(&attributes["local-preference"]),
        communities: joined("community"),
        large: joined("large-community"),
        extended: list("extended-community")
            .filter_map(|c| Some(c["string"].as_str()?.replace("target:", "rt:")))
            .collect(),
        originator: address(&attributes["originator-id"]),
        clusters: list("cluster-list").filter_map(address).collect(),
        otc: None,
    }
}

impl Neighbor for ExaBgp {
    fn established(&self) -> bool {
        let all = self.heard();
        all.iter().rfind(|event| event["type"] == "state").is_some_and(|event| event["neighbor"]["state"] == "up")
    }

    fn table(&self) -> BTreeMap<Cidr, Told> {
        let mut table = BTreeMap::new();
        for event in self.heard() {
            if event["type"] == "state" {
                table.clear();
            }
            let update = &event["neighbor"]["message"]["update"];
            for (hop, prefix) in announced_in(update) {
                table.insert(prefix.parse().expect("a prefix"), told(&update["attribute"], hop));
            }
            let withdrawn = update["withdraw"].as_object().into_iter().flatten();
            for route in withdrawn.flat_map(|(_, routes)| routes.as_array().into_iter().flatten()) {
                table.remove(&route["nlri"].as_str().expect("a prefix").parse().expect("a prefix"));
            }
        }
        table
    }

    fn withdraw_all(&self) {
        for prefix in &self.announced {
            let next_hop = &self.namespace.theirs[usize::from(prefix.contains(':'))];
            self.ask(&format!("withdraw route {prefix} next-hop {next_hop}"));
        }
    }

    fn kill(&mut self) {
        self.daemon = None;
        self.commands = None;
    }

    fn start(&mut self) {
        let pipe = self.file("commands");
        let _ = std::fs::remove_file(&pipe);
        run("mkfifo", &[&pipe.display().to_string()]);
        std::fs::write(self.file("heard"), "").expect("a file");
        // For both directions, so that it opens although nobody reads yet.
        self.commands = Some(File::options().read(true).write(true).open(&pipe).expect("a pipe"));
        let log = File::create(self.file("log")).expect("a file");
        let mut command = self.namespace.command("exabgp");
        command.arg(self.file("exabgp.conf")).stdout(log.try_clone().expect("a file")).stderr(log);
        command.env("exabgp_daemon_user", "root").env("exabgp_api_cli", "false").env("exabgp_api_ack", "false");
        self.daemon = Some(Process(command.spawn().expect("exabgp (make deps)")));
        for prefix in &self.announced {
            let attributes = format!(
                "med {MED} local-preference {LOCAL_PREF} community [{COMMUNITY}] large-community [{LARGE_COMMUNITY}] \
                 extended-community [target:{ROUTE_TARGET}]"
            );
            self.announce(prefix, &attributes);
        }
    }

    fn shut(&self) {
        self.ask(&format!("neighbor {} teardown 2", self.us()));
    }

    fn last_error(&self) -> String {
        // Behind the end of the session come its failures to connect again.
        let all = self.heard();
        let state = |event: &Value| event["neighbor"]["state"].as_str().unwrap_or_default().to_string();
        let last = all.iter().rposition(|event| state(event) == "up").unwrap_or_default();
        let down = all[last..].iter().find(|event| state(event) == "down");
        down.map(|event| event["neighbor"]["reason"].to_string()).unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }
}
