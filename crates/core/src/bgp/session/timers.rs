//! Durations of the FSM (RFC 4271 section 10), and the jitter that keeps neighbours from moving in step.

use std::time::Duration;

use crate::time::Time;

/// How long a connection may stay in OpenSent (RFC 4271 8.2.2 suggests four minutes), and in OpenConfirm where the two
/// agreed on no hold time.
pub const OPEN_HOLD: Duration = Duration::from_secs(240);
/// Before the next attempt after a session was lost without a NOTIFICATION: the neighbour has probably restarted.
pub const RECONNECT: Duration = Duration::from_secs(1);
/// The first wait after an error; it doubles with each one after it, up to the ConnectRetryTime.
pub const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
pub const BACK_OFF_MOST: Duration = Duration::from_secs(60);
/// So many errors a neighbour may make before it is kept out for a while after each one (RFC 4271 8.1.1,
/// DampPeerOscillations).
pub const PATIENCE: u32 = 1000;
/// One of them is forgotten whenever this has passed.
pub const FORGIVEN: Duration = Duration::from_millis(50);
pub const REST: Duration = Duration::from_millis(100);
/// A session that lasted this long makes the errors before it forgotten.
pub const STEADY: Duration = Duration::from_secs(60);
/// How long our OPEN waits for the neighbour's on its connection while one of ours is coming up or stands.
pub const COLLISION_RESERVE: Duration = Duration::from_millis(500);
/// A second connection that shows up later than this after Established is no collision but a restarted neighbour.
pub const COLLISION_WINDOW: Duration = Duration::from_secs(5);

/// Pseudo-random numbers (SplitMix64) from a seed that the caller chose.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 75% and 100% of `base` (RFC 4271 section 10).
    pub fn jitter(&mut self, base: Duration) -> Duration {
        let quarter = base / 4;
        let millis = u64::try_from(quarter.as_millis()).unwrap_or(u64::MAX);
        base - quarter + Duration::from_millis(if millis == 0 { 0 } else { self.next() % (millis + 1) })
    }
}

/// The wait after the `failures`-th error in a row, before jitter, where attempts are made every `retry`.
pub fn back_off(failures: u32, retry: Duration) -> Duration {
    let doubled = BACK_OFF_FIRST.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(retry.clamp(BACK_OFF_FIRST, BACK_OFF_MOST))
}

/// How many errors a neighbour may still make (a leaky bucket).
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    left: u32,
    /// Until when what was forgiven has been counted.
    counted: Time,
}

impl Patience {
    pub fn new(now: Time) -> Patience {
        Patience { left: PATIENCE, counted: now }
    }

    /// Takes one error; whether there was patience left for it.
    pub fn take(&mut self, now: Time) -> bool {
        let forgiven = now.since(self.counted).as_millis() / FORGIVEN.as_millis();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.counted = self.counted + FORGIVEN.saturating_mul(forgiven);
        self.left = self.left.saturating_add(forgiven).min(PATIENCE);
        let had = self.left > 0;
        self.left = self.left.saturating_sub(1);
        had
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_quarter_and_waits_double_up_to_a_minute() {
        let mut rng = Rng::new(7);
        let base = Duration::from_secs(30);
        for _ in 0..1000 {
            let wait = rng.jitter(base);
            assert!(wait <= base && wait >= base * 3 / 4, "{wait:?}");
        }
        assert_eq!(rng.jitter(Duration::ZERO), Duration::ZERO);
        let waits: Vec<u64> = (1..9).map(|failures| back_off(failures, Duration::from_secs(5)).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5, 5, 5, 5]);
        assert_eq!(back_off(7, Duration::from_secs(300)), BACK_OFF_MOST);
        assert_eq!(back_off(1, Duration::ZERO), BACK_OFF_FIRST);
        assert_eq!(
            back_off(4_000_000, Duration::from_secs(5)),
            Duration::from_secs(5),
            "never beyond what was asked for"
        );
    }

    #[test]
    fn patience_comes_back_with_time() {
        let at = |errors: u32, pause: Duration| {
            let mut now = Time::from_secs(3);
            let mut patience = Patience::new(now);
            (0..errors)
                .filter(|_| {
                    let had = patience.take(now);
                    now = now + pause;
                    !had
                })
                .count()
        };
        assert_eq!(at(PATIENCE, Duration::ZERO), 0);
        assert_eq!(at(PATIENCE + 7, Duration::ZERO), 7);
        assert_eq!(at(100 * PATIENCE, FORGIVEN), 0, "as many as are forgotten");
        let twice = at(10 * PATIENCE, FORGIVEN / 2);
        assert!(
            (8 * PATIENCE / 2..=8 * PATIENCE / 2 + 1).contains(&(twice as u32)),
            "half of what is too much: {twice}"
        );
    }
}
