//! Pseudo-random numbers for discriminators and jitter, from a seed that the caller chose.

use std::time::Duration;

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// RFC 5880 6.8.7: 75 to 100 % of the interval; 75 to 90 % where a single lost packet would end the session.
    pub fn jitter(&mut self, interval: Duration, multiplier: u8) -> Duration {
        let most = if multiplier == 1 { 900 } else { 1000 };
        let permille = 750 + u32::try_from(self.draw() % (most - 750 + 1)).unwrap_or(0);
        interval * permille / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_quarter_and_below_nine_tenths_where_one_packet_counts() {
        let mut chance = Chance::new(7);
        let interval = Duration::from_millis(100);
        let mut range = |multiplier| {
            let all: Vec<Duration> = (0..2000).map(|_| chance.jitter(interval, multiplier)).collect();
            (*all.iter().min().expect("some"), *all.iter().max().expect("some"))
        };
        let (least, most) = range(3);
        assert!(least >= interval * 75 / 100 && most <= interval && most > interval * 95 / 100, "{least:?} {most:?}");
        let (least, most) = range(1);
        assert!(least >= interval * 75 / 100 && most <= interval * 90 / 100, "{least:?} {most:?}");
    }
}
