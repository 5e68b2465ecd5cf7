use proptest::prelude::*;

use super::*;
use crate::desired::SetOp;
use crate::model::{Action, Isolation};
use crate::policy::explain::{Flow, Side, Verdict};
use crate::policy::testing::*;

fn engine_with(facts: &[FactDelta]) -> (PolicyEngine, Replay) {
    let mut engine = PolicyEngine::new(&settings("n1"));
    let mut replay = Replay::default();
    replay.apply(&engine.apply(facts));
    (engine, replay)
}

fn state(engine: &PolicyEngine) -> Replay {
    Replay { sets: engine.sets(), chains: engine.chains().clone() }
}

#[test]
fn the_frame_stands_without_facts_and_changes_nothing_twice() {
    let (mut engine, replay) = engine_with(&[]);
    assert_eq!(replay, state(&engine));
    assert_eq!(replay.sets.len(), 4, "of each family: local addresses, published ports");
    assert_eq!(engine.hooks().len(), 14);
    assert!(engine.hooks().iter().all(|hook| {
        engine.chains().contains_key(&ChainKey { family: hook.family, table: hook.table, name: hook.chain.clone() })
    }));
    assert!(engine.apply(&[]).is_empty());
}

#[test]
fn attaching_to_a_known_group_is_set_entries_only() {
    let mut facts = base();
    facts.push(policy_fact(&ingress_policy(
        "web",
        "role == 'web'",
        vec![tcp_from(Action::Allow, "role == 'client'", 80)],
    )));
    facts.push(endpoint_fact(&endpoint("n1", "blue", "a", &["10.65.0.1", "fd65::1"], &[("role", "web")])));
    let (mut engine, mut replay) = engine_with(&facts);
    let second = endpoint("n1", "blue", "b", &["10.65.0.2", "fd65::2"], &[("role", "web")]);
    let delta = engine.apply(&[endpoint_fact(&second)]);
    assert!(delta.chains.is_empty(), "{:?}", delta.chains);
    assert!(delta.shrink.is_empty());
    assert!(delta.grow.iter().all(|op| matches!(op, SetOp::Add { .. })), "{:?}", delta.grow);
    assert!(!delta.grow.is_empty());
    replay.apply(&delta);
    let delta = engine.apply(&[endpoint_gone(&second)]);
    assert!(delta.chains.is_empty() && delta.grow.is_empty());
    replay.apply(&delta);
    assert_eq!(replay, state(&engine));
    assert_eq!(state(&engine), state(&engine_with(&facts).0));
}

#[test]
fn a_label_change_between_known_groups_grows_before_it_shrinks() {
    let policy = |name: &str, role: &str| {
        policy_fact(&ingress_policy(name, &format!("role == '{role}'"), vec![tcp_from(Action::Allow, "all()", 80)]))
    };
    let mut facts = base();
    facts.extend([policy("web", "web"), policy("db", "db")]);
    facts.push(endpoint_fact(&endpoint("n1", "blue", "a", &["10.65.0.1"], &[("role", "web")])));
    facts.push(endpoint_fact(&endpoint("n1", "blue", "b", &["10.65.0.2"], &[("role", "db")])));
    let (mut engine, _) = engine_with(&facts);
    let moved = endpoint("n1", "blue", "a", &["10.65.0.1"], &[("role", "db")]);
    let third = endpoint("n1", "blue", "c", &["10.65.0.3"], &[("role", "web")]);
    engine.apply(&[endpoint_fact(&third)]);
    let delta = engine.apply(&[endpoint_fact(&moved)]);
    assert!(delta.chains.is_empty());
    assert!(matches!(delta.grow.as_slice(), [SetOp::Add { name, .. }] if name.starts_with("rn4-gi-")));
    assert!(matches!(delta.shrink.as_slice(), [SetOp::Delete { name, .. }] if name.starts_with("rn4-gi-")));
}

#[test]
fn an_entry_grows_from_the_leaf_up_and_shrinks_from_the_top_down() {
    let mut facts = base();
    for index in 0..100 {
        let role = format!("r{index}");
        let policy = ingress_policy(&role, &format!("role == '{role}'"), vec![tcp_from(Action::Allow, "all()", 80)]);
        facts.push(policy_fact(&policy));
        let address = format!("10.65.1.{index}");
        facts.push(endpoint_fact(&endpoint("n1", "blue", &role, &[&address], &[("role", &role)])));
    }
    let (mut engine, mut replay) = engine_with(&facts);
    let names = |ops: &[SetOp]| {
        let name = |op: &SetOp| match op {
            SetOp::Add { name, .. } | SetOp::Delete { name, .. } => name.clone(),
            other => panic!("{other:?}"),
        };
        ops.iter().map(name).filter(|name| name.contains("-gi-") || name.contains("-ni-")).collect::<Vec<_>>()
    };
    let mut depths = BTreeSet::new();
    for index in 0..100 {
        let role = format!("r{index}");
        let more = endpoint("n1", "blue", &format!("more-{role}"), &["10.65.2.1"], &[("role", &role)]);
        let grown = engine.apply(&[endpoint_fact(&more)]);
        replay.apply(&grown);
        let up = names(&grown.grow);
        assert!(up[0].starts_with("rn4-gi-"), "{up:?}");
        assert!(up[1..].windows(2).all(|pair| pair[0].len() > pair[1].len()), "deepest node first: {up:?}");
        assert!(grown.chains.is_empty());
        depths.insert(up.len());
        let shrunk = engine.apply(&[endpoint_gone(&more)]);
        replay.apply(&shrunk);
        let mut down = names(&shrunk.shrink);
        down.reverse();
        assert_eq!(up, down);
    }
    assert!(depths.len() > 1, "100 groups need nodes of several depths: {depths:?}");
    assert_eq!(replay, state(&engine));
}

#[test]
fn a_policy_that_no_local_endpoint_needs_is_not_compiled() {
    let policy = ingress_policy("web", "role == 'web'", vec![tcp_from(Action::Allow, "role == 'client'", 80)]);
    let (mut engine, _) = engine_with(&base());
    let bare = state(&engine);
    let remote = endpoint("n2", "blue", "a", &["10.65.0.1"], &[("role", "web")]);
    assert!(engine.apply(&[policy_fact(&policy), endpoint_fact(&remote)]).is_empty());
    let local = endpoint("n1", "blue", "b", &["10.65.0.2"], &[("role", "web")]);
    assert!(!engine.apply(&[endpoint_fact(&local)]).chains.is_empty());
    engine.apply(&[endpoint_gone(&local)]);
    assert_eq!(state(&engine), bare);
}

#[test]
fn equal_selectors_share_one_set() {
    let one = ingress_policy("one", "role == 'web'", vec![tcp_from(Action::Allow, "app in {'x','y'}", 80)]);
    let two = ingress_policy("two", "role == 'web'", vec![tcp_from(Action::Allow, "app in { \"y\", 'x' }", 81)]);
    let web = endpoint("n1", "blue", "a", &["10.65.0.1"], &[("role", "web")]);
    let mut facts = base();
    facts.extend([policy_fact(&one), policy_fact(&two), endpoint_fact(&web)]);
    let (engine, _) = engine_with(&facts);
    assert_eq!(engine.sets().keys().filter(|name| name.contains("-s-")).count(), 1);
}

#[test]
fn an_address_of_two_subjects_stays_until_both_are_gone() {
    let policy = ingress_policy("web", "role == 'web'", vec![tcp_from(Action::Allow, "app == 'x'", 80)]);
    let web = endpoint("n1", "blue", "a", &["10.65.0.1"], &[("role", "web")]);
    let peer = endpoint("n2", "blue", "b", &["10.65.0.2"], &[("app", "x")]);
    let mut facts = base();
    facts.extend([policy_fact(&policy), endpoint_fact(&web), endpoint_fact(&peer)]);
    facts.push(network_set("s", &["10.65.0.2/32"], &[("app", "x")]));
    let (mut engine, _) = engine_with(&facts);
    let members = |engine: &PolicyEngine| {
        engine.sets().into_iter().find(|(name, _)| name.starts_with("rn4-s-")).unwrap().1.members.len()
    };
    engine.apply(&[endpoint_gone(&peer)]);
    assert_eq!(members(&engine), 1);
    engine.apply(&[FactDelta::NetworkSet(crate::model::NetworkSetKey { namespace: None, name: "s".into() }, None)]);
    assert_eq!(members(&engine), 0);
}

#[test]
fn a_whole_family_in_a_set_is_two_halves() {
    let policy = ingress_policy("web", "role == 'web'", vec![tcp_from(Action::Allow, "app == 'x'", 80)]);
    let web = endpoint("n1", "blue", "a", &["10.65.0.1", "fd65::1"], &[("role", "web")]);
    let mut facts = base();
    facts.extend([policy_fact(&policy), endpoint_fact(&web)]);
    facts.push(network_set("s", &["0.0.0.0/0", "::/0"], &[("app", "x")]));
    let (engine, _) = engine_with(&facts);
    let sets: Vec<SetSpec> =
        engine.sets().into_iter().filter(|(name, _)| name.contains("-s-")).map(|(_, spec)| spec).collect();
    let texts: Vec<String> = sets.iter().flat_map(|spec| &spec.members).map(|m| format!("{m:?}")).collect();
    assert_eq!(texts, ["Net(0.0.0.0/1)", "Net(128.0.0.0/1)", "Net(::/1)", "Net(8000::/1)"]);
}

#[test]
fn without_a_store_a_network_is_its_pools() {
    let mut settings = settings("n1");
    settings.networks_by_pool = true;
    let mut engine = PolicyEngine::new(&settings);
    let mut replay = Replay::default();
    let mut facts = base();
    facts.push(endpoint_fact(&endpoint("n1", "blue", "a", &["10.65.0.1"], &[])));
    replay.apply(&engine.apply(&facts));
    let members = |engine: &PolicyEngine| {
        engine.sets().into_iter().find(|(name, _)| name.starts_with("rn4-net-")).unwrap().1.members
    };
    assert_eq!(members(&engine), BTreeSet::from([Member::Net("10.65.0.0/16".parse().unwrap())]));
    replay.apply(&engine.apply(&[pool("blue", "10.66.0.0/16")]));
    assert_eq!(members(&engine), BTreeSet::from([Member::Net("10.66.0.0/16".parse().unwrap())]));
    assert_eq!(replay, state(&engine));
}

#[test]
fn a_policy_that_cannot_be_done_is_reported_and_denies() {
    let mut broken = tcp_from(Action::Allow, "role = 'x'", 80);
    let web = endpoint("n1", "green", "a", &["10.65.0.1"], &[("role", "web")]);
    let policy = ingress_policy("broken", "role == 'web'", vec![broken.clone()]);
    let unreadable = ingress_policy("unreadable", "role == web", Vec::new());
    let mut facts = base();
    facts.extend([policy_fact(&policy), policy_fact(&unreadable), endpoint_fact(&web)]);
    let (mut engine, _) = engine_with(&facts);
    let problems: Vec<String> = engine.problems().into_iter().map(|p| format!("{}: {}", p.policy, p.what)).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("GlobalNetworkPolicy unreadable: its selector cannot be read"), "{problems:?}");
    assert!(problems[1].contains("ingress[0].source.selector: at character 6"), "{problems:?}");
    let flow = Flow {
        source: Side::Address(address("10.65.0.9")),
        destination: Side::Workload(web.node.clone(), web.key.clone()),
        family: None,
        protocol: crate::model::Protocol::TCP,
        source_port: None,
        port: Some(80),
        icmp: None,
    };
    assert_eq!(engine.explain(&flow).unwrap().verdict, Verdict::Deny);
    let other = endpoint("n1", "green", "b", &["10.65.0.2"], &[("role", "db")]);
    engine.apply(&[endpoint_fact(&other)]);
    let to_other = Flow { destination: Side::Workload(other.node.clone(), other.key.clone()), ..flow.clone() };
    assert_eq!(engine.explain(&to_other).unwrap().verdict, Verdict::Deny, "whom the unreadable one was for is unknown");
    broken.source.selector = None;
    engine.apply(&[
        policy_fact(&ingress_policy("broken", "role == 'web'", vec![broken])),
        FactDelta::Policy(unreadable.key, None),
    ]);
    assert!(engine.problems().is_empty());
    assert_eq!(engine.explain(&flow).unwrap().verdict, Verdict::Allow);
}

#[test]
fn each_address_of_a_container_may_leave_by_each_of_its_interfaces() {
    let blue = endpoint("n1", "blue", "c", &["10.65.0.1"], &[]);
    let green = endpoint("n1", "green", "c", &["10.66.0.1"], &[]);
    let (mut engine, _) = engine_with(&base());
    engine.apply(&[endpoint_fact(&blue), endpoint_fact(&green)]);
    assert_eq!(engine.sets()["rn4-local"].members.len(), 4);
    engine.apply(&[endpoint_gone(&blue)]);
    let entry = Member::NetIface("10.66.0.1/32".parse().unwrap(), green.key.host_interface());
    assert_eq!(engine.sets()["rn4-local"].members, BTreeSet::from([entry]));
}

#[test]
fn isolation_decides_where_no_policy_does() {
    let blue = endpoint("n1", "blue", "a", &["10.65.0.1"], &[]);
    let (mut engine, _) = engine_with(&[network("blue", Isolation::Network), endpoint_fact(&blue)]);
    let groups = |engine: &PolicyEngine| engine.sets().keys().filter(|name| name.contains("-gi-")).count();
    assert_eq!(groups(&engine), 1);
    engine.apply(&[FactDelta::Network(network_name("blue"), None)]);
    assert_eq!(groups(&engine), 0, "an unknown network has no group, so its endpoints stay closed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn by_delta_is_from_scratch_and_replays_in_order(
        batches in prop::collection::vec(prop::collection::vec(some_delta(), 1..6), 1..12),
        by_pool in any::<bool>(),
        with_base in any::<bool>(),
    ) {
        let mut settings = settings("n1");
        settings.networks_by_pool = by_pool;
        let mut engine = PolicyEngine::new(&settings);
        let mut replay = Replay::default();
        let mut all = if with_base { base() } else { Vec::new() };
        replay.apply(&engine.apply(&all));
        for batch in &batches {
            replay.apply(&engine.apply(batch));
            prop_assert_eq!(&replay, &state(&engine));
            all.extend(batch.iter().cloned());
        }
        let mut scratch = PolicyEngine::new(&settings);
        let mut from_nothing = Replay::default();
        from_nothing.apply(&scratch.apply(&final_facts(&all)));
        prop_assert_eq!(&replay, &state(&scratch));
        prop_assert_eq!(&from_nothing, &replay);
        prop_assert!(engine.apply(&final_facts(&all)).is_empty(), "the same facts again change nothing");
    }
}

/// The endpoint `a` in network blue of this host, with how it is plugged in.
fn plugged(change: impl FnOnce(&mut crate::model::Attachment)) -> FactDelta {
    let mut attachment = crate::model::Attachment::new("/run/netns/x", [2; 6], 1500);
    change(&mut attachment);
    let endpoint = Endpoint { attachment: Some(attachment), ..endpoint("n1", "blue", "a", &["10.65.0.1"], &[]) };
    endpoint_fact(&endpoint)
}

fn entries(engine: &PolicyEngine, prefix: &str) -> usize {
    engine.sets().iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, set)| set.members.len()).sum()
}

#[test]
fn who_is_not_known_yet_is_in_no_group_and_enters_one_when_he_is() {
    let mut facts = base();
    facts.push(plugged(|attachment| attachment.closed = true));
    let (mut engine, _) = engine_with(&facts);
    assert_eq!(entries(&engine, "rn4-gi-") + entries(&engine, "rn4-ge-"), 0, "closed in both directions");
    assert_eq!(entries(&engine, "rn4-local"), 1);
    engine.apply(&[plugged(|_| {})]);
    assert_eq!((entries(&engine, "rn4-gi-"), entries(&engine, "rn4-ge-")), (1, 1));
    let (fresh, _) = engine_with(&[base(), vec![plugged(|_| {})]].concat());
    assert_eq!(state(&engine), state(&fresh));
}

#[test]
fn published_ports_are_members_of_their_set_while_they_are_published() {
    let mut facts = base();
    let port = crate::model::PublishedPort {
        protocol: crate::model::Protocol::TCP,
        host_address: None,
        host_port: 8080,
        port: 80,
    };
    facts.push(plugged(|attachment| attachment.published = vec![port]));
    let (mut engine, _) = engine_with(&facts);
    let wanted = Member::IpPort("10.65.0.1".parse().unwrap(), crate::model::Protocol::TCP, 80);
    assert_eq!(engine.sets()["rn4-published"].members, BTreeSet::from([wanted]));
    engine.apply(&[plugged(|_| {})]);
    assert!(engine.sets()["rn4-published"].members.is_empty());
}
