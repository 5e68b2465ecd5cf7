//! Many workloads at once on three hosts: no address twice, every route everywhere, nothing left afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::fixture::{Agent, CLUSTER, Site, Workload, attach, cni};
use crate::support::hosts::{Namespace, segment};
use crate::support::{in_fresh_netns, wait_for, without_ids};

const HOSTS: usize = 3;
/// On each host, all at once.
const RUNTIMES: usize = 8;
/// Of each runtime: together more than a block of 64 holds, so that each host claims a second one meanwhile.
const EACH: usize = 9;

/// Runs `work` for each of a host's runtimes, all hosts and runtimes at once.
fn everywhere<T: Send>(work: impl Fn(usize, usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..HOSTS)
            .flat_map(|host| (0..RUNTIMES).map(move |runtime| (host, runtime)))
            .map(|(host, runtime)| scope.spawn(move || work(host, runtime)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic of a runtime")).collect()
    })
}

fn routes(host: &Namespace) -> String {
    without_ids(&(host.run("ip", &["route"]) + &host.run("ip", &["-6", "route"])))
}

#[test]
fn three_hosts_under_load_give_no_address_twice_and_leave_nothing() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(HOSTS);
        let agents: Vec<Agent> =
            hosts.iter().zip(1..).map(|(host, number)| Agent::start(&site, host, number, "")).collect();
        agents[0].apply(CLUSTER);
        let links = |host: &Namespace| host.run("ip", &["-o", "link"]);
        let before: Vec<String> = hosts.iter().map(links).collect();

        let workloads: Vec<(usize, Workload)> = everywhere(|host, runtime| {
            let id = |number| format!("w{host}-{runtime}-{number}");
            let made = (0..EACH).map(|number| (host, attach(&agents[host], &id(number), "blue", json!({}))));
            made.collect::<Vec<_>>()
        })
        .into_iter()
        .flatten()
        .collect();
        let addresses: BTreeSet<&String> = workloads
            .iter()
            .flat_map(|(_, workload)| [Some(&workload.ipv4), workload.ipv6.as_ref()])
            .flatten()
            .collect();
        assert_eq!(addresses.len(), 2 * HOSTS * RUNTIMES * EACH, "no address twice");

        for (number, host) in hosts.iter().enumerate() {
            wait_for(&format!("all routes on host {}", number + 1), Duration::from_secs(30), || {
                let routes = routes(host);
                workloads.iter().all(|(at, workload)| {
                    let way = if *at == number { "dev rnw".to_string() } else { format!("via 192.0.2.{}", at + 1) };
                    let way6 = if *at == number { way.clone() } else { format!("via 2001:db8::{}", at + 1) };
                    let ipv6 = workload.ipv6.as_deref().expect("dual stack");
                    routes.contains(&format!("{} {way}", workload.ipv4)) && routes.contains(&format!("{ipv6} {way6}"))
                })
            });
        }
        let of = |host: usize, runtime: usize| {
            let prefix = format!("w{host}-{runtime}-");
            workloads.iter().map(|(_, workload)| workload).filter(move |workload| workload.id.starts_with(&prefix))
        };
        let passed = everywhere(|host, runtime| {
            let others: Vec<&Workload> =
                workloads.iter().filter(|(at, _)| *at != host).map(|(_, workload)| workload).collect();
            let to = |index: usize| others[(index + runtime * EACH) % others.len()];
            of(host, runtime).enumerate().filter(|(index, workload)| workload.pings(&to(*index).ipv4)).count()
        });
        assert_eq!(passed, vec![EACH; HOSTS * RUNTIMES], "each workload reaches one on another host");

        everywhere(|host, runtime| {
            for workload in of(host, runtime) {
                let output = cni(&agents[host], "DEL", &workload.id, &workload.namespace, json!({"name": "blue"}));
                assert_eq!(output.exit, 0, "{output:?}");
            }
        });
        for (number, host) in hosts.iter().enumerate() {
            assert_eq!(before[number], links(host), "links are as before");
            wait_for("the end of the last route", Duration::from_secs(30), || {
                let routes = routes(host);
                !addresses.iter().any(|address| routes.contains(&format!("{address} ")))
            });
            wait_for("the end of the last entry", Duration::from_secs(30), || {
                let sets = host.run("ipset", &["save"]);
                !sets
                    .lines()
                    .any(|line| line.starts_with("add rn") && addresses.iter().any(|a| line.contains(a.as_str())))
            });
        }
        let show = agents[0].routectl(&["ipam", "show", "-o", "json"]);
        assert_eq!(show.exit, 0, "{}", show.stderr);
    });
}
