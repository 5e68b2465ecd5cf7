use std::sync::Arc;

use proptest::prelude::*;

use super::super::path::{Judged, Path, Source, own_attributes};
use super::*;
use crate::bgp::filter::Refusal;
use crate::bgp::wire::{AsSegment, NextHop, Origin};

/// A route of the neighbour 192.0.2.`last` over the given ASes; over iBGP where there are none.
pub fn route(last: u8, ases: &[u32]) -> Candidate {
    let address = IpAddr::from([192, 0, 2, last]);
    let mut attributes = own_attributes();
    if !ases.is_empty() {
        attributes.as_path = vec![AsSegment::Sequence(ases.to_vec())];
    }
    Candidate {
        source: Arc::new(Source {
            peer: Some(address),
            external: !ases.is_empty(),
            session: 1,
            ..Source::own([192, 0, 2, last].into())
        }),
        path: Arc::new(Path { attributes, next_hop: NextHop { address, link_local: None } }),
        judged: Judged::AsReceived,
    }
}

pub fn own() -> Candidate {
    Candidate { source: Arc::new(Source::own([192, 0, 2, 1].into())), ..route(1, &[]) }
}

pub fn with(mut candidate: Candidate, change: impl FnOnce(&mut crate::bgp::wire::Attributes)) -> Candidate {
    change(&mut Arc::make_mut(&mut candidate.path).attributes);
    candidate
}

/// Every next hop is here.
pub fn free(candidate: &Candidate) -> Option<u32> {
    candidate.refused().is_none().then_some(0)
}

/// The last octets of the neighbours in the order decided (1 is our own), and how many share the load.
fn decided(mut candidates: Vec<Candidate>) -> (Vec<u8>, usize) {
    let equal = decide(&mut candidates, free);
    let last = |candidate: &Candidate| match candidate.path.next_hop.address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => unreachable!("the routes of these tests are IPv4"),
    };
    (candidates.iter().map(last).collect(), equal)
}

#[test]
fn each_step_decides_before_the_next_one() {
    let preferred = with(route(4, &[65001, 65002, 65003]), |a| a.local_pref = Some(200));
    assert_eq!(decided(vec![preferred.clone(), own()]).0[0], 1, "our own before any LOCAL_PREF");
    let stale = with(preferred.clone(), |a| _ = a.communities.insert(crate::bgp::filter::LLGR_STALE));
    assert_eq!(
        decided(vec![stale.clone(), route(2, &[65001, 65002])]).0,
        [2, 4],
        "long-lived stale loses to any other"
    );
    assert_eq!(decided(vec![stale.clone(), own()]).0[0], 1);
    assert_eq!(decided(vec![stale]), (vec![4], 1));
    assert_eq!(decided(vec![route(2, &[65001]), preferred]).0[0], 4, "LOCAL_PREF before the length of the AS_PATH");
    let incomplete = with(route(3, &[65001]), |a| a.origin = Origin::Incomplete);
    assert_eq!(decided(vec![route(2, &[65001, 65002]), incomplete.clone()]).0[0], 3, "the length before ORIGIN");
    assert_eq!(decided(vec![incomplete, with(route(4, &[65001]), |a| a.med = Some(9))]).0[0], 4, "ORIGIN before MED");
}

#[test]
fn a_set_counts_as_one_as() {
    let set = with(route(9, &[65001]), |a| a.as_path.push(AsSegment::Set(vec![65002, 65003, 65004])));
    assert_eq!(decided(vec![route(3, &[65001, 65002, 65003]), set]), (vec![9, 3], 1));
}

#[test]
fn med_compares_routes_of_one_neighbouring_as_only() {
    let med = |last, first_as, med| with(route(last, &[first_as]), |a| a.med = Some(med));
    assert_eq!(decided(vec![med(2, 65001, 20), med(3, 65001, 10)]), (vec![3, 2], 1));
    assert_eq!(decided(vec![med(2, 65001, 20), med(3, 65002, 10)]), (vec![2, 3], 2));
    assert_eq!(decided(vec![med(2, 65001, 1), route(3, &[65001])]), (vec![3, 2], 1), "absent is 0");
}

#[test]
fn ebgp_goes_before_ibgp_and_equals_share_the_load() {
    let inside = with(route(2, &[]), |a| a.as_path = vec![AsSegment::Sequence(vec![65001])]);
    assert_eq!(decided(vec![inside, route(3, &[65001])]), (vec![3, 2], 1));
    assert_eq!(decided(vec![route(4, &[65001]), route(3, &[65001])]), (vec![3, 4], 2), "the lower router id leads");
}

#[test]
fn what_is_refused_takes_no_part() {
    let refused = |last| Candidate { judged: Judged::Refused(Refusal::NoImport), ..route(last, &[65001]) };
    assert_eq!(decided(vec![refused(2)]).1, 0);
    assert_eq!(decided(vec![refused(2), refused(3)]).1, 0);
    assert_eq!(decided(vec![refused(2), route(3, &[65001, 65002])]), (vec![3, 2], 1));
}

proptest! {
    /// RFC 4271 9.1.2.2: the outcome follows from the routes, not from the order in which they came.
    #[test]
    fn the_order_of_arrival_does_not_decide(
        routes in prop::collection::vec((prop::collection::vec(65001..65004_u32, 1..3), 0..3_u32, 99..101_u32), 1..7),
        seed in any::<u64>(),
    ) {
        let candidates: Vec<Candidate> = routes
            .iter()
            .zip(2_u8..)
            .map(|((ases, med, preference), last)| with(route(last, ases), |a| {
                a.med = Some(*med);
                a.local_pref = Some(*preference);
            }))
            .collect();
        let mut shuffled = candidates.clone();
        shuffled.sort_by_key(|candidate| (candidate.source.router_id.octets()[3] as u64).wrapping_mul(seed | 1));
        let (one, one_equal) = decided(candidates);
        let (other, other_equal) = decided(shuffled);
        prop_assert_eq!(&one[..one_equal], &other[..other_equal]);
    }
}
