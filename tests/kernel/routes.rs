//! The route plane against a real kernel; iproute2 is the oracle.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use routenet::plane::link::LinkPlane;
use routenet::plane::route::RoutePlane;
use routenet_core::desired::{Route, RouteKey, UNREACHABLE_METRIC};
use routenet_core::model::{InterfaceName, Via};

use crate::links::{Workload, block_on, ip};
use crate::support::monitor::RouteMonitor;
use crate::support::{in_fresh_netns, run, wait_for, without_ids};

const SECOND: Duration = Duration::from_secs(1);

pub fn key(dst: &str) -> RouteKey {
    RouteKey { dst: dst.parse().expect("a CIDR"), metric: 0 }
}

/// Listens: it has heard of a route of its own.
pub fn monitor(objects: &[&str]) -> RouteMonitor {
    let monitor = RouteMonitor::start(std::process::Command::new("ip"), objects);
    wait_for("ip monitor to listen", 5 * SECOND, || {
        ip("route add 10.72.0.0/16 via 192.0.2.9");
        ip("route delete 10.72.0.0/16");
        monitor.heard().contains("10.72.0.0/16")
    });
    monitor
}

fn addresses(all: &[&str]) -> Via {
    all.iter().map(|text| text.parse::<IpAddr>().expect("an address")).collect()
}

pub fn learned(via: &[&str]) -> Route {
    Route::Learned { via: addresses(via), src: None }
}

fn local(dev: &str, src: Option<&str>) -> Route {
    Route::Local { dev: InterfaceName::new(dev).expect("a name"), src: src.map(|src| src.parse().expect("an address")) }
}

/// An underlay link with neighbours on it, and the host's addresses.
pub fn underlay() {
    ip("link add under0 type veth peer name under1");
    ip("link set under0 up");
    ip("link set under1 up");
    ip("address add 192.0.2.1/24 dev under0");
    ip("-6 address add 2001:db8::1/64 dev under0 nodad");
}

fn started(wanted: &[(RouteKey, Route)]) -> RoutePlane {
    let plane = RoutePlane::spawn().expect("a plane");
    block_on(plane.start(wanted.iter().cloned().collect(), false)).expect("started");
    plane
}

pub fn apply(plane: &RoutePlane, changes: &[(RouteKey, Option<Route>)]) -> Result<(), String> {
    block_on(plane.apply(changes.iter().cloned().collect())).map_err(|error| error.to_string())
}

/// `ip route show DST`, without trailing spaces, and without the id of the object by which it leads; empty: there is none.
pub fn show(dst: &str) -> String {
    let family = if dst.contains(':') { "-6" } else { "-4" };
    let shown = ip(&format!("{family} route show {dst}"));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    without_ids(&shown).lines().map(words).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_kind_of_route_stands_as_iproute2_shows_it() {
    in_fresh_netns(|| {
        underlay();
        let unreachable = |dst: &str| RouteKey { metric: UNREACHABLE_METRIC, ..key(dst) };
        let plane = started(&[]);
        apply(
            &plane,
            &[
                (key("10.65.0.2/32"), Some(local("under1", Some("192.0.2.1")))),
                (key("fd65::2/128"), Some(local("under1", Some("2001:db8::1")))),
                (key("10.65.0.0/26"), Some(Route::Blackhole)),
                (key("fd65::/122"), Some(Route::Blackhole)),
                (unreachable("10.65.0.0/16"), Some(Route::Unreachable)),
                (unreachable("fd65::/48"), Some(Route::Unreachable)),
                (key("10.65.1.0/26"), Some(learned(&["192.0.2.2"]))),
                (key("fd65::1:0/122"), Some(learned(&["2001:db8::2"]))),
            ],
        )
        .expect("all");
        assert_eq!(show("10.65.0.2/32"), "10.65.0.2 dev under1 proto 82 scope link src 192.0.2.1");
        assert_eq!(show("10.65.0.0/26"), "blackhole 10.65.0.0/26 proto 82");
        assert_eq!(show("10.65.0.0/16"), "unreachable 10.65.0.0/16 proto 82 metric 1000000");
        assert_eq!(show("10.65.1.0/26"), "10.65.1.0/26 via 192.0.2.2 dev under0 proto 83");
        assert_eq!(show("fd65::2/128"), "fd65::2 dev under1 proto 82 src 2001:db8::1 metric 1024 pref medium");
        assert!(show("fd65::/122").starts_with("blackhole fd65::/122 dev lo proto 82 metric 1024"));
        assert!(show("fd65::/48").starts_with("unreachable fd65::/48 dev lo proto 82 metric 1000000"));
        assert_eq!(show("fd65::1:0/122"), "fd65::1:0/122 via 2001:db8::2 dev under0 proto 83 metric 1024 pref medium");
        let everything = [key("10.65.0.2/32"), key("fd65::2/128"), key("10.65.0.0/26"), key("fd65::/122")];
        apply(&plane, &everything.map(|key| (key, None))).expect("removed");
        for gone in ["10.65.0.2/32", "fd65::2/128", "10.65.0.0/26", "fd65::/122"] {
            assert_eq!(show(gone), "");
        }
        assert!(!show("10.65.0.0/16").is_empty() && !show("fd65::/48").is_empty(), "the others stay");
        let status = plane.status();
        assert!(status.in_sync && status.wanted == 4 && status.repairs == 0, "{status:?}");
    });
}

#[test]
fn several_next_hops_grow_shrink_and_change_in_both_families() {
    in_fresh_netns(|| {
        underlay();
        let plane = started(&[]);
        for (dst, base) in [("10.65.1.0/26", "192.0.2."), ("fd65::1:0/122", "2001:db8::")] {
            let hops = |last: &[u8]| last.iter().map(|n| format!("{base}{n}")).collect::<Vec<_>>();
            for last in [&[2, 3][..], &[2, 3, 4], &[3, 4], &[5, 6], &[3], &[7], &[2, 3], &[2]] {
                let via = hops(last);
                let route = learned(&via.iter().map(String::as_str).collect::<Vec<_>>());
                apply(&plane, &[(key(dst), Some(route))]).expect("a route");
                let shown = show(dst);
                assert_eq!(shown.matches("via ").count(), via.len(), "{via:?}: {shown}");
                for hop in &via {
                    assert!(shown.contains(&format!("via {hop} dev under0")), "{hop}: {shown}");
                }
            }
            // From several next hops to none at all, and back.
            apply(&plane, &[(key(dst), Some(learned(&hops(&[2, 3]).iter().map(String::as_str).collect::<Vec<_>>())))])
                .expect("a route");
            apply(&plane, &[(key(dst), Some(Route::Blackhole))]).expect("a blackhole");
            let shown = show(dst);
            assert!(shown.starts_with("blackhole") && shown.lines().count() == 1, "{shown}");
            apply(&plane, &[(key(dst), Some(learned(&hops(&[2, 3]).iter().map(String::as_str).collect::<Vec<_>>())))])
                .expect("a route");
            let shown = show(dst);
            assert!(!shown.contains("blackhole") && shown.matches("via ").count() == 2, "{shown}");
            apply(&plane, &[(key(dst), None)]).expect("removed");
            assert_eq!(show(dst), "");
        }
    });
}

#[test]
fn a_bad_next_hop_stops_nobody_else_and_is_tried_again() {
    in_fresh_netns(|| {
        underlay();
        ip("route add default via 192.0.2.254");
        ip("-6 route add default via 2001:db8::fe");
        let plane = started(&[]);
        let error = apply(
            &plane,
            &[
                (key("10.65.1.0/26"), Some(learned(&["192.0.2.2"]))),
                // Reached by the default route only: not on a link.
                (key("10.65.2.0/26"), Some(learned(&["198.51.100.2"]))),
                (key("10.65.3.0/26"), Some(learned(&["192.0.2.3"]))),
                (key("fd65::2:0/122"), Some(learned(&["2001:db8:5::2"]))),
                (key("fd65::3:0/122"), Some(learned(&["2001:db8::3"]))),
            ],
        )
        .expect_err("two of them");
        assert!(error.starts_with("10.65.2.0/26: next hop 198.51.100.2 is not on a link of this host"), "{error}");
        assert!(error.ends_with("(and 1 more)"), "{error}");
        for there in ["10.65.1.0/26", "10.65.3.0/26", "fd65::3:0/122"] {
            assert!(show(there).contains("via"), "{there}");
        }
        assert_eq!((show("10.65.2.0/26"), show("fd65::2:0/122")), (String::new(), String::new()));
        let status = plane.status();
        assert!(!status.in_sync && status.failure.is_some(), "{status:?}");

        ip("address add 198.51.100.1/24 dev under1");
        ip("-6 address add 2001:db8:5::1/64 dev under1 nodad");
        wait_for("the routes", SECOND, || {
            show("10.65.2.0/26").contains("via") && show("fd65::2:0/122").contains("via")
        });
        wait_for("being in sync", SECOND, || plane.status().in_sync);
        assert_eq!(plane.status().failure, None);
    });
}

#[test]
fn a_route_that_turns_bad_does_not_keep_its_old_next_hop() {
    in_fresh_netns(|| {
        underlay();
        let plane = started(&[]);
        for (dst, good, bad) in
            [("10.65.1.0/26", "192.0.2.2", "198.51.100.2"), ("fd65::1:0/122", "2001:db8::2", "2001:db8:5::2")]
        {
            apply(&plane, &[(key(dst), Some(learned(&[good])))]).expect("a route");
            apply(&plane, &[(key(dst), Some(learned(&[good, bad])))]).expect_err("a bad one among them");
            assert_eq!(show(dst), "");
            apply(&plane, &[(key(dst), Some(learned(&[good])))]).expect("a route again");
            assert!(show(dst).contains(good));
        }
    });
}

#[test]
fn a_source_address_that_is_not_there_yet_is_waited_for() {
    in_fresh_netns(|| {
        underlay();
        let plane = started(&[]);
        let changes = [
            (key("10.65.0.2/32"), Some(local("under1", Some("192.0.2.77")))),
            (key("fd65::2/128"), Some(local("under1", Some("2001:db8::77")))),
        ];
        let error = apply(&plane, &changes).expect_err("no such source");
        assert!(error.contains("source 192.0.2.77 is not an address of this host"), "{error}");
        ip("address add 192.0.2.77/24 dev under0");
        ip("-6 address add 2001:db8::77/64 dev under0 nodad");
        wait_for("the routes", SECOND, || !show("10.65.0.2/32").is_empty() && !show("fd65::2/128").is_empty());
        // And the other way: the kernel drops the route (or its source) without a word.
        ip("address delete 192.0.2.77/24 dev under0");
        ip("-6 address delete 2001:db8::77/64 dev under0");
        wait_for("the failure", SECOND, || plane.status().failure.is_some());
        ip("address add 192.0.2.77/24 dev under0");
        ip("-6 address add 2001:db8::77/64 dev under0 nodad");
        wait_for("the routes again", SECOND, || {
            show("10.65.0.2/32").contains("src 192.0.2.77") && show("fd65::2/128").contains("src 2001:db8::77")
        });
    });
}

#[test]
fn what_stands_is_taken_over_and_only_our_own_is_swept() {
    in_fresh_netns(|| {
        underlay();
        ip("route add 10.65.1.0/26 via 192.0.2.2 proto 83");
        ip("route add 10.65.2.0/26 via 192.0.2.2 proto 83");
        ip("-6 route add fd65::2:0/122 proto 83 nexthop via 2001:db8::2 nexthop via 2001:db8::3");
        ip("route add blackhole 10.65.9.0/26 proto 82");
        ip("route add 10.70.0.0/16 via 192.0.2.9 proto static");
        ip("route add 10.71.0.0/16 via 192.0.2.9 proto 83 table 100");
        let plane = RoutePlane::spawn().expect("a plane");
        let read = block_on(plane.read_ours()).expect("read");
        assert_eq!(
            read,
            [
                (key("10.65.1.0/26"), learned(&["192.0.2.2"])),
                (key("10.65.2.0/26"), learned(&["192.0.2.2"])),
                (key("10.65.9.0/26"), Route::Blackhole),
                (key("fd65::2:0/122"), learned(&["2001:db8::2", "2001:db8::3"])),
            ]
        );
        let wanted = BTreeMap::from([(key("10.65.1.0/26"), learned(&["192.0.2.2"]))]);
        let monitor = monitor(&["route"]);
        block_on(plane.start(wanted, true)).expect("started");
        assert!(show("10.65.2.0/26").contains("via 192.0.2.2"), "kept for now");
        assert_eq!(show("10.65.9.0/26"), "", "ours, and unwanted");
        block_on(plane.sweep_learned()).expect("swept");
        assert_eq!((show("10.65.2.0/26"), show("fd65::2:0/122")), (String::new(), String::new()));
        assert!(show("10.65.1.0/26").contains("via 192.0.2.2"));
        assert!(show("10.70.0.0/16").contains("via 192.0.2.9"));
        assert!(ip("route show table 100").contains("10.71.0.0/16"));
        ip("route add 10.73.0.0/16 via 192.0.2.9");
        wait_for("ip monitor to say the last", 5 * SECOND, || monitor.heard().contains("10.73.0.0/16"));
        assert!(monitor.heard().contains("10.65.2.0"), "what is unwanted goes: {}", monitor.heard());
        assert!(!monitor.heard().contains("10.65.1.0"), "what is right is not touched: {}", monitor.heard());
        assert_eq!(plane.status().repairs, 0);
    });
}

#[test]
fn a_strangers_route_is_not_replaced() {
    in_fresh_netns(|| {
        underlay();
        ip("route add 10.65.1.0/26 via 192.0.2.9 proto static");
        ip("-6 route add fd65::1:0/122 via 2001:db8::9 proto static");
        let plane = started(&[]);
        let changes = [
            (key("10.65.1.0/26"), Some(learned(&["192.0.2.2"]))),
            (key("fd65::1:0/122"), Some(learned(&["2001:db8::2"]))),
        ];
        let error = apply(&plane, &changes).expect_err("in the way");
        assert!(error.contains("not ours, is in the way"), "{error}");
        assert!(show("10.65.1.0/26").contains("192.0.2.9 dev under0 proto static"));
        let shown = show("fd65::1:0/122");
        assert!(shown.contains("2001:db8::9") && !shown.contains("2001:db8::2"), "{shown}");
        // Withdrawn, it is still theirs; removed by them, ours takes its place.
        apply(&plane, &[(key("10.65.1.0/26"), None)]).expect("withdrawn");
        assert!(show("10.65.1.0/26").contains("192.0.2.9"));
        ip("-6 route delete fd65::1:0/122");
        wait_for("our route", SECOND, || show("fd65::1:0/122").contains("2001:db8::2"));
    });
}

#[test]
fn what_others_remove_or_change_is_put_back() {
    in_fresh_netns(|| {
        underlay();
        let plane = started(&[
            (key("10.65.0.2/32"), local("under1", Some("192.0.2.1"))),
            (key("fd65::2/128"), local("under1", None)),
            (key("10.65.0.0/26"), Route::Blackhole),
            (key("10.65.1.0/26"), learned(&["192.0.2.2", "192.0.2.3"])),
            (key("fd65::1:0/122"), learned(&["2001:db8::2", "2001:db8::3"])),
        ]);
        let all = || {
            [show("10.65.0.2/32"), show("fd65::2/128"), show("10.65.0.0/26"), show("10.65.1.0/26"), {
                let shown = show("fd65::1:0/122");
                let mut hops: Vec<&str> = shown.lines().collect();
                hops.sort_unstable();
                hops.join("\n")
            }]
        };
        let before = all();
        for damage in [
            "route delete 10.65.0.2/32",
            "-6 route delete fd65::2/128",
            "route delete blackhole 10.65.0.0/26",
            "route replace 10.65.1.0/26 via 192.0.2.2",
            "route change 10.65.1.0/26 via 192.0.2.9 proto 83",
            "-6 route delete fd65::1:0/122 via 2001:db8::3",
            "-6 route append fd65::1:0/122 via 2001:db8::4 proto 83",
            "-6 route replace fd65::1:0/122 via 2001:db8::9",
            "-6 route delete fd65::1:0/122",
            // Of routes by nexthop objects, `ip route flush` says that it cannot.
            "nexthop flush proto 83",
            "link set under1 down",
            "link set under1 up",
        ] {
            ip(damage);
            if damage != "link set under1 down" {
                wait_for(&format!("repair of: {damage}"), SECOND, || all() == before);
                wait_for("being in sync", SECOND, || plane.status().in_sync);
            }
        }
        let status = plane.status();
        assert!(status.repairs >= 10, "{status:?}");
        assert!(status.last_repair.expect("a repair").1.contains("it was put right"));
        // A route with our mark that nobody wants goes; a stranger's stays.
        ip("route add 10.65.7.0/26 via 192.0.2.2 proto 83");
        ip("route add 10.65.8.0/26 via 192.0.2.2");
        wait_for("the unwanted route's end", SECOND, || show("10.65.7.0/26").is_empty());
        assert!(!show("10.65.8.0/26").is_empty());
    });
}

#[test]
fn routes_come_back_with_an_underlay_that_went_down() {
    in_fresh_netns(|| {
        underlay();
        let plane = started(&[
            (key("10.65.1.0/26"), learned(&["192.0.2.2"])),
            (
                key("10.65.2.0/26"),
                Route::Learned { via: addresses(&["192.0.2.2"]), src: Some("192.0.2.1".parse().expect("one")) },
            ),
        ]);
        ip("link set under0 down");
        wait_for("the failure", SECOND, || !plane.status().in_sync && plane.status().failure.is_some());
        ip("link set under0 up");
        wait_for("the routes", SECOND, || !show("10.65.1.0/26").is_empty() && !show("10.65.2.0/26").is_empty());
        wait_for("being in sync", SECOND, || plane.status().in_sync);
    });
}

#[test]
fn a_link_and_its_route_come_back_together() {
    in_fresh_netns(|| {
        underlay();
        let workload = Workload::start();
        let link = workload.link("c1", &["10.65.0.2", "fd65::2"]);
        let name = link.endpoint.host_interface();
        let (links, routes) = (LinkPlane::spawn().expect("a plane"), started(&[]));
        block_on(links.create(link)).expect("a link");
        let changes = [
            (key("10.65.0.2/32"), Some(local(name.as_str(), Some("192.0.2.1")))),
            (key("fd65::2/128"), Some(local(name.as_str(), Some("2001:db8::1")))),
        ];
        apply(&routes, &changes).expect("at once, since the link is there");
        run("ping", &["-n", "-c", "1", "-W", "0.5", "10.65.0.2"]);
        run("ping", &["-6", "-n", "-c", "1", "-W", "0.5", "fd65::2"]);
        ip(&format!("link delete {name}"));
        wait_for("both routes", SECOND, || !show("10.65.0.2/32").is_empty() && !show("fd65::2/128").is_empty());
        run("ping", &["-n", "-c", "1", "-W", "0.5", "10.65.0.2"]);
        run("ping", &["-6", "-n", "-c", "1", "-W", "0.5", "fd65::2"]);
        wait_for("being in sync", SECOND, || routes.status().in_sync);
        assert!(routes.status().repairs >= 1);
    });
}

#[test]
fn ten_thousand_routes_go_in_and_out_and_a_small_change_does_not_wait() {
    in_fresh_netns(|| {
        underlay();
        let plane = started(&[]);
        let many = |route: Option<Route>| -> BTreeMap<RouteKey, Option<Route>> {
            (0..10_000u32).map(|n| (key(&format!("10.{}.{}.0/26", 100 + n / 256, n % 256)), route.clone())).collect()
        };
        block_on(async {
            let large = plane.apply(many(Some(learned(&["192.0.2.2"]))));
            let small = plane.apply(BTreeMap::from([(key("10.65.0.2/32"), Some(local("under1", None)))]));
            let (large, small) = tokio::join!(large, small);
            large.expect("all");
            small.expect("one");
        });
        assert_eq!(ip("route show proto 83").lines().count(), 10_000);
        block_on(plane.apply(many(Some(learned(&["192.0.2.3"]))))).expect("all");
        assert_eq!(ip("route show proto 83").matches("via 192.0.2.3 ").count(), 10_000);
        block_on(plane.apply(many(None))).expect("all");
        assert_eq!(ip("route show proto 83"), "");
        assert!(!show("10.65.0.2/32").is_empty());
        let status = plane.status();
        assert!(status.in_sync && status.repairs == 0, "{status:?}");
    });
}

#[test]
fn of_thousands_those_that_are_refused_are_told_apart_and_come_when_they_can() {
    const MANY: u32 = 3000;
    in_fresh_netns(|| {
        underlay();
        let dst = |n: u32| format!("10.{}.{}.0/26", 100 + n / 256, n % 256);
        let in_the_way = [5, 700, MANY - 1].map(dst);
        in_the_way.iter().for_each(|dst| drop(ip(&format!("route add {dst} via 192.0.2.9"))));
        let plane = started(&[]);
        let is_astray = |n: u32| n % 1000 == 131;
        let via = |n: u32| if is_astray(n) { "198.51.100.2" } else { "192.0.2.2" };
        let changes: Vec<_> = (0..MANY).map(|n| (key(&dst(n)), Some(learned(&[via(n)])))).collect();
        let error = apply(&plane, &changes).expect_err("six of them");
        assert!(error.contains("(and 5 more)"), "{error}");
        let there = || ip("route show proto 83").lines().count();
        assert_eq!(there(), MANY as usize - 6);
        for dst in &in_the_way {
            assert_eq!(show(dst), format!("{dst} via 192.0.2.9 dev under0"), "somebody else's");
        }
        in_the_way.iter().for_each(|dst| drop(ip(&format!("route del {dst}"))));
        ip("address add 198.51.100.1/24 dev under0");
        wait_for("all to be there", 60 * SECOND, || there() == MANY as usize);
        assert_eq!(ip("route show proto 83").matches("via 198.51.100.2 ").count(), 3);
        let status = plane.status();
        assert!(status.in_sync && status.repairs == 0, "{status:?}");
    });
}
