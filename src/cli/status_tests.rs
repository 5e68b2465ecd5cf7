use serde_json::{Value, json};

use super::super::tests::said;

/// A cluster of two nodes in which all is well.
fn well() -> Value {
    let node = |name: &str, own: bool| {
        json!({
            "name": name, "addresses": ["192.0.2.11"], "version": "0.1.0",
            "heard_secs_ago": if own { json!(null) } else { json!(4) }, "degraded": false, "endpoints": 2,
            "blocks": ["10.65.0.0/26"], "peers_established": 1, "peers_configured": 1,
        })
    };
    json!({
        "at": 1_000_000,
        "node": {
            "name": "host-a", "addresses": ["192.0.2.11", "2001:db8::11"], "as_number": 64512, "router_id": "192.0.2.11",
            "version": "0.1.0", "uptime_secs": 7800, "data_plane": "kernel", "drained": false,
            "store": { "description": "embedded /var/lib/routenet/cluster.db", "state": "in-sync", "since_secs": 7790, "error": null },
            "blocks": [{ "cidr": "10.65.0.0/26", "pool": "pool-a", "allocated": 2, "resting": 1, "size": 64 }],
            "endpoints": 2,
            "planes": [
                { "name": "ipset", "in_sync": true, "wanted": 12, "repairs": 0, "last_repair": null, "failure": null },
                { "name": "route", "in_sync": true, "wanted": 4, "repairs": 1,
                  "last_repair": { "secs_ago": 300, "what": "10.65.0.1/32 put back" }, "failure": null },
            ],
            "bgp": [{
                "name": "host-b", "address": "192.0.2.12", "as_number": 64512, "state": "Established", "since_secs": 7700,
                "received": 2, "advertised": 2, "last_error": null,
            }],
            "ways": [],
        },
        "nodes": [node("host-a", true), node("host-b", false)],
        "problems": [],
    })
}

#[test]
fn a_well_cluster_is_one_screen_and_exit_0() {
    let (asked, answer) = said("status", well());
    assert_eq!(asked, json!({ "op": "status" }));
    assert_eq!(
        answer.text,
        "\
all is well: 2 nodes, seen from host-a

host-a
  address    192.0.2.11, 2001:db8::11, AS 64512, router id 192.0.2.11
  agent      0.1.0, up for 2 h 10 min
  store      embedded /var/lib/routenet/cluster.db, in sync, for 2 h 9 min
  endpoints  2
  blocks     10.65.0.0/26 (2 of 64 used, 1 resting) of pool-a

PLANE  STATE    WANTED  REPAIRS  LAST REPAIR
ipset  in sync  12      0        -
route  in sync  4       1        5 min ago: 10.65.0.1/32 put back

BGP NEIGHBOUR  ADDRESS     AS     STATE        FOR        IN  OUT  LAST ERROR
host-b         192.0.2.12  64512  Established  2 h 8 min  2   2    -

NODE    STATE  ADDRESSES   ENDPOINTS  BLOCKS        PEERS UP  HEARD    VERSION
host-a  well   192.0.2.11  2          10.65.0.0/26  1 of 1    answers  0.1.0
host-b  well   192.0.2.11  2          10.65.0.0/26  1 of 1    4 s ago  0.1.0
"
    );
    assert_eq!(answer.exit, 0);
}

#[test]
fn what_is_wrong_comes_first_with_since_when_and_its_mend_and_exit_1() {
    let mut status = well();
    status["problems"] = json!([{
        "node": "host-b", "part": "bgp", "what": "peer 192.0.2.13 is down: hold timer expired",
        "mend": "look at the link to 192.0.2.13", "since": 999_940,
    }]);
    let (_, answer) = said("status", status.clone());
    let start = "degraded: 1 problem in 2 nodes, seen from host-a\n  ! host-b bgp: peer 192.0.2.13 is down: hold timer \
                 expired (for 1 min)\n    look at the link to 192.0.2.13\n\nhost-a\n";
    assert!(answer.text.starts_with(start), "{}", answer.text);
    assert_eq!(answer.exit, 1);
    let (_, answer) = said("status -o json", status.clone());
    assert_eq!(answer.exit, 1);
    assert_eq!(serde_json::from_str::<Value>(&answer.text).expect("JSON"), status);
}

#[test]
fn a_silent_node_a_store_away_and_a_failing_plane_are_not_well() {
    let mut silent = well();
    silent["nodes"][1]["degraded"] = json!(true);
    let mut away = well();
    away["node"]["store"]["state"] = json!("away");
    away["node"]["store"]["error"] = json!("disk I/O error");
    let mut failing = well();
    failing["node"]["planes"][1]["failure"] = json!({ "secs_ago": 61, "what": "route 10.65.0.1/32: no such device" });
    for (status, words) in [
        (silent, "host-b  degraded"),
        (away, "out of reach; what was read last holds, for 2 h 9 min: disk I/O error"),
        (failing, "failing for 1 min 1 s: route 10.65.0.1/32: no such device"),
    ] {
        let (_, answer) = said("status", status);
        assert!(answer.text.starts_with("degraded: it is not as it should be in 2 nodes"), "{}", answer.text);
        assert!(answer.text.contains(words), "{}", answer.text);
        assert_eq!(answer.exit, 1);
    }
}

#[test]
fn the_ways_to_other_nodes_are_a_table_with_the_reasons() {
    let mut status = well();
    status["node"]["ways"] = json!([
        { "node": "host-b", "next_hop": "192.0.2.12", "pool": "pool-a", "tunnel": null,
          "why": "it is on a link of this host" },
        { "node": "host-c", "next_hop": "198.51.100.3", "pool": "pool-a", "tunnel": "vxlan",
          "why": "it is behind a router" },
        { "node": null, "next_hop": "192.0.2.254", "pool": "pool-a", "tunnel": null,
          "why": "the underlay has announced the way" },
    ]);
    let (_, answer) = said("status", status);
    let table = "

WAY TO  NEXT HOP      POOL    HOW           BECAUSE
host-b  192.0.2.12    pool-a  as it is      it is on a link of this host
host-c  198.51.100.3  pool-a  vxlan tunnel  it is behind a router
-       192.0.2.254   pool-a  as it is      the underlay has announced the way

BGP NEIGHBOUR";
    assert!(answer.text.contains(table), "{}", answer.text);
    assert_eq!(answer.exit, 0);
}
