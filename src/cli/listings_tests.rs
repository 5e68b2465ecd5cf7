use serde_json::json;

use super::super::tests::said;

#[test]
fn endpoints_are_listed_and_filtered() {
    let line = |namespace: &str, node: &str| {
        json!({
            "namespace": namespace, "name": "web", "network": "blue", "node": node,
            "addresses": ["10.65.0.1", "fd00::1"], "labels": { "app": "web" }, "container_id": "c1", "ifname": "eth0",
            "host_interface": "rnw0123456789a", "state": "failed", "error": "veth: no such namespace",
        })
    };
    let lines = json!([line("shop", "host-a"), line("bank", "host-b")]);
    let (asked, answer) = said("endpoints", lines.clone());
    assert_eq!(asked, json!({ "op": "endpoints" }));
    assert_eq!(
        answer.text,
        "NAMESPACE  NAME  NETWORK  NODE    ADDRESSES           STATE\n\
         shop       web   blue     host-a  10.65.0.1, fd00::1  failed\n\
         bank       web   blue     host-b  10.65.0.1, fd00::1  failed\n"
    );
    let (_, answer) = said("endpoints -n shop --node host-a -o wide", lines.clone());
    assert_eq!(answer.text.lines().count(), 2);
    assert!(answer.text.contains("app=web") && answer.text.contains("veth: no such namespace"), "{}", answer.text);
    let (_, answer) = said("endpoints -n other", lines);
    assert_eq!(answer.text, "no endpoints\n");
}

#[test]
fn ipam_show_has_pools_and_blocks() {
    let reply = json!({
        "pools": [{
            "name": "pool-a", "cidr": "10.65.0.0/16", "block_size": 26, "disabled": false, "networks": ["blue"],
            "blocks_claimed": 1, "blocks_total": 1024,
        }],
        "blocks": [{
            "cidr": "10.65.0.0/26", "pool": "pool-a", "node": "host-a", "epoch": 1, "allocated": 3, "resting": 1, "size": 64,
        }],
    });
    let (asked, answer) = said("ipam show", reply.clone());
    assert_eq!(asked, json!({ "op": "ipam-show" }));
    assert_eq!(
        answer.text,
        "POOL    CIDR          BLOCKS     NETWORKS\npool-a  10.65.0.0/16  1 of 1024  blue\n\n\
         BLOCK         POOL    NODE    USED     RESTING\n10.65.0.0/26  pool-a  host-a  3 of 64  1\n"
    );
    let (_, answer) = said("ipam show -o json", reply.clone());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer.text).expect("JSON"), reply);
    let (_, answer) = said("ipam show", json!({ "pools": [], "blocks": [] }));
    assert_eq!(answer.text, "no pools: apply an IPPool and a Network that draws from it\n\nno blocks are claimed\n");
}

#[test]
fn bgp_neighbours_and_routes_are_listed() {
    let neighbour = json!({
        "name": "host-b", "address": "192.0.2.12", "port": 179, "as_number": 64512, "source": "node", "passive": false,
        "import": "pools", "state": "Established", "since_secs": 65, "router_id": "192.0.2.12", "hold_time": 90,
        "capabilities": ["ipv4-unicast"], "received": 3, "accepted": 2, "advertised": 4, "sessions": 2,
        "last_error": "hold timer expired", "last_error_secs_ago": 70,
    });
    let (asked, answer) = said("bgp neighbors", json!([neighbour]));
    assert_eq!(asked, json!({ "op": "bgp-neighbors" }));
    assert_eq!(
        answer.text,
        "NAME    ADDRESS     AS     STATE        FOR        IN  OUT  LAST ERROR\n\
         host-b  192.0.2.12  64512  Established  1 min 5 s  2   4    hold timer expired (1 min 10 s ago)\n"
    );
    let route = |prefix: &str, next_hop: serde_json::Value, best: bool, refused: serde_json::Value| {
        json!({
            "prefix": prefix, "next_hop": next_hop, "from": if next_hop.is_null() { json!(null) } else { json!("host-b") },
            "as_path": "", "origin": "igp", "local_pref": 100, "med": null, "communities": [], "best": best,
            "stale": false, "refused": refused,
        })
    };
    let routes = json!([
        route("10.65.0.1/32", json!(null), true, json!(null)),
        route("10.99.0.0/16", json!("192.0.2.12"), false, json!("outside the pools")),
    ]);
    let (asked, answer) = said("bgp routes", routes);
    assert_eq!(asked, json!({ "op": "bgp-routes" }));
    assert_eq!(
        answer.text,
        "FLAGS  PREFIX        NEXT HOP    FROM    AS PATH  ORIGIN\n\
         >      10.65.0.1/32  -           here    -        igp\n\
         x      10.99.0.0/16  192.0.2.12  host-b  -        igp\n"
    );
}
