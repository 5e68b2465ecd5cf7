//! Which routers of a link are remembered.

use super::*;

fn router(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number)
}

fn heard(link: &Link) -> Vec<Ipv6Addr> {
    link.heard.iter().map(|(from, _)| *from).collect()
}

#[test]
fn a_crowd_keeps_nobody_out_and_does_not_take_the_neighbours_place() {
    let began = Instant::now();
    let at = |millis: u64| began + Duration::from_millis(millis);
    let mut link = Link::new(7, began);
    let crowd: Vec<Ipv6Addr> = (0..MOST as u16).map(router).collect();
    assert!(crowd.iter().zip(0..).all(|(from, millis)| link.remember(*from, None, at(millis))));
    assert!(!link.remember(router(3), None, at(100)), "it is known");
    assert_eq!(heard(&link), crowd, "the first to be heard first");

    // One more takes the place of the one that was heard the longest ago; the neighbour is not that one.
    assert!(!link.remember(router(100), Some(router(0)), at(200)), "there was no room");
    assert!(heard(&link).contains(&router(100)) && heard(&link).contains(&router(0)));
    assert!(!heard(&link).contains(&router(1)), "{link:?}");
    // The next one has to wait a second, or nothing else would be done.
    link.remember(router(101), Some(router(0)), at(300));
    assert!(!heard(&link).contains(&router(101)));
    link.remember(router(101), Some(router(0)), at(1200));
    assert!(heard(&link).contains(&router(101)) && !heard(&link).contains(&router(2)));

    // For as long as it goes on, with ever new ones: the neighbour is there, and never more than so many.
    for number in 200..2000 {
        link.remember(router(number), Some(router(0)), at(1200 + 700 * u64::from(number - 199)));
        assert!(heard(&link).contains(&router(0)) && link.heard.len() == MOST);
    }
}

/// A crowd that speaks in the same order each time, in time with our pace: the one that is displaced would be the next to speak.
#[test]
fn a_crowd_that_speaks_in_turn_keeps_nobody_out() {
    let began = Instant::now();
    let mut link = Link::new(7, began);
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..1200 {
        for number in 0..20 {
            link.remember(
                router(number),
                Some(router(0)),
                began + Duration::from_millis(500 * round + u64::from(number)),
            );
        }
        seen.extend(heard(&link));
    }
    assert_eq!(seen.len(), 20, "{seen:?}");
}
