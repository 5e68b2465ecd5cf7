//! The connections of an address are forgotten, those of others are not, and each is listed as policy sees it; `conntrack -L` is the oracle.

use std::collections::BTreeSet;
use std::net::IpAddr;

use routenet::plane::conntrack::{end, flush, list};

use crate::support::{in_fresh_netns, run};

fn conntrack(words: &str) -> String {
    run("conntrack", &words.split_whitespace().collect::<Vec<_>>())
}

/// Enters a connection; `more`: how it is NATed.
fn connect(from: &str, to: &str, port: u16, more: &str) {
    conntrack(&format!(
        "-I -s {from} -d {to} -p tcp --sport {port} --dport 80 --state ESTABLISHED -t 600 -u SEEN_REPLY,ASSURED {more}"
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

#[test]
fn a_connection_is_listed_as_policy_sees_it_and_ended_alone() {
    in_fresh_netns(|| {
        connect("192.0.2.9", "192.0.2.1", 1001, "--dst-nat 10.65.0.2");
        connect("10.65.0.3", "203.0.113.9", 1002, "--src-nat 192.0.2.1");
        connect("fd65::2", "2001:db8::9", 1003, "");
        conntrack(
            "-I -s 10.65.0.4 -d 192.0.2.9 -p tcp --sport 1004 --dport 80 --state TIME_WAIT -t 600 -u SEEN_REPLY,ASSURED",
        );
        conntrack("-I -s 10.65.0.5 -d 192.0.2.9 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 7 -t 600 -u SEEN_REPLY");
        let listed = list().expect("listed");
        let find = |source: &str| {
            let source: IpAddr = source.parse().expect("an address");
            listed.iter().find(|tracked| tracked.connection.source == source).expect("it is listed")
        };
        let ends = |source: &str| {
            let connection = &find(source).connection;
            (connection.source_port, connection.destination.to_string(), connection.port)
        };
        assert_eq!(listed.len(), 5, "{listed:?}");
        assert_eq!(ends("192.0.2.9"), (Some(1001), "10.65.0.2".to_string(), Some(80)), "behind translation");
        assert_eq!(ends("10.65.0.3"), (Some(1002), "203.0.113.9".to_string(), Some(80)), "before translation");
        assert_eq!(ends("fd65::2"), (Some(1003), "2001:db8::9".to_string(), Some(80)));
        assert!(find("192.0.2.9").live && !find("10.65.0.4").live);
        let ping = &find("10.65.0.5").connection;
        assert_eq!((ping.port, ping.icmp.map(|icmp| (icmp.kind, icmp.code))), (None, Some((8, Some(0)))));

        end(&[find("10.65.0.3").clone(), find("fd65::2").clone()]).expect("ended");
        let left = conntrack("-L") + &conntrack("-L -f ipv6");
        assert!(!left.contains("sport=1002") && !left.contains("sport=1003"), "{left}");
        assert!(left.contains("sport=1001") && left.contains("sport=1004"), "{left}");
    });
}
