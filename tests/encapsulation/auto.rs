//! `Auto`: native while the way is on a link, tunnelled otherwise; it changes over by itself and loses nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::attach;
use crate::racks::{Kind, interface, racks, received, way};
use crate::support::ping::ContinuousPing;
use crate::support::{run, wait_for};

#[test]
fn a_link_that_comes_and_goes_changes_the_way_over_without_loss() {
    racks(Kind::Vxlan, "Auto", |racks| {
        let [one, two, three] =
            [0, 1, 2].map(|index| attach(&racks.agents[index], &format!("w{index}"), "blue", json!({})));
        one.reaches(&two.ipv4);
        one.reaches(&three.ipv4);
        assert_eq!(way(&racks.agents[0], "h2", "blue4").0, Value::Null, "on the link");
        assert_eq!(way(&racks.agents[0], "h3", "blue4"), (json!("vxlan"), "it is behind a router".to_string()));

        // A cable between hosts 1 and 3.
        let (first, third) = (racks.hosts[0].pid().to_string(), racks.hosts[2].pid().to_string());
        run("ip", &["link", "add", "cable", "netns", &first, "type", "veth", "peer", "name", "cable", "netns", &third]);
        for host in [0, 2] {
            racks.hosts[host].run("ip", &["link", "set", "cable", "up"]);
        }
        let answered = || received(&one.namespace, "eth0");
        let ping = || one.namespace.command("ping");
        // The largest packet that fits the tunnel, and so the workload's MTU, beside a small one.
        let mtu = interface(&one.namespace, "eth0")["mtu"].as_u64().and_then(|mtu| u32::try_from(mtu).ok());
        assert_eq!(mtu, Some(1450));
        let pings =
            [ContinuousPing::start(ping(), &three.ipv4), ContinuousPing::start_sized(ping(), &three.ipv4, 1450)];
        // So that packets are under way before and after each change.
        let some_more = || {
            let seen = answered();
            wait_for("answers", Duration::from_secs(10), || answered() > seen + 40);
        };
        some_more();
        for _ in 0..2 {
            racks.hosts[0].run("ip", &["route", "add", "198.51.100.3/32", "dev", "cable"]);
            racks.hosts[2].run("ip", &["route", "add", "192.0.2.1/32", "dev", "cable"]);
            for (agent, node) in [(0, "h3"), (2, "h1")] {
                wait_for("the native way", Duration::from_secs(10), || {
                    way(&racks.agents[agent], node, "blue4")
                        == (Value::Null, "it is on a link of this host".to_string())
                });
            }
            some_more();
            racks.hosts[0].run("ip", &["route", "del", "198.51.100.3/32"]);
            racks.hosts[2].run("ip", &["route", "del", "192.0.2.1/32"]);
            for (agent, node) in [(0, "h3"), (2, "h1")] {
                wait_for("the tunnel", Duration::from_secs(10), || {
                    way(&racks.agents[agent], node, "blue4").0 == json!("vxlan")
                });
            }
            some_more();
        }
        for (ping, which) in pings.into_iter().zip(["small", "large"]) {
            let (sent, answered) = ping.stop();
            assert!(answered > 100 && sent <= answered + 1, "{answered} of {sent} {which} pings were answered");
        }
    });
}
