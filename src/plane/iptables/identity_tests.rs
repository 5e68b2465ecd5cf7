use routenet_core::desired::Table;
use routenet_core::model::Family;

use super::*;

fn chain(name: &str) -> ChainKey {
    ChainKey { family: Family::V4, table: Table::Filter, name: name.into() }
}

fn rule(text: &str) -> ChainRule {
    ChainRule { text: text.into(), origin: None }
}

#[test]
fn equal_rules_of_one_chain_differ_and_stay_the_same_when_others_come() {
    let before = rule_ids(&chain("rn-a"), &[rule("-j DROP"), rule("-j DROP")]);
    assert_ne!(before[0], before[1]);
    let after = rule_ids(&chain("rn-a"), &[rule("-s 10.0.0.1 -j ACCEPT"), rule("-j DROP"), rule("-j DROP")]);
    assert_eq!(before[..], after[1..]);
    assert_ne!(rule_ids(&chain("rn-b"), &[rule("-j DROP")])[0], before[0]);
}

#[test]
fn the_identity_is_found_in_what_save_prints() {
    let id = rule_ids(&chain("rn-a"), &[rule("-j DROP")])[0];
    let quoted = format!("-A rn-a -m comment --comment \"mine --comment rn\" -m comment --comment \"{id}\" -j DROP");
    assert_eq!(RuleId::find(&quoted), Some(id));
    assert_eq!(RuleId::find(&format!("-A rn-a -m comment --comment {id} -j DROP")), Some(id));
    assert_eq!(RuleId::find(&format!("-A rn-a -m comment --comment {id}")), Some(id));
    assert_eq!(RuleId::find(&format!("-A rn-a -m comment --comment \"{id}0\" -j DROP")), None);
    assert_eq!(RuleId::find("-A rn-a -m comment --comment \"rn:short\" -j DROP"), None);
    assert_eq!(RuleId::find("-A FORWARD -m comment --comment \"docker\" -j DOCKER"), None);
    assert_eq!(RuleId::find("-A FORWARD -j DOCKER"), None);
}
