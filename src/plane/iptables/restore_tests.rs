use routenet_core::desired::{ChainKey, Table};

use super::super::plan::Line;
use super::*;

#[test]
fn the_refused_line_is_found_in_each_way_of_saying_it() {
    let unknown = "iptables-nft-restore v1.8.9 (nf_tables): Set nope doesn't exist.\n\nError occurred at line: 12\nTry";
    assert_eq!(refused_line(unknown), Some(12));
    assert_eq!(refused_line("iptables-restore: line 5 failed"), Some(5));
    assert_eq!(
        refused_line("(nf_tables): ; line 3: RULE_APPEND failed (Invalid argument): rule in chain rn-b"),
        Some(3)
    );
    assert_eq!(refused_line("unknown option on the command line"), None);
}

#[test]
fn a_line_number_leads_to_what_the_line_was_for() {
    let rule = |index| Origin::Rule(ChainKey { family: Family::V4, table: Table::Filter, name: "rn-a".into() }, index);
    let table = |table, rules: &[usize]| TableCommit {
        table,
        lines: rules.iter().map(|index| Line { text: "-A".into(), origin: rule(*index) }).collect(),
    };
    // *raw, 2 rules, COMMIT, marker, *filter, 1 rule, COMMIT, marker
    let tables = [table(Table::Raw, &[0, 1]), table(Table::Filter, &[2])];
    assert_eq!(origin_of(&tables, 0), None);
    assert_eq!(origin_of(&tables, 2), Some(rule(1)));
    assert_eq!(origin_of(&tables, 3), None, "COMMIT is the table's as a whole");
    assert_eq!(origin_of(&tables, 6), Some(rule(2)));
    assert_eq!(origin_of(&tables, 99), None);
}
