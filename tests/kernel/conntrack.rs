//! The connections of an address are forgotten, those of others are not; `conntrack -L` is the oracle.

use std::collections::BTreeSet;
use std::net::IpAddr;

use routenet::plane::conntrack::flush;

use crate::support::{in_fresh_netns, run};

fn conntrack(words: &str) -> String {
    run("conntrack", &words.split_whitespace().collect::<Vec<_>>())
}

/// Enters a connection; `more`: how it is NATed.
fn connect(from: &str, to: &str, port: u16, more: &str) {
    conntrack(&format!(
        "-I -s {from} -d {to} -p tcp --sport {port} --dport 80 --state ESTABLISHED -t 600 -u ASSURED {more}"
    ));
}

fn forget(addresses: &[&str]) -> usize {
    let addresses: BTreeSet<IpAddr> = addresses.iter().map(|address| address.parse().expect("an address")).collect();
    flush(&addresses).expect("flushed")
}

#[test]
fn the_connections_of_one_address_go_and_those_of_others_stay() {
    in_fresh_netns(|| {
        assert_eq!(forget(&["10.65.0.2"]), 0);
        connect("10.65.0.2", "192.0.2.9", 1001, "");
        connect("192.0.2.9", "10.65.0.2", 1002, "");
        connect("192.0.2.9", "192.0.2.1", 1003, "--dst-nat 10.65.0.2");
        connect("10.65.0.2", "203.0.113.9", 1004, "--src-nat 192.0.2.1");
        connect("10.65.0.2", "10.65.0.3", 1005, "");
        connect("10.65.0.3", "192.0.2.9", 1006, "");
        connect("10.65.0.21", "192.0.2.9", 1007, "");
        connect("fd65::2", "2001:db8::9", 1008, "");
        connect("fd65::3", "2001:db8::9", 1009, "");
        let before = conntrack("-L -o extended") + &conntrack("-L -f ipv6");
        assert!((1001..=1009).all(|port| before.contains(&format!("sport={port} "))), "{before}");

        assert_eq!(forget(&["10.65.0.2", "fd65::2", "10.65.0.99"]), 6);
        let after = conntrack("-L") + &conntrack("-L -f ipv6");
        for port in [1001, 1002, 1003, 1004, 1005, 1008] {
            assert!(!after.contains(&format!("sport={port} ")), "{port}: {after}");
        }
        for port in [1006, 1007, 1009] {
            assert!(after.contains(&format!("sport={port} ")), "{port}: {after}");
        }
    });
}

#[test]
fn more_connections_than_one_portion_go_too() {
    in_fresh_netns(|| {
        for port in 0..300 {
            connect("10.65.0.2", "192.0.2.9", 2000 + port, "");
        }
        connect("10.65.0.3", "192.0.2.9", 1999, "");
        assert_eq!(forget(&["10.65.0.2"]), 300);
        assert_eq!(conntrack("-L").lines().count(), 1);
    });
}
