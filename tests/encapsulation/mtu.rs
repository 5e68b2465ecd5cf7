//! What fits: the MTU that workloads are told, and path-MTU discovery where they know better.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::fixture::{Agent, attach, cni, established};
use crate::modes::attach6;
use crate::racks::{Kind, Racks, interface, racks};
use crate::support::hosts::Namespace;
use crate::support::{run, wait_for};

fn mtu(namespace: &Namespace) -> u64 {
    interface(namespace, "eth0")["mtu"].as_u64().expect("an MTU")
}

/// Whether a ping of so many bytes of payload, that must not be fragmented, is answered.
pub fn fits(from: &Namespace, to: &str, payload: u32) -> bool {
    from.succeeds("ping", &["-n", "-c", "1", "-W", "2", "-M", "do", "-s", &payload.to_string(), to])
}

#[test]
fn workloads_get_what_the_tunnel_leaves_and_larger_packets_are_told_so() {
    racks(Kind::Vxlan, "CrossSubnet", |racks| {
        let one = attach(&racks.agents[0], "w1", "blue", json!({}));
        let three = attach(&racks.agents[2], "w3", "blue", json!({}));
        assert_eq!(mtu(&one.namespace), 1450);
        one.reaches(&three.ipv4);
        assert!(fits(&one.namespace, &three.ipv4, 1450 - 28) && fits(&three.namespace, &one.ipv4, 1450 - 28));
        assert!(!fits(&one.namespace, &three.ipv4, 1450 - 27));

        // Workloads that were given more than fits: their hosts tell them, both ways.
        let (near, near_at) = big(&racks.agents[0], "big1");
        let (far, far_at) = big(&racks.agents[2], "big3");
        for (from, to) in [(&near, &far_at), (&far, &near_at)] {
            for (to, payload) in [(&to[0], 1472), (&to[1], 1452)] {
                let told = complaint(from, to, payload);
                assert!(told.contains("mtu = 1450") || told.contains("mtu=1450"), "{to}: too big: {told}");
            }
            assert!(fits(from, &to[0], 1422) && fits(from, &to[1], 1402));
        }
    });
}

/// A workload whose MTU is what the underlay's is, and its addresses.
fn big(agent: &Agent, id: &str) -> (Namespace, [String; 2]) {
    let namespace = Namespace::new();
    let output = cni(agent, "ADD", id, &namespace, json!({"name": "blue", "mtu": 1500}));
    assert_eq!(output.exit, 0, "{}", output.stdout);
    let ips = output.json()["ips"].clone();
    let address = |mark: char| {
        let all = ips.as_array().into_iter().flatten().filter_map(|ip| ip["address"].as_str());
        let found = all.into_iter().find(|address| address.contains(mark)).and_then(|text| text.split('/').next());
        found.expect("an address of each family").to_string()
    };
    (namespace, [address('.'), address(':')])
}

/// What `ping` says of two packets that are too big.
pub fn complaint(from: &Namespace, to: &str, payload: u32) -> String {
    let size = payload.to_string();
    let told = from.command("ping").args(["-n", "-c", "2", "-W", "2", "-M", "do", "-s", &size, to]).output();
    String::from_utf8_lossy(&told.expect("ping").stdout).into_owned()
}

/// How many bytes of a megabyte come through a TCP connection.
fn streamed(from: &Namespace, to: &Namespace, at: &str) -> u64 {
    let (family, at) = if at.contains(':') { ("TCP6", format!("[{at}]")) } else { ("TCP4", at.to_string()) };
    let listen = format!("timeout 20 socat -u {family}-LISTEN:5001,reuseaddr - | wc -c");
    let server = to.command("sh").args(["-c", &listen]).stdout(Stdio::piped()).spawn().expect("socat");
    wait_for("a listener", Duration::from_secs(5), || to.run("ss", &["-Hltn", "sport", "=", "5001"]).contains("5001"));
    let send = format!("head -c 1000000 /dev/zero | timeout 10 socat -u - {family}:{at}:5001");
    from.command("sh").args(["-c", &send]).output().expect("socat");
    let received = String::from_utf8_lossy(&server.wait_with_output().expect("its end").stdout).trim().to_string();
    received.parse().expect("a number")
}

/// Makes the router refuse what is larger, as if the wire behind it were narrower than the hosts know.
pub fn narrow(router: &Namespace, mtu: &str) {
    for (net, port) in [("192.0.2.0/24", "eth0"), ("198.51.100.0/24", "eth1")] {
        router.run("ip", &["route", "replace", net, "dev", port, "mtu", "lock", mtu]);
    }
    for (net, port) in [("2001:db8::/64", "eth0"), ("2001:db8:1::/64", "eth1")] {
        // The metric of the route that came with the address: it takes its place.
        router.run("ip", &["-6", "route", "replace", net, "dev", port, "metric", "256", "mtu", "lock", mtu]);
    }
}

/// How many packets a router has cut.
fn cut(router: &Namespace) -> u64 {
    let said = router.run("nstat", &["-asz", "IpFragOKs"]);
    said.split_whitespace()
        .skip_while(|word| *word != "IpFragOKs")
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a count")
}

#[test]
fn a_narrower_router_between_cuts_outer_ipv4_and_loses_nothing() {
    racks(Kind::Vxlan, "CrossSubnet", |racks| {
        narrow(&racks.router, "1400");
        let one = attach(&racks.agents[0], "w1", "blue", json!({}));
        let three = attach(&racks.agents[2], "w3", "blue", json!({}));
        one.reaches(&three.ipv4);
        assert_eq!(cut(&racks.router), 0, "small packets");
        let six = [&one, &three].map(|workload| workload.ipv6.clone().expect("both families"));
        assert!(fits(&one.namespace, &three.ipv4, 1422) && fits(&three.namespace, &one.ipv4, 1422));
        assert!(fits(&one.namespace, &six[1], 1402) && fits(&three.namespace, &six[0], 1402));
        assert!(cut(&racks.router) >= 8, "the same packets, each in two pieces");
        for at in [&three.ipv4, &six[1]] {
            assert_eq!(streamed(&one.namespace, &three.namespace, at), 1_000_000, "to {at}");
        }
    });
}

#[test]
fn a_narrower_router_between_is_told_to_workloads_where_nobody_cuts() {
    racks(Kind::Vxlan6, "CrossSubnet", |racks| {
        narrow(&racks.router, "1400");
        let (one, _) = attach6(&racks.agents[0], "w1");
        let (three, at) = attach6(&racks.agents[2], "w3");
        wait_for("a ping", Duration::from_secs(10), || fits(&one, &at, 56));
        wait_for("the workload to be told", Duration::from_secs(20), || {
            complaint(&one, &at, 1382).contains("mtu=1330")
        });
        assert!(fits(&one, &at, 1330 - 48));
        assert_eq!(streamed(&one, &three, &at), 1_000_000);
        assert_eq!(cut(&racks.router), 0);
    });
}

#[test]
fn an_underlay_whose_mtu_changes_is_told_and_a_restart_takes_it() {
    racks(Kind::Vxlan, "Always", |mut racks| {
        let change = |host: &Namespace, mtu: &str| {
            run("ip", &["link", "set", &format!("p{}-eth0", host.pid()), "mtu", mtu]);
            host.run("ip", &["link", "set", "eth0", "mtu", mtu]);
        };
        let status = |racks: &Racks| racks.agents[0].routectl(&["status"]).stdout;
        for (round, (was, now)) in [("1500", "1400"), ("1400", "9000")].into_iter().enumerate() {
            racks.hosts[..2].iter().for_each(|host| change(host, now));
            let told = format!("the MTU of eth0 is {now}, and was {was} when the agent started");
            wait_for("the status to say so", Duration::from_secs(20), || {
                let said = status(&racks);
                said.contains(&format!("h1 underlay: {told}")) && said.contains("restart the agent")
            });
            for index in [0, 1] {
                racks.agents[index].terminate();
                racks.agents[index].launch(&racks.hosts[index]);
            }
            wait_for("the sessions, and the status to be well", Duration::from_secs(30), || {
                established(&racks.agents[0]) && !status(&racks).contains("underlay:")
            });
            let left: u32 = now.parse::<u32>().expect("a number") - 50;
            let [one, two] =
                [0, 1].map(|index| attach(&racks.agents[index], &format!("w{index}-{round}"), "blue", json!({})));
            assert_eq!(
                (mtu(&one.namespace), interface(&racks.hosts[0], "rnt-vxlan")["mtu"].as_u64()),
                (u64::from(left), Some(u64::from(left)))
            );
            one.reaches(&two.ipv4);
            assert!(fits(&one.namespace, &two.ipv4, left - 28), "the largest that fits the tunnel");
            assert!(!fits(&one.namespace, &two.ipv4, left - 27));
        }
    });
}
