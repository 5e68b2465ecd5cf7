use crate::model::Kind;
use proptest::prelude::*;

use super::*;
use crate::policy::testing::network_name;

fn tier(name: &str, default_action: TierAction) -> TierKey {
    TierKey { policies: vec![ObjectKey::global(Kind::GlobalNetworkPolicy, name)], default_action }
}

fn group(name: &str) -> GroupKey {
    GroupKey {
        direction: Direction::Ingress,
        tiers: vec![tier(name, TierAction::Deny)],
        profile: Profile::Network(network_name("blue")),
    }
}

#[test]
fn ids_follow_from_the_content() {
    assert_eq!(group("a").id(), group("a").id());
    assert_ne!(group("a").id(), group("b").id());
    assert_ne!(group("a").id(), GroupKey { profile: Profile::Open, ..group("a") }.id());
    assert_ne!(group("a").id(), GroupKey { direction: Direction::Egress, ..group("a") }.id());
    assert_eq!(octal("fff0000000000000000f"), format!("7777{}", "0".repeat(16)));
}

#[test]
fn a_group_asks_its_policies_then_its_profile() {
    let marks = Marks::new(0b11);
    let text = |group: &GroupKey, pass: bool| {
        group.chain(Family::V4, marks, &|_| pass).into_iter().map(|rule| rule.text).collect::<Vec<_>>().join("\n")
    };
    let policy = policy_chain(Direction::Ingress, group("a").policies().next().unwrap());
    let accepted = "-m mark --mark 0x1/0x1 -j RETURN";
    assert_eq!(text(&group("a"), false), format!("{accepted}\n-j {policy}\n{accepted}\n-j DROP"));
    let network = group("a").network_set(Family::V4).unwrap().name();
    assert_eq!(
        text(&group("a"), true),
        format!(
            "{accepted}\n-j {policy}\n{accepted}\n-m mark --mark 0x0/0x2 -j DROP\n\
             -m set --match-set {network} src -g rn-allow\n\
             -m set --match-set rn4-published dst,dst -g rn-allow\n-j DROP"
        )
    );
    let bare = GroupKey { tiers: Vec::new(), profile: Profile::Open, ..group("a") };
    assert_eq!(text(&bare, false), format!("{accepted}\n-g rn-allow\n-j DROP"));
}

#[test]
fn a_tier_ends_by_its_default_action_and_the_next_one_begins_unpassed() {
    let marks = Marks::new(0b11);
    let two = |first: TierAction| GroupKey {
        tiers: vec![tier("a", first), tier("b", TierAction::Deny)],
        profile: Profile::Open,
        ..group("a")
    };
    let text = |group: &GroupKey, pass: bool| {
        group.chain(Family::V4, marks, &|_| pass).into_iter().map(|rule| rule.text).collect::<Vec<_>>().join("\n")
    };
    let [a, b] = ["a", "b"].map(|name| policy_chain(Direction::Ingress, group(name).policies().next().unwrap()));
    let accepted = "-m mark --mark 0x1/0x1 -j RETURN";
    assert_eq!(
        text(&two(TierAction::Deny), false),
        format!("{accepted}\n-j {a}\n{accepted}\n-j DROP"),
        "nothing comes behind a tier that denies the rest"
    );
    assert_eq!(
        text(&two(TierAction::Deny), true),
        format!(
            "{accepted}\n-j {a}\n{accepted}\n-m mark --mark 0x0/0x2 -j DROP\n-j MARK --set-xmark 0x0/0x2\n\
             -j {b}\n{accepted}\n-m mark --mark 0x0/0x2 -j DROP\n-g rn-allow\n-j DROP"
        )
    );
    assert_eq!(
        text(&two(TierAction::Pass), false),
        format!("{accepted}\n-j {a}\n{accepted}\n-j {b}\n{accepted}\n-j DROP")
    );
    assert_ne!(two(TierAction::Pass).id(), two(TierAction::Deny).id());
}

fn nodes(paths: &BTreeSet<String>) -> BTreeSet<String> {
    shape(&paths.iter().map(String::as_str).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_row_is_longer_than_the_fan_out_and_others_stay(
        ids in prop::collection::btree_set("[0-9a-f]{20}", 1..120),
        more in "[0-9a-f]{20}",
    ) {
        let paths: BTreeSet<String> = ids.iter().map(|id| octal(id)).collect();
        let before = nodes(&paths);
        let parent = |path: &str, nodes: &BTreeSet<String>| {
            (1..path.len()).rev().find_map(|length| nodes.get(&path[..length]).cloned()).unwrap_or_default()
        };
        let mut rows: BTreeMap<String, usize> = BTreeMap::new();
        for path in before.iter().chain(&paths) {
            *rows.entry(parent(path, &before)).or_default() += 1;
        }
        prop_assert!(rows.values().all(|row| *row <= FAN_OUT), "{rows:?}");
        let more = octal(&more);
        let mut grown = paths.clone();
        grown.insert(more.clone());
        let after = nodes(&grown);
        prop_assert!(before.is_subset(&after));
        for path in &paths {
            let (old, new) = (parent(path, &before), parent(path, &after));
            prop_assert!(old == new || more.starts_with(&old), "only the neighbours of a new group move");
        }
    }
}
