use serde_json::json;

use super::super::tests::said;

#[test]
fn a_neighbour_is_shown_with_its_counters_and_what_was_wrong() {
    let counts =
        |updates| json!({ "opens": 1, "updates": updates, "notifications": 0, "keepalives": 4, "refreshes": 0 });
    let reply = json!({
        "name": "tor", "address": "192.0.2.1", "port": 179, "as_number": 64513, "source": "config", "passive": false,
        "import": "all", "state": "Established", "since_secs": 65, "router_id": "192.0.2.1", "hold_time": 90,
        "capabilities": ["ipv4-unicast"], "received": 3, "accepted": 2, "advertised": 4, "sessions": 2,
        "last_error": "closed by the neighbour", "last_error_secs_ago": 70,
        "options": { "role": "customer" }, "messages_received": counts(7), "messages_sent": counts(2), "waiting": false,
        "retained": true, "stale": { "since_secs": 130, "left_secs": 3590, "long_lived": true }, "malformed": 1, "treated_as_withdraw": 1, "attributes_discarded": 0, "prefixes_ignored": 0,
        "sessions_reset": 2,
        "last_malformed": {
            "secs_ago": 5, "what": "COMMUNITIES: wrong length", "bytes": "c00801ff", "update": "ab".repeat(65),
        },
        "last_notification_sent": null,
        "last_notification_received": { "secs_ago": 70, "what": "Cease: Administrative Reset (6/4)" },
        "notes": ["everybody can read /etc/pw"], "history": [{ "secs_ago": 65, "what": "Established" }],
    });
    let (asked, answer) = said("bgp neighbor tor", reply.clone());
    assert_eq!(asked, json!({ "op": "bgp-neighbor", "name": "tor" }));
    for line in [
        "tor (192.0.2.1, AS 64513)\n",
        "  state         Established for 1 min 5 s\n",
        "  options       role: \"customer\"\n",
        "  routes in     2 accepted of 3, kept from before its restart as the last choice (RFC 9494), for 2 min 10 s, for \
         59 min more\n",
        "  messages in   1 OPEN, 7 UPDATE, 4 KEEPALIVE, 0 ROUTE-REFRESH, 0 NOTIFICATION\n",
        "  it said       Cease: Administrative Reset (6/4) (1 min 10 s ago)\n",
        "    the last    COMMUNITIES: wrong length (5 s ago)\n",
        "  malformed     1 UPDATEs (RFC 7606): 1 treated as withdrawn, 0 attributes discarded, 0 prefixes ignored, 2 sessions reset\n",
        "    its bytes   c00801ff\n",
        "abab... (65 bytes; `-o json` has all)\n",
        "  note          everybody can read /etc/pw\n",
        "  event         Established (1 min 5 s ago)\n",
    ] {
        assert!(answer.text.contains(line), "{line}{}", answer.text);
    }
    let (_, answer) = said("bgp neighbor tor -o json", reply.clone());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer.text).expect("JSON"), reply);
}

#[test]
fn a_route_says_why() {
    let route = |from: &str, standing: &str, why: serde_json::Value| {
        json!({
            "prefix": "10.1.0.0/24", "next_hop": "192.0.2.1", "from": from, "as_path": "64513", "origin": "igp",
            "local_pref": 200, "med": null, "communities": ["64513:1", "65535:6"], "best": standing == "best", "stale": false,
            "refused": null, "standing": standing, "why": why, "path_id": 7, "told_as": 3, "router_id": "192.0.2.1",
            "external": true,
            "extended_communities": [], "large_communities": [], "originator_id": null, "cluster_list": [], "otc": 64513,
            "aggregator": null, "atomic_aggregate": false, "unknown_attributes": [],
        })
    };
    let reply = json!([
        route("tor-a", "best", json!("won by LOCAL_PREF 200 over 100")),
        route("tor-b", "lost", json!("lost to LOCAL_PREF 200 over 100")),
    ]);
    let (asked, answer) = said("bgp route 10.1.0.7", reply);
    assert_eq!(asked, json!({ "op": "bgp-route", "prefix": "10.1.0.7" }));
    assert!(answer.text.starts_with("10.1.0.0/24 best: won by LOCAL_PREF 200 over 100\n  from          tor-a, eBGP\n"));
    assert!(answer.text.contains("10.1.0.0/24 lost: lost to LOCAL_PREF 200 over 100\n"), "{}", answer.text);
    assert!(answer.text.contains("  communities   64513:1, 65535:6 (LLGR_STALE)\n"), "{}", answer.text);
    assert!(answer.text.contains("  OTC           64513\n"), "{}", answer.text);
    assert!(answer.text.contains("  path id       7, told as 3\n"), "{}", answer.text);
}

#[test]
fn a_reset_says_whose() {
    let (asked, answer) = said("bgp reset all", json!(["tor-a", "tor-b"]));
    assert_eq!(asked, json!({ "op": "bgp-reset", "name": "all" }));
    assert_eq!(answer.text, "reset: tor-a, tor-b\n");
}
