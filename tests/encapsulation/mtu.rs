//! What fits: the MTU that workloads are told, and path-MTU discovery where they know better.

use serde_json::json;

use crate::fixture::{attach, cni};
use crate::racks::{Kind, interface, racks};
use crate::support::hosts::Namespace;

fn mtu(namespace: &Namespace) -> u64 {
    interface(namespace, "eth0")["mtu"].as_u64().expect("an MTU")
}

/// Whether a ping of so many bytes of payload, that must not be fragmented, is answered.
fn fits(from: &Namespace, to: &str, payload: u32) -> bool {
    from.succeeds("ping", &["-n", "-c", "1", "-W", "2", "-M", "do", "-s", &payload.to_string(), to])
}

#[test]
fn workloads_get_what_the_tunnel_leaves_and_larger_packets_are_told_so() {
    racks(Kind::Vxlan, "CrossSubnet", |racks| {
        let one = attach(&racks.agents[0], "w1", "blue", json!({}));
        let three = attach(&racks.agents[2], "w3", "blue", json!({}));
        assert_eq!(mtu(&one.namespace), 1450);
        one.reaches(&three.ipv4);
        assert!(fits(&one.namespace, &three.ipv4, 1450 - 28) && fits(&three.namespace, &one.ipv4, 1450 - 28));
        assert!(!fits(&one.namespace, &three.ipv4, 1450 - 27));

        // Workloads that were given more than fits: their hosts tell them, both ways.
        let big = |agent: usize, id: &str| {
            let namespace = Namespace::new();
            let config = json!({"name": "blue", "mtu": 1500});
            let output = cni(&racks.agents[agent], "ADD", id, &namespace, config);
            assert_eq!(output.exit, 0, "{}", output.stdout);
            let address = output.json()["ips"][0]["address"].as_str().expect("an address").to_string();
            (namespace, address.split('/').next().expect("an address").to_string())
        };
        let (near, near_at) = big(0, "big1");
        let (far, far_at) = big(2, "big3");
        for (from, to) in [(&near, &far_at), (&far, &near_at)] {
            let told = from.command("ping").args(["-n", "-c", "2", "-W", "2", "-M", "do", "-s", "1472", to]).output();
            let told = String::from_utf8_lossy(&told.expect("ping").stdout).into_owned();
            assert!(told.contains("mtu = 1450") || told.contains("mtu=1450"), "fragmentation needed: {told}");
            assert!(fits(from, to, 1422));
        }
    });
}
