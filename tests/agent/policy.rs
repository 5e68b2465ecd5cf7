//! Policies through live agents: what a change would do, what is staged, and hosts that are governed.

use std::time::Duration;

use serde_json::json;

use crate::fixture::{attach, established, one_host, two_hosts};
use crate::support::wait_for;

const CLOSED: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed, namespace: default}
spec: {selector: app == 'db', types: [Ingress]}
";

#[test]
fn a_diff_says_whom_a_policy_would_close_and_writes_nothing() {
    one_host(|site, _, agent| {
        let web = attach(agent, "web", "blue", json!({"app": "web"}));
        let db = attach(agent, "db", "blue", json!({"app": "db"}));
        let file = site.write("closed.yaml", CLOSED).display().to_string();
        let said = agent.routectl(&["apply", "--diff", "-f", &file]);
        assert_eq!(said.exit, 1, "{said:?}");
        assert!(said.stdout.starts_with("would: NetworkPolicy default/closed created\n"), "{}", said.stdout);
        assert!(said.stdout.contains("allowed -> denied: default/web to default/db: tcp/1-65535,"), "{}", said.stdout);
        assert!(said.stdout.contains("1 verdict would change"), "{}", said.stdout);
        assert!(web.pings(&db.ipv4), "nothing is written");
        assert_eq!(agent.routectl(&["get", "np", "-o", "json"]).stdout.matches("closed").count(), 0);

        agent.apply(CLOSED);
        wait_for("the policy", Duration::from_secs(5), || !web.pings(&db.ipv4));
        let said = agent.routectl(&["apply", "--diff", "-f", &file]);
        assert_eq!(said.exit, 0, "{said:?}");
        assert!(said.stdout.contains("no verdict would change"), "{}", said.stdout);
        // What would be refused is refused here, too.
        let bad = site.write("bad.yaml", &CLOSED.replace("types", "tier: none, types")).display().to_string();
        let said = agent.routectl(&["apply", "--diff", "-f", &bad]);
        assert_eq!(said.exit, 1);
        assert!(said.stderr.contains("there is no Tier none"), "{}", said.stderr);
    });
}

#[test]
fn explain_tells_what_the_deciding_rule_is_in_the_kernel_and_what_it_has_counted() {
    one_host(|_, _, agent| {
        let web = attach(agent, "web", "blue", json!({"app": "web"}));
        let db = attach(agent, "db", "blue", json!({"app": "db"}));
        let rule = "types: [Ingress], ingress: [{action: Allow, protocol: ICMP, source: {selector: app == 'web'}}]";
        agent.apply(&CLOSED.replace("types: [Ingress]", rule));
        let asked = || agent.routectl(&["explain", "default/web", "default/db", "icmp", "-o", "wide"]).stdout;
        wait_for("the policy", Duration::from_secs(5), || asked().contains("rule 1"));
        assert!(asked().contains("counted 0 packets, 0 bytes, by rn-pi-"), "{}", asked());
        assert!(asked().contains("-p icmp -m set --match-set rn4-s-"), "{}", asked());
        web.reaches(&db.ipv4);
        assert!(!asked().contains("counted 0 packets") && asked().contains(" by rn-pi-"), "{}", asked());
    });
}

#[test]
fn what_is_staged_does_nothing_and_explain_says_what_it_would() {
    one_host(|_, _, agent| {
        let web = attach(agent, "web", "blue", json!({"app": "web"}));
        let db = attach(agent, "db", "blue", json!({"app": "db"}));
        agent.apply(&CLOSED.replace("kind: NetworkPolicy", "kind: StagedNetworkPolicy"));
        let asked = || agent.routectl(&["explain", "default/web", "default/db", "tcp/80"]);
        wait_for("what is staged to be known", Duration::from_secs(5), || asked().stdout.contains("  staged "));
        let said = asked();
        assert_eq!(said.exit, 0, "{said:?}");
        let wanted = "staged    would be denied: 1 policy applies to its ingress and none decided";
        assert!(said.stdout.contains(wanted), "{}", said.stdout);
        assert!(web.pings(&db.ipv4));
    });
}

const UPLINK: &str = "
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: h1-uplink, labels: {interface: uplink}}
spec: {node: h1, expectedIPs: [192.0.2.1]}
";

#[test]
fn a_host_that_is_governed_stays_so_over_a_kill_and_keeps_its_neighbours_and_workloads() {
    two_hosts(|hosts, mut one, two| {
        let here = attach(&one, "here", "blue", json!({}));
        let there = attach(&two, "there", "blue", json!({}));
        there.reaches(&here.ipv4);
        let pings = || hosts[1].succeeds("ping", &["-n", "-c", "1", "-W", "1", "192.0.2.1"]);
        assert!(pings());
        one.apply(UPLINK);
        wait_for("the host to be closed", Duration::from_secs(5), || !pings());
        assert!(established(&one), "BGP is a failsafe port");
        there.reaches(&here.ipv4);
        let said = two.routectl(&["explain", "host:h2", "host:h1", "icmp"]);
        assert_eq!(said.exit, 1, "{said:?}");
        assert!(said.stdout.contains("denied at host endpoint h1-uplink, in: "), "{}", said.stdout);

        one.kill();
        assert!(!pings(), "also while nobody works");
        one.launch(&hosts[0]);
        wait_for("the sessions", Duration::from_secs(40), || established(&one));
        assert!(!pings(), "and behind the start");
        there.reaches(&here.ipv4);

        let policy = "apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: ping}
spec: {selector: interface == 'uplink', types: [Ingress], ingress: [{action: Allow, protocol: ICMP}]}
";
        one.apply(policy);
        wait_for("the policy that lets pings in", Duration::from_secs(5), pings);
        assert_eq!(one.routectl(&["delete", "hostendpoint", "h1-uplink"]).exit, 0);
        assert_eq!(one.routectl(&["delete", "gnp", "ping"]).exit, 0);
        assert!(pings());
    });
}

#[test]
fn what_nobody_confirms_is_rolled_back_by_whoever_is_there() {
    two_hosts(|hosts, one, two| {
        let web = attach(&one, "web", "blue", json!({"app": "web"}));
        let db = attach(&one, "db", "blue", json!({"app": "db"}));
        let applied = |agent: &crate::fixture::Agent, seconds: &str| {
            let said = agent.apply_with(&["--confirm", seconds], CLOSED);
            assert_eq!(said.exit, 0, "{said:?}");
            let id = said.stdout.trim().rsplit(' ').next().expect("a name").to_string();
            assert!(said.stdout.contains(&format!("unless you say: routectl confirm {id}")), "{}", said.stdout);
            id
        };
        let closed = || !web.pings(&db.ipv4);
        // Rolled back by who took it; a second confirmation comes too late.
        let id = applied(&one, "8s");
        wait_for("the policy", Duration::from_secs(8), closed);
        wait_for("its going", Duration::from_secs(20), || !closed());
        let said = one.routectl(&["confirm", &id]);
        assert_eq!(said.exit, 1);
        assert!(said.stderr.contains("nothing waits for a confirmation under it"), "{}", said.stderr);

        // Confirmed, it stays; from any node.
        let id = applied(&one, "8s");
        assert_eq!(two.routectl(&["confirm", &id]).exit, 0);
        std::thread::sleep(Duration::from_secs(9));
        assert!(closed(), "behind the deadline");
        assert_eq!(one.routectl(&["delete", "np", "closed"]).exit, 0);
        wait_for("its going", Duration::from_secs(5), || !closed());

        // Who took it dies: another agent looks after it. What others wrote meanwhile stays.
        applied(&two, "8s");
        wait_for("the policy", Duration::from_secs(8), closed);
        let mut two = two;
        two.kill();
        wait_for("its going", Duration::from_secs(30), || !closed());
        two.launch(&hosts[1]);
        applied(&one, "4s");
        one.apply(&CLOSED.replace("app == 'db'", "app == 'db' || app == 'other'"));
        std::thread::sleep(Duration::from_secs(5));
        assert!(closed(), "somebody else's change stays");
    });
}
