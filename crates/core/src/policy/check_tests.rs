use super::*;
use crate::model::{Action, PortMatch, ServiceAccountMatch};
use crate::policy::testing::*;

fn refused(change: impl FnOnce(&mut PolicyRule)) -> String {
    let mut rule = rule(Action::Allow);
    change(&mut rule);
    check_rule(&rule).expect_err("unsound").to_string()
}

#[test]
fn what_the_kernel_can_match_has_a_meaning() {
    assert_eq!(check_rule(&rule(Action::Deny)), Ok(()));
    assert_eq!(check_rule(&tcp_from(Action::Allow, "role == 'x'", 80)), Ok(()));
    let mut ping = rule(Action::Allow);
    ping.protocol = Some(Protocol::ICMP);
    ping.icmp = Some(IcmpMatch { kind: 8, code: None });
    ping.source.nets = cidrs(&["0.0.0.0/0"]);
    ping.source.namespace_selector = Some("projectcalico.org/name == 'prod' || global()".into());
    assert_eq!(check_rule(&ping), Ok(()));
}

#[test]
fn each_field_that_cannot_be_is_named_with_its_mend() {
    assert_eq!(refused(|r| r.ip_version = Some(5)), "ipVersion: expected 4 or 6");
    assert!(refused(|r| r.protocol = Some(Protocol(0))).starts_with("protocol: "));
    assert!(refused(|r| r.not_protocol = Some(Protocol(0))).starts_with("notProtocol: "));
    let icmp = |kind| Some(IcmpMatch { kind, code: None });
    assert!(refused(|r| r.icmp = icmp(8)).contains("icmp: needs `protocol: ICMP`"));
    assert!(
        refused(|r| {
            r.protocol = Some(Protocol::ICMP);
            r.not_icmp = icmp(255);
        })
        .contains("notICMP: type is from 0 to 254")
    );
    let ports = vec![PortMatch { first: 90, last: 80 }];
    assert!(refused(|r| r.source.ports = ports.clone()).contains("source.ports: needs `protocol: TCP`"));
    assert!(
        refused(|r| {
            r.protocol = Some(Protocol::UDP);
            r.destination.not_ports = ports.clone();
        })
        .contains("destination.notPorts: 90:80 ends before it begins: write 80:90")
    );
    assert!(refused(|r| r.source.not_nets = cidrs(&["::/0"])).contains("source.notNets: ::/0 leaves nothing"));
    assert!(
        refused(|r| r.destination.selector = Some("a = 'b'".into())).contains("destination.selector: at character 3")
    );
    assert!(
        refused(|r| r.source.namespace_selector = Some("team = 'r'".into())).contains("source.namespaceSelector: at ")
    );
    let accounts = |selector: &str| Some(ServiceAccountMatch { names: Vec::new(), selector: Some(selector.into()) });
    assert!(refused(|r| r.source.service_accounts = accounts("has(")).contains("source.serviceAccounts.selector: at "));
    let named = |protocol| {
        move |r: &mut PolicyRule| {
            r.protocol = protocol;
            r.destination.named_ports = vec!["http".into()];
        }
    };
    assert!(refused(named(Some(Protocol::ICMP))).contains("destination.ports: needs `protocol: TCP`"));
    let mut by_name = rule(Action::Allow);
    named(None)(&mut by_name);
    assert_eq!(check_rule(&by_name), Ok(()), "a name tells its protocol");
}

#[test]
fn a_policy_names_the_rule() {
    let mut policy = ingress_policy("p", "has(x", Vec::new());
    assert_eq!(check_policy(&policy).unwrap_err().field, "selector");
    policy.selector = "has(x)".into();
    assert_eq!(check_policy(&policy), Ok(()));
    let mut bad = rule(Action::Allow);
    bad.ip_version = Some(5);
    policy.egress = vec![rule(Action::Allow), bad];
    assert_eq!(check_policy(&policy).unwrap_err().field, "egress[1].ipVersion");
}
