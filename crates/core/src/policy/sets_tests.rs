use super::*;

fn member(text: &str) -> Member {
    Member::Net(text.parse().unwrap())
}

fn table() -> (SetTable, SetName) {
    let mut table = SetTable::default();
    let name = "rn4-test".to_string();
    assert!(table.hold(&name, Family::V4, SetKind::HashNet, Rank::Address));
    table.add(&name, member("10.0.0.0/8"));
    table.finish();
    (table, name)
}

#[test]
fn what_a_batch_undoes_does_not_show() {
    let (mut table, name) = table();
    table.add(&name, member("10.1.0.0/16"));
    table.remove(&name, &member("10.1.0.0/16"));
    table.remove(&name, &member("10.0.0.0/8"));
    table.add(&name, member("10.0.0.0/8"));
    table.release(&name);
    assert!(!table.hold(&name, Family::V4, SetKind::HashNet, Rank::Address));
    assert_eq!(table.finish(), (vec![], vec![], vec![]));
    let other = "rn4-other".to_string();
    table.hold(&other, Family::V4, SetKind::HashNet, Rank::Address);
    table.release(&other);
    assert_eq!(table.finish(), (vec![other], vec![], vec![]));
}

#[test]
fn a_member_stays_as_long_as_anybody_has_it() {
    let (mut table, name) = table();
    table.add(&name, member("10.0.0.0/8"));
    table.remove(&name, &member("10.0.0.0/8"));
    assert_eq!(table.finish(), (vec![], vec![], vec![]));
    table.remove(&name, &member("10.0.0.0/8"));
    let shrink = vec![SetOp::Delete { name: name.clone(), member: member("10.0.0.0/8") }];
    assert_eq!(table.finish(), (vec![], vec![], shrink));
}

#[test]
fn growth_goes_up_the_ranks_and_shrinking_down() {
    let mut table = SetTable::default();
    let ranks = [Rank::Local, Rank::Node(19), Rank::Node(18), Rank::Group, Rank::Address];
    for (index, rank) in ranks.into_iter().enumerate() {
        table.hold(&format!("rn4-{index}"), Family::V4, SetKind::HashNet, rank);
        table.add(&format!("rn4-{index}"), member("10.1.0.0/16"));
    }
    let (_, grow, _) = table.finish();
    let is_full = |op: &SetOp| matches!(op, SetOp::Create { members, .. } if *members == [member("10.1.0.0/16")]);
    assert!(grow.len() == ranks.len() && grow.iter().all(is_full), "a new set is full from the beginning: {grow:?}");
    for index in 0..ranks.len() {
        table.add(&format!("rn4-{index}"), member("10.0.0.0/8"));
    }
    let (_, grow, _) = table.finish();
    let added: Vec<String> =
        grow.iter().filter_map(|op| if let SetOp::Add { name, .. } = op { Some(name.clone()) } else { None }).collect();
    assert_eq!(added, ["rn4-4", "rn4-3", "rn4-2", "rn4-1", "rn4-0"]);
    for index in 0..ranks.len() {
        table.remove(&format!("rn4-{index}"), &member("10.0.0.0/8"));
    }
    table.release(&"rn4-0".to_string());
    let (gone, _, shrink) = table.finish();
    assert_eq!(gone, ["rn4-0"]);
    let deleted: Vec<String> = shrink
        .iter()
        .filter_map(|op| if let SetOp::Delete { name, .. } = op { Some(name.clone()) } else { None })
        .collect();
    assert_eq!(deleted, ["rn4-1", "rn4-2", "rn4-3", "rn4-4"]);
    assert_eq!(shrink.last(), Some(&SetOp::Destroy { name: "rn4-0".into() }));
}

#[test]
fn names_follow_from_the_content() {
    let nets = |texts: &[&str]| AddressSet {
        family: Family::V6,
        source: AddressSource::Nets(texts.iter().map(|text| text.parse().unwrap()).collect()),
    };
    assert_eq!(nets(&["fd00::/8", "fe80::/10"]).name(), nets(&["fe80::/10", "fd00::/8"]).name());
    assert_ne!(nets(&["fd00::/8"]).name(), nets(&["fe80::/10"]).name());
    assert!(nets(&["fd00::/8"]).name().starts_with("rn6-n-"));
}
