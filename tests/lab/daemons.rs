//! A BIRD node and an FRR node, each from the configuration bound into it, exchange routes.

use std::time::Duration;

use super::Place;
use super::support::wait_for;

const LAB: &str = "\
name: daemons
topology:
  defaults: {kind: linux, network-mode: none}
  nodes:
    bird:
      image: pierky/bird:2
      binds: [bird.conf:/etc/bird/bird.conf:ro]
      exec: [ip address add 192.0.2.1/24 dev eth1]
    frr:
      image: quay.io/frrouting/frr:8.4
      binds:
        - daemons:/etc/frr/daemons
        - frr.conf:/etc/frr/frr.conf
      exec: [ip address add 192.0.2.2/24 dev eth1]
  links:
    - endpoints: [bird:eth1, frr:eth1]
";

const BIRD: &str = "\
router id 192.0.2.1;
protocol device {}
protocol static { ipv4; route 198.51.100.0/24 blackhole; }
protocol bgp frr {
  local 192.0.2.1 as 65001;
  neighbor 192.0.2.2 as 65002;
  connect retry time 1;
  error wait time 1, 2;
  ipv4 { import all; export all; };
}
";

const FRR: &str = "\
router bgp 65002
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 192.0.2.1 remote-as 65001
 neighbor 192.0.2.1 timers connect 1
 address-family ipv4 unicast
  network 203.0.113.0/24
 exit-address-family
";

#[test]
fn bird_and_frr_from_bound_configurations_see_each_other() {
    let place = Place::default();
    place.file("bird.conf", BIRD);
    place.file("frr.conf", FRR);
    place
        .file("daemons", "bgpd=yes\nvtysh_enable=yes\nzebra_options=\"-A 127.0.0.1\"\nbgpd_options=\"-A 127.0.0.1\"\n");
    let lab = place.deploy(&place.file("lab.clab.yml", LAB));
    let says = |node: &str, words: &[&str]| {
        let output = lab.command(node, words[0]).args(&words[1..]).output().expect("exec");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let limit = Duration::from_secs(40);
    wait_for("FRR's network in BIRD", limit, || {
        says("bird", &["birdc", "show route 203.0.113.0/24"]).contains("via 192.0.2.2 on eth1")
    });
    wait_for("BIRD's route in FRR", limit, || {
        says("frr", &["vtysh", "-c", "show bgp ipv4 unicast 198.51.100.0/24"]).contains("65001")
    });
    // The negative: what neither announces, neither has.
    assert!(!says("bird", &["birdc", "show route 198.18.0.0/15"]).contains("via"));
    assert!(says("frr", &["vtysh", "-c", "show bgp ipv4 unicast 198.18.0.0/15"]).contains("Network not in table"));
    lab.destroy().expect("its end");
    place.assert_nothing_left("daemons");
}

const AGENTS: &str = "\
name: agents
topology:
  defaults:
    kind: linux
    image: routenet:latest
  nodes:
    with:
      binds: [node.yaml:/etc/routenet/node.yaml:ro]
      exec: [ip address add 192.0.2.1/24 dev eth1]
    without:
  links:
    - endpoints: [with:eth1, without:eth1]
";

#[test]
fn an_agent_runs_where_its_configuration_is_bound_and_nowhere_else() {
    let place = Place::default();
    place.file(
        "node.yaml",
        "node: with\naddress: {ipv4: 192.0.2.1}\nstore: {type: embedded, path: /var/lib/routenet/cluster.db}\n",
    );
    let lab = place.deploy(&place.file("lab.clab.yml", AGENTS));
    let succeeds = |node: &str, words: &[&str]| {
        lab.command(node, words[0]).args(&words[1..]).output().expect("exec").status.success()
    };
    // It was started before its address was there.
    wait_for("the agent", Duration::from_secs(40), || succeeds("with", &["routectl", "status"]));
    assert!(succeeds("with", &["grep", "-q", "ready", "/var/log/routenetd.log"]));
    assert!(!succeeds("without", &["pgrep", "routenetd"]), "nobody told it what to be");
    assert!(succeeds("with", &["pgrep", "routenetd"]));
    lab.destroy().expect("its end");
    place.assert_nothing_left("agents");
}
