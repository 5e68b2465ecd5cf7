//! What a rule that accepts a route changes of it.

use super::prepend;
use crate::bgp::wire::Attributes;
use crate::model::filter::{Community, CommunityPattern, FilterOperation, NextHopChoice};

/// Applies them in order; answers what the last of those about the next hop says.
pub(super) fn apply(operations: &[FilterOperation], attributes: &mut Attributes) -> Option<NextHopChoice> {
    let mut next_hop = None;
    for operation in operations {
        match operation {
            FilterOperation::AddCommunity(community) => add(community, attributes),
            FilterOperation::RemoveCommunity(pattern) => remove(pattern, attributes),
            FilterOperation::SetCommunities(communities) => {
                attributes.communities.clear();
                attributes.extended_communities.clear();
                attributes.large_communities.clear();
                communities.iter().for_each(|community| add(community, attributes));
            }
            // `[65000, 65001]` is to stand at the front in this order.
            FilterOperation::PrependAsPath(numbers) => {
                numbers.iter().rev().for_each(|number| prepend(&mut attributes.as_path, *number));
            }
            FilterOperation::SetMed(value) => attributes.med = Some(*value),
            FilterOperation::SetLocalPreference(value) => attributes.local_pref = Some(*value),
            FilterOperation::SetNextHop(choice) => next_hop = Some(*choice),
        }
    }
    next_hop
}

fn add(community: &Community, attributes: &mut Attributes) {
    match community {
        Community::Standard(value) => _ = attributes.communities.insert(*value),
        Community::Large(a, b, c) => _ = attributes.large_communities.insert((*a, *b, *c)),
        Community::Extended(bytes) => _ = attributes.extended_communities.insert(*bytes),
    }
}

fn remove(pattern: &CommunityPattern, attributes: &mut Attributes) {
    match pattern {
        CommunityPattern::Standard(_) => attributes.communities.retain(|value| !pattern.standard(*value)),
        CommunityPattern::Large(_) => attributes.large_communities.retain(|value| !pattern.large(*value)),
        CommunityPattern::Extended(_) => attributes.extended_communities.retain(|value| !pattern.extended(value)),
    }
}

#[cfg(test)]
#[path = "operations_tests.rs"]
mod tests;
