//! The topologies that come with the project deploy.

use std::path::Path;

use routenet::lab::{Options, Topology, deploy};

use super::Place;

#[test]
fn the_three_node_lab_deploys_and_its_segment_carries_both_families() {
    let place = Place::default();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/labs/three-node.clab.yml");
    let topology = Topology::read(&file).expect("a topology").renamed("shipped").expect("a name");
    let options = Options { base: place.path().join("state"), ..Options::new(env!("CARGO_BIN_EXE_routectl")) };
    let lab = deploy(&topology, &options, &mut |_| {}).expect("a lab");
    let answers = |to: &str| {
        let status = lab.command("h1", "ping").args(["-c1", "-W2", to]).stdout(std::process::Stdio::null()).status();
        status.expect("ping").success()
    };
    for host in ["192.0.2.2", "192.0.2.3", "2001:db8:0:1::2", "2001:db8:0:1::3"] {
        assert!(answers(host), "{host}");
    }
    assert!(!answers("192.0.2.4"), "nobody");
    for node in ["h1", "h2", "h3"] {
        let output = lab.command(node, "cat").arg("/etc/routenet/node.yaml").output().expect("cat");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("node: {node}")), "{text}");
    }
}
