use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn session(number: u64) -> Source {
    Source { session: number, ..Source::own([192, 0, 2, 1].into()) }
}

#[test]
fn a_number_outlives_sessions_and_is_nobody_elses() {
    let mut sources = Sources::default();
    let first = sources.get(&session(1), PEER, 0);
    let with_id = sources.get(&session(1), PEER, 7);
    let other = sources.get(&session(1), [192, 0, 2, 2].into(), 0);
    assert_eq!([&first, &with_id, &other].map(|source| source.number.get()), [2, 3, 4], "1 is our own");
    assert!(Arc::ptr_eq(&with_id, &sources.get(&session(1), PEER, 7)), "one value a session");
    let again = sources.get(&session(2), PEER, 7);
    assert_eq!((again.number.get(), again.session, again.path_id), (3, 2, 7));
}

#[test]
fn numbers_of_sources_without_routes_are_used_again_and_others_are_not() {
    let mut sources = Sources::default();
    // Of a session that is over, but a route of it is kept.
    let stale = sources.get(&session(1), PEER, 0);
    let fresh = sources.get(&session(2), PEER, 0).number.get();
    assert_eq!(stale.number.get(), fresh);
    for path_id in 1..1_000_000 {
        let number = sources.get(&session(2), PEER, path_id).number.get();
        assert_ne!(number, stale.number.get());
        assert!(number < 4 * SWEEP_AT_LEAST as u32, "{path_id} has {number}");
    }
    assert!(sources.known.len() < 4 * SWEEP_AT_LEAST);
}
