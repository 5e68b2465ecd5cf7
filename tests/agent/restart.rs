//! SIGKILL and SIGTERM of agents: no packet between running workloads is lost, here or across hosts.

use std::time::Duration;

use serde_json::json;

use crate::fixture::{attach, established, two_hosts};
use crate::support::ping::ContinuousPing;
use crate::support::{wait_for, without_ids};

#[test]
fn no_packet_is_lost_when_agents_are_killed_terminated_and_started_again() {
    two_hosts(|hosts, mut one, mut two| {
        let a = attach(&one, "a", "blue", json!({}));
        let b = attach(&two, "b", "blue", json!({}));
        let c = attach(&one, "c", "blue", json!({}));
        a.reaches(&b.ipv4);
        let b6 = b.ipv6.clone().expect("dual stack");
        a.reaches(&b6);

        let ping = |to: &str| ContinuousPing::start(a.namespace.command("ping"), to);
        let pings = [ping(&b.ipv4), ping(&b6), ping(&c.ipv4)];
        for round in 0..5 {
            one.kill();
            // Long enough for the neighbour to have seen the TCP connection end.
            wait_for("the neighbour's loss of the session", Duration::from_secs(10), || !established(&two));
            one.launch(&hosts[0]);
            wait_for(&format!("the session after kill {round}"), Duration::from_secs(30), || {
                established(&one) && established(&two)
            });
            let status = two.terminate();
            assert!(status.success(), "SIGTERM is an ordinary end: {status}");
            wait_for("the neighbour's loss of the session", Duration::from_secs(10), || !established(&one));
            two.launch(&hosts[1]);
            wait_for(&format!("the session after SIGTERM {round}"), Duration::from_secs(30), || {
                established(&one) && established(&two)
            });
        }
        for (what, ping) in ["across hosts", "across hosts, IPv6", "on one host"].iter().zip(pings) {
            let (sent, received) = ping.stop();
            // Ten restarts take half a second at the least.
            assert!(sent > 20, "{what}: {sent} sent");
            assert_eq!(sent, received, "{what}: packets were lost");
        }
    });
}

#[test]
fn an_agent_that_comes_back_sweeps_what_went_away_meanwhile() {
    two_hosts(|hosts, one, mut two| {
        let a = attach(&one, "a", "blue", json!({}));
        let gone = attach(&one, "gone", "blue", json!({}));
        let b = attach(&two, "b", "blue", json!({}));
        b.reaches(&gone.ipv4);
        two.kill();
        let output = crate::fixture::cni(&one, "DEL", "gone", &gone.namespace, json!({"name": "blue"}));
        assert_eq!(output.exit, 0, "{}", output.stdout);
        let learned =
            |address: &str| without_ids(&hosts[1].run("ip", &["route"])).contains(&format!("{address} via 192.0.2.1"));
        assert!(learned(&gone.ipv4), "the dead agent's routes stay");
        two.launch(&hosts[1]);
        wait_for("the withdrawn route to be gone", Duration::from_secs(30), || !learned(&gone.ipv4));
        assert!(learned(&a.ipv4), "and the others stay");
    });
}
