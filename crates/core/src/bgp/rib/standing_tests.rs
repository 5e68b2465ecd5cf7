use proptest::prelude::*;

use super::super::decision::decide;
use super::super::decision::tests::{free, own, route, with};
use super::super::path::Judged;
use super::*;
use crate::bgp::wire::Origin;

fn cost(candidate: &Candidate) -> Result<u32, Refusal> {
    candidate.refused().map_or(Ok(0), Err)
}

/// The outcome of each, the decided order kept, as text.
fn told(mut candidates: Vec<Candidate>) -> Vec<String> {
    decide(&mut candidates, free);
    let words = standings(&candidates, cost).into_iter().map(|standing| match standing {
        Standing::Best { over: Some(step) } => format!("best: {step}"),
        Standing::Best { over: None } => "best".to_string(),
        Standing::Equal => "equal".to_string(),
        Standing::Lost(step) => step.to_string(),
        Standing::Refused(refusal) => refusal.to_string(),
    });
    words.collect()
}

#[test]
fn each_step_is_named_with_what_it_compared() {
    assert_eq!(told(vec![route(2, &[65001])]), ["best"]);
    assert_eq!(told(vec![route(2, &[65001]), route(3, &[65002])]), ["best", "equal"]);
    let own_first = "this node's own goes first";
    assert_eq!(told(vec![route(2, &[65001]), own()]), [format!("best: {own_first}").as_str(), own_first]);
    let preferred = with(route(3, &[65001, 65002]), |a| a.local_pref = Some(200));
    assert_eq!(told(vec![route(2, &[65001]), preferred])[1], "LOCAL_PREF 200 over 100");
    assert_eq!(told(vec![route(2, &[65001, 65002]), route(3, &[65001])])[1], "an AS_PATH of 1 over 2");
    let egp = with(route(3, &[65001]), |a| a.origin = Origin::Egp);
    assert_eq!(told(vec![route(2, &[65001]), egp])[1], "the lower ORIGIN (igp, egp, incomplete)");
    let dear = with(route(3, &[65001]), |a| a.med = Some(7));
    assert_eq!(told(vec![route(2, &[65001]), dear])[1], "MED 0 over 7 of the same neighbouring AS");
    let refused = Candidate { judged: Judged::Refused(Refusal::NoImport), ..route(3, &[65001]) };
    assert_eq!(told(vec![refused.clone(), route(2, &[65001, 65002])]), ["best", "the peer's import policy is `none`"]);
    assert_eq!(told(vec![refused]), ["the peer's import policy is `none`"]);
}

proptest! {
    /// What it says agrees with what was decided: those that share the load, and no others, lost nothing.
    #[test]
    fn it_explains_what_was_decided(
        routes in prop::collection::vec((prop::collection::vec(65001..65003_u32, 0..3), 0..2_u32, 99..101_u32), 1..8),
        refuse in any::<u8>(),
    ) {
        let mut candidates: Vec<Candidate> = routes
            .iter()
            .zip(2_u8..)
            .map(|((ases, med, preference), last)| {
                let candidate = with(route(last, ases), |a| {
                    a.med = Some(*med);
                    a.local_pref = Some(*preference);
                });
                let refused = refuse & 1 << (last - 2) != 0;
                let judged = if refused { Judged::Refused(Refusal::NoImport) } else { Judged::AsReceived };
                Candidate { judged, ..candidate }
            })
            .collect();
        let equal = decide(&mut candidates, free);
        for (index, standing) in standings(&candidates, cost).iter().enumerate() {
            let shares = matches!(standing, Standing::Best { .. } | Standing::Equal);
            prop_assert_eq!(shares, index < equal, "{}: {:?}", index, standing);
        }
    }
}
