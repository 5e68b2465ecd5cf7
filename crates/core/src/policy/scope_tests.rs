use super::*;
use crate::policy::testing::*;

/// What the source of a rule comes to: wanted and unwanted.
fn sides(namespace: Option<&str>, change: impl FnOnce(&mut EntityRule)) -> (String, String) {
    let mut policy = ingress_policy("p", "", vec![rule(Action::Allow)]);
    policy.key.namespace = namespace.map(String::from);
    change(&mut policy.ingress[0].source);
    let scoped = ScopedPolicy::new(&policy, &mut SharedRules::default()).unwrap();
    match &scoped.ingress[0].scoped {
        ScopedRule::Sound { source, .. } => {
            let text = |selector: &Option<Selector>| selector.as_ref().map(Selector::to_string).unwrap_or_default();
            (text(&source.wanted), text(&source.unwanted))
        }
        ScopedRule::Unsound(error) => panic!("{error}"),
    }
}

fn pair(wanted: &str, unwanted: &str) -> (String, String) {
    (wanted.to_string(), unwanted.to_string())
}

#[test]
fn any_selector_limits_a_side_of_a_network_policy_to_its_namespace() {
    let red = Some("red");
    let here = "projectcalico.org/namespace == 'red'";
    assert_eq!(sides(red, |s| s.selector = Some("has(x)".into())), pair(&format!("has(x) && {here}"), ""));
    assert_eq!(sides(red, |s| s.not_selector = Some("has(x)".into())), pair(&format!("{here} && !has(x)"), ""));
    assert_eq!(sides(red, |s| s.nets = cidrs(&["10.0.0.0/8"])), pair("", ""));
    assert_eq!(
        sides(red, |s| s.namespace_selector = Some("all()".into())),
        pair("has(projectcalico.org/namespace)", "")
    );
}

#[test]
fn in_a_global_policy_a_lone_not_selector_matches_strangers_too() {
    assert_eq!(sides(None, |s| s.selector = Some("has(x)".into())), pair("has(x)", ""));
    assert_eq!(sides(None, |s| s.not_selector = Some("has(x)".into())), pair("", "has(x)"));
    let both = |s: &mut EntityRule| {
        s.selector = Some("has(x)".into());
        s.not_selector = Some("has(y)".into());
    };
    assert_eq!(sides(None, both), pair("has(x) && !has(y)", ""));
    assert_eq!(sides(None, |s| s.selector = Some(" ".into())), pair("", ""));
}

#[test]
fn a_network_policy_governs_its_own_namespace() {
    let mut policy = ingress_policy("p", "has(x)", Vec::new());
    assert_eq!(ScopedPolicy::new(&policy, &mut SharedRules::default()).unwrap().applies_to.to_string(), "has(x)");
    policy.key.namespace = Some("red".into());
    let expected = "has(x) && projectcalico.org/namespace == 'red'";
    assert_eq!(ScopedPolicy::new(&policy, &mut SharedRules::default()).unwrap().applies_to.to_string(), expected);
}

#[test]
fn order_decides_then_name_namespace_and_kind() {
    let policy = |name: &str, namespace: Option<&str>, order: Option<f64>| {
        let mut policy = ingress_policy(name, "", Vec::new());
        policy.key.namespace = namespace.map(String::from);
        policy.order = order;
        policy
    };
    let sorted = [
        policy("z", None, Some(-1.0)),
        policy("y", None, Some(0.0)),
        policy("z", None, Some(0.0)),
        policy("a-b", Some("ns"), None),
        policy("a.c", None, None),
        policy("a", None, None),
        policy("a", Some("ns"), None),
        policy("b", None, None),
    ];
    let mut shuffled = sorted.to_vec();
    shuffled.reverse();
    shuffled.sort_by_key(precedence);
    assert_eq!(shuffled, sorted);
    assert_eq!(precedence(&policy("a", None, Some(-0.0))), precedence(&policy("a", None, Some(0.0))));
}
