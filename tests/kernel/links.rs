//! The link plane against a real kernel; iproute2 and ping are the oracles.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use routenet::plane::link::LinkPlane;
use routenet_core::desired::{GATEWAY4, GATEWAY6, HOST_MAC, Link};
use routenet_core::model::{EndpointKey, InterfaceName, NetworkName};

use crate::support::{Process, in_fresh_netns, run, wait_for};

const SECOND: Duration = Duration::from_secs(1);

/// A process in a network namespace of its own: the workload.
pub struct Workload {
    process: Process,
}

impl Workload {
    pub fn start() -> Workload {
        let child = Command::new("unshare").args(["-n", "sleep", "600"]).stdin(Stdio::null()).spawn().expect("unshare");
        let workload = Workload { process: Process(child) };
        let own = std::fs::read_link("/proc/thread-self/ns/net").expect("own namespace");
        wait_for("the workload's namespace", 5 * SECOND, || {
            std::fs::read_link(workload.netns()).is_ok_and(|theirs| theirs != own)
        });
        workload
    }

    pub fn netns(&self) -> String {
        format!("/proc/{}/ns/net", self.process.0.id())
    }

    /// Runs a command inside; panics when it fails.
    pub fn run(&self, words: &str) -> String {
        let pid = self.process.0.id().to_string();
        let args: Vec<&str> = ["-t", &pid, "-n"].into_iter().chain(words.split_whitespace()).collect();
        run("nsenter", &args)
    }

    pub fn link(&self, id: &str, addresses: &[&str]) -> Link {
        Link {
            endpoint: EndpointKey {
                network: NetworkName::new("blue").expect("a name"),
                container_id: id.to_string(),
                ifname: InterfaceName::new("eth0").expect("a name"),
            },
            netns: self.netns(),
            ifname: InterfaceName::new("eth0").expect("a name"),
            mac: [2, 0x72, 0x6e, 0, 0, 1],
            mtu: 1440,
            addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
            gateway4: GATEWAY4,
            gateway6: GATEWAY6,
            handed_over: false,
            loopback: false,
        }
    }
}

pub fn ip(words: &str) -> String {
    run("ip", &words.split_whitespace().collect::<Vec<_>>())
}

fn fails(program: &str, words: &str) -> bool {
    let output = Command::new(program).args(words.split_whitespace()).output().expect("a program");
    !output.status.success()
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn host_routes(link: &Link) {
    let name = link.endpoint.host_interface();
    for address in &link.addresses {
        let family = if address.is_ipv4() { "-4" } else { "-6" };
        ip(&format!("{family} route add {address} dev {name} scope link"));
    }
}

/// The host's addresses, from which it speaks to workloads.
fn host_addresses() {
    ip("address add 192.0.2.1/32 dev lo");
    ip("address add 2001:db8::1/128 dev lo");
}

#[test]
fn the_first_packet_passes_both_ways_in_both_families() {
    in_fresh_netns(|| {
        host_addresses();
        let workload = Workload::start();
        let link = workload.link("c1", &["10.65.0.2", "fd65::2"]);
        let plane = LinkPlane::spawn().expect("a plane");
        block_on(plane.create(link.clone())).expect("a link");
        host_routes(&link);
        // One packet each, half a second to be answered: the very first must make it.
        workload.run("ping -6 -n -c 1 -W 0.5 2001:db8::1");
        workload.run("ping -n -c 1 -W 0.5 192.0.2.1");
        run("ping", &["-6", "-n", "-c", "1", "-W", "0.5", "fd65::2"]);
        run("ping", &["-n", "-c", "1", "-W", "0.5", "10.65.0.2"]);
        assert!(fails("ping", "-n -c 1 -W 0.3 10.65.0.3"), "an address that nobody has");

        let name = link.endpoint.host_interface();
        let host = ip(&format!("-d link show {name}"));
        for part in ["ee:ee:ee:ee:ee:ee", "mtu 1440", "UP", "addrgenmode none", "alias blue/c1/eth0"] {
            assert!(host.contains(part), "{part}: {host}");
        }
        assert_eq!(
            std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/forwarding")).expect("a sysctl"),
            "1\n"
        );
        let inside = workload.run("ip address show eth0");
        for part in ["02:72:6e:00:00:01", "mtu 1440", "inet 10.65.0.2/32", "inet6 fd65::2/128"] {
            assert!(inside.contains(part), "{part}: {inside}");
        }
        assert!(workload.run("ip neigh show 169.254.1.1").contains("ee:ee:ee:ee:ee:ee PERMANENT"));
        assert!(workload.run("ip -6 route show default").contains("via fe80::ecee:eeff:feee:eeee"));
        assert!(workload.run("ip link show lo").contains("LOOPBACK,UP"));
        assert_eq!(block_on(plane.check(link)), Vec::<String>::new());
    });
}

#[test]
fn an_ipv6_address_is_had_where_ipv6_was_switched_off() {
    in_fresh_netns(|| {
        host_addresses();
        let workload = Workload::start();
        workload.run("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        let link = workload.link("c1", &["fd65::2"]);
        let plane = LinkPlane::spawn().expect("a plane");
        block_on(plane.create(link.clone())).expect("a link");
        host_routes(&link);
        workload.run("ping -6 -n -c 1 -W 0.5 2001:db8::1");
    });
}

#[test]
fn a_failed_create_leaves_nothing() {
    in_fresh_netns(|| {
        let workload = Workload::start();
        let plane = LinkPlane::spawn().expect("a plane");
        let before = (ip("-o link show"), workload.run("ip -o link show type veth"));

        let mut link = workload.link("c1", &["10.65.0.2"]);
        link.netns = "/run/netns/there-is-no-such-namespace".to_string();
        let error = block_on(plane.create(link.clone())).expect_err("no namespace").to_string();
        assert!(error.contains("/run/netns/there-is-no-such-namespace: No such file"), "{error}");

        link.netns = "/etc/passwd".to_string();
        let error = block_on(plane.create(link.clone())).expect_err("no namespace").to_string();
        assert!(error.contains("/etc/passwd is no network namespace"), "{error}");

        link.netns = "/proc/thread-self/ns/net".to_string();
        let error = block_on(plane.create(link.clone())).expect_err("the host's").to_string();
        assert!(error.contains("the host's own network namespace"), "{error}");

        // A multicast address is refused only when the veth stands already.
        link = workload.link("c1", &["10.65.0.2", "224.0.0.1", "ff02::1"]);
        let error = block_on(plane.create(link.clone())).expect_err("no such address").to_string();
        assert!(error.contains("ff02::1") || error.contains("224.0.0.1"), "{error}");
        assert_eq!((ip("-o link show"), workload.run("ip -o link show type veth")), before);

        workload.run("ip link add eth0 type bridge");
        let taken = workload.link("c1", &["10.65.0.2"]);
        let error = block_on(plane.create(taken)).expect_err("a name taken").to_string();
        assert!(error.contains("interface eth0 exists already in /proc/"), "{error}");
        assert_eq!(ip("-o link show"), before.0);
        assert!(workload.run("ip -d link show eth0").contains("bridge"), "the foreign interface stays");
        let status = plane.status();
        assert!(status.in_sync && status.wanted == 0, "{status:?}");
    });
}

#[test]
fn a_deleted_link_is_gone_from_both_sides_at_once() {
    in_fresh_netns(|| {
        let workload = Workload::start();
        let plane = LinkPlane::spawn().expect("a plane");
        let link = workload.link("c1", &["10.65.0.2", "fd65::2"]);
        let name = link.endpoint.host_interface();
        for _ in 0..20 {
            block_on(plane.create(link.clone())).expect("a link");
            block_on(plane.delete(name.clone())).expect("gone");
            assert!(!std::path::Path::new(&format!("/proc/sys/net/ipv4/conf/{name}")).exists());
            assert!(workload.run("ip -o link show type veth").is_empty());
            assert!(ip("-o link show type veth").is_empty());
        }
        block_on(plane.delete(name)).expect("what is gone can be deleted");
    });
}

#[test]
fn many_deletions_at_once_all_answer() {
    in_fresh_netns(|| {
        let plane = LinkPlane::spawn().expect("a plane");
        let workloads: Vec<Workload> = (0..12).map(|_| Workload::start()).collect();
        let names: Vec<InterfaceName> = (0..)
            .zip(&workloads)
            .map(|(index, workload)| {
                let link = workload.link(&format!("c{index}"), &[&format!("10.65.0.{index}")]);
                block_on(plane.create(link.clone())).expect("a link");
                link.endpoint.host_interface()
            })
            .collect();
        ip("link add rnwork0 type veth peer name rnwork1");
        block_on(async {
            let deletions: Vec<_> = names.iter().map(|name| plane.delete(name.clone())).collect();
            for outcome in futures::future::join_all(deletions).await {
                outcome.expect("deleted");
            }
        });
        let left = ip("-o link show type veth");
        assert!(names.iter().all(|name| !left.contains(name.as_str())), "{left}");
        assert!(left.contains("rnwork0"), "a stranger's link stays: {left}");
        assert!(workloads.iter().all(|workload| workload.run("ip -o link show type veth").is_empty()));
    });
}

fn wanted(links: &[&Link]) -> BTreeMap<InterfaceName, Link> {
    links.iter().map(|link| (link.endpoint.host_interface(), (*link).clone())).collect()
}

#[test]
fn what_is_right_is_taken_over_untouched_and_what_is_unwanted_goes() {
    in_fresh_netns(|| {
        let (first, second, third) = (Workload::start(), Workload::start(), Workload::start());
        let kept = first.link("kept", &["10.65.0.2", "fd65::2"]);
        let unwanted = second.link("unwanted", &["10.65.0.3"]);
        let missing = third.link("missing", &["10.65.0.4"]);
        let plane = LinkPlane::spawn().expect("a plane");
        block_on(plane.create(kept.clone())).expect("a link");
        block_on(plane.create(unwanted.clone())).expect("a link");
        drop(plane);
        ip("link add rnwork0 type veth peer name rnwork1");
        let name = kept.endpoint.host_interface();
        let before =
            (ip(&format!("-d address show {name}")), first.run("ip -d address show eth0"), ip("-d link show rnwork0"));

        let plane = LinkPlane::spawn().expect("a plane");
        block_on(plane.start(wanted(&[&kept, &missing]))).expect("started");
        let after =
            (ip(&format!("-d address show {name}")), first.run("ip -d address show eth0"), ip("-d link show rnwork0"));
        assert_eq!(before, after);
        assert!(second.run("ip -o link show type veth").is_empty());
        assert_eq!(block_on(plane.check(missing)), Vec::<String>::new());
        let status = plane.status();
        assert!(status.in_sync && status.wanted == 2 && status.repairs == 1, "{status:?}");
    });
}

#[test]
fn a_half_built_link_is_built_anew_at_the_start() {
    in_fresh_netns(|| {
        let workload = Workload::start();
        let link = workload.link("c1", &["10.65.0.2"]);
        let name = link.endpoint.host_interface();
        let pid = workload.process.0.id();
        ip(&format!("link add {name} type veth peer name eth0 netns {pid}"));
        let plane = LinkPlane::spawn().expect("a plane");
        block_on(plane.start(wanted(&[&link]))).expect("started");
        assert_eq!(block_on(plane.check(link)), Vec::<String>::new());
    });
}

#[test]
fn a_workload_that_is_gone_is_reported_and_delays_nobody() {
    in_fresh_netns(|| {
        let workload = Workload::start();
        let here = workload.link("here", &["10.65.0.2"]);
        let mut gone = workload.link("gone", &["10.65.0.3"]);
        gone.netns = "/proc/1073741824/ns/net".to_string();
        let plane = LinkPlane::spawn().expect("a plane");
        let error = block_on(plane.start(wanted(&[&gone, &here]))).expect_err("one is gone").to_string();
        assert!(error.contains("/proc/1073741824/ns/net"), "{error}");
        assert_eq!(block_on(plane.check(here)), Vec::<String>::new());
        let failure = plane.status().failure.expect("a failure").1;
        assert!(failure.contains("/proc/1073741824/ns/net"), "{failure}");
        block_on(plane.delete(gone.endpoint.host_interface())).expect("deleted");
        assert_eq!(plane.status().failure, None);
    });
}

#[test]
fn what_others_change_is_put_back() {
    in_fresh_netns(|| {
        host_addresses();
        let workload = Workload::start();
        let link = workload.link("c1", &["10.65.0.2", "fd65::2"]);
        let name = link.endpoint.host_interface();
        let plane = LinkPlane::spawn().expect("a plane");
        block_on(plane.create(link.clone())).expect("a link");
        assert_eq!(plane.status().repairs, 0);
        let mut repairs = 0;
        for damage in [
            format!("link set {name} down"),
            format!("link set {name} address 02:00:00:00:00:02"),
            format!("link set {name} mtu 1280"),
            format!("link set {name} alias stranger"),
            format!("link set {name} name elsewhere0"),
            format!("-6 address flush dev {name}"),
            format!("link delete {name}"),
        ] {
            ip(&damage);
            wait_for(&format!("repair of: {damage}"), SECOND, || plane.status().repairs > repairs);
            repairs = plane.status().repairs;
            assert_eq!(block_on(plane.check(link.clone())), Vec::<String>::new(), "{damage}");
            wait_for("the IPv6 next hop", SECOND, || {
                ip(&format!("-6 address show {name}")).contains("fe80::ecee:eeff:feee:eeee")
            });
        }
        assert!(plane.status().last_repair.expect("a repair").1.contains("was deleted"));
        host_routes(&link);
        run("ping", &["-n", "-c", "1", "-W", "0.5", "10.65.0.2"]);
        run("ping", &["-6", "-n", "-c", "1", "-W", "0.5", "fd65::2"]);
    });
}

#[test]
fn check_says_what_is_wrong_in_the_workload() {
    in_fresh_netns(|| {
        let workload = Workload::start();
        let link = workload.link("c1", &["10.65.0.2", "fd65::2"]);
        let plane = LinkPlane::spawn().expect("a plane");
        block_on(plane.create(link.clone())).expect("a link");
        workload.run("ip link set eth0 mtu 1300");
        workload.run("ip neigh delete 169.254.1.1 dev eth0");
        workload.run("ip route delete default");
        workload.run("ip address delete fd65::2/128 dev eth0");
        let said = block_on(plane.check(link.clone())).join("; ");
        for part in [
            "eth0 has MTU 1300, not 1440",
            "address fd65::2 is missing",
            "default route via 169.254.1.1 dev eth0 is missing",
            "permanent neighbour 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 is missing",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let mut other = link.clone();
        other.endpoint.container_id = "c2".to_string();
        assert!(block_on(plane.check(other)).join("; ").contains("is missing on the host"));
        assert_eq!(HOST_MAC, [0xee; 6]);
        let _: Vec<IpAddr> = link.addresses;
    });
}

#[test]
fn a_workload_may_have_two_networks() {
    in_fresh_netns(|| {
        host_addresses();
        let workload = Workload::start();
        let first = workload.link("c1", &["10.65.0.2", "fd65::2"]);
        let mut second = workload.link("c1", &["10.66.0.2", "fd66::2"]);
        second.ifname = InterfaceName::new("eth1").expect("a name");
        second.endpoint.ifname = second.ifname.clone();
        let plane = LinkPlane::spawn().expect("a plane");
        for link in [&first, &second] {
            block_on(plane.create(link.clone())).expect("a link");
            host_routes(link);
        }
        for link in [first, second] {
            assert_eq!(block_on(plane.check(link)), Vec::<String>::new());
        }
        workload.run("ping -n -c 1 -W 0.5 192.0.2.1");
        workload.run("ping -n -c 1 -W 0.5 -I 10.65.0.2 192.0.2.1");
    });
}
