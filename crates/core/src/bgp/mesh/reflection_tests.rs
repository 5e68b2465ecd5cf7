//! The plan of reflectors: complete, balanced, the same for all, and hardly changed by a node that comes or goes.

use super::*;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("node-{index}")).collect()
}

fn plan(names: &[String], count: usize) -> Reflection {
    reflectors(names.iter().map(String::as_str), count)
}

#[test]
fn every_node_has_two_reflectors_and_reflectors_have_each_other() {
    let names = names(500);
    let plan = plan(&names, reflector_count(500));
    assert_eq!((plan.reflectors.len(), plan.of.len()), (4, 496));
    for node in &names {
        let peers = plan.peers(node);
        assert!(!peers.contains_key(node.as_str()), "nobody speaks with himself");
        if plan.reflectors.contains(node) {
            assert!(plan.reflectors.iter().all(|other| other == node || peers.contains_key(other.as_str())));
            let clients = peers.values().filter(|hold| **hold == Hold::Client).count();
            assert!((200..300).contains(&clients), "{clients} clients");
        } else {
            assert_eq!(peers.values().collect::<Vec<_>>(), [&Hold::Plain; 2]);
        }
        for (other, hold) in plan.peers(node) {
            let back = plan.peers(other).contains_key(node.as_str());
            assert!(back, "{node} waits for {other}");
            assert_eq!(hold == Hold::Client, plan.of.get(other).is_some_and(|of| of.contains(node)));
        }
    }
    assert_eq!(plan.peers("somebody-else"), BTreeMap::new());
}

#[test]
fn the_order_of_the_nodes_does_not_matter_and_few_are_enough() {
    let mut names = names(40);
    let before = plan(&names, 4);
    names.reverse();
    assert_eq!(plan(&names, 4), before);
    let few = plan(&names[..3], 4);
    assert_eq!((few.reflectors.len(), few.of.len()), (3, 0), "all reflect: a full mesh");
    assert_eq!(few.peers(&names[0]).len(), 2);
    assert_eq!(plan(&[], 4), Reflection::default());
}

#[test]
fn a_change_of_nodes_or_reflectors_moves_few() {
    let names = names(500);
    let before = plan(&names, 8);
    let changed = |after: &Reflection| {
        let of = before.of.iter().filter_map(|(node, reflectors)| Some((reflectors, after.of.get(node)?)));
        let moved: Vec<usize> = of.map(|(old, new)| new.difference(old).count()).collect();
        assert!(moved.iter().all(|moved| *moved <= 1), "each keeps one of its two at least");
        moved.iter().sum::<usize>()
    };
    for gone in names.iter().step_by(50).chain(&before.reflectors) {
        let left: Vec<String> = names.iter().filter(|name| *name != gone).cloned().collect();
        let after = plan(&left, 8);
        let moved = changed(&after);
        if before.reflectors.contains(gone) {
            // Those that had it, and those that its successor takes from others: a quarter each, of which some are the same.
            assert!((1..300).contains(&moved), "{moved} moved when reflector {gone} went");
            assert_eq!(after.reflectors.intersection(&before.reflectors).count(), 7);
        } else {
            assert_eq!(moved, 0, "{gone} reflects for nobody");
        }
    }
    let more = changed(&plan(&names, 9));
    assert!((60..170).contains(&more), "a ninth reflector took {more} places of 984");
}

#[test]
fn there_are_more_reflectors_where_there_are_more_nodes() {
    assert_eq!([1, 100, 500, 501, 1000, 5000].map(reflector_count), [4, 4, 4, 5, 8, 40]);
}
