//! Nexthop objects under the routes; iproute2, its monitor and ping are the oracles.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use routenet::plane::route::RoutePlane;
use routenet_core::desired::{Route, RouteKey};
use routenet_core::model::TunnelKind;
use routenet_core::model::scope::scoped;

use crate::links::{block_on, ip};
use crate::routes::{apply, key, learned, monitor, show, underlay};
use crate::support::hosts::Namespace;
use crate::support::{in_fresh_netns, run, wait_for};

const SECOND: Duration = Duration::from_secs(1);

/// The objects of our range: each line of `ip nexthop`, by id.
fn objects() -> BTreeMap<u32, String> {
    let all = ip("-d nexthop show");
    let objects = all.lines().map(|line| {
        let id: u32 = line.split_whitespace().nth(1).expect("an id").parse().expect("a number");
        (id, line.split_whitespace().skip(2).collect::<Vec<_>>().join(" "))
    });
    objects.filter(|(id, _)| *id >> 16 == 0x726e).collect()
}

/// The object that the kernel says a route leads by.
fn nhid(dst: &str) -> Option<u32> {
    let family = if dst.contains(':') { "-6" } else { "-4" };
    let shown = ip(&format!("{family} route show {dst}"));
    let mut words = shown.split_whitespace().skip_while(|word| *word != "nhid");
    words.nth(1).map(|id| id.parse().expect("a number"))
}

fn started() -> RoutePlane {
    started_with(true)
}

fn started_with(objects: bool) -> RoutePlane {
    let plane = RoutePlane::spawn_with(objects).expect("a plane");
    block_on(plane.start(BTreeMap::new(), true)).expect("started");
    plane
}

fn many(count: u32, route: &Route) -> Vec<(RouteKey, Option<Route>)> {
    (0..count).map(|n| (key(&format!("10.100.{}.{}/32", n / 256, n % 256)), Some(route.clone()))).collect()
}

#[test]
fn routes_share_one_object_a_next_hop_and_a_group_for_several_and_none_is_left() {
    in_fresh_netns(|| {
        underlay();
        ip("nexthop add id 7 via 192.0.2.9 dev under0 proto 83");
        let plane = started();
        let all = [
            ("10.65.1.0/26", learned(&["192.0.2.2"])),
            ("10.65.2.0/26", learned(&["192.0.2.2"])),
            ("10.65.3.0/26", learned(&["192.0.2.3"])),
            ("10.65.4.0/26", learned(&["192.0.2.2", "192.0.2.3"])),
            ("10.65.5.0/26", learned(&["192.0.2.2", "192.0.2.3"])),
            ("fd65::1:0/122", learned(&["2001:db8::2"])),
            ("fd65::2:0/122", learned(&["2001:db8::2", "2001:db8::3"])),
        ];
        apply(&plane, &all.clone().map(|(dst, route)| (key(dst), Some(route)))).expect("all");
        assert_eq!(nhid("10.65.1.0/26"), nhid("10.65.2.0/26"));
        assert_eq!(nhid("10.65.4.0/26"), nhid("10.65.5.0/26"));
        let there = objects();
        let ids = all.clone().map(|(dst, _)| nhid(dst).expect("an object"));
        assert_eq!(there[&ids[0]], "via 192.0.2.2 dev under0 scope link proto 83");
        assert_eq!(there[&ids[2]], "via 192.0.2.3 dev under0 scope link proto 83");
        assert_eq!(there[&ids[3]], format!("group {}/{} scope global proto 83", ids[0], ids[2]));
        assert_eq!(there[&ids[5]], "via 2001:db8::2 dev under0 scope link proto 83");
        assert!(there[&ids[6]].starts_with(&format!("group {}/", ids[5])), "{there:?}");
        assert_eq!(there.len(), 6, "{there:?}");
        // A group's next hop stays with it, also when nothing else leads there.
        apply(&plane, &[(key("10.65.3.0/26"), None), (key("fd65::1:0/122"), None)]).expect("removed");
        assert_eq!(objects().len(), 6);
        apply(&plane, &[(key("10.65.4.0/26"), None), (key("10.65.5.0/26"), Some(Route::Blackhole))]).expect("done");
        let left = objects();
        assert!([0, 5, 6].iter().all(|n| left.contains_key(&ids[*n])) && left.len() == 4, "{left:?}");
        apply(&plane, &all.map(|(dst, _)| (key(dst), None))).expect("removed");
        assert_eq!(objects(), BTreeMap::new());
        assert!(ip("nexthop show").contains("id 7 via 192.0.2.9"), "somebody else's");
        assert!(plane.status().in_sync && plane.status().repairs == 0);
    });
}

/// A neighbour on a cable, who has 10.65.1.1 and answers to 10.65.0.1 by the cable; with the link-local address of its
/// end, and the index of ours.
fn neighbour() -> (Namespace, IpAddr, u32) {
    let there = Namespace::new();
    ip("link set lo up");
    ip("link add under0 type veth peer name under1");
    ip(&format!("link set under1 netns {}", there.pid()));
    there.run("ip", &["link", "set", "lo", "up"]);
    ip("link set under0 addrgenmode none");
    there.run("ip", &["link", "set", "under1", "addrgenmode", "none"]);
    ip("link set under0 up");
    there.run("ip", &["link", "set", "under1", "up"]);
    ip("-6 address add fe80::1/64 dev under0 nodad");
    ip("-6 address add 2001:db8::1/64 dev under0 nodad");
    ip("address add 10.65.0.1/32 dev lo");
    there.run("ip", &["-6", "address", "add", "fe80::2/64", "dev", "under1", "nodad"]);
    there.run("ip", &["-6", "address", "add", "2001:db8::2/64", "dev", "under1", "nodad"]);
    there.run("ip", &["address", "add", "10.65.1.1/32", "dev", "lo"]);
    there.run("ip", &["route", "add", "10.65.0.1/32", "via", "inet6", "fe80::1", "dev", "under1"]);
    let index = nix::net::if_::if_nametoindex("under0").expect("an index");
    (there, "fe80::2".parse().expect("an address"), index)
}

#[test]
fn ipv4_goes_by_way_of_ipv6_next_hops_with_and_without_objects() {
    for objects in [true, false] {
        in_fresh_netns(move || {
            let (_there, link_local, index) = neighbour();
            let plane = started_with(objects);
            let source = Some("10.65.0.1".parse().expect("an address"));
            let ways = [
                (vec![scoped(link_local, index)], "via inet6 fe80::2 dev under0"),
                (vec!["2001:db8::2".parse().expect("an address")], "via inet6 2001:db8::2 dev under0"),
            ];
            for (via, words) in ways {
                let route = Route::Learned { via, src: source };
                apply(&plane, &[(key("10.65.1.0/26"), Some(route.clone()))]).expect("a route");
                let shown = show("10.65.1.0/26");
                assert_eq!(shown, format!("10.65.1.0/26 {words} proto 83 src 10.65.0.1"));
                assert_eq!(nhid("10.65.1.0/26").is_some(), objects);
                run("ping", &["-n", "-c", "1", "-W", "2", "10.65.1.1"]);
                let read = block_on(RoutePlane::spawn().expect("a plane").read_ours()).expect("read");
                assert_eq!(read, [(key("10.65.1.0/26"), route)], "what is there is known for what it is");
            }
            // Equal paths, of both kinds, in both families.
            let both = vec!["2001:db8::2".parse().expect("an address"), scoped(link_local, index)];
            for dst in ["10.65.1.0/26", "fd65::1:0/122"] {
                let route = Route::Learned { via: both.clone(), src: None };
                apply(&plane, &[(key(dst), Some(route.clone()))]).expect("a route");
                assert_eq!(show(dst).matches("under0 weight 1").count(), 2, "{}", show(dst));
                let read = block_on(RoutePlane::spawn().expect("a plane").read_ours()).expect("read");
                assert!(read.contains(&(key(dst), route)), "{read:?}");
            }
            run("ping", &["-n", "-c", "1", "-W", "2", "-I", "10.65.0.1", "10.65.1.1"]);
            assert_eq!(plane.status().repairs, 0);
        });
    }
}

#[test]
fn a_link_local_next_hop_without_its_link_and_an_ipv4_one_for_ipv6_are_refused() {
    in_fresh_netns(|| {
        underlay();
        let plane = started();
        let error = apply(&plane, &[(key("10.65.1.0/26"), Some(learned(&["fe80::2"])))]).expect_err("which link?");
        assert!(error.contains("does not say of which link"), "{error}");
        let error = apply(&plane, &[(key("fd65::/122"), Some(learned(&["192.0.2.2"])))]).expect_err("no such thing");
        assert!(error.contains("192.0.2.2 is not of the route's family"), "{error}");
        let gone = Route::Learned { via: vec![scoped("fe80::2".parse().expect("an address"), 9999)], src: None };
        apply(&plane, &[(key("10.65.2.0/26"), Some(gone))]).expect_err("a link that is not there");
        assert_eq!((show("10.65.1.0/26"), show("10.65.2.0/26"), show("fd65::/122")), Default::default());
        assert_eq!(objects(), BTreeMap::new());
    });
}

#[test]
fn what_happens_to_an_object_or_to_its_link_is_put_right() {
    in_fresh_netns(|| {
        underlay();
        let plane = started();
        let all = [
            (key("10.65.1.0/26"), Some(learned(&["192.0.2.2"]))),
            (key("10.65.2.0/26"), Some(learned(&["192.0.2.2", "192.0.2.3"]))),
            (key("fd65::1:0/122"), Some(learned(&["2001:db8::2"]))),
            (key("fd65::2:0/122"), Some(learned(&["2001:db8::2", "2001:db8::3"]))),
        ];
        apply(&plane, &all).expect("all");
        let shown = || ["10.65.1.0/26", "10.65.2.0/26", "fd65::1:0/122", "fd65::2:0/122"].map(|dst| sorted(&show(dst)));
        let before = shown();
        let damages: [fn(); 7] = [
            || drop(ip(&format!("nexthop delete id {}", nhid("10.65.1.0/26").expect("an object")))),
            || drop(ip(&format!("nexthop delete id {}", nhid("fd65::2:0/122").expect("an object")))),
            || drop(ip("nexthop flush proto 83")),
            || {
                let id = nhid("10.65.1.0/26").expect("an object");
                drop(ip(&format!("nexthop replace id {id} via 192.0.2.77 dev under0 proto 83")));
            },
            || {
                let id = nhid("10.65.1.0/26").expect("an object");
                drop(ip(&format!("nexthop replace id {id} via 192.0.2.2 dev under0 proto static")));
            },
            || drop(ip("link set under1 down")),
            || drop(ip("nexthop flush")),
        ];
        for (number, damage) in damages.iter().enumerate() {
            damage();
            // On a link without a carrier there are routes, and no objects.
            let plain = |all: [String; 4]| all.map(|shown| shown.replace(" linkdown", "").replace(" dead", ""));
            wait_for(&format!("repair {number}"), 5 * SECOND, || plain(shown()) == before);
            ip("link set under1 up");
            wait_for("being in sync", 5 * SECOND, || plane.status().in_sync && shown() == before);
        }
        ip("link set under0 down");
        wait_for("the failure", 5 * SECOND, || !plane.status().in_sync && plane.status().failure.is_some());
        ip("link set under0 up");
        ip("-6 address replace 2001:db8::1/64 dev under0 nodad");
        wait_for("the routes of a link that is up again", 5 * SECOND, || shown() == before);
        wait_for("being in sync", 5 * SECOND, || plane.status().in_sync);
        apply(&plane, &all.map(|(key, _)| (key, None))).expect("removed");
        wait_for("the end of the objects", 5 * SECOND, || objects().is_empty());
    });
}

fn sorted(shown: &str) -> String {
    let mut lines: Vec<&str> = shown.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn what_a_killed_agent_left_is_taken_over_or_removed_and_others_objects_stay() {
    in_fresh_netns(|| {
        underlay();
        let id = |n: u32| 0x726e_0000u32 + n;
        for line in [
            format!("nexthop add id {} via 192.0.2.2 dev under0 proto 83", id(5)),
            format!("nexthop add id {} via 192.0.2.3 dev under0 proto 83", id(6)),
            format!("nexthop add id {} group {}/{} proto 83", id(7), id(5), id(6)),
            // Nobody needs these, the last two are not ours.
            format!("nexthop add id {} via 192.0.2.4 dev under0 proto 83", id(8)),
            format!("nexthop add id {} via 192.0.2.5 dev under0 proto static", id(0)),
            "nexthop add id 99 via 192.0.2.6 dev under0 proto 83".to_string(),
            format!("route add 10.65.1.0/26 nhid {} proto 83", id(5)),
            format!("route add 10.65.2.0/26 nhid {} proto 83", id(7)),
            // As an older version wrote them.
            "route add 10.65.3.0/26 via 192.0.2.2 proto 83".to_string(),
            "route add 10.65.4.0/26 proto 83 nexthop via 192.0.2.2 nexthop via 192.0.2.3".to_string(),
            format!("route add 10.65.5.0/26 nhid {} proto 83", id(7)),
        ] {
            ip(&line);
        }
        let plane = RoutePlane::spawn().expect("a plane");
        let [one, both] = [learned(&["192.0.2.2"]), learned(&["192.0.2.2", "192.0.2.3"])];
        let all = [("10.65.1.0/26", &one), ("10.65.2.0/26", &both), ("10.65.3.0/26", &one), ("10.65.4.0/26", &both)];
        let wanted: BTreeMap<RouteKey, Route> = all.map(|(dst, route)| (key(dst), route.clone())).into();
        let read: BTreeMap<RouteKey, Route> = block_on(plane.read_ours()).expect("read").into_iter().collect();
        assert_eq!(read.len(), 5);
        assert!(wanted.iter().all(|(key, route)| read.get(key) == Some(route)), "{read:?}");

        let monitor = monitor(&["route", "nexthop"]);
        block_on(plane.start(wanted, true)).expect("started");
        assert_eq!(objects().keys().copied().collect::<Vec<_>>(), [0, 5, 6, 7].map(id), "the unneeded one is gone");
        assert!(!show("10.65.5.0/26").is_empty(), "kept for now, with what it leads by");
        // New routes lead by what is there.
        apply(
            &plane,
            &[(key("10.65.6.0/26"), Some(both.clone())), (key("10.65.7.0/26"), Some(learned(&["192.0.2.7"])))],
        )
        .expect("routes");
        assert_eq!(nhid("10.65.6.0/26"), Some(id(7)));
        assert_ne!(nhid("10.65.7.0/26"), Some(id(0)), "an id that somebody else holds");
        block_on(plane.sweep_learned()).expect("swept");
        assert_eq!(show("10.65.5.0/26"), "");
        wait_for("the monitor", 5 * SECOND, || monitor.heard().contains("Deleted 10.65.5.0/26"));
        for untouched in ["10.65.1.0/26", "10.65.2.0/26", "10.65.3.0/26", "10.65.4.0/26"] {
            assert!(!monitor.heard().contains(untouched), "{}", monitor.heard());
        }
        apply(&plane, &[1, 2, 3, 4, 6, 7].map(|n| (key(&format!("10.65.{n}.0/26")), None))).expect("removed");
        assert_eq!(objects().keys().copied().collect::<Vec<_>>(), [id(0)]);
        assert!(ip("nexthop show").contains("id 99 via 192.0.2.6"));
        assert_eq!(plane.status().repairs, 0);
    });
}

#[test]
fn a_kernel_without_objects_has_routes_that_carry_their_next_hops() {
    in_fresh_netns(|| {
        underlay();
        let all = [
            (key("10.65.1.0/26"), Some(learned(&["192.0.2.2"]))),
            (key("fd65::1:0/122"), Some(learned(&["2001:db8::2", "2001:db8::3"]))),
        ];
        let without = started_with(false);
        apply(&without, &all).expect("all");
        assert_eq!((nhid("10.65.1.0/26"), nhid("fd65::1:0/122"), objects()), (None, None, BTreeMap::new()));
        let before = [show("10.65.1.0/26"), sorted(&show("fd65::1:0/122"))];
        drop(without);
        // With objects again, and back: each takes over what the other left.
        let with = started();
        apply(&with, &all).expect("all");
        assert_eq!(nhid("10.65.1.0/26"), None, "right as it is");
        apply(&with, &all.clone().map(|(key, _)| (key, Some(Route::Blackhole)))).expect("all");
        apply(&with, &all).expect("all");
        assert!(nhid("10.65.1.0/26").is_some() && nhid("fd65::1:0/122").is_some());
        drop(with);
        let without = started_with(false);
        apply(&without, &all).expect("all");
        assert_eq!((nhid("10.65.1.0/26"), nhid("fd65::1:0/122")), (None, None));
        assert_eq!([show("10.65.1.0/26"), sorted(&show("fd65::1:0/122"))], before);
    });
}

#[test]
fn a_next_hop_that_moves_to_another_link_takes_its_routes_along_by_one_message() {
    in_fresh_netns(|| {
        underlay();
        ip("address add 198.51.100.1/24 dev under0");
        let plane = started();
        apply(&plane, &many(1000, &learned(&["198.51.100.2"]))).expect("all");
        let id = nhid("10.100.0.7/32").expect("an object");
        ip("address add 198.51.100.1/24 dev under1 metric 5");
        ip("address delete 198.51.100.1/24 dev under0");
        wait_for("the routes on the other link", 5 * SECOND, || {
            ip("route show proto 83").matches("via 198.51.100.2 dev under1 ").count() == 1000
        });
        assert_eq!(nhid("10.100.0.7/32"), Some(id));
        assert_eq!(plane.status().repairs, 0, "no route was written for it");
        // On no link any more: what leads there goes, and comes back with it.
        ip("address delete 198.51.100.1/24 dev under1");
        wait_for("their end", 5 * SECOND, || ip("route show proto 83").is_empty());
        wait_for("the failure", 5 * SECOND, || {
            plane.status().failure.is_some_and(|(_, what)| what.contains("is not on a link of this host"))
        });
        assert_eq!(objects(), BTreeMap::new());
        ip("address add 198.51.100.1/24 dev under0");
        wait_for("the routes", 5 * SECOND, || ip("route show proto 83").lines().count() == 1000);
        wait_for("being in sync", 5 * SECOND, || plane.status().in_sync);
    });
}

#[test]
fn a_next_hop_that_announces_itself_keeps_its_link() {
    in_fresh_netns(|| {
        underlay();
        let plane = started();
        let own = [
            ("2001:db8::2/128", learned(&["2001:db8::2"])),
            ("fd65::1:0/122", learned(&["2001:db8::2"])),
            ("192.0.2.2/32", learned(&["192.0.2.2"])),
            ("10.65.1.0/26", learned(&["192.0.2.2"])),
        ];
        apply(&plane, &own.clone().map(|(dst, route)| (key(dst), Some(route)))).expect("all");
        let ids = || own.clone().map(|(dst, _)| nhid(dst));
        let before = ids();
        assert!(before.iter().all(Option::is_some), "{before:?}");
        // That one moves says that all were looked at again.
        for n in [7, 8, 9] {
            ip(&format!("address add 198.51.100.{n}/24 dev under0"));
            apply(&plane, &[(key("10.65.9.0/26"), Some(learned(&["198.51.100.2"])))]).expect("another");
            ip(&format!("address add 198.51.100.{n}/24 dev under1 metric 5"));
            ip(&format!("address delete 198.51.100.{n}/24 dev under0"));
            let moved = || ip("route show proto 83").contains("via 198.51.100.2 dev under1 ");
            wait_for("the one that moves", 5 * SECOND, moved);
            assert_eq!(ids(), before);
            ip(&format!("address delete 198.51.100.{n}/24 dev under1"));
            apply(&plane, &[(key("10.65.9.0/26"), None)]).expect("removed");
        }
    });
}

#[test]
fn routes_that_all_go_another_way_are_led_there_by_their_object() {
    in_fresh_netns(|| {
        underlay();
        // Not every kernel has tunnels of this kind; what leads there is written in the same way.
        ip("link add rnt-ipip type veth peer name far");
        ip("link set far up");
        ip("link set rnt-ipip up");
        let plane = started();
        let via = |dst: &str| show(dst).replace(" proto 83", "");
        apply(&plane, &many(500, &learned(&["192.0.2.2"]))).expect("all");
        let id = nhid("10.100.0.7/32").expect("an object");
        // Another gateway, another way to it, several and one: of all of them.
        apply(&plane, &many(500, &learned(&["192.0.2.3"]))).expect("all");
        assert_eq!(
            (nhid("10.100.1.7/32"), via("10.100.1.7/32").as_str()),
            (Some(id), "10.100.1.7 via 192.0.2.3 dev under0")
        );
        let tunnelled =
            Route::Tunnelled { kind: TunnelKind::Ipip, via: vec!["192.0.2.3".parse().expect("an address")], src: None };
        apply(&plane, &many(500, &tunnelled)).expect("all");
        assert_eq!(nhid("10.100.1.7/32"), Some(id));
        assert_eq!(via("10.100.1.7/32"), "10.100.1.7 via 192.0.2.3 dev rnt-ipip onlink");
        assert_eq!(objects().len(), 1);
        // Of some of them only: the others stay where they are.
        apply(&plane, &many(100, &learned(&["192.0.2.4"]))).expect("a part");
        assert_eq!(ip("route show proto 83").matches("via 192.0.2.4 dev under0").count(), 100);
        assert_eq!(ip("route show proto 83").matches("via 192.0.2.3 dev rnt-ipip").count(), 400);
        // Of all, to where others are already: no two objects for one way.
        apply(&plane, &many(500, &learned(&["192.0.2.4"]))).expect("all");
        assert_eq!(ip("route show proto 83").matches("via 192.0.2.4 dev under0").count(), 500);
        assert_eq!(objects().len(), 1);
        // A set of equal paths that loses one, and gets another.
        apply(&plane, &many(500, &learned(&["192.0.2.2", "192.0.2.3"]))).expect("all");
        let group = nhid("10.100.0.7/32");
        for hops in [&["192.0.2.3"][..], &["192.0.2.3", "192.0.2.5", "192.0.2.6"]] {
            apply(&plane, &many(500, &learned(hops))).expect("all");
            assert_eq!(nhid("10.100.0.7/32"), group);
            for hop in hops {
                assert_eq!(ip("route show proto 83").matches(&format!("via {hop} dev under0")).count(), 500, "{hop}");
            }
        }
        apply(&plane, &many(500, &learned(&[])).into_iter().map(|(key, _)| (key, None)).collect::<Vec<_>>())
            .expect("none");
        assert_eq!(objects(), BTreeMap::new());
        assert!(plane.status().in_sync && plane.status().repairs == 0);
    });
}

#[test]
fn routes_that_were_dropped_unsaid_come_back_though_jobs_never_end() {
    in_fresh_netns(|| {
        underlay();
        let plane = started();
        apply(&plane, &[(key("10.65.1.0/26"), Some(learned(&["192.0.2.2"])))]).expect("learned");
        let before = show("10.65.1.0/26");
        let end = AtomicBool::new(false);
        let rounds = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            // Each has a job in the queue at any time, of a few portions.
            for flow in 0..4 {
                let (plane, end, rounds) = (plane.clone(), &end, &rounds);
                scope.spawn(move || {
                    let all = |route: Option<Route>| {
                        (0..3000u32).map(move |n| {
                            (key(&format!("10.{}.{}.{}/32", 100 + flow, n / 256, n % 256)), route.clone())
                        })
                    };
                    for round in 0.. {
                        let route = (round % 2 == 0).then_some(Route::Blackhole);
                        block_on(plane.apply(all(route).collect())).expect("a round");
                        rounds.fetch_add(1, Ordering::Relaxed);
                        if round % 2 == 1 && end.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            // What a test that fails here must not leave running.
            let outcome = std::panic::catch_unwind(|| {
                let busy = || rounds.load(Ordering::Relaxed);
                wait_for("the jobs", 30 * SECOND, || busy() > 4);
                ip("link set under1 down");
                wait_for("the end of the route by its object", 30 * SECOND, || show("10.65.1.0/26") != before);
                ip("link set under1 up");
                let flapped = busy();
                wait_for("the route", 30 * SECOND, || show("10.65.1.0/26") == before);
                wait_for("the jobs, which go on", 30 * SECOND, || busy() > flapped + 4);
            });
            end.store(true, Ordering::Relaxed);
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        // What jobs had not come to was not taken for what somebody took away.
        let status = plane.status();
        assert!(status.repairs <= 1, "{status:?}");
    });
}
