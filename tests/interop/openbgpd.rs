//! OpenBGPD as a neighbour.

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

use routenet_core::model::Cidr;
use serde_json::Value;

use crate::rig::{
    COMMUNITY, LARGE_COMMUNITY, LIMIT, LOCAL_PREF, MED, Namespace, Neighbor, OUR_AS, ROUTE_TARGET, Told, numbers,
};
use crate::support::{Process, wait_for};

pub struct OpenBgpd {
    namespace: Namespace,
    folder: tempfile::TempDir,
    daemon: Option<Process>,
    transport: usize,
    as_number: u32,
    /// More statements about us.
    more: String,
}

impl OpenBgpd {
    /// Announces these prefixes to us, over IPv4 (0) or IPv6 (1), as a speaker of this AS.
    pub fn new(namespace: Namespace, transport: usize, as_number: u32, announced: &[&str]) -> OpenBgpd {
        OpenBgpd::with(namespace, transport, as_number, announced, "")
    }

    /// The same, with more statements in its `neighbor`.
    pub fn with(namespace: Namespace, transport: usize, as_number: u32, announced: &[&str], more: &str) -> OpenBgpd {
        let folder = tempfile::tempdir().expect("a folder");
        let more = more.to_string();
        let mut openbgpd = OpenBgpd { namespace, folder, daemon: None, transport, as_number, more };
        openbgpd.configure(announced);
        openbgpd.start();
        openbgpd
    }

    fn configure(&self, announced: &[&str]) {
        let networks: String = announced
            .iter()
            .map(|prefix| {
                // Left to itself it tells a loopback address for the family that the session is not of.
                let next_hop = &self.namespace.theirs[usize::from(prefix.contains(':'))];
                format!(
                    "network {prefix} set {{ nexthop {next_hop} community {COMMUNITY} large-community {LARGE_COMMUNITY} \
                     ext-community rt {ROUTE_TARGET} metric {MED} localpref {LOCAL_PREF} }}\n"
                )
            })
            .collect();
        let config = format!(
            "AS {as_number}\nrouter-id {router_id}\nsocket \"{socket}\"\nfib-update no\nconnect-retry 1\n{networks}\
             neighbor {us} {{\n  remote-as {OUR_AS}\n  local-address {local}\n  holdtime 30\n\
             \x20 announce IPv4 unicast\n  announce IPv6 unicast\n  announce restart yes\n  {hops}\n  {more}\n}}\n\
             allow from any\nallow to any set nexthop no-modify\n",
            as_number = self.as_number,
            router_id = self.namespace.theirs[0],
            socket = self.file("bgpd.sock").display(),
            us = self.us(),
            local = self.namespace.theirs[self.transport],
            more = self.more,
            // To an eBGP neighbour on its link it says nothing but itself.
            hops = if self.as_number == OUR_AS { "" } else { "multihop 2" },
        );
        let mut options = std::fs::OpenOptions::new();
        // It does not read what others may.
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(self.file("bgpd.conf"));
        std::io::Write::write_all(&mut file.expect("a file"), config.as_bytes()).expect("a file");
    }

    /// Takes another text for a part of its configuration.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.file("bgpd.conf")).expect("its configuration");
        assert!(text.contains(from), "{text}");
        std::fs::write(self.file("bgpd.conf"), text.replace(from, to)).expect("a file");
        self.ask("reload");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn us(&self) -> &str {
        &self.namespace.ours[self.transport]
    }

    fn try_ask(&self, question: &str) -> Option<String> {
        let mut command = Command::new("bgpctl");
        command.arg("-j").arg("-s").arg(self.file("bgpd.sock")).args(question.split(' '));
        let output = command.output().expect("bgpctl (make deps)");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What bgpctl answers.
    pub fn ask(&self, question: &str) -> String {
        self.try_ask(question).unwrap_or_else(|| {
            let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
            panic!("OpenBGPD does not answer `{question}`; its log:\n{log}")
        })
    }

    fn ask_json(&self, question: &str) -> Value {
        let answer = self.ask(question);
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{question}: {error}\n{answer}"))
    }

    fn neighbor(&self) -> Value {
        self.ask_json(&format!("show neighbor {}", self.us()))["neighbors"][0].clone()
    }
}

/// A path of its JSON.
fn told(path: &Value) -> Told {
    let number = |value: &Value| value.as_u64().map(|number| u32::try_from(number).expect("32 bits"));
    let words = |key: &str| {
        let words = path[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        words.map(|word| word.replace("rt ", "rt:")).collect()
    };
    let address = |value: &Value| value.as_str().map(|text| text.parse().expect("an identifier"));
    let others = |key: &'static str| path["attributes"].as_array().into_iter().flatten().map(move |other| &other[key]);
    Told {
        next_hop: path["exit_nexthop"].as_str().map(|hop| hop.parse().expect("an address")),
        as_path: numbers(path["aspath"].as_str().expect("a path")),
        med: number(&path["metric"]).filter(|med| *med > 0),
        local_pref: number(&path["localpref"]),
        communities: words("communities"),
        large: words("large_communities"),
        extended: words("extended_communities"),
        originator: others("originator").find_map(address),
        clusters: others("cluster_list").filter_map(Value::as_array).flatten().filter_map(address).collect(),
        otc: None,
    }
}

impl Neighbor for OpenBgpd {
    fn established(&self) -> bool {
        self.neighbor()["state"] == "Established"
    }

    fn table(&self) -> BTreeMap<Cidr, Told> {
        let answer = self.ask_json("show rib detail");
        let paths = answer["rib"].as_array().into_iter().flatten();
        let from_us = paths.filter(|path| path["neighbor"]["remote_addr"] == self.us());
        from_us
            .map(|path| (path["prefix"].as_str().expect("a prefix").parse().expect("a prefix"), told(path)))
            .collect()
    }

    fn withdraw_all(&self) {
        self.configure(&[]);
        self.ask("reload");
    }

    fn kill(&mut self) {
        self.daemon = None;
    }

    fn start(&mut self) {
        let log = std::fs::File::create(self.file("log")).expect("a file");
        let mut command = self.namespace.command("unshare");
        // Its children change their root to a folder of /run that only its unit makes, so it has a /run of its own.
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs run /run && mkdir /run/openbgpd && exec bgpd -d -f \"$0\"",
        ]);
        // Debian has it in /usr/sbin; FRR's daemon of that name is not in the PATH.
        command.arg(self.file("bgpd.conf")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stderr(log);
        self.daemon = Some(Process(command.spawn().expect("unshare (util-linux)")));
        wait_for("OpenBGPD's socket", LIMIT, || self.try_ask("show").is_some());
    }

    fn shut(&self) {
        self.ask(&format!("neighbor {} down maintenance", self.us()));
    }

    fn last_error(&self) -> String {
        let neighbor = self.neighbor();
        let reason = |key: &str| neighbor[key].as_str().unwrap_or_default().to_string();
        format!("{} {}", reason("last_error_received"), reason("last_shutdown_reason")).trim().to_string()
    }

    fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }
}
