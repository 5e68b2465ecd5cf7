//! Which next hops resolve, against a real kernel: `ip route get` would say the same, but for what BGP has learned.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use routenet::plane::next_hops::{Found, NextHops};
use routenet::plane::reach::{self, Reach};
use routenet_core::desired::PROTO_LEARNED;
use routenet_core::model::scope::scoped;
use routenet_core::model::{NoWay, Resolution};

use crate::links::{block_on, ip};
use crate::routes::underlay;
use crate::support::{in_fresh_netns, run, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

const fn via(metric: u32) -> Resolution {
    Resolution::Via { metric }
}

const fn no(why: NoWay) -> Resolution {
    Resolution::Unreachable { why, closed: None }
}

const fn closed(length: u8) -> Resolution {
    Resolution::Unreachable { why: NoWay::Closed, closed: Some(length) }
}

struct Looking {
    next_hops: NextHops,
    known: BTreeMap<IpAddr, Found>,
}

impl Looking {
    fn new() -> Looking {
        Looking { next_hops: NextHops::spawn().expect("a thread"), known: BTreeMap::new() }
    }

    fn ask(&self, hops: &[IpAddr]) {
        self.next_hops.ask(hops.iter().map(|hop| (*hop, true)).collect());
    }

    /// Asked now, and awaited.
    fn answer(&mut self, hop: &str) -> Resolution {
        let hop = hop.parse().expect("an address");
        self.answer_of(hop)
    }

    fn answer_of(&mut self, hop: IpAddr) -> Resolution {
        self.known.remove(&hop);
        self.ask(&[hop]);
        self.hear_until(|known| known.contains_key(&hop));
        self.known[&hop].resolution
    }

    /// By which gateways it is reached, asked now.
    fn gateways(&mut self, hop: &str) -> Vec<IpAddr> {
        self.answer(hop);
        self.known[&hop.parse::<IpAddr>().expect("an address")].gateways.clone()
    }

    /// Waits for other gateways, told of their own accord.
    fn until_by(&mut self, hop: &str, gateways: &[&str]) {
        let hop: IpAddr = hop.parse().expect("an address");
        let wanted = addresses(gateways);
        self.hear_until(|known| known.get(&hop).is_some_and(|found| found.gateways == wanted));
    }

    /// Waits for what is told of its own accord.
    fn until(&mut self, hop: &str, wanted: Resolution) {
        let hop: IpAddr = hop.parse().expect("an address");
        self.hear_until(|known| known.get(&hop).is_some_and(|found| found.resolution == wanted));
    }

    fn hear_until(&mut self, done: impl Fn(&BTreeMap<IpAddr, Found>) -> bool) {
        while !done(&self.known) {
            let heard = block_on(async { tokio::time::timeout(LIMIT, self.next_hops.answers()).await })
                .unwrap_or_else(|_| panic!("nothing more than {:?}", self.known));
            self.known.extend(heard.expect("the watcher"));
        }
    }
}

fn addresses(words: &[&str]) -> Vec<IpAddr> {
    words.iter().map(|word| word.parse().expect("an address")).collect()
}

#[test]
fn every_kind_of_route_answers_as_the_kernel_would() {
    in_fresh_netns(|| {
        underlay();
        ip("link set lo up");
        ip("route add 198.51.100.0/24 via 192.0.2.9 metric 70");
        ip("route add blackhole 10.1.0.0/26");
        ip("route add unreachable 10.1.0.0/16 metric 4278198272");
        ip("route add prohibit 10.2.0.0/16");
        ip("-6 route add 2001:db8:9::/48 via 2001:db8::9 metric 70");
        ip("-6 route add blackhole 2001:db8:8::/64");
        ip("-6 route add unreachable 2001:db8:7::/64");
        let mut looking = Looking::new();
        let cases = [
            ("192.0.2.7", via(0)),
            ("192.0.2.1", via(0)),
            ("127.0.0.9", via(0)),
            ("198.51.100.7", via(70)),
            ("203.0.113.1", no(NoWay::NoRoute)),
            ("10.1.0.1", closed(26)),
            ("10.1.9.1", closed(16)),
            ("10.2.0.1", closed(16)),
            ("192.0.2.255", Resolution::Unreachable { why: NoWay::NoHost, closed: Some(32) }),
            ("2001:db8::7", via(256)),
            ("2001:db8:9::1", via(70)),
            ("2001:db8:8::1", closed(64)),
            ("2001:db8:7::1", closed(64)),
            ("2001:db8:6::1", no(NoWay::NoRoute)),
        ];
        for (hop, wanted) in cases {
            assert_eq!(looking.answer(hop), wanted, "{hop}");
        }
        ip("route add default via 192.0.2.9 metric 500");
        looking.until("203.0.113.1", via(500));
        assert_eq!(looking.answer("10.1.0.1"), closed(26), "a default route opens nothing");
        ip("route del blackhole 10.1.0.0/26");
        looking.until("10.1.0.1", closed(16));
        ip("route del default");
        looking.until("203.0.113.1", no(NoWay::NoRoute));
    });
}

#[test]
fn what_bgp_has_learned_does_not_count() {
    in_fresh_netns(|| {
        underlay();
        let mut looking = Looking::new();
        ip("route add 192.0.2.7/32 via 192.0.2.7 proto 83");
        ip("route add 10.9.0.0/16 via 192.0.2.7 proto 83");
        ip("-6 route add 2001:db8:9::/48 via 2001:db8::7 proto 83");
        ip("-6 route add 2001:db8::7/128 via 2001:db8::7 proto 83");
        for (hop, wanted) in [
            ("192.0.2.7", via(0)),
            ("10.9.0.1", no(NoWay::NoRoute)),
            ("2001:db8::7", via(256)),
            ("2001:db8:9::1", no(NoWay::NoRoute)),
        ] {
            assert_eq!(looking.answer(hop), wanted, "{hop}");
        }
        // The same of another protocol does.
        ip("route add 10.9.0.0/16 via 192.0.2.7 proto 84 metric 9");
        looking.until("10.9.0.1", via(9));
    });
}

#[test]
fn links_take_their_next_hops_along() {
    in_fresh_netns(|| {
        underlay();
        let mut looking = Looking::new();
        assert_eq!((looking.answer("192.0.2.7"), looking.answer("2001:db8::7")), (via(0), via(256)));
        // The other end goes: no carrier, and the routes are still there.
        ip("link set under1 down");
        looking.until("192.0.2.7", no(NoWay::LinkDown));
        looking.until("2001:db8::7", no(NoWay::LinkDown));
        ip("link set under1 up");
        looking.until("192.0.2.7", via(0));
        looking.until("2001:db8::7", via(256));
        ip("link set under0 down");
        looking.until("192.0.2.7", no(NoWay::NoRoute));
    });
}

#[test]
fn a_link_local_next_hop_is_looked_for_on_its_link() {
    in_fresh_netns(|| {
        underlay();
        ip("link add third0 type veth peer name third1");
        let index = |name| nix::net::if_::if_nametoindex(name).expect("a link");
        let on = |name| scoped("fe80::7".parse().expect("an address"), index(name));
        let mut looking = Looking::new();
        assert!(matches!(looking.answer_of(on("under0")), Resolution::Via { .. }));
        assert_eq!(looking.answer_of(on("third0")), no(NoWay::LinkDown), "another link, which is down");
        ip("link set third1 up");
        ip("link set third0 up");
        let there = on("third0");
        looking.hear_until(|known| matches!(known[&there].resolution, Resolution::Via { .. }));
    });
}

#[test]
fn a_next_hop_behind_a_router_has_the_gateways_of_its_route() {
    in_fresh_netns(|| {
        underlay();
        ip("link add third0 type veth peer name third1");
        ip("link set third1 up");
        ip("link set third0 up");
        ip("address add 203.0.113.1/24 dev third0");
        ip("route add 10.1.0.0/16 via 192.0.2.9");
        ip("route add 10.2.0.0/16 nexthop via 192.0.2.9 nexthop via 203.0.113.9");
        ip("route add 10.3.0.0/16 nexthop via 192.0.2.9 nexthop dev third0");
        ip("route add 10.4.0.0/16 via inet6 fe80::9 dev third0");
        ip("route add blackhole 10.5.0.0/16");
        ip("route add 192.0.2.77/32 via 192.0.2.77 dev under0");
        ip("nexthop add id 7 via 192.0.2.9 dev under0");
        ip("route add 10.6.0.0/16 nhid 7");
        ip("-6 route add 2001:db8:9::/48 nexthop via 2001:db8::9 nexthop via fe80::9 dev third0");
        let mut looking = Looking::new();
        let index = nix::net::if_::if_nametoindex("third0").expect("a link");
        let on_third = scoped("fe80::9".parse().expect("an address"), index);
        let sorted = |mut all: Vec<IpAddr>| {
            all.sort();
            all
        };
        for (hop, wanted) in [
            ("192.0.2.7", vec![]),
            ("192.0.2.1", vec![]),
            ("10.1.0.5", addresses(&["192.0.2.9"])),
            ("10.2.0.5", addresses(&["192.0.2.9", "203.0.113.9"])),
            ("10.3.0.5", addresses(&["10.3.0.5", "192.0.2.9"])),
            ("10.4.0.5", vec![on_third]),
            ("10.5.0.5", vec![]),
            ("10.6.0.5", addresses(&["192.0.2.9"])),
            ("10.7.0.5", vec![]),
            ("192.0.2.77", vec![]),
            ("2001:db8:9::5", sorted(vec!["2001:db8::9".parse().expect("an address"), on_third])),
        ] {
            assert_eq!(looking.gateways(hop), wanted, "{hop}");
        }
        // What BGP has learned leads nobody there, here a longer prefix by another gateway.
        ip("route add 10.1.0.5/32 via 203.0.113.9 proto 83");
        assert_eq!(looking.gateways("10.1.0.5"), addresses(&["192.0.2.9"]));
        // The metric is as it was: only the gateway is another.
        ip("route replace 10.1.0.0/16 via 203.0.113.9");
        looking.until_by("10.1.0.5", &["203.0.113.9"]);
        ip("link set third1 down");
        looking.until("10.1.0.5", no(NoWay::LinkDown));
        looking.until_by("10.2.0.5", &["192.0.2.9"]);
        ip("route del 10.1.0.0/16");
        looking.until("10.1.0.5", no(NoWay::NoRoute));
    });
}

/// How often the thread of this name, of those in this namespace, had nothing to do any more.
fn rests(thread: &str) -> u64 {
    let namespace = |task: &str| std::fs::read_link(format!("/proc/{task}/ns/net")).ok();
    let own = namespace("thread-self");
    let is_it = |task: &String| {
        let name = std::fs::read_to_string(format!("/proc/{task}/comm")).unwrap_or_default();
        name.trim() == thread && namespace(task) == own
    };
    let find = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("/proc").filter_map(Result::ok);
        tasks.map(|task| format!("self/task/{}", task.file_name().display())).find(is_it)
    };
    // It gives itself its name, and may not have come to that.
    let mut task = None;
    wait_for(thread, LIMIT, || {
        task = find();
        task.is_some()
    });
    let task = task.expect("it was found");
    let status = std::fs::read_to_string(format!("/proc/{task}/status")).expect("a thread");
    let field = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    field.and_then(|count| count.trim().parse().ok()).expect("a count")
}

#[test]
fn what_is_learned_wakes_nobody_who_follows_the_routes_of_others() {
    const MANY: u32 = 2000;
    in_fresh_netns(|| {
        underlay();
        let mut looking = Looking::new();
        assert_eq!(looking.answer("192.0.2.7"), via(0));
        let (tell, _told) = tokio::sync::mpsc::unbounded_channel();
        let _reach = Reach::spawn(tell).expect("a thread");
        let folder = tempfile::tempdir().expect("a folder");
        let add = |net: u8, protocol: u8| {
            let route =
                |n: u32| format!("route add {net}.{}.{}.0/26 via 192.0.2.2 proto {protocol}\n", n / 256, n % 256);
            let file = folder.path().join("routes");
            std::fs::write(&file, (0..MANY).map(route).collect::<String>()).expect("a file");
            run("ip", &["-batch", &file.display().to_string()]);
        };
        let threads = ["rn-nexthops", "rn-reach"];
        let before = threads.map(rests);
        add(10, PROTO_LEARNED);
        for (thread, before) in threads.into_iter().zip(before) {
            // Links and addresses that have just come about may still be told of.
            let woken = rests(thread) - before;
            assert!(woken < u64::from(MANY) / 20, "{thread} was woken {woken} times");
        }
        let before = threads.map(rests);
        add(11, 84);
        for (thread, before) in threads.into_iter().zip(before) {
            wait_for("routes of others to be heard of", LIMIT, || rests(thread) > before);
        }
    });
}

#[test]
fn a_node_that_a_route_reaches_by_way_of_itself_is_on_the_link() {
    in_fresh_netns(|| {
        underlay();
        ip("route add 198.51.100.1/32 via 192.0.2.2 dev under0");
        ip("route add 198.51.100.2/32 via 198.51.100.2 dev under0 onlink");
        let off_link = |hop: &str| {
            let hop = hop.parse().expect("an address");
            reach::look(&[hop].into()).expect("an answer")[&hop]
        };
        assert!(!off_link("192.0.2.2"), "on our subnet");
        assert!(off_link("198.51.100.1"), "behind a router");
        assert!(!off_link("198.51.100.2"), "by way of itself");
        assert!(off_link("203.0.113.1"), "nowhere");
    });
}
