use super::*;
use crate::model::Policy;
use crate::policy::testing::*;

fn compile_in(policy: &Policy, family: Family, log: &LogRules) -> CompiledPolicy {
    let scoped = ScopedPolicy::new(policy, &mut Default::default()).unwrap();
    compile(&scoped, Direction::Ingress, family, log, &SetNames::default())
}

fn texts(change: impl FnOnce(&mut PolicyRule), family: Family) -> Vec<String> {
    let mut rule = rule(Action::Allow);
    change(&mut rule);
    let policy: Policy = ingress_policy("p", "", vec![rule]);
    let compiled = compile_in(&policy, family, &Default::default());
    assert!(compiled.rules.iter().all(|rule| rule.origin.as_ref().is_some_and(|o| o.ingress && o.index == 0)));
    let named = |set: &AddressSet| compiled.rules.iter().any(|rule| rule.text.contains(&set.name()));
    assert!(compiled.sets.values().all(named), "a set that no rule names");
    compiled.rules.into_iter().map(|rule| rule.text.to_string()).collect()
}

#[test]
fn actions_end_in_their_targets() {
    let of = |action| texts(|rule| rule.action = action, Family::V4);
    assert_eq!(of(Action::Allow), ["-g rn-allow"]);
    assert_eq!(of(Action::Deny), ["-j DROP"]);
    assert_eq!(of(Action::Pass), ["-g rn-pass"]);
    assert_eq!(of(Action::Log), ["-m limit --limit 10/second -j LOG --log-prefix \"routenet p: \""]);
}

#[test]
fn fields_become_matches_in_the_family_that_they_are_of() {
    let nets = |rule: &mut PolicyRule| {
        rule.protocol = Some(Protocol::TCP);
        rule.source.nets = cidrs(&["10.0.0.0/8"]);
        rule.destination.not_nets = cidrs(&["10.1.0.0/16", "fd00::/8"]);
    };
    assert_eq!(texts(nets, Family::V4), ["-p tcp -s 10.0.0.0/8 ! -d 10.1.0.0/16 -g rn-allow"]);
    assert!(texts(nets, Family::V6).is_empty());
    let everything = |rule: &mut PolicyRule| rule.source.nets = cidrs(&["0.0.0.0/0"]);
    assert_eq!(texts(everything, Family::V4), ["-g rn-allow"]);
    assert!(texts(everything, Family::V6).is_empty());
    assert!(texts(|rule| rule.ip_version = Some(6), Family::V4).is_empty());
}

#[test]
fn icmp_belongs_to_its_family() {
    let ping = |protocol, kind| {
        move |rule: &mut PolicyRule| {
            rule.protocol = Some(protocol);
            rule.icmp = Some(IcmpMatch { kind, code: Some(0) });
        }
    };
    assert_eq!(texts(ping(Protocol::ICMP, 8), Family::V4), ["-p icmp -m icmp --icmp-type 8/0 -g rn-allow"]);
    assert!(texts(ping(Protocol::ICMP, 8), Family::V6).is_empty());
    assert_eq!(texts(ping(Protocol::ICMPV6, 128), Family::V6), ["-p icmpv6 -m icmp6 --icmpv6-type 128/0 -g rn-allow"]);
    assert_eq!(texts(|rule| rule.not_protocol = Some(Protocol::ICMP), Family::V4), ["! -p icmp -g rn-allow"]);
    assert_eq!(texts(|rule| rule.not_protocol = Some(Protocol::ICMP), Family::V6), ["-g rn-allow"]);
    let contradiction = |rule: &mut PolicyRule| {
        rule.protocol = Some(Protocol::TCP);
        rule.not_protocol = Some(Protocol::TCP);
    };
    assert!(texts(contradiction, Family::V4).is_empty());
}

#[test]
fn many_ports_are_split_into_lists_that_multiport_takes() {
    let range = |first, last| PortMatch { first, last };
    assert_eq!(port_lists(&[range(80, 80), range(81, 90), range(70, 85), range(100, 100)]), ["70:90,100"]);
    assert_eq!(port_lists(&[range(0, 65535), range(65535, 65535)]), ["0:65535"]);
    let many: Vec<PortMatch> = (0..8).map(|n| range(10 * n, 10 * n + 1)).collect();
    assert_eq!(port_lists(&many), ["0:1,10:11,20:21,30:31,40:41,50:51,60:61", "70:71"]);
    let two_lists = |rule: &mut PolicyRule| {
        rule.protocol = Some(Protocol::TCP);
        rule.destination.ports = many.clone();
        rule.source.not_ports = many.clone();
    };
    let found = texts(two_lists, Family::V4);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|text| text.matches("! --sports").count() == 2), "{found:?}");
}

#[test]
fn several_nets_and_selectors_are_sets() {
    let sides = |rule: &mut PolicyRule| {
        rule.source.nets = cidrs(&["10.0.0.0/8", "192.168.0.0/16"]);
        rule.source.selector = Some("has(x)".into());
        rule.destination.not_selector = Some("has(y)".into());
    };
    let found = texts(sides, Family::V4);
    assert!(found[0].starts_with("-m set --match-set rn4-n-"), "{found:?}");
    assert!(found[0].contains(" src -m set --match-set rn4-s-"), "{found:?}");
    assert!(found[0].contains(" src -m set ! --match-set rn4-s-"), "{found:?}");
    assert!(found[0].ends_with(" dst -g rn-allow"), "{found:?}");
}

#[test]
fn an_unsound_rule_denies_in_both_families() {
    for family in Family::BOTH {
        assert_eq!(texts(|rule| rule.ip_version = Some(5), family), ["-j DROP"]);
    }
}

#[test]
fn a_net_beside_a_net_that_is_excluded_is_a_set_since_iptables_takes_each_option_once() {
    let sides = |rule: &mut PolicyRule| {
        rule.source.nets = cidrs(&["10.0.0.0/8"]);
        rule.source.not_nets = cidrs(&["10.1.0.0/16"]);
    };
    let found = texts(sides, Family::V4);
    assert!(found[0].starts_with("-s 10.0.0.0/8 -m set ! --match-set rn4-n-"), "{found:?}");
}

#[test]
fn a_line_in_the_log_names_its_policy_and_is_limited() {
    let logs = |log: &LogRules| {
        let mut policy = ingress_policy("a-policy-with-a-very-long-name", "all()", vec![PolicyRule::any(Action::Log)]);
        policy.key = ObjectKey::namespaced(crate::model::Kind::NetworkPolicy, "shop", policy.key.name);
        let compiled = compile_in(&policy, Family::V4, log);
        compiled.rules[0].text.clone()
    };
    let text = logs(&LogRules::default());
    assert_eq!(&*text, "-m limit --limit 10/second -j LOG --log-prefix \"routenet shop/a-policy-with: \"");
    let text = logs(&LogRules { prefix: "fw".to_string(), per_second: 0 });
    assert_eq!(&*text, "-j LOG --log-prefix \"fw shop/a-policy-with-a-ver: \"");
}
