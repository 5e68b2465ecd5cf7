use super::*;
use crate::bgp::rib::path::own_attributes;
use crate::bgp::wire::AsSegment;

fn after(operations: &[FilterOperation]) -> Attributes {
    let mut attributes = own_attributes();
    attributes.as_path = vec![AsSegment::Sequence(vec![65001])];
    attributes.communities = [65000 << 16 | 1, 65000 << 16 | 2, 65001 << 16 | 1].into();
    attributes.large_communities = [(65000, 1, 1), (65000, 2, 1)].into();
    attributes.extended_communities = [[0, 2, 0, 1, 0, 0, 0, 1]].into();
    apply(operations, &mut attributes);
    attributes
}

#[test]
fn communities_are_added_removed_and_set() {
    let changed = after(&[
        FilterOperation::AddCommunity("1:2".parse().unwrap()),
        FilterOperation::AddCommunity("1:2:3".parse().unwrap()),
        FilterOperation::AddCommunity("soo:1:1".parse().unwrap()),
        FilterOperation::RemoveCommunity("65000:*".parse().unwrap()),
        FilterOperation::RemoveCommunity("*:2:*".parse().unwrap()),
        FilterOperation::RemoveCommunity("rt:1:1".parse().unwrap()),
    ]);
    assert_eq!(changed.communities, [65001 << 16 | 1, 1 << 16 | 2].into());
    assert_eq!(changed.large_communities, [(65000, 1, 1)].into(), "1:2:3 went with *:2:*");
    assert_eq!(changed.extended_communities, [[0, 3, 0, 1, 0, 0, 0, 1]].into());
    let set = after(&[FilterOperation::SetCommunities(vec!["no-export".parse().unwrap()])]);
    assert_eq!(set.communities, [0xffff_ff01].into());
    assert!(set.large_communities.is_empty() && set.extended_communities.is_empty());
}

#[test]
fn numbers_are_set_and_paths_prepended_in_order() {
    let changed = after(&[
        FilterOperation::SetMed(7),
        FilterOperation::SetMed(8),
        FilterOperation::SetLocalPreference(300),
        FilterOperation::PrependAsPath(vec![65010, 65011]),
    ]);
    assert_eq!((changed.med, changed.local_pref), (Some(8), Some(300)));
    assert_eq!(changed.as_path, [AsSegment::Sequence(vec![65010, 65011, 65001])]);
}
