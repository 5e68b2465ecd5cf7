use serde_json::{Value, json};

use super::super::tests::{run, said};

fn reply(allowed: bool) -> Value {
    json!({
        "from": "shop/web", "to": "shop/db", "source": "10.65.0.1", "destination": "10.65.0.65", "protocol": "tcp",
        "port": 5432, "allowed": allowed,
        "egress": { "endpoint": "shop/web", "allowed": true, "decided_by": "profile rn-net.blue: Allow", "trail": ["x"] },
        "ingress": {
            "endpoint": "shop/db", "allowed": allowed, "decided_by": "GlobalNetworkPolicy deny-db, ingress rule 0: Deny",
            "trail": ["GlobalNetworkPolicy deny-db applies"],
        },
        "route": "via 192.0.2.12 (BGP, 10.65.0.65/32)", "mtu": 1500, "notes": [],
    })
}

#[test]
fn a_denial_names_its_rule_and_exits_1() {
    let (asked, answer) = said("explain shop/web shop/db tcp/5432", reply(false));
    assert_eq!(asked, json!({ "op": "explain", "from": "shop/web", "to": "shop/db", "protocol": "tcp", "port": 5432 }));
    assert_eq!(
        answer.text,
        "denied: shop/web (10.65.0.1) to shop/db (10.65.0.65), tcp/5432\n  \
           sends     allowed: profile rn-net.blue: Allow\n  \
           receives  denied: GlobalNetworkPolicy deny-db, ingress rule 0: Deny\n            \
                     GlobalNetworkPolicy deny-db applies\n  \
           route     via 192.0.2.12 (BGP, 10.65.0.65/32)\n  \
           MTU       1500\n"
    );
    assert_eq!(answer.exit, 1);
    assert_eq!(said("explain shop/web shop/db tcp/5432", reply(true)).1.exit, 0);
}

#[test]
fn a_stranger_decides_nothing_and_an_unknown_name_is_no_denial() {
    let mut outside = reply(true);
    outside["from"] = json!("203.0.113.7");
    outside["source"] = json!("203.0.113.7");
    outside["egress"] = Value::Null;
    let (asked, answer) = said("explain 203.0.113.7 shop/db ICMP", outside);
    assert_eq!((&asked["protocol"], &asked["port"]), (&json!("icmp"), &Value::Null));
    assert!(
        answer.text.contains("  sends     203.0.113.7 is no workload: nothing decides its egress\n"),
        "{}",
        answer.text
    );

    let no = json!({ "error": { "code": "invalid", "message": "no workload shop/wep" } });
    let (_, answer) = run("explain shop/wep shop/db udp/53", no);
    let error = answer.expect_err("unknown");
    assert_eq!((error.to_string().as_str(), error.exit()), ("no workload shop/wep", 2));
}
