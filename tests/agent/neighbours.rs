//! A firewall's neighbours: what else is on a host, what it does to what is ours, and what `routectl status` says of it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::firewalls::Firewall;
use crate::fixture::{Agent, CLUSTER, Site, Workload, attach, established};
use crate::support::hosts::{Namespace, segment};
use crate::support::ping::ContinuousPing;
use crate::support::{in_fresh_netns, wait_for};

const BACKENDS: [&str; 2] = ["nft", "legacy"];
/// Where packets of those who may speak to `blue` are counted, and of those who may not.
const ALLOWED: u16 = 7001;
const DENIED: u16 = 7002;
const SOON: Duration = Duration::from_secs(10);
/// The promise is 30 s.
const FULL_READ: Duration = Duration::from_secs(45);

/// One host with an agent on this back end; `blue` and `also` may speak to each other, `green` to neither.
struct One {
    site: Site,
    host: Namespace,
    agent: Agent,
    blue: Workload,
    also: Workload,
    green: Workload,
    backend: &'static str,
    /// All that is ours in the kernel, as it is to stay.
    whole: Vec<String>,
}

fn one(backend: &'static str, before: impl FnOnce(&Namespace)) -> One {
    let site = Site::new();
    let host = segment(1).pop().expect("a host");
    before(&host);
    let agent = Agent::start(&site, &host, 1, &format!("iptables: {{backend: {backend}}}"));
    agent.apply(CLUSTER);
    let blue = attach(&agent, "blue", "blue", json!({}));
    let also = attach(&agent, "also", "blue", json!({}));
    let green = attach(&agent, "green", "green", json!({}));
    One { site, host, agent, blue, also, green, backend, whole: Vec::new() }.whole()
}

/// The same test on both back ends, each in a namespace of its own.
fn on_both(test: fn(&'static str)) {
    for backend in BACKENDS {
        in_fresh_netns(move || test(backend));
    }
}

/// Counts the packets that arrive at a port.
fn receive(port: u16, count: &AtomicU64, stop: &AtomicBool) {
    let socket = UdpSocket::bind(("0.0.0.0", port)).expect("its own port");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    while !stop.load(Ordering::Relaxed) {
        count.fetch_add(u64::from(socket.recv(&mut [0; 8]).is_ok()), Ordering::Relaxed);
    }
}

/// Sends packets from a new port each, so that each is judged by policy; answers how many.
fn begin(to: SocketAddr, stop: &AtomicBool) -> u64 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        // A firewall that rejects says so at once.
        let _ = UdpSocket::bind(("0.0.0.0", 0)).expect("a port").send_to(b"?", to);
        count += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    count
}

impl One {
    /// Takes what stands now for all that is to stand.
    fn whole(mut self) -> One {
        self.whole = self.ours();
        assert!(self.whole.iter().any(|rule| rule.starts_with("-A FORWARD ")), "{:?}", self.whole);
        self
    }

    /// `iptables` of the back end.
    fn iptables(&self, words: &str) -> String {
        self.host
            .run(&format!("iptables-{}", self.backend), &[&["-w"], &*words.split(' ').collect::<Vec<_>>()].concat())
    }

    fn saved(&self) -> String {
        ["iptables", "ip6tables"].map(|tool| self.host.run(&format!("{tool}-{}-save", self.backend), &[])).concat()
    }

    /// All that is ours, without counters.
    fn ours(&self) -> Vec<String> {
        let saved = self.saved();
        let ours = saved.lines().filter(|line| line.starts_with("-A rn-") || line.contains(" -j rn-"));
        ours.map(str::to_string).collect()
    }

    /// What may pass passes, both families, and what may not does not.
    fn judges(&self, when: &str) {
        wait_for(&format!("a ping {when}"), SOON, || self.blue.pings(&self.also.ipv4));
        assert!(self.blue.pings(self.also.ipv6.as_ref().expect("both families")), "{when}");
        assert!(!self.green.pings(&self.blue.ipv4), "{when}");
    }

    /// What status says of neighbours: (what, mend).
    fn told(&self) -> Vec<(String, String)> {
        let text = |problem: &serde_json::Value, field: &str| problem[field].as_str().unwrap_or_default().to_string();
        let problems = self.agent.problems().into_iter().filter(|problem| problem["part"] == "neighbours");
        problems.map(|problem| (text(&problem, "what"), text(&problem, "mend"))).collect()
    }

    fn repairs(&self) -> u64 {
        self.agent.plane("iptables")["repairs"].as_u64().expect("a number")
    }

    /// Does something to the host's rules while packets flow, until all of ours stands again; how many of those that must
    /// pass were lost, and how many connections that must not be were begun.
    fn meanwhile(&self, what: &str, act: impl FnOnce()) -> (u64, u64) {
        wait_for("ours to stand", SOON, || self.ours() == self.whole);
        let before = self.repairs();
        let ping = |workload: &Workload| workload.namespace.command("ping");
        let allowed = ContinuousPing::start(ping(&self.blue), &self.also.ipv4);
        let stop = Arc::new(AtomicBool::new(false));
        let begun = [(&self.also, ALLOWED), (&self.green, DENIED)].map(|(from, port)| {
            let to: SocketAddr = format!("{}:{port}", self.blue.ipv4).parse().expect("an address");
            let (sending, receiving, count) = (stop.clone(), stop.clone(), Arc::new(AtomicU64::new(0)));
            let counted = count.clone();
            let receiving = self.blue.within(move || receive(port, &counted, &receiving));
            (count, receiving, from.within(move || begin(to, &sending)))
        });
        wait_for("what may pass where it arrives", SOON, || begun[0].0.load(Ordering::Relaxed) > 0);
        act();
        let since = Instant::now();
        while self.ours() != self.whole {
            assert!(
                since.elapsed() < SOON,
                "ours are not back after {what}:\n{}\ninstead of\n{}\n{}\n{}",
                self.ours().join("\n"),
                self.whole.join("\n"),
                self.agent.plane("iptables"),
                self.agent.last_words()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let took = since.elapsed();
        let (sent, received) = allowed.stop();
        stop.store(true, Ordering::Relaxed);
        let [_, (open, tried)] = begun.map(|(count, receiving, sending)| {
            receiving.join().expect("a receiver");
            (count.load(Ordering::Relaxed), sending.join().expect("a sender"))
        });
        let repairs = self.repairs() - before;
        let on = self.backend;
        println!(
            "{on}: {what}: {repairs} repairs, whole after {} ms; lost {} of {sent}, open to {open} of {tried}",
            took.as_millis(),
            sent - received
        );
        (sent - received, open)
    }
}

#[test]
fn a_forward_policy_of_drop_and_what_docker_users_are_denied_do_not_cut_workloads() {
    on_both(|backend| {
        let dropping = |host: &Namespace| {
            // As dockerd writes them.
            for tool in ["iptables", "ip6tables"] {
                let tool = format!("{tool}-{backend}");
                for line in ["-P FORWARD DROP", "-N DOCKER-USER", "-A DOCKER-USER -j DROP", "-I FORWARD -j DOCKER-USER"]
                {
                    host.run(&tool, &line.split(' ').collect::<Vec<_>>());
                }
            }
        };
        let one = one(backend, dropping);
        one.judges("behind FORWARD of policy DROP");
        // A dockerd that starts later puts its chains first.
        let before = one.repairs();
        one.iptables("-D FORWARD -j DOCKER-USER");
        one.iptables("-I FORWARD -j DOCKER-USER");
        // As many rules as before: legacy tells of that at the full read only.
        let limit = if backend == "nft" { SOON } else { FULL_READ };
        wait_for("ours to be first again", limit, || {
            one.iptables("-S FORWARD").lines().nth(1).is_some_and(|rule| rule.contains("-j rn-FORWARD"))
        });
        wait_for("the repair to be counted", SOON, || one.repairs() > before);
        one.judges("with DOCKER-USER put first");
        assert!(one.saved().contains("-A DOCKER-USER -j DROP"), "theirs stays");
        assert_eq!(one.told(), [], "there is nothing to tell");
    });
}

/// A packet meets the chains of both back ends, and ours accept in one.
#[test]
fn a_drop_in_the_other_back_end_is_told_with_its_mend() {
    in_fresh_netns(|| {
        let one = one("nft", |_| {});
        one.judges("before");
        one.host.run("iptables-legacy", &["-P", "FORWARD", "DROP"]);
        let told = one.told();
        assert_eq!(told.len(), 1, "{told:?}");
        let (what, mend) = &told[0];
        assert!(what.contains("iptables-legacy drops what it does not know in FORWARD (IPv4)"), "{what}");
        assert!(!one.blue.pings(&one.also.ipv4), "it is true");
        let mend = mend.split_once("; or ").expect("two ways").1.to_string();
        one.host.run("sh", &["-c", &mend]);
        one.judges("after the mend");
        assert_eq!(one.told(), []);
    });
}

#[test]
fn ufw_neither_cuts_nor_opens_and_what_it_flushes_comes_back() {
    on_both(|backend| {
        let one = one(backend, |_| {});
        let ufw = Firewall::ufw(&one.site, &one.host, backend);
        for line in ["ufw --force enable", "ufw reload"] {
            let (lost, open) = one.meanwhile(line, || _ = ufw.runs(line));
            assert_eq!((lost, open), (0, 0), "{line}");
        }
        assert!(one.saved().contains(":FORWARD DROP") && one.saved().contains("-j ufw-before-forward"), "ufw is there");
        one.judges("with ufw enabled");
        assert_eq!(one.told(), [], "there is nothing to tell");

        // Told to own the built-in chains, it flushes them: our hooks are away until they are put back. Where that is done
        // before it has removed all chains, it finds one in use, says so, and is to be told again.
        ufw.runs("sed 's/^MANAGE_BUILTINS=.*/MANAGE_BUILTINS=yes/' /etc/default/ufw >/run/new && cp /run/new /etc/default/ufw");
        let before = one.repairs();
        let again = |line: &str| wait_for(line, SOON, || ufw.tries(line));
        one.meanwhile("ufw reload with MANAGE_BUILTINS", || again("ufw reload"));
        assert!(one.repairs() > before, "counted");
        let said = one.agent.plane("iptables")["last_repair"]["what"].as_str().unwrap_or_default().to_string();
        assert!(said.contains("jump from IPv"), "{said}");
        if backend == "nft" {
            assert!(said.contains("changed by") && said.contains("ip"), "{said}");
        }
        one.judges("after the reload");

        one.meanwhile("ufw-init flush-all", || again("/lib/ufw/ufw-init flush-all"));
        one.judges("after flush-all");
        one.meanwhile("ufw enable with MANAGE_BUILTINS", || again("ufw --force enable"));
        one.meanwhile("ufw disable", || again("ufw disable"));
        one.judges("with ufw disabled");
    });
}

/// With iptables as its back end a reload flushes ours with the rest; ours come back, and accept before it rejects.
#[test]
fn a_firewalld_of_iptables_flushes_ours_at_a_reload_and_they_come_back() {
    on_both(|backend| {
        let one = one(backend, |_| {});
        let firewalld = Firewall::firewalld(&one.site, &one.host, "iptables", backend);
        wait_for("firewalld's chains", SOON, || {
            one.saved().contains("FORWARD_IN_ZONES") || one.saved().contains("FWD")
        });
        for line in ["firewall-cmd --reload", "firewall-cmd --complete-reload"] {
            let before = one.repairs();
            one.meanwhile(line, || _ = firewalld.runs(line));
            assert!(one.repairs() > before, "{line} is counted");
            one.judges(line);
        }
        assert_eq!(one.told(), [], "there is nothing to tell");
    });
}

/// With nftables as its back end, the default, firewalld judges in a table of its own what we have accepted in ours.
#[test]
fn a_firewalld_of_nftables_is_told_with_its_mend_and_the_mend_mends() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(2);
        let (first, second) = (Agent::start(&site, &hosts[0], 1, ""), Agent::start(&site, &hosts[1], 2, ""));
        first.apply(CLUSTER);
        let blue = attach(&first, "blue", "blue", json!({}));
        let also = attach(&first, "also", "blue", json!({}));
        let green = attach(&first, "green", "green", json!({}));
        let far = attach(&second, "far", "blue", json!({}));
        blue.reaches(&far.ipv4);
        let host = hosts.into_iter().next().expect("two hosts");
        let one = One { site, host, agent: first, blue, also, green, backend: "nft", whole: Vec::new() }.whole();
        let firewalld = Firewall::firewalld(&one.site, &one.host, "nftables", "nft");
        wait_for("status to tell of it", SOON, || one.told().len() == 1);
        let (what, mend) = one.told().remove(0);
        assert!(what.starts_with("firewalld judges what is forwarded beside our chains"), "{what}");
        assert!(!one.blue.pings(&one.also.ipv4), "it is true");
        wait_for("what it flushed", SOON, || one.ours().iter().any(|rule| rule.starts_with("-A FORWARD")));

        firewalld.runs(&mend.replace(';', " >/dev/null &&"));
        wait_for("nothing to be told", SOON, || one.told().is_empty());
        one.judges("with the mend");
        far.reaches(&one.blue.ipv4);
        one.blue.reaches(&far.ipv4);
        for line in ["firewall-cmd --reload", "firewall-cmd --complete-reload"] {
            let before = one.repairs();
            one.meanwhile(line, || _ = firewalld.runs(line));
            assert!(one.repairs() > before, "{line} flushes ours, and that is counted");
            one.judges(line);
            far.reaches(&one.blue.ipv4);
        }
        assert!(established(&one.agent), "the session with the other host outlived it all");
    });
}

#[test]
fn a_table_of_plain_nft_that_drops_is_told_with_its_mend() {
    in_fresh_netns(|| {
        let one = one("nft", |_| {});
        let nft = |line: &str| one.host.run("nft", &[line]);
        nft("table inet mine { chain through { type filter hook forward priority 0; policy accept; }; }");
        assert_eq!(one.told(), [], "one that accepts does no harm");
        nft("chain inet mine through { policy drop; }");
        let told = one.told();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].0.contains("chain through of nft's table inet mine drops"), "{told:?}");
        assert!(!one.blue.pings(&one.also.ipv4), "it is true");
        let mend = told[0].1.replace("; and where that table is written down", "");
        one.host.run("sh", &["-ec", &mend]);
        one.judges("with the mend");
        assert_eq!(one.told(), []);
    });
}

/// As Calico leaves a host when its pods are deleted and nothing else is done.
#[test]
fn what_another_calico_left_is_named_with_its_mend_and_left_alone() {
    on_both(|backend| {
        let one = one(backend, |host| {
            let run = |line: &str| {
                let words: Vec<&str> = line.split(' ').collect();
                host.run(words[0], &words[1..]);
            };
            for set in ["cali40s:abc hash:net", "cali60s:abc hash:net family inet6", "KUBE-CLUSTER-IP hash:ip,port"] {
                run(&format!("ipset create {set}"));
            }
            for tool in [format!("iptables-{backend}"), format!("ip6tables-{backend}")] {
                for builtin in ["INPUT", "FORWARD", "OUTPUT"] {
                    run(&format!("{tool} -N cali-{builtin}"));
                    run(&format!("{tool} -I {builtin} -m comment --comment cali:abcdefgh -j cali-{builtin}"));
                }
                run(&format!("{tool} -A cali-FORWARD -m comment --comment cali:ijklmnop -j DROP"));
                run(&format!("{tool} -A cali-FORWARD -j MARK --set-xmark 0x10000/0x10000"));
            }
            run(&format!("iptables-{backend} -A cali-INPUT -m set --match-set cali40s:abc src -j DROP"));
            for line in ["-N KUBE-FORWARD", "-A FORWARD -j KUBE-FORWARD", "-t nat -N CNI-HOSTPORT-DNAT"] {
                run(&format!("iptables-{backend} {line}"));
            }
            run("ip link add cali0123456789a type veth peer name elsewhere");
            run("ip link add vxlan.calico type bridge");
            run("ip link set vxlan.calico up");
            run("ip route add 10.244.7.7/32 dev vxlan.calico proto 80");
        });
        // Ours stand before theirs.
        one.judges("beside what Calico left");
        let told = one.told();
        let named = [
            format!(
                "another Calico's chains stand in iptables-{backend} and ip6tables-{backend}: 6 of them, asked from \
                     filter FORWARD, filter INPUT, filter OUTPUT"
            ),
            "another Calico's sets are here: cali40s:abc (and 1 more)".into(),
            "another Calico's workload interfaces are here: cali0123456789a".into(),
            "another Calico's tunnel device vxlan.calico is up".into(),
            "another Calico's routes are here: 1 of protocol 80".into(),
        ];
        assert_eq!(told.iter().map(|(what, _)| what.clone()).collect::<Vec<_>>(), named);

        let theirs = |all: &One| {
            let rules: Vec<String> = all
                .saved()
                .lines()
                .filter(|line| line.contains("cali") || line.contains("KUBE"))
                .map(String::from)
                .collect();
            let [sets, links, routes] = [("ipset", ["list", "-n"]), ("ip", ["-br", "link"]), ("ip", ["route", "show"])]
                .map(|(program, args)| {
                    all.host
                        .run(program, &args)
                        .lines()
                        .filter(|l| l.contains("cali") || l.contains("KUBE"))
                        .map(String::from)
                        .collect::<Vec<_>>()
                });
            (rules, sets, links, routes)
        };
        let before = theirs(&one);
        let mut one = one;
        one.agent.kill();
        one.agent.launch(&one.host);
        wait_for("the agent to be back", SOON, || !one.told().is_empty());
        assert_eq!(theirs(&one), before, "nothing of theirs is touched");

        // What is said mends it, in the order in which it is said, and costs nobody a packet.
        let (lost, open) = one.meanwhile("removing what Calico left", || {
            for (what, mend) in &told {
                let mend = mend.rsplit_once("no more: ").or(mend.split_once("are gone: ")).expect("a command").1;
                assert!(one.host.succeeds("sh", &["-c", mend]), "{what}: {mend}");
            }
        });
        assert_eq!((lost, open), (0, 0));
        wait_for("nothing to be told", SOON, || one.told().is_empty());
        assert!(one.saved().contains("-A FORWARD -j KUBE-FORWARD"), "what is not Calico's stays");
        assert!(one.host.succeeds("ipset", &["list", "KUBE-CLUSTER-IP"]));
        one.judges("without what Calico left");
    });
}

/// The bits of kube-proxy (0x4000, 0x8000) and of portmap (0x2000), and all others outside of our mask.
#[test]
fn marks_of_others_survive_our_chains_and_ours_stay_inside_the_mask() {
    on_both(|backend| {
        let site = Site::new();
        let host = segment(1).pop().expect("a host");
        let more = format!("iptables: {{backend: {backend}, markMask: 0x00f00000}}");
        let agent = Agent::start(&site, &host, 1, &more);
        agent.apply(CLUSTER);
        let blue = attach(&agent, "blue", "blue", json!({}));
        let also = attach(&agent, "also", "blue", json!({}));
        let green = attach(&agent, "green", "green", json!({}));
        let one = One { site, host, agent, blue, also, green, backend, whole: Vec::new() }.whole();
        // Every packet comes with all foreign bits set, and is looked at behind all chains.
        one.iptables("-t mangle -A PREROUTING -j MARK --set-xmark 0xff0fffff/0xff0fffff");
        one.iptables("-t mangle -A POSTROUTING -o rnw+ -m mark --mark 0xff0fffff/0xff0fffff");
        one.iptables("-t mangle -A POSTROUTING -o rnw+ -m mark ! --mark 0xff0fffff/0xff0fffff");
        assert!(one.blue.pings(&one.also.ipv4) && one.also.pings(&one.blue.ipv4));
        assert!(!one.green.pings(&one.blue.ipv4));
        let counted: Vec<u64> = one
            .iptables("-t mangle -v -S POSTROUTING")
            .lines()
            .filter(|line| line.contains("0xff0fffff"))
            .filter_map(|line| line.split(" -c ").nth(1)?.split(' ').next()?.parse().ok())
            .collect();
        assert_eq!(counted, [4, 0], "two questions and two answers, each with all its bits");
        assert_eq!(one.told(), [], "bits outside of the mask are nobody's trouble");
        let saved = one.saved();
        let ours = saved.lines().filter(|line| line.starts_with("-A rn-"));
        let words =
            ours.flat_map(|line| line.split(' ').skip_while(|word| !matches!(*word, "--mark" | "--set-xmark")).nth(1));
        let masks: Vec<u32> = words
            .map(|word| u32::from_str_radix(word.rsplit("0x").next().unwrap_or_default(), 16).expect("a mask"))
            .collect();
        assert!(masks.len() > 10, "{masks:?}");
        assert!(masks.iter().all(|mask| mask & !0x00f0_0000 == 0), "{masks:x?}");

        // One that does use a bit of ours.
        one.iptables("-t mangle -A OUTPUT -p udp --dport 4789 -j MARK --set-xmark 0x100000/0x100000");
        let told = one.told();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].0.contains("IPv4 mangle -A OUTPUT -p udp") && told[0].0.contains("0x100000/0x100000"),
            "{told:?}"
        );
        assert!(told[0].1.contains("iptables.markMask"), "{told:?}");
    });
}
