//! The speakers that are compared, each with a configuration that says the same: everybody in, everybody told, no routes in
//! the kernel (or all of them, for those that can), and the neighbours connect. What they have of timers is left as it comes, but for the minimum interval
//! between advertisements, which nobody has.

use std::fmt::Write as _;

use super::load::{SENDER_AS, SPEAKER_AS};
use super::place::{Place, SENDER, SPEAKER, receiver, run, wait_for};

pub struct Speaker {
    pub name: &'static str,
    start: fn(&mut Place, &[Neighbor]),
    /// With a data plane: its routes go into the kernel.
    start_with_routes: Option<fn(&mut Place, &[Neighbor])>,
}

pub const SPEAKERS: [Speaker; 5] = [
    Speaker { name: "routenet", start: routenet, start_with_routes: Some(routenet_agent) },
    Speaker { name: "BIRD", start: bird, start_with_routes: Some(bird_kernel) },
    Speaker { name: "FRR", start: frr, start_with_routes: Some(frr_zebra) },
    Speaker { name: "GoBGP", start: gobgp, start_with_routes: None },
    Speaker { name: "OpenBGPD", start: openbgpd, start_with_routes: None },
];

/// One neighbour of the speaker, and its own address on that cable.
pub struct Neighbor {
    pub address: String,
    pub as_number: u32,
    local: &'static str,
}

pub fn receiver_as(index: usize) -> u32 {
    65101 + index as u32
}

impl Speaker {
    /// Starts it for a sender and so many receivers.
    pub fn start(&self, place: &mut Place, receivers: usize) {
        (self.start)(place, &neighbors(receivers));
    }

    pub fn has_data_plane(&self) -> bool {
        self.start_with_routes.is_some()
    }

    /// The same, and what it learns goes into the kernel.
    pub fn start_with_routes(&self, place: &mut Place, receivers: usize) {
        let start = self.start_with_routes.expect("a speaker with a data plane");
        start(place, &neighbors(receivers));
    }
}

fn neighbors(receivers: usize) -> Vec<Neighbor> {
    let sender = Neighbor { address: SENDER.to_string(), as_number: SENDER_AS, local: SPEAKER[0] };
    let receivers = (0..receivers).map(|index| Neighbor {
        address: receiver(index),
        as_number: receiver_as(index),
        local: SPEAKER[1],
    });
    std::iter::once(sender).chain(receivers).collect()
}

fn routenet(place: &mut Place, neighbors: &[Neighbor]) {
    routenet_with(place, neighbors, "dataPlane: off".to_string());
}

/// The agent as on any host, with a store of its own.
fn routenet_agent(place: &mut Place, neighbors: &[Neighbor]) {
    let store = place.file("cluster.db").display().to_string();
    let plane = format!("address: {{ipv4: {}}}\nstore: {{type: embedded, path: {store}}}", SPEAKER[0]);
    routenet_with(place, neighbors, plane);
}

fn routenet_with(place: &mut Place, neighbors: &[Neighbor], plane: String) {
    let folder = place.folder.path().display().to_string();
    let mut config = format!(
        "node: bench\n{plane}\npaths: {{state: {folder}, socket: {folder}/agent.sock}}\nbgp:\n  as: {SPEAKER_AS}\n  \
         routerId: {}\n  listen: ['0.0.0.0:179']\n  holdTime: 240\n  peers:\n",
        SPEAKER[0]
    );
    for Neighbor { address, as_number, .. } in neighbors {
        let peer = format!("  - {{address: {address}, as: {as_number}, passive: true, import: all}}\n");
        config.push_str(&peer);
    }
    let config = place.write("routenet.yaml", &config);
    place.start(env!("CARGO_BIN_EXE_routenetd"), &["--config", &config]);
}

fn bird(place: &mut Place, neighbors: &[Neighbor]) {
    bird_with(place, neighbors, "");
}

fn bird_kernel(place: &mut Place, neighbors: &[Neighbor]) {
    bird_with(place, neighbors, "protocol kernel { ipv4 { export where source = RTS_BGP; }; }\n");
}

fn bird_with(place: &mut Place, neighbors: &[Neighbor], more: &str) {
    let mut config = format!("router id {};\nlog stderr all;\nprotocol device {{}}\n{more}", SPEAKER[0]);
    for (index, Neighbor { address, as_number, local }) in neighbors.iter().enumerate() {
        let _ = write!(
            config,
            "protocol bgp p{index} {{ local {local} as {SPEAKER_AS}; neighbor {address} as {as_number}; passive on;\n  \
             error wait time 1, 2; ipv4 {{ import all; export all; }}; }}\n"
        );
    }
    let config = place.write("bird.conf", &config);
    let socket = place.file("bird.ctl").display().to_string();
    place.start("bird", &["-f", "-c", &config, "-s", &socket]);
}

fn frr(place: &mut Place, neighbors: &[Neighbor]) {
    frr_with(place, neighbors, false);
}

fn frr_zebra(place: &mut Place, neighbors: &[Neighbor]) {
    frr_with(place, neighbors, true);
}

fn frr_with(place: &mut Place, neighbors: &[Neighbor], zebra: bool) {
    let mut config = format!(
        "router bgp {SPEAKER_AS}\n bgp router-id {}\n no bgp ebgp-requires-policy\n no bgp network import-check\n",
        SPEAKER[0]
    );
    for Neighbor { address, as_number, .. } in neighbors {
        let _ = write!(
            config,
            " neighbor {address} remote-as {as_number}\n neighbor {address} passive\n \
             neighbor {address} advertisement-interval 0\n neighbor {address} disable-connected-check\n"
        );
    }
    config.push_str("exit\n");
    let config = place.write("bgpd.conf", &config);
    let folder = place.folder.path().display().to_string();
    run("chown", &format!("-R frr:frr {folder}"));
    let pid = |daemon: &str| place.file(&format!("{daemon}.pid")).display().to_string();
    let (bgpd_pid, zebra_pid) = (pid("bgpd"), pid("zebra"));
    let api = place.file("zserv.api").display().to_string();
    let common = ["--vty_socket", &folder, "-P", "0", "-u", "frr", "-g", "frr"];
    if zebra {
        let empty = place.write("zebra.conf", "");
        place.start("/usr/lib/frr/zebra", &[&["-f", &empty, "-i", &zebra_pid, "-z", &api][..], &common].concat());
        wait_for("zebra's socket", || place.file("zserv.api").exists());
    }
    let way: &[&str] = if zebra { &["-z", &api] } else { &["-Z"] };
    place.start("/usr/lib/frr/bgpd", &[&["-f", &config, "-i", &bgpd_pid][..], &common, way].concat());
}

fn gobgp(place: &mut Place, neighbors: &[Neighbor]) {
    let mut config = format!("[global.config]\nas = {SPEAKER_AS}\nrouter-id = \"{}\"\n", SPEAKER[0]);
    for Neighbor { address, as_number, .. } in neighbors {
        let _ = write!(
            config,
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = {as_number}\n\
             [neighbors.transport.config]\npassive-mode = true\n[neighbors.timers.config]\nhold-time = 240\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n"
        );
    }
    let config = place.write("gobgpd.toml", &config);
    place.start("gobgpd", &["-f", &config, "--log-level", "error"]);
}

fn openbgpd(place: &mut Place, neighbors: &[Neighbor]) {
    let socket = place.file("bgpd.sock").display().to_string();
    let mut config = format!(
        "AS {SPEAKER_AS}\nrouter-id {}\nsocket \"{socket}\"\nfib-update no\nholdtime 240\nallow from any\nallow to any\n",
        SPEAKER[0]
    );
    for Neighbor { address, as_number, .. } in neighbors {
        let _ = writeln!(config, "neighbor {address} {{\nremote-as {as_number}\npassive\nannounce IPv6 none\n}}");
    }
    let config = place.write("openbgpd.conf", &config);
    run("chmod", &format!("600 {config}"));
    // It goes into this folder with chroot: a /run of its own, where the real one stays as it is.
    let start = format!("mount -t tmpfs tmpfs /run && mkdir /run/openbgpd && exec /usr/sbin/bgpd -d -f {config}");
    place.start("unshare", &["--mount", "sh", "-c", &start]);
    wait_for("OpenBGPD's socket", || place.file("bgpd.sock").exists() || place.log().contains("fatal"));
}
