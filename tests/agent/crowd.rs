//! Three hundred workloads on one host: what does not grow with them, what a neighbour knows of them, and that nothing is
//! left of them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use routenet_core::model::Cidr;
use serde_json::{Value, json};

use crate::fixture::{Agent, CLUSTER, Site, Workload, attach, cni};
use crate::support::hosts::{Namespace, segment};
use crate::support::{in_fresh_netns, wait_for, without_ids};

const CROWD: usize = 300;
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

/// Hands the numbers below `count` to so many runtimes at once.
fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let value = work(number);
                    done.lock().expect("no panic of a runtime").push(value);
                }
            });
        }
    });
    done.into_inner().expect("no panic of a runtime")
}

/// Our chains of both families, and how many rules they have.
fn chains(host: &Namespace) -> (BTreeSet<String>, usize) {
    let saved = ["iptables-save", "ip6tables-save"].map(|program| (program, host.run(program, &[])));
    let mut rules = 0;
    let mut names = BTreeSet::new();
    for (program, saved) in &saved {
        let mut table = "";
        for line in saved.lines() {
            match line.split_at_checked(1) {
                Some(("*", name)) => table = name,
                Some((":", chain)) if chain.starts_with("rn-") => {
                    names.insert(format!("{program} {table} {}", chain.split(' ').next().unwrap_or_default()));
                }
                _ => rules += usize::from(line.starts_with("-A rn-")),
            }
        }
    }
    (names, rules)
}

fn routes(host: &Namespace) -> String {
    without_ids(&(host.run("ip", &["route"]) + &host.run("ip", &["-6", "route"])))
}

/// The prefixes of the host's blackhole routes.
fn blackholes(host: &Namespace) -> Vec<Cidr> {
    let routes = routes(host);
    let of = |line: &str| line.strip_prefix("blackhole ")?.split(' ').next()?.parse().ok();
    routes.lines().filter_map(of).collect()
}

/// The blocks that an agent says are its node's.
fn own_blocks(agent: &Agent) -> Vec<Value> {
    let shown = agent.routectl(&["ipam", "show", "-o", "json"]).json();
    let blocks = shown["blocks"].as_array().cloned().unwrap_or_else(|| panic!("{shown}"));
    blocks.into_iter().filter(|block| block["node"] == "h1").collect()
}

/// The members of our sets that name one of the addresses.
fn in_sets(host: &Namespace, addresses: &BTreeSet<&str>) -> usize {
    let saved = host.run("ipset", &["save"]);
    let members = saved.lines().filter_map(|line| line.strip_prefix("add rn")?.split([' ', ',']).nth(1));
    members.filter(|member| addresses.contains(member)).count()
}

fn addresses(workloads: &[Workload]) -> BTreeSet<&str> {
    workloads.iter().flat_map(|workload| [Some(workload.ipv4.as_str()), workload.ipv6.as_deref()]).flatten().collect()
}

#[test]
fn three_hundred_workloads_of_a_group_need_no_chain_more_than_one_and_leave_nothing() {
    in_fresh_netns(|| {
        let (site, hosts) = (Site::new(), segment(2));
        let one = Agent::start(&site, &hosts[0], 1, "workloads: {addressCooldown: 0}");
        let two = Agent::start(&site, &hosts[1], 2, "");
        one.apply(CLUSTER);
        one.apply(
            "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: crowd-from-guest}
spec:
  selector: app == 'crowd'
  ingress:
  - {action: Allow, source: {selector: app == 'guest'}}
",
        );
        let guest = attach(&two, "guest", "blue", json!({"app": "guest"}));
        let stranger = attach(&two, "stranger", "blue", json!({"app": "stranger"}));
        let links = || hosts[0].run("ip", &["-o", "link"]);
        let (links_before, chains_before) = (links(), chains(&hosts[0]));

        let first = attach(&one, "first", "blue", json!({"app": "crowd"}));
        guest.reaches(&first.ipv4);
        let of_one = chains(&hosts[0]);
        assert!(of_one.0.len() > chains_before.0.len(), "its group has chains: {:?}", of_one.0);
        let mut crowd = at_once(CROWD - 1, |n| attach(&one, &format!("c{n}"), "blue", json!({"app": "crowd"})));
        crowd.push(first);
        assert_eq!(chains(&hosts[0]), of_one, "neither chains nor rules grow with workloads of one group");
        let addresses = addresses(&crowd);
        assert_eq!(addresses.len(), 2 * CROWD, "no address twice");

        let blocks = own_blocks(&one);
        let cidrs: BTreeSet<Cidr> = blocks.iter().filter_map(|block| block["cidr"].as_str()?.parse().ok()).collect();
        assert!(cidrs.len() >= 10, "300 need 5 blocks of 64, in both families: {blocks:?}");
        wait_for("a blackhole of each block", PATIENCE, || {
            blackholes(&hosts[0]).into_iter().collect::<BTreeSet<_>>() == cidrs
        });
        for address in &addresses {
            let address: IpAddr = address.parse().expect("an address");
            assert!(cidrs.iter().any(|cidr| cidr.contains(address)), "{address} lies in an own block");
        }
        wait_for("all routes at the neighbour", PATIENCE, || {
            let routes = routes(&hosts[1]);
            let ways: BTreeSet<(&str, &str)> = routes
                .lines()
                .filter_map(|line| line.split_once(" via "))
                .filter_map(|(to, rest)| Some((to, rest.split(' ').next()?)))
                .collect();
            crowd.iter().all(|workload| {
                let ipv6 = workload.ipv6.as_deref().expect("dual stack");
                ways.contains(&(workload.ipv4.as_str(), "192.0.2.1")) && ways.contains(&(ipv6, "2001:db8::1"))
            })
        });
        for workload in crowd.iter().step_by(60) {
            guest.reaches(&workload.ipv4);
            guest.reaches(workload.ipv6.as_deref().expect("dual stack"));
            assert!(!stranger.pings(&workload.ipv4), "the policy holds for {}", workload.id);
        }

        at_once(CROWD, |number| {
            let Workload { id, namespace, .. } = &crowd[number];
            let output = cni(&one, "DEL", id, namespace, json!({"name": "blue"}));
            assert_eq!((output.exit, output.stdout.as_str()), (0, ""), "{id}: {output:?}");
        });
        assert_eq!(links(), links_before, "links are as before");
        wait_for("the end of the last route", PATIENCE, || {
            hosts.iter().all(|host| {
                let routes = routes(host);
                !routes.lines().any(|line| addresses.contains(line.split(' ').next().unwrap_or_default()))
            })
        });
        wait_for("the end of the last entry", PATIENCE, || hosts.iter().all(|host| in_sets(host, &addresses) == 0));
        wait_for("the end of the group's chains", PATIENCE, || chains(&hosts[0]) == chains_before);
        wait_for("all addresses to be free again", PATIENCE, || {
            own_blocks(&one).iter().all(|block| block["allocated"] == 0 && block["resting"] == 0)
        });
        for agent in [&one, &two] {
            wait_for("the other node to have heard of it", PATIENCE, || {
                agent.routectl(&["endpoints", "-o", "json"]).json().as_array().map(Vec::len) == Some(2)
            });
            let check = agent.routectl(&["ipam", "check"]);
            assert!(check.exit == 0 && check.stdout.starts_with("all fits together"), "{}", check.stdout);
        }
        let why = one.routectl(&["ipam", "why", &crowd[0].ipv4, "-o", "json"]).json();
        assert!(why["state"].as_str().is_some_and(|state| state.starts_with("free")), "{why}");
        let again = attach(&one, "again", "blue", json!({"app": "crowd"}));
        guest.reaches(&again.ipv4);
        assert_eq!(chains(&hosts[0]), of_one);
    });
}
