//! The life of a container in our networks: addresses by name, two networks, restarts, what `inspect` shows.

use serde_json::json;

use crate::dockerd::endpoints;
use crate::networks::{create, hosts};

#[test]
fn addresses_by_name_survive_stop_start_and_restart_in_both_families() {
    hosts(2, |_, hosts| {
        let (one, two) = (&hosts[0], &hosts[1]);
        for host in &hosts {
            let subnets = ["--subnet", "10.9.0.0/16", "--ipv6", "--subnet", "fd09::/64"];
            let fixed = ["network", "create", "-d", "routenet", "--ipam-driver", "routenet"];
            host.docker.docker(&[fixed.as_slice(), &subnets, &["blue"]].concat());
        }
        let other = two.docker.run("other", "blue", &[]);
        let fixed = one.docker.run("fixed", "blue", &["--ip", "10.9.0.77", "--ip6", "fd09::77"]);
        assert_eq!(
            (fixed.address("blue"), fixed.place("blue", "GlobalIPv6Address")),
            ("10.9.0.77".into(), "fd09::77".into())
        );
        other.reaches("10.9.0.77");
        other.reaches("fd09::77");
        fixed.reaches(&other.place("blue", "GlobalIPv6Address"));

        let taken = two.docker.refuses(&[
            "run",
            "--rm",
            "--network",
            "blue",
            "--ip",
            "10.9.0.77",
            crate::dockerd::IMAGE,
            "/bin/sleep",
            "1",
        ]);
        assert!(taken.contains("10.9.0.77") && taken.contains("h1"), "it is said who has it: {taken}");

        one.docker.docker(&["restart", "-t", "0", "fixed"]);
        other.reaches("10.9.0.77");
        one.docker.docker(&["stop", "-t", "0", "fixed"]);
        assert!(!other.pings("10.9.0.77") && endpoints(&one.agent, 1).is_empty());
        one.docker.docker(&["start", "fixed"]);
        other.reaches("fd09::77");

        let network: serde_json::Value =
            serde_json::from_str(&one.docker.docker(&["network", "inspect", "blue"])).expect("JSON");
        assert_eq!(
            (network[0]["Driver"].as_str(), network[0]["IPAM"]["Driver"].as_str()),
            (Some("routenet"), Some("routenet"))
        );
        let subnets = network[0]["IPAM"]["Config"].as_array().expect("subnets").iter();
        let subnets: Vec<&str> = subnets.filter_map(|subnet| subnet["Subnet"].as_str()).collect();
        assert_eq!(subnets, ["10.9.0.0/16", "fd09::/64"]);
        let shown = network[0]["Containers"].as_object().expect("containers").values().next().expect("one").clone();
        assert_eq!((shown["Name"].as_str(), shown["IPv4Address"].as_str()), (Some("fixed"), Some("10.9.0.77/32")));
        assert_eq!(shown["IPv6Address"], "fd09::77/128");
        let place = one.docker.inspect("fixed")["NetworkSettings"]["Networks"]["blue"].clone();
        assert_eq!((&place["IPAddress"], &place["IPPrefixLen"]), (&json!("10.9.0.77"), &json!(32)));
        assert_eq!((&place["GlobalIPv6Address"], &place["GlobalIPv6PrefixLen"]), (&json!("fd09::77"), &json!(128)));
        assert_eq!(fixed.place("blue", "Gateway"), "169.254.1.1");
        assert!(fixed.place("blue", "MacAddress").starts_with("02:"));
    });
}

#[test]
fn a_container_in_two_networks_reaches_both_and_leaves_one_while_it_runs() {
    hosts(2, |_, hosts| {
        let (one, two) = (&hosts[0], &hosts[1]);
        for host in &hosts {
            create(host, "blue", "10.9.0.0/16");
            create(host, "red", "10.10.0.0/16");
        }
        let blue = two.docker.run("in-blue", "blue", &[]);
        let red = two.docker.run("in-red", "red", &[]);
        let both = one.docker.run("both", "blue", &[]);
        one.docker.docker(&["network", "connect", "red", "both"]);
        both.reaches(&blue.address("blue"));
        both.reaches(&red.address("red"));
        blue.reaches(&both.address("blue"));
        red.reaches(&both.address("red"));
        assert!(!red.pings(&both.address("blue")), "by its other address it is in another network");

        let refused = one.docker.refuses(&["network", "rm", "red"]);
        assert!(refused.contains("active endpoints"), "{refused}");
        one.docker.docker(&["restart", "-t", "0", "both"]);
        both.reaches(&red.address("red"));
        both.reaches(&blue.address("blue"));

        one.docker.docker(&["network", "disconnect", "red", "both"]);
        both.reaches(&blue.address("blue"));
        assert!(!both.pings(&red.address("red")));
        assert_eq!(endpoints(&one.agent, 1).len(), 1);
        one.docker.docker(&["network", "rm", "red"]);
    });
}
