use std::net::Ipv4Addr;
use std::sync::Arc;

use super::*;
use crate::bgp::rib::path::{Judged, Path, Source, own_attributes};
use crate::bgp::wire::NextHop;

fn candidate(last: u8) -> Candidate {
    let address = Ipv4Addr::new(192, 0, 2, last);
    Candidate {
        source: Arc::new(Source { peer: Some(address.into()), ..Source::own(address) }),
        path: Arc::new(Path {
            attributes: own_attributes(),
            next_hop: NextHop { address: address.into(), link_local: None },
        }),
        judged: Judged::AsReceived,
    }
}

fn names(candidates: &Candidates) -> Vec<u8> {
    candidates.iter().map(|candidate| candidate.source.router_id.octets()[3]).collect()
}

#[test]
fn they_come_and_go_as_in_a_vector() {
    let mut candidates = Candidates::default();
    assert!(candidates.is_empty());
    for last in 1..=4 {
        candidates.push(candidate(last));
    }
    assert_eq!(names(&candidates), [1, 2, 3, 4]);
    candidates.swap_remove(0);
    assert_eq!(names(&candidates), [4, 2, 3]);
    candidates.set(1, candidate(9));
    candidates.swap_remove(2);
    candidates.swap_remove(0);
    assert_eq!(names(&candidates), [9]);
    candidates.swap_remove(0);
    assert!(candidates.is_empty());
}

#[test]
fn a_prefix_with_one_route_takes_no_more_than_it_must() {
    assert!(size_of::<Candidates>() <= size_of::<Candidate>(), "{}", size_of::<Candidates>());
    assert!(size_of::<crate::bgp::rib::Destination>() <= 64, "{}", size_of::<crate::bgp::rib::Destination>());
}
