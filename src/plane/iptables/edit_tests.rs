use proptest::prelude::*;
use routenet_core::desired::{ChainKey, ChainRule, Table};
use routenet_core::model::Family;

use super::super::rule_ids;
use super::*;

fn ids(count: usize) -> Vec<RuleId> {
    let chain = ChainKey { family: Family::V4, table: Table::Filter, name: "rn-a".into() };
    let rules: Vec<ChainRule> = (0..count).map(|n| ChainRule { text: format!("{n}").into(), origin: None }).collect();
    rule_ids(&chain, &rules)
}

/// What iptables does with the edits; counts the rules that were touched.
fn play(have: &[Option<RuleId>], want: &[RuleId]) -> (Vec<Option<RuleId>>, usize) {
    let mut rules = have.to_vec();
    let mut touched = 0;
    for edit in edits(have, want) {
        match edit {
            Edit::Flush => {
                touched += rules.len();
                rules.clear();
            }
            Edit::Delete { position } => {
                touched += 1;
                rules.remove(position - 1);
            }
            Edit::Insert { position, rule } => {
                touched += 1;
                rules.insert(position - 1, Some(want[rule]));
            }
            Edit::Append { rule } => {
                touched += 1;
                rules.push(Some(want[rule]));
            }
        }
    }
    (rules, touched)
}

#[test]
fn one_rule_more_is_one_edit() {
    let all = ids(5);
    let have: Vec<_> = [all[0], all[1], all[3], all[4]].map(Some).to_vec();
    assert_eq!(edits(&have, &all), [Edit::Insert { position: 3, rule: 2 }]);
    let whole: Vec<_> = all.iter().copied().map(Some).collect();
    assert_eq!(edits(&whole, &all), []);
    assert_eq!(edits(&whole[..4], &all), [Edit::Append { rule: 4 }]);
    assert_eq!(edits(&whole, &all[..4]), [Edit::Delete { position: 5 }]);
}

#[test]
fn a_strangers_rule_and_a_second_copy_of_ours_go() {
    let all = ids(2);
    let have = [Some(all[0]), None, Some(all[0]), Some(all[1])];
    assert_eq!(edits(&have, &all), [Edit::Delete { position: 3 }, Edit::Delete { position: 2 }].to_vec());
}

/// The length of the longest common subsequence by the text-book table.
fn longest(have: &[Option<RuleId>], want: &[RuleId]) -> usize {
    let mut table = vec![vec![0; want.len() + 1]; have.len() + 1];
    for (i, h) in have.iter().enumerate() {
        for (j, w) in want.iter().enumerate() {
            table[i + 1][j + 1] = if *h == Some(*w) { table[i][j] + 1 } else { table[i][j + 1].max(table[i + 1][j]) };
        }
    }
    table[have.len()][want.len()]
}

proptest! {
    #[test]
    fn edits_lead_to_what_is_wanted_and_touch_no_more_than_they_must(
        have in proptest::collection::vec(proptest::option::weighted(0.9, 0usize..12), 0..14),
        want in proptest::sample::subsequence((0usize..12).collect::<Vec<_>>(), 0..12).prop_shuffle(),
    ) {
        let all = ids(12);
        let have: Vec<Option<RuleId>> = have.into_iter().map(|id| id.map(|id| all[id])).collect();
        let want: Vec<RuleId> = want.into_iter().map(|id| all[id]).collect();
        let (result, touched) = play(&have, &want);
        prop_assert_eq!(result, want.iter().copied().map(Some).collect::<Vec<_>>());
        prop_assert_eq!(touched, have.len() + want.len() - 2 * longest(&have, &want));
    }
}
