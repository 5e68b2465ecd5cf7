//! ipsets over netlink, with the `ipset` tool as the judge of what is there.

use std::collections::BTreeSet;

use routenet::plane::ipset::{Client, IpsetPlane, NewSet, Step};
use routenet_core::desired::{Member, SetKind, SetOp, SetSpec};
use routenet_core::model::{Cidr, Family, InterfaceName};

use crate::support::{in_fresh_netns, run};

fn net(text: &str) -> Member {
    Member::Net(text.parse().expect("a CIDR"))
}

fn pair(cidr: &str, interface: &str) -> Member {
    Member::NetIface(cidr.parse().expect("a CIDR"), InterfaceName::new(interface).expect("an interface name"))
}

fn create(name: &str, family: Family, kind: SetKind) -> Step {
    Step::Create(NewSet { name: name.into(), family, kind, max_members: 1 << 20, hash_size: 64, counters: false })
}

/// The entries of a set as `ipset save` prints them, sorted.
fn saved(name: &str) -> Vec<String> {
    let prefix = format!("add {name} ");
    let mut lines: Vec<String> =
        run("ipset", &["save", name]).lines().filter_map(|line| line.strip_prefix(&prefix)).map(String::from).collect();
    lines.sort();
    lines
}

fn exists(name: &str) -> bool {
    run("ipset", &["list", "-n"]).lines().any(|line| line == name)
}

#[test]
fn every_step_is_what_the_ipset_tool_sees() {
    in_fresh_netns(|| {
        let mut client = Client::open().expect("ipset");
        let steps = [
            create("rn4-a", Family::V4, SetKind::HashNet),
            create("rn6-a", Family::V6, SetKind::HashNet),
            create("rn4-i", Family::V4, SetKind::HashNetIface),
            create("rn6-i", Family::V6, SetKind::HashNetIface),
            Step::Add("rn4-a".into(), vec![net("10.0.0.1/32"), net("10.1.0.0/16"), net("0.0.0.0/1")]),
            Step::Add("rn6-a".into(), vec![net("fd00::1/128"), net("fd01::/64")]),
            Step::Add("rn4-i".into(), vec![pair("10.0.0.1/32", "rnw1"), pair("10.0.0.1/32", "rnw2")]),
            Step::Add("rn6-i".into(), vec![pair("fd00::1/128", "rnw1")]),
        ];
        assert_eq!(client.run(&steps), Ok(vec![]));
        assert_eq!(saved("rn4-a"), ["0.0.0.0/1", "10.0.0.1", "10.1.0.0/16"]);
        assert_eq!(saved("rn6-a"), ["fd00::1", "fd01::/64"]);
        assert_eq!(saved("rn4-i"), ["10.0.0.1,rnw1", "10.0.0.1,rnw2"]);
        assert_eq!(saved("rn6-i"), ["fd00::1,rnw1"]);
        // The same again, deletions of what is not there, and single members.
        assert_eq!(client.run(&steps), Ok(vec![]));
        let steps = [
            Step::Delete("rn4-a".into(), vec![net("10.1.0.0/16")]),
            Step::Delete("rn4-a".into(), vec![net("10.1.0.0/16"), net("172.16.0.0/12")]),
            Step::Delete("rn4-i".into(), vec![pair("10.0.0.1/32", "rnw1")]),
            Step::Add("rn6-i".into(), vec![pair("fd00::2/128", "rnw2")]),
            Step::Destroy("rn6-a".into()),
            Step::Destroy("rn6-a".into()),
            create("rn4-b", Family::V4, SetKind::HashNet),
            Step::Swap("rn4-a".into(), "rn4-b".into()),
        ];
        assert_eq!(client.run(&steps), Ok(vec![]));
        assert_eq!(saved("rn4-a"), [""; 0]);
        assert_eq!(saved("rn4-b"), ["0.0.0.0/1", "10.0.0.1"]);
        assert_eq!(saved("rn4-i"), ["10.0.0.1,rnw2"]);
        assert_eq!(saved("rn6-i"), ["fd00::1,rnw1", "fd00::2,rnw2"]);
        assert!(!exists("rn6-a"));
    });
}

#[test]
fn what_is_read_is_what_the_ipset_tool_wrote() {
    in_fresh_netns(|| {
        run("ipset", &["create", "rn4-x", "hash:net,iface", "counters", "maxelem", "777"]);
        run("ipset", &["add", "rn4-x", "10.2.0.0/24,rnw7"]);
        run("ipset", &["add", "rn4-x", "10.3.0.0/24,rnw7", "nomatch"]);
        run("ipset", &["create", "rn6-x", "hash:net", "family", "inet6"]);
        run("ipset", &["add", "rn6-x", "fd00::/8"]);
        run("ipset", &["create", "theirs", "hash:ip"]);
        let mut client = Client::open().expect("ipset");
        let names = ["rn4-x", "rn6-x", "theirs"].map(String::from);
        assert_eq!(client.names(), Ok(BTreeSet::from(names)));
        let set = client.read("rn4-x").expect("readable").expect("there");
        assert_eq!((set.family, set.kind), (Some(Family::V4), Some(SetKind::HashNetIface)));
        assert_eq!((set.max_members, set.counters), (777, true));
        assert_eq!(set.members, BTreeSet::from([pair("10.2.0.0/24", "rnw7")]));
        assert_eq!(set.odd, BTreeSet::from([pair("10.3.0.0/24", "rnw7")]), "nomatch means something else");
        let set = client.read("rn6-x").expect("readable").expect("there");
        assert_eq!((set.family, set.kind), (Some(Family::V6), Some(SetKind::HashNet)));
        assert_eq!(set.members, BTreeSet::from([net("fd00::/8")]));
        assert_eq!(client.read("theirs").expect("readable").expect("there").kind, None, "a type that we do not use");
        assert_eq!(client.read("rn4-none"), Ok(None));
        let counts = client.counts().expect("readable");
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("rn4-x".to_string(), 2), ("rn6-x".to_string(), 1)]);
    });
}

#[test]
fn ten_thousand_members_go_in_and_come_back() {
    in_fresh_netns(|| {
        let mut client = Client::open().expect("ipset");
        let base: Cidr = "10.64.0.0/10".parse().expect("a CIDR");
        let members: Vec<Member> =
            (0..10_000).map(|n| Member::Net(Cidr::host(base.nth(n * 3).expect("in range")))).collect();
        let steps = [create("rn4-a", Family::V4, SetKind::HashNet), Step::Add("rn4-a".into(), members.clone())];
        assert_eq!(client.run(&steps), Ok(vec![]));
        assert_eq!(saved("rn4-a").len(), 10_000);
        let set = client.read("rn4-a").expect("readable").expect("there");
        assert_eq!(set.members, members.iter().cloned().collect());
        // One message for each: acknowledgements must not overflow the socket either.
        let one_by_one: Vec<Step> =
            members.iter().map(|member| Step::Delete("rn4-a".into(), vec![member.clone()])).collect();
        assert_eq!(client.run(&one_by_one), Ok(vec![]));
        assert_eq!(saved("rn4-a"), [""; 0]);
    });
}

#[test]
fn a_refused_member_is_named_and_the_others_go_in() {
    in_fresh_netns(|| {
        let mut client = Client::open().expect("ipset");
        let good: Vec<Member> = (0..1200u32).map(|n| net(&format!("10.0.{}.{}/32", n / 256, n % 256))).collect();
        let mut members = good.clone();
        members.insert(700, net("0.0.0.0/0"));
        members.insert(3, net("fd00::/8"));
        let steps = [
            create("rn4-a", Family::V4, SetKind::HashNet),
            Step::Add("rn4-a".into(), members),
            Step::Add("rn4-none".into(), good[..5].to_vec()),
            Step::Add("rn4-a".into(), vec![net("192.0.2.0/24")]),
        ];
        let errors = client.run(&steps).expect("the connection holds");
        let named: Vec<(usize, Option<Member>)> = errors.iter().map(|e| (e.step, e.member.clone())).collect();
        assert_eq!(named, [(1, Some(net("fd00::/8"))), (1, Some(net("0.0.0.0/0"))), (2, None)]);
        assert_eq!(saved("rn4-a").len(), 1201);
    });
}

#[test]
fn the_plane_says_what_a_member_must_be() {
    in_fresh_netns(|| {
        let mut plane = IpsetPlane::open(false).expect("ipset");
        let name = || "rn4-a".to_string();
        let add = |member| SetOp::Add { name: name(), member };
        let errors = plane.grow(&[
            SetOp::Create { name: name(), family: Family::V4, kind: SetKind::HashNet, members: Vec::new() },
            add(net("0.0.0.0/0")),
            add(net("fd00::/8")),
            add(pair("10.0.0.1/32", "rnw1")),
            add(net("10.0.0.1/32")),
            SetOp::Add { name: "rn4-b".into(), member: net("10.0.0.1/32") },
        ]);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "set rn4-a, member 0.0.0.0/0: ipset takes no prefix of length 0: write its halves 0.0.0.0/1 and 128.0.0.0/1",
                "set rn4-a, member fd00::/8: the set is for IPv4",
                "set rn4-a, member 10.0.0.1/32,rnw1: a set holds prefixes, (prefix, interface) pairs or (address, port) pairs, never two of these",
                "set rn4-b, member 10.0.0.1/32: no such set is wanted: create it first",
            ]
        );
        assert_eq!(saved("rn4-a"), ["10.0.0.1"]);
        assert!(!exists("rn4-b"));
    });
}

#[test]
fn a_set_that_rules_use_is_rebuilt_beside_and_swapped_in() {
    in_fresh_netns(|| {
        run("ipset", &["create", "rn4-a", "hash:net", "maxelem", "4"]);
        run("ipset", &["add", "rn4-a", "10.9.0.0/16"]);
        run("iptables-nft", &["-A", "OUTPUT", "-m", "set", "--match-set", "rn4-a", "dst", "-j", "ACCEPT"]);
        let mut plane = IpsetPlane::open(true).expect("ipset");
        let members: BTreeSet<Member> = (0..100).map(|n| net(&format!("10.0.0.{n}/32"))).collect();
        plane.read().expect("readable");
        plane.want([("rn4-a".to_string(), SetSpec { family: Family::V4, kind: SetKind::HashNet, members })].into());
        assert_eq!(plane.grow_all(&["rn4-a".into()]), []);
        assert_eq!(plane.difference(), None);
        let entries = saved("rn4-a");
        assert_eq!(entries.len(), 100);
        assert!(entries.iter().all(|entry| entry.contains("packets 0 bytes 0")), "counters are on: {entries:?}");
        assert!(run("ipset", &["list", "-t", "rn4-a"]).contains("References: 1"));
        assert_eq!(run("ipset", &["list", "-n"]).trim(), "rn4-a", "nothing is left beside it");
    });
}
