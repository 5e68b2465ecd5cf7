use std::collections::BTreeSet;

use super::*;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(1);

#[test]
fn pauses_double_from_the_first_to_the_last_and_begin_again() {
    let mut backoff = Backoff::new(FIRST, LAST);
    let millis: Vec<u128> = (0..6).map(|_| backoff.pause_with(0).as_millis()).collect();
    assert_eq!(millis, [100, 200, 400, 800, 1000, 1000]);
    backoff.reset();
    assert_eq!(backoff.pause_with(0), FIRST);
}

#[test]
fn noise_takes_up_to_a_quarter_off_and_never_adds() {
    for noise in [0, 1, NOISES / 2, NOISES - 1, NOISES, u32::MAX] {
        let mut backoff = Backoff::new(FIRST, LAST);
        for step in [100, 200, 400, 800, 1000, 1000] {
            let (whole, pause) = (Duration::from_millis(step), backoff.pause_with(noise));
            assert!(pause > whole * 3 / 4 && pause <= whole, "noise {noise}: {pause:?} of {whole:?}");
        }
    }
}

#[test]
fn different_noise_makes_different_pauses() {
    let pauses: BTreeSet<Duration> = (0..NOISES).map(|noise| Backoff::new(FIRST, LAST).pause_with(noise)).collect();
    assert_eq!(pauses.len(), NOISES as usize);
}

#[test]
fn what_the_clock_gives_is_within_bounds_and_not_always_the_same() {
    let pauses: BTreeSet<Duration> = (0..100).map(|_| Backoff::new(FIRST, LAST).pause()).collect();
    assert!(pauses.iter().all(|pause| *pause > FIRST * 3 / 4 && *pause <= FIRST), "{pauses:?}");
    assert!(pauses.len() > 1);
}
