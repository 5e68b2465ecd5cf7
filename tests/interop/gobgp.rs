//! GoBGP as a neighbour.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use routenet_core::model::Cidr;
use serde_json::Value;

use crate::rig::{COMMUNITY, LARGE_COMMUNITY, LIMIT, LOCAL_PREF, MED, Namespace, Neighbor, OUR_AS, ROUTE_TARGET, Told};
use crate::support::{Process, wait_for};

/// Its API's value for a session that is up.
const ESTABLISHED: u64 = 6;

pub struct GoBgp {
    namespace: Namespace,
    folder: tempfile::TempDir,
    daemon: Option<Process>,
    neighbor: String,
    announced: Vec<String>,
}

impl GoBgp {
    /// Announces these prefixes to us, over IPv4 (0) or IPv6 (1), as a speaker of this AS.
    pub fn new(namespace: Namespace, transport: usize, as_number: u32, announced: &[&str]) -> GoBgp {
        GoBgp::with(namespace, transport, as_number, announced, &[], "")
    }

    /// The same with other words for some in its configuration, and more at its end.
    pub fn with(
        namespace: Namespace,
        transport: usize,
        as_number: u32,
        announced: &[&str],
        changed: &[(&str, &str)],
        more: &str,
    ) -> GoBgp {
        let us = namespace.ours[transport].clone();
        GoBgp::configured(namespace, transport, as_number, announced, &us, (120, None), |mut config| {
            for (from, to) in changed {
                assert!(config.contains(from), "{from}: {config}");
                config = config.replace(from, to);
            }
            config + more
        })
    }

    /// The same with somebody else in our place; what is asked of the session is of that one.
    pub fn beside(namespace: Namespace, transport: usize, as_number: u32, announced: &[&str], neighbor: &str) -> GoBgp {
        GoBgp::configured(namespace, transport, as_number, announced, neighbor, (120, None), |config| config)
    }

    /// One that is away for so long without a change, and kept for so many seconds more (RFC 9494).
    pub fn long_lived(namespace: Namespace, as_number: u32, announced: &[&str], restart: u16, stale: u32) -> GoBgp {
        let us = namespace.ours[0].clone();
        GoBgp::configured(namespace, 0, as_number, announced, &us, (restart, Some(stale)), |config| config)
    }

    fn configured(
        namespace: Namespace,
        transport: usize,
        as_number: u32,
        announced: &[&str],
        neighbor: &str,
        (restart, stale): (u16, Option<u32>),
        change: impl FnOnce(String) -> String,
    ) -> GoBgp {
        let folder = tempfile::tempdir().expect("a folder");
        let of_family = stale.map(|seconds| {
            format!(
                "[neighbors.afi-safis.long-lived-graceful-restart.config]\nenabled = true\nrestart-time = {seconds}\n"
            )
        });
        let of_family = of_family.unwrap_or_default();
        let families = ["ipv4-unicast", "ipv6-unicast"].map(|family| {
            format!(
                "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}\"\n\
                 [neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n{of_family}"
            )
        });
        let config = format!(
            "[global.config]\nas = {as_number}\nrouter-id = \"{router_id}\"\n\
             [[neighbors]]\n[neighbors.config]\nneighbor-address = \"{us}\"\npeer-as = {OUR_AS}\n\
             [neighbors.timers.config]\nhold-time = 30\nkeepalive-interval = 10\n\
             [neighbors.transport.config]\nlocal-address = \"{local}\"\n\
             [neighbors.graceful-restart.config]\nenabled = true\nrestart-time = {restart}\n{long_lived}notification-enabled = true\n{}{}",
            families[0],
            families[1],
            router_id = namespace.theirs[0],
            us = neighbor,
            long_lived = if stale.is_some() { "long-lived-enabled = true\n" } else { "" },
            local = namespace.theirs[transport],
        );
        std::fs::write(folder.path().join("gobgpd.toml"), change(config)).expect("a file");
        let announced = announced.iter().map(|prefix| prefix.to_string()).collect();
        let mut gobgp = GoBgp { namespace, folder, daemon: None, neighbor: neighbor.to_string(), announced };
        gobgp.run(&[]);
        gobgp
    }

    fn run(&mut self, more: &[&str]) {
        let mut command = self.namespace.command("gobgpd");
        let log = std::fs::File::create(self.file("log")).expect("a file");
        command.arg("-f").arg(self.file("gobgpd.toml")).args(["--log-plain", "--pprof-disable"]).args(more);
        command.stdout(log).stderr(Stdio::null());
        self.daemon = Some(Process(command.spawn().expect("gobgpd (make deps)")));
        wait_for("GoBGP's API", LIMIT, || self.try_ask("neighbor").is_some());
        for prefix in &self.announced {
            let six = usize::from(prefix.contains(':'));
            self.ask(&format!(
                "global rib add -a {} {prefix} nexthop {} origin igp med {MED} local-pref {LOCAL_PREF} \
                 community {COMMUNITY} large-community {LARGE_COMMUNITY} rt {ROUTE_TARGET}",
                ["ipv4", "ipv6"][six],
                self.namespace.theirs[six],
            ));
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn us(&self) -> &str {
        &self.neighbor
    }

    fn try_ask(&self, question: &str) -> Option<String> {
        let output = self.namespace.command("gobgp").args(question.split(' ')).output().expect("gobgp (make deps)");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What gobgp answers.
    pub fn ask(&self, question: &str) -> String {
        self.try_ask(question).unwrap_or_else(|| panic!("GoBGP does not answer `{question}`; its log:\n{}", self.log()))
    }

    fn ask_json(&self, question: &str) -> Value {
        let answer = self.ask(&format!("{question} -j"));
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{question}: {error}\n{answer}"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }
}

/// The attributes of a path of its JSON, by their type codes.
fn told(path: &Value) -> Told {
    let mut told = Told::default();
    let number = |value: &Value| value.as_u64().map(|number| u32::try_from(number).expect("32 bits"));
    let address = |value: &Value| value.as_str().expect("an address").parse().expect("an address");
    for attribute in path["attrs"].as_array().expect("attributes") {
        let values = || attribute["value"].as_array().into_iter().flatten();
        match attribute["type"].as_u64() {
            Some(2) => {
                let segments = attribute["as_paths"].as_array().into_iter().flatten();
                told.as_path =
                    segments.flat_map(|segment| segment["asns"].as_array().expect("ASes")).filter_map(number).collect();
            }
            Some(3 | 14) => {
                told.next_hop = Some(attribute["nexthop"].as_str().expect("a next hop").parse().expect("an address"));
            }
            Some(4) => told.med = number(&attribute["metric"]),
            Some(5) => told.local_pref = number(&attribute["value"]),
            Some(8) => {
                let communities = attribute["communities"].as_array().expect("communities").iter().filter_map(number);
                told.communities = communities.map(|c| format!("{}:{}", c >> 16, c & 0xffff)).collect();
            }
            Some(9) => told.originator = Some(address(&attribute["value"])),
            Some(10) => told.clusters = values().map(address).collect(),
            Some(16) => {
                told.extended = values().map(|c| format!("rt:{}", c["value"].as_str().expect("a target"))).collect();
            }
            Some(32) => {
                let parts = |c: &Value| format!("{}:{}:{}", c["ASN"], c["LocalData1"], c["LocalData2"]);
                told.large = values().map(parts).collect();
            }
            _ => {}
        }
    }
    told
}

impl Neighbor for GoBgp {
    fn established(&self) -> bool {
        let neighbors = self.ask_json("neighbor");
        let us = neighbors.as_array().into_iter().flatten().find(|line| line["state"]["neighbor_address"] == self.us());
        us.is_some_and(|us| us["state"]["session_state"] == ESTABLISHED)
    }

    fn table(&self) -> BTreeMap<Cidr, Told> {
        let mut table = BTreeMap::new();
        for family in ["ipv4", "ipv6"] {
            let routes = self.ask_json(&format!("global rib -a {family}"));
            for (prefix, paths) in routes.as_object().into_iter().flatten() {
                let paths = paths.as_array().expect("paths").iter();
                for path in paths.filter(|path| path["neighbor-ip"] == self.us()) {
                    table.insert(prefix.parse().expect("a prefix"), told(path));
                }
            }
        }
        table
    }

    fn withdraw_all(&self) {
        for prefix in &self.announced {
            let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
            self.ask(&format!("global rib del -a {family} {prefix}"));
        }
    }

    fn kill(&mut self) {
        self.daemon = None;
    }

    fn start(&mut self) {
        self.run(&["-r"]);
    }

    fn shut(&self) {
        self.ask(&format!("neighbor {} shutdown maintenance", self.us()));
    }

    fn last_error(&self) -> String {
        let log = self.log();
        let said = log.lines().rfind(|line| line.contains("received notification"));
        said.unwrap_or_default().to_string()
    }

    fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }
}
