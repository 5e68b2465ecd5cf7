//! The speakers that are compared, each with a configuration that says the same: everybody in, everybody told, no routes in
//! the kernel, and the neighbours connect. What they have of timers is left as it comes, but for the minimum interval
//! between advertisements, which nobody has.

use std::fmt::Write as _;

use super::load::{SENDER_AS, SPEAKER_AS};
use super::place::{Place, SENDER, SPEAKER, receiver, run, wait_for};

pub struct Speaker {
    pub name: &'static str,
    start: fn(&mut Place, &[Neighbor]),
}

pub const SPEAKERS: [Speaker; 5] = [
    Speaker { name: "routenet", start: routenet },
    Speaker { name: "BIRD", start: bird },
    Speaker { name: "FRR", start: frr },
    Speaker { name: "GoBGP", start: gobgp },
    Speaker { name: "OpenBGPD", start: openbgpd },
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
        let sender = Neighbor { address: SENDER.to_string(), as_number: SENDER_AS, local: SPEAKER[0] };
        let receivers = (0..receivers).map(|index| Neighbor {
            address: receiver(index),
            as_number: receiver_as(index),
            local: SPEAKER[1],
        });
        let neighbors: Vec<Neighbor> = std::iter::once(sender).chain(receivers).collect();
        (self.start)(place, &neighbors);
    }
}

fn routenet(place: &mut Place, neighbors: &[Neighbor]) {
    let folder = place.folder.path().display().to_string();
    let mut config = format!(
        "node: bench\ndataPlane: off\npaths: {{state: {folder}, socket: {folder}/agent.sock}}\nbgp:\n  as: {SPEAKER_AS}\n  \
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
    let mut config = format!("router id {};\nlog stderr all;\nprotocol device {{}}\n", SPEAKER[0]);
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
    let pid = place.file("bgpd.pid").display().to_string();
    place.start(
        "/usr/lib/frr/bgpd",
        &["-f", &config, "-i", &pid, "--vty_socket", &folder, "-P", "0", "-u", "frr", "-g", "frr", "-Z"],
    );
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
