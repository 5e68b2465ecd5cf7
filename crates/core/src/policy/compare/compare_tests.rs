use super::*;
use crate::model::yaml::read_documents;
use crate::policy::testing::{endpoint, settings};

fn objects(text: &str) -> Vec<Object> {
    let network =
        "apiVersion: routenet/v1\nkind: Network\nmetadata: {name: blue}\nspec: {pools: [p], isolation: open}\n";
    let text = format!("{network}---\n{text}");
    read_documents("a.yaml", &text).unwrap().into_iter().map(|object| object.value).collect()
}

fn shop() -> Vec<Endpoint> {
    let of = |name: &str, address: &str, role: &str| endpoint("n1", "blue", name, &[address], &[("role", role)]);
    vec![of("db", "10.65.0.1", "db"), of("web-1", "10.65.0.2", "web"), of("web-2", "10.65.0.3", "web")]
}

const DB: &str = "apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: db}
spec:
  selector: role == 'db'
  ingress: [{action: Allow, protocol: TCP, source: {selector: role == 'web'}, destination: {ports: [5432]}}]
";

fn lines(comparison: &Comparison) -> Vec<String> {
    let of = |party: &PartyName| format!("{}+{}", party.name, party.others);
    let line = |it: &Difference| {
        format!("{} -> {} {} {} -> {}", of(&it.from), of(&it.to), it.traffic.join(" "), it.before, it.after)
    };
    comparison.differences.iter().map(line).collect()
}

#[test]
fn a_policy_that_closes_says_for_whom_and_what() {
    let found = compare(&settings("n1"), &shop(), &[], &objects(""), &objects(DB));
    assert_eq!(
        lines(&found),
        [
            "default/web-1+1 -> default/db+0 tcp/1-5431 tcp/5433-65535 udp/1-5431 udp/5432 udp/5433-65535 icmp type 8 \
             allowed -> denied",
            "192.0.2.254+0 -> default/db+0 tcp/1-5431 tcp/5432 tcp/5433-65535 udp/1-5431 udp/5432 udp/5433-65535 \
             icmp type 8 allowed -> denied",
        ]
    );
    assert!(found.differences[0].decided_by.contains("denied at the end of tier default"), "{found:?}");
    assert_eq!(compare(&settings("n1"), &shop(), &[], &objects(DB), &objects(DB)).differences, []);
}

#[test]
fn one_more_port_is_one_line() {
    let wider = DB.replace("[5432]", "[5432, 22]");
    let found = compare(&settings("n1"), &shop(), &[], &objects(DB), &objects(&wider));
    assert_eq!(lines(&found), ["default/web-1+1 -> default/db+0 tcp/22 denied -> allowed"]);
}

#[test]
fn whom_a_prefix_tells_apart_is_asked_apart() {
    let by_net = DB.replace("selector: role == 'web'}", "nets: [10.65.0.3/32, 203.0.113.0/24]}");
    let found = compare(&settings("n1"), &shop(), &[], &objects(DB), &objects(&by_net));
    assert_eq!(
        lines(&found),
        [
            "default/web-1+0 -> default/db+0 tcp/5432 allowed -> denied",
            "203.0.113.1+0 -> default/db+0 tcp/5432 denied -> allowed",
        ]
    );
}
