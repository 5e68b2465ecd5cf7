//! `routectl ipam`: whose an address is, whether all fits together, and what nobody will use again.

use std::time::Duration;

use serde_json::json;

use crate::fixture::{Agent, attach, cni, established, two_hosts};
use crate::support::hosts::Namespace;
use crate::support::wait_for;

fn why(agent: &Agent, address: &str) -> (String, String) {
    let reply = agent.routectl(&["ipam", "why", address, "-o", "json"]).json();
    let text = |field: &str| reply[field].as_str().unwrap_or_default().to_string();
    (text("state"), text("holder"))
}

#[test]
fn an_address_says_whose_it_is_on_every_node() {
    two_hosts(|_, one, two| {
        let here = attach(&one, "here", "blue", json!({}));
        let there = attach(&two, "there", "blue", json!({}));
        wait_for("h1 to hear of there", Duration::from_secs(10), || why(&one, &there.ipv4).0 == "used");
        assert!(why(&one, &there.ipv4).1.contains("default/there") && why(&one, &there.ipv4).1.contains("on h2"));
        assert!(why(&one, &here.ipv4).1.contains("default/here"));
        assert_eq!(why(&one, "192.0.2.2"), ("host".to_string(), "node h2".to_string()));
        assert!(why(&one, "198.51.100.1").0.starts_with("foreign"));
        assert!(why(&one, "10.66.9.9").0.starts_with("free: no node has claimed"));
        let text = one.routectl(&["ipam", "why", &here.ipv4]).stdout;
        assert!(text.contains("pool    blue4") && text.contains("node    h1"), "{text}");

        let refused = one.routectl(&["ipam", "release", &here.ipv4]);
        assert_eq!(refused.exit, 1);
        assert!(refused.stderr.contains("default/here") && refused.stderr.contains("--force"), "{}", refused.stderr);
        let elsewhere = one.routectl(&["ipam", "release", &there.ipv4]);
        assert!(elsewhere.exit == 1 && elsewhere.stderr.contains("routectl on h2"), "{}", elsewhere.stderr);
        assert_eq!(one.routectl(&["ipam", "release", "--force", &here.ipv4]).exit, 0);
        assert!(why(&one, &here.ipv4).0.starts_with("resting"));
        assert!(!there.pings(&here.ipv4), "it is gone");

        let check = two.routectl(&["ipam", "check"]);
        assert_eq!(check.exit, 0, "{}", check.stdout);
        assert!(check.stdout.starts_with("all fits together"));
    });
}

#[test]
fn a_dead_node_is_given_away_and_a_living_one_is_not() {
    two_hosts(|hosts, one, mut two| {
        let lost = attach(&two, "lost", "blue", json!({}));
        wait_for("the sessions", Duration::from_secs(20), || established(&one) && established(&two));
        let living = one.routectl(&["ipam", "release-node", "h2"]);
        assert!(living.exit == 1 && living.stderr.contains("was heard"), "{}", living.stderr);
        let own = one.routectl(&["ipam", "release-node", "h1"]);
        assert!(own.exit == 1 && own.stderr.contains("the node that answers"), "{}", own.stderr);
        let nobody = one.routectl(&["ipam", "release-node", "h9"]);
        assert!(nobody.exit == 1 && nobody.stderr.contains("knows nothing"), "{}", nobody.stderr);

        two.kill();
        let forced = one.routectl(&["ipam", "release-node", "--force", "h2"]);
        assert_eq!(forced.exit, 0, "{}", forced.stderr);
        wait_for("h2's blocks to be gone", Duration::from_secs(10), || {
            !one.routectl(&["ipam", "show"]).stdout.contains("h2")
        });
        assert!(why(&one, &lost.ipv4).0.starts_with("free"));

        // Somebody takes the block, and the node comes back.
        let block = lost.ipv4.rsplit_once('.').map(|(net, _)| net.to_string()).expect("an address");
        let namespace = Namespace::new();
        let config = json!({"name": "blue", "args": {"cni": {"ips": [format!("{block}.{}", last(&lost.ipv4) ^ 1)]}}});
        let taken = cni(&one, "ADD", "taker", &namespace, config);
        assert_eq!(taken.exit, 0, "{}", taken.stdout);
        two.launch(&hosts[1]);
        wait_for("the quarantine to be told", Duration::from_secs(20), || {
            let status = two.routectl(&["status"]);
            status.exit == 1 && status.stdout.contains("node h1 owns it now")
        });
        let check = two.routectl(&["ipam", "check"]);
        assert!(check.exit == 1 && check.stdout.contains("node h1"), "{}", check.stdout);
    });
}

fn last(address: &str) -> u8 {
    address.rsplit_once('.').and_then(|(_, last)| last.parse().ok()).expect("an IPv4 address")
}

#[test]
fn a_reserved_address_is_given_only_to_who_names_it() {
    two_hosts(|_, one, _two| {
        let reservation = |cidrs: &str| {
            let yaml = format!(
                "apiVersion: projectcalico.org/v3\nkind: IPReservation\nmetadata: {{name: printers}}\nspec: {{reservedCIDRs: [{cidrs}]}}\n"
            );
            one.try_apply(&yaml)
        };
        let refused = reservation("10.66.0.0/33");
        assert!(refused.exit == 1 && refused.stderr.contains("spec.reservedCIDRs[0]"), "{}", refused.stderr);

        let first = attach(&one, "first", "blue", json!({}));
        let net = first.ipv4.rsplit_once('.').map(|(net, _)| net.to_string()).expect("an address");
        let block = last(&first.ipv4) & 0xc0;
        let free = first_free(block, &first.ipv4);
        let kept = format!("{net}.{free}");
        assert_eq!(reservation(&format!("{kept}/32")).exit, 0);
        wait_for("the reservation to be known", Duration::from_secs(10), || {
            why(&one, &kept).0.contains("reserved by IPReservation printers")
        });
        let second = attach(&one, "second", "blue", json!({}));
        assert_ne!(second.ipv4, kept);

        let workload = Namespace::new();
        let asking = json!({"name": "blue", "args": {"cni": {"ips": [kept]}}});
        let named = cni(&one, "ADD", "named", &workload, asking);
        assert!(named.exit == 0 && named.stdout.contains(&kept), "{}", named.stdout);
        let listed = one.routectl(&["get", "reservations"]).stdout;
        assert!(listed.contains("printers") && listed.contains(&kept), "{listed}");
    });
}

/// The lowest last number of the block that is not the address's.
fn first_free(block: u8, address: &str) -> u8 {
    if last(address) == block { block + 1 } else { block }
}
