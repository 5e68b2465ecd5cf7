//! BIRD 2 as a neighbour.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use routenet_core::model::Cidr;

use crate::rig::{
    COMMUNITY, LARGE_COMMUNITY, LIMIT, LOCAL_PREF, MED, Namespace, Neighbor, OUR_AS, ROUTE_TARGET, Told, link_local,
    numbers,
};
use crate::support::{Process, wait_for};

pub struct Bird {
    namespace: Namespace,
    folder: tempfile::TempDir,
    daemon: Option<Process>,
}

impl Bird {
    /// Announces these prefixes to us, over IPv4 (0) or IPv6 (1), as a speaker of this AS.
    pub fn new(namespace: Namespace, transport: usize, as_number: u32, announced: &[&str]) -> Bird {
        Bird::with(namespace, transport, as_number, announced, "")
    }

    /// The same, with more statements in its `protocol bgp`.
    pub fn with(namespace: Namespace, transport: usize, as_number: u32, announced: &[&str], more: &str) -> Bird {
        Bird::beside(namespace, transport, as_number, announced, more, "")
    }

    /// The same, with more protocols.
    pub fn beside(
        namespace: Namespace,
        transport: usize,
        as_number: u32,
        announced: &[&str],
        more: &str,
        other: &str,
    ) -> Bird {
        Bird::in_channels(namespace, transport, as_number, announced, more, "", other)
    }

    /// The same, with more statements in both of its channels.
    pub fn in_channels(
        namespace: Namespace,
        transport: usize,
        as_number: u32,
        announced: &[&str],
        more: &str,
        channel: &str,
        other: &str,
    ) -> Bird {
        let ends = [namespace.theirs[transport].clone(), namespace.ours[transport].clone()];
        Bird::between(namespace, ends, as_number, announced, [more, other], [channel, channel])
    }

    /// Over IPv4, with more statements in the channel of each family.
    pub fn with_channels(
        namespace: Namespace,
        as_number: u32,
        announced: &[&str],
        more: &str,
        channels: [&str; 2],
    ) -> Bird {
        let ends = [namespace.theirs[0].clone(), namespace.ours[0].clone()];
        Bird::between(namespace, ends, as_number, announced, [more, ""], channels)
    }

    /// Over the link-local addresses of the link; `channel` is in its IPv4 channel.
    pub fn on_link(namespace: Namespace, as_number: u32, announced: &[&str], more: &str, channel: &str) -> Bird {
        let [own, us] = [link_local(Some(&namespace), "them0"), link_local(None, &namespace.near)];
        let more = format!("direct; {more}");
        Bird::between(namespace, [own, format!("{us}%them0")], as_number, announced, [&more, ""], [channel, ""])
    }

    /// The same, with `protocol bfd` beside it.
    pub fn on_link_with_bfd(
        namespace: Namespace,
        as_number: u32,
        announced: &[&str],
        more: &str,
        channel: &str,
    ) -> Bird {
        let bfd = "protocol bfd { interface \"*\" { interval 100 ms; idle tx interval 1 s; multiplier 3; }; }\n";
        let [own, us] = [link_local(Some(&namespace), "them0"), link_local(None, &namespace.near)];
        Bird::between(namespace, [own, format!("{us}%them0")], as_number, announced, [more, bfd], [channel, ""])
    }

    fn between(
        namespace: Namespace,
        [local, remote]: [String; 2],
        as_number: u32,
        announced: &[&str],
        [more, other]: [&str; 2],
        [channel4, channel6]: [&str; 2],
    ) -> Bird {
        let folder = tempfile::tempdir().expect("a folder");
        let routes = |six: bool| -> String {
            let of_family = announced.iter().filter(|prefix| prefix.contains(':') == six);
            of_family.map(|prefix| format!("  route {prefix} blackhole;\n")).collect()
        };
        let config = format!(
            "log stderr all;\nrouter id {router_id};{attributes}\nprotocol device {{ scan time 1; }}\n\
             protocol kernel kernel4 {{ ipv4 {{ export where source = RTS_BGP; }}; }}\n\
             protocol kernel kernel6 {{ ipv6 {{ export where source = RTS_BGP; }}; }}\n\
             protocol static static4 {{\n  ipv4;\n{routes4}}}\nprotocol static static6 {{\n  ipv6;\n{routes6}}}\n\
             protocol bgp routenet {{\n  local {local} as {as_number};\n  neighbor {remote} as {OUR_AS};\n\
             \x20 hold time 30; connect delay time 1; connect retry time 1; error wait time 1, 2;\n  graceful restart on;\n  {more}\n\
             \x20 ipv4 {{ import all; export filter announced; {hop} {channel4} }};\n\
             \x20 ipv6 {{ import all; export filter announced; {hop} {channel6} }};\n}}\n{other}",
            router_id = namespace.theirs[0],
            attributes = attributes(),
            // A reflector is in the way of no packet.
            hop = if more.contains("rr client") { "" } else { "next hop self;" },
            routes4 = routes(false),
            routes6 = routes(true),
        );
        std::fs::write(folder.path().join("bird.conf"), config).expect("a file");
        let mut bird = Bird { namespace, folder, daemon: None };
        bird.run(&[]);
        bird
    }

    fn run(&mut self, more: &[&str]) {
        let mut command = self.namespace.command("bird");
        command.arg("-f").arg("-c").arg(self.file("bird.conf")).arg("-s").arg(self.socket()).args(more);
        let log = std::fs::File::create(self.file("log")).expect("a file");
        self.daemon = Some(Process(command.stderr(log).spawn().expect("bird (make deps)")));
        wait_for("BIRD's socket", LIMIT, || self.try_ask("show status").is_some());
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.file("bird.ctl")
    }

    fn try_ask(&self, question: &str) -> Option<String> {
        let output =
            Command::new("birdc").arg("-s").arg(self.socket()).arg(question).output().expect("birdc (make deps)");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Takes another text for a part of its configuration.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.file("bird.conf")).expect("its configuration");
        assert!(text.contains(from), "{text}");
        std::fs::write(self.file("bird.conf"), text.replace(from, to)).expect("a file");
        self.ask("configure");
    }

    /// Pulls its end of the cable, or plugs it in.
    pub fn down(&self, down: bool) {
        self.namespace.run("ip", &["link", "set", "them0", if down { "down" } else { "up" }]);
        if !down {
            // The kernel has taken these away with the link.
            let address = format!("{}/64", self.namespace.theirs[1]);
            self.namespace.run("ip", &["address", "replace", &address, "dev", "them0", "nodad"]);
        }
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("it runs").0.id()
    }

    /// Each route that it learned from us, of several to a prefix the best first.
    pub fn paths(&self) -> Vec<(Cidr, Told)> {
        let listing = self.ask("show route protocol routenet all");
        let mut paths: Vec<(Cidr, Told)> = Vec::new();
        let mut prefix: Option<Cidr> = None;
        for line in listing.lines() {
            let first = line.split_whitespace().next().unwrap_or_default();
            if let (false, Ok(next)) = (line.starts_with([' ', '\t']), first.parse()) {
                prefix = Some(next);
            }
            if let Some(prefix) = prefix.filter(|_| line.contains(" [routenet ")) {
                paths.push((prefix, Told::default()));
            } else if let (Some((key, value)), Some((_, told))) = (line.trim().split_once(':'), paths.last_mut()) {
                attribute(told, key, value.trim());
            }
        }
        paths
    }

    /// What birdc answers.
    pub fn ask(&self, question: &str) -> String {
        self.try_ask(question).unwrap_or_else(|| {
            let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
            panic!("BIRD does not answer `{question}`; its log:\n{log}")
        })
    }
}

/// Sets what is said of all that is announced.
fn attributes() -> String {
    let tuple = |community: &str| community.replace(':', ", ");
    format!(
        "\nfilter announced {{\n  if source = RTS_BGP && proto != \"routenet\" then accept;\n  if source != RTS_STATIC then reject;\n  bgp_med = {MED}; bgp_local_pref = {LOCAL_PREF};\n\
         \x20 bgp_community.add(({})); bgp_large_community.add(({})); bgp_ext_community.add((rt, {}));\n  accept;\n}}\n",
        tuple(COMMUNITY),
        tuple(LARGE_COMMUNITY),
        tuple(ROUTE_TARGET)
    )
}

/// One line of `show route all`.
fn attribute(told: &mut Told, key: &str, value: &str) {
    // (65002,7) (65002,8); (65002, 1, 2); (rt, 65002, 9)
    let tuples = || value.split_terminator(')').map(|tuple| tuple.replace([' ', '('], "").replace(',', ":")).collect();
    let number = || Some(value.parse().expect("a number"));
    match key {
        // Of a link-local one alone it says `:: fe80::1`.
        "BGP.next_hop" => {
            let hop = value.split_whitespace().find(|hop| *hop != "::");
            told.next_hop = hop.map(|hop| hop.parse().expect("an address"));
        }
        "BGP.as_path" => told.as_path = numbers(value),
        "BGP.med" => told.med = number(),
        "BGP.local_pref" => told.local_pref = number(),
        "BGP.community" => told.communities = tuples(),
        "BGP.large_community" => told.large = tuples(),
        "BGP.ext_community" => told.extended = tuples(),
        "BGP.originator_id" => told.originator = Some(value.parse().expect("an identifier")),
        "BGP.cluster_list" => {
            told.clusters = value.split_whitespace().map(|id| id.parse().expect("an identifier")).collect();
        }
        "BGP.otc" => told.otc = number(),
        _ => {}
    }
}

impl Neighbor for Bird {
    fn established(&self) -> bool {
        self.ask("show protocols routenet").contains("Established")
    }

    fn table(&self) -> BTreeMap<Cidr, Told> {
        // The best one of a prefix is the first.
        self.paths().into_iter().rev().collect()
    }

    fn withdraw_all(&self) {
        self.ask("disable static4");
        self.ask("disable static6");
    }

    fn kill(&mut self) {
        self.daemon = None;
    }

    fn start(&mut self) {
        self.run(&["-R"]);
    }

    fn shut(&self) {
        self.ask("disable routenet \"maintenance\"");
    }

    fn last_error(&self) -> String {
        let answer = self.ask("show protocols all routenet");
        let line = |key: &str| answer.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_default().trim();
        // The text of a Cease is its message.
        format!("{} {}", line("Last error:"), line("Message:")).trim().to_string()
    }

    fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }
}
